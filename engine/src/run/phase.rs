//! Where a run is as a whole. The pause is a flag beside the phase, not a phase.

use serde::{Deserialize, Serialize};

/// Direction of a run, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Recorded; no stage has begun.
    Pending,
    Running,
    /// Failed or cancelled: stages are being undone.
    Unwinding,
    Succeeded,
    /// Every undo succeeded, or none was needed.
    RolledBack,
    /// An undo failed: a person must look.
    Failed,
    Cancelled,
}

impl Phase {
    /// The word in JSON answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Unwinding => "unwinding",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled-back",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing more happens unless a person retries.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack | Self::Failed | Self::Cancelled)
    }

    /// Stages may still start.
    pub const fn is_forward(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}
