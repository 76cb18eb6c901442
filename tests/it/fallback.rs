//! A quantum stage whose backends give nothing: the classical answer where the workflow allows it, its reasons where not.

use crate::harness::{Daemon, small_problem, stage_of};
use serde_json::{Value, json};

const STAGE: &str = "qaoa-optimization";

fn submit(daemon: &Daemon, params: Value) -> String {
    let stage = json!({ "name": STAGE, "params": params, "retry": { "attempts": 3, "backoff": "100ms" } });
    let text = json!({ "workflow": "shots", "stages": [stage] }).to_string();
    let file = daemon.file("w.yaml", &text);
    let files = small_problem();
    let mut args = vec![file.as_str()];
    args.extend(files.iter().map(String::as_str));
    daemon.submit(&args)
}

/// Two backends that nobody may ask: no simulation outside of the worker is needed to see who stands in.
fn drained() -> Daemon {
    let daemon = Daemon::with(json!({ "backends": { "aer": { "kind": "aer" } } }));
    daemon.ctl(&["backend", "drain", "aer", "--reason", "its line is down"]).expect(0);
    daemon.ctl(&["backend", "drain", "simulator", "--reason", "kept for somebody"]).expect(0);
    daemon
}

#[test]
fn a_chain_that_gives_nothing_ends_in_the_labelled_classical_answer() {
    let daemon = drained();
    let run = submit(&daemon, json!({ "backend": "aer", "fallback": ["simulator"] }));
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}\n{}", daemon.log());
    let result = daemon.artefact(&run, "qaoa_result.json");
    let expected = (&json!("classical-exact"), &Value::Null, &json!(0), &json!(0.0));
    assert_eq!(
        (&result["source"], &result["backend"], &result["shots"], &result["gap_to_exact"]),
        expected,
        "{result:#}"
    );
    let reasons = result["fallback"].as_array().unwrap();
    let named: Vec<&str> = reasons.iter().map(|one| one["backend"].as_str().unwrap()).collect();
    assert_eq!(named, ["aer", "simulator"]);
    assert!(reasons[0]["reason"].as_str().unwrap().contains("its line is down"), "{reasons:#?}");
    assert!(reasons[1]["reason"].as_str().unwrap().contains("kept for somebody"), "{reasons:#?}");
}

#[test]
fn where_the_workflow_forbids_the_classical_answer_the_stage_fails_with_the_reason_of_each_backend() {
    let daemon = drained();
    for (params, named) in [
        (json!({ "backend": "aer", "fallback": ["simulator"], "fallback_to_classical": false }), 2),
        (json!({ "backend": "aer", "fallback_to_classical": false }), 1),
        (json!({ "fallback_to_classical": false }), 0),
    ] {
        let run = submit(&daemon, params.clone());
        let shown = daemon.end_of(&run);
        assert_eq!(shown["phase"], "rolled-back", "{shown:#}");
        let stage = stage_of(&shown, STAGE);
        assert_eq!(
            (&stage["error"]["code"], &stage["attempts"]),
            (&json!("EX-0068"), &json!(1)),
            "{shown:#}"
        );
        let message = stage["error"]["message"].as_str().unwrap();
        assert_eq!(message.contains("aer: "), named > 0, "{params}: {message}");
        assert_eq!(message.contains("its line is down"), named > 0, "{params}: {message}");
        // Who is not named is not asked, so the simulator has a reason only where it stands in the chain.
        assert_eq!(message.contains("kept for somebody"), named != 1, "{params}: {message}");
        let result = daemon.ctl(&["result", &run, "--artifact", "qaoa_result.json"]);
        assert_eq!(result.code, 3, "nothing is made up: {}", result.text());
    }
    // Mended and tried again, the same run ends well.
    let run = submit(&daemon, json!({ "fallback_to_classical": false }));
    daemon.end_of(&run);
    daemon.ctl(&["backend", "resume", "simulator"]).expect(0);
    daemon.ctl(&["retry", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    assert_eq!(daemon.artefact(&run, "qaoa_result.json")["source"], "simulator");
}
