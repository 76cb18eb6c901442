//! Units of measure, as far as a formula's additions can be checked.
//!
//! Where a unit is not stated nothing is claimed; a plain number takes the unit it is used with.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// What is known about the unit of a figure.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Dimension {
    /// A number written in the formula.
    #[default]
    Number,
    /// Not stated, or made from something not stated.
    Unknown,
    /// Product of base units with their powers; empty for a pure ratio.
    Known(BTreeMap<String, i32>),
    /// Unlike figures were added: in words.
    Clash(String),
}

impl FromStr for Dimension {
    type Err = Infallible;
    fn from_str(_: &str) -> Result<Self, Infallible> {
        Ok(Dimension::Number)
    }
}

impl Dimension {
    /// The unit of a name; `USD/kg`, `kg*h^-1` and `1` are understood, any other word is its own unit.
    pub fn stated(unit: Option<&str>) -> Dimension {
        let Some(unit) = unit else {
            return Dimension::Unknown;
        };
        let mut powers = BTreeMap::new();
        for (position, part) in unit.split('/').enumerate() {
            let sign = if position == 0 { 1 } else { -1 };
            for factor in part.split(['*', '·']) {
                let (name, power) = match factor.split_once('^') {
                    Some((name, power)) => match power.trim().parse::<i32>() {
                        Ok(power) => (name.trim(), power),
                        Err(_) => (factor.trim(), 1),
                    },
                    None => (factor.trim(), 1),
                };
                if name != "1" && !name.is_empty() {
                    *powers.entry(name.to_string()).or_insert(0) += sign * power;
                }
            }
        }
        powers.retain(|_, power| *power != 0);
        Dimension::Known(powers)
    }

    /// Sum, difference or comparison.
    pub fn alike(self, other: Dimension, sign: &str) -> Dimension {
        match (self, other) {
            (clash @ Dimension::Clash(_), _) | (_, clash @ Dimension::Clash(_)) => clash,
            (Dimension::Known(a), Dimension::Known(b)) if a != b => {
                Dimension::Clash(format!("{} {sign} {}", Dimension::Known(a), Dimension::Known(b)))
            }
            (known @ Dimension::Known(_), _) | (_, known @ Dimension::Known(_)) => known,
            (Dimension::Number, Dimension::Number) => Dimension::Number,
            _ => Dimension::Unknown,
        }
    }

    /// Product (`sign` 1) or quotient (`sign` -1).
    pub fn times(self, other: Dimension, sign: i32) -> Dimension {
        match (self, other) {
            (clash @ Dimension::Clash(_), _) | (_, clash @ Dimension::Clash(_)) => clash,
            (Dimension::Unknown, _) | (_, Dimension::Unknown) => Dimension::Unknown,
            (any, Dimension::Number) => any,
            (Dimension::Number, Dimension::Known(b)) => {
                Dimension::Known(b.into_iter().map(|(unit, power)| (unit, power * sign)).collect())
            }
            (Dimension::Known(mut a), Dimension::Known(b)) => {
                for (unit, power) in b {
                    *a.entry(unit).or_insert(0) += power * sign;
                }
                a.retain(|_, power| *power != 0);
                Dimension::Known(a)
            }
        }
    }

    /// A power's unit depends on the exponent's value, which is not looked at.
    pub fn power(self, other: Dimension) -> Dimension {
        match (self, other) {
            (clash @ Dimension::Clash(_), _) | (_, clash @ Dimension::Clash(_)) => clash,
            (Dimension::Number, Dimension::Number) => Dimension::Number,
            _ => Dimension::Unknown,
        }
    }

    /// Through a function whose result has another unit.
    pub fn transformed(self) -> Dimension {
        match self {
            Dimension::Known(_) => Dimension::Unknown,
            other => other,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Dimension::Number => f.write_str("a number"),
            Dimension::Unknown => f.write_str("an unstated unit"),
            Dimension::Clash(text) => f.write_str(text),
            Dimension::Known(powers) if powers.is_empty() => f.write_str("1"),
            Dimension::Known(powers) => {
                for (position, (unit, power)) in powers.iter().enumerate() {
                    let star = if position == 0 { "" } else { "*" };
                    match power {
                        1 => write!(f, "{star}{unit}")?,
                        _ => write!(f, "{star}{unit}^{power}")?,
                    }
                }
                Ok(())
            }
        }
    }
}
