//! Exact fractions in 128 bits, for the re-check alone.

use crate::space::Decimal;
use std::fmt;

/// `top / bottom` in lowest terms, `bottom > 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fraction {
    top: i128,
    bottom: i128,
}

fn divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { divisor(b, a % b) }
}

impl Fraction {
    pub const ZERO: Fraction = Fraction { top: 0, bottom: 1 };

    fn new(top: i128, bottom: i128) -> Option<Fraction> {
        if bottom == 0 {
            return None;
        }
        let common = i128::try_from(divisor(top.unsigned_abs(), bottom.unsigned_abs())).ok()?;
        let sign = if bottom < 0 { -1 } else { 1 };
        Some(Fraction {
            top: top.checked_div(common)?.checked_mul(sign)?,
            bottom: bottom.checked_div(common)?.checked_mul(sign)?,
        })
    }

    pub fn plus(self, other: Fraction) -> Option<Fraction> {
        if self.bottom == 1 && other.bottom == 1 {
            return Some(Fraction { top: self.top.checked_add(other.top)?, bottom: 1 });
        }
        let left = self.top.checked_mul(other.bottom)?;
        let right = other.top.checked_mul(self.bottom)?;
        Fraction::new(left.checked_add(right)?, self.bottom.checked_mul(other.bottom)?)
    }

    pub fn times(self, other: Fraction) -> Option<Fraction> {
        Fraction::new(self.top.checked_mul(other.top)?, self.bottom.checked_mul(other.bottom)?)
    }

    pub fn over(self, other: Fraction) -> Option<Fraction> {
        Fraction::new(self.top.checked_mul(other.bottom)?, self.bottom.checked_mul(other.top)?)
    }

    pub fn less_than(self, other: Fraction) -> Option<bool> {
        Some(self.top.checked_mul(other.bottom)? < other.top.checked_mul(self.bottom)?)
    }
}

impl From<Decimal> for Fraction {
    fn from(decimal: Decimal) -> Self {
        let (mut top, mut scale) = (i128::from(decimal.mantissa), decimal.scale);
        while scale > 0 && top % 10 == 0 {
            top /= 10;
            scale -= 1;
        }
        // The reader admits at most 18 places; deeper ones of other makers saturate, and then nothing fits.
        let bottom = 10i128.checked_pow(u32::from(scale)).unwrap_or(i128::MAX);
        Fraction::new(top, bottom).unwrap_or(Fraction::ZERO)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bottom == 1 {
            return write!(f, "{}", self.top);
        }
        write!(f, "{:.6}", self.top as f64 / self.bottom as f64)
    }
}
