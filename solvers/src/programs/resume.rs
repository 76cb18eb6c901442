//! Where a count by components stands, as bytes, so that a count that was killed goes on from there.
//!
//! Rule: a place in the search is the path to it: at every choice which half is at work and what the other one
//! gave, at every product which part is at work and what those before it gave. The search is deterministic, so
//! the path alone leads back. Counts that were stored for reuse are not kept; what is missing is counted again.
//! A checkpoint names its program by digest and carries a checksum.

use super::Program;
use crate::enumeration::{Checkpoint, EnumerationError};
use serde::{Deserialize, Serialize};

/// Changes whenever the search would take other steps.
const VERSION: u32 = 1;

/// One level of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Independent parts: the one at work, and the product of those before it.
    Product { part: usize, count: u128 },
    /// A choice between two halves of a column's values: which is at work, and what those before it gave.
    Branch { second: bool, total: u128 },
}

/// A place in a count and what was found until there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    pub path: Vec<Step>,
    pub found: u128,
    pub nodes: u64,
    /// Share of the search that is done, as the bits of a double.
    pub share: u64,
}

/// A count by components that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountCheckpoint {
    count_checkpoint: u32,
    /// Digest of the program, hexadecimal.
    program: String,
    pub(super) place: Place,
}

/// What a count of a program goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    Components(CountCheckpoint),
    /// Of the engine of design spaces, on the program's choices.
    Choices(Box<Checkpoint>),
}

impl Resume {
    /// Of either method.
    ///
    /// # Errors
    /// [`EnumerationError::WrongCheckpoint`] if the bytes are none or are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnumerationError> {
        if !bytes.starts_with(b"{\"count_checkpoint\"") {
            return Checkpoint::from_bytes(bytes).map(|checkpoint| Self::Choices(Box::new(checkpoint)));
        }
        let wrong = |what: &str| EnumerationError::WrongCheckpoint { what: what.to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is no text"))?;
        let (line, checksum) = text.split_once('\n').ok_or_else(|| wrong("it is cut off"))?;
        if blake3::hash(line.as_bytes()).to_hex().as_str() != checksum.trim_end() {
            return Err(wrong("its checksum does not hold; it is damaged or cut off"));
        }
        let found: CountCheckpoint =
            serde_json::from_str(line).map_err(|error| wrong(&format!("its first line: {error}")))?;
        if found.count_checkpoint != VERSION {
            return Err(wrong(&format!(
                "it has form {}, this version reads {VERSION}",
                found.count_checkpoint
            )));
        }
        Ok(Self::Components(found))
    }
}

impl CountCheckpoint {
    pub(super) fn new(program: &str, place: Place) -> Self {
        CountCheckpoint { count_checkpoint: VERSION, program: program.to_owned(), place }
    }

    /// One line of JSON, then its checksum.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec(self).unwrap_or_default();
        let checksum = blake3::hash(&out).to_hex();
        out.push(b'\n');
        out.extend_from_slice(checksum.as_bytes());
        out.push(b'\n');
        out
    }

    /// # Errors
    /// [`EnumerationError::WrongCheckpoint`] if it is one of another program.
    pub(super) fn of(&self, program: &str) -> Result<(), EnumerationError> {
        if self.program == program {
            return Ok(());
        }
        Err(EnumerationError::WrongCheckpoint { what: "it is one of another program".to_owned() })
    }
}

/// blake3 of what a count depends on: bounds and rows in their order, no names and no costs.
pub(super) fn digest(program: &Program) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"executing program 1\n");
    let mut whole = |number: i64| {
        hasher.update(&number.to_le_bytes());
    };
    whole(program.columns.len() as i64);
    for column in &program.columns {
        whole(column.lower);
        whole(column.upper);
    }
    for row in &program.rows {
        whole(row.terms.len() as i64);
        for &(column, coefficient) in &row.terms {
            whole(column as i64);
            whole(coefficient);
        }
        for bound in [row.lower, row.upper] {
            whole(i64::from(bound.is_some()));
            whole(bound.unwrap_or(0));
        }
    }
    hasher.finalize().to_hex().to_string()
}
