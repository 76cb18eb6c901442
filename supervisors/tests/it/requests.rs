//! Children added, stopped, restarted and deleted at run time.

use supervisors::{ChildError, Exit, Refusal, Restart, Strategy, start};

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};

#[test]
fn a_request_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, stage.puppets(&["a", "b"])));
        settle().await;
        let refused = |refusal: Refusal| Err(ChildError::Refused(refusal));
        let a = || "a".to_owned();
        assert_eq!(top.start_child(stage.puppet("a")).await, refused(Refusal::AlreadyRunning(a())));
        assert_eq!(top.restart_child("a").await, refused(Refusal::Running(a())));
        assert_eq!(top.delete_child("a").await, refused(Refusal::Running(a())));
        for answer in
            [top.restart_child("z").await, top.delete_child("z").await, top.terminate_child("z").await]
        {
            assert_eq!(answer, refused(Refusal::NotFound("z".into())));
        }
        assert_eq!(states(&top).await, "a:up b:up");

        top.terminate_child("a").await.unwrap();
        top.terminate_child("a").await.unwrap();
        assert_eq!(states(&top).await, "a:down b:up");
        assert_eq!(top.start_child(stage.puppet("a")).await, refused(Refusal::AlreadyPresent(a())));
        top.restart_child("a").await.unwrap();
        assert_eq!(states(&top).await, "a:up b:up");
        top.terminate_child("a").await.unwrap();
        top.delete_child("a").await.unwrap();
        assert_eq!(states(&top).await, "b:up");
        top.start_child(stage.puppet("a")).await.unwrap();
        assert_eq!(states(&top).await, "b:up a:up");
        assert_eq!(stage.happened(), "+a +b -a +a -a +a");
    });
}

#[test]
fn a_new_child_whose_start_fails_is_reported_once_and_leaves_nothing_behind() {
    in_virtual_time(async {
        let stage = Stage::default();
        // No restart at all is tolerated: a retry would end the supervisor.
        let (top, end) = start(supervisor(Strategy::OneForOne, 0, stage.puppets(&["a"])));
        settle().await;
        stage.fail_next_starts("b", 1);
        let failed = |id: &str| {
            Err(ChildError::StartFailed { id: id.into(), exit: Exit::Error("told to fail".into()) })
        };
        assert_eq!(top.start_child(stage.puppet("b")).await, failed("b"));
        assert_eq!(states(&top).await, "a:up");
        top.terminate_child("a").await.unwrap();
        stage.fail_next_starts("a", 1);
        assert_eq!(top.restart_child("a").await, failed("a"));
        assert_eq!(states(&top).await, "a:down");
        top.restart_child("a").await.unwrap();
        assert!(!end.is_finished());
    });
}

#[test]
fn a_terminated_temporary_child_is_forgotten() {
    in_virtual_time(async {
        let stage = Stage::default();
        let child = stage.puppet("a").restart(Restart::Temporary);
        let (top, _end) = start(supervisor(Strategy::OneForOne, 0, vec![child]));
        settle().await;
        top.terminate_child("a").await.unwrap();
        assert_eq!(states(&top).await, "");
    });
}

#[test]
fn a_start_that_hangs_can_be_terminated() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.hang_in_start("a");
        let (top, _end) = start(supervisor(Strategy::OneForOne, 0, vec![]));
        let (starting, asked) = (top.clone(), stage.puppet("a"));
        let started = tokio::task::spawn_local(async move { starting.start_child(asked).await });
        settle().await;
        top.terminate_child("a").await.unwrap();
        let answer = started.await.unwrap();
        assert!(matches!(answer, Err(ChildError::StartFailed { .. })), "{answer:?}");
    });
}

#[test]
fn two_children_of_the_same_id_are_refused_before_anything_starts() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = start(supervisor(Strategy::OneForOne, 1, stage.puppets(&["a", "b", "a"])));
        let Exit::Error(text) = end.await.unwrap() else { panic!("it was started") };
        assert!(text.contains("children[2].id: expected an id of its own, got `a`"), "{text}");
        assert_eq!(stage.happened(), "");
        assert_eq!(top.count_children().await, Err(ChildError::SupervisorGone("top".into())));
    });
}

#[test]
fn nothing_is_started_once_the_shutdown_has_begun() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("a");
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, stage.puppets(&["a"])));
        settle().await;
        let stopping = top.clone();
        let stopped = tokio::task::spawn_local(async move { stopping.shutdown().await });
        settle().await;
        let answer = top.start_child(stage.puppet("b")).await;
        assert_eq!(answer, Err(ChildError::Refused(Refusal::ShuttingDown)));
        stopped.await.unwrap();
        assert_eq!(stage.happened(), "+a -a xa");
    });
}
