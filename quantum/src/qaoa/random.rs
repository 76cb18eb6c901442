//! Counted random numbers: the n-th number of a purpose depends on seed, purpose and n, on nothing else.
//!
//! A resumed run therefore draws what the undisturbed run would have drawn, without storing a generator.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What numbers are for; different purposes never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Angles to begin a search from.
    Angles,
    /// Shots of the final state.
    Shots,
    /// Shots that a search is trained on.
    Training,
    /// Signs of a simultaneous perturbation.
    Directions,
    /// Errors of gates and of readout.
    Noise,
}

/// Uniform numbers of one seed, purpose and counter (iteration).
#[derive(Debug, Clone)]
pub struct Uniform(ChaCha8Rng);

impl Uniform {
    pub fn new(seed: u64, purpose: Purpose, counter: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(match purpose {
            Purpose::Angles => b"angles..",
            Purpose::Shots => b"shots...",
            Purpose::Training => b"training",
            Purpose::Directions => b"signs...",
            Purpose::Noise => b"noise...",
        });
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(counter);
        Self(generator)
    }

    /// In [0, 1), in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.0.next_u64() >> 11) as f64 * STEP
    }

    /// In [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Uniform};

    #[test]
    fn seed_purpose_and_counter_each_change_the_numbers() {
        let draw = |seed, purpose, counter| Uniform::new(seed, purpose, counter).unit();
        let base = draw(1, Purpose::Angles, 0);
        assert_eq!(base, draw(1, Purpose::Angles, 0));
        assert_ne!(base, draw(2, Purpose::Angles, 0));
        assert_ne!(base, draw(1, Purpose::Shots, 0));
        assert_ne!(base, draw(1, Purpose::Angles, 1));
    }
}
