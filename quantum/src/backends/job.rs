//! One quantum job: what is asked, where it stands, what came back and whether it can be believed.

use super::Amount;
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
        self.verify_for(job.shots, job.outcomes())
    }

    /// As [`JobResult::verify`], where the job itself is not at hand.
    ///
    /// # Errors
    /// [`ResultError`], the first contradiction found.
    pub fn verify_for(&self, shots: u32, outcomes: Option<u64>) -> Result<(), ResultError> {
        let mut last = None;
        let mut given = 0u128;
        for &(outcome, count) in &self.counts {
            if let Some(outcomes) = outcomes.filter(|outcomes| outcome >= *outcomes) {
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
        if given != u128::from(shots) {
            return Err(ResultError::Shots { given, asked: shots });
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
    /// First of an order's stream: what is wanted of whom, and until when.
    Wanted(Box<Wanted>),
    /// Its budget is set aside at this backend, for the job that this key will name.
    Held {
        key: JobKey,
        hold: Amount,
    },
    /// The result is stored under this digest; it will be used however often the stage is tried again.
    Kept {
        digest: String,
    },
    /// What the job of this key took in the end; nothing is held for it any more.
    Settled {
        key: JobKey,
        spent: Amount,
    },
    /// The job ended without a result; another is bought at the same backend under a new key.
    Again {
        reason: Reason,
    },
    /// This backend will not be asked any more; the next of the chain is, and after the last the exact
    /// classical answer.
    FellBack {
        reason: Reason,
    },
    /// A person or the emergency stop wants the order ended.
    CancelWanted {
        why: String,
    },
    /// The job's end is wanted, as it waits or runs too long here.
    Recalled {
        reason: Reason,
    },
    /// What a backend of the chain said of itself when the order began, for the result's report.
    Told(Told),
}

/// What a result's report needs to know of the backend that gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub backend: String,
    pub simulated: bool,
    /// Name of its calibration, where it has one.
    pub calibration: Option<String>,
}

/// Why a backend did not give the result, or not at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Reason {
    #[error("it cannot take the job: {0}")]
    Unfit(String),
    #[error("{0}")]
    Budget(String),
    #[error("the backend takes no jobs at present: {0}")]
    Resting(String),
    #[error("the job was refused: {0}")]
    Refused(String),
    #[error("the backend did not answer usefully in {calls} calls: {last}")]
    Unavailable { calls: u32, last: String },
    #[error("the job waited longer than its queue deadline of {queue_ms} ms")]
    Queue { queue_ms: u64 },
    #[error("the order's deadline has passed")]
    Deadline,
    #[error("the job failed there: {0}")]
    Failed(String),
    #[error("the job was cancelled there by somebody else")]
    CancelledThere,
    #[error("its result is not believed: {0}")]
    Wrong(String),
    #[error("the job may run and cost, and cannot be reached: {0}")]
    Lost(String),
}

/// One backend of an order's chain, as it was when the order began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub backend: String,
    /// A second submit with the same key gives the same job.
    pub idempotent: bool,
    /// Jobs can be found by key.
    pub find: bool,
    /// What one job is allowed to take at most; held before it is submitted.
    pub hold: Amount,
    /// Longest wait from submission to running.
    pub queue_ms: u64,
    /// Why it cannot take this job at all.
    pub unfit: Option<String>,
}

/// What a stage wants from backends: one result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Digest of the stored [`JobSpec`]; with it the result of an earlier attempt is recognised.
    pub spec: String,
    pub shots: u32,
    /// Number of different outcomes, where it fits 64 bits.
    pub outcomes: Option<u64>,
    /// Begins every key of this order; unique.
    pub key: String,
    pub chain: Vec<Candidate>,
    /// Time at which the order ends whatever happens.
    pub deadline_ms: u64,
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
            (Self::Planned, E::Reserved | E::Held { .. }, _) => Self::Reserved,
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
