//! The design-space model: decisions, options, attributes, constraints, objective.
//!
//! Rule: every number that decides feasibility is a [`Decimal`], exact. A design is one option position
//! per decision, in the order of the decisions ([`Design`]). Absent: reading files (`reader`), search.

use std::collections::BTreeMap;

/// One option position for every decision, in the order of [`DesignSpace::decisions`].
///
/// The natural order of these vectors is the canonical order of designs.
pub type Design = Vec<u16>;

/// All alternatives and the rules between them.
#[derive(Debug, Clone, PartialEq)]
pub struct DesignSpace {
    pub name: String,
    pub decisions: Vec<Decision>,
    pub constraints: Vec<Constraint>,
    pub objective: Option<Objective>,
}

/// One question of which exactly one option is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub name: String,
    pub options: Vec<DesignOption>,
}

/// One alternative of a decision with the figures known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct DesignOption {
    pub id: String,
    pub attributes: BTreeMap<String, Attribute>,
}

/// A figure, a word or a yes/no stated for an option.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Number(Decimal),
    Text(String),
    Flag(bool),
}

/// An exact decimal: `mantissa / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    pub mantissa: i64,
    pub scale: u8,
}

impl Decimal {
    /// Nearest double. For costs and display only; feasibility is decided on integers.
    pub fn to_f64(self) -> f64 {
        // A correctly rounded quotient: both operands are exact for |mantissa| < 2^53 and scale <= 22.
        self.mantissa as f64 / 10f64.powi(i32::from(self.scale))
    }
}

/// A named rule; a design is feasible when every rule holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    pub name: String,
    pub rule: Rule,
    /// Line in the file it came from; 0 when it was made by a program.
    pub line: u32,
}

/// Positions of decisions in [`DesignSpace::decisions`].
pub type DecisionIndex = usize;

/// The kinds of rule that DESIGN-SPACE version 1 knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Only these combinations of option positions, one tuple entry per named decision.
    Allowed { decisions: Vec<DecisionIndex>, tuples: Vec<Vec<u16>> },
    /// None of these combinations.
    Forbidden { decisions: Vec<DecisionIndex>, tuples: Vec<Vec<u16>> },
    /// `min <= sum of attribute <= max`; `missing` stands for options without the attribute.
    Sum { attribute: String, decisions: Vec<DecisionIndex>, missing: Option<Decimal>, range: Range },
    /// Every chosen option on its own: within range, or equal to a value.
    Each { attribute: String, decisions: Vec<DecisionIndex>, test: EachTest, missing_ignored: bool },
    /// No value of the attribute more than `max` times.
    Same { attribute: String, decisions: Vec<DecisionIndex>, max: u32 },
    /// At most `max` (and at least `min`) different values of the attribute.
    Distinct { attribute: String, decisions: Vec<DecisionIndex>, min: Option<u32>, max: Option<u32> },
    /// Weighted sum of several attributes over `decisions` within range.
    Linear { terms: Vec<LinearTerm>, decisions: Vec<DecisionIndex>, range: Range },
    /// Sum over sum within range, compared by cross-multiplication.
    Ratio { of: String, over: String, decisions: Vec<DecisionIndex>, missing: Option<Decimal>, range: Range },
    /// If `decision` takes one of `when`, then `then_decision` takes one of `then`.
    Implies { decision: DecisionIndex, when: Vec<u16>, then_decision: DecisionIndex, then: Vec<u16> },
}

/// One attribute and its weight in a [`Rule::Linear`].
#[derive(Debug, Clone, PartialEq)]
pub struct LinearTerm {
    pub attribute: String,
    pub times: Decimal,
    pub missing: Option<Decimal>,
}

/// Inclusive bounds; either may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Range {
    pub min: Option<Decimal>,
    pub max: Option<Decimal>,
}

/// What [`Rule::Each`] asks of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum EachTest {
    Within(Range),
    Equals(Attribute),
}

/// Sum of an attribute over all decisions, to be made small or large.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    pub attribute: String,
    pub maximise: bool,
    pub missing: Option<Decimal>,
}
