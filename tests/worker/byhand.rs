//! The verbs `select` and `qaoa`, as an engineer runs them.

use crate::drive::example;
use serde_json::{Value, json};
use std::process::{Command, Output};

fn worker(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_executing-worker")).args(arguments).output().unwrap()
}

fn select(weight: &str, more: &[&str]) -> Output {
    let [space, scenarios, costs] = ["space", "scenarios", "costs"]
        .map(|name| example(&format!("h2-bwb/{name}.yaml")).to_string_lossy().into_owned());
    let mut arguments = vec![
        "select",
        "--space",
        &space,
        "--scenarios",
        &scenarios,
        "--costs",
        &costs,
        "--cvar-level",
        "0.9",
    ];
    arguments.extend(["--risk-weight", weight]);
    arguments.extend(more);
    worker(&arguments)
}

fn object(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn select_finds_the_known_choices_with_and_without_risk() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(example("h2-bwb/expected.json")).unwrap()).unwrap();
    for (weight, choice) in [("0", "risk_neutral"), ("1", "risk_averse")] {
        let answer = object(&select(weight, &[]));
        assert_eq!(answer["design"], expected[choice]);
        assert_eq!(answer["complete"], json!(true));
        let runner_up = answer["runners_up"][0]["objective"].as_f64().unwrap();
        assert!(runner_up >= answer["objective"].as_f64().unwrap());
    }
}

#[test]
fn select_out_of_time_still_answers_and_says_incomplete() {
    let answer = object(&select("1", &["--seconds-max", "0.000001"]));
    assert_eq!(answer["complete"], json!(false));
}

#[test]
fn select_tells_missing_files_wrong_figures_and_usage_apart() {
    assert_eq!(select("-1", &[]).status.code(), Some(8));
    assert_eq!(worker(&["select", "--space", "x"]).status.code(), Some(2));
    let missing = worker(&[
        "select",
        "--space",
        "absent.yaml",
        "--scenarios",
        "absent.yaml",
        "--costs",
        "absent.yaml",
        "--cvar-level",
        "0.9",
        "--risk-weight",
        "1",
    ]);
    assert_eq!(missing.status.code(), Some(3));
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.yaml").to_string_lossy().into_owned();
    std::fs::write(&broken, "nonsense: 1\n").unwrap();
    let invalid = worker(&[
        "select",
        "--space",
        &broken,
        "--scenarios",
        &broken,
        "--costs",
        &broken,
        "--cvar-level",
        "0.9",
        "--risk-weight",
        "1",
    ]);
    assert_eq!(invalid.status.code(), Some(8));
    let words = String::from_utf8(invalid.stderr).unwrap();
    for code in ["error[EX-030", "error[EX-035", "error[EX-038"] {
        assert!(words.contains(code), "{code} is missing in\n{words}");
    }
}

#[test]
fn qaoa_evaluates_one_marked_design_in_four_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.json").to_string_lossy().into_owned();
    let pi = std::f64::consts::PI;
    let problem = json!({"qaoa_problem": 1, "cost": {"values": [1.0, 0.0, 0.0, 0.0]}, "mixer": "grover",
        "cost_angles": [pi], "mixer_angles": [pi]});
    std::fs::write(&file, problem.to_string()).unwrap();
    let answer = object(&worker(&["qaoa", &file]));
    assert!((answer["expectation"].as_f64().unwrap() - 1.0).abs() < 1e-12);
    assert!(answer["seconds"].as_f64().unwrap() >= 0.0);
    std::fs::write(&file, "{\"qaoa_problem\": 2}").unwrap();
    let wrong = worker(&["qaoa", &file]);
    assert_eq!(wrong.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("error[EX-0454]"));
    assert_eq!(worker(&["qaoa", "absent.json"]).status.code(), Some(3));
}
