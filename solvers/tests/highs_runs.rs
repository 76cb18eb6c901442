//! HiGHS watched, stopped, started warm, and caught where it answers wrongly.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

mod common;

use common::{Dice, random_space};
use solvers::enumeration::{Flow, Mode, Options, Quiet, enumerate};
use solvers::milp::*;
use solvers::programs::{Column, Program, Row};
use std::time::Instant;

/// Equations over random weights whose sides are halved: no solver gets through 40 columns of it soon.
fn market_split(columns: usize, rows: usize, seed: u64) -> Program {
    let mut dice = Dice::new(seed);
    let mut program = Program { name: "market-split".into(), ..Program::default() };
    for c in 0..columns {
        program.columns.push(Column { name: format!("x{c}"), lower: 0, upper: 1 });
        program.costs.push(0);
    }
    for r in 0..rows {
        let mut terms: Vec<(usize, i64)> = (0..columns).map(|c| (c, dice.below(100) as i64)).collect();
        terms.retain(|t| t.1 != 0);
        let half = terms.iter().map(|t| t.1).sum::<i64>() / 2;
        // Slack on both sides at a price, as the benchmark has it.
        for (sign, name) in [(1, "over"), (-1, "under")] {
            terms.push((program.columns.len(), sign));
            program.columns.push(Column { name: format!("{name}{r}"), lower: 0, upper: 10_000 });
            program.costs.push(1);
        }
        program.rows.push(Row { name: format!("half{r}"), terms, lower: Some(half), upper: Some(half) });
    }
    program
}

/// A knapsack with several rows: quick, but with several incumbents.
fn knapsack(seed: u64) -> Program {
    let mut dice = Dice::new(seed);
    let n = 30;
    let mut program = Program { name: "knapsack".into(), maximise: true, scale: 1, ..Program::default() };
    for c in 0..n {
        program.columns.push(Column { name: format!("x{c}"), lower: 0, upper: 1 });
        program.costs.push(10 + dice.below(900) as i64);
    }
    for r in 0..4 {
        let terms: Vec<(usize, i64)> = (0..n).map(|c| (c, 1 + dice.below(99) as i64)).collect();
        let half = terms.iter().map(|t| t.1).sum::<i64>() / 3;
        program.rows.push(Row { name: format!("r{r}"), terms, lower: None, upper: Some(half) });
    }
    program
}

#[derive(Default)]
struct Log {
    incumbents: Vec<Incumbent>,
    asked: usize,
    stop_at: Option<usize>,
    stopped: Option<Instant>,
}

impl SolveObserver for Log {
    fn solving(&mut self, solving: &Solving) -> Flow {
        self.asked += 1;
        self.incumbents.extend(solving.incumbent.clone());
        if self.stop_at.is_some_and(|at| self.asked >= at) {
            self.stopped.get_or_insert_with(Instant::now);
            return Flow::Stop;
        }
        Flow::Continue
    }
}

#[test]
fn incumbents_are_told_as_they_come_checked_and_ever_better() {
    let mut several = 0;
    for seed in 0..20 {
        let program = knapsack(seed);
        let mut log = Log::default();
        let answer = solve_with(&program, &SolveOptions::default(), &mut log).unwrap();
        assert_eq!(answer.status, Status::Optimal);
        for incumbent in &log.incumbents {
            program.check(&incumbent.values).unwrap();
            assert_eq!(program.objective(&incumbent.values), Some(incumbent.objective));
        }
        assert!(log.incumbents.windows(2).all(|w| w[0].objective < w[1].objective), "seed {seed}");
        assert_eq!(log.incumbents.last().map(|i| i.objective), answer.objective, "seed {seed}");
        several += usize::from(log.incumbents.len() > 1);
    }
    assert!(several > 5, "only {several} of 20 runs had more than one incumbent");
}

#[test]
fn a_run_that_is_stopped_says_so_and_what_it_has_holds() {
    let program = market_split(50, 6, 1);
    let mut log = Log { stop_at: Some(30), ..Log::default() };
    let answer = solve_with(&program, &SolveOptions::default(), &mut log).unwrap();
    println!("HiGHS ended {:?} after it was told to", log.stopped.unwrap().elapsed());
    assert!(answer.interrupted);
    assert!(matches!(answer.status, Status::Feasible | Status::Unknown), "{answer:?}");
    if let Some(values) = &answer.values {
        program.check(values).unwrap();
    }
    let options = SolveOptions { seconds_max: Some(0.2), start: None };
    let answer = solve_with(&program, &options, &mut Silent).unwrap();
    assert!(!answer.interrupted);
    assert!(matches!(answer.status, Status::Feasible | Status::Unknown), "{answer:?}");
    if let (Some(bound), Some(objective)) = (answer.bound, answer.objective) {
        assert!(bound <= objective as f64 + 1e-6, "{bound} {objective}");
    }
}

/// Says one limit for some looks and then another; stops by itself much later, if nothing else did.
struct Limited {
    first: f64,
    looks: usize,
    then: f64,
    began: Instant,
}

impl SolveObserver for Limited {
    fn solving(&mut self, _: &Solving) -> Flow {
        if self.began.elapsed().as_secs_f64() > 1.0 { Flow::Stop } else { Flow::Continue }
    }

    fn seconds_max(&mut self) -> Option<f64> {
        self.looks = self.looks.saturating_sub(1);
        Some(if self.looks > 0 { self.first } else { self.then })
    }
}

#[test]
fn a_limit_that_changes_while_the_solver_works_ends_it_or_lets_it_go_on() {
    let program = market_split(50, 6, 1);
    let run = |first: f64, then: f64, seconds_max: f64| {
        let mut limited = Limited { first, looks: 5, then, began: Instant::now() };
        let options = SolveOptions { seconds_max: Some(seconds_max), start: None };
        let answer = solve_with(&program, &options, &mut limited).unwrap();
        assert!(matches!(answer.status, Status::Feasible | Status::Unknown), "{answer:?}");
        (answer.interrupted, limited.began.elapsed().as_secs_f64())
    };
    // What was said first, to the options or by the observer, no longer counts.
    let (by_observer, seconds) = run(3_600.0, 3_600.0, 0.01);
    assert!(by_observer && seconds > 1.0, "it ended after {seconds} s by the limit of the beginning");
    let (by_observer, _) = run(3_600.0, 0.001, 3_600.0);
    assert!(by_observer);
}

#[test]
fn a_starting_solution_is_taken_completed_or_left_and_never_changes_the_optimum() {
    let (mut taken, mut left) = (0, 0);
    for seed in 0..20 {
        let program = knapsack(seed);
        let cold = solve(&program, None).unwrap();
        assert!(!cold.started);
        // The optimum itself, in full: HiGHS has it from the beginning.
        let all: Vec<(usize, i64)> = cold.values.clone().unwrap().into_iter().enumerate().collect();
        for start in [all.clone(), all[..10].to_vec(), (0..30).map(|c| (c, 1)).collect()] {
            let options = SolveOptions { seconds_max: None, start: Some(start) };
            let warm = solve_with(&program, &options, &mut Silent).unwrap();
            assert_eq!((warm.status, warm.objective), (Status::Optimal, cold.objective), "seed {seed}");
            taken += usize::from(warm.started);
            left += usize::from(!warm.started);
        }
    }
    assert_eq!((taken, left), (40, 20));
    let program = market_split(50, 6, 1);
    let known = Log { stop_at: Some(60), ..Log::default() };
    let mut known = known;
    let cold = solve_with(&program, &SolveOptions::default(), &mut known).unwrap();
    let start: Vec<(usize, i64)> = cold.values.clone().unwrap().into_iter().enumerate().collect();
    let options = SolveOptions { seconds_max: Some(0.05), start: Some(start) };
    let warm = solve_with(&program, &options, &mut Silent).unwrap();
    assert!(warm.started && warm.objective <= cold.objective, "{warm:?} after {cold:?}");
    let wrong = SolveOptions { seconds_max: None, start: Some(vec![(0, 7)]) };
    assert!(matches!(solve_with(&program, &wrong, &mut Silent), Err(SolveError::Start { .. })));
    let wrong = SolveOptions { seconds_max: None, start: Some(vec![(700, 0)]) };
    assert!(matches!(solve_with(&program, &wrong, &mut Silent), Err(SolveError::Start { .. })));
}

#[test]
fn a_design_is_a_starting_solution_and_better_designs_are_told() {
    let mut taken = 0;
    for seed in 0..300 {
        let space = random_space(seed);
        let listed = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap().designs;
        let best = enumerate(&space, &Options::new(Mode::Best { k: 1 }), &mut Quiet).unwrap().best;
        let Some(start) = listed.iter().last() else { continue };
        let mut log = Log::default();
        let found = optimum_with(&space, space.objective.as_ref(), None, Some(&start), &mut log).unwrap();
        assert_eq!(found.objective, Some(best[0].objective), "seed {seed}");
        assert!(found.started, "seed {seed}");
        taken += 1;
    }
    assert!(taken > 100);
}

#[test]
fn an_infeasible_program_has_no_values_whatever_highs_hands_out() {
    let column = |name: &str| Column { name: name.into(), lower: 0, upper: 3 };
    let row = |terms, lower, upper| Row { name: "r".into(), terms, lower, upper };
    let base = Program { columns: vec![column("a"), column("b")], costs: vec![1, -1], ..Program::default() };
    let infeasible = [
        vec![row(vec![(0, 1), (1, 1)], Some(7), None)],
        // Only in whole numbers: 2a + 2b = 3, and 2a - 2b = 1 in two rows.
        vec![row(vec![(0, 2), (1, 2)], Some(3), Some(3))],
        vec![row(vec![(0, 3), (1, 5)], Some(1), Some(2))],
        vec![row(vec![], Some(1), None)],
        vec![row(vec![(0, 1)], Some(2), Some(1))],
    ];
    for rows in infeasible {
        let program = Program { rows: rows.clone(), ..base.clone() };
        let answer = solve(&program, None).unwrap();
        assert_eq!(answer.status, Status::Infeasible, "{rows:?}");
        assert_eq!((answer.values, answer.objective, answer.bound), (None, None, None), "{rows:?}");
    }
    let mut crossed = base.clone();
    crossed.columns[0].lower = 4;
    assert_eq!(solve(&crossed, None).unwrap().status, Status::Infeasible);
    let none = Program { rows: vec![row(vec![], None, Some(-1))], ..Program::default() };
    assert_eq!(solve(&none, None).unwrap().status, Status::Infeasible);
}
