//! Exact simulation of QAOA for a diagonal cost: layers forward, observables, gradients.
//!
//! Layer k multiplies by exp(-i cost_angle_k C), then by exp(-i mixer_angle_k M), where M is the sum of X
//! over all qubits ([`x`]), the projector |F><F| onto the uniform state ([`grover`]), or the complete graph
//! on each group of choices ([`one_hot`]). One [`Simulator`] holds the costs and is used for many angles.
//! Start at [`Simulator::run`]; [`gradient`] differentiates. Threads come from the caller
//! ([`Simulator::with_threads`]) and change no bit.

pub mod gradient;
pub(crate) mod grover;
pub mod one_hot;
pub(crate) mod phases;
pub(crate) mod sums;
pub mod walsh;
pub(crate) mod x;

use crate::state::{State, sum};
use crate::threads::Threads;
use one_hot::Groups;
use phases::{Phases, Turn};
use std::sync::Arc;

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
}

/// Which operator mixes the states.
#[derive(Debug, Clone, PartialEq)]
enum Mixer {
    X { qubits: u32 },
    Grover,
    OneHot(Arc<Groups>),
}

/// Costs, mixer and multiplicities; immutable while angles vary.
#[derive(Debug, Clone)]
pub struct Simulator {
    values: Vec<f64>,
    phases: Phases,
    /// How many designs share each amplitude; empty means one each.
    multiplicity: Vec<f64>,
    total: f64,
    mixer: Mixer,
    threads: Threads,
}

impl Simulator {
    fn new(values: Vec<f64>, multiplicity: Vec<f64>, mixer: Mixer) -> Self {
        let total = if multiplicity.is_empty() { values.len() as f64 } else { multiplicity.iter().sum() };
        let phases = Phases::of(&values);
        Self { values, phases, multiplicity, total, mixer, threads: Threads::one() }
    }

    /// The X mixer on all basis states of `qubits` qubits; `None` unless `values` has 2^qubits entries.
    pub fn x(values: Vec<f64>, qubits: u32) -> Option<Self> {
        (qubits <= 63 && values.len() as u64 == 1u64 << qubits)
            .then(|| Self::new(values, Vec::new(), Mixer::X { qubits }))
    }

    /// The Grover mixer on a set with these costs; `None` if the set is empty.
    pub fn grover(values: Vec<f64>) -> Option<Self> {
        (!values.is_empty()).then(|| Self::new(values, Vec::new(), Mixer::Grover))
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
        Some(Self::new(values, multiplicity, Mixer::Grover))
    }

    /// One-hot mixers on the designs of `groups`; `None` unless there is one cost for each.
    pub fn one_hot(values: Vec<f64>, groups: Arc<Groups>) -> Option<Self> {
        (!values.is_empty() && values.len() == groups.len())
            .then(|| Self::new(values, Vec::new(), Mixer::OneHot(groups)))
    }

    /// The same simulator, its passes shared out to `threads`. The results keep every bit.
    pub fn with_threads(self, threads: Threads) -> Self {
        Self { threads, ..self }
    }

    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The state after all layers, from the uniform superposition.
    ///
    /// O(layers x qubits x 2^qubits) with the X mixer, O(layers x amplitudes) with Grover's, O(layers x
    /// groups x amplitudes) with one-hot mixers.
    pub fn run(&self, angles: &Angles) -> State {
        // Zeros come untouched from the system; with several threads each page is then filled by its own.
        let mut state = State { re: vec![0.0; self.values.len()], im: vec![0.0; self.values.len()] };
        self.run_into(angles, &mut state);
        state
    }

    /// As [`Simulator::run`], into memory that is there already; it is resized where it does not fit.
    pub fn run_into(&self, angles: &Angles, state: &mut State) {
        let count = self.values.len();
        state.re.resize(count, 0.0);
        state.im.resize(count, 0.0);
        let turns = self.turns(angles);
        if let Mixer::X { qubits } = self.mixer {
            return x::layers(state, qubits, &turns, &self.threads);
        }
        state.re.fill(1.0 / self.total.sqrt());
        state.im.fill(0.0);
        if let Mixer::OneHot(groups) = &self.mixer {
            for (turn, mixer_angle) in &turns {
                turn.apply(0, &mut state.re, &mut state.im);
                groups.mix(state, *mixer_angle);
            }
        } else {
            grover::layers(state, self.set(), &turns);
        }
    }

    /// Number of qubits under the X mixer.
    pub fn qubits(&self) -> Option<u32> {
        match self.mixer {
            Mixer::X { qubits } => Some(qubits),
            _ => None,
        }
    }

    /// One layer on any state; [`Simulator::run`] is faster for all of them.
    pub fn layer(&self, state: &mut State, cost_angle: f64, mixer_angle: f64) {
        self.phases.turn(&self.values, cost_angle).apply(0, &mut state.re, &mut state.im);
        match &self.mixer {
            Mixer::X { qubits } => x::mix(state, *qubits, mixer_angle, &self.threads),
            Mixer::OneHot(groups) => groups.mix(state, mixer_angle),
            Mixer::Grover => grover::mix(state, self.set(), mixer_angle),
        }
    }

    fn turns(&self, angles: &Angles) -> Vec<(Turn<'_>, f64)> {
        let pairs = angles.cost.iter().zip(&angles.mixer);
        pairs.map(|(cost, mixer)| (self.phases.turn(&self.values, *cost), *mixer)).collect()
    }

    fn set(&self) -> grover::Set<'_> {
        grover::Set {
            values: &self.values,
            multiplicity: &self.multiplicity,
            total: self.total,
            threads: &self.threads,
        }
    }

    /// Expectation of a diagonal observable, e.g. of the costs themselves.
    pub fn expectation(&self, state: &State, observable: &[f64]) -> f64 {
        sums::expectation(state, observable, &self.multiplicity, &self.threads)
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
