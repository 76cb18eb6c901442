//! What goes wrong between worker and daemon, and what the worker does about it.

use crate::drive::{Answer, Task, digest, listen, spawn, talk};
use engine::definition::StageKind;
use engine::run::ErrorClass;
use engine::worker::{FromWorker, ToWorker, WORKER_PROTOCOL, encode};
use serde_json::json;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;

const H2: [(&str, &str); 3] =
    [("space", "h2-bwb/space.yaml"), ("scenarios", "h2-bwb/scenarios.yaml"), ("costs", "h2-bwb/costs.yaml")];
const AMPEL: [(&str, &str); 2] = [
    ("candidates", "ampel360/programme/candidates.yaml"),
    ("constraints", "ampel360/programme/hard_constraints.yaml"),
];

fn drilled(params: serde_json::Value, each: impl FnMut(&FromWorker, &mut std::process::Child)) -> Answer {
    let mut task = Task::new(&AMPEL);
    task.params = params;
    task.heartbeat_ms = 20;
    task.memory_bytes_max = 1024 * 1024 * 1024;
    let request = task.request(StageKind::FeasibleSetGeneration, &[], None);
    talk(&request, each)
}

fn has_end(answer: &Answer) -> bool {
    answer.messages.iter().any(|m| matches!(m, FromWorker::Result { .. } | FromWorker::Error(_)))
}

#[test]
fn the_first_frame_is_hello_and_exactly_one_ends_the_conversation() {
    let answer = drilled(json!({}), |_, _| {});
    assert!(matches!(&answer.messages[0], FromWorker::Hello { protocol: WORKER_PROTOCOL, .. }));
    let ends =
        answer.messages.iter().filter(|m| matches!(m, FromWorker::Result { .. } | FromWorker::Error(_)));
    assert_eq!(ends.count(), 1);
    assert!(matches!(answer.messages.last(), Some(FromWorker::Result { .. })));
    assert!(answer.status.success());
}

#[test]
fn the_crash_drill_ends_by_a_signal_on_its_attempt_only() {
    let answer = drilled(json!({"drill": {"crash": [1, 3]}}), |_, _| {});
    assert_eq!(answer.status.signal(), Some(6), "{}", answer.stderr);
    assert!(!has_end(&answer));
    assert!(matches!(
        drilled(json!({"drill": {"crash": 2}}), |_, _| {}).messages.last(),
        Some(FromWorker::Result { .. })
    ));
}

#[test]
fn the_allocate_drill_dies_of_its_memory_limit_and_says_so() {
    let answer = drilled(json!({"drill_allocate": 1}), |_, _| {});
    assert_eq!(answer.status.signal(), Some(6), "{}", answer.stderr);
    assert!(answer.stderr.contains("memory allocation of"), "{}", answer.stderr);
}

#[test]
fn the_garbage_drill_is_no_frame_and_the_silent_exit_has_no_result() {
    let answer = drilled(json!({"drill": {"garbage": 1}}), |_, _| {});
    assert!(answer.garbage.is_some());
    let answer = drilled(json!({"drill_exit_without_result": 1}), |_, _| {});
    assert!(answer.status.success() && !has_end(&answer));
}

#[test]
fn heartbeats_come_while_it_works_and_stop_when_it_hangs() {
    let answer = drilled(json!({"drill_sleep_ms": 300}), |_, _| {});
    let beats = answer.messages.iter().filter(|m| matches!(m, FromWorker::Heartbeat)).count();
    assert!(beats >= 3, "{beats}");
    // A hung worker sends nothing; the test waits for none and ends it by closing the pipe.
    let mut task = Task::new(&AMPEL);
    task.params = json!({"drill": {"hang": 1}});
    task.heartbeat_ms = 20;
    let request = task.request(StageKind::Validation, &[], None);
    let answer = talk(&request, |_, child| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        drop(child.stdin.take());
    });
    let beats = answer.messages.iter().filter(|m| matches!(m, FromWorker::Heartbeat)).count();
    // One beat may have been on its way when the drill began.
    assert!(beats <= 1 && !has_end(&answer), "{beats}");
}

#[test]
fn cancel_is_answered_by_ex_0590() {
    let cancel = encode(&ToWorker::Cancel).unwrap();
    let mut sent = false;
    let answer = drilled(json!({"drill_sleep_ms": 60_000}), |_, child| {
        if !sent {
            sent = true;
            child.stdin.as_mut().unwrap().write_all(&cancel).unwrap();
        }
    });
    assert_eq!(answer.error().code, "EX-0590");
    assert!(answer.status.success());
}

#[test]
fn the_end_of_the_pipe_ends_the_worker_without_a_result() {
    let answer = drilled(json!({"drill_sleep_ms": 60_000}), |_, child| drop(child.stdin.take()));
    assert!(!answer.status.success());
    assert!(!has_end(&answer));
}

#[test]
fn a_pipe_of_garbage_or_nothing_ends_with_a_code_that_is_not_zero() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"EXW1\xff\xff\xff\xff", b""] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = spawn(&folder.path().to_string_lossy());
        child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
        drop(child.stdin.take());
        let answer = listen(child, &mut |_, _| {});
        assert!(!answer.status.success(), "{bytes:?}");
        assert!(answer.messages.is_empty());
    }
}

#[test]
fn a_worker_whose_parent_is_another_process_leaves_at_once() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_executing-worker"))
        .args(["task", "--parent", "1"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(70));
}

#[test]
fn a_task_of_another_protocol_is_refused_for_good() {
    let mut task = Task::new(&AMPEL);
    let mut request = task.request(StageKind::Validation, &[], None);
    request.protocol = WORKER_PROTOCOL + 1;
    let answer = talk(&request, |_, _| {});
    assert_eq!((answer.error().code.as_str(), answer.error().class), ("EX-0503", ErrorClass::Permanent));
}

#[test]
fn an_input_that_is_not_what_its_digest_says_is_not_used() {
    let mut task = Task::new(&AMPEL);
    task.inputs[0].digest = digest(b"something else");
    let answer = task.run(StageKind::Initialization, &[]);
    assert_eq!((answer.error().code.as_str(), answer.error().class), ("EX-0017", ErrorClass::Transient));
}

/// A stage killed after each of some checkpoints and resumed gives what it gives undisturbed.
fn resumes(kind: StageKind, params: serde_json::Value, names: &[&str]) {
    let mut task = Task::new(&H2);
    task.params = params;
    let mut undisturbed = task.request(kind, &[], None);
    undisturbed.params = json!({"cvar_level": 0.9, "risk_weight": 1.0, "iterations": 12}).to_string();
    let (wanted, _) = talk(&undisturbed, |_, _| {}).result();
    for kill_at in [1, 3, 7] {
        let mut seen = 0;
        let mut last = None;
        let request = task.request(kind, &[], None);
        let killed = talk(&request, |message, child| {
            if let FromWorker::Checkpoint(file) = message {
                seen += 1;
                last = Some(file.clone());
                if seen == kill_at {
                    child.kill().unwrap();
                }
            }
        });
        assert!(seen >= kill_at, "only {seen} checkpoints of {}", kind.name());
        let from = killed.checkpoints()[kill_at - 1].clone();
        assert_eq!(digest(&std::fs::read(&from.path).unwrap()), from.digest);
        let resumed = task.request(kind, &[], Some(from));
        let (got, _) = talk(&resumed, |_, _| {}).result();
        for name in names {
            assert!(got[*name] == wanted[*name], "{name} differs after a kill at checkpoint {kill_at}");
        }
    }
}

#[test]
fn a_killed_enumeration_resumes_to_the_same_bytes() {
    resumes(
        StageKind::FeasibleSetGeneration,
        json!({"checkpoint_ms": 0}),
        &["feasible_set.json", "feasible_set.bin"],
    );
}

#[test]
fn a_killed_angle_search_resumes_to_the_same_bytes() {
    resumes(
        StageKind::QaoaOptimization,
        json!({"cvar_level": 0.9, "risk_weight": 1.0, "iterations": 12, "checkpoint_ms": 0}),
        &["qaoa_result.json", "convergence.svg"],
    );
}

#[test]
fn a_resumed_enumeration_really_starts_at_its_checkpoint() {
    let mut task = Task::new(&H2);
    task.params = json!({"checkpoint_ms": 0});
    let request = task.request(StageKind::FeasibleSetGeneration, &[], None);
    let first = talk(&request, |_, _| {});
    let last = first.checkpoints().pop().unwrap();
    let request = task.request(StageKind::FeasibleSetGeneration, &[], Some(last));
    let second = talk(&request, |_, _| {});
    assert!(second.checkpoints().len() < first.checkpoints().len() / 2);
    let metrics: serde_json::Value =
        serde_json::from_slice(&second.result().0["enumeration_metrics.json"]).unwrap();
    assert_eq!(metrics["resumed"], json!(true));
}

#[test]
fn a_damaged_checkpoint_means_starting_anew_not_failing() {
    let mut task = Task::new(&AMPEL).with("junk", "no checkpoint at all");
    let junk = task.inputs.pop().unwrap();
    let request = task.request(StageKind::FeasibleSetGeneration, &[], Some(junk));
    let (_, facts) = talk(&request, |_, _| {}).result();
    assert_eq!(facts["feasible_configurations_found"], json!(6));
}
