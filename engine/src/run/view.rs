//! Questions about a run. Nothing here changes it.

use super::state::{Handed, StageProgress, StageState};
use super::{ArtefactRef, Fence, Phase, Progress, Run, StageError, Terms, commands, gate};
use crate::definition::{Definition, StageIndex};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Why a stage does not run, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Paths of the needs that are not done.
    Dependency(Vec<String>),
    /// Room was asked for.
    Placement,
    /// The next attempt, or the next try at its undo, begins no sooner than this journal time in ms.
    Backoff(u64),
    /// Approvals that are missing, and the journal time in ms by which they must come.
    Gate {
        missing: u32,
        deadline_ms: Option<u64>,
    },
    /// A signal of this name, and the journal time in ms by which it must come.
    Signal {
        name: String,
        deadline_ms: Option<u64>,
    },
    Paused,
    /// A person must retry or cancel; the message says what happened.
    InDoubt(String),
}

/// Times of a stage, in ms of journal time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// Start of its first attempt.
    pub started_ms: Option<u64>,
    /// End of its newest attempt.
    pub ended_ms: Option<u64>,
    /// Time spent in attempts, the running one included.
    pub busy_ms: u64,
}

impl Timing {
    pub fn seconds(&self) -> f64 {
        self.busy_ms as f64 / 1000.0
    }
}

impl Run {
    pub fn id(&self) -> &str {
        &self.terms.id
    }

    pub fn workflow(&self) -> &str {
        &self.terms.workflow
    }

    pub fn definition(&self) -> &Definition {
        &self.terms.definition
    }

    pub fn inputs(&self) -> &[ArtefactRef] {
        &self.terms.inputs
    }

    /// The key under which a repeated submit finds this run.
    pub fn key(&self) -> Option<&str> {
        self.terms.key.as_deref()
    }

    pub fn submitted_by(&self) -> &str {
        &self.terms.submitted_by
    }

    pub fn seed(&self) -> u64 {
        self.terms.seed
    }

    pub fn submitted_ms(&self) -> u64 {
        self.terms.submitted_ms
    }

    pub fn phase(&self) -> Phase {
        self.progress.phase
    }

    pub fn is_paused(&self) -> bool {
        self.progress.paused
    }

    /// The phase as people see it: `paused` covers the phase beneath.
    pub fn phase_name(&self) -> &'static str {
        self.progress.phase_name()
    }

    /// Position and time of the last record applied; a checkpoint is good up to here.
    pub fn applied(&self) -> (u64, u64) {
        (self.progress.position, self.progress.time_ms)
    }

    /// The first failure since the run began or was retried.
    pub fn error(&self) -> Option<&StageError> {
        self.progress.error.as_ref()
    }

    /// The failed undo that made the run end `failed`.
    pub fn undo_error(&self) -> Option<&StageError> {
        self.progress.undo_error.as_ref()
    }

    /// # Panics
    /// If the definition has no such stage.
    pub fn stage(&self, stage: StageIndex) -> &StageState {
        &self.of(stage).state
    }

    /// When the stage first asked for the room that it waits for or has, in ms of journal time. Over a restart
    /// it stays as old as it was; a failed attempt, a pause and a retry begin anew.
    pub fn asked_ms(&self, stage: StageIndex) -> Option<u64> {
        self.of(stage).asked_ms
    }

    /// The attempt or undo with this fence was handed to its executor at `now_ms`: its `start_to_close` counts
    /// from here. Answers when that is over, if it has such a limit; the caller wakes the run then.
    pub fn handed_out(&mut self, stage: StageIndex, fence: Fence, now_ms: u64) -> Option<u64> {
        let progress = self.progress.stages.get_mut(stage.0 as usize)?;
        if progress.state.fence() != Some(fence) {
            return None;
        }
        progress.handed = Handed(Some((fence, now_ms)));
        commands::deadline(&self.terms, &self.progress, stage)
    }

    /// The newest error of a stage's attempts.
    pub fn stage_error(&self, stage: StageIndex) -> Option<&StageError> {
        self.progress.stages.get(stage.0 as usize)?.error.as_ref()
    }

    pub fn stage_at(&self, path: &str) -> Option<StageIndex> {
        self.terms.indices().find(|stage| self.terms.spec(*stage).path == path)
    }

    /// The fence of the stage's attempt or undo in flight.
    pub fn fence(&self, stage: StageIndex) -> Option<Fence> {
        self.progress.stages.get(stage.0 as usize)?.state.fence()
    }

    /// Attempts begun, interruptions not counted.
    pub fn attempts(&self, stage: StageIndex) -> u32 {
        let progress = self.of(stage);
        progress.attempts_used + u32::from(matches!(progress.state, StageState::Running { .. }))
    }

    pub fn timing(&self, stage: StageIndex, now_ms: u64) -> Timing {
        let progress = self.of(stage);
        let (running_ms, ended_ms) = match progress.state {
            StageState::Running { since_ms, .. } => (now_ms.saturating_sub(since_ms), None),
            _ => (0, progress.ended_ms),
        };
        Timing { started_ms: progress.started_ms, ended_ms, busy_ms: progress.busy_ms + running_ms }
    }

    /// Workflow parameters, overlaid by the stage's, overlaid by what people tuned: canonical JSON.
    pub fn params_of(&self, stage: StageIndex) -> String {
        let merged: BTreeMap<String, Value> = self.progress.params(&self.terms, stage);
        Value::Object(merged.into_iter().collect()).to_string()
    }

    /// Shots that the newest success of a stage says it used (fact `shots_used`).
    pub fn shots_used(&self, stage: StageIndex) -> Option<u64> {
        let facts = self.progress.stages.get(stage.0 as usize)?.facts.as_deref()?;
        object(facts).get("shots_used")?.as_u64()
    }

    /// The stage's parameters, overlaid by what people tuned: canonical JSON, without the workflow's.
    pub fn own_params_of(&self, stage: StageIndex) -> String {
        let mut own: BTreeMap<String, Value> = object(&self.terms.spec(stage).params).into_iter().collect();
        let tunings = self.of(stage).tunings.iter();
        own.extend(
            tunings.filter_map(|(name, value)| Some((name.clone(), serde_json::from_str(value).ok()?))),
        );
        Value::Object(own.into_iter().collect()).to_string()
    }

    /// `from` and every stage that needs it, directly or not, as a flag per stage.
    pub fn dependents_of(&self, from: StageIndex) -> Vec<bool> {
        self.terms.dependents(from)
    }

    /// Whether `later` needs `stage`, directly or not.
    pub fn is_needed_by(&self, stage: StageIndex, later: StageIndex) -> bool {
        self.terms.ancestors(later)[stage.0 as usize]
    }

    /// Outputs and facts (canonical JSON object) of a stage that succeeded; empty otherwise.
    pub fn result_of(&self, stage: StageIndex) -> (Vec<ArtefactRef>, String) {
        let progress = self.of(stage);
        (progress.outputs.clone(), progress.facts.clone().unwrap_or_else(|| "{}".to_owned()))
    }

    /// All outputs so far by name, with the stage that made each; where names clash the later stage
    /// in order of needs wins.
    pub fn artefacts(&self) -> BTreeMap<String, (ArtefactRef, StageIndex)> {
        let mut found = BTreeMap::new();
        for &stage in &self.terms.order {
            for output in &self.of(stage).outputs {
                found.insert(output.name.clone(), (output.clone(), stage));
            }
        }
        found
    }

    /// The facts of all stages in one object; where names clash the later stage in order of needs wins.
    pub fn facts(&self) -> Map<String, Value> {
        self.progress.facts(&self.terms)
    }

    /// Digests that an approval at this stage binds, once its gate is open.
    pub fn gate_subjects(&self, stage: StageIndex) -> &[ArtefactRef] {
        self.of(stage).gate.as_ref().map_or(&[], |gate| &gate.subjects)
    }

    /// Why each stage that could still run does not run at `now_ms`.
    pub fn waits(&self, now_ms: u64) -> Vec<(StageIndex, Wait)> {
        if self.progress.phase.is_ended() {
            return Vec::new();
        }
        self.terms.indices().filter_map(|stage| Some((stage, self.wait(stage, now_ms)?))).collect()
    }

    fn wait(&self, stage: StageIndex, now_ms: u64) -> Option<Wait> {
        let progress = self.of(stage);
        let paused = self.progress.paused;
        match &progress.state {
            StageState::Waiting if self.progress.phase == Phase::Unwinding => None,
            StageState::Waiting => {
                let needs = self.terms.spec(stage).needs.iter();
                let open = needs.filter(|need| !self.stage(**need).is_done());
                let paths: Vec<String> = open.map(|need| self.terms.spec(*need).path.clone()).collect();
                match (paths.is_empty(), paused) {
                    (false, _) => Some(Wait::Dependency(paths)),
                    (true, true) => Some(Wait::Paused),
                    (true, false) => None,
                }
            }
            StageState::Ready { .. } => Some(Wait::Placement),
            StageState::AwaitingApproval => {
                let needed = gate::gate_of(self.terms.spec(stage))?.approvals.max(1);
                let answers = progress.gate.as_ref()?;
                let missing = needed.saturating_sub(answers.approvals.len() as u32);
                if missing == 0 && paused {
                    return Some(Wait::Paused);
                }
                Some(Wait::Gate { missing, deadline_ms: answers.deadline_ms })
            }
            StageState::Backoff { until_ms, .. } | StageState::CompensationBackoff { until_ms, .. } => {
                Some(if paused && *until_ms <= now_ms { Wait::Paused } else { Wait::Backoff(*until_ms) })
            }
            StageState::AwaitingSignal { deadline_ms } => {
                let spec = self.terms.spec(stage);
                let named = spec.control.signal.as_ref();
                let name = named.map_or_else(|| spec.path.clone(), |signal| signal.name.clone());
                Some(if paused && progress.signal.is_some() {
                    Wait::Paused
                } else {
                    Wait::Signal { name, deadline_ms: *deadline_ms }
                })
            }
            StageState::InDoubt { .. } => Some(Wait::InDoubt(
                progress.error.as_ref().map_or_else(String::new, |error| error.message.clone()),
            )),
            _ => None,
        }
    }

    fn of(&self, stage: StageIndex) -> &StageProgress {
        &self.progress.stages[stage.0 as usize]
    }
}

impl Progress {
    pub(super) fn phase_name(&self) -> &'static str {
        if self.paused { "paused" } else { self.phase.name() }
    }

    pub(super) fn facts(&self, terms: &Terms) -> Map<String, Value> {
        let stages = terms.order.iter().filter_map(|stage| self.stages[stage.0 as usize].facts.as_deref());
        stages.flat_map(object).collect()
    }

    pub(super) fn params(&self, terms: &Terms, stage: StageIndex) -> BTreeMap<String, Value> {
        let tunings = &self.stages[stage.0 as usize].tunings;
        let tuned = tunings
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), serde_json::from_str(value).ok()?)));
        object(&terms.definition.params)
            .into_iter()
            .chain(object(&terms.spec(stage).params))
            .chain(tuned)
            .collect()
    }
}

/// What is not an object was refused before it was stored, so an empty one loses nothing.
fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}
