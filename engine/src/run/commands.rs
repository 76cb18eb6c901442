//! Commands, read off the difference between the run before and after a decision.
//!
//! Order matters to the caller: first what ends (abandon, release, withdraw), then what begins.

use super::decide::Draft;
use super::{Command, Event, Phase, Progress, StageState, Terms};
use crate::definition::parameters::{self, Takes};
use crate::definition::{StageIndex, Timeouts};

/// What must be done because `before` became `next`.
pub(super) fn following(draft: &Draft<'_>) -> Vec<Command> {
    let mut commands = Vec::new();
    for stage in changed(draft) {
        let old = &draft.before.stages[stage.0 as usize].state;
        if let Some(fence) = old.fence()
            && draft.reported != Some(stage)
        {
            commands.push(Command::Abandon { stage, fence });
        }
    }
    end(draft, &mut commands);
    begin(draft, &mut commands);
    steer(draft, &mut commands);
    let deadline = draft.next.deadline(draft.terms);
    if draft.before.phase == Phase::Pending || draft.before.deadline(draft.terms) != deadline {
        wake_run(draft, &mut commands);
    }
    commands
}

/// What running work must hear, besides its end.
fn steer(draft: &Draft<'_>, commands: &mut Vec<Command>) {
    for event in &draft.events {
        let stage = match event {
            Event::StageStopRequested { stage, .. } | Event::ParameterTunedLive { stage, .. } => *stage,
            Event::ParameterTuned { stage, parameter, .. }
                if parameters::find(draft.spec(*stage).kind, parameter)
                    .is_some_and(|row| row.tunable == Some(Takes::AtWork)) =>
            {
                *stage
            }
            _ => continue,
        };
        if let StageState::Running { fence, .. } = *draft.state(stage)
            && draft.before.stages[stage.0 as usize].state.fence() == Some(fence)
        {
            commands.push(match event {
                Event::ParameterTunedLive { parameter, value, .. }
                | Event::ParameterTuned { parameter, value, .. } => {
                    Command::Steer { stage, fence, parameter: parameter.clone(), value: value.clone() }
                }
                _ => Command::Stop { stage, fence },
            });
        }
    }
    for stage in draft.terms.indices().filter(|stage| !changed(draft).any(|other| other == *stage)) {
        // A limit was tuned, or a reset has opened the same gate anew.
        if deadline(draft.terms, draft.before, stage) != deadline(draft.terms, &draft.next, stage) {
            wake(draft, stage, commands);
        }
    }
}

fn wake_run(draft: &Draft<'_>, commands: &mut Vec<Command>) {
    if let Some(at_ms) = draft.next.deadline(draft.terms)
        && draft.next.phase.is_forward()
        && !draft.next.late
        // Past it only an emergency stop keeps the run, and its end is looked at then.
        && at_ms > draft.now_ms
    {
        commands.push(Command::WakeAt { at_ms });
    }
}

/// What must be done after a restart: the difference, and again what was asked for before it.
pub(super) fn after_restart(draft: &Draft<'_>) -> Vec<Command> {
    let mut commands = Vec::new();
    end(draft, &mut commands);
    begin(draft, &mut commands);
    for stage in draft.terms.indices().filter(|stage| !changed(draft).any(|other| other == *stage)) {
        request(draft, stage, &mut commands);
        wake(draft, stage, &mut commands);
    }
    wake_run(draft, &mut commands);
    if draft.before.phase.is_ended() {
        commands.push(Command::Ended);
    }
    commands
}

fn changed<'draft>(draft: &'draft Draft<'_>) -> impl Iterator<Item = StageIndex> + 'draft {
    draft.terms.indices().filter(|stage| {
        let at = stage.0 as usize;
        draft.before.stages[at].state != draft.next.stages[at].state
    })
}

fn end(draft: &Draft<'_>, commands: &mut Vec<Command>) {
    for stage in changed(draft) {
        match (&draft.before.stages[stage.0 as usize].state, draft.state(stage)) {
            (StageState::Running { .. }, _) if draft.spec(stage).kind.is_immediate() => {}
            (StageState::Running { .. }, _) => commands.push(Command::ReleaseLease { stage }),
            (StageState::Ready { .. }, StageState::Running { .. }) => {}
            (StageState::Ready { .. }, _) if draft.placed == Some(stage) => {
                commands.push(Command::ReleaseLease { stage });
            }
            (StageState::Ready { .. }, _) => commands.push(Command::WithdrawPlacement { stage }),
            _ => {}
        }
    }
}

fn begin(draft: &Draft<'_>, commands: &mut Vec<Command>) {
    for stage in changed(draft) {
        match *draft.state(stage) {
            StageState::Running { attempt, .. } => commands.push(Command::Dispatch {
                stage,
                attempt,
                resume_from: draft.next.stages[stage.0 as usize].checkpoint.clone(),
            }),
            StageState::Compensating { attempt, .. } => {
                commands.push(Command::DispatchUndo { stage, attempt })
            }
            _ => request(draft, stage, commands),
        }
        wake(draft, stage, commands);
    }
    if draft.next.phase.is_ended() && !draft.before.phase.is_ended() {
        commands.push(Command::Ended);
    }
}

fn request(draft: &Draft<'_>, stage: StageIndex, commands: &mut Vec<Command>) {
    if let StageState::Ready { attempt, .. } = *draft.state(stage) {
        commands.push(Command::RequestPlacement {
            stage,
            attempt,
            demand: draft.spec(stage).demand.clone(),
            priority: draft.terms.definition.priority,
        });
    }
}

fn wake(draft: &Draft<'_>, stage: StageIndex, commands: &mut Vec<Command>) {
    if let Some(at_ms) = deadline(draft.terms, &draft.next, stage) {
        commands.push(Command::WakeAt { at_ms });
    }
}

/// The stage's limits, as tuned.
pub(super) fn limits(terms: &Terms, progress: &Progress, stage: StageIndex) -> Timeouts {
    let tuned = |name: &str| {
        let value = progress.stages[stage.0 as usize].tunings.get(name)?;
        parameters::duration_ms(&serde_json::from_str(value).ok()?)
    };
    let stated = terms.spec(stage).timeout;
    Timeouts {
        start_to_close_ms: tuned(parameters::START_TO_CLOSE).or(stated.start_to_close_ms),
        schedule_to_start_ms: tuned(parameters::SCHEDULE_TO_START).or(stated.schedule_to_start_ms),
        ..stated
    }
}

/// When time alone will change this stage.
pub(super) fn deadline(terms: &Terms, progress: &Progress, stage: StageIndex) -> Option<u64> {
    let timeout = limits(terms, progress, stage);
    let after = |since_ms: u64, limit: Option<u64>| limit.map(|limit_ms| since_ms.saturating_add(limit_ms));
    match progress.stages[stage.0 as usize].state {
        StageState::Ready { since_ms, .. } => after(since_ms, timeout.schedule_to_start_ms),
        StageState::Running { since_ms, fence, .. } | StageState::Compensating { since_ms, fence, .. } => {
            // A slow disk takes nothing from the time of an attempt: it counts from when it was handed over.
            let handed = progress.stages[stage.0 as usize].handed.0.filter(|(of, _)| *of == fence);
            after(handed.map_or(since_ms, |(_, at_ms)| at_ms.max(since_ms)), timeout.start_to_close_ms)
        }
        StageState::Backoff { until_ms, .. } | StageState::CompensationBackoff { until_ms, .. } => {
            Some(until_ms)
        }
        StageState::AwaitingSignal { deadline_ms } => deadline_ms,
        StageState::AwaitingApproval => progress.stages[stage.0 as usize].gate.as_ref()?.deadline_ms,
        _ => None,
    }
}
