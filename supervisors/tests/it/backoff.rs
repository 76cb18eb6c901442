//! How long a restart waits, in virtual time.

use std::time::Duration;

use proptest::prelude::*;
use supervisors::{Backoff, Exit, Restart, start};
use tokio::time::Instant;

use crate::support::{Stage, alone, in_virtual_time, settle, states};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const DOUBLING: Backoff = Backoff { first: ms(10), factor: 2, max: ms(100), jitter: 0.0 };

/// Virtual milliseconds from the exit to the restart, for `deaths` deaths in a row.
async fn waits(stage: &Stage, deaths: usize) -> Vec<u128> {
    let mut waits = Vec::new();
    for _ in 0..deaths {
        stage.happened();
        let began = Instant::now();
        stage.exit("a", Exit::Killed).await;
        while stage.happened().is_empty() {
            tokio::time::sleep(ms(1)).await;
        }
        waits.push(began.elapsed().as_millis());
    }
    waits
}

#[test]
fn the_wait_doubles_up_to_its_maximum_and_starts_over_after_a_long_life() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut spec = alone(&stage, Restart::Permanent);
        spec.intensity.restarts = 100;
        spec.children[0].backoff = DOUBLING;
        let (_top, _end) = start(spec);
        settle().await;
        let near = |wanted: u128| move |got: &u128| (wanted..=wanted + 2).contains(got);
        let got = waits(&stage, 7).await;
        for (got, wanted) in got.iter().zip([10, 20, 40, 80, 100, 100, 100]) {
            assert!(near(wanted)(got), "{got} is not {wanted}");
        }
        tokio::time::sleep(ms(101)).await;
        assert!(near(10)(&waits(&stage, 1).await[0]));
    });
}

#[test]
fn no_backoff_takes_no_time_at_all() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = start(alone(&stage, Restart::Permanent));
        settle().await;
        let began = Instant::now();
        stage.happened();
        let dying = stage.exit("a", Exit::Killed);
        let seen = async {
            while stage.happened().is_empty() {
                tokio::task::yield_now().await;
            }
            began.elapsed()
        };
        // A timer of any length would let virtual time pass.
        let ((), elapsed) = tokio::join!(dying, seen);
        assert_eq!(elapsed, Duration::ZERO);
        assert_eq!(states(&top).await, "a:up");
    });
}

#[test]
fn while_a_child_waits_its_supervisor_answers_and_can_end_the_wait() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut spec = alone(&stage, Restart::Permanent);
        spec.children[0].backoff = Backoff { first: ms(60_000), factor: 1, max: ms(60_000), jitter: 0.0 };
        let (top, _end) = start(spec);
        settle().await;
        stage.exit("a", Exit::Killed).await;
        assert_eq!(states(&top).await, "a:restarting");
        assert_eq!(top.count_children().await.unwrap().active, 0);
        assert_eq!(
            top.restart_child("a").await.unwrap_err().to_string(),
            "child `a` is being restarted; terminate it first"
        );
        top.terminate_child("a").await.unwrap();
        assert_eq!(states(&top).await, "a:down");
        tokio::time::sleep(ms(120_000)).await;
        assert_eq!(stage.happened(), "+a");
        top.restart_child("a").await.unwrap();
        assert_eq!(states(&top).await, "a:up");
    });
}

proptest! {
    #[test]
    fn a_wait_stays_within_its_jitter_and_below_its_maximum(
        first in 1_u64..1_000, factor in 0_u32..5, max in 1_u64..100_000, jitter in 0.0..1.0_f64,
        failures in 1_u32..200, random in 0.0..1.0_f64,
    ) {
        let backoff = Backoff { first: ms(first), factor, max: ms(max), jitter };
        let plain = Backoff { jitter: 0.0, ..backoff }.delay(failures, random).as_secs_f64();
        let wait = backoff.delay(failures, random).as_secs_f64();
        prop_assert!(wait <= ms(max).as_secs_f64());
        prop_assert!(wait >= plain * (1.0 - jitter) - 1e-6);
        prop_assert!(wait <= plain * (1.0 + jitter) + 1e-6);
        let later = Backoff { jitter: 0.0, ..backoff }.delay(failures + 1, random).as_secs_f64();
        prop_assert!(later >= plain);
    }
}

#[test]
fn absurd_backoffs_neither_panic_nor_wait_longer_than_their_maximum() {
    let absurd = Backoff { first: Duration::MAX, factor: u32::MAX, max: Duration::MAX, jitter: f64::NAN };
    for failures in [0, 1, 2, u32::MAX] {
        for jitter in [f64::NAN, f64::INFINITY, -3.0, 1e300] {
            let wait = Backoff { jitter, ..absurd }.delay(failures, 0.9);
            assert_eq!(wait.is_zero(), failures == 0);
        }
    }
    assert_eq!(DOUBLING.delay(u32::MAX, f64::NAN), ms(100));
}
