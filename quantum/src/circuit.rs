//! A small circuit with named input angles: QAOA for an Ising cost, with the X mixer or one-hot mixers.
//!
//! Gates are few and each has one exact matrix (given beside it). Angles are multiples of inputs, so that
//! one circuit serves every step of a search. [`crate::openqasm`] writes it down.

use crate::ising::Ising;
use serde::{Deserialize, Serialize};

/// An angle in radians: `factor` times the input of that number, or a plain number without input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Angle {
    pub input: Option<usize>,
    pub factor: f64,
}

impl Angle {
    /// Its value for these inputs; `None` if the input is missing.
    pub fn value(&self, inputs: &[f64]) -> Option<f64> {
        match self.input {
            Some(input) => Some(self.factor * inputs.get(input)?),
            None => Some(self.factor),
        }
    }
}

/// One gate on named qubits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Gate {
    /// Hadamard.
    H(u32),
    /// Flips.
    X(u32),
    /// exp(-i angle Y / 2).
    Ry(u32, Angle),
    /// exp(i angle) where the qubit is 1.
    Phase(u32, Angle),
    /// exp(-i angle X / 2).
    Rx(u32, Angle),
    /// exp(-i angle Z / 2).
    Rz(u32, Angle),
    /// exp(-i angle Z Z / 2).
    Rzz(u32, u32, Angle),
    /// Flips the second qubit where the first is 1.
    Cx(u32, u32),
    /// exp(i angle) on everything.
    GlobalPhase(Angle),
}

impl Gate {
    fn qubits(&self) -> impl Iterator<Item = u32> {
        let (first, second) = match *self {
            Self::H(q) | Self::X(q) => (Some(q), None),
            Self::Rx(q, _) | Self::Ry(q, _) | Self::Rz(q, _) | Self::Phase(q, _) => (Some(q), None),
            Self::Rzz(a, b, _) | Self::Cx(a, b) => (Some(a), Some(b)),
            Self::GlobalPhase(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// What a circuit takes to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub qubits: u32,
    /// Gates on one qubit, and on two; a global phase is none.
    pub one_qubit_gates: u64,
    pub two_qubit_gates: u64,
    /// Longest chain of gates that must follow each other.
    pub depth: u64,
    /// The same, counting gates on two qubits only: what limits noisy machines.
    pub two_qubit_depth: u64,
}

/// Gates on `qubits` qubits, all measured at the end, with named inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Circuit {
    qubits: u32,
    inputs: Vec<String>,
    gates: Vec<Gate>,
}

impl Circuit {
    /// QAOA with the X mixer: |+>, then per layer exp(-i cost_angle C) and exp(-i mixer_angle X).
    ///
    /// Inputs are `cost_angle_0`, `mixer_angle_0`, `cost_angle_1`, .. in this order. Terms of three and more
    /// spins become a ladder of CX around one RZ; constants a global phase.
    pub fn qaoa(ising: &Ising, layers: usize) -> Self {
        let qubits = ising.qubits();
        let mut circuit = Self { qubits, inputs: Vec::new(), gates: (0..qubits).map(Gate::H).collect() };
        for layer in 0..layers {
            let mixer = circuit.cost_layer(ising, layer);
            let twice = Angle { input: Some(mixer), factor: 2.0 };
            circuit.gates.extend((0..qubits).map(|q| Gate::Rx(q, twice)));
        }
        circuit
    }

    /// QAOA on groups of one-hot qubits: group g has `sizes[g]` neighbouring qubits, of which one is 1.
    ///
    /// Starts in the even superposition of every combination; the mixer of a group is exactly
    /// exp(-i mixer_angle A), A the complete graph on its choices ((XX + YY) / 2 over all pairs): with V
    /// the chain of rotations that spreads the first choice evenly over all, it is a phase exp(-i angle size)
    /// of the first choice between V's inverse and V, and exp(i angle) on everything. Each rotation of a
    /// neighbouring pair takes four CX. `None` if the sizes do not make up the qubits or one is 0.
    pub fn one_hot(ising: &Ising, sizes: &[u32], layers: usize) -> Option<Self> {
        let total: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
        if total != u64::from(ising.qubits()) || sizes.contains(&0) {
            return None;
        }
        let firsts: Vec<u32> = sizes
            .iter()
            .scan(0, |at, size| {
                let first = *at;
                *at += size;
                Some(first)
            })
            .collect();
        let mut circuit = Self { qubits: ising.qubits(), inputs: Vec::new(), gates: Vec::new() };
        for (&first, &size) in firsts.iter().zip(sizes) {
            circuit.gates.push(Gate::X(first));
            circuit.spread(first, size, false);
        }
        for layer in 0..layers {
            let mixer = circuit.cost_layer(ising, layer);
            for (&first, &size) in firsts.iter().zip(sizes).filter(|(_, size)| **size > 1) {
                let angle = |factor| Angle { input: Some(mixer), factor };
                circuit.spread(first, size, true);
                circuit.gates.push(Gate::Phase(first, angle(-f64::from(size))));
                circuit.gates.push(Gate::GlobalPhase(angle(1.0)));
                circuit.spread(first, size, false);
            }
        }
        Some(circuit)
    }

    /// The two inputs of a layer and exp(-i cost_angle C); gives the place of its mixer's angle among the inputs.
    fn cost_layer(&mut self, ising: &Ising, layer: usize) -> usize {
        let cost = self.inputs.len();
        self.inputs.push(format!("cost_angle_{layer}"));
        self.inputs.push(format!("mixer_angle_{layer}"));
        for term in ising.terms() {
            self.phase_of(&term.z, cost, term.coefficient);
        }
        cost + 1
    }

    /// QAOA with the X mixer and plain angles for any diagonal cost: `coefficients[m]` belongs to the product of
    /// the spins in the mask m, and there are two to the power of `qubits` of them; the constant is left out.
    ///
    /// Per layer each qubit gathers the parities of all sets of lower qubits in the order of a Gray code, so that
    /// one CX lies between two rotations: 2^n - 1 RZ and 2^n - 2 CX (Welch et al., New J. Phys. 16, 033040, 2014).
    /// `None` if the numbers of coefficients or angles do not fit.
    pub fn diagonal(coefficients: &[f64], cost_angles: &[f64], mixer_angles: &[f64]) -> Option<Self> {
        let qubits = coefficients.len().checked_ilog2().filter(|n| *n > 0)?;
        if !coefficients.len().is_power_of_two() || cost_angles.len() != mixer_angles.len() {
            return None;
        }
        let plain = |factor| Angle { input: None, factor };
        let mut gates: Vec<Gate> = (0..qubits).map(Gate::H).collect();
        for (cost, mixer) in cost_angles.iter().zip(mixer_angles) {
            for target in 0..qubits {
                for step in 0..1usize << target {
                    let parity = step ^ (step >> 1) | 1 << target;
                    if coefficients[parity] != 0.0 {
                        gates.push(Gate::Rz(target, plain(2.0 * cost * coefficients[parity])));
                    }
                    // The last step leads back to the first, by the highest of the lower qubits.
                    let changes = (step + 1).trailing_zeros().min(target.saturating_sub(1));
                    if target > 0 {
                        gates.push(Gate::Cx(changes, target));
                    }
                }
            }
            gates.extend((0..qubits).map(|q| Gate::Rx(q, plain(2.0 * mixer))));
        }
        Some(Self { qubits, inputs: Vec::new(), gates })
    }

    /// V of [`Circuit::one_hot`], or its inverse.
    fn spread(&mut self, first: u32, size: u32, inverse: bool) {
        let turn = |k: u32| {
            let share = 1.0 / f64::from(size - k);
            (k, share.sqrt().acos())
        };
        let turns: Vec<(u32, f64)> = (0..size - 1).map(turn).collect();
        let mut pair = |(k, turn): (u32, f64)| {
            // |10> to cos |10> + sin |01>; 00 and 11 stay.
            let (a, b) = (first + k, first + k + 1);
            let plain = |factor| Angle { input: None, factor };
            let gates = [
                Gate::Cx(b, a),
                Gate::Ry(b, plain(turn)),
                Gate::Cx(a, b),
                Gate::Ry(b, plain(-turn)),
                Gate::Cx(a, b),
                Gate::Cx(b, a),
            ];
            self.gates.extend(gates);
        };
        if inverse {
            turns.into_iter().rev().for_each(|(k, turn)| pair((k, -turn)));
        } else {
            turns.into_iter().for_each(pair);
        }
    }

    /// The same circuit of gates on one qubit and CX only: RZZ becomes CX, RZ, CX.
    ///
    /// What [`Circuit::resources`] then counts is comparable between machines.
    pub fn decomposed(&self) -> Self {
        let gates = self.gates.iter().flat_map(|gate| match *gate {
            Gate::Rzz(a, b, angle) => vec![Gate::Cx(a, b), Gate::Rz(b, angle), Gate::Cx(a, b)],
            other => vec![other],
        });
        Self { qubits: self.qubits, inputs: self.inputs.clone(), gates: gates.collect() }
    }

    /// exp(-i input coefficient Z..Z).
    fn phase_of(&mut self, z: &[u32], input: usize, coefficient: f64) {
        let angle = |factor| Angle { input: Some(input), factor };
        match *z {
            [] => self.gates.push(Gate::GlobalPhase(angle(-coefficient))),
            [q] => self.gates.push(Gate::Rz(q, angle(2.0 * coefficient))),
            [a, b] => self.gates.push(Gate::Rzz(a, b, angle(2.0 * coefficient))),
            [.., last] => {
                // The parity of all spins is gathered in the last qubit, turned, and spread back.
                let ladder = z.windows(2).map(|pair| Gate::Cx(pair[0], pair[1]));
                self.gates.extend(ladder.clone());
                self.gates.push(Gate::Rz(last, angle(2.0 * coefficient)));
                self.gates.extend(ladder.rev());
            }
        }
    }

    pub fn qubits(&self) -> u32 {
        self.qubits
    }

    /// Names of the inputs, in order.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    /// Counts gates and the depth. O(gates).
    pub fn resources(&self) -> Resources {
        let mut at = vec![(0u64, 0u64); self.qubits as usize];
        let (mut one, mut two) = (0, 0);
        for gate in &self.gates {
            let pair = gate.qubits().count() == 2;
            let reached =
                gate.qubits().map(|q| at[q as usize]).fold((0, 0), |m, d| (m.0.max(d.0), m.1.max(d.1)));
            let next = (reached.0 + 1, reached.1 + u64::from(pair));
            for q in gate.qubits() {
                at[q as usize] = next;
            }
            match gate.qubits().count() {
                1 => one += 1,
                2 => two += 1,
                _ => {}
            }
        }
        Resources {
            qubits: self.qubits,
            one_qubit_gates: one,
            two_qubit_gates: two,
            depth: at.iter().map(|d| d.0).max().unwrap_or(0),
            two_qubit_depth: at.iter().map(|d| d.1).max().unwrap_or(0),
        }
    }
}
