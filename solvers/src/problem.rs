//! One thing that is wrong with an input file, and where.

use serde::{Deserialize, Serialize};

/// A defect of an input file. Readers collect all of them before they give up.
///
/// `line` and `column` count from 1; 0 means that the place is not known (a problem of the whole file).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{file}:{line}:{column}: {code}: {message}{}", if help.is_empty() { String::new() } else { format!(" ({help})") })]
pub struct Problem {
    /// Stable code such as `EX-0301`, known to `executingctl explain`.
    pub code: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// What was expected and what came.
    pub message: String,
    /// What to do about it.
    pub help: String,
}
