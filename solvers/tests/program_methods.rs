//! Three methods of counting programs against one another and against brute force.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

mod common;

use common::Dice;
use solvers::enumeration::{Flow, Mode, Observer, Progress, Quiet};
use solvers::milp;
use solvers::programs::*;
use std::time::Instant;

fn only(method: Method) -> CountOptions {
    CountOptions { only: Some(method), ..CountOptions::default() }
}

/// Programs of the shapes that the methods look for: exactly-one groups, marks, families, wide columns.
fn shaped(seed: u64) -> Program {
    let mut dice = Dice::new(seed);
    let mut program = Program { name: format!("shaped-{seed}"), scale: 1, offset: 7, ..Program::default() };
    let groups = 1 + dice.below(4) as usize;
    let mut switches = Vec::new();
    for g in 0..groups {
        let size = 2 + dice.below(3) as usize;
        let unit = 1 + dice.below(3) as i64;
        let first = program.columns.len();
        for o in 0..size {
            program.columns.push(Column { name: format!("x{g}.{o}"), lower: 0, upper: 1 });
            switches.push(first + o);
        }
        let terms = (first..first + size).map(|c| (c, unit)).collect();
        program.rows.push(Row { name: format!("one{g}"), terms, lower: Some(unit), upper: Some(unit) });
    }
    for w in 0..dice.below(3) {
        let lower = dice.below(5) as i64 - 3;
        let upper = lower + dice.below(7) as i64;
        program.columns.push(Column { name: format!("w{w}"), lower, upper });
    }
    let plain = program.columns.len();
    program.costs = (0..plain).map(|_| dice.below(15) as i64 - 7).collect();
    if dice.below(2) == 0 {
        // Marks over random different switches, and a row that counts them.
        let mut left = switches.clone();
        let mut counted = Vec::new();
        for v in 0..1 + dice.below(3) {
            let mut of = Vec::new();
            for _ in 0..1 + dice.below(3) {
                if !left.is_empty() {
                    of.push(left.remove(dice.below(left.len() as u64) as usize));
                }
            }
            if of.is_empty() {
                continue;
            }
            let mark = program.columns.len();
            program.columns.push(Column { name: format!("y{v}"), lower: 0, upper: 1 });
            program.costs.push(0);
            for &c in &of {
                let terms = vec![(c, 1), (mark, -1)];
                program.rows.push(Row { name: format!("low{v}.{c}"), terms, lower: None, upper: Some(0) });
            }
            let mut terms: Vec<(usize, i64)> = of.iter().map(|&c| (c, -1)).collect();
            terms.push((mark, 1));
            program.rows.push(Row { name: format!("high{v}"), terms, lower: None, upper: Some(0) });
            counted.push((mark, 1));
        }
        let (a, b) = (dice.below(4) as i64 - 1, dice.below(4) as i64);
        let lower = (dice.below(2) == 0).then_some(a);
        program.rows.push(Row { name: "marks".into(), terms: counted, lower, upper: Some(b) });
    }
    for r in 0..dice.below(4) {
        let width = 1 + dice.below(5) as usize;
        let mut terms = std::collections::BTreeMap::new();
        let units = dice.below(2) == 0;
        for _ in 0..width {
            let a = if units { 1 } else { dice.below(9) as i64 - 4 };
            terms.insert(dice.below(plain as u64) as usize, a);
        }
        let terms: Vec<(usize, i64)> = terms.into_iter().filter(|t| t.1 != 0).collect();
        let upper = dice.below(6) as i64 - 1;
        let lower = (dice.below(3) == 0).then(|| upper - dice.below(4) as i64);
        program.rows.push(Row { name: format!("r{r}"), terms, lower, upper: Some(upper) });
    }
    program.maximise = dice.below(2) == 0;
    program
}

fn brute(program: &Program) -> Vec<Vec<i64>> {
    fn go(program: &Program, values: &mut Vec<i64>, out: &mut Vec<Vec<i64>>) {
        let Some(column) = program.columns.get(values.len()) else {
            if program.check(values).is_ok() {
                out.push(values.clone());
            }
            return;
        };
        for v in column.lower..=column.upper {
            values.push(v);
            go(program, values, out);
            values.pop();
        }
    }
    let mut out = Vec::new();
    go(program, &mut Vec::new(), &mut out);
    out
}

#[test]
fn every_method_counts_what_brute_force_lists() {
    let (mut empty, mut fewer_decisions) = (0, 0);
    for seed in 0..2000 {
        let program = shaped(seed);
        let expected = brute(&program);
        for method in [Method::Components, Method::Choices, Method::Search] {
            let counted = match solutions(&program, &only(method), &mut Quiet) {
                Err(ProgramError::NoChoices) if method == Method::Choices => continue,
                other => other.unwrap(),
            };
            assert_eq!(counted.count, expected.len() as u128, "seed {seed} {method:?}");
            assert!(counted.complete);
        }
        let mut counted = solutions(&program, &CountOptions::default(), &mut Quiet).unwrap();
        assert_eq!(counted.count, expected.len() as u128, "seed {seed}");
        confirm(&program, &mut counted, &CountOptions::default(), &mut Quiet).unwrap();
        assert!(counted.confirmed_by.is_some() || counted.method == BY_SEARCH, "seed {seed}");
        empty += usize::from(expected.is_empty());
        let marks = program.columns.iter().any(|c| c.name.starts_with('y'));
        if let Some(choices) = Choices::new(&program).filter(|_| marks) {
            let one = |name: &str| name.starts_with('y');
            fewer_decisions += usize::from(choices.space.decisions.iter().all(|d| !one(&d.name)));
        }
    }
    assert!((200..1700).contains(&empty), "{empty} of 2000 are empty");
    assert!(fewer_decisions > 200, "only {fewer_decisions} programs had their marks recognised");
}

#[test]
fn a_full_memory_changes_the_time_and_not_the_count() {
    for seed in 0..500 {
        let program = shaped(seed);
        let whole = solutions(&program, &only(Method::Components), &mut Quiet).unwrap();
        let tight = CountOptions { memory_bytes_max: 100, ..only(Method::Components) };
        let small = solutions(&program, &tight, &mut Quiet).unwrap();
        assert_eq!(small.count, whole.count, "seed {seed}");
        assert!(small.stored_bytes <= 100);
        assert_eq!(small.method != BY_COMPONENTS, whole.stored_bytes > 100, "seed {seed}: {}", small.method);
    }
}

#[test]
fn best_and_sample_of_a_program_are_those_of_brute_force() {
    for seed in 0..600 {
        let program = shaped(seed);
        let expected = brute(&program);
        let Ok(best) = chosen(&program, Mode::Best { k: 5 }, 1, &mut Quiet) else { continue };
        let mut objectives: Vec<i64> = expected.iter().map(|v| program.objective(v).unwrap()).collect();
        objectives.sort_unstable();
        if program.maximise {
            objectives.reverse();
        }
        objectives.truncate(5);
        let found: Vec<i64> = best.solutions.iter().map(|s| program.objective(&s.values).unwrap()).collect();
        assert_eq!(found, objectives, "seed {seed}");
        assert!(best.solutions.iter().all(|s| expected.contains(&s.values)), "seed {seed}");
        let sample = chosen(&program, Mode::Sample { k: 4, seed }, 1, &mut Quiet).unwrap();
        assert_eq!(sample.solutions.len(), expected.len().min(4), "seed {seed}");
        assert!(sample.solutions.iter().all(|s| expected.contains(&s.values)), "seed {seed}");
        let distinct: std::collections::BTreeSet<_> = sample.solutions.iter().map(|s| &s.values).collect();
        assert_eq!(distinct.len(), sample.solutions.len());
        let list = chosen(&program, Mode::List, 1, &mut Quiet).unwrap();
        let mut all: Vec<Vec<i64>> = list.solutions.into_iter().map(|s| s.values).collect();
        all.sort();
        assert_eq!(all, expected, "seed {seed}");
    }
}

/// Places for dominoes on a square board, each cell covered once.
fn board(side: usize) -> Program {
    let mut program = Program::default();
    let mut cells = vec![Vec::new(); side * side];
    for cell in 0..side * side {
        for (other, fits) in [(cell + 1, (cell + 1) % side != 0), (cell + side, cell + side < side * side)] {
            if fits {
                cells[cell].push((program.columns.len(), 1));
                cells[other].push((program.columns.len(), 1));
                program.columns.push(Column { name: format!("d{cell}.{other}"), lower: 0, upper: 1 });
            }
        }
    }
    program.costs = vec![0; program.columns.len()];
    for (at, terms) in cells.into_iter().enumerate() {
        program.rows.push(Row { name: format!("c{at}"), terms, lower: Some(1), upper: Some(1) });
    }
    program
}

/// Though all its columns are options of decisions, a board's parts come again: left to the engine of choices
/// this would take hours.
#[test]
fn a_board_whose_parts_come_again_is_counted_by_components() {
    let counted = solutions(&board(10), &CountOptions::default(), &mut Quiet).unwrap();
    assert_eq!((counted.count, counted.method.as_str()), (258_584_046_368, BY_COMPONENTS));
}

/// A row of dominoes, 2 wide: Fibonacci numbers, far beyond what can be listed.
fn ladder(n: usize) -> Program {
    let cell = |i: usize, j: usize| i * 2 + j;
    let mut cells: Vec<Vec<usize>> = vec![Vec::new(); 2 * n];
    let mut columns = Vec::new();
    let mut lay = |a: usize, b: usize| {
        cells[a].push(columns.len());
        cells[b].push(columns.len());
        columns.push(Column { name: format!("d{}", columns.len()), lower: 0, upper: 1 });
    };
    for i in 0..n {
        lay(cell(i, 0), cell(i, 1));
        if i + 1 < n {
            lay(cell(i, 0), cell(i + 1, 0));
            lay(cell(i, 1), cell(i + 1, 1));
        }
    }
    let row = |(r, terms): (usize, Vec<usize>)| Row {
        name: format!("cell{r}"),
        terms: terms.into_iter().map(|c| (c, 1)).collect(),
        lower: Some(1),
        upper: Some(1),
    };
    let costs = vec![0; columns.len()];
    let rows = cells.into_iter().enumerate().map(row).collect();
    Program { columns, rows, costs, ..Program::default() }
}

#[test]
fn counts_beyond_64_bits_are_exact() {
    let (mut a, mut b) = (1u128, 1u128);
    for _ in 1..150 {
        (a, b) = (b, a + b);
    }
    let counted = solutions(&ladder(150), &only(Method::Components), &mut Quiet).unwrap();
    assert_eq!(counted.count, b);
    assert!(b > u128::from(u64::MAX));
    // 127 free switches are 2^127; two more pass 2^128.
    let free = |n: usize| Program {
        columns: (0..n).map(|c| Column { name: format!("x{c}"), lower: 0, upper: 1 }).collect(),
        costs: vec![0; n],
        ..Program::default()
    };
    for method in [Method::Components, Method::Search] {
        assert_eq!(solutions(&free(127), &only(method), &mut Quiet).unwrap().count, 1u128 << 127);
        assert_eq!(solutions(&free(129), &only(method), &mut Quiet).unwrap_err(), ProgramError::TooMany);
    }
}

/// Stops at once and remembers how it was asked.
#[derive(Default)]
struct Impatient {
    asked: Option<Instant>,
    last: Option<Progress>,
}

impl Observer for Impatient {
    fn progress(&mut self, progress: &Progress) -> Flow {
        self.asked.get_or_insert_with(Instant::now);
        self.last = Some(*progress);
        Flow::Stop
    }
}

#[test]
fn a_stopped_count_says_so_and_claims_no_more_than_it_found() {
    // A knapsack of 60 different weights: no method gets through it.
    let weights = |c: usize| 1_000_003 + 7919 * c as i64 * c as i64;
    let program = Program {
        columns: (0..60).map(|c| Column { name: format!("x{c}"), lower: 0, upper: 1 }).collect(),
        rows: vec![Row {
            name: "half".into(),
            terms: (0..60).map(|c| (c, weights(c))).collect(),
            lower: Some(200_000_000),
            upper: Some(200_000_100),
        }],
        costs: vec![0; 60],
        ..Program::default()
    };
    for method in [Method::Components, Method::Choices, Method::Search] {
        let mut observer = Impatient::default();
        let counted = solutions(&program, &only(method), &mut observer).unwrap();
        println!("{method:?}: ended {:?} after it was told to", observer.asked.unwrap().elapsed());
        assert!(!counted.complete, "{method:?}");
        let progress = observer.last.unwrap();
        assert!(progress.fraction() < 1.0);
        assert!(progress.found <= counted.count, "{method:?}: {progress:?}");
    }
}

#[test]
fn sums_beyond_64_bits_and_too_many_kept_are_refused() {
    let mut program = ladder(2);
    program.rows[0].terms[0].1 = i64::MAX / 2;
    let error = solutions(&program, &CountOptions::default(), &mut Quiet).unwrap_err();
    assert_eq!(error, ProgramError::Overflow { row: "cell0".into() });
    let options = CountOptions { keep: KEEP_MAX + 1, ..CountOptions::default() };
    let error = solutions(&ladder(2), &options, &mut Quiet).unwrap_err();
    assert!(matches!(error, ProgramError::TooManyAsked { .. }));
    let wide = Program {
        columns: vec![Column { name: "w".into(), lower: 0, upper: 5000 }],
        costs: vec![1],
        ..Program::default()
    };
    assert_eq!(chosen(&wide, Mode::Best { k: 1 }, 1, &mut Quiet).unwrap_err(), ProgramError::NoChoices);
    assert_eq!(solutions(&wide, &CountOptions::default(), &mut Quiet).unwrap().count, 5001);
}

#[test]
fn a_space_and_its_program_have_the_same_count() {
    let mut seen = 0;
    for seed in 0..400 {
        let space = common::random_space(seed);
        let options = solvers::enumeration::Options::new(Mode::Count);
        let expected = solvers::enumeration::enumerate(&space, &options, &mut Quiet).unwrap().count;
        let program = milp::model(&space, space.objective.as_ref()).unwrap().program;
        for method in [Method::Components, Method::Choices, Method::Search] {
            match solutions(&program, &only(method), &mut Quiet) {
                Err(ProgramError::NoChoices) => {}
                other => assert_eq!(other.unwrap().count, expected, "seed {seed} {method:?}"),
            }
        }
        seen += usize::from(expected > 0);
    }
    assert!(seen > 100, "{seen} of 400 have a design");
}
