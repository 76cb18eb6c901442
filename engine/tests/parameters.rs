//! The table of parameters: what is refused, with which words, and that the worker reads nothing else.
#![allow(clippy::unwrap_used)]

use engine::definition::parameters::{self, PARAMETERS, Takes};
use engine::definition::{Library, LoadRequest, StageKind, load};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[test]
fn an_unknown_name_is_refused_with_the_nearest_and_a_wrong_value_with_its_range() {
    let refused =
        |kind, name: &str, value: Value| parameters::check(kind, name, &value).unwrap_err().to_string();
    let unknown = refused(StageKind::QaoaOptimization, "shotz", json!(7));
    assert!(unknown.contains("did you mean `shots`?") && unknown.contains("layers"), "{unknown}");
    let range = refused(StageKind::QaoaOptimization, "shots", json!(0));
    assert_eq!(range, "`shots` is 0; expected a whole number from 1 to 10000000");
    for (kind, name, value) in [
        (StageKind::MilpSolving, "solve_seconds_max", json!(0)),
        (StageKind::MilpSolving, "solve_seconds_max", json!("NaN")),
        (StageKind::CvarCalculation, "cvar_level", json!(1.0)),
        (StageKind::QaoaOptimization, "elite_fraction", json!(0)),
        (StageKind::QaoaOptimization, "mixer", json!("blender")),
        (StageKind::Exec, "start_to_close", json!("0ms")),
        (StageKind::Exec, "start_to_close", json!("soon")),
        (StageKind::FeasibleSetGeneration, "checkpoint_ms", json!(-1)),
        (StageKind::FeasibleSetGeneration, "checkpoint_ms", json!(u64::MAX)),
    ] {
        assert!(parameters::check(kind, name, &value).is_err(), "{name} = {value}");
    }
    for (kind, name, value) in [
        (StageKind::QaoaOptimization, "shots", json!("2048")),
        (StageKind::CvarCalculation, "cvar_level", json!(0)),
        (StageKind::Exec, "start_to_close", json!("90m")),
        (StageKind::Exec, "whatever_the_program_reads", json!([1])),
    ] {
        assert_eq!(parameters::check(kind, name, &value), Ok(()), "{name} = {value}");
    }
}

#[test]
fn only_what_changes_no_result_is_taken_up_live() {
    let live: BTreeSet<&str> =
        PARAMETERS.iter().filter(|row| row.tunable == Some(Takes::Live)).map(|row| row.name).collect();
    assert_eq!(live, BTreeSet::from(["checkpoint_ms", "schedule_to_start", "start_to_close", "threads"]));
    let offered: BTreeSet<&str> =
        PARAMETERS.iter().filter(|row| row.tunable == Some(Takes::AtWork)).map(|row| row.name).collect();
    assert_eq!(offered, BTreeSet::from(["iterations", "risk_weight", "shots", "solve_seconds_max"]));
    let fixed = parameters::judge_tuning(StageKind::Exec, "command", &json!(["x"])).unwrap_err();
    assert!(fixed.to_string().contains("clone"), "{fixed}");
}

#[test]
fn every_wrong_parameter_of_a_submission_is_named_at_once() {
    let text = "workflow: w\nstages:\n  - {name: solve, kind: milp-solving}\n  - {name: list, kind: feasible-set-generation}\n";
    let given = BTreeMap::from([
        ("solve.solve_seconds_max".to_owned(), json!(0)),
        ("list.kep".to_owned(), json!(3)),
        ("list_max".to_owned(), json!(0)),
        ("lits_max".to_owned(), json!(1)),
        ("seed".to_owned(), json!(3)),
    ]);
    let library = Library::default();
    let request = LoadRequest { text, file: "w.yaml", workflow: None, library: &library, params: &given };
    let problems = load(request).unwrap_err();
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(codes.iter().filter(|code| **code == "EX-0052").count(), 2, "{problems:?}");
    assert_eq!(codes.iter().filter(|code| **code == "EX-0054").count(), 2, "{problems:?}");
    let words = format!("{problems:?}");
    for expected in ["did you mean `keep`?", "did you mean `list_max`?", "above 0", "from 1 to 100000000"] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
}

/// Names between the first quotes after `call` in `text`.
fn read_with<'t>(text: &'t str, call: &str) -> Vec<&'t str> {
    text.split(call)
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect()
}

#[test]
fn every_parameter_that_the_worker_reads_stands_in_the_table() {
    let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/bin/executing-worker/task");
    let mut read = BTreeSet::new();
    // A kind's own room holds what a file alone would be too long for.
    let rooms = std::fs::read_dir(&task).unwrap().flatten().map(|entry| entry.path());
    let folders = rooms.filter(|path| path.is_dir()).chain([task.clone()]);
    for entry in folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten()) {
        let name = entry.file_name();
        if name == "params.rs" || entry.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap();
        for call in ["number(", "whole(", "flag(", "text(", "texts(", "get("] {
            for name in read_with(&text, &format!("params.{call}")) {
                read.insert(name.to_owned());
            }
        }
        for name in read_with(&text, "word(work,").into_iter().chain(read_with(&text, "pick(")) {
            read.insert(name.to_owned());
        }
        // `word(` with its arguments on lines of their own.
        for rest in text.split("word(\n").skip(1) {
            read.extend(rest.split('"').nth(1).map(str::to_owned));
        }
    }
    assert!(read.len() >= 20 && read.contains("warm_start") && read.contains("risk_weight"), "{read:?}");
    let known: BTreeSet<String> = PARAMETERS.iter().map(|row| row.name.to_owned()).collect();
    let missing: Vec<_> = read.difference(&known).collect();
    assert!(missing.is_empty(), "read by the worker and not published: {missing:?}");
}

#[test]
fn no_parameter_stands_twice_for_a_kind() {
    for kind in StageKind::ALL {
        let names: Vec<&str> = parameters::names(kind).collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{kind:?}");
    }
}
