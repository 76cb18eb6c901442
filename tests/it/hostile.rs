//! What users do without meaning harm, and what must not come of it.

use crate::harness::{Daemon, PATIENCE, run_program, wait_for};
use serde_json::json;
use std::process::Command;

fn program(name: &str, command: &[&str], extra: &str) -> String {
    format!(
        "  - name: {name}\n    kind: exec\n    retry: {{attempts: 1}}\n{extra}    params: {{command: {}}}\n",
        json!(command)
    )
}

#[test]
fn an_undo_waits_for_the_attempt_of_another_run_and_does_not_end_it() {
    let daemon = Daemon::with(json!({ "worker_slots": 1 }));
    let undone = daemon.folder().join("undone").display().to_string();
    let first = format!(
        "workflow: first\nstages:\n  - name: begun\n    kind: exec\n    undo: {}\n    params: {{command: [\"true\"]}}\n  - name: gate\n    kind: approval\n",
        json!(["sh", "-c", format!("touch {undone}")])
    );
    let first = daemon.submit(&[&daemon.file("first.yaml", &first)]);
    daemon.stage_reaches(&first, "begun", "succeeded");
    let second = format!("workflow: second\nstages:\n{}", program("long", &["sleep", "3"], ""));
    let second = daemon.submit(&[&daemon.file("second.yaml", &second)]);
    daemon.stage_reaches(&second, "long", "running");
    daemon.ctl(&["cancel", &first]).expect(0);
    assert_eq!(daemon.end_of(&second)["phase"], "succeeded");
    assert_eq!(daemon.end_of(&first)["phase"], "cancelled");
    assert!(std::path::Path::new(&undone).exists());
}

#[test]
fn a_program_that_says_too_much_fails_with_a_short_message_and_frees_its_slot() {
    let daemon = Daemon::start();
    let flood = "head -c 1000000 /dev/urandom >&2; exit 1";
    let file = daemon
        .file("w.yaml", &format!("workflow: flood\nstages:\n{}", program("a", &["sh", "-c", flood], "")));
    let run = daemon.submit(&[&file]);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "rolled-back");
    assert!(shown["error"]["message"].as_str().unwrap().len() < 8 * 1024);
    let resources = daemon.ctl(&["resources"]).expect(0).json();
    assert_eq!(resources["leases"], json!([]));
}

#[test]
fn facts_that_are_no_small_values_are_refused() {
    let daemon = Daemon::start();
    let large = "printf '{\"a\":\"'; head -c 100000 /dev/zero | tr '\\0' x; printf '\"}'";
    let file = daemon
        .file("w.yaml", &format!("workflow: large\nstages:\n{}", program("a", &["sh", "-c", large], "")));
    let run = daemon.submit(&[&file]);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["error"]["code"], "EX-0511");
}

#[test]
fn what_a_program_leaves_running_holds_up_nobody() {
    let daemon = Daemon::start();
    let file = daemon.file(
        "w.yaml",
        &format!(
            "workflow: behind\nstages:\n{}",
            program("a", &["sh", "-c", "sleep 600 & echo started"], "")
        ),
    );
    let run = daemon.succeed(&[&file]);
    assert_eq!(daemon.artefact_bytes(&run, "stdout.txt"), b"started\n");
}

#[test]
fn an_output_that_is_no_plain_file_is_an_error_and_no_endless_wait() {
    let daemon = Daemon::start();
    for make in ["mkfifo x", "ln -s /dev/zero x"] {
        let text =
            format!("workflow: odd\nstages:\n{}", program("a", &["sh", "-c", make], "    outputs: [x]\n"));
        let run = daemon.submit(&[&daemon.file("w.yaml", &text)]);
        let shown = daemon.end_of(&run);
        assert_eq!(shown["phase"], "rolled-back", "{make}");
        assert!(shown["error"]["message"].as_str().unwrap().contains("plain file"), "{shown:#}");
    }
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("work")).unwrap();
    std::fs::write(folder.path().join("work/thesis.txt"), "years").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_executingd"));
    command.arg("--state").arg(folder.path());
    let answer = run_program(&mut command, PATIENCE).expect(8);
    assert!(answer.stderr.contains("EX-0012") && answer.stderr.contains("work"), "{}", answer.stderr);
    assert_eq!(std::fs::read_to_string(folder.path().join("work/thesis.txt")).unwrap(), "years");
}

#[test]
fn an_ended_run_leaves_no_directory_behind() {
    let daemon = Daemon::start();
    let file = daemon.file("w.yaml", &format!("workflow: tidy\nstages:\n{}", program("a", &["true"], "")));
    let run = daemon.succeed(&[&file]);
    let left = daemon.state().join("work").join(&run);
    wait_for("the run's directory is gone", PATIENCE, || (!left.exists()).then_some(()));
}
