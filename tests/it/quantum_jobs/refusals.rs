//! What no backend can do is refused by name, or goes to the simulator with the reason.

use super::{Fake, Keys, STAGE, backend, daemon_with, reasons, result, run, submit, workflow};
use crate::harness::{Daemon, PATIENCE, run_program, small_problem};
use serde_json::{Value, json};

#[test]
fn wishes_that_cannot_be_met_are_refused_at_submission_with_what_there_is() {
    let daemon = daemon_with(json!({}));
    let files = small_problem();
    for (params, code, word) in [
        (json!({ "backend": "ibm" }), "EX-0487", "simulator"),
        (json!({ "fallback": ["ibm"] }), "EX-0487", "ibm"),
        (json!({ "wait_seconds": 0 }), "EX-0511", "wait_seconds"),
        (json!({ "quantum_step": { "step": "exact", "fallback": [] } }), "EX-0511", "only the daemon"),
    ] {
        let file = workflow(&daemon, &params);
        let mut args = vec!["submit", file.as_str()];
        args.extend(files.iter().map(String::as_str));
        let refused = daemon.ctl(&args).expect(8);
        assert!(
            refused.stderr.contains(code) && refused.stderr.contains(word),
            "{params}: {}",
            refused.stderr
        );
    }
    // Tuned later, where only the daemon knows: a permanent error that names what there is.
    let stages = json!([
        { "name": "initialization", "params": { "drill_sleep_ms": 1_500 } },
        { "name": STAGE },
    ]);
    let file = daemon.file("two.yaml", &json!({ "workflow": "two", "stages": stages }).to_string());
    let mut args = vec![file.as_str()];
    args.extend(files.iter().map(String::as_str));
    let run = daemon.submit(&args);
    daemon.ctl(&["tune", &run, &format!("{STAGE}.backend=ibm")]).expect(0);
    let error = daemon.end_of(&run)["error"].to_string();
    assert!(error.contains("ibm") && error.contains("simulator"), "{error}");
    for (args, code) in [
        (vec!["backend", "test", "ibm"], 3),
        (vec!["backend", "drain", "ibm", "--reason", "r"], 3),
        (vec!["backend", "resume", "ibm"], 3),
        (vec!["jobs", "--state", "asleep"], 2),
        (vec!["jobs", "--run", "run-000099"], 3),
    ] {
        daemon.ctl(&args).expect(code);
    }
    for code in ["EX-0487", "EX-0488", "EX-0489", "EX-0490", "EX-0491", "EX-0493"] {
        daemon.ctl(&["explain", code]).expect(0);
    }
}

#[test]
fn bad_values_of_the_search_are_refused_by_name_on_every_path() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    for (name, value) in [
        ("elite_fraction", json!(0)),
        ("elite_fraction", json!(1.5)),
        ("shots", json!(0)),
        ("layers", json!(0)),
        ("optimiser", json!("adam")),
        ("mixer", json!("y")),
        ("warm_start", json!("hot")),
        ("noise", json!({ "readout": 2 })),
        ("noise", json!({ "thermal": 0.1 })),
    ] {
        for backend in ["simulator", "braket"] {
            let mut params = json!({ "backend": backend });
            params[name] = value.clone();
            let shown = daemon.end_of(&submit(&daemon, &params));
            assert_eq!(shown["phase"], "rolled-back", "{backend} {name}={value}: {shown:#}");
            let error = shown["error"].to_string();
            assert!(error.contains("EX-0511") && error.contains(name), "{backend} {name}={value}: {error}");
        }
    }
    // More shots than the backend takes: it does not fit, which is no error of the stage.
    let many = run(&daemon, &json!({ "backend": "braket", "shots": 100_001 }));
    assert_eq!(many["source"], "simulator");
    assert!(reasons(&many).contains("takes 1 to 100000 shots"), "{}", reasons(&many));
    assert_eq!(fake.tasks().len(), 0, "nothing was bought for any of them");
}

#[test]
fn a_set_too_large_for_the_encoding_goes_to_the_simulator_with_the_reason() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    let options = |decision: usize| -> Vec<Value> {
        (0..8)
            .map(|i| json!({ "id": format!("o{i}"), "attributes": { "cost": i * (decision + 1) } }))
            .collect()
    };
    let decisions: Vec<Value> =
        (0..4).map(|d| json!({ "name": format!("d{d}"), "options": options(d) })).collect();
    let space = json!({
        "design_space": 1, "name": "large", "decisions": decisions,
        "objective": { "minimise": { "sum": { "attribute": "cost" } } },
    });
    let space = daemon.file("space.json", &space.to_string());
    let file = workflow(&daemon, &json!({ "backend": "braket" }));
    let run = daemon.submit(&[&file, "--set", &format!("space={space}")]);
    let result = result(&daemon, &run);
    assert_eq!((&result["source"], &result["designs"]), (&json!("simulator"), &json!(4096)));
    assert!(reasons(&result).contains("12 qubits"), "{}", reasons(&result));
    assert_eq!(fake.tasks().len(), 0);
}

#[test]
fn settings_of_backends_that_are_wrong_keep_the_daemon_from_starting_and_name_each_fault() {
    let mut all = crate::harness::settings();
    all["backends"] = json!({
        "b": { "kind": "braket", "queue_seconds": 0 },
        "simulator": { "kind": "aer" },
    });
    let daemon = Daemon::unstarted(None, &all);
    let answer = run_program(&mut daemon.command(), PATIENCE).expect(8);
    for word in
        ["backends.b.region", "backends.b.credentials", "backends.b.queue_seconds", "backends.simulator.kind"]
    {
        assert!(answer.stderr.contains(word), "{word}: {}", answer.stderr);
    }
}
