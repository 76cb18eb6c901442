//! Panics on purpose, stops in the middle of a stage, emergency stops: what goes on, and what was counted.

use super::two_stages;
use crate::harness::{
    Daemon, PATIENCE, client, run_program, small_problem, small_run, started_again, wait_for,
};
use serde_json::{Value, json};
use std::fs;

fn node<'t>(tree: &'t Value, id: &str) -> Option<&'t Value> {
    if tree["id"] == id {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| node(child, id))
}

fn restarts(node: &Value, id: &str) -> Option<u64> {
    if node["id"] == id {
        return node["restarts"].as_u64();
    }
    node["children"].as_array()?.iter().find_map(|child| restarts(child, id))
}

#[test]
fn a_child_that_panics_is_restarted_and_counted_and_its_siblings_are_not() {
    let mut daemon = Daemon::start();
    let pid = daemon.pid();
    for (child, faults) in [("worker-1", &["panic", "kill"][..]), ("health", &["panic"])] {
        for (time, fault) in (1..).zip(faults) {
            let done = daemon.ctl(&["inject", child, "--fault", fault]).expect(0).json();
            assert_eq!(done["injected"], true, "{done}");
            wait_for("the restart is counted", PATIENCE, || {
                let tree = daemon.ctl(&["tree"]).expect(0).json();
                (restarts(&tree, child) == Some(time)).then_some(())
            });
        }
    }
    let tree = daemon.ctl(&["tree"]).expect(0).json();
    for sibling in
        ["resources", "scheduler", "workers", "worker-2", "backends", "deployer", "runs", "orchestrator"]
    {
        assert_eq!(restarts(&tree, sibling), Some(0), "{sibling}: {tree:#}");
    }
    let worker = node(&tree, "worker-1").unwrap();
    assert_eq!((&worker["kind"], &worker["last_exit"]), (&json!("actor"), &json!("killed")), "{worker:#}");
    assert!(worker["uptime_seconds"].is_number() && worker["mailbox"]["capacity"].is_number(), "{worker:#}");
    let workers = node(&tree, "workers").unwrap();
    assert_eq!(workers["supervision"]["recent_restarts"], 2, "{workers:#}");
    // A supervisor is no actor: it cannot panic on demand, and says so.
    daemon.ctl(&["inject", "workers", "--fault", "panic"]).expect(5);
    daemon.ctl(&["inject", "nobody"]).expect(3);
    assert!(daemon.is_running() && daemon.pid() == pid);
    daemon.expect_healthy();
    let (file, go) = two_stages(&daemon);
    fs::write(&go, "").unwrap();
    daemon.succeed(&[&file]);
}

#[test]
fn a_panic_of_the_worker_actor_costs_an_attempt_and_one_of_the_run_actor_costs_none() {
    let daemon = Daemon::start();
    let files = small_problem();
    let stage = "feasible-enumeration/feasible-set-generation";
    let pause = ["--set", "drill_sleep_ms=1500", "--set", "drill_stage=feasible-set-generation"];
    let run = daemon.submit(&small_run(&files, &pause));
    daemon.worker_of(&run, stage);
    daemon.ctl(&["inject", &run]).expect(0);
    let events = daemon.events(&run);
    let placed = events.iter().rev().find(|e| e["event"] == "StageStarted" && e["stage"] == stage).unwrap();
    let slot = placed["placed_on"].as_str().unwrap();
    daemon.ctl(&["inject", slot]).expect(0);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let events = daemon.events(&run);
    assert_eq!(started_again(&events), Vec::<String>::new());
    let planned: Vec<_> = events.iter().filter(|e| e["event"] == "StageRetryPlanned").collect();
    assert!(planned.len() <= 1, "{planned:#?}");
    assert_eq!(restarts(&daemon.ctl(&["tree"]).expect(0).json(), slot), Some(1));
    daemon.expect_journal_whole();
}

#[test]
fn sigterm_in_the_middle_of_a_stage_ends_in_order_and_the_next_start_resumes() {
    let mut daemon = Daemon::start();
    let files = small_problem();
    let pause = ["--set", "drill_sleep_ms=1000", "--set", "drill_stage=cvar-calculation"];
    let run = daemon.submit(&small_run(&files, &pause));
    let stage = "risk-aware-selection/cvar-calculation";
    let worker = daemon.worker_of(&run, stage);
    assert_eq!(daemon.terminate(), 0);
    // Killed before the daemon ended; the system may take a moment to clear it away.
    wait_for("the worker is gone", PATIENCE, || (!crate::harness::is_alive(worker)).then_some(()));
    assert!(!daemon.socket().exists(), "the socket is gone");
    let offline = run_program(
        client().args(["-o", "json", "journal", "verify", "--state"]).arg(daemon.state()),
        PATIENCE,
    );
    assert_eq!(offline.expect(0).json()["ok"], true);
    daemon.restart();
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let events = daemon.events(&run);
    assert_eq!(started_again(&events), Vec::<String>::new());
    let planned = events.iter().filter(|e| e["event"] == "StageRetryPlanned").count();
    assert_eq!(planned, 0, "a stop of the daemon is no failed attempt: {events:#?}");
}

#[test]
fn an_emergency_stop_kills_all_work_refuses_new_and_is_over_after_the_clear() {
    let daemon = Daemon::start();
    let files = small_problem();
    let pause = ["--set", "drill_sleep_ms=2000", "--set", "drill_stage=cvar-calculation"];
    let run = daemon.submit(&small_run(&files, &pause));
    let worker = daemon.worker_of(&run, "risk-aware-selection/cvar-calculation");
    let said = daemon.ctl(&["emergency-stop", "--reason", "smoke"]).expect(0).json();
    assert_eq!(said["stopped_runs"], json!([run]), "{said:#}");
    assert_eq!(said["killed_workers"], 1, "{said:#}");
    wait_for("the worker is gone", PATIENCE, || (!crate::harness::is_alive(worker)).then_some(()));
    let refused = daemon.ctl(&[&["submit"], small_run(&files, &[]).as_slice()].concat()).expect(75);
    assert!(
        refused.stderr.contains("error[EX-0018]") && refused.stderr.contains("smoke"),
        "{}",
        refused.stderr
    );
    daemon.ctl(&["emergency-clear", "--reason", "false alarm"]).expect(0);
    daemon.ctl(&["resume", &run]).expect(0);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(started_again(&daemon.events(&run)), Vec::<String>::new());
}

#[test]
fn an_emergency_stop_is_still_in_force_after_a_kill_of_the_daemon() {
    let mut daemon = Daemon::start();
    daemon.ctl(&["emergency-stop", "--reason", "smoke"]).expect(0);
    daemon.kill9();
    daemon.restart();
    let (file, _) = two_stages(&daemon);
    daemon.ctl(&["submit", &file]).expect(75);
    daemon.ctl(&["emergency-clear"]).expect(0);
    daemon.submit(&[&file]);
}
