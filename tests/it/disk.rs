//! A disk that fills up while a run is under way: it waits and says so, and goes on when there is room.

use crate::harness::{Daemon, PATIENCE, SmallDisk, small_problem, small_run, started_again, wait_for};
use std::time::{Duration, Instant};

/// Room for the journal's reserve, checkpoints and the artefacts of a small run.
const DISK_KIB: u64 = 128 * 1024;

#[track_caller]
fn expect_open(daemon: &Daemon, run: &str) {
    let shown = daemon.show(run);
    let phase = &shown["phase"];
    assert!(phase == "running" || phase == "paused", "the run did not wait: {shown:#}");
}

#[test]
fn a_run_waits_while_the_disk_is_full_and_succeeds_once_there_is_room() {
    let Some(disk) = SmallDisk::mount(DISK_KIB) else {
        println!("skipped: mounting a small file system is not allowed here");
        return;
    };
    let mut daemon = Daemon::on(&disk.path().join("state"));
    let files = small_problem();
    let pause = ["--set", "drill_sleep_ms=500"];
    let run = daemon.submit(&small_run(&files, &pause));
    daemon.stage_reaches(&run, "feasible-enumeration/constraint-validation", "running");
    disk.fill();

    wait_for("the full disk is noticed", PATIENCE, || {
        expect_open(&daemon, &run);
        let health = daemon.ctl(&["health"]);
        (health.code == 75 && health.json()["components"]["disk"]["ok"] == false).then_some(())
    });
    // Longer than all attempts of a stage with their pauses.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        expect_open(&daemon, &run);
        std::thread::sleep(Duration::from_millis(50));
    }
    disk.clear();
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(started_again(&daemon.events(&run)), Vec::<String>::new());
    assert!(daemon.is_running());
    daemon.expect_healthy();
    daemon.expect_journal_whole();
}
