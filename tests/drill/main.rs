//! Fault drills on the real programs, built with the feature `failpoints`: `make drill`.
//!
//! Rule: it prints what was done and what went wrong, per fault, against the count that a release needs, and
//! nothing is rounded up. `DRILL=full` does more rounds, `ONLY=F2,F12` only these, `JOBS` sets how many at
//! once, `SEED` the moments. Without `DRILL` it is the small share that belongs to every change.
//! A single round: `ONLY=F2 POINT=journal.before-sync`. Absent: what needs systemd or another machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod disks;
mod faults;
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code, unused_imports)]
#[path = "../it/kill.rs"]
mod kill;
mod points;
mod store;
mod table;

use std::process::ExitCode;
use table::{Row, Share};

type Drill = fn(&Share) -> Vec<Row>;

const DRILLS: [(&str, Drill); 15] = [
    ("F1", faults::kills),
    ("F2", points::every_point),
    ("F4", disks::power_loss),
    ("F5", faults::damage),
    ("F6", faults::errors_of_the_disk),
    ("F7", faults::full_disk),
    ("F8", faults::slow_disk),
    ("F9", faults::stopped_worker),
    ("F10", faults::stopped_daemon),
    ("F11", faults::children),
    ("F12", faults::panics),
    ("F13", faults::clock_steps),
    ("F16", faults::orderly_ends),
    ("F18", faults::double_start),
    ("sync", disks::sync_before_acknowledgement),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, role, rest @ ..] = words.as_slice()
        && role == store::CHILD
    {
        return store::child(rest);
    }
    if words.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let share = Share::from_environment();
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| one == name);
    let mut rows = Vec::new();
    for (name, drill) in DRILLS.iter().filter(|(name, _)| wanted(name)) {
        let begun = std::time::Instant::now();
        let found = drill(&share);
        eprintln!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
        rows.extend(found);
    }
    table::print(&rows);
    if rows.iter().all(|row| row.violations.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
