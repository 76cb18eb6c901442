//! Where a search stands, so that another process can go on from there.
//!
//! Rule: a checkpoint holds everything found so far and the next unit of work, nothing of the machine;
//! going on from it gives the bytes that an undisturbed search gives. It names its space and mode and
//! is refused for any other.

use super::{EnumerationError, Mode};
use serde::{Deserialize, Serialize};

/// State of an interrupted search at a unit boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Form of the checkpoint; a search plan may change between versions.
    pub version: u32,
    /// Digest of the space, hexadecimal.
    pub space: String,
    pub mode: Mode,
    pub limit: Option<u64>,
    /// Units done; all before this one are in `found`.
    pub unit: u64,
    pub units: u64,
    pub count: u128,
    pub nodes: u64,
    /// Objective of each of the best, above the least of the plan, in the order of `rows`.
    pub costs: Vec<i64>,
    /// Designs per finished unit; for samples only.
    pub unit_counts: Vec<u64>,
    /// Packed designs found so far.
    #[serde(skip)]
    pub rows: Vec<u8>,
}

/// Changes whenever plans would number their units otherwise.
pub(super) const VERSION: u32 = 1;

impl Checkpoint {
    /// One line of JSON, then the packed designs.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec(self).unwrap_or_default();
        out.push(b'\n');
        out.extend_from_slice(&self.rows);
        out
    }

    /// # Errors
    /// [`EnumerationError::WrongCheckpoint`] if the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnumerationError> {
        let wrong = |what: String| EnumerationError::WrongCheckpoint { what };
        let end =
            bytes.iter().position(|b| *b == b'\n').ok_or_else(|| wrong("it has no first line".into()))?;
        let mut checkpoint: Checkpoint =
            serde_json::from_slice(&bytes[..end]).map_err(|e| wrong(format!("its first line: {e}")))?;
        checkpoint.rows = bytes[end + 1..].to_vec();
        Ok(checkpoint)
    }
}
