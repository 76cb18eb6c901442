//! Schedules: submitted by the clock, once, whatever is killed; and what is refused.

use crate::harness::{Daemon, PATIENCE, small_problem, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

fn quick(daemon: &Daemon) -> String {
    let stage = json!({"name": "a", "kind": "exec", "idempotent": true, "command": ["/bin/true"]});
    daemon.file("quick.yaml", &json!({ "workflow": "quick", "stages": [stage] }).to_string())
}

/// Its run is open until the file is there.
fn waits(daemon: &Daemon) -> (String, PathBuf) {
    let go = daemon.folder().join("go");
    let script = format!("while ! test -e {}; do sleep 0.02; done", go.display());
    let stage =
        json!({"name": "a", "kind": "exec", "idempotent": true, "command": ["/bin/sh", "-c", script]});
    (daemon.file("waits.yaml", &json!({ "workflow": "waits", "stages": [stage] }).to_string()), go)
}

fn runs(daemon: &Daemon) -> Vec<String> {
    let listed = daemon.ctl(&["list"]).expect(0).json();
    listed["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

fn shown(daemon: &Daemon, name: &str) -> Value {
    daemon.ctl(&["schedule", "show", name]).expect(0).json()
}

#[test]
fn a_moment_that_came_while_the_daemon_was_killed_is_made_up_for_once_under_a_key_of_its_own() {
    let mut daemon = Daemon::start();
    let file = quick(&daemon);
    let args = ["schedule", "add", "each", "--cron", "* * * * *", "--catch-up", "one", &file];
    let added = daemon.ctl(&args).expect(0).json();
    let due = added["next"].as_str().unwrap().to_owned();
    assert!(due.ends_with(":00.000Z"), "{added:#}");
    // A schedule that passes what it missed stands beside it.
    daemon.ctl(&["schedule", "add", "strict", "--cron", "* * * * *", "--overlap", "queue", &file]).expect(0);
    daemon.ctl(&["schedule", "pause", "strict"]).expect(0);
    daemon.kill9();
    let at = humantime::parse_rfc3339(&due).unwrap();
    let left = at.duration_since(std::time::SystemTime::now()).unwrap_or_default();
    // The clock itself is what is tried here.
    std::thread::sleep(left + Duration::from_millis(300));
    daemon.restart();
    let fire = wait_for("the moment is made up for", PATIENCE, || {
        let shown = shown(&daemon, "each");
        shown["fires"].as_array().unwrap().first().filter(|fire| fire["run"].is_string()).cloned()
    });
    assert_eq!((&fire["due"], &fire["state"]), (&json!(due), &json!("submitted")), "{fire:#}");
    let key = format!("each@{}", due.replace(".000Z", "Z"));
    assert_eq!(fire["key"], json!(key));
    let run = fire["run"].as_str().unwrap().to_owned();
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    daemon.ctl(&["schedule", "remove", "each"]).expect(0);
    // The same key by hand is the same run, and the paused one did nothing.
    assert_eq!(daemon.submit(&[&file, "--key", &key]), run);
    daemon.kill9();
    daemon.restart();
    assert_eq!(runs(&daemon), [run]);
    assert_eq!(shown(&daemon, "strict")["fired"], 0);
    let submitted = daemon.events(&runs(&daemon)[0]).first().cloned().unwrap();
    assert_eq!(submitted["event"], "RunSubmitted");
    daemon.expect_journal_whole();
}

#[test]
fn killed_between_firing_and_answering_a_schedule_neither_loses_nor_doubles_its_run() {
    let mut daemon = Daemon::start();
    let file = quick(&daemon);
    let rounds = 6;
    for round in 0..rounds {
        let name = format!("s{round}");
        daemon.ctl(&["schedule", "add", &name, "--cron", "@yearly", &file]).expect(0);
        let mut asks = crate::harness::client();
        asks.arg("--socket").arg(daemon.socket()).args(["schedule", "run", &name]);
        let asker = std::thread::spawn(move || crate::harness::run_program(&mut asks, PATIENCE));
        std::thread::sleep(Duration::from_millis(round * 4));
        daemon.kill9();
        let answer = asker.join().unwrap();
        daemon.restart();
        // What was journaled as fired has exactly one run, found again by its key.
        let after = wait_for("the submission is settled", PATIENCE, || {
            let after = shown(&daemon, &name);
            let settled =
                after["fired"] == 0 || after["fires"].as_array().is_some_and(|fires| fires.len() == 1);
            settled.then_some(after)
        });
        if answer.code == 0 {
            assert_eq!(after["fired"], 1, "an acknowledged run was lost: {after:#}");
        }
    }
    let fired: Vec<Value> = (0..rounds)
        .flat_map(|round| shown(&daemon, &format!("s{round}"))["fires"].as_array().unwrap().clone())
        .collect();
    let named: Vec<String> = fired.iter().map(|fire| fire["run"].as_str().unwrap().to_owned()).collect();
    assert_eq!(named, runs(&daemon), "runs and fires are not the same");
    daemon.expect_journal_whole();
}

#[test]
fn what_would_never_come_come_too_often_or_go_on_for_ever_is_refused_with_the_reason() {
    let daemon = Daemon::start();
    let file = quick(&daemon);
    let again = json!({"name": "again", "kind": "exec", "command": ["/bin/sh", "-c", "executingctl schedule run loop"]});
    let cyclic = daemon.file("cyclic.yaml", &json!({ "workflow": "c", "stages": [again] }).to_string());
    let add = |args: &[&str]| daemon.ctl(&[&["schedule", "add"], args].concat());
    for (args, code, why) in [
        (&["n", "--cron", "0 0 30 2 *", &file][..], 8, "30th of February"),
        (&["n", "--cron", "* * * * * *", &file], 8, "no cron line"),
        (&["n", "--cron", "61 * * * *", &file], 8, "no cron line"),
        (&["n", "--cron", "@daily", "--timezone", "Europe/Madird", &file], 8, "Europe/Madrid"),
        (&["n", "--cron", "*/5 * * * *", "--interval-min", "1h", &file], 8, "every 300 s"),
        (&["n", "--cron", "@daily", "--interval-min", "10s", &file], 8, "60 s"),
        (&["n", "--cron", "*/5 * * * *", "--jitter", "5min", &file], 8, "jitter"),
        (&["n", "--cron", "@daily", "--catch-up", "101", &file], 8, "1 to 100"),
        (&["a name", "--cron", "@daily", &file], 8, "letters"),
        (&["loop", "--cron", "@daily", &cyclic], 8, "for ever"),
        (&["n", "--cron", "@daily", "full-optimization", "--set", "space=nowhere.yaml"], 8, "nowhere.yaml"),
        (&["n", "--cron", "@daily", "--overlap", "both", &file], 2, "overlap"),
        (&["n", &file], 2, "--cron"),
    ] {
        let answer = add(args).expect(code);
        assert!(answer.stderr.contains(why), "{args:?}: {}", answer.stderr);
    }
    assert_eq!(daemon.ctl(&["schedule", "list"]).expect(0).json()["schedules"], json!([]));
    add(&["other", "--cron", "@daily", &cyclic]).expect(0);
    add(&["other", "--cron", "@daily", &file]).expect(5);
    assert!(runs(&daemon).is_empty());
}

#[test]
fn a_schedule_submits_at_most_once_a_minute_pauses_and_is_held_by_an_emergency_stop() {
    let daemon = Daemon::start();
    let (file, go) = waits(&daemon);
    daemon.ctl(&["schedule", "add", "skips", "--cron", "@yearly", "--as", "ada", &file]).expect(0);
    let run = daemon.ctl(&["schedule", "run", "skips"]).expect(0).json()["run"].as_str().unwrap().to_owned();
    assert_eq!(daemon.show(&run)["submitted_by"], "ada", "on behalf of who added it");
    let soon = daemon.ctl(&["schedule", "run", "skips"]).expect(75);
    assert!(soon.stderr.contains("EX-0067") && soon.stderr.contains("60 s"), "{}", soon.stderr);
    fs::write(&go, "").unwrap();
    daemon.end_of(&run);
    daemon.ctl(&["schedule", "pause", "skips", "--reason", "inventory"]).expect(0);
    daemon.ctl(&["schedule", "pause", "skips"]).expect(5);
    let paused = shown(&daemon, "skips");
    assert_eq!(
        (&paused["state"], &paused["reason"], &paused["next"]),
        (&json!("paused"), &json!("inventory"), &Value::Null)
    );
    daemon.ctl(&["schedule", "resume", "skips"]).expect(0);
    daemon.ctl(&["schedule", "resume", "skips"]).expect(5);
    let next = daemon.ctl(&["schedule", "next", "skips", "-n", "3"]).expect(0).json();
    let locals: Vec<&str> =
        next["next"].as_array().unwrap().iter().map(|n| n["local"].as_str().unwrap()).collect();
    assert!(locals.len() == 3 && locals.iter().all(|local| local.ends_with("-01-01 00:00 UTC")), "{next:#}");
    // An emergency stop holds schedules too.
    daemon.ctl(&["schedule", "add", "held", "--cron", "@yearly", &file]).expect(0);
    daemon.ctl(&["emergency-stop", "--reason", "drill"]).expect(0);
    daemon.ctl(&["schedule", "run", "held"]).expect(75);
    daemon.ctl(&["emergency-clear"]).expect(0);
    assert_eq!(runs(&daemon).len(), 1);
    daemon.ctl(&["schedule", "run", "held"]).expect(0);
}

#[test]
fn inputs_of_a_schedule_stay_as_long_as_it_does() {
    let daemon = Daemon::with(json!({
        "retention": {"finished_runs_max": 1, "every_seconds": 86_400, "artefact_grace_seconds": 1}
    }));
    let files = small_problem();
    let mut args = vec!["schedule", "add", "kept", "--cron", "@yearly", "full-optimization"];
    args.extend(files.iter().map(String::as_str));
    daemon.ctl(&args).expect(0);
    let inputs = shown(&daemon, "kept")["inputs"].as_object().unwrap().len() as u64;
    assert!(inputs >= 4);
    let collect = |removed_now: &dyn Fn(u64, u64) -> bool| {
        wait_for("artefacts are collected", PATIENCE, || {
            let said = daemon.ctl(&["gc"]).expect(0).json();
            let (rooted, removed) = (&said["artefacts"]["rooted"], &said["artefacts"]["removed"]);
            removed_now(rooted.as_u64().unwrap(), removed.as_u64().unwrap()).then_some(())
        });
    };
    collect(&|rooted, removed| {
        assert_eq!((rooted, removed), (inputs, 0));
        true
    });
    daemon.ctl(&["schedule", "remove", "kept"]).expect(0);
    collect(&|_, removed| removed == inputs);
}
