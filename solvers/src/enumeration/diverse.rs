//! Designs far from each other, chosen greedily from a pool.
//!
//! Rule: the choice depends on the pool, `k` and the seed alone. See [`super::Mode::Diverse`] for what
//! is chosen. Start at [`choose`].

use super::DesignSet;
use super::run::below;
use super::set::Packing;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// Smallest pool: enough that a few far designs are really far.
const POOL_MIN: u64 = 1000;
/// Pool designs per design wanted.
const POOL_PER_DESIGN: u64 = 50;

/// Designs that are drawn to choose `k` from.
pub(super) fn pool(k: u64) -> u64 {
    k.saturating_mul(POOL_PER_DESIGN).max(POOL_MIN)
}

fn distance(a: &[u16], b: &[u16]) -> u32 {
    a.iter().zip(b).map(|(x, y)| u32::from(x != y)).sum()
}

/// `k` designs of `pool` and the least distance between two of them. Cost: `k` times the pool.
pub(super) fn choose(packing: &Packing, pool: &DesignSet, k: u64, seed: u64) -> (DesignSet, Option<u32>) {
    let designs: Vec<Vec<u16>> = pool.iter().collect();
    let mut set = DesignSet::new(packing.clone());
    if designs.is_empty() || k == 0 {
        return (set, None);
    }
    // Of the seed, but not the draw that made the pool.
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(1);
    let mut next = below(&mut random, designs.len() as u128) as usize;
    let mut away = vec![u32::MAX; designs.len()];
    let mut taken = vec![next];
    let mut least = None;
    loop {
        let last = &designs[next];
        away.iter_mut().zip(&designs).for_each(|(away, d)| *away = (*away).min(distance(d, last)));
        let farthest = away.iter().copied().max().unwrap_or(0);
        if taken.len() as u64 == k || farthest == 0 {
            break;
        }
        next = away.iter().position(|&a| a == farthest).unwrap_or(next);
        taken.push(next);
        least = Some(farthest);
    }
    taken.sort_unstable();
    taken.iter().for_each(|&at| set.push(&designs[at]));
    (set, least)
}
