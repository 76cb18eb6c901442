//! What a schedule must be to be taken, and how moments get their keys and their jitter.
//!
//! Rule: whatever could submit without end is refused before it is taken.

use super::Timetable;
use super::event::{CatchUp, Refusal, Spec};
use super::line::{Line, LineError, MINUTE_MS};

/// Schedules there may be; each tick compares so many numbers.
pub const SCHEDULES_MAX: usize = 1_000;
/// Moments of one schedule that may wait for the run before.
pub const QUEUE_MAX: usize = 100;
/// Runs that one restart may make up for, per schedule.
pub const CATCH_UP_MAX: u32 = 100;
/// The smallest time between two submissions of one schedule.
pub const INTERVAL_MS_MIN: u64 = MINUTE_MS;
/// The largest: no cron line but one that names February 29 comes less often.
const INTERVAL_MS_MAX: u64 = 366 * 24 * 60 * MINUTE_MS;
/// Longest name; it is part of keys and of the journal's records.
const NAME_BYTES_MAX: usize = 64;

pub(super) fn check(table: &Timetable, now_ms: u64, name: &str, spec: &Spec) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
        return Err(Refusal::Name(name.chars().take(2 * NAME_BYTES_MAX).collect()));
    }
    if table.get(name).is_some() {
        return Err(Refusal::Exists(name.to_owned()));
    }
    if table.entries().len() >= SCHEDULES_MAX {
        return Err(Refusal::TooMany(SCHEDULES_MAX));
    }
    if !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&spec.interval_ms_min) {
        return Err(Refusal::Interval(spec.interval_ms_min));
    }
    if let CatchUp::All { max } = spec.catch_up
        && !(1..=CATCH_UP_MAX).contains(&max)
    {
        return Err(Refusal::CatchUp { given: max, most: CATCH_UP_MAX });
    }
    let line = Line::read(&spec.cron, &spec.timezone)?;
    if line.next_after(now_ms).is_none() {
        return Err(LineError::Never(spec.cron.clone()).into());
    }
    // One that comes only once more has no gap.
    let gap_ms = line.smallest_gap(now_ms).unwrap_or(INTERVAL_MS_MAX);
    if gap_ms < spec.interval_ms_min {
        return Err(Refusal::TooOften { cron: spec.cron.clone(), gap_ms, min_ms: spec.interval_ms_min });
    }
    if spec.jitter_ms >= gap_ms {
        return Err(Refusal::Jitter { given_ms: spec.jitter_ms, below_ms: gap_ms });
    }
    Ok(())
}

/// The key under which the run of a moment is submitted: `NAME@2026-03-29T01:00:00Z`, and one of its own for what
/// somebody asked for.
pub fn key_of(name: &str, due_ms: u64, manual: bool) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(due_ms);
    if manual {
        format!("{name}@{}/by-hand", humantime::format_rfc3339_millis(at))
    } else {
        format!("{name}@{}", humantime::format_rfc3339_seconds(at))
    }
}

/// How much later than its moment a run is submitted: 0 to `jitter_ms`, always the same for the same moment.
pub fn jitter_of(name: &str, due_ms: u64, jitter_ms: u64) -> u64 {
    if jitter_ms == 0 {
        return 0;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(&due_ms.to_le_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first) % (jitter_ms + 1)
}
