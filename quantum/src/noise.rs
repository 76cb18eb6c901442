//! Errors of a machine: depolarising after each layer, and misreading.
//!
//! Over a set of designs the channel is exact: with probability `depolarising` per layer the state becomes the
//! even mixture of all designs, which later layers leave as it is, so a shot is uniform with probability
//! 1 - (1 - depolarising)^layers. On qubits ([`trajectories`]) each qubit is on its own: after each layer, with
//! probability `depolarising`, it is replaced by the even mixture of 0 and 1, which is one of the identity, X,
//! Y, Z with a quarter of it each. Every shot is a pure trajectory with errors drawn from counted numbers, so
//! the shots are samples of the exact channel (tests compare with the density matrix). `readout` takes each
//! qubit, or each group, for another of its values.

use crate::qaoa::QaoaError;
use crate::qaoa::random::{Purpose, Uniform};
use crate::simulator::{Angles, Simulator};
use crate::state::State;
use crate::threads::Threads;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Probabilities of errors, each in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Per layer; per qubit too where there are qubits.
    #[serde(default)]
    pub depolarising: f64,
    /// Per qubit or group.
    #[serde(default)]
    pub readout: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self::NONE
    }
}

impl Noise {
    pub const NONE: Self = Self { depolarising: 0.0, readout: 0.0 };

    /// # Errors
    /// [`QaoaError::SettingOutOfRange`] for a probability outside [0, 1].
    pub fn check(&self) -> Result<(), QaoaError> {
        for (name, given) in [("noise.depolarising", self.depolarising), ("noise.readout", self.readout)] {
            if !(0.0..=1.0).contains(&given) {
                let expected = "a probability from 0 to 1".to_owned();
                return Err(QaoaError::SettingOutOfRange { name, given: given.to_string(), expected });
            }
        }
        Ok(())
    }

    /// Probability that no layer depolarises.
    pub(crate) fn survival(&self, layers: u32) -> f64 {
        (1.0 - self.depolarising).powi(layers.min(1 << 20) as i32)
    }
}

/// What happens to one qubit after one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pauli {
    X,
    Y,
    Z,
}

/// (layer, qubit, error), in order.
type Pattern = Vec<(u32, u32, Pauli)>;

/// Shots of the X-mixer circuit of `simulator` with errors: how often each basis state was read.
///
/// Shots with the same errors share one simulation; at most 2^n times 16 bytes per thread beyond the
/// simulator's own. O(different patterns x layers x qubits x 2^qubits). The same seed gives the same counts on
/// any number of threads. `None` if the simulator's mixer is not X.
///
/// # Errors
/// [`QaoaError::SettingOutOfRange`] for a probability outside [0, 1].
pub fn trajectories(
    simulator: &Simulator,
    angles: &Angles,
    noise: Noise,
    shots: u32,
    seed: u64,
) -> Result<Option<BTreeMap<u32, u32>>, QaoaError> {
    noise.check()?;
    let Some(qubits) = simulator.qubits().filter(|qubits| *qubits <= 32) else { return Ok(None) };
    let mut patterns: BTreeMap<Pattern, Vec<u32>> = BTreeMap::new();
    for shot in 0..shots {
        let mut errors = Uniform::new(seed, Purpose::Noise, u64::from(shot));
        let mut pattern = Pattern::new();
        for layer in 0..angles.layers() as u32 {
            for qubit in 0..qubits {
                // One number says both whether and which: four quarters of the probability.
                let drawn = errors.unit();
                let quarter = noise.depolarising / 4.0;
                if drawn < 3.0 * quarter {
                    let which = if drawn < quarter {
                        Pauli::X
                    } else if drawn < 2.0 * quarter {
                        Pauli::Y
                    } else {
                        Pauli::Z
                    };
                    pattern.push((layer, qubit, which));
                }
            }
        }
        patterns.entry(pattern).or_default().push(shot);
    }
    let alone = simulator.clone().with_threads(Threads::one());
    let read = simulator.threads().each(patterns.into_iter().collect(), |(pattern, shots)| {
        let state = with_errors(&alone, angles, &pattern);
        let mut upto = Vec::with_capacity(state.len());
        let mut total = 0.0;
        for z in 0..state.len() {
            total += state.probability(z);
            upto.push(total);
        }
        let one = |shot: u32| {
            let mut uniform = Uniform::new(seed, Purpose::Shots, 1 + u64::from(shot));
            let at = uniform.unit() * total;
            let measured = upto.partition_point(|sum| *sum <= at).min(upto.len() - 1) as u32;
            (0..qubits).fold(measured, |read, q| read ^ u32::from(uniform.unit() < noise.readout) << q)
        };
        shots.into_iter().map(one).collect::<Vec<u32>>()
    });
    let mut counts = BTreeMap::new();
    for state in read.into_iter().flatten() {
        *counts.entry(state).or_insert(0) += 1;
    }
    Ok(Some(counts))
}

fn with_errors(simulator: &Simulator, angles: &Angles, pattern: &[(u32, u32, Pauli)]) -> State {
    if pattern.is_empty() {
        return simulator.run(angles);
    }
    let mut state = State::uniform(simulator.values().len(), simulator.values().len() as f64);
    let mut errors = pattern.iter().peekable();
    for layer in 0..angles.layers() {
        simulator.layer(&mut state, angles.cost[layer], angles.mixer[layer]);
        while let Some(&(_, qubit, which)) = errors.next_if(|error| error.0 as usize == layer) {
            let bit = 1usize << qubit;
            for z in (0..state.len()).filter(|z| z & bit == 0) {
                let other = z | bit;
                match which {
                    Pauli::Z => {
                        (state.re[other], state.im[other]) = (-state.re[other], -state.im[other]);
                    }
                    Pauli::X | Pauli::Y => {
                        state.re.swap(z, other);
                        state.im.swap(z, other);
                        if which == Pauli::Y {
                            // -i on what was 1, i on what was 0.
                            (state.re[z], state.im[z]) = (state.im[z], -state.re[z]);
                            (state.re[other], state.im[other]) = (-state.im[other], state.re[other]);
                        }
                    }
                }
            }
        }
    }
    state
}
