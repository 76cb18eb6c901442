//! `validate`: all problems of any file that the programs read, without a daemon.
//!
//! Rule: what a file is shows in its keys, not in its name, so that a file with mistakes is told apart, too; a
//! file that is none of the known ones is said to be so instead of being called a bad workflow. Programs
//! (`.mps`, `.lp`) are read by the worker program, since this one links no HiGHS.

use crate::context::{Outcome, refusal};
use crate::doctor::worker_path;
use crate::output::{self, Output};
use crate::{inputs, missing};
use engine::definition::{self, LoadRequest, Problem};
use engine::protocol::ErrorReply;
use executing::settings::Settings;
use serde_json::{Value, json};
use solvers::ampel360;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Workflow,
    Space,
    Scenarios,
    Costs,
    Candidates,
    Constraints,
    Configuration,
    Settings,
    Program,
    Unknown,
}

impl FileKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Space => "design space",
            Self::Scenarios => "scenarios",
            Self::Costs => "costs",
            Self::Candidates => "candidates",
            Self::Constraints => "hard constraints",
            Self::Configuration => "programme configuration",
            Self::Settings => "settings",
            Self::Program => "program in integers",
            Self::Unknown => "unknown",
        }
    }
}

/// Keys at the left margin by which the other files are known, where neither `workflow` nor `stages` is a key.
const MARKS: [(FileKind, &[&str]); 4] = [
    (FileKind::Candidates, &["candidates"]),
    (FileKind::Constraints, &["trl_gates", "allowed_pairs", "forbidden_pairs", "geometry_requirements"]),
    (FileKind::Configuration, &["utcs_mi", "constraints_paths", "corridors_seed"]),
    (
        FileKind::Settings,
        &[
            "state",
            "socket",
            "backends",
            "scheduling",
            "roles",
            "retention",
            "supervision",
            "cpu_cores",
            "worker_slots",
            "spare_workers",
            "worker_memory_mib",
            "heartbeat_ms",
            "log",
        ],
    ),
];

/// The file that hard constraints speak of, as the programme names it.
const CANDIDATES_BESIDE: &str = "candidates.yaml";

const WHAT_THERE_IS: &str = "known are workflows (`workflow:` or maps with `stages:`), design spaces \
    (`design_space:`), scenarios (`scenarios:` or .csv), costs (`costs:`), candidates, hard constraints and \
    configuration of the programme, settings, and programs (.mps, .lp)";

/// All problems of a file at once. Exit code 8 if there are any.
pub fn validate(out: Output, file: &Path, workflow: Option<&str>) -> Outcome {
    if !file.is_file() {
        let message = format!("there is no file {}", file.display());
        return Err(missing::about(file, 8, message, missing::looked_at(file)));
    }
    let is = |ending: &str| file.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    let (kind, (problems, warnings)) = if is("mps") || is("lp") || is("gz") {
        (FileKind::Program, (program_problems(file)?, Vec::new()))
    } else {
        let text = inputs::read_text(file)?;
        let kind = if is("csv") { FileKind::Scenarios } else { kind_of(&text) };
        (kind, problems_of(kind, file, &text, workflow)?)
    };
    warnings.iter().for_each(output::warning);
    // The problems are what was asked for, so they are data, too; people have read them as words by now.
    if out.is_for_people() {
        if problems.is_empty() {
            out.data(&json!({ "ok": true, "file": file.display().to_string(), "kind": kind.name() }));
        }
    } else {
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

type Found = (Vec<Problem>, Vec<Problem>);

fn problems_of(kind: FileKind, file: &Path, text: &str, workflow: Option<&str>) -> Result<Found, ErrorReply> {
    let name = file.display().to_string();
    let found = match kind {
        FileKind::Space => solvers::space::read(text, &name).err(),
        FileKind::Costs => solvers::costs::read(&name, text).err(),
        FileKind::Scenarios => inputs::check_scenarios(file, text).0,
        FileKind::Candidates => candidates_problems(&name, text),
        FileKind::Constraints => constraints_problems(file, text)?,
        FileKind::Configuration => ampel360::read_configuration(ampel360::File { name: &name, text }).err(),
        FileKind::Settings => return Ok(settings_problems(&name, text)),
        FileKind::Workflow => return Ok(workflow_problems(&name, text, workflow)),
        FileKind::Program | FileKind::Unknown => {
            let message = "this is no file that the programs read".to_owned();
            return Ok((vec![whole_file(&name, "EX-0106", message, WHAT_THERE_IS)], Vec::new()));
        }
    };
    Ok((found.unwrap_or_default().into_iter().map(inputs::problem).collect(), Vec::new()))
}

/// A problem of the whole file.
fn whole_file(file: &str, code: &str, message: String, help: &str) -> Problem {
    Problem { code: code.into(), file: file.into(), line: 0, column: 0, message, help: help.into() }
}

/// Of the candidates alone: what rules make of them is the constraints' matter.
fn candidates_problems(name: &str, text: &str) -> Option<Vec<solvers::problem::Problem>> {
    let no_rules = ampel360::File { name: "", text: "trl_gates: {}\n" };
    let found = ampel360::read(ampel360::File { name, text }, no_rules, true).err();
    found.map(|found| found.into_iter().filter(|problem| problem.file == name).collect())
}

/// Rules name donors, so they are read with the candidates that lie beside them.
fn constraints_problems(
    file: &Path,
    text: &str,
) -> Result<Option<Vec<solvers::problem::Problem>>, ErrorReply> {
    let beside = file.with_file_name(CANDIDATES_BESIDE);
    if !beside.is_file() {
        let message = format!(
            "hard constraints name donors of a candidates file, and there is no {} beside them; put it there, or \
             submit both, which checks them together",
            beside.display()
        );
        return Err(missing::about(file, 8, message, missing::looked_at(&beside)));
    }
    let candidates = inputs::read_text(&beside)?;
    let (name, theirs) = (file.display().to_string(), beside.display().to_string());
    let candidates = ampel360::File { name: &theirs, text: &candidates };
    Ok(ampel360::read(candidates, ampel360::File { name: &name, text }, false).err())
}

/// As the daemon reads them; where the state lies may be said on its command line.
fn settings_problems(name: &str, text: &str) -> Found {
    let read = Settings::read(text, name).and_then(|mut settings| {
        if settings.state.as_os_str().is_empty() {
            settings.state = "state".into();
        }
        settings.settle()
    });
    match read {
        Err(error) => {
            (error.0.split("\nerror[EX-0022]: ").map(|said| setting(name, said)).collect(), Vec::new())
        }
        Ok(settings) => {
            let warning = |key: &String| {
                let message = format!("this version does nothing with `{key}`");
                whole_file(name, "EX-0032", message, "it is accepted, and the daemon says so at its start")
            };
            (Vec::new(), settings.not_honoured.iter().map(warning).collect())
        }
    }
}

/// One fault of settings. The YAML reader puts its place in front and a picture of it behind.
fn setting(name: &str, said: &str) -> Problem {
    let first = said.lines().next().unwrap_or_default();
    let words = first.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(first);
    let placed = words.strip_prefix("error: line ").and_then(|rest| {
        let (line, rest) = rest.split_once(" column ")?;
        let (column, message) = rest.split_once(": ")?;
        Some((line.parse().ok()?, column.parse().ok()?, message))
    });
    let (line, column, message) = placed.unwrap_or((0, 0, words));
    let help = "docs/specification.md, section 6, lists every key with its range";
    Problem { line, column, ..whole_file(name, "EX-0022", message.to_owned(), help) }
}

/// What the worker program says of an `.mps` or `.lp` file before it counts anything.
fn program_problems(file: &Path) -> Result<Vec<Problem>, ErrorReply> {
    let program = worker_path();
    let asked = Command::new(&program)
        .arg("enumerate")
        .arg(file)
        .args(["--mode", "count", "--seconds-max", "0.01"])
        .stdin(Stdio::null())
        .output();
    let answer = asked.map_err(|error| {
        let message = format!("a program is read by {}, which does not start: {error}", program.display());
        missing::about(file, 8, message, "`executingctl doctor` says where it is looked for".to_owned())
    })?;
    if answer.status.success() {
        return Ok(Vec::new());
    }
    let words = String::from_utf8_lossy(&answer.stderr);
    let name = file.display().to_string();
    Ok(words.lines().map(|line| told(&name, line)).collect())
}

/// `executing-worker: FILE:LINE:COLUMN: CODE: MESSAGE (HELP)`, or whatever else it said.
fn told(name: &str, line: &str) -> Problem {
    let line = line.split_once(": ").map_or(line, |(_, rest)| rest);
    let at = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
    let parts = at.and_then(|rest| {
        let mut parts = rest.splitn(4, ':').map(str::trim);
        let (line, column) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((line, column, parts.next()?, parts.next()?))
    });
    match parts {
        Some((line, column, code, message)) => {
            Problem { line, column, ..whole_file(name, code, message.to_owned(), "") }
        }
        None => whole_file(name, "EX-0511", line.to_owned(), ""),
    }
}

/// Of the workflow chosen, else of every workflow in the file.
fn workflow_problems(file: &str, text: &str, workflow: Option<&str>) -> Found {
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

/// By the first key that one of our own kinds has anywhere, else by a mark at the left margin.
fn kind_of(text: &str) -> FileKind {
    let own = |key: &str| match key {
        "design_space" => Some(FileKind::Space),
        "scenarios" => Some(FileKind::Scenarios),
        "costs" => Some(FileKind::Costs),
        "workflow" => Some(FileKind::Workflow),
        _ => None,
    };
    let (inner, outer) = keys(text);
    if let Some(kind) = inner.iter().find_map(|key| own(key)) {
        return kind;
    }
    if outer.iter().any(|key| key == "execution") {
        return FileKind::Settings;
    }
    if inner.iter().any(|key| key == "stages") {
        return FileKind::Workflow;
    }
    let marked = |(_, marks): &&(FileKind, &[&str])| outer.iter().any(|key| marks.contains(&key.as_str()));
    MARKS.iter().find(marked).map_or(FileKind::Unknown, |(kind, _)| *kind)
}

/// All keys of a file in their order, and those of its outermost map. A JSON text gives its outermost keys as
/// both, and those of the maps in it as inner ones.
fn keys(text: &str) -> (Vec<String>, Vec<String>) {
    if let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) {
        let outer: Vec<String> = fields.keys().cloned().collect();
        let next = fields.values().filter_map(Value::as_object).flat_map(|map| map.keys().cloned());
        return (outer.iter().cloned().chain(next).collect(), outer);
    }
    // A file with mistakes must be told apart too, so this cannot ask a YAML reader.
    let (mut inner, mut outer) = (Vec::new(), Vec::new());
    for (key, _) in text.lines().filter_map(|line| line.split_once(':')) {
        let name = key.trim_start_matches(['{', ' ', '-']).trim_matches(['"', '\'']).to_owned();
        if !key.starts_with([' ', '-', '#']) {
            outer.push(name.clone());
        }
        inner.push(name);
    }
    (inner, outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_keys_even_when_they_are_wrong() {
        assert_eq!(kind_of("# words: here\n---\ndesign_space: 1\n  bad: [\n"), FileKind::Space);
        assert_eq!(kind_of("{\"costs\": 1, \"terms\": {}}"), FileKind::Costs);
        assert_eq!(kind_of("scenarios: 1\nvariables: {}\n"), FileKind::Scenarios);
        assert_eq!(kind_of("workflow: w\nstages:\n  - costs\n"), FileKind::Workflow);
        assert_eq!(kind_of("long-form:\n  resources: {}\n  stages: [\n"), FileKind::Workflow);
        assert_eq!(kind_of("execution:\n  log: x\nstages:\n  a: 1\n"), FileKind::Settings);
        assert_eq!(kind_of("worker_slots: [\n"), FileKind::Settings);
        assert_eq!(kind_of("candidates:\n  - id: 1\n"), FileKind::Candidates);
        assert_eq!(kind_of("# c\ntrl_gates:\n  wing: 6\n"), FileKind::Constraints);
        assert_eq!(kind_of("{\"utcs_mi\": {}}"), FileKind::Configuration);
        assert_eq!(kind_of("nothing known"), FileKind::Unknown);
        assert_eq!(kind_of("a:\n  state: here\n"), FileKind::Unknown);
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
    fn each_fault_of_settings_is_one_problem_with_its_place() {
        let (found, _) = settings_problems("s.yaml", "worker_slots: 1\ncolour: red\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].line, found[0].column), (2, 1));
        assert!(found[0].message.starts_with("unknown field `colour`"), "{found:?}");
        let (found, _) = settings_problems("s.yaml", "health_check_seconds: 0\nworker_slots: 100000\n");
        assert!(!found.is_empty() && found.iter().all(|p| p.message.contains("expected")), "{found:?}");
    }

    #[test]
    fn what_the_worker_says_of_a_program_keeps_its_place_and_its_code() {
        let said = told("a/b.mps", "executing-worker: a/b.mps:3:0: EX-0332: column `x` has no bounds (b: c)");
        assert_eq!((said.line, said.code.as_str()), (3, "EX-0332"));
        assert_eq!(said.message, "column `x` has no bounds (b: c)");
        assert_eq!(told("a.mps", "executing-worker: killed").message, "killed");
    }
}
