//! The backend `simulator`: it computes in the worker process of the stage itself.
//!
//! Rule: it describes itself like every other backend, so that drains, budgets and reports need no exception; jobs
//! are not handed to it but to a worker, so whoever submits one here is refused.

use quantum::backends::{
    Asked, Backend, BackendError, Cancelled, Capability, Estimate, JobId, JobKey, JobResult, JobSpec, Poll,
    Price, Queue, Target,
};

/// Name of the backend that is always there.
pub const SIMULATOR: &str = "simulator";
/// Most shots of one stage on it.
const SHOTS_MAX: u32 = 10_000_000;

/// The backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct InWorker;

fn refused<T>() -> Result<T, BackendError> {
    let message = "its jobs run in the worker of their stage and nowhere else".to_owned();
    Err(BackendError::Permanent { backend: SIMULATOR.to_owned(), message })
}

impl Backend for InWorker {
    fn name(&self) -> &str {
        SIMULATOR
    }

    fn describe(&self) -> Asked<'_, Target> {
        Box::pin(async {
            Ok(Target {
                name: SIMULATOR.to_owned(),
                simulated: true,
                qubits_max: 0,
                designs_max: quantum::problem::STATE_BYTES_MAX / quantum::problem::AMPLITUDE_BYTES,
                shots_max: SHOTS_MAX,
                gates: Vec::new(),
                capability: Capability {
                    idempotent_submit: false,
                    find: false,
                    cancel: true,
                    openqasm3: false,
                    feasible_set: true,
                },
                price: Price::default(),
                calibration: None,
                queue: Queue::default(),
            })
        })
    }

    fn estimate<'a>(&'a self, job: &'a JobSpec) -> Asked<'a, Estimate> {
        Box::pin(async { Ok(Estimate { shots: u64::from(job.shots), ..Estimate::default() }) })
    }

    fn submit<'a>(&'a self, _: &'a JobSpec, _: &'a JobKey) -> Asked<'a, JobId> {
        Box::pin(async { refused() })
    }

    fn find<'a>(&'a self, _: &'a JobKey) -> Asked<'a, Option<JobId>> {
        Box::pin(async { refused() })
    }

    fn poll<'a>(&'a self, _: &'a JobId) -> Asked<'a, Poll> {
        Box::pin(async { refused() })
    }

    fn result<'a>(&'a self, _: &'a JobId) -> Asked<'a, JobResult> {
        Box::pin(async { refused() })
    }

    fn cancel<'a>(&'a self, _: &'a JobId) -> Asked<'a, Cancelled> {
        Box::pin(async { refused() })
    }
}
