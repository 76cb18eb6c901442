//! Attempts that end badly: again later, not at all, or ask a person.

use super::decide::Draft;
use super::{ErrorClass, Event, Fence, Interruption, Refusal, StageError, StageState, commands, faults};
use crate::definition::{Attempt, FACTOR_PERMILLE_DEFAULT, Retry, RetryOn, StageIndex, StageKind, StageSpec};

/// Whether an attempt that may have had its effect may simply be repeated. Only programs of the user
/// can say no; the built-in kinds are repeatable by construction.
pub(super) fn is_repeatable(spec: &StageSpec) -> bool {
    spec.kind != StageKind::Exec || spec.idempotent
}

/// Wait before the attempt that follows `failures` failed ones, in ms: from `backoff_ms` on times the factor (in
/// thousandths) for each further one, at most `backoff_ms_max`; `jitter_permille` of it is random, so the wait is
/// never longer than without.
pub(super) fn backoff_ms(retry: &Retry, factor_permille: u32, failures: u32, random: u64) -> u64 {
    let most = u128::from(retry.backoff_ms_max);
    // In thousandths of a ms, so that a small factor is not rounded away.
    let mut fine = u128::from(retry.backoff_ms) * 1_000;
    for _ in 1..failures.min(FAILURES_MAX) {
        if fine >= most * 1_000 {
            break;
        }
        fine = fine * u128::from(factor_permille) / 1_000;
    }
    let whole = (fine / 1_000).min(most) as u64;
    let share = (u128::from(whole) * u128::from(retry.jitter_permille.min(1000)) / 1000) as u64;
    whole - share + random % share.saturating_add(1)
}

/// By how many thousandths the wait grows.
fn factor(spec: &StageSpec) -> u32 {
    spec.control.retry.as_ref().and_then(|rule| rule.factor_permille).unwrap_or(FACTOR_PERMILLE_DEFAULT)
}

/// After so many failures every wait that grows at all is at its longest.
const FAILURES_MAX: u32 = 100_000;

/// One decision may plan several retries; each gets its own random number.
fn spread(random: u64, stage: StageIndex) -> u64 {
    let mut mixed = random ^ u64::from(stage.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Draft<'_> {
    pub fn failed(&mut self, stage: StageIndex, fence: Fence, error: StageError) -> Result<(), Refusal> {
        let attempt = self.expect_running(stage, fence)?;
        self.reported = Some(stage);
        self.attempt_failed(stage, attempt, error);
        Ok(())
    }

    pub fn placement_failed(
        &mut self,
        stage: StageIndex,
        given: Attempt,
        error: StageError,
    ) -> Result<(), Refusal> {
        self.expect_ready(stage, given)?;
        self.attempt_failed(stage, given, error);
        Ok(())
    }

    /// The class that the run's table gives an error. What must not be repeated is not, whatever the table says.
    fn class_of(&self, error: &StageError, repeatable: bool) -> ErrorClass {
        match self.terms.definition.control.error_classes.get(&error.code) {
            None => error.class,
            Some(ErrorClass::Transient) if !repeatable => error.class,
            Some(class) => *class,
        }
    }

    /// An attempt is over, badly, and counts.
    pub fn attempt_failed(&mut self, stage: StageIndex, attempt: Attempt, mut error: StageError) {
        let spec = self.spec(stage);
        // What was never handed out has had no effect.
        let repeatable = is_repeatable(spec) || matches!(self.state(stage), StageState::Ready { .. });
        error.class = self.class_of(&error, repeatable);
        let on = spec.control.retry.as_ref().and_then(|rule| rule.retry_on).unwrap_or(RetryOn::BOTH);
        match error.class {
            ErrorClass::Ambiguous if !repeatable => self.emit(Event::StageInDoubt { stage, attempt, error }),
            class if on.takes(class) && attempt.0 < spec.retry.attempts => {
                let wait_ms = backoff_ms(&spec.retry, factor(spec), attempt.0, spread(self.random, stage));
                let at_ms = self.now_ms.saturating_add(wait_ms);
                self.emit(Event::StageRetryPlanned { stage, attempt: Attempt(attempt.0 + 1), at_ms, error });
            }
            _ => self.emit(Event::StageFailed { stage, attempt, error }),
        }
    }

    /// Same for an undo. Undo is idempotent, so an ambiguous end is repeated.
    pub fn undo_failed(&mut self, stage: StageIndex, attempt: Attempt, error: StageError) {
        let retry = &self.spec(stage).retry;
        if error.class != ErrorClass::Permanent && attempt.0 < retry.attempts {
            let wait_ms = backoff_ms(retry, factor(self.spec(stage)), attempt.0, spread(self.random, stage));
            let at_ms = self.now_ms.saturating_add(wait_ms);
            self.emit(Event::CompensationRetryPlanned {
                stage,
                attempt: Attempt(attempt.0 + 1),
                at_ms,
                error,
            });
        } else {
            self.emit(Event::CompensationFailed { stage, error });
        }
    }

    /// The attempt is taken away through no fault of its own; it does not count, unless nobody can
    /// know what it did.
    pub fn take_away(&mut self, stage: StageIndex, why: Interruption) {
        match *self.state(stage) {
            StageState::Running { attempt, .. } => {
                let cause = match why {
                    Interruption::DaemonRestarted => Some("the daemon ended"),
                    Interruption::EmergencyStop => Some("an emergency stop came"),
                    Interruption::Paused | Interruption::Unwinding => None,
                };
                match cause {
                    Some(cause) if !is_repeatable(self.spec(stage)) => {
                        self.emit(Event::StageInDoubt { stage, attempt, error: faults::broken_off(cause) });
                    }
                    _ => self.emit(Event::StageInterrupted { stage, attempt, why }),
                }
            }
            StageState::Compensating { attempt, .. } => {
                self.emit(Event::StageInterrupted { stage, attempt, why })
            }
            _ => {}
        }
    }

    /// Ends what has taken longer than it may.
    pub fn time_out(&mut self) {
        for stage in self.terms.indices() {
            let due =
                commands::deadline(self.terms, &self.next, stage).is_some_and(|at_ms| at_ms <= self.now_ms);
            if !due {
                continue;
            }
            let timeout = commands::limits(self.terms, &self.next, stage);
            match (self.state(stage).clone(), timeout.start_to_close_ms, timeout.schedule_to_start_ms) {
                (StageState::Running { attempt, .. }, Some(limit_ms), _) => {
                    self.attempt_failed(stage, attempt, faults::took_too_long(limit_ms));
                }
                (StageState::Compensating { attempt, .. }, Some(limit_ms), _) => {
                    self.undo_failed(stage, attempt, faults::took_too_long(limit_ms));
                }
                (StageState::Ready { attempt, .. }, _, Some(limit_ms)) => {
                    self.attempt_failed(stage, attempt, faults::not_placed_in_time(limit_ms));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { attempts: 9, backoff_ms: 100, backoff_ms_max: 1_000, jitter_permille: 0 };

    #[test]
    fn backoff_doubles_up_to_its_maximum() {
        let waits: Vec<u64> = (1..=6).map(|failures| backoff_ms(&RETRY, 2_000, failures, 7)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn jitter_takes_its_share_off_and_never_adds() {
        let retry = Retry { jitter_permille: 250, ..RETRY };
        let waits: Vec<u64> = (0..1_000).map(|random| backoff_ms(&retry, 2_000, 2, random)).collect();
        assert_eq!((waits.iter().min(), waits.iter().max()), (Some(&150), Some(&200)));
    }

    #[test]
    fn backoff_of_the_largest_numbers_does_not_overflow() {
        let retry = Retry {
            attempts: u32::MAX,
            backoff_ms: u64::MAX,
            backoff_ms_max: u64::MAX,
            jitter_permille: 1000,
        };
        assert!(backoff_ms(&retry, 10_000, u32::MAX, u64::MAX) < u64::MAX);
    }

    #[test]
    fn the_wait_grows_by_the_factor_that_is_stated() {
        let waits = |factor: u32| -> Vec<u64> {
            (1..=5).map(|failures| backoff_ms(&RETRY, factor, failures, 7)).collect()
        };
        assert_eq!(waits(1_000), [100; 5]);
        assert_eq!(waits(1_500), [100, 150, 225, 337, 506]);
        assert_eq!(waits(3_000), [100, 300, 900, 1_000, 1_000]);
        let steady = Retry { backoff_ms_max: u64::MAX, ..RETRY };
        assert_eq!(backoff_ms(&steady, 1_000, u32::MAX, 0), 100, "and ends however many failures there were");
    }
}
