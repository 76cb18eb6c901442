//! A small circuit with named input angles: QAOA for an Ising cost with the X mixer.
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
            Self::H(q) | Self::Rx(q, _) | Self::Rz(q, _) => (Some(q), None),
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
            let cost = circuit.inputs.len();
            circuit.inputs.push(format!("cost_angle_{layer}"));
            circuit.inputs.push(format!("mixer_angle_{layer}"));
            for term in ising.terms() {
                circuit.phase_of(&term.z, cost, term.coefficient);
            }
            let twice = Angle { input: Some(cost + 1), factor: 2.0 };
            circuit.gates.extend((0..qubits).map(|q| Gate::Rx(q, twice)));
        }
        circuit
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
