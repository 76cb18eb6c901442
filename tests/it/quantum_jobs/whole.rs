//! The whole workflow over a machine: what is bought, what the result says, and what computing it again does.

use super::{
    Fake, Keys, SHOT_MICRO_USD, TASK_MICRO_USD, aer, aer_process, backend, daemon_with, hurried, installed,
    jobs, reasons, result, run, submit,
};
use crate::harness::{Daemon, PATIENCE, signal, small_problem, small_run, wait_for};
use quantum::backends::aer::AER;
use serde_json::{Value, json};

#[test]
fn the_six_architectures_go_through_the_braket_fake_and_the_result_says_what_was_measured() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    let files = small_problem();
    let more = ["--set", "backend=braket", "--set", "shots=80"];
    let run = daemon.succeed(&small_run(&files, &more));
    let result = daemon.artefact(&run, "qaoa_result.json");
    // The fake's shot k measures k modulo 8: ten of each state, and two states are padding.
    assert_eq!(
        (&result["source"], &result["backend"], &result["simulated"], &result["encoding"]),
        (&json!("braket"), &json!("braket"), &json!(false), &json!("index"))
    );
    assert_eq!(
        (&result["qubits"], &result["designs"], &result["shots"], &result["shots_outside_feasible_set"]),
        (&json!(3), &json!(6), &json!(80), &json!(20))
    );
    assert_eq!((&result["designs_measured"], &result["fallback"]), (&json!(6), &json!([])));
    assert_eq!(result["calibration"], "2026-01-01T00:00:00");
    assert_eq!(result["gap_to_exact"], 0.0);
    assert_eq!(result["random_would_have_done_as_well"], true, "six designs need no quantum computer");
    assert_eq!(result["optimum_probability"], 0.125);
    let circuit = String::from_utf8(daemon.artefact_bytes(&run, "qaoa_circuit.qasm")).unwrap();
    assert!(
        circuit.starts_with("OPENQASM 3.0;") && !circuit.contains("input"),
        "angles are bound: {circuit}"
    );
    let plan = daemon.artefact(&run, "backend_plan.json");
    assert_eq!(plan["probe"]["qubits_max"], 25);
    assert_eq!(plan["estimate"]["micro_usd"], TASK_MICRO_USD + 80 * SHOT_MICRO_USD);
    assert_eq!(plan["fallback"], json!(["simulator", "classical-exact"]));
    assert_eq!(fake.tasks().len(), 1);
    // The rest of the run takes the pick for what it is: beside the exact choice.
    let analysis = daemon.artefact(&run, "risk_analysis.json");
    assert_eq!(analysis["qaoa"]["source"], "braket");
    let job = &jobs(&daemon, &["--run", &run])[0];
    assert_eq!(
        (&job["state"], &job["backend"], &job["shots"]),
        (&json!("done"), &json!("braket"), &json!(80))
    );
    assert_eq!(job["id"], fake.tasks()[0]["arn"]);
    // Computed again: another order, and the same bytes.
    let again = daemon.ctl(&["reproduce", &run]).expect(0).json();
    assert_eq!(again["reproduced"], true, "{again:#}");
    assert_eq!(fake.tasks().len(), 2, "what is computed again is bought again");
    let second = again["again"].as_str().unwrap();
    let compared = daemon.ctl(&["compare", &run, second]).expect(0).json();
    let differs = compared["differences"].to_string();
    assert!(!differs.contains("qaoa_result.json"), "{differs}");
    let other = daemon.succeed(&small_run(&files, &["--set", "backend=simulator", "--set", "shots=80"]));
    let compared = daemon.ctl(&["compare", &run, &other]).expect(0).json();
    let why = compared["why"].to_string();
    assert!(why.contains("source is braket in the first and simulator in the second"), "{compared:#}");
    assert!(why.contains("backend is braket in the first"), "{compared:#}");
    daemon.expect_journal_whole();
}

#[test]
fn the_six_architectures_go_through_aer_and_a_killed_service_is_labelled() {
    if installed(AER).is_none() {
        return;
    }
    // Polled a second after it was handed over, as in earnest: time enough to kill it before.
    let daemon = hurried(json!({ "aer": aer() }), 1);
    let tested = daemon.ctl(&["backend", "test", "aer"]).expect(0).json();
    assert_eq!(tested["job"]["counts"], json!([[1, 10]]), "{tested:#}");
    let first = run(&daemon, &json!({ "backend": "aer", "layers": 3, "shots": 2000 }));
    assert_eq!((&first["source"], &first["simulated"]), (&json!("aer"), &json!(true)));
    assert!(first["calibration"].as_str().unwrap().contains("noise ideal"), "{first:#}");
    // The simulator expects this of the same circuit; 2,000 shots agree within five standard errors.
    let (share, expected) = (
        first["optimum_probability"].as_f64().unwrap(),
        first["expected_by_simulator"]["optimum_probability"].as_f64().unwrap(),
    );
    let error = (expected * (1.0 - expected) / 2000.0).sqrt();
    assert!((share - expected).abs() < 5.0 * error, "{share} of the shots, {expected} expected");
    // Killed before it is polled for the first time: gone with its service, bought again, and it says so.
    let pid = aer_pid(&daemon);
    let killed = submit(&daemon, &json!({ "backend": "aer", "layers": 2, "shots": 5_000 }));
    wait_for("a job is handed over", PATIENCE, || {
        let there = jobs(&daemon, &["--run", &killed]);
        there.iter().any(|job| !job["id"].is_null()).then_some(())
    });
    signal(pid, nix::sys::signal::Signal::SIGKILL);
    let result = result(&daemon, &killed);
    let whys = reasons(&result);
    assert!(whys.contains("\"aer\"") && whys.contains("gone with it"), "{result:#}");
    assert_eq!((&result["source"], &result["shots"]), (&json!("aer"), &json!(5_000)));
    let states: Vec<Value> =
        jobs(&daemon, &["--run", &killed]).iter().map(|job| job["state"].clone()).collect();
    assert_eq!(states, ["failed", "done"]);
    assert_ne!(aer_pid(&daemon), pid, "another process serves");
    println!("killed service: {} {whys}", result["source"]);
}

/// The service among the daemon's children.
fn aer_pid(daemon: &Daemon) -> u32 {
    wait_for("the service among the children", PATIENCE, || aer_process(daemon))
}
