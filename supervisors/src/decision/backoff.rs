//! How long to wait before the n-th restart in a row: exponential, capped, with jitter. Pure.

use std::time::Duration;

/// Waiting time before a restart: `first * factor^(n-1)` after the n-th failure in a row, at most
/// `max`, spread by `jitter`.
///
/// A child that stayed up longer than `max` starts counting from the first failure again; one whose
/// start failed was not up, and the silence of one that hung is no part of the time it was up. Bounds: never more than `max`, never less than
/// `1 - jitter` of the plain wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Wait after the first failure. Zero means restart at once, always.
    pub first: Duration,
    /// Growth per further failure; 1 keeps the wait constant, 0 is read as 1.
    pub factor: u32,
    /// Upper bound of the wait, jitter included.
    pub max: Duration,
    /// Share of the wait that is random, in `[0, 1]`: 0.2 gives 80 % to 120 %. Values outside are
    /// clamped, NaN is read as 0.
    pub jitter: f64,
}

impl Backoff {
    /// Restart at once.
    pub const NONE: Backoff = Backoff { first: Duration::ZERO, factor: 1, max: Duration::ZERO, jitter: 0.0 };

    /// The wait after `failures` failures in a row; `random` is in `[0, 1)`.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        if self.first.is_zero() || failures == 0 {
            return Duration::ZERO;
        }
        let mut wait = self.first.min(self.max);
        for _ in 1..failures {
            if wait >= self.max || self.factor <= 1 {
                break;
            }
            wait = wait.saturating_mul(self.factor).min(self.max);
        }
        let jitter = if self.jitter.is_finite() { self.jitter.clamp(0.0, 1.0) } else { 0.0 };
        let share = 1.0 + jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        // try_: a wait near Duration::MAX times 1.2 does not fit.
        Duration::try_from_secs_f64(wait.as_secs_f64() * share).unwrap_or(self.max).min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::NONE
    }
}
