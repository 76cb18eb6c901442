//! Lives many seeds on all cores, or one of them aloud.
//!
//! `SEEDS=1000000 cargo run --release -p simulation`, `SEED=17 cargo run --release -p simulation`;
//! `FIRST` is the first seed, `THREADS` their number, `MUTANT` a fault of `mutants.rs` to be put in. Exit code
//! 1 if a promise was broken.

use simulation::{Broken, MUST_HAPPEN, Mutant, Report, live_with};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Seeds taken at once by a thread.
const SHARE: u64 = 256;
/// Seeds of a run that does not say: a few seconds.
const SEEDS_DEFAULT: u64 = 100_000;
/// From so many seeds on, an event that never happened is a fault of the simulation.
const SEEDS_ENOUGH: u64 = 50_000;
/// Failures printed; more say nothing new.
const FAILURES_MAX: usize = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The fault that `MUTANT` names; none if it names none.
fn mutant() -> Mutant {
    let name = std::env::var("MUTANT").unwrap_or_default();
    let named = Mutant::ALL.into_iter().find(|(mutant, _)| format!("{mutant:?}") == name);
    named.map_or(Mutant::None, |(mutant, _)| mutant)
}

fn guarded(seed: u64, mutant: Mutant) -> Result<Report, Broken> {
    std::panic::catch_unwind(|| live_with(seed, mutant, false))
        .unwrap_or_else(|_| Err(Broken("panicked".to_owned())))
}

fn main() -> std::process::ExitCode {
    if let Some(seed) = number("SEED") {
        return match live_with(seed, mutant(), true) {
            Ok(report) => {
                println!("seed {seed} held: {report:#?}");
                std::process::ExitCode::SUCCESS
            }
            Err(Broken(why)) => {
                println!("seed {seed}: {why}");
                std::process::ExitCode::FAILURE
            }
        };
    }
    let first = number("FIRST").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS_DEFAULT);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let threads = number("THREADS").unwrap_or(cores).max(1);
    let (began, mutant) = (Instant::now(), mutant());
    let next = AtomicU64::new(first);
    let whole: Mutex<(Report, u64)> = Mutex::default();
    let failures: Mutex<Vec<(u64, String)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut report, mut real) = (Report::default(), 0);
                loop {
                    let from = next.fetch_add(SHARE, Ordering::Relaxed);
                    if from >= first + seeds {
                        break;
                    }
                    for seed in from..(from + SHARE).min(first + seeds) {
                        match guarded(seed, mutant) {
                            Ok(one) => {
                                real += u64::from(one.real_journal);
                                report.add(&one);
                            }
                            Err(Broken(why)) => {
                                if let Ok(mut failures) = failures.lock() {
                                    failures.push((seed, why));
                                }
                            }
                        }
                    }
                }
                if let Ok(mut whole) = whole.lock() {
                    whole.0.add(&report);
                    whole.1 += real;
                }
            });
        }
    });
    let took = began.elapsed().as_secs_f64();
    let (report, real) = whole.into_inner().unwrap_or_default();
    let failures = failures.into_inner().unwrap_or_default();
    for (name, count) in &report.events {
        println!("{count:>12} {name}");
    }
    for (name, count) in &report.counts {
        println!("{count:>12} {name}");
    }
    let lived = report.lived_ms as f64 / 1000.0;
    println!(
        "{seeds} seeds ({real} on the real journal), {} steps, {} crashes in {took:.1} s: {:.0} seeds/s on {threads} threads, {:.0} times real time",
        report.steps,
        report.counts.get("crashes").copied().unwrap_or(0),
        seeds as f64 / took,
        lived / took,
    );
    for (seed, why) in failures.iter().take(FAILURES_MAX) {
        println!("seed {seed}: {why}\n  replay: SEED={seed} cargo run --release -p simulation");
    }
    let never: Vec<&str> = MUST_HAPPEN
        .into_iter()
        .filter(|name| seeds >= SEEDS_ENOUGH && !report.events.contains_key(name))
        .collect();
    if !never.is_empty() {
        println!("never happened: {never:?}");
    }
    if failures.is_empty() && never.is_empty() {
        return std::process::ExitCode::SUCCESS;
    }
    println!("{} of {seeds} seeds failed", failures.len());
    std::process::ExitCode::FAILURE
}
