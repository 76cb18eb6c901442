//! OTP's groups normal, shutdown and abnormal termination, by restart type, and the cause chain.

use supervisors::{Boot, Exit, Restart, StartError, Strategy, SupervisorSpec, launch, supervisor_child};

use crate::support::{Stage, in_virtual_time, states, supervisor};
use crate::{error, patient};

/// What is left of a child of this restart type after this exit, and how often it was started.
fn after(restart: Restart, exit: Exit) -> (String, String) {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = patient(Strategy::OneForOne, vec![stage.puppet("a").restart(restart)]).await;
        stage.exit("a", exit).await;
        assert!(!end.is_finished());
        (states(&top).await, stage.happened())
    })
}

fn restarted() -> (String, String) {
    ("a:up".to_owned(), "+a +a".to_owned())
}

fn kept_down() -> (String, String) {
    ("a:down".to_owned(), "+a".to_owned())
}

fn forgotten() -> (String, String) {
    (String::new(), "+a".to_owned())
}

fn shutdowns() -> [Exit; 2] {
    [Exit::Shutdown, Exit::ShutdownBecause("x".into())]
}

fn abnormal() -> [Exit; 4] {
    [error("x"), Exit::Panicked("x".into()), Exit::Killed, Exit::Escalated(vec![])]
}

#[test]
fn permanent_normal() {
    assert_eq!(after(Restart::Permanent, Exit::Normal), restarted());
}

#[test]
fn transient_normal() {
    assert_eq!(after(Restart::Transient, Exit::Normal), kept_down());
}

#[test]
fn temporary_normal() {
    assert_eq!(after(Restart::Temporary, Exit::Normal), forgotten());
}

#[test]
fn permanent_shutdown() {
    for exit in shutdowns() {
        assert_eq!(after(Restart::Permanent, exit), restarted());
    }
}

#[test]
fn transient_shutdown() {
    for exit in shutdowns() {
        assert_eq!(after(Restart::Transient, exit), kept_down());
    }
}

#[test]
fn temporary_shutdown() {
    for exit in shutdowns() {
        assert_eq!(after(Restart::Temporary, exit), forgotten());
    }
}

#[test]
fn permanent_abnormal() {
    for exit in abnormal() {
        assert_eq!(after(Restart::Permanent, exit), restarted());
    }
}

#[test]
fn transient_abnormal() {
    for exit in abnormal() {
        assert_eq!(after(Restart::Transient, exit), restarted());
    }
}

#[test]
fn temporary_abnormal() {
    for exit in abnormal() {
        assert_eq!(after(Restart::Temporary, exit), forgotten());
    }
}

/// A start that fails deep down: everything started before is stopped in reverse, and the top says
/// which child of which child it was, and why.
#[test]
fn faulty_application_shutdown() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.fail_next_starts("c", 1);
        let mut inner = supervisor(Strategy::OneForOne, 5, stage.puppets(&["b", "c", "d"]));
        inner.id = "inner".to_owned();
        let (_, inner) = supervisor_child(inner);
        let spec = supervisor(Strategy::OneForOne, 5, vec![stage.puppet("a"), inner, stage.puppet("e")]);
        let StartError::Failed { exit, .. } = launch(spec).await.unwrap_err() else { panic!() };
        assert_eq!(
            exit,
            Exit::StartFailed {
                child: "inner".into(),
                cause: Box::new(Exit::StartFailed {
                    child: "c".into(),
                    cause: Box::new(error("told to fail")),
                }),
            }
        );
        assert_eq!(
            exit.to_string(),
            "child `inner` failed to start: child `c` failed to start: error: told to fail"
        );
        assert_eq!(stage.happened(), "+a +b !c -b -a");
    });
}

/// Ours on top: the same, where the supervisor is told to try again.
#[test]
fn with_boot_retry_a_failed_start_is_tried_again_before_the_next_child_comes() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.fail_next_starts("b", 2);
        let retry = |spec: SupervisorSpec| spec.boot(Boot::Retry);
        let spec = retry(supervisor(Strategy::OneForOne, 2, stage.puppets(&["a", "b", "c"])));
        launch(spec).await.unwrap();
        assert_eq!(stage.happened(), "+a !b !b +b +c");

        stage.fail_next_starts("b", 3);
        let spec = retry(supervisor(Strategy::OneForOne, 2, stage.puppets(&["a", "b", "c"])));
        let StartError::Failed { exit, .. } = launch(spec).await.unwrap_err() else { panic!() };
        assert_eq!(exit, Exit::Escalated(vec!["child `b` ended: error: told to fail".into()]));
    });
}
