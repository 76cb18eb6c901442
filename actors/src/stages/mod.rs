//! What each stage kind needs from the daemon: who executes it, what it reads, what it can undo.
//!
//! The computing itself is in the worker program (`src/bin/executing-worker/task/`), one file per kind;
//! this is the daemon's side of the same table. Rule: data flows by artefact names only.

use engine::definition::{StageKind, StageSpec};
use engine::placement::SlotKind;
use engine::run::ArtefactRef;

/// Who carries out the attempts of a stage kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// A solver worker process.
    Worker,
    /// The program named by the stage, in a worker slot.
    Program,
    /// The proxy of a quantum backend.
    Quantum,
    /// The deployer.
    Deployer,
    /// Nobody: people decide (approval), or something outside says so (signal).
    People,
    /// The run's own actor, at once (check).
    Daemon,
}

/// The executor of a kind.
pub const fn executor(kind: StageKind) -> Executor {
    match kind {
        StageKind::Initialization
        | StageKind::ConstraintValidation
        | StageKind::MilpSolving
        | StageKind::FeasibleSetGeneration
        | StageKind::ResultValidation
        | StageKind::CvarCalculation
        | StageKind::ResultAnalysis
        | StageKind::ResultIntegration
        | StageKind::Validation => Executor::Worker,
        StageKind::QuantumBackendSetup | StageKind::QaoaOptimization => Executor::Quantum,
        StageKind::Deployment | StageKind::ReleaseAssessment | StageKind::ReleaseRollback => {
            Executor::Deployer
        }
        StageKind::Exec => Executor::Program,
        StageKind::Approval | StageKind::Signal => Executor::People,
        StageKind::Check => Executor::Daemon,
    }
}

/// The kind of slot an executor needs, besides cores and memory.
pub const fn slot(kind: StageKind) -> Option<SlotKind> {
    match executor(kind) {
        Executor::Worker | Executor::Program => Some(SlotKind::Worker),
        Executor::Quantum | Executor::Deployer | Executor::People | Executor::Daemon => None,
    }
}

/// Whether attempts of this kind run the worker program and so take its memory.
pub const fn uses_worker_process(kind: StageKind) -> bool {
    matches!(executor(kind), Executor::Worker) || matches!(kind, StageKind::QaoaOptimization)
}

/// The quantum backend a stage with these parameters asks for first: as it says, or the simulator, which is
/// always there.
pub fn backend(spec: &StageSpec, params: &str) -> Option<String> {
    match executor(spec.kind) {
        Executor::Quantum => {
            Some(crate::quantum_proxy::first_backend(params, spec.demand.backend.as_deref()))
        }
        _ => None,
    }
}

/// One attempt, with all that its executor must know.
#[derive(Debug, Clone)]
pub struct Work {
    pub run: String,
    pub workflow: String,
    pub stage: engine::definition::StageIndex,
    pub path: String,
    pub kind: StageKind,
    pub attempt: u32,
    pub fence: u64,
    pub tasks: Vec<String>,
    /// Canonical JSON object: workflow, stage and tuned parameters overlaid.
    pub params: String,
    pub seed: u64,
    /// The run's inputs and all artefacts so far, by name.
    pub files: Vec<ArtefactRef>,
    pub resume_from: Option<ArtefactRef>,
    pub outputs: Vec<String>,
    pub memory_mib: u64,
    /// Whether the stage asked for that memory; a user's program is limited only to what it asked for.
    pub memory_stated: bool,
    pub threads: u32,
    pub idempotent: bool,
    /// Silence of its worker after which the attempt counts as hung.
    pub heartbeat_ms: u64,
    pub submitted_by: String,
    pub report_to: supervisors::Teller<crate::run_actor::Drive>,
}
