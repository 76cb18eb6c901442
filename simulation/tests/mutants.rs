//! The judges are judged: each fault put into the simulated daemon must be noticed.
//!
//! A fault that lives through all its seeds means a promise that nobody checks. `cargo test -p simulation
//! --test mutants -- --nocapture` prints which seed noticed what.
#![allow(clippy::unwrap_used)]

use simulation::{Broken, Mutant, live_with};

/// Seeds within which a fault must be noticed; most need fewer than a thousand.
const SEEDS: u64 = 60_000;

fn noticed(mutant: Mutant) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| {
        match std::panic::catch_unwind(|| live_with(seed, mutant, false)) {
            Ok(Ok(_)) => None,
            Ok(Err(Broken(why))) => Some((seed, why)),
            Err(_) => Some((seed, "panicked".to_owned())),
        }
    })
}

#[test]
fn every_fault_is_noticed_for_its_own_reason() {
    let mut lived = Vec::new();
    for (mutant, words) in Mutant::ALL {
        match noticed(mutant) {
            None => lived.push(format!("{mutant:?} lived through {SEEDS} seeds")),
            Some((seed, why)) => {
                println!("{mutant:?} | {seed} | {why}");
                if !words.iter().any(|word| why.contains(word)) {
                    lived.push(format!("{mutant:?} was noticed at seed {seed} for another reason: {why}"));
                }
            }
        }
    }
    assert!(lived.is_empty(), "{lived:#?}");
}

#[test]
fn the_daemon_without_a_fault_is_not_accused() {
    for seed in 0..2_000 {
        assert_eq!(live_with(seed, Mutant::None, false).map(|_| ()), Ok(()), "seed {seed}");
    }
}
