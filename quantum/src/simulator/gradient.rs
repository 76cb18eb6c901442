//! Value and gradient of a diagonal observable in all angles by one backward walk (adjoint method).
//!
//! With |left> = O |state>, the derivative in the angle of exp(-i a G) is 2 Im <left| G |state>, taken right
//! after that factor; both vectors are then taken back through it. About four evaluations in all, whatever
//! the number of layers; a second state vector of memory. Jones and Gacon, arXiv 2009.02823.

use super::{Angles, Mixer, Simulator, grover, x};
use crate::state::{State, sum};

/// A value and its derivatives.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradient {
    pub value: f64,
    /// Derivative in each cost angle.
    pub cost: Vec<f64>,
    /// Derivative in each mixer angle.
    pub mixer: Vec<f64>,
}

impl Simulator {
    /// Expectation of `observable` (one number per amplitude) and its gradient at `angles`.
    pub fn gradient(&self, angles: &Angles, observable: &[f64]) -> Gradient {
        let state = self.run(angles);
        self.gradient_from(state, angles, observable)
    }

    /// As [`Simulator::gradient`], from the state that [`Simulator::run`] gave for the same `angles`, so
    /// that the observable may depend on it.
    pub fn gradient_from(&self, mut state: State, angles: &Angles, observable: &[f64]) -> Gradient {
        let value = self.expectation(&state, observable);
        let times = |part: &[f64]| part.iter().zip(observable).map(|(a, o)| a * o).collect();
        let mut left = State { re: times(&state.re), im: times(&state.im) };
        let layers = angles.layers();
        let mut gradient = Gradient { value, cost: vec![0.0; layers], mixer: vec![0.0; layers] };
        for k in (0..layers).rev() {
            gradient.mixer[k] = 2.0 * self.imaginary_of_mixer(&left, &state);
            for vector in [&mut left, &mut state] {
                match self.mixer {
                    Mixer::X { qubits } => x::rotate(vector, -angles.mixer[k], qubits),
                    Mixer::Grover => grover::mix(vector, &self.multiplicity, self.total, -angles.mixer[k]),
                }
            }
            gradient.cost[k] = 2.0 * self.imaginary_of_cost(&left, &state);
            if k > 0 {
                for vector in [&mut left, &mut state] {
                    x::phase(&mut vector.re, &mut vector.im, &self.values, -angles.cost[k]);
                }
            }
        }
        gradient
    }

    fn imaginary_of_mixer(&self, left: &State, right: &State) -> f64 {
        match self.mixer {
            Mixer::X { qubits } => x::imaginary_of_sum_x(left, right, qubits),
            Mixer::Grover => {
                let (lr, li) = grover::weighted_sum(left, &self.multiplicity);
                let (rr, ri) = grover::weighted_sum(right, &self.multiplicity);
                (lr * ri - li * rr) / self.total
            }
        }
    }

    fn imaginary_of_cost(&self, left: &State, right: &State) -> f64 {
        sum(left.len(), |i| {
            self.weight(i) * self.values[i] * (left.re[i] * right.im[i] - left.im[i] * right.re[i])
        })
    }
}
