//! What blind guessing would have done with as many shots.
//!
//! Guesses are uniform over the designs, with replacement, as shots of the untouched starting state are.

/// Chance that at least one of `shots` uniform guesses costs at most `cost`. In [0, 1]; O(designs).
pub fn random_hit_probability(costs: &[f64], shots: u32, cost: f64) -> f64 {
    let good = costs.iter().filter(|c| **c <= cost).count();
    if costs.is_empty() || good == 0 {
        return 0.0;
    }
    hit(good as f64 / costs.len() as f64, shots)
}

/// 1 - (1 - share)^shots without losing small shares to rounding.
fn hit(share: f64, shots: u32) -> f64 {
    -(f64::from(shots) * (-share).ln_1p()).exp_m1()
}

/// Expected cost of the best of `shots` uniform guesses, in the unit of the costs. O(designs log designs).
///
/// `None` without designs or shots, or if a cost is NaN.
pub fn random_best_expected(costs: &[f64], shots: u32) -> Option<f64> {
    if costs.is_empty() || shots == 0 || costs.iter().any(|c| c.is_nan()) {
        return None;
    }
    let mut sorted = costs.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = sorted.len() as f64;
    // The best is above rank i with probability ((count - i) / count)^shots: sum of steps times survival.
    let mut expected = sorted[0];
    for i in 1..sorted.len() {
        let survives = (f64::from(shots) * (-(i as f64) / count).ln_1p()).exp();
        expected += (sorted[i] - sorted[i - 1]) * survives;
    }
    Some(expected)
}

#[cfg(test)]
mod tests {
    use super::{random_best_expected, random_hit_probability};

    #[test]
    fn two_guesses_of_three_designs_are_counted_by_hand() {
        // Nine equally likely pairs: the best is 1 in five, 2 in three, 6 in one.
        let costs = [6.0, 1.0, 2.0];
        assert!((random_best_expected(&costs, 2).unwrap() - (5.0 + 6.0 + 6.0) / 9.0).abs() < 1e-14);
        assert!((random_hit_probability(&costs, 2, 1.0) - 5.0 / 9.0).abs() < 1e-14);
        assert!((random_hit_probability(&costs, 2, 2.0) - 8.0 / 9.0).abs() < 1e-14);
        assert_eq!(random_hit_probability(&costs, 2, 6.0), 1.0);
        assert_eq!(random_hit_probability(&costs, 2, 0.5), 0.0);
    }

    #[test]
    fn a_rare_design_keeps_its_tiny_chance() {
        let mut costs = vec![1.0; 1_000_000];
        costs[77] = 0.0;
        assert!((random_hit_probability(&costs, 1, 0.0) - 1e-6).abs() < 1e-18);
        assert_eq!(random_best_expected(&[], 3), None);
        assert_eq!(random_best_expected(&[1.0], 0), None);
    }
}
