//! The Grover mixer: exp(-i angle |F><F|) adds the same complex number to every amplitude.
//!
//! exp(-i b |F><F|) = 1 + (exp(-i b) - 1) |F><F|, a rank-one shift. The shift is kept aside and added while
//! the next layer's phase is applied, so a layer is one pass over the amplitudes; on the way back of a
//! gradient one pass over both states, with one set of sines.

use super::phases::{Turn, rotate};
use super::sums::{PART, PIECE, plain_sum, product_sum};
use super::x::weighted_imaginary;
use crate::phase::cos_sin;
use crate::state::State;
use crate::threads::Threads;
use crate::wide::wide;

type Complex = (f64, f64);

/// What does not change from layer to layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set<'a> {
    pub values: &'a [f64],
    /// Empty for one design per amplitude.
    pub multiplicity: &'a [f64],
    /// Designs in all.
    pub total: f64,
    pub threads: &'a Threads,
}

/// All layers on a uniform `state`.
pub(crate) fn layers(state: &mut State, set: Set<'_>, turns: &[(Turn<'_>, f64)]) {
    let mut shift = (0.0, 0.0);
    for (turn, mixer_angle) in turns {
        let sums = set.threads.each(parts(state), |(start, re, im)| {
            let mut sum = (0.0, 0.0);
            turn.runs(start, re.len(), |offset, c, s| {
                let here = offset..offset + c.len();
                let (re, im) = (&mut re[here.clone()], &mut im[here]);
                shifted_turn(re, im, c, s, shift);
                add_to(&mut sum, weighted_sum(set.multiplicity, start + offset, re, im));
            });
            sum
        });
        shift = shift_of(*mixer_angle, total_of(sums), set.total);
    }
    set.threads.each(parts(state), |(_, re, im)| add(re, im, shift));
}

/// Only the mixer, on any state.
pub(crate) fn mix(state: &mut State, set: Set<'_>, angle: f64) {
    let shift = shift_of(angle, sum_of(state, set), set.total);
    set.threads.each(parts(state), |(_, re, im)| add(re, im, shift));
}

/// Sum of all amplitudes over all designs.
fn sum_of(state: &mut State, set: Set<'_>) -> Complex {
    total_of(set.threads.each(parts(state), |(start, re, im)| {
        let mut sum = (0.0, 0.0);
        for (i, (re, im)) in re.chunks(PIECE).zip(im.chunks(PIECE)).enumerate() {
            add_to(&mut sum, weighted_sum(set.multiplicity, start + PIECE * i, re, im));
        }
        sum
    }))
}

/// Slopes of one layer: of the mixer angle, of the cost angle.
type Slopes = (f64, f64);

/// Takes `left` and `right` back through all `turns` (last layer first, angles negated already); gives
/// Im <left| G |right> for the mixer and the cost of each layer, in the order of `turns`.
pub(crate) fn back(
    left: &mut State,
    right: &mut State,
    set: Set<'_>,
    turns: &[(Turn<'_>, f64)],
) -> Vec<Slopes> {
    let mut sums = (sum_of(left, set), sum_of(right, set));
    let mut slopes = Vec::with_capacity(turns.len());
    for (turn, mixer_angle) in turns {
        let ((lr, li), (rr, ri)) = sums;
        let mixer = (lr * ri - li * rr) / set.total;
        let shift_left = shift_of(*mixer_angle, sums.0, set.total);
        let shift_right = shift_of(*mixer_angle, sums.1, set.total);
        let both = parts(left).into_iter().zip(parts(right)).collect();
        let found = set.threads.each(both, |((start, lr, li), (_, rr, ri))| {
            let (mut cost, mut sum_left, mut sum_right) = (0.0, (0.0, 0.0), (0.0, 0.0));
            turn.runs(start, lr.len(), |offset, c, s| {
                let here = offset..offset + c.len();
                let (lr, li) = (&mut lr[here.clone()], &mut li[here.clone()]);
                let (rr, ri) = (&mut rr[here.clone()], &mut ri[here]);
                add(lr, li, shift_left);
                add(rr, ri, shift_right);
                let at = start + offset;
                let values = &set.values[at..at + lr.len()];
                cost += match set.multiplicity.get(at..at + lr.len()) {
                    Some(weights) => heavy_imaginary(weights, values, lr, li, rr, ri),
                    None => weighted_imaginary(values, lr, li, rr, ri),
                };
                rotate(lr, li, c, s);
                rotate(rr, ri, c, s);
                add_to(&mut sum_left, weighted_sum(set.multiplicity, at, lr, li));
                add_to(&mut sum_right, weighted_sum(set.multiplicity, at, rr, ri));
            });
            (cost, sum_left, sum_right)
        });
        let cost = found.iter().map(|f| f.0).sum();
        sums = (total_of(found.iter().map(|f| f.1)), total_of(found.iter().map(|f| f.2)));
        slopes.push((mixer, cost));
    }
    slopes
}

/// Parts of the state with their first index.
fn parts(state: &mut State) -> Vec<(usize, &mut [f64], &mut [f64])> {
    let pieces = state.re.chunks_mut(PART).zip(state.im.chunks_mut(PART));
    pieces.enumerate().map(|(i, (re, im))| (i * PART, re, im)).collect()
}

fn total_of(sums: impl IntoIterator<Item = Complex>) -> Complex {
    sums.into_iter().fold((0.0, 0.0), |total, sum| (total.0 + sum.0, total.1 + sum.1))
}

fn add_to(sum: &mut Complex, more: Complex) {
    *sum = (sum.0 + more.0, sum.1 + more.1);
}

/// (exp(-i angle) - 1) times the sum of amplitudes over the number of designs.
fn shift_of(mixer_angle: f64, sum: Complex, total: f64) -> Complex {
    let (cosine, sine) = cos_sin(mixer_angle);
    let (factor_re, factor_im) = ((cosine - 1.0) / total, -sine / total);
    (factor_re * sum.0 - factor_im * sum.1, factor_re * sum.1 + factor_im * sum.0)
}

fn weighted_sum(multiplicity: &[f64], start: usize, re: &[f64], im: &[f64]) -> Complex {
    match multiplicity.get(start..start + re.len()) {
        Some(weights) => (product_sum(re, weights), product_sum(im, weights)),
        None => (plain_sum(re), plain_sum(im)),
    }
}

wide! {
    fn add(re: &mut [f64], im: &mut [f64], shift: (f64, f64)) {
        re.iter_mut().for_each(|re| *re += shift.0);
        im.iter_mut().for_each(|im| *im += shift.1);
    }

    fn shifted_turn(re: &mut [f64], im: &mut [f64], c: &[f64], s: &[f64], shift: (f64, f64)) {
        for (((r, i), c), s) in re.iter_mut().zip(im).zip(c).zip(s) {
            let (xr, xi) = (*r + shift.0, *i + shift.1);
            (*r, *i) = (xr * c + xi * s, xi * c - xr * s);
        }
    }
}

fn heavy_imaginary(weights: &[f64], values: &[f64], lr: &[f64], li: &[f64], rr: &[f64], ri: &[f64]) -> f64 {
    let mut both = [0.0; PIECE];
    both.iter_mut().zip(weights.iter().zip(values)).for_each(|(b, (w, v))| *b = w * v);
    weighted_imaginary(&both[..weights.len()], lr, li, rr, ri)
}
