//! What the runtime asks of anything that executes circuits, simulated or real.
//!
//! Rule: a backend reports what happened and decides nothing. Retries, budgets, deadlines, fallback and the
//! journal are the caller's. `submit` carries the caller's key, so that a job whose reply was lost is found
//! again by [`Backend::find`] and never submitted blindly a second time. This is the only room of the crate
//! whose members may do I/O; the vocabulary itself does none. Start at [`Backend`], then [`JobState`].

pub mod aer;
mod aside;
pub mod braket;
mod budget;
mod codes;
mod job;
pub mod order;
mod target;

pub use budget::{Amount, Budget, BudgetEntry, Ceiling, Ledger, OverBudget};
pub use codes::CODES;
pub use job::{
    Candidate, JobEvent, JobId, JobKey, JobResult, JobSpec, JobState, JobWork, Poll, Reason, ResultError,
    Told, Wanted,
};
pub use target::{Calibration, Capability, Estimate, Price, Queue, Target, unfit};

use std::future::Future;
use std::pin::Pin;

/// A boxed future, so that backends of different kinds stand in one list.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// Why a backend did not answer, sorted by what may be done next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum BackendError {
    /// Nothing happened over there; the same call may be repeated later.
    #[error("{backend}: {message}; nothing was done, try again{}", after_ms.map(|ms| format!(" after {ms} ms")).unwrap_or_default())]
    Transient {
        backend: String,
        message: String,
        /// How long the backend asks to be left alone, where it says so.
        after_ms: Option<u64>,
    },
    /// Repeating cannot help: wrong input, missing permission, spent budget.
    #[error("{backend}: {message}; repeating cannot help")]
    Permanent { backend: String, message: String },
    /// It may or may not have happened (a reply was lost): ask with `find` or `poll` before repeating.
    #[error("{backend}: {message}; it may have happened, find the job by its key before repeating")]
    Ambiguous { backend: String, message: String },
}

/// What [`Backend::cancel`] achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Cancelled {
    /// It will not run (any more).
    Yes,
    /// It had ended before; its result may stand.
    AlreadyEnded,
    /// This backend cannot cancel, or not any more; costs go on.
    NotPossible,
}

/// Something that executes circuits. Every call may be made from several tasks at once and may fail.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// Name under which the backend is known in settings, journal and metrics. Constant.
    fn name(&self) -> &str;

    /// What it is and how it is today: limits, price, calibration, queue.
    ///
    /// # Errors
    /// [`BackendError`]; never ambiguous, as nothing is changed.
    fn describe(&self) -> Asked<'_, Target>;

    /// What `job` would take, without running it.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if the job does not fit the target.
    fn estimate<'a>(&'a self, job: &'a JobSpec) -> Asked<'a, Estimate>;

    /// Hands `job` over under `key`; a second call with the same key gives the same job where
    /// [`Target::capability`] says idempotent.
    ///
    /// # Errors
    /// [`BackendError::Ambiguous`] whenever the request may have arrived and no id came back.
    fn submit<'a>(&'a self, job: &'a JobSpec, key: &'a JobKey) -> Asked<'a, JobId>;

    /// The job that was submitted under `key`, if the backend knows one.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if this backend cannot look up keys at all: the job is then lost.
    fn find<'a>(&'a self, key: &'a JobKey) -> Asked<'a, Option<JobId>>;

    /// Where the job stands. An unknown word of the vendor is [`Poll::Unknown`], which keeps polling.
    ///
    /// # Errors
    /// [`BackendError`]; never ambiguous.
    fn poll<'a>(&'a self, job: &'a JobId) -> Asked<'a, Poll>;

    /// The result of an ended job. May be called again after a crash and gives the same.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if the job failed or its result has expired.
    fn result<'a>(&'a self, job: &'a JobId) -> Asked<'a, JobResult>;

    /// Asks for the job's end. Idempotent.
    ///
    /// # Errors
    /// [`BackendError::Ambiguous`] if the request may have arrived: poll to know.
    fn cancel<'a>(&'a self, job: &'a JobId) -> Asked<'a, Cancelled>;
}
