//! In which order decisions are searched.
//!
//! Rule: the order depends on the space alone, and any order gives the same set. Each next decision is
//! the one that is expected to branch least given the tables it shares with the decisions before it, so
//! that contradictions show early and the widest, loosest decision comes last, where one population
//! count does all its options.

use crate::space::{DesignSpace, Rule};
use std::collections::BTreeMap;

/// Decisions in search order.
pub(super) fn order(space: &DesignSpace) -> Vec<usize> {
    let n = space.decisions.len();
    let sizes: Vec<f64> = space.decisions.iter().map(|d| d.options.len() as f64).collect();
    // Share of pairs that a table lets through, by pair of decisions.
    let mut density: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for constraint in &space.constraints {
        let (decisions, tuples, allowed) = match &constraint.rule {
            Rule::Allowed { decisions, tuples } => (decisions, tuples.len() as f64, true),
            Rule::Forbidden { decisions, tuples } => (decisions, tuples.len() as f64, false),
            _ => continue,
        };
        if let [a, b] = decisions[..] {
            let share = tuples / (sizes[a] * sizes[b]);
            let share = if allowed { share } else { 1.0 - share };
            let entry = density.entry((a.min(b), a.max(b))).or_insert(1.0);
            *entry *= share.clamp(0.001, 1.0);
        }
    }
    let share = |a: usize, b: usize| density.get(&(a.min(b), a.max(b))).copied();
    let mut left: Vec<usize> = (0..n).collect();
    let mut chosen: Vec<usize> = Vec::with_capacity(n);
    while !left.is_empty() {
        let score = |d: usize| {
            let branching = chosen.iter().filter_map(|&c| share(c, d)).fold(sizes[d], |x, s| x * s);
            // Among equals, the one with more tables towards what is left.
            let ahead: f64 =
                left.iter().filter(|&&o| o != d).filter_map(|&o| share(o, d)).map(|s| 1.0 - s).sum();
            branching / (1.0 + ahead)
        };
        let best = left.iter().copied().min_by(|&a, &b| score(a).total_cmp(&score(b)).then(a.cmp(&b)));
        let Some(next) = best else { break };
        left.retain(|&d| d != next);
        chosen.push(next);
    }
    chosen
}
