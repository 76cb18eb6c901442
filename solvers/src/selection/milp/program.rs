//! The program of the choice, handed to HiGHS, and its answer in the unit of the cost.
//!
//! Costs are shifted and scaled so that the rows of the scenarios hold figures from 0 to about 1: HiGHS's
//! tolerances are absolute. Rule: options and rows of the space go in as the 0-1 program has them, whole
//! numbers; only the rows of the scenarios are floating point.

use super::{ChoiceError, TOLERANCE};
use crate::costs::LinearCost;
use crate::milp::{COEFFICIENT_MAX, Status};
use crate::programs::Program;
use highs::{Col, HighsModelStatus, HighsSolutionStatus, RowProblem, Sense};

#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub level: f64,
    pub weight: f64,
    pub seconds_max: Option<f64>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub status: Status,
    /// Values of the program's own columns.
    pub values: Option<Vec<i64>>,
    /// In the unit of the cost.
    pub bound: Option<f64>,
    pub columns: usize,
    pub rows: usize,
}

/// Costs as the rows see them: `base[s] + sum of parts`, less `shift`, over `scale`.
struct Scaled {
    base: Vec<f64>,
    /// Column of the program, and its figure by scenario (0 or more, the least option's is 0).
    parts: Vec<(usize, Vec<f64>)>,
    shift: f64,
    scale: f64,
    /// Greatest scaled cost that any choice of options has.
    top: f64,
}

fn scaled(cost: &LinearCost, starts: &[usize]) -> Scaled {
    let scenarios = cost.base.len();
    let mut base = cost.base.clone();
    let mut reach = vec![0.0f64; scenarios];
    let mut parts = Vec::new();
    for (decision, options) in &cost.parts {
        for s in 0..scenarios {
            let least = options.iter().map(|o| o[s]).fold(f64::INFINITY, f64::min);
            let most = options.iter().map(|o| o[s]).fold(f64::NEG_INFINITY, f64::max);
            base[s] += least;
            reach[s] += most - least;
        }
        let least: Vec<f64> =
            (0..scenarios).map(|s| options.iter().map(|o| o[s]).fold(f64::INFINITY, f64::min)).collect();
        for (option, figures) in options.iter().enumerate() {
            let column: Vec<f64> = figures.iter().zip(&least).map(|(x, least)| x - least).collect();
            parts.push((starts[*decision] + option, column));
        }
    }
    let shift = base.iter().copied().fold(f64::INFINITY, f64::min);
    let top = base.iter().zip(&reach).map(|(b, r)| b - shift + r).fold(0.0, f64::max);
    let scale = if top > 0.0 { top } else { 1.0 };
    base.iter_mut().for_each(|b| *b = (*b - shift) / scale);
    for (_, column) in &mut parts {
        column.iter_mut().for_each(|x| *x /= scale);
    }
    Scaled { base, parts, shift, scale, top: top / scale }
}

/// Solves on a thread of its own: HiGHS keeps a scheduler per process and thread.
pub(super) fn solve(
    program: &Program,
    starts: &[usize],
    cost: &LinearCost,
    probability: &[f64],
    question: Question,
) -> Result<Answer, ChoiceError> {
    let costs = scaled(cost, starts);
    std::thread::scope(|scope| {
        scope.spawn(|| run(program, cost, starts, &costs, probability, question)).join()
    })
    .unwrap_or_else(|_| Err(ChoiceError::Solver { what: "its thread ended early".into() }))
}

fn fits(what: &str, value: i64) -> Result<f64, ChoiceError> {
    if value.unsigned_abs() > COEFFICIENT_MAX.unsigned_abs() {
        return Err(ChoiceError::Solver {
            what: format!("{what} has the coefficient {value}, HiGHS is given at most {COEFFICIENT_MAX}"),
        });
    }
    Ok(value as f64)
}

fn run(
    program: &Program,
    cost: &LinearCost,
    starts: &[usize],
    costs: &Scaled,
    probability: &[f64],
    question: Question,
) -> Result<Answer, ChoiceError> {
    let failed = |what: &dyn std::fmt::Debug| ChoiceError::Solver { what: format!("{what:?}") };
    let Question { level, weight, seconds_max } = question;
    let mut model = RowProblem::new();
    let mut mean = vec![0.0; program.columns.len()];
    for (column, figures) in &costs.parts {
        mean[*column] = crate::risk::sum(figures.iter().zip(probability).map(|(x, p)| x * p));
    }
    // Everything the objective holds beside the columns.
    let fixed = crate::risk::sum(costs.base.iter().zip(probability).map(|(x, p)| x * p));
    let mut columns: Vec<Col> = Vec::with_capacity(program.columns.len());
    for (at, column) in program.columns.iter().enumerate() {
        let is_here =
            |decision: usize, option: usize| starts.get(decision).is_some_and(|start| start + option == at);
        let excluded = cost.unusable.iter().any(|u| is_here(u.decision, u.option))
            || cost.impossible.iter().any(|&(decision, option)| is_here(decision, option));
        let upper = if excluded { 0 } else { column.upper };
        let (lower, upper) = (fits(&column.name, column.lower)?, fits(&column.name, upper)?);
        columns.push(model.add_integer_column(mean[at], lower..=upper));
    }
    let no_design =
        |columns, rows| Answer { status: Status::Infeasible, values: None, bound: None, columns, rows };
    for row in &program.rows {
        let what = format!("row `{}`", row.name);
        let row = row.tightened();
        let lower = row.lower.map_or(Ok(f64::NEG_INFINITY), |l| fits(&what, l))?;
        let upper = row.upper.map_or(Ok(f64::INFINITY), |u| fits(&what, u))?;
        if lower > upper {
            return Ok(no_design(model.num_cols(), model.num_rows()));
        }
        let terms: Result<Vec<(Col, f64)>, ChoiceError> =
            row.terms.iter().map(|&(c, a)| Ok((columns[c], fits(&what, a)?))).collect();
        model.add_row(lower..=upper, terms?);
    }
    if weight > 0.0 {
        // The value at risk lies among the costs.
        let z = model.add_column(weight, 0.0..=costs.top);
        for (s, &p) in probability.iter().enumerate() {
            if p == 0.0 {
                continue;
            }
            let u = model.add_column(weight * p / (1.0 - level), 0.0..);
            let mut terms = vec![(u, 1.0), (z, 1.0)];
            terms.extend(costs.parts.iter().filter(|(_, x)| x[s] != 0.0).map(|(c, x)| (columns[*c], -x[s])));
            model.add_row(costs.base[s].., terms);
        }
    }
    let (size, rows) = (model.num_cols(), model.num_rows());
    let mut model = model.try_optimise(Sense::Minimise).map_err(|e| failed(&e))?;
    model.make_quiet();
    let options = [
        // The defaults would call a design optimal that is not.
        model.try_set_option("mip_rel_gap", 0.0),
        model.try_set_option("mip_abs_gap", 0.0),
        model.try_set_option("mip_feasibility_tolerance", TOLERANCE),
        model.try_set_option("primal_feasibility_tolerance", TOLERANCE),
        model.try_set_option("dual_feasibility_tolerance", TOLERANCE),
        model.try_set_option("threads", 1),
    ];
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
    if status == Status::Infeasible {
        return Ok(no_design(size, rows));
    }
    let bound = solved
        .double_info_value(c"mip_dual_bound")
        .ok()
        .filter(|bound| bound.is_finite())
        .map(|bound| (bound + fixed) * costs.scale + (1.0 + weight) * costs.shift);
    if status == Status::Unknown && solved.primal_solution_status() != HighsSolutionStatus::Feasible {
        return Ok(Answer { status, values: None, bound, columns: size, rows });
    }
    let mut values = Vec::with_capacity(columns.len());
    for &value in solved.get_solution().columns().iter().take(columns.len()) {
        let whole = value.round();
        if (value - whole).abs() > 1e-3 || whole.abs() > COEFFICIENT_MAX as f64 {
            return Err(ChoiceError::Solver { what: format!("a column that must be whole is {value}") });
        }
        values.push(whole as i64);
    }
    program.check(&values).map_err(|broken| ChoiceError::Solver {
        what: format!("its solution does not hold exactly: {}", broken.what),
    })?;
    let status = if status == Status::Optimal { status } else { Status::Feasible };
    Ok(Answer { status, values: Some(values), bound, columns: size, rows })
}
