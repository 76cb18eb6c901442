//! Lanes under load, with real threads; semantics that hold in bare and full cells alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use supervisors::{ActorSpec, AskError, TellError};

use crate::actor::{
    Later, Note, PATIENCE, Puppet, Seen, act, hold, in_real_time, in_virtual_time, puppet, settle, under,
    wait_for,
};

fn cells(capacity: usize) -> [ActorSpec; 2] {
    [ActorSpec::new("puppet", capacity).bare(), ActorSpec::new("puppet", capacity)]
}

#[test]
fn two_threads_that_tell_at_once_get_exactly_the_bound_accepted() {
    for spec in cells(1_000) {
        in_real_time(async {
            let (actor, _top) = puppet(spec);
            // The actor's thread waits here, so nothing is handled meanwhile.
            let accepted: usize = std::thread::scope(|scope| {
                let sender = || {
                    let actor = actor.clone();
                    scope.spawn(move || (0..5_000).filter(|n| actor.tell(Note(*n)).is_ok()).count())
                };
                let senders = [sender(), sender()];
                senders.map(|sender| sender.join().unwrap()).iter().sum()
            });
            assert_eq!(accepted, 1_000);
            assert_eq!(actor.mailbox().depth, 1_000);
            assert_eq!(actor.tell(Note(0)), Err(TellError::Busy));
            while actor.mailbox().depth > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(actor.ask(Seen, PATIENCE).await.unwrap().len(), 1_000);
        });
    }
}

#[test]
fn nothing_is_lost_or_doubled_or_reordered_while_threads_tell_and_the_actor_panics() {
    const EACH: u64 = 20_000;
    for spec in cells(64) {
        in_real_time(async {
            let (actor, child) = spec.child(Puppet::default);
            let (_top, _end) = under(u32::MAX, child);
            let busy = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..2u64)
                .map(|thread| {
                    let (actor, busy) = (actor.clone(), busy.clone());
                    std::thread::spawn(move || {
                        for n in 0..EACH {
                            while actor.tell(Note(thread * EACH + n)).is_err() {
                                busy.fetch_add(1, Ordering::Relaxed);
                                std::thread::yield_now();
                            }
                            if n % 1_000 == 0 {
                                while actor.tell(act(|_, _| panic!("boom"))).is_err() {
                                    std::thread::yield_now();
                                }
                            }
                            let depth = actor.mailbox().depth;
                            assert!(depth <= 64, "{depth} accepted and not finished");
                        }
                    })
                })
                .collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                tokio::task::yield_now().await;
            }
            for thread in threads {
                thread.join().unwrap();
            }
            let seen = loop {
                match actor.ask(Seen, PATIENCE).await {
                    Ok(seen) => break seen,
                    Err(AskError::Busy) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            };
            for thread in 0..2 {
                let mine: Vec<u64> = seen.iter().copied().filter(|n| n / EACH == thread).collect();
                assert_eq!(mine, (thread * EACH..(thread + 1) * EACH).collect::<Vec<_>>());
            }
            settle().await;
            assert_eq!((actor.mailbox().depth, actor.restarts()), (0, 40));
            assert_eq!(actor.mailbox().handled, 2 * EACH + 1);
            assert!(busy.load(Ordering::Relaxed) > 0, "the bound was never met, so nothing was shown");
        });
    }
}

#[test]
fn an_actor_that_sleeps_is_woken_by_every_thread_that_tells() {
    in_real_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 1).bare());
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let asker = {
            let (actor, stop, answered) = (actor.clone(), stop.clone(), answered.clone());
            std::thread::spawn(move || {
                // One at a time with a bound of one: the answer must come after its room is free.
                for _ in 0..3_000 {
                    let answer = wait_for(actor.ask(Seen, Duration::MAX));
                    assert_eq!(answer, Ok(Vec::new()));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                stop.store(true, Ordering::Release);
            })
        };
        while !stop.load(Ordering::Acquire) && !asker.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        asker.join().unwrap();
        assert_eq!(answered.load(Ordering::Relaxed), 3_000);
    });
}

#[test]
fn a_control_message_overtakes_ordinary_ones_that_were_already_taken_out_of_the_queue() {
    for spec in cells(100) {
        in_virtual_time(async {
            let (actor, _top) = puppet(spec);
            let control = actor.clone();
            actor.tell(Note(1)).unwrap();
            actor.tell(act(move |_, _| control.tell_control(Note(99)).unwrap())).unwrap();
            actor.tell(Note(2)).unwrap();
            assert_eq!(actor.ask(Seen, PATIENCE).await, Ok(vec![1, 99, 2]));
            assert_eq!(actor.mailbox().control_depth, 0);
        });
    }
}

#[test]
fn messages_that_an_actor_tells_itself_do_not_keep_others_from_the_thread() {
    in_virtual_time(async {
        fn again(actor: supervisors::ActorRef<Puppet>) -> crate::actor::Do {
            act(move |_, _| {
                let next = again(actor.clone());
                // Down: the test is over.
                let _ = actor.tell(next);
            })
        }
        let (actor, _top) = puppet(ActorSpec::new("puppet", 4).bare());
        actor.tell(again(actor.clone())).unwrap();
        // Would never be reached if the pump took itself no pause.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(actor.mailbox().handled >= 64);
    });
}

#[test]
fn the_count_of_an_answer_from_a_future_ends_with_the_incarnation() {
    for spec in cells(2) {
        in_virtual_time(async {
            let (actor, top) = puppet(spec);
            let later = actor.ask(Later(Duration::from_secs(60)), PATIENCE * 10);
            settle().await;
            assert_eq!(actor.mailbox().depth, 1);
            top.terminate_child("puppet").await.unwrap();
            assert_eq!(later.await, Err(AskError::Lost));
            top.restart_child("puppet").await.unwrap();
            assert_eq!(actor.mailbox().depth, 0);
            assert_eq!(actor.tell(Note(1)), Ok(()));
            assert_eq!(actor.tell(Note(2)), Ok(()));
            assert_eq!(actor.tell(Note(3)), Err(TellError::Busy));
        });
    }
}

#[test]
fn a_refused_message_is_dropped_and_takes_no_room() {
    in_virtual_time(async {
        let (actor, _top) = puppet(ActorSpec::new("puppet", 1));
        actor.tell(hold(Duration::from_secs(1))).unwrap();
        let token = Arc::new(());
        let held = token.clone();
        assert_eq!(actor.tell(act(move |_, _| drop(held))), Err(TellError::Busy));
        assert_eq!(Arc::strong_count(&token), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(actor.mailbox().depth, 0);
    });
}
