//! Cost models, version 1: what a design costs in a scenario, as data.
//!
//! The cost is the sum of the terms; a term is a formula over attributes of the design, constants and
//! scenario variables. Rule: formulas are compiled once, every name in them is checked before the first
//! design is looked at, and a figure that is not finite is an error that names term, design and
//! scenario. Absent: files, and the choice between designs (`selection`). Start at [`read`], then
//! [`CostModel::bind`].
//!
//! Three things beyond the plain format:
//! ```yaml
//! negative: forbidden             # a term below 0 is an error; `allowed` (credits) unless stated
//! constants: {overhead: 1.3, wage: {value: 95, unit: USD/h}}
//! factors:                        # attributes that the design-space file does not state
//!   - key: donor                  # the option's own attribute that chooses the row
//!     decisions: [wing]           # optional: only options of these decisions
//!     rows:
//!       24: {complexity: 1.2}     # as if an option with donor 24 stated complexity 1.2 itself
//! ```
//! Formulas know `+ - * / ^`, brackets, numbers such as `1e6`, and the functions `min(a, b)`,
//! `max(a, b)`, `abs`, `sqrt`, `exp`, `ln`, `log10`, `floor`, `ceil`. `*` and `/` are worked off from the
//! left, so are `+` and `-`; a sign before a number binds closer than `^`.

mod bind;
mod codes;
mod formula;
mod linear;
mod reader;
mod spread;
mod units;

pub use bind::{BoundModel, Columns, CostError};
pub use codes::CODES;
pub use linear::{LinearCost, NotLinear, Unusable};
pub use reader::read;

use crate::scenarios::document::Place;
use std::collections::BTreeMap;

/// Most terms of a model; a person reads them one by one.
pub const TERMS_MAX: usize = 256;
/// Longest formula in bytes.
pub const FORMULA_BYTES_MAX: usize = 4096;
/// Deepest nesting of brackets; the formula library recurses once per bracket.
pub const FORMULA_DEPTH_MAX: usize = 48;

/// A cost model, checked as far as that is possible without a design space and scenarios.
#[derive(Debug, Clone)]
pub struct CostModel {
    /// Unit of every term and of the cost, such as `USD`.
    pub unit: Option<String>,
    pub(crate) file: String,
    /// Whether a term below 0 is an error.
    pub(crate) negative_forbidden: bool,
    pub(crate) constants: Vec<Constant>,
    pub(crate) factors: Vec<FactorTable>,
    pub(crate) attributes: Vec<AttributeRule>,
    pub(crate) terms: Vec<Term>,
}

impl CostModel {
    /// Names of the terms in the order of the file.
    pub fn term_names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| term.name.as_str())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub name: String,
    pub value: f64,
    pub unit: Option<String>,
}

/// Attributes for options, chosen by the value of their attribute `key`.
#[derive(Debug, Clone)]
pub(crate) struct FactorTable {
    pub key: String,
    /// Names with their places; `None` means every decision.
    pub decisions: Option<Vec<(String, Place)>>,
    pub rows: BTreeMap<String, BTreeMap<String, f64>>,
    pub at: Place,
}

/// How the figure of a design comes from the figures of its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gather {
    Sum,
    Mean,
    Product,
    Max,
    Min,
    Decision(String),
}

#[derive(Debug, Clone)]
pub(crate) struct AttributeRule {
    pub name: String,
    pub gather: Gather,
    /// The figure where no option of the design states one.
    pub missing: Option<f64>,
    pub unit: Option<String>,
    pub at: Place,
}

#[derive(Debug, Clone)]
pub(crate) struct Term {
    pub name: String,
    pub formula: formula::Formula,
    pub at: Place,
}
