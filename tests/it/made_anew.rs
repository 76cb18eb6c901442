//! Parts of the daemon that are made anew in the middle of work, and the daemon itself: nothing is granted
//! twice, no request is lost, and the order of requests stays.

use crate::harness::{Daemon, PATIENCE, wait_for};
use serde_json::{Value, json};
use std::fs;

/// A program that runs until `go` is there.
fn waits_for_go(daemon: &Daemon) -> (String, std::path::PathBuf) {
    let go = daemon.folder().join("go");
    let command = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let text = format!(
        "workflow: waits\nstages:\n  - name: program\n    kind: exec\n    idempotent: true\n    params: {{command: [sh, -c, \"{command}\"]}}\n"
    );
    (daemon.file("waits.yaml", &text), go)
}

/// Kills one actor, and nothing else, and waits until there is a new one.
#[track_caller]
fn kill(daemon: &Daemon, child: &str) {
    let restarts = || {
        let tree = daemon.ctl(&["tree"]).expect(0).json();
        let children = tree["children"].as_array().unwrap();
        children.iter().find(|node| node["id"] == child).unwrap()["restarts"].as_u64().unwrap()
    };
    let before = restarts();
    daemon.ctl(&["inject", child, "--fault", "kill"]).expect(0);
    wait_for("the restart", PATIENCE, || (restarts() > before).then_some(()));
}

/// Run and fence of each lease in force.
fn leases(daemon: &Daemon) -> Vec<(Value, Value)> {
    let shown = daemon.ctl(&["resources"]).expect(0).json();
    let leases = shown["leases"].as_array().unwrap();
    leases.iter().map(|lease| (lease["run"].clone(), lease["fence"].clone())).collect()
}

/// Positions of the program's starts, and of its end.
fn starts_and_end(daemon: &Daemon, run: &str) -> (Vec<u64>, u64) {
    let events = daemon.events(run);
    let of = |name: &str| -> Vec<u64> {
        let named = events.iter().filter(|event| event["event"] == name);
        named.map(|event| event["position"].as_u64().unwrap()).collect()
    };
    (of("StageStarted"), of("StageSucceeded")[0])
}

#[test]
fn a_resource_manager_made_anew_knows_every_lease_before_it_grants_another() {
    let daemon = Daemon::with(json!({"worker_slots": 4, "cpu_cores": 2, "cpu_overcommit": true}));
    let (file, go) = waits_for_go(&daemon);
    let runs: Vec<String> = (0..5).map(|_| daemon.submit(&[&file])).collect();
    for run in &runs[..2] {
        daemon.stage_reaches(run, "program", "running");
    }
    let before = leases(&daemon);
    assert_eq!(before.len(), 2);
    for _ in 0..2 {
        kill(&daemon, "resources");
        assert_eq!(leases(&daemon), before);
    }
    fs::write(&go, "").unwrap();
    let mut steps = Vec::new();
    for run in &runs {
        assert_eq!(daemon.end_of(run)["phase"], "succeeded");
        let (starts, end) = starts_and_end(&daemon, run);
        assert_eq!(starts.len(), 1, "{run} lost an attempt");
        steps.extend([(starts[0], 1), (end, -1)]);
    }
    steps.sort_unstable();
    let mut at_once = 0;
    for (position, step) in steps {
        at_once += step;
        assert!(at_once <= 2, "{at_once} programs hold the two cores at {position}");
    }
    wait_for("all leases are given back", PATIENCE, || leases(&daemon).is_empty().then_some(()));
}

#[test]
fn a_scheduler_made_anew_is_asked_again_by_all_that_wait_and_in_their_order() {
    let daemon = Daemon::with(json!({"worker_slots": 1}));
    let (file, go) = waits_for_go(&daemon);
    let holder = daemon.submit(&[&file]);
    daemon.stage_reaches(&holder, "program", "running");
    let first = daemon.submit(&[&file]);
    daemon.stage_reaches(&first, "program", "ready");
    kill(&daemon, "scheduler");
    let second = daemon.submit(&[&file]);
    daemon.stage_reaches(&second, "program", "ready");
    fs::write(&go, "").unwrap();
    for run in [&holder, &first, &second] {
        assert_eq!(daemon.end_of(run)["phase"], "succeeded");
    }
    let (first, second) = (starts_and_end(&daemon, &first).0, starts_and_end(&daemon, &second).0);
    assert!(first < second, "the older request was lost: {first:?} {second:?}");
}

#[test]
fn what_ran_before_a_restart_begins_before_what_only_waited() {
    let mut daemon = Daemon::with(json!({"worker_slots": 1}));
    let (file, go) = waits_for_go(&daemon);
    let ran = daemon.submit(&[&file]);
    daemon.stage_reaches(&ran, "program", "running");
    let waited: Vec<String> = (0..8).map(|_| daemon.submit(&[&file])).collect();
    for run in &waited {
        daemon.stage_reaches(run, "program", "ready");
    }
    daemon.kill9();
    fs::write(&go, "").unwrap();
    daemon.restart();
    let mut starts = Vec::new();
    for run in [&ran].into_iter().chain(&waited) {
        assert_eq!(daemon.end_of(run)["phase"], "succeeded");
        starts.extend(starts_and_end(&daemon, run).0.last().copied());
    }
    assert!(starts.is_sorted(), "room went to whoever asked first: {starts:?}");
}

#[test]
fn what_stands_outlives_the_compaction_of_its_streams() {
    let mut daemon = Daemon::start();
    let (file, _) = waits_for_go(&daemon);
    for name in ["kept", "paused"] {
        daemon.ctl(&["schedule", "add", name, "--cron", "@yearly", &file]).expect(0);
    }
    daemon.ctl(&["schedule", "pause", "paused", "--reason", "a drill"]).expect(0);
    for slot in ["worker-1", "worker-2"] {
        daemon.ctl(&["resource", "drain", slot, "--reason", "a new disk"]).expect(0);
    }
    let stands = |daemon: &Daemon| {
        let drains = daemon.ctl(&["resources"]).expect(0).json()["drains"].clone();
        let drains = drains.as_array().unwrap().iter().map(|drain| drain["resource"].clone());
        (drains.collect::<Vec<_>>(), daemon.ctl(&["schedule", "list"]).expect(0).json()["schedules"].clone())
    };
    let before = stands(&daemon);
    for _ in 0..2 {
        // Both streams begin anew, and the old ones go.
        let compacted = daemon.ctl(&["journal", "compact"]).expect(0).json();
        assert_eq!(compacted["compaction"]["dropped_streams"], 2, "{compacted}");
        daemon.kill9();
        daemon.restart();
        assert_eq!(stands(&daemon), before);
        // The new stream is written to: two records more, so that it is worth while to begin anew again.
        daemon.ctl(&["resource", "undrain", "worker-1"]).expect(0);
        assert_eq!(stands(&daemon).0.len(), 1);
        daemon.ctl(&["resource", "drain", "worker-1", "--reason", "a new disk"]).expect(0);
    }
    daemon.expect_journal_whole();
}
