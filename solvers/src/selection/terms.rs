//! Which term of the cost makes the difference between two designs, in figures and in words.

use super::{Evaluator, SelectionError};
use crate::costs::Columns;
use crate::risk::{CvarLevel, RiskWeight, sum, tail_weights};
use serde::{Deserialize, Serialize};

/// One term's part in the difference: chosen minus other, in the unit of the cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TermDifference {
    pub term: String,
    /// Expectation of the term under the chosen and the other design.
    pub expected: f64,
    pub expected_other: f64,
    /// Part of the term in each design's own CVaR; over the terms they sum to it.
    pub tail: f64,
    pub tail_other: f64,
    /// Part in the difference of the objectives: negative speaks for the chosen design.
    pub objective_difference: f64,
}

/// The chosen design beside another, term by term.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Canonical index of the other design.
    pub other: usize,
    /// What the other design is: `risk-neutral choice` or `runner-up`.
    pub role: String,
    pub terms: Vec<TermDifference>,
    /// The term that speaks most for the chosen design; absent when nothing differs.
    pub decisive_term: Option<String>,
    pub words: String,
}

/// Compares two designs by term, in expectation and in the tail.
pub(super) fn compare(
    evaluator: &Evaluator,
    chosen: usize,
    other: usize,
    role: &str,
    level: CvarLevel,
    weight: RiskWeight,
) -> Result<Comparison, SelectionError> {
    let (expected, tail) = by_term(evaluator, chosen, level)?;
    let (expected_other, tail_other) = by_term(evaluator, other, level)?;
    let terms: Vec<TermDifference> = evaluator
        .model
        .term_names()
        .enumerate()
        .map(|(t, name)| TermDifference {
            term: name.to_string(),
            expected: expected[t],
            expected_other: expected_other[t],
            tail: tail[t],
            tail_other: tail_other[t],
            objective_difference: (expected[t] - expected_other[t])
                + weight.get() * (tail[t] - tail_other[t]),
        })
        .collect();
    let scale: f64 = terms.iter().map(|t| t.expected.abs() + t.tail.abs()).sum();
    let decisive = terms
        .iter()
        .filter(|t| t.objective_difference < -super::TIE_TOLERANCE * scale)
        .min_by(|a, b| a.objective_difference.total_cmp(&b.objective_difference));
    let words = words(&terms, decisive, role, level);
    Ok(Comparison {
        other,
        role: role.to_string(),
        decisive_term: decisive.map(|t| t.term.clone()),
        words,
        terms,
    })
}

/// Expectation and part of the CVaR of every term.
fn by_term(
    evaluator: &Evaluator,
    index: usize,
    level: CvarLevel,
) -> Result<(Vec<f64>, Vec<f64>), SelectionError> {
    let scenarios = evaluator.scenarios.len();
    let mut columns = vec![vec![0.0; scenarios]; evaluator.model.term_names().count()];
    let mut total = vec![0.0; scenarios];
    Columns::new(&evaluator.model).by_term(&evaluator.designs[index], &mut columns, &mut total)?;
    let probability = &evaluator.scenarios.probability;
    let weights = tail_weights(&total, probability, level)?;
    let mean = |weights: &[f64]| {
        columns.iter().map(|column| sum(column.iter().zip(weights).map(|(c, w)| c * w))).collect::<Vec<f64>>()
    };
    Ok((mean(probability), mean(&weights)))
}

fn words(
    terms: &[TermDifference],
    decisive: Option<&TermDifference>,
    role: &str,
    level: CvarLevel,
) -> String {
    let Some(decisive) = decisive else {
        return format!("The chosen design and the {role} do not differ in cost.");
    };
    let expected: f64 = terms.iter().map(|t| t.expected - t.expected_other).sum();
    let tail: f64 = terms.iter().map(|t| t.tail - t.tail_other).sum();
    let worst = 100.0 * (1.0 - level.get());
    let mut text = format!(
        "Against the {role}, the chosen design costs {} in expectation and {} in the worst {} % of the \
         scenarios. The term `{}` makes the difference: {} in expectation and {} in that tail.",
        versus(expected),
        versus(tail),
        round(worst),
        decisive.term,
        versus(decisive.expected - decisive.expected_other),
        versus(decisive.tail - decisive.tail_other),
    );
    let against = terms
        .iter()
        .max_by(|a, b| a.objective_difference.total_cmp(&b.objective_difference))
        .filter(|t| t.objective_difference > 0.0);
    if let Some(against) = against {
        text.push_str(&format!(
            " Most against it speaks `{}`: {} in expectation and {} in that tail.",
            against.term,
            versus(against.expected - against.expected_other),
            versus(against.tail - against.tail_other),
        ));
    }
    text
}

fn versus(difference: f64) -> String {
    if difference == 0.0 {
        "the same".into()
    } else if difference < 0.0 {
        format!("{} less", round(-difference))
    } else {
        format!("{} more", round(difference))
    }
}

/// Four digits are enough for a sentence; the exact figures stand beside it.
fn round(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    if (-1..=9).contains(&digits) {
        let digits = digits.max(0) as usize;
        let text = format!("{value:.digits$}");
        return match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            false => text,
        };
    }
    format!("{value:.3e}")
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn rounded_figures_keep_four_digits() {
        for (value, text) in [
            (20.000000000000004, "20"),
            (0.5, "0.5"),
            (1234.5, "1234"),
            (99999.0, "99999"),
            (999999.0, "1.000e6"),
            (1.23456e9, "1.235e9"),
        ] {
            assert_eq!(round(value), text);
        }
    }
}
