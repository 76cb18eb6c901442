//! Programs from files: counts that are known, a brute force on random ones, refusals.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

mod common;

use common::Dice;
use solvers::milp::{Status, solve};
use solvers::programs::{Column, Program, Row, count, read};
use std::path::PathBuf;

fn shared(name: &str, expected: u128) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/bench/enumeration").join(name);
    if !path.exists() {
        println!("skipped: {name} is not beside the project");
        return;
    }
    let program = read(&path).unwrap();
    let started = std::time::Instant::now();
    let counted = count(&program, 0, &mut || false).unwrap();
    println!(
        "{name}: {} in {:?}, {} nodes, {}, confirmed by {:?}, {} bytes",
        counted.count,
        started.elapsed(),
        counted.nodes,
        counted.method,
        counted.confirmed_by,
        counted.stored_bytes
    );
    assert_eq!((counted.count, counted.complete), (expected, true), "{name}");
}

#[test]
fn small_known_programs_have_their_known_counts() {
    for (name, expected) in [
        ("p0033.mps", 10_746),
        ("queens8.mps", 92),
        ("queens10.mps", 724),
        ("latin4.mps", 576),
        ("magic3.mps", 8),
        ("domino6.mps", 6_728),
        ("cfg-e2.mps", 390),
    ] {
        shared(name, expected);
    }
}

#[test]
fn stein27_has_367525_solutions() {
    shared("stein27.mps", 367_525);
}

#[test]
fn cfg_e4_as_a_program_has_the_count_of_the_space() {
    shared("cfg-e4.mps", 33_958);
}

fn random_program(seed: u64) -> Program {
    let mut dice = Dice::new(seed);
    let n = 1 + dice.below(6) as usize;
    let columns: Vec<Column> = (0..n)
        .map(|c| {
            let lower = dice.below(4) as i64 - 2;
            Column { name: format!("x{c}"), lower, upper: lower + dice.below(4) as i64 }
        })
        .collect();
    let rows = (0..dice.below(5))
        .map(|r| {
            let mut terms: Vec<(usize, i64)> = (0..n).map(|c| (c, dice.below(9) as i64 - 4)).collect();
            terms.retain(|(_, a)| *a != 0);
            let low = dice.below(20) as i64 - 10;
            let high = low + dice.below(12) as i64;
            let kind = dice.below(4);
            Row {
                name: format!("r{r}"),
                terms,
                lower: (kind != 0).then_some(low),
                upper: (kind != 1).then_some(if kind == 3 { low } else { high }),
            }
        })
        .collect();
    let costs = (0..n).map(|_| dice.below(15) as i64 - 7).collect();
    Program { columns, rows, costs, offset: 3, scale: 1, maximise: dice.below(2) == 0, ..Program::default() }
}

fn brute(program: &Program) -> Vec<Vec<i64>> {
    let mut all: Vec<Vec<i64>> = vec![Vec::new()];
    for column in &program.columns {
        all = all
            .into_iter()
            .flat_map(|v| (column.lower..=column.upper).map(move |x| [v.clone(), vec![x]].concat()))
            .collect();
    }
    all.retain(|v| program.check(v).is_ok());
    all
}

#[test]
fn random_programs_agree_with_brute_force_and_highs() {
    let mut empty = 0;
    for seed in 0..1500 {
        let program = random_program(seed);
        let expected = brute(&program);
        let counted = count(&program, usize::MAX, &mut || false).unwrap();
        assert_eq!(counted.solutions, expected, "seed {seed}");
        assert_eq!(count(&program, 0, &mut || false).unwrap().count, expected.len() as u128, "seed {seed}");
        let answer = solve(&program, None).unwrap();
        let values = expected.iter().map(|v| program.objective(v).unwrap());
        let best = if program.maximise { values.max() } else { values.min() };
        assert_eq!(answer.objective, best, "seed {seed}");
        assert_eq!(answer.status == Status::Infeasible, expected.is_empty(), "seed {seed}");
        empty += usize::from(expected.is_empty());
    }
    assert!((100..1200).contains(&empty), "{empty} of 1500 are infeasible");
}

fn problems(name: &str, text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    match read(&path) {
        Ok(program) => panic!("{name} was read: {program:?}"),
        Err(all) => all.into_iter().map(|p| format!("{} {}", p.code, p.message)).collect(),
    }
}

#[test]
fn programs_that_cannot_be_counted_exactly_are_refused_with_all_reasons() {
    let text = "NAME t\nROWS\n N obj\n L r0\nCOLUMNS\n y obj 1\n y r0 1\n M1 'MARKER' 'INTORG'\n x obj 1\n x r0 0.33333333333333\n M2 'MARKER' 'INTEND'\nRHS\n RHS r0 4\nBOUNDS\n UP bnd x 3\nENDATA\n";
    let all = problems("t.mps", text);
    for code in ["EX-0331", "EX-0332", "EX-0333"] {
        assert!(all.iter().any(|p| p.starts_with(code)), "{code} is not among {all:?}");
    }
    assert!(problems("broken.mps", "this is no program\nENDATA\n")[0].starts_with("EX-0330"));
    assert!(problems("absent.txt", "x")[0].starts_with("EX-0335"));
}

#[test]
fn an_lp_file_with_decimals_is_scaled_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.lp");
    std::fs::write(&path, "maximize\n obj: 0.25 x + 1.5 y\nsubject to\n c: 0.1 x + 0.2 y <= 0.5\nbounds\n 0 <= x <= 3\n 0 <= y <= 3\ngeneral\n x y\nend\n").unwrap();
    let program = read(&path).unwrap();
    assert_eq!(program.rows[0].terms, vec![(0, 1), (1, 2)]);
    assert_eq!((program.rows[0].upper, program.scale, program.maximise), (Some(5), 2, true));
    // y=0: x 0..3; y=1: x 0..3; y=2: x 0..1.
    assert_eq!(count(&program, 0, &mut || false).unwrap().count, 10);
    assert_eq!(solve(&program, None).unwrap().objective, Some(325));
}

#[test]
fn counting_ends_when_it_is_told_to() {
    let column = |c: usize| Column { name: format!("x{c}"), lower: 0, upper: 1 };
    let terms = |n: usize| (0..n).map(|c| (c, 1_000_003 + 7919 * (c * c) as i64)).collect();
    let row =
        Row { name: "half".into(), terms: terms(60), lower: Some(200_000_000), upper: Some(200_000_100) };
    let program = Program {
        columns: (0..60).map(column).collect(),
        rows: vec![row],
        costs: vec![0; 60],
        ..Program::default()
    };
    let counted = count(&program, 0, &mut || true).unwrap();
    assert!(!counted.complete);
}
