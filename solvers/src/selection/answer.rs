//! From figures to the answer: the choice, its runners-up, the frontier, the sensitivity.

use super::frontier::{self, Supported};
use super::terms::{Comparison, compare};
use super::{Evaluator, Figures, Question, SelectionError, TIE_TOLERANCE, names};
use crate::risk::{CvarLevel, RiskWeight};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most tied designs that are named one by one; the size of the tie is always told.
const TIED_NAMED_MAX: usize = 20;
/// Most points of the frontier that are listed.
const FRONTIER_MAX: usize = 1000;

/// A design with its figures, in the unit of the cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    pub design: BTreeMap<String, String>,
    /// Canonical index among the feasible designs, from 0.
    pub index: usize,
    pub objective: f64,
    pub expected: f64,
    pub value_at_risk: f64,
    pub cvar: f64,
}

/// Designs whose objective equals the best one to [`TIE_TOLERANCE`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tie {
    /// How many designs share the best objective, the chosen one included; 1 means a unique choice.
    pub size: usize,
    /// Their canonical indices, ascending, the first 20.
    pub indices: Vec<usize>,
}

/// The choice at one level and weight of the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub cvar_level: CvarLevel,
    pub risk_weight: RiskWeight,
    pub index: usize,
    pub design: BTreeMap<String, String>,
    pub objective: f64,
    pub tie_size: usize,
    /// Whether it is the choice of the question asked.
    pub same_choice: bool,
}

/// The answer, with nothing in it that differs from run to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    pub design: BTreeMap<String, String>,
    pub index: usize,
    pub objective: f64,
    pub expected: f64,
    pub value_at_risk: f64,
    pub cvar: f64,
    pub cvar_level: CvarLevel,
    pub risk_weight: RiskWeight,
    pub unit: Option<String>,
    pub tie: Tie,
    /// The next best designs, best first; of equal ones the lowest canonical first.
    pub runners_up: Vec<Ranked>,
    /// The choice if only the expectation counted.
    pub risk_neutral: Ranked,
    /// Designs that none beats in both expectation and CVaR, by rising expectation; the first 1,000.
    pub frontier: Vec<Ranked>,
    /// How many designs the whole frontier has.
    pub frontier_size: usize,
    /// The corners of the frontier's lower convex hull, by rising expectation: the designs that are the
    /// choice for some risk weight, and for which. All others of the frontier are the choice for none.
    pub hull: Vec<Supported>,
    pub sensitivity: Vec<Cell>,
    /// Chosen against the risk-neutral choice (where it is another) and against the runner-up.
    pub comparisons: Vec<Comparison>,
    /// The answer in sentences.
    pub words: Vec<String>,
    pub designs: usize,
    pub scenarios: usize,
    pub scenarios_digest: String,
}

/// Answers `question` from the figures of all designs.
///
/// # Errors
/// [`SelectionError::Incomplete`] if the figures do not cover every design and level.
pub fn choose(
    evaluator: &Evaluator,
    figures: &Figures,
    question: &Question,
) -> Result<Selection, SelectionError> {
    let count = evaluator.designs.len();
    let incomplete = || SelectionError::Incomplete { covered: figures.len(), designs: count };
    if figures.first != 0 || figures.len() != count {
        return Err(incomplete());
    }
    let level = figures.level(question.cvar_level).ok_or_else(incomplete)?;
    let width = figures.levels.len();
    let weight = question.risk_weight;
    let ranked = |index: usize| Ranked {
        design: names(evaluator.space, &evaluator.designs[index]),
        index,
        objective: objective(figures, index, level, weight),
        expected: figures.expected[index],
        value_at_risk: figures.value_at_risk[index * width + level],
        cvar: figures.cvar[index * width + level],
    };

    let tied = best(figures, level, weight);
    let chosen = ranked(tied[0]);
    let mut order: Vec<(f64, usize)> = (0..count)
        .filter(|&index| index != chosen.index)
        .map(|index| (objective(figures, index, level, weight), index))
        .collect();
    let order_by = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    let wanted = question.runners_up.min(order.len());
    if wanted > 0 && wanted < order.len() {
        order.select_nth_unstable_by(wanted - 1, order_by);
        order.truncate(wanted);
    }
    order.truncate(wanted);
    order.sort_unstable_by(order_by);
    let runners_up: Vec<Ranked> = order.iter().map(|&(_, index)| ranked(index)).collect();

    let neutral = ranked(best(figures, level, RiskWeight::NEUTRAL)[0]);
    let mut sensitivity = Vec::new();
    for cvar_level in question.levels() {
        let at = figures.level(cvar_level).ok_or_else(incomplete)?;
        for risk_weight in question.weights() {
            let tied = best(figures, at, risk_weight);
            sensitivity.push(Cell {
                cvar_level,
                risk_weight,
                index: tied[0],
                design: names(evaluator.space, &evaluator.designs[tied[0]]),
                objective: objective(figures, tied[0], at, risk_weight),
                tie_size: tied.len(),
                same_choice: tied[0] == chosen.index,
            });
        }
    }

    let cvar: Vec<f64> = figures.cvar.iter().skip(level).step_by(width).copied().collect();
    let mut frontier = frontier::pareto(&figures.expected, &cvar);
    let frontier_size = frontier.len();
    let hull = frontier::hull(&figures.expected, &cvar, &frontier)
        .into_iter()
        .map(|corner| Supported {
            design: names(evaluator.space, &evaluator.designs[corner.index]),
            index: corner.index,
            expected: figures.expected[corner.index],
            cvar: cvar[corner.index],
            weight_from: corner.from,
            weight_to: corner.to,
        })
        .collect();
    frontier.truncate(FRONTIER_MAX);

    let mut comparisons = Vec::new();
    if neutral.index != chosen.index {
        comparisons.push(compare(
            evaluator,
            chosen.index,
            neutral.index,
            "risk-neutral choice",
            question.cvar_level,
            weight,
        )?);
    }
    if let Some(next) = runners_up.first()
        && next.index != neutral.index
    {
        comparisons.push(compare(
            evaluator,
            chosen.index,
            next.index,
            "runner-up",
            question.cvar_level,
            weight,
        )?);
    }
    let mut words = vec![if tied.len() == 1 {
        format!("One of {count} feasible designs has the least objective.")
    } else {
        format!(
            "{} of {count} feasible designs have the same least objective; the lowest in canonical order \
             is named, which is no choice between them.",
            tied.len()
        )
    }];
    words.push(if neutral.index == chosen.index {
        "The risk-neutral choice is the same design.".into()
    } else {
        "The risk-neutral choice is another design.".into()
    });
    words.extend(comparisons.iter().map(|c| c.words.clone()));
    words.extend(evaluator.model.notes.iter().cloned());

    Ok(Selection {
        design: chosen.design.clone(),
        index: chosen.index,
        objective: chosen.objective,
        expected: chosen.expected,
        value_at_risk: chosen.value_at_risk,
        cvar: chosen.cvar,
        cvar_level: question.cvar_level,
        risk_weight: weight,
        unit: evaluator.model.unit.clone(),
        tie: Tie { size: tied.len(), indices: tied.into_iter().take(TIED_NAMED_MAX).collect() },
        frontier: frontier.into_iter().map(ranked).collect(),
        frontier_size,
        hull,
        risk_neutral: neutral,
        runners_up,
        sensitivity,
        comparisons,
        words,
        designs: count,
        scenarios: evaluator.scenarios.len(),
        scenarios_digest: evaluator.scenarios.digest(),
    })
}

fn objective(figures: &Figures, index: usize, level: usize, weight: RiskWeight) -> f64 {
    figures.expected[index] + weight.get() * figures.cvar[index * figures.levels.len() + level]
}

/// All designs with the least objective, ascending; never empty.
fn best(figures: &Figures, level: usize, weight: RiskWeight) -> Vec<usize> {
    let least = (0..figures.len())
        .map(|index| objective(figures, index, level, weight))
        .fold(f64::INFINITY, f64::min);
    let reach = least + least.abs() * TIE_TOLERANCE;
    (0..figures.len()).filter(|&index| objective(figures, index, level, weight) <= reach).collect()
}
