//! Orders that nobody wants any more are ended at the vendor, also by the next daemon.

use super::{
    Fake, Keys, SHOT_MICRO_USD, SHOTS, STAGE, TASK_MICRO_USD, backend, backend_of, daemon_with, jobs, result,
    submit,
};
use crate::harness::{PATIENCE, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn an_emergency_stop_and_a_cancel_reach_the_vendor_and_name_the_jobs() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let params = json!({ "backend": "braket" });
    let queued = |run: &str| {
        wait_for("the job is queued", PATIENCE, || jobs(&daemon, &["--run", run, "--state", "queued"]).pop())
    };
    let cancelled = submit(&daemon, &params);
    let job = queued(&cancelled);
    daemon.ctl(&["cancel", &cancelled]).expect(0);
    assert_eq!(daemon.end_of(&cancelled)["phase"], "cancelled");
    wait_for("the vendor is told", PATIENCE, || {
        fake.tasks().iter().any(|t| t["arn"] == job["id"] && t["status"] == "CANCELLED").then_some(())
    });
    let stopped = submit(&daemon, &params);
    let job = queued(&stopped);
    let answer = daemon.ctl(&["emergency-stop", "--reason", "drill"]).expect(0).json();
    let named = answer["cancelled_jobs"].to_string();
    assert!(named.contains(&format!("jobs/{stopped}/{STAGE}@")), "{answer:#}");
    assert_eq!(answer["not_cancellable"], json!([]));
    assert!(fake.tasks().iter().any(|t| t["arn"] == job["id"] && t["status"] == "CANCELLED"), "{answer:#}");
    assert_eq!(jobs(&daemon, &["--state", "open"]), Vec::<Value>::new());
    // After the all-clear the stage begins anew, with a job of its own.
    fake.control(&json!({ "queue_polls": 0 }));
    daemon.ctl(&["emergency-clear"]).expect(0);
    daemon.ctl(&["resume", &stopped]).expect(0);
    assert_eq!(result(&daemon, &stopped)["source"], "braket");
    assert_eq!(fake.tasks().len(), 3);
    // A vendor that says nothing any more: the job may run and cost, and is named so.
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let deaf = submit(&daemon, &params);
    queued(&deaf);
    fake.control(&json!({ "faults": [
        { "op": "CancelQuantumTask", "kind": "status", "status": 500, "times": 1_000_000 },
        { "op": "GetQuantumTask", "kind": "status", "status": 500, "times": 1_000_000 },
    ]}));
    let answer = daemon.ctl(&["emergency-stop", "--reason", "drill"]).expect(0).json();
    assert!(answer["not_cancellable"].to_string().contains(&deaf), "{answer:#}");
}

#[test]
fn an_emergency_stop_while_a_backend_is_still_being_asked_buys_nothing() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    fake.control(&json!({ "faults": [{ "op": "GetDevice", "kind": "slow", "seconds": 1.5, "times": 9 }] }));
    let run = submit(&daemon, &json!({ "backend": "braket" }));
    wait_for("the vendor is asked what it is", PATIENCE, || (fake.calls() > 0).then_some(()));
    let answer = daemon.ctl(&["emergency-stop", "--reason", "drill"]).expect(0).json();
    assert_eq!(answer["not_cancellable"], json!([]), "{answer:#}");
    // That nothing is bought cannot be waited for: longer than the slow answers take.
    std::thread::sleep(Duration::from_secs(4));
    assert!(fake.tasks().is_empty(), "{}", fake.books());
    fake.control(&json!({ "faults": [] }));
    daemon.ctl(&["emergency-clear"]).expect(0);
    daemon.ctl(&["resume", &run]).expect(0);
    assert_eq!(result(&daemon, &run)["source"], "braket");
    assert_eq!(fake.tasks().len(), 1);
}

#[test]
fn an_order_whose_run_is_over_when_the_daemon_comes_back_is_ended_at_the_vendor() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let mut daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let run = submit(&daemon, &json!({ "backend": "braket" }));
    let job = wait_for("the job is queued", PATIENCE, || {
        jobs(&daemon, &["--run", &run, "--state", "queued"]).pop()
    });
    // Nothing can be cancelled over there until the daemon has died over it.
    let deaf = json!({ "op": "CancelQuantumTask", "kind": "unread", "times": 1_000_000 });
    fake.control(&json!({ "faults": [deaf] }));
    daemon.ctl(&["cancel", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
    daemon.kill9();
    fake.control(&json!({ "faults": [] }));
    daemon.restart();
    wait_for("the vendor is told by the next daemon", PATIENCE, || {
        fake.tasks().iter().any(|t| t["arn"] == job["id"] && t["status"] == "CANCELLED").then_some(())
    });
    wait_for("the job is over", PATIENCE, || jobs(&daemon, &["--state", "open"]).is_empty().then_some(()));
}

#[test]
fn a_stage_that_asks_for_another_job_after_a_restart_has_the_first_one_ended_at_the_vendor() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let mut daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let run = submit(&daemon, &json!({ "backend": "braket" }));
    let first = wait_for("the job is queued", PATIENCE, || {
        jobs(&daemon, &["--run", &run, "--state", "queued"]).pop()
    });
    daemon.ctl(&["tune", &run, &format!("{STAGE}.shots=32")]).expect(0);
    daemon.kill9();
    daemon.restart();
    // Only then: the first one must not be done before anybody can end it.
    wait_for("the first is ended at the vendor", PATIENCE, || {
        let tasks = fake.tasks();
        tasks.iter().find(|t| t["arn"] == first["id"] && t["status"] == "CANCELLED").map(|_| ())
    });
    fake.control(&json!({ "queue_polls": 0 }));
    let result = result(&daemon, &run);
    assert_eq!((&result["source"], &result["shots"]), (&json!("braket"), &json!(32)), "{result:#}");
    let tasks = fake.tasks();
    assert_eq!(tasks.len(), 2, "{tasks:#?}");
    for task in &tasks {
        let old = task["arn"] == first["id"];
        let expected = if old { ("CANCELLED", SHOTS) } else { ("COMPLETED", 32) };
        assert_eq!((task["status"].as_str().unwrap(), task["shots"].as_u64().unwrap()), expected);
    }
    // Nobody can know what the first has cost: all that was held for it counts.
    let price = |shots: u64| TASK_MICRO_USD + shots * SHOT_MICRO_USD;
    assert_eq!(backend_of(&daemon, "braket")["used_today"]["micro_usd"], price(SHOTS) + price(32));
    assert_eq!(backend_of(&daemon, "braket")["held_jobs"], json!([]));
}
