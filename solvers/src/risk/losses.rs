//! Costs with their probabilities, sorted once, asked often.

use super::{CvarLevel, RiskError};

/// How far the sum of the probabilities may be from 1: a table written with ten digits still passes,
/// a forgotten scenario does not.
pub const PROBABILITY_SUM_TOLERANCE: f64 = 1e-9;

/// Rounding of a sum of probabilities: 0.7 + 0.2 is a hair below 0.9 in binary and still reaches it.
const MASS_ROUNDING: f64 = 1e-12;

/// Sum in the given order with Neumaier's compensation, so that the result does not drift with length.
pub fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut total = 0.0f64;
    let mut lost = 0.0f64;
    for value in values {
        let next = total + value;
        lost += if total.abs() >= value.abs() { (total - next) + value } else { (value - next) + total };
        total = next;
    }
    total + lost
}

/// # Errors
/// Empty, out of `[0, 1]`, not a number, or a sum that is off 1.
fn check_probabilities(probabilities: &[f64]) -> Result<(), RiskError> {
    if probabilities.is_empty() {
        return Err(RiskError::NoScenarios);
    }
    if let Some(index) = probabilities.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(RiskError::ProbabilityOutOfRange { index, probability: probabilities[index] });
    }
    let total = sum(probabilities.iter().copied());
    if (total - 1.0).abs() > PROBABILITY_SUM_TOLERANCE {
        return Err(RiskError::ProbabilitiesDoNotSumToOne { sum: total });
    }
    Ok(())
}

/// Costs of one design over the scenarios, ready for any number of levels.
///
/// Memory: 16 bytes per scenario. [`Losses::refill`] reuses it for the next design.
///
/// ```
/// # use solvers::risk::{CvarLevel, Losses};
/// let losses = Losses::new(&[0.0, 10.0, 20.0, 100.0], &[0.7, 0.2, 0.06, 0.04])?;
/// assert!((losses.cvar(CvarLevel::new(0.9)?) - 52.0).abs() < 1e-12);
/// # Ok::<(), solvers::risk::RiskError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Losses {
    /// Cost and probability, dearest first.
    descending: Vec<(f64, f64)>,
    expectation: f64,
    /// Reused by [`Losses::refill`].
    keys: Vec<u64>,
}

impl Losses {
    /// # Errors
    /// No scenario, unequal lengths, a cost that is not finite, probabilities that are none.
    pub fn new(costs: &[f64], probabilities: &[f64]) -> Result<Self, RiskError> {
        if costs.len() != probabilities.len() {
            return Err(RiskError::LengthsDiffer { costs: costs.len(), probabilities: probabilities.len() });
        }
        check_probabilities(probabilities)?;
        if let Some(index) = costs.iter().position(|c| !c.is_finite()) {
            return Err(RiskError::CostNotFinite { index, cost: costs[index] });
        }
        let mut losses = Losses::default();
        losses.refill(costs, probabilities);
        Ok(losses)
    }

    /// # Errors
    /// No scenario, or a cost that is not finite.
    pub fn equally_likely(costs: &[f64]) -> Result<Self, RiskError> {
        let share = 1.0 / costs.len() as f64;
        Losses::new(costs, &vec![share; costs.len()])
    }

    /// Takes the next design's costs. The caller has checked them and the probabilities before.
    pub(crate) fn refill(&mut self, costs: &[f64], probabilities: &[f64]) {
        self.expectation = sum(costs.iter().zip(probabilities).map(|(c, p)| c * p));
        self.descending.clear();
        match probabilities.first() {
            // Whole numbers sort several times faster than pairs, and most sets are equally likely.
            Some(&share) if probabilities.iter().all(|p| *p == share) => {
                self.keys.clear();
                self.keys.extend(costs.iter().map(|&cost| order_key(cost)));
                self.keys.sort_unstable();
                let keys = self.keys.iter().rev();
                self.descending.extend(keys.map(|&key| (order_value(key), share)));
            }
            _ => {
                self.descending.extend(costs.iter().copied().zip(probabilities.iter().copied()));
                self.descending.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
            }
        }
    }

    /// Mean cost: the sum of probability times cost, added in the order of the scenarios.
    pub fn expectation(&self) -> f64 {
        self.expectation
    }

    /// Least cost `v` with P(cost <= v) >= level; at level 0 the least cost of all.
    pub fn value_at_risk(&self, level: CvarLevel) -> f64 {
        let (value, _, _) = self.tail(level);
        value
    }

    /// Mean of the worst `1 - level` share; at level 0 the expectation.
    ///
    /// The scenario at the value at risk counts with the share that is left after all dearer ones.
    pub fn cvar(&self, level: CvarLevel) -> f64 {
        self.both(level).1
    }

    /// Value at risk and CVaR in one pass over the tail.
    pub fn both(&self, level: CvarLevel) -> (f64, f64) {
        let (value, mass_above, cost_above) = self.tail(level);
        let share = 1.0 - level.get();
        // Written as a correction of the value at risk: exact when the tail is one atom.
        (value, value + (cost_above - mass_above * value) / share)
    }

    /// Value at risk, the probability above it, and the part of the expectation above it.
    fn tail(&self, level: CvarLevel) -> (f64, f64, f64) {
        let share = 1.0 - level.get();
        let mut mass = Compensated::default();
        let mut cost = Compensated::default();
        let mut at = 0;
        let (mut mass_above, mut cost_above) = (0.0, 0.0);
        while at < self.descending.len() {
            let value = self.descending[at].0;
            while let Some(&(same, probability)) = self.descending.get(at)
                && same == value
            {
                mass.add(probability);
                cost.add(probability * same);
                at += 1;
            }
            // P(cost < value) < level, in terms of the mass from the top.
            let last = at == self.descending.len();
            if last || mass.value() > share + MASS_ROUNDING {
                return (value, mass_above, cost_above);
            }
            mass_above = mass.value();
            cost_above = cost.value();
        }
        (f64::NAN, 0.0, 0.0)
    }
}

/// Weight of every scenario in the mean of the worst `1 - level` share: their sum is 1, and the sum of
/// weight times cost is the CVaR. Scenarios at the value at risk share what is left by probability.
///
/// With these weights any part of the cost has a part of the CVaR (Euler's decomposition).
///
/// # Errors
/// As [`Losses::new`].
pub fn tail_weights(costs: &[f64], probabilities: &[f64], level: CvarLevel) -> Result<Vec<f64>, RiskError> {
    let losses = Losses::new(costs, probabilities)?;
    let (value, mass_above, _) = losses.tail(level);
    let share = 1.0 - level.get();
    let at_value = sum(costs.iter().zip(probabilities).filter(|(c, _)| **c == value).map(|(_, p)| *p));
    let left = (share - mass_above).max(0.0);
    Ok(costs
        .iter()
        .zip(probabilities)
        .map(|(&cost, &p)| {
            if cost > value {
                p / share
            } else if cost == value && at_value > 0.0 {
                p / at_value * left / share
            } else {
                0.0
            }
        })
        .collect())
}

/// A whole number that is ordered as the figure is.
fn order_key(figure: f64) -> u64 {
    let bits = figure.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// Inverse of [`order_key`].
fn order_value(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[derive(Default)]
struct Compensated {
    total: f64,
    lost: f64,
}

impl Compensated {
    fn add(&mut self, value: f64) {
        let next = self.total + value;
        self.lost += if self.total.abs() >= value.abs() {
            (self.total - next) + value
        } else {
            (value - next) + self.total
        };
        self.total = next;
    }

    fn value(&self) -> f64 {
        self.total + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(a: f64) -> CvarLevel {
        CvarLevel::new(a).unwrap()
    }

    #[test]
    fn one_to_ten_gives_the_published_values() {
        let losses = Losses::equally_likely(&std::array::from_fn::<f64, 10, _>(|i| i as f64 + 1.0)).unwrap();
        for (a, expected) in [(0.95, 10.0), (0.9, 10.0), (0.85, 29.0 / 3.0), (0.5, 8.0)] {
            let got = losses.cvar(level(a));
            assert!((got - expected).abs() < 1e-12, "{a}: {got}");
        }
    }

    #[test]
    fn four_atoms_give_the_published_values() {
        let losses = Losses::new(&[0.0, 10.0, 20.0, 100.0], &[0.7, 0.2, 0.06, 0.04]).unwrap();
        for (a, expected) in [(0.8, 31.0), (0.9, 52.0), (0.95, 84.0)] {
            let got = losses.cvar(level(a));
            assert!((got - expected).abs() < 1e-12, "{a}: {got}");
        }
        assert_eq!(losses.value_at_risk(level(0.8)), 10.0);
        assert_eq!(losses.value_at_risk(level(0.95)), 20.0);
    }

    #[test]
    fn value_at_risk_is_the_least_cost_that_reaches_the_level() {
        let losses = Losses::new(&[1.0, 2.0, 3.0], &[0.7, 0.2, 0.1]).unwrap();
        // 0.7 + 0.2 reaches 0.9 although its binary sum is a hair below.
        assert_eq!(losses.value_at_risk(level(0.9)), 2.0);
        assert_eq!(losses.value_at_risk(level(0.9001)), 3.0);
        assert_eq!(losses.value_at_risk(level(0.7)), 1.0);
        assert_eq!(losses.value_at_risk(level(0.0)), 1.0);
    }

    #[test]
    fn level_zero_is_the_mean_and_a_high_level_the_maximum() {
        let losses = Losses::new(&[4.0, 8.0, 6.0], &[0.5, 0.25, 0.25]).unwrap();
        assert!((losses.cvar(level(0.0)) - losses.expectation()).abs() < 1e-12);
        assert_eq!(losses.cvar(level(0.999)), 8.0);
    }

    #[test]
    fn boundary_scenario_counts_by_its_share() {
        let got = super::super::cvar(&[0.0, 0.0, 0.0, 8.0], level(0.625)).unwrap();
        assert!((got - 8.0 * 0.25 / 0.375).abs() < 1e-12, "{got}");
    }

    #[test]
    fn keys_keep_order_and_value() {
        let figures = [-f64::MAX, -2.5, -1e-300, -0.0, 0.0, 1e-300, 2.5, f64::MAX];
        for pair in figures.windows(2) {
            assert!(order_key(pair[0]) < order_key(pair[1]), "{pair:?}");
        }
        for figure in figures {
            assert_eq!(order_value(order_key(figure)).to_bits(), figure.to_bits());
        }
    }

    #[test]
    fn every_kind_of_bad_input_is_refused() {
        use RiskError::*;
        assert!(matches!(Losses::equally_likely(&[]), Err(NoScenarios)));
        assert!(matches!(Losses::new(&[1.0], &[]), Err(LengthsDiffer { costs: 1, probabilities: 0 })));
        assert!(matches!(Losses::new(&[1.0, f64::NAN], &[0.5, 0.5]), Err(CostNotFinite { index: 1, .. })));
        assert!(matches!(
            Losses::new(&[1.0, 1.0], &[1.5, -0.5]),
            Err(ProbabilityOutOfRange { index: 0, .. })
        ));
        assert!(matches!(
            Losses::new(&[1.0, 1.0], &[f64::NAN, 1.0]),
            Err(ProbabilityOutOfRange { index: 0, .. })
        ));
        assert!(matches!(
            Losses::new(&[1.0, 1.0], &[0.5, 0.5 + 2e-9]),
            Err(ProbabilitiesDoNotSumToOne { .. })
        ));
        assert!(Losses::new(&[1.0, 1.0], &[0.5, 0.5 + 5e-10]).is_ok());
        for bad in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert!(CvarLevel::new(bad).is_err(), "{bad}");
        }
        for bad in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(crate::risk::RiskWeight::new(bad).is_err(), "{bad}");
        }
    }
}
