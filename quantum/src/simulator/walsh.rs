//! The Walsh-Hadamard transform of one real array, unnormalised, in blocks that fit the caches.
//!
//! Real and imaginary part of a state are transformed on their own: additions and subtractions only, bit after
//! bit from the lowest, so that every vector width gives the same bits. Twice the transform multiplies by the
//! length, a power of two, which is undone without rounding. [`vectors`] holds the kernel for AVX.

#[cfg(target_arch = "x86_64")]
mod vectors;

/// Bits of a block that is transformed at once: 2^11 doubles are 16 KiB, so that both parts of a state fit a
/// first-level cache of 32 KiB.
pub(crate) const BLOCK_BITS: u32 = 11;

/// Transforms `values`, whose length is a power of two. O(n log n) additions.
pub fn transform(values: &mut [f64]) {
    let block = values.len().min(1 << BLOCK_BITS);
    for part in values.chunks_exact_mut(block) {
        transform_from(part, 1);
    }
    transform_from(values, block);
}

/// Transforms over the bits of the index from that of worth `half` on.
pub(crate) fn transform_from(values: &mut [f64], half: usize) {
    #[cfg(target_arch = "x86_64")]
    if vectors::transform_from(values, half) {
        return;
    }
    plain(values, half);
}

fn plain(values: &mut [f64], mut half: usize) {
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
    use super::{plain, transform, transform_from};
    use crate::wide::tests::at_every_width;

    fn values(bits: u32) -> Vec<f64> {
        (0..1u64 << bits).map(|i| (i * 2654435761 % 1000) as f64 / 7.0).collect()
    }

    #[test]
    fn the_transform_is_its_definition_at_every_size_and_width() {
        for bits in [0u32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14] {
            let values = values(bits);
            let found = at_every_width(|| {
                let mut copy = values.clone();
                transform(&mut copy);
                copy
            });
            assert!(found.iter().all(|f| *f == found[0]), "{bits} bits: widths differ");
            for k in [0usize, 1, 5, (1 << bits) - 1, (1 << bits) / 3].into_iter().filter(|k| k >> bits == 0) {
                let sign = |i: usize| if (i & k).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let direct: f64 = values.iter().enumerate().map(|(i, v)| sign(i) * v).sum();
                assert!((direct - found[0][k]).abs() < 1e-7, "{bits} bits, entry {k}");
            }
        }
    }

    #[test]
    fn the_upper_bits_alone_give_the_same_bits_at_every_width() {
        for (bits, from) in [(7u32, 2u32), (8, 3), (9, 5), (10, 5), (11, 5), (12, 6), (13, 11), (4, 1)] {
            let mut wanted = values(bits);
            plain(&mut wanted, 1 << from);
            let found = at_every_width(|| {
                let mut copy = values(bits);
                transform_from(&mut copy, 1 << from);
                copy
            });
            assert!(found.iter().all(|f| *f == wanted), "{bits} bits from {from}");
        }
    }
}
