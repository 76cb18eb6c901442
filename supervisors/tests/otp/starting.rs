//! OTP's group sup_start and sup_start_map.

use std::time::Duration;

use supervisors::{
    Backoff, ChildData, ChildError, ChildState, Exit, Refusal, Restart, Shutdown, StartError, Strategy,
    SupervisorData, launch, supervisor_child_with,
};

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};
use crate::{counts, error, patient, refused, told_to_fail, up};

#[test]
fn sup_start_normal() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = up(supervisor(Strategy::OneForOne, 1, stage.puppets(&["a"]))).await;
        assert_eq!(stage.happened(), "+a");
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn sup_start_ignore_init() {
    in_virtual_time(async {
        let (inner, child) = supervisor_child_with("inner", || Ok(None));
        let (top, end) = patient(Strategy::OneForOne, vec![child]).await;
        assert_eq!(states(&top).await, "inner:down");
        assert!(matches!(inner.which_children().await, Err(ChildError::SupervisorGone(_))));
        assert!(!end.is_finished());
    });
}

#[test]
fn sup_start_ignore_child() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.choose_not_to_run("a");
        let (top, _end) = patient(Strategy::OneForOne, stage.puppets(&["a", "b"])).await;
        assert_eq!(states(&top).await, "a:down b:up");
        assert_eq!(counts(&top).await, [2, 1, 0, 2]);
    });
}

#[test]
fn sup_start_ignore_temporary_child() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.choose_not_to_run("a");
        let mut children = stage.puppets(&["a", "b"]);
        children[0].restart = Restart::Temporary;
        let (top, _end) = patient(Strategy::OneForOne, children).await;
        assert_eq!(states(&top).await, "b:up");
        assert_eq!(counts(&top).await, [1, 1, 0, 1]);
    });
}

#[test]
fn sup_start_ignore_temporary_child_start_child() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.choose_not_to_run("a");
        let (top, _end) = patient(Strategy::OneForOne, vec![]).await;
        top.start_child(stage.puppet("a").restart(Restart::Temporary)).await.unwrap();
        top.start_child(stage.puppet("b")).await.unwrap();
        assert_eq!(states(&top).await, "b:up");
        assert_eq!(counts(&top).await, [1, 1, 0, 1]);
    });
}

#[test]
fn sup_start_ignore_temporary_child_start_child_simple() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.choose_not_to_run("a");
        let (top, _end) = patient(Strategy::Dynamic, vec![]).await;
        top.start_child(stage.puppet("a").restart(Restart::Temporary)).await.unwrap();
        top.start_child(stage.puppet("b").restart(Restart::Temporary)).await.unwrap();
        assert_eq!(states(&top).await, "b:up");
    });
}

#[test]
fn sup_start_ignore_permanent_child_start_child_simple() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.choose_not_to_run("a");
        let (top, end) = patient(Strategy::Dynamic, vec![]).await;
        top.start_child(stage.puppet("a")).await.unwrap();
        assert_eq!(states(&top).await, "");
        top.start_child(stage.puppet("b")).await.unwrap();
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        assert_eq!(stage.happened(), "+b -b");
    });
}

/// The init of the inner supervisor goes wrong; what does the outer one say?
async fn outer_fails_with(cause: Exit, init: fn() -> Result<Option<supervisors::SupervisorSpec>, String>) {
    let stage = Stage::default();
    let (_, inner) = supervisor_child_with("inner", init);
    let spec = supervisor(Strategy::OneForOne, 1, vec![stage.puppet("a"), inner]);
    let StartError::Failed { exit, .. } = launch(spec).await.unwrap_err() else { panic!() };
    assert_eq!(exit, Exit::StartFailed { child: "inner".into(), cause: Box::new(cause) });
    assert_eq!(stage.happened(), "+a -a");
}

#[test]
fn sup_start_error_return() {
    in_virtual_time(outer_fails_with(error("bad return"), || Err("bad return".to_owned())));
}

#[test]
fn sup_start_fail() {
    in_virtual_time(outer_fails_with(Exit::Panicked("init raises".into()), || {
        std::panic::resume_unwind(Box::new("init raises"))
    }));
}

#[test]
fn sup_start_child_returns_error() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = patient(Strategy::OneForOne, stage.puppets(&["a"])).await;
        stage.fail_next_starts("b", 1);
        assert_eq!(top.start_child(stage.puppet("b")).await, told_to_fail("b"));
        assert_eq!(states(&top).await, "a:up");
        assert!(!end.is_finished());
    });
}

#[test]
fn sup_start_restart_child_returns_error() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::OneForOne, stage.puppets(&["a"])).await;
        top.terminate_child("a").await.unwrap();
        stage.fail_next_starts("a", 1);
        assert_eq!(top.restart_child("a").await, told_to_fail("a"));
        assert_eq!(states(&top).await, "a:down");
        top.restart_child("a").await.unwrap();
        assert_eq!(states(&top).await, "a:up");
    });
}

#[test]
fn sup_start_child_returns_error_simple() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = patient(Strategy::Dynamic, vec![]).await;
        stage.fail_next_starts("a", 1);
        assert_eq!(top.start_child(stage.puppet("a")).await, told_to_fail("a"));
        assert_eq!(counts(&top).await, [0, 0, 0, 0]);
        assert!(!end.is_finished());
    });
}

fn read(json: &str) -> SupervisorData {
    serde_json::from_str(json).unwrap()
}

fn build(data: &SupervisorData, stage: &Stage) -> supervisors::SupervisorSpec {
    data.build(|child: &ChildData| Some(stage.puppet(&child.id))).unwrap()
}

#[test]
fn sup_start_map() {
    in_virtual_time(async {
        let stage = Stage::default();
        let data = read(
            r#"{"id": "top", "children": [
                {"id": "a", "start": "puppet"},
                {"id": "b", "start": "puppet", "restart": "transient", "shutdown": "brutal_kill"},
                {"id": "c", "start": "puppet", "shutdown": 20,
                 "backoff": {"first_ms": 10, "factor": 2, "max_ms": 100, "jitter": 0.5}},
                {"id": "inner", "supervisor": {"strategy": "rest_for_one", "children": [
                    {"id": "d", "start": "puppet"}]}}]}"#,
        );
        let (top, _end) = up(build(&data, &stage)).await;
        assert_eq!(stage.happened(), "+a +b +c +d");
        let a = top.child_spec("a").await.unwrap();
        assert_eq!((a.restart, a.shutdown), (Restart::Permanent, Shutdown::Deadline(Duration::from_secs(5))));
        assert_eq!((a.backoff, a.significant), (Backoff::NONE, false));
        let b = top.child_spec("b").await.unwrap();
        assert_eq!((b.restart, b.shutdown), (Restart::Transient, Shutdown::Brutal));
        let c = top.child_spec("c").await.unwrap();
        let ms = Duration::from_millis;
        assert_eq!(c.shutdown, Shutdown::Deadline(ms(20)));
        assert_eq!(c.backoff, Backoff { first: ms(10), factor: 2, max: ms(100), jitter: 0.5 });
        assert_eq!(top.child_spec("inner").await.unwrap().shutdown, Shutdown::Infinity);
        let kinds: Vec<bool> =
            top.which_children().await.unwrap().iter().map(|child| child.is_supervisor).collect();
        assert_eq!(kinds, [false, false, false, true]);
        assert_eq!(top.child_spec("z").await, refused(Refusal::NotFound("z".into())));
        let settings = top.settings().await.unwrap();
        assert_eq!(settings.strategy, Strategy::OneForOne);
        assert_eq!((settings.intensity.restarts, settings.intensity.period), (1, Duration::from_secs(5)));
    });
}

#[test]
fn sup_start_map_simple() {
    in_virtual_time(async {
        let stage = Stage::default();
        let data = read(r#"{"id": "top", "strategy": "simple_one_for_one", "intensity": 7}"#);
        let (top, _end) = up(build(&data, &stage)).await;
        let settings = top.settings().await.unwrap();
        assert_eq!((settings.strategy, settings.intensity.restarts), (Strategy::Dynamic, 7));
        top.start_child(stage.puppet("a")).await.unwrap();
        assert_eq!(top.which_child("a").await.unwrap().state, ChildState::Running);
    });
}

#[test]
fn sup_start_map_faulty_specs() {
    in_virtual_time(async {
        let stage = Stage::default();
        let data = read(r#"{"id": "top", "children": [{"start": "puppet"}, {"id": "b"}]}"#);
        let errors = data.build(|child| Some(stage.puppet(&child.id))).unwrap_err();
        let paths: Vec<&str> = errors.faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["children[0].id", "children[1].start"]);

        let unknown = read(r#"{"id": "top", "children": [{"id": "a", "start": "nobody"}]}"#);
        let errors = unknown.build(|_| None).unwrap_err();
        assert!(
            errors
                .to_string()
                .contains("child `a`.start: expected a name that this program knows, got `nobody`")
        );

        let flag = read(r#"{"id": "top", "colour": 1, "children": [{"id": "a", "start": "p", "x": 1}]}"#);
        assert_eq!(flag.check(), Ok(()));
        settle().await;
        assert_eq!(stage.happened(), "");
    });
}
