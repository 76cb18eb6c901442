//! Costs made fit to be phases: standardised, sorted, and equal ones put together.

use super::mixing::Mixing;
use super::settings::QaoaError;
use crate::simulator::Simulator;
use crate::state::State;
use serde::{Deserialize, Serialize};

/// Phase of a design per radian of cost angle: (cost - shift) / scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standard {
    /// Mean of the costs, in their unit.
    pub shift: f64,
    /// Their standard deviation, in their unit; 1 if all costs are equal. Always above 0.
    pub scale: f64,
}

impl Standard {
    pub fn apply(&self, cost: f64) -> f64 {
        (cost - self.shift) / self.scale
    }

    pub fn undo(&self, value: f64) -> f64 {
        self.shift + self.scale * value
    }
}

/// Shift and scale that give `costs` mean 0 and standard deviation 1.
///
/// # Errors
/// [`QaoaError::NoDesigns`], [`QaoaError::CostNotFinite`].
pub fn standardised(costs: &[f64]) -> Result<Standard, QaoaError> {
    if costs.is_empty() {
        return Err(QaoaError::NoDesigns);
    }
    if let Some(index) = costs.iter().position(|c| !c.is_finite()) {
        return Err(QaoaError::CostNotFinite { index, cost: costs[index] });
    }
    let count = costs.len() as f64;
    // Costs up to the largest double: dividing before adding keeps every sum finite.
    let shift = crate::state::sum(costs.len(), |i| costs[i] / count);
    let largest = costs.iter().fold(0.0f64, |most, c| most.max((c / 2.0 - shift / 2.0).abs()));
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = costs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if least == most || largest == 0.0 {
        return Ok(Standard { shift: least, scale: 1.0 });
    }
    let mean_square = crate::state::sum(costs.len(), |i| {
        let off = (costs[i] / 2.0 - shift / 2.0) / largest;
        off * off / count
    });
    let scale = 2.0 * largest * mean_square.sqrt();
    Ok(Standard { shift, scale: if scale.is_finite() && scale > 0.0 { scale } else { largest } })
}

/// The costs as a simulator over amplitudes, each of which stands for one design or for equally dear ones.
#[derive(Debug, Clone)]
pub(super) struct Levels {
    pub standard: Standard,
    pub simulator: Simulator,
    /// Which amplitude each design belongs to, by design index; empty if each has its own.
    level_of: Vec<u32>,
    /// Designs of each amplitude, as a double for sums; empty for one each.
    pub multiplicity: Vec<f64>,
    /// Amplitudes by ascending cost.
    pub ascending: Vec<u32>,
}

impl Levels {
    pub fn new(costs: &[f64], mixing: &Mixing) -> Result<Self, QaoaError> {
        let standard = standardised(costs)?;
        let mut order: Vec<u32> = (0..costs.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| costs[a as usize].total_cmp(&costs[b as usize]).then(a.cmp(&b)));
        if *mixing != Mixing::Grover {
            let values = costs.iter().map(|cost| standard.apply(*cost)).collect();
            let simulator = match mixing {
                Mixing::OneHot(groups) => Simulator::one_hot(values, groups.clone()),
                Mixing::X { qubits } => Simulator::x(values, *qubits),
                Mixing::Grover => None,
            };
            let simulator = simulator.ok_or_else(|| mixing.misfit(costs.len()))?;
            let (level_of, multiplicity) = (Vec::new(), Vec::new());
            return Ok(Self { standard, simulator, level_of, multiplicity, ascending: order });
        }
        // Under Grover's mixer designs of equal cost keep equal amplitudes, so one stands for all of them.
        let (mut values, mut multiplicity, mut level_of) =
            (Vec::new(), Vec::<f64>::new(), vec![0; costs.len()]);
        let mut last = f64::NAN;
        for design in order {
            let cost = costs[design as usize];
            if cost != last {
                values.push(standard.apply(cost));
                multiplicity.push(0.0);
                last = cost;
            }
            let level = values.len() - 1;
            multiplicity[level] += 1.0;
            level_of[design as usize] = level as u32;
        }
        let ascending = (0..values.len() as u32).collect();
        let simulator =
            Simulator::grover_grouped(values, multiplicity.clone()).ok_or(QaoaError::NoDesigns)?;
        Ok(Self { standard, simulator, level_of, multiplicity, ascending })
    }

    /// Standardised costs, one per amplitude.
    pub fn values(&self) -> &[f64] {
        self.simulator.values()
    }

    pub fn least(&self) -> f64 {
        self.ascending.first().map_or(0.0, |first| self.values()[*first as usize])
    }

    pub fn greatest(&self) -> f64 {
        self.ascending.last().map_or(0.0, |last| self.values()[*last as usize])
    }

    pub fn designs_of(&self, level: usize) -> f64 {
        self.multiplicity.get(level).copied().unwrap_or(1.0)
    }

    /// Amplitude of a design.
    pub fn level(&self, design: usize) -> usize {
        self.level_of.get(design).map_or(design, |level| *level as usize)
    }

    pub fn designs(&self) -> usize {
        if self.level_of.is_empty() { self.values().len() } else { self.level_of.len() }
    }

    /// Probability of each design, by index.
    pub fn probabilities(&self, state: &State) -> Vec<f64> {
        (0..self.designs()).map(|design| state.probability(self.level(design))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Levels, Mixing, standardised};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn standardised_costs_have_mean_zero_and_deviation_one(costs in prop::collection::vec(-1e6f64..1e6, 2..60)) {
            let standard = standardised(&costs).unwrap();
            let values: Vec<f64> = costs.iter().map(|c| standard.apply(*c)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
            prop_assert!(mean.abs() < 1e-9 && (square - 1.0).abs() < 1e-9, "{mean} {square}");
        }
    }

    #[test]
    fn extreme_and_equal_costs_stay_finite() {
        for costs in [vec![f64::MAX, f64::MIN, 0.0], vec![7.0; 5], vec![1e-308, 2e-308], vec![3.0]] {
            let standard = standardised(&costs).unwrap();
            assert!(
                standard.scale > 0.0 && costs.iter().all(|c| standard.apply(*c).is_finite()),
                "{costs:?}"
            );
        }
    }

    #[test]
    fn equal_costs_share_a_level_and_levels_ascend() {
        let levels = Levels::new(&[3.0, 1.0, 3.0, 2.0, 1.0, -0.0, 0.0], &Mixing::Grover).unwrap();
        assert_eq!(levels.level_of, [3, 1, 3, 2, 1, 0, 0]);
        assert_eq!(levels.multiplicity, [2.0, 2.0, 1.0, 2.0]);
        assert!(levels.values().windows(2).all(|pair| pair[0] < pair[1]));
    }
}
