//! A set of option positions as machine words.
//!
//! Rule: `W` words hold `64 * W` options; a plan picks the smallest `W` that fits its largest decision.

/// Options `0 .. 64 * W` as bits, option 0 in the lowest bit of the first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bits<const W: usize>(pub [u64; W]);

impl<const W: usize> Bits<W> {
    pub const EMPTY: Self = Bits([0; W]);

    pub fn full(options: usize) -> Self {
        let mut bits = Self::EMPTY;
        (0..options).for_each(|o| bits.insert(o));
        bits
    }
    pub fn insert(&mut self, o: usize) {
        self.0[o / 64] |= 1 << (o % 64);
    }
    pub fn remove(&mut self, o: usize) {
        self.0[o / 64] &= !(1 << (o % 64));
    }
    pub fn has(&self, o: usize) -> bool {
        self.0[o / 64] >> (o % 64) & 1 == 1
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }
    #[inline]
    pub fn and(mut self, other: &Self) -> Self {
        (0..W).for_each(|i| self.0[i] &= other.0[i]);
        self
    }
    #[inline]
    pub fn or(mut self, other: &Self) -> Self {
        (0..W).for_each(|i| self.0[i] |= other.0[i]);
        self
    }
    #[inline]
    pub fn without(mut self, other: &Self) -> Self {
        (0..W).for_each(|i| self.0[i] &= !other.0[i]);
        self
    }
    #[inline]
    pub fn count(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }
    /// How many members are below `o`.
    pub fn rank(&self, o: usize) -> usize {
        let below: u32 = self.0[..o / 64].iter().map(|w| w.count_ones()).sum();
        let part = self.0[o / 64] & ((1u64 << (o % 64)) - 1);
        (below + part.count_ones()) as usize
    }
    /// The lowest member.
    #[inline]
    pub fn first(&self) -> Option<usize> {
        (0..W).find(|&i| self.0[i] != 0).map(|i| i * 64 + self.0[i].trailing_zeros() as usize)
    }
    /// Takes the lowest member out.
    #[inline]
    pub fn pop(&mut self) -> Option<usize> {
        for i in 0..W {
            if self.0[i] != 0 {
                let o = i * 64 + self.0[i].trailing_zeros() as usize;
                self.0[i] &= self.0[i] - 1;
                return Some(o);
            }
        }
        None
    }
    pub fn ones(self) -> impl Iterator<Item = usize> {
        let mut rest = self;
        std::iter::from_fn(move || rest.pop())
    }
}
