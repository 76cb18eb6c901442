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

impl Clock {
    /// Starts at the later of the wall clock and the last journaled time.
    pub fn start(last_journaled_ms: u64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let wall = wall.saturating_add_signed(journal::failpoints::wall_step_ms());
        if wall < last_journaled_ms {
            tracing::warn!(
                wall,
                last_journaled_ms,
                "The wall clock is behind the journal; time goes on from the journal."
            );
        } else if last_journaled_ms > 0 && wall - last_journaled_ms > SURPRISING_STEP_MS {
            tracing::warn!(wall, last_journaled_ms, "The wall clock is far ahead of the journal.");
        }
        Self { base_ms: wall.max(last_journaled_ms), since: Instant::now() }
    }

    pub fn now_ms(&self) -> u64 {
        self.base_ms + self.since.elapsed().as_millis() as u64
    }
}
