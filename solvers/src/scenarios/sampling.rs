//! From distributions to scenarios: streams of random numbers, Latin hypercube, Sobol, copula.
//!
//! Stream of a variable = ChaCha8 keyed by the seed, its stream number a hash of purpose and name; the
//! i-th draw belongs to scenario i. So the order of the variables does not matter to their figures.

use super::distribution::{normal_cdf, normal_quantile};
use super::{Distributions, Sampling, ScenarioSet};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The stream of random numbers that belongs to `path` under `seed`.
pub(crate) fn stream(seed: u64, path: &[&str]) -> ChaCha8Rng {
    let mut rng =
        ChaCha8Rng::from_seed(blake3::derive_key("executing solvers random streams v1", &seed.to_le_bytes()));
    let mut hasher = blake3::Hasher::new();
    for part in path {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let hash = hasher.finalize();
    let mut number = [0u8; 8];
    number.copy_from_slice(&hash.as_bytes()[..8]);
    rng.set_stream(u64::from_le_bytes(number));
    rng
}

/// A number strictly between 0 and 1: the middle of one of 2^53 equal cells.
pub(crate) fn open_unit(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}

pub(super) fn sample(d: &Distributions, seed: u64) -> ScenarioSet {
    let n = d.count;
    let independent: Vec<Vec<f64>> = match d.sampling {
        Sampling::Sobol => sobol(d, seed),
        Sampling::Random | Sampling::LatinHypercube => d
            .variables
            .iter()
            .map(|(variable, _)| {
                let mut rng = stream(seed, &["scenarios", "point", &variable.name]);
                (0..n).map(|_| open_unit(&mut rng)).collect()
            })
            .collect(),
    };
    let mut points = correlate(independent, d.factor.as_deref());
    if d.sampling == Sampling::LatinHypercube {
        for (column, (variable, _)) in points.iter_mut().zip(&d.variables) {
            stratify(column, &mut stream(seed, &["scenarios", "slice", &variable.name]));
        }
    }
    let values = points
        .iter()
        .zip(&d.variables)
        .flat_map(|(column, (_, distribution))| column.iter().map(|&u| distribution.quantile(u)))
        .collect();
    ScenarioSet {
        variables: d.variables.iter().map(|(v, _)| v.clone()).collect(),
        values,
        probability: vec![1.0 / n as f64; n],
    }
}

fn sobol(d: &Distributions, seed: u64) -> Vec<Vec<f64>> {
    let scramble = stream(seed, &["scenarios", "sobol"]).next_u32();
    (0u32..)
        .take(d.variables.len())
        .map(|dimension| {
            (0u32..)
                .take(d.count)
                // The generator gives multiples of 2^-24 from 0; the half cell keeps them off 0 and 1.
                .map(|i| f64::from(sobol_burley::sample(i, dimension, scramble)) + 0.5 / (1u64 << 24) as f64)
                .collect()
        })
        .collect()
}

/// Independent uniform columns to uniform columns whose normal scores correlate (Gaussian copula).
fn correlate(columns: Vec<Vec<f64>>, factor: Option<&[Vec<f64>]>) -> Vec<Vec<f64>> {
    let Some(factor) = factor else {
        return columns;
    };
    let scores: Vec<Vec<f64>> =
        columns.iter().map(|column| column.iter().map(|&u| normal_quantile(u)).collect()).collect();
    factor
        .iter()
        .enumerate()
        .map(|(i, row)| {
            if row[..i].iter().all(|&weight| weight == 0.0) {
                return columns[i].clone();
            }
            (0..columns[i].len())
                .map(|s| {
                    let z: f64 = (0..=i).map(|j| row[j] * scores[j][s]).sum();
                    normal_cdf(z).clamp(f64::MIN_POSITIVE, 1.0 - 1e-16)
                })
                .collect()
        })
        .collect()
}

/// Moves every point into the slice of its rank, at a random place within it.
fn stratify(column: &mut [f64], rng: &mut ChaCha8Rng) {
    let n = column.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_unstable_by(|&a, &b| column[a].total_cmp(&column[b]).then(a.cmp(&b)));
    let places: Vec<f64> = (0..n).map(|_| open_unit(rng)).collect();
    for (rank, &scenario) in order.iter().enumerate() {
        let last = 1.0 - f64::EPSILON / 2.0;
        column[scenario] = ((rank as f64 + places[scenario]) / n as f64).min(last);
    }
}

/// Lower triangular `L` with `L * transpose(L) = matrix`, or `None` if it is not positive semidefinite.
///
/// A variable that is wholly determined by those before it (a correlation of 1, say) gets a zero pivot.
pub(super) fn cholesky(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    /// Below this a pivot is rounding: 256 variables lose at most about 256 units in the last place.
    const PIVOT_MIN: f64 = 1e-12;
    /// What a zero pivot may leave of a correlation below it: a semidefinite matrix leaves at most the
    /// root of the pivot times the root of a diagonal of 1.
    const REST_MAX: f64 = 1e-6;
    let n = matrix.len();
    let mut factor = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
            let rest = matrix[i][j] - inner;
            factor[i][j] = if i == j {
                if rest < -PIVOT_MIN {
                    return None;
                }
                if rest < PIVOT_MIN { 0.0 } else { rest.sqrt() }
            } else if factor[j][j] == 0.0 {
                if rest.abs() > REST_MAX {
                    return None;
                }
                0.0
            } else {
                rest / factor[j][j]
            };
        }
    }
    Some(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_and_by_path() {
        let first = |seed, path: &[&str]| stream(seed, path).next_u64();
        assert_eq!(first(1, &["a", "b"]), first(1, &["a", "b"]));
        assert_ne!(first(1, &["a", "b"]), first(2, &["a", "b"]));
        assert_ne!(first(1, &["a", "b"]), first(1, &["ab"]));
    }

    #[test]
    fn the_factor_multiplies_back_to_the_matrix() {
        let matrix = vec![vec![1.0, 0.5, -0.3], vec![0.5, 1.0, 0.2], vec![-0.3, 0.2, 1.0]];
        let l = cholesky(&matrix).unwrap();
        for i in 0..3 {
            for j in 0..3 {
                let got: f64 = (0..3).map(|k| l[i][k] * l[j][k]).sum();
                assert!((got - matrix[i][j]).abs() < 1e-15);
            }
        }
        let one = cholesky(&[vec![1.0, 1.0], vec![1.0, 1.0]]).unwrap();
        assert_eq!(one, [[1.0, 0.0], [1.0, 0.0]]);
        assert!(cholesky(&[vec![1.0, 1.0, 0.5], vec![1.0, 1.0, -0.5], vec![0.5, -0.5, 1.0]]).is_none());
        assert!(cholesky(&[vec![1.0, 0.9, -0.9], vec![0.9, 1.0, 0.9], vec![-0.9, 0.9, 1.0]]).is_none());
    }
}
