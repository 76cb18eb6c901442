//! Orders under seeded faults: crashes at every step, lost, late and doubled replies, vendors that forget.
//!
//! `SEEDS=100000 cargo test -p quantum --test order_simulation` runs that many; a failure prints its seed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod order_sim;

use order_sim::Sound;
use order_sim::world::{Tally, live};

/// Seeds per commit.
const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_job_is_bought_twice_none_is_lost_unseen_no_budget_is_exceeded_and_every_order_ends() {
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let mut tally = Tally::default();
    for seed in 0..seeds {
        match live(seed, &Sound(None)) {
            Ok(one) => tally.add(&one),
            Err(broken) => panic!("seed {seed}: {broken}"),
        }
    }
    println!("{seeds} seeds: {tally:?}");
    // A simulation in which something never happens proves nothing about it.
    let least = seeds / 50;
    for (what, count) in [
        ("done", tally.done),
        ("exact", tally.exact),
        ("cancelled", tally.cancelled),
        ("lost", tally.lost),
        ("crashes", tally.crashes),
        ("fallbacks", tally.fallbacks),
        ("refusals", tally.refusals),
        ("over budget", tally.over_budget),
    ] {
        assert!(count >= least, "only {count} times {what} in {seeds} seeds");
    }
}

#[test]
fn the_same_seed_gives_the_same_life() {
    for seed in 0..50 {
        assert_eq!(live(seed, &Sound(None)).unwrap(), live(seed, &Sound(None)).unwrap());
    }
}

#[test]
fn one_seed() {
    if let Some(seed) = number("SEED") {
        println!("{:?}", live(seed, &Sound(None)));
        live(seed, &Sound(None)).unwrap();
    }
}
