//! Gates: who may say yes, who said no, and that an open one outlives the daemon.

use crate::harness::{Daemon, PATIENCE, of_stage, wait_for};
use serde_json::json;

fn gated(daemon: &Daemon) -> String {
    let text = json!({
        "workflow": "gated",
        "stages": [
            {"name": "before", "kind": "exec", "command": ["/bin/echo", "evidence"]},
            {"name": "sign-off", "kind": "approval"},
            {"name": "after", "kind": "exec", "command": ["/bin/echo", "done"]},
        ],
    });
    daemon.file("gated.yaml", &text.to_string())
}

fn gate_opens(daemon: &Daemon, run: &str) {
    wait_for("the gate opens", PATIENCE, || {
        daemon.events(run).iter().any(|event| event["event"] == "GateOpened").then_some(())
    });
}

#[test]
fn another_person_may_approve_and_the_submitter_may_not() {
    let daemon = Daemon::start();
    let run = daemon.submit(&[&gated(&daemon), "--as", "engineer"]);
    gate_opens(&daemon, &run);
    let refused = daemon.ctl(&["approve", &run, "sign-off", "--as", "engineer"]).expect(4);
    assert!(
        refused.stderr.contains("error[EX-0021]") && refused.stderr.contains("submitter"),
        "{}",
        refused.stderr
    );
    daemon.ctl(&["approve", &run, "nowhere", "--as", "approver"]).expect(3);
    daemon.ctl(&["approve", &run, "after", "--as", "approver"]).expect(5);
    assert_eq!(of_stage(&daemon.events(&run), "after"), Vec::new());
    let said =
        daemon.ctl(&["approve", &run, "sign-off", "--as", "approver", "--reason", "seen"]).expect(0).json();
    assert_eq!(said, json!({"run": run, "gate": "sign-off", "decision": "approved"}));
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    daemon.ctl(&["approve", &run, "sign-off", "--as", "colleague"]).expect(5);
    let events = daemon.events(&run);
    let approval = events.iter().find(|e| e["event"] == "ApprovalRecorded").unwrap();
    assert_eq!((&approval["by"], &approval["reason"]), (&json!("approver"), &json!("seen")));
}

#[test]
fn a_rejected_run_is_rolled_back_and_says_who_said_no() {
    let daemon = Daemon::start();
    let run = daemon.submit(&[&gated(&daemon), "--as", "engineer"]);
    gate_opens(&daemon, &run);
    let said = daemon
        .ctl(&["reject", &run, "sign-off", "--as", "approver", "--reason", "too heavy"])
        .expect(0)
        .json();
    assert_eq!(said["decision"], "rejected");
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "rolled-back", "{shown:#}");
    let why = shown["error"].to_string();
    assert!(why.contains("approver") && why.contains("too heavy"), "{why}");
    daemon.ctl(&["watch", &run]).expect(1);
    assert_eq!(of_stage(&daemon.events(&run), "after"), Vec::new());
}

#[test]
fn an_open_gate_survives_a_kill_of_the_daemon() {
    let mut daemon = Daemon::start();
    let run = daemon.submit(&[&gated(&daemon), "--as", "engineer"]);
    gate_opens(&daemon, &run);
    daemon.kill9();
    daemon.restart();
    daemon.ctl(&["approve", &run, "sign-off", "--as", "engineer"]).expect(4);
    daemon.ctl(&["approve", &run, "sign-off", "--as", "approver"]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
}
