//! One program through HiGHS, and its answer checked in exact arithmetic.
//!
//! Rule: nothing HiGHS says about a solution is believed: the values are rounded, every row is checked
//! in 128-bit integers, and the objective is recomputed. Absent: models; see [`super::model`].

use super::highs::{Ear, Event, nodes};
use crate::enumeration::Flow;
use crate::programs::{Program, divisor};
use highs::{HighsModelStatus, HighsSolutionStatus, RowProblem, Sense};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Largest coefficient or bound given to HiGHS. Its feasibility tolerance is 1e-6 of a row scaled to
/// about 1, so beyond this a wrong row could look right; such programs are refused.
pub const COEFFICIENT_MAX: i64 = 1_000_000_000;

/// How a solver run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The solution is optimal within the solver's tolerances; its feasibility was checked exactly.
    Optimal,
    /// HiGHS says there is no solution. The exact search can confirm it.
    Infeasible,
    /// The time ended with a checked solution in hand.
    Feasible,
    /// The time ended without one.
    Unknown,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: Status,
    /// One value per column, checked.
    pub values: Option<Vec<i64>>,
    /// Exact objective of `values`, times `10^scale` of the program.
    pub objective: Option<i64>,
    /// Proven limit of the objective, in the objective's own unit.
    pub bound: Option<f64>,
    /// Relative gap between solution and bound; 0 when optimal.
    pub gap: Option<f64>,
    /// The observer ended it.
    pub interrupted: bool,
    /// Nodes of the tree search; 0 if presolve was enough.
    pub nodes: u64,
    /// HiGHS took the starting solution.
    pub started: bool,
}

impl Answer {
    fn without(status: Status) -> Answer {
        Answer {
            status,
            values: None,
            objective: None,
            bound: None,
            gap: None,
            interrupted: false,
            nodes: 0,
            started: false,
        }
    }
}

/// How often the observer is asked.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Stack of the solver's thread: HiGHS needs what the main thread of a program has; completing a start
/// takes at most [`START_NODES`] levels.
const STACK: usize = 16 << 20;

/// Nodes of the exact search that completes a starting solution.
const START_NODES: u64 = 10_000;

/// How to solve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SolveOptions {
    /// Bounds the solver's own clock.
    pub seconds_max: Option<f64>,
    /// Column and value of what a first solution has; HiGHS completes it or, if it cannot, begins without.
    pub start: Option<Vec<(usize, i64)>>,
}

/// A solution better than those before, checked in exact arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incumbent {
    pub values: Vec<i64>,
    /// Times `10^scale` of the program.
    pub objective: i64,
}

/// How far the solver is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Solving {
    /// A new one since the last question.
    pub incumbent: Option<Incumbent>,
    /// Limit of the objective so far, in the objective's own unit.
    pub bound: Option<f64>,
    /// Relative gap.
    pub gap: Option<f64>,
    pub nodes: u64,
}

/// Watches a solver run from the thread that called [`solve_with`], at least every 10 ms.
pub trait SolveObserver {
    /// [`Flow::Stop`] ends the run at HiGHS's next callback: every simplex iteration and every round of the
    /// tree search has one; presolve and some heuristics have none.
    fn solving(&mut self, solving: &Solving) -> Flow;

    /// A limit in seconds since the run's beginning that may change while it works; asked with each look, before
    /// [`Self::solving`]. Where the first answer names one it stands in place of [`SolveOptions::seconds_max`],
    /// and the run ends by it as if it were stopped.
    fn seconds_max(&mut self) -> Option<f64> {
        None
    }
}

/// Never stops, wants nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl SolveObserver for Silent {
    fn solving(&mut self, _: &Solving) -> Flow {
        Flow::Continue
    }
}

/// Why HiGHS gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    #[error("{what} has the coefficient {value}; HiGHS is given at most {COEFFICIENT_MAX}; use another unit")]
    TooLarge { what: String, value: i64 },
    #[error("HiGHS refused the program or broke off ({what})")]
    Solver { what: String },
    #[error("the solution of HiGHS does not hold exactly: {what}; use the exact search")]
    NotConfirmed { what: String },
    #[error("the starting solution is wrong: {what}")]
    Start { what: String },
    #[error("a time limit must be a positive number of seconds, not {given}")]
    TimeLimit { given: String },
}

fn fits(what: &str, value: i64) -> Result<f64, SolveError> {
    if value.unsigned_abs() > COEFFICIENT_MAX.unsigned_abs() {
        return Err(SolveError::TooLarge { what: what.to_string(), value });
    }
    Ok(value as f64)
}

/// Solves `program`; `seconds_max` bounds the solver's own clock.
///
/// # Errors
/// [`SolveError`]: numbers beyond [`COEFFICIENT_MAX`], a solver failure, or a solution that is none.
pub fn solve(program: &Program, seconds_max: Option<f64>) -> Result<Answer, SolveError> {
    solve_with(program, &SolveOptions { seconds_max, start: None }, &mut Silent)
}

/// Solves `program` while `observer` watches.
///
/// # Errors
/// As [`solve`], and [`SolveError::Start`] if a start value lies outside its column.
pub fn solve_with(
    program: &Program,
    options: &SolveOptions,
    observer: &mut dyn SolveObserver,
) -> Result<Answer, SolveError> {
    if let Some(seconds) = options.seconds_max
        && !(seconds.is_finite() && seconds > 0.0)
    {
        return Err(SolveError::TimeLimit { given: seconds.to_string() });
    }
    for &(c, v) in options.start.iter().flatten() {
        let what = match program.columns.get(c) {
            None => format!("there is no column {c}"),
            Some(column) if v < column.lower || v > column.upper => {
                format!("`{}` is {v}, outside {} to {}", column.name, column.lower, column.upper)
            }
            Some(_) => continue,
        };
        return Err(SolveError::Start { what });
    }
    // What HiGHS need not see, it cannot get wrong: crossed bounds and rows without columns.
    let crossed = program.columns.iter().any(|c| c.lower > c.upper);
    let broken = |r: &crate::programs::Row| {
        r.terms.is_empty() && (r.lower.is_some_and(|l| l > 0) || r.upper.is_some_and(|u| u < 0))
    };
    if crossed || program.rows.iter().any(broken) {
        return Ok(Answer::without(Status::Infeasible));
    }
    if program.columns.is_empty() {
        let mut answer = Answer::without(Status::Optimal);
        answer.values = Some(Vec::new());
        answer.objective = Some(program.offset);
        answer.bound = Some(program.offset as f64 / 10f64.powi(i32::from(program.scale)));
        answer.gap = Some(0.0);
        return Ok(answer);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (unit, offset) = units(program);
    let begun = Instant::now();
    // HiGHS cannot be given another limit while it works, so one that may change is kept here.
    let changes = observer.seconds_max().is_some();
    let own =
        SolveOptions { seconds_max: options.seconds_max.filter(|_| !changes), start: options.start.clone() };
    let options = &own;
    std::thread::scope(|scope| {
        let (send, events) = mpsc::channel();
        let shared = Arc::clone(&stop);
        // HiGHS keeps a scheduler per process and thread; a thread of its own keeps ours clean. The thread
        // drops `send` when it is done, which ends the loop below.
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, move || run(program, options, shared, send))
            .map_err(|error| SolveError::Solver { what: error.to_string() })?;
        let mut now = Solving::default();
        // HiGHS repeats an incumbent now and then.
        let mut best: Option<i64> = None;
        let better = |a: i64, b: Option<i64>| b.is_none_or(|b| if program.maximise { a > b } else { a < b });
        loop {
            let ended = match events.recv_timeout(LOOK_EVERY) {
                Ok(event) => {
                    let (bound, gap, nodes) = match event {
                        Event::Improved { values, bound, gap, nodes } => {
                            let found = checked(program, &values).filter(|i| better(i.objective, best));
                            best = found.as_ref().map(|i| i.objective).or(best);
                            now.incumbent = found;
                            (bound, gap, nodes)
                        }
                        Event::Search { bound, gap, nodes } => (bound, gap, nodes),
                    };
                    now.bound = (bound.abs() < 1e100).then_some(bound * unit + offset);
                    now.gap = Some(gap).filter(|g| g.is_finite() && *g < 1e100);
                    now.nodes = u64::try_from(nodes).unwrap_or(0);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if ended {
                break;
            }
            let over = changes
                && observer.seconds_max().is_some_and(|seconds| begun.elapsed().as_secs_f64() >= seconds);
            if observer.solving(&now) == Flow::Stop || over {
                stop.store(true, Ordering::Relaxed);
            }
            now.incumbent = None;
        }
        let early = || SolveError::Solver { what: "its thread ended early".to_string() };
        let mut answer = thread.join().unwrap_or_else(|_| Err(early()))?;
        answer.interrupted =
            stop.load(Ordering::Relaxed) && matches!(answer.status, Status::Feasible | Status::Unknown);
        Ok(answer)
    })
}

/// The common divisor of the costs as it stands in the objective's unit, and the constant.
fn units(program: &Program) -> (f64, f64) {
    let ten = 10f64.powi(i32::from(program.scale));
    (common(program) as f64 / ten, program.offset as f64 / ten)
}

fn common(program: &Program) -> i64 {
    program.costs.iter().fold(0, |d, c| divisor(d, c.unsigned_abs())).max(1) as i64
}

fn whole(values: &[f64]) -> Result<Vec<i64>, SolveError> {
    let one = |&value: &f64| {
        let whole = value.round();
        // NaN is within no distance of anything.
        let near = (value - whole).abs() <= 1e-3 && whole.abs() <= COEFFICIENT_MAX as f64;
        let what = || format!("a column is {value}");
        if near { Ok(whole as i64) } else { Err(SolveError::NotConfirmed { what: what() }) }
    };
    values.iter().map(one).collect()
}

/// An incumbent of HiGHS if it holds exactly.
fn checked(program: &Program, values: &[f64]) -> Option<Incumbent> {
    let values = whole(values).ok()?;
    program.check(&values).ok()?;
    let objective = program.objective(&values)?;
    Some(Incumbent { values, objective })
}

fn run(
    program: &Program,
    options: &SolveOptions,
    stop: Arc<AtomicBool>,
    events: Sender<Event>,
) -> Result<Answer, SolveError> {
    let failed = |what: &dyn std::fmt::Debug| SolveError::Solver { what: format!("{what:?}") };
    let mut model = RowProblem::new();
    let common = common(program);
    let mut columns = Vec::with_capacity(program.columns.len());
    for (column, &cost) in program.columns.iter().zip(&program.costs) {
        let cost = fits("the objective", cost / common)?;
        let (lower, upper) = (fits(&column.name, column.lower)?, fits(&column.name, column.upper)?);
        columns.push(model.add_integer_column(cost, lower..=upper));
    }
    for row in &program.rows {
        let what = format!("row `{}`", row.name);
        let row = row.tightened();
        let lower = row.lower.map_or(Ok(f64::NEG_INFINITY), |l| fits(&what, l))?;
        let upper = row.upper.map_or(Ok(f64::INFINITY), |u| fits(&what, u))?;
        if lower > upper {
            return Ok(Answer::without(Status::Infeasible));
        }
        let mut terms = Vec::with_capacity(row.terms.len());
        for &(c, a) in &row.terms {
            terms.push((columns[c], fits(&what, a)?));
        }
        model.add_row(lower..=upper, terms);
    }
    let sense = if program.maximise { Sense::Maximise } else { Sense::Minimise };
    let mut model = model.try_optimise(sense).map_err(|e| failed(&e))?;
    // The default relative gap of 1e-4 would call a design optimal that is not.
    let set = [model.try_set_option("mip_rel_gap", 0.0), model.try_set_option("threads", 1)];
    for option in set {
        option.map_err(|e| failed(&e))?;
    }
    if let Some(seconds) = options.seconds_max {
        model.try_set_option("time_limit", seconds).map_err(|e| failed(&e))?;
    }
    let ear = Ear::new(stop, Some(events));
    let mut started = false;
    if let Some(start) = &options.start {
        started = start_from(&mut model, program, start).map_err(|e| failed(&e))?;
    }
    let solved = ear.solve(model).map_err(|what| SolveError::Solver { what })?;
    let status = match solved.status() {
        HighsModelStatus::Optimal => Status::Optimal,
        // Every column is bounded, so "unbounded or infeasible" is infeasible.
        HighsModelStatus::Infeasible | HighsModelStatus::UnboundedOrInfeasible => Status::Infeasible,
        HighsModelStatus::ReachedTimeLimit | HighsModelStatus::ReachedInterrupt => Status::Unknown,
        other => return Err(failed(&other)),
    };
    let mut answer = Answer { nodes: nodes(&solved), started, ..Answer::without(status) };
    // On an infeasible program HiGHS still hands out numbers; none of them means anything.
    if status == Status::Infeasible {
        return Ok(answer);
    }
    let (unit, offset) = units(program);
    let bound = solved.double_info_value(c"mip_dual_bound").ok();
    answer.bound = bound.filter(|b| b.abs() < 1e100).map(|b| b * unit + offset);
    if status == Status::Unknown && solved.primal_solution_status() != HighsSolutionStatus::Feasible {
        return Ok(answer);
    }
    let values = whole(solved.get_solution().columns())?;
    program.check(&values).map_err(|broken| SolveError::NotConfirmed { what: broken.what })?;
    let objective = program
        .objective(&values)
        .ok_or_else(|| SolveError::NotConfirmed { what: "its objective does not fit".to_string() })?;
    if status == Status::Unknown {
        answer.status = Status::Feasible;
    } else if let Some(bound) = answer.bound {
        // An optimum whose own bound lies a whole step away is none.
        let value = objective as f64 / 10f64.powi(i32::from(program.scale));
        if (value - bound).abs() > 0.5 * unit + 1e-9 * value.abs() {
            let what = format!("its objective {value} is not its bound {bound}");
            return Err(SolveError::NotConfirmed { what });
        }
    }
    answer.gap = Some(solved.mip_gap()).filter(|g| g.is_finite() && *g < 1e100);
    answer.objective = Some(objective);
    answer.values = Some(values);
    Ok(answer)
}

/// Gives HiGHS a first solution if the rows allow one with these values; columns not named are found by
/// the exact search, briefly.
fn start_from(
    model: &mut highs::Model,
    program: &Program,
    start: &[(usize, i64)],
) -> Result<bool, highs::HighsStatus> {
    let mut fixed = program.clone();
    for &(c, v) in start {
        fixed.columns[c].lower = v;
        fixed.columns[c].upper = v;
    }
    let Some(values) = crate::programs::complete(&fixed, START_NODES) else { return Ok(false) };
    let values: Vec<f64> = values.into_iter().map(|v| v as f64).collect();
    model.try_set_solution(Some(&values), None, None, None)?;
    Ok(true)
}
