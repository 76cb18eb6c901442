//! Rounds, their counts, and the table at the end.
//!
//! Rule: a round that did not come to an end is a violation, and a target that was not reached is said to be so.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// How much is done.
#[derive(Debug)]
pub struct Share {
    pub full: bool,
    pub jobs: usize,
    pub seed: u64,
}

impl Share {
    pub fn from_environment() -> Self {
        let number = |name, otherwise| crate::kill::from_environment(name, otherwise);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Self {
            full: std::env::var("DRILL").is_ok_and(|word| word == "full"),
            jobs: number("JOBS", cores) as usize,
            seed: number("SEED", 1),
        }
    }

    /// Rounds of a drill: `small` for every change, `full` for `make drill`.
    pub fn rounds(&self, small: u64, full: u64) -> u64 {
        if self.full { full } else { small }
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    pub fault: &'static str,
    pub what: &'static str,
    pub rounds: u64,
    /// What FAULTS wants for a release; 0 where it wants none.
    pub target: u64,
    pub violations: Vec<String>,
    pub note: String,
}

impl Row {
    pub fn of(fault: &'static str, what: &'static str, target: u64, rounds: Vec<Result<(), String>>) -> Self {
        let count = rounds.len() as u64;
        let violations = rounds.into_iter().filter_map(Result::err).collect();
        Self { fault, what, rounds: count, target, violations, note: String::new() }
    }

    /// Nothing could be done here, and why.
    pub fn skipped(fault: &'static str, what: &'static str, target: u64, why: &str) -> Self {
        Self { fault, what, rounds: 0, target, violations: Vec::new(), note: format!("skipped: {why}") }
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// One round; a panic in it is its violation.
pub fn round<T>(name: &str, work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("{name}: {}", words.unwrap_or_default())
    })
}

/// Does all jobs, some at once; answers in the order of the jobs.
pub fn in_parallel<J: Send, T: Send>(threads: usize, jobs: Vec<J>, work: impl Fn(J) -> T + Sync) -> Vec<T> {
    let left: Mutex<VecDeque<(usize, J)>> = Mutex::new(jobs.into_iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((number, job)) = next else { return };
                    let answer = work(job);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((number, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, answer)| answer).collect()
}

pub fn print(rows: &[Row]) {
    println!(
        "\n| fault | what is expected | rounds done | violations | target per release | reached | note |"
    );
    println!("|---|---|---:|---:|---:|---|---|");
    for row in rows {
        let reached = match row.target {
            0 => "-",
            target if row.rounds >= target => "yes",
            _ => "NO",
        };
        let (rounds, wrong) = (row.rounds, row.violations.len());
        println!(
            "| {} | {} | {rounds} | {wrong} | {} | {reached} | {} |",
            row.fault, row.what, row.target, row.note
        );
    }
    for row in rows {
        for violation in &row.violations {
            println!("VIOLATION {}: {violation}", row.fault);
        }
    }
}
