//! HiGHS, conflicts and removals against the exact search and brute force on random spaces.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

mod common;

use common::random_space;
use solvers::enumeration::{Any, Mode, Options, Quiet, any, enumerate};
use solvers::milp::{Status, attribute_range, conflict, highs_version, optimum, removal, solve};
use solvers::programs::{Column, Program, Row};
use solvers::recheck::violations;
use solvers::space::DesignSpace;

fn seeds(default: u64) -> u64 {
    std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

fn count(space: &DesignSpace) -> u128 {
    enumerate(space, &Options::new(Mode::Count), &mut Quiet).unwrap().count
}

#[test]
fn highs_and_the_search_agree_on_verdict_and_optimum() {
    let (mut infeasible, mut optimal) = (0, 0);
    for seed in 0..seeds(1000) {
        let space = random_space(seed);
        let found =
            optimum(&space, space.objective.as_ref(), None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let best = enumerate(&space, &Options::new(Mode::Best { k: 1 }), &mut Quiet).unwrap();
        match best.best.first() {
            None => {
                assert_eq!(found.status, Status::Infeasible, "seed {seed}");
                assert_eq!(any(&space, u64::MAX).unwrap(), Any::None, "seed {seed}");
                infeasible += 1;
            }
            Some(first) => {
                assert_eq!(found.status, Status::Optimal, "seed {seed}");
                assert_eq!(found.objective, Some(first.objective), "seed {seed}");
                let bound = found.bound.unwrap();
                assert!((bound - first.objective.to_f64()).abs() < 1e-6, "seed {seed}: bound {bound}");
                assert!(violations(&space, &found.design.unwrap()).is_empty(), "seed {seed}");
                assert!(
                    matches!(any(&space, u64::MAX).unwrap(), Any::Design(d) if violations(&space, &d).is_empty())
                );
                optimal += 1;
            }
        }
    }
    assert!(infeasible > 50 && optimal > 300, "{infeasible} infeasible, {optimal} optimal");
}

#[test]
fn a_minimal_conflict_is_infeasible_and_feasible_without_any_member() {
    let mut found = 0;
    for seed in 0..seeds(1000) {
        let space = random_space(seed);
        let conflict = conflict::minimal(&space).unwrap();
        assert_eq!(conflict.is_some(), count(&space) == 0, "seed {seed}");
        let Some(conflict) = conflict else { continue };
        assert!(conflict.proven && !conflict.constraints.is_empty());
        assert_eq!(conflict.words.len(), conflict.constraints.len());
        let mut only = space.clone();
        only.constraints.retain(|c| conflict.constraints.contains(&c.name));
        assert_eq!(count(&only), 0, "seed {seed}: the conflict has a design");
        for member in &conflict.constraints {
            let mut fewer = only.clone();
            fewer.constraints.retain(|c| c.name != *member);
            assert!(count(&fewer) > 0, "seed {seed}: `{member}` is not needed");
        }
        found += 1;
    }
    assert!(found > 50);
}

#[test]
fn removals_are_what_brute_force_counts() {
    for seed in 0..seeds(300) {
        let space = random_space(seed);
        let raw = space.combinations().unwrap();
        let feasible = count(&space);
        for (at, removal) in removal::removal(&space, 1, &mut Quiet).unwrap().into_iter().enumerate() {
            let mut alone = space.clone();
            alone.constraints = vec![space.constraints[at].clone()];
            assert_eq!(removal.alone, Some(raw - count(&alone)), "seed {seed} {}", removal.constraint);
            let mut without = space.clone();
            without.constraints.remove(at);
            assert_eq!(removal.given_others, Some(count(&without) - feasible), "seed {seed}");
        }
    }
}

#[test]
fn the_range_of_an_attribute_is_that_of_the_listed_designs() {
    let mut seen = 0;
    for seed in 0..100 {
        let space = random_space(seed);
        let objective = space.objective.clone().unwrap();
        let (low, high) = attribute_range(&space, &objective.attribute, objective.missing, None).unwrap();
        let listed = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap();
        let values = || listed.designs.iter().map(|d| common::objective_value(&space, &d).unwrap());
        let expected = (values().min_by(|a, b| a.compare(*b)), values().max_by(|a, b| a.compare(*b)));
        assert_eq!((low.objective, high.objective), expected, "seed {seed}");
        seen += usize::from(expected.0.is_some());
    }
    assert!(seen > 30);
}

#[test]
fn what_highs_cannot_be_trusted_with_is_refused() {
    let column = |name: &str| Column { name: name.into(), lower: 0, upper: 1 };
    let row =
        Row { name: "huge".into(), terms: vec![(0, 10_000_000_019), (1, 3)], lower: None, upper: Some(5) };
    let program = Program {
        columns: vec![column("a"), column("b")],
        rows: vec![row],
        costs: vec![1, 1],
        ..Program::default()
    };
    assert!(solve(&program, None).unwrap_err().to_string().contains("huge"));
    let program = Program { rows: Vec::new(), ..program };
    for seconds in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
        assert!(solve(&program, Some(seconds)).is_err(), "{seconds}");
    }
    assert_eq!(solve(&program, Some(5.0)).unwrap().objective, Some(0));
    assert!(highs_version().split('.').count() == 3);
}
