//! The AMPEL360 programme's own files as they are: candidates, hard constraints, configuration.
//!
//! Rule: the old words (`cvar_alpha`, `beta`, donors, pairs) are understood here and nowhere else; what
//! comes out is a [`DesignSpace`] and the project's own types. A requirement that the files give no
//! figures for is reported as not evaluated, never passed silently. Absent: files themselves, the
//! orchestrator's settings other than risk. Start at [`read`].

mod codes;
mod config;
mod geometry;
mod reader;
mod rules;

pub use codes::CODES;
pub use config::{Configuration, Risk, orchestrator_risk, read_configuration};
pub use geometry::{GeometryItem, GeometryStatus};
pub use reader::read;

use crate::space::{Decimal, DesignSpace};

/// One of the programme's files: its name for problems, and its text.
#[derive(Debug, Clone, Copy)]
pub struct File<'t> {
    pub name: &'t str,
    pub text: &'t str,
}

/// The programme's design problem.
#[derive(Debug, Clone)]
pub struct Programme {
    pub space: DesignSpace,
    /// Requirements of `geometry_requirements` that are switched on, such as
    /// `gear_compatibility.keel_depth_check`.
    pub geometry_flags: Vec<String>,
    pub(crate) evacuation_max: Option<Decimal>,
    /// What was read and has no effect, in sentences.
    pub notes: Vec<String>,
}

/// The programme's scenarios for a run without a scenario file: its ranges, 100 scenarios.
pub fn default_scenarios() -> &'static str {
    include_str!("../../../examples/ampel360/default-scenarios.yaml")
}

/// The programme's cost model; factors that the data do not state are 1, and 150 kg of hydrogen per hour.
pub fn default_costs() -> &'static str {
    include_str!("../../../examples/ampel360/default-costs.yaml")
}
