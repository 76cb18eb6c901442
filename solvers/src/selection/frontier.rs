//! The frontier of expectation against CVaR: all of it, and the corners of its lower convex hull.
//!
//! A weight of CVaR turns the two figures into one, and the least of that always lies on a corner of the
//! hull. So the corners with their intervals of weight answer for every weight at once; a point of the
//! frontier between two corners is the choice for none. Differences below [`TIE_TOLERANCE`] of a figure
//! count as none. Start at [`hull`].

use super::TIE_TOLERANCE;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A design that is the choice for an interval of risk weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Supported {
    pub design: BTreeMap<String, String>,
    /// Canonical index among the feasible designs, from 0.
    pub index: usize,
    pub expected: f64,
    pub cvar: f64,
    /// The choice for every risk weight between these two; at either end it ties with its neighbour.
    pub weight_from: f64,
    /// Absent: for every greater weight.
    pub weight_to: Option<f64>,
}

/// A corner of the hull by index, and its interval of weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Corner {
    pub index: usize,
    pub from: f64,
    pub to: Option<f64>,
}

/// Designs that no other beats in expectation without being worse in CVaR, by rising expectation.
///
/// Of designs with equal figures the lowest index is taken.
pub(super) fn pareto(expected: &[f64], cvar: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..expected.len()).collect();
    order.sort_unstable_by(|&a, &b| {
        expected[a].total_cmp(&expected[b]).then(cvar[a].total_cmp(&cvar[b])).then(a.cmp(&b))
    });
    let mut frontier: Vec<usize> = Vec::new();
    for index in order {
        let better = frontier.last().is_none_or(|&last| {
            let least = cvar[last];
            cvar[index] < least - least.abs() * TIE_TOLERANCE
        });
        if better {
            frontier.push(index);
        }
    }
    frontier
}

/// Corners of the lower convex hull of `frontier` (as [`pareto`] gives it), by rising expectation.
pub(super) fn hull(expected: &[f64], cvar: &[f64], frontier: &[usize]) -> Vec<Corner> {
    // The weight at which b overtakes a: it costs more in expectation and less in CVaR.
    let overtakes = |a: usize, b: usize| (expected[b] - expected[a]) / (cvar[a] - cvar[b]);
    let mut corners: Vec<usize> = Vec::new();
    for &next in frontier {
        // Equal expectation to the tolerance: the later one is better in CVaR and no dearer.
        while let Some(&last) = corners.last() {
            let level = (expected[next] - expected[last]).abs() <= TIE_TOLERANCE * expected[last].abs();
            let below = corners.len() >= 2 && {
                let before = corners[corners.len() - 2];
                // Where `next` overtakes `before` no later than `last` does, `last` is never the least.
                overtakes(before, next) <= overtakes(before, last)
            };
            if !(level || below) {
                break;
            }
            corners.pop();
        }
        corners.push(next);
    }
    corners
        .iter()
        .enumerate()
        .map(|(at, &index)| Corner {
            index,
            from: if at == 0 { 0.0 } else { overtakes(corners[at - 1], index) },
            to: corners.get(at + 1).map(|&next| overtakes(index, next)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_above_the_line_between_its_neighbours_is_on_the_frontier_and_no_corner() {
        let expected = [0.0, 1.0, 2.0, 3.0, 3.0];
        let cvar = [10.0, 9.0, 4.0, 3.5, 3.5];
        let frontier = pareto(&expected, &cvar);
        assert_eq!(frontier, [0, 1, 2, 3]);
        let corners = hull(&expected, &cvar, &frontier);
        let indices: Vec<usize> = corners.iter().map(|c| c.index).collect();
        assert_eq!(indices, [0, 2, 3]);
        assert_eq!((corners[0].from, corners[0].to), (0.0, Some(2.0 / 6.0)));
        assert_eq!((corners[2].from, corners[2].to), (2.0, None));
    }

    #[test]
    fn three_points_on_a_line_keep_the_two_ends() {
        let (expected, cvar) = ([0.0, 1.0, 2.0], [4.0, 2.0, 0.0]);
        let corners = hull(&expected, &cvar, &pareto(&expected, &cvar));
        assert_eq!(corners.iter().map(|c| c.index).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn one_design_is_the_choice_for_every_weight() {
        let corners = hull(&[5.0], &[7.0], &pareto(&[5.0], &[7.0]));
        assert_eq!(corners, [Corner { index: 0, from: 0.0, to: None }]);
    }
}
