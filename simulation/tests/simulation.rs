//! Whatever crashes, lies, doubles or comes late: every promise holds and every world ends.
//!
//! `SEEDS=1000000 cargo run --release -p simulation` for more seeds, `SEED=n` for a single one aloud.
#![allow(clippy::unwrap_used)]

use simulation::{Broken, MUST_HAPPEN, Report, live};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds per commit: a few seconds.
const SEEDS: u64 = 20_000;
/// What so many seeds are too few to be sure of meeting.
const RARE: [&str; 2] = ["RunFailed", "CompensationRetryPlanned"];

fn lived(seed: u64) -> Report {
    match std::panic::catch_unwind(|| live(seed)) {
        Ok(Ok(report)) => report,
        Ok(Err(Broken(why))) => {
            panic!("seed {seed}: {why}\nreplay: SEED={seed} cargo run --release -p simulation")
        }
        Err(_) => panic!("seed {seed} panicked\nreplay: SEED={seed} cargo run --release -p simulation"),
    }
}

#[test]
fn every_promise_of_the_whole_core_holds_whatever_goes_wrong() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, whole) = (AtomicU64::new(0), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut report = Report::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        break;
                    }
                    report.add(&lived(seed));
                }
                whole.lock().unwrap().add(&report);
            });
        }
    });
    let report = whole.into_inner().unwrap();
    println!("{SEEDS} seeds, {} steps, {} crashes", report.steps, report.counts["crashes"]);
    for name in MUST_HAPPEN.into_iter().filter(|name| !RARE.contains(name)) {
        assert!(report.events.contains_key(name), "{name} never happened: the worlds have become too tame");
    }
}

#[test]
fn seeds_that_failed_once_hold_now() {
    let corpus = include_str!("../corpus.txt");
    let seeds: Vec<u64> = corpus
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(seeds.len() >= 10, "the corpus is gone");
    for seed in seeds {
        lived(seed);
    }
}

#[test]
fn a_seed_gives_the_same_world_every_time() {
    // One on the real journal, whose writer is a thread, among them.
    for seed in [3, 127, 4_259] {
        let (first, second) = (lived(seed), lived(seed));
        assert_eq!((first.steps, first.lived_ms), (second.steps, second.lived_ms), "seed {seed}");
        assert_eq!((first.events, first.counts), (second.events, second.counts), "seed {seed}");
    }
}
