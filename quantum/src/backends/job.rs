//! One quantum job: what is asked, where it stands, what came back and whether it can be believed.

use serde::{Deserialize, Serialize};

/// The caller's key of a submission: chosen and journaled before the call, unique per attempt to buy a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobKey(pub String);

/// The backend's own id of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub String);

/// What shall be executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum JobWork {
    /// A program with values for its inputs, in the program's order; outcomes are basis states.
    OpenQasm3 { program: String, qubits: u32, inputs: Vec<(String, f64)> },
    /// QAOA over listed costs with the Grover mixer; outcomes are design indices.
    FeasibleSet { costs: Vec<f64>, cost_angles: Vec<f64>, mixer_angles: Vec<f64> },
}

/// One job. Everything a backend needs is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    pub work: JobWork,
    /// At least 1.
    pub shots: u32,
    /// For simulated backends, which give the same counts for the same seed; real ones ignore it.
    pub seed: u64,
}

impl JobSpec {
    /// Number of different outcomes, `None` if it exceeds 64 bits.
    pub fn outcomes(&self) -> Option<u64> {
        match &self.work {
            JobWork::OpenQasm3 { qubits, .. } => 1u64.checked_shl(*qubits),
            JobWork::FeasibleSet { costs, .. } => Some(costs.len() as u64),
        }
    }
}

/// What a backend answers when polled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Poll {
    Queued {
        position: Option<u64>,
        wait_ms: Option<u64>,
    },
    Running,
    Succeeded,
    Failed {
        message: String,
    },
    Cancelled,
    /// A word that is not known here: keep polling, never guess.
    Unknown {
        word: String,
    },
}

/// Counts per outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// (outcome, count), ascending by outcome. Basis states are little-endian: bit i is qubit i; a backend
    /// that speaks big-endian turns its strings round before it answers.
    pub counts: Vec<(u64, u64)>,
    /// What the vendor says it took, where it says so.
    pub qpu_ms: Option<u64>,
    pub cost_micro_usd: Option<u64>,
    /// Calibration the job ran under.
    pub calibration: Option<String>,
}

/// Why a result is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    #[error("{given} shots came back, but {asked} were asked for")]
    Shots { given: u128, asked: u32 },
    #[error("outcome {outcome} cannot be: there are {outcomes}, counted from 0")]
    Outcome { outcome: u64, outcomes: u64 },
    #[error("outcomes are not ascending at {outcome}, so one may be counted twice")]
    Order { outcome: u64 },
    #[error("outcome {outcome} was listed with count 0")]
    Empty { outcome: u64 },
}

impl JobResult {
    /// Checks the counts against what was asked.
    ///
    /// # Errors
    /// [`ResultError`], the first contradiction found; such a result must not be used.
    pub fn verify(&self, job: &JobSpec) -> Result<(), ResultError> {
        let mut last = None;
        let mut given = 0u128;
        for &(outcome, count) in &self.counts {
            if let Some(outcomes) = job.outcomes().filter(|outcomes| outcome >= *outcomes) {
                return Err(ResultError::Outcome { outcome, outcomes });
            }
            if last.is_some_and(|last| outcome <= last) {
                return Err(ResultError::Order { outcome });
            }
            if count == 0 {
                return Err(ResultError::Empty { outcome });
            }
            last = Some(outcome);
            given += u128::from(count);
        }
        if given != u128::from(job.shots) {
            return Err(ResultError::Shots { given, asked: job.shots });
        }
        Ok(())
    }
}

/// Where a job stands; every arrow is journaled before the call it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Wanted; nothing reserved, nothing sent.
    Planned,
    /// Its budget is set aside.
    Reserved,
    /// The key is written down and the call may be under way: after a restart, find before anything else.
    Submitting {
        key: JobKey,
    },
    Submitted {
        id: JobId,
    },
    Queued {
        id: JobId,
    },
    Running {
        id: JobId,
    },
    /// Ended over there; the result is being fetched.
    Fetching {
        id: JobId,
    },
    /// The result is here and agrees with what was asked.
    Verified {
        id: JobId,
    },
    /// Result used, budget settled.
    Done,
    Failed {
        message: String,
    },
    Cancelled,
    /// It may run and cost, and cannot be found: a person must look.
    Lost {
        key: JobKey,
    },
}

/// What became true of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEvent {
    Reserved,
    Submitting {
        key: JobKey,
    },
    Submitted {
        id: JobId,
    },
    Queued,
    Running,
    Fetching,
    Verified,
    Done,
    Failed {
        message: String,
    },
    Cancelled,
    /// The key was looked up, or cannot be, and no job came of it.
    Lost,
    /// The submission certainly did not arrive; the key is free for another call.
    NotSubmitted,
}

impl JobState {
    /// The state after `event`, or `None` if the event does not fit: it is then refused, not applied.
    pub fn after(&self, event: &JobEvent) -> Option<JobState> {
        use JobEvent as E;
        if self.ended() {
            return None;
        }
        let id = self.id().cloned();
        Some(match (self, event, id) {
            (Self::Planned, E::Reserved, _) => Self::Reserved,
            (Self::Reserved, E::Submitting { key }, _) => Self::Submitting { key: key.clone() },
            (Self::Submitting { .. }, E::Submitted { id }, _) => Self::Submitted { id: id.clone() },
            (Self::Submitting { .. }, E::NotSubmitted, _) => Self::Reserved,
            (Self::Submitting { key }, E::Lost, _) => Self::Lost { key: key.clone() },
            (Self::Submitted { .. }, E::Queued, Some(id)) => Self::Queued { id },
            (Self::Submitted { .. } | Self::Queued { .. }, E::Running, Some(id)) => Self::Running { id },
            // Requeued by the vendor.
            (Self::Running { .. }, E::Queued, Some(id)) => Self::Queued { id },
            (Self::Submitted { .. } | Self::Queued { .. } | Self::Running { .. }, E::Fetching, Some(id)) => {
                Self::Fetching { id }
            }
            (Self::Fetching { .. }, E::Verified, Some(id)) => Self::Verified { id },
            (Self::Verified { .. }, E::Done, _) => Self::Done,
            // While a submission is open nobody knows whether a job exists, so it can neither fail nor be
            // cancelled: it is found, known not to exist, or lost.
            (Self::Submitting { .. }, E::Failed { .. } | E::Cancelled, _) => return None,
            (_, E::Failed { message }, _) => Self::Failed { message: message.clone() },
            (Self::Verified { .. }, E::Cancelled, _) => return None,
            (_, E::Cancelled, _) => Self::Cancelled,
            _ => return None,
        })
    }

    /// No event is accepted any more.
    pub fn ended(&self) -> bool {
        matches!(self, Self::Done | Self::Failed { .. } | Self::Cancelled | Self::Lost { .. })
    }

    /// The backend's id, once and as long as it is known and needed.
    pub fn id(&self) -> Option<&JobId> {
        match self {
            Self::Submitted { id }
            | Self::Queued { id }
            | Self::Running { id }
            | Self::Fetching { id }
            | Self::Verified { id } => Some(id),
            _ => None,
        }
    }
}
