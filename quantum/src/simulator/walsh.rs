//! The Walsh-Hadamard transform of one real array, unnormalised, in blocks that fit the caches.
//!
//! Real and imaginary part of a state are transformed on their own: additions and subtractions only. Twice the
//! transform multiplies by the length, a power of two, which is undone without rounding.

use crate::wide::wide;

/// Bits of a block that is transformed at once: 2^11 doubles are 16 KiB, so that both parts of a state fit a
/// first-level cache of 32 KiB.
pub(crate) const BLOCK_BITS: u32 = 11;

wide! {
    /// Transforms `values`, whose length is a power of two. O(n log n) additions.
    pub fn transform(values: &mut [f64]) {
        let block = values.len().min(1 << BLOCK_BITS);
        for part in values.chunks_exact_mut(block) {
            block_inline(part);
        }
        bits_inline(values, block);
    }

    /// Transforms one block of at most 2^[`BLOCK_BITS`] values.
    pub(crate) fn transform_block(values: &mut [f64]) {
        block_inline(values);
    }

    /// Transforms over the bits of the index from that of worth `half` on.
    pub(crate) fn transform_from(values: &mut [f64], half: usize) {
        bits_inline(values, half);
    }
}

#[inline(always)]
fn block_inline(values: &mut [f64]) {
    if values.len() < 8 {
        return bits_inline(values, 1);
    }
    for eight in values.as_chunks_mut::<8>().0 {
        *eight = eight_inline(*eight);
    }
    bits_inline(values, 8);
}

/// The transform of eight neighbours, as three exchanges of the whole vector.
#[inline(always)]
fn eight_inline(x: [f64; 8]) -> [f64; 8] {
    let x: [f64; 8] = std::array::from_fn(|i| if i & 1 == 0 { x[i] + x[i ^ 1] } else { x[i ^ 1] - x[i] });
    let x: [f64; 8] = std::array::from_fn(|i| if i & 2 == 0 { x[i] + x[i ^ 2] } else { x[i ^ 2] - x[i] });
    std::array::from_fn(|i| if i & 4 == 0 { x[i] + x[i ^ 4] } else { x[i ^ 4] - x[i] })
}

/// Three bits at a time, so that eight values are read and written once for three stages.
#[inline(always)]
fn bits_inline(values: &mut [f64], mut half: usize) {
    while 8 * half <= values.len() {
        for group in values.chunks_exact_mut(8 * half) {
            let (low, high) = group.split_at_mut(4 * half);
            let ((a, b), (c, d)) = (low.split_at_mut(2 * half), high.split_at_mut(2 * half));
            let ((a0, a1), (b0, b1)) = (a.split_at_mut(half), b.split_at_mut(half));
            let ((c0, c1), (d0, d1)) = (c.split_at_mut(half), d.split_at_mut(half));
            for i in 0..half {
                let x = [a0[i], a1[i], b0[i], b1[i], c0[i], c1[i], d0[i], d1[i]];
                [a0[i], a1[i], b0[i], b1[i], c0[i], c1[i], d0[i], d1[i]] = eight_inline(x);
            }
        }
        half *= 8;
    }
    while 2 * half <= values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::transform;
    use crate::wide::tests::at_every_width;

    #[test]
    fn the_transform_is_its_definition_at_every_size_and_width() {
        for bits in [0u32, 1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 14] {
            let values: Vec<f64> = (0..1u64 << bits).map(|i| (i * 2654435761 % 1000) as f64 / 7.0).collect();
            let found = at_every_width(|| {
                let mut copy = values.clone();
                transform(&mut copy);
                copy
            });
            assert!(found.iter().all(|f| *f == found[0]), "{bits} bits: widths differ");
            for k in [0usize, 1, 5, (1 << bits) - 1, (1 << bits) / 3].into_iter().filter(|k| k >> bits == 0) {
                let sign = |i: usize| if (i & k).count_ones() % 2 == 0 { 1.0 } else { -1.0 };
                let direct: f64 = values.iter().enumerate().map(|(i, v)| sign(i) * v).sum();
                assert!((direct - found[0][k]).abs() < 1e-7, "{bits} bits, entry {k}");
            }
        }
    }
}
