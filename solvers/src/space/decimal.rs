//! Exact decimals: read from text, compared, written, brought to a common scale.
//!
//! Rule: no step goes through a floating-point number. Absent: arithmetic for the search, which works
//! on integers of one scale per constraint ([`Decimal::scaled`]).

use super::Decimal;
use std::cmp::Ordering;
use std::fmt;

/// Most digits after the point. 10^18 is the largest power of ten in 64 bits.
pub const SCALE_MAX: u8 = 18;

/// Why a text is not an exact decimal that fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("`{text}` is not a number")]
    NotANumber { text: String },
    #[error("`{text}` is not finite")]
    NotFinite { text: String },
    #[error("`{text}` has more digits than an exact 64-bit decimal with up to 18 places holds")]
    TooManyDigits { text: String },
}

impl Decimal {
    /// The whole number `n`.
    pub const fn whole(n: i64) -> Decimal {
        Decimal { mantissa: n, scale: 0 }
    }

    /// Reads `[+-]digits[.digits][e[+-]digits]` exactly; trailing zeros after the point are dropped.
    ///
    /// # Errors
    /// [`DecimalError`]: not a number, not finite (`.nan`, `inf`, ..), or too many digits.
    pub fn parse(text: &str) -> Result<Decimal, DecimalError> {
        let not = || DecimalError::NotANumber { text: text.to_string() };
        let many = || DecimalError::TooManyDigits { text: text.chars().take(60).collect() };
        let (negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let bare = body.trim_start_matches('.').to_ascii_lowercase();
        if matches!(bare.as_str(), "nan" | "inf" | "infinity") {
            return Err(DecimalError::NotFinite { text: text.to_string() });
        }
        let (digits, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], Some(&body[at + 1..])),
            None => (body, None),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !numeric(whole) || !numeric(fraction) {
            return Err(not());
        }
        let exponent: i64 = match exponent {
            None => 0,
            Some(e) => {
                let bare = e.strip_prefix(['+', '-']).unwrap_or(e);
                if bare.is_empty() || !numeric(bare) {
                    return Err(not());
                }
                e.strip_prefix('+').unwrap_or(e).parse().map_err(|_| many())?
            }
        };
        let fraction = fraction.trim_end_matches('0');
        let all = format!("{whole}{fraction}");
        let all = all.trim_start_matches('0');
        if all.is_empty() {
            return Ok(Decimal::whole(0));
        }
        let significant = all.trim_end_matches('0');
        let dropped = all.len() - significant.len();
        // value = significant * 10^power
        let power = i64::try_from(dropped)
            .ok()
            .and_then(|d| d.checked_sub(i64::try_from(fraction.len()).ok()?))
            .and_then(|p| p.checked_add(exponent))
            .ok_or_else(many)?;
        let signed = if negative { format!("-{significant}") } else { significant.to_string() };
        let mantissa: i64 = signed.parse().map_err(|_| many())?;
        if power >= 0 {
            let factor = u32::try_from(power).ok().and_then(|p| 10i64.checked_pow(p)).ok_or_else(many)?;
            let mantissa = mantissa.checked_mul(factor).ok_or_else(many)?;
            return Ok(Decimal::whole(mantissa));
        }
        match u8::try_from(-power) {
            Ok(scale) if scale <= SCALE_MAX => Ok(Decimal { mantissa, scale }),
            _ => Err(many()),
        }
    }

    /// `self * 10^scale` where that is a whole number of 64 bits; `None` otherwise.
    pub fn scaled(self, scale: u8) -> Option<i64> {
        let own = self.normalised();
        let up = scale.checked_sub(own.scale)?;
        own.mantissa.checked_mul(10i64.checked_pow(u32::from(up))?)
    }

    /// The same value with the fewest places after the point.
    pub fn normalised(self) -> Decimal {
        let Decimal { mut mantissa, mut scale } = self;
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Decimal { mantissa, scale }
    }

    /// Compares values, not representations: 1.0 equals 1.
    pub fn compare(self, other: Decimal) -> Ordering {
        let (a, b) = (self.normalised(), other.normalised());
        if a.mantissa == 0 || b.mantissa == 0 {
            return a.mantissa.cmp(&b.mantissa);
        }
        // |mantissa| < 2^63 < 10^19 and scale <= 255 could pass 128 bits, so signs and whole parts go first.
        let wide = |d: Decimal, scale: u8| {
            10i128.checked_pow(u32::from(scale - d.scale)).and_then(|f| f.checked_mul(i128::from(d.mantissa)))
        };
        let scale = a.scale.max(b.scale);
        match (wide(a, scale), wide(b, scale)) {
            (Some(x), Some(y)) => x.cmp(&y),
            // An operand that does not fit is the larger in magnitude.
            (None, _) => a.mantissa.cmp(&0),
            (_, None) => 0.cmp(&b.mantissa),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = self.normalised();
        if d.scale == 0 {
            return write!(f, "{}", d.mantissa);
        }
        let digits = format!("{:0>1$}", d.mantissa.unsigned_abs(), usize::from(d.scale) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(d.scale));
        write!(f, "{}{whole}.{fraction}", if d.mantissa < 0 { "-" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_and_written_without_loss() {
        for (text, mantissa, scale, shown) in [
            ("0.1", 1, 1, "0.1"),
            ("-0.050", -5, 2, "-0.05"),
            ("3.90", 39, 1, "3.9"),
            ("1e3", 1000, 0, "1000"),
            ("2.5e-3", 25, 4, "0.0025"),
            ("9223372036854775807", i64::MAX, 0, "9223372036854775807"),
            ("-9223372036854775808", i64::MIN, 0, "-9223372036854775808"),
            ("+.5", 5, 1, "0.5"),
            ("000", 0, 0, "0"),
            ("0e999", 0, 0, "0"),
        ] {
            let d = Decimal::parse(text).unwrap();
            assert_eq!((d.mantissa, d.scale), (mantissa, scale), "{text}");
            assert_eq!(d.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_finite_number_is_named_so() {
        for text in [".nan", "NaN", "-.inf", "inf", "Infinity"] {
            assert!(matches!(Decimal::parse(text), Err(DecimalError::NotFinite { .. })), "{text}");
        }
        for text in ["", "-", ".", "1_000", "0x10", "1e", "1e+", "e5", "1.2.3", "d24", "--1"] {
            assert!(matches!(Decimal::parse(text), Err(DecimalError::NotANumber { .. })), "{text}");
        }
        for text in
            ["9223372036854775808", "1e19", "1e-19", "0.1234567890123456789", "1e99999999999999999999"]
        {
            assert!(matches!(Decimal::parse(text), Err(DecimalError::TooManyDigits { .. })), "{text}");
        }
    }

    #[test]
    fn order_is_of_values_even_where_a_common_scale_does_not_fit() {
        let huge = Decimal::whole(i64::MAX);
        let tiny = Decimal { mantissa: 3, scale: 40 };
        assert_eq!(huge.compare(tiny), Ordering::Greater);
        assert_eq!(tiny.compare(huge), Ordering::Less);
        assert_eq!(Decimal::whole(-5).compare(tiny), Ordering::Less);
        assert_eq!(Decimal { mantissa: 10, scale: 1 }.compare(Decimal::whole(1)), Ordering::Equal);
    }
}
