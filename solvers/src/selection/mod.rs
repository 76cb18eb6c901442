//! The choice: exact expectation, value at risk and CVaR of every feasible design, and the best of them.
//!
//! Rule: this scan is the truth that every other method is measured against. It looks at every design
//! and every scenario, sums in a fixed order, and says so when designs tie instead of dressing a tie up
//! as a choice: the lowest canonical design is taken and the size of the tie reported. Absent: finding
//! the feasible designs (`enumeration`), files. Start at [`select`]; for sets too large for one
//! breath, [`Evaluator::evaluate`] range by range and then [`choose`]; for spaces too large to list,
//! [`milp::least`]. [`stability`] says how far the scenarios themselves carry the choice.

mod answer;
mod evaluate;
mod frontier;
pub mod milp;
mod stability;
mod terms;

pub use answer::{Cell, Ranked, Selection, Tie, choose};
pub use evaluate::{Evaluator, Figures, Observer, THREADS_MAX};
pub use frontier::Supported;
pub use stability::{
    CANDIDATES, Gap, REPLICATES, REPLICATES_MAX, Resampling, Stability, Win, replicates_max, stability,
};
pub use terms::{Comparison, TermDifference};

use crate::costs::{CostError, CostModel};
use crate::problem::Problem;
use crate::risk::{CvarLevel, RiskError, RiskWeight};
use crate::scenarios::ScenarioSet;
use crate::space::{Design, DesignSpace};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// How near two objectives must be, relative to them, to count as equal. The same costs added in another
/// order differ by about 1e-15; no cost model is known to twelve digits.
pub const TIE_TOLERANCE: f64 = 1e-12;
/// Runners-up that [`Question::new`] asks for.
pub const RUNNERS_UP: usize = 5;
/// Levels of the sensitivity grid of [`Question::new`].
pub const GRID_LEVELS: [f64; 6] = [0.0, 0.5, 0.8, 0.9, 0.95, 0.99];
/// Weights of the sensitivity grid of [`Question::new`].
pub const GRID_WEIGHTS: [f64; 7] = [0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];

/// What the choice is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub cvar_level: CvarLevel,
    pub risk_weight: RiskWeight,
    /// How many designs to list after the chosen one.
    pub runners_up: usize,
    /// Levels and weights to repeat the choice with; those above are added if they are not among them.
    pub grid_levels: Vec<CvarLevel>,
    pub grid_weights: Vec<RiskWeight>,
}

impl Question {
    /// The usual question with five runners-up and the usual grid.
    pub fn new(cvar_level: CvarLevel, risk_weight: RiskWeight) -> Self {
        Question {
            cvar_level,
            risk_weight,
            runners_up: RUNNERS_UP,
            grid_levels: GRID_LEVELS.iter().filter_map(|&level| CvarLevel::new(level).ok()).collect(),
            grid_weights: GRID_WEIGHTS.iter().filter_map(|&weight| RiskWeight::new(weight).ok()).collect(),
        }
    }

    /// Every level whose figures are needed, ascending.
    pub fn levels(&self) -> Vec<CvarLevel> {
        let mut levels = self.grid_levels.clone();
        levels.push(self.cvar_level);
        levels.sort_by(|a, b| a.get().total_cmp(&b.get()));
        levels.dedup();
        levels
    }

    /// Every weight of the grid, ascending.
    pub fn weights(&self) -> Vec<RiskWeight> {
        let mut weights = self.grid_weights.clone();
        weights.push(self.risk_weight);
        weights.sort_by(|a, b| a.get().total_cmp(&b.get()));
        weights.dedup();
        weights
    }
}

/// Why there is no choice.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    #[error("there is no feasible design to choose from")]
    NoDesigns,
    #[error(
        "design {index} does not fit the space: {decisions} decisions with an existing option each are \
         expected, in ascending canonical order without repetition"
    )]
    NotCanonical { index: usize, decisions: usize },
    #[error("the cost model does not fit: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Model(Vec<Problem>),
    #[error(transparent)]
    Cost(#[from] CostError),
    #[error(transparent)]
    Risk(#[from] RiskError),
    #[error("stopped by the observer after {done} designs")]
    Stopped { done: usize },
    #[error("{what} is {given}; expected {expected}")]
    Resampling { what: &'static str, given: u64, expected: String },
    #[error("the figures cover {covered} of {designs} designs; evaluate the rest first")]
    Incomplete { covered: usize, designs: usize },
}

/// Code and explanation, for `executingctl explain`.
pub const CODES: &[(&str, &str)] = &[
    ("EX-0437", "There is no feasible design to choose from."),
    (
        "EX-0438",
        "A list of designs is not in ascending canonical order, or names an option that is not there.",
    ),
    ("EX-0439", "The choice was stopped before every design was looked at."),
    ("EX-0440", "The figures do not cover every design and level."),
    ("EX-0441", "The number of bootstrap replicates or candidates is out of range."),
    ("EX-0442", "HiGHS failed on the program of the choice, or its answer did not hold when it was checked."),
    ("EX-0443", "An option whose cost is not finite can be chosen, so the choice by HiGHS is refused."),
];

impl SelectionError {
    /// The stable code; of several problems the first one's.
    pub fn code(&self) -> &str {
        match self {
            SelectionError::NoDesigns => "EX-0437",
            SelectionError::NotCanonical { .. } => "EX-0438",
            SelectionError::Model(problems) => problems.first().map_or("EX-0389", |p| p.code.as_str()),
            SelectionError::Cost(error) => error.code(),
            SelectionError::Risk(error) => error.code(),
            SelectionError::Stopped { .. } => "EX-0439",
            SelectionError::Incomplete { .. } => "EX-0440",
            SelectionError::Resampling { .. } => "EX-0441",
        }
    }
}

/// Chooses among `designs`: least expectation plus weighted CVaR.
///
/// `designs` is the whole feasible set in canonical order. Cost: designs x scenarios x
/// (terms + log scenarios); 30,000 designs in 1,000 scenarios take about a second on one core.
///
/// # Errors
/// [`SelectionError`]; costs that are not finite name term, design and scenario.
pub fn select(
    space: &DesignSpace,
    designs: &[Design],
    scenarios: &ScenarioSet,
    model: &CostModel,
    question: &Question,
) -> Result<Selection, SelectionError> {
    let evaluator = Evaluator::new(space, designs, scenarios, model)?;
    let figures =
        evaluator.evaluate(0..designs.len(), &question.levels(), &mut |_, _| ControlFlow::Continue(()))?;
    choose(&evaluator, &figures, question)
}

/// A design as an object from decision to option id.
pub fn names(space: &DesignSpace, design: &[u16]) -> BTreeMap<String, String> {
    space
        .decisions
        .iter()
        .zip(design)
        .filter_map(|(decision, &option)| {
            let option = decision.options.get(usize::from(option))?;
            Some((decision.name.clone(), option.id.clone()))
        })
        .collect()
}
