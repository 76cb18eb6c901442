//! Retry policies by kind and classes of errors from the settings: what holds, where it comes from, for how long.

use crate::harness::{Answer, Daemon, PATIENCE, settings, stage_of, wait_for};
use serde_json::{Value, json};
use std::process::Command;

fn exec(name: &str, idempotent: bool, more: Value) -> Value {
    let mut stage = json!({ "name": name, "kind": "exec", "needs": [], "idempotent": idempotent,
        "command": ["/bin/sh", "-c", "exit 3"] });
    for (key, value) in more.as_object().unwrap() {
        stage[key] = value.clone();
    }
    stage
}

fn submit(daemon: &Daemon, name: &str, stages: &[Value]) -> String {
    let text = json!({ "workflow": name, "stages": stages }).to_string();
    daemon.submit(&[&daemon.file(&format!("{name}.yaml"), &text)])
}

fn policy(daemon: &Daemon, run: &str, stage: &str) -> Value {
    let told = daemon.ctl(&["explain", run]).expect(0).json();
    let all = told["retries"].as_array().unwrap().clone();
    all.into_iter().find(|one| one["stage"] == stage).unwrap()
}

#[test]
fn a_policy_of_the_settings_holds_for_its_kind_until_a_workflow_says_otherwise_and_stays_with_its_run() {
    let mut daemon = Daemon::with(json!({
        "retries": { "exec": { "attempts": 2, "backoff": "50ms", "backoff_max": "50ms", "factor": 1 } },
    }));
    let own = exec("own", true, json!({ "retry": { "attempts": 1 } }));
    let run = submit(&daemon, "both", &[exec("of-kind", true, json!({})), own]);
    let shown = daemon.end_of(&run);
    assert_eq!(stage_of(&shown, "own")["attempts"], 1, "{shown:#}");
    let told = policy(&daemon, &run, "of-kind");
    assert_eq!(
        (&told["attempts"], &told["backoff_ms"], &told["factor"], &told["from"]["attempts"]),
        (&json!(2), &json!(50), &json!(1.0), &json!("settings of the kind")),
        "{told:#}"
    );
    assert_eq!(told["from"]["retry_on"], "built in");
    assert_eq!(policy(&daemon, &run, "own")["from"]["attempts"], "stage");
    // One stage alone, so that no other ends the run first.
    let alone = submit(&daemon, "alone", &[exec("of-kind", true, json!({}))]);
    assert_eq!(stage_of(&daemon.end_of(&alone), "of-kind")["attempts"], 2);
    // At work when the settings change: it keeps what it was submitted under.
    let long = json!({ "retry": { "backoff": "1h", "backoff_max": "1h" } });
    let kept = submit(&daemon, "kept", &[exec("of-kind", true, long)]);
    daemon.stage_reaches(&kept, "of-kind", "backoff");
    daemon.terminate();
    daemon.change_settings(json!({ "retries": { "exec": { "attempts": 1 } } }));
    daemon.restart();
    assert_eq!(policy(&daemon, &kept, "of-kind")["attempts"], 2);
    let later = submit(&daemon, "later", &[exec("of-kind", true, json!({}))]);
    assert_eq!(stage_of(&daemon.end_of(&later), "of-kind")["attempts"], 1);
    daemon.ctl(&["cancel", &kept]).expect(0);
}

#[test]
fn a_class_of_the_settings_ends_or_repeats_attempts_and_never_repeats_what_must_not_be() {
    let daemon = Daemon::with(json!({
        "retries": { "exec": { "attempts": 2, "backoff": "50ms" } },
        "error_classes": { "EX-0530": "ambiguous", "resource_unavailable": "permanent" },
    }));
    // A program that may be repeated is, under its new class; one that must not be waits for a person.
    let may = submit(&daemon, "may", &[exec("program", true, json!({}))]);
    assert_eq!(stage_of(&daemon.end_of(&may), "program")["attempts"], 2);
    let must_not = submit(&daemon, "must-not", &[exec("program", false, json!({}))]);
    wait_for("a person is asked", PATIENCE, || {
        let why = daemon.ctl(&["explain", &must_not]).expect(0).json();
        (why["waits"][0]["reason"] == "in-doubt").then_some(())
    });
    let told = daemon.ctl(&["explain", &must_not]).expect(0).json();
    assert_eq!(told["error_classes"]["EX-0530"], "ambiguous", "{told:#}");
    assert_eq!(told["error_classes"]["EX-0501"], "permanent", "{told:#}");
    let events = daemon.events(&must_not);
    assert_eq!(events.iter().filter(|event| event["event"] == "StageStarted").count(), 1, "{events:#?}");
    daemon.ctl(&["cancel", &must_not]).expect(0);
}

/// What a daemon says that is started with these settings, which must keep it from starting.
fn refused(daemon: &Daemon) -> Answer {
    let mut command: Command = daemon.command();
    crate::harness::run_program(&mut command, PATIENCE)
}

#[test]
fn policies_out_of_their_range_keep_the_daemon_from_starting_with_key_line_and_range() {
    let daemon = Daemon::unstarted(None, &settings());
    let base: String =
        settings().as_object().unwrap().iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
    let first = base.lines().count() + 1;
    let text = format!(
        "{base}retries:\n  exec:\n    attempts: 0\n  quibit: {{attempts: 2}}\n  check: {{backoff: 2d, retry_on: [seldom]}}\nerror_classes:\n  EX-0531: transient\n  EX-0514: fatal\n"
    );
    daemon.file("settings.yaml", &text);
    let said = refused(&daemon);
    assert_eq!(said.code, 8, "{}", said.stderr);
    for (line, expected) in [
        (2, "retries.exec.attempts, line LINE: expected 1 to 100 attempts in all, got 0"),
        (3, "retries.quibit, line LINE: expected a stage kind (initialization"),
        (4, "retries.check.backoff, line LINE: expected a duration from 1ms to 1d"),
        (4, "retries.check.retry_on, line LINE: expected a list of transient, ambiguous"),
        (6, "error_classes.EX-0531, line LINE: expected permanent or ambiguous"),
        (7, "error_classes.EX-0514, line LINE: expected transient, permanent or ambiguous, got \"fatal\""),
    ] {
        let expected = expected.replace("LINE", &(first + line).to_string());
        assert!(said.stderr.contains(&expected), "no {expected} in:\n{}", said.stderr);
    }
}
