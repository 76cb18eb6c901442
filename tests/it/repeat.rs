//! The same seed, the same bytes: beside another run, after a lost worker, with inputs of many megabytes.

use crate::harness::{Daemon, example, is_alive, signal, small_problem, small_run, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fmt::Write;

/// Artefacts that hold results and no times.
const RESULTS: [&str; 6] = [
    "feasible_set.json",
    "feasible_set.bin",
    "optimal_config.json",
    "risk_metrics.bin",
    "qaoa_result.json",
    "risk_analysis.json",
];

#[test]
fn the_same_seed_gives_the_same_results_on_one_slot_and_on_two_and_another_seed_samples_otherwise() {
    let (one, two) = (Daemon::with(json!({"worker_slots": 1})), Daemon::start());
    let files = small_problem();
    let seeded = |daemon: &Daemon, seed: &str| daemon.submit(&small_run(&files, &["--set", seed]));
    // Side by side with another run, which must not show.
    let (first, second, other) = (seeded(&one, "seed=5"), seeded(&two, "seed=5"), seeded(&two, "seed=6"));
    for (daemon, run) in [(&one, &first), (&two, &second), (&two, &other)] {
        assert_eq!(daemon.end_of(run)["phase"], "succeeded");
    }
    for name in RESULTS {
        assert!(one.artefact_bytes(&first, name) == two.artefact_bytes(&second, name), "{name} differs");
    }
    assert_ne!(
        two.artefact_bytes(&second, "qaoa_result.json"),
        two.artefact_bytes(&other, "qaoa_result.json")
    );
    assert_eq!(two.artefact(&second, "feasible_set.json"), two.artefact(&other, "feasible_set.json"));
}

#[test]
fn a_search_that_goes_on_from_its_checkpoint_ends_with_the_same_bytes() {
    let daemon = Daemon::start();
    let stage = "risk-aware-selection/qaoa-optimization";
    let file = example("h2-bwb/full-optimization.yaml");
    let args = [file.as_str(), "--set", "qaoa-optimization.checkpoint_ms=0"];
    let undisturbed = daemon.succeed(&args);
    let run = daemon.submit(&args);
    wait_for("the search has a checkpoint", crate::harness::RUN_PATIENCE, || {
        let events = daemon.events(&run);
        events.iter().any(|e| e["event"] == "StageCheckpointed" && e["stage"] == stage).then_some(())
    });
    let worker = daemon.worker_of(&run, stage);
    signal(worker, Signal::SIGKILL);
    wait_for("the worker is gone", crate::harness::PATIENCE, || (!is_alive(worker)).then_some(()));
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let interrupted = crate::harness::stage_of(&shown, stage)["attempts"].clone();
    assert_eq!(interrupted, 2, "the kill came too late to show anything");
    for name in RESULTS {
        let same = daemon.artefact_bytes(&undisturbed, name) == daemon.artefact_bytes(&run, name);
        assert!(same, "{name} differs");
    }
}

#[test]
fn inputs_of_several_megabytes_arrive_whole_and_their_source_is_not_read_again() {
    let daemon = Daemon::start();
    let mut table = String::from("price,unused\n");
    for row in 0..150_000 {
        writeln!(table, "{}.{:09},{row:016}", 1 + row % 7, row).unwrap();
    }
    assert!(table.len() > 3 << 20);
    let scenarios = daemon.file("many.csv", &table);
    let space = "design_space: 1\nname: tiny\ndecisions:\n  - name: wing\n    options:\n      - {id: a, attributes: {mass: 3}}\n      - {id: b, attributes: {mass: 4}}\n";
    let costs = "costs: 1\nattributes:\n  mass: {aggregate: sum}\nterms:\n  fuel: \"mass * price\"\n";
    let sets = [
        format!("space={}", daemon.file("space.yaml", space)),
        format!("costs={}", daemon.file("costs.yaml", costs)),
        format!("scenarios={scenarios}"),
    ];
    let mut args =
        vec!["full-optimization", "--set", "drill_sleep_ms=300", "--set", "drill_stage=initialization"];
    sets.iter().for_each(|set| args.extend(["--set", set.as_str()]));
    let run = daemon.submit(&args);
    std::fs::write(&scenarios, "price\nnan\n").unwrap();
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let prices = table.lines().skip(1).map(|line| line.split(',').next().unwrap().parse::<f64>().unwrap());
    let mean = 3.0 * prices.sum::<f64>() / 150_000.0;
    let expected = daemon.artefact(&run, "optimal_config.json")["expected"].as_f64().unwrap();
    assert!((expected - mean).abs() <= 1e-9 * mean, "{expected} is not {mean}");
}
