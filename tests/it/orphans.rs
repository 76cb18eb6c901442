//! kill -9 of a busy daemon: of its worker processes, busy, spare or a program of the user's, nothing
//! is left a moment later.
//!
//! `ROUNDS` sets how many kills (5 if unset). Each prints how long the last process lived on.

use crate::harness::{Daemon, PATIENCE, RUN_PATIENCE, small_problem, small_run, wait_for};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 5;
/// What is promised on a machine that is not overloaded; the share that kept it is printed.
const PROMISED: Duration = Duration::from_millis(100);
/// What even a busy machine keeps.
const TOLERATED: Duration = Duration::from_secs(5);
/// The user's program, told from any other by its argument.
const NAP_SECONDS: &str = "86399";

#[derive(Debug, Clone)]
struct Found {
    pid: u32,
    name: String,
    parent: u32,
    group: u32,
    arguments: String,
}

/// All processes that are not merely waiting to be buried.
fn processes() -> Vec<Found> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // `pid (name) state ppid pgrp ..`; the name may hold anything.
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').take(3).collect();
        let [state, parent, group] = fields[..] else { continue };
        if state == "Z" || state == "X" {
            continue;
        }
        let name = head.split_once('(').map(|(_, name)| name.to_owned()).unwrap_or_default();
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        found.push(Found {
            pid,
            name,
            parent: parent.parse().unwrap(),
            group: group.parse().unwrap(),
            arguments,
        });
    }
    found
}

/// Waits until the daemon has all three kinds of processes; gives their groups.
fn busy_groups(daemon: &Daemon) -> BTreeSet<u32> {
    wait_for("a busy worker, a spare and a program run", RUN_PATIENCE, || {
        let own: Vec<Found> = processes().into_iter().filter(|p| p.parent == daemon.pid()).collect();
        let has = |is: &dyn Fn(&Found) -> bool| own.iter().any(is);
        let whole = !daemon.workers().is_empty()
            && has(&|p| p.name == "executing-spare")
            && has(&|p| p.arguments.contains(NAP_SECONDS) && p.name == "sleep");
        whole.then(|| own.iter().map(|p| p.group).collect())
    })
}

#[test]
fn nothing_of_a_busy_daemon_is_left_a_moment_after_kill_9() {
    let rounds = match std::env::var("ROUNDS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("ROUNDS must be a whole number, not {text}")),
        Err(_) => ROUNDS,
    };
    let mut daemon = Daemon::with(json!({"worker_slots": 2, "spare_workers": 1}));
    let files = small_problem();
    let nap = json!({"workflow": "nap", "stages": [
        {"name": "nap", "kind": "exec", "idempotent": true, "command": ["/bin/sleep", NAP_SECONDS]}
    ]});
    let nap = daemon.file("nap.yaml", &nap.to_string());
    daemon.submit(&[&nap]);
    let slow = ["--set", "drill_sleep_ms=3600000", "--set", "drill_stage=feasible-set-generation"];
    daemon.submit(&small_run(&files, &slow));
    let mut took = Vec::new();
    for round in 1..=rounds {
        let groups = busy_groups(&daemon);
        daemon.kill9();
        let begun = Instant::now();
        let gone = loop {
            let left: Vec<Found> = processes().into_iter().filter(|p| groups.contains(&p.group)).collect();
            if left.is_empty() {
                break begun.elapsed();
            }
            assert!(begun.elapsed() < TOLERATED, "round {round}: {left:#?} outlived their daemon");
            std::thread::sleep(Duration::from_millis(1));
        };
        took.push(gone);
        // The runs go on by themselves: the next round finds the daemon as busy as this one.
        daemon.restart();
    }
    took.sort_unstable();
    let kept = took.iter().filter(|time| **time <= PROMISED).count();
    println!(
        "{kept} of {rounds} kills left nothing after {PROMISED:?}; median {:?}, worst {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
}

#[test]
fn spares_are_killed_by_an_emergency_stop_come_back_after_its_clearing_and_go_with_the_daemon() {
    let mut daemon = Daemon::with(json!({"spare_workers": 2}));
    let spares = |daemon: &Daemon| -> Vec<u32> {
        let own = processes().into_iter().filter(|p| p.parent == daemon.pid() && p.name == "executing-spare");
        own.map(|p| p.pid).collect()
    };
    let noted = |daemon: &Daemon| {
        let files = std::fs::read_dir(daemon.state().join("workers")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("spare-"))
            .count()
    };
    wait_for("two spares", PATIENCE, || (spares(&daemon).len() == 2).then_some(()));
    assert_eq!(noted(&daemon), 2);
    let before = spares(&daemon);
    daemon.ctl(&["emergency-stop", "--reason", "a test of it"]).expect(0);
    wait_for("no spare", PATIENCE, || spares(&daemon).is_empty().then_some(()));
    // It outlives the daemon, and so does the rule that no spare waits.
    daemon.kill9();
    daemon.restart();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(spares(&daemon), Vec::<u32>::new());
    daemon.ctl(&["emergency-clear", "--reason", "the test is over"]).expect(0);
    wait_for("two spares again", PATIENCE, || (spares(&daemon).len() == 2).then_some(()));
    assert!(spares(&daemon).iter().all(|pid| !before.contains(pid)));
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(noted(&daemon), 0, "pid files are left of spares that were ended in order");
}

#[test]
fn a_leftover_spare_is_ended_by_the_next_daemon() {
    use std::os::unix::process::CommandExt;
    let mut daemon = Daemon::start();
    daemon.kill9();
    // A process of another group stands for a spare that its daemon's death did not reach.
    let mut leftover = std::process::Command::new("/bin/sleep").arg("1000").process_group(0).spawn().unwrap();
    let pid = leftover.id();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
    let file = daemon.state().join("workers").join(format!("spare-{pid}.pid"));
    std::fs::write(&file, format!("{pid} {ticks}\n")).unwrap();
    daemon.restart();
    let status = wait_for("the leftover is ended", PATIENCE, || leftover.try_wait().unwrap());
    assert!(!status.success() && !file.exists());
}
