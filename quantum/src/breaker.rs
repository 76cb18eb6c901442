//! A circuit breaker per backend, as a pure machine: stop asking what keeps failing, try again with care.
//!
//! Closed lets all calls through and counts failures in a row. Open lets none through until `open_ms` have
//! passed, then becomes half-open: a few probes, and their outcome decides. `decide` says which event an
//! input leads to and changes nothing; `apply` changes and decides nothing. The time is an argument in
//! milliseconds of a clock that never goes back. Permanent errors of a caller's own making are not failures
//! of the backend and are not reported here.

use serde::{Deserialize, Serialize};

/// When to open, for how long, and what it takes to close again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Failures in a row that open the breaker; at least 1.
    pub failures: u32,
    /// How long it stays open at first, and at most; it doubles each time a probe fails.
    pub open_ms: u64,
    pub open_ms_max: u64,
    /// Successful probes in a row that close it; at least 1. Also how many may be under way at once.
    pub probes: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { failures: 5, open_ms: 10_000, open_ms_max: 600_000, probes: 1 }
    }
}

/// Where the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Closed { failures: u32 },
    Open { until_ms: u64, open_ms: u64 },
    HalfOpen { under_way: u32, succeeded: u32, open_ms: u64 },
}

/// What the world reports. A call that was permitted ends in exactly one success or failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// May a call be made now?
    Ask,
    /// A permitted call succeeded or failed; `generation` is the one its permit carried.
    Succeeded {
        generation: u64,
    },
    Failed {
        generation: u64,
    },
}

/// What became true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A call was permitted; the permit carries the present generation.
    Permitted,
    /// The wait is over and the first probe was permitted.
    ProbeBegan,
    SuccessCounted,
    FailureCounted,
    Opened {
        until_ms: u64,
        open_ms: u64,
    },
    Closed,
}

/// Why an input changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the breaker is open for another {wait_ms} ms")]
    Open { wait_ms: u64 },
    #[error("the breaker is half-open and its probes are under way")]
    Probing,
    #[error("the reply belongs to generation {given}, the present one is {present}")]
    Stale { given: u64, present: u64 },
}

/// The breaker of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    thresholds: Thresholds,
    phase: Phase,
    /// Raised at every change of phase, so that late replies of an earlier phase count for nothing.
    generation: u64,
}

impl Breaker {
    /// Closed. Thresholds of 0 count as 1.
    pub fn new(thresholds: Thresholds) -> Self {
        let thresholds = Thresholds {
            failures: thresholds.failures.max(1),
            probes: thresholds.probes.max(1),
            open_ms_max: thresholds.open_ms_max.max(thresholds.open_ms),
            ..thresholds
        };
        Self { thresholds, phase: Phase::Closed { failures: 0 }, generation: 0 }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What a permit given now carries, after its event was applied.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The event that `input` leads to at `now_ms`.
    ///
    /// # Errors
    /// [`Refusal`] if no call may be made, or a reply comes from an earlier phase.
    pub fn decide(&self, now_ms: u64, input: Input) -> Result<Event, Refusal> {
        if let Input::Succeeded { generation } | Input::Failed { generation } = input
            && generation != self.generation
        {
            return Err(Refusal::Stale { given: generation, present: self.generation });
        }
        let open_for = |open_ms: u64| Event::Opened { until_ms: now_ms.saturating_add(open_ms), open_ms };
        match (self.phase, input) {
            (Phase::Closed { .. }, Input::Ask) => Ok(Event::Permitted),
            (Phase::Closed { .. }, Input::Succeeded { .. }) => Ok(Event::SuccessCounted),
            (Phase::Closed { failures }, Input::Failed { .. }) => {
                let opens = failures + 1 >= self.thresholds.failures;
                Ok(if opens { open_for(self.thresholds.open_ms) } else { Event::FailureCounted })
            }
            (Phase::Open { until_ms, .. }, Input::Ask) => {
                if now_ms < until_ms {
                    Err(Refusal::Open { wait_ms: until_ms - now_ms })
                } else {
                    Ok(Event::ProbeBegan)
                }
            }
            // Nothing is permitted while open, so no reply can carry this generation.
            (Phase::Open { .. }, Input::Succeeded { generation } | Input::Failed { generation }) => {
                Err(Refusal::Stale { given: generation, present: self.generation })
            }
            (Phase::HalfOpen { under_way, succeeded, .. }, Input::Ask) => {
                let free = under_way + succeeded < self.thresholds.probes;
                if free { Ok(Event::Permitted) } else { Err(Refusal::Probing) }
            }
            (Phase::HalfOpen { succeeded, .. }, Input::Succeeded { .. }) => {
                let closes = succeeded + 1 >= self.thresholds.probes;
                Ok(if closes { Event::Closed } else { Event::SuccessCounted })
            }
            (Phase::HalfOpen { open_ms, .. }, Input::Failed { .. }) => {
                Ok(open_for(open_ms.saturating_mul(2).min(self.thresholds.open_ms_max)))
            }
        }
    }

    /// Takes over what `decide` gave. An event that does not fit the phase changes nothing.
    pub fn apply(&mut self, event: Event) {
        match (&mut self.phase, event) {
            (Phase::Closed { failures }, Event::SuccessCounted) => *failures = 0,
            (Phase::Closed { failures }, Event::FailureCounted) => *failures += 1,
            (Phase::HalfOpen { under_way, .. }, Event::Permitted) => *under_way += 1,
            (Phase::HalfOpen { under_way, succeeded, .. }, Event::SuccessCounted) => {
                *under_way = under_way.saturating_sub(1);
                *succeeded += 1;
            }
            (Phase::Open { open_ms, .. }, Event::ProbeBegan) => {
                self.phase = Phase::HalfOpen { under_way: 1, succeeded: 0, open_ms: *open_ms };
                self.generation += 1;
            }
            (_, Event::Opened { until_ms, open_ms }) => {
                self.phase = Phase::Open { until_ms, open_ms };
                self.generation += 1;
            }
            (Phase::HalfOpen { .. }, Event::Closed) => {
                self.phase = Phase::Closed { failures: 0 };
                self.generation += 1;
            }
            _ => {}
        }
    }

    /// After a restart: probes that were under way have no owner any more and are forgotten.
    pub fn recover(&mut self) {
        if let Phase::HalfOpen { under_way, .. } = &mut self.phase {
            *under_way = 0;
        }
        self.generation += 1;
    }
}
