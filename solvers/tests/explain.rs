//! Explanations against brute force on random spaces.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

mod common;

use common::random_space;
use solvers::enumeration::{Flow, Observer, Progress, Quiet};
use solvers::explain::{ExplainOptions, Relaxation, Side, explain, near_miss, table};
use solvers::recheck::violations;
use solvers::space::*;

fn seeds(default: u64) -> u64 {
    std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// Every combination of options.
fn combinations(space: &DesignSpace) -> Vec<Design> {
    let mut all: Vec<Design> = vec![Vec::new()];
    for decision in &space.decisions {
        let options = 0..decision.options.len() as u16;
        all = all
            .into_iter()
            .flat_map(|d| options.clone().map(move |o| [d.clone(), vec![o]].concat()))
            .collect();
    }
    all
}

fn feasible(space: &DesignSpace) -> Vec<Design> {
    let mut all = combinations(space);
    all.retain(|d| violations(space, d).is_empty());
    all
}

/// The bounds of a rule, and the rule with one of them set.
fn sides(rule: &Rule) -> Vec<Side> {
    let (min, max) = match rule {
        Rule::Sum { range, .. }
        | Rule::Linear { range, .. }
        | Rule::Ratio { range, .. }
        | Rule::Each { test: EachTest::Within(range), .. } => (range.min.is_some(), range.max.is_some()),
        Rule::Same { .. } => (false, true),
        Rule::Distinct { min, max, .. } => (min.is_some(), max.is_some()),
        _ => return vec![Side::Drop],
    };
    [(min, Side::Min), (max, Side::Max)].into_iter().filter(|s| s.0).map(|s| s.1).collect()
}

fn with_bound(space: &DesignSpace, at: usize, side: Side, to: Option<Decimal>) -> DesignSpace {
    let mut out = space.clone();
    if side == Side::Drop {
        out.constraints.remove(at);
        return out;
    }
    let small = to.map(|t| t.scaled(0).map_or(0, |n| n as u32));
    match &mut out.constraints[at].rule {
        Rule::Sum { range, .. }
        | Rule::Linear { range, .. }
        | Rule::Ratio { range, .. }
        | Rule::Each { test: EachTest::Within(range), .. } => match side {
            Side::Min => range.min = to,
            _ => range.max = to,
        },
        Rule::Same { max, .. } => *max = small.unwrap_or(u32::MAX),
        Rule::Distinct { min, max, .. } => match side {
            Side::Min => *min = small,
            _ => *max = small,
        },
        _ => unreachable!(),
    }
    out
}

/// One billionth, or one for counts, short of a bound.
fn short_of(rule: &Rule, side: Side, to: Decimal) -> Decimal {
    let sign = if side == Side::Min { 1 } else { -1 };
    match rule {
        Rule::Same { .. } | Rule::Distinct { .. } => Decimal::whole(to.scaled(0).unwrap() + sign),
        _ => Decimal { mantissa: to.scaled(9).unwrap() + sign, scale: 9 },
    }
}

fn check_relaxation(space: &DesignSpace, at: usize, found: &Relaxation, seed: u64) {
    let side = found.side;
    let relaxed = with_bound(space, at, side, found.to);
    let design = space.design_from_json(&found.design).unwrap();
    assert!(violations(&relaxed, &design).is_empty(), "seed {seed}: {found:?}");
    assert!(found.words.contains(&found.constraint), "{}", found.words);
    let Some(to) = found.to else { return };
    let tighter = short_of(&space.constraints[at].rule, side, to);
    let less = with_bound(space, at, side, Some(tighter));
    assert!(feasible(&less).is_empty(), "seed {seed}: less than {} is enough", found.words);
}

#[test]
fn relaxations_of_empty_spaces_are_the_nearest_and_none_is_missing() {
    let (mut empty, mut moved, mut dropped, mut fractions, mut none) = (0, 0, 0, 0, 0);
    for seed in 0..seeds(2500) {
        let space = random_space(seed);
        let found = explain(&space, &ExplainOptions::default(), &mut Quiet).unwrap();
        if found.designs != Some(0) {
            assert!(found.conflict.is_none() && found.relaxations.is_empty());
            continue;
        }
        empty += 1;
        assert_eq!(found.not_computed, Vec::<String>::new(), "seed {seed}");
        for (at, constraint) in space.constraints.iter().enumerate() {
            for side in sides(&constraint.rule) {
                let told =
                    found.relaxations.iter().find(|r| r.constraint == constraint.name && r.side == side);
                match told {
                    Some(relaxation) => {
                        check_relaxation(&space, at, relaxation, seed);
                        moved += usize::from(relaxation.to.is_some());
                        dropped += usize::from(relaxation.to.is_none());
                        fractions += usize::from(relaxation.exactly.is_some());
                    }
                    None => {
                        let open = with_bound(&space, at, side, None);
                        assert!(feasible(&open).is_empty(), "seed {seed}: {} could do", constraint.name);
                        none += 1;
                    }
                }
            }
        }
        let text = table(&found);
        assert!(text.contains("contradict each other"), "{text}");
        found.relaxations.iter().for_each(|r| assert!(text.contains(&r.words)));
    }
    println!(
        "{empty} empty spaces, {moved} bounds moved, {dropped} dropped, {fractions} fractions, {none} of no use"
    );
    assert!(empty > 200 && moved > 50 && dropped > 20 && fractions > 0 && none > 100);
}

#[test]
fn effects_are_what_brute_force_counts() {
    for seed in 0..seeds(300) {
        let space = random_space(seed);
        let found = explain(&space, &ExplainOptions::default(), &mut Quiet).unwrap();
        let designs = feasible(&space).len() as u128;
        assert_eq!(found.designs, Some(designs), "seed {seed}");
        for (at, effect) in found.constraints.iter().enumerate() {
            let mut alone = space.clone();
            alone.constraints = vec![space.constraints[at].clone()];
            let holds = feasible(&alone).len() as u128;
            assert_eq!(effect.satisfied_alone, Some(holds), "seed {seed} {}", effect.constraint);
            assert_eq!(effect.removed_alone, Some(space.combinations().unwrap() - holds));
            let without = feasible(&with_bound(&space, at, Side::Drop, None)).len() as u128;
            assert_eq!(effect.removed_given_others, Some(without - designs), "seed {seed}");
        }
    }
}

#[test]
fn a_near_miss_passes_with_its_change_and_with_nothing_short_of_it() {
    let (mut misses, mut changes) = (0, 0);
    for seed in 0..seeds(300) {
        let space = random_space(seed);
        for design in combinations(&space).iter().step_by(7) {
            let found = near_miss(&space, design);
            let broken = violations(&space, design);
            assert_eq!(found.len(), broken.len());
            for (miss, (name, what)) in found.iter().zip(broken) {
                assert_eq!((&miss.constraint, &miss.what), (&name, &what));
                misses += 1;
                let at = space.constraints.iter().position(|c| c.name == name).unwrap();
                let mut only = space.clone();
                only.constraints = vec![space.constraints[at].clone()];
                match &miss.change {
                    Some(change) => {
                        changes += 1;
                        let relaxed = with_bound(&only, 0, change.side, change.to);
                        assert!(violations(&relaxed, design).is_empty(), "seed {seed}: {}", change.words);
                        let to = short_of(&only.constraints[0].rule, change.side, change.to.unwrap());
                        let tighter = with_bound(&only, 0, change.side, Some(to));
                        assert!(!violations(&tighter, design).is_empty(), "seed {seed}: {}", change.words);
                    }
                    None => {
                        for side in sides(&only.constraints[0].rule) {
                            let open = with_bound(&only, 0, side, None);
                            let still = side == Side::Drop || !violations(&open, design).is_empty();
                            assert!(still, "seed {seed}: {name} could be moved");
                        }
                    }
                }
            }
        }
    }
    assert!(misses > 1000 && changes > 300, "{misses} {changes}");
}

/// Stops at the first question.
#[derive(Default)]
struct Stopper {
    asked: bool,
}

impl Observer for Stopper {
    fn progress(&mut self, _: &Progress) -> Flow {
        self.asked = true;
        Flow::Stop
    }
}

const WIDE: &str = "design_space: 1\nname: wide\ndecisions:\n";

#[test]
fn what_was_not_computed_is_absent_and_said_in_words() {
    let mut text = WIDE.to_string();
    for d in 0..6 {
        text += &format!("  - {{name: d{d}, options: [");
        for o in 0..20 {
            let mass = 1_000_003 * (o + 1) * (o + d + 2) % 999_983;
            text += &format!("{{id: o{o}, attributes: {{mass: {mass}}}}}, ");
        }
        text += "]}\n";
    }
    text += "constraints:\n  - {name: mass, sum: {attribute: mass}, min: 20000}\n";
    let space = read(&text, "wide.yaml").unwrap();
    let options = ExplainOptions { designs_max: 1000, threads: 1 };
    let found = explain(&space, &options, &mut Quiet).unwrap();
    assert_eq!(found.designs, None);
    assert_eq!(found.constraints[0].removed_given_others, None);
    assert!(found.not_computed.iter().any(|w| w.contains("more than 1000")), "{:?}", found.not_computed);
    assert!(table(&found).contains("not computed"));
    let mut stopper = Stopper::default();
    let found = explain(&space, &ExplainOptions::default(), &mut stopper).unwrap();
    if !stopper.asked {
        println!("skipped: the count ended before the observer was asked");
        return;
    }
    assert!(found.not_computed.iter().any(|w| w.contains("time was up")), "{:?}", found.not_computed);
}

#[test]
fn an_empty_space_is_explained_in_words() {
    let text = "design_space: 1\nname: small\ndecisions:\n  - {name: wing, options: [{id: w1, attributes: {mass: 2.5}}, {id: w2, attributes: {mass: 3}}]}\n  - {name: tank, options: [{id: t1, attributes: {mass: 1.25}}, {id: t2, attributes: {mass: 2}}]}\nconstraints:\n  - {name: light, sum: {attribute: mass}, max: 3.5}\n  - {name: second-wing, allowed: {decisions: [wing], tuples: [[w2]]}}\n";
    let space = read(text, "small.yaml").unwrap();
    let found = explain(&space, &ExplainOptions::default(), &mut Quiet).unwrap();
    let conflict = found.conflict.as_ref().unwrap();
    assert_eq!(conflict.constraints, vec!["light"]);
    let words: Vec<&str> = found.relaxations.iter().map(|r| r.words.as_str()).collect();
    assert_eq!(words, vec!["raise max of `light` from 3.5 to 4.25, by 0.75"]);
    assert_eq!(found.relaxations[0].design["tank"], "t1");
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["relaxations"][0]["to"], "4.25");
    assert_eq!(json["constraints"][0]["removed_alone"], 4);
}
