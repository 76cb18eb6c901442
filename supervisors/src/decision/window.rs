//! Restart intensity: a sliding window over the times of the last restarts. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::Intensity;

/// The restarts that still count. Holds at most `intensity.restarts + 1` times.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    intensity: Intensity,
    times: VecDeque<Duration>,
}

impl Window {
    pub(crate) fn new(intensity: Intensity) -> Self {
        Window { intensity, times: VecDeque::new() }
    }

    pub(crate) fn intensity(&self) -> Intensity {
        self.intensity
    }

    pub(crate) fn reconfigure(&mut self, intensity: Intensity) {
        self.intensity = intensity;
    }

    /// How many restarts count at `now`.
    pub(crate) fn recent(&self, now: Duration) -> usize {
        self.times.iter().filter(|&&at| now.saturating_sub(at) <= self.intensity.period).count()
    }

    /// Counts a restart at `now`; false when that is one too many.
    pub(crate) fn allows(&mut self, now: Duration) -> bool {
        self.times.push_back(now);
        while self.times.front().is_some_and(|&at| now.saturating_sub(at) > self.intensity.period) {
            self.times.pop_front();
        }
        self.times.len() <= self.intensity.restarts as usize
    }
}
