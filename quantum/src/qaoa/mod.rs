//! QAOA over a feasible set: find angles, sample designs, compare honestly.
//!
//! The state lives on the designs themselves, so a layer costs a pass or a few over the set. The mixer is
//! Grover's, which sees only costs and at best gains quadratically over blind guessing, or one per group of
//! choices, which also sees which designs are alike; [`comparison`] says each time what guessing would have
//! done. Start at [`Optimiser`]: `new`, `step` until finished, `outcome`, then [`Outcome::sample`].

pub mod comparison;
mod costs;
mod lbfgs;
mod mixing;
mod optimiser;
mod outcome;
pub mod random;
mod settings;
mod simplex;
mod spsa;
pub mod start;
mod walk;

pub use costs::{Standard, standardised};
pub use lbfgs::{Minimum, Search};
pub use mixing::Mixing;
pub use optimiser::{Optimiser, Progress};
pub use outcome::{Outcome, Samples};
pub use settings::{Method, QaoaError, Settings};
pub use simplex::Simplex;
pub use spsa::Spsa;
pub use start::WarmStart;
