//! The X mixer: exp(-i angle X) on every qubit, after the cost phase, in as few passes as memory allows.
//!
//! The state is walked in blocks that fit the first-level cache. Within a block the phase and the rotations
//! of all low qubits are done at once; the high qubits follow [`HIGH`] at a time, on as many rows cut into
//! pieces that together fit the same cache. Two passes for the first 12 qubits and one for every four more.

use crate::phase::{cos_sin, cos_sin_scaled};
use crate::state::{BLOCK, State, sum};

/// Qubits whose rotations fit one block: 2^11 amplitudes of 16 bytes are 32 KiB.
pub(crate) const LOW: u32 = 11;
/// High qubits rotated in one pass: 16 rows.
const HIGH: u32 = 4;

/// One whole layer: phase exp(-i `cost_angle` C), then exp(-i `mixer_angle` X) on each of `qubits` qubits.
pub fn layer(state: &mut State, values: &[f64], cost_angle: f64, mixer_angle: f64, qubits: u32) {
    let (c, s) = cos_sin(mixer_angle);
    let block = 1usize << qubits.min(LOW);
    let blocks = state.re.chunks_exact_mut(block).zip(state.im.chunks_exact_mut(block));
    for ((re, im), values) in blocks.zip(values.chunks_exact(block)) {
        phase(re, im, values, cost_angle);
        low(re, im, c, s);
    }
    high(state, qubits, c, s);
}

/// Only the rotations; with `-angle` it undoes itself.
pub fn rotate(state: &mut State, mixer_angle: f64, qubits: u32) {
    let (c, s) = cos_sin(mixer_angle);
    let block = 1usize << qubits.min(LOW);
    for (re, im) in state.re.chunks_exact_mut(block).zip(state.im.chunks_exact_mut(block)) {
        low(re, im, c, s);
    }
    high(state, qubits, c, s);
}

/// Multiplies by exp(-i angle values); with `-angle` it undoes itself.
pub fn phase(re: &mut [f64], im: &mut [f64], values: &[f64], angle: f64) {
    let (mut cosines, mut sines) = ([0.0; BLOCK], [0.0; BLOCK]);
    let pieces = re.chunks_mut(BLOCK).zip(im.chunks_mut(BLOCK)).zip(values.chunks(BLOCK));
    for ((re, im), values) in pieces {
        let count = values.len();
        cos_sin_scaled(angle, values, &mut cosines[..count], &mut sines[..count]);
        for (((r, i), c), s) in re.iter_mut().zip(im).zip(&cosines[..count]).zip(&sines[..count]) {
            (*r, *i) = (*r * c + *i * s, *i * c - *r * s);
        }
    }
}

fn low(re: &mut [f64], im: &mut [f64], c: f64, s: f64) {
    let mut half = 1;
    while half < re.len() {
        for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
            let (ar, br) = re.split_at_mut(half);
            let (ai, bi) = im.split_at_mut(half);
            butterfly(ar, ai, br, bi, c, s);
        }
        half *= 2;
    }
}

fn high(state: &mut State, qubits: u32, c: f64, s: f64) {
    high_pairs(qubits, |low, high, count| {
        let (re, re_high) = state.re.split_at_mut(high);
        let (im, im_high) = state.im.split_at_mut(high);
        let here = low..low + count;
        butterfly(&mut re[here.clone()], &mut im[here], &mut re_high[..count], &mut im_high[..count], c, s);
    });
}

/// Calls `work(low, high, count)` for runs of `count` pairs (low + i, high + i) that differ in one qubit from
/// [`LOW`] on: every pair of every such qubit once, qubit after qubit, in an order that keeps to the cache.
pub(crate) fn high_pairs(qubits: u32, mut work: impl FnMut(usize, usize, usize)) {
    let mut first = LOW;
    while first < qubits {
        let count = HIGH.min(qubits - first);
        let (rows, row) = (1usize << count, 1usize << first);
        let piece = (1usize << LOW) / rows;
        for group in (0..1usize << qubits).step_by(rows * row) {
            for offset in (group..group + row).step_by(piece) {
                for bit in 0..count {
                    for a in (0..rows).filter(|a| a >> bit & 1 == 0) {
                        work(offset + a * row, offset + (a | 1 << bit) * row, piece);
                    }
                }
            }
        }
        first += count;
    }
}

/// (a, b) becomes (c a - i s b, c b - i s a), element by element.
#[inline(always)]
fn butterfly(ar: &mut [f64], ai: &mut [f64], br: &mut [f64], bi: &mut [f64], c: f64, s: f64) {
    for (((ar, ai), br), bi) in ar.iter_mut().zip(ai).zip(br).zip(bi) {
        let (xr, xi, yr, yi) = (*ar, *ai, *br, *bi);
        *ar = c * xr + s * yi;
        *ai = c * xi - s * yr;
        *br = c * yr + s * xi;
        *bi = c * yi - s * xr;
    }
}

/// Imaginary part of <left| sum of X over all qubits |right>.
pub fn imaginary_of_sum_x(left: &State, right: &State, qubits: u32) -> f64 {
    let mut total = 0.0;
    for qubit in 0..qubits {
        let bit = 1usize << qubit;
        total += sum(left.len(), |z| left.re[z] * right.im[z ^ bit] - left.im[z] * right.re[z ^ bit]);
    }
    total
}
