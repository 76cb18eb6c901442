//! Spaces and programs whose counts are known: the search must find exactly those.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

use solvers::enumeration::{Mode, Options, Quiet, enumerate};
use solvers::space::{self, DesignSpace};
use std::path::PathBuf;

fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/bench/enumeration").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {name} is not beside the project");
    None
}

fn read(path: PathBuf) -> DesignSpace {
    let text = std::fs::read_to_string(path).unwrap();
    space::read(&text, "space").unwrap()
}

fn check(name: &str, count: u128, best100: i64) {
    let Some(path) = shared(name) else { return };
    let space = read(path);
    let started = std::time::Instant::now();
    let counted = enumerate(&space, &Options::new(Mode::Count), &mut Quiet).unwrap();
    println!("{name} count {} nodes {} {:?}", counted.count, counted.nodes, started.elapsed());
    assert_eq!((counted.count, counted.complete), (count, true));
    check_best(&space, best100);
    let started = std::time::Instant::now();
    let listed = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap();
    println!("{name} list {} {:?}", listed.count, started.elapsed());
    assert_eq!(listed.designs.len() as u128, count);
    let rows = listed.designs.bytes().chunks_exact(solvers::enumeration::Packing::new(&space).stride());
    assert!(rows.is_sorted_by(|a, b| a < b), "{name} is not in canonical order or has duplicates");
}

fn check_best(space: &DesignSpace, best100: i64) {
    let started = std::time::Instant::now();
    let best = enumerate(space, &Options::new(Mode::Best { k: 100 }), &mut Quiet).unwrap();
    println!("{} best nodes {} {:?}", space.name, best.nodes, started.elapsed());
    assert!(best.complete);
    assert_eq!(best.best.iter().map(|r| r.objective.mantissa).sum::<i64>(), best100);
    assert!(best.best.iter().all(|r| r.objective.scale == 0));
}

#[test]
fn cfg_e2_has_390_designs() {
    check("cfg-e2.json", 390, 316_972);
}

#[test]
fn cfg_e4_has_33958_designs() {
    check("cfg-e4.json", 33_958, 281_059);
}

#[test]
fn cfg_e6_has_2439817_designs() {
    check("cfg-e6.json", 2_439_817, 155_391);
}

#[test]
fn the_best_hundred_of_cfg_e9_are_found_without_listing_it() {
    if let Some(path) = shared("cfg-e9.json") {
        check_best(&read(path), 104_006);
    }
}

/// Minutes on a slow machine: `cargo test -p solvers --test known_counts -- --ignored`.
#[test]
#[ignore = "counts 1.5 thousand million designs"]
fn cfg_e9_has_1495482205_designs() {
    if let Some(path) = shared("cfg-e9.json") {
        let space = read(path);
        let options = Options { threads: 2, ..Options::new(Mode::Count) };
        let started = std::time::Instant::now();
        let counted = enumerate(&space, &options, &mut Quiet).unwrap();
        println!("cfg-e9 nodes {} {:?}", counted.nodes, started.elapsed());
        assert_eq!(counted.count, 1_495_482_205);
    }
}

/// Prints what the diagram takes: `cargo test --release -p solvers --test known_counts -- --ignored diagram --nocapture`.
#[test]
#[ignore = "takes up to a gibibyte"]
fn the_diagram_counts_the_same_or_says_that_it_does_not_fit() {
    for (name, count) in [("cfg-e2.json", 390), ("cfg-e4.json", 33_958), ("cfg-e6.json", 2_439_817)] {
        let Some(path) = shared(name) else { continue };
        let options = Options { confirm: true, ..Options::new(Mode::Count) };
        let started = std::time::Instant::now();
        let counted = enumerate(&read(path), &options, &mut Quiet).unwrap();
        println!("{name} {:?} {:?} {:?}", started.elapsed(), counted.confirmed_by, counted.notes);
        println!("  {} MB", counted.memory_bytes >> 20);
        assert_eq!(counted.count, count);
        assert!(!counted.confirmed_by.is_empty() || counted.notes[0].contains("passes its bound"));
    }
}
