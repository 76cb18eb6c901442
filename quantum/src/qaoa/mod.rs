//! QAOA over a feasible set: find angles, sample designs, compare honestly.
//!
//! The state lives on the designs themselves (Grover mixer), so a layer costs one pass over the set. The
//! mixer sees only costs: at best it gains quadratically over blind guessing, and [`comparison`] says by how
//! much each time. Start at [`Optimiser`]: `new`, `step` until finished, `outcome`, then [`Outcome::sample`].

pub mod comparison;
mod costs;
mod lbfgs;
mod optimiser;
mod outcome;
pub mod random;
mod settings;

pub use costs::{Standard, standardised};
pub use lbfgs::{Minimum, Search};
pub use optimiser::{Optimiser, Progress};
pub use outcome::{Outcome, Samples};
pub use settings::{QaoaError, Settings};
