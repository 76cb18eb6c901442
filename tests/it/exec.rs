//! Stages that are programs of the user.

use crate::harness::{Daemon, PATIENCE, is_alive, wait_for};
use serde_json::json;

fn workflow(command: &[&str], extra: &str) -> String {
    format!(
        "workflow: programs\nstages:\n  - name: program\n    kind: exec\n    retry: {{attempts: 1}}\n{extra}    params: {{command: {}}}\n",
        json!(command)
    )
}

#[test]
fn the_program_of_an_exec_stage_dies_with_the_daemon() {
    let mut daemon = Daemon::start();
    let pid_file = daemon.folder().join("program.pid").display().to_string();
    let script = format!("echo $$ > {pid_file}; exec sleep 600");
    let file = daemon.file("w.yaml", &workflow(&["sh", "-c", &script], ""));
    let run = daemon.submit(&[&file]);
    let pid = wait_for("the program", PATIENCE, || {
        std::fs::read_to_string(&pid_file).ok()?.trim().parse::<u32>().ok()
    });
    assert!(is_alive(pid));
    daemon.kill9();
    wait_for("the end of the program", PATIENCE, || (!is_alive(pid)).then_some(()));
    daemon.restart();
    // It may have taken effect and must not be repeated unasked: a person decides.
    daemon.ctl(&["cancel", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
}

#[test]
fn an_exec_program_beyond_its_memory_is_stopped_by_the_limit() {
    let daemon = Daemon::start();
    let script = "ulimit -v";
    let file = daemon.file("w.yaml", &workflow(&["sh", "-c", script], "    resources: {memory: 256MiB}\n"));
    let run = daemon.succeed(&[&file]);
    let limit_kib: u64 = String::from_utf8(daemon.artefact_bytes(&run, "stdout.txt"))
        .unwrap()
        .trim()
        .parse()
        .expect("a limit, not `unlimited`");
    assert_eq!(limit_kib, 256 * 1024);
}

#[test]
fn a_missing_program_and_a_failing_one_end_the_run_with_their_names() {
    let daemon = Daemon::start();
    for (command, word) in
        [(&["no-such-program"][..], "no-such-program"), (&["sh", "-c", "exit 3"], "exit code 3")]
    {
        let file = daemon.file("w.yaml", &workflow(command, ""));
        let run = daemon.submit(&[&file]);
        let shown = daemon.end_of(&run);
        assert_eq!(shown["phase"], "rolled-back");
        assert_eq!(shown["error"]["code"], "EX-0530");
        assert!(shown["error"]["message"].as_str().unwrap().contains(word), "{shown:#}");
    }
}

#[test]
fn nothing_is_resumed_or_retried_while_an_emergency_stop_is_in_force() {
    let daemon = Daemon::start();
    let file = daemon.file("w.yaml", &workflow(&["sleep", "600"], "    idempotent: true\n"));
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "program", "running");
    daemon.ctl(&["emergency-stop", "--reason", "drill"]).expect(0);
    let refused = daemon.ctl(&["resume", &run]).expect(75);
    assert!(refused.stderr.contains("EX-0018"), "{}", refused.stderr);
    daemon.ctl(&["emergency-clear"]).expect(0);
    daemon.ctl(&["resume", &run]).expect(0);
    daemon.stage_reaches(&run, "program", "running");
    daemon.ctl(&["cancel", &run]).expect(0);
}
