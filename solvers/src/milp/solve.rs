//! One program through HiGHS, and its answer checked in exact arithmetic.
//!
//! Rule: nothing HiGHS says about a solution is believed: the values are rounded, every row is checked
//! in 128-bit integers, and the objective is recomputed. Absent: models; see [`super::model`].

use crate::programs::Program;
use highs::{HighsModelStatus, HighsSolutionStatus, RowProblem, Sense};
use serde::Serialize;

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
    #[error("a time limit must be a positive number of seconds, not {given}")]
    TimeLimit { given: String },
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
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
    if let Some(seconds) = seconds_max
        && !(seconds.is_finite() && seconds > 0.0)
    {
        return Err(SolveError::TimeLimit { given: seconds.to_string() });
    }
    if program.columns.is_empty() {
        return Ok(Answer {
            status: Status::Optimal,
            values: Some(Vec::new()),
            objective: Some(program.offset),
            bound: Some(0.0),
            gap: Some(0.0),
        });
    }
    // HiGHS keeps a scheduler per process and thread; a thread of its own keeps ours clean.
    std::thread::scope(|scope| scope.spawn(|| run(program, seconds_max)).join())
        .unwrap_or_else(|_| Err(SolveError::Solver { what: "its thread ended early".to_string() }))
}

fn run(program: &Program, seconds_max: Option<f64>) -> Result<Answer, SolveError> {
    let failed = |what: &dyn std::fmt::Debug| SolveError::Solver { what: format!("{what:?}") };
    let mut model = RowProblem::new();
    let common = program.costs.iter().fold(0, |d, c| divisor(d, c.unsigned_abs())).max(1) as i64;
    let mut columns = Vec::with_capacity(program.columns.len());
    for (column, &cost) in program.columns.iter().zip(&program.costs) {
        let cost = fits("the objective", cost / common)?;
        let (lower, upper) = (fits(&column.name, column.lower)?, fits(&column.name, column.upper)?);
        columns.push(model.add_integer_column(cost, lower..=upper));
    }
    for row in &program.rows {
        let what = format!("row `{}`", row.name);
        // Divided by the common divisor and with bounds rounded inwards, the row is tighter and smaller.
        let d = row.terms.iter().fold(0, |d, (_, a)| divisor(d, a.unsigned_abs())).max(1) as i64;
        let lower = match row.lower {
            None => f64::NEG_INFINITY,
            Some(l) => fits(&what, l.div_euclid(d) + i64::from(l.rem_euclid(d) != 0))?,
        };
        let upper = match row.upper {
            None => f64::INFINITY,
            Some(u) => fits(&what, u.div_euclid(d))?,
        };
        if lower > upper {
            return Ok(Answer {
                status: Status::Infeasible,
                values: None,
                objective: None,
                bound: None,
                gap: None,
            });
        }
        let mut terms = Vec::with_capacity(row.terms.len());
        for &(c, a) in &row.terms {
            terms.push((columns[c], fits(&what, a / d)?));
        }
        model.add_row(lower..=upper, terms);
    }
    let sense = if program.maximise { Sense::Maximise } else { Sense::Minimise };
    let mut model = model.try_optimise(sense).map_err(|e| failed(&e))?;
    model.make_quiet();
    // The default relative gap of 1e-4 would call a design optimal that is not.
    let options = [model.try_set_option("mip_rel_gap", 0.0), model.try_set_option("threads", 1)];
    for option in options {
        option.map_err(|e| failed(&e))?;
    }
    if let Some(seconds) = seconds_max {
        model.try_set_option("time_limit", seconds).map_err(|e| failed(&e))?;
    }
    let solved = model.try_solve().map_err(|e| failed(&e))?;
    let status = match solved.status() {
        HighsModelStatus::Optimal => Status::Optimal,
        HighsModelStatus::Infeasible | HighsModelStatus::UnboundedOrInfeasible => Status::Infeasible,
        HighsModelStatus::ReachedTimeLimit => Status::Unknown,
        other => return Err(failed(&other)),
    };
    let unit = common as f64 / 10f64.powi(i32::from(program.scale));
    let offset = program.offset as f64 / 10f64.powi(i32::from(program.scale));
    let bound = solved.double_info_value(c"mip_dual_bound").ok();
    let bound = bound.filter(|b| b.is_finite()).map(|b| b * unit + offset);
    if status == Status::Infeasible {
        return Ok(Answer { status, values: None, objective: None, bound: None, gap: None });
    }
    if status == Status::Unknown && solved.primal_solution_status() != HighsSolutionStatus::Feasible {
        return Ok(Answer { status, values: None, objective: None, bound, gap: None });
    }
    let mut values = Vec::with_capacity(columns.len());
    for &value in solved.get_solution().columns() {
        let whole = value.round();
        if (value - whole).abs() > 1e-3 || whole.abs() > COEFFICIENT_MAX as f64 {
            return Err(SolveError::NotConfirmed { what: format!("a column is {value}") });
        }
        values.push(whole as i64);
    }
    program.check(&values).map_err(|broken| SolveError::NotConfirmed { what: broken.what })?;
    let objective = program
        .objective(&values)
        .ok_or_else(|| SolveError::NotConfirmed { what: "its objective does not fit".to_string() })?;
    let gap = Some(solved.mip_gap()).filter(|g| g.is_finite());
    let status = if status == Status::Optimal { status } else { Status::Feasible };
    Ok(Answer { status, values: Some(values), objective: Some(objective), bound, gap })
}
