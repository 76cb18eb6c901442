//! Which mixer a search uses, and what a misread register means under it.

use super::random::Uniform;
use super::settings::QaoaError;
use crate::simulator::one_hot::Groups;
use std::sync::Arc;

/// The mixer of a search over designs.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Mixing {
    /// The projector onto the uniform superposition: sees costs only.
    #[default]
    Grover,
    /// The complete graph on each group's choices, within the set: see [`Groups`].
    OneHot(Arc<Groups>),
    /// X on each of so many qubits; there must be one cost per basis state.
    X { qubits: u32 },
}

impl Mixing {
    /// The word for files and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grover => "grover",
            Self::OneHot(_) => "one-hot",
            Self::X { .. } => "x",
        }
    }

    /// Groups with a choice, and the mean distance of the mixer's highest level to the next, where a table of
    /// angles can be carried over; nothing for Grover's mixer, whose levels do not depend on the designs.
    pub(super) fn scale(&self) -> Option<(usize, f64)> {
        match self {
            Self::Grover => None,
            Self::X { qubits } => Some((*qubits as usize, 2.0)),
            Self::OneHot(groups) => {
                let sizes: Vec<f64> =
                    groups.sizes().into_iter().filter(|size| *size > 1).map(f64::from).collect();
                let mean = sizes.iter().sum::<f64>() / sizes.len().max(1) as f64;
                Some((sizes.len().max(1), mean.max(2.0)))
            }
        }
    }

    /// Bytes that tell mixers apart in a checkpoint; none for Grover's.
    pub(super) fn feed(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::Grover => {}
            Self::X { qubits } => {
                hasher.update(b"x").update(&qubits.to_le_bytes());
            }
            Self::OneHot(groups) => {
                hasher.update(b"one-hot");
                for size in groups.sizes() {
                    hasher.update(&size.to_le_bytes());
                }
                for choice in (0..groups.len() as u32).flat_map(|design| groups.choices(design)) {
                    hasher.update(&choice.to_le_bytes());
                }
            }
        }
    }

    pub(super) fn misfit(&self, costs: usize) -> QaoaError {
        let expected = match self {
            Self::Grover => "at least one cost".to_owned(),
            Self::X { qubits } => format!("2^{qubits} costs, one per basis state"),
            Self::OneHot(groups) => format!("{} costs, one per design of the groups", groups.len()),
        };
        QaoaError::SettingOutOfRange { name: "costs", given: format!("a list of {costs}"), expected }
    }

    /// What is read where `design` was measured: each group (qubit) is taken with `probability` for another
    /// of its choices, all alike. Under Grover's mixer the design is one symbol among all `designs`.
    /// Nothing if the reading is no design of the set.
    pub(super) fn misread(
        &self,
        design: u32,
        designs: usize,
        probability: f64,
        errors: &mut Uniform,
    ) -> Option<u32> {
        let mut other = |choice: u32, size: u32| {
            if size < 2 || errors.unit() >= probability {
                return choice;
            }
            let step = 1 + (errors.unit() * f64::from(size - 1)) as u32;
            (choice + step.min(size - 1)) % size
        };
        match self {
            Self::Grover => Some(other(design, designs as u32)),
            Self::X { qubits } => Some((0..*qubits).fold(0, |read, q| read | other(design >> q & 1, 2) << q)),
            Self::OneHot(groups) => {
                let read: Vec<u32> = groups
                    .choices(design)
                    .into_iter()
                    .zip(groups.sizes())
                    .map(|(choice, size)| other(choice, size))
                    .collect();
                groups.find(&read)
            }
        }
    }
}
