//! `reproduce`: what was computed comes out again, and nothing is done twice.

use crate::harness::Daemon;
use serde_json::Value;

fn verdict<'a>(answer: &'a Value, name: &str) -> &'a str {
    let all = answer["artifacts"].as_array().unwrap();
    let found = all.iter().find(|artefact| artefact["name"] == name);
    found.unwrap_or_else(|| panic!("{name} was not compared: {answer:#}"))["verdict"].as_str().unwrap()
}

#[test]
fn the_choice_is_computed_again_to_the_byte_and_nothing_is_deployed_twice() {
    let daemon = Daemon::laptop();
    let run = daemon.succeed(&["full-optimization", "--set", "seed=11"]);
    let deployed = daemon.ctl(&["deployments"]).expect(0).json();
    let answer = daemon.ctl(&["reproduce", &run]).expect(0).json();
    assert_eq!(answer["reproduced"], true, "{answer:#}");
    for name in ["feasible_set.json", "optimal_config.json", "risk_analysis.json", "qaoa_result.json"] {
        assert_eq!(verdict(&answer, name), "same", "{name}");
    }
    for name in ["enumeration_metrics.json", "environment.json"] {
        assert_eq!(verdict(&answer, name), "same-but-for-what-varies");
    }
    let notes = answer["notes"].to_string();
    assert!(notes.contains("deployment"), "what was left out is not named: {answer:#}");
    assert_eq!(daemon.ctl(&["deployments"]).expect(0).json(), deployed);
    daemon.expect_journal_whole();
}

#[test]
fn a_result_that_another_seed_made_is_not_reproduced() {
    // Two runs that differ in a seed are compared by the same words; they must be able to say no.
    let daemon = Daemon::laptop();
    let first = daemon.succeed(&["full-optimization", "--set", "seed=11"]);
    let second = daemon.succeed(&["full-optimization", "--set", "seed=12"]);
    let answer = daemon.ctl(&["compare", &first, &second]).expect(0).json();
    assert_eq!(answer["equal"], false);
}

#[test]
fn a_run_that_is_not_known_or_computes_nothing_is_refused() {
    let daemon = Daemon::laptop();
    daemon.ctl(&["reproduce", "run-000099"]).expect(3);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("w.yaml");
    let text = "workflow: w\nstages:\n  - {name: act, kind: exec, command: [/bin/true]}\n";
    std::fs::write(&file, text).unwrap();
    let run = daemon.succeed(&[file.to_str().unwrap()]);
    let refused = daemon.ctl(&["reproduce", &run]).expect(8);
    assert!(refused.stderr.contains("EX-0024"), "{}", refused.stderr);
}
