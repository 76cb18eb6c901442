//! Doubles that stand for short decimals, brought to integers exactly.
//!
//! Rule: a double is accepted only if it is the nearest double to a decimal of at most
//! [`PLACES_MAX`] places; that decimal is then what the file meant.

/// Most places after the point: files write coefficients like 0.125 or 2.75; a longer tail is a
/// measured or computed number, whose rounding nobody vouches for.
pub(super) const PLACES_MAX: u8 = 9;

/// Largest whole number: from 2^53 on two whole numbers share a double.
const LARGEST: f64 = 9_007_199_254_740_991.0;

/// Largest mantissa of a decimal: with 16 digits two decimals may share a double.
const LARGEST_SCALED: f64 = 999_999_999_999_999.0;

/// Places that `value` needs, or `None` if it is no such decimal.
pub(super) fn places(value: f64) -> Option<u8> {
    (0..=PLACES_MAX).find(|&p| scaled(value, p).is_some())
}

/// `value * 10^places` if that is a whole number which says `value` back.
pub(super) fn scaled(value: f64, places: u8) -> Option<i64> {
    if !value.is_finite() {
        return None;
    }
    let factor = 10f64.powi(i32::from(places));
    let whole = (value * factor).round();
    let largest = if places == 0 { LARGEST } else { LARGEST_SCALED };
    (whole.abs() <= largest && whole / factor == value).then_some(whole as i64)
}

/// All of `values` on one scale, or the first that does not fit.
pub(super) fn common(values: &[f64]) -> Result<(Vec<i64>, u8), f64> {
    let mut most = 0;
    for &value in values {
        most = most.max(places(value).ok_or(value)?);
    }
    let all: Result<Vec<i64>, f64> = values.iter().map(|&v| scaled(v, most).ok_or(v)).collect();
    Ok((all?, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_decimals_are_exact_and_long_ones_are_refused() {
        assert_eq!(common(&[0.1, 2.75, -3.0]), Ok((vec![10, 275, -300], 2)));
        assert_eq!(common(&[1e15]), Ok((vec![1_000_000_000_000_000], 0)));
        assert_eq!(common(&[1.0, 1.0 / 3.0]), Err(1.0 / 3.0));
        assert!(common(&[f64::NAN]).is_err());
        assert!(common(&[f64::INFINITY]).is_err());
        assert_eq!(common(&[1e17]), Err(1e17));
        assert_eq!(common(&[9_007_199_254_740_992.0]), Err(9_007_199_254_740_992.0));
        assert!(common(&[12_345_678.123_456_79]).is_err());
    }
}
