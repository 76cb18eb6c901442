//! What a search found, and shots of it.

use super::costs::{Levels, Standard};
use super::random::{Purpose, Uniform};
use super::settings::Settings;
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
}

/// How often each design was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Shots in all.
    pub shots: u32,
    /// (design index, count), ascending by design, none with count 0.
    pub counts: Vec<(u32, u32)>,
}

impl Outcome {
    pub(super) fn new(
        levels: &Levels,
        settings: &Settings,
        angles: Angles,
        value: f64,
        iterations: u32,
    ) -> Self {
        let simulator = &levels.simulator;
        let state = simulator.run(&angles);
        let values = levels.values();
        let mean = simulator.expectation(&state, values);
        let (least, greatest) = (values[0], values[values.len() - 1]);
        let ratio = if greatest > least { (greatest - mean) / (greatest - least) } else { 1.0 };
        debug_assert_eq!(angles.layers(), settings.layers as usize);
        Self {
            standard: levels.standard,
            objective: levels.standard.undo(value),
            expectation: levels.standard.undo(mean),
            optimum_probability: simulator.probability_at_most(&state, least),
            approximation_ratio: ratio,
            iterations,
            probabilities: levels.level_of.iter().map(|&level| state.probability(level as usize)).collect(),
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
        let mut upto = Vec::with_capacity(self.probabilities.len());
        let mut total = 0.0;
        for probability in &self.probabilities {
            total += probability;
            upto.push(total);
        }
        let mut uniform = Uniform::new(seed, Purpose::Shots, 0);
        let mut drawn: Vec<u32> = (0..shots)
            .map(|_| {
                let at = uniform.unit() * total;
                // The first design whose cumulated probability exceeds the draw: never one of probability 0.
                upto.partition_point(|sum| *sum <= at).min(upto.len() - 1) as u32
            })
            .collect();
        drawn.sort_unstable();
        let mut counts: Vec<(u32, u32)> = Vec::new();
        for design in drawn {
            match counts.last_mut() {
                Some((last, count)) if *last == design => *count += 1,
                _ => counts.push((design, 1)),
            }
        }
        Samples { shots, counts }
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

    /// Mean cost over all shots, in the unit of the costs.
    ///
    /// `None` if nothing was measured or a measured design is not in `costs`.
    pub fn mean(&self, costs: &[f64]) -> Option<f64> {
        let mut total = 0.0;
        for &(design, count) in &self.counts {
            total += f64::from(count) * costs.get(design as usize)?;
        }
        (self.shots > 0).then(|| total / f64::from(self.shots))
    }
}
