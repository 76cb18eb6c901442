//! The QAOA problem file: a cost, a mixer and the angles, as JSON; and its evaluation.
//!
//! Reading checks everything before anything large is allocated. Evaluation is exact simulation. Basis
//! states are little-endian: bit i of the index is qubit i, and z_i = 1 - 2 bit_i.

mod read;

use crate::ising::{Ising, IsingError};
use crate::phase::PHASE_MAX;
use crate::simulator::{Angles, Simulator};
use crate::threads::Threads;

/// Version of the file format that is read.
pub const VERSION: u64 = 1;

/// Memory one evaluation may take. 4 GiB holds 27 qubits, or 134 million designs; more than that asks for a
/// machine chosen on purpose.
pub const STATE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Bytes per amplitude: two doubles of state, one of cost, one of the list the cost was read from (or the byte
/// of its place in a table of phases).
pub const AMPLITUDE_BYTES: u64 = 32;

/// Most layers of a problem. The deepest useful circuits have some hundred; Grover's algorithm on a
/// million designs has 785.
pub const LAYERS_MAX: usize = 4096;

/// Costs computed as sums of terms count as equal to the least when they differ by rounding only: by this
/// share of the sum of the terms' magnitudes. Costs given as values are compared exactly.
pub const TIE_TOLERANCE: f64 = 1.0e-12;

/// What is minimised.
#[derive(Debug, Clone, PartialEq)]
pub enum Cost {
    /// A polynomial in spins, over all basis states of its qubits.
    Ising(Ising),
    /// One cost per design, or per basis state if `qubits` was given.
    Values(Vec<f64>),
}

/// Which operator mixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// Sum of X over all qubits.
    X,
    /// Projector onto the uniform superposition.
    Grover,
}

/// A checked problem: [`evaluate`] cannot fail on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    cost: Cost,
    mixer: Mixer,
    angles: Angles,
    /// Present with an Ising cost, or when the values run over basis states.
    qubits: Option<u32>,
}

/// What [`evaluate`] finds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Mean cost over measurements, in the unit of the costs.
    pub expectation: f64,
    /// Probability to measure any of the states of least cost.
    pub optimum_probability: f64,
}

/// Why a file is not a problem. `line` and `column` count from 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProblemError {
    #[error("{line}:{column}: not JSON: {reason}")]
    NotJson { line: usize, column: usize, reason: String },
    #[error("{place}: a finite number was expected")]
    NotFinite { place: String },
    #[error("{line}:{column}: {reason}")]
    UnknownKey { line: usize, column: usize, reason: String },
    #[error("{line}:{column}: {reason}")]
    WrongShape { line: usize, column: usize, reason: String },
    #[error("`qaoa_problem` is {given}, but this program reads version {VERSION}")]
    Version { given: String },
    #[error("{cost_angles} cost angles and {mixer_angles} mixer angles; each layer needs one of each")]
    LengthsDiffer { cost_angles: usize, mixer_angles: usize },
    #[error("`cost` must hold exactly one of `ising` and `values`, but holds {given}")]
    CostForm { given: &'static str },
    #[error("`cost.ising`: {0}")]
    QubitOutOfRange(IsingError),
    #[error("`cost.ising`: {0}")]
    QubitRepeated(IsingError),
    #[error("`qubits` is missing; it is needed with {with}")]
    QubitsMissing { with: &'static str },
    #[error(
        "{amplitudes} amplitudes were asked for, but 1 to {} fit the limit STATE_BYTES_MAX of {STATE_BYTES_MAX} bytes",
        STATE_BYTES_MAX / AMPLITUDE_BYTES
    )]
    StateSize { amplitudes: String },
    #[error("`cost.values` is empty; at least one design is needed")]
    NoDesigns,
    #[error("`cost.values` has {given} entries, but {qubits} qubits have 2^{qubits} states")]
    ValuesLength { given: usize, qubits: u64 },
    #[error("{given} layers are more than the limit LAYERS_MAX of {LAYERS_MAX}")]
    Layers { given: usize },
    #[error(
        "cost angle {layer} ({angle}) times the largest cost ({cost}) is a phase above {PHASE_MAX} radians"
    )]
    PhaseTooLarge { layer: usize, angle: f64, cost: f64 },
}

impl ProblemError {
    /// The stable code, explained in [`crate::CODES`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "EX-0450",
            Self::NotFinite { .. } => "EX-0451",
            Self::UnknownKey { .. } => "EX-0452",
            Self::WrongShape { .. } => "EX-0453",
            Self::Version { .. } => "EX-0454",
            Self::LengthsDiffer { .. } => "EX-0455",
            Self::CostForm { .. } => "EX-0456",
            Self::QubitOutOfRange(_) => "EX-0457",
            Self::QubitRepeated(_) => "EX-0458",
            Self::QubitsMissing { .. } => "EX-0459",
            Self::StateSize { .. } => "EX-0460",
            Self::NoDesigns => "EX-0461",
            Self::ValuesLength { .. } => "EX-0462",
            Self::Layers { .. } => "EX-0463",
            Self::PhaseTooLarge { .. } => "EX-0464",
        }
    }
}

impl Problem {
    /// Reads and checks a problem file.
    ///
    /// # Errors
    /// [`ProblemError`], the first one found; unknown keys are errors.
    ///
    /// ```
    /// use quantum::problem::{Problem, evaluate};
    /// let text = r#"{"qaoa_problem": 1, "cost": {"values": [1.0, 0.0, 0.0, 0.0]}, "mixer": "grover",
    ///     "cost_angles": [3.141592653589793], "mixer_angles": [3.141592653589793]}"#;
    /// let found = evaluate(&Problem::read(text)?);
    /// assert!((found.expectation - 1.0).abs() < 1e-12); // one of four marked: one round finds it
    /// # Ok::<(), quantum::problem::ProblemError>(())
    /// ```
    pub fn read(text: &str) -> Result<Self, ProblemError> {
        read::problem(text)
    }

    /// A problem over an Ising cost.
    ///
    /// # Errors
    /// As [`Problem::read`], for size, layers and phases.
    pub fn ising(cost: Ising, mixer: Mixer, angles: Angles) -> Result<Self, ProblemError> {
        let qubits = u64::from(cost.qubits());
        read::check_qubits(qubits)?;
        let largest = cost.magnitude();
        let qubits = Some(cost.qubits());
        Self { cost: Cost::Ising(cost), mixer, angles, qubits }.checked(largest)
    }

    /// A problem over listed costs; `qubits` if they run over all basis states (needed by the mixer X).
    ///
    /// # Errors
    /// As [`Problem::read`], for sizes, finiteness, layers and phases.
    pub fn values(
        values: Vec<f64>,
        mixer: Mixer,
        angles: Angles,
        qubits: Option<u64>,
    ) -> Result<Self, ProblemError> {
        if values.is_empty() {
            return Err(ProblemError::NoDesigns);
        }
        if values.len() as u64 > STATE_BYTES_MAX / AMPLITUDE_BYTES {
            return Err(ProblemError::StateSize { amplitudes: values.len().to_string() });
        }
        if let Some(qubits) = qubits {
            read::check_qubits(qubits)?;
            if values.len() as u64 != 1u64 << qubits {
                return Err(ProblemError::ValuesLength { given: values.len(), qubits });
            }
        } else if mixer == Mixer::X {
            return Err(ProblemError::QubitsMissing { with: "the mixer `x`" });
        }
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(ProblemError::NotFinite { place: format!("`cost.values[{index}]`") });
        }
        let largest = values.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        let qubits = qubits.map(|q| q as u32);
        Self { cost: Cost::Values(values), mixer, angles, qubits }.checked(largest)
    }

    fn checked(self, largest: f64) -> Result<Self, ProblemError> {
        let Angles { cost, mixer } = &self.angles;
        if cost.len() != mixer.len() {
            return Err(ProblemError::LengthsDiffer { cost_angles: cost.len(), mixer_angles: mixer.len() });
        }
        if cost.len() > LAYERS_MAX {
            return Err(ProblemError::Layers { given: cost.len() });
        }
        for (name, list) in [("cost_angles", cost), ("mixer_angles", mixer)] {
            if let Some(index) = list.iter().position(|a| !a.is_finite()) {
                return Err(ProblemError::NotFinite { place: format!("`{name}[{index}]`") });
            }
        }
        for (layer, &angle) in cost.iter().enumerate() {
            if angle.abs() * largest > PHASE_MAX {
                return Err(ProblemError::PhaseTooLarge { layer, angle, cost: largest });
            }
        }
        for (layer, &angle) in mixer.iter().enumerate() {
            if angle.abs() > PHASE_MAX {
                return Err(ProblemError::PhaseTooLarge { layer, angle, cost: 1.0 });
            }
        }
        Ok(self)
    }

    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    pub fn mixer(&self) -> Mixer {
        self.mixer
    }

    pub fn angles(&self) -> &Angles {
        &self.angles
    }

    /// Number of qubits, where the cost runs over basis states.
    pub fn qubits(&self) -> Option<u32> {
        self.qubits
    }
}

/// Expectation and probability of the optimum, exactly up to rounding (about 1e-13 relative).
///
/// Up to [`STATE_BYTES_MAX`] of memory; time as [`Simulator::run`]. States of least cost that tie all
/// count; see [`TIE_TOLERANCE`].
pub fn evaluate(problem: &Problem) -> Evaluation {
    evaluate_on(problem, &Threads::one())
}

/// As [`evaluate`], its passes shared out to `threads`; the same bits for any number of them.
pub fn evaluate_on(problem: &Problem, threads: &Threads) -> Evaluation {
    let (values, tolerance) = match &problem.cost {
        Cost::Ising(ising) => (ising.diagonal(), TIE_TOLERANCE * ising.magnitude()),
        Cost::Values(values) => (values.clone(), 0.0),
    };
    let simulator = match (problem.mixer, problem.qubits) {
        (Mixer::X, Some(qubits)) => Simulator::x(values, qubits),
        _ => Simulator::grover(values),
    };
    // A checked problem has at least one design and a power of two for the mixer X.
    let Some(simulator) = simulator else {
        return Evaluation { expectation: f64::NAN, optimum_probability: f64::NAN };
    };
    let simulator = simulator.with_threads(threads.clone());
    let state = simulator.run(&problem.angles);
    Evaluation {
        expectation: simulator.expectation(&state, simulator.values()),
        optimum_probability: simulator.probability_at_most(&state, simulator.least() + tolerance),
    }
}
