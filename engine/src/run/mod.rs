//! One workflow run as a pure state machine.
//!
//! [`Run::decide`] says what becomes true and what must be done, and changes nothing. The caller
//! journals the events, then applies them with [`Run::apply`], then performs the commands, so nothing
//! visible precedes its record. After a restart it replays the journal and asks [`Run::recover`].
//!
//! Invariant: replaying the journal gives the live run, after every step (tests/simulation.rs).
//! Absent on purpose: clocks, randomness, I/O, leases (a command frees them, the resource manager
//! keeps them). Start at `decide.rs` (routing), then `forward.rs`; `apply.rs` is the only place that
//! changes a run.

mod apply;
mod check;
mod commands;
mod control;
mod decide;
mod event;
mod exchange;
mod faults;
mod forward;
mod gate;
mod phase;
mod recover;
mod reset;
mod retry;
mod signal;
mod state;
mod steer;
mod unwind;
mod view;

pub use event::*;
pub use exchange::*;
pub use phase::Phase;
pub use state::StageState;
pub use view::{Timing, Wait};

use crate::definition::{Definition, StageIndex, StageSpec};
use serde::{Deserialize, Serialize};
use state::StageProgress;
use std::sync::Arc;

/// One execution of a definition.
///
/// Comparable and serialisable as a whole: a checkpoint is `bincode(Run)` with the position of the
/// last record applied, and a restored run goes on from the records after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Shared, so that showing a run after each event does not copy its definition.
    terms: Arc<Terms>,
    progress: Progress,
}

/// What was submitted; never changes afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Terms {
    id: String,
    workflow: String,
    /// As JSON also in a checkpoint: it leaves out what is not stated, which bincode cannot.
    #[serde(with = "as_json")]
    definition: Definition,
    /// Stages such that every stage comes after its needs; ties in written order.
    order: Vec<StageIndex>,
    inputs: Vec<ArtefactRef>,
    key: Option<String>,
    submitted_by: String,
    seed: u64,
    submitted_ms: u64,
}

/// Where the run stands; changed by [`Run::apply`] alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Progress {
    phase: Phase,
    paused: bool,
    cancelled_by: Option<String>,
    /// The first failure since the run began or was retried.
    error: Option<StageError>,
    /// The stage whose failure made the run unwind.
    failed: Option<StageIndex>,
    undo_error: Option<StageError>,
    stages: Vec<StageProgress>,
    /// Position and time of the last record applied.
    position: u64,
    time_ms: u64,
    /// The deadline of the run has passed.
    late: bool,
    /// An emergency stop is why the run is paused.
    stopped: bool,
    /// The run's deadline counts from here.
    deadline_from_ms: u64,
    /// The run goes back only as far as a reset asks: which stages are to run again.
    resetting: Option<Vec<bool>>,
}

/// Why a record cannot begin a run. The journal holds something this program did not write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("a run begins with RunSubmitted, but the record at position {position} is {event}")]
    NotFirst { position: u64, event: &'static str },
    #[error("the definition stored at position {position} does not decode: {reason}")]
    Undecodable { position: u64, reason: String },
    #[error(
        "the definition stored at position {position} has needs that are unknown or circular at stage {stage}"
    )]
    NeedsBroken { position: u64, stage: String },
}

impl Run {
    /// Begins a run from its first record. O(stages x needs).
    ///
    /// The run asks for nothing yet: call [`Run::decide`] with [`Input::Woke`]. A caller that wants one
    /// disk write for both may decide on a run made with a provisional position and journal
    /// `RunSubmitted` and those events in one batch, then build the run from the real positions.
    ///
    /// # Errors
    /// [`SubmitError`] if the record is another one or its definition is unusable.
    pub fn submitted(position: u64, time_ms: u64, event: &Event) -> Result<Self, SubmitError> {
        let Event::RunSubmitted { definition, .. } = event else {
            return Err(SubmitError::NotFirst { position, event: event.name() });
        };
        let definition: Definition = serde_json::from_slice(definition)
            .map_err(|e| SubmitError::Undecodable { position, reason: e.to_string() })?;
        Self::submitted_with(position, time_ms, event, definition)
    }

    /// As [`Run::submitted`], for a caller that has the record's definition at hand and need not read
    /// it again.
    ///
    /// # Errors
    /// As [`Run::submitted`].
    pub fn submitted_with(
        position: u64,
        time_ms: u64,
        event: &Event,
        definition: Definition,
    ) -> Result<Self, SubmitError> {
        let Event::RunSubmitted { run, workflow, inputs, key, submitted_by, seed, .. } = event else {
            return Err(SubmitError::NotFirst { position, event: event.name() });
        };
        let order = needs_first(&definition.stages)
            .map_err(|at| SubmitError::NeedsBroken { position, stage: definition.stages[at].path.clone() })?;
        let stages = vec![StageProgress::default(); definition.stages.len()];
        let terms = Arc::new(Terms {
            id: run.clone(),
            workflow: workflow.clone(),
            definition,
            order,
            inputs: inputs.clone(),
            key: key.clone(),
            submitted_by: submitted_by.clone(),
            seed: *seed,
            submitted_ms: time_ms,
        });
        let progress = Progress {
            phase: Phase::Pending,
            paused: false,
            cancelled_by: None,
            error: None,
            failed: None,
            undo_error: None,
            stages,
            position,
            time_ms,
            late: false,
            stopped: false,
            deadline_from_ms: time_ms,
            resetting: None,
        };
        Ok(Self { terms, progress })
    }
}

impl Terms {
    fn spec(&self, stage: StageIndex) -> &StageSpec {
        &self.definition.stages[stage.0 as usize]
    }

    fn indices(&self) -> impl Iterator<Item = StageIndex> + use<> {
        (0..self.definition.stages.len() as u32).map(StageIndex)
    }

    /// `from` and every stage that needs it, directly or not, as a flag per stage.
    fn dependents(&self, from: StageIndex) -> Vec<bool> {
        let mut found = vec![false; self.definition.stages.len()];
        found[from.0 as usize] = true;
        for &stage in &self.order {
            if self.spec(stage).needs.iter().any(|need| found[need.0 as usize]) {
                found[stage.0 as usize] = true;
            }
        }
        found
    }

    /// Every stage that `stage` needs, directly or not, as a flag per stage.
    fn ancestors(&self, stage: StageIndex) -> Vec<bool> {
        let mut found = vec![false; self.definition.stages.len()];
        found[stage.0 as usize] = true;
        for &later in self.order.iter().rev() {
            if found[later.0 as usize] {
                for need in &self.spec(later).needs {
                    found[need.0 as usize] = true;
                }
            }
        }
        found[stage.0 as usize] = false;
        found
    }
}

mod as_json {
    use crate::definition::Definition;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    pub fn serialize<S: Serializer>(definition: &Definition, to: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(definition).map_err(ser::Error::custom)?.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Definition, D::Error> {
        serde_json::from_str(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// The stages with needs first, or the index of a stage whose needs are unknown or circular.
fn needs_first(stages: &[StageSpec]) -> Result<Vec<StageIndex>, usize> {
    let mut placed = vec![false; stages.len()];
    let mut order = Vec::with_capacity(stages.len());
    while order.len() < stages.len() {
        let before = order.len();
        for (at, spec) in stages.iter().enumerate() {
            let needs_placed = spec.needs.iter().all(|need| placed.get(need.0 as usize) == Some(&true));
            if !placed[at] && needs_placed {
                placed[at] = true;
                order.push(StageIndex(at as u32));
            }
        }
        if order.len() == before {
            return Err(placed.iter().position(|done| !done).unwrap_or(0));
        }
    }
    Ok(order)
}
