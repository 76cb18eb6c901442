//! The flat, checked form of a workflow that a run keeps for its whole life.
//!
//! Rule: sub-workflows are gone (their stages carry path names `parent/child`), every name is resolved
//! to a [`StageKind`], every limit is explicit. Values that have no fixed shape (parameters, facts)
//! are canonical JSON text, since stored records must be readable by bincode.

use super::control::{RunControl, StageControl};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Position of a stage in [`Definition::stages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StageIndex(pub u32);

/// One try at a stage, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt(pub u32);

/// A workflow as a run executes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub workflow: String,
    /// In written order; `needs` point backwards or forwards but never in a circle.
    pub stages: Vec<StageSpec>,
    /// Inputs that the workflow file itself names: input name to path as written.
    pub inputs: BTreeMap<String, String>,
    /// Workflow-level parameters (canonical JSON object), among them `seed`, `cvar_level`, `risk_weight`.
    pub params: String,
    /// CEL predicates over the run's facts; all must hold before a run may succeed.
    pub success_criteria: Vec<Criterion>,
    /// Workflow-level ceilings, already clamped by nobody: the daemon clamps to the machine.
    pub ceilings: Demand,
    /// Higher runs first. critical 3, high 2, medium 1 (default), low 0.
    pub priority: u8,
    /// Version of each stage kind's behaviour used by this definition.
    pub kind_versions: BTreeMap<String, u32>,
    #[serde(default, skip_serializing_if = "RunControl::is_empty")]
    pub control: RunControl,
}

/// A success criterion, gate or exit predicate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Criterion {
    /// As written, for people: `optimization_score: ">= 0.7"` or a CEL expression.
    pub written: String,
    /// The CEL expression evaluated.
    pub expression: String,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Unique in the definition; `parent/child` for stages of sub-workflows.
    pub path: String,
    pub kind: StageKind,
    pub needs: Vec<StageIndex>,
    /// Canonical JSON object; workflow-level parameters are NOT repeated here.
    pub params: String,
    /// Long-form task names this stage realises (each is part of the kind's behaviour).
    pub tasks: Vec<String>,
    pub retry: Retry,
    pub timeout: Timeouts,
    pub demand: Demand,
    /// Whether the kind has something to undo when the run unwinds.
    pub has_undo: bool,
    /// For `exec` and `http`: may an ambiguous attempt be repeated?
    pub idempotent: bool,
    pub gate: Option<Gate>,
    /// CEL over facts; false means the stage is skipped.
    pub when: Option<Criterion>,
    /// UTCS phase 1..=11, if stated.
    pub utcs_phase: Option<u8>,
    /// Artefact names the stage promises.
    pub outputs: Vec<String>,
    #[serde(default, skip_serializing_if = "StageControl::is_empty")]
    pub control: StageControl,
}

/// What a stage does. The name in YAML is the kebab-case form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StageKind {
    Initialization,
    ConstraintValidation,
    MilpSolving,
    FeasibleSetGeneration,
    ResultValidation,
    QuantumBackendSetup,
    QaoaOptimization,
    CvarCalculation,
    ResultAnalysis,
    ResultIntegration,
    Validation,
    Deployment,
    ReleaseAssessment,
    ReleaseRollback,
    Exec,
    Approval,
    Check,
    Signal,
}

impl StageKind {
    pub const ALL: [Self; 18] = [
        Self::Initialization,
        Self::ConstraintValidation,
        Self::MilpSolving,
        Self::FeasibleSetGeneration,
        Self::ResultValidation,
        Self::QuantumBackendSetup,
        Self::QaoaOptimization,
        Self::CvarCalculation,
        Self::ResultAnalysis,
        Self::ResultIntegration,
        Self::Validation,
        Self::Deployment,
        Self::ReleaseAssessment,
        Self::ReleaseRollback,
        Self::Exec,
        Self::Approval,
        Self::Check,
        Self::Signal,
    ];

    /// The name used in YAML, events and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initialization => "initialization",
            Self::ConstraintValidation => "constraint-validation",
            Self::MilpSolving => "milp-solving",
            Self::FeasibleSetGeneration => "feasible-set-generation",
            Self::ResultValidation => "result-validation",
            Self::QuantumBackendSetup => "quantum-backend-setup",
            Self::QaoaOptimization => "qaoa-optimization",
            Self::CvarCalculation => "cvar-calculation",
            Self::ResultAnalysis => "result-analysis",
            Self::ResultIntegration => "result-integration",
            Self::Validation => "validation",
            Self::Deployment => "deployment",
            Self::ReleaseAssessment => "release-assessment",
            Self::ReleaseRollback => "release-rollback",
            Self::Exec => "exec",
            Self::Approval => "approval",
            Self::Check => "check",
            Self::Signal => "signal",
        }
    }

    /// Whether attempts need no room anywhere: the daemon does them itself, at once.
    pub const fn is_immediate(self) -> bool {
        matches!(self, Self::Check)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How often and how soon a failed attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    pub backoff_ms: u64,
    pub backoff_ms_max: u64,
    /// Share of the backoff that is random, in thousandths, 0..=1000.
    pub jitter_permille: u16,
}

/// Limits on a stage's time; `None` means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    pub start_to_close_ms: Option<u64>,
    pub heartbeat_ms: u64,
    pub schedule_to_start_ms: Option<u64>,
}

/// Resources asked for (stage) or at most allowed (workflow). Zero means not stated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Demand {
    pub cpu_cores: u32,
    pub memory_mib: u64,
    pub shots: u64,
    pub storage_mib: u64,
    /// Name of a quantum backend, if one is asked for.
    pub backend: Option<String>,
}

/// A check by people before a stage may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Approvals needed, at least 1, each by a person other than the submitter.
    pub approvals: u32,
    /// Unanswered for so long means rejected; `None` waits for ever.
    pub deadline_ms: Option<u64>,
}
