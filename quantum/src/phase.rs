//! Sine and cosine of many phases at once, with the same bits on every machine.
//!
//! The C library's sine differs between systems and does not vectorise; this one is a branch-free
//! reduction to [-pi/4, pi/4] followed by the minimax polynomials of the Cephes library (Moshier), and the
//! compiler turns the loop into vector code. Error below 2.3e-16 absolute for |phase| <= [`FAST_MAX`];
//! beyond it the library's function is used, element by element.

/// Up to here the three-part reduction is exact to double precision: the multiple of pi/2 has at most 27
/// bits and each leading part of pi/2 has 24 to 26, so their product is exact.
pub const FAST_MAX: f64 = 1.0e8;

/// Largest phase that still means something: from 2^53 on, neighbouring doubles are more than one radian
/// apart, and a result would be noise.
pub const PHASE_MAX: f64 = 9_007_199_254_740_992.0;

/// Adding and subtracting 1.5 * 2^52 rounds to the nearest whole number without a branch.
const ROUND: f64 = 6_755_399_441_055_744.0;

// pi/2 in three parts, the first two short enough that their multiples are exact.
const HALF_PI_1: f64 = 2.0 * 7.853_981_256_484_985e-1;
const HALF_PI_2: f64 = 2.0 * 3.774_894_707_930_798e-8;
const HALF_PI_3: f64 = 2.0 * 2.695_151_429_079_059_5e-15;

/// (cosine, sine) of one phase.
#[inline(always)]
pub fn cos_sin(phase: f64) -> (f64, f64) {
    if phase.abs() > FAST_MAX {
        return (phase.cos(), phase.sin());
    }
    reduced(phase)
}

#[inline(always)]
pub(crate) fn reduced(phase: f64) -> (f64, f64) {
    let shifted = phase * std::f64::consts::FRAC_2_PI + ROUND;
    // The low two bits of the rounded multiple say which quadrant the phase lies in.
    let quadrant = shifted.to_bits();
    let multiple = shifted - ROUND;
    let x = ((phase - multiple * HALF_PI_1) - multiple * HALF_PI_2) - multiple * HALF_PI_3;
    let xx = x * x;
    let sine_tail = ((((1.589_623_015_765_465_7e-10 * xx - 2.505_074_776_285_780_7e-8) * xx
        + 2.755_731_362_138_572_5e-6)
        * xx
        - 1.984_126_982_958_954e-4)
        * xx
        + 8.333_333_333_322_118e-3)
        * xx
        - 1.666_666_666_666_663e-1;
    let cosine_tail = ((((-1.135_853_652_138_768_2e-11 * xx + 2.087_570_084_197_473e-9) * xx
        - 2.755_731_417_929_674e-7)
        * xx
        + 2.480_158_728_885_170_5e-5)
        * xx
        - 1.388_888_888_887_305_6e-3)
        * xx
        + 4.166_666_666_666_659e-2;
    let sine = x + x * xx * sine_tail;
    let cosine = 1.0 - 0.5 * xx + xx * xx * cosine_tail;
    // Odd quadrants swap sine and cosine; quadrants 2, 3 flip the sine's sign, 1, 2 the cosine's.
    let swap = 0u64.wrapping_sub(quadrant & 1);
    let (s, c) = (sine.to_bits(), cosine.to_bits());
    let exchanged = (s ^ c) & swap;
    let sine_sign = (quadrant & 2) << 62;
    let cosine_sign = ((quadrant ^ (quadrant >> 1)) & 1) << 63;
    (f64::from_bits((c ^ exchanged) ^ cosine_sign), f64::from_bits((s ^ exchanged) ^ sine_sign))
}

#[cfg(test)]
mod tests {
    use super::cos_sin;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sine_and_cosine_agree_with_the_library_to_the_last_digits(x in -1.0e8f64..1.0e8, shrink in 0u32..30) {
            let x = x / f64::from(1u32 << shrink);
            let (c, s) = cos_sin(x);
            prop_assert!((c - x.cos()).abs() < 2.3e-16, "cos {x}: {c} {}", x.cos());
            prop_assert!((s - x.sin()).abs() < 2.3e-16, "sin {x}: {s} {}", x.sin());
        }
    }

    #[test]
    fn every_quadrant_boundary_is_right() {
        for k in -9i32..=9 {
            for nudge in [-1e-9, 0.0, 1e-9] {
                let x = f64::from(k) * std::f64::consts::FRAC_PI_4 + nudge;
                let (c, s) = cos_sin(x);
                assert!((c - x.cos()).abs() < 2.3e-16 && (s - x.sin()).abs() < 2.3e-16, "{x}: {c} {s}");
            }
        }
    }
}
