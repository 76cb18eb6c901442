//! The choice by HiGHS against the scan, and what it refuses.
//!
//! `INSTANCES=1000 cargo test -p solvers --test risk_milp` for the long form.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Dice, random_space};
use solvers::costs::{self, CostModel};
use solvers::enumeration::{Flow, Mode, Observer, Options, Progress, enumerate};
use solvers::milp::Status;
use solvers::risk::{CvarLevel, RiskWeight};
use solvers::scenarios::{self, ScenarioSet};
use solvers::selection::milp::{ChoiceError, Least, least};
use solvers::selection::{Question, Selection, select};
use solvers::space::{self, Design, DesignSpace};

struct Silent;
impl Observer for Silent {
    fn progress(&mut self, _: &Progress) -> Flow {
        Flow::Continue
    }
}

fn designs(space: &DesignSpace) -> Vec<Design> {
    let found = enumerate(space, &Options::new(Mode::List), &mut Silent).unwrap();
    assert!(found.complete);
    found.designs.iter().collect()
}

fn model(text: &str) -> CostModel {
    costs::read("costs.yaml", text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
}

fn table(csv: &str) -> ScenarioSet {
    scenarios::read("t.csv", csv, &|_| None)
        .unwrap_or_else(|problems| panic!("{csv}\n{problems:#?}"))
        .set(None)
}

fn level(a: f64) -> CvarLevel {
    CvarLevel::new(a).unwrap()
}

fn weight(w: f64) -> RiskWeight {
    RiskWeight::new(w).unwrap()
}

/// A table of 1 to 60 scenarios of two variables; sometimes with equal rows, sometimes with
/// probabilities of hundredths that split at the usual levels.
fn random_table(dice: &mut Dice) -> ScenarioSet {
    let rows = 1 + dice.below(60) as usize;
    let coarse = dice.below(3) == 0;
    let figure = |dice: &mut Dice| {
        let span = if coarse { 4 } else { 10_000 };
        dice.below(span) as f64 / if coarse { 1.0 } else { 1000.0 }
    };
    let shares: Vec<u64> = (0..rows).map(|_| dice.below(10)).collect();
    let total: u64 = shares.iter().sum();
    let uneven = dice.below(2) == 0 && total > 0;
    let mut text = String::from(if uneven { "price,wind,probability\n" } else { "price,wind\n" });
    for share in shares {
        text += &format!("{},{}", figure(dice), figure(dice));
        if uneven {
            text += &format!(",{}", share as f64 / total as f64);
        }
        text.push('\n');
    }
    table(&text)
}

/// A cost that is a sum over decisions, in many disguises.
fn random_model(dice: &mut Dice, space: &DesignSpace) -> (CostModel, f64) {
    let decision =
        |dice: &mut Dice| space.decisions[dice.below(space.decisions.len() as u64) as usize].name.clone();
    let (first, second) = (decision(dice), decision(dice));
    let unit = [1.0, 1e6, 1e9, 1e-3][dice.below(4) as usize];
    let terms = [
        "unit * mass * price",
        "unit * (mass - 2 * price) * wind",
        "unit * (3 + (noise ^ 2 + 1) * price)",
        "unit * max(noise * price, 2)",
        "0 - unit * mass * 0.5 + unit * wind",
        "unit * thrust_1 * price / (1 + wind)",
        "unit * abs(noise - 1.5) * wind",
        "unit * exp(0.1 * noise) * price",
        "unit * price ^ 1.5",
    ];
    let mut text = format!(
        "costs: 1\nconstants: {{unit: {unit}}}\nattributes:\n  mass: {{aggregate: sum, missing: 0}}\n  \
         noise: {{decision: {first}, missing: 1.25}}\n  thrust_1: {{decision: {second}, missing: 0.5}}\n\
         factors:\n"
    );
    // `thrust_1` is stated nowhere but here.
    text += "  - {key: donor, rows: {1: {thrust_1: 4}, 3: {thrust_1: -2}, maker: {thrust_1: 7.5}}}\nterms:\n";
    for t in 0..1 + dice.below(4) {
        text += &format!("  t{t}: \"{}\"\n", terms[dice.below(terms.len() as u64) as usize]);
    }
    (model(&text), unit)
}

/// `unit` is the order of the figures that the costs are made of, and their rounding a share of it.
fn agree(
    seed: u64,
    space: &DesignSpace,
    set: &ScenarioSet,
    model: &CostModel,
    unit: f64,
    (at, by): (f64, f64),
) -> bool {
    let all = designs(space);
    let got =
        least(space, set, model, level(at), weight(by), None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    if all.is_empty() {
        assert_eq!((got.status, &got.found), (Status::Infeasible, &None), "seed {seed}");
        return false;
    }
    assert_eq!(got.status, Status::Optimal, "seed {seed}");
    let question = Question { runners_up: all.len(), ..Question::new(level(at), weight(by)) };
    let scan: Selection = select(space, &all, set, model, &question).unwrap();
    let found = got.found.unwrap();
    // Any design's objective is within the range of all of them, which is what HiGHS's tolerance is of.
    let range = scan.runners_up.iter().map(|r| r.objective).fold(scan.objective, f64::max) - scan.objective;
    let near = 1e-9 * (range + scan.objective.abs()) + 1e-11 * unit;
    assert!(found.objective <= scan.objective + near, "seed {seed}: {} {}", found.objective, scan.objective);
    assert!(found.objective >= scan.objective - near, "seed {seed}: better than the best");
    let bound = got.bound.unwrap();
    assert!(bound <= scan.objective + near * 10.0, "seed {seed}: bound {bound} above {}", scan.objective);
    assert!(
        bound >= scan.objective - near * 10.0 - 1e-7 * range,
        "seed {seed}: bound {bound} below {}",
        scan.objective
    );
    // The design itself: the scan's, or one that the scan ranks as equal.
    let index = all.binary_search(&found.positions).unwrap();
    let twin = scan.runners_up.iter().find(|r| r.index == index);
    let its = twin.map_or(scan.objective, |r| r.objective);
    assert!((its - found.objective).abs() <= 1e-12 * its.abs(), "seed {seed}: {its} {}", found.objective);
    assert!(twin.map_or(scan.expected, |r| r.expected) == found.expected, "seed {seed}");
    assert!(twin.map_or(scan.cvar, |r| r.cvar) == found.cvar, "seed {seed}");
    true
}

#[test]
fn highs_and_the_scan_agree_on_random_instances() {
    let instances: u64 = std::env::var("INSTANCES").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let (mut feasible, mut seed) = (0, 0);
    while feasible < instances {
        let mut dice = Dice::new(0x5eed_0000 + seed);
        let space = random_space(70_000 + seed);
        let set = random_table(&mut dice);
        let (model, unit) = random_model(&mut dice, &space);
        let at = [0.0, 0.5, 0.8, 0.9, 0.95, 0.99][dice.below(6) as usize];
        let by = [0.0, 0.1, 0.25, 1.0, 5.0][dice.below(5) as usize];
        feasible += u64::from(agree(seed, &space, &set, &model, unit, (at, by)));
        seed += 1;
        assert!(seed < 10 * instances + 100, "too few instances have a feasible design to say anything");
    }
    println!("{feasible} instances with feasible designs agree, and {} without", seed - feasible);
}

const SMALL: &str = "design_space: 1\nname: small\ndecisions:\n  - name: a\n    options:\n      - {id: x, attributes: {m: 1}}\n      \
    - {id: y, attributes: {m: 2}}\n  - name: b\n    options:\n      - {id: x, attributes: {m: 5, k: 1}}\n      - {id: y, attributes: {m: 3}}\n";

fn ask(space_text: &str, cost_text: &str) -> Result<Least, ChoiceError> {
    let space = space::read(space_text, "space.yaml").unwrap();
    least(&space, &table("price\n1\n2\n4\n"), &model(cost_text), level(0.5), weight(1.0), Some(60.0))
}

#[test]
fn a_term_that_ties_decisions_together_is_refused_by_name_and_reason() {
    for (attributes, term, reason) in [
        (
            "m: {aggregate: sum}, k: {aggregate: sum, missing: 1}",
            "m * k * price",
            "a product ties 2 decisions",
        ),
        ("m: {aggregate: product}", "m * price", "product over decisions"),
        ("m: {aggregate: max}", "m * price", "extreme over decisions"),
        ("m: {aggregate: sum}", "exp(m) * price", "`exp` ties 2 decisions"),
        ("m: {aggregate: sum}", "price / m", "a quotient ties 2 decisions"),
        ("m: {aggregate: sum}", "m ^ 2", "a power ties 2 decisions"),
        ("m: {aggregate: sum}", "max(m, price)", "`max` ties 2 decisions"),
    ] {
        let text =
            format!("costs: 1\nattributes: {{{attributes}}}\nterms:\n  fine: price\n  tied: \"{term}\"\n");
        let error = ask(SMALL, &text).unwrap_err();
        assert_eq!(error.code(), "EX-0402", "{error}");
        assert!(
            error.to_string().contains("`tied`") && error.to_string().contains(reason),
            "{term}: {error}"
        );
    }
}

#[test]
fn sums_and_means_of_figures_that_may_be_absent_are_told_apart() {
    let partly = SMALL.replace("{m: 3}", "{}");
    for (gather, refused) in [
        // Every option of `a` states it, so the default never counts.
        ("sum, missing: 9", false),
        ("mean", true),
    ] {
        let text = format!("costs: 1\nattributes: {{m: {{aggregate: {gather}}}}}\nterms: {{t: m * price}}\n");
        let got = ask(&partly, &text);
        assert_eq!(got.is_err(), refused, "{gather}: {got:?}");
    }
    let nowhere_sure = partly.replace("{m: 2}", "{}");
    let sum = |missing: &str| {
        format!("costs: 1\nattributes: {{m: {{aggregate: sum{missing}}}}}\nterms: {{t: (5 - m) * price}}\n")
    };
    assert_eq!(ask(&nowhere_sure, &sum(", missing: 9")).unwrap_err().code(), "EX-0402");
    let found = ask(&nowhere_sure, &sum(", missing: 0")).unwrap().found.unwrap();
    assert_eq!(found.design, [("a".into(), "x".into()), ("b".into(), "x".into())].into());
    let mean = "costs: 1\nattributes: {m: {aggregate: mean}}\nterms: {t: m * price}\n";
    let found = ask(SMALL, mean).unwrap().found.unwrap();
    // Mean mass 2: 2 x 7/3 expected, and 2 x (4 x 1/3 + 2 x 1/6) / (1/2) in the worse half.
    assert!((found.objective - (14.0 / 3.0 + 20.0 / 3.0)).abs() < 1e-12, "{}", found.objective);
}

#[test]
fn an_option_without_a_finite_cost_is_refused_only_if_a_feasible_design_has_it() {
    let cost = "costs: 1\nattributes: {m: {decision: b}, k: {decision: b, missing: 0}}\nterms: {t: \"m * price / k\"}\n";
    let error = ask(SMALL, cost).unwrap_err();
    assert_eq!(error.code(), "EX-0443");
    assert!(error.to_string().contains("option `y` of `b`") && error.to_string().contains("`t`"), "{error}");
    let text =
        format!("{SMALL}constraints:\n  - {{name: no-y, forbidden: {{decisions: [b], tuples: [[y]]}}}}\n");
    let found = ask(&text, cost).unwrap().found.unwrap();
    assert_eq!(found.design["b"], "x");
}

#[test]
fn division_by_zero_whatever_the_design_names_term_and_scenario() {
    let error =
        ask(SMALL, "costs: 1\nattributes: {m: {aggregate: sum}}\nterms: {t: m, bad: \"1 / (price - 2)\"}\n")
            .unwrap_err();
    assert_eq!(error.code(), "EX-0399");
    assert!(error.to_string().contains("`bad`") && error.to_string().contains("scenario 1"), "{error}");
}

#[test]
fn a_space_without_designs_is_infeasible_and_a_time_must_be_positive() {
    let text = "costs: 1\nattributes: {m: {aggregate: sum}}\nterms: {t: m * price}\n";
    let mut space = space::read(SMALL, "space.yaml").unwrap();
    space.constraints.push(solvers::space::Constraint {
        name: "nothing".into(),
        rule: solvers::space::Rule::Allowed { decisions: vec![0], tuples: vec![] },
        line: 0,
    });
    let set = table("price\n1\n");
    let got = least(&space, &set, &model(text), level(0.5), weight(1.0), None).unwrap();
    assert_eq!((got.status, got.found, got.bound), (Status::Infeasible, None, None));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = least(&space, &set, &model(text), level(0.5), weight(1.0), Some(bad)).unwrap_err();
        assert!(matches!(error, ChoiceError::TimeLimit { .. }), "{error}");
    }
}

/// A space of 4^30 combinations, too many to list, whose optimum is known by its construction.
#[test]
fn a_space_too_large_to_list_is_decided_with_a_bound_that_meets_the_optimum() {
    let mut text = String::from("design_space: 1\nname: wide\ndecisions:\n");
    for d in 0..30 {
        text += &format!("  - name: d{d}\n    options:\n");
        for o in 0..4 {
            let (steady, risky) = ((d * 7 + o * 3) % 11, (d * 5 + o * 8) % 13);
            text += &format!("      - {{id: o{o}, attributes: {{steady: {steady}, risky: {risky}}}}}\n");
        }
    }
    let space = space::read(&text, "wide.yaml").unwrap();
    let set = table("price,probability\n1,0.5\n2,0.3\n5,0.15\n20,0.05\n");
    let cost = model(
        "costs: 1\nattributes: {steady: {aggregate: sum}, risky: {aggregate: sum}}\n\
         terms: {a: \"10 * steady\", b: \"risky * price\"}\n",
    );
    // All scenarios order the designs alike by `risky`, so E and CVaR are linear: the least option of
    // every decision on its own is the optimum.
    let (mean, worst) = (0.5 + 0.6 + 0.75 + 1.0, (20.0 * 0.05 + 5.0 * 0.05) / 0.1);
    let mut optimum = 0.0;
    for d in 0..30 {
        let each = (0..4).map(|o| {
            let (steady, risky) = (f64::from((d * 7 + o * 3) % 11), f64::from((d * 5 + o * 8) % 13));
            10.0 * steady * 3.0 + risky * (mean + 2.0 * worst)
        });
        optimum += each.fold(f64::INFINITY, f64::min);
    }
    let got = least(&space, &set, &cost, level(0.9), weight(2.0), Some(120.0)).unwrap();
    let found = got.found.unwrap();
    assert_eq!(got.status, Status::Optimal);
    assert!((found.objective / optimum - 1.0).abs() < 1e-9, "{} {optimum}", found.objective);
    assert!((got.bound.unwrap() / optimum - 1.0).abs() < 1e-7);
}

/// Decisions whose options hedge each other: the least CVaR is not the least of each on its own.
#[test]
fn fifty_nine_thousand_designs_that_hedge_each_other_give_the_scans_choice() {
    let mut text = String::from("design_space: 1\nname: hedge\ndecisions:\n");
    for d in 0..10 {
        text += &format!("  - name: d{d}\n    options:\n");
        for o in 0..3 {
            let (steady, hot, cold) = ((d * 7 + o * 3) % 11, (d * 5 + o * 8) % 13, (d * 3 + o * 5) % 12);
            text += &format!(
                "      - {{id: o{o}, attributes: {{steady: {steady}, hot: {hot}, cold: {cold}}}}}\n"
            );
        }
    }
    let space = space::read(&text, "hedge.yaml").unwrap();
    let rows: String = (0..40).map(|s| format!("{},{}\n", (s * 17) % 41, (s * s * 3 + 5) % 37)).collect();
    let cost = model(
        "costs: 1\nattributes: {steady: {aggregate: sum}, hot: {aggregate: sum}, cold: {aggregate: sum}}\n\
         terms: {a: \"4 * steady\", b: \"hot * summer\", c: \"cold * winter\"}\n",
    );
    assert!(agree(0, &space, &table(&format!("summer,winter\n{rows}")), &cost, 1.0, (0.9, 3.0)));
}
