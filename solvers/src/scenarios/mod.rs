//! Scenario files, version 1: joint realisations of what is uncertain, with their probabilities.
//!
//! Rule: the same text and the same seed give the same bytes; every figure of a sampled scenario is a
//! function of (seed, variable name, scenario index) and of nothing else, so a variable more or less
//! leaves the others as they are (unless a correlation ties them). All problems of a file are told at
//! once. Absent: files (a table's text is handed in by the caller), clocks. Start at [`read`].
//!
//! What the format means where its page leaves it open:
//! - `normal` with `min` or `max` is truncated (conditioned on the range), not clipped.
//! - `lognormal: {mean, sd}` are those of the logarithm.
//! - A correlation is that of the normal scores of the Gaussian copula.
//! - `latin-hypercube` puts exactly one scenario into each of `count` equally likely slices of every
//!   variable, also under correlations (Stein, Technometrics 29(2), 1987).
//! - `sobol` is Owen-scrambled by the seed; 24 bits per figure, at most [`SOBOL_COUNT_MAX`] scenarios.

mod codes;
mod distribution;
pub(crate) mod document;
mod reader;
mod sampling;
mod set;
mod table;

pub use codes::CODES;
pub(crate) use codes::is_name;
pub use reader::read;
pub use set::{ScenarioSet, Variable};
pub use table::read_table;

pub(crate) use sampling::{open_unit, stream};

use distribution::Distribution;

/// Most scenarios of one set. At a level of 0.999 still 1,000 of them are in the tail.
pub const SCENARIOS_MAX: usize = 1_000_000;
/// Most uncertain variables. The copula's matrix grows with the square of it.
pub const VARIABLES_MAX: usize = 256;
/// Most figures (scenarios times variables): 160 MB.
pub const FIGURES_MAX: usize = 20_000_000;
/// Longest Sobol sequence that the generator's 16-bit index reaches.
pub const SOBOL_COUNT_MAX: usize = 1 << 16;

/// How points are spread over the unit cube.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    Random,
    LatinHypercube,
    Sobol,
}

/// What a scenario file says, checked. Ask [`ScenarioModel::set`] for the scenarios.
#[derive(Debug, Clone)]
pub struct ScenarioModel {
    pub(crate) source: Source,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Table(ScenarioSet),
    Distributions(Distributions),
}

#[derive(Debug, Clone)]
pub(crate) struct Distributions {
    pub variables: Vec<(Variable, Distribution)>,
    /// Lower triangular factor of the correlation matrix, row by row; `None` when nothing correlates.
    pub factor: Option<Vec<Vec<f64>>>,
    pub count: usize,
    pub sampling: Sampling,
    pub seed: Option<u64>,
}

impl ScenarioModel {
    /// The scenarios. `seed`, where given, wins over the file's; without either it is 0.
    ///
    /// A table is given back as it is. Cost: count x variables draws, plus a sort per variable for
    /// Latin hypercubes.
    pub fn set(&self, seed: Option<u64>) -> ScenarioSet {
        match &self.source {
            Source::Table(set) => set.clone(),
            Source::Distributions(d) => sampling::sample(d, seed.or(d.seed).unwrap_or(0)),
        }
    }

    /// The seed written in the file, if any; a table has none.
    pub fn seed(&self) -> Option<u64> {
        match &self.source {
            Source::Table(_) => None,
            Source::Distributions(d) => d.seed,
        }
    }
}
