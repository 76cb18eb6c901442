//! A listed set of designs on qubits: design k is the basis state k.
//!
//! A gate machine cannot prepare the even superposition over a listed set by any cheap general circuit. It can
//! hold the designs' indices: n = ceil(log2 |F|) qubits, X mixer, and the costs as an exact Walsh expansion, which
//! has up to 2^n - 1 terms. States beyond the last design are padding: each costs as much as the dearest design and
//! a penalty more, so that a good circuit avoids them; shots that give one are counted as outside the set.
//! Rule: the encoding is exact or refused; nothing is left out of the expansion. It is bounded, since a circuit of
//! 2^n terms per layer is one for small sets and honest comparisons, not for speed. Start at [`IndexEncoding::new`].

use crate::circuit::Circuit;
use crate::qaoa::{Outcome, QaoaError, standardised};
use crate::simulator::walsh;

/// Most qubits: 1,024 designs and as many CX per layer, more than any machine of today runs without losing the
/// state, and some 200 KB of program for three layers, which an importer reads in seconds.
pub const QUBITS_MAX: u32 = 10;
/// Distance of a padding state's cost to the dearest design's, as a share of the range of costs.
pub const PENALTY_SHARE: f64 = 0.25;

/// Why a set has no such encoding.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodingError {
    #[error(
        "{designs} designs need {qubits} qubits in the encoding `index`, which is for at most {QUBITS_MAX} (1,024 designs)"
    )]
    TooMany { designs: usize, qubits: u32 },
    #[error(transparent)]
    Costs(#[from] QaoaError),
    #[error("{given} angles do not fit this encoding")]
    Angles { given: usize },
}

/// The costs of all basis states.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexEncoding {
    qubits: u32,
    designs: usize,
    penalty: f64,
    costs: Vec<f64>,
}

impl IndexEncoding {
    /// Encodes `costs`, one per design, in any unit.
    ///
    /// # Errors
    /// [`EncodingError`]: none or too many designs, or a cost that is not finite.
    ///
    /// ```
    /// # use quantum::index_encoding::IndexEncoding;
    /// let encoding = IndexEncoding::new(&[3.0, 1.0, 5.0])?;
    /// assert_eq!((encoding.qubits(), encoding.costs()), (2, &[3.0, 1.0, 5.0, 6.0][..]));
    /// # Ok::<(), quantum::index_encoding::EncodingError>(())
    /// ```
    pub fn new(costs: &[f64]) -> Result<Self, EncodingError> {
        standardised(costs)?;
        // One design alone still needs a qubit to be measured.
        let qubits = costs.len().next_power_of_two().ilog2().max(1);
        if qubits > QUBITS_MAX {
            return Err(EncodingError::TooMany { designs: costs.len(), qubits });
        }
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let worst = costs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // With all costs equal the padding must be dearer all the same.
        let penalty = if worst > least { PENALTY_SHARE * (worst - least) } else { worst.abs().max(1.0) };
        let mut padded = costs.to_vec();
        padded.resize(1 << qubits, worst + penalty);
        standardised(&padded)?;
        Ok(Self { qubits, designs: costs.len(), penalty, costs: padded })
    }

    pub fn qubits(&self) -> u32 {
        self.qubits
    }

    /// Designs; basis states from here on are padding.
    pub fn designs(&self) -> usize {
        self.designs
    }

    /// Costs of all basis states, in the unit given.
    pub fn costs(&self) -> &[f64] {
        &self.costs
    }

    /// By how much a padding state is dearer than the dearest design, in the unit of the costs.
    pub fn penalty(&self) -> f64 {
        self.penalty
    }

    /// The circuit at the angles that a search over [`IndexEncoding::costs`] with the X mixer has found.
    ///
    /// # Errors
    /// [`EncodingError::Angles`] if they are of another search.
    pub fn circuit(&self, outcome: &Outcome) -> Result<Circuit, EncodingError> {
        // The search turns its cost angles by standardised costs, and so does the circuit.
        let mut coefficients: Vec<f64> =
            self.costs.iter().map(|cost| outcome.standard.apply(*cost)).collect();
        walsh::transform(&mut coefficients);
        let states = coefficients.len() as f64;
        coefficients.iter_mut().for_each(|value| *value /= states);
        Circuit::diagonal(&coefficients, &outcome.cost_angles, &outcome.mixer_angles)
            .ok_or(EncodingError::Angles { given: outcome.cost_angles.len() })
    }
}
