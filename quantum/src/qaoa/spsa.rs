//! Minimisation of a value that is only known from shots: simultaneous perturbation (Spall, IEEE Trans.
//! Aerosp. Electron. Syst. 34, 817, 1998), one step at a time.
//!
//! Two noisy values per step, at the point moved a little forth and back along random signs, whatever the
//! number of angles. The signs are counted random numbers: a search that was written down goes on alike.

use super::random::{Purpose, Uniform};
use serde::{Deserialize, Serialize};

/// Spall's exponents for the length of steps and of trials.
const STEP_FALL: f64 = 0.602;
const TRIAL_FALL: f64 = 0.101;
/// First step per unit of slope, and first trial, in radians, for values of standard deviation about 1.
const STEP: f64 = 0.4;
const TRIAL: f64 = 0.15;
/// Longest change of one angle in one step.
const STEP_MAX: f64 = 0.3;

/// A minimisation under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spsa {
    point: Vec<f64>,
    value: f64,
    steps: u32,
}

impl Spsa {
    /// Starts at `point` with one evaluation.
    pub fn new(point: Vec<f64>, evaluate: impl FnOnce(&[f64]) -> f64) -> Self {
        let value = evaluate(&point);
        Self { point, value, steps: 0 }
    }

    /// The present point and its noisy value; neither is the best that was seen.
    pub fn at(&self) -> (f64, &[f64]) {
        (self.value, &self.point)
    }

    pub fn dimensions(&self) -> usize {
        self.point.len()
    }

    /// One step of three evaluations. `budget` steps are planned in all; `seed` and `counter` choose the signs.
    pub fn step(&mut self, budget: u32, seed: u64, counter: u64, mut evaluate: impl FnMut(&[f64]) -> f64) {
        let (k, delay) = (f64::from(self.steps) + 1.0, 0.1 * f64::from(budget));
        let length = STEP * (delay + 1.0).powf(STEP_FALL) / (k + delay).powf(STEP_FALL);
        let trial = TRIAL / k.powf(TRIAL_FALL);
        let mut uniform = Uniform::new(seed, Purpose::Directions, counter);
        let signs: Vec<f64> =
            self.point.iter().map(|_| if uniform.unit() < 0.5 { -1.0 } else { 1.0 }).collect();
        let mut at = |side: f64| {
            let moved: Vec<f64> = self.point.iter().zip(&signs).map(|(x, s)| x + side * trial * s).collect();
            evaluate(&moved)
        };
        let slope = (at(1.0) - at(-1.0)) / (2.0 * trial);
        for (x, sign) in self.point.iter_mut().zip(&signs) {
            *x -= (length * slope * sign).clamp(-STEP_MAX, STEP_MAX);
        }
        self.value = evaluate(&self.point);
        self.steps += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, Uniform};
    use super::Spsa;

    #[test]
    fn a_noisy_bowl_is_descended() {
        let mut draws = 0;
        let mut bowl = |x: &[f64]| {
            draws += 1;
            let noise = Uniform::new(1, Purpose::Shots, draws).between(-0.05, 0.05);
            x.iter().enumerate().map(|(i, x)| (x - i as f64 * 0.3).powi(2)).sum::<f64>() + noise
        };
        let mut search = Spsa::new(vec![1.5; 4], &mut bowl);
        for k in 0..200 {
            search.step(200, 9, k, &mut bowl);
        }
        let off = search.at().1.iter().enumerate().map(|(i, x)| (x - i as f64 * 0.3).abs());
        assert!(off.fold(0.0, f64::max) < 0.15, "{:?}", search.at());
        assert_eq!(draws, 1 + 3 * 200);
    }
}
