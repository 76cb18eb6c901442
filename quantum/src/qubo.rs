//! A constrained choice (one of several per group) as a quadratic form of bits without constraints.
//!
//! Bit (g, c) says that group g takes choice c. Three penalties, each 0 where the rule holds and at least 1
//! where it does not: (1 - sum of the group's bits)^2; x_a x_b for a forbidden pair; (sum of a x + slack -
//! limit)^2 for a row of whole numbers, whose slack bits reach every whole number from 0 to the limit minus
//! the least activity, and no other.
//!
//! Why one weight suffices: let `most` bound the cost of every choice of one per group from above, and `least`
//! that of every setting of the bits from below. With weight W > most - least, an infeasible setting costs at
//! least `least` + W > `most`, and a feasible one has a slack with penalty 0, so costs at most `most`. Hence no
//! infeasible setting is a minimum, and a minimum above `most` proves that nothing is feasible.

use crate::ising::{Ising, IsingError, Term};
use serde::{Deserialize, Serialize};

/// Most bits of a form: those of a basis state's index.
pub const BITS_MAX: usize = 63;
/// Largest coefficient or limit of a row: sums of 2^63 / 2^40 of them cannot overflow.
pub const ROW_MAX: i64 = 1 << 40;
/// Weight beyond the bound, as a share of it: rounding in sums of costs stays far below.
const MARGIN: f64 = 1.0 / 64.0;

/// Choice `choice` of group `group`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Choice {
    pub group: usize,
    pub choice: usize,
}

/// The sum of `terms` must be at most `at_most`; what is not mentioned counts 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub terms: Vec<(Choice, i64)>,
    pub at_most: i64,
}

/// One choice per group, at least total cost, under pairs that exclude each other and linear rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Constrained {
    /// `costs[g][c]`: cost of choice c of group g, in any unit.
    pub costs: Vec<Vec<f64>>,
    /// Extra cost where both are chosen.
    pub pairs: Vec<(Choice, Choice, f64)>,
    /// Never both.
    pub forbidden: Vec<(Choice, Choice)>,
    pub rows: Vec<Row>,
}

/// Why a problem has no form.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuboError {
    #[error("there are no groups, or group {group} has no choice")]
    NoChoice { group: usize },
    #[error("{place} names choice {choice} of group {group}, which does not exist")]
    NotThere { place: String, group: usize, choice: usize },
    #[error("{place} is not finite, or so large that sums of it are not")]
    NotFinite { place: String },
    #[error("row {row} has a number beyond 2^40; scale it down to whole numbers of a coarser unit")]
    RowTooLarge { row: usize },
    #[error("row {row} holds for no choice at all: its least sum is {least}, its limit {at_most}")]
    RowNeverHolds { row: usize, least: i64, at_most: i64 },
    #[error("{bits} bits are more than {BITS_MAX}; drop choices that cannot be, or shorten the rows' ranges")]
    TooManyBits { bits: usize },
    #[error(
        "row {row} needs slack bits, which one-hot mixers would not keep; use the form with penalties, or list the feasible designs"
    )]
    RowInOneHot { row: usize },
}

impl QuboError {
    /// The stable code, explained in [`crate::CODES`].
    pub fn code(&self) -> &'static str {
        "EX-0495"
    }
}

/// cost = constant + sum over entries (i, j, q) of q x_i x_j (i = j: linear), over `bits` bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Qubo {
    pub bits: usize,
    pub constant: f64,
    pub entries: Vec<(u32, u32, f64)>,
    /// The weight of all penalties.
    pub penalty: f64,
    /// Cost of any choice of one per group is at most this; a form's minimum above it means: infeasible.
    pub most: f64,
    /// Cost of any setting of the bits, penalties left out, is at least this.
    pub least: f64,
    sizes: Vec<usize>,
}

/// Entries under construction.
#[derive(Debug, Default)]
struct Sum {
    constant: f64,
    entries: std::collections::BTreeMap<(u32, u32), f64>,
}

impl Sum {
    fn add(&mut self, i: usize, j: usize, q: f64) {
        *self.entries.entry((i.min(j) as u32, i.max(j) as u32)).or_insert(0.0) += q;
    }

    /// weight times (sum of a_i x_i + offset)^2, with x^2 = x.
    fn square(&mut self, terms: &[(usize, f64)], offset: f64, weight: f64) {
        self.constant += weight * offset * offset;
        for (k, &(i, a)) in terms.iter().enumerate() {
            self.add(i, i, weight * (a * a + 2.0 * a * offset));
            for &(j, b) in &terms[k + 1..] {
                self.add(i, j, 2.0 * weight * a * b);
            }
        }
    }
}

impl Constrained {
    /// The form with penalties.
    ///
    /// # Errors
    /// [`QuboError`], naming the place.
    pub fn to_qubo(&self) -> Result<Qubo, QuboError> {
        let (mut bits, (least, most)) = (self.check()?, self.bounds());
        let range = most - least;
        let penalty = if range > 0.0 { range * (1.0 + MARGIN) } else { 1.0 };
        if !penalty.is_finite() {
            return Err(QuboError::NotFinite { place: "the range of costs".to_owned() });
        }
        let mut sum = self.objective();
        for (group, costs) in self.costs.iter().enumerate() {
            let own: Vec<(usize, f64)> =
                (0..costs.len()).map(|choice| (self.bit(Choice { group, choice }), 1.0)).collect();
            sum.square(&own, -1.0, penalty);
        }
        for (a, b) in &self.forbidden {
            self.forbid(&mut sum, *a, *b, penalty);
        }
        for (number, row) in self.rows.iter().enumerate() {
            let coefficients = self.coefficients(row);
            let (low, high) = activity(&coefficients);
            if low > row.at_most {
                return Err(QuboError::RowNeverHolds { row: number, least: low, at_most: row.at_most });
            }
            if high <= row.at_most {
                continue;
            }
            let mut terms: Vec<(usize, f64)> = Vec::new();
            for (group, own) in coefficients.iter().enumerate() {
                for (choice, a) in own.iter().enumerate().filter(|(_, a)| **a != 0) {
                    terms.push((self.bit(Choice { group, choice }), *a as f64));
                }
            }
            for weight in slack(row.at_most - low) {
                terms.push((bits, weight as f64));
                bits += 1;
            }
            sum.square(&terms, -(row.at_most as f64), penalty);
        }
        if bits > BITS_MAX {
            return Err(QuboError::TooManyBits { bits });
        }
        let entries = sum.entries.into_iter().map(|((i, j), q)| (i, j, q)).collect();
        let sizes = self.costs.iter().map(Vec::len).collect();
        Ok(Qubo { bits, constant: sum.constant, entries, penalty, most, least, sizes })
    }

    /// The cost as an Ising cost for one-hot mixers: no penalty for the groups, which the mixer keeps; forbidden
    /// pairs by penalty. Its weight bounds the range of costs over one choice per group.
    ///
    /// # Errors
    /// [`QuboError`]; [`QuboError::RowInOneHot`] for a row that does not hold by itself.
    pub fn to_one_hot(&self) -> Result<Ising, QuboError> {
        let (bits, (least, most)) = (self.check()?, self.bounds());
        let penalty = if most > least { (most - least) * (1.0 + MARGIN) } else { 1.0 };
        let mut sum = self.objective();
        for (a, b) in &self.forbidden {
            self.forbid(&mut sum, *a, *b, penalty);
        }
        let open = |row: &Row| activity(&self.coefficients(row)).1 > row.at_most;
        if let Some(row) = self.rows.iter().position(open) {
            return Err(QuboError::RowInOneHot { row });
        }
        let entries: Vec<(u32, u32, f64)> = sum.entries.into_iter().map(|((i, j), q)| (i, j, q)).collect();
        ising(bits, &entries, sum.constant)
    }

    /// Number of choices per group.
    pub fn sizes(&self) -> Vec<u32> {
        self.costs.iter().map(|costs| costs.len() as u32).collect()
    }

    /// Cost of one choice per group, or `None` if a rule forbids it.
    pub fn cost(&self, choices: &[usize]) -> Option<f64> {
        let taken = |c: &Choice| choices.get(c.group) == Some(&c.choice);
        let activity = |row: &Row| -> i64 { row.terms.iter().filter(|t| taken(&t.0)).map(|t| t.1).sum() };
        if self.forbidden.iter().any(|(a, b)| taken(a) && taken(b))
            || self.rows.iter().any(|row| activity(row) > row.at_most)
        {
            return None;
        }
        let own: f64 = self.costs.iter().zip(choices).map(|(costs, choice)| costs[*choice]).sum();
        let pairs = self.pairs.iter().filter(|(a, b, _)| taken(a) && taken(b));
        Some(own + pairs.map(|pair| pair.2).sum::<f64>())
    }

    fn bit(&self, of: Choice) -> usize {
        self.costs[..of.group].iter().map(Vec::len).sum::<usize>() + of.choice
    }

    /// Checks all names and numbers; gives the number of choice bits.
    fn check(&self) -> Result<usize, QuboError> {
        if let Some(group) = self.costs.iter().position(Vec::is_empty) {
            return Err(QuboError::NoChoice { group });
        }
        if self.costs.is_empty() {
            return Err(QuboError::NoChoice { group: 0 });
        }
        let there = |c: &Choice, place: String| match self.costs.get(c.group) {
            Some(costs) if c.choice < costs.len() => Ok(()),
            _ => Err(QuboError::NotThere { place, group: c.group, choice: c.choice }),
        };
        for (i, (a, b, _)) in self.pairs.iter().enumerate() {
            there(a, format!("pair {i}")).and(there(b, format!("pair {i}")))?;
        }
        for (i, (a, b)) in self.forbidden.iter().enumerate() {
            there(a, format!("forbidden pair {i}")).and(there(b, format!("forbidden pair {i}")))?;
        }
        for (row, r) in self.rows.iter().enumerate() {
            r.terms.iter().try_for_each(|(c, _)| there(c, format!("row {row}")))?;
            let numbers = r.terms.iter().map(|t| t.1).chain([r.at_most]);
            if numbers.into_iter().any(|a| a.unsigned_abs() > ROW_MAX as u64) {
                return Err(QuboError::RowTooLarge { row });
            }
        }
        let mut magnitude = 0.0f64;
        for (g, costs) in self.costs.iter().enumerate() {
            magnitude += costs.iter().map(|c| c.abs()).sum::<f64>();
            if !magnitude.is_finite() {
                return Err(QuboError::NotFinite { place: format!("a cost of group {g}") });
            }
        }
        for (i, pair) in self.pairs.iter().enumerate() {
            magnitude += pair.2.abs();
            if !magnitude.is_finite() {
                return Err(QuboError::NotFinite { place: format!("the cost of pair {i}") });
            }
        }
        let bits = self.costs.iter().map(Vec::len).sum();
        if bits > BITS_MAX { Err(QuboError::TooManyBits { bits }) } else { Ok(bits) }
    }

    /// (least over all bits, most over one choice per group), as the head of this module uses them.
    fn bounds(&self) -> (f64, f64) {
        let below: f64 =
            self.costs.iter().flatten().chain(self.pairs.iter().map(|p| &p.2)).map(|c| c.min(0.0)).sum();
        let dearest = |costs: &Vec<f64>| costs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let above: f64 = self.costs.iter().map(dearest).sum::<f64>()
            + self.pairs.iter().map(|p| p.2.max(0.0)).sum::<f64>();
        (below, above)
    }

    fn objective(&self) -> Sum {
        let mut sum = Sum::default();
        for (group, costs) in self.costs.iter().enumerate() {
            for (choice, cost) in costs.iter().enumerate() {
                let bit = self.bit(Choice { group, choice });
                sum.add(bit, bit, *cost);
            }
        }
        for (a, b, cost) in &self.pairs {
            sum.add(self.bit(*a), self.bit(*b), *cost);
        }
        sum
    }

    fn forbid(&self, sum: &mut Sum, a: Choice, b: Choice, penalty: f64) {
        sum.add(self.bit(a), self.bit(b), penalty);
    }

    /// A row's coefficient of every choice.
    fn coefficients(&self, row: &Row) -> Vec<Vec<i64>> {
        let mut all: Vec<Vec<i64>> = self.costs.iter().map(|costs| vec![0; costs.len()]).collect();
        for (c, a) in &row.terms {
            all[c.group][c.choice] = all[c.group][c.choice].saturating_add(*a);
        }
        all
    }
}

/// Least and greatest sum of a row over one choice per group.
fn activity(coefficients: &[Vec<i64>]) -> (i64, i64) {
    let sum =
        |pick: fn(&[i64]) -> i64| coefficients.iter().fold(0i64, |sum, own| sum.saturating_add(pick(own)));
    (sum(|own| own.iter().copied().min().unwrap_or(0)), sum(|own| own.iter().copied().max().unwrap_or(0)))
}

/// Weights whose sums are exactly the whole numbers from 0 to `range`.
fn slack(range: i64) -> Vec<i64> {
    let (mut left, mut next, mut weights) = (range, 1, Vec::new());
    while left > 0 {
        weights.push(next.min(left));
        left -= next.min(left);
        next *= 2;
    }
    weights
}

fn ising(bits: usize, entries: &[(u32, u32, f64)], constant: f64) -> Result<Ising, QuboError> {
    let refused = |_: IsingError| QuboError::NotFinite { place: "a sum of costs and penalties".to_owned() };
    let form = Ising::from_qubo(bits as u32, entries).map_err(refused)?;
    let mut terms = form.terms().to_vec();
    match terms.iter_mut().find(|t| t.z.is_empty()) {
        Some(t) => t.coefficient += constant,
        None => terms.push(Term { z: Vec::new(), coefficient: constant }),
    }
    Ising::new(bits as u32, terms).map_err(refused)
}

impl Qubo {
    /// The form as an Ising cost, constant included.
    ///
    /// # Errors
    /// [`QuboError::NotFinite`] if sums overflow.
    pub fn to_ising(&self) -> Result<Ising, QuboError> {
        ising(self.bits, &self.entries, self.constant)
    }

    /// Value at a setting of the bits: bit i of `state` is x_i.
    pub fn value(&self, state: u64) -> f64 {
        let bit = |i: u32| state >> i & 1 == 1;
        let on = self.entries.iter().filter(|(i, j, _)| bit(*i) && bit(*j));
        self.constant + on.map(|entry| entry.2).sum::<f64>()
    }

    /// The choice of each group, if each group has exactly one.
    pub fn choices(&self, state: u64) -> Option<Vec<usize>> {
        let mut at = 0;
        self.sizes
            .iter()
            .map(|size| {
                let own = state >> at & ((1u64 << size) - 1);
                at += size;
                (own.count_ones() == 1).then(|| own.trailing_zeros() as usize)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::slack;

    #[test]
    fn slack_reaches_every_number_of_its_range_and_no_other() {
        for range in 0..40i64 {
            let weights = slack(range);
            let mut sums: Vec<i64> = (0..1u32 << weights.len())
                .map(|s| weights.iter().enumerate().filter(|(i, _)| s >> i & 1 == 1).map(|(_, w)| w).sum())
                .collect();
            sums.sort_unstable();
            sums.dedup();
            assert_eq!(sums, (0..=range).collect::<Vec<_>>());
        }
    }
}
