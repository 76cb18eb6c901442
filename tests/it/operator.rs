//! What an operator asks for wrongly, and who may do what: each refusal says what was expected.

use crate::harness::{Daemon, PATIENCE, client, run_program, wait_for};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

/// The system's user of nobody in particular.
const NOBODY: u32 = 65_534;

#[test]
fn where_no_roles_are_stated_only_the_owner_of_the_socket_clears_an_emergency_stop_and_the_journal_says_who()
{
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let mut daemon = Daemon::start();
    daemon.ctl(&["emergency-stop", "--reason", "smoke"]).expect(0);
    for (path, mode) in
        [(daemon.folder().to_owned(), 0o755), (daemon.state(), 0o755), (daemon.socket(), 0o666)]
    {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    // What somebody calls themself does not make them the owner.
    for name in [&[][..], &["--as", "root"]] {
        let mut command = client();
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        command.arg("--socket").arg(daemon.socket()).args(["emergency-clear", "--reason", "fine"]).args(name);
        let refused = run_program(&mut command, PATIENCE).expect(4);
        let words = ["EX-0004", "the owner of the daemon's socket"];
        assert!(words.iter().all(|word| refused.stderr.contains(word)), "{}", refused.stderr);
    }
    daemon.kill9();
    daemon.restart();
    let cleared = daemon.ctl(&["emergency-clear", "--as", "ada"]).expect(0).json();
    assert_eq!(cleared["by"], "ada", "{cleared:#}");
    for field in ["stopped_runs", "cancelled_jobs", "not_cancellable"] {
        assert_eq!(cleared[field], serde_json::json!([]), "the answer of both emergency verbs has {field}");
    }
    let file = daemon.folder().join("audit.jsonl");
    daemon.ctl(&["audit", "export", &file.display().to_string()]).expect(0);
    let audit = std::fs::read_to_string(&file).unwrap();
    let record =
        audit.lines().find(|line| line.contains("EmergencyCleared")).unwrap_or_else(|| panic!("{audit}"));
    assert!(record.contains("ada"), "{record}");
    let again = daemon.ctl(&["emergency-clear"]).expect(0).json();
    assert_eq!((&cleared["was_in_force"], &again["was_in_force"]), (&true.into(), &false.into()));
}

#[test]
fn a_yes_at_a_gate_of_two_says_that_one_is_missing_and_refusals_of_people_say_what_was_expected() {
    let daemon = Daemon::start();
    let text = serde_json::json!({ "workflow": "gated", "stages": [
        {"name": "act", "kind": "exec", "command": ["/bin/echo", "x"], "gate": {"approvals": 2}},
    ]});
    let run = daemon.submit(&[&daemon.file("w.yaml", &text.to_string()), "--as", "ada"]);
    wait_for("the gate opens", PATIENCE, || {
        daemon.events(&run).iter().any(|event| event["event"] == "GateOpened").then_some(())
    });
    let first = daemon.ctl(&["approve", &run, "act", "--as", "bo"]).expect(0).json();
    assert_eq!((&first["decision"], &first["missing"]), (&"approved".into(), &1.into()), "{first:#}");
    let last = daemon.ctl(&["approve", &run, "act", "--as", "cy"]).expect(0).json();
    assert!(last["missing"].is_null(), "{last:#}");
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    let refused = daemon.ctl(&["resume", &run]).expect(5);
    let words = "expected a run that is paused, but this run is succeeded";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
}
