//! What became true in a run, in the past tense, as it stands in the journal.
//!
//! Rule: stored for ever. No serde tag, flatten, skip or untagged; a change of shape is a new schema
//! version with a conversion from this one.

use crate::definition::{Attempt, StageIndex};
use serde::{Deserialize, Serialize};

/// Schema version of [`Event`] in journal envelopes.
pub const EVENT_SCHEMA: u16 = 1;

/// A named artefact: content digest (`b3:<hex>`) and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtefactRef {
    pub name: String,
    pub digest: String,
    pub bytes: u64,
}

/// Why something failed, in the form that travels from a worker to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageError {
    /// Stable code such as `EX-0501`.
    pub code: String,
    pub message: String,
    pub class: ErrorClass,
}

/// What may be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorClass {
    /// Try again.
    Transient,
    /// Fail now.
    Permanent,
    /// It may or may not have happened: repeat only what is idempotent, else ask a person.
    Ambiguous,
}

/// Why a running attempt was taken away without being counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interruption {
    DaemonRestarted,
    Paused,
    EmergencyStop,
    /// The run unwinds: nothing may be in flight while an undo runs.
    Unwinding,
}

/// One fact in the life of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// First of every run. `definition` is the canonical JSON of [`crate::definition::Definition`].
    RunSubmitted {
        run: String,
        workflow: String,
        definition: Vec<u8>,
        inputs: Vec<ArtefactRef>,
        key: Option<String>,
        submitted_by: String,
        seed: u64,
    },
    /// A stage's attempt was placed and handed out; the record's position is the attempt's fence.
    StageStarted {
        stage: StageIndex,
        attempt: Attempt,
        placed_on: String,
    },
    /// The attempt can be resumed from this artefact.
    StageCheckpointed {
        stage: StageIndex,
        attempt: Attempt,
        checkpoint: ArtefactRef,
    },
    /// Finished. `facts` is a canonical JSON object of small values that predicates may read.
    StageSucceeded {
        stage: StageIndex,
        attempt: Attempt,
        outputs: Vec<ArtefactRef>,
        facts: String,
    },
    /// The attempt ended badly and `attempt` (the next one) begins no sooner than `at_ms`.
    StageRetryPlanned {
        stage: StageIndex,
        attempt: Attempt,
        at_ms: u64,
        error: StageError,
    },
    /// The attempt was taken away through no fault of its own; it does not count.
    StageInterrupted {
        stage: StageIndex,
        attempt: Attempt,
        why: Interruption,
    },
    StageFailed {
        stage: StageIndex,
        attempt: Attempt,
        error: StageError,
    },
    StageSkipped {
        stage: StageIndex,
        why: String,
    },
    /// The stage waits for people; `subjects` are the digests that an approval binds.
    GateOpened {
        stage: StageIndex,
        deadline_ms: Option<u64>,
        subjects: Vec<ArtefactRef>,
    },
    ApprovalRecorded {
        stage: StageIndex,
        by: String,
        approved: bool,
        reason: String,
    },
    /// An ambiguous attempt of a stage that is not idempotent: a person must retry or cancel.
    StageInDoubt {
        stage: StageIndex,
        attempt: Attempt,
        error: StageError,
    },
    RunPaused {
        by: String,
    },
    RunResumed {
        by: String,
    },
    CancelRequested {
        by: String,
    },
    /// Failed or cancelled: finished stages are undone in reverse order from here on.
    UnwindingStarted {
        cause: String,
    },
    CompensationStarted {
        stage: StageIndex,
        attempt: Attempt,
    },
    CompensationSucceeded {
        stage: StageIndex,
    },
    CompensationRetryPlanned {
        stage: StageIndex,
        attempt: Attempt,
        at_ms: u64,
        error: StageError,
    },
    CompensationFailed {
        stage: StageIndex,
        error: StageError,
    },
    /// `stage` and everything after it are to run again; earlier results are kept.
    RunRetried {
        by: String,
        from: StageIndex,
    },
    /// A parameter was changed; `value` is JSON. Takes effect at the stage's next attempt.
    ParameterTuned {
        stage: StageIndex,
        parameter: String,
        old: String,
        value: String,
        by: String,
    },
    RunSucceeded,
    RunRolledBack,
    RunFailed {
        error: StageError,
    },
    RunCancelled,
    /// All the stage needs is there and room was asked for; `schedule_to_start` counts from here.
    StageReady {
        stage: StageIndex,
        attempt: Attempt,
    },
    /// Every stage is done, but a success criterion does not hold or could not be evaluated.
    CriteriaNotMet {
        error: StageError,
    },
    /// A running attempt was asked to leave a checkpoint and end (`pause --now`); it answers with its
    /// interruption, or ends by itself before.
    StageStopRequested {
        stage: StageIndex,
        attempt: Attempt,
    },
    /// A parameter was changed that running work takes up at once; checkpoints stay good.
    ParameterTunedLive {
        stage: StageIndex,
        parameter: String,
        old: String,
        value: String,
        by: String,
    },
    /// Back to the record `to`: the stages `again` are undone where they can be, then run again.
    RunReset {
        by: String,
        to: u64,
        again: Vec<StageIndex>,
    },
    /// What a reset had to undo is undone; the run goes forward again.
    ResetDone,
    /// The result of the same stage of another run stands for this one's.
    StageTakenOver {
        stage: StageIndex,
        run: String,
        outputs: Vec<ArtefactRef>,
        facts: String,
    },
    /// The stage waits for a signal from outside.
    SignalAwaited {
        stage: StageIndex,
        deadline_ms: Option<u64>,
    },
    /// A signal came, perhaps before anybody waited for it. `data` is a canonical JSON object.
    SignalRecorded {
        stage: StageIndex,
        name: String,
        data: String,
        key: Option<String>,
        by: String,
    },
    /// The run took longer than it may; it is cancelled.
    DeadlinePassed {
        error: StageError,
    },
    /// The attempt at work was offered a tuned parameter. Taken: the whole result of the attempt, and what it
    /// keeps from here on, are of this value; else `why` not.
    TuningAnswered {
        stage: StageIndex,
        attempt: Attempt,
        parameter: String,
        value: String,
        taken: bool,
        why: String,
    },
}

impl Event {
    /// The name in the journal's envelope and in `events`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RunSubmitted { .. } => "RunSubmitted",
            Self::StageStarted { .. } => "StageStarted",
            Self::StageCheckpointed { .. } => "StageCheckpointed",
            Self::StageSucceeded { .. } => "StageSucceeded",
            Self::StageRetryPlanned { .. } => "StageRetryPlanned",
            Self::StageInterrupted { .. } => "StageInterrupted",
            Self::StageFailed { .. } => "StageFailed",
            Self::StageSkipped { .. } => "StageSkipped",
            Self::GateOpened { .. } => "GateOpened",
            Self::ApprovalRecorded { .. } => "ApprovalRecorded",
            Self::StageInDoubt { .. } => "StageInDoubt",
            Self::RunPaused { .. } => "RunPaused",
            Self::RunResumed { .. } => "RunResumed",
            Self::CancelRequested { .. } => "CancelRequested",
            Self::UnwindingStarted { .. } => "UnwindingStarted",
            Self::CompensationStarted { .. } => "CompensationStarted",
            Self::CompensationSucceeded { .. } => "CompensationSucceeded",
            Self::CompensationRetryPlanned { .. } => "CompensationRetryPlanned",
            Self::CompensationFailed { .. } => "CompensationFailed",
            Self::RunRetried { .. } => "RunRetried",
            Self::ParameterTuned { .. } => "ParameterTuned",
            Self::RunSucceeded => "RunSucceeded",
            Self::RunRolledBack => "RunRolledBack",
            Self::RunFailed { .. } => "RunFailed",
            Self::RunCancelled => "RunCancelled",
            Self::StageReady { .. } => "StageReady",
            Self::CriteriaNotMet { .. } => "CriteriaNotMet",
            Self::StageStopRequested { .. } => "StageStopRequested",
            Self::ParameterTunedLive { .. } => "ParameterTunedLive",
            Self::RunReset { .. } => "RunReset",
            Self::ResetDone => "ResetDone",
            Self::StageTakenOver { .. } => "StageTakenOver",
            Self::SignalAwaited { .. } => "SignalAwaited",
            Self::SignalRecorded { .. } => "SignalRecorded",
            Self::DeadlinePassed { .. } => "DeadlinePassed",
            Self::TuningAnswered { .. } => "TuningAnswered",
        }
    }
}
