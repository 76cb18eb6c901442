//! Random spaces, every mode and method, against trying each combination from the raw words of the rules.
//!
//! `INSTANCES=10000 cargo test --release -p solvers --test fuzz_enumeration` takes a minute; `FIRST=n`
//! begins at another instance. What is tried here shares no code with the search or the diagram: rules
//! are evaluated by `recheck` on fractions, and objectives, ranks and distances are computed in this file.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

mod common;

use common::{Collect, Dice, objective_value, random_space};
use solvers::enumeration::*;
use solvers::recheck::violations;
use solvers::space::{Decimal, Design, DesignSpace, EachTest, Rule};
use std::collections::BTreeMap;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

fn brute(space: &DesignSpace) -> (Vec<Design>, BTreeMap<String, u64>) {
    let mut all: Vec<Design> = vec![Vec::new()];
    for decision in &space.decisions {
        let options = decision.options.len() as u16;
        all = all.iter().flat_map(|d| (0..options).map(|o| [&d[..], &[o]].concat())).collect();
    }
    let mut removed = BTreeMap::new();
    all.retain(|design| {
        let broken = violations(space, design);
        for (name, _) in &broken {
            *removed.entry(name.clone()).or_insert(0) += 1;
        }
        broken.is_empty()
    });
    (all, removed)
}

/// The kind of a rule, finely enough that a kind nobody tried is noticed.
fn kind(rule: &Rule) -> String {
    let bounds = |range: &solvers::space::Range| match (range.min, range.max) {
        (Some(_), Some(_)) => "min and max",
        (Some(_), None) => "min",
        _ => "max",
    };
    let stand_in = |missing: &Option<Decimal>| if missing.is_some() { ", missing" } else { "" };
    match rule {
        Rule::Allowed { decisions, .. } => format!("allowed of {}", decisions.len()),
        Rule::Forbidden { decisions, .. } => format!("forbidden of {}", decisions.len()),
        Rule::Sum { missing, range, .. } => format!("sum {}{}", bounds(range), stand_in(missing)),
        Rule::Each { test: EachTest::Within(range), missing_ignored, .. } => {
            format!("each {}, missing ignored {missing_ignored}", bounds(range))
        }
        Rule::Each { missing_ignored, .. } => format!("each equals, missing ignored {missing_ignored}"),
        Rule::Same { max, .. } => format!("same {max}"),
        Rule::Distinct { min, max, .. } => format!("distinct {} {}", min.is_some(), max.is_some()),
        Rule::Linear { range, .. } => format!("linear {}", bounds(range)),
        Rule::Ratio { range, .. } => format!("ratio {}", bounds(range)),
        Rule::Implies { decision, then_decision, .. } => {
            format!("implies, itself {}", decision == then_decision)
        }
    }
}

/// What must be the same whatever the method, threads and interruptions.
type Bytes = (u128, Vec<u8>, Vec<Ranked>, bool, Option<u32>);

fn bytes(outcome: &Outcome) -> Bytes {
    let Outcome { count, designs, best, complete, least_distance, .. } = outcome;
    (*count, designs.bytes().to_vec(), best.clone(), *complete, *least_distance)
}

fn distance(a: &[u16], b: &[u16]) -> u32 {
    a.iter().zip(b).filter(|(x, y)| x != y).count() as u32
}

fn check_diverse(found: &[Design], least: Option<u32>, expected: &[Design], k: usize) {
    assert!(found.is_sorted_by(|a, b| a < b));
    assert!(found.iter().all(|d| expected.binary_search(d).is_ok()));
    // All spaces here have fewer designs than the smallest pool, or the pool is a part of them.
    assert_eq!(found.len(), expected.len().min(k));
    let pairs = found.iter().enumerate().flat_map(|(i, a)| found[i + 1..].iter().map(|b| distance(a, b)));
    let measured = pairs.min();
    assert_eq!(measured, least);
    if expected.len() <= 1000
        && let Some(least) = measured
    {
        // Of a greedy choice from all designs none is farther from those taken than they from each other.
        let away = |d: &Design| found.iter().map(|f| distance(d, f)).min().unwrap();
        assert!(expected.iter().all(|d| away(d) <= least), "a design farther away was left out");
    }
}

fn check(instance: u64, kinds: &mut BTreeMap<String, u64>) -> usize {
    let space = random_space(instance);
    let mut dice = Dice::new(instance ^ 0xF022);
    let (expected, removed) = brute(&space);
    for constraint in &space.constraints {
        if removed.contains_key(&constraint.name) {
            *kinds.entry(kind(&constraint.rule)).or_insert(0) += 1;
        }
    }
    let k = 1 + dice.below(7);
    let seed = dice.below(1 << 40);
    let maximise = space.objective.as_ref().unwrap().maximise;
    let mut ranked: Vec<(Decimal, Design)> =
        expected.iter().map(|d| (objective_value(&space, d).unwrap(), d.clone())).collect();
    ranked.sort_by(|(a, x), (b, y)| {
        let order = a.compare(*b);
        (if maximise { order.reverse() } else { order }).then(x.cmp(y))
    });
    ranked.truncate(k as usize);
    for (mode, limit) in [
        (Mode::List, None),
        (Mode::List, Some(k)),
        (Mode::Count, None),
        (Mode::Best { k }, None),
        (Mode::Sample { k, seed }, None),
        (Mode::Diverse { k, seed }, None),
    ] {
        let options = Options { limit, ..Options::new(mode) };
        let mut collect = Collect::default();
        let one = enumerate(&space, &options, &mut collect).unwrap();
        let designs: Vec<Design> = one.designs.iter().collect();
        match (mode, limit) {
            (Mode::List, None) => assert_eq!(designs, expected),
            (Mode::List, Some(limit)) => {
                assert_eq!(designs, expected[..expected.len().min(limit as usize)]);
                assert_eq!(one.complete, expected.len() <= limit as usize);
            }
            (Mode::Count, _) => assert_eq!(one.count, expected.len() as u128),
            (Mode::Best { .. }, _) => {
                let best: Vec<(Decimal, Design)> =
                    one.best.iter().map(|r| (r.objective, r.design.clone())).collect();
                assert_eq!(best, ranked);
            }
            (Mode::Sample { .. }, _) => {
                assert_eq!(designs.len(), expected.len().min(k as usize));
                assert!(designs.is_sorted_by(|a, b| a < b));
                assert!(designs.iter().all(|d| expected.binary_search(d).is_ok()));
            }
            (Mode::Diverse { .. }, _) => check_diverse(&designs, one.least_distance, &expected, k as usize),
        }
        assert!(one.complete || limit.is_some());
        let wanted = bytes(&one);
        let confirmed = Options { confirm: true, threads: 2, ..options.clone() };
        let outcome = enumerate(&space, &confirmed, &mut Quiet).unwrap();
        assert_eq!(bytes(&outcome), wanted, "{mode:?}, two threads, confirmed");
        let unconfirmed = matches!(mode, Mode::Best { .. }) || !one.complete;
        assert_eq!(outcome.confirmed_by.is_empty(), unconfirmed, "{mode:?}: {:?}", outcome.notes);
        let diagram = Options { method: Method::Diagram, confirm: true, threads: 3, ..options.clone() };
        let outcome = enumerate(&space, &diagram, &mut Quiet).unwrap();
        assert_eq!(bytes(&outcome), wanted, "{mode:?}, by diagram");
        assert_eq!(outcome.method.contains("diagram"), mode != Mode::List, "{}", outcome.method);
        if !collect.0.is_empty() {
            let at = dice.below(collect.0.len() as u64) as usize;
            let back = Checkpoint::from_bytes(&collect.0[at].to_bytes()).unwrap();
            let resumed = Options { resume: Some(back), threads: 1 + at % 3, ..options };
            let outcome = enumerate(&space, &resumed, &mut Quiet).unwrap();
            assert_eq!(bytes(&outcome), wanted, "{mode:?}, resumed at unit {at}");
        }
    }
    expected.len()
}

#[test]
fn every_mode_method_and_interruption_gives_what_brute_force_gives() {
    let (first, instances) = (number("FIRST", 0), number("INSTANCES", 300));
    let mut kinds = BTreeMap::new();
    let (mut empty, mut designs) = (0, 0);
    for instance in first..first + instances {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(instance, &mut kinds)));
        let found = found.unwrap_or_else(|panic| {
            println!("seen with FIRST={instance} INSTANCES=1");
            std::panic::resume_unwind(panic)
        });
        empty += u64::from(found == 0);
        designs += found;
    }
    println!(
        "{instances} instances, {empty} of them empty, {designs} designs; rules that removed something:"
    );
    kinds.iter().for_each(|(kind, times)| println!("  {times:6} {kind}"));
    if instances >= 300 {
        let wanted =
            ["allowed of ", "forbidden of "].iter().flat_map(|t| (1..=4).map(move |n| format!("{t}{n}")));
        let wanted = wanted.chain(
            [
                "sum min",
                "sum max",
                "sum min and max",
                "sum min, missing",
                "sum max, missing",
                "sum min and max, missing",
                "each min, missing ignored true",
                "each max, missing ignored false",
                "each min and max, missing ignored true",
                "each equals, missing ignored true",
                "each equals, missing ignored false",
                "same 0",
                "same 1",
                "same 2",
                "distinct true true",
                "distinct true false",
                "distinct false true",
                "linear min",
                "linear max",
                "ratio min",
                "ratio max",
                "ratio min and max",
                "implies, itself true",
                "implies, itself false",
            ]
            .map(str::to_string),
        );
        let untried: Vec<String> = wanted.filter(|kind| !kinds.contains_key(kind)).collect();
        assert!(untried.is_empty(), "no instance was narrowed by: {untried:?}");
        assert!(
            empty * 20 > instances && empty * 4 < instances * 3,
            "one-sided: {empty} of {instances} are empty"
        );
    }
}
