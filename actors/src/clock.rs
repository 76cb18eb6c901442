//! The daemon's time: the last journaled time plus what a monotonic clock has counted since.
//!
//! Rule: it never goes back, not even when somebody sets the wall clock back while the daemon is down.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, monotonic within and across restarts.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base_ms: u64,
    since: Instant,
}

/// A wall clock further ahead of the journal than this at start is believed, but logged: machines do
/// stand switched off for weeks.
const SURPRISING_STEP_MS: u64 = 30 * 24 * 3_600_000;
/// A wall clock further ahead than this is wrong (a dead battery, a typing error): believing it would end
/// every deadline at once, and the journal could never go back. Time goes on from the journal.
const STEP_MAX_MS: u64 = 400 * 24 * 3_600_000;

impl Clock {
    /// Starts at the later of the wall clock and the last journaled time.
    pub fn start(last_journaled_ms: u64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        Self { base_ms: Self::base(wall, last_journaled_ms), since: Instant::now() }
    }

    fn base(wall: u64, last_journaled_ms: u64) -> u64 {
        if last_journaled_ms > 0 && wall.saturating_sub(last_journaled_ms) > STEP_MAX_MS {
            tracing::error!(
                wall,
                last_journaled_ms,
                "The wall clock is more than 400 days ahead of the journal and is not believed; time goes on from the journal. Set the clock, or wait until the journal has caught up."
            );
            return last_journaled_ms;
        }
        if wall < last_journaled_ms {
            tracing::warn!(
                wall,
                last_journaled_ms,
                "The wall clock is behind the journal; time goes on from the journal."
            );
        } else if last_journaled_ms > 0 && wall - last_journaled_ms > SURPRISING_STEP_MS {
            tracing::warn!(wall, last_journaled_ms, "The wall clock is far ahead of the journal.");
        }
        wall.max(last_journaled_ms)
    }

    pub fn now_ms(&self) -> u64 {
        self.base_ms + self.since.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_is_believed_only_within_reason() {
        let day = 24 * 3_600_000;
        let last = 20_000 * day;
        assert_eq!(Clock::base(last + 5, last), last + 5);
        assert_eq!(Clock::base(last + 300 * day, last), last + 300 * day);
        assert_eq!(Clock::base(last + 3_650 * day, last), last, "ten years ahead");
        assert_eq!(Clock::base(last - 3_650 * day, last), last, "ten years behind");
        assert_eq!(Clock::base(7, 0), 7, "an empty journal knows no time");
    }
}
