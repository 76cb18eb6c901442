//! The whole core under one seed: machines, store, scheduler, workers, vendor, deployer and clients as
//! simulated parties that crash, lie, double, delay and forget, and judges that see only the journal
//! and what was said to the outside.
//!
//! Real here: `engine`'s run, ledger and deployment machines, `quantum`'s job machine, and for a share of
//! the seeds the `journal` itself on its simulated disk. Simulated: the actors round them (`shells/`, one
//! file per actor of the daemon, same messages in the same order), and everything outside the daemon.
//!
//! Rule: a seed gives the same world on every machine; nothing reads a clock, a file or a thread.
//! Absent on purpose: actix, processes, sockets, sled. Start at [`live`], then `world.rs`; the promises
//! are in `judge/`, which shares no code with any machine.

mod answers;
pub mod define;
mod judge;
mod mutants;
mod random;
mod shells;
mod store;
mod vendor;
mod workers;
mod world;

pub use mutants::Mutant;
pub use world::{Broken, Report, live, live_with};

/// Events every large enough simulation must have met; a simulation that never goes somewhere proves
/// nothing about it.
pub const MUST_HAPPEN: [&str; 46] = [
    "StageReady",
    "StageStarted",
    "StageCheckpointed",
    "StageSucceeded",
    "StageRetryPlanned",
    "StageInterrupted",
    "StageFailed",
    "StageSkipped",
    "GateOpened",
    "ApprovalRecorded",
    "StageInDoubt",
    "RunSubmitted",
    "RunPaused",
    "RunResumed",
    "CancelRequested",
    "UnwindingStarted",
    "CompensationStarted",
    "CompensationSucceeded",
    "CompensationRetryPlanned",
    "RunRetried",
    "ParameterTuned",
    "RunSucceeded",
    "RunRolledBack",
    "RunFailed",
    "RunCancelled",
    "CriteriaNotMet",
    "StageStopRequested",
    "ParameterTunedLive",
    "RunReset",
    "ResetDone",
    "SignalAwaited",
    "SignalRecorded",
    "DeadlinePassed",
    "ActivationStarted",
    "ActivationSucceeded",
    "ActivationReverted",
    "DeploymentsFrozen",
    "DeploymentsThawed",
    "JobSubmitting",
    "JobSubmitted",
    "JobNotSubmitted",
    "JobLost",
    "JobCancelled",
    "JobFailed",
    "JobVerified",
    "JobDone",
];
