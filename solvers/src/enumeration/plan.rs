//! A design space compiled for the search: bit-set domains, pair tables, tries, slack masks.
//!
//! Rule: a plan says the same as its space, for every design; it may only choose another order of
//! decisions and options. Every sum is brought to the form "non-negative weights within a slack", so
//! that one table lookup gives all options that still fit. Absent: walking. Start at [`Plan::new`].

mod classes;
mod fits;
mod tables;
mod tries;

pub(super) use classes::{Classes, Limit};
pub(super) use fits::Fits;
pub(super) use tries::{Trie, TrieUse};

use super::bits::Bits;
use super::{EnumerationError, PLAN_BYTES_MAX};
use crate::space::{self, DesignSpace, Rule};
use classes::classes;
use std::collections::BTreeMap;
use tables::{AtMost, Mover, each_holds, shrink, table};
use tries::lay_tries;

pub(super) const NONE: u32 = u32::MAX;

/// A pair table towards a later depth.
#[derive(Debug)]
pub(super) struct Pair<const W: usize> {
    pub from_slot: usize,
    pub to_slot: usize,
    pub rows: Vec<Bits<W>>,
}

/// Everything the search needs, indexed by depth.
#[derive(Debug)]
pub(super) struct Plan<const W: usize> {
    /// Decision at each depth.
    pub order: Vec<usize>,
    /// Canonical position of each option at each depth.
    pub canonical: Vec<Vec<u16>>,
    pub domains: Vec<Bits<W>>,
    /// Slot of the domain at depth `j` as seen from depth `k`: `slot[k][j]` for `j >= k`.
    pub slot: Vec<Vec<usize>>,
    pub slots: usize,
    pub pairs: Vec<Vec<Pair<W>>>,
    pub tries: Vec<Trie<W>>,
    pub trie_uses: Vec<Vec<TrieUse>>,
    pub trie_slots: usize,
    pub fits: Vec<Vec<Fits<W>>>,
    /// `weights[depth][option * sums + sum]`, all >= 0.
    pub weights: Vec<Vec<i64>>,
    pub slacks: Vec<i64>,
    pub classes: Vec<Classes<W>>,
    /// Per depth and option, the objective above its least value at that depth, options ascending.
    pub objective: Option<ObjectivePlan<W>>,
    /// Some rule can never hold.
    pub dead: bool,
}

#[derive(Debug)]
pub(super) struct ObjectivePlan<const W: usize> {
    pub weights: Vec<Vec<i64>>,
    pub fits: Vec<Fits<W>>,
    /// Sum of the least values: what the weights are counted from.
    pub least: i64,
}

impl<const W: usize> Plan<W> {
    /// Compiles `space` for a search in `order`; `by_objective` also orders options by their cost.
    pub fn new(space: &DesignSpace, order: Vec<usize>, by_objective: bool) -> Result<Self, EnumerationError> {
        let n = space.decisions.len();
        let mut depth_of = vec![0; n];
        order.iter().enumerate().for_each(|(k, &d)| depth_of[d] = k);
        let sizes: Vec<usize> = order.iter().map(|&d| space.decisions[d].options.len()).collect();
        let mut domains: Vec<Bits<W>> = sizes.iter().map(|&s| Bits::full(s)).collect();
        let (mut tables, mut sums, mut counted) = (Vec::new(), Vec::new(), Vec::new());
        let mut dead = false;
        for constraint in &space.constraints {
            let named = |error| EnumerationError::Exact { constraint: constraint.name.clone(), error };
            match &constraint.rule {
                Rule::Allowed { decisions, tuples } => tables.push(table(decisions, tuples, true, &depth_of)),
                Rule::Forbidden { decisions, tuples } => {
                    tables.push(table(decisions, tuples, false, &depth_of))
                }
                Rule::Implies { decision, when, then_decision, then } => {
                    let mut tuples = Vec::new();
                    for &w in when {
                        for t in (0u16..).take(space.decisions[*then_decision].options.len()) {
                            if !then.contains(&t) {
                                tuples.push(vec![w, t]);
                            }
                        }
                    }
                    tables.push(table(&[*decision, *then_decision], &tuples, false, &depth_of));
                }
                Rule::Each { attribute, decisions, test, missing_ignored } => {
                    for &d in decisions {
                        for (o, option) in space.decisions[d].options.iter().enumerate() {
                            if !each_holds(option.attributes.get(attribute), test, *missing_ignored) {
                                domains[depth_of[d]].remove(o);
                            }
                        }
                    }
                }
                Rule::Same { attribute, decisions, max } => {
                    counted.push((attribute, decisions, Limit::Same { max: *max }));
                }
                Rule::Distinct { attribute, decisions, min, max } => {
                    let (min, max) = (min.unwrap_or(0), max.unwrap_or(u32::MAX));
                    counted.push((attribute, decisions, Limit::Distinct { min, max }));
                }
                Rule::Sum { .. } | Rule::Linear { .. } | Rule::Ratio { .. } => {
                    for form in space::forms(space, &constraint.rule).map_err(named)? {
                        let mut weights: Vec<Vec<i64>> = sizes.iter().map(|&s| vec![0; s]).collect();
                        for (&d, row) in form.decisions.iter().zip(&form.weights) {
                            let into = &mut weights[depth_of[d]];
                            into.iter_mut().zip(row).for_each(|(w, add)| *w += add);
                        }
                        if let Some(min) = form.min {
                            let weights = weights.iter().map(|r| r.iter().map(|w| -w).collect()).collect();
                            sums.push(AtMost { weights, max: -min });
                        }
                        if let Some(max) = form.max {
                            sums.push(AtMost { weights, max });
                        }
                    }
                }
            }
        }

        let mut pairs: BTreeMap<(usize, usize), Vec<Bits<W>>> = BTreeMap::new();
        let mut wide = Vec::new();
        for t in tables {
            match t.depths[..] {
                [] => dead |= t.allowed == t.tuples.is_empty(),
                [k] => {
                    let mut mask = Bits::EMPTY;
                    t.tuples.iter().for_each(|tuple| mask.insert(usize::from(tuple[0])));
                    domains[k] = if t.allowed { domains[k].and(&mask) } else { domains[k].without(&mask) };
                }
                [a, b] => {
                    let start = if t.allowed { Bits::EMPTY } else { Bits::full(sizes[b]) };
                    let mut rows = vec![start; sizes[a]];
                    for tuple in &t.tuples {
                        let (x, y) = (usize::from(tuple[0]), usize::from(tuple[1]));
                        if t.allowed { rows[x].insert(y) } else { rows[x].remove(y) }
                    }
                    match pairs.get_mut(&(a, b)) {
                        None => drop(pairs.insert((a, b), rows)),
                        Some(old) => old.iter_mut().zip(&rows).for_each(|(o, r)| *o = o.and(r)),
                    }
                }
                _ => wide.push(t),
            }
        }

        shrink(&mut domains, &pairs, &sums);
        dead |= domains.iter().any(Bits::is_empty);

        let objective_form = match &space.objective {
            Some(objective) if by_objective => {
                let named = |error| EnumerationError::Exact { constraint: "objective".to_string(), error };
                let (form, _) = space::objective_form(space, objective).map_err(named)?;
                let sign = if objective.maximise { -1 } else { 1 };
                let rows: Vec<Vec<i64>> =
                    order.iter().map(|&d| form.weights[d].iter().map(|w| w * sign).collect()).collect();
                Some(rows)
            }
            _ => None,
        };
        // Options in the order of their cost, so that the cheapest of a domain is its lowest bit.
        let canonical: Vec<Vec<u16>> = (0..n)
            .map(|k| {
                let mut all: Vec<u16> = (0u16..).take(sizes[k]).collect();
                if let Some(rows) = &objective_form {
                    all.sort_by_key(|&o| (rows[k][usize::from(o)], o));
                }
                all
            })
            .collect();
        let mut moved = Mover::new(&canonical);
        moved.apply(&mut domains, &mut pairs, &mut wide, &mut sums);

        let (slot, slots, pairs) = lay_out(n, pairs);
        let (tries, trie_uses, trie_slots) = lay_tries(n, wide);
        let classes: Vec<Classes<W>> = counted
            .into_iter()
            .map(|(attribute, decisions, limit)| {
                classes(space, &order, &canonical, attribute, decisions, limit)
            })
            .collect();
        let mut slacks = Vec::with_capacity(sums.len());
        let mut weights: Vec<Vec<i64>> = sizes.iter().map(|&s| vec![0; s * sums.len()]).collect();
        let mut fits: Vec<Vec<Fits<W>>> = (0..n).map(|_| Vec::new()).collect();
        for (c, sum) in sums.iter().enumerate() {
            let mut slack = sum.max;
            for k in 0..n {
                let least = domains[k].ones().map(|o| sum.weights[k][o]).min().unwrap_or(0);
                slack -= least;
                let row: Vec<i64> = sum.weights[k].iter().map(|w| w - least).collect();
                row.iter().enumerate().for_each(|(o, w)| weights[k][o * sums.len() + c] = *w);
                if domains[k].ones().any(|o| row[o] > 0) {
                    fits[k].push(Fits::new(c, &row, &domains[k]));
                }
            }
            dead |= slack < 0;
            slacks.push(slack);
        }
        let objective = objective_form.map(|rows| {
            let mut least = 0;
            let weights: Vec<Vec<i64>> = (0..n)
                .map(|k| {
                    let row: Vec<i64> = canonical[k].iter().map(|&o| rows[k][usize::from(o)]).collect();
                    let low = domains[k].first().map_or(0, |o| row[o]);
                    least += low;
                    row.iter().map(|w| w - low).collect()
                })
                .collect();
            let fits = (0..n).map(|k| Fits::new(0, &weights[k], &domains[k])).collect();
            ObjectivePlan { weights, fits, least }
        });
        let plan = Plan {
            order,
            canonical,
            domains,
            slot,
            slots,
            pairs,
            tries,
            trie_uses,
            trie_slots,
            fits,
            weights,
            slacks,
            classes,
            objective,
            dead,
        };
        let bytes = plan.bytes();
        if bytes > PLAN_BYTES_MAX {
            return Err(EnumerationError::TooLarge { bytes, limit: PLAN_BYTES_MAX });
        }
        Ok(plan)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn bytes(&self) -> usize {
        let rows: usize = self.pairs.iter().flatten().map(|p| p.rows.len()).sum();
        let masks: usize = self.fits.iter().flatten().map(|f| f.masks.len()).sum();
        let tries: usize = self.tries.iter().map(|t| t.masks.len()).sum();
        let members: usize = self.classes.iter().flat_map(|c| &c.members).map(Vec::len).sum();
        (rows + masks + tries + members) * W * 8 + self.weights.iter().map(|w| w.len() * 8).sum::<usize>()
    }
}

type Laid<const W: usize> = (Vec<Vec<usize>>, usize, Vec<Vec<Pair<W>>>);

/// Every depth's domain gets one slot per table that narrows it, so that nothing has to be undone.
fn lay_out<const W: usize>(n: usize, pairs: BTreeMap<(usize, usize), Vec<Bits<W>>>) -> Laid<W> {
    let mut current: Vec<usize> = (0..n).collect();
    let mut slots = n;
    let mut slot = Vec::with_capacity(n);
    let mut laid: Vec<Vec<Pair<W>>> = (0..n).map(|_| Vec::new()).collect();
    let mut pairs = pairs.into_iter().peekable();
    for (k, into) in laid.iter_mut().enumerate() {
        slot.push(current.clone());
        while let Some(((_, b), rows)) = pairs.next_if(|((a, _), _)| *a == k) {
            into.push(Pair { from_slot: current[b], to_slot: slots, rows });
            current[b] = slots;
            slots += 1;
        }
    }
    (slot, slots, laid)
}
