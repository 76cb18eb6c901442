//! A cost as a polynomial in spins z = 1 - 2 bit, and its value in every basis state.
//!
//! Bit i of a basis state's index is qubit i (little-endian, as Qiskit numbers them).

use crate::simulator::walsh;
use serde::{Deserialize, Serialize};

/// One term: `coefficient` times the product of the spins in `z` (empty for a constant).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Qubits whose spins are multiplied, each at most once.
    pub z: Vec<u32>,
    pub coefficient: f64,
}

/// A cost C(z) = sum of coefficient times product of z_i over `qubits` spins.
#[derive(Debug, Clone, PartialEq)]
pub struct Ising {
    qubits: u32,
    terms: Vec<Term>,
}

/// Why a list of terms is no Ising cost.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IsingError {
    #[error("term {term} names qubit {qubit}, but the qubits are 0 to {}", .qubits - 1)]
    QubitOutOfRange { term: usize, qubit: u32, qubits: u32 },
    #[error("term {term} names qubit {qubit} twice; z times z is 1, so drop both")]
    QubitRepeated { term: usize, qubit: u32 },
    #[error("the coefficients are not finite, or their sum is not, at term {term}")]
    NotFinite { term: usize },
    #[error("{qubits} qubits are outside 1 to 63")]
    Qubits { qubits: u32 },
}

impl Ising {
    /// Checks that every term names existing, different qubits and that no sum can overflow.
    ///
    /// # Errors
    /// [`IsingError`], naming the first offending term by its position from 0.
    pub fn new(qubits: u32, terms: Vec<Term>) -> Result<Self, IsingError> {
        if !(1..=63).contains(&qubits) {
            return Err(IsingError::Qubits { qubits });
        }
        let mut magnitude = 0.0f64;
        for (term, t) in terms.iter().enumerate() {
            let mut seen = 0u64;
            for &qubit in &t.z {
                if qubit >= qubits {
                    return Err(IsingError::QubitOutOfRange { term, qubit, qubits });
                }
                if seen >> qubit & 1 == 1 {
                    return Err(IsingError::QubitRepeated { term, qubit });
                }
                seen |= 1 << qubit;
            }
            magnitude += t.coefficient.abs();
            if !magnitude.is_finite() {
                return Err(IsingError::NotFinite { term });
            }
        }
        Ok(Self { qubits, terms })
    }

    /// An Ising cost equal to the quadratic form sum of q_ij x_i x_j over bits (i = j: the linear part).
    ///
    /// # Errors
    /// As [`Ising::new`].
    pub fn from_qubo(qubits: u32, entries: &[(u32, u32, f64)]) -> Result<Self, IsingError> {
        // x = (1 - z) / 2.
        let mut terms = Vec::with_capacity(4 * entries.len());
        for &(i, j, q) in entries {
            if i == j {
                terms.push(Term { z: vec![], coefficient: q / 2.0 });
                terms.push(Term { z: vec![i], coefficient: -q / 2.0 });
            } else {
                terms.push(Term { z: vec![], coefficient: q / 4.0 });
                terms.push(Term { z: vec![i], coefficient: -q / 4.0 });
                terms.push(Term { z: vec![j], coefficient: -q / 4.0 });
                terms.push(Term { z: vec![i, j], coefficient: q / 4.0 });
            }
        }
        Self::new(qubits, merged(terms))
    }

    /// MaxCut as a cost: minus the number of cut edges.
    ///
    /// # Errors
    /// As [`Ising::new`].
    pub fn max_cut(qubits: u32, edges: &[(u32, u32)]) -> Result<Self, IsingError> {
        let mut terms = vec![Term { z: vec![], coefficient: -0.5 * edges.len() as f64 }];
        terms.extend(edges.iter().map(|&(i, j)| Term { z: vec![i, j], coefficient: 0.5 }));
        Self::new(qubits, terms)
    }

    pub fn qubits(&self) -> u32 {
        self.qubits
    }

    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Sum of the coefficients' magnitudes: no state costs more, and rounding is relative to it.
    pub fn magnitude(&self) -> f64 {
        self.terms.iter().map(|t| t.coefficient.abs()).sum()
    }

    /// The cost of every basis state. 8 bytes times 2^qubits; O(qubits 2^qubits) whatever the terms.
    ///
    /// The caller has checked that this fits memory (see [`crate::problem::STATE_BYTES_MAX`]).
    pub fn diagonal(&self) -> Vec<f64> {
        // The product of spins in a set S is (-1)^|S and state|: the costs are the Walsh-Hadamard
        // transform of the coefficients.
        let mut values = vec![0.0f64; 1usize << self.qubits];
        for t in &self.terms {
            let mask = t.z.iter().fold(0usize, |mask, q| mask | 1 << q);
            values[mask] += t.coefficient;
        }
        walsh::transform(&mut values);
        values
    }
}

/// Adds up terms over the same qubits, in order of first appearance.
fn merged(terms: Vec<Term>) -> Vec<Term> {
    let mut place = std::collections::BTreeMap::<Vec<u32>, usize>::new();
    let mut sum: Vec<Term> = Vec::new();
    for mut t in terms {
        t.z.sort_unstable();
        match place.get(&t.z) {
            Some(&at) => sum[at].coefficient += t.coefficient,
            None => {
                place.insert(t.z.clone(), sum.len());
                sum.push(t);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{Ising, IsingError, Term};
    use proptest::prelude::*;

    fn terms(qubits: u32) -> impl Strategy<Value = Vec<Term>> {
        let one = (prop::collection::btree_set(0..qubits, 0..=qubits as usize), -2.0f64..2.0)
            .prop_map(|(z, coefficient)| Term { z: z.into_iter().collect(), coefficient });
        prop::collection::vec(one, 0..12)
    }

    proptest! {
        #[test]
        fn the_diagonal_is_the_polynomial_in_every_state(terms in terms(5)) {
            let ising = Ising::new(5, terms.clone()).unwrap();
            for (state, value) in ising.diagonal().into_iter().enumerate() {
                let spin = |q: u32| 1.0 - 2.0 * f64::from((state >> q & 1) as u32);
                let direct: f64 =
                    terms.iter().map(|t| t.coefficient * t.z.iter().map(|&q| spin(q)).product::<f64>()).sum();
                prop_assert!((direct - value).abs() < 1e-13);
            }
        }

        #[test]
        fn a_qubo_costs_what_its_bits_cost(entries in prop::collection::vec((0u32..4, 0u32..4, -3.0f64..3.0), 0..9)) {
            let values = Ising::from_qubo(4, &entries).unwrap().diagonal();
            for (state, value) in values.into_iter().enumerate() {
                let bit = |q: u32| f64::from((state >> q & 1) as u32);
                let direct: f64 = entries.iter().map(|&(i, j, q)| q * bit(i) * bit(j)).sum();
                prop_assert!((direct - value).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_diagonal_of_many_qubits_is_the_polynomial_too() {
        let term = |z: &[u32], coefficient| Term { z: z.to_vec(), coefficient };
        let terms =
            vec![term(&[0, 16], 0.5), term(&[11, 15, 16], -1.25), term(&[10], 2.0), term(&[12, 14], 4.0)];
        let values = Ising::new(17, terms.clone()).unwrap().diagonal();
        for (state, value) in values.into_iter().enumerate() {
            let spin = |q: &u32| 1.0 - 2.0 * f64::from((state >> q & 1) as u32);
            let direct: f64 =
                terms.iter().map(|t| t.coefficient * t.z.iter().map(spin).product::<f64>()).sum();
            assert_eq!(direct, value, "state {state}");
        }
    }

    #[test]
    fn a_qubit_out_of_range_or_repeated_is_named() {
        let term = |z: &[u32]| Term { z: z.to_vec(), coefficient: 1.0 };
        assert_eq!(
            Ising::new(3, vec![term(&[0]), term(&[1, 3])]),
            Err(IsingError::QubitOutOfRange { term: 1, qubit: 3, qubits: 3 })
        );
        assert_eq!(Ising::new(3, vec![term(&[2, 2])]), Err(IsingError::QubitRepeated { term: 0, qubit: 2 }));
        assert_eq!(Ising::new(0, vec![]), Err(IsingError::Qubits { qubits: 0 }));
        let huge = Term { z: vec![0], coefficient: f64::MAX };
        assert_eq!(Ising::new(3, vec![huge.clone(), huge]), Err(IsingError::NotFinite { term: 1 }));
    }
}
