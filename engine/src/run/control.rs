//! What people ask of a run: pause, resume, cancel, retry, tune, emergency stop. More in `steer.rs`
//! (stop what runs), `reset.rs` and `signal.rs`.

use super::decide::Draft;
use super::{Event, Fence, Interruption, Phase, Refusal, StageState};
use crate::definition::StageIndex;
use crate::definition::parameters::{self, Takes};

/// Who pauses a run in an emergency; the actor lifts such a pause only after an authorised clear.
pub(super) const EMERGENCY: &str = "emergency-stop";

impl Draft<'_> {
    /// Nothing new is dispatched; what runs is let finish.
    pub fn pause(&mut self, by: String) -> Result<(), Refusal> {
        if !self.next.phase.is_forward() || self.next.paused {
            return Err(self.not_now("a run that is pending or running"));
        }
        self.emit(Event::RunPaused { by });
        Ok(())
    }

    pub fn resume(&mut self, by: String) -> Result<(), Refusal> {
        if !self.next.paused {
            return Err(self.not_now("a run that is paused"));
        }
        self.emit(Event::RunResumed { by });
        Ok(())
    }

    /// A cancelled run unwinds at once, paused or not.
    pub fn cancel(&mut self, by: String) -> Result<(), Refusal> {
        if !self.next.phase.is_forward() {
            return Err(self.not_now("a run that is pending, running or paused"));
        }
        self.emit(Event::CancelRequested { by });
        Ok(())
    }

    /// Starts an ended run again, or says of a stage in doubt that it is to be repeated.
    pub fn retry(&mut self, by: String, from: Option<StageIndex>) -> Result<(), Refusal> {
        if let Some(stage) = from {
            self.expect_known(stage)?;
        }
        let from = match self.next.phase {
            Phase::RolledBack | Phase::Failed | Phase::Cancelled => from
                .or(self.next.failed)
                .or_else(|| self.terms.order.iter().copied().find(|stage| !self.state(*stage).is_done()))
                .ok_or_else(|| self.not_now("the name of the stage to start from, as no stage failed"))?,
            Phase::Pending | Phase::Running => {
                let in_doubt = |stage: &StageIndex| matches!(self.state(*stage), StageState::InDoubt { .. });
                from.or_else(|| self.terms.indices().find(in_doubt))
                    .filter(in_doubt)
                    .ok_or_else(|| self.not_now("an ended run that did not succeed, or a stage in doubt"))?
            }
            Phase::Unwinding | Phase::Succeeded => {
                return Err(self.not_now("an ended run that did not succeed, or a stage in doubt"));
            }
        };
        self.emit(Event::RunRetried { by, from });
        Ok(())
    }

    /// Taken up at once by running work that can; else at the stage's next attempt.
    pub fn tune(
        &mut self,
        stage: StageIndex,
        parameter: String,
        value: String,
        by: String,
    ) -> Result<(), Refusal> {
        self.expect_known(stage)?;
        let over =
            matches!(self.state(stage), StageState::Succeeded | StageState::Skipped | StageState::Failed);
        if !self.next.phase.is_forward() || over {
            return Err(self.not_now("a stage that may still begin an attempt"));
        }
        let value: serde_json::Value = serde_json::from_str(&value)
            .map_err(|_| Refusal::Malformed { expected: "a value as JSON".to_owned(), actual: value })?;
        let spec = self.spec(stage);
        let when = parameters::judge_tuning(spec.kind, &parameter, &value)?;
        parameters::check_cores(&parameter, &value, spec.demand.cpu_cores)?;
        parameters::check_ceiling(&parameter, &value, self.terms.definition.ceilings.shots)?;
        let old = self
            .next
            .params(self.terms, stage)
            .get(&parameter)
            .map_or("null".to_owned(), ToString::to_string);
        let value = value.to_string();
        self.emit(match when {
            // What changes no result leaves checkpoints good.
            Takes::Live => Event::ParameterTunedLive { stage, parameter, old, value, by },
            Takes::NextAttempt | Takes::AtWork => Event::ParameterTuned { stage, parameter, old, value, by },
        });
        Ok(())
    }

    /// The attempt at work says whether it took a value. What is not the stage's present value was tuned
    /// again meanwhile, and nobody waits for this answer any more.
    pub fn tuning_answered(
        &mut self,
        stage: StageIndex,
        fence: Fence,
        parameter: String,
        value: String,
        (taken, why): (bool, String),
    ) -> Result<(), Refusal> {
        let attempt = self.expect_running(stage, fence)?;
        if self.next.stages[stage.0 as usize].tunings.get(&parameter) != Some(&value) {
            return Err(Refusal::Stale);
        }
        self.emit(Event::TuningAnswered { stage, attempt, parameter, value, taken, why });
        Ok(())
    }

    /// Everything in flight is taken away and nothing begins until someone resumes.
    pub fn emergency_stop(&mut self) -> Result<(), Refusal> {
        if self.next.phase.is_ended() {
            return Err(self.not_now("a run that has not ended"));
        }
        for stage in self.terms.indices() {
            self.take_away(stage, Interruption::EmergencyStop);
        }
        self.emit(Event::RunPaused { by: EMERGENCY.to_owned() });
        Ok(())
    }
}
