//! The verbs and their exit codes, with the real client against the real daemon.
//!
//! Here those that steer a run; the files below have gates, refusals, faults on purpose, and looking.

mod faults;
mod gates;
mod looking;
mod refusals;

use crate::harness::{Daemon, of_stage, stage_of, started_again};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// `first` works until the file `go` is there, then `second`; neither needs an input. Undoing `first` leaves
/// a line in `undone`.
fn two_stages(daemon: &Daemon) -> (String, PathBuf) {
    let go = daemon.folder().join("go");
    let text = json!({
        "workflow": "two-stages",
        "stages": [
            {
                "name": "first", "kind": "exec", "idempotent": true,
                "command": ["/bin/sh", "-c", format!("while ! test -e {}; do sleep 0.02; done", go.display())],
                "undo": ["/bin/sh", "-c", format!("echo undone >> {}", daemon.folder().join("undone").display())],
            },
            {"name": "second", "kind": "exec", "idempotent": true, "command": ["/bin/sh", "-c", "echo $EXECUTING_PARAMS"]},
        ],
    });
    (daemon.file("two-stages.yaml", &text.to_string()), go)
}

fn is_running(shown: &Value, stage: &str) -> bool {
    stage_of(shown, stage)["phase"] == "running"
}

#[test]
fn a_paused_run_lets_its_stage_finish_starts_no_other_and_goes_on_after_resume() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "first", "running");
    let paused = daemon.ctl(&["pause", &run]).expect(0).json();
    assert_eq!((&paused["run"], &paused["phase"]), (&json!(run), &json!("paused")));
    daemon.ctl(&["pause", &run]).expect(5);
    assert!(is_running(&daemon.show(&run), "first"), "a pause does not end what runs");
    fs::write(&go, "").unwrap();
    daemon.stage_reaches(&run, "first", "succeeded");
    let shown = daemon.show(&run);
    assert_eq!(shown["phase"], "paused");
    assert_eq!(
        of_stage(&daemon.events(&run), "second").iter().filter(|(e, _)| e == "StageStarted").count(),
        0
    );
    let why = daemon.ctl(&["explain", &run]).expect(0).json();
    assert!(why["stages"].to_string().contains("paused"), "{why:#}");
    daemon.ctl(&["resume", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    for verb in ["pause", "resume", "cancel", "retry"] {
        let refused = daemon.ctl(&[verb, &run]).expect(5);
        assert!(refused.stderr.contains("error[EX-0020]"), "{verb}: {}", refused.stderr);
    }
}

#[test]
fn a_cancelled_run_undoes_what_it_did_and_may_be_retried() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let undone = daemon.folder().join("undone");
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "first", "running");
    let answer = daemon.ctl(&["cancel", &run]).expect(0).json();
    assert!(["unwinding", "cancelled"].contains(&answer["phase"].as_str().unwrap()), "{answer:#}");
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
    daemon.ctl(&["watch", &run]).expect(1);
    assert_eq!(
        fs::read_to_string(&undone).unwrap(),
        "undone\n",
        "the stage in flight had an intent, so it is undone"
    );
    fs::write(&go, "").unwrap();
    daemon.ctl(&["retry", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
}

#[test]
fn a_failed_run_ends_rolled_back_with_exit_code_1_and_retry_goes_on_from_the_failed_stage() {
    let daemon = Daemon::start();
    let mended = daemon.folder().join("mended");
    let text = json!({
        "workflow": "fails-once",
        "stages": [
            {"name": "fine", "kind": "exec", "command": ["/bin/echo", "fine"]},
            {"name": "fragile", "kind": "exec", "command": ["/bin/sh", "-c", format!("test -e {} || {{ echo no spoon >&2; exit 3; }}", mended.display())]},
        ],
    });
    let file = daemon.file("fails-once.yaml", &text.to_string());
    let answer = daemon.ctl(&["submit", &file, "--wait"]).expect(1).json();
    assert_eq!(answer["phase"], "rolled-back");
    assert_eq!(answer["error"]["code"], "EX-0530", "{answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("no spoon"), "{answer:#}");
    let run = answer["run"].as_str().unwrap();
    let refused = daemon.ctl(&["retry", run, "--from", "nowhere"]).expect(3);
    assert!(refused.stderr.contains("EX-0019") && refused.stderr.contains("fragile"), "{}", refused.stderr);
    fs::write(&mended, "").unwrap();
    daemon.ctl(&["retry", run]).expect(0);
    assert_eq!(daemon.end_of(run)["phase"], "succeeded");
    assert_eq!(
        started_again(&daemon.events(run)),
        Vec::<String>::new(),
        "`fine` had succeeded and has no undo"
    );
}

#[test]
fn clients_at_once_get_runs_of_their_own_unless_they_use_the_same_key() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    fs::write(&go, "").unwrap();
    let submit = |args: Vec<&'static str>| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| daemon.submit(&[&[file.as_str()], args.as_slice()].concat())))
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        })
    };
    let own = submit(vec![]);
    assert_eq!(own.len(), 6, "{own:?}");
    let keyed = submit(vec!["--key", "night-shift"]);
    assert_eq!(keyed.len(), 1, "{keyed:?}");
    for run in own.iter().chain(&keyed) {
        assert_eq!(daemon.end_of(run)["phase"], "succeeded");
    }
    let listed = daemon.ctl(&["list"]).expect(0).json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 7);
    // A key that already stands for other content is a conflict, not a second run.
    let refused = daemon.ctl(&["submit", &file, "--key", "night-shift", "--set", "seed=99"]).expect(5);
    assert!(refused.stderr.contains("error[EX-0023]"), "{}", refused.stderr);
    let none = daemon.ctl(&["list", "--phase", "running"]).expect(0).json();
    assert_eq!(none["runs"], json!([]));
}

#[test]
fn the_same_key_gives_the_same_run_after_a_kill_of_the_daemon() {
    let mut daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    fs::write(&go, "").unwrap();
    let run = daemon.submit(&[&file, "--key", "k"]);
    daemon.end_of(&run);
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.submit(&[&file, "--key", "k"]), run);
}

#[test]
fn a_tuned_parameter_counts_from_the_stages_next_attempt() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "first", "running");
    let said = daemon.ctl(&["tune", &run, "second.colour=\"blue\""]).expect(0).json();
    assert!(said["changed"].is_array() && said["takes_effect"].is_string(), "{said:#}");
    daemon.ctl(&["tune", &run, "nowhere.colour=1"]).expect(3);
    fs::write(&go, "").unwrap();
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    let printed = String::from_utf8(daemon.artefact_bytes(&run, "stdout.txt")).unwrap();
    assert!(printed.contains("blue"), "{printed}");
}

#[test]
fn a_check_states_facts_and_demands_what_it_expects() {
    let daemon = Daemon::start();
    let checks = |expect: &str| {
        let stages = json!([
            {"name": "state", "kind": "check", "params": {"facts": {"count": 3}}},
            {"name": "demand", "kind": "check", "needs": ["state"], "params": {"expect": [expect]}},
        ]);
        daemon.file("checks.yaml", &json!({"workflow": "checks", "stages": stages}).to_string())
    };
    let run = daemon.succeed(&[&checks("count >= 3")]);
    let started = daemon.events(&run).iter().filter(|e| e["event"] == "StageStarted").count();
    assert_eq!(started, 2);
    for expect in ["count > 3", "missing > 3"] {
        let failed = daemon.ctl(&["submit", &checks(expect), "--wait"]).expect(1);
        let words = format!("{}{}", failed.stderr, String::from_utf8_lossy(&failed.stdout));
        assert!(words.contains("EX-0519"), "{words}");
    }
    // Not CEL, and CEL that would never come to an end: refused before anything is stored.
    let mut endless = "true".to_owned();
    for depth in 0..8 {
        let list = format!("[{}]", ["0"; 20].join(","));
        endless = format!("{list}.all(v{depth}, {endless})");
    }
    for expect in ["count >", &endless] {
        daemon.ctl(&["submit", &checks(expect)]).expect(8);
    }
    daemon.expect_healthy();
}

#[test]
fn a_run_that_unwinds_past_a_check_ends() {
    let daemon = Daemon::start();
    let stages = json!([
        {"name": "ok", "kind": "check", "params": {"undo": 1, "facts": {"a": 1}}},
        {"name": "no", "kind": "exec", "needs": ["ok"], "command": ["/bin/false"], "retry": {"attempts": 1}},
    ]);
    let file = daemon.file("u.yaml", &json!({"workflow": "u", "stages": stages}).to_string());
    let run = daemon.submit(&[&file]);
    assert_eq!(daemon.end_of(&run)["phase"], "rolled-back");
}
