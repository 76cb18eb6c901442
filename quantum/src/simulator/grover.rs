//! The Grover mixer: exp(-i angle |F><F|) adds the same complex number to every amplitude.
//!
//! exp(-i b |F><F|) = 1 + (exp(-i b) - 1) |F><F|, a rank-one shift. The shift is kept aside and added while
//! the next layer's phase is applied, so a layer is one pass over the amplitudes.

use super::Angles;
use crate::phase::{cos_sin, cos_sin_scaled};
use crate::state::{BLOCK, State};

/// All layers on `state`. `multiplicity` is empty for one design per amplitude; `total` counts designs.
pub fn layers(state: &mut State, values: &[f64], multiplicity: &[f64], total: f64, angles: &Angles) {
    let mut shift = (0.0, 0.0);
    for (&cost_angle, &mixer_angle) in angles.cost.iter().zip(&angles.mixer) {
        let sum = shifted_phase(state, values, multiplicity, cost_angle, shift);
        shift = shift_of(mixer_angle, sum, total);
    }
    add(state, shift);
}

/// exp(-i angle |F><F|) on its own; with `-angle` it undoes itself.
pub fn mix(state: &mut State, multiplicity: &[f64], total: f64, mixer_angle: f64) {
    let sum = weighted_sum(state, multiplicity);
    add(state, shift_of(mixer_angle, sum, total));
}

/// (exp(-i angle) - 1) times the sum of amplitudes over the number of designs.
fn shift_of(mixer_angle: f64, sum: (f64, f64), total: f64) -> (f64, f64) {
    let (cosine, sine) = cos_sin(mixer_angle);
    let (factor_re, factor_im) = ((cosine - 1.0) / total, -sine / total);
    (factor_re * sum.0 - factor_im * sum.1, factor_re * sum.1 + factor_im * sum.0)
}

fn add(state: &mut State, shift: (f64, f64)) {
    state.re.iter_mut().for_each(|re| *re += shift.0);
    state.im.iter_mut().for_each(|im| *im += shift.1);
}

/// Adds `shift`, multiplies by exp(-i angle values), returns the sum of the results over all designs.
fn shifted_phase(
    state: &mut State,
    values: &[f64],
    multiplicity: &[f64],
    angle: f64,
    shift: (f64, f64),
) -> (f64, f64) {
    let (mut cosines, mut sines) = ([0.0; BLOCK], [0.0; BLOCK]);
    let mut total = (0.0, 0.0);
    let pieces = state.re.chunks_mut(BLOCK).zip(state.im.chunks_mut(BLOCK)).zip(values.chunks(BLOCK));
    for (block, ((re, im), values)) in pieces.enumerate() {
        let count = values.len();
        cos_sin_scaled(angle, values, &mut cosines[..count], &mut sines[..count]);
        for (((r, i), c), s) in re.iter_mut().zip(im.iter_mut()).zip(&cosines[..count]).zip(&sines[..count]) {
            let (xr, xi) = (*r + shift.0, *i + shift.1);
            (*r, *i) = (xr * c + xi * s, xi * c - xr * s);
        }
        let weights = multiplicity.get(block * BLOCK..block * BLOCK + count);
        total.0 += piece_sum(re, weights);
        total.1 += piece_sum(im, weights);
    }
    total
}

/// Sum of all amplitudes over all designs.
pub fn weighted_sum(state: &State, multiplicity: &[f64]) -> (f64, f64) {
    let over = |part: &[f64]| {
        part.chunks(BLOCK).enumerate().fold(0.0, |total, (block, piece)| {
            total + piece_sum(piece, multiplicity.get(block * BLOCK..block * BLOCK + piece.len()))
        })
    };
    (over(&state.re), over(&state.im))
}

#[inline(always)]
fn piece_sum(piece: &[f64], weights: Option<&[f64]>) -> f64 {
    match weights {
        Some(weights) => crate::state::sum(piece.len(), |i| piece[i] * weights[i]),
        None => crate::state::sum(piece.len(), |i| piece[i]),
    }
}
