//! One thing that is wrong with a definition, and where.

use serde::{Deserialize, Serialize};

/// A defect of a workflow file. The reader collects all of them before it gives up.
///
/// `line` and `column` count from 1; 0 means that the place is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{file}:{line}:{column}: {code}: {message}{}", if help.is_empty() { String::new() } else { format!(" ({help})") })]
pub struct Problem {
    pub code: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub message: String,
    pub help: String,
}
