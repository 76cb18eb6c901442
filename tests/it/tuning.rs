//! Tuning of work that runs: what is taken at once, what waits for the next attempt, and that a kill changes no byte.

use crate::harness::{Daemon, PATIENCE, small_problem, small_run, stage_of, wait_for};
use serde_json::{Value, json};

const QAOA: &str = "risk-aware-selection/qaoa-optimization";

/// Tunes a stage at work; whether its attempt took the value, as it said itself.
#[track_caller]
fn taken(daemon: &Daemon, run: &str, setting: &str) -> bool {
    let answer = daemon.ctl(&["tune", run, setting]).expect(0).json();
    let (stage, rest) = setting.split_once('.').unwrap();
    let (parameter, value) = rest.split_once('=').unwrap();
    let said = wait_for(&format!("an answer to {setting}"), PATIENCE, || {
        let answered = |event: &&Value| {
            let value: Value = serde_json::from_str(value).unwrap();
            event["event"] == "TuningAnswered"
                && event["stage"] == stage
                && event["parameter"] == parameter
                && event["value"] == value
        };
        daemon.events(run).iter().rev().find(answered).cloned()
    });
    let taken = said["taken"].as_bool().unwrap();
    // On a slow machine the answer to the verb may come before that of the work; then it says so.
    match answer["takes_effect"].as_str().unwrap() {
        "now" => assert!(taken, "{said:#}"),
        "at the stage's next attempt" => {
            assert!(!taken, "{said:#}");
            assert_eq!(answer["note"], said["why"], "{answer:#}");
        }
        other => assert!(other.contains("if the attempt at work can take it"), "{answer:#}"),
    }
    taken
}

fn set<'a>(all: &[&'a str]) -> Vec<&'a str> {
    all.iter().flat_map(|one| ["--set", one]).collect()
}

#[test]
fn a_search_takes_shots_and_steps_at_work_and_over_a_kill_ends_with_the_bytes_of_a_run_submitted_with_them() {
    let mut daemon = Daemon::start();
    let files = small_problem();
    let wanted = set(&[
        "qaoa-optimization.optimiser=spsa",
        "qaoa-optimization.iterations=300",
        "qaoa-optimization.shots=32",
        "qaoa-optimization.risk_weight=0.9",
    ]);
    let expected = daemon.succeed(&small_run(&files, &wanted));
    // Left alone it would not end.
    let endless = set(&[
        "qaoa-optimization.optimiser=spsa",
        "qaoa-optimization.iterations=10000000",
        "qaoa-optimization.shots=64",
    ]);
    let run = daemon.submit(&small_run(&files, &endless));
    daemon.stage_reaches(&run, QAOA, "running");
    assert!(taken(&daemon, &run, &format!("{QAOA}.shots=32")), "a search at work takes shots");
    // Who takes shots is past the point from which on the weight counts.
    assert!(!taken(&daemon, &run, &format!("{QAOA}.risk_weight=0.9")));
    daemon.kill9();
    daemon.restart();
    daemon.stage_reaches(&run, QAOA, "running");
    assert!(taken(&daemon, &run, &format!("{QAOA}.iterations=300")), "and steps");
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(stage_of(&shown, QAOA)["attempts"], 1, "neither a tuning nor a kill is an attempt");
    for name in ["qaoa_result.json", "convergence.svg", "optimal_config.json"] {
        assert!(
            daemon.artefact_bytes(&run, name) == daemon.artefact_bytes(&expected, name),
            "{name} differs"
        );
    }
    daemon.expect_journal_whole();
}

#[test]
fn the_weight_of_risk_is_taken_at_work_before_the_objective_is_computed() {
    let daemon = Daemon::start();
    let files = small_problem();
    let expected = daemon.succeed(&small_run(&files, &set(&["qaoa-optimization.risk_weight=0.7"])));
    let held = set(&["qaoa-optimization.drill_hold=risk_weight"]);
    let run = daemon.submit(&small_run(&files, &held));
    daemon.stage_reaches(&run, QAOA, "running");
    assert!(taken(&daemon, &run, &format!("{QAOA}.risk_weight=0.7")));
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(daemon.artefact(&run, "qaoa_result.json")["risk_weight"], 0.7);
    assert!(
        daemon.artefact_bytes(&run, "qaoa_result.json")
            == daemon.artefact_bytes(&expected, "qaoa_result.json")
    );
}

#[test]
fn threads_and_the_solvers_time_are_taken_at_work_and_threads_beyond_the_cores_are_refused() {
    let daemon = Daemon::with(json!({ "cpu_cores": 2, "cpu_overcommit": true }));
    let text = json!({ "workflow": "tuned", "stages": [
        {"name": "solve", "kind": "milp-solving", "needs": []},
        {"name": "list", "kind": "feasible-set-generation", "needs": ["solve"], "resources": {"cpu": 2},
         "params": {"threads": 1}},
    ]});
    let file = daemon.file("w.yaml", &text.to_string());
    let files = small_problem();
    let with = |more: &[&'static str]| -> Vec<String> {
        let all = std::iter::once(file.clone()).chain(files.iter().cloned());
        all.chain(set(more).into_iter().map(str::to_owned)).collect()
    };
    let submitted = with(&["solve.solve_seconds_max=7.5"]);
    let expected = daemon.succeed(&submitted.iter().map(String::as_str).collect::<Vec<_>>());
    let held = with(&["solve.drill_hold=solve_seconds_max", "list.drill_hold=threads"]);
    let run = daemon.submit(&held.iter().map(String::as_str).collect::<Vec<_>>());
    daemon.stage_reaches(&run, "solve", "running");
    assert!(taken(&daemon, &run, "solve.solve_seconds_max=7.5"));
    daemon.stage_reaches(&run, "list", "running");
    let refused = daemon.ctl(&["tune", &run, "list.threads=3"]).expect(8);
    assert!(refused.stderr.contains("EX-0054") && refused.stderr.contains("at most 2"), "{}", refused.stderr);
    assert!(taken(&daemon, &run, "list.threads=2"));
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    assert_eq!(daemon.artefact(&expected, "enumeration_metrics.json")["threads"], 1);
    assert_eq!(daemon.artefact(&run, "enumeration_metrics.json")["threads"], 2);
    assert_eq!(daemon.artefact(&run, "milp_report.json")["solve_seconds_max"], 7.5);
    for name in ["milp_report.json", "feasible_set.bin", "feasible_set.json"] {
        assert!(
            daemon.artefact_bytes(&run, name) == daemon.artefact_bytes(&expected, name),
            "{name} differs"
        );
    }
}

#[test]
fn more_shots_than_were_set_aside_wait_for_the_next_attempt_where_shots_are_limited() {
    let daemon = Daemon::with(json!({ "scheduling": { "budget": { "shots_per_day": 1_000_000 } } }));
    let files = small_problem();
    let endless = set(&[
        "qaoa-optimization.optimiser=spsa",
        "qaoa-optimization.iterations=10000000",
        "qaoa-optimization.shots=64",
    ]);
    let run = daemon.submit(&small_run(&files, &endless));
    daemon.stage_reaches(&run, QAOA, "running");
    let answer = daemon.ctl(&["tune", &run, &format!("{QAOA}.shots=65")]).expect(0).json();
    assert_eq!(answer["takes_effect"], "at the stage's next attempt", "{answer:#}");
    assert!(answer["note"].as_str().unwrap().contains("64 shots were set aside"), "{answer:#}");
    assert!(taken(&daemon, &run, &format!("{QAOA}.shots=63")), "fewer are there already");
    daemon.ctl(&["cancel", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
}
