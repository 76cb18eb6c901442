//! Failpoints: the list and the code agree, and a program that is built as usual holds none.

use crate::harness::project;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The words between quotes that follow `opening`.
fn quoted_after(text: &str, opening: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split(opening).skip(1) {
        let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
        found.extend(name.map(|(name, _)| name.to_owned()));
    }
    found
}

fn collect(folder: &Path, names: &mut BTreeMap<String, u32>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for opening in ["::failpoint!(", "::failpoint_io!("] {
                for name in quoted_after(&text, opening) {
                    *names.entry(name).or_default() += 1;
                }
            }
        }
    }
}

fn in_code() -> BTreeMap<String, u32> {
    let mut names = BTreeMap::new();
    for folder in ["journal/src", "actors/src", "src"] {
        collect(&project().join(folder), &mut names);
    }
    names
}

fn listed() -> Vec<String> {
    let text = fs::read_to_string(project().join("journal/src/failpoints/names.rs")).unwrap();
    text.lines()
        .filter_map(|line| Some(line.trim().strip_prefix('"')?.split_once('"')?.0.to_owned()))
        .collect()
}

#[test]
fn the_list_of_failpoints_and_the_code_agree_and_each_stands_in_one_place() {
    let code = in_code();
    let listed = listed();
    assert!(listed.is_sorted(), "the list is in order");
    assert_eq!(code.keys().cloned().collect::<Vec<_>>(), listed);
    let twice: Vec<_> = code.iter().filter(|(_, places)| **places != 1).collect();
    assert!(twice.is_empty(), "in more than one place: {twice:?}");
    assert!(listed.len() >= 60, "{} failpoints", listed.len());
}

#[cfg(not(feature = "failpoints"))]
#[test]
fn a_program_built_as_usual_holds_no_failpoint() {
    let daemon = fs::read(env!("CARGO_BIN_EXE_executingd")).unwrap();
    let holds = |words: &str| daemon.windows(words.len()).any(|window| window == words.as_bytes());
    for name in listed() {
        assert!(!holds(&name), "the daemon holds {name}");
    }
    assert!(!holds("EXECUTING_FAILPOINTS") && !holds("EXECUTING_WALL_STEP"));
    assert!(holds("The daemon gives up"), "nothing is found in this program, so this proves nothing");
}
