//! Value and gradient of a diagonal observable in all angles by one backward walk (adjoint method).
//!
//! With |left> = O |state>, the derivative in the angle of exp(-i a G) is 2 Im <left| G |state>, taken right
//! after that factor; both vectors are then taken back through it. Three to four evaluations in all, whatever
//! the number of layers; a second state vector of memory. Jones and Gacon, arXiv 2009.02823.

use super::one_hot::Groups;
use super::x::{self, chunks, high_back, weighted_imaginary};
use super::{Angles, Mixer, Simulator, Turn, grover, sums};
use crate::state::State;

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
        let mut left = State { re: vec![0.0; state.len()], im: vec![0.0; state.len()] };
        let parts = left.re.chunks_mut(sums::PART).zip(left.im.chunks_mut(sums::PART));
        self.threads.each(parts.enumerate().collect(), |(i, (re, im))| {
            let here = i * sums::PART..i * sums::PART + re.len();
            let from = state.re[here.clone()].iter().zip(&state.im[here.clone()]).zip(&observable[here]);
            for ((re, im), ((a, b), o)) in re.iter_mut().zip(im).zip(from) {
                (*re, *im) = (a * o, b * o);
            }
        });
        // Back to front, each angle negated.
        let back = Angles {
            cost: angles.cost.iter().rev().map(|a| -a).collect(),
            mixer: angles.mixer.iter().rev().map(|a| -a).collect(),
        };
        let turns = self.turns(&back);
        let slopes = match &self.mixer {
            Mixer::X { qubits } => self.back_x(&mut left, &mut state, *qubits, &turns),
            Mixer::Grover => grover::back(&mut left, &mut state, self.set(), &turns),
            Mixer::OneHot(groups) => self.back_one_hot(&mut left, &mut state, groups, &turns),
        };
        Gradient {
            value,
            cost: slopes.iter().rev().map(|(_, cost)| 2.0 * cost).collect(),
            mixer: slopes.iter().rev().map(|(mixer, _)| 2.0 * mixer).collect(),
        }
    }

    fn back_x(
        &self,
        left: &mut State,
        right: &mut State,
        qubits: u32,
        turns: &[(Turn<'_>, f64)],
    ) -> Vec<(f64, f64)> {
        let (mut mixers, mut costs) = (Vec::new(), Vec::new());
        // After the last mixer there is no cost phase to undo; before the first no mixer.
        for k in 0..=turns.len() {
            let (first, last) = (k == 0, k == turns.len());
            let both = chunks(left, qubits).into_iter().zip(chunks(right, qubits)).collect();
            let found = self.threads.each(both, |((start, mut left), (_, mut right))| {
                let mut slope = 0.0;
                if !first {
                    left.transform_outer();
                    right.transform_outer();
                }
                for ((offset, mut left), (_, mut right)) in left.blocks().zip(right.blocks()) {
                    if !first {
                        left.transform_block();
                        right.transform_block();
                        let values = &self.values[start + offset..start + offset + left.len()];
                        slope += weighted_imaginary(values, left.re, left.im, right.re, right.im);
                    }
                    if !last {
                        if !first {
                            undo(&turns[k - 1].0, start + offset, &mut left, &mut right);
                        }
                        left.transform_block();
                        right.transform_block();
                    }
                }
                if !last {
                    left.transform_outer();
                    right.transform_outer();
                }
                slope
            });
            if !first {
                costs.push(found.into_iter().sum());
            }
            if !last {
                mixers.push(high_back(left, right, qubits, -turns[k].1, &self.threads));
            }
        }
        mixers.into_iter().zip(costs).collect()
    }

    fn back_one_hot(
        &self,
        left: &mut State,
        right: &mut State,
        groups: &Groups,
        turns: &[(Turn<'_>, f64)],
    ) -> Vec<(f64, f64)> {
        let mut slopes = Vec::new();
        for (turn, mixer_angle) in turns {
            let mixer = groups.back(left, right, -mixer_angle);
            let cost = sums::sum_of_pieces(left.len(), &self.threads, |here| {
                let (lr, li) = (&left.re[here.clone()], &left.im[here.clone()]);
                let (rr, ri) = (&right.re[here.clone()], &right.im[here.clone()]);
                weighted_imaginary(&self.values[here], lr, li, rr, ri)
            });
            turn.apply(0, &mut left.re, &mut left.im);
            turn.apply(0, &mut right.re, &mut right.im);
            slopes.push((mixer, cost));
        }
        slopes
    }
}

/// A cost phase on both states with one set of sines.
fn undo(turn: &Turn<'_>, start: usize, left: &mut x::Parts<'_>, right: &mut x::Parts<'_>) {
    turn.runs(start, left.len(), |offset, c, s| {
        let here = offset..offset + c.len();
        super::phases::rotate(&mut left.re[here.clone()], &mut left.im[here.clone()], c, s);
        super::phases::rotate(&mut right.re[here.clone()], &mut right.im[here], c, s);
    });
}
