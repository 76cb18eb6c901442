//! Programs of the user's (`exec`): they die with the daemon, and only what may be repeated is repeated.

use crate::harness::{Daemon, PATIENCE, is_alive, of_stage, signal, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// A stage that notes its process id and works until the file `go` is there.
fn long_work(daemon: &Daemon, idempotent: bool) -> (String, PathBuf, PathBuf) {
    let (pids, go) = (daemon.folder().join("pids"), daemon.folder().join("go"));
    let script =
        format!("echo $$ >> {}; while ! test -e {}; do sleep 0.02; done", pids.display(), go.display());
    let stage = json!({"name": "work", "kind": "exec", "idempotent": idempotent, "command": ["/bin/sh", "-c", script]});
    let text = json!({"workflow": "long-work", "stages": [stage]});
    (daemon.file("long-work.yaml", &text.to_string()), pids, go)
}

fn noted(pids: &PathBuf) -> Vec<u32> {
    let text = fs::read_to_string(pids).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn begins(pids: &PathBuf, times: usize) -> u32 {
    wait_for("the program begins", PATIENCE, || noted(pids).get(times - 1).copied())
}

#[test]
fn a_program_dies_with_its_daemon_and_is_repeated_if_it_may_be() {
    let mut daemon = Daemon::start();
    let (file, pids, go) = long_work(&daemon, true);
    let run = daemon.submit(&[&file]);
    let first = begins(&pids, 1);
    daemon.kill9();
    wait_for("the program dies with its daemon", PATIENCE, || (!is_alive(first)).then_some(()));
    daemon.restart();
    let second = begins(&pids, 2);
    assert_ne!(first, second);
    fs::write(&go, "").unwrap();
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    assert_eq!(noted(&pids).len(), 2);
}

#[test]
fn a_program_that_must_not_be_repeated_is_not_repeated_until_a_person_says_so() {
    let mut daemon = Daemon::start();
    let (file, pids, go) = long_work(&daemon, false);
    let run = daemon.submit(&[&file]);
    begins(&pids, 1);
    daemon.kill9();
    daemon.restart();
    wait_for("the stage is in doubt", PATIENCE, || {
        of_stage(&daemon.events(&run), "work").iter().any(|(event, _)| event == "StageInDoubt").then_some(())
    });
    let why = daemon.ctl(&["explain", &run]).expect(0).json();
    assert!(why["stages"][0]["why"].as_str().unwrap().contains("retry"), "{why:#}");
    assert_eq!(noted(&pids).len(), 1, "it was repeated without being asked");
    fs::write(&go, "").unwrap();
    daemon.ctl(&["retry", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    assert_eq!(noted(&pids).len(), 2);
}

#[test]
fn a_program_that_is_killed_is_in_doubt_unless_it_may_be_repeated() {
    let daemon = Daemon::start();
    let (file, pids, go) = long_work(&daemon, true);
    let run = daemon.submit(&[&file]);
    signal(begins(&pids, 1), Signal::SIGKILL);
    begins(&pids, 2);
    fs::write(&go, "").unwrap();
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    let retried = daemon.events(&run).into_iter().find(|e| e["event"] == "StageRetryPlanned").unwrap();
    assert_eq!(retried["error"]["code"], "EX-0531", "{retried:#}");
}

/// A program with a child of its own; both note their ids.
fn family(daemon: &Daemon) -> (String, PathBuf) {
    let pids = daemon.folder().join("pids");
    let script = format!("sleep 600 & echo $! >> {p}; echo $$ >> {p}; wait", p = pids.display());
    let stage =
        json!({"name": "work", "kind": "exec", "idempotent": true, "command": ["/bin/sh", "-c", script]});
    let text = json!({"workflow": "family", "stages": [stage]});
    (daemon.file("family.yaml", &text.to_string()), pids)
}

fn expect_gone(pids: &[u32]) {
    for pid in pids {
        wait_for("the whole process group is gone", PATIENCE, || (!is_alive(*pid)).then_some(()));
    }
}

#[test]
fn a_cancelled_program_is_killed_with_all_it_started() {
    let daemon = Daemon::start();
    let (file, pids) = family(&daemon);
    let run = daemon.submit(&[&file]);
    begins(&pids, 2);
    daemon.ctl(&["cancel", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
    expect_gone(&noted(&pids));
}

#[test]
fn what_a_program_had_started_is_ended_at_the_next_start_of_a_killed_daemon() {
    let mut daemon = Daemon::start();
    let (file, pids) = family(&daemon);
    let run = daemon.submit(&[&file]);
    begins(&pids, 2);
    let first = noted(&pids);
    daemon.kill9();
    daemon.restart();
    let gone = std::panic::catch_unwind(|| expect_gone(&first));
    begins(&pids, 4);
    daemon.ctl(&["cancel", &run]).expect(0);
    daemon.end_of(&run);
    if gone.is_err() {
        // Nobody else would end it.
        first.iter().filter(|pid| is_alive(**pid)).for_each(|pid| signal(*pid, Signal::SIGKILL));
        panic!("{first:?} outlived the daemon that had started them");
    }
}
