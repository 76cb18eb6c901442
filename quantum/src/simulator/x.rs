//! The X mixer: exp(-i angle X) on every qubit, as a phase between two Walsh-Hadamard transforms.
//!
//! In the transformed basis the sum of X over n qubits is n minus twice the number of ones of the index, so
//! exp(-i angle sum X) is one of n + 1 phases. A layer takes two passes over the state: [`Low`] works on
//! chunks of neighbours (transform back, cost phase, transform), [`high`] on columns that run across the
//! chunks (transform, mixer phase, transform back). The same passes carry two states for a gradient, where
//! the derivative in a mixer angle is a plain sum in the transformed basis. Scaling by 2^-n is exact.

use super::phases::Turn;
use super::walsh::{BLOCK_BITS, transform_from};
use crate::phase::cos_sin;
use crate::state::State;
use crate::threads::Threads;
use crate::wide::wide;

/// Bits of a chunk: 2^14 amplitudes are 256 KiB, which fit a second-level cache with a second state beside.
const CHUNK_BITS: u32 = 14;
/// Most bits that a column pass transforms: 2^10 rows of [`COLUMNS`] are 512 KiB in both parts.
const HIGH_BITS_MAX: u32 = 10;
/// Neighbouring columns of one step: four cache lines of 64 bytes from each row.
const COLUMNS: usize = 32;
/// Columns of one part of the work.
const PART: usize = 512;

pub(crate) fn chunk_bits(qubits: u32) -> u32 {
    qubits.min(CHUNK_BITS.max(qubits.saturating_sub(HIGH_BITS_MAX)))
}

/// Neighbouring amplitudes of one state.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub re: &'a mut [f64],
    pub im: &'a mut [f64],
}

/// The state in chunks with their first index.
pub(crate) fn chunks(state: &mut State, qubits: u32) -> Vec<(usize, Parts<'_>)> {
    let size = 1usize << chunk_bits(qubits);
    let pieces = state.re.chunks_exact_mut(size).zip(state.im.chunks_exact_mut(size));
    pieces.enumerate().map(|(i, (re, im))| (i * size, Parts { re, im })).collect()
}

impl Parts<'_> {
    pub fn len(&self) -> usize {
        self.re.len()
    }

    /// Transforms over all bits of the chunk but those of its blocks.
    pub fn transform_outer(&mut self) {
        let block = self.len().min(1 << BLOCK_BITS);
        transform_from(self.re, block);
        transform_from(self.im, block);
    }

    /// Blocks with their offset in the chunk.
    pub fn blocks(&mut self) -> impl Iterator<Item = (usize, Parts<'_>)> {
        let block = self.len().min(1 << BLOCK_BITS);
        let pieces = self.re.chunks_exact_mut(block).zip(self.im.chunks_exact_mut(block));
        pieces.enumerate().map(move |(i, (re, im))| (i * block, Parts { re, im }))
    }

    pub fn transform_block(&mut self) {
        transform_from(self.re, 1);
        transform_from(self.im, 1);
    }
}

/// A layer's phases in the transformed basis, and the weights of its derivative, by number of ones.
#[derive(Debug)]
pub(crate) struct MixerTable {
    qubits: u32,
    /// For each number of ones outside, the phases of [`COLUMNS`] neighbours and n - 2 ones.
    cosines: Vec<f64>,
    sines: Vec<f64>,
    weights: Vec<f64>,
}

impl MixerTable {
    /// exp(-i angle (n - 2 ones)) / 2^n.
    pub fn new(qubits: u32, angle: f64) -> Self {
        let width = COLUMNS.min(1 << qubits);
        let scale = (-f64::from(qubits)).exp2();
        let (mut cosines, mut sines, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for outside in 0..=qubits {
            for column in 0..width {
                // Entries beyond n ones are never used, but must not upset the arithmetic.
                let spins = f64::from(qubits) - 2.0 * f64::from(outside + column.count_ones());
                let (c, s) = cos_sin(angle * spins);
                cosines.push(c * scale);
                sines.push(s * scale);
                weights.push(spins * scale);
            }
        }
        Self { qubits, cosines, sines, weights }
    }

    fn width(&self) -> usize {
        COLUMNS.min(1 << self.qubits)
    }

    #[inline]
    fn row(&self, index: usize) -> std::ops::Range<usize> {
        let at = index.count_ones() as usize * self.width();
        at..at + self.width()
    }

    /// Phases on a run that starts at a multiple of its width.
    #[inline]
    fn apply(&self, index: usize, re: &mut [f64], im: &mut [f64]) {
        let row = self.row(index);
        super::phases::rotate(re, im, &self.cosines[row.clone()], &self.sines[row]);
    }

    /// Imaginary part of the sum of (n - 2 ones) conj(left) right over a run.
    #[inline]
    fn slope(&self, index: usize, left: &Parts<'_>, right: &Parts<'_>) -> f64 {
        weighted_imaginary(&self.weights[self.row(index)], left.re, left.im, right.re, right.im)
    }
}

wide! {
    /// Sum of weight times the imaginary part of conj(left) right, in eight lanes.
    pub(crate) fn weighted_imaginary(weights: &[f64], lr: &[f64], li: &[f64], rr: &[f64], ri: &[f64]) -> f64 {
        let mut lanes = [0.0f64; 8];
        let whole = weights.len() / 8 * 8;
        let pieces = weights[..whole].as_chunks::<8>().0.iter()
            .zip(lr[..whole].as_chunks::<8>().0).zip(li[..whole].as_chunks::<8>().0)
            .zip(rr[..whole].as_chunks::<8>().0).zip(ri[..whole].as_chunks::<8>().0);
        for ((((w, lr), li), rr), ri) in pieces {
            for k in 0..8 {
                lanes[k] += w[k] * (lr[k] * ri[k] - li[k] * rr[k]);
            }
        }
        for k in whole..weights.len() {
            lanes[k - whole] += weights[k] * (lr[k] * ri[k] - li[k] * rr[k]);
        }
        ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
    }
}

/// All layers on `state`, whatever it held before, from the uniform superposition.
pub(crate) fn layers(state: &mut State, qubits: u32, turns: &[(Turn<'_>, f64)], threads: &Threads) {
    let level = (-f64::from(qubits) / 2.0).exp2();
    if turns.is_empty() {
        state.re.fill(level);
        state.im.fill(0.0);
        return;
    }
    for (k, (turn, mixer_angle)) in turns.iter().enumerate() {
        threads.each(chunks(state, qubits), |(start, mut chunk)| {
            if k > 0 {
                chunk.transform_outer();
            }
            for (offset, mut block) in chunk.blocks() {
                if k == 0 {
                    turn.begin(start + offset, level, block.re, block.im);
                } else {
                    block.transform_block();
                    turn.apply(start + offset, block.re, block.im);
                }
                block.transform_block();
            }
            chunk.transform_outer();
        });
        high(state, qubits, &MixerTable::new(qubits, *mixer_angle), threads);
    }
    threads.each(chunks(state, qubits), |(_, mut chunk)| {
        chunk.transform_outer();
        chunk.blocks().for_each(|(_, mut block)| block.transform_block());
    });
}

/// Only the mixer, on any state.
pub(crate) fn mix(state: &mut State, qubits: u32, angle: f64, threads: &Threads) {
    let transform = |state: &mut State| {
        threads.each(chunks(state, qubits), |(_, mut chunk)| {
            chunk.transform_outer();
            chunk.blocks().for_each(|(_, mut block)| block.transform_block());
        });
    };
    transform(state);
    high(state, qubits, &MixerTable::new(qubits, angle), threads);
    transform(state);
}

/// The mixer's phase, between transforms over the bits above the chunk's.
fn high(state: &mut State, qubits: u32, table: &MixerTable, threads: &Threads) {
    let rows = 1usize << (qubits - chunk_bits(qubits));
    threads.each(columns(state, qubits), |(first, mut part)| {
        let mut buffer = Buffer::new(rows, table.width());
        for offset in (0..part.width()).step_by(table.width()) {
            buffer.load(&part, offset);
            buffer.transform();
            let column = first + offset;
            buffer.each_row(|row, run| table.apply(row << chunk_bits(qubits) | column, run.re, run.im));
            buffer.transform();
            buffer.store(&mut part, offset);
        }
    });
}

/// Takes `left` and `right` back through a mixer; gives Im <left| sum X |right> before that.
///
/// Both come with the chunks' bits transformed and leave so.
pub(crate) fn high_back(
    left: &mut State,
    right: &mut State,
    qubits: u32,
    mixer_angle: f64,
    threads: &Threads,
) -> f64 {
    let table = MixerTable::new(qubits, -mixer_angle);
    let rows = 1usize << (qubits - chunk_bits(qubits));
    let parts = columns(left, qubits).into_iter().zip(columns(right, qubits)).collect();
    let slopes = threads.each(parts, |((first, mut left), (_, mut right))| {
        let (mut a, mut b) = (Buffer::new(rows, table.width()), Buffer::new(rows, table.width()));
        let mut total = 0.0;
        for offset in (0..left.width()).step_by(table.width()) {
            let column = first + offset;
            for (buffer, part) in [(&mut a, &left), (&mut b, &right)] {
                buffer.load(part, offset);
                buffer.transform();
            }
            a.each_row(|row, left| {
                let index = row << chunk_bits(qubits) | column;
                let right = b.row(row);
                total += table.slope(index, &left, &right);
                table.apply(index, left.re, left.im);
                table.apply(index, right.re, right.im);
            });
            for (buffer, part) in [(&mut a, &mut left), (&mut b, &mut right)] {
                buffer.transform();
                buffer.store(part, offset);
            }
        }
        total
    });
    slopes.into_iter().sum()
}

/// Neighbouring columns of every row (chunk) of a state.
#[derive(Debug)]
struct Columns<'a> {
    re: Vec<&'a mut [f64]>,
    im: Vec<&'a mut [f64]>,
}

impl Columns<'_> {
    fn width(&self) -> usize {
        self.re[0].len()
    }
}

/// The state as parts of columns, each with its first column.
fn columns(state: &mut State, qubits: u32) -> Vec<(usize, Columns<'_>)> {
    let row = 1usize << chunk_bits(qubits);
    let part = row.min(PART);
    let mut parts: Vec<(usize, Columns<'_>)> =
        (0..row / part).map(|i| (i * part, Columns { re: Vec::new(), im: Vec::new() })).collect();
    for re in state.re.chunks_exact_mut(row) {
        re.chunks_exact_mut(part).zip(&mut parts).for_each(|(re, (_, to))| to.re.push(re));
    }
    for im in state.im.chunks_exact_mut(row) {
        im.chunks_exact_mut(part).zip(&mut parts).for_each(|(im, (_, to))| to.im.push(im));
    }
    parts
}

/// Some columns of all rows, close together.
#[derive(Debug)]
struct Buffer {
    width: usize,
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Buffer {
    fn new(rows: usize, width: usize) -> Self {
        Self { width, re: vec![0.0; rows * width], im: vec![0.0; rows * width] }
    }

    fn load(&mut self, from: &Columns<'_>, offset: usize) {
        let here = offset..offset + self.width;
        for (to, row) in self.re.chunks_exact_mut(self.width).zip(&from.re) {
            to.copy_from_slice(&row[here.clone()]);
        }
        for (to, row) in self.im.chunks_exact_mut(self.width).zip(&from.im) {
            to.copy_from_slice(&row[here.clone()]);
        }
    }

    fn store(&self, to: &mut Columns<'_>, offset: usize) {
        let here = offset..offset + self.width;
        for (row, from) in to.re.iter_mut().zip(self.re.chunks_exact(self.width)) {
            row[here.clone()].copy_from_slice(from);
        }
        for (row, from) in to.im.iter_mut().zip(self.im.chunks_exact(self.width)) {
            row[here.clone()].copy_from_slice(from);
        }
    }

    fn transform(&mut self) {
        transform_from(&mut self.re, self.width);
        transform_from(&mut self.im, self.width);
    }

    fn row(&mut self, row: usize) -> Parts<'_> {
        let here = row * self.width..(row + 1) * self.width;
        Parts { re: &mut self.re[here.clone()], im: &mut self.im[here] }
    }

    fn each_row(&mut self, mut work: impl FnMut(usize, Parts<'_>)) {
        let rows = self.re.chunks_exact_mut(self.width).zip(self.im.chunks_exact_mut(self.width));
        rows.enumerate().for_each(|(row, (re, im))| work(row, Parts { re, im }));
    }
}
