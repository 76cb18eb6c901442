//! What is refused, and with which exit code.

use super::two_stages;
use crate::harness::{Daemon, PATIENCE, client, run_program};
use serde_json::json;
use std::fs;
use std::path::Path;

#[test]
fn every_verb_about_an_unknown_run_exits_with_3() {
    let daemon = Daemon::start();
    for args in [
        &["show", "run-999999"][..],
        &["events", "run-999999"],
        &["events", "run-999999", "--follow"],
        &["watch", "run-999999"],
        &["result", "run-999999"],
        &["result", "run-999999", "--artifact", "x.json"],
        &["pause", "run-999999"],
        &["resume", "run-999999"],
        &["cancel", "run-999999"],
        &["retry", "run-999999"],
        &["tune", "run-999999", "a.b=1"],
        &["approve", "run-999999", "gate"],
        &["reject", "run-999999", "gate"],
        &["explain", "run-999999"],
        &["compare", "run-999999", "run-999998"],
    ] {
        let refused = daemon.ctl(args);
        assert_eq!(refused.code, 3, "{args:?}: {refused:?}");
        assert!(
            refused.stderr.contains("error[EX-0003]") && refused.stderr.contains("run-999999"),
            "{args:?}: {}",
            refused.stderr
        );
        assert!(refused.stdout.is_empty(), "{args:?}");
    }
    daemon.expect_healthy();
}

#[test]
fn an_unknown_artefact_exits_with_3_and_names_those_there_are() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    fs::write(&go, "").unwrap();
    let run = daemon.succeed(&[&file]);
    let refused = daemon.ctl(&["result", &run, "--artifact", "nothing.json"]).expect(3);
    assert!(
        refused.stderr.contains("EX-0016") && refused.stderr.contains("stdout.txt"),
        "{}",
        refused.stderr
    );
    let listed = daemon.ctl(&["result", &run]).expect(0).json();
    assert!(listed["artifacts"].as_array().unwrap().iter().any(|a| a["name"] == "stdout.txt"), "{listed:#}");
}

#[test]
fn a_second_daemon_on_the_same_directory_exits_with_75_and_the_first_goes_on() {
    let mut daemon = Daemon::start();
    let second = run_program(&mut daemon.command(), PATIENCE).expect(75);
    assert!(second.stderr.contains("error[EX-0011]"), "{}", second.stderr);
    assert_eq!(second.stderr.lines().count(), 1, "one clear error: {}", second.stderr);
    assert!(daemon.is_running());
    daemon.expect_healthy();
    daemon.expect_journal_whole();
}

#[test]
fn without_a_daemon_the_client_exits_with_6_and_with_wrong_words_with_2() {
    let nowhere = Path::new("/nonexistent/control.sock");
    let answer = run_program(client().arg("--socket").arg(nowhere).arg("list"), PATIENCE).expect(6);
    assert!(
        answer.stderr.contains("error[EX-") && answer.stderr.contains("/nonexistent/control.sock"),
        "{}",
        answer.stderr
    );
    run_program(client().arg("no-such-verb"), PATIENCE).expect(2);
    run_program(client().args(["approve", "run-000001"]), PATIENCE).expect(2);
}

#[test]
fn a_wait_that_is_too_short_exits_with_7_and_the_run_goes_on() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let run = daemon.submit(&[&file]);
    daemon.ctl(&["--timeout", "0.3", "watch", &run]).expect(7);
    assert_eq!(daemon.show(&run)["phase"], "running");
    fs::write(&go, "").unwrap();
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
}

#[test]
fn another_name_and_a_fault_on_purpose_are_denied_where_the_settings_say_so() {
    let daemon = Daemon::with(json!({"trust_client_names": false, "fault_injection": false}));
    let refused = daemon.ctl(&["list", "--as", "approver"]).expect(4);
    assert!(refused.stderr.contains("error[EX-0004]"), "{}", refused.stderr);
    daemon.ctl(&["inject", "worker-1"]).expect(4);
    daemon.expect_healthy();
}
