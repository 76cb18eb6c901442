//! The choice by several threads, the frontier's hull, and the choice with scenarios drawn again.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::Dice;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use solvers::costs::{self, CostModel};
use solvers::risk::{CvarLevel, Losses, RiskWeight};
use solvers::scenarios::{self, ScenarioSet};
use solvers::selection::{
    Evaluator, Figures, Question, Resampling, SelectionError, Stability, choose, select, stability,
};
use solvers::space::{self, Design, DesignSpace};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

fn go(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// `decisions` of `options` each, with two figures per option.
fn space(decisions: usize, options: usize, seed: u64) -> DesignSpace {
    let mut dice = Dice::new(seed);
    let mut text = String::from("design_space: 1\nname: test\ndecisions:\n");
    for d in 0..decisions {
        text += &format!("  - name: d{d}\n    options:\n");
        for o in 0..options {
            let (steady, risky) = (dice.below(1000), dice.below(1000));
            text += &format!("      - {{id: o{o}, attributes: {{steady: {steady}, risky: {risky}}}}}\n");
        }
    }
    space::read(&text, "space.yaml").unwrap()
}

fn designs(space: &DesignSpace) -> Vec<Design> {
    let mut all: Vec<Design> = vec![vec![]];
    for decision in &space.decisions {
        let options = 0..decision.options.len() as u16;
        all = all.iter().flat_map(|d| options.clone().map(move |o| [d.as_slice(), &[o]].concat())).collect();
    }
    all
}

fn scenarios_of(count: usize, seed: u64) -> ScenarioSet {
    let text = format!(
        "scenarios: 1\nvariables:\n  price: {{uniform: [5, 7]}}\n  storm: {{lognormal: {{mean: 0, sd: 1}}}}\n\
         count: {count}\nseed: {seed}\n"
    );
    scenarios::read("s.yaml", &text, &|_| None).unwrap().set(None)
}

fn model() -> CostModel {
    let text = "costs: 1\nunit: USD\nattributes: {steady: {aggregate: sum}, risky: {aggregate: mean}}\n\
                terms: {a: \"steady * price\", b: \"risky * storm * 3 + steady\"}\n";
    costs::read("costs.yaml", text).unwrap()
}

fn question(level: f64, weight: f64) -> Question {
    Question::new(CvarLevel::new(level).unwrap(), RiskWeight::new(weight).unwrap())
}

#[test]
fn one_two_and_three_threads_give_the_same_bytes() {
    let space = space(4, 5, 1);
    let all = designs(&space);
    let (set, model, question) = (scenarios_of(257, 3), model(), question(0.9, 0.5));
    let evaluator = Evaluator::new(&space, &all, &set, &model).unwrap();
    let levels = question.levels();
    let alone = evaluator.evaluate(0..all.len(), &levels, &mut go).unwrap();
    let bytes = |figures: &Figures| serde_json::to_vec(figures).unwrap();
    for threads in [1, 2, 3, 7, 1000] {
        let together = evaluator.evaluate_threads(0..all.len(), &levels, threads, &go).unwrap();
        assert!(bytes(&together) == bytes(&alone), "{threads} threads");
        let part = evaluator.evaluate_threads(100..333, &levels, threads, &go).unwrap();
        let of_part = evaluator.evaluate(100..333, &levels, &mut go).unwrap();
        assert!(bytes(&part) == bytes(&of_part), "{threads} threads, a part");
        let one = stability(
            &evaluator,
            &alone,
            &question,
            &Resampling { replicates: 40, threads, ..Resampling::new(5) },
            &go,
        );
        let other = stability(
            &evaluator,
            &alone,
            &question,
            &Resampling { replicates: 40, threads: 1, ..Resampling::new(5) },
            &go,
        );
        assert!(serde_json::to_vec(&one.unwrap()).unwrap() == serde_json::to_vec(&other.unwrap()).unwrap());
    }
}

#[test]
fn several_threads_report_the_first_designs_error_and_can_be_stopped() {
    let space = space(4, 5, 1);
    let all = designs(&space);
    let set = scenarios_of(64, 3);
    let text =
        "costs: 1\nattributes: {steady: {aggregate: sum}}\nterms: {a: \"1 / max(0, steady - 1500)\"}\n";
    let model = costs::read("costs.yaml", text).unwrap();
    let evaluator = Evaluator::new(&space, &all, &set, &model).unwrap();
    let alone = evaluator.evaluate(0..all.len(), &[], &mut go).unwrap_err().to_string();
    assert!(alone.contains("EX-0399"), "{alone}");
    for threads in [2, 3, 8] {
        let error = evaluator.evaluate_threads(0..all.len(), &[], threads, &go).unwrap_err();
        assert_eq!(error.to_string(), alone, "{threads} threads");
    }
    let model = self::model();
    let evaluator = Evaluator::new(&space, &all, &set, &model).unwrap();
    let most = AtomicUsize::new(0);
    let stop = |done: usize, total: usize| {
        assert_eq!(total, 625);
        most.fetch_max(done, Ordering::Relaxed);
        if done >= 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = evaluator.evaluate_threads(0..all.len(), &[], 2, &stop).unwrap_err();
    assert!(matches!(error, SelectionError::Stopped { .. }));
    assert!(most.load(Ordering::Relaxed) < 625);
    let watched = AtomicUsize::new(0);
    let watch = |done: usize, _: usize| {
        watched.fetch_max(done, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    evaluator.evaluate_threads(0..all.len(), &[], 3, &watch).unwrap();
    assert_eq!(watched.load(Ordering::Relaxed), 625);
}

#[test]
fn the_corners_of_the_hull_are_the_choice_exactly_for_their_weights() {
    for seed in 0..20 {
        let space = space(3, 6, seed);
        let all = designs(&space);
        let (set, model) = (scenarios_of(40, seed), model());
        let ask = |weight: f64| select(&space, &all, &set, &model, &question(0.8, weight)).unwrap();
        let whole = ask(1.0);
        assert_eq!(whole.hull[0].weight_from, 0.0);
        assert_eq!(whole.hull.last().unwrap().weight_to, None);
        for pair in whole.hull.windows(2) {
            assert_eq!(pair[0].weight_to, Some(pair[1].weight_from), "seed {seed}");
            assert!(pair[0].expected < pair[1].expected && pair[0].cvar > pair[1].cvar);
        }
        for corner in &whole.hull {
            let to = corner.weight_to.unwrap_or(corner.weight_from * 2.0 + 10.0);
            assert!(to > corner.weight_from, "seed {seed}: an empty interval");
            let middle = (corner.weight_from + to) / 2.0;
            assert_eq!(ask(middle).index, corner.index, "seed {seed}: weight {middle}");
            assert!(whole.frontier.iter().any(|p| p.index == corner.index));
            if corner.weight_from > 0.0 {
                let before = ask(corner.weight_from * (1.0 - 1e-9));
                assert_ne!(before.index, corner.index, "seed {seed}: chosen before its interval");
            }
        }
        for weight in [0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0] {
            let index = ask(weight).index;
            let corner = whole.hull.iter().find(|c| c.index == index);
            let corner =
                corner.unwrap_or_else(|| panic!("seed {seed}: {weight} chooses a design off the hull"));
            assert!(corner.weight_from <= weight && corner.weight_to.is_none_or(|to| weight <= to));
        }
        assert_eq!(whole.frontier_size, whole.frontier.len());
        // The whole frontier: every design is on it or beaten by a point of it.
        let evaluator = Evaluator::new(&space, &all, &set, &model).unwrap();
        let level = CvarLevel::new(0.8).unwrap();
        let figures = evaluator.evaluate(0..all.len(), &[level], &mut go).unwrap();
        let beaten = |i: usize| {
            (0..all.len()).any(|j| {
                figures.expected[j] <= figures.expected[i]
                    && figures.cvar[j] <= figures.cvar[i]
                    && (figures.expected[j] < figures.expected[i] || figures.cvar[j] < figures.cvar[i])
            })
        };
        let mut on: Vec<usize> = (0..all.len()).filter(|&i| !beaten(i)).collect();
        let mut got: Vec<usize> = whole.frontier.iter().map(|p| p.index).collect();
        on.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, on, "seed {seed}");
    }
}

struct Answered {
    space: DesignSpace,
    all: Vec<Design>,
    set: ScenarioSet,
    model: CostModel,
}

impl Answered {
    fn new(scenarios: usize) -> Self {
        let space = space(3, 4, 9);
        Answered { all: designs(&space), space, set: scenarios_of(scenarios, 2), model: model() }
    }

    fn ask(&self, question: &Question, resampling: &Resampling) -> Result<Stability, SelectionError> {
        let evaluator = Evaluator::new(&self.space, &self.all, &self.set, &self.model).unwrap();
        let figures = evaluator.evaluate(0..self.all.len(), &question.levels(), &mut go).unwrap();
        let answer = stability(&evaluator, &figures, question, resampling, &go)?;
        let chosen = choose(&evaluator, &figures, question).unwrap();
        let same = answer.wins.iter().find(|w| w.index == chosen.index).map_or(0, |w| w.wins);
        assert_eq!(answer.share_same_choice, same as f64 / resampling.replicates as f64);
        if let Some(gap) = &answer.gap {
            assert_eq!(gap.other, chosen.runners_up[0].index);
            assert_eq!(gap.nominal, chosen.runners_up[0].objective - chosen.objective);
        }
        Ok(answer)
    }
}

#[test]
fn wins_add_up_and_depend_on_the_seed_and_more_replicates_keep_the_first() {
    let answered = Answered::new(30);
    let question = question(0.8, 1.0);
    let with = |replicates, seed| {
        answered.ask(&question, &Resampling { replicates, ..Resampling::new(seed) }).unwrap()
    };
    let one = with(500, 1);
    assert_eq!(one.wins.iter().map(|w| w.wins).sum::<usize>(), 500);
    assert!(one.wins.len() > 1, "a choice that never moves tests nothing");
    assert!(
        one.wins
            .windows(2)
            .all(|p| (p[1].wins, p[0].index) <= (p[0].wins, p[1].index) || p[0].wins > p[1].wins)
    );
    assert!(one.wins.iter().all(|w| w.low < w.share && w.share < w.high));
    assert_eq!(one, with(500, 1));
    let other = with(500, 2);
    assert_ne!(one.wins, other.wins);
    // Two seeds are two samples of the same thing.
    assert!((one.share_same_choice - other.share_same_choice).abs() < 0.13, "{one:?} {other:?}");
    let gap = one.gap.clone().unwrap();
    assert!(gap.low < gap.nominal && gap.nominal < gap.high && gap.low < gap.mean && gap.mean < gap.high);
    assert!(one.regret_mean > 0.0 && one.regret_max > one.regret_mean);
    assert!(one.complete && one.candidates == 64 && one.designs == 64);
    // The first replicates of a longer run are those of a shorter one, so wins only grow.
    let longer = with(501, 1);
    for win in &one.wins {
        let more = longer.wins.iter().find(|w| w.index == win.index).unwrap();
        assert!(more.wins == win.wins || more.wins == win.wins + 1);
    }
}

/// The same bootstrap written out: its own generator, its own loops, sets compared as shares.
#[test]
fn the_shares_are_those_of_a_bootstrap_written_out_with_another_generator() {
    let answered = Answered::new(25);
    let (level, weight) = (0.8, 1.0);
    let replicates = 2000;
    let got =
        answered.ask(&question(level, weight), &Resampling { replicates, ..Resampling::new(4) }).unwrap();
    let evaluator = Evaluator::new(&answered.space, &answered.all, &answered.set, &answered.model).unwrap();
    let costs: Vec<Vec<f64>> = (0..answered.all.len()).map(|i| evaluator.costs(i).unwrap()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(99);
    let mut wins = vec![0usize; costs.len()];
    for _ in 0..replicates {
        let drawn: Vec<usize> = (0..25).map(|_| (rng.next_u64() % 25) as usize).collect();
        let objective = |costs: &Vec<f64>| {
            let mut sample: Vec<f64> = drawn.iter().map(|&s| costs[s]).collect();
            sample.sort_by(f64::total_cmp);
            let mean = sample.iter().sum::<f64>() / 25.0;
            // The worst fifth of 25 is five of them.
            mean + weight * sample[20..].iter().sum::<f64>() / 5.0
        };
        let best =
            (0..costs.len()).min_by(|&a, &b| objective(&costs[a]).total_cmp(&objective(&costs[b]))).unwrap();
        wins[best] += 1;
    }
    for (index, &times) in wins.iter().enumerate() {
        let share = times as f64 / replicates as f64;
        let its = got.wins.iter().find(|w| w.index == index).map_or(0.0, |w| w.share);
        // Four standard deviations of the difference of two shares.
        assert!((share - its).abs() < 4.0 * (0.5 / replicates as f64).sqrt(), "{index}: {share} {its}");
    }
}

#[test]
fn certain_costs_never_change_the_choice_and_ties_go_to_the_lowest() {
    let mut answered = Answered::new(20);
    let text = "costs: 1\nattributes: {steady: {decision: d1}}\nterms: {a: \"steady\"}\n";
    answered.model = costs::read("costs.yaml", text).unwrap();
    let got =
        answered.ask(&question(0.9, 0.5), &Resampling { replicates: 50, ..Resampling::new(1) }).unwrap();
    assert_eq!(got.share_same_choice, 1.0);
    assert_eq!(got.wins.len(), 1);
    assert_eq!((got.regret_mean, got.regret_max), (0.0, 0.0));
    let gap = got.gap.unwrap();
    assert_eq!((gap.nominal, gap.mean, gap.share_not_negative), (0.0, 0.0, 1.0));
}

#[test]
fn few_candidates_are_told_and_numbers_out_of_range_refused() {
    let answered = Answered::new(30);
    let question = question(0.8, 1.0);
    let few = answered.ask(&question, &Resampling { candidates: 5, ..Resampling::new(1) }).unwrap();
    assert!(!few.complete && few.candidates == 5);
    assert!(few.words.contains("5 best of 64"), "{}", few.words);
    for (replicates, candidates, words) in
        [(0, 10, "replicates is 0"), (100_001, 10, "replicates is 100001"), (10, 1, "candidates is 1")]
    {
        let resampling = Resampling { replicates, candidates, ..Resampling::new(1) };
        let error = answered.ask(&question, &resampling).unwrap_err();
        assert_eq!(error.code(), "EX-0441");
        assert!(error.to_string().contains(words) && error.to_string().contains("expected"), "{error}");
    }
}

#[test]
fn a_replicate_of_one_scenario_is_that_scenario() {
    let answered = Answered::new(1);
    let got = answered.ask(&question(0.5, 1.0), &Resampling { replicates: 7, ..Resampling::new(1) }).unwrap();
    assert_eq!(got.share_same_choice, 1.0);
    let evaluator = Evaluator::new(&answered.space, &answered.all, &answered.set, &answered.model).unwrap();
    let costs = evaluator.costs(got.wins[0].index).unwrap();
    let losses = Losses::equally_likely(&costs).unwrap();
    assert!((losses.expectation() - costs[0]).abs() < 1e-12);
}

/// Prints how long 100,000 designs in 1,000 scenarios take by 1 and 2 threads, and the bootstrap.
/// `cargo test --release -p solvers --test risk_stability -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measurement_of_a_hundred_thousand_designs() {
    let space = space(5, 10, 1);
    let all = designs(&space);
    let file = include_str!("../../examples/ampel360/scenarios.yaml");
    let set = scenarios::read("s.yaml", file, &|_| None).unwrap().set(None);
    let text = include_str!("../../examples/ampel360/default-costs.yaml")
        .replace("propulsion", "d1")
        .replace("complexity", "steady")
        .replace("manufacturing", "risky");
    let model = costs::read("c.yaml", &text).unwrap();
    let question = question(0.95, 0.25);
    let evaluator = Evaluator::new(&space, &all, &set, &model).unwrap();
    for (levels, name) in [(vec![question.cvar_level], "one level"), (question.levels(), "the grid's levels")]
    {
        for threads in [1, 2] {
            let start = std::time::Instant::now();
            let figures = evaluator.evaluate_threads(0..all.len(), &levels, threads, &go).unwrap();
            println!(
                "{} designs x {} scenarios, {name}, {threads} threads: {:?}",
                figures.len(),
                set.len(),
                start.elapsed()
            );
        }
    }
    let figures = evaluator.evaluate_threads(0..all.len(), &[question.cvar_level], 2, &go).unwrap();
    for candidates in [10_000, 100_000] {
        let start = std::time::Instant::now();
        let resampling = Resampling { candidates, threads: 2, ..Resampling::new(1) };
        let got = stability(&evaluator, &figures, &question, &resampling, &go).unwrap();
        println!(
            "bootstrap, {} replicates x {} candidates, 2 threads: {:?}",
            got.replicates,
            got.candidates,
            start.elapsed()
        );
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no peak known"));
}
