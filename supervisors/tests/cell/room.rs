//! Senders that wait for room.

use std::time::Duration;

use futures::FutureExt;
use supervisors::{ActorSpec, TellError};

use crate::actor::{Note, PATIENCE, Seen, hold, in_real_time, in_virtual_time, puppet, settle, wait_for};

const HOLD: Duration = Duration::from_secs(5);

#[test]
fn senders_that_wait_are_served_in_order_and_before_those_that_do_not() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 1));
        actor.tell(hold(HOLD)).unwrap();
        settle().await;
        actor.tell(Note(0)).unwrap();
        let first = tokio::spawn(actor.tell_wait(Note(1), PATIENCE));
        settle().await;
        let second = tokio::spawn(actor.tell_wait(Note(2), PATIENCE));
        tokio::time::sleep(HOLD).await;
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
        settle().await;
        assert_eq!(actor.ask(Seen, PATIENCE).await, Ok(vec![0, 1, 2]));
    });
}

#[test]
fn room_belongs_to_whoever_stands_in_line() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 1));
        actor.tell(hold(Duration::ZERO)).unwrap();
        let mut waiting = Box::pin(actor.tell_wait(Note(1), PATIENCE));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        settle().await;
        // There is room, and it is spoken for.
        assert_eq!(actor.mailbox().depth, 0);
        assert_eq!(actor.tell(Note(2)), Err(TellError::Busy));
        assert_eq!(waiting.await, Ok(()));
        settle().await;
        assert_eq!(actor.ask(Seen, PATIENCE).await, Ok(vec![1]));
    });
}

#[test]
fn who_waits_too_long_is_busy_and_its_message_is_never_handled() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 1));
        actor.tell(hold(HOLD)).unwrap();
        settle().await;
        actor.tell(Note(0)).unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(actor.tell_wait(Note(1), Duration::from_secs(2)).await, Err(TellError::Busy));
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        tokio::time::sleep(HOLD).await;
        assert_eq!(actor.ask(Seen, PATIENCE).await, Ok(vec![0]));
    });
}

#[test]
fn one_that_leaves_the_line_does_not_stop_those_behind_it() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 1));
        actor.tell(hold(Duration::ZERO)).unwrap();
        let mut leaves = Box::pin(actor.tell_wait(Note(1), PATIENCE));
        assert_eq!(leaves.as_mut().now_or_never(), None);
        let stays = tokio::spawn(actor.tell_wait(Note(2), PATIENCE));
        settle().await;
        drop(leaves);
        assert_eq!(stays.await.unwrap(), Ok(()));
        settle().await;
        assert_eq!(actor.ask(Seen, PATIENCE).await, Ok(vec![2]));
    });
}

#[test]
fn who_waits_for_an_actor_that_goes_down_is_told_so_at_once() {
    in_virtual_time(async {
        let (actor, top) = puppet(ActorSpec::new("puppet", 1));
        actor.tell(hold(Duration::from_secs(3600))).unwrap();
        settle().await;
        actor.tell(Note(0)).unwrap();
        let waiting = tokio::spawn(actor.tell_wait(Note(1), Duration::MAX));
        settle().await;
        top.terminate_child("puppet").await.unwrap();
        assert_eq!(waiting.await.unwrap(), Err(TellError::Down));
    });
}

#[test]
fn senders_on_other_threads_all_get_their_room_in_the_end() {
    in_real_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 2).bare());
        let threads: Vec<_> = (0..3u64)
            .map(|thread| {
                let actor = actor.clone();
                std::thread::spawn(move || {
                    for n in 0..3_000 {
                        let told = actor.tell_wait(Note(thread * 10_000 + n), Duration::MAX);
                        assert_eq!(wait_for(told), Ok(()));
                    }
                })
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for thread in threads {
            thread.join().unwrap();
        }
        while actor.mailbox().depth > 0 {
            tokio::task::yield_now().await;
        }
        let seen = actor.ask(Seen, PATIENCE).await.unwrap();
        assert_eq!(seen.len(), 9_000);
        for thread in 0..3 {
            let mine: Vec<u64> = seen.iter().copied().filter(|n| n / 10_000 == thread).collect();
            assert!(mine.is_sorted());
        }
    });
}
