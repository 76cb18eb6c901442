//! Where one stage is, and what a run remembers of it.

use super::{ArtefactRef, Fence, StageError};
use crate::definition::Attempt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where a stage stands. Times are journal time in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StageState {
    /// For its needs, for the end of a pause, or for nothing more (the run unwinds or has ended).
    #[default]
    Waiting,
    /// Placement was requested.
    Ready {
        attempt: Attempt,
        since_ms: u64,
    },
    AwaitingApproval,
    /// For a signal from outside.
    AwaitingSignal {
        deadline_ms: Option<u64>,
    },
    Running {
        attempt: Attempt,
        fence: Fence,
        since_ms: u64,
    },
    /// `attempt` begins no sooner than `until_ms`.
    Backoff {
        attempt: Attempt,
        until_ms: u64,
    },
    /// It may or may not have happened; a person must retry or cancel.
    InDoubt {
        attempt: Attempt,
    },
    Succeeded,
    Failed,
    Skipped,
    Compensating {
        attempt: Attempt,
        fence: Fence,
        since_ms: u64,
    },
    CompensationBackoff {
        attempt: Attempt,
        until_ms: u64,
    },
    Compensated,
}

impl StageState {
    /// The word in JSON answers: nine words for thirteen states.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Waiting | Self::AwaitingApproval | Self::AwaitingSignal { .. } | Self::InDoubt { .. } => {
                "waiting"
            }
            Self::Ready { .. } => "ready",
            Self::Running { .. } => "running",
            Self::Backoff { .. } => "backoff",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Compensating { .. } | Self::CompensationBackoff { .. } => "compensating",
            Self::Compensated => "compensated",
        }
    }

    /// Stages that need this one may go on.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }

    /// The fence that answers must carry, while work is in flight.
    pub const fn fence(&self) -> Option<Fence> {
        match self {
            Self::Running { fence, .. } | Self::Compensating { fence, .. } => Some(*fence),
            _ => None,
        }
    }
}

/// What a run remembers of a stage besides its state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct StageProgress {
    pub state: StageState,
    /// Attempts that count against `retry.attempts`; the next one has this number plus one.
    pub attempts_used: u32,
    /// Position of the newest `StageStarted` that has not been undone.
    pub intent: Option<u64>,
    pub undo_failed: bool,
    pub gate: Option<GateProgress>,
    /// Newest checkpoint that the next attempt may resume from.
    pub checkpoint: Option<ArtefactRef>,
    /// Parameters that changed while an attempt was running and that it has not taken: its checkpoints belong
    /// to the old values.
    pub untaken: BTreeSet<String>,
    /// Parameter name to JSON value.
    pub tunings: BTreeMap<String, String>,
    pub outputs: Vec<ArtefactRef>,
    /// Canonical JSON object, once the stage succeeded.
    pub facts: Option<String>,
    pub error: Option<StageError>,
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    /// Time spent in attempts that are over.
    pub busy_ms: u64,
    /// Position of the record by which the stage was done.
    pub done_at: Option<u64>,
    /// The attempt in flight was asked to leave a checkpoint and end.
    pub stopping: bool,
    pub signal: Option<Signal>,
    /// When the stage first asked for the room that it waits for or has; a restart does not make it younger.
    pub asked_ms: Option<u64>,
    #[serde(skip)]
    pub handed: Handed,
}

/// When the attempt in flight, with this fence, was handed to its executor. Known to the living daemon alone:
/// no record says it and nothing in flight outlives a restart, so it is no part of what a run is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Handed(pub Option<(Fence, u64)>);

impl PartialEq for Handed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A signal that came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Signal {
    /// Canonical JSON object.
    pub data: String,
    pub key: Option<String>,
    pub by: String,
}

impl StageProgress {
    pub const fn next_attempt(&self) -> Attempt {
        Attempt(self.attempts_used + 1)
    }

    /// Forgets what a retry must do again. What is still to be undone and what people tuned stays.
    pub fn reset(&mut self) {
        *self = Self { intent: self.intent, tunings: std::mem::take(&mut self.tunings), ..Self::default() };
    }
}

/// An open or answered gate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct GateProgress {
    pub deadline_ms: Option<u64>,
    /// What an approval binds.
    pub subjects: Vec<ArtefactRef>,
    /// Persons who said yes.
    pub approvals: BTreeSet<String>,
    /// Person and reason of the first no.
    pub rejection: Option<(String, String)>,
}
