//! Expectation, value at risk and conditional value at risk of weighted scenarios.
//!
//! Figures are costs, so the bad tail is the upper one. Rule: the definitions of Rockafellar and Uryasev
//! (J. Risk 2(3), 2000), with the atom at the value at risk split, are followed to rounding; nothing is
//! rescaled silently. CVaR-QAOA's share of best samples is another thing: it is called elite fraction and
//! does not occur here. Start at [`Losses`], or at [`cvar`] for equally likely costs.

mod levels;
mod losses;

pub use levels::{CvarLevel, RiskWeight};
pub use losses::{Losses, PROBABILITY_SUM_TOLERANCE, sum, tail_weights};

/// What is wrong with a question about risk.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RiskError {
    #[error("CVaR level {given} is outside [0, 1)")]
    LevelOutOfRange { given: f64 },
    #[error("risk weight {given} is not a finite number of at least 0")]
    WeightOutOfRange { given: f64 },
    #[error("there is no scenario; at least one is needed")]
    NoScenarios,
    #[error("{costs} costs stand against {probabilities} probabilities; one each is needed")]
    LengthsDiffer { costs: usize, probabilities: usize },
    #[error("scenario {index} has cost {cost}, which is not finite")]
    CostNotFinite { index: usize, cost: f64 },
    #[error("scenario {index} has probability {probability}; it must lie in [0, 1]")]
    ProbabilityOutOfRange { index: usize, probability: f64 },
    #[error("the probabilities sum to {sum}, not to 1 within 1e-9; nothing is rescaled")]
    ProbabilitiesDoNotSumToOne { sum: f64 },
}

/// Code and explanation, for `executingctl explain`.
pub const CODES: &[(&str, &str)] = &[
    ("EX-0430", "A CVaR level lies outside [0, 1). At level a, CVaR is the mean of the worst 1 - a share."),
    ("EX-0431", "A risk weight is negative, NaN or infinite."),
    ("EX-0432", "There is no scenario, so there is no risk to speak of."),
    ("EX-0433", "There are more costs than probabilities, or fewer."),
    ("EX-0434", "A cost is NaN or infinite."),
    ("EX-0435", "A probability is negative, above 1 or NaN."),
    ("EX-0436", "Probabilities do not sum to 1 within 1e-9. They are never rescaled silently."),
];

impl RiskError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            RiskError::LevelOutOfRange { .. } => "EX-0430",
            RiskError::WeightOutOfRange { .. } => "EX-0431",
            RiskError::NoScenarios => "EX-0432",
            RiskError::LengthsDiffer { .. } => "EX-0433",
            RiskError::CostNotFinite { .. } => "EX-0434",
            RiskError::ProbabilityOutOfRange { .. } => "EX-0435",
            RiskError::ProbabilitiesDoNotSumToOne { .. } => "EX-0436",
        }
    }
}

/// Average of the worst `1 - level` share of equally likely `costs`, in the unit of the costs.
///
/// A boundary scenario counts with the share of it that lies in the tail, so the result is
/// continuous in `level`: 0 gives the mean, towards 1 the maximum. O(n log n), one allocation.
/// Rockafellar and Uryasev, J. Risk 2(3), 2000.
///
/// # Errors
/// [`RiskError::NoScenarios`] if `costs` is empty, [`RiskError::CostNotFinite`] on NaN or infinity.
///
/// ```
/// # use solvers::risk::{cvar, CvarLevel};
/// let costs = [1.0, 2.0, 3.0, 10.0];
/// assert_eq!(cvar(&costs, CvarLevel::new(0.5)?)?, 6.5); // mean of 3 and 10
/// # Ok::<(), solvers::risk::RiskError>(())
/// ```
pub fn cvar(costs: &[f64], level: CvarLevel) -> Result<f64, RiskError> {
    Ok(Losses::equally_likely(costs)?.cvar(level))
}

/// Least cost that is not exceeded with probability `level` or more, for equally likely `costs`.
///
/// # Errors
/// As [`cvar`].
pub fn value_at_risk(costs: &[f64], level: CvarLevel) -> Result<f64, RiskError> {
    Ok(Losses::equally_likely(costs)?.value_at_risk(level))
}
