//! The only place that changes a run. No choice is made here: what happened has happened.

use super::state::{GateProgress, Signal};
use super::{Event, Fence, Interruption, Phase, Progress, Run, StageError, StageState, Terms};
use crate::definition::{Attempt, StageIndex};

impl Run {
    /// Takes in one record of this run's journal, in order. O(1), but O(stages) for pauses, unwinding
    /// and retries.
    ///
    /// A record that names a stage the definition does not have changes nothing but the position.
    pub fn apply(&mut self, position: u64, time_ms: u64, event: &Event) {
        self.progress.apply(&self.terms, position, time_ms, event);
    }
}

impl Progress {
    pub(super) fn apply(&mut self, terms: &Terms, position: u64, time_ms: u64, event: &Event) {
        self.position = position;
        self.time_ms = self.time_ms.max(time_ms);
        if let Some(stage) = subject(event) {
            if (stage.0 as usize) < self.stages.len() {
                self.apply_to_stage(terms, stage, event);
            }
            return;
        }
        match event {
            Event::RunPaused { by } => {
                self.paused = true;
                self.stopped |= by == super::control::EMERGENCY;
                for stage in &mut self.stages {
                    if matches!(stage.state, StageState::Ready { .. }) {
                        (stage.state, stage.asked_ms) = (StageState::Waiting, None);
                    }
                }
            }
            Event::RunResumed { .. } => (self.paused, self.stopped) = (false, false),
            Event::DeadlinePassed { error } => {
                (self.paused, self.late) = (false, true);
                self.error = Some(error.clone());
            }
            Event::RunReset { again, .. } => {
                let mut flags = vec![false; self.stages.len()];
                for stage in again {
                    if let Some(flag) = flags.get_mut(stage.0 as usize) {
                        *flag = true;
                    }
                }
                self.phase = Phase::Unwinding;
                for (stage, again) in self.stages.iter_mut().zip(&flags) {
                    if *again && !stage.state.is_done() && stage.state != StageState::Failed {
                        stage.state = StageState::Waiting;
                    }
                }
                self.resetting = Some(flags);
            }
            Event::ResetDone => {
                let again = self.resetting.take().unwrap_or_default();
                for (stage, again) in self.stages.iter_mut().zip(again) {
                    if again {
                        stage.reset();
                    }
                }
                self.go_again();
            }
            Event::CancelRequested { by } => {
                (self.paused, self.stopped) = (false, false);
                self.cancelled_by = Some(by.clone());
            }
            Event::CriteriaNotMet { error } => self.error = Some(error.clone()),
            Event::UnwindingStarted { .. } => {
                self.phase = Phase::Unwinding;
                for stage in &mut self.stages {
                    if !matches!(
                        stage.state,
                        StageState::Succeeded | StageState::Failed | StageState::Skipped
                    ) {
                        stage.state = StageState::Waiting;
                    }
                }
            }
            Event::RunSucceeded => self.phase = Phase::Succeeded,
            Event::RunRolledBack => self.phase = Phase::RolledBack,
            Event::RunFailed { .. } => (self.phase, self.resetting) = (Phase::Failed, None),
            Event::RunCancelled => self.phase = Phase::Cancelled,
            _ => {}
        }
    }

    fn apply_to_stage(&mut self, terms: &Terms, index: StageIndex, event: &Event) {
        let (position, now_ms) = (self.position, self.time_ms);
        let stage = &mut self.stages[index.0 as usize];
        match event {
            Event::StageReady { attempt, .. } => {
                stage.state = StageState::Ready { attempt: *attempt, since_ms: now_ms };
                stage.asked_ms.get_or_insert(now_ms);
            }
            Event::StageStarted { attempt, .. } => {
                self.phase = Phase::Running;
                stage.state =
                    StageState::Running { attempt: *attempt, fence: Fence(position), since_ms: now_ms };
                stage.intent = Some(position);
                stage.untaken.clear();
                stage.stopping = false;
                stage.started_ms.get_or_insert(now_ms);
            }
            Event::StageCheckpointed { checkpoint, .. } => stage.checkpoint = Some(checkpoint.clone()),
            Event::StageSucceeded { attempt, outputs, facts, .. } => {
                self.attempt_over(index, *attempt, None);
                let stage = &mut self.stages[index.0 as usize];
                stage.state = StageState::Succeeded;
                stage.outputs.clone_from(outputs);
                stage.facts = Some(facts.clone());
                stage.checkpoint = None;
                stage.error = None;
                stage.done_at = Some(position);
            }
            Event::StageTakenOver { outputs, facts, .. } => {
                stage.state = StageState::Succeeded;
                stage.outputs.clone_from(outputs);
                stage.facts = Some(facts.clone());
                stage.done_at = Some(position);
            }
            Event::StageStopRequested { .. } => stage.stopping = true,
            Event::SignalAwaited { deadline_ms, .. } => {
                self.phase = Phase::Running;
                stage.state = StageState::AwaitingSignal { deadline_ms: *deadline_ms };
            }
            Event::SignalRecorded { data, key, by, .. } => {
                stage.signal = Some(Signal { data: data.clone(), key: key.clone(), by: by.clone() });
            }
            Event::ParameterTunedLive { parameter, value, .. } => {
                stage.tunings.insert(parameter.clone(), value.clone());
            }
            Event::StageRetryPlanned { attempt, at_ms, error, .. } => {
                self.attempt_over(index, Attempt(attempt.0.saturating_sub(1)), Some(error));
                self.stages[index.0 as usize].state =
                    StageState::Backoff { attempt: *attempt, until_ms: *at_ms };
            }
            Event::StageInDoubt { attempt, error, .. } => {
                self.attempt_over(index, *attempt, Some(error));
                self.stages[index.0 as usize].state = StageState::InDoubt { attempt: *attempt };
            }
            Event::StageFailed { attempt, error, .. } => {
                self.attempt_over(index, *attempt, Some(error));
                self.stages[index.0 as usize].state = StageState::Failed;
                self.failed.get_or_insert(index);
                self.error.get_or_insert_with(|| error.clone());
            }
            Event::StageInterrupted { attempt, why, .. } => match stage.state {
                StageState::Compensating { .. } => {
                    stage.state = StageState::CompensationBackoff { attempt: *attempt, until_ms: 0 };
                }
                _ => {
                    let asked_ms = stage.asked_ms.filter(|_| *why == Interruption::DaemonRestarted);
                    self.attempt_over(index, Attempt(attempt.0.saturating_sub(1)), None);
                    let stage = &mut self.stages[index.0 as usize];
                    (stage.state, stage.asked_ms) = (StageState::Waiting, asked_ms);
                }
            },
            Event::StageSkipped { .. } => {
                self.phase = Phase::Running;
                stage.state = StageState::Skipped;
                stage.done_at = Some(position);
            }
            Event::GateOpened { deadline_ms, subjects, .. } => {
                self.phase = Phase::Running;
                stage.state = StageState::AwaitingApproval;
                stage.gate = Some(GateProgress {
                    deadline_ms: *deadline_ms,
                    subjects: subjects.clone(),
                    ..GateProgress::default()
                });
            }
            Event::ApprovalRecorded { by, approved, reason, .. } => {
                if let Some(gate) = &mut stage.gate {
                    if *approved {
                        gate.approvals.insert(by.clone());
                    } else {
                        gate.rejection = Some((by.clone(), reason.clone()));
                    }
                }
            }
            Event::CompensationStarted { attempt, .. } => {
                stage.state =
                    StageState::Compensating { attempt: *attempt, fence: Fence(position), since_ms: now_ms };
            }
            Event::CompensationSucceeded { .. } => {
                stage.state = StageState::Compensated;
                stage.intent = None;
                stage.checkpoint = None;
            }
            Event::CompensationRetryPlanned { attempt, at_ms, .. } => {
                stage.state = StageState::CompensationBackoff { attempt: *attempt, until_ms: *at_ms };
            }
            Event::CompensationFailed { error, .. } => {
                stage.state = StageState::Failed;
                stage.undo_failed = true;
                self.undo_error.get_or_insert_with(|| error.clone());
            }
            Event::RunRetried { .. } => self.retried(terms, index),
            Event::ParameterTuned { parameter, value, .. } => {
                stage.tunings.insert(parameter.clone(), value.clone());
                stage.checkpoint = None;
                if matches!(stage.state, StageState::Running { .. }) {
                    stage.untaken.insert(parameter.clone());
                }
            }
            Event::TuningAnswered { parameter, taken: true, .. } => {
                stage.untaken.remove(parameter);
            }
            _ => {}
        }
    }

    fn attempt_over(&mut self, index: StageIndex, used: Attempt, error: Option<&StageError>) {
        let now_ms = self.time_ms;
        let stage = &mut self.stages[index.0 as usize];
        if let StageState::Running { since_ms, .. } = stage.state {
            stage.busy_ms += now_ms.saturating_sub(since_ms);
        }
        stage.attempts_used = used.0;
        stage.asked_ms = None;
        stage.ended_ms = Some(now_ms);
        if let Some(error) = error {
            stage.error = Some(error.clone());
        }
    }

    fn retried(&mut self, terms: &Terms, from: StageIndex) {
        if self.phase.is_forward() {
            let stage = &mut self.stages[from.0 as usize];
            stage.state = StageState::Waiting;
            stage.attempts_used = 0;
            return;
        }
        let again = terms.dependents(from);
        for (stage, again) in self.stages.iter_mut().zip(again) {
            if again || !stage.state.is_done() {
                stage.reset();
            }
        }
        self.go_again();
    }

    /// Forward once more, with nothing held against the run and all its time before it.
    fn go_again(&mut self) {
        self.phase = Phase::Running;
        self.cancelled_by = None;
        self.error = None;
        self.failed = None;
        self.undo_error = None;
        self.late = false;
        self.resetting = None;
        self.deadline_from_ms = self.time_ms;
    }
}

/// The stage an event is about.
const fn subject(event: &Event) -> Option<StageIndex> {
    match event {
        Event::StageReady { stage, .. }
        | Event::StageStarted { stage, .. }
        | Event::StageCheckpointed { stage, .. }
        | Event::StageSucceeded { stage, .. }
        | Event::StageRetryPlanned { stage, .. }
        | Event::StageInterrupted { stage, .. }
        | Event::StageFailed { stage, .. }
        | Event::StageSkipped { stage, .. }
        | Event::GateOpened { stage, .. }
        | Event::ApprovalRecorded { stage, .. }
        | Event::StageInDoubt { stage, .. }
        | Event::CompensationStarted { stage, .. }
        | Event::CompensationSucceeded { stage }
        | Event::CompensationRetryPlanned { stage, .. }
        | Event::CompensationFailed { stage, .. }
        | Event::ParameterTuned { stage, .. }
        | Event::ParameterTunedLive { stage, .. }
        | Event::TuningAnswered { stage, .. }
        | Event::StageStopRequested { stage, .. }
        | Event::StageTakenOver { stage, .. }
        | Event::SignalAwaited { stage, .. }
        | Event::SignalRecorded { stage, .. }
        | Event::RunRetried { from: stage, .. } => Some(*stage),
        Event::RunSubmitted { .. }
        | Event::RunPaused { .. }
        | Event::RunResumed { .. }
        | Event::CancelRequested { .. }
        | Event::UnwindingStarted { .. }
        | Event::RunSucceeded
        | Event::RunRolledBack
        | Event::RunFailed { .. }
        | Event::RunCancelled
        | Event::CriteriaNotMet { .. }
        | Event::RunReset { .. }
        | Event::ResetDone
        | Event::DeadlinePassed { .. } => None,
    }
}
