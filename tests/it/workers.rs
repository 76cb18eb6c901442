//! Workers that die, hang, lie or starve: it costs an attempt, never the run, never the daemon.

use crate::harness::{Daemon, PATIENCE, is_alive, of_stage, signal, small_problem, small_run, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const STAGE: &str = "feasible-enumeration/feasible-set-generation";

/// The codes of the errors that led to another attempt of the stage.
fn retried(events: &[Value], stage: &str) -> Vec<String> {
    let planned = events.iter().filter(|e| e["event"] == "StageRetryPlanned" && e["stage"] == stage);
    planned.map(|e| e["error"]["code"].as_str().unwrap().to_owned()).collect()
}

/// The stage failed once with `code` and succeeded at its second attempt; all others were not touched.
#[track_caller]
fn expect_second_attempt(daemon: &mut Daemon, run: &str, stage: &str, code: &str) {
    let pid = daemon.pid();
    let shown = daemon.end_of(run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let events = daemon.events(run);
    assert_eq!(retried(&events, stage), [code]);
    let succeeded: Vec<_> =
        of_stage(&events, stage).into_iter().filter(|(event, _)| event == "StageSucceeded").collect();
    assert_eq!(succeeded, [("StageSucceeded".to_owned(), 2)]);
    assert_eq!(crate::harness::stage_of(&shown, stage)["attempts"], 2);
    assert!(daemon.is_running() && daemon.pid() == pid, "the daemon did not survive");
    daemon.expect_healthy();
}

fn slow_run(daemon: &Daemon) -> String {
    let files = small_problem();
    let pause = ["--set", "drill_sleep_ms=3000", "--set", "drill_stage=feasible-set-generation"];
    daemon.submit(&small_run(&files, &pause))
}

#[test]
fn a_worker_killed_in_the_middle_costs_one_attempt() {
    let mut daemon = Daemon::start();
    let run = slow_run(&daemon);
    let worker = daemon.worker_of(&run, STAGE);
    signal(worker, Signal::SIGKILL);
    expect_second_attempt(&mut daemon, &run, STAGE, "EX-0501");
}

#[test]
fn a_stopped_worker_is_found_by_its_silence_killed_and_costs_one_attempt() {
    let mut daemon = Daemon::with(json!({"heartbeat_ms": 1500}));
    let run = slow_run(&daemon);
    let worker = daemon.worker_of(&run, STAGE);
    signal(worker, Signal::SIGSTOP);
    wait_for("the stopped worker is killed", PATIENCE, || (!is_alive(worker)).then_some(()));
    expect_second_attempt(&mut daemon, &run, STAGE, "EX-0502");
}

/// One drill on the first attempt of one stage.
fn drill(name: &str, code: &str) {
    let mut daemon = Daemon::start();
    let files = small_problem();
    let fault = format!("drill_{name}=1");
    let run =
        daemon.submit(&small_run(&files, &["--set", &fault, "--set", "drill_stage=feasible-set-generation"]));
    expect_second_attempt(&mut daemon, &run, STAGE, code);
    let left = daemon.workers();
    assert!(left.is_empty(), "worker processes are left over: {left:?}");
}

#[test]
fn a_worker_that_aborts_costs_one_attempt() {
    drill("crash", "EX-0501");
}

#[test]
fn a_worker_that_goes_silent_costs_one_attempt() {
    drill("hang", "EX-0502");
}

#[test]
fn a_worker_that_talks_garbage_costs_one_attempt() {
    drill("garbage", "EX-0503");
}

#[test]
fn a_worker_that_leaves_without_a_result_costs_one_attempt() {
    drill("exit_without_result", "EX-0504");
}

#[test]
fn a_worker_that_runs_out_of_memory_costs_one_attempt_and_the_error_says_so() {
    drill("allocate", "EX-0506");
}

#[test]
fn when_all_attempts_are_spent_the_run_is_rolled_back_and_the_client_exits_with_1() {
    let daemon = Daemon::start();
    let files = small_problem();
    let faults = ["--set", "drill_crash=[1,2,3]", "--set", "drill_stage=result-integration", "--wait"];
    let args: Vec<&str> = std::iter::once("submit").chain(small_run(&files, &faults)).collect();
    let answer = daemon.ctl_within(&args, crate::harness::RUN_PATIENCE).expect(1);
    let ended = answer.json();
    assert_eq!(ended["phase"], "rolled-back", "{ended:#}");
    assert_eq!(ended["error"]["code"], "EX-0501", "{ended:#}");
    let run = ended["run"].as_str().unwrap();
    let events = daemon.events(run);
    assert_eq!(retried(&events, "result-integration").len(), 2, "three attempts in all");
    let undone: Vec<&str> = events
        .iter()
        .filter(|e| e["event"] == "CompensationSucceeded")
        .map(|e| e["stage"].as_str().unwrap())
        .collect();
    // In reverse order of their work; what has nothing to undo is left out.
    assert_eq!(undone, ["risk-aware-selection/quantum-backend-setup", "initialization"]);
    daemon.expect_healthy();
}
