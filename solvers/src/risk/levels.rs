//! The two numbers a person sets: how far out the tail begins, and how much it counts.

use super::RiskError;
use serde::{Deserialize, Serialize};

/// Which part of the cost counts as bad: 0.95 averages the worst 5 %. Always in `[0, 1)`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct CvarLevel(f64);

impl CvarLevel {
    /// # Errors
    /// [`RiskError::LevelOutOfRange`] unless `0 <= level < 1`.
    pub fn new(level: f64) -> Result<Self, RiskError> {
        if (0.0..1.0).contains(&level) {
            // Adding zero turns -0.0 into 0.0, so that equal levels print alike.
            Ok(CvarLevel(level + 0.0))
        } else {
            Err(RiskError::LevelOutOfRange { given: level })
        }
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for CvarLevel {
    type Error = RiskError;
    fn try_from(level: f64) -> Result<Self, RiskError> {
        CvarLevel::new(level)
    }
}

impl From<CvarLevel> for f64 {
    fn from(level: CvarLevel) -> f64 {
        level.0
    }
}

/// How much one unit of CVaR counts against one unit of expectation. Finite, at least 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct RiskWeight(f64);

impl RiskWeight {
    /// Only the expectation counts.
    pub const NEUTRAL: RiskWeight = RiskWeight(0.0);

    /// # Errors
    /// [`RiskError::WeightOutOfRange`] unless finite and at least 0.
    pub fn new(weight: f64) -> Result<Self, RiskError> {
        if weight.is_finite() && weight >= 0.0 {
            Ok(RiskWeight(weight + 0.0))
        } else {
            Err(RiskError::WeightOutOfRange { given: weight })
        }
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for RiskWeight {
    type Error = RiskError;
    fn try_from(weight: f64) -> Result<Self, RiskError> {
        RiskWeight::new(weight)
    }
}

impl From<RiskWeight> for f64 {
    fn from(weight: RiskWeight) -> f64 {
        weight.0
    }
}
