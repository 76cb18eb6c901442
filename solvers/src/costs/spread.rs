//! A figure as a sum of parts, each of which looks at one decision only.
//!
//! A formula worked with these values instead of plain columns shows whether the cost of a design is the
//! sum of what its options cost one by one, and if so, what each of them costs in every scenario. Rule:
//! what is not surely such a sum becomes [`Spread::Coupled`] with the reason; nothing is approximated.

use super::formula::Column;
use std::collections::BTreeMap;
use std::str::FromStr;

/// A figure, spread over decisions and their options.
#[derive(Debug, Clone)]
pub(crate) enum Spread {
    Parts {
        /// What no decision changes.
        base: Column,
        /// By decision, then by option.
        parts: BTreeMap<usize, Vec<Column>>,
    },
    /// Why the figure is no such sum.
    Coupled(String),
}

impl Default for Spread {
    fn default() -> Self {
        Spread::fixed(Column::default())
    }
}

impl FromStr for Spread {
    type Err = std::num::ParseFloatError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Spread::fixed)
    }
}

/// Base and parts of a value that is a sum.
type Sum = (Column, BTreeMap<usize, Vec<Column>>);

impl Spread {
    pub fn fixed(base: Column) -> Spread {
        Spread::Parts { base, parts: BTreeMap::new() }
    }

    fn both(self, other: Spread, f: impl FnOnce(Sum, Sum) -> Spread) -> Spread {
        match (self, other) {
            (Spread::Coupled(why), _) | (_, Spread::Coupled(why)) => Spread::Coupled(why),
            (Spread::Parts { base: a, parts: p }, Spread::Parts { base: b, parts: q }) => f((a, p), (b, q)),
        }
    }

    /// `self + sign * other`.
    pub fn plus(self, other: Spread, sign: f64) -> Spread {
        self.both(other, |(a, mut p), (b, q)| {
            for (decision, column) in q {
                let summed = match p.remove(&decision) {
                    None => column.into_iter().map(|y| y.map(|y| sign * y)).collect(),
                    Some(mine) => {
                        mine.into_iter().zip(column).map(|(x, y)| x.zip(y, |x, y| x + sign * y)).collect()
                    }
                };
                p.insert(decision, summed);
            }
            Spread::Parts { base: a.zip(b, |x, y| x + sign * y), parts: p }
        })
    }

    pub fn scaled(self, factor: f64) -> Spread {
        self.times(Spread::fixed(Column::Same(factor)), |x, y| x * y)
    }

    /// A product or quotient `f`, which may be spread when one side is the same for every design.
    pub fn times(self, other: Spread, f: impl Fn(f64, f64) -> f64 + Copy) -> Spread {
        self.both(other, |(a, p), (b, q)| {
            if q.is_empty() {
                let parts = p
                    .into_iter()
                    .map(|(d, column)| (d, column.into_iter().map(|x| x.zip(b.clone(), f)).collect()));
                Spread::Parts { parts: parts.collect(), base: a.zip(b.clone(), f) }
            } else if p.is_empty() {
                let parts = q
                    .into_iter()
                    .map(|(d, column)| (d, column.into_iter().map(|y| a.clone().zip(y, f)).collect()));
                Spread::Parts { parts: parts.collect(), base: a.clone().zip(b, f) }
            } else {
                one((a, p), (b, q), f, "a product")
            }
        })
    }

    /// A quotient: spread over the numerator only.
    pub fn over(self, other: Spread) -> Spread {
        match &other {
            Spread::Parts { parts, .. } if parts.is_empty() => self.times(other, |x, y| x / y),
            _ => self.joined(other, |x, y| x / y, "a quotient"),
        }
    }

    /// Any function of two figures; a sum only if both look at no more than one and the same decision.
    pub fn joined(self, other: Spread, f: impl Fn(f64, f64) -> f64 + Copy, what: &str) -> Spread {
        self.both(other, |a, b| one(a, b, f, what))
    }

    /// Any function of one figure.
    pub fn through(self, f: impl Fn(f64) -> f64 + Copy, what: &str) -> Spread {
        self.joined(Spread::default(), |x, _| f(x), what)
    }
}

/// `f` where at most one decision is looked at.
fn one((a, p): Sum, (b, q): Sum, f: impl Fn(f64, f64) -> f64 + Copy, what: &str) -> Spread {
    let mut decisions: Vec<usize> = p.keys().chain(q.keys()).copied().collect();
    decisions.sort_unstable();
    decisions.dedup();
    match decisions[..] {
        [] => Spread::fixed(a.zip(b, f)),
        [decision] => {
            let whole = |base: &Column, parts: &BTreeMap<usize, Vec<Column>>, option: usize| match parts
                .get(&decision)
                .and_then(|column| column.get(option))
            {
                None => base.clone(),
                Some(part) => base.clone().zip(part.clone(), |x, y| x + y),
            };
            let options = [&p, &q].iter().filter_map(|m| m.get(&decision)).map(Vec::len).max().unwrap_or(0);
            let column = (0..options).map(|o| whole(&a, &p, o).zip(whole(&b, &q, o), f)).collect();
            Spread::Parts { base: Column::default(), parts: BTreeMap::from([(decision, column)]) }
        }
        _ => Spread::Coupled(format!("{what} ties {} decisions together", decisions.len())),
    }
}
