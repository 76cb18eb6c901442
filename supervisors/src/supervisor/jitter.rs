//! Random numbers that spread restarts. Not for anything whose result is kept.

use std::hash::{BuildHasher, RandomState};

/// `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014), seeded by the process' own hash keys.
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(id: &str) -> Self {
        Jitter(RandomState::new().hash_one(id))
    }

    /// In `[0, 1)`.
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
