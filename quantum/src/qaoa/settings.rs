//! What an angle search is told, and what can be wrong with it.

use super::start::WarmStart;
use crate::noise::Noise;
use serde::{Deserialize, Serialize};

/// Most layers of a search. The gain per layer falls while the angles to find grow by two each.
pub const SEARCH_LAYERS_MAX: u32 = 64;
/// Most iterations: at a millisecond each, the better part of a day.
pub const ITERATIONS_MAX: u32 = 10_000_000;
/// Most shots of one job; backends allow 1e5 to 1e6.
pub const SHOTS_MAX: u32 = 10_000_000;

/// How the search moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Quasi-Newton steps with exact gradients: fewest steps, possible on a simulator only.
    #[default]
    Lbfgs,
    /// A simplex on exact values: no gradients.
    NelderMead,
    /// Simultaneous perturbation on values estimated from `shots` noisy shots, as on a real machine.
    Spsa,
}

/// Settings of an angle search; all of them go into the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Layers of the circuit, 1 to [`SEARCH_LAYERS_MAX`].
    pub layers: u32,
    /// Steps of the search, 1 to [`ITERATIONS_MAX`]. Counts work, not time.
    pub iterations: u32,
    /// The same seed, the same bytes.
    pub seed: u64,
    /// Share of lowest-cost shots that the angles are trained on, in (0, 1]; 1 is the plain mean
    /// (Barkoutsos et al., Quantum 4, 256, 2020, where it is called alpha). Not the CVaR level of a risk.
    pub elite_fraction: f64,
    /// Shots drawn from the final state, 1 to [`SHOTS_MAX`].
    pub shots: u32,
    pub method: Method,
    pub warm_start: WarmStart,
    /// Errors of the shots; [`Method::Spsa`] trains on such shots too.
    pub noise: Noise,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layers: 3,
            iterations: 80,
            seed: 0,
            elite_fraction: 1.0,
            shots: 1024,
            method: Method::Lbfgs,
            warm_start: WarmStart::None,
            noise: Noise::NONE,
        }
    }
}

impl Settings {
    /// # Errors
    /// [`QaoaError::SettingOutOfRange`], naming the setting and its range.
    pub fn check(&self) -> Result<(), QaoaError> {
        let refuse = |name, given: String, expected: String| {
            Err(QaoaError::SettingOutOfRange { name, given, expected })
        };
        for (name, given, most) in [
            ("layers", self.layers, SEARCH_LAYERS_MAX),
            ("iterations", self.iterations, ITERATIONS_MAX),
            ("shots", self.shots, SHOTS_MAX),
        ] {
            if !(1..=most).contains(&given) {
                return refuse(name, given.to_string(), format!("a whole number from 1 to {most}"));
            }
        }
        if !(self.elite_fraction > 0.0 && self.elite_fraction <= 1.0) {
            let expected = "a share above 0 and at most 1".to_owned();
            return refuse("elite_fraction", self.elite_fraction.to_string(), expected);
        }
        self.noise.check()
    }
}

/// Why an angle search cannot start or go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QaoaError {
    #[error("setting `{name}` is {given}; expected {expected}")]
    SettingOutOfRange { name: &'static str, given: String, expected: String },
    #[error("no designs were given; enumerate the feasible set first")]
    NoDesigns,
    #[error("design {index} has cost {cost}, which is not finite")]
    CostNotFinite { index: usize, cost: f64 },
    #[error("the checkpoint cannot be read ({reason}); start the search again")]
    CheckpointUnreadable { reason: String },
    #[error("the checkpoint belongs to other {what}; give it the inputs it was written with, or start again")]
    CheckpointMismatch { what: &'static str },
}

impl QaoaError {
    /// The stable code, explained in [`crate::CODES`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::SettingOutOfRange { .. } => "EX-0470",
            Self::NoDesigns => "EX-0471",
            Self::CostNotFinite { .. } => "EX-0472",
            Self::CheckpointUnreadable { .. } => "EX-0473",
            Self::CheckpointMismatch { .. } => "EX-0474",
        }
    }
}
