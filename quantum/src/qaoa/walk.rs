//! The methods of a search behind one form: where it is, one step on, whether more steps can help.

use super::lbfgs::Search;
use super::optimiser::Lens;
use super::settings::Method;
use super::simplex::Simplex;
use super::spsa::Spsa;
use serde::{Deserialize, Serialize};

/// A search under way, by any method; plain numbers only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Walk {
    Lbfgs(Search),
    NelderMead(Simplex),
    Spsa(Spsa),
}

impl Walk {
    pub fn new(method: Method, point: Vec<f64>, lens: &Lens<'_>, iteration: u32) -> Self {
        match method {
            Method::Lbfgs => Self::Lbfgs(Search::new(point, |x| lens.value_and_gradient(x))),
            Method::NelderMead => Self::NelderMead(Simplex::new(point, |x| lens.value(x))),
            Method::Spsa => Self::Spsa(Spsa::new(point, |x| lens.sampled(x, iteration, 0))),
        }
    }

    pub fn at(&self) -> (f64, &[f64]) {
        match self {
            Self::Lbfgs(search) => (search.at().value, &search.at().point),
            Self::NelderMead(simplex) => simplex.at(),
            Self::Spsa(spsa) => spsa.at(),
        }
    }

    pub fn converged(&self) -> bool {
        match self {
            Self::Lbfgs(search) => search.converged(),
            Self::NelderMead(simplex) => simplex.converged(),
            Self::Spsa(_) => false,
        }
    }

    pub fn method(&self) -> Method {
        match self {
            Self::Lbfgs(_) => Method::Lbfgs,
            Self::NelderMead(_) => Method::NelderMead,
            Self::Spsa(_) => Method::Spsa,
        }
    }

    pub fn dimensions(&self) -> Option<usize> {
        match self {
            Self::Lbfgs(search) => search.dimensions(),
            Self::NelderMead(simplex) => simplex.dimensions(),
            Self::Spsa(spsa) => Some(spsa.dimensions()),
        }
    }

    /// One step; `iteration` counts over the whole search and `budget` is how many this walk may take.
    pub fn step(&mut self, lens: &Lens<'_>, iteration: u32, budget: u32) {
        match self {
            Self::Lbfgs(search) => search.step(|x| lens.value_and_gradient(x)),
            Self::NelderMead(simplex) => simplex.step(|x| lens.value(x)),
            Self::Spsa(spsa) => {
                let mut call = 0;
                spsa.step(budget, lens.seed(), u64::from(iteration), |x| {
                    call += 1;
                    lens.sampled(x, iteration, call)
                });
            }
        }
    }
}
