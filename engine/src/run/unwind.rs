//! The way back: every stage that was begun is undone, newest first, one at a time.
//!
//! A stage with a journaled start may have had its effect, so it is undone whether it finished or not,
//! the failing one included.

use super::decide::Draft;
use super::{Event, Fence, Interruption, Refusal, StageError, StageState};
use crate::definition::{Attempt, StageIndex};

impl Draft<'_> {
    pub fn start_unwinding(&mut self, cause: String) {
        for stage in self.terms.indices() {
            self.take_away(stage, Interruption::Unwinding);
        }
        self.emit(Event::UnwindingStarted { cause });
    }

    pub fn compensated(&mut self, stage: StageIndex, fence: Fence) -> Result<(), Refusal> {
        self.expect_compensating(stage, fence)?;
        self.reported = Some(stage);
        self.emit(Event::CompensationSucceeded { stage });
        Ok(())
    }

    pub fn compensation_failed(
        &mut self,
        stage: StageIndex,
        fence: Fence,
        error: StageError,
    ) -> Result<(), Refusal> {
        let attempt = self.expect_compensating(stage, fence)?;
        self.reported = Some(stage);
        self.undo_failed(stage, attempt, error);
        Ok(())
    }

    /// The next undo, unless one is under way or must wait; the end, once none is left.
    pub fn go_back(&mut self) {
        // Reverse order, one at a time: an undo may rely on what earlier stages left in place.
        let Some(stage) = self.newest_to_undo() else {
            self.end_unwinding();
            return;
        };
        match *self.state(stage) {
            StageState::Compensating { .. } => {}
            StageState::CompensationBackoff { until_ms, .. } if until_ms > self.now_ms => {}
            StageState::CompensationBackoff { attempt, .. } => {
                self.emit(Event::CompensationStarted { stage, attempt })
            }
            _ => self.emit(Event::CompensationStarted { stage, attempt: Attempt(1) }),
        }
    }

    fn newest_to_undo(&self) -> Option<StageIndex> {
        self.terms
            .indices()
            .filter(|stage| self.is_to_be_undone(*stage))
            .filter(|stage| self.spec(*stage).has_undo && !self.next.stages[stage.0 as usize].undo_failed)
            .filter_map(|stage| Some((self.next.stages[stage.0 as usize].intent?, stage)))
            .max()
            .map(|(_, stage)| stage)
    }

    fn end_unwinding(&mut self) {
        let end = match (&self.next.undo_error, &self.next.cancelled_by) {
            (Some(error), _) => Event::RunFailed { error: error.clone() },
            (None, _) if self.next.resetting.is_some() => Event::ResetDone,
            (None, Some(_)) => Event::RunCancelled,
            (None, None) if self.next.late => Event::RunCancelled,
            (None, None) => Event::RunRolledBack,
        };
        self.emit(end);
    }
}
