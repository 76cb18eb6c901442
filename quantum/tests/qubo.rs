//! Constrained choices as quadratic forms: the minimum is the best feasible choice, by brute force.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use quantum::qubo::{Choice, Constrained, QuboError, Row};

fn at(group: usize, choice: usize) -> Choice {
    Choice { group, choice }
}

fn instance() -> impl Strategy<Value = Constrained> {
    let sizes = prop::collection::vec(1usize..4, 1..4);
    sizes.prop_flat_map(|sizes| {
        let groups = sizes.len();
        let of = sizes.clone();
        let choice = move || {
            let of = of.clone();
            (0..groups).prop_flat_map(move |g| (Just(g), 0..of[g])).prop_map(|(g, c)| at(g, c))
        };
        let costs: Vec<_> = sizes.iter().map(|size| prop::collection::vec(-9.0f64..9.0, *size)).collect();
        let pairs = prop::collection::vec((choice(), choice(), -5.0f64..5.0), 0..4);
        let forbidden = prop::collection::vec((choice(), choice()), 0..3);
        let row = (prop::collection::vec((choice(), -3i64..4), 1..4), -2i64..4)
            .prop_map(|(terms, at_most)| Row { terms, at_most });
        (costs, pairs, forbidden, prop::collection::vec(row, 0..2))
            .prop_map(|(costs, pairs, forbidden, rows)| Constrained { costs, pairs, forbidden, rows })
    })
}

fn every_choice(problem: &Constrained) -> Vec<Vec<usize>> {
    problem.costs.iter().fold(vec![vec![]], |all, costs| {
        let longer = |one: Vec<usize>| (0..costs.len()).map(move |c| [one.clone(), vec![c]].concat());
        all.into_iter().flat_map(longer).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_minimum_of_the_form_is_the_best_feasible_choice(problem in instance()) {
        let best = every_choice(&problem).iter().filter_map(|c| problem.cost(c)).fold(f64::INFINITY, f64::min);
        match problem.to_qubo() {
            Ok(qubo) if qubo.bits <= 16 => {
                let least = (0..1u64 << qubo.bits).min_by(|a, b| qubo.value(*a).total_cmp(&qubo.value(*b))).unwrap();
                let value = qubo.value(least);
                if best.is_finite() {
                    let choices = qubo.choices(least).expect("one choice per group");
                    prop_assert!((problem.cost(&choices).expect("feasible") - best).abs() < 1e-9);
                    prop_assert!((value - best).abs() < 1e-6, "{value} {best}");
                } else {
                    prop_assert!(value > qubo.most, "nothing is feasible, and {value} shows it");
                }
                // Every infeasible setting lies above every feasible choice, not just the minimum.
                for state in 0..1u64 << qubo.bits {
                    let feasible = qubo.choices(state).is_some_and(|c| problem.cost(&c).is_some());
                    prop_assert!(feasible || qubo.value(state) > qubo.most - 1e-9);
                }
                if qubo.bits <= 12 {
                    let diagonal = qubo.to_ising().unwrap().diagonal();
                    for (state, energy) in diagonal.iter().enumerate() {
                        prop_assert!((energy - qubo.value(state as u64)).abs() < 1e-7);
                    }
                }
            }
            Ok(_) => {}
            Err(QuboError::RowNeverHolds { .. }) => prop_assert!(best.is_infinite()),
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }

    #[test]
    fn the_one_hot_cost_is_the_cost_of_the_choice(problem in instance()) {
        let problem = Constrained { rows: vec![], ..problem };
        let diagonal = problem.to_one_hot().unwrap().diagonal();
        let costs: Vec<(Option<f64>, f64)> = every_choice(&problem)
            .iter()
            .map(|choices| {
                let mut first = 0;
                let state = choices.iter().zip(&problem.costs).fold(0usize, |state, (c, own)| {
                    let bit = 1 << (first + c);
                    first += own.len();
                    state | bit
                });
                (problem.cost(choices), diagonal[state])
            })
            .collect();
        let dearest = costs.iter().filter_map(|c| c.0).fold(f64::NEG_INFINITY, f64::max);
        for (cost, energy) in costs {
            match cost {
                Some(cost) => prop_assert!((cost - energy).abs() < 1e-9),
                None => prop_assert!(energy > dearest - 1e-9, "{energy} {dearest}"),
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let two = Constrained { costs: vec![vec![1.0, 2.0], vec![0.0, 5.0]], ..Constrained::default() };
    let with = |row: Row| Constrained { rows: vec![row], ..two.clone() };
    let never = with(Row { terms: vec![(at(0, 0), 2), (at(0, 1), 3)], at_most: 1 });
    assert_eq!(never.to_qubo().unwrap_err(), QuboError::RowNeverHolds { row: 0, least: 2, at_most: 1 });
    let open = with(Row { terms: vec![(at(0, 0), 2), (at(1, 1), 3)], at_most: 4 });
    assert_eq!(open.to_one_hot().unwrap_err(), QuboError::RowInOneHot { row: 0 });
    assert_eq!(open.to_qubo().unwrap().bits, 4 + 3, "slack 0 to 4 takes three bits");
    let holds = with(Row { terms: vec![(at(0, 0), 2), (at(1, 1), 3)], at_most: 5 });
    assert_eq!(holds.to_qubo().unwrap().bits, 4, "a row that always holds takes none");
    assert!(holds.to_one_hot().is_ok());
    let huge = with(Row { terms: vec![(at(0, 0), i64::MAX)], at_most: 4 });
    assert_eq!(huge.to_qubo().unwrap_err(), QuboError::RowTooLarge { row: 0 });
    let lost = Constrained { forbidden: vec![(at(0, 0), at(2, 0))], ..two.clone() };
    assert!(matches!(lost.to_qubo().unwrap_err(), QuboError::NotThere { group: 2, choice: 0, .. }));
    let wild = Constrained { costs: vec![vec![f64::NAN]], ..Constrained::default() };
    assert!(matches!(wild.to_qubo().unwrap_err(), QuboError::NotFinite { .. }));
    let wide = Constrained { costs: vec![vec![0.0; 64]], ..Constrained::default() };
    assert_eq!(wide.to_qubo().unwrap_err(), QuboError::TooManyBits { bits: 64 });
    assert_eq!(Constrained::default().to_qubo().unwrap_err(), QuboError::NoChoice { group: 0 });
}
