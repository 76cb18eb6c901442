//! Minimisation by values alone: the simplex of Nelder and Mead (Comput. J. 7, 308, 1965), one step at a time.
//!
//! With the coefficients of Gao and Han (Comput. Optim. Appl. 51, 259, 2012), which depend on the dimension.
//! All state is plain numbers, so a search can be written down between two steps and go on with the same bits.

use serde::{Deserialize, Serialize};

/// Edge of the first simplex, in radians.
const EDGE: f64 = 0.2;
/// Nothing is left to gain when the corners are this close, in radians and in value.
const SMALL: f64 = 1.0e-9;

/// A minimisation under way: corners with their values, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Simplex {
    corners: Vec<(f64, Vec<f64>)>,
    converged: bool,
}

impl Simplex {
    /// Starts round `point`, with one evaluation more than there are variables.
    pub fn new(point: Vec<f64>, mut evaluate: impl FnMut(&[f64]) -> f64) -> Self {
        let mut corners = vec![(evaluate(&point), point.clone())];
        for k in 0..point.len() {
            let mut corner = point.clone();
            corner[k] += EDGE;
            corners.push((evaluate(&corner), corner));
        }
        let mut simplex = Self { corners, converged: point.is_empty() };
        simplex.sort();
        simplex
    }

    /// The best corner.
    pub fn at(&self) -> (f64, &[f64]) {
        self.corners.first().map_or((f64::NAN, &[]), |(value, point)| (*value, point))
    }

    /// Number of variables, if all parts agree on it (a search that was read back may not).
    pub fn dimensions(&self) -> Option<usize> {
        let count = self.corners.len().checked_sub(1)?;
        self.corners.iter().all(|(_, point)| point.len() == count).then_some(count)
    }

    pub fn converged(&self) -> bool {
        self.converged
    }

    /// One step: one or two evaluations, or as many as there are variables when the simplex shrinks.
    pub fn step(&mut self, mut evaluate: impl FnMut(&[f64]) -> f64) {
        if self.converged {
            return;
        }
        let n = self.corners.len() - 1;
        let dimension = (n as f64).max(2.0);
        let (expand, contract, shrink) =
            (1.0 + 2.0 / dimension, 0.75 - 0.5 / dimension, 1.0 - 1.0 / dimension);
        let mut centre = vec![0.0; n];
        for (_, point) in &self.corners[..n] {
            centre.iter_mut().zip(point).for_each(|(c, x)| *c += x / n as f64);
        }
        let worst = self.corners[n].clone();
        let along =
            |t: f64| -> Vec<f64> { centre.iter().zip(&worst.1).map(|(c, w)| c + t * (c - w)).collect() };
        let mut tried = |t: f64| {
            let point = along(t);
            (evaluate(&point), point)
        };
        let reflected = tried(1.0);
        let better = if reflected.0 < self.corners[0].0 {
            let expanded = tried(expand);
            Some(if expanded.0 < reflected.0 { expanded } else { reflected })
        } else if reflected.0 < self.corners[n - 1].0 {
            Some(reflected)
        } else {
            let (t, least) =
                if reflected.0 < worst.0 { (contract, reflected.0) } else { (-contract, worst.0) };
            Some(tried(t)).filter(|contracted| contracted.0 < least)
        };
        match better {
            Some(corner) => self.corners[n] = corner,
            None => {
                let best = self.corners[0].1.clone();
                for (value, point) in &mut self.corners[1..] {
                    point.iter_mut().zip(&best).for_each(|(x, b)| *x = b + shrink * (*x - b));
                    *value = evaluate(point);
                }
            }
        }
        self.sort();
        let best = &self.corners[0];
        let spread = self.corners.iter().flat_map(|(_, p)| p.iter().zip(&best.1).map(|(x, b)| (x - b).abs()));
        let flat = self.corners[n].0 - best.0 <= SMALL * (1.0 + best.0.abs());
        self.converged = flat && spread.fold(0.0, f64::max) < SMALL.sqrt();
    }

    fn sort(&mut self) {
        // Stable: equal values keep their order, so the course does not depend on the sort.
        self.corners.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
}

#[cfg(test)]
mod tests {
    use super::Simplex;

    fn valley(x: &[f64]) -> f64 {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        a * a + 100.0 * b * b
    }

    #[test]
    fn a_curved_valley_is_followed_to_its_end_and_the_best_never_rises() {
        let mut search = Simplex::new(vec![-1.2, 1.0], valley);
        let mut last = search.at().0;
        for _ in 0..400 {
            search.step(valley);
            assert!(search.at().0 <= last);
            last = search.at().0;
        }
        assert!(last < 1e-8 && search.converged(), "{last}");
        assert!((search.at().1[0] - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_search_written_down_goes_on_with_the_same_bits() {
        let mut live = Simplex::new(vec![-1.2, 1.0, 0.3], |x| valley(x) + x[2] * x[2]);
        for _ in 0..60 {
            live = serde_json::from_str(&serde_json::to_string(&live).unwrap()).unwrap();
            live.step(|x| valley(x) + x[2] * x[2]);
        }
        let mut whole = Simplex::new(vec![-1.2, 1.0, 0.3], |x| valley(x) + x[2] * x[2]);
        (0..60).for_each(|_| whole.step(|x| valley(x) + x[2] * x[2]));
        assert_eq!(live, whole);
    }
}
