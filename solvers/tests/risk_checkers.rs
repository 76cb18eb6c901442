//! Value at risk and CVaR against the published figures and three independent ways to the same number.
//!
//! `INSTANCES=100000 cargo test -p solvers --test risk_checkers` for the long form.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::Dice;
use highs::{RowProblem, Sense};
use solvers::risk::{CODES, CvarLevel, Losses, RiskError, RiskWeight, cvar, tail_weights, value_at_risk};

fn level(a: f64) -> CvarLevel {
    CvarLevel::new(a).unwrap()
}

fn instances(default: u64) -> u64 {
    std::env::var("INSTANCES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn the_published_figures_hold_to_1e_12() {
    let one_to_ten: Vec<f64> = (1..=10).map(f64::from).collect();
    for (a, expected) in [(0.95, 10.0), (0.9, 10.0), (0.85, 29.0 / 3.0), (0.5, 8.0)] {
        assert!((cvar(&one_to_ten, level(a)).unwrap() - expected).abs() < 1e-12, "{a}");
    }
    let four = Losses::new(&[0.0, 10.0, 20.0, 100.0], &[0.7, 0.2, 0.06, 0.04]).unwrap();
    for (a, expected) in [(0.8, 31.0), (0.9, 52.0), (0.95, 84.0)] {
        assert!((four.cvar(level(a)) - expected).abs() < 1e-12, "{a}: {}", four.cvar(level(a)));
    }
}

#[test]
fn an_atom_at_the_value_at_risk_counts_with_the_share_that_is_left() {
    // The worst tenth: all of the 4 % at 100, the rest, 6 %, out of the 26 % at 20.
    let losses = Losses::new(&[20.0, 100.0, 0.0], &[0.26, 0.04, 0.7]).unwrap();
    assert_eq!(losses.value_at_risk(level(0.9)), 20.0);
    assert!((losses.cvar(level(0.9)) - (0.04 * 100.0 + 0.06 * 20.0) / 0.1).abs() < 1e-12);
    // The same atom in pieces, and in another order.
    let pieces = Losses::new(&[100.0, 20.0, 0.0, 20.0, 20.0], &[0.04, 0.1, 0.7, 0.06, 0.1]).unwrap();
    assert!((pieces.cvar(level(0.9)) - losses.cvar(level(0.9))).abs() < 1e-12);
    // An atom as large as the tail, and one larger: nothing to split off.
    assert!((Losses::new(&[1.0, 5.0], &[0.75, 0.25]).unwrap().cvar(level(0.75)) - 5.0).abs() < 1e-12);
    assert!((Losses::new(&[1.0, 5.0], &[0.5, 0.5]).unwrap().cvar(level(0.75)) - 5.0).abs() < 1e-12);
}

/// Costs with ties and probabilities in whole parts of `total`, so that levels fall on and between atoms.
fn random(dice: &mut Dice) -> (Vec<i64>, Vec<u64>, u64) {
    let scenarios = 1 + dice.below(12) as usize;
    let span = [3, 10, 1000][dice.below(3) as usize];
    let costs = (0..scenarios).map(|_| dice.below(span) as i64 - span as i64 / 3).collect();
    let mut shares: Vec<u64> = (0..scenarios).map(|_| dice.below(6)).collect();
    shares[0] += 1;
    let total = shares.iter().sum();
    (costs, shares, total)
}

/// By counting: as many copies as parts, sorted in whole numbers, the last ones taken, one of them in part.
/// The level is `part / 60` of the mass; everything but the last quotient is exact.
fn by_counting(costs: &[i64], shares: &[u64], total: u64, part: u64) -> (f64, f64) {
    let mut copies: Vec<i64> =
        costs.iter().zip(shares).flat_map(|(&c, &n)| std::iter::repeat_n(c, n as usize * 60)).collect();
    copies.sort_unstable();
    // Of `60 * total` copies the worst `(60 - part) * total`.
    let tail = ((60 - part) * total) as usize;
    let from = copies.len() - tail;
    let value_at_risk = copies[from.saturating_sub(1)];
    (value_at_risk as f64, copies[from..].iter().sum::<i64>() as f64 / tail as f64)
}

/// By linear programming, the dual of Rockafellar and Uryasev's: the greatest mean of the costs under
/// weights that sum to 1 and are at most p / (1 - level) each.
fn by_program(costs: &[f64], probability: &[f64], level: f64) -> f64 {
    let mut problem = RowProblem::new();
    let weights: Vec<_> = costs
        .iter()
        .zip(probability)
        .map(|(&c, &p)| (problem.add_column(c, 0.0..=p / (1.0 - level)), 1.0))
        .collect();
    problem.add_row(1.0..=1.0, weights);
    let mut model = problem.optimise(Sense::Maximise);
    model.make_quiet();
    model.solve().objective_value()
}

#[test]
fn counting_copies_gives_the_same_value_at_risk_and_cvar() {
    for seed in 0..instances(3000) {
        let mut dice = Dice::new(seed);
        let (costs, shares, total) = random(&mut dice);
        let figures: Vec<f64> = costs.iter().map(|&c| c as f64).collect();
        let probability: Vec<f64> = shares.iter().map(|&n| n as f64 / total as f64).collect();
        let losses = Losses::new(&figures, &probability).unwrap();
        for part in [0, 6, 15, 30, 45, 54, 57, 59] {
            let a = level(part as f64 / 60.0);
            let (value, expected) = by_counting(&costs, &shares, total, part);
            assert!(
                (losses.cvar(a) - expected).abs() < 1e-12 * 1000.0,
                "seed {seed}, {part}/60: {} {expected}",
                losses.cvar(a)
            );
            if part > 0 {
                assert_eq!(losses.value_at_risk(a), value, "seed {seed}, {part}/60");
            }
            let weights = tail_weights(&figures, &probability, a).unwrap();
            let by_weights: f64 = weights.iter().zip(&figures).map(|(w, c)| w * c).sum();
            assert!((by_weights - expected).abs() < 1e-9, "seed {seed}, {part}/60");
        }
    }
}

#[test]
fn a_linear_program_gives_the_same_cvar() {
    for seed in 0..instances(300).min(3000) {
        let mut dice = Dice::new(1_000_000 + seed);
        let (costs, shares, total) = random(&mut dice);
        let figures: Vec<f64> = costs.iter().map(|&c| c as f64).collect();
        let probability: Vec<f64> = shares.iter().map(|&n| n as f64 / total as f64).collect();
        let losses = Losses::new(&figures, &probability).unwrap();
        for a in [0.0, 0.3, 0.8, 0.95] {
            let expected = by_program(&figures, &probability, a);
            assert!((losses.cvar(level(a)) - expected).abs() < 1e-6, "seed {seed} at {a}: {expected}");
        }
    }
}

#[test]
fn every_refusal_has_a_code_that_is_explained() {
    let refusals: Vec<RiskError> = vec![
        CvarLevel::new(1.0).unwrap_err(),
        RiskWeight::new(-0.5).unwrap_err(),
        cvar(&[], level(0.5)).unwrap_err(),
        Losses::new(&[1.0], &[0.5, 0.5]).unwrap_err(),
        value_at_risk(&[f64::NAN], level(0.5)).unwrap_err(),
        Losses::new(&[1.0, 2.0], &[-0.1, 1.1]).unwrap_err(),
        Losses::new(&[1.0, 2.0], &[0.5, 0.5 + 2e-9]).unwrap_err(),
    ];
    let codes: Vec<&str> = refusals.iter().map(RiskError::code).collect();
    let known: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, known, "one refusal each, in the order of the table");
    assert!(Losses::new(&[1.0, 2.0], &[0.5, 0.5 + 0.9e-9]).is_ok());
}
