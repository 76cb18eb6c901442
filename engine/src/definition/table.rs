//! The published table: what each stage kind does and makes, and which words of the long form call for it.
//!
//! Rule: a word that stands here is realised by the kind it points at, none is a no-op; a word that
//! does not stand here is an error. [`render`] gives docs/workflow-table.md; a test holds them equal.

use super::spec::StageKind::{self, *};
use std::fmt::Write;

/// What is fixed about one stage kind.
#[derive(Debug)]
pub struct KindRow {
    pub kind: StageKind,
    /// Version of the behaviour, stored with each run.
    pub version: u32,
    pub does: &'static str,
    /// Artefacts that the kind can make.
    pub artefacts: &'static [&'static str],
    /// Whether the kind changes something outside its own artefacts and can take that back.
    pub has_undo: bool,
}

const fn row(
    kind: StageKind,
    has_undo: bool,
    artefacts: &'static [&'static str],
    does: &'static str,
) -> KindRow {
    KindRow { kind, version: 1, does, artefacts, has_undo }
}

/// One row per stage kind, in pipeline order.
pub const KINDS: [KindRow; 18] = [
    row(
        Initialization,
        true,
        &["environment.json"],
        "checks inputs against their digests, provisions the run's environment, reserves resources, records which parameters hold and where they came from",
    ),
    row(
        ConstraintValidation,
        false,
        &["constraint_report.json"],
        "reads the design space and its constraints: types, ranges, contradictions, and what each constraint removes",
    ),
    row(
        MilpSolving,
        false,
        &["milp_report.json"],
        "solves the space with HiGHS: feasible or a minimal conflicting set, optimum and bounds per objective",
    ),
    row(
        FeasibleSetGeneration,
        false,
        &["feasible_set.json", "feasible_set.bin", "enumeration_metrics.json"],
        "enumerates the whole feasible set, or counts it and takes the best or a uniform sample where it is too large",
    ),
    row(
        ResultValidation,
        false,
        &["recheck_report.json"],
        "re-checks every design by code that shares nothing with the search; counts agree, no design stands twice",
    ),
    row(
        QuantumBackendSetup,
        true,
        &["backend_plan.json"],
        "chooses, probes and reserves a backend and its shot budget, and fixes the fallback order",
    ),
    row(
        QaoaOptimization,
        false,
        &["qaoa_result.json", "convergence.svg"],
        "runs QAOA over the feasible set, optimises its angles, keeps a checkpoint per iteration",
    ),
    row(
        CvarCalculation,
        false,
        &["cvar_metrics.json", "risk_metrics.bin", "optimal_config.json"],
        "computes expectation, VaR and CVaR per design over the scenarios and takes the exact argmin",
    ),
    row(
        ResultAnalysis,
        false,
        &["risk_analysis.json", "optimization_metrics.json", "frontier.svg", "cost_distribution.svg"],
        "compares QAOA's pick with the exact one, lists runners-up, varies level and weight, draws plots",
    ),
    row(
        ResultIntegration,
        false,
        &["design_record.json"],
        "joins the chosen design and its provenance into one record",
    ),
    row(
        Validation,
        false,
        &["validation_report.json", "compliance_certificates.json", "certification_status.json"],
        "checks the chosen design against hard constraints, certification predicates and success criteria",
    ),
    row(
        Deployment,
        true,
        &["deployment_manifest.json", "audit_trail.json"],
        "builds a release, stages and checks it, activates it atomically and verifies it, else restores the one before",
    ),
    row(
        ReleaseAssessment,
        false,
        &["assessment_report.json"],
        "reads which release is active, finds the one to return to and checks that it is whole",
    ),
    row(
        ReleaseRollback,
        true,
        &["rollback_report.json", "emergency_audit.json"],
        "activates the earlier release as a new deployment, verifies it and records what was done",
    ),
    row(
        Exec,
        false,
        &["stdout.txt"],
        "runs a program of the user's and adopts the files it names as outputs",
    ),
    row(Approval, false, &[], "waits for people to say yes or no"),
    row(
        Check,
        false,
        &[],
        "states its `facts` and demands that every CEL predicate of `expect` holds over them and all facts so far; done by the daemon itself",
    ),
    row(Signal, false, &[], "waits for a named signal from outside; its data become facts"),
];

/// The row of a kind.
pub fn kind(kind: StageKind) -> &'static KindRow {
    // Rows stand in the order of the enumeration; a test holds that.
    &KINDS[kind as usize]
}

/// Place of a kind in the pipeline; stages that expand to several kinds run them in this order.
pub fn rank(kind: StageKind) -> usize {
    kind as usize
}

/// Long-form stage names that are not themselves stage kinds.
pub const NAMES: [(&str, &[StageKind]); 5] = [
    ("constraint-loading", &[ConstraintValidation]),
    ("enumeration", &[MilpSolving, FeasibleSetGeneration, ResultValidation]),
    ("certification-validation", &[Validation]),
    ("assessment", &[ReleaseAssessment]),
    ("rollback-execution", &[ReleaseRollback]),
];

/// Long-form `type` words, which count only where neither tasks nor name decide. `None`: too broad to decide.
pub const TYPES: [(&str, Option<&[StageKind]>); 10] = [
    ("setup", Some(&[Initialization])),
    ("preparation", Some(&[ConstraintValidation])),
    ("computation", Some(&[MilpSolving, FeasibleSetGeneration, ResultValidation])),
    ("quantum-computation", Some(&[QaoaOptimization])),
    ("risk-analysis", Some(&[CvarCalculation, ResultAnalysis])),
    ("verification", Some(&[Validation])),
    ("compliance", Some(&[Validation])),
    ("deployment", Some(&[Deployment])),
    ("optimization", None),
    ("emergency", None),
];

/// A long-form task: the kind that realises it and what then happens.
#[derive(Debug)]
pub struct TaskRow {
    pub name: &'static str,
    pub kind: StageKind,
    pub does: &'static str,
}

const fn task(name: &'static str, kind: StageKind, does: &'static str) -> TaskRow {
    TaskRow { name, kind, does }
}

/// Every task name that is understood.
pub const TASKS: [TaskRow; 53] = [
    task(
        "validate_input_configuration",
        Initialization,
        "every input is present and has the digest it was uploaded with",
    ),
    task(
        "setup_execution_environment",
        Initialization,
        "the run's directory and environment are provisioned",
    ),
    task(
        "initialize_resource_allocation",
        Initialization,
        "the workflow's ceilings are clamped to the machine and reserved",
    ),
    task(
        "setup_solver_environment",
        Initialization,
        "the solver worker's environment and version are recorded",
    ),
    task(
        "allocate_computational_resources",
        Initialization,
        "cores and memory for the solver stages are reserved",
    ),
    task(
        "initialize_optimization_parameters",
        Initialization,
        "level, weight and seed are resolved, and which source won is recorded",
    ),
    task("load_configuration", Initialization, "the design to be validated is read and its digest recorded"),
    task(
        "load_validation_rules",
        Initialization,
        "the constraints and predicates to validate against are read and their digests recorded",
    ),
    task("setup_validation_environment", Initialization, "the environment of the validation is provisioned"),
    task(
        "validate_constraints_file",
        ConstraintValidation,
        "the constraints file is read; an error names file, line and constraint",
    ),
    task(
        "load_hard_constraints",
        ConstraintValidation,
        "the hard constraints are read into the design space",
    ),
    task(
        "validate_constraint_syntax",
        ConstraintValidation,
        "each constraint's types, ranges and names are checked",
    ),
    task(
        "prepare_solver_input",
        ConstraintValidation,
        "the design-space model that search and HiGHS share is built",
    ),
    task("setup_milp_solver", MilpSolving, "the HiGHS model is built from the design space"),
    task("run_milp_solver", MilpSolving, "HiGHS decides feasibility, optimum and bounds"),
    task("enumerate_feasible_configurations", FeasibleSetGeneration, "the search lists the feasible designs"),
    task(
        "generate_feasible_set",
        FeasibleSetGeneration,
        "feasible_set.json and its compact twin are written",
    ),
    task(
        "rank_configurations",
        FeasibleSetGeneration,
        "the best designs per objective are listed in enumeration_metrics.json",
    ),
    task(
        "validate_feasible_set",
        ResultValidation,
        "every design of the set is checked again, independently",
    ),
    task("validate_solutions", ResultValidation, "every design found is checked again, independently"),
    task("setup_quantum_backend", QuantumBackendSetup, "a backend is probed and reserved, with fallbacks"),
    task("initialize_qaoa_optimizer", QaoaOptimization, "depth, first angles and seed of QAOA are fixed"),
    task(
        "prepare_qaoa_circuit",
        QaoaOptimization,
        "cost values and mixer over the feasible set are prepared",
    ),
    task(
        "execute_variational_optimization",
        QaoaOptimization,
        "the angles are optimised, with a checkpoint per iteration",
    ),
    task(
        "collect_quantum_measurements",
        QaoaOptimization,
        "the final state is sampled within the shot budget",
    ),
    task(
        "analyze_optimization_results",
        QaoaOptimization,
        "expectation, best sampled design and convergence are written to qaoa_result.json",
    ),
    task("calculate_scenario_costs", CvarCalculation, "each design's cost is computed in each scenario"),
    task(
        "compute_cvar_metrics",
        CvarCalculation,
        "expectation, VaR and CVaR per design are written to cvar_metrics.json",
    ),
    task(
        "calculate_cvar_metrics",
        CvarCalculation,
        "expectation, VaR and CVaR per design are written to cvar_metrics.json",
    ),
    task(
        "select_risk_optimal_configuration",
        CvarCalculation,
        "the exact argmin becomes optimal_config.json",
    ),
    task("select_optimal_configuration", CvarCalculation, "the exact argmin becomes optimal_config.json"),
    task(
        "evaluate_risk_tolerance",
        ResultAnalysis,
        "how the choice moves with level and weight is written to risk_analysis.json",
    ),
    task(
        "validate_configuration_constraints",
        Validation,
        "hard constraints of the chosen design are checked again",
    ),
    task("check_hard_constraints", Validation, "hard constraints of the design are checked again"),
    task("validate_component_compatibility", Validation, "allowed and forbidden pairs of parts are checked"),
    task(
        "verify_integration_requirements",
        Validation,
        "requirements that join several subsystems are checked; what has no figure is reported as not evaluated",
    ),
    task(
        "check_certification_requirements",
        Validation,
        "certification predicates are true, false or not evaluated",
    ),
    task(
        "check_arp4754a_compliance",
        Validation,
        "the predicates recorded for ARP4754A are true, false or not evaluated",
    ),
    task("verify_safety_criteria", Validation, "safety predicates are true, false or not evaluated"),
    task("verify_safety_requirements", Validation, "safety predicates are true, false or not evaluated"),
    task(
        "validate_certification_criteria",
        Validation,
        "certification predicates are true, false or not evaluated",
    ),
    task(
        "generate_compliance_report",
        Validation,
        "the verdicts are written to validation_report.json, compliance_certificates.json and certification_status.json",
    ),
    task("prepare_deployment_package", Deployment, "the release is built, named by its digest"),
    task("generate_deployment_manifest", Deployment, "deployment_manifest.json is written"),
    task("create_audit_trail", Deployment, "audit_trail.json is cut from the run's own records"),
    task("notify_stakeholders", Deployment, "an event and an alert record are written; nothing is mailed"),
    task("assess_current_state", ReleaseAssessment, "the active release and its health are read"),
    task(
        "identify_rollback_target",
        ReleaseAssessment,
        "the latest earlier release that was healthy is found",
    ),
    task(
        "validate_rollback_safety",
        ReleaseAssessment,
        "the target's digests are checked before anything moves",
    ),
    task(
        "execute_configuration_rollback",
        ReleaseRollback,
        "the earlier release is activated as a new deployment",
    ),
    task("verify_system_stability", ReleaseRollback, "the activated release is read back and checked"),
    task(
        "update_audit_trail",
        ReleaseRollback,
        "what was done, why and by whom is written to emergency_audit.json",
    ),
    task(
        "notify_emergency_contacts",
        ReleaseRollback,
        "an event and an alert record are written; nothing is mailed",
    ),
];

/// The row of a task.
pub fn find_task(name: &str) -> Option<&'static TaskRow> {
    TASKS.iter().find(|row| row.name == name)
}

/// The kinds that a long-form stage name stands for.
pub fn kinds_of_name(name: &str) -> Option<&'static [StageKind]> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, kinds)| *kinds)
}

/// The kind that makes an artefact.
pub fn maker_of(artefact: &str) -> Option<StageKind> {
    KINDS.iter().find(|row| row.artefacts.contains(&artefact)).map(|row| row.kind)
}

/// Every artefact name that some kind makes.
pub fn artefacts() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|row| row.artefacts.iter().copied())
}

/// The table as Markdown.
pub fn render() -> String {
    let mut page = String::from(
        "# Stage kinds and the words that call for them\n\n\
         Written by `definition::table::render`; a test compares.\n\n\
         How a stage finds its kinds: an explicit `kind`; else, where it lists `tasks`, the kinds of those tasks\n\
         (and of further promised `outputs` whose making changes nothing outside); else its name as a stage kind,\n\
         as a name of the second table, as a workflow of the same file, as a built-in workflow; else its `type`.\n\
         A stage with several kinds becomes the stages `name/kind` in the order of the first table.\n\
         A name that is only a workflow's runs that workflow, whatever tasks stand beside it: each task must be\n\
         realised by a kind in there, or that kind is added.\n\n\
         ## Stage kinds\n\n| kind | what it does | artefacts | undo |\n|---|---|---|---|\n",
    );
    for row in &KINDS {
        let undo = match row.kind {
            Exec => "if `undo` is given",
            _ if row.has_undo => "yes",
            _ => "",
        };
        let mut artefacts = row.artefacts.join(", ");
        if row.kind == Exec {
            artefacts.push_str(" and its `outputs`");
        }
        let _ = writeln!(page, "| {} | {} | {artefacts} | {undo} |", row.kind.name(), row.does);
    }
    page.push_str("\n## Names of the long form\n\n| name | kinds |\n|---|---|\n");
    for (name, kinds) in NAMES {
        let _ = writeln!(page, "| {name} | {} |", names(kinds));
    }
    page.push_str(
        "\n## Types of the long form\n\n| type | kinds, where neither tasks nor name decide |\n|---|---|\n",
    );
    for (name, kinds) in TYPES {
        let _ = writeln!(
            page,
            "| {name} | {} |",
            kinds.map_or("the name or the tasks must decide".into(), names)
        );
    }
    page.push_str("\n## Tasks of the long form\n\n| task | kind | what then happens |\n|---|---|---|\n");
    for row in &TASKS {
        let _ = writeln!(page, "| {} | {} | {} |", row.name, row.kind.name(), row.does);
    }
    page
}

fn names(kinds: &[StageKind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}
