//! What a search found, and shots of it.

use super::costs::{Levels, Standard};
use super::mixing::Mixing;
use super::random::{Purpose, Uniform};
use crate::noise::Noise;
use crate::simulator::Angles;
use serde::{Deserialize, Serialize};

/// The best angles of a search and the state they give. Costs are in the unit of the costs given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Shift and scale that were applied to the costs before they became phases.
    pub standard: Standard,
    /// Radians per standard deviation of cost, one per layer.
    pub cost_angles: Vec<f64>,
    /// Radians, one per layer.
    pub mixer_angles: Vec<f64>,
    /// Mean cost of the elite fraction: what was minimised.
    pub objective: f64,
    /// Mean cost of all shots, in the limit of many.
    pub expectation: f64,
    /// Probability that one shot gives a design of least cost.
    pub optimum_probability: f64,
    /// (greatest cost - expectation) / (greatest - least): 1 is perfect. 1 also if all costs are equal.
    pub approximation_ratio: f64,
    /// Steps that were taken.
    pub iterations: u32,
    #[serde(skip)]
    probabilities: Vec<f64>,
    #[serde(skip)]
    mixing: Mixing,
}

/// How often each design was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Shots in all.
    pub shots: u32,
    /// (design index, count), ascending by design, none with count 0.
    pub counts: Vec<(u32, u32)>,
    /// Shots whose readout was no design of the set; with those in `counts` they make up `shots`.
    #[serde(default)]
    pub outside: u32,
}

impl Outcome {
    pub(super) fn new(levels: &Levels, mixing: &Mixing, angles: Angles, elite: f64, iterations: u32) -> Self {
        let simulator = &levels.simulator;
        let state = simulator.run(&angles);
        let mean = simulator.expectation(&state, levels.values());
        let (least, greatest) = (levels.least(), levels.greatest());
        let ratio = if greatest > least { (greatest - mean) / (greatest - least) } else { 1.0 };
        let value = super::optimiser::elite(levels, &state, elite).value;
        Self {
            standard: levels.standard,
            objective: levels.standard.undo(value),
            expectation: levels.standard.undo(mean),
            optimum_probability: simulator.probability_at_most(&state, least),
            approximation_ratio: ratio,
            iterations,
            probabilities: levels.probabilities(&state),
            mixing: mixing.clone(),
            cost_angles: angles.cost,
            mixer_angles: angles.mixer,
        }
    }

    /// Cost angles for the costs as given, as a problem file wants them: radians per unit of cost.
    pub fn cost_angles_per_unit(&self) -> Vec<f64> {
        self.cost_angles.iter().map(|angle| angle / self.standard.scale).collect()
    }

    /// Probability of each design, by index.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// Measures `shots` times. O(designs + shots log designs); the same seed gives the same counts.
    pub fn sample(&self, shots: u32, seed: u64) -> Samples {
        self.sample_noisy(shots, seed, Noise::NONE)
    }

    /// Measures `shots` times with errors: see [`crate::noise`] for what they are.
    pub fn sample_noisy(&self, shots: u32, seed: u64, noise: Noise) -> Samples {
        let layers = self.cost_angles.len() as u32;
        let draw = Draw { seed, purpose: Purpose::Shots, counter: 0, noise, layers };
        draw.samples(&self.probabilities, shots, &self.mixing)
    }
}

/// What decides shots beside the probabilities.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    pub seed: u64,
    pub purpose: Purpose,
    pub counter: u64,
    pub noise: Noise,
    pub layers: u32,
}

impl Draw {
    pub fn samples(&self, probabilities: &[f64], shots: u32, mixing: &Mixing) -> Samples {
        let mut upto = Vec::with_capacity(probabilities.len());
        let mut total = 0.0;
        for probability in probabilities {
            total += probability;
            upto.push(total);
        }
        let mut uniform = Uniform::new(self.seed, self.purpose, self.counter);
        // Errors have numbers of their own: without noise the shots are those of a quiet machine.
        let training = u64::from(self.purpose == Purpose::Training);
        let mut errors = Uniform::new(self.seed, Purpose::Noise, self.counter << 1 | training);
        let survives = self.noise.survival(self.layers);
        let mut outside = 0;
        let mut drawn: Vec<u32> = Vec::with_capacity(shots as usize);
        for _ in 0..shots {
            let at = uniform.unit() * total;
            // The first design whose cumulated probability exceeds the draw: never one of probability 0.
            let mut design = upto.partition_point(|sum| *sum <= at).min(upto.len() - 1) as u32;
            if survives < 1.0 && errors.unit() >= survives {
                design = ((errors.unit() * upto.len() as f64) as usize).min(upto.len() - 1) as u32;
            }
            let read = match self.noise.readout > 0.0 {
                true => mixing.misread(design, upto.len(), self.noise.readout, &mut errors),
                false => Some(design),
            };
            match read {
                Some(design) => drawn.push(design),
                None => outside += 1,
            }
        }
        drawn.sort_unstable();
        let mut counts: Vec<(u32, u32)> = Vec::new();
        for design in drawn {
            match counts.last_mut() {
                Some((last, count)) if *last == design => *count += 1,
                _ => counts.push((design, 1)),
            }
        }
        Samples { shots, counts, outside }
    }
}

impl Samples {
    /// The measured design of least cost, lowest index on ties, with its cost. `costs` by design index.
    ///
    /// `None` if nothing was measured or no measured design is in `costs`.
    pub fn best(&self, costs: &[f64]) -> Option<(u32, f64)> {
        let known =
            self.counts.iter().filter_map(|&(design, _)| Some((design, *costs.get(design as usize)?)));
        known.reduce(|best, next| if next.1 < best.1 { next } else { best })
    }

    /// Mean cost over all shots that gave a design, in the unit of the costs.
    ///
    /// `None` if none did or a measured design is not in `costs`.
    pub fn mean(&self, costs: &[f64]) -> Option<f64> {
        let mut total = 0.0;
        for &(design, count) in &self.counts {
            total += f64::from(count) * costs.get(design as usize)?;
        }
        (self.shots > self.outside).then(|| total / f64::from(self.shots - self.outside))
    }
}
