//! All stage kinds in their order, on the programme's files and on the hydrogen aircraft.

use crate::drive::{Answer, Task, example};
use engine::definition::{StageKind, table};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const H2: [(&str, &str); 3] =
    [("space", "h2-bwb/space.yaml"), ("scenarios", "h2-bwb/scenarios.yaml"), ("costs", "h2-bwb/costs.yaml")];
const AMPEL: [(&str, &str); 2] = [
    ("candidates", "ampel360/programme/candidates.yaml"),
    ("constraints", "ampel360/programme/hard_constraints.yaml"),
];
const ORDER: [StageKind; 10] = [
    StageKind::Initialization,
    StageKind::ConstraintValidation,
    StageKind::MilpSolving,
    StageKind::FeasibleSetGeneration,
    StageKind::ResultValidation,
    StageKind::QaoaOptimization,
    StageKind::CvarCalculation,
    StageKind::ResultAnalysis,
    StageKind::ResultIntegration,
    StageKind::Validation,
];
/// Artefacts that name the machine or the time, and those that hold their digests.
const VARY: [&str; 3] = ["environment.json", "enumeration_metrics.json", "design_record.json"];

fn json(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Value {
    serde_json::from_slice(&files[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every kind in order; each makes just the artefacts that the published table promises.
fn all(task: &mut Task) -> (BTreeMap<String, Vec<u8>>, serde_json::Map<String, Value>) {
    let mut files = BTreeMap::new();
    let mut facts = serde_json::Map::new();
    for kind in ORDER {
        let tasks: Vec<&str> =
            table::TASKS.iter().filter(|row| row.kind == kind).map(|row| row.name).collect();
        let answer: Answer = task.run(kind, &tasks);
        let (outputs, told) = answer.result();
        let mut promised: Vec<&str> = table::kind(kind).artefacts.to_vec();
        promised.sort_unstable();
        assert_eq!(outputs.keys().map(String::as_str).collect::<Vec<_>>(), promised, "{}", kind.name());
        assert!(answer.status.success());
        files.extend(outputs);
        facts.extend(told);
    }
    (files, facts)
}

#[test]
fn the_hydrogen_aircraft_goes_through_every_stage_to_the_known_choice_and_again_to_the_same_bytes() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(example("h2-bwb/expected.json")).unwrap()).unwrap();
    let mut task = Task::new(&H2);
    task.params = json!({"cvar_level": 0.9, "risk_weight": 1.0, "shots": 2048, "iterations": 12});
    let (files, facts) = all(&mut task);
    assert_eq!(facts["feasible_configurations_found"], expected["feasible"]);
    assert_eq!(facts["feasible_set_complete"], json!(true));
    assert_eq!(facts["optimization_score"], json!(1.0));
    assert_eq!(facts["certification_compliant"], json!("not-evaluated"));
    assert_eq!(facts["validation_passed"], json!(true));
    let config = json(&files, "optimal_config.json");
    assert_eq!(config["design"], expected["risk_averse"]);
    let mut keys: Vec<&String> = config.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "complete",
            "cvar",
            "cvar_level",
            "design",
            "expected",
            "objective",
            "risk_weight",
            "seed",
            "source"
        ]
    );
    let analysis = json(&files, "risk_analysis.json");
    assert_eq!(analysis["risk_neutral"]["design"], expected["risk_neutral"]);
    assert!(analysis["gap_to_exact"].as_f64().unwrap() >= 0.0);
    let words = analysis["words"].to_string();
    assert!(words.contains("makes the difference"), "{words}");
    let report = json(&files, "constraint_report.json");
    for constraint in report["constraints"].as_array().unwrap() {
        let name = constraint["name"].as_str().unwrap();
        let removed = &constraint["designs_removed_given_the_others"];
        assert_eq!(*removed, expected["removed_by"][name], "{name}");
    }
    let set = json(&files, "feasible_set.json");
    assert_eq!(set["designs"].as_array().unwrap().len() as u64, expected["feasible"].as_u64().unwrap());

    let mut again = Task::new(&H2);
    again.params = task.params.clone();
    let (repeated, _) = all(&mut again);
    for (name, bytes) in &files {
        if !VARY.contains(&name.as_str()) {
            assert!(repeated[name] == *bytes, "{name} differs between two runs");
        }
    }
}

#[test]
fn the_programmes_files_give_six_architectures_in_a_reported_tie() {
    let mut task = Task::new(&AMPEL);
    let (files, facts) = all(&mut task);
    assert_eq!(facts["feasible_configurations_found"], json!(6));
    assert_eq!(facts["tie_size"], json!(6));
    assert_eq!(facts["cvar_level_source"], json!("default"));
    assert_eq!(facts["certification_compliant"], json!(true));
    let config = json(&files, "optimal_config.json");
    assert_eq!(config["tie"]["size"], json!(6));
    assert_eq!((&config["cvar_level"], &config["risk_weight"]), (&json!(0.95), &json!(0.1)));
    let recheck = json(&files, "recheck_report.json");
    assert_eq!(recheck["counts"]["every_combination_tried"], json!(6));
    let report = json(&files, "validation_report.json");
    let open =
        report["geometry"].as_array().unwrap().iter().filter(|g| g["status"] == "not-evaluated").count();
    assert!(open > 0, "geometry without figures must be reported as not evaluated");
    assert!(!String::from_utf8_lossy(&files["compliance_certificates.json"]).contains("qualified"));
}

#[test]
fn the_config_file_sets_level_and_weight_and_a_parameter_wins_over_it() {
    let mut inputs = AMPEL.to_vec();
    inputs.extend([
        ("config", "ampel360/programme/ampel360_config.json"),
        ("scenarios", "ampel360/scenarios.yaml"),
        ("costs", "ampel360/costs.yaml"),
    ]);
    let mut task = Task::new(&inputs);
    let (files, facts) = task.run(StageKind::CvarCalculation, &[]).result();
    let config = json(&files, "optimal_config.json");
    assert_eq!((&config["cvar_level"], &config["risk_weight"]), (&json!(0.8), &json!(0.25)));
    assert_eq!(facts["cvar_level_source"], json!("config"));
    assert_eq!(facts["feasible_set_source"], json!("enumerated here"));
    assert_eq!(facts["tie_size"], json!(1));
    let mut neutral = Task::new(&inputs);
    neutral.params = json!({"risk_weight": "0"});
    let (files, facts) = neutral.run(StageKind::CvarCalculation, &[]).result();
    assert_eq!(
        (&facts["risk_weight_source"], &facts["cvar_level_source"]),
        (&json!("params"), &json!("config"))
    );
    assert_ne!(json(&files, "optimal_config.json")["design"], config["design"]);
}

#[test]
fn validation_takes_the_config_architecture_and_ignores_its_tail_with_a_note() {
    let mut inputs = AMPEL.to_vec();
    inputs.push(("config", "ampel360/programme/ampel360_config.json"));
    let mut task = Task::new(&inputs);
    let (files, facts) = task.run(StageKind::Validation, &["check_arp4754a_compliance"]).result();
    assert_eq!(facts["design_source"], json!("config architecture"));
    let report = json(&files, "validation_report.json");
    assert_eq!(report["design"]["propulsion"], json!("37"));
    assert!(report["notes"].to_string().contains("tail"));
    assert_eq!(report["tasks"][0]["verdict"], json!("not-evaluated"));
}

#[test]
fn a_design_that_breaks_a_constraint_fails_validation_by_name() {
    let mut task = Task::new(&AMPEL).with(
        "design",
        r#"{"wing":"5","fuselage":"24","primary_structure":"24","propulsion":"37","energy":"38",
            "flight_controls":"24","avionics":"1","landing_gear":"1","cabin":"1"}"#,
    );
    let answer = task.run(StageKind::Validation, &[]);
    assert_eq!(answer.error().code, "EX-0515");
    assert!(answer.error().message.contains("`trl-wing`"), "{}", answer.error().message);
    assert!(answer.status.success());
}

#[test]
fn a_forged_feasible_set_is_caught_by_the_recheck() {
    let mut task = Task::new(&AMPEL);
    task.run(StageKind::FeasibleSetGeneration, &[]).result();
    let path = task.inputs.iter().find(|file| file.name == "feasible_set.json").unwrap().path.clone();
    let mut set: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    set["designs"][0]["wing"] = json!("5");
    let mut task = Task::new(&AMPEL).with("feasible_set.json", &set.to_string());
    let answer = task.run(StageKind::ResultValidation, &[]);
    assert_eq!(answer.error().code, "EX-0513");
    assert!(answer.error().message.contains("trl-wing"), "{}", answer.error().message);
}

const TINY: &str = "design_space: 1
name: tiny
decisions:
  - name: a
    options: [{id: x, attributes: {w: 1}}, {id: y, attributes: {w: 2}}]
  - name: b
    options: [{id: p, attributes: {w: 5}}, {id: q, attributes: {w: 9}}]
constraints:
  - {name: light, sum: {attribute: w}, max: MOST}
  - {name: heavy, sum: {attribute: w}, min: 6}
objective: {minimise: {sum: {attribute: w}}}
";

#[test]
fn an_infeasible_space_names_the_constraints_that_contradict_each_other() {
    for kind in [StageKind::MilpSolving, StageKind::FeasibleSetGeneration, StageKind::CvarCalculation] {
        let mut task = Task::new(&[]).with("space", &TINY.replace("MOST", "5.5"));
        let answer = task.run(kind, &[]);
        assert_eq!(answer.error().code, "EX-0512", "{}", answer.error().message);
        assert!(answer.error().message.contains("light"), "{}", answer.error().message);
    }
}

/// Least weight is 6 and the limit 5.5; `heavy` is met by every design, so moving it cannot help.
#[test]
fn an_infeasible_space_is_told_which_single_change_would_be_enough() {
    let mut task = Task::new(&[]).with("space", &TINY.replace("MOST", "5.5"));
    let answer = task.run(StageKind::MilpSolving, &[]);
    let (_, ways) = answer.error().message.split_once("Each of these changes alone is enough: ").unwrap();
    assert!(ways.contains("light") && ways.contains("5.5") && ways.contains('6'), "{ways}");
    assert!(!ways.contains("heavy"), "{ways}");
}

#[test]
fn one_feasible_design_is_enough_for_every_stage() {
    let mut task = Task::new(&[]).with("space", &TINY.replace("MOST", "6"));
    let (files, facts) = all(&mut task);
    assert_eq!(facts["feasible_configurations_found"], json!(1));
    assert_eq!(json(&files, "optimal_config.json")["objective"], json!(6.0 + 0.1 * 6.0));
    assert_eq!(facts["gap_to_exact"], json!(0.0));
}

#[test]
fn a_space_without_costs_and_objective_is_told_what_is_missing() {
    let text = TINY.replace("MOST", "9").replace("objective: {minimise: {sum: {attribute: w}}}\n", "");
    let answer = Task::new(&[]).with("space", &text).run(StageKind::CvarCalculation, &[]);
    assert_eq!(answer.error().code, "EX-0510");
    assert!(answer.error().message.contains("`costs`"), "{}", answer.error().message);
}

#[test]
fn all_problems_of_all_inputs_come_in_one_error_with_their_places() {
    let mut task = Task::new(&[])
        .with("space", "design_space: 1\nname: x\ndecisions: []\nbogus: 1\n")
        .with("scenarios", "scenarios: 1\nvariables: {a: {uniform: [3, 1]}}\ncount: 0\n")
        .with("costs", "costs: 1\nterms: {t: \"1 +\"}\n");
    let answer = task.run(StageKind::Initialization, &[]);
    let error = answer.error();
    assert_eq!(error.code, "EX-0511");
    for place in ["space:4:", "scenarios:2:", "scenarios:3:", "costs:2:"] {
        assert!(error.message.contains(place), "{place} is missing in\n{}", error.message);
    }
}

#[test]
fn a_set_too_large_to_list_is_counted_and_sampled_and_marked_incomplete() {
    let decisions: String = (0..9)
        .map(|d| format!("  - name: d{d}\n    options: [{{id: a}}, {{id: b}}, {{id: c}}, {{id: e}}]\n"))
        .collect();
    let text = format!("design_space: 1\nname: wide\ndecisions:\n{decisions}constraints: []\n");
    let mut task = Task::new(&[]).with("space", &text);
    task.params = json!({"list_max": 1000, "keep": 50});
    let (files, facts) = task.run(StageKind::FeasibleSetGeneration, &[]).result();
    assert_eq!(facts["feasible_configurations_found"], json!(262_144));
    assert_eq!(facts["feasible_set_complete"], json!(false));
    let set = json(&files, "feasible_set.json");
    assert_eq!(set["designs"].as_array().unwrap().len(), 50);
    assert_eq!(set["complete"], json!(false));
}
