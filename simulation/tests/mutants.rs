//! The judges are judged: each fault put into the simulated daemon must be noticed.
//!
//! A fault that lives through all its seeds means a promise that nobody checks. `cargo test -p simulation
//! --test mutants -- --nocapture` prints which seed noticed what.
#![allow(clippy::unwrap_used)]

use simulation::{Broken, Mutant, live_with};

/// Seeds within which a fault must be noticed; most need fewer than a thousand.
const SEEDS: u64 = 60_000;

/// Seeds of past finds first: several of these faults are what the daemon once did.
fn seeds() -> impl Iterator<Item = u64> {
    let corpus = include_str!("../corpus.txt").lines();
    corpus.filter_map(|line| line.split_whitespace().next()?.parse().ok()).chain(0..SEEDS)
}

fn noticed(mutant: Mutant) -> Option<(u64, String)> {
    seeds().find_map(|seed| match std::panic::catch_unwind(|| live_with(seed, mutant, false)) {
        Ok(Ok(_)) => None,
        Ok(Err(Broken(why))) => Some((seed, why)),
        Err(_) => Some((seed, "panicked".to_owned())),
    })
}

#[test]
fn every_fault_is_noticed_for_its_own_reason() {
    let mut lived = Vec::new();
    let noticed: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = Mutant::ALL
            .chunks(16)
            .map(|some| scope.spawn(|| some.iter().map(|(m, _)| noticed(*m)).collect()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|_| Vec::new())).collect()
    });
    assert_eq!(noticed.len(), Mutant::ALL.len());
    for ((mutant, words), noticed) in Mutant::ALL.into_iter().zip(noticed) {
        match noticed {
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
