//! A guess at how large a search is, from random probes.
//!
//! Rule: a guess is never told as a count. One random path below every unit; the product of the branches
//! along it is an unbiased guess of the nodes at its depth (Knuth, Math. Comp. 29, 1975). The probes are
//! seeded by their unit, so the same space gives the same guess. Start at [`estimate`].

use super::plan::Plan;
use super::run::searchable;
use super::search::{Search, units};
use super::{EnumerationError, order};
use crate::space::DesignSpace;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::atomic::AtomicBool;

/// Guesses; they may be far off, mostly too low, where few branches carry most designs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// Inner nodes of the search.
    pub nodes: f64,
    pub designs: f64,
}

/// Guesses per unit of work, summed up.
#[derive(Debug)]
pub(super) struct Probes {
    pub total: Estimate,
    /// Estimated nodes in all units before each, and the end.
    before: Vec<f64>,
}

impl Probes {
    pub fn new<const W: usize>(plan: &Plan<W>, units: &[Vec<u16>]) -> Self {
        let never = AtomicBool::new(false);
        let mut search = Search::new(plan, &never);
        let mut new = Probes { total: Estimate::default(), before: vec![0.0] };
        for (unit, prefix) in (0u64..).zip(units) {
            let one = probe(&mut search, prefix, unit);
            new.total.nodes += one.nodes;
            new.total.designs += one.designs;
            new.before.push(new.total.nodes);
        }
        new
    }

    /// Share of the estimated work in the first `units`.
    pub fn share(&self, units: usize) -> f64 {
        let done = self.before.get(units).copied().unwrap_or(self.total.nodes);
        if self.total.nodes > 0.0 { done / self.total.nodes } else { 1.0 }
    }
}

fn probe<const W: usize>(search: &mut Search<'_, W>, prefix: &[u16], seed: u64) -> Estimate {
    let n = search.plan.len();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut path: Vec<usize> = Vec::with_capacity(n);
    let mut open = true;
    for (k, &o) in prefix.iter().enumerate() {
        open &= search.enter(k, usize::from(o));
        path.push(usize::from(o));
    }
    let mut guess = Estimate::default();
    let mut weight = 1.0;
    while open {
        guess.nodes += weight;
        let k = path.len();
        let mask = search.candidates(k, i64::MAX);
        let branches = mask.count();
        if branches == 0 {
            break;
        }
        weight *= f64::from(branches);
        if k + 1 == n {
            guess.designs = weight;
            break;
        }
        let nth = (random.next_u64() % u64::from(branches)) as usize;
        let Some(o) = mask.ones().nth(nth) else { break };
        open = search.enter(k, o);
        path.push(o);
    }
    for (k, &o) in path.iter().enumerate().rev() {
        search.leave(k, o);
    }
    guess
}

/// Guesses the search of `space` by some thousand random probes; a few milliseconds.
///
/// # Errors
/// As [`super::enumerate`].
pub fn estimate(space: &DesignSpace) -> Result<Estimate, EnumerationError> {
    match searchable(space)? {
        0..=64 => of::<1>(space),
        65..=128 => of::<2>(space),
        129..=256 => of::<4>(space),
        _ => of::<16>(space),
    }
}

fn of<const W: usize>(space: &DesignSpace) -> Result<Estimate, EnumerationError> {
    let plan: Plan<W> = Plan::new(space, order::order(space), false)?;
    Ok(Probes::new(&plan, &units(&plan, super::run::UNITS_WANTED)).total)
}
