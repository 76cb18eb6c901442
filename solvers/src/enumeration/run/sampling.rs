//! Uniform samples: count every unit, then draw ranks and fetch their designs.
//!
//! Rule: without all counts no draw is uniform, so none is made; the seed decides which ranks are drawn.

use super::farm::FarmEvent;
use super::{Joined, Report, Run, UnitResult};
use crate::enumeration::search::Search;
use crate::enumeration::sinks::Picker;
use crate::enumeration::{EnumerationError, Flow, Observer, Outcome};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

impl<'a, const W: usize> Run<'a, W> {
    /// Two passes: count every unit, then draw ranks and fetch their designs.
    pub(super) fn sample(
        &self,
        mut joined: Joined,
        k: u64,
        seed: u64,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, EnumerationError> {
        let whole = self.pass(&mut joined, observer)?;
        if !whole {
            // Without all counts no draw is uniform, so none is made.
            return self.outcome(joined, false);
        }
        joined.total = Some(joined.count);
        self.confirm(&mut joined, true, observer)?;
        let ranks = draw(joined.count, k, seed);
        let mut wanted: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        let mut rest = ranks.into_iter().peekable();
        let mut start = 0u128;
        for (unit, &count) in joined.unit_counts.iter().enumerate() {
            let end = start + u128::from(count);
            while let Some(rank) = rest.next_if(|r| *r < end) {
                wanted.entry(unit).or_default().push((rank - start) as u64);
            }
            start = end;
        }
        let jobs: Vec<usize> = wanted.keys().copied().collect();
        let work = |search: &mut Search<'_, W>, unit: usize, _: &mut BinaryHeap<i64>| {
            let mut ranks = wanted.get(&unit).cloned().unwrap_or_default();
            ranks.reverse();
            let before = search.nodes;
            let mut sink = Picker { packing: &self.packing, ranks, passed: 0, rows: Vec::new() };
            let walked = search.walk_unit(&self.units[unit], &mut sink);
            let whole = walked || sink.ranks.is_empty();
            Report { result: UnitResult::Rows(sink.rows), nodes: search.nodes - before, whole }
        };
        let stopped = self.farm(&jobs, &work, &mut |event| match event {
            FarmEvent::Look => self.look(observer, &joined, 2),
            FarmEvent::Done(report, early) => {
                self.join(&mut joined, report);
                if early { Flow::Stop } else { self.look(observer, &joined, 2) }
            }
        })?;
        self.outcome(joined, !stopped)
    }
}

/// `k` different ranks below `count`, ascending; all of them if there are no more.
pub(in crate::enumeration) fn draw(count: u128, k: u64, seed: u64) -> BTreeSet<u128> {
    if u128::from(k) >= count {
        return (0..count).collect();
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut ranks = BTreeSet::new();
    // Floyd's method: every set of k ranks is equally likely, with exactly k draws.
    for top in count - u128::from(k)..count {
        let drawn = below(&mut random, top + 1);
        if !ranks.insert(drawn) {
            ranks.insert(top);
        }
    }
    ranks
}

/// Uniform in `0 .. bound`, by rejection.
pub(in crate::enumeration) fn below(random: &mut ChaCha8Rng, bound: u128) -> u128 {
    let limit = u128::MAX - u128::MAX % bound;
    loop {
        let wide = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        if wide < limit {
            return wide % bound;
        }
    }
}
