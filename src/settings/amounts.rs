//! Durations, sizes and sums of money in the words that people use for them.
//!
//! Rule: a text without its unit is refused where a unit could be guessed wrongly; a duration without one
//! counts seconds, money counts US dollars. Stored and shown as plain numbers.

use engine::definition::units;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A duration in milliseconds: `90s`, `5m`, `2h`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Span(pub u64);

/// The time of a lease in milliseconds, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Lease(pub Option<u64>);

/// A minute: three renewals may be late before it is over, and a dead owner's resources come back soon.
const LEASE_MS_DEFAULT: u64 = 60_000;

impl Default for Lease {
    fn default() -> Self {
        Self(Some(LEASE_MS_DEFAULT))
    }
}

/// A size in MiB: `512MiB`, `8GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Size(pub u64);

/// An amount of money, in millionths of a US dollar; written in dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Usd(pub u64);

/// Beyond this it is no budget.
const USD_MAX: f64 = 1e9;

/// A scalar as its text.
struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text with its unit")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.trim().to_owned())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<String, E> {
        Err(E::invalid_type(Unexpected::Bool(flag), &self))
    }
}

fn duration<E: Error>(text: &str) -> Result<u64, E> {
    if text.parse::<f64>() == Ok(0.0) {
        return Ok(0);
    }
    units::duration_ms(text).map_err(E::custom)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        duration(&from.deserialize_any(Scalar)?).map(Self)
    }
}

impl<'de> Deserialize<'de> for Lease {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_any(Scalar)?;
        if text == "none" { Ok(Self(None)) } else { duration(&text).map(|ms| Self(Some(ms))) }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        units::size_mib(&from.deserialize_any(Scalar)?).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_any(Scalar)?;
        let usd: f64 = text.trim_end_matches("USD").trim().parse().unwrap_or(f64::NAN);
        if (0.0..=USD_MAX).contains(&usd) {
            Ok(Self((usd * 1e6).round() as u64))
        } else {
            Err(D::Error::custom(format!("expected 0 to {USD_MAX} US dollars, got {text:?}")))
        }
    }
}
