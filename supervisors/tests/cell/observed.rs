//! What others see of an actor's mailbox and of what it is busy with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use supervisors::{ActorSpec, MailboxInfo};

use crate::actor::{Later, Note, Seen, act, hold, in_virtual_time, puppet, settle};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_message_in_the_handler_is_named_while_it_is_there_and_not_after() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 4));
        let inside = Arc::new(Mutex::new(None));
        let (observer, seen) = (actor.clone(), inside.clone());
        actor.tell(act(move |_, _| *seen.lock().unwrap() = Some(observer.mailbox()))).unwrap();
        actor.tell(Note(1)).unwrap();
        settle().await;
        let info: MailboxInfo = inside.lock().unwrap().take().unwrap();
        assert_eq!(info.handling.unwrap().message, "Do");
        assert_eq!((info.depth, info.handled), (2, 0));
        let info = actor.mailbox();
        assert_eq!((info.handling, info.handled, info.depth), (None, 2, 0));
    });
}

#[test]
fn a_panic_in_the_handler_leaves_nothing_in_the_handler_and_is_not_counted_as_handled() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 4));
        actor.tell(act(|_, _| panic!("boom"))).unwrap();
        settle().await;
        let info = actor.mailbox();
        assert_eq!((info.handling, info.handled, info.depth), (None, 0, 0));
    });
}

#[test]
fn the_oldest_message_ages_in_the_queue_and_in_the_batch_and_is_gone_when_it_is_handled() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 8));
        assert_eq!(actor.mailbox().oldest, None);
        actor.tell(hold(5 * SECOND)).unwrap();
        actor.tell(Note(1)).unwrap();
        tokio::time::sleep(2 * SECOND).await;
        // Taken out of the queue together with the one that holds it up.
        assert_eq!(actor.mailbox().oldest, Some(2 * SECOND));
        actor.tell(Note(2)).unwrap();
        tokio::time::sleep(SECOND).await;
        assert_eq!(actor.mailbox().oldest, Some(3 * SECOND));
        tokio::time::sleep(3 * SECOND).await;
        assert_eq!(actor.mailbox().oldest, None);
    });
}

#[test]
fn an_actor_in_a_wait_says_what_for_and_since_when() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 8).bare().waits_for("the journal"));
        settle().await;
        assert_eq!(actor.mailbox().waiting, None);
        actor.tell(hold(5 * SECOND)).unwrap();
        tokio::time::sleep(2 * SECOND).await;
        let waiting = actor.mailbox().waiting.unwrap();
        assert_eq!((waiting.what, waiting.since), ("the journal", 2 * SECOND - Duration::from_millis(0)));
        tokio::time::sleep(4 * SECOND).await;
        assert_eq!(actor.mailbox().waiting, None);
    });
}

#[test]
fn a_wait_ends_with_its_incarnation() {
    in_virtual_time(async {
        let (actor, top) = puppet(ActorSpec::new("puppet", 8));
        actor.tell(hold(3600 * SECOND)).unwrap();
        settle().await;
        assert!(actor.mailbox().waiting.is_some());
        top.terminate_child("puppet").await.unwrap();
        assert_eq!(actor.mailbox().waiting, None);
    });
}

#[test]
fn a_handlers_future_is_in_the_depth_and_not_in_the_handler() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 8));
        let later = actor.ask(Later(2 * SECOND), 60 * SECOND);
        tokio::time::sleep(SECOND).await;
        let info = actor.mailbox();
        assert_eq!((info.depth, info.handling, info.waiting), (1, None, None));
        later.await.unwrap();
        assert_eq!(actor.mailbox().depth, 0);
    });
}

#[test]
fn a_bare_cell_says_nothing_of_ages_and_times_but_counts() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 8).bare());
        actor.tell(hold(5 * SECOND)).unwrap();
        actor.tell(Note(1)).unwrap();
        tokio::time::sleep(SECOND).await;
        let info = actor.mailbox();
        assert_eq!(
            (info.oldest, info.handling_total, info.depth, info.handled),
            (None, Duration::ZERO, 1, 1)
        );
        assert_eq!(actor.ask(Seen, 60 * SECOND).await, Ok(vec![1]));
        assert_eq!(actor.mailbox().handled, 3);
    });
}

#[test]
fn a_weak_address_outlives_the_actor_and_not_the_last_address() {
    in_virtual_time(async {
        let (actor, top) = puppet(ActorSpec::new("puppet", 8));
        settle().await;
        let weak = actor.downgrade();
        assert_eq!(weak.upgrade().unwrap().ask(Seen, SECOND).await, Ok(vec![]));
        drop(actor);
        assert!(weak.upgrade().is_some(), "the spec has one");
        top.shutdown().await;
        drop(top);
        settle().await;
        assert!(weak.upgrade().is_none());
    });
}
