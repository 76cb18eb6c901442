//! Verbs that need no daemon: validate, explain a code, verify a journal on disk.

use crate::context::{Outcome, refusal};
use crate::inputs;
use crate::output::{self, Output};
use engine::definition::{self, LoadRequest, Problem};
use engine::protocol::ErrorReply;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a file is, by its first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Workflow,
    Space,
    Scenarios,
    Costs,
}

impl FileKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Space => "design space",
            Self::Scenarios => "scenarios",
            Self::Costs => "costs",
        }
    }
}

/// All problems of a file at once. Exit code 8 if there are any.
pub fn validate(out: Output, file: &Path, workflow: Option<&str>) -> Outcome {
    if !file.is_file() {
        let message = format!("there is no file {}", file.display());
        return Err(refusal("EX-0015", 8, message));
    }
    let text = inputs::read_text(file)?;
    let kind = kind_of(file, &text);
    let (problems, warnings) = problems_of(kind, file, &text, workflow);
    warnings.iter().for_each(output::warning);
    // The problems are what was asked for, so they are data, too.
    if problems.is_empty() || !out.is_for_people() {
        out.data(&json!({
            "ok": problems.is_empty(),
            "file": file.display().to_string(),
            "kind": kind.name(),
            "problems": problems,
            "warnings": warnings,
        }));
    }
    if problems.is_empty() {
        return Ok(0);
    }
    let code = problems.first().map_or("EX-0511", |problem| problem.code.as_str()).to_owned();
    Err(ErrorReply { problems: problems.clone(), ..refusal(&code, 8, inputs::summary(&problems)) })
}

fn problems_of(
    kind: FileKind,
    file: &Path,
    text: &str,
    workflow: Option<&str>,
) -> (Vec<Problem>, Vec<Problem>) {
    let name = file.display().to_string();
    let found = match kind {
        FileKind::Space => solvers::space::read(text, &name).err(),
        FileKind::Costs => solvers::costs::read(&name, text).err(),
        FileKind::Scenarios => inputs::check_scenarios(file, text).0,
        FileKind::Workflow => return workflow_problems(&name, text, workflow),
    };
    (found.unwrap_or_default().into_iter().map(inputs::problem).collect(), Vec::new())
}

/// Of the workflow chosen, else of every workflow in the file.
fn workflow_problems(file: &str, text: &str, workflow: Option<&str>) -> (Vec<Problem>, Vec<Problem>) {
    let library = executing::catalog::library();
    let names: Vec<Option<String>> = match (workflow, definition::workflows_in(text, file)) {
        (None, Ok(names)) if names.len() > 1 => names.into_iter().map(Some).collect(),
        _ => vec![workflow.map(str::to_owned)],
    };
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for name in names {
        let params = Default::default();
        let request =
            LoadRequest { text, file, workflow: name.as_deref(), library: &library, params: &params };
        match definition::load(request) {
            Ok(loaded) => warnings.extend(loaded.warnings),
            Err(found) => problems.extend(found),
        }
    }
    for list in [&mut problems, &mut warnings] {
        list.sort_by(|a, b| (&a.file, a.line, a.column, &a.code).cmp(&(&b.file, b.line, b.column, &b.code)));
        list.dedup();
    }
    (problems, warnings)
}

fn kind_of(file: &Path, text: &str) -> FileKind {
    let is_table = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    if is_table {
        return FileKind::Scenarios;
    }
    let kind = |key: &str| match key {
        "design_space" => Some(FileKind::Space),
        "scenarios" => Some(FileKind::Scenarios),
        "costs" => Some(FileKind::Costs),
        "workflow" => Some(FileKind::Workflow),
        _ => None,
    };
    if let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) {
        return fields.keys().find_map(|key| kind(key)).unwrap_or(FileKind::Workflow);
    }
    // A file with mistakes must be told apart too, so this cannot ask a YAML reader.
    let keys = text.lines().filter_map(|line| line.split_once(':')).map(|(key, _)| key);
    let mut keys = keys.map(|key| key.trim_start_matches(['{', ' ']).trim_matches(['"', '\'']));
    keys.find_map(kind).unwrap_or(FileKind::Workflow)
}

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
    let rooms = [solvers::space::CODES, solvers::scenarios::CODES, solvers::costs::CODES, quantum::CODES, quantum::backends::CODES];
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
    fn files_are_told_apart_by_their_first_key_even_when_they_are_wrong() {
        let yaml = Path::new("a.yaml");
        assert_eq!(kind_of(yaml, "# words: here\n---\ndesign_space: 1\n  bad: [\n"), FileKind::Space);
        assert_eq!(kind_of(yaml, "{\"costs\": 1, \"terms\": {}}"), FileKind::Costs);
        assert_eq!(kind_of(yaml, "scenarios: 1\nvariables: {}\n"), FileKind::Scenarios);
        assert_eq!(kind_of(yaml, "workflow: w\nstages:\n  - costs\n"), FileKind::Workflow);
        assert_eq!(kind_of(yaml, "nothing known"), FileKind::Workflow);
        assert_eq!(kind_of(Path::new("t.CSV"), "a,b\n"), FileKind::Scenarios);
    }

    #[test]
    fn all_workflows_of_a_file_are_checked_unless_one_is_chosen() {
        let text = "workflow: a\nstages: [nonsense-a]\n---\nworkflow: b\nstages: [nonsense-b]\n";
        let (all, _) = workflow_problems("f.yaml", text, None);
        assert!(all.iter().any(|p| p.message.contains("nonsense-a")), "{all:?}");
        assert!(all.iter().any(|p| p.message.contains("nonsense-b")), "{all:?}");
        let (one, _) = workflow_problems("f.yaml", text, Some("b"));
        assert!(!one.iter().any(|p| p.message.contains("nonsense-a")), "{one:?}");
    }

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
