//! Routing: each input to the file that knows it, then on to whatever follows from it.
//!
//! A decision is tried out on a copy of the run's progress ([`Draft`]); the commands are read off the
//! difference between before and after (`commands.rs`), so no transition can forget one.

use super::{Decision, Event, Fence, Input, Phase, Progress, Refusal, Run, StageState, Terms, commands};
use crate::definition::{Attempt, StageIndex, StageSpec};

impl Run {
    /// What `input` makes true at journal time `now_ms`, and what must be done then. Changes nothing.
    ///
    /// Journal `events` in one batch, [`Run::apply`] each, then perform `commands` in order (an
    /// `Abandon` is complete before the `DispatchUndo` after it begins). A `now_ms` before the last
    /// record counts as the time of that record. `random` feeds the jitter of backoffs and nothing
    /// else. Cost: one copy of the stages' progress, O(stages) steps.
    ///
    /// # Errors
    /// [`Refusal`] if the input does not fit; nothing happened. A refused `Placed` leaves its lease
    /// with the caller, who gives it back.
    pub fn decide(&self, now_ms: u64, random: u64, input: Input) -> Result<Decision, Refusal> {
        let mut draft = Draft::new(&self.terms, &self.progress, now_ms, random);
        draft.take(input)?;
        draft.advance();
        let commands = commands::following(&draft);
        Ok(Decision { events: draft.events, commands })
    }
}

/// A decision in the making.
pub(super) struct Draft<'run> {
    pub terms: &'run Terms,
    pub before: &'run Progress,
    pub next: Progress,
    pub now_ms: u64,
    pub random: u64,
    /// The stage whose own worker answered, so that nothing is left to abandon.
    pub reported: Option<StageIndex>,
    /// The stage that room was found for: it holds a lease and no longer waits at the scheduler.
    pub placed: Option<StageIndex>,
    pub events: Vec<Event>,
}

impl<'run> Draft<'run> {
    pub fn new(terms: &'run Terms, before: &'run Progress, now_ms: u64, random: u64) -> Self {
        Self {
            terms,
            before,
            next: before.clone(),
            now_ms: now_ms.max(before.time_ms),
            random,
            reported: None,
            placed: None,
            events: Vec::new(),
        }
    }

    fn take(&mut self, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Placed { stage, attempt, placed_on } => self.placed(stage, attempt, placed_on),
            Input::PlacementFailed { stage, attempt, error } => self.placement_failed(stage, attempt, error),
            Input::Checkpointed { stage, fence, checkpoint } => self.checkpointed(stage, fence, checkpoint),
            Input::Succeeded { stage, fence, outputs, facts } => self.succeeded(stage, fence, outputs, facts),
            Input::Failed { stage, fence, error } => self.failed(stage, fence, error),
            Input::Compensated { stage, fence } => self.compensated(stage, fence),
            Input::CompensationFailed { stage, fence, error } => {
                self.compensation_failed(stage, fence, error)
            }
            Input::Woke => {
                self.time_out();
                Ok(())
            }
            Input::Pause { by } => self.pause(by),
            Input::Resume { by } => self.resume(by),
            Input::Cancel { by } => self.cancel(by),
            Input::Retry { by, from } => self.retry(by, from),
            Input::Decide { stage, by, role, approved, reason } => {
                self.answer_gate(stage, by, role, approved, reason)
            }
            Input::Tune { stage, parameter, value, by } => self.tune(stage, parameter, value, by),
            Input::EmergencyStop => self.emergency_stop(),
            Input::PauseNow { by } => self.pause_now(by),
            Input::Stopped { stage, fence } => self.stopped(stage, fence),
            Input::TuningAnswered { stage, fence, parameter, value, taken, why } => {
                self.tuning_answered(stage, fence, parameter, value, (taken, why))
            }
            Input::Reset { by, to } => self.reset(by, to),
            Input::Signal { stage, name, data, key, by } => self.signal(stage, name, data, key, by),
        }
    }

    /// Whatever follows by itself from where the run now stands; nothing while it is paused.
    pub fn advance(&mut self) {
        self.go();
        if self.events.last() == Some(&Event::ResetDone) {
            // The way back ended in the way forward.
            self.go();
        }
    }

    fn go(&mut self) {
        self.end_if_late();
        if self.next.phase.is_forward() && !self.next.paused {
            self.go_forward();
        }
        if self.next.phase == Phase::Unwinding && !self.next.paused {
            self.go_back();
        }
    }

    /// Records `event` and shows its effect to the rest of this decision. The position is provisional.
    pub fn emit(&mut self, event: Event) {
        self.next.apply(self.terms, self.next.position + 1, self.now_ms, &event);
        self.events.push(event);
    }

    pub fn spec(&self, stage: StageIndex) -> &'run StageSpec {
        self.terms.spec(stage)
    }

    pub fn state(&self, stage: StageIndex) -> &StageState {
        &self.next.stages[stage.0 as usize].state
    }

    pub fn expect_known(&self, stage: StageIndex) -> Result<(), Refusal> {
        if (stage.0 as usize) < self.next.stages.len() { Ok(()) } else { Err(Refusal::UnknownStage(stage.0)) }
    }

    pub fn expect_running(&self, stage: StageIndex, given: Fence) -> Result<Attempt, Refusal> {
        self.expect_known(stage)?;
        match *self.state(stage) {
            StageState::Running { attempt, fence, .. } if fence == given => Ok(attempt),
            _ => Err(Refusal::Stale),
        }
    }

    pub fn expect_compensating(&self, stage: StageIndex, given: Fence) -> Result<Attempt, Refusal> {
        self.expect_known(stage)?;
        match *self.state(stage) {
            StageState::Compensating { attempt, fence, .. } if fence == given => Ok(attempt),
            _ => Err(Refusal::Stale),
        }
    }

    /// A refusal that names what was expected and where the run is.
    pub fn not_now(&self, expected: &str) -> Refusal {
        Refusal::NotNow { expected: expected.to_owned(), actual: self.next.phase_name().to_owned() }
    }
}
