//! Frontier, stability and HiGHS's bound, by hand and as the stages give them.

use crate::drive::Task;
use engine::definition::StageKind;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

/// Two decisions whose choice moves with the risk weight, and a cost that is a sum over them.
const SPACE: &str = "design_space: 1\nname: two\ndecisions:\n  - name: engine\n    options:\n      \
    - {id: cheap, attributes: {price: 10, thirst: 9}}\n      - {id: thrifty, attributes: {price: 46, thirst: 2}}\n      \
    - {id: middle, attributes: {price: 30, thirst: 5}}\n  - name: tank\n    options:\n      \
    - {id: small, attributes: {price: 5, thirst: 1}}\n      - {id: large, attributes: {price: 8, thirst: 1}}\n";
const SCENARIOS: &str =
    "scenarios: 1\nvariables:\n  fuel: {lognormal: {mean: 1.2, sd: 0.7}}\ncount: 300\nseed: 5\n";
const COSTS: &str = "costs: 1\nunit: USD\nnegative: forbidden\nattributes: {price: {aggregate: sum}, thirst: {aggregate: sum}}\n\
    terms: {buying: price, burning: \"thirst * fuel\"}\n";

/// The three files in a folder, changed as asked.
fn files(change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("space.yaml", SPACE), ("scenarios.yaml", SCENARIOS), ("costs.yaml", COSTS)] {
        std::fs::write(folder.path().join(name), change(text)).unwrap();
    }
    folder
}

fn select(folder: &Path, more: &[&str]) -> Output {
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    Command::new(env!("CARGO_BIN_EXE_executing-worker"))
        .args(["select", "--space", &at("space.yaml"), "--scenarios", &at("scenarios.yaml")])
        .args(["--costs", &at("costs.yaml"), "--cvar-level", "0.9"])
        .args(more)
        .output()
        .unwrap()
}

fn object(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(output: &Output) -> (Option<i32>, String) {
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn select_by_highs_gives_the_scans_design_with_a_bound_and_the_hull_says_where_it_changes() {
    let folder = files(str::to_owned);
    let hull = object(&select(folder.path(), &["--risk-weight", "1"]))["hull"].clone();
    assert!(hull.as_array().unwrap().len() >= 2, "{hull}");
    for corner in hull.as_array().unwrap() {
        let from = corner["weight_from"].as_f64().unwrap();
        let to = corner["weight_to"].as_f64().unwrap_or(from + 10.0);
        let weight = ((from + to) / 2.0).to_string();
        let scan = object(&select(folder.path(), &["--risk-weight", &weight]));
        let highs = object(&select(folder.path(), &["--risk-weight", &weight, "--method", "milp"]));
        assert_eq!(scan["design"], corner["design"]);
        assert_eq!(scan["method"], json!("scan"));
        for key in ["design", "objective", "expected", "cvar", "value_at_risk", "complete"] {
            assert_eq!(highs[key], scan[key], "{key}");
        }
        assert_eq!((&highs["status"], &highs["method"]), (&json!("optimal"), &json!("milp")));
        let (bound, objective) = (highs["bound"].as_f64().unwrap(), scan["objective"].as_f64().unwrap());
        assert!(bound <= objective && bound > objective * (1.0 - 1e-7), "{bound} {objective}");
    }
    assert_eq!(hull[0]["weight_from"], json!(0.0));
}

#[test]
fn select_answers_with_the_same_bytes_for_one_two_and_three_threads_and_counts_replicates() {
    let folder = files(str::to_owned);
    let run = |more: &[&str]| select(folder.path(), &[&["--risk-weight", "0.3"], more].concat());
    let one = run(&["--bootstrap", "150", "--bootstrap-seed", "9", "--threads", "1"]);
    let stability = object(&one)["stability"].clone();
    assert_eq!((&stability["replicates"], &stability["seed"]), (&json!(150), &json!(9)));
    let wins: u64 = stability["wins"].as_array().unwrap().iter().map(|w| w["wins"].as_u64().unwrap()).sum();
    assert_eq!(wins, 150);
    assert_eq!(stability["complete"], json!(true));
    for threads in ["2", "3"] {
        let other = run(&["--bootstrap", "150", "--bootstrap-seed", "9", "--threads", threads]);
        assert!(other.stdout == one.stdout, "{threads} threads");
    }
    let other = object(&run(&["--bootstrap", "150", "--bootstrap-seed", "10"]));
    assert_ne!(other["stability"]["gap"], stability["gap"]);
    assert_eq!(object(&run(&[])).get("stability"), None);
}

#[test]
fn select_refuses_with_the_code_of_what_is_wrong() {
    let sound = files(str::to_owned);
    let tied = files(|text| text.replace("thirst * fuel", "thirst * price * fuel"));
    let negative = files(|text| text.replace("buying: price", "buying: \"price - 20\""));
    let halved = files(|text| text.replace("thirst * fuel", "thirst / (fuel - fuel)"));
    let milp = ["--risk-weight", "1", "--method", "milp"];
    for (folder, arguments, exit, words) in [
        (&tied, &milp[..], 8, "error[EX-0402]: the term `burning` is no sum over decisions"),
        (&negative, &["--risk-weight", "1"][..], 8, "error[EX-0401]: the term `buying` is -5 for design"),
        (
            &halved,
            &["--risk-weight", "1"][..],
            8,
            "error[EX-0399]: the term `burning` is inf for design {engine: cheap",
        ),
        (&sound, &["--risk-weight", "-1"][..], 8, "error[EX-0431]: --risk-weight"),
        (&sound, &["--risk-weight", "1", "--cvar-level", "1"][..], 2, "cvar-level"),
        (
            &sound,
            &["--risk-weight", "1", "--bootstrap", "9999999"][..],
            8,
            "error[EX-0441]: --bootstrap is 9999999",
        ),
        (
            &sound,
            &["--risk-weight", "1", "--bootstrap", "5", "--bootstrap-candidates", "1"][..],
            8,
            "error[EX-0441]",
        ),
        (&sound, &["--risk-weight", "1", "--bootstrap", "5", "--method", "milp"][..], 2, "--bootstrap needs"),
        (&sound, &["--risk-weight", "1", "--threads", "0"][..], 2, "--threads"),
        (&sound, &["--risk-weight", "1", "--method", "guess"][..], 2, "--method"),
    ] {
        let (code, text) = refusal(&select(folder.path(), arguments));
        assert_eq!(code, Some(exit), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
        assert_eq!(text.matches("EX-0").count(), usize::from(exit == 8 || text.contains("EX-0")), "{text}");
    }
}

/// A task with the three files in place of an example's.
fn task(folder: &Path, params: Value) -> Task {
    let mut task = Task::new(&[
        ("space", "h2-bwb/space.yaml"),
        ("scenarios", "h2-bwb/scenarios.yaml"),
        ("costs", "h2-bwb/costs.yaml"),
    ]);
    for input in &mut task.inputs {
        let path = folder.join(format!("{}.yaml", input.name));
        let bytes = std::fs::read(&path).unwrap();
        input.path = path.to_string_lossy().into_owned();
        input.digest = crate::drive::digest(&bytes);
        input.bytes = bytes.len() as u64;
    }
    task.params = params;
    task
}

#[test]
fn the_stages_tell_frontier_stability_and_the_bound_of_the_whole_space() {
    let folder = files(str::to_owned);
    let params = json!({"cvar_level": 0.9, "risk_weight": 0.3, "milp_seconds": 60, "bootstrap": 70, "bootstrap_seed": 3});
    let mut task = task(folder.path(), params);
    let (outputs, _) = task.run(StageKind::CvarCalculation, &[]).result();
    let metrics: Value = serde_json::from_slice(&outputs["cvar_metrics.json"]).unwrap();
    let whole = &metrics["whole_space"];
    assert_eq!(whole["status"], json!("optimal"));
    assert_eq!(whole["design"], metrics["best"][0]["design"]);
    assert_eq!(whole["objective"], metrics["best"][0]["objective"]);
    let gap = whole["gap_of_chosen"].as_f64().unwrap();
    assert!((0.0..1e-5).contains(&gap), "{gap}");

    let (outputs, facts) = task.run(StageKind::ResultAnalysis, &[]).result();
    let analysis: Value = serde_json::from_slice(&outputs["risk_analysis.json"]).unwrap();
    let stability = &analysis["stability"];
    assert_eq!((&stability["replicates"], &stability["seed"]), (&json!(70), &json!(3)));
    assert_eq!(facts["stability"], stability["share_same_choice"]);
    assert_eq!(
        analysis["frontier_size"].as_u64().unwrap() as usize,
        analysis["frontier"].as_array().unwrap().len()
    );
    assert!(!analysis["hull"].as_array().unwrap().is_empty());
    let by_hand = object(&select(
        folder.path(),
        &["--risk-weight", "0.3", "--bootstrap", "70", "--bootstrap-seed", "3"],
    ));
    for key in ["hull", "frontier", "stability"] {
        assert_eq!(by_hand[key], analysis[key], "{key}");
    }
    let svg = String::from_utf8(outputs["cost_distribution.svg"].clone()).unwrap();
    assert!(svg.contains("chosen and runner-up"), "the runner-up has its panel");
}

#[test]
fn parameters_out_of_range_are_refused_by_name_and_range() {
    let folder = files(str::to_owned);
    for (kind, params, words) in [
        (StageKind::CvarCalculation, json!({"milp_seconds": 0}), "parameter `milp_seconds` is 0; expected"),
        (StageKind::CvarCalculation, json!({"milp_seconds": 100000}), "at most 86400"),
        (StageKind::CvarCalculation, json!({"milp_seconds": "soon"}), "`milp_seconds`"),
        (StageKind::CvarCalculation, json!({"cvar_level": 1}), "outside [0, 1)"),
        (StageKind::CvarCalculation, json!({"risk_weight": -0.1}), "risk weight -0.1"),
        (
            StageKind::ResultAnalysis,
            json!({"bootstrap": 100001}),
            "`bootstrap` is 100001; expected a whole number from 0 to 100000",
        ),
        (StageKind::ResultAnalysis, json!({"bootstrap": -1}), "`bootstrap`"),
        (
            StageKind::ResultAnalysis,
            json!({"bootstrap_candidates": 1}),
            "`bootstrap_candidates` is 1; expected",
        ),
        (StageKind::ResultAnalysis, json!({"bootstrap_seed": 1.5}), "`bootstrap_seed`"),
    ] {
        let mut task = task(folder.path(), params.clone());
        let answer = task.run(kind, &[]);
        let error = answer.error();
        assert!(error.message.contains(words), "{params}: {}", error.message);
        assert_eq!(error.code, "EX-0511");
    }
    let mut quiet = task(folder.path(), json!({"bootstrap": 0}));
    let (outputs, facts) = quiet.run(StageKind::ResultAnalysis, &[]).result();
    let analysis: Value = serde_json::from_slice(&outputs["risk_analysis.json"]).unwrap();
    assert!(analysis["stability"]["reason"].as_str().unwrap().contains("`bootstrap` is 0"));
    assert_eq!(facts.get("stability"), None);
}

#[test]
fn a_cost_that_ties_decisions_together_cannot_be_bounded_and_says_so() {
    let mut task = Task::new(&[
        ("space", "h2-bwb/space.yaml"),
        ("scenarios", "h2-bwb/scenarios.yaml"),
        ("costs", "h2-bwb/costs.yaml"),
    ]);
    task.params = json!({"cvar_level": 0.9, "risk_weight": 1.0, "milp_seconds": 10});
    let answer = task.run(StageKind::CvarCalculation, &[]);
    let error = answer.error();
    assert!(error.message.contains("EX-0402: the term `manufacturing`"), "{}", error.message);
}
