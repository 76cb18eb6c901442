//! Verbs that need no daemon: explain a code, verify a journal on disk. `validate` has a file of its own.

use crate::context::{Outcome, refusal};
use crate::output::Output;
use serde_json::json;
use std::path::{Path, PathBuf};

/// `EX-` and four digits.
pub fn is_code(text: &str) -> bool {
    let digits = text.strip_prefix("EX-").or_else(|| text.strip_prefix("ex-"));
    digits.is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What an error code means and what to do about it.
pub fn explain(out: Output, code: &str) -> Outcome {
    let code = code.to_ascii_uppercase();
    let found = match engine::codes::lookup(&code) {
        Some(known) => json!({
            "code": code, "title": known.title, "meaning": known.meaning, "remedy": known.remedy,
        }),
        None => match paragraph(&code) {
            Some(meaning) => json!({"code": code, "meaning": meaning}),
            None => return Err(refusal("EX-0002", 3, format!("no error has the code {code}"))),
        },
    };
    out.data(&found);
    Ok(0)
}

fn paragraph(code: &str) -> Option<&'static str> {
    let rooms = [
        solvers::space::CODES,
        solvers::scenarios::CODES,
        solvers::costs::CODES,
        quantum::CODES,
        quantum::backends::CODES,
        solvers::risk::CODES,
        solvers::selection::CODES,
        solvers::ampel360::CODES,
    ];
    let mut codes = rooms.into_iter().flatten();
    codes.find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

/// Checks the journal under a state directory without a daemon. Exit code 1 if it is damaged.
pub fn journal_verify(out: Output, state: &Path, expected: Option<journal::Head>) -> Outcome {
    let directory = journal_directory(state);
    let report = match expected {
        Some(head) => journal::verify_against(&directory, head),
        None => journal::verify(&directory),
    };
    let report = report.map_err(|error| match error {
        journal::VerifyError::NoJournal { .. } => refusal("EX-0014", 3, error.to_string()),
        journal::VerifyError::Io { .. } => refusal("EX-0014", 1, error.to_string()),
    })?;
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    out.data(&json!({
        "ok": report.ok,
        "records": report.records,
        "head": {"position": report.head.position, "hash": report.head.hash_hex()},
        "incarnation": report.incarnation,
        "segments": report.segments,
        "problems": problems,
        "unfinished_bytes": report.tail.as_ref().map_or(0, |tail| tail.bytes),
        "notes": report.notes,
    }));
    if report.ok {
        return Ok(0);
    }
    let first = problems.first().cloned().unwrap_or_default();
    Err(refusal("EX-0014", 1, format!("the journal is damaged: {first}")))
}

/// A state directory keeps its journal in `journal`; the journal's own directory will do, too.
pub fn journal_directory(state: &Path) -> PathBuf {
    let inside = state.join("journal");
    if inside.is_dir() { inside } else { state.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_room_are_known() {
        assert!(is_code("EX-0003") && is_code("ex-0300") && !is_code("EX-3") && !is_code("r-EX-0003"));
        for code in ["EX-0300", "EX-0350", "EX-0380", "EX-0450"] {
            assert!(paragraph(code).is_some(), "{code}");
        }
        assert!(paragraph("EX-9999").is_none());
    }

    #[test]
    fn a_directory_without_a_journal_is_not_found() {
        let directory = tempfile::tempdir().unwrap();
        let out = Output { format: crate::args::Format::Json };
        assert_eq!(journal_verify(out, directory.path(), None).unwrap_err().exit, 3);
    }
}
