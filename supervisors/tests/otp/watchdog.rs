//! Ours on top: hangs are found, killed and treated as failures.

use std::time::Duration;

use supervisors::{ChildSpec, Exit, Pulse, Restart, Shutdown, Strategy, Watchdog};
use tokio::time::Instant;

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};
use crate::{ms, patient, up};

const PATIENCE: Duration = ms(400);

fn watched(stage: &Stage, id: &str) -> (Pulse, ChildSpec) {
    let pulse = Pulse::new();
    let watchdog = Watchdog { pulse: pulse.clone(), patience: PATIENCE };
    (pulse, stage.puppet(id).watchdog(watchdog))
}

/// Beats on its own, every 10 ms.
fn keep_beating(pulse: &Pulse) -> tokio::task::AbortHandle {
    let pulse = pulse.clone();
    let heart = tokio::task::spawn_local(async move {
        loop {
            pulse.beat();
            tokio::time::sleep(ms(10)).await;
        }
    });
    heart.abort_handle()
}

#[test]
fn a_child_whose_pulse_stands_still_is_killed_and_restarted_within_one_and_a_half_patiences() {
    // The hang begins at another moment each time, also right after a look.
    for begins in [0, 1, 57, 199, 200, 201, 399, 1_234] {
        in_virtual_time(async {
            let stage = Stage::default();
            let (pulse, child) = watched(&stage, "a");
            let heart = keep_beating(&pulse);
            let (top, _end) = patient(Strategy::OneForOne, vec![child]).await;
            let watch = top.watch_child("a").await.unwrap();
            tokio::time::sleep(ms(begins)).await;
            heart.abort();
            let began = Instant::now();
            assert_eq!(watch.await, Exit::Hung(PATIENCE));
            let took = began.elapsed();
            // The last beat may be 10 ms older than the end of the heart.
            let fair = PATIENCE - ms(10)..=PATIENCE * 3 / 2 + ms(2);
            assert!(fair.contains(&took), "found after {took:?}");
            let _second = keep_beating(&pulse);
            settle().await;
            assert_eq!(stage.happened(), "+a xa +a");
            tokio::time::sleep(PATIENCE * 20).await;
            assert_eq!(stage.happened(), "");
            assert_eq!(states(&top).await, "a:up");
        });
    }
}

#[test]
fn a_child_that_answers_only_when_it_is_asked_is_left_alone() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (pulse, child) = watched(&stage, "a");
        let answering = pulse.clone();
        tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            answering.answer(cx);
            std::task::Poll::<()>::Pending
        }));
        let (_top, _end) = patient(Strategy::OneForOne, vec![child]).await;
        tokio::time::sleep(PATIENCE * 50).await;
        assert_eq!(stage.happened(), "+a");
        // Asked twice per patience.
        assert!((95..=105).contains(&pulse.beats()), "{} beats", pulse.beats());
    });
}

#[test]
fn a_hang_counts_as_a_failure_by_the_restart_type() {
    for (restart, left) in
        [(Restart::Permanent, "a:up"), (Restart::Transient, "a:up"), (Restart::Temporary, "")]
    {
        in_virtual_time(async {
            let stage = Stage::default();
            let (_pulse, child) = watched(&stage, "a");
            let (top, _end) = patient(Strategy::OneForOne, vec![child.restart(restart)]).await;
            tokio::time::sleep(PATIENCE + ms(5)).await;
            assert_eq!(states(&top).await, left);
        });
    }
    in_virtual_time(async {
        let stage = Stage::default();
        let (_pulse, child) = watched(&stage, "a");
        let (_top, end) = up(supervisor(Strategy::OneForOne, 1, vec![child])).await;
        let chain = vec!["child `a` ended: hung: no sign of life for 400ms".to_owned()];
        assert_eq!(end.await.unwrap(), Exit::Escalated(chain));
        assert_eq!(stage.happened(), "+a xa +a xa");
    });
}

#[test]
fn a_hang_that_survives_its_kill_is_abandoned_and_replaced() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_kills("a");
        let (_pulse, child) = watched(&stage, "a");
        let (top, _end) = patient(Strategy::OneForAll, vec![child, stage.puppet("b")]).await;
        let watch = top.watch_child("a").await.unwrap();
        let began = Instant::now();
        assert_eq!(watch.await, Exit::Hung(PATIENCE));
        assert!((ms(600)..=ms(605)).contains(&began.elapsed()), "{:?}", began.elapsed());
        settle().await;
        assert_eq!(stage.happened(), "+a +b -b +a +b");
        assert_eq!(top.which_child("a").await.unwrap().last_exit, Some(Exit::Hung(PATIENCE)));
    });
}

#[test]
fn a_child_is_not_watched_while_it_starts_and_while_it_stops() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.hang_in_start("a");
        let (_pulse, child) = watched(&stage, "a");
        let (top, end) = supervisors::start(supervisor(Strategy::OneForOne, 0, vec![child]));
        tokio::time::sleep(PATIENCE * 10).await;
        assert_eq!(states(&top).await, "a:restarting");
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);

        let stage = Stage::default();
        stage.ignore_stops("a");
        let (_pulse, child) = watched(&stage, "a");
        let child = child.shutdown(Shutdown::Deadline(PATIENCE * 10));
        let (top, _end) = up(supervisor(Strategy::OneForOne, 0, vec![child])).await;
        let watch = top.watch_child("a").await.unwrap();
        let began = Instant::now();
        top.terminate_child("a").await.unwrap();
        assert_eq!(watch.await, Exit::Killed);
        assert!(began.elapsed() >= PATIENCE * 10);
    });
}

/// A supervisor whose thread was blocked for long looks late, and blames nobody for it.
#[test]
fn a_supervisor_that_was_held_up_itself_blames_nobody() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (pulse, child) = watched(&stage, "a");
        let answering = pulse.clone();
        tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            answering.answer(cx);
            std::task::Poll::<()>::Pending
        }));
        let (top, _end) = patient(Strategy::OneForOne, vec![child]).await;
        for _ in 0..20 {
            // Time jumps over many looks at once, and nothing runs meanwhile.
            tokio::time::advance(PATIENCE * 5).await;
        }
        settle().await;
        assert_eq!((stage.happened().as_str(), states(&top).await.as_str()), ("+a", "a:up"));
    });
}
