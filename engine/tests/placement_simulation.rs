//! Under any load no lease leaks, nothing is given twice, nobody starves, and every reason is true.
//!
//! `SEEDS=100000 cargo test -p engine --test placement_simulation` for more seeds
//! (`FROM=50000` leaves out the first), `SEED=n` for one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod place;

use place::placer::Plain;
use place::world::{Report, live};
use std::collections::BTreeMap;

/// Seeds per commit: a few seconds.
const SEEDS: u64 = 2_000;
/// Each seed is a world of its own.
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live_or_say_how_to_replay(seed: u64) -> Report {
    let again = format!("replay: SEED={seed} cargo test -p engine --test placement_simulation");
    match std::panic::catch_unwind(|| live(seed, &Plain::any())) {
        Ok(Ok(report)) => report,
        Ok(Err(broken)) => panic!("{broken}\n{again}"),
        Err(_) => panic!("panicked\n{again}"),
    }
}

#[test]
fn under_random_loads_nothing_leaks_starves_or_is_given_twice_and_every_reason_is_true() {
    if let Some(seed) = number("SEED") {
        println!("{:#?}", live_or_say_how_to_replay(seed));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let from = number("FROM").unwrap_or(0);
    let began = std::time::Instant::now();
    let lives = |of: u64| {
        move || (from + of..seeds).step_by(THREADS).map(live_or_say_how_to_replay).collect::<Vec<_>>()
    };
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64).map(|of| scope.spawn(lives(of))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut longest = 0;
    for (name, count) in reports.into_iter().flat_map(|report| report.seen) {
        if name == "longest wait, % of bound" {
            longest = longest.max(count);
        } else {
            *seen.entry(name).or_default() += count;
        }
    }
    println!("seeds {from} to {seeds} in {:?}; longest wait {longest} % of its bound", began.elapsed());
    println!("{seen:#?}");
    // A simulation that never goes somewhere proves nothing about it.
    if seeds >= from + SEEDS {
        for name in [
            "granted",
            "gang granted",
            "asked again",
            "never",
            "drained",
            "parallel",
            "ceiling",
            "quota",
            "kept quota",
            "budget",
            "short",
            "reserved",
            "kept",
        ] {
            assert!(seen.get(name).is_some_and(|count| *count >= 100), "{name} hardly ever happened");
        }
    }
}

#[test]
fn of_a_thousand_runs_each_of_ten_users_gets_its_share_within_five_per_cent() {
    for seed in 0..5 {
        let parts = place::shares::of_weights(seed, &Plain::any());
        let worst = parts.iter().map(|part| (part - 1.0).abs()).fold(0.0, f64::max);
        println!("seed {seed}: worst {:.2} %, {parts:.3?}", worst * 100.0);
        assert!(worst <= 0.05, "seed {seed}: {parts:?}");
    }
}
