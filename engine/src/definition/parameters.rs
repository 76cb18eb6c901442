//! The published table of parameters: what each stage kind reads, in which range, and when a change counts.
//!
//! Rule: whoever takes a parameter from outside (`submit --set`, `tune`) asks here first, so that a wrong
//! one is refused before anything runs. [`render`] gives docs/parameters.md; tests hold the page and the
//! worker's source to this table. Programs of the user (`exec`) may be given any further name.

use super::spec::StageKind::{self, *};
use super::units;
use super::walk::did_you_mean;
use serde_json::Value;
use std::fmt::Write;

/// Name of the limit on one attempt's time.
pub const START_TO_CLOSE: &str = "start_to_close";
/// Name of the number of threads, which may not be more than the cores that the stage holds.
pub const THREADS: &str = "threads";
/// Name of the number of measurements, for which budgets, quotas and a workflow's ceiling may state a limit.
pub const SHOTS: &str = "shots";
/// Name of the limit on waiting for room.
pub const SCHEDULE_TO_START: &str = "schedule_to_start";

/// What a value must be. Numbers may come as text, as a command line hands them over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// A whole number, both ends included.
    Whole(u64, u64),
    /// A finite number; the flags say whether the ends are included.
    Number {
        least: f64,
        with_least: bool,
        most: f64,
        with_most: bool,
    },
    Flag,
    Text,
    /// A list of texts, or one text with commas.
    Texts,
    /// One of these.
    Word(&'static [&'static str]),
    /// `500ms`, `30s`, `5m`, `2h`, or seconds as a number; up to a year.
    Duration,
    /// A JSON object or list that the stage judges itself.
    Structure,
}

/// When a change of a parameter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// At the stage's next attempt: it changes the result, and half a result of each value is none.
    NextAttempt,
    /// As [`Takes::NextAttempt`], and offered to the attempt at work, which takes it if the whole result can
    /// still be one of the new value, and says whether it does.
    AtWork,
    /// At once, also in running work: it changes no result.
    Live,
}

/// One parameter.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    /// Kinds that read it.
    pub kinds: &'static [StageKind],
    pub shape: Shape,
    pub unit: &'static str,
    pub default: &'static str,
    pub does: &'static str,
    /// `None`: fixed once the run is submitted.
    pub tunable: Option<Takes>,
}

/// Why a parameter was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    #[error("{0}")]
    Unknown(String),
    #[error("{0}")]
    OutOfRange(String),
    #[error("{0}")]
    NotTunable(String),
}

const COMPUTING: &[StageKind] = &[
    Initialization,
    ConstraintValidation,
    MilpSolving,
    FeasibleSetGeneration,
    ResultValidation,
    QaoaOptimization,
    CvarCalculation,
    ResultAnalysis,
    ResultIntegration,
    Validation,
];
const PLACED: &[StageKind] = &[
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
];
/// Kinds that read scenarios and costs.
const MONEY: &[StageKind] = &[
    Initialization,
    ConstraintValidation,
    QaoaOptimization,
    CvarCalculation,
    ResultAnalysis,
    ResultIntegration,
    Validation,
];
const SECONDS: Shape = Shape::Number { least: 0.0, with_least: false, most: 86_400.0, with_most: true };
const NEXT: Option<Takes> = Some(Takes::NextAttempt);
const LIVE: Option<Takes> = Some(Takes::Live);
const AT_WORK: Option<Takes> = Some(Takes::AtWork);

const fn row(
    name: &'static str,
    kinds: &'static [StageKind],
    shape: Shape,
    (unit, default): (&'static str, &'static str),
    tunable: Option<Takes>,
    does: &'static str,
) -> Row {
    Row { name, kinds, shape, unit, default, does, tunable }
}

/// Every parameter that a stage kind reads, by topic.
pub const PARAMETERS: [Row; 51] = [
    row(START_TO_CLOSE, PLACED, Shape::Duration, ("time", "the stage's `timeout`"), LIVE, "longest attempt"),
    row(
        SCHEDULE_TO_START,
        PLACED,
        Shape::Duration,
        ("time", "the stage's `timeout`"),
        LIVE,
        "longest wait for room",
    ),
    row(
        "checkpoint_ms",
        COMPUTING,
        Shape::Whole(0, 3_600_000),
        ("ms", "500"),
        LIVE,
        "least time between two checkpoints; 0 makes one at every chance",
    ),
    row(
        "cvar_level",
        MONEY,
        Shape::Number { least: 0.0, with_least: true, most: 1.0, with_most: false },
        ("share", "0.95"),
        NEXT,
        "which part of the costs is the tail",
    ),
    row(
        "risk_weight",
        MONEY,
        Shape::Number { least: 0.0, with_least: true, most: f64::MAX, with_most: true },
        ("1", "0.1"),
        AT_WORK,
        "weight of the tail's mean in the objective; taken at work until the objective is computed",
    ),
    row(
        "scenario_seed",
        MONEY,
        Shape::Whole(0, u64::MAX),
        ("", "the run's seed"),
        NEXT,
        "seed of drawn scenarios",
    ),
    row(
        "capacity",
        COMPUTING,
        Shape::Flag,
        ("", "false"),
        NEXT,
        "passenger capacity is one more decision (programme's files)",
    ),
    row(
        "solve_seconds_max",
        &[MilpSolving],
        SECONDS,
        ("s", "30"),
        AT_WORK,
        "time of each call of HiGHS; the one at work goes on or ends by the new value",
    ),
    row(
        "attributes",
        &[MilpSolving],
        Shape::Texts,
        ("", "those that constraints sum"),
        NEXT,
        "attributes whose range is asked for",
    ),
    row(
        "milp_seconds",
        &[CvarCalculation],
        SECONDS,
        ("s", "not asked"),
        NEXT,
        "HiGHS searches the whole space for so long",
    ),
    row(
        THREADS,
        &[FeasibleSetGeneration],
        Shape::Whole(1, 1_024),
        ("threads", "the stage's cores"),
        LIVE,
        "threads of the search, at most the stage's cores; taken at the search's next unit",
    ),
    row(
        "list_max",
        &[FeasibleSetGeneration],
        Shape::Whole(1, 100_000_000),
        ("designs", "5000000"),
        NEXT,
        "a larger set is not listed",
    ),
    row(
        "keep",
        &[FeasibleSetGeneration],
        Shape::Whole(1, 1_000_000),
        ("designs", "10000"),
        NEXT,
        "designs that stand for a set that is not listed",
    ),
    row(
        "best",
        &[FeasibleSetGeneration],
        Shape::Whole(0, 10_000),
        ("designs", "20"),
        NEXT,
        "designs ranked in the metrics",
    ),
    row(
        "confirm_bytes_max",
        &[FeasibleSetGeneration],
        Shape::Whole(0, 1 << 40),
        ("bytes", "67108864"),
        NEXT,
        "memory of the diagram that counts again",
    ),
    row(
        "removal_designs_max",
        &[ConstraintValidation],
        Shape::Whole(1, u64::MAX),
        ("designs", "20000000"),
        NEXT,
        "designs looked at per constraint",
    ),
    row(
        "brute_force_max",
        &[ResultValidation],
        Shape::Whole(0, 100_000_000),
        ("designs", "200000"),
        NEXT,
        "combinations tried one by one",
    ),
    row("layers", &[QaoaOptimization], Shape::Whole(1, 64), ("layers", "3"), NEXT, "depth of the circuit"),
    row(
        "iterations",
        &[QaoaOptimization],
        Shape::Whole(1, 10_000_000),
        ("", "60"),
        AT_WORK,
        "steps of the angle search; one at work goes on or begins anew, whichever gives the bytes of the new number",
    ),
    row(
        SHOTS,
        &[QaoaOptimization, QuantumBackendSetup],
        Shape::Whole(1, 10_000_000),
        ("shots", "1024"),
        AT_WORK,
        "measurements; taken at work until they are made, but more than were set aside only where shots are not limited",
    ),
    row(
        "elite_fraction",
        &[QaoaOptimization],
        Shape::Number { least: 0.0, with_least: false, most: 1.0, with_most: true },
        ("share", "1"),
        NEXT,
        "share of the best shots that trains the angles",
    ),
    row(
        "mixer",
        &[QaoaOptimization],
        Shape::Word(&["grover", "one-hot"]),
        ("", "grover"),
        NEXT,
        "how amplitudes mix",
    ),
    row(
        "optimiser",
        &[QaoaOptimization],
        Shape::Word(&["lbfgs", "nelder-mead", "spsa"]),
        ("", "lbfgs"),
        NEXT,
        "who searches the angles",
    ),
    row(
        "warm_start",
        &[QaoaOptimization],
        Shape::Word(&["none", "ramp", "sherrington-kirkpatrick", "cubic-max-cut"]),
        ("", "none"),
        NEXT,
        "first angles",
    ),
    row(
        "noise",
        &[QaoaOptimization],
        Shape::Structure,
        ("", "none"),
        NEXT,
        "`{depolarising, readout}`, each a probability",
    ),
    row(
        "backend",
        &[QaoaOptimization, QuantumBackendSetup],
        Shape::Text,
        ("", "`resources.backend`, else simulator"),
        NEXT,
        "quantum backend that is asked first",
    ),
    row(
        "fallback",
        &[QaoaOptimization, QuantumBackendSetup],
        Shape::Texts,
        ("", "simulator, classical-exact"),
        NEXT,
        "who is asked after it, in order",
    ),
    row(
        "fallback_to_classical",
        &[QaoaOptimization, QuantumBackendSetup],
        Shape::Flag,
        ("", "true"),
        NEXT,
        "false: only backends that are named are asked, and without an answer the stage fails with their reasons",
    ),
    row(
        "wait_seconds",
        &[QaoaOptimization, QuantumBackendSetup],
        Shape::Whole(1, 2_592_000),
        ("s", "86400"),
        NEXT,
        "longest wait for all backends together",
    ),
    row(
        "bootstrap",
        &[ResultAnalysis],
        Shape::Whole(0, 100_000),
        ("draws", "100"),
        NEXT,
        "times the scenarios are drawn again",
    ),
    row(
        "bootstrap_seed",
        &[ResultAnalysis],
        Shape::Whole(0, u64::MAX),
        ("", "the run's seed"),
        NEXT,
        "seed of those draws",
    ),
    row(
        "bootstrap_candidates",
        &[ResultAnalysis],
        Shape::Whole(2, 1_000_000_000),
        ("designs", "by the scenarios"),
        NEXT,
        "designs compared in each draw",
    ),
    row(
        "certification_constraints",
        &[Validation],
        Shape::Texts,
        ("", "those the files name"),
        NEXT,
        "constraints that certification rests on",
    ),
    row(
        "waivers",
        &[Validation],
        Shape::Structure,
        ("", "none"),
        None,
        "list of `{criterion, reason, expires}`",
    ),
    row(
        "check",
        &[Deployment, ReleaseRollback],
        Shape::Structure,
        ("", "settings"),
        None,
        "program run in the staged release",
    ),
    row("command", &[Exec], Shape::Structure, ("", ""), None, "program and arguments"),
    row("undo", &[Exec], Shape::Structure, ("", "none"), None, "program that takes it back"),
    row("facts", &[Check], Shape::Structure, ("", "{}"), None, "facts that the check states"),
    row("expect", &[Check], Shape::Structure, ("", "[]"), None, "CEL predicates that must hold"),
    row(
        "signal",
        &[Signal],
        Shape::Text,
        ("", "the stage's name"),
        None,
        "name of the signal that is waited for",
    ),
    row("deadline", &[Signal], Shape::Duration, ("time", "none"), None, "longest wait for the signal"),
    row("drill", COMPUTING, Shape::Structure, ("", "none"), NEXT, "faults on purpose, by kind: attempts"),
    row("drill_crash", COMPUTING, Shape::Structure, ("attempts", "none"), NEXT, "the worker aborts on these"),
    row(
        "drill_hang",
        COMPUTING,
        Shape::Structure,
        ("attempts", "none"),
        NEXT,
        "the worker goes silent on these",
    ),
    row(
        "drill_garbage",
        COMPUTING,
        Shape::Structure,
        ("attempts", "none"),
        NEXT,
        "the worker talks garbage on these",
    ),
    row(
        "drill_exit_without_result",
        COMPUTING,
        Shape::Structure,
        ("attempts", "none"),
        NEXT,
        "the worker leaves on these",
    ),
    row(
        "drill_allocate",
        COMPUTING,
        Shape::Structure,
        ("attempts", "none"),
        NEXT,
        "the worker runs out of memory on these",
    ),
    row("drill_sleep_ms", COMPUTING, Shape::Whole(0, 3_600_000), ("ms", "0"), NEXT, "wait before the result"),
    row(
        "drill_hold",
        COMPUTING,
        Shape::Text,
        ("", "none"),
        NEXT,
        "the work does not begin before the parameter of this name is tuned",
    ),
    row("drill_stage", COMPUTING, Shape::Text, ("", "all"), NEXT, "kind or path that drills are for"),
    row("seed", &[], Shape::Whole(0, u64::MAX), ("", "1"), None, "seed of the run; of the workflow alone"),
];

/// The row of a parameter of a kind.
pub fn find(kind: StageKind, name: &str) -> Option<&'static Row> {
    PARAMETERS.iter().find(|row| row.name == name && row.kinds.contains(&kind))
}

/// Names that a kind reads.
pub fn names(kind: StageKind) -> impl Iterator<Item = &'static str> {
    PARAMETERS.iter().filter(move |row| row.kinds.contains(&kind)).map(|row| row.name)
}

/// A program of the user reads what it likes.
pub const fn takes_any(kind: StageKind) -> bool {
    matches!(kind, Exec)
}

/// Whether `value` may be given to `kind` under this name.
///
/// # Errors
/// Unknown, with the nearest names; out of range, with the range.
pub fn check(kind: StageKind, name: &str, value: &Value) -> Result<(), ParameterError> {
    match find(kind, name) {
        Some(row) => row.judge(value),
        None if takes_any(kind) => Ok(()),
        None => Err(unknown(&format!("a stage of kind {}", kind.name()), name, names(kind))),
    }
}

/// Whether a run that goes on may be given this, and when it counts.
///
/// # Errors
/// As [`check`], and if the parameter is fixed once a run is submitted.
pub fn judge_tuning(kind: StageKind, name: &str, value: &Value) -> Result<Takes, ParameterError> {
    check(kind, name, value)?;
    match find(kind, name) {
        None => Ok(Takes::NextAttempt),
        Some(Row { tunable: Some(takes), .. }) => Ok(*takes),
        Some(Row { tunable: None, .. }) => Err(ParameterError::NotTunable(format!(
            "`{name}` is fixed once a run is submitted; `clone` makes a run with another value"
        ))),
    }
}

/// Whether a stage that holds `cores` may be given so many threads; other parameters may always.
///
/// # Errors
/// Out of range, with the cores.
pub fn check_cores(name: &str, value: &Value, cores: u32) -> Result<(), ParameterError> {
    let cores = cores.max(1);
    if name != THREADS || whole(value).is_none_or(|threads| threads <= u64::from(cores)) {
        return Ok(());
    }
    Err(ParameterError::OutOfRange(format!(
        "`{THREADS}` is {value}; expected at most {cores}, the cores that the stage holds (`resources: {{cpu: N}}`)"
    )))
}

/// Whether a stage of a workflow with this ceiling (0 is none) may ask for so many shots; other parameters may
/// always.
///
/// # Errors
/// Out of range, with the ceiling.
pub fn check_ceiling(name: &str, value: &Value, shots_max: u64) -> Result<(), ParameterError> {
    if name != SHOTS || shots_max == 0 || whole(value).is_none_or(|shots| shots <= shots_max) {
        return Ok(());
    }
    Err(ParameterError::OutOfRange(format!(
        "`{SHOTS}` is {value}; expected at most {shots_max}, the workflow's ceiling"
    )))
}

/// The refusal of a name, with those that there are.
pub fn unknown(what: &str, name: &str, known: impl Iterator<Item = &'static str>) -> ParameterError {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    let near = did_you_mean(name, known.iter().copied()).map(|near| format!("; {near}")).unwrap_or_default();
    let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    ParameterError::Unknown(format!("`{name}` is no parameter of {what}{near}; it has: {listed}"))
}

/// A duration in ms, as a stage's limits have it.
pub fn duration_ms(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => units::duration_ms(&number.to_string()).ok(),
        Value::String(text) => units::duration_ms(text).ok(),
        _ => None,
    }
}

impl Row {
    /// # Errors
    /// [`ParameterError::OutOfRange`], naming the range.
    pub fn judge(&self, value: &Value) -> Result<(), ParameterError> {
        if self.shape.takes(value) {
            return Ok(());
        }
        Err(ParameterError::OutOfRange(format!("`{}` is {value}; expected {}", self.name, self.shape)))
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

impl Shape {
    pub fn takes(&self, value: &Value) -> bool {
        match *self {
            Self::Whole(least, most) => whole(value).is_some_and(|n| (least..=most).contains(&n)),
            Self::Number { least, with_least, most, with_most } => number(value).is_some_and(|n| {
                (if with_least { n >= least } else { n > least })
                    && (if with_most { n <= most } else { n < most })
            }),
            Self::Flag => matches!(value, Value::Bool(_)) || matches!(value.as_str(), Some("true" | "false")),
            Self::Text => value.is_string(),
            Self::Texts => match value {
                Value::String(_) => true,
                Value::Array(items) => items.iter().all(Value::is_string),
                _ => false,
            },
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Duration => duration_ms(value).is_some(),
            Self::Structure => !value.is_null(),
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(least, u64::MAX) => write!(f, "a whole number, at least {least}"),
            Self::Whole(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::Number { least, with_least, most, with_most } => {
                let from = if *with_least { "at least" } else { "above" };
                write!(f, "a number, {from} {least}")?;
                if *most < f64::MAX {
                    write!(f, ", {} {most}", if *with_most { "at most" } else { "below" })?;
                }
                Ok(())
            }
            Self::Flag => f.write_str("true or false"),
            Self::Text => f.write_str("a text"),
            Self::Texts => f.write_str("a list of texts"),
            Self::Word(words) => f.write_str(&words.join(", ")),
            Self::Duration => f.write_str("a duration from 1ms to 365d, or seconds"),
            Self::Structure => f.write_str("JSON that the stage judges"),
        }
    }
}

/// The table as Markdown.
pub fn render() -> String {
    let mut page = String::from(
        "# Parameters of stages\n\nWritten by `definition::parameters::render`; a test compares.\n\n\
         `submit --set STAGE.NAME=VALUE` and `tune RUN STAGE.NAME=VALUE` refuse a name that the stage's kind does not\n\
         have and a value outside its range. *tunable*: `live` counts at once, also in running work; `next attempt`\n\
         when the stage next begins (its checkpoint is dropped, since it belongs to the old value); `at work` as that,\n\
         and an attempt at work takes it if its whole result can still be one of the new value, which the answer to\n\
         `tune` says; `no` is fixed once the run is submitted. A program of kind `exec` may be given any further name and reads it in\n\
         `EXECUTING_PARAMS`. A name at the workflow's level holds for every stage that reads it.\n\n\
         | name | kinds | value | unit | default | tunable | meaning |\n|---|---|---|---|---|---|---|\n",
    );
    for row in &PARAMETERS {
        let kinds = match row.kinds {
            [] => "workflow".to_owned(),
            kinds if kinds == PLACED => "all that are placed".to_owned(),
            kinds if kinds == COMPUTING => "all that compute".to_owned(),
            kinds => kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", "),
        };
        let tunable = match row.tunable {
            None => "no",
            Some(Takes::NextAttempt) => "next attempt",
            Some(Takes::AtWork) => "at work",
            Some(Takes::Live) => "live",
        };
        let Row { name, shape, unit, default, does, .. } = row;
        let _ = writeln!(page, "| {name} | {kinds} | {shape} | {unit} | {default} | {tunable} | {does} |");
    }
    page
}
