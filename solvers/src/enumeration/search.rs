//! The walk: depth first over a plan, one decision per depth.
//!
//! Rule: `candidates` gives exactly the options that no rule known so far excludes, and at the last
//! depth exactly the feasible ones; what to do with them is the [`Sink`]'s affair. State is kept in
//! slots per depth, so that going back costs nothing but the counters of `same` and `distinct`.

use super::bits::Bits;
use super::plan::{Limit, NONE, Plan};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// How many inner nodes pass between two looks at the stop flag: about 0.1 ms.
const STOP_EVERY: u64 = 4096;

/// What is done with the feasible options at the last depth.
pub(super) trait Sink<const W: usize> {
    /// `leaves` are the feasible options of the last depth after the options in `search.chosen`.
    /// False ends the walk.
    fn leaves(&mut self, search: &Search<'_, W>, leaves: Bits<W>) -> bool;
    /// Largest objective (above the plan's least) worth finding.
    fn threshold(&self) -> i64 {
        i64::MAX
    }
}

pub(super) struct Search<'p, const W: usize> {
    pub plan: &'p Plan<W>,
    /// Options by depth; valid up to the current depth.
    pub chosen: Vec<u16>,
    /// Objective so far, by depth.
    pub paid: Vec<i64>,
    /// Least objective still to come behind the depth, by depth.
    to_come: Vec<i64>,
    domains: Vec<Bits<W>>,
    trie_nodes: Vec<u32>,
    slacks: Vec<i64>,
    counts: Vec<Vec<u32>>,
    /// Per class rule: classes at their limit (`same`) or in use (`distinct`).
    marked: Vec<Vec<u32>>,
    pub nodes: u64,
    /// The walk ends about here.
    pub nodes_max: u64,
    stop: &'p AtomicBool,
}

impl<'p, const W: usize> Search<'p, W> {
    pub fn new(plan: &'p Plan<W>, stop: &'p AtomicBool) -> Self {
        let n = plan.len();
        let mut domains = vec![Bits::EMPTY; plan.slots];
        domains[..n].copy_from_slice(&plan.domains);
        let mut slacks = vec![0; plan.slacks.len() * (n + 1)];
        slacks[..plan.slacks.len()].copy_from_slice(&plan.slacks);
        let mut trie_nodes = vec![0u32; plan.trie_slots + 1];
        // Every trie begins at its root, node 0; the later slots are written before they are read.
        trie_nodes.fill(0);
        Search {
            plan,
            chosen: vec![0; n],
            paid: vec![0; n + 1],
            to_come: vec![0; n + 1],
            domains,
            trie_nodes,
            slacks,
            counts: plan.classes.iter().map(|c| vec![0; c.count]).collect(),
            marked: plan.classes.iter().map(|_| Vec::new()).collect(),
            nodes: 0,
            nodes_max: u64::MAX,
            stop,
        }
    }

    /// Options at depth `k` that nothing excludes, given the choices before it.
    #[inline]
    pub fn candidates(&self, k: usize, threshold: i64) -> Bits<W> {
        let plan = self.plan;
        let mut mask = self.domains[plan.slot[k][k]];
        let sums = plan.slacks.len();
        for fits in &plan.fits[k] {
            if let Some(fitting) = fits.mask(self.slacks[k * sums + fits.sum]) {
                mask = mask.and(&fitting);
            }
        }
        for using in &plan.trie_uses[k] {
            let trie = &plan.tries[using.trie];
            let node = self.trie_nodes[using.slot];
            if trie.allowed {
                mask = mask.and(&trie.masks[node as usize]);
            } else if using.last && node != NONE {
                mask = mask.without(&trie.masks[node as usize]);
            }
        }
        for (classes, marked) in plan.classes.iter().zip(&self.marked) {
            match classes.limit {
                Limit::Same { max } => {
                    if max == 0 {
                        mask = mask.without(&classes.any[k]);
                    }
                    for &c in marked {
                        mask = mask.without(&classes.members[k][c as usize]);
                    }
                }
                Limit::Distinct { min, max } => {
                    let used = marked.len() as u32;
                    let later = classes.later[k];
                    let must_be_new = used + later < min;
                    let may_be_new = used < max;
                    if may_be_new && !must_be_new {
                        continue;
                    }
                    let mut known = Bits::EMPTY;
                    for &c in marked {
                        known = known.or(&classes.members[k][c as usize]);
                    }
                    let new = classes.any[k].without(&known);
                    if !may_be_new {
                        mask = mask.without(&new);
                    }
                    if must_be_new {
                        mask = if used + 1 + later < min { Bits::EMPTY } else { mask.and(&new) };
                    }
                }
            }
        }
        if let Some(objective) = &plan.objective
            && threshold != i64::MAX
        {
            let left = threshold - self.paid[k] - self.to_come[k];
            if let Some(fitting) = objective.fits[k].mask(left) {
                mask = mask.and(&fitting);
            }
        }
        mask
    }

    /// Takes option `o` at depth `k`; false if a later decision is left without options.
    /// [`Search::leave`] must follow in both cases.
    #[inline]
    pub fn enter(&mut self, k: usize, o: usize) -> bool {
        let plan = self.plan;
        self.chosen[k] = o as u16;
        let sums = plan.slacks.len();
        let weights = &plan.weights[k][o * sums..(o + 1) * sums];
        let (before, after) = self.slacks.split_at_mut((k + 1) * sums);
        for c in 0..sums {
            after[c] = before[k * sums + c] - weights[c];
        }
        for using in &plan.trie_uses[k] {
            if !using.last {
                let next = plan.tries[using.trie].child(self.trie_nodes[using.slot], o);
                self.trie_nodes[using.slot + 1] = next;
            }
        }
        for ((classes, counts), marked) in plan.classes.iter().zip(&mut self.counts).zip(&mut self.marked) {
            let c = classes.class[k][o];
            if c != NONE {
                counts[c as usize] += 1;
                let full = match classes.limit {
                    Limit::Same { max } => max,
                    Limit::Distinct { .. } => 1,
                };
                if counts[c as usize] == full {
                    marked.push(c);
                }
            }
        }
        let mut open = true;
        for pair in &plan.pairs[k] {
            let next = self.domains[pair.from_slot].and(&pair.rows[o]);
            self.domains[pair.to_slot] = next;
            open &= !next.is_empty();
        }
        if let Some(objective) = &plan.objective {
            self.paid[k + 1] = self.paid[k] + objective.weights[k][o];
            if let Some(slots) = plan.slot.get(k + 1) {
                let later = slots.iter().zip(&objective.weights).skip(k + 2);
                self.to_come[k + 1] =
                    later.map(|(&slot, row)| self.domains[slot].first().map_or(0, |o| row[o])).sum();
            }
        }
        open
    }

    #[inline]
    pub fn leave(&mut self, k: usize, o: usize) {
        for ((classes, counts), marked) in
            self.plan.classes.iter().zip(&mut self.counts).zip(&mut self.marked)
        {
            let c = classes.class[k][o];
            if c != NONE {
                let full = match classes.limit {
                    Limit::Same { max } => max,
                    Limit::Distinct { .. } => 1,
                };
                if counts[c as usize] == full {
                    marked.pop();
                }
                counts[c as usize] -= 1;
            }
        }
    }

    /// Walks everything below the choices already made. False if it was stopped.
    pub fn walk<S: Sink<W>>(&mut self, k: usize, sink: &mut S) -> bool {
        self.nodes += 1;
        if self.nodes.is_multiple_of(STOP_EVERY)
            && (self.stop.load(Ordering::Relaxed) || self.nodes >= self.nodes_max)
        {
            return false;
        }
        let mut mask = self.candidates(k, sink.threshold());
        if mask.is_empty() {
            return true;
        }
        if k + 1 == self.plan.len() {
            return sink.leaves(self, mask);
        }
        while let Some(o) = mask.pop() {
            let go_on = !self.enter(k, o) || self.walk(k + 1, sink);
            self.leave(k, o);
            if !go_on {
                return false;
            }
        }
        true
    }

    /// Walks one unit: everything below `prefix`, a list of options by depth.
    pub fn walk_unit<S: Sink<W>>(&mut self, prefix: &[u16], sink: &mut S) -> bool {
        let mut open = true;
        for (k, &o) in prefix.iter().enumerate() {
            open &= self.enter(k, usize::from(o));
        }
        let whole = !open || self.walk(prefix.len(), sink);
        for (k, &o) in prefix.iter().enumerate().rev() {
            self.leave(k, usize::from(o));
        }
        whole
    }

    /// Least objective (above the plan's least) of what lies below `prefix`.
    pub fn bound(&mut self, prefix: &[u16]) -> i64 {
        for (k, &o) in prefix.iter().enumerate() {
            self.enter(k, usize::from(o));
        }
        let k = prefix.len();
        let own = match (&self.plan.objective, self.plan.slot.get(k)) {
            (Some(objective), Some(slots)) => {
                self.domains[slots[k]].first().map_or(0, |o| objective.weights[k][o])
            }
            _ => 0,
        };
        let bound = self.paid[k] + self.to_come[k] + own;
        for (k, &o) in prefix.iter().enumerate().rev() {
            self.leave(k, usize::from(o));
        }
        bound
    }

    /// The design of the current choices with `last` at the last depth, in canonical positions.
    pub fn design(&self, last: usize) -> Vec<u16> {
        let n = self.plan.len();
        let mut design = vec![0; n];
        for k in 0..n {
            let o = if k + 1 == n { last } else { usize::from(self.chosen[k]) };
            design[self.plan.order[k]] = self.plan.canonical[k][o];
        }
        design
    }
}

/// The units of work: all open prefixes of the shortest length that gives at least `wanted`.
pub(super) fn units<const W: usize>(plan: &Plan<W>, wanted: usize) -> Vec<Vec<u16>> {
    if plan.dead {
        return Vec::new();
    }
    let never = AtomicBool::new(false);
    let mut search = Search::new(plan, &never);
    let mut all: Vec<Vec<u16>> = vec![Vec::new()];
    for k in 0..plan.len().saturating_sub(1) {
        if all.len() >= wanted {
            break;
        }
        let mut next = Vec::new();
        for prefix in all {
            for (k, &o) in prefix.iter().enumerate() {
                search.enter(k, usize::from(o));
            }
            for o in search.candidates(k, i64::MAX).ones() {
                if search.enter(k, o) {
                    let mut longer = prefix.clone();
                    longer.push(o as u16);
                    next.push(longer);
                }
                search.leave(k, o);
            }
            for (k, &o) in prefix.iter().enumerate().rev() {
                search.leave(k, usize::from(o));
            }
        }
        all = next;
    }
    all
}

/// A threshold that several threads lower together.
#[derive(Debug)]
pub(super) struct Threshold(AtomicI64);

impl Threshold {
    pub fn new() -> Self {
        Threshold(AtomicI64::new(i64::MAX))
    }
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
    pub fn lower(&self, to: i64) {
        self.0.fetch_min(to, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::enumeration::sinks::Counter;
    use crate::space::{Attribute, Decimal, Decision, DesignOption, DesignSpace};

    /// `n` decisions of `options` options, no rules.
    fn space(n: usize, options: i64) -> DesignSpace {
        let option = |o: i64| DesignOption {
            id: format!("o{o}"),
            attributes: [("mass".to_string(), Attribute::Number(Decimal::whole(o)))].into(),
        };
        let decision =
            |d: usize| Decision { name: format!("d{d}"), options: (0..options).map(option).collect() };
        let decisions = (0..n).map(decision).collect();
        DesignSpace { name: "open".into(), decisions, constraints: Vec::new(), objective: None }
    }

    #[test]
    fn a_walk_looks_at_the_stop_flag_at_least_every_4096_nodes() {
        let space = space(12, 9);
        let plan: Plan<1> = Plan::new(&space, (0..12).collect(), false).unwrap();
        let stop = AtomicBool::new(true);
        let mut search = Search::new(&plan, &stop);
        for walk in 1..=3 {
            assert!(!search.walk(0, &mut Counter::default()));
            assert!(search.nodes <= walk * 4096, "{} nodes passed before the stop was seen", search.nodes);
        }
    }
}
