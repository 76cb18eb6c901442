//! The choice by HiGHS, for spaces too large to list: least expectation plus weighted CVaR, with a bound.
//!
//! The program is the one of Rockafellar and Uryasev (J. Risk 2(3), 2000) over the 0-1 program of the
//! space: minimise E + weight x (z + sum of p u / (1 - level)) with u >= cost - z and u >= 0 in every
//! scenario. Rule: nothing HiGHS says about a design is believed: the design is checked against every
//! constraint in exact arithmetic and costed anew by the formulas of the scan. The bound is HiGHS's own,
//! true to its tolerances ([`TOLERANCE`] of the range of the costs). Absent: ties (HiGHS gives one of
//! equal designs, not the lowest), runners-up. Start at [`least`].

mod program;

use crate::costs::{CostModel, LinearCost, NotLinear};
use crate::milp::{MilpError, Status};
use crate::risk::{CvarLevel, RiskWeight};
use crate::scenarios::ScenarioSet;
use crate::selection::{Evaluator, SelectionError, names};
use crate::space::{Constraint, Design, DesignSpace, Rule};
use crate::{milp, recheck};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// HiGHS's feasibility tolerance here. Costs are scaled to about 1, so this is a share of their range.
pub const TOLERANCE: f64 = 1e-9;

/// Most options that HiGHS is asked about one by one: some milliseconds each.
const OPTIONS_ASKED_MAX: usize = 2_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error(transparent)]
    NotLinear(#[from] NotLinear),
    #[error("EX-0442: {0}")]
    Space(#[from] MilpError),
    #[error("EX-0442: HiGHS gave no usable answer ({what}); list the designs and scan them")]
    Solver { what: String },
    #[error(
        "EX-0443: the term `{term}` is not finite in scenario {scenario} (counted from 0) for every design with \
         option `{option}` of `{decision}`, and such designs are feasible; state the figure, or forbid the option"
    )]
    Unusable { term: String, scenario: usize, decision: String, option: String },
    #[error("a time limit must be a positive number of seconds, not {given}")]
    TimeLimit { given: f64 },
}

impl ChoiceError {
    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            ChoiceError::Selection(error) => error.code(),
            ChoiceError::NotLinear(error) => error.code(),
            ChoiceError::Space(_) | ChoiceError::Solver { .. } => "EX-0442",
            ChoiceError::Unusable { .. } => "EX-0443",
            ChoiceError::TimeLimit { .. } => "EX-0511",
        }
    }
}

/// A design with the figures of the scan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    pub design: BTreeMap<String, String>,
    #[serde(skip)]
    pub positions: Design,
    pub objective: f64,
    pub expected: f64,
    pub value_at_risk: f64,
    pub cvar: f64,
}

/// How far HiGHS came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Least {
    pub status: Status,
    /// The best design, checked and costed by the scan; absent if there is none or none was found in time.
    #[serde(flatten)]
    pub found: Option<Found>,
    /// No design of the space has a lower objective, to the solver's tolerances.
    pub bound: Option<f64>,
    /// Objective less bound, in the unit of the cost; not below 0.
    pub gap: Option<f64>,
    /// Variables and rows of the program.
    pub columns: usize,
    pub rows: usize,
}

/// The design of least expectation plus weighted CVaR over the whole of `space`.
///
/// The costs must be a sum over decisions ([`NotLinear`] says which term is none). `seconds_max` bounds
/// the solver; then the status may be feasible (a design and a bound) or unknown (perhaps a bound).
///
/// # Errors
/// [`ChoiceError`]: inputs that do not fit, a cost that is no such sum, a failure of HiGHS, an answer that
/// does not hold.
pub fn least(
    space: &DesignSpace,
    scenarios: &ScenarioSet,
    model: &CostModel,
    level: CvarLevel,
    weight: RiskWeight,
    seconds_max: Option<f64>,
) -> Result<Least, ChoiceError> {
    if let Some(seconds) = seconds_max
        && !(seconds.is_finite() && seconds > 0.0)
    {
        return Err(ChoiceError::TimeLimit { given: seconds });
    }
    // Refuses probabilities that are none, as the scan does.
    crate::risk::Losses::new(&vec![0.0; scenarios.len()], &scenarios.probability)
        .map_err(SelectionError::from)?;
    let bound_model = model.bind(space, scenarios).map_err(SelectionError::Model)?;
    let cost = match bound_model.linear(None) {
        // What ties decisions together may be options that no feasible design has.
        Err(NotLinear::Coupled { .. }) => bound_model.linear(Some(&possible(space)?))?,
        other => other?,
    };
    refuse_reachable(space, &cost)?;
    let of_space = milp::model(space, None)?;
    let question = program::Question { level: level.get(), weight: weight.get(), seconds_max };
    let answer =
        program::solve(&of_space.program, &of_space.starts, &cost, &scenarios.probability, question)?;
    let mut least = Least {
        status: answer.status,
        found: None,
        bound: answer.bound,
        gap: None,
        columns: answer.columns,
        rows: answer.rows,
    };
    let Some(values) = &answer.values else {
        return Ok(least);
    };
    let design = of_space
        .design(space, values)
        .ok_or_else(|| ChoiceError::Solver { what: "a decision has no chosen option".into() })?;
    if let Some((constraint, what)) = recheck::violations(space, &design).into_iter().next() {
        return Err(MilpError::NotConfirmed { constraint, what }.into());
    }
    let one = [design.clone()];
    let evaluator = Evaluator::new(space, &one, scenarios, model)?;
    let figures = evaluator.evaluate(0..1, &[level], &mut |_: usize, _: usize| ControlFlow::Continue(()))?;
    let objective = figures.expected[0] + weight.get() * figures.cvar[0];
    // The design is feasible, so whatever lies above its objective is rounding and no bound.
    least.bound = least.bound.map(|bound| bound.min(objective));
    least.gap = least.bound.map(|bound| objective - bound);
    least.found = Some(Found {
        design: names(space, &design),
        positions: design,
        objective,
        expected: figures.expected[0],
        value_at_risk: figures.value_at_risk[0],
        cvar: figures.cvar[0],
    });
    Ok(least)
}

/// Whether some feasible design has the option; HiGHS must prove that none has.
fn is_possible(space: &DesignSpace, decision: usize, option: usize) -> Result<bool, MilpError> {
    let Ok(position) = u16::try_from(option) else { return Ok(true) };
    let mut with = space.clone();
    with.constraints.push(Constraint {
        name: "the option is chosen".into(),
        rule: Rule::Allowed { decisions: vec![decision], tuples: vec![vec![position]] },
        line: 0,
    });
    Ok(milp::optimum(&with, None, None)?.status != Status::Infeasible)
}

/// [`is_possible`] by decision and option; in a space of very many options all count as possible.
fn possible(space: &DesignSpace) -> Result<Vec<Vec<bool>>, MilpError> {
    let options: usize = space.decisions.iter().map(|d| d.options.len()).sum();
    let decisions = space.decisions.iter().enumerate();
    decisions
        .map(|(at, decision)| {
            let each = 0..decision.options.len();
            each.map(|option| Ok(options > OPTIONS_ASKED_MAX || is_possible(space, at, option)?)).collect()
        })
        .collect()
}

/// An option without a finite cost does no harm where no feasible design has it.
fn refuse_reachable(space: &DesignSpace, cost: &LinearCost) -> Result<(), ChoiceError> {
    for unusable in &cost.unusable {
        if cost.impossible.contains(&(unusable.decision, unusable.option)) {
            continue;
        }
        if is_possible(space, unusable.decision, unusable.option)? {
            let decision = &space.decisions[unusable.decision];
            return Err(ChoiceError::Unusable {
                term: unusable.term.clone(),
                scenario: unusable.scenario,
                decision: decision.name.clone(),
                option: decision.options[unusable.option].id.clone(),
            });
        }
    }
    Ok(())
}
