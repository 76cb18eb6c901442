//! What reaches work that is running: stop with a checkpoint, a new value, the end of the run's time.
//!
//! Rule: a stop is asked for, journaled, and answered by the work; until then the attempt is in flight
//! like any other. Absent: how a worker comes to a safe point.

use super::decide::Draft;
use super::retry::is_repeatable;
use super::{Event, Fence, Interruption, Refusal, Run, StageState, faults};
use crate::definition::{StageIndex, StageKind, StageSpec};

/// Whether an attempt can be ended in the middle without harm: it keeps checkpoints, or may be repeated.
/// What is left out either ends in a moment (backend setup, deployments, checks) or may have taken effect
/// already (a program that is not idempotent): those are let finish.
pub(super) fn can_stop(spec: &StageSpec) -> bool {
    match spec.kind {
        StageKind::QuantumBackendSetup
        | StageKind::Deployment
        | StageKind::ReleaseAssessment
        | StageKind::ReleaseRollback
        | StageKind::Approval
        | StageKind::Check
        | StageKind::Signal => false,
        _ => is_repeatable(spec),
    }
}

impl Draft<'_> {
    /// Nothing new begins, and what runs ends at its next safe point. Also turns a draining pause into one
    /// that does not wait.
    pub fn pause_now(&mut self, by: String) -> Result<(), Refusal> {
        let running: Vec<StageIndex> =
            self.terms.indices().filter(|stage| self.is_stoppable(*stage)).collect();
        let drains = self.next.paused && !running.is_empty();
        if !self.next.phase.is_forward() || (self.next.paused && !drains) {
            return Err(self.not_now("a run that is pending or running, or paused with stages still running"));
        }
        if !self.next.paused {
            self.emit(Event::RunPaused { by });
        }
        for stage in running {
            if let StageState::Running { attempt, .. } = *self.state(stage) {
                self.emit(Event::StageStopRequested { stage, attempt });
            }
        }
        Ok(())
    }

    fn is_stoppable(&self, stage: StageIndex) -> bool {
        let progress = &self.next.stages[stage.0 as usize];
        matches!(progress.state, StageState::Running { .. })
            && !progress.stopping
            && can_stop(self.spec(stage))
    }

    /// The attempt ended as it was asked to. It does not count.
    pub fn stopped(&mut self, stage: StageIndex, fence: Fence) -> Result<(), Refusal> {
        let attempt = self.expect_running(stage, fence)?;
        if !self.next.stages[stage.0 as usize].stopping {
            return Err(Refusal::Stale);
        }
        self.reported = Some(stage);
        self.emit(Event::StageInterrupted { stage, attempt, why: Interruption::Paused });
        Ok(())
    }

    /// Cancels a run whose time is over, paused or not. An emergency stop outlasts the deadline: nothing
    /// is undone before somebody resumes.
    pub fn end_if_late(&mut self) {
        let Some(at_ms) = self.next.deadline(self.terms) else { return };
        if self.now_ms >= at_ms && self.next.phase.is_forward() && !self.next.stopped && !self.next.late {
            let limit_ms = self.terms.definition.control.deadline_ms.unwrap_or_default();
            self.emit(Event::DeadlinePassed { error: faults::run_too_late(limit_ms) });
        }
    }
}

impl super::Progress {
    /// Journal time by which the run must have ended.
    pub(super) fn deadline(&self, terms: &super::Terms) -> Option<u64> {
        let limit_ms = terms.definition.control.deadline_ms?;
        Some(self.deadline_from_ms.saturating_add(limit_ms))
    }
}

impl Run {
    /// Journal time in ms by which the run must have ended, if it has a deadline.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.progress.deadline(&self.terms)
    }

    /// Running stages in order: those that were asked to stop, and those that are let finish.
    pub fn in_flight(&self) -> (Vec<StageIndex>, Vec<StageIndex>) {
        let running = |stage: &StageIndex| matches!(self.stage(*stage), StageState::Running { .. });
        let stopping = |stage: &StageIndex| self.progress.stages[stage.0 as usize].stopping;
        self.terms.indices().filter(running).partition(stopping)
    }
}
