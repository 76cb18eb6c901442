//! A panic costs one message or one start, never the process.

use std::time::Duration;

use supervisors::{
    ActorRef, AskError, Backoff, Boot, Exit, Restart, Strategy, SupervisorRef, TellError, actor_child, start,
    task_child,
};
use tokio::task::JoinHandle;

use crate::counter::{Boom, BoomInFuture, Counter, Get, Inc, Place, StopYourself, Watch};
use crate::support::{in_virtual_time, settle, states, supervisor};

const PATIENCE: Duration = Duration::from_secs(1);

async fn counter(
    restarts: u32,
    restart: Restart,
) -> (Watch, ActorRef<Counter>, SupervisorRef, JoinHandle<Exit>) {
    let watch = Watch::default();
    let seen = watch.clone();
    let (actor, spec) = actor_child("counter", 32, move || Counter { count: 0, watch: seen.clone() });
    let (top, end) = start(supervisor(Strategy::OneForOne, restarts, vec![spec.restart(restart)]));
    settle().await;
    (watch, actor, top, end)
}

async fn last_exit(top: &SupervisorRef) -> Option<Exit> {
    top.which_children().await.unwrap().remove(0).last_exit
}

#[test]
fn exactly_the_poison_message_is_lost_and_state_and_mailbox_are_kept() {
    in_virtual_time(async {
        let (watch, actor, top, _end) = counter(1, Restart::Permanent).await;
        let before: Vec<_> = (0..5).map(|_| actor.ask(Inc, PATIENCE)).collect();
        let boom = actor.ask(Boom, PATIENCE);
        let after: Vec<_> = (0..5).map(|_| actor.ask(Inc, PATIENCE)).collect();
        let get = actor.ask(Get, PATIENCE);
        let mut counts = Vec::new();
        for answer in before.into_iter().chain(after) {
            counts.push(answer.await.unwrap());
        }
        assert_eq!(counts, (1..=10).collect::<Vec<u32>>());
        assert_eq!((boom.await, get.await), (Err(AskError::Lost), Ok(10)));
        // The broken actor's stopped() is not called.
        assert_eq!(watch.happened(), "started restarting started");
        assert_eq!(last_exit(&top).await, Some(Exit::Panicked("boom".into())));
        assert_eq!(actor.restarts(), 1);
    });
}

#[test]
fn a_panic_in_a_spawned_future_restarts_the_actor() {
    in_virtual_time(async {
        let (_watch, actor, top, _end) = counter(1, Restart::Permanent).await;
        actor.tell(Inc).unwrap();
        actor.tell(BoomInFuture).unwrap();
        settle().await;
        assert_eq!(actor.ask(Get, PATIENCE).await, Ok(1));
        assert_eq!(last_exit(&top).await, Some(Exit::Panicked("boom in a future".into())));
    });
}

#[test]
fn a_panic_in_started_is_bounded_by_the_intensity() {
    in_virtual_time(async {
        let watch = Watch::default();
        for _ in 0..100 {
            watch.panic_next_in(Place::Started);
        }
        let seen = watch.clone();
        let (actor, spec) = actor_child("counter", 1, move || Counter { count: 0, watch: seen.clone() });
        let (_top, end) = start(supervisor(Strategy::OneForOne, 5, vec![spec]));
        let exit = end.await.unwrap();
        assert!(matches!(&exit, Exit::Escalated(chain) if chain[0].contains("told to panic in Started")));
        assert_eq!(watch.happened().matches("started").count(), 6);
        assert_eq!(actor.tell(Inc), Err(TellError::Down));
    });
}

#[test]
fn a_panic_in_stopped_during_a_shutdown_is_an_exit_like_any_other() {
    in_virtual_time(async {
        let (watch, _actor, top, end) = counter(1, Restart::Permanent).await;
        watch.panic_next_in(Place::Stopped);
        top.terminate_child("counter").await.unwrap();
        assert_eq!(last_exit(&top).await, Some(Exit::Panicked("told to panic in Stopped".into())));
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn a_panic_in_stopped_after_a_panic_in_a_handler_does_not_abort_the_process() {
    in_virtual_time(async {
        let (watch, actor, top, _end) = counter(0, Restart::Temporary).await;
        watch.panic_next_in(Place::Stopped);
        watch.panic_next_in(Place::Dropped);
        actor.tell(Boom).unwrap();
        settle().await;
        assert_eq!(watch.happened(), "started dropped");
        assert_eq!(states(&top).await, "");
    });
}

#[test]
fn a_panic_in_restarting_is_a_failed_start_and_the_next_one_makes_a_new_actor() {
    in_virtual_time(async {
        let (watch, actor, _top, end) = counter(2, Restart::Permanent).await;
        actor.tell(Inc).unwrap();
        watch.panic_next_in(Place::Restarting);
        actor.tell(Boom).unwrap();
        actor.tell(Inc).unwrap();
        settle().await;
        assert_eq!(watch.happened(), "started restarting dropped started");
        // A new actor, but the mailbox was kept: the Inc behind the Boom was handled.
        assert_eq!(actor.ask(Get, PATIENCE).await, Ok(1));
        assert!(!end.is_finished());
    });
}

#[test]
fn a_panicking_factory_is_a_failed_start() {
    in_virtual_time(async {
        let mut calls = 0;
        let watch = Watch::default();
        let (actor, spec) = actor_child("counter", 1, move || {
            calls += 1;
            assert!(calls > 1, "the first call fails");
            Counter { count: 7, watch: watch.clone() }
        });
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, vec![spec]).boot(Boot::Retry));
        settle().await;
        assert_eq!(actor.ask(Get, PATIENCE).await, Ok(7));
        let text = "panicked in its factory: the first call fails";
        assert_eq!(last_exit(&top).await, Some(Exit::Error(text.into())));
    });
}

#[test]
fn an_actor_that_stops_itself_ends_normally() {
    in_virtual_time(async {
        let (watch, actor, top, _end) = counter(1, Restart::Transient).await;
        actor.tell(StopYourself).unwrap();
        settle().await;
        assert_eq!(last_exit(&top).await, Some(Exit::Normal));
        assert_eq!(states(&top).await, "counter:down");
        assert_eq!(watch.happened(), "started stopped dropped");
        assert_eq!(actor.tell(Inc), Err(TellError::Down));
        // The same address works again when the child is restarted; the actor is a new one.
        top.restart_child("counter").await.unwrap();
        assert_eq!(actor.ask(Inc, PATIENCE).await, Ok(1));
    });
}

#[test]
fn a_panicking_task_is_restarted_and_one_that_fails_while_it_is_made_too() {
    in_virtual_time(async {
        let mut calls = 0;
        let spec = task_child("task", move |stop| {
            calls += 1;
            assert!(calls != 2, "the second is not even made");
            Box::pin(async move {
                assert!(calls != 1, "the first panics");
                stop.await;
                Exit::Shutdown
            })
        });
        let (top, end) = start(supervisor(Strategy::OneForOne, 2, vec![spec]));
        settle().await;
        assert_eq!(states(&top).await, "task:up");
        assert_eq!(last_exit(&top).await, Some(Exit::Panicked("the second is not even made".into())));
        assert!(!end.is_finished());
    });
}

#[test]
fn asks_wait_through_the_backoff_and_are_answered() {
    in_virtual_time(async {
        let watch = Watch::default();
        let (actor, spec) = actor_child("counter", 4, move || Counter { count: 0, watch: watch.clone() });
        let rest = Duration::from_millis(500);
        let spec = spec.backoff(Backoff { first: rest, factor: 1, max: rest, jitter: 0.0 });
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, vec![spec]));
        settle().await;
        actor.tell(Boom).unwrap();
        settle().await;
        assert_eq!(states(&top).await, "counter:restarting");
        let asks: Vec<_> = (0..4).map(|_| actor.ask(Inc, PATIENCE)).collect();
        assert_eq!(actor.tell(Inc), Err(TellError::Busy));
        for (ask, count) in asks.into_iter().zip(1..) {
            assert_eq!(ask.await, Ok(count));
        }
    });
}

#[test]
fn the_panic_hook_leaves_panics_outside_of_children_to_the_hook_before() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static SEEN: AtomicU32 = AtomicU32::new(0);
    // Other tests panic at the same time on other threads: only this thread's count.
    thread_local!(static MINE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if MINE.get() {
            SEEN.fetch_add(1, Ordering::SeqCst);
        } else {
            before(info);
        }
    }));
    supervisors::install_panic_hook();
    MINE.set(true);
    assert!(std::panic::catch_unwind(|| panic!("not a child's")).is_err());
    assert_eq!(SEEN.load(Ordering::SeqCst), 1);
    in_virtual_time(async {
        let (_watch, actor, top, _end) = counter(1, Restart::Permanent).await;
        actor.tell(Boom).unwrap();
        settle().await;
        assert_eq!(last_exit(&top).await, Some(Exit::Panicked("boom".into())));
    });
    assert_eq!(SEEN.load(Ordering::SeqCst), 1);
}
