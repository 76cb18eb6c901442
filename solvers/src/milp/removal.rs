//! What each constraint does: how many combinations it excludes alone, and how many more designs there
//! would be without it.
//!
//! Rule: numbers are exact or absent, never estimated. The first comes from a dynamic program over the
//! decisions the rule concerns, the second from two counts by the search.

use crate::enumeration::{EnumerationError, Mode, Observer, Options, enumerate};
use crate::space::{self, Attribute, DesignSpace, Rule};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Most states of the dynamic program for one rule; beyond, the number is absent.
pub const STATES_MAX: usize = 200_000;

/// What one constraint removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    pub constraint: String,
    /// Combinations of the raw space that this rule excludes by itself; absent if too hard to count.
    pub alone: Option<u128>,
    /// Designs that would be feasible besides the present ones if only this rule were dropped; absent
    /// if the observer ended the count.
    pub given_others: Option<u128>,
}

/// Removals of all constraints, in the order of the file.
///
/// The observer sees every count and may end it; what was not finished is absent.
///
/// # Errors
/// [`EnumerationError`] if the space cannot be searched.
pub fn removal(
    space: &DesignSpace,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<Removal>, EnumerationError> {
    let options = Options { threads, ..Options::new(Mode::Count) };
    let whole = enumerate(space, &options, observer)?;
    let raw = space.combinations();
    let mut all = Vec::with_capacity(space.constraints.len());
    for (at, constraint) in space.constraints.iter().enumerate() {
        let alone = match (raw, satisfying(space, &constraint.rule)) {
            (Some(raw), Some(holds)) => raw.checked_sub(holds),
            _ => None,
        };
        let mut without = space.clone();
        without.constraints.remove(at);
        let given_others = if whole.complete {
            let more = enumerate(&without, &options, observer)?;
            more.complete.then(|| more.count.saturating_sub(whole.count))
        } else {
            None
        };
        all.push(Removal { constraint: constraint.name.clone(), alone, given_others });
    }
    Ok(all)
}

/// Combinations of the raw space that satisfy `rule` alone; `None` if there are too many states.
pub fn satisfying(space: &DesignSpace, rule: &Rule) -> Option<u128> {
    let size = |d: usize| space.decisions[d].options.len() as u128;
    let free = |used: &BTreeSet<usize>| {
        (0..space.decisions.len())
            .filter(|d| !used.contains(d))
            .try_fold(1u128, |n, d| n.checked_mul(size(d)))
    };
    let product = |used: &BTreeSet<usize>| used.iter().try_fold(1u128, |n, &d| n.checked_mul(size(d)));
    match rule {
        Rule::Allowed { decisions, tuples } | Rule::Forbidden { decisions, tuples } => {
            let used: BTreeSet<usize> = decisions.iter().copied().collect();
            if used.len() != decisions.len() {
                return None;
            }
            let listed = tuples.iter().collect::<BTreeSet<_>>().len() as u128;
            let inside = if matches!(rule, Rule::Allowed { .. }) {
                listed
            } else {
                product(&used)?.checked_sub(listed)?
            };
            inside.checked_mul(free(&used)?)
        }
        Rule::Implies { decision, when, then_decision, then } => {
            let used: BTreeSet<usize> = [*decision, *then_decision].into();
            let inside = if decision == then_decision {
                size(*decision) - when.iter().filter(|o| !then.contains(o)).count() as u128
            } else {
                let outside = size(*then_decision) - then.len() as u128;
                product(&used)? - when.len() as u128 * outside
            };
            inside.checked_mul(free(&used)?)
        }
        Rule::Each { .. } => {
            // One decision at a time: the rule alone, asked of spaces with a single choice.
            let Rule::Each { decisions, .. } = rule else { return None };
            let used: BTreeSet<usize> = decisions.iter().copied().collect();
            let mut inside = 1u128;
            for &d in &used {
                let holds = |o: usize| {
                    let mut one = space.clone();
                    one.decisions[d].options = vec![space.decisions[d].options[o].clone()];
                    one.constraints.clear();
                    let mut single = rule.clone();
                    if let Rule::Each { decisions, .. } = &mut single {
                        *decisions = vec![d];
                    }
                    one.constraints.push(space::Constraint { name: "each".into(), rule: single, line: 0 });
                    crate::recheck::violations(&one, &vec![0; one.decisions.len()]).is_empty()
                };
                inside = inside.checked_mul(
                    (0..space.decisions[d].options.len()).filter(|&o| holds(o)).count() as u128,
                )?;
            }
            inside.checked_mul(free(&used)?)
        }
        Rule::Sum { decisions, .. } | Rule::Linear { decisions, .. } | Rule::Ratio { decisions, .. } => {
            let used: BTreeSet<usize> = decisions.iter().copied().collect();
            let forms = space::forms(space, rule).ok()?;
            let steps: Vec<Vec<Vec<i64>>> = (0..decisions.len())
                .map(|i| {
                    let options = space.decisions[decisions[i]].options.len();
                    (0..options).map(|o| forms.iter().map(|f| f.weights[i][o]).collect()).collect()
                })
                .collect();
            let start = vec![0i64; forms.len()];
            let states = dynamic(start, &steps, |state, step| {
                state.iter().zip(step).map(|(a, b)| a.checked_add(*b)).collect::<Option<Vec<i64>>>()
            })?;
            let holds = |state: &Vec<i64>| {
                forms
                    .iter()
                    .zip(state)
                    .all(|(f, &sum)| f.min.is_none_or(|m| sum >= m) && f.max.is_none_or(|m| sum <= m))
            };
            let inside: u128 = states.iter().filter(|(s, _)| holds(s)).map(|(_, n)| n).sum();
            inside.checked_mul(free(&used)?)
        }
        Rule::Same { attribute, decisions, .. } | Rule::Distinct { attribute, decisions, .. } => {
            let used: BTreeSet<usize> = decisions.iter().copied().collect();
            let mut ids: BTreeMap<String, i64> = BTreeMap::new();
            let mut steps: Vec<Vec<Vec<i64>>> = Vec::new();
            for &d in decisions {
                let mut row = Vec::new();
                for option in &space.decisions[d].options {
                    let id = option.attributes.get(attribute).map(|value| {
                        let name = match value {
                            Attribute::Number(n) => format!("n{n}"),
                            Attribute::Text(s) => format!("t{s}"),
                            Attribute::Flag(b) => format!("f{b}"),
                        };
                        let next = ids.len() as i64;
                        *ids.entry(name).or_insert(next)
                    });
                    row.push(id.into_iter().collect());
                }
                steps.push(row);
            }
            // A state is the sorted list of values chosen so far, doubled ones as often as they stand.
            let states = dynamic(Vec::new(), &steps, |state: &Vec<i64>, step| {
                let mut next = state.clone();
                next.extend_from_slice(step);
                next.sort_unstable();
                Some(next)
            })?;
            let holds = |state: &Vec<i64>| {
                let runs: Vec<usize> = state.chunk_by(|a, b| a == b).map(<[i64]>::len).collect();
                match rule {
                    Rule::Same { max, .. } => runs.iter().all(|n| *n as u64 <= u64::from(*max)),
                    Rule::Distinct { min, max, .. } => {
                        let count = runs.len() as u64;
                        min.is_none_or(|m| count >= u64::from(m)) && max.is_none_or(|m| count <= u64::from(m))
                    }
                    _ => false,
                }
            };
            let inside: u128 = states.iter().filter(|(s, _)| holds(s)).map(|(_, n)| n).sum();
            inside.checked_mul(free(&used)?)
        }
    }
}

/// How many ways lead to each state after all decisions.
fn dynamic<F: Fn(&Vec<i64>, &[i64]) -> Option<Vec<i64>>>(
    start: Vec<i64>,
    steps: &[Vec<Vec<i64>>],
    next: F,
) -> Option<BTreeMap<Vec<i64>, u128>> {
    let mut states: BTreeMap<Vec<i64>, u128> = BTreeMap::from([(start, 1)]);
    for options in steps {
        let mut after: BTreeMap<Vec<i64>, u128> = BTreeMap::new();
        for (state, ways) in &states {
            for step in options {
                let entry = after.entry(next(state, step)?).or_insert(0);
                *entry = entry.checked_add(*ways)?;
                if after.len() > STATES_MAX {
                    return None;
                }
            }
        }
        states = after;
    }
    Some(states)
}
