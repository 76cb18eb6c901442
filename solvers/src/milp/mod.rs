//! HiGHS as a second, independent view of a design space: feasible or not, optimum and bound.
//!
//! Rule: what comes out has been re-checked against the raw model in exact arithmetic; a verdict
//! "infeasible" can be confirmed by the exact search ([`crate::enumeration::any`]). Start at
//! [`optimum`]; [`conflict`] explains an infeasible space, [`removal`] what each constraint does.

pub mod conflict;
pub mod describe;
pub(crate) mod highs;
mod model;
pub mod removal;
mod solve;

pub use highs::version as highs_version;
pub use model::{SpaceModel, model};
pub use solve::{
    Answer, COEFFICIENT_MAX, Incumbent, Silent, SolveError, SolveObserver, SolveOptions, Solving, Status,
    solve, solve_with,
};

use crate::recheck;
use crate::space::{Decimal, Design, DesignSpace, ExactError, Objective};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MilpError {
    #[error("constraint `{constraint}`: {error}")]
    Exact { constraint: String, error: ExactError },
    #[error(transparent)]
    Solve(#[from] SolveError),
    #[error("the design that HiGHS chose breaks `{constraint}`: {what}; use the exact search")]
    NotConfirmed { constraint: String, what: String },
}

/// The optimum of a space, or how far the solver came.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimum {
    pub status: Status,
    /// Exact objective of `design`; absent without an objective.
    pub objective: Option<Decimal>,
    /// Re-checked against every constraint.
    pub design: Option<Design>,
    /// Proven limit: no design is better than this.
    pub bound: Option<f64>,
    /// Relative distance of objective and bound.
    pub gap: Option<f64>,
    /// The observer ended it.
    pub interrupted: bool,
    /// Nodes of the tree search; 0 if presolve was enough.
    pub nodes: u64,
    /// Whether a starting design was taken.
    pub started: bool,
}

/// The best design of `space` by `objective` (usually the space's own; `None` asks for any design).
///
/// `seconds_max` bounds the solver; then the status may be feasible or unknown.
///
/// # Errors
/// [`MilpError`]: numbers that do not fit, a failure of HiGHS, an answer that does not hold exactly.
pub fn optimum(
    space: &DesignSpace,
    objective: Option<&Objective>,
    seconds_max: Option<f64>,
) -> Result<Optimum, MilpError> {
    optimum_with(space, objective, seconds_max, None, &mut Silent)
}

/// As [`optimum`], from the design `start` if it is feasible, watched by `observer`, who hears of better
/// designs (checked) and may end it; then the status is feasible or unknown.
///
/// # Errors
/// As [`optimum`].
pub fn optimum_with(
    space: &DesignSpace,
    objective: Option<&Objective>,
    seconds_max: Option<f64>,
    start: Option<&[u16]>,
    observer: &mut dyn SolveObserver,
) -> Result<Optimum, MilpError> {
    let model = model(space, objective)?;
    let start = start.map(|design| model.switches(design));
    let options = SolveOptions { seconds_max, start };
    let answer = solve_with(&model.program, &options, observer)?;
    let mut optimum = Optimum {
        status: answer.status,
        objective: None,
        design: None,
        bound: answer.bound.filter(|_| objective.is_some()),
        gap: answer.gap.filter(|_| objective.is_some()),
        interrupted: answer.interrupted,
        nodes: answer.nodes,
        started: answer.started,
    };
    let Some(values) = &answer.values else {
        return Ok(optimum);
    };
    let design = model.design(space, values).ok_or_else(|| MilpError::NotConfirmed {
        constraint: "design".to_string(),
        what: "a decision has no chosen option".to_string(),
    })?;
    if let Some((constraint, what)) = recheck::violations(space, &design).into_iter().next() {
        return Err(MilpError::NotConfirmed { constraint, what });
    }
    optimum.design = Some(design);
    if objective.is_some() {
        optimum.objective =
            answer.objective.map(|mantissa| Decimal { mantissa, scale: model.program.scale }.normalised());
    }
    Ok(optimum)
}

/// Smallest and largest sum of `attribute` that a feasible design can have, each as an [`Optimum`].
///
/// # Errors
/// As [`optimum`].
pub fn attribute_range(
    space: &DesignSpace,
    attribute: &str,
    missing: Option<Decimal>,
    seconds_max: Option<f64>,
) -> Result<(Optimum, Optimum), MilpError> {
    attribute_range_with(space, attribute, missing, seconds_max, &mut Silent)
}

/// As [`attribute_range`], watched by `observer`.
///
/// # Errors
/// As [`optimum`].
pub fn attribute_range_with(
    space: &DesignSpace,
    attribute: &str,
    missing: Option<Decimal>,
    seconds_max: Option<f64>,
    observer: &mut dyn SolveObserver,
) -> Result<(Optimum, Optimum), MilpError> {
    let toward = |maximise| Objective { attribute: attribute.to_string(), maximise, missing };
    let low = optimum_with(space, Some(&toward(false)), seconds_max, None, observer)?;
    let high = optimum_with(space, Some(&toward(true)), seconds_max, None, observer)?;
    Ok((low, high))
}
