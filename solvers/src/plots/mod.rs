//! Plots as SVG text: cost distributions, the frontier of expectation and CVaR, the convergence of QAOA.
//!
//! Rule: the same figures give the same bytes, and no font or file of the machine is used. Colours are
//! those of Okabe and Ito, told apart by people with any kind of colour vision; every mark also differs
//! by shape or dash. Absent: files. Start at [`cost_distribution`].

mod cloud;
mod convergence;
mod distribution;
mod frame;

pub use cloud::{Frontier, Mark, MarkKind, e_cvar_frontier};
pub use convergence::convergence;
pub use distribution::{Series, cost_distribution};

/// Why there is no plot.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlotError {
    #[error("there is nothing to plot: {what} is empty")]
    Empty { what: &'static str },
    #[error("{what} holds a figure that is not finite")]
    NotFinite { what: &'static str },
    #[error("the figures cannot be drawn: {reason}")]
    Drawing { reason: String },
}
