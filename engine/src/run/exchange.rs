//! What goes into and comes out of [`Run::decide`](super): inputs, commands, refusals.

use super::{ArtefactRef, Event, StageError};
use crate::definition::parameters::ParameterError;
use crate::definition::{Attempt, Demand, StageIndex};

/// Journal position of the `StageStarted` (or `CompensationStarted`) that an attempt works under.
///
/// Replies carry it; an answer with another fence is refused as stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Fence(pub u64);

/// What the world reports to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The scheduler found room for the stage that `Command::RequestPlacement` asked for.
    Placed {
        stage: StageIndex,
        attempt: Attempt,
        placed_on: String,
    },
    /// Nothing fits and never will, or waiting took longer than `schedule_to_start`.
    PlacementFailed {
        stage: StageIndex,
        attempt: Attempt,
        error: StageError,
    },
    Checkpointed {
        stage: StageIndex,
        fence: Fence,
        checkpoint: ArtefactRef,
    },
    Succeeded {
        stage: StageIndex,
        fence: Fence,
        outputs: Vec<ArtefactRef>,
        facts: String,
    },
    /// Any bad end of an attempt: error answer, crash, hang, kill, garbage, timeout.
    Failed {
        stage: StageIndex,
        fence: Fence,
        error: StageError,
    },
    Compensated {
        stage: StageIndex,
        fence: Fence,
    },
    CompensationFailed {
        stage: StageIndex,
        fence: Fence,
        error: StageError,
    },
    /// A timer set by `Command::WakeAt` went off, or the caller just looks again.
    Woke,
    Pause {
        by: String,
    },
    Resume {
        by: String,
    },
    Cancel {
        by: String,
    },
    Retry {
        by: String,
        from: Option<StageIndex>,
    },
    Decide {
        stage: StageIndex,
        by: String,
        /// Role of that person, where the gate asks for one.
        role: String,
        approved: bool,
        reason: String,
    },
    Tune {
        stage: StageIndex,
        parameter: String,
        value: String,
        by: String,
    },
    EmergencyStop,
    /// As `Pause`, and what runs leaves a checkpoint and ends, if it can.
    PauseNow {
        by: String,
    },
    /// The attempt ended as `Command::Stop` asked.
    Stopped {
        stage: StageIndex,
        fence: Fence,
    },
    /// The attempt took a value that `Command::Steer` offered, or says why not.
    TuningAnswered {
        stage: StageIndex,
        fence: Fence,
        parameter: String,
        value: String,
        taken: bool,
        why: String,
    },
    /// Back to a record of the run, or to before a stage.
    Reset {
        by: String,
        to: ResetTo,
    },
    /// A signal from outside for the stage that waits, or will wait, for this name.
    Signal {
        stage: StageIndex,
        name: String,
        data: String,
        key: Option<String>,
        by: String,
    },
}

/// How far back a reset goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// What finished after this journal position runs again.
    Position(u64),
    /// This stage and all that needs it run again.
    Stage(StageIndex),
}

/// What must now be done. Never journaled; performed after the events are durable and applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Find room, then answer with `Placed` (or `PlacementFailed`) for this stage and attempt. The
    /// scheduler keeps one request or placement per stage and attempt: an answer that was already on
    /// its way when the request was withdrawn also answers a new request for the same attempt. A
    /// refused `Placed` gives its lease back.
    RequestPlacement { stage: StageIndex, attempt: Attempt, demand: Demand, priority: u8 },
    /// The stage no longer waits for room.
    WithdrawPlacement { stage: StageIndex },
    /// Start the attempt. Answered by exactly one Succeeded or Failed with this fence.
    /// The fence is known once the events are journaled: ask `Run::fence` after `apply`.
    Dispatch { stage: StageIndex, attempt: Attempt, resume_from: Option<ArtefactRef> },
    /// Undo what the stage did. Answered by exactly one Compensated or CompensationFailed.
    DispatchUndo { stage: StageIndex, attempt: Attempt },
    /// Kill the attempt's work and free its lease; no answer is awaited.
    Abandon { stage: StageIndex, fence: Fence },
    /// Have the attempt leave a checkpoint and end, killed if it takes too long. Answered by `Stopped`, or
    /// by the end it came to before.
    Stop { stage: StageIndex, fence: Fence },
    /// Hand the running attempt a new value of a parameter. Answered by `TuningAnswered` where a worker hears
    /// it, or by the attempt's end.
    Steer { stage: StageIndex, fence: Fence, parameter: String, value: String },
    /// The attempt ended; its lease is free.
    ReleaseLease { stage: StageIndex },
    /// Send `Woke` no sooner than this journal time.
    WakeAt { at_ms: u64 },
    /// The run ended; nothing more will come.
    Ended,
}

/// What `decide` found: what becomes true, and what to do once that is durable and applied.
///
/// The caller journals `events`, then calls `Run::apply` for each with its position and time, then
/// performs `commands` in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decision {
    pub events: Vec<Event>,
    pub commands: Vec<Command>,
}

impl From<ParameterError> for Refusal {
    fn from(error: ParameterError) -> Self {
        match error {
            ParameterError::Unknown(why) => Self::UnknownParameter(why),
            ParameterError::OutOfRange(why) => Self::ParameterOutOfRange(why),
            ParameterError::NotTunable(why) => Self::NotTunable(why),
        }
    }
}

/// Why an input does not fit. Normal, counted, not an error of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("stale: the attempt with this fence is over")]
    Stale,
    #[error("stage {0} is not part of this run")]
    UnknownStage(u32),
    #[error("not now: expected {expected}, but this run is {actual}")]
    NotNow { expected: String, actual: String },
    #[error("{by} may not decide: {why}")]
    NotAllowed { by: String, why: String },
    #[error("expected {expected}, got {actual}")]
    Malformed { expected: String, actual: String },
    #[error("{by} ({role}) may not decide at {gate}: it asks for the role {needed}")]
    NotInRole { by: String, role: String, gate: String, needed: String },
    #[error("{0}")]
    UnknownParameter(String),
    #[error("{0}")]
    ParameterOutOfRange(String),
    #[error("{0}")]
    NotTunable(String),
}
