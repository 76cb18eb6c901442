//! Options that still fit a slack, by one lookup.

use crate::enumeration::bits::Bits;

/// Weights up to this are looked up by slack directly; larger ones by binary search.
const DIRECT_MAX: i64 = 1024;

/// Options that fit a slack, for one sum at one depth.
#[derive(Debug)]
pub(in crate::enumeration) struct Fits<const W: usize> {
    /// Which slack of the search state.
    pub sum: usize,
    largest: i64,
    /// Distinct weights ascending when they are not looked up directly.
    steps: Vec<i64>,
    pub(super) masks: Vec<Bits<W>>,
}

impl<const W: usize> Fits<W> {
    pub(super) fn new(sum: usize, weights: &[i64], domain: &Bits<W>) -> Self {
        let mut in_use: Vec<i64> = domain.ones().map(|o| weights[o]).collect();
        in_use.sort_unstable();
        in_use.dedup();
        let largest = in_use.last().copied().unwrap_or(0);
        let direct = largest <= DIRECT_MAX;
        let steps: Vec<i64> = if direct { (0..=largest).collect() } else { in_use };
        let masks = steps
            .iter()
            .map(|&step| {
                let mut mask = Bits::EMPTY;
                domain.ones().filter(|&o| weights[o] <= step).for_each(|o| mask.insert(o));
                mask
            })
            .collect();
        Fits { sum, largest, steps: if direct { Vec::new() } else { steps }, masks }
    }

    /// Options with weight at most `slack`; `None` when that is all of them.
    #[inline]
    pub fn mask(&self, slack: i64) -> Option<Bits<W>> {
        if slack >= self.largest {
            return None;
        }
        if slack < 0 {
            return Some(Bits::EMPTY);
        }
        if self.steps.is_empty() {
            return Some(self.masks[slack as usize]);
        }
        match self.steps.partition_point(|&s| s <= slack) {
            0 => Some(Bits::EMPTY),
            n => Some(self.masks[n - 1]),
        }
    }
}
