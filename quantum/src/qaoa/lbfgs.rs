//! Minimisation of a smooth function of a few angles: limited-memory BFGS, one step at a time.
//!
//! Two-loop recursion (Nocedal 1980) with a backtracking line search that asks for sufficient decrease and
//! keeps a curvature pair only where the curvature is positive. All state is plain numbers, so that a search
//! can be written down between two steps and go on elsewhere with the same bits.

use serde::{Deserialize, Serialize};

/// Curvature pairs kept. Ten angles seldom profit from more than eight.
const PAIRS_MAX: usize = 8;
/// Trials of one line search; each halves the step at least, so that 24 reach rounding.
const TRIALS_MAX: u32 = 24;
/// Sufficient decrease (Armijo), the usual constant.
const DECREASE: f64 = 1.0e-4;
/// Largest change of any angle in one step: larger steps leave the basin on a periodic landscape.
const STEP_MAX: f64 = 0.5;

/// A point with its value and gradient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Minimum {
    pub point: Vec<f64>,
    pub value: f64,
    pub gradient: Vec<f64>,
}

/// A minimisation under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Search {
    at: Minimum,
    /// (step, change of gradient), oldest first.
    pairs: Vec<(Vec<f64>, Vec<f64>)>,
    converged: bool,
}

impl Search {
    /// Starts at `point`, with one evaluation.
    pub fn new(point: Vec<f64>, evaluate: impl FnOnce(&[f64]) -> (f64, Vec<f64>)) -> Self {
        let (value, gradient) = evaluate(&point);
        Self { at: Minimum { point, value, gradient }, pairs: Vec::new(), converged: false }
    }

    /// The best point so far; the value never rises from step to step.
    pub fn at(&self) -> &Minimum {
        &self.at
    }

    /// Number of variables, if all parts agree on it (a search that was read back may not).
    pub fn dimensions(&self) -> Option<usize> {
        let count = self.at.point.len();
        let pairs_agree =
            self.pairs.iter().all(|(step, change)| step.len() == count && change.len() == count);
        (self.at.gradient.len() == count && pairs_agree).then_some(count)
    }

    /// No further step can lower the value by more than rounding.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// One step: a direction and a line search along it, one to [`TRIALS_MAX`] evaluations.
    pub fn step(&mut self, mut evaluate: impl FnMut(&[f64]) -> (f64, Vec<f64>)) {
        if self.converged {
            return;
        }
        let mut direction = self.direction();
        let mut slope = dot(&direction, &self.at.gradient);
        if slope.is_nan() || slope >= 0.0 {
            self.pairs.clear();
            direction = self.at.gradient.iter().map(|g| -g).collect();
            slope = dot(&direction, &self.at.gradient);
        }
        let longest = direction.iter().fold(0.0f64, |most, d| most.max(d.abs()));
        if longest == 0.0 || slope == 0.0 {
            self.converged = true;
            return;
        }
        let mut length = if longest > STEP_MAX { STEP_MAX / longest } else { 1.0 };
        for _ in 0..TRIALS_MAX {
            let point: Vec<f64> = self.at.point.iter().zip(&direction).map(|(x, d)| x + length * d).collect();
            let (value, gradient) = evaluate(&point);
            if value <= self.at.value + DECREASE * length * slope {
                let next = Minimum { point, value, gradient };
                self.accept(next);
                return;
            }
            // The parabola through value, slope and trial, kept within a tenth and a half.
            let parabola = -slope * length / (2.0 * ((value - self.at.value) / length - slope));
            length =
                if parabola.is_finite() { parabola.clamp(0.1 * length, 0.5 * length) } else { 0.5 * length };
        }
        // No descent along the quasi-Newton direction: try once more along the gradient, else stop.
        if self.pairs.is_empty() {
            self.converged = true;
        } else {
            self.pairs.clear();
        }
    }

    fn accept(&mut self, next: Minimum) {
        let difference = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
        let step = difference(&next.point, &self.at.point);
        let change = difference(&next.gradient, &self.at.gradient);
        let curvature = dot(&step, &change);
        if curvature > 1.0e-12 * dot(&step, &step).sqrt() * dot(&change, &change).sqrt() {
            if self.pairs.len() == PAIRS_MAX {
                self.pairs.remove(0);
            }
            self.pairs.push((step, change));
        }
        let gained = self.at.value - next.value;
        let flat = next.gradient.iter().fold(0.0f64, |most, g| most.max(g.abs()));
        self.converged = gained <= 1.0e-15 * next.value.abs() && flat < 1.0e-6 || flat < 1.0e-10;
        self.at = next;
    }

    fn direction(&self) -> Vec<f64> {
        let mut q: Vec<f64> = self.at.gradient.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for (step, change) in self.pairs.iter().rev() {
            let share = dot(step, &q) / dot(step, change);
            add(&mut q, -share, change);
            shares.push(share);
        }
        if let Some((step, change)) = self.pairs.last() {
            let scale = dot(step, change) / dot(change, change);
            q.iter_mut().for_each(|x| *x *= scale);
        }
        for ((step, change), share) in self.pairs.iter().zip(shares.iter().rev()) {
            let back = dot(change, &q) / dot(step, change);
            add(&mut q, share - back, step);
        }
        q
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(t, w)| *t += factor * w);
}

#[cfg(test)]
mod tests {
    use super::Search;

    fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
    }

    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        let mut search = Search::new(vec![-1.2, 1.0], rosenbrock);
        let mut last = search.at().value;
        for _ in 0..80 {
            search.step(rosenbrock);
            assert!(search.at().value <= last, "the value rose");
            last = search.at().value;
        }
        assert!(last < 1e-16 && search.converged(), "{last}");
        assert!((search.at().point[0] - 1.0).abs() < 1e-8);
    }

    #[test]
    fn the_direction_honours_the_last_observed_curvature() {
        let mut search = Search::new(vec![-1.2, 1.0], rosenbrock);
        for _ in 0..12 {
            search.step(rosenbrock);
        }
        assert!(search.pairs.len() > 2);
        // The inverse Hessian must take the last change of gradient to the last step (secant condition).
        let (step, change) = search.pairs[search.pairs.len() - 1].clone();
        search.at.gradient = change;
        for (direction, step) in search.direction().iter().zip(&step) {
            assert!((direction + step).abs() < 1e-9 * step.abs(), "{direction} {step}");
        }
    }

    #[test]
    fn a_search_written_down_goes_on_with_the_same_bits() {
        let mut live = Search::new(vec![-1.2, 1.0], rosenbrock);
        for _ in 0..20 {
            live.step(rosenbrock);
            let text = serde_json::to_string(&live).unwrap();
            let back: Search = serde_json::from_str(&text).unwrap();
            assert_eq!(back, live);
        }
    }

    #[test]
    fn a_flat_function_converges_at_once_where_it_began() {
        let mut search = Search::new(vec![0.3], |_| (2.0, vec![0.0]));
        search.step(|_| panic!("evaluated for nothing"));
        assert!(search.converged() && search.at().point == [0.3]);
    }
}
