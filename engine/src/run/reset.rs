//! Back to an earlier record: what came after it runs again, undone first where it has an undo.
//!
//! Rule: the record of the reset names the stages; what then happens is the way back of `unwind.rs`, for
//! these stages alone, and ends in the way forward. What is not done runs again in any case.

use super::decide::Draft;
use super::retry::is_repeatable;
use super::{Event, Interruption, Phase, Refusal, ResetTo, StageState};
use crate::definition::StageIndex;

impl Draft<'_> {
    pub fn reset(&mut self, by: String, to: ResetTo) -> Result<(), Refusal> {
        if self.next.phase == Phase::Unwinding {
            return Err(self.not_now("a run that is not being undone"));
        }
        // It may take effect while it is taken away, and would then do so again.
        let once = |stage: &StageIndex| {
            matches!(self.state(*stage), StageState::Running { .. }) && !is_repeatable(self.spec(*stage))
        };
        if self.terms.indices().any(|stage| once(&stage)) {
            return Err(self.not_now("a run in which no program that must not be repeated is at work"));
        }
        let (position, mut again) = match to {
            ResetTo::Stage(stage) => {
                self.expect_known(stage)?;
                (
                    self.next.stages[stage.0 as usize].done_at.unwrap_or(self.next.position),
                    self.terms.dependents(stage),
                )
            }
            ResetTo::Position(position) => {
                if position > self.next.position {
                    let expected =
                        format!("a position of this run's records, at most {}", self.next.position);
                    return Err(Refusal::Malformed { expected, actual: position.to_string() });
                }
                (position, vec![false; self.next.stages.len()])
            }
        };
        for stage in self.terms.indices() {
            let progress = &self.next.stages[stage.0 as usize];
            let after = matches!(to, ResetTo::Position(to) if progress.done_at.is_none_or(|at| at > to));
            if after || !progress.state.is_done() {
                for (later, flag) in self.terms.dependents(stage).into_iter().enumerate() {
                    again[later] |= flag;
                }
            }
        }
        for stage in self.terms.indices() {
            self.take_away(stage, Interruption::Unwinding);
        }
        let again = self.terms.indices().filter(|stage| again[stage.0 as usize]).collect();
        self.emit(Event::RunReset { by, to: position, again });
        Ok(())
    }

    /// Whether a stage's effects are to be taken back: all of them, unless a reset names which.
    pub fn is_to_be_undone(&self, stage: StageIndex) -> bool {
        self.next.resetting.as_ref().is_none_or(|again| again.get(stage.0 as usize) == Some(&true))
    }
}
