//! Sums over a state in one fixed order: parts of [`PART`] amplitudes, eight interleaved sums in each piece.

use crate::state::State;
use crate::threads::Threads;
use crate::wide::wide;

/// Amplitudes of one part of the work: 256 KiB of state. Fixed, so that threads change no bit.
pub(crate) const PART: usize = 1 << 14;
/// Elements that share eight running sums; rounding grows with the number of pieces, not of elements.
pub(crate) const PIECE: usize = 512;

/// Ranges of at most [`PART`] that make up 0..count.
pub(crate) fn parts(count: usize) -> Vec<std::ops::Range<usize>> {
    (0..count.div_ceil(PART)).map(|i| i * PART..((i + 1) * PART).min(count)).collect()
}

/// Adds up `work` over the pieces of every part, parts and pieces in order.
pub(crate) fn sum_of_pieces(
    count: usize,
    threads: &Threads,
    work: impl Fn(std::ops::Range<usize>) -> f64 + Send + Sync,
) -> f64 {
    let over = |part: std::ops::Range<usize>| {
        let mut total = 0.0;
        let mut start = part.start;
        while start < part.end {
            let end = (start + PIECE).min(part.end);
            total += work(start..end);
            start = end;
        }
        total
    };
    threads.each(parts(count), over).into_iter().sum()
}

/// Sum of observable times probability, times multiplicity unless that is empty.
pub(crate) fn expectation(state: &State, observable: &[f64], multiplicity: &[f64], threads: &Threads) -> f64 {
    sum_of_pieces(state.len(), threads, |here| {
        let (re, im, o) = (&state.re[here.clone()], &state.im[here.clone()], &observable[here.clone()]);
        match multiplicity.get(here) {
            Some(m) => heavy_norm(re, im, o, m),
            None => weighted_norm(re, im, o),
        }
    })
}

macro_rules! lanes {
    ($count:expr, $i:ident => $term:expr) => {{
        let mut lanes = [0.0f64; 8];
        let whole = $count / 8 * 8;
        let mut at = 0;
        while at < whole {
            for k in 0..8 {
                let $i = at + k;
                lanes[k] += $term;
            }
            at += 8;
        }
        for $i in whole..$count {
            lanes[$i - whole] += $term;
        }
        ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
    }};
}

wide! {
    fn weighted_norm(re: &[f64], im: &[f64], o: &[f64]) -> f64 {
        let n = re.len();
        let (im, o) = (&im[..n], &o[..n]);
        lanes!(n, i => o[i] * (re[i] * re[i] + im[i] * im[i]))
    }

    fn heavy_norm(re: &[f64], im: &[f64], o: &[f64], m: &[f64]) -> f64 {
        let n = re.len();
        let (im, o, m) = (&im[..n], &o[..n], &m[..n]);
        lanes!(n, i => m[i] * (re[i] * re[i] + im[i] * im[i]) * o[i])
    }

    pub(crate) fn plain_sum(x: &[f64]) -> f64 {
        lanes!(x.len(), i => x[i])
    }

    pub(crate) fn product_sum(x: &[f64], y: &[f64]) -> f64 {
        let n = x.len();
        let y = &y[..n];
        lanes!(n, i => x[i] * y[i])
    }
}
