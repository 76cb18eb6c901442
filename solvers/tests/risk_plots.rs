//! Plots: what they say, that they are the same bytes twice, and what they refuse.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

use solvers::plots::{Mark, MarkKind, PlotError, Series, convergence, cost_distribution, e_cvar_cloud};
use solvers::risk::CvarLevel;

/// Skewed costs without a random number: the quantiles of an exponential distribution.
fn costs(offset: f64, spread: f64) -> Vec<f64> {
    (0..1000).map(|i| offset - spread * (1.0 - (f64::from(i) + 0.5) / 1000.0).ln()).collect()
}

fn write(name: &str, svg: &str) {
    if let Some(folder) = std::env::var_os("PLOTS") {
        std::fs::write(std::path::Path::new(&folder).join(name), svg).unwrap();
    }
}

fn distribution() -> String {
    let (chosen, other) = (costs(3.1e9, 0.4e9), costs(2.9e9, 0.6e9));
    let probability = vec![1e-3; 1000];
    cost_distribution(
        Series { label: "chosen", costs: &chosen, probability: &probability },
        Some(Series { label: "risk-neutral choice", costs: &other, probability: &probability }),
        CvarLevel::new(0.8).unwrap(),
        "USD",
    )
    .unwrap()
}

fn cloud() -> String {
    let expected: Vec<f64> = (0..500).map(|i| 3.0e9 + 1e7 * f64::from(i * 37 % 101)).collect();
    let cvar: Vec<f64> =
        (0..500).map(|i| 8.2e9 - 0.9 * expected[i as usize] + 3e7 * f64::from(i * 53 % 97)).collect();
    let mut order: Vec<usize> = (0..500).collect();
    order.sort_by(|&a, &b| expected[a].total_cmp(&expected[b]).then(cvar[a].total_cmp(&cvar[b])));
    let mut frontier: Vec<usize> = Vec::new();
    for i in order {
        if frontier.last().is_none_or(|&l| cvar[i] < cvar[l]) {
            frontier.push(i);
        }
    }
    let marks = [
        Mark { kind: MarkKind::Qaoa, index: frontier[frontier.len() - 1] },
        Mark { kind: MarkKind::Chosen, index: frontier[frontier.len() / 2] },
        Mark { kind: MarkKind::RiskNeutral, index: frontier[0] },
    ];
    e_cvar_cloud(&expected, &cvar, &frontier, &marks, 80.0, "USD").unwrap()
}

fn iterations() -> String {
    let values: Vec<f64> =
        (0..60).map(|i| 4.0e9 + 1.2e9 * (-f64::from(i) / 12.0).exp() + 6e7 * f64::from(i * 29 % 7)).collect();
    convergence(&values, Some(3.95e9), "USD").unwrap()
}

#[test]
fn the_same_figures_give_the_same_bytes() {
    assert_eq!(distribution(), distribution());
    assert_eq!(cloud(), cloud());
    assert_eq!(iterations(), iterations());
    write("distribution.svg", &distribution());
    write("cloud.svg", &cloud());
    write("convergence.svg", &iterations());
}

#[test]
fn axes_and_marks_are_labelled_with_units() {
    let svg = distribution();
    for word in
        ["Cost [billion USD]", "[%]", "VaR 80 %, chosen", "CVaR, mean of the worst 20 %, risk-neutral choice"]
    {
        assert!(svg.contains(word), "{word}");
    }
    let svg = cloud();
    for word in [
        "Expected cost [billion USD]",
        "CVaR at level 80 % of cost [billion USD]",
        "chosen",
        "risk-neutral choice",
        "QAOA",
        "frontier",
    ] {
        assert!(svg.contains(word), "{word}");
    }
    let svg = iterations();
    for word in ["Iteration", "Expectation of the objective [billion USD]", "exact optimum"] {
        assert!(svg.contains(word), "{word}");
    }
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
}

#[test]
fn a_hundred_thousand_designs_stay_a_small_file_that_says_what_is_left_out() {
    let expected: Vec<f64> = (0..100_000).map(f64::from).collect();
    let cvar: Vec<f64> = (0..100_000).map(|i| f64::from(i % 977)).collect();
    let svg = e_cvar_cloud(&expected, &cvar, &[0], &[], 95.0, "").unwrap();
    assert!(svg.len() < 1_000_000, "{}", svg.len());
    assert!(svg.contains("one in 25 of 100000"));
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    assert!(matches!(convergence(&[], None, ""), Err(PlotError::Empty { .. })));
    assert!(matches!(convergence(&[f64::NAN], None, ""), Err(PlotError::NotFinite { .. })));
    assert!(e_cvar_cloud(&[1.0], &[1.0, 2.0], &[], &[], 80.0, "").is_err());
    assert!(e_cvar_cloud(&[1.0], &[1.0], &[1], &[], 80.0, "").is_err());
}

#[test]
fn a_single_point_and_equal_costs_are_drawn() {
    assert!(convergence(&[5.0], Some(5.0), "").is_ok());
    assert!(e_cvar_cloud(&[5.0; 6], &[7.0; 6], &[0], &[], 80.0, "USD").is_ok());
    let same = [1e6; 4];
    let series = Series { label: "chosen", costs: &same, probability: &[0.25; 4] };
    assert!(cost_distribution(series, None, CvarLevel::new(0.9).unwrap(), "USD").is_ok());
}
