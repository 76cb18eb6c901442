//! A state vector and the sums over it, each in one fixed order.
//!
//! Real and imaginary parts lie in two arrays, so that loops over them become vector code. Every sum runs
//! over blocks of [`BLOCK`] elements with four interleaved partial sums, and the blocks are added in
//! order: the same bits however the blocks may be shared out, and rounding that grows with the number of
//! blocks, not of elements.

/// Elements per block of a sum: 1024 doubles of each of four arrays are 32 KiB, one first-level cache.
pub const BLOCK: usize = 1024;

/// Amplitudes of a pure state: 16 bytes per basis state or design.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub re: Vec<f64>,
    pub im: Vec<f64>,
}

impl State {
    /// Every one of `count` amplitudes equal, real, and of total probability 1 when each stands for
    /// `total / count` designs (`total` = `count` for a plain state).
    pub fn uniform(count: usize, total: f64) -> Self {
        Self { re: vec![1.0 / total.sqrt(); count], im: vec![0.0; count] }
    }

    pub fn len(&self) -> usize {
        self.re.len()
    }

    pub fn is_empty(&self) -> bool {
        self.re.is_empty()
    }

    /// Probability of amplitude `index`, of a single design if it stands for several.
    pub fn probability(&self, index: usize) -> f64 {
        self.re[index] * self.re[index] + self.im[index] * self.im[index]
    }
}

/// Sum of `f(i)` for i in 0..count in the fixed order of this module.
#[inline(always)]
pub fn sum(count: usize, f: impl Fn(usize) -> f64) -> f64 {
    let mut total = 0.0;
    let mut start = 0;
    while start < count {
        let end = (start + BLOCK).min(count);
        total += block_sum(start, end, &f);
        start = end;
    }
    total
}

#[inline(always)]
fn block_sum(start: usize, end: usize, f: &impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0f64; 4];
    let whole = start + (end - start) / 4 * 4;
    let mut i = start;
    while i < whole {
        lanes[0] += f(i);
        lanes[1] += f(i + 1);
        lanes[2] += f(i + 2);
        lanes[3] += f(i + 3);
        i += 4;
    }
    for (lane, at) in (whole..end).enumerate() {
        lanes[lane] += f(at);
    }
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}
