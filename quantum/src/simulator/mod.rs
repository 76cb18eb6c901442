//! Exact simulation of QAOA for a diagonal cost: layers forward, observables, gradients.
//!
//! Layer k multiplies by exp(-i cost_angle_k C), then by exp(-i mixer_angle_k M), where M is the sum of X
//! over all qubits ([`x`]) or the projector |F><F| onto the uniform state ([`grover`]). One [`Simulator`]
//! holds the costs and is used for many angles. Start at [`Simulator::run`]; [`gradient`] differentiates.

pub mod gradient;
pub mod grover;
pub mod x;

use crate::state::{State, sum};

/// One cost angle and one mixer angle per layer, in radians per unit of cost and in radians.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Angles {
    pub cost: Vec<f64>,
    pub mixer: Vec<f64>,
}

impl Angles {
    /// `None` if the two lists differ in length.
    pub fn new(cost: Vec<f64>, mixer: Vec<f64>) -> Option<Self> {
        (cost.len() == mixer.len()).then_some(Self { cost, mixer })
    }

    pub fn layers(&self) -> usize {
        self.cost.len()
    }

    fn pairs(&self) -> impl DoubleEndedIterator<Item = (f64, f64)> + '_ {
        self.cost.iter().copied().zip(self.mixer.iter().copied())
    }
}

/// Which operator mixes the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mixer {
    X { qubits: u32 },
    Grover,
}

/// Costs, mixer and multiplicities; immutable while angles vary.
#[derive(Debug, Clone)]
pub struct Simulator {
    values: Vec<f64>,
    /// How many designs share each amplitude; empty means one each.
    multiplicity: Vec<f64>,
    total: f64,
    mixer: Mixer,
}

impl Simulator {
    /// The X mixer on all basis states of `qubits` qubits; `None` unless `values` has 2^qubits entries.
    pub fn x(values: Vec<f64>, qubits: u32) -> Option<Self> {
        if qubits > 63 || values.len() as u64 != 1u64 << qubits {
            return None;
        }
        let total = values.len() as f64;
        Some(Self { values, multiplicity: Vec::new(), total, mixer: Mixer::X { qubits } })
    }

    /// The Grover mixer on a set with these costs; `None` if the set is empty.
    pub fn grover(values: Vec<f64>) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let total = values.len() as f64;
        Some(Self { values, multiplicity: Vec::new(), total, mixer: Mixer::Grover })
    }

    /// The Grover mixer where `multiplicity[i]` designs have the cost `values[i]`.
    ///
    /// Designs of equal cost keep equal amplitudes for ever, so one amplitude stands for all of them.
    /// `None` if the lists are empty or differ in length, or a multiplicity is not at least 1.
    pub fn grover_grouped(values: Vec<f64>, multiplicity: Vec<f64>) -> Option<Self> {
        if values.is_empty()
            || values.len() != multiplicity.len()
            || multiplicity.iter().any(|m| m.is_nan() || *m < 1.0)
        {
            return None;
        }
        let total = multiplicity.iter().sum();
        Some(Self { values, multiplicity, total, mixer: Mixer::Grover })
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The state after all layers, from the uniform superposition.
    ///
    /// O(layers x qubits x 2^qubits) with the X mixer, O(layers x amplitudes) with Grover's.
    pub fn run(&self, angles: &Angles) -> State {
        let mut state = State::uniform(self.values.len(), self.total);
        match self.mixer {
            Mixer::X { qubits } => {
                for (cost_angle, mixer_angle) in angles.pairs() {
                    x::layer(&mut state, &self.values, cost_angle, mixer_angle, qubits);
                }
            }
            Mixer::Grover => grover::layers(&mut state, &self.values, &self.multiplicity, self.total, angles),
        }
        state
    }

    /// Expectation of a diagonal observable, e.g. of the costs themselves.
    pub fn expectation(&self, state: &State, observable: &[f64]) -> f64 {
        if self.multiplicity.is_empty() {
            sum(state.len(), |i| state.probability(i) * observable[i])
        } else {
            sum(state.len(), |i| self.multiplicity[i] * state.probability(i) * observable[i])
        }
    }

    /// Sum of all probabilities: 1 up to rounding.
    pub fn norm(&self, state: &State) -> f64 {
        sum(state.len(), |i| self.weight(i) * state.probability(i))
    }

    /// Probability of all states whose cost is at most `cost`.
    pub fn probability_at_most(&self, state: &State, cost: f64) -> f64 {
        sum(state.len(), |i| if self.values[i] <= cost { self.weight(i) * state.probability(i) } else { 0.0 })
    }

    /// The least cost of all.
    pub fn least(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    #[inline(always)]
    fn weight(&self, i: usize) -> f64 {
        if self.multiplicity.is_empty() { 1.0 } else { self.multiplicity[i] }
    }
}
