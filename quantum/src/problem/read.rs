//! From JSON text to a checked [`Problem`].

use super::{AMPLITUDE_BYTES, Mixer, Problem, ProblemError, STATE_BYTES_MAX, VERSION};
use crate::ising::{Ising, IsingError, Term};
use crate::simulator::Angles;
use serde::Deserialize;
use serde_json::error::Category;

#[derive(Deserialize)]
struct Header {
    qaoa_problem: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "qaoa_problem")]
    _version: u64,
    qubits: Option<u64>,
    cost: FileCost,
    mixer: FileMixer,
    cost_angles: Vec<f64>,
    mixer_angles: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCost {
    ising: Option<Vec<Term>>,
    values: Option<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileMixer {
    X,
    Grover,
}

pub(super) fn problem(text: &str) -> Result<Problem, ProblemError> {
    // The version first: a file of another version may well have keys that are unknown here.
    let header: Header = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
    if header.qaoa_problem.as_u64() != Some(VERSION) {
        return Err(ProblemError::Version { given: header.qaoa_problem.to_string() });
    }
    let file: File = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
    let mixer = match file.mixer {
        FileMixer::X => Mixer::X,
        FileMixer::Grover => Mixer::Grover,
    };
    let angles = Angles { cost: file.cost_angles, mixer: file.mixer_angles };
    match (file.cost.ising, file.cost.values) {
        (Some(_), Some(_)) => Err(ProblemError::CostForm { given: "both" }),
        (None, None) => Err(ProblemError::CostForm { given: "neither" }),
        (None, Some(values)) => Problem::values(values, mixer, angles, file.qubits),
        (Some(terms), None) => {
            let qubits = file.qubits.ok_or(ProblemError::QubitsMissing { with: "an `ising` cost" })?;
            let ising = Ising::new(check_qubits(qubits)?, terms).map_err(|error| match error {
                IsingError::QubitOutOfRange { .. } => ProblemError::QubitOutOfRange(error),
                IsingError::QubitRepeated { .. } => ProblemError::QubitRepeated(error),
                IsingError::NotFinite { term } => {
                    ProblemError::NotFinite { place: format!("`cost.ising[{term}].coefficient`") }
                }
                IsingError::Qubits { qubits } => {
                    ProblemError::StateSize { amplitudes: format!("2^{qubits}") }
                }
            })?;
            Problem::ising(ising, mixer, angles)
        }
    }
}

/// The number of qubits as a small number, if 2^qubits amplitudes fit the limit.
pub(super) fn check_qubits(qubits: u64) -> Result<u32, ProblemError> {
    let fits = (1..=63).contains(&qubits) && (1u64 << qubits) <= STATE_BYTES_MAX / AMPLITUDE_BYTES;
    if fits { Ok(qubits as u32) } else { Err(ProblemError::StateSize { amplitudes: format!("2^{qubits}") }) }
}

/// Which of our errors a JSON error is.
fn explain(text: &str, error: &serde_json::Error) -> ProblemError {
    let (line, column) = (error.line(), error.column());
    let whole = error.to_string();
    let reason = whole.split(" at line ").next().unwrap_or(&whole).to_owned();
    if reason.starts_with("number out of range") {
        return ProblemError::NotFinite {
            place: format!("{line}:{column}: a number too large for a double"),
        };
    }
    match error.classify() {
        Category::Data if reason.starts_with("unknown field") => {
            ProblemError::UnknownKey { line, column, reason }
        }
        Category::Data => ProblemError::WrongShape { line, column, reason },
        _ if stops_at_no_number(text, line, column) => {
            ProblemError::NotFinite { place: format!("{line}:{column}: NaN or an infinity") }
        }
        _ => ProblemError::NotJson { line, column, reason },
    }
}

/// JSON has no word for NaN, but Python writes `NaN` and `-Infinity` all the same.
fn stops_at_no_number(text: &str, line: usize, column: usize) -> bool {
    let Some(line) = text.split('\n').nth(line.saturating_sub(1)) else { return false };
    // The column is a count of bytes and may point just before, at or after the word's first letter.
    (column.saturating_sub(3)..=column).any(|start| {
        let rest = line.as_bytes().get(start..).unwrap_or_default();
        ["NaN", "nan", "-Inf", "Inf", "-inf", "inf"].iter().any(|word| rest.starts_with(word.as_bytes()))
    })
}
