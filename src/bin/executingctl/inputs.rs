//! Input files: checked here, before anything is sent, so that all their problems are told at once.
//!
//! Rule: what is uploaded is exactly what was checked. Absent: the daemon's own check, which follows.

use crate::context::refusal;
use engine::definition::Problem;
use engine::protocol::ErrorReply;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of inputs; every other name in `--set` is a parameter.
pub const INPUT_NAMES: [&str; 9] = [
    "space",
    "scenarios",
    "costs",
    "candidates",
    "constraints",
    "config",
    "design",
    "waivers",
    "feasible_set",
];

/// Content of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    File(PathBuf),
    Text(String),
}

/// All inputs of a run, by name.
pub type Inputs = BTreeMap<String, Content>;

/// Finds and checks the files of `named` (input name to path); adds the tables that scenarios name.
///
/// # Errors
/// `EX-0015` for files that are not there, `EX-0511` with all problems of files that are wrong.
pub fn collect(named: &BTreeMap<String, PathBuf>) -> Result<Inputs, ErrorReply> {
    let mut inputs = Inputs::new();
    let (mut problems, mut missing) = (Vec::new(), Vec::new());
    for (name, path) in named {
        if !path.is_file() {
            missing.push(format!("{name}: {}", path.display()));
            continue;
        }
        inputs.insert(name.clone(), Content::File(path.clone()));
        if matches!(name.as_str(), "space" | "scenarios" | "costs") {
            check(name, path, &mut inputs, &mut problems)?;
        }
    }
    if !missing.is_empty() {
        let message = format!("there is no such input file: {}", missing.join(", "));
        return Err(ErrorReply { problems, ..refusal("EX-0015", 8, message) });
    }
    if !problems.is_empty() {
        let message = summary(&problems);
        return Err(ErrorReply { problems, ..refusal("EX-0511", 8, message) });
    }
    Ok(inputs)
}

fn check(
    name: &str,
    path: &Path,
    inputs: &mut Inputs,
    problems: &mut Vec<Problem>,
) -> Result<(), ErrorReply> {
    let file = path.display().to_string();
    if name == "space" && matches!(path.extension().and_then(|e| e.to_str()), Some("mps" | "lp" | "gz")) {
        problems.push(Problem {
            code: "EX-0511".into(),
            file,
            line: 0,
            column: 0,
            message: "a workflow's `space` is a design space (YAML or JSON), and this is a program".into(),
            help: "count, rank or sample a program with `executing-worker enumerate FILE`".into(),
        });
        return Ok(());
    }
    let text = read_text(path)?;
    let found = match name {
        "space" => solvers::space::read(&text, &file).err(),
        "costs" => solvers::costs::read(&file, &text).err(),
        _ => {
            let (found, tables) = check_scenarios(path, &text);
            if file.to_ascii_lowercase().ends_with(".csv") {
                // Inputs travel by name, without their endings, so the table is put behind a file that names it.
                let table = base_name(&file);
                inputs
                    .insert(name.into(), Content::Text(format!("scenarios: 1\ntable: {}\n", quoted(&table))));
                inputs.insert(table, Content::File(path.to_owned()));
            }
            inputs.extend(tables.into_iter().map(|(named, path)| (named, Content::File(path))));
            found
        }
    };
    problems.extend(found.unwrap_or_default().into_iter().map(problem));
    Ok(())
}

/// Problems of a scenario file, and the tables it names with where they are.
pub fn check_scenarios(
    path: &Path,
    text: &str,
) -> (Option<Vec<solvers::problem::Problem>>, BTreeMap<String, PathBuf>) {
    let directory = path.parent().unwrap_or(Path::new(""));
    let tables = RefCell::new(BTreeMap::new());
    let resolve = |named: &str| {
        let path = directory.join(named);
        let text = std::fs::read_to_string(&path).ok()?;
        tables.borrow_mut().insert(base_name(named), path);
        Some(text)
    };
    let found = solvers::scenarios::read(&path.display().to_string(), text, &resolve).err();
    (found, tables.into_inner())
}

fn base_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.into(), |name| name.to_string_lossy().into_owned())
}

fn quoted(text: &str) -> String {
    // A JSON text is a YAML text.
    serde_json::Value::from(text).to_string()
}

/// The readers of solvers and engine say the same things in two types.
pub fn problem(found: solvers::problem::Problem) -> Problem {
    let solvers::problem::Problem { code, file, line, column, message, help } = found;
    Problem { code, file, line, column, message, help }
}

/// One sentence over several problems.
pub fn summary(problems: &[Problem]) -> String {
    match problems {
        [only] => only.message.clone(),
        several => format!("{} problems were found", several.len()),
    }
}

/// The text of a file that must be there.
///
/// # Errors
/// `EX-0015` if it cannot be read as text.
pub fn read_text(path: &Path) -> Result<String, ErrorReply> {
    std::fs::read_to_string(path).map_err(|error| {
        refusal("EX-0015", 8, format!("the file {} cannot be read as text: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn a_missing_input_is_named_with_its_path() {
        let named = BTreeMap::from([("config".to_string(), PathBuf::from("no/such.json"))]);
        let error = collect(&named).unwrap_err();
        assert_eq!((error.code.as_str(), error.exit), ("EX-0015", 8));
        assert!(error.message.contains("config: no/such.json"), "{}", error.message);
    }

    #[test]
    fn wrong_files_give_all_problems_of_all_files_with_their_places() {
        let directory = written(&[
            ("space.yaml", "design_space: 1\nname: s\ndecisions: []\nbogus: 1\n"),
            ("costs.yaml", "costs: 1\nterms: {}\n"),
        ]);
        let at = |name: &str| directory.path().join(name);
        let named = BTreeMap::from([("space".into(), at("space.yaml")), ("costs".into(), at("costs.yaml"))]);
        let error = collect(&named).unwrap_err();
        assert_eq!((error.code.as_str(), error.exit), ("EX-0511", 8));
        let files: std::collections::BTreeSet<_> = error.problems.iter().map(|p| p.file.clone()).collect();
        assert_eq!(files.len(), 2, "{:?}", error.problems);
        assert!(error.problems.iter().any(|p| p.line == 4 && p.message.contains("bogus")), "{error:?}");
    }

    #[test]
    fn a_table_that_scenarios_name_is_an_input_of_its_own() {
        let directory = written(&[
            ("scenarios.yaml", "scenarios: 1\ntable: t.csv\n"),
            ("t.csv", "price,probability\n1.0,0.5\n2.0,0.5\n"),
        ]);
        let named = BTreeMap::from([("scenarios".into(), directory.path().join("scenarios.yaml"))]);
        let inputs = collect(&named).unwrap();
        assert_eq!(inputs.get("t.csv"), Some(&Content::File(directory.path().join("t.csv"))));
    }

    #[test]
    fn a_bare_table_is_sent_behind_a_scenario_file_that_reads_it() {
        let directory = written(&[("my table.csv", "price\n1.0\n2.0\n")]);
        let path = directory.path().join("my table.csv");
        let inputs = collect(&BTreeMap::from([("scenarios".into(), path.clone())])).unwrap();
        let Some(Content::Text(text)) = inputs.get("scenarios") else { panic!("{inputs:?}") };
        let resolve = |name: &str| match inputs.get(name) {
            Some(Content::File(path)) => std::fs::read_to_string(path).ok(),
            _ => None,
        };
        let model = solvers::scenarios::read("scenarios.yaml", text, &resolve).unwrap();
        assert_eq!(model.set(None).len(), 2);
    }
}
