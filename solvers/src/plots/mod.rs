//! Plots as SVG text: cost distributions, the E-CVaR cloud, the convergence of QAOA.
//!
//! Rule: the same figures give the same bytes, and no font or file of the machine is used. Colours are
//! those of Okabe and Ito, told apart by people with any kind of colour vision; every mark also differs
//! by shape or dash. Absent: files. Start at [`cost_distribution`].

mod cloud;
mod convergence;
mod distribution;
mod frame;

pub use cloud::{Mark, MarkKind, e_cvar_cloud};
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
