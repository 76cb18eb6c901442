//! Plots: what they say, that they are the same bytes twice, and what they refuse.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

use solvers::plots::{
    Frontier, Mark, MarkKind, PlotError, Series, convergence, cost_distribution, e_cvar_frontier,
};
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
    let (chosen, other, next) = (costs(3.1e9, 0.4e9), costs(2.9e9, 0.6e9), costs(3.15e9, 0.42e9));
    let probability = vec![1e-3; 1000];
    cost_distribution(
        Series { label: "chosen", costs: &chosen, probability: &probability },
        &[
            Series { label: "runner-up", costs: &next, probability: &probability },
            Series { label: "risk-neutral choice", costs: &other, probability: &probability },
        ],
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
    let corners: Vec<usize> = frontier.iter().copied().step_by(2).collect();
    let frontier = Frontier { all: &frontier, corners: &corners };
    e_cvar_frontier(&expected, &cvar, frontier, &marks, 80.0, "USD").unwrap()
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
        "frontier, ",
        "of these the choice for some risk weight",
        "500 feasible designs",
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
    let one = Frontier { all: &[0], corners: &[0] };
    let svg = e_cvar_frontier(&expected, &cvar, one, &[], 95.0, "").unwrap();
    assert!(svg.len() < 1_000_000, "{}", svg.len());
    assert!(svg.contains("one in 40 of 100000"));
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    assert!(matches!(convergence(&[], None, ""), Err(PlotError::Empty { .. })));
    assert!(matches!(convergence(&[f64::NAN], None, ""), Err(PlotError::NotFinite { .. })));
    let draw = |cvar: &[f64], all: &[usize]| {
        e_cvar_frontier(&[1.0], cvar, Frontier { all, corners: &[] }, &[], 80.0, "")
    };
    assert!(draw(&[1.0], &[0]).is_ok());
    assert!(draw(&[1.0, 2.0], &[0]).is_err());
    assert!(draw(&[1.0], &[1]).is_err());
    assert!(draw(&[1.0], &[]).is_err());
}

#[test]
fn a_single_point_and_equal_costs_are_drawn() {
    assert!(convergence(&[5.0], Some(5.0), "").is_ok());
    let one = Frontier { all: &[0], corners: &[0] };
    assert!(e_cvar_frontier(&[5.0; 6], &[7.0; 6], one, &[], 80.0, "USD").is_ok());
    let same = [1e6; 4];
    let series = Series { label: "chosen", costs: &same, probability: &[0.25; 4] };
    assert!(cost_distribution(series, &[], CvarLevel::new(0.9).unwrap(), "USD").is_ok());
}

/// Tags closed in order, attributes quoted, no bare `&` or `<`: what every XML reader asks first.
fn well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "a bare > in {text}");
        for (position, _) in text.match_indices('&') {
            let entity = &text[position..];
            assert!(
                ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"].iter().any(|e| entity.starts_with(e)),
                "{entity}"
            );
        }
        let end = at + rest[at..].find('>').expect("a tag is not closed");
        let tag = &rest[at + 1..end];
        assert!(tag.matches('"').count().is_multiple_of(2), "<{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name.trim()), "</{name}>");
        } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
            open.push(tag.split_whitespace().next().unwrap());
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
}

#[test]
fn every_plot_is_well_formed_whatever_the_labels_say() {
    for svg in [distribution(), cloud(), iterations()] {
        well_formed(&svg);
    }
    let series = Series { label: "a < b & \"c\" > 'd'", costs: &[1.0, 2.0], probability: &[0.5, 0.5] };
    well_formed(&cost_distribution(series, &[], CvarLevel::new(0.5).unwrap(), "<&>").unwrap());
    well_formed(&convergence(&[1.0, 2.0], None, "a&b").unwrap());
}

#[test]
fn every_other_design_gets_a_panel_beside_the_chosen_one() {
    let svg = distribution();
    assert!(svg.contains("Cost over the scenarios: chosen and runner-up"));
    assert!(svg.contains("Cost over the scenarios: chosen and risk-neutral choice"));
    assert_eq!(svg.matches("VaR 80 %, chosen").count(), 2);
    assert_eq!(svg.matches("VaR 80 %, runner-up").count(), 1);
}

/// Pixel places of the circles of a colour, in the order of the file.
fn circles(svg: &str, colour: &str) -> Vec<(f64, f64)> {
    let figure = |line: &str, name: &str| -> f64 {
        let from = line.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
        line[from..].split('"').next().unwrap().parse().unwrap()
    };
    svg.lines()
        .filter(|line| line.contains("<circle") && line.contains(&format!("fill=\"{colour}\"")))
        .map(|line| (figure(line, "cx"), figure(line, "cy")))
        .collect()
}

/// A frontier in the lowest corner of a wide cloud: 1 % of its extent fills most of the large panel.
#[test]
fn a_small_frontier_fills_its_panel() {
    let mut expected: Vec<f64> = (0..300).map(|i| 200.0 + f64::from(i * 37 % 300)).collect();
    let mut cvar: Vec<f64> = (0..300).map(|i| 250.0 + f64::from(i * 53 % 311)).collect();
    let first = expected.len();
    for i in 0..5 {
        expected.push(100.0 + f64::from(i * i) * 2.0);
        cvar.push(140.0 - 10.0 * f64::from(i));
    }
    let all: Vec<usize> = (first..first + 5).collect();
    let svg =
        e_cvar_frontier(&expected, &cvar, Frontier { all: &all, corners: &all }, &[], 90.0, "").unwrap();
    let places = circles(&svg, "#0072B2");
    // The five corners in the large panel, then one in the legend.
    assert_eq!(places.len(), 6, "{places:?}");
    let (left, right) = (places[0].0, places[4].0);
    let (top, bottom) = (places[0].1, places[4].1);
    assert!(right - left > 500.0 && bottom - top > 250.0, "{places:?}");
}
