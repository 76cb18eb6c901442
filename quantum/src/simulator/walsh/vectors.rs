//! The transform in AVX-512 and AVX2 registers.
//!
//! Explicit, because the compiler turns the exchanges within a vector into gathers and scatters: measured 3
//! times slower. Eight vectors are held at once, so memory is read and written once for three bits (six in the
//! lowest step). Every step is `a + b`, `a - b` for the same pairs in the same order as the plain loop.

// Loads and stores through pointers are the only unsafe acts: each stays within the slice by the loop bounds
// beside it. The feature checks are in `transform_from`, before the only calls.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256d, __m512d, _mm256_add_pd, _mm256_blend_pd, _mm256_loadu_pd, _mm256_permute_pd,
    _mm256_permute2f128_pd, _mm256_storeu_pd, _mm256_sub_pd, _mm512_add_pd, _mm512_loadu_pd,
    _mm512_mask_sub_pd, _mm512_permute_pd, _mm512_permutex_pd, _mm512_shuffle_f64x2, _mm512_storeu_pd,
    _mm512_sub_pd,
};

/// A vector of doubles. Methods may only be called where the machine has the vector's features.
trait Vector: Copy {
    const LANES: usize;
    unsafe fn load(from: *const f64) -> Self;
    unsafe fn store(self, to: *mut f64);
    unsafe fn plus(self, other: Self) -> Self;
    unsafe fn minus(self, other: Self) -> Self;
    /// The transform over the bits within the vector.
    unsafe fn within(self) -> Self;
}

impl Vector for __m512d {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        unsafe { _mm512_loadu_pd(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        unsafe { _mm512_storeu_pd(to, self) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        unsafe { _mm512_add_pd(self, other) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        unsafe { _mm512_sub_pd(self, other) }
    }
    #[inline(always)]
    unsafe fn within(self) -> Self {
        unsafe {
            let other = _mm512_permute_pd::<0x55>(self);
            let x = _mm512_mask_sub_pd(_mm512_add_pd(other, self), 0xaa, other, self);
            let other = _mm512_permutex_pd::<0x4e>(x);
            let x = _mm512_mask_sub_pd(_mm512_add_pd(other, x), 0xcc, other, x);
            let other = _mm512_shuffle_f64x2::<0x4e>(x, x);
            _mm512_mask_sub_pd(_mm512_add_pd(other, x), 0xf0, other, x)
        }
    }
}

impl Vector for __m256d {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        unsafe { _mm256_loadu_pd(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        unsafe { _mm256_storeu_pd(to, self) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        unsafe { _mm256_add_pd(self, other) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        unsafe { _mm256_sub_pd(self, other) }
    }
    #[inline(always)]
    unsafe fn within(self) -> Self {
        unsafe {
            let other = _mm256_permute_pd::<0x5>(self);
            let x = _mm256_blend_pd::<0xa>(_mm256_add_pd(other, self), _mm256_sub_pd(other, self));
            let other = _mm256_permute2f128_pd::<0x1>(x, x);
            _mm256_blend_pd::<0xc>(_mm256_add_pd(other, x), _mm256_sub_pd(other, x))
        }
    }
}

/// Three bits over eight vectors.
#[inline(always)]
unsafe fn three<V: Vector>(mut x: [V; 8]) -> [V; 8] {
    for bit in [1, 2, 4] {
        for low in (0..8).filter(|i| i & bit == 0) {
            // SAFETY: the caller has the features of `V`.
            (x[low], x[low + bit]) = unsafe { (x[low].plus(x[low + bit]), x[low].minus(x[low + bit])) };
        }
    }
    x
}

/// Bits from `half` on; `half` is 1 or a multiple of the lanes, and the length at least eight vectors.
#[inline(always)]
unsafe fn run<V: Vector>(values: &mut [f64], mut half: usize) {
    let (count, at) = (values.len(), values.as_mut_ptr());
    // SAFETY: lengths are powers of two and at least 8 LANES; every index below is under `count`.
    unsafe {
        if half == 1 {
            for start in (0..count).step_by(8 * V::LANES) {
                let mut x: [V; 8] = std::array::from_fn(|i| V::load(at.add(start + i * V::LANES)).within());
                x = three(x);
                (0..8).for_each(|i| x[i].store(at.add(start + i * V::LANES)));
            }
            half = 8 * V::LANES;
        }
        while 8 * half <= count {
            for group in (0..count).step_by(8 * half) {
                for start in (group..group + half).step_by(V::LANES) {
                    let mut x: [V; 8] = std::array::from_fn(|i| V::load(at.add(start + i * half)));
                    x = three(x);
                    (0..8).for_each(|i| x[i].store(at.add(start + i * half)));
                }
            }
            half *= 8;
        }
        if 4 * half <= count {
            for group in (0..count).step_by(4 * half) {
                for start in (group..group + half).step_by(V::LANES) {
                    let [a, b, c, d]: [V; 4] = std::array::from_fn(|i| V::load(at.add(start + i * half)));
                    let (a, b, c, d) = (a.plus(b), a.minus(b), c.plus(d), c.minus(d));
                    a.plus(c).store(at.add(start));
                    b.plus(d).store(at.add(start + half));
                    a.minus(c).store(at.add(start + 2 * half));
                    b.minus(d).store(at.add(start + 3 * half));
                }
            }
            half *= 4;
        }
        if 2 * half <= count {
            for group in (0..count).step_by(2 * half) {
                for start in (group..group + half).step_by(V::LANES) {
                    let (a, b) = (V::load(at.add(start)), V::load(at.add(start + half)));
                    a.plus(b).store(at.add(start));
                    a.minus(b).store(at.add(start + half));
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
fn with_avx512(values: &mut [f64], half: usize) {
    // SAFETY: this function has the features of the vector; `transform_from` checks the lengths.
    unsafe { run::<__m512d>(values, half) }
}

#[target_feature(enable = "avx2")]
fn with_avx2(values: &mut [f64], half: usize) {
    // SAFETY: this function has the features of the vector; `transform_from` checks the lengths.
    unsafe { run::<__m256d>(values, half) }
}

/// Does the transform and says so, or leaves everything as it is where no vectors fit.
pub(super) fn transform_from(values: &mut [f64], half: usize) -> bool {
    let (count, level) = (values.len(), crate::wide::level());
    if !count.is_power_of_two() || !half.is_power_of_two() {
        return false;
    }
    let fits = |lanes: usize| count >= 8 * lanes && (half == 1 || half >= lanes);
    if level >= 2 && fits(8) {
        // SAFETY: level 2 means that the features of `with_avx512` were found.
        unsafe { with_avx512(values, half) };
        return true;
    }
    if level >= 1 && fits(4) {
        // SAFETY: level 1 and above mean that AVX2 was found.
        unsafe { with_avx2(values, half) };
        return true;
    }
    false
}
