//! What the search does with feasible designs: count them, keep them, keep the best, pick ranks.

use super::bits::Bits;
use super::plan::Plan;
use super::search::{Search, Sink, Threshold};
use super::set::Packing;
use std::collections::BinaryHeap;

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub count: u64,
}

impl<const W: usize> Sink<W> for Counter {
    #[inline]
    fn leaves(&mut self, _: &Search<'_, W>, leaves: Bits<W>) -> bool {
        self.count += u64::from(leaves.count());
        true
    }
}

/// Takes the first design and ends.
#[derive(Debug)]
pub(super) struct First {
    pub design: Option<Vec<u16>>,
}

impl<const W: usize> Sink<W> for First {
    fn leaves(&mut self, search: &Search<'_, W>, leaves: Bits<W>) -> bool {
        self.design = leaves.first().map(|o| search.design(o));
        false
    }
}

/// How keys are put together by depth; only for designs of at most 64 bits.
#[derive(Debug)]
pub(super) struct Keys {
    /// Per depth and option, its bits of the key. Empty when designs are wider than 64 bits.
    bits: Vec<Vec<u64>>,
}

impl Keys {
    pub fn new<const W: usize>(plan: &Plan<W>, packing: &Packing) -> Self {
        if packing.total_bits() > 64 {
            return Keys { bits: Vec::new() };
        }
        let row = |k: usize| plan.canonical[k].iter().map(|&o| packing.key_bits(plan.order[k], o)).collect();
        Keys { bits: (0..plan.len()).map(row).collect() }
    }
    pub fn narrow(&self) -> bool {
        !self.bits.is_empty()
    }
}

/// Found designs in the order of the search: keys, or packed rows where keys do not fit.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub keys: Vec<u64>,
    pub rows: Vec<u8>,
}

/// Keeps every design up to `most`.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    pub keys: &'a Keys,
    pub packing: &'a Packing,
    pub most: usize,
    pub count: u64,
    pub found: Found,
}

impl<const W: usize> Sink<W> for Keeper<'_> {
    fn leaves(&mut self, search: &Search<'_, W>, leaves: Bits<W>) -> bool {
        let last = search.plan.len() - 1;
        if self.keys.narrow() {
            let path = search.chosen[..last].iter().zip(&self.keys.bits);
            let key = path.fold(0u64, |key, (&o, bits)| key | bits[usize::from(o)]);
            for o in leaves.ones() {
                self.found.keys.push(key | self.keys.bits[last][o]);
                self.count += 1;
            }
        } else {
            for o in leaves.ones() {
                self.packing.push(&search.design(o), &mut self.found.rows);
                self.count += 1;
            }
        }
        self.count < self.most as u64
    }
}

/// Keeps the designs of the given ranks in the order of the search.
#[derive(Debug)]
pub(super) struct Picker<'a> {
    pub packing: &'a Packing,
    /// Ranks within the unit, descending, so that the next one is the last.
    pub ranks: Vec<u64>,
    pub passed: u64,
    pub rows: Vec<u8>,
}

impl<const W: usize> Sink<W> for Picker<'_> {
    fn leaves(&mut self, search: &Search<'_, W>, leaves: Bits<W>) -> bool {
        let count = u64::from(leaves.count());
        while let Some(&rank) = self.ranks.last() {
            if rank >= self.passed + count {
                break;
            }
            if let Some(o) = leaves.ones().nth((rank - self.passed) as usize) {
                self.packing.push(&search.design(o), &mut self.rows);
            }
            self.ranks.pop();
        }
        self.passed += count;
        !self.ranks.is_empty()
    }
}

/// Keeps the `most` best by (objective, canonical order).
#[derive(Debug)]
pub(super) struct Best<'a> {
    pub most: usize,
    /// Worst on top.
    pub heap: BinaryHeap<(i64, Vec<u16>)>,
    pub shared: &'a Threshold,
    /// Objectives of the best this thread ever saw: a bound that outlives the unit.
    pub seen: BinaryHeap<i64>,
}

impl<const W: usize> Sink<W> for Best<'_> {
    fn leaves(&mut self, search: &Search<'_, W>, leaves: Bits<W>) -> bool {
        let Some(objective) = &search.plan.objective else {
            return false;
        };
        let last = search.plan.len() - 1;
        for o in leaves.ones() {
            let cost = search.paid[last] + objective.weights[last][o];
            if cost > self.shared.get() {
                break;
            }
            self.heap.push((cost, search.design(o)));
            if self.heap.len() > self.most {
                self.heap.pop();
            }
            self.seen.push(cost);
            if self.seen.len() > self.most {
                self.seen.pop();
            }
            if self.seen.len() == self.most
                && let Some(&worst) = self.seen.peek()
            {
                self.shared.lower(worst);
            }
        }
        true
    }
    fn threshold(&self) -> i64 {
        self.shared.get()
    }
}
