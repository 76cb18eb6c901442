//! Where a search begins: guesses, a linear ramp, or published angles.
//!
//! Published tables are for the X mixer and the maximum of their cost. Here costs are minimised and start at
//! the mixer's highest state, so cost angles change their sign. With other mixers and costs a table is a
//! place to begin and nothing more; the search goes on from it. Sources:
//! Basso, Farhi, Marwaha, Villalonga, Zhou, arXiv 2110.14206, for the Sherrington-Kirkpatrick model of infinite
//! size; Wurtz and Lykov, Phys. Rev. A 104, 052419 (arXiv 2107.00677), for MaxCut on cubic graphs; Sack and
//! Serbyn, Quantum 5, 491, for ramps; Zhou et al., Phys. Rev. X 10, 021067, for stretching to more layers;
//! Sureshbabu et al., Quantum 8, 1231 (arXiv 2305.15201), for scaling by the spread of the costs.

use crate::simulator::Angles;
use serde::{Deserialize, Serialize};

/// Where a search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarmStart {
    /// The best of some seeded guesses, layer by layer.
    #[default]
    None,
    /// A linear ramp: cost angles grow, mixer angles fall.
    Ramp,
    /// The optimum of the Sherrington-Kirkpatrick model of infinite size.
    SherringtonKirkpatrick,
    /// The fixed angles for MaxCut on cubic graphs.
    CubicMaxCut,
}

// The published digits stay as they are, though the first mixer angle is pi / 8.
#[allow(clippy::approx_constant)]
const SK: &[(&[f64], &[f64])] = &[
    (&[0.5000000], &[0.3926991]),
    (&[0.3817426, 0.6654992], &[0.4959678, 0.2690431]),
    (&[0.3298673, 0.5689402, 0.6408517], &[0.5499639, 0.3675345, 0.2108778]),
    (&[0.2950161, 0.5144365, 0.5585206, 0.6428539], &[0.5709305, 0.4175235, 0.3026912, 0.1728651]),
    (
        &[0.2704920, 0.4803415, 0.5073882, 0.5646381, 0.6396444],
        &[0.5899123, 0.4492116, 0.3559373, 0.2642813, 0.1485644],
    ),
    (
        &[0.2528079, 0.4530961, 0.4749539, 0.5146138, 0.5649964, 0.6392013],
        &[0.6004315, 0.4670375, 0.3880570, 0.3175895, 0.2324730, 0.1290648],
    ),
];
const REGULAR_3: &[(&[f64], &[f64])] = &[
    (&[0.6155336], &[0.3926720]),
    (&[0.4877097, 0.8979877], &[0.5550603, 0.2925078]),
    (&[0.4220841, 0.7984128, 0.9370888], &[0.6087573, 0.4592753, 0.2353956]),
    (&[0.4087638, 0.7805850, 0.9877281, 1.1563137], &[0.5995655, 0.4344183, 0.2969500, 0.1590668]),
    (
        &[0.3595894, 0.7065726, 0.8225565, 1.0047549, 1.1542746],
        &[0.6318520, 0.5226524, 0.3897421, 0.2754122, 0.1491700],
    ),
    (
        &[0.3310418, 0.6450310, 0.7307769, 0.8365831, 1.0091635, 1.1261004],
        &[0.6355589, 0.5339629, 0.4631092, 0.3602554, 0.2591523, 0.1390257],
    ),
];

/// Total turn of a ramp per layer, in radians: the time step that Sack and Serbyn found good on graphs.
const RAMP_STEP: f64 = 0.75;

/// Cost angles for C = sum of J_ij z_i z_j / sqrt(n) with J of variance 1, and mixer angles, for a minimum.
///
/// Beyond the layers of the table the deepest row is stretched. `layers` from 1.
pub fn sherrington_kirkpatrick(layers: usize) -> Angles {
    from_table(SK, layers)
}

/// Cost angles per cut edge (C = minus the number of cut edges of a cubic graph), and mixer angles.
///
/// Beyond the layers of the table the deepest row is stretched. `layers` from 1.
pub fn cubic_max_cut(layers: usize) -> Angles {
    from_table(REGULAR_3, layers)
}

/// A linear ramp for costs of standard deviation 1.
pub fn ramp(layers: usize) -> Angles {
    let share = |k: usize| (k as f64 + 0.5) / layers as f64;
    Angles {
        cost: (0..layers).map(|k| -RAMP_STEP * share(k)).collect(),
        mixer: (0..layers).map(|k| RAMP_STEP * (1.0 - share(k))).collect(),
    }
}

fn from_table(table: &[(&[f64], &[f64])], layers: usize) -> Angles {
    let (cost, mixer) = table[layers.clamp(1, table.len()) - 1];
    Angles { cost: stretched(cost, layers).iter().map(|a| -a).collect(), mixer: stretched(mixer, layers) }
}

/// The same course over more layers, by linear interpolation one layer at a time.
fn stretched(angles: &[f64], layers: usize) -> Vec<f64> {
    let mut now = angles.to_vec();
    while now.len() < layers {
        let p = now.len() as f64;
        let at = |i: usize| now.get(i).copied().unwrap_or(0.0);
        now = (0..=now.len())
            .map(|i| i as f64 / p * if i == 0 { 0.0 } else { at(i - 1) } + (p - i as f64) / p * at(i))
            .collect();
    }
    now
}

/// A start in radians per standard deviation of cost, for a mixer over `groups` groups whose highest state is
/// `gap` above its next (2 for a qubit under X, d for d choices). `None` asks for guesses.
pub(super) fn start(which: WarmStart, layers: usize, groups: usize, gap: f64) -> Option<Angles> {
    let n = groups as f64;
    let (table, per_deviation) = match which {
        WarmStart::None => return None,
        WarmStart::Ramp => (ramp(layers), 1.0),
        // The costs of these models have deviation sqrt(n / 2) and sqrt(3 n / 8) over uniform spins.
        WarmStart::SherringtonKirkpatrick => (sherrington_kirkpatrick(layers), (n / 2.0).sqrt()),
        WarmStart::CubicMaxCut => (cubic_max_cut(layers), (3.0 * n / 8.0).sqrt()),
    };
    Some(Angles {
        cost: table.cost.iter().map(|a| a * per_deviation).collect(),
        mixer: table.mixer.iter().map(|a| a * 2.0 / gap).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::stretched;

    #[test]
    fn stretching_keeps_the_ends_and_the_course() {
        assert_eq!(stretched(&[0.5], 2), [0.5, 0.5]);
        assert_eq!(stretched(&[0.25, 0.75], 3), [0.25, 0.5, 0.75]);
    }
}
