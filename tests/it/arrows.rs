//! The rooms of the workspace: who may know whom, and what the daemon must not hold.

use crate::harness::project;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const ROOMS: [&str; 7] = ["engine", "solvers", "quantum", "journal", "supervisors", "actors", "simulation"];

/// What a room may know of the others; the root package may know all.
fn allowed(room: &str) -> &'static [&'static str] {
    match room {
        "actors" => &["engine", "journal", "supervisors", "quantum"],
        // A tool of development: it drives the machines, and nobody depends on it.
        "simulation" => &["engine", "journal", "quantum"],
        _ => &[],
    }
}

/// Names of our own rooms among the dependencies of a manifest, tests' and builds' included.
fn known(manifest: &str) -> BTreeSet<String> {
    let mut in_dependencies = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            // `[dependencies.engine]` names the room in the heading itself.
            if let Some((table, name)) = section.rsplit_once("dependencies.") {
                if table != "workspace." {
                    found.extend(ROOMS.iter().filter(|room| **room == name).map(|room| (*room).to_owned()));
                }
                in_dependencies = false;
                continue;
            }
            in_dependencies = section.ends_with("dependencies") && section != "workspace.dependencies";
            continue;
        }
        if !in_dependencies || line.starts_with('#') {
            continue;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
        let renamed = ROOMS.iter().find(|room| line.contains(&format!("package = \"{room}\"")));
        let by_path = ROOMS.iter().find(|room| line.contains(&format!("path = \"../{room}\"")));
        let by_name = ROOMS.iter().find(|room| **room == name);
        found.extend([renamed, by_path, by_name].into_iter().flatten().map(|room| (*room).to_owned()));
    }
    found
}

/// Arrows that point up, as `room -> other`.
fn wrong(manifests: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (room, manifest) in manifests {
        for other in known(manifest) {
            if other != *room && !allowed(room).contains(&other.as_str()) {
                wrong.push(format!("{room} -> {other}"));
            }
        }
    }
    wrong
}

#[test]
fn no_dependency_arrow_points_up() {
    let manifests: BTreeMap<String, String> = ROOMS
        .iter()
        .map(|room| {
            let path = project().join(room).join("Cargo.toml");
            ((*room).to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    assert_eq!(wrong(&manifests), Vec::<String>::new());
    assert!(known(&manifests["actors"]).contains("engine"), "the reader of manifests sees nothing");
}

#[test]
fn an_arrow_that_points_up_is_found_however_it_is_written() {
    for line in [
        "[dependencies]\nactors.workspace = true\n",
        "[dependencies]\nactors = { path = \"../actors\" }\n",
        "[dependencies.actors]\nworkspace = true\n",
        "[dev-dependencies]\nfriends = { package = \"actors\", workspace = true }\n",
        "[target.'cfg(unix)'.dependencies]\nactors.workspace = true\n",
    ] {
        let manifests = BTreeMap::from([("engine".to_owned(), line.to_owned())]);
        assert_eq!(wrong(&manifests), ["engine -> actors"], "{line}");
    }
    let fine = "[dependencies]\nserde.workspace = true\n[workspace.dependencies]\nactors = \"1\"\n";
    assert_eq!(wrong(&BTreeMap::from([("engine".to_owned(), fine.to_owned())])), Vec::<String>::new());
}

#[test]
fn both_profiles_unwind_so_that_a_panic_ends_one_actor_and_not_the_process() {
    let manifest = fs::read_to_string(project().join("Cargo.toml")).unwrap();
    for profile in ["dev", "release"] {
        let heading = format!("[profile.{profile}]");
        let section = manifest.split(&heading).nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        assert!(section.lines().any(|line| line.trim() == "panic = \"unwind\""), "{profile}: {section}");
    }
    assert!(!manifest.contains("panic = \"abort\""));
}

fn holds(program: &[u8], words: &str) -> bool {
    program.windows(words.len()).any(|window| window == words.as_bytes())
}

#[test]
fn the_daemon_holds_no_solver_and_no_cpp_and_the_worker_does() {
    let daemon = fs::read(env!("CARGO_BIN_EXE_executingd")).unwrap();
    for words in ["Highs_", "HighsLp", "libstdc++.so"] {
        assert!(!holds(&daemon, words), "executingd holds {words}");
    }
    let worker = fs::read(env!("CARGO_BIN_EXE_executing-worker")).unwrap();
    for words in ["Highs_", "HighsLp"] {
        assert!(
            holds(&worker, words),
            "executing-worker does not hold {words}, so this check proves nothing"
        );
    }
}
