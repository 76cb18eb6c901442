//! The cost of a design as the sum of what its options cost, where the model allows it.
//!
//! A model over 0-1 variables needs this; the scan does not. Rule: a model that is no such sum is refused
//! with the term and the reason, never approximated. Start at [`BoundModel::linear`].

use super::bind::{BoundModel, Figures, Slot};
use super::formula::Column;
use super::spread::Spread;
use super::{Gather, codes};

/// Most figures (options times scenarios) of a spread cost: 160 MB.
pub const SPREAD_FIGURES_MAX: usize = 20_000_000;

/// Why the cost is no sum over decisions.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotLinear {
    #[error(
        "EX-0402: the term `{term}` is no sum over decisions: {reason}; list the designs and scan them, or \
         write the term as a sum of parts that look at one decision each"
    )]
    Coupled { term: String, reason: String },
    #[error(
        "EX-0399: the term `{term}` is {value} in scenario {scenario} (counted from 0) for every design; a \
         cost must be finite"
    )]
    NotFinite { term: String, scenario: usize, value: f64 },
    #[error(
        "EX-0403: {figures} figures (options times scenarios) are too many, the limit is {SPREAD_FIGURES_MAX}; \
         use fewer scenarios"
    )]
    TooLarge { figures: usize },
    #[error("EX-0389: the formula of the term `{term}` cannot be evaluated: {reason}")]
    Formula { term: String, reason: String },
}

impl NotLinear {
    /// The stable code, as in the message.
    pub fn code(&self) -> &'static str {
        match self {
            NotLinear::Coupled { .. } => codes::COUPLED,
            NotLinear::NotFinite { .. } => codes::TERM_NOT_FINITE,
            NotLinear::TooLarge { .. } => codes::SPREAD,
            NotLinear::Formula { .. } => codes::FORMULA,
        }
    }
}

/// An option whose cost is not finite (or not stated) in some scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Unusable {
    pub decision: usize,
    pub option: usize,
    pub term: String,
    /// Counted from 0.
    pub scenario: usize,
}

/// Cost of a design in scenario `s`: `base[s]` plus, for every decision, `parts[..][option][s]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinearCost {
    pub base: Vec<f64>,
    /// Decision, then option, then scenario; only decisions that change the cost.
    pub parts: Vec<(usize, Vec<Vec<f64>>)>,
    /// Options that must not be chosen; their figures in `parts` are 0.
    pub unusable: Vec<Unusable>,
    /// Decision and option of those that the caller called impossible; nothing is known of their cost.
    pub impossible: Vec<(usize, usize)>,
}

impl BoundModel {
    /// The model's cost as a sum over decisions, to rounding.
    ///
    /// `possible` says by decision and option which options some feasible design has, where that is known:
    /// a figure that only the others lack is no obstacle.
    ///
    /// Cost: terms x options x scenarios, and as much memory.
    ///
    /// # Errors
    /// [`NotLinear`]: a term that ties decisions together, too many figures, a cost that is not finite.
    pub fn linear(&self, possible: Option<&[Vec<bool>]>) -> Result<LinearCost, NotLinear> {
        let scenarios = self.scenarios();
        let options: usize = self.options().iter().sum();
        let figures = (options + 1).saturating_mul(scenarios);
        if figures > SPREAD_FIGURES_MAX {
            return Err(NotLinear::TooLarge { figures });
        }
        let attributes: Vec<Spread> =
            self.figures.iter().map(|figures| attribute(figures, possible)).collect();
        let impossible = possible.unwrap_or_default().iter().enumerate().flat_map(|(decision, options)| {
            let not = options.iter().enumerate().filter(|(_, possible)| !**possible);
            not.map(move |(option, _)| (decision, option))
        });
        let mut cost = LinearCost {
            base: vec![0.0; scenarios],
            impossible: impossible.collect(),
            ..LinearCost::default()
        };
        for term in &self.terms {
            let values: Vec<Spread> = term
                .slots
                .iter()
                .map(|slot| match slot {
                    Slot::Attribute(index) => attributes[*index].clone(),
                    Slot::Fixed(column) => Spread::fixed(column.clone()),
                })
                .collect();
            let spread = term
                .formula
                .spread(&values)
                .map_err(|reason| NotLinear::Formula { term: term.name.clone(), reason })?;
            match spread {
                Spread::Coupled(reason) => {
                    return Err(NotLinear::Coupled { term: term.name.clone(), reason });
                }
                Spread::Parts { base, parts } => {
                    add(&mut cost.base, &base);
                    if let Some(scenario) = odd(&base) {
                        let value = figure(&base, scenario);
                        return Err(NotLinear::NotFinite { term: term.name.clone(), scenario, value });
                    }
                    for (decision, column) in parts {
                        self.add_part(&mut cost, &term.name, decision, &column);
                    }
                }
            }
        }
        cost.parts.sort_by_key(|(decision, _)| *decision);
        Ok(cost)
    }

    fn add_part(&self, cost: &mut LinearCost, term: &str, decision: usize, column: &[Column]) {
        let at = match cost.parts.iter().position(|(d, _)| *d == decision) {
            Some(at) => at,
            None => {
                let empty = vec![vec![0.0; self.scenarios()]; self.options()[decision]];
                cost.parts.push((decision, empty));
                cost.parts.len() - 1
            }
        };
        for (option, figures) in column.iter().enumerate() {
            match odd(figures) {
                None => add(&mut cost.parts[at].1[option], figures),
                Some(scenario) => {
                    cost.unusable.push(Unusable { decision, option, term: term.to_string(), scenario });
                }
            }
        }
    }
}

fn add(sum: &mut [f64], column: &Column) {
    match column.figures() {
        [same] => sum.iter_mut().for_each(|s| *s += same),
        each => sum.iter_mut().zip(each).for_each(|(s, x)| *s += x),
    }
}

fn odd(column: &Column) -> Option<usize> {
    column.figures().iter().position(|x| !x.is_finite())
}

fn figure(column: &Column, scenario: usize) -> f64 {
    let figures = column.figures();
    figures.get(scenario).or(figures.first()).copied().unwrap_or(f64::NAN)
}

/// The figures of an attribute by decision and option, or why it is no sum over decisions.
fn attribute(figures: &Figures, possible: Option<&[Vec<bool>]>) -> Spread {
    let rule = &figures.rule;
    let is_possible = |decision: usize, option: usize| {
        possible.and_then(|all| all.get(decision)?.get(option).copied()).unwrap_or(true)
    };
    let some = |decision: usize, column: &[Option<f64>]| {
        column.iter().enumerate().any(|(option, x)| x.is_some() && is_possible(decision, option))
    };
    let always = |decision: usize, column: &[Option<f64>]| {
        column.iter().enumerate().all(|(option, x)| x.is_some() || !is_possible(decision, option))
    };
    let stated: Vec<&(usize, Vec<Option<f64>>)> =
        figures.by_decision.iter().filter(|(decision, column)| some(*decision, column)).collect();
    // Not a number stands for "no figure": every operation keeps it, and the option is refused by it.
    let missing = rule.missing.unwrap_or(f64::NAN);
    let part = |column: &[Option<f64>], otherwise: f64, times: f64| -> Vec<Column> {
        column.iter().map(|x| Column::Same(x.unwrap_or(otherwise) * times)).collect()
    };
    let name = &rule.name;
    let sum = |times: f64| {
        let parts = stated.iter().map(|(d, column)| (*d, part(column, 0.0, times))).collect();
        Spread::Parts { base: Column::default(), parts }
    };
    match (&stated[..], &rule.gather) {
        ([], _) => Spread::fixed(Column::Same(missing)),
        ([(decision, column)], _) => {
            Spread::Parts { base: Column::default(), parts: [(*decision, part(column, missing, 1.0))].into() }
        }
        (several, gather) => match gather {
            Gather::Sum if missing == 0.0 || several.iter().any(|(d, column)| always(*d, column)) => sum(1.0),
            Gather::Sum => {
                Spread::Coupled(format!("the sum `{name}` depends on whether any option states it"))
            }
            Gather::Mean if several.iter().all(|(d, column)| always(*d, column)) => {
                sum(1.0 / several.len() as f64)
            }
            Gather::Mean => {
                Spread::Coupled(format!("how many options the mean `{name}` is over depends on the design"))
            }
            Gather::Product => Spread::Coupled(format!("`{name}` is a product over decisions")),
            Gather::Max | Gather::Min => Spread::Coupled(format!("`{name}` is an extreme over decisions")),
            // Names one decision, so that several are impossible.
            Gather::Decision(_) => sum(1.0),
        },
    }
}
