//! The one place that touches bincode.
//!
//! Rule: fixed-width integers, little-endian, nothing longer than the input is ever allocated, trailing
//! bytes are an error. bincode has no checksum: whoever stores these bytes adds one (frames, checkpoints
//! and artefacts of this crate do). The crate is unmaintained (RUSTSEC-2025-0141); `wincode` reads the
//! same bytes, so this module is all that would change.
//!
//! Absent on purpose: schema versions (they stand in the record's envelope) and dynamic values, which
//! bincode cannot read back (store them as canonical JSON bytes).

use bincode::Options as _;
use serde::{Serialize, de::DeserializeOwned};

/// Why bytes could not become a value, or a value could not become bytes.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The type asks for something bincode cannot write; its first test shows it.
    #[error("{type_name} cannot be written in bincode: {why}")]
    CannotEncode { type_name: &'static str, why: String },
    /// The bytes are not a value of this type: damaged, cut off, or of another schema version.
    #[error("{bytes} bytes are not a {type_name}: {why}; check the schema version of the record")]
    CannotDecode { type_name: &'static str, bytes: usize, why: String },
}

fn wire() -> impl bincode::Options {
    bincode::DefaultOptions::new().with_little_endian().with_fixint_encoding().reject_trailing_bytes()
}

/// The bytes of `value`.
///
/// # Panics
/// If `T` cannot be written in bincode at all (a sequence of unknown length, for one). That is a property
/// of the type, not of the world: [`try_encode`] in the type's first test shows it.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    match try_encode(value) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{error}"),
    }
}

/// The bytes of `value`, or why its type has none.
///
/// # Errors
/// [`CodecError::CannotEncode`].
pub fn try_encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    wire().serialize(value).map_err(|error| CodecError::CannotEncode {
        type_name: std::any::type_name::<T>(),
        why: error.to_string(),
    })
}

/// The value that `bytes` hold, all of them.
///
/// A length inside the bytes that exceeds the bytes themselves is refused before anything is allocated.
///
/// # Errors
/// [`CodecError::CannotDecode`] on damaged, short or trailing bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    wire().with_limit(bytes.len() as u64).deserialize(bytes).map_err(|error| CodecError::CannotDecode {
        type_name: std::any::type_name::<T>(),
        bytes: bytes.len(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Sample {
        count: u32,
        name: String,
        parts: Vec<u64>,
        kind: Kind,
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Kind {
        Plain,
        Sized { bytes: u16 },
    }

    fn sample() -> Sample {
        Sample { count: 7, name: "wing".into(), parts: vec![1, 2, 3], kind: Kind::Sized { bytes: 9 } }
    }

    #[test]
    fn a_value_comes_back_as_it_went() {
        let back: Sample = decode(&encode(&sample())).unwrap();
        assert_eq!(back, sample());
    }

    #[test]
    fn integers_have_fixed_width_and_little_end_first() {
        assert_eq!(encode(&1u64), [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode(&Kind::Plain), [0, 0, 0, 0]);
    }

    #[test]
    fn trailing_and_missing_bytes_are_refused() {
        let mut bytes = encode(&sample());
        for cut in 0..bytes.len() {
            assert!(decode::<Sample>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        bytes.push(0);
        assert!(decode::<Sample>(&bytes).is_err());
    }

    #[test]
    fn a_length_beyond_the_input_is_refused_before_allocation() {
        // A vector that claims 2^60 bytes: allocating it would abort the process.
        let claim = encode(&(1u64 << 60));
        assert!(decode::<Vec<u8>>(&claim).is_err());
        assert!(decode::<String>(&claim).is_err());
    }
}
