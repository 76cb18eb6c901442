//! Ours on top: panics in a start, a supervisor's own panic, death watch, boots that are stopped.

use std::rc::Rc;

use supervisors::{
    Boot, ChildError, ChildSpec, Exit, MailboxInfo, Refusal, StartError, Started, Starter, Strategy, launch,
    start, supervisor_child,
};

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};
use crate::{error, patient, refused, up};

struct Raising;

impl Starter for Raising {
    fn start(&mut self, generation: u64) -> futures::future::LocalBoxFuture<'_, Result<Started, String>> {
        Box::pin(async move {
            std::panic::resume_unwind(Box::new(format!("start {generation} panics")));
        })
    }
}

#[test]
fn a_panic_in_a_start_is_a_failed_start() {
    in_virtual_time(async {
        let raising = || ChildSpec::new("raising", Raising);
        let StartError::Failed { exit, .. } =
            launch(supervisor(Strategy::OneForOne, 1, vec![raising()])).await.unwrap_err()
        else {
            panic!()
        };
        let cause = Box::new(Exit::Panicked("start 0 panics".into()));
        assert_eq!(exit, Exit::StartFailed { child: "raising".into(), cause });

        let spec = supervisor(Strategy::OneForOne, 1, vec![raising()]).boot(Boot::Retry);
        let (_top, end) = start(spec);
        let chain = vec!["child `raising` ended: panicked: start 1 panics".to_owned()];
        assert_eq!(end.await.unwrap(), Exit::Escalated(chain));
    });
}

/// A question makes the loop of the inner supervisor itself panic.
#[test]
fn a_supervisors_own_panic_kills_its_children_and_its_parent_restarts_it() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut mine = stage.puppet("b");
        let armed = Rc::new(std::cell::Cell::new(false));
        let trigger = armed.clone();
        mine.mailbox = Some(Rc::new(move || {
            if trigger.take() {
                std::panic::resume_unwind(Box::new("a defect of the loop"));
            }
            MailboxInfo { depth: 0, capacity: 1 }
        }));
        let mut spec = supervisor(Strategy::OneForOne, 1, vec![mine, stage.puppet("c")]);
        spec.id = "inner".to_owned();
        let (inner, child) = supervisor_child(spec);
        let (top, end) = patient(Strategy::OneForOne, vec![stage.puppet("a"), child]).await;
        let watch = top.watch_child("inner").await.unwrap();
        let b = inner.watch_child("b").await.unwrap();
        stage.happened();
        armed.set(true);
        assert!(matches!(inner.which_children().await, Err(ChildError::SupervisorGone(_))));
        settle().await;
        assert_eq!(watch.await, Exit::Panicked("a defect of the loop".into()));
        assert_eq!(b.await, Exit::Killed);
        // No orphans, the neighbour undisturbed, and everything is there again.
        assert_eq!(stage.happened(), "xc xb +b +c");
        assert_eq!(states(&inner).await, "b:up c:up");
        assert_eq!(states(&top).await, "a:up inner:up");
        assert!(!end.is_finished());
    });
}

#[test]
fn a_death_watch_tells_the_exit_of_this_incarnation_once_and_of_no_other() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::OneForOne, stage.puppets(&["a"])).await;
        let (first, second) = (top.watch_child("a").await.unwrap(), top.watch_child("a").await.unwrap());
        stage.exit("a", error("one")).await;
        let third = top.watch_child("a").await.unwrap();
        stage.exit("a", error("two")).await;
        assert_eq!((first.await, second.await, third.await), (error("one"), error("one"), error("two")));
        assert!(matches!(
            top.watch_child("z").await.map(drop),
            Err(ChildError::Refused(Refusal::NotFound(_)))
        ));
        top.terminate_child("a").await.unwrap();
        let not_up = Err(ChildError::NotUp("a".into()));
        assert_eq!(top.watch_child("a").await.map(drop), not_up);
        top.delete_child("a").await.unwrap();
        assert_eq!(top.delete_child("a").await, refused(Refusal::NotFound("a".into())));
    });
}

#[test]
fn a_watch_survives_the_kill_of_the_supervisor() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = patient(Strategy::OneForOne, stage.puppets(&["a"])).await;
        let watch = top.watch_child("a").await.unwrap();
        end.abort();
        assert_eq!(watch.await, Exit::Killed);
        assert_eq!(stage.happened(), "+a xa");
    });
}

#[test]
fn a_supervisor_is_up_when_its_children_are_and_the_next_sibling_waits_for_that() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.hang_in_start("b");
        let mut inner = supervisor(Strategy::OneForOne, 1, stage.puppets(&["a", "b"]));
        inner.id = "inner".to_owned();
        let (_, child) = supervisor_child(inner);
        let (top, end) = start(supervisor(Strategy::OneForOne, 1, vec![child, stage.puppet("c")]));
        settle().await;
        assert_eq!(stage.happened(), "+a ?b");
        assert_eq!(states(&top).await, "inner:restarting c:restarting");
        // In the middle of its boot it stops what it started, in order, and kills nobody.
        top.shutdown().await;
        assert_eq!(stage.happened(), "-a");
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn a_launch_that_is_given_up_leaves_no_orphan() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.hang_in_start("b");
        let spec = supervisor(Strategy::OneForOne, 1, stage.puppets(&["a", "b"]));
        let launching = tokio::time::timeout(std::time::Duration::from_secs(1), launch(spec));
        assert!(launching.await.is_err());
        settle().await;
        assert_eq!(stage.happened(), "+a ?b xa");
    });
}

#[test]
fn a_restart_of_a_supervisor_that_fails_is_tried_again_under_the_intensity_of_the_one_above() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut inner = supervisor(Strategy::OneForOne, 0, stage.puppets(&["a"]));
        inner.id = "inner".to_owned();
        let (_, child) = supervisor_child(inner);
        let (top, end) = up(supervisor(Strategy::OneForOne, 2, vec![child])).await;
        stage.fail_next_starts("a", 1);
        stage.exit("a", Exit::Killed).await;
        assert_eq!(stage.happened(), "+a !a +a");
        assert_eq!(states(&top).await, "inner:up");
        stage.exit("a", Exit::Killed).await;
        let chain = vec!["child `inner` gave up".to_owned(), "child `a` ended: killed".to_owned()];
        assert_eq!(end.await.unwrap(), Exit::Escalated(chain));
    });
}
