//! Cost models and the choice: figures by hand, ties, errors, ranges, and an independent loop.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

use solvers::costs::{self, CODES, CostModel};
use solvers::problem::Problem;
use solvers::risk::{CvarLevel, RiskWeight};
use solvers::scenarios::{self, ScenarioSet};
use solvers::selection::{Evaluator, Question, Selection, SelectionError, choose, select};
use solvers::space::{Attribute, Decimal, Decision, Design, DesignOption, DesignSpace};
use std::ops::ControlFlow;

/// A space of `decisions` x `options`, option `o` of decision `d` stating `mass`, `key` and, from option 1
/// on, `extra`.
fn space(decisions: usize, options: usize) -> DesignSpace {
    let number = |mantissa| Attribute::Number(Decimal { mantissa, scale: 1 });
    DesignSpace {
        name: "test".into(),
        decisions: (0..decisions)
            .map(|d| Decision {
                name: format!("d{d}"),
                options: (0..options)
                    .map(|o| {
                        let mut attributes = std::collections::BTreeMap::new();
                        attributes.insert("mass".into(), number((7 * d + 13 * o * (d + 1)) as i64 % 29 + 1));
                        attributes.insert("key".into(), Attribute::Text(format!("k{o}")));
                        if o > 0 {
                            attributes.insert("extra".into(), number((5 * d + 3 * o) as i64));
                        }
                        DesignOption { id: format!("o{o}"), attributes }
                    })
                    .collect(),
            })
            .collect(),
        constraints: vec![],
        objective: None,
    }
}

fn designs(space: &DesignSpace) -> Vec<Design> {
    let mut all: Vec<Design> = vec![vec![]];
    for decision in &space.decisions {
        let mut longer = Vec::new();
        for design in &all {
            for option in 0..decision.options.len() as u16 {
                longer.push([design.as_slice(), &[option]].concat());
            }
        }
        all = longer;
    }
    all
}

fn table(csv: &str) -> ScenarioSet {
    scenarios::read("t.csv", csv, &|_| None).unwrap().set(None)
}

fn model(text: &str) -> CostModel {
    costs::read("costs.yaml", text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn question(level: f64, weight: f64) -> Question {
    Question::new(CvarLevel::new(level).unwrap(), RiskWeight::new(weight).unwrap())
}

fn bind(text: &str, space: &DesignSpace, set: &ScenarioSet) -> Vec<Problem> {
    model(text).bind(space, set).unwrap_err()
}

#[test]
fn attributes_are_gathered_as_the_format_says() {
    let space = space(3, 2);
    let set = table("price\n1\n");
    // Design (0, 1, 1): mass as stated by each option, `extra` only by the last two.
    let design = [0u16, 1, 1];
    let figure =
        |d: usize, name: &str| match &space.decisions[d].options[usize::from(design[d])].attributes[name] {
            Attribute::Number(x) => x.to_f64(),
            other => panic!("{other:?}"),
        };
    let mass: Vec<f64> = (0..3).map(|d| figure(d, "mass")).collect();
    let extra: Vec<f64> = (1..3).map(|d| figure(d, "extra")).collect();
    for (rule, expected) in [
        ("mass: {aggregate: sum}", mass.iter().sum::<f64>()),
        ("mass: {aggregate: mean}", mass.iter().sum::<f64>() / 3.0),
        ("mass: {aggregate: product}", mass.iter().product()),
        ("mass: {aggregate: max}", mass.iter().copied().fold(0.0, f64::max)),
        ("mass: {aggregate: min}", mass.iter().copied().fold(1e9, f64::min)),
        ("mass: {decision: d1}", mass[1]),
        ("extra: {aggregate: mean}", (extra[0] + extra[1]) / 2.0),
        ("extra: {decision: d0, missing: 42}", 42.0),
        ("absent: {aggregate: sum, missing: 3}", 3.0),
    ] {
        let name = rule.split(':').next().unwrap();
        let text = format!("costs: 1\nattributes:\n  {rule}\nterms: {{only: \"{name} * price\"}}\n");
        let bound = model(&text).bind(&space, &set).unwrap();
        let got = bound.costs(&design, 0).unwrap()[0];
        assert!((got - expected).abs() < 1e-12, "{rule}: {got} {expected}");
    }
}

#[test]
fn a_mean_over_one_stated_figure_is_that_figure() {
    let text = "costs: 1\nattributes: {extra: {aggregate: mean}}\nterms: {only: \"extra * price\"}\n";
    let bound = model(text).bind(&space(3, 2), &table("price\n1\n")).unwrap();
    assert_eq!(bound.costs(&[1, 0, 0], 0).unwrap(), [0.3]);
}

#[test]
fn factor_tables_add_attributes_by_key_and_decision() {
    let space = space(2, 2);
    let set = table("price\n2\n");
    let text = "costs: 1\nconstants: {base: 100, wage: {value: 10, unit: USD/h}}\nfactors:\n\
                \x20 - {key: key, decisions: [d0], rows: {k0: {work: 1}, k1: {work: 5}}}\n\
                \x20 - {key: key, decisions: [d1], rows: {k1: {work: 7}}}\n\
                attributes:\n  work: {aggregate: sum}\nterms: {a: \"base + wage * work\", b: price}\n";
    let bound = model(text).bind(&space, &set).unwrap();
    assert_eq!(bound.costs(&[1, 1], 0).unwrap(), [220.0, 2.0]);
    assert_eq!(bound.costs(&[1, 0], 0).unwrap(), [150.0, 2.0]);
    assert_eq!(bound.term_names().collect::<Vec<_>>(), ["a", "b"]);
    let one = "costs: 1\nfactors: {key: key, rows: {k0: {work: 2}, k1: {work: 3}}}\n\
               attributes: {work: {aggregate: sum}}\nterms: {a: work}\n";
    assert_eq!(model(one).bind(&space, &set).unwrap().costs(&[0, 1], 0).unwrap(), [5.0]);
}

#[test]
fn every_defect_of_a_cost_model_has_its_code_and_line() {
    let base = "costs: 1\nattributes:\n  mass: {aggregate: sum}\nterms:\n  a: \"mass * price\"\n";
    for (from, to, code, line) in [
        ("costs: 1", "costs: 2", "EX-0386", 1),
        ("costs: 1\n", "unit: USD\n", "EX-0383", 1),
        ("terms:\n  a: \"mass * price\"\n", "", "EX-0383", 1),
        ("terms:\n  a: \"mass * price\"\n", "terms: {}\n", "EX-0387", 4),
        ("aggregate: sum", "aggregate: median", "EX-0388", 3),
        ("aggregate: sum", "aggregate: sum, decision: d0", "EX-0388", 3),
        ("aggregate: sum", "missing: 1", "EX-0388", 3),
        ("aggregate: sum", "aggregate: sum, missing: .nan", "EX-0385", 3),
        ("aggregate: sum", "aggregate: sum, default: 1", "EX-0382", 3),
        ("mass: {aggregate: sum}", "2mass: {aggregate: sum}", "EX-0392", 3),
        ("\"mass * price\"", "\"mass * * price\"", "EX-0389", 5),
        ("\"mass * price\"", "\"mass * (price\"", "EX-0389", 5),
        ("\"mass * price\"", "[mass]", "EX-0381", 5),
        ("terms:", "constants: {mass: 3}\nterms:", "EX-0391", 3),
        ("terms:", "constants: {c: three}\nterms:", "EX-0381", 4),
        ("terms:", "factors: {key: key}\nterms:", "EX-0383", 4),
        ("terms:", "factors: {key: key, rows: {k: {x: high}}}\nterms:", "EX-0381", 4),
        ("  a: \"mass * price\"", "  a: mass\n  a: price", "EX-0384", 6),
        ("terms:", "terms: [", "EX-0380", 4),
        ("terms:", "negative: sometimes\nterms:", "EX-0401", 4),
        ("terms:", "negative: [no]\nterms:", "EX-0381", 4),
    ] {
        let text = base.replacen(from, to, 1);
        assert_ne!(text, base);
        let problems = costs::read("costs.yaml", &text).unwrap_err();
        assert!(problems.iter().any(|p| p.code == code && p.line == line), "{to}: {problems:#?}");
        assert!(problems.iter().all(|p| CODES.iter().any(|(known, _)| *known == p.code)));
    }
}

#[test]
fn names_that_do_not_fit_space_and_scenarios_are_told_with_their_place() {
    let space = space(2, 2);
    let set = table("price\n1\n");
    let with = |attributes: &str, term: &str| {
        format!("costs: 1\nattributes:\n  {attributes}\nterms:\n  a: \"{term}\"\n")
    };
    for (text, code, line) in [
        (with("mass: {aggregate: sum}", "mass * cost"), "EX-0390", 5),
        (with("price: {aggregate: sum, missing: 1}", "price"), "EX-0391", 3),
        (with("mass: {decision: d9}", "mass"), "EX-0393", 3),
        (with("weight: {aggregate: sum}", "weight"), "EX-0394", 3),
        (with("key: {aggregate: sum, missing: 0}", "key"), "EX-0397", 3),
        (with("mass: {aggregate: sum}\nfactors: {key: key, rows: {k0: {mass: 1}}}", "mass"), "EX-0396", 4),
        (
            with("mass: {aggregate: sum}\nfactors: {key: key, decisions: [d9], rows: {}}", "mass"),
            "EX-0393",
            4,
        ),
    ] {
        let problems = bind(&text, &space, &set);
        assert!(problems.iter().any(|p| p.code == code && p.line == line), "{text}: {problems:#?}");
    }
    let both = "costs: 1\nterms:\n  a: \"x + y\"\n  b: z\n";
    assert_eq!(bind(both, &space, &set).len(), 3);
}

#[test]
fn unlike_units_are_not_added() {
    let space = space(1, 1);
    let file = "scenarios: 1\nvariables:\n  price: {unit: USD/kg, uniform: [1, 2]}\n  fleet: {unit: aircraft, uniform: [1, 2]}\n\
                \x20 burn: {unit: kg, uniform: [1, 2]}\n  free: {uniform: [1, 2]}\ncount: 3\n";
    let set = scenarios::read("s.yaml", file, &|_| None).unwrap().set(None);
    let check = |formula: &str| {
        model(&format!("costs: 1\nterms: {{a: \"{formula}\"}}\n")).bind(&space, &set).map(|_| ())
    };
    for bad in [
        "price + fleet",
        "2 * price - burn",
        "max(price, fleet)",
        "price * burn + fleet",
        "exp(1) * (price + burn)",
    ] {
        assert_eq!(check(bad).unwrap_err()[0].code, "EX-0395", "{bad}");
    }
    for good in [
        "price * burn",
        "price + 1",
        "price + free",
        "price * burn + burn * price",
        "price * (fleet / fleet) + price",
        "price / price + 3",
    ] {
        assert!(check(good).is_ok(), "{good}");
    }
}

#[test]
fn figures_that_are_not_finite_name_term_design_and_scenario() {
    let space = space(2, 2);
    let set = table("price\n4\n2\n1\n");
    let all = designs(&space);
    let run = |text: &str| select(&space, &all, &set, &model(text), &question(0.5, 1.0)).unwrap_err();
    let error = run("costs: 1\nterms: {fine: price, bad: \"1 / (price - 2)\"}\n");
    assert_eq!(
        error.to_string(),
        "EX-0399: the term `bad` is inf for design {d0: o0, d1: o0} in scenario 1 (counted from 0); a cost \
         must be finite"
    );
    let error = run("costs: 1\nterms: {bad: \"ln(0 - price)\"}\n");
    assert!(error.to_string().contains("NaN"), "{error}");
    let error = run("costs: 1\nterms: {a: \"1e308 + price\", b: \"1e308 + price\"}\n");
    assert!(error.to_string().starts_with("EX-0400"), "{error}");
    let error = run("costs: 1\nattributes: {extra: {decision: d1}}\nterms: {a: extra}\n");
    assert!(matches!(&error, SelectionError::Cost(cost) if cost.code() == "EX-0398"), "{error}");
    assert!(error.to_string().contains("{d0: o0, d1: o0}"), "{error}");
}

#[test]
fn a_term_below_zero_is_refused_where_the_model_forbids_it_and_only_there() {
    let space = space(2, 2);
    let set = table("price\n4\n2\n1\n");
    let all = designs(&space);
    let run = |rule: &str| {
        let text = format!("costs: 1\n{rule}terms: {{fine: price, credit: \"1.5 - price * 0.5\"}}\n");
        select(&space, &all, &set, &model(&text), &question(0.5, 1.0))
    };
    let error = run("negative: forbidden\n").unwrap_err();
    assert_eq!(error.code(), "EX-0401");
    assert_eq!(
        error.to_string(),
        "EX-0401: the term `credit` is -0.5 for design {d0: o0, d1: o0} in scenario 0 (counted from 0); the cost \
         model says `negative: forbidden`"
    );
    assert!(run("negative: allowed\n").is_ok());
    assert!(run("").is_ok());
    let zero = "costs: 1\nnegative: forbidden\nterms: {a: \"price * 0\"}\n";
    assert!(select(&space, &all, &set, &model(zero), &question(0.5, 1.0)).is_ok());
}

const MODEL: &str = "costs: 1\nattributes:\n  mass: {aggregate: sum}\n  extra: {aggregate: max, missing: 0.5}\n  one: {decision: d1, missing: 1}\n\
terms:\n  steady: \"3 * mass\"\n  risky: \"extra * price ^ 2 - one * wind\"\n";
const TABLE: &str = "price,wind,probability\n1,3,0.4\n2,1,0.3\n5,2,0.15\n9,0,0.1\n12,7,0.05\n";

/// Expectation and CVaR of every design, by loops that share nothing with the library.
fn by_hand(space: &DesignSpace, all: &[Design], level: f64) -> Vec<(f64, f64)> {
    let rows = [[1.0, 3.0, 0.4], [2.0, 1.0, 0.3], [5.0, 2.0, 0.15], [9.0, 0.0, 0.1], [12.0, 7.0, 0.05]];
    all.iter()
        .map(|design| {
            let figure = |d: usize, name: &str| match space.decisions[d].options[usize::from(design[d])]
                .attributes
                .get(name)
            {
                Some(Attribute::Number(x)) => Some(x.mantissa as f64 / 10.0),
                _ => None,
            };
            let mass: f64 = (0..design.len()).filter_map(|d| figure(d, "mass")).sum();
            let extra = (0..design.len()).filter_map(|d| figure(d, "extra")).fold(f64::NAN, f64::max);
            let extra = if extra.is_nan() { 0.5 } else { extra };
            let costs = rows.map(|[price, wind, p]| (3.0 * mass + (extra * price * price - wind), p));
            let expected = costs.iter().map(|(c, p)| c * p).sum();
            let cvar = costs
                .iter()
                .map(|(z, _)| {
                    z + costs.iter().map(|(c, p)| p * (c - z).max(0.0)).sum::<f64>() / (1.0 - level)
                })
                .fold(f64::INFINITY, f64::min);
            (expected, cvar)
        })
        .collect()
}

#[test]
fn the_choice_is_the_one_of_an_independent_loop_for_every_level_and_weight() {
    let space = space(4, 4);
    let all = designs(&space);
    let set = table(TABLE);
    for level in [0.0, 0.3, 0.8, 0.9, 0.97] {
        let figures = by_hand(&space, &all, level);
        for weight in [0.0, 0.25, 1.0, 10.0] {
            let got = select(&space, &all, &set, &model(MODEL), &question(level, weight)).unwrap();
            let objective = |i: usize| figures[i].0 + weight * figures[i].1;
            let least = (0..all.len()).map(objective).fold(f64::INFINITY, f64::min);
            let tied: Vec<usize> = (0..all.len()).filter(|&i| objective(i) <= least + 1e-9).collect();
            assert_eq!(got.index, tied[0]);
            assert_eq!(got.tie.size, tied.len());
            assert!((got.objective - least).abs() < 1e-9);
            assert!((got.expected - figures[got.index].0).abs() < 1e-9);
            assert!((got.cvar - figures[got.index].1).abs() < 1e-9);
            let mut rest: Vec<f64> = (0..all.len()).filter(|&i| i != got.index).map(objective).collect();
            rest.sort_by(f64::total_cmp);
            for (runner, expected) in got.runners_up.iter().zip(&rest) {
                assert!((runner.objective - expected).abs() < 1e-9);
                assert!((objective(runner.index) - expected).abs() < 1e-9);
            }
            // No design beats a point of the frontier in both, and every other is beaten or equalled.
            for point in &got.frontier {
                assert!(figures.iter().all(|f| f.0 > point.expected - 1e-9 || f.1 > point.cvar - 1e-9));
            }
            for f in &figures {
                assert!(got.frontier.iter().any(|p| p.expected <= f.0 + 1e-9 && p.cvar <= f.1 + 1e-9));
            }
        }
    }
}

#[test]
fn terms_sum_to_expectation_and_cvar_of_both_designs() {
    let space = space(4, 4);
    let all = designs(&space);
    let got = select(&space, &all, &table(TABLE), &model(MODEL), &question(0.9, 5.0)).unwrap();
    assert!(!got.comparisons.is_empty());
    let others: Vec<_> = got.runners_up.iter().chain([&got.risk_neutral]).collect();
    for comparison in &got.comparisons {
        let other = others.iter().find(|r| r.index == comparison.other).unwrap();
        let total =
            |f: fn(&solvers::selection::TermDifference) -> f64| comparison.terms.iter().map(f).sum::<f64>();
        assert!((total(|t| t.expected) - got.expected).abs() < 1e-9);
        assert!((total(|t| t.tail) - got.cvar).abs() < 1e-9);
        assert!((total(|t| t.expected_other) - other.expected).abs() < 1e-9);
        assert!((total(|t| t.tail_other) - other.cvar).abs() < 1e-9);
        let gap = got.objective - other.objective;
        assert!((total(|t| t.objective_difference) - gap).abs() < 1e-9);
        let least = comparison
            .terms
            .iter()
            .min_by(|a, b| a.objective_difference.total_cmp(&b.objective_difference))
            .unwrap();
        assert_eq!(comparison.decisive_term.as_ref(), Some(&least.term));
        assert!(comparison.words.contains(&least.term));
    }
}

#[test]
fn a_tie_takes_the_lowest_design_and_tells_its_size() {
    let space = space(2, 3);
    let all = designs(&space);
    let text = "costs: 1\nattributes: {extra: {decision: d0, missing: 0.1}}\nterms: {a: \"extra * price\"}\n";
    let got = select(&space, &all, &table("price\n1\n3\n"), &model(text), &question(0.5, 1.0)).unwrap();
    assert_eq!((got.index, got.tie.size), (0, 3));
    assert_eq!(got.tie.indices, [0, 1, 2]);
    assert_eq!(got.runners_up[0].index, 1);
    // The order in which the same figures are added must not hide a tie.
    let text = "costs: 1\nattributes: {mass: {aggregate: sum}}\nterms: {a: \"mass * price\"}\n";
    let mut space = space_of(&[[1, 2, 3], [2, 1, 3], [3, 3, 1]]);
    space.name = "sums".into();
    let all: Vec<Design> = vec![vec![0, 0, 0], vec![1, 1, 1]];
    let got = select(&space, &all, &table("price\n0.7\n"), &model(text), &question(0.5, 1.0)).unwrap();
    assert_eq!((got.index, got.tie.size), (0, 2));
}

/// Three decisions with the masses 0.1, 0.2, 0.3 picked so that two designs add them in another order.
fn space_of(masses: &[[i64; 3]; 3]) -> DesignSpace {
    let mut space = space(3, 3);
    for (d, row) in masses.iter().enumerate() {
        for (o, &mantissa) in row.iter().enumerate() {
            let mass = Attribute::Number(Decimal { mantissa, scale: 1 });
            space.decisions[d].options[o].attributes.insert("mass".into(), mass);
        }
    }
    // Design (0, 0, 0) adds 0.1 + 0.2 + 0.3, design (1, 1, 1) adds 0.2 + 0.3 + 0.1.
    for (d, mantissa) in [(0, 1), (1, 2), (2, 3)] {
        space.decisions[d].options[0]
            .attributes
            .insert("mass".into(), Attribute::Number(Decimal { mantissa, scale: 1 }));
    }
    for (d, mantissa) in [(0, 2), (1, 3), (2, 1)] {
        space.decisions[d].options[1]
            .attributes
            .insert("mass".into(), Attribute::Number(Decimal { mantissa, scale: 1 }));
    }
    space
}

#[test]
fn ranges_put_together_give_the_same_answer_as_one_pass() {
    let space = space(3, 4);
    let all = designs(&space);
    let (set, model) = (table(TABLE), model(MODEL));
    let question = question(0.9, 0.5);
    let evaluator = Evaluator::new(&space, &all, &set, &model).unwrap();
    let mut go = |_: usize, _: usize| ControlFlow::Continue(());
    let levels = question.levels();
    let mut figures = evaluator.evaluate(0..20, &levels, &mut go).unwrap();
    assert!(matches!(
        choose(&evaluator, &figures, &question),
        Err(SelectionError::Incomplete { covered: 20, designs: 64 })
    ));
    assert!(!figures.append(evaluator.evaluate(30..64, &levels, &mut go).unwrap()));
    let kept = serde_json::to_string(&figures).unwrap();
    let mut figures: solvers::selection::Figures = serde_json::from_str(&kept).unwrap();
    assert!(figures.append(evaluator.evaluate(20..64, &levels, &mut go).unwrap()));
    let text = |s: &Selection| serde_json::to_string(s).unwrap();
    let whole = select(&space, &all, &set, &model, &question).unwrap();
    let parts = choose(&evaluator, &figures, &question).unwrap();
    assert!(text(&parts) == text(&whole), "the figures lost bits on their way through JSON");
    let back: Selection = serde_json::from_str(&text(&whole)).unwrap();
    assert!(back == whole);
}

#[test]
fn an_observer_sees_progress_and_can_stop() {
    let space = space(4, 4);
    let all = designs(&space);
    let (set, model) = (table(TABLE), model(MODEL));
    let evaluator = Evaluator::new(&space, &all, &set, &model).unwrap();
    let mut seen = Vec::new();
    let mut watch = |done: usize, total: usize| {
        seen.push((done, total));
        ControlFlow::Continue(())
    };
    evaluator.evaluate(0..256, &[], &mut watch).unwrap();
    assert_eq!(seen.first(), Some(&(0, 256)));
    assert_eq!(seen.last(), Some(&(256, 256)));
    let mut stop =
        |done: usize, _: usize| if done >= 64 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(matches!(evaluator.evaluate(0..256, &[], &mut stop), Err(SelectionError::Stopped { done: 64 })));
}

#[test]
fn designs_that_do_not_fit_or_stand_out_of_order_are_refused() {
    let space = space(2, 2);
    let (set, model) = (table(TABLE), model("costs: 1\nterms: {a: price}\n"));
    let refuse =
        |designs: Vec<Design>| Evaluator::new(&space, &designs, &set, &model).map(|_| ()).unwrap_err();
    assert!(matches!(refuse(vec![]), SelectionError::NoDesigns));
    for (designs, at) in [
        (vec![vec![0, 0], vec![0]], 1),
        (vec![vec![0, 2]], 0),
        (vec![vec![0, 1], vec![0, 0]], 1),
        (vec![vec![0, 1], vec![0, 1]], 1),
    ] {
        assert!(matches!(refuse(designs), SelectionError::NotCanonical { index, .. } if index == at));
    }
}

/// Prints how long 32,768 designs in 1,000 scenarios with seven terms take; asserts no time.
/// `cargo test --release -p solvers --test risk_selection -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measurement_of_a_large_choice() {
    let space = space(5, 8);
    let all = designs(&space);
    let file = include_str!("../../examples/ampel360/scenarios.yaml");
    let set = scenarios::read("s.yaml", file, &|_| None).unwrap().set(None);
    let text = include_str!("../../examples/ampel360/default-costs.yaml")
        .replace("propulsion", "d1")
        .replace("complexity", "mass")
        .replace("manufacturing", "extra");
    let start = std::time::Instant::now();
    let got = select(&space, &all, &set, &model(&text), &question(0.8, 0.25)).unwrap();
    println!("{} designs x {} scenarios x 7 terms: {:?}", got.designs, got.scenarios, start.elapsed());
    assert_eq!((got.designs, got.scenarios), (32_768, 1000));
}
