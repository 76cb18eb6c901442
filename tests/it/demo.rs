//! The example from end to end: the designs found, the choice made, and why.

use crate::harness::{Daemon, example, project};
use serde_json::Value;

fn expected() -> Value {
    let text = std::fs::read_to_string(project().join("examples/h2-bwb/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_example_ends_with_the_expected_risk_averse_choice_and_says_which_term_decides() {
    let daemon = Daemon::laptop();
    let expected = expected();
    let run = daemon.succeed(&["full-optimization"]);

    let set = daemon.artefact(&run, "feasible_set.json");
    assert_eq!(set["count"], expected["feasible"]);
    assert_eq!(set["complete"], true);
    assert_eq!(set["designs"].as_array().unwrap().len() as u64, expected["feasible"].as_u64().unwrap());

    let chosen = daemon.artefact(&run, "optimal_config.json");
    assert_eq!(chosen["design"], expected["risk_averse"]);
    assert_eq!(
        (&chosen["cvar_level"], &chosen["risk_weight"]),
        (&expected["cvar_level"], &expected["risk_weight"])
    );
    let figure = |name: &str| chosen[name].as_f64().unwrap();
    let sum = figure("expected") + figure("risk_weight") * figure("cvar");
    assert!((figure("objective") - sum).abs() <= 1e-9 * sum.abs(), "{chosen:#}");
    assert!(figure("cvar") > figure("expected"), "the worst tenth is dearer than the mean: {chosen:#}");
    for key in ["run", "time", "seconds", "submitted"] {
        assert!(chosen.get(key).is_none(), "{key} differs from run to run: {chosen:#}");
    }

    let analysis = daemon.artefact(&run, "risk_analysis.json");
    assert_eq!(analysis["risk_neutral"]["design"], expected["risk_neutral"]);
    let words = analysis["words"].to_string();
    assert!(words.contains("certification"), "the deciding term is not named: {words}");
    let gap = analysis["gap_to_exact"].as_f64().unwrap();
    assert!(gap >= 0.0, "QAOA cannot beat the exact choice: {gap}");

    for name in
        ["validation_report.json", "deployment_manifest.json", "design_record.json", "milp_report.json"]
    {
        assert!(daemon.artefact(&run, name).is_object(), "{name}");
    }
    let manifest = daemon.artefact(&run, "deployment_manifest.json");
    let deployed = daemon.ctl(&["deployments"]).expect(0).json();
    assert_eq!(deployed["active"], manifest["release"]);
    let released = std::path::Path::new(deployed["path"].as_str().unwrap()).join("optimal_config.json");
    assert_eq!(std::fs::read(released).unwrap(), daemon.artefact_bytes(&run, "optimal_config.json"));
    daemon.expect_journal_whole();
}

#[test]
fn the_example_as_a_file_without_aversion_to_risk_chooses_another_aircraft() {
    // Its inputs are uploaded, so a daemon that never runs the embedded example does.
    let daemon = Daemon::with(serde_json::json!({"example_inputs": false}));
    let expected = expected();
    let run = daemon.succeed(&[&example("h2-bwb/full-optimization.yaml"), "--set", "risk_weight=0"]);
    let chosen = daemon.artefact(&run, "optimal_config.json");
    assert_eq!(chosen["design"], expected["risk_neutral"]);
    assert_ne!(chosen["design"], expected["risk_averse"]);
    assert_eq!(chosen["objective"], chosen["expected"]);

    // Without inputs such a daemon refuses rather than to run something that nobody asked for.
    let refused = daemon.ctl(&["submit", "full-optimization"]).expect(8);
    assert!(refused.stderr.contains("EX-0015") && refused.stderr.contains("space"), "{}", refused.stderr);
}

#[test]
fn the_embedded_example_and_the_folder_are_the_same_problem() {
    let daemon = Daemon::laptop();
    let settled = |shown: &Value| (shown["inputs"].clone(), shown["params"].clone(), shown["seed"].clone());
    let embedded = daemon.submit(&["full-optimization"]);
    let folder = daemon.submit(&[&example("h2-bwb/full-optimization.yaml")]);
    assert_eq!(settled(&daemon.show(&embedded)), settled(&daemon.show(&folder)));
}
