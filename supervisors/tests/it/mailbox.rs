//! Real bounds, the control lane, stops that pass the queue.

use std::time::Duration;

use supervisors::{
    ActorRef, AskError, CONTROL_CAPACITY, Exit, MailboxInfo, Strategy, SupervisorRef, TellError, Teller,
    actor_child, actor_child_with, start,
};

use crate::counter::{Boom, Counter, Get, Inc, Slow, WaitThenInc, Watch};
use crate::support::{in_virtual_time, settle, supervisor};

const PATIENCE: Duration = Duration::from_secs(10);

/// Not settled: the actor has not run yet, so whatever is told now waits in its mailbox.
fn counter(capacity: usize) -> (ActorRef<Counter>, SupervisorRef) {
    let (actor, spec) = actor_child("counter", capacity, || Counter { count: 0, watch: Watch::default() });
    let (top, _end) = start(supervisor(Strategy::OneForOne, 1, vec![spec]));
    (actor, top)
}

#[test]
fn the_bound_holds_over_all_clones_and_recipients_of_an_address() {
    in_virtual_time(async {
        let (actor, top) = counter(3);
        let recipient: Teller<Inc> = actor.recipient();
        actor.tell(WaitThenInc(Duration::from_secs(1))).unwrap();
        settle().await;
        assert_eq!(actor.clone().tell(Inc), Ok(()));
        assert_eq!(recipient.clone().tell(Inc), Ok(()));
        assert_eq!(actor.tell(Inc), Ok(()));
        for _ in 0..100 {
            assert_eq!(actor.clone().tell(Inc), Err(TellError::Busy));
            assert_eq!(recipient.clone().tell(Inc), Err(TellError::Busy));
        }
        assert_eq!(actor.ask(Get, PATIENCE).await, Err(AskError::Busy));
        let MailboxInfo { depth, capacity, .. } = actor.mailbox();
        assert_eq!((depth, capacity), (3, 3));
        assert_eq!(top.which_children().await.unwrap()[0].mailbox, Some(actor.mailbox()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(actor.mailbox().depth, 0);
        assert_eq!(actor.ask(Get, PATIENCE).await, Ok(103));
    });
}

#[test]
fn the_control_lane_passes_a_full_mailbox_and_has_a_bound_of_its_own() {
    in_virtual_time(async {
        let (actor, _top) = counter(5);
        for _ in 0..5 {
            actor.tell(Inc).unwrap();
        }
        assert_eq!(actor.tell(Inc), Err(TellError::Busy));
        // Asked last, answered first: none of the five was handled before.
        let asked = actor.ask_control(Get, PATIENCE);
        for _ in 1..CONTROL_CAPACITY {
            actor.tell_control(Get).unwrap();
        }
        assert_eq!(actor.tell_control(Get), Err(TellError::Busy));
        assert_eq!(asked.await, Ok(0));
        assert_eq!(actor.ask(Get, PATIENCE).await, Ok(5));
    });
}

#[test]
fn a_permit_is_held_until_the_handlers_future_is_done() {
    in_virtual_time(async {
        let (actor, _top) = counter(1);
        let slow = actor.ask(Slow(Duration::from_millis(100)), PATIENCE);
        settle().await;
        assert_eq!(actor.tell(Inc), Err(TellError::Busy));
        assert_eq!(slow.await, Ok(0));
        settle().await;
        assert_eq!(actor.tell(Inc), Ok(()));
    });
}

#[test]
fn a_panic_returns_the_permits_of_the_poison_message_and_of_futures_in_flight() {
    in_virtual_time(async {
        let (actor, _top) = counter(2);
        let slow = actor.ask(Slow(Duration::from_secs(60)), PATIENCE);
        let boom = actor.ask(Boom, PATIENCE);
        assert_eq!((slow.await, boom.await), (Err(AskError::Lost), Err(AskError::Lost)));
        assert_eq!(actor.mailbox().depth, 0);
    });
}

#[test]
fn an_ask_that_gave_up_is_not_handled_later() {
    in_virtual_time(async {
        let (actor, _top) = counter(8);
        settle().await;
        actor.tell(WaitThenInc(Duration::from_secs(5))).unwrap();
        assert_eq!(actor.ask(Inc, Duration::from_secs(1)).await, Err(AskError::Timeout));
        // 100 from the wait, nothing from the ask.
        assert_eq!(actor.ask(Get, PATIENCE).await, Ok(100));
    });
}

#[test]
fn a_wait_of_the_actor_holds_back_both_lanes() {
    in_virtual_time(async {
        let (actor, _top) = counter(8);
        actor.tell_control(WaitThenInc(Duration::from_secs(5))).unwrap();
        assert_eq!(actor.ask_control(Get, PATIENCE).await, Ok(100));
    });
}

#[test]
fn a_stop_passes_thousands_of_queued_messages_which_are_then_lost() {
    in_virtual_time(async {
        let (actor, top) = counter(10_000);
        settle().await;
        actor.tell(WaitThenInc(Duration::from_secs(3))).unwrap();
        settle().await;
        for _ in 0..9_999 {
            actor.tell(Inc).unwrap();
        }
        let get = actor.ask_control(Get, PATIENCE);
        let began = tokio::time::Instant::now();
        top.terminate_child("counter").await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(get.await, Err(AskError::Lost));
        assert_eq!(actor.mailbox().depth, 0);
        assert_eq!(actor.tell(Inc), Err(TellError::Down));
        let child = top.which_children().await.unwrap().remove(0);
        assert_eq!(child.last_exit, Some(Exit::Shutdown));
    });
}

#[test]
fn a_busy_actor_leaves_the_thread_to_others() {
    in_virtual_time(async {
        let (actor, _top) = counter(10_000);
        for _ in 0..10_000 {
            actor.tell(Inc).unwrap();
        }
        let mut turns = 0;
        let observed = actor.clone();
        let others = tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            if observed.mailbox().depth == 0 {
                return std::task::Poll::Ready(turns);
            }
            turns += 1;
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }));
        let turns = others.await.unwrap();
        assert!(turns > 10_000 / 200, "only {turns} turns for others");
    });
}

#[test]
fn an_actor_can_get_its_own_address() {
    in_virtual_time(async {
        let given = std::rc::Rc::new(std::cell::RefCell::new(None));
        let taken = given.clone();
        let (actor, spec) = actor_child_with("counter", 2, move |me| {
            *given.borrow_mut() = Some(me.recipient::<Inc>());
            Counter { count: 0, watch: Watch::default() }
        });
        let (_top, _end) = start(supervisor(Strategy::OneForOne, 1, vec![spec]));
        settle().await;
        let own = taken.borrow_mut().take().unwrap();
        own.tell(Inc).unwrap();
        assert_eq!(actor.ask(Get, PATIENCE).await, Ok(1));
    });
}

#[test]
fn addresses_may_be_used_from_other_threads() {
    fn may_travel<T: Send + Sync + Clone + 'static>(_: &T) {}
    in_virtual_time(async {
        let (actor, _top) = counter(2);
        may_travel(&actor);
        may_travel(&actor.recipient::<Inc>());
        let elsewhere = actor.clone();
        std::thread::spawn(move || elsewhere.tell(Inc).unwrap()).join().unwrap();
        assert_eq!(actor.ask(Get, PATIENCE).await, Ok(1));
    });
}

#[test]
fn the_address_of_a_child_whose_spec_is_dropped_is_down() {
    let (actor, spec) = actor_child("counter", 2, || Counter { count: 0, watch: Watch::default() });
    assert_eq!(actor.tell(Inc), Ok(()));
    drop(spec);
    assert_eq!(actor.tell(Inc), Err(TellError::Down));
}
