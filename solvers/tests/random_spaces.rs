//! Random small spaces over all kinds of rules, against a brute force that walks every combination.
//!
//! `SEEDS=200000 cargo test -p solvers --test random_spaces` looks further.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

mod common;

use common::{Collect, random_space};
use solvers::enumeration::{Checkpoint, Flow, Mode, Observer, Options, Progress, Quiet, enumerate};
use solvers::recheck::{recheck, violations};
use solvers::space::{Decimal, Design, DesignSpace};

fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1000)
}

fn all_combinations(space: &DesignSpace) -> Vec<Design> {
    let mut all: Vec<Design> = vec![Vec::new()];
    for decision in &space.decisions {
        all = all
            .into_iter()
            .flat_map(|d| (0..decision.options.len() as u16).map(move |o| [d.clone(), vec![o]].concat()))
            .collect();
    }
    all
}

fn brute(space: &DesignSpace) -> Vec<Design> {
    all_combinations(space).into_iter().filter(|d| violations(space, d).is_empty()).collect()
}

fn cost(space: &DesignSpace, design: &[u16]) -> Option<Decimal> {
    common::objective_value(space, design)
}

#[test]
fn list_count_best_and_sample_agree_with_brute_force() {
    let (mut nonempty, mut empty) = (0, 0);
    for seed in 0..seeds() {
        let space = random_space(seed);
        let expected = brute(&space);
        if expected.is_empty() {
            empty += 1
        } else {
            nonempty += 1
        }
        let counted = enumerate(&space, &Options::new(Mode::Count), &mut Quiet).unwrap();
        assert_eq!((counted.count, counted.complete), (expected.len() as u128, true), "seed {seed}");
        let listed = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap();
        assert_eq!(listed.designs.iter().collect::<Vec<_>>(), expected, "seed {seed}");
        let limit = 1 + seed % 7;
        let options = Options { limit: Some(limit), ..Options::new(Mode::List) };
        let first = enumerate(&space, &options, &mut Quiet).unwrap();
        let kept = expected.len().min(limit as usize);
        assert_eq!(first.designs.iter().collect::<Vec<_>>(), expected[..kept], "seed {seed}");
        assert_eq!(first.complete, expected.len() <= limit as usize, "seed {seed}");
        let mut ranked: Vec<(Decimal, Design)> =
            expected.iter().map(|d| (cost(&space, d).unwrap(), d.clone())).collect();
        let maximise = space.objective.as_ref().unwrap().maximise;
        ranked.sort_by(|(a, x), (b, y)| {
            let order = a.compare(*b);
            (if maximise { order.reverse() } else { order }).then(x.cmp(y))
        });
        ranked.truncate(limit as usize);
        let best = enumerate(&space, &Options::new(Mode::Best { k: limit }), &mut Quiet).unwrap();
        let found: Vec<(Decimal, Design)> = best.best.into_iter().map(|r| (r.objective, r.design)).collect();
        assert_eq!(found, ranked, "seed {seed}");
        let sample = enumerate(&space, &Options::new(Mode::Sample { k: limit, seed }), &mut Quiet).unwrap();
        let sampled: Vec<Design> = sample.designs.iter().collect();
        assert_eq!(sampled.len(), kept, "seed {seed}");
        assert!(sampled.is_sorted_by(|a, b| a < b), "seed {seed}");
        assert!(sampled.iter().all(|d| expected.binary_search(d).is_ok()), "seed {seed}");
        assert!(recheck(&space, listed.designs.iter()).clean(), "seed {seed}");
    }
    assert!(empty > 50 && nonempty > 300, "the instances are one-sided: {empty} empty, {nonempty} not");
}

#[test]
fn going_on_from_every_checkpoint_gives_the_same_bytes() {
    let mut resumed = 0;
    for seed in 0..120 {
        let space = random_space(seed);
        for (mode, limit) in [
            (Mode::List, None),
            (Mode::List, Some(5)),
            (Mode::Count, None),
            (Mode::Best { k: 4 }, None),
            (Mode::Sample { k: 4, seed }, None),
        ] {
            let options = Options { limit, ..Options::new(mode) };
            let mut collect = Collect::default();
            let whole = enumerate(&space, &options, &mut collect).unwrap();
            let step = (collect.0.len() / 9).max(1);
            for checkpoint in collect.0.into_iter().step_by(step) {
                let bytes = checkpoint.to_bytes();
                let back = Checkpoint::from_bytes(&bytes).unwrap();
                assert_eq!(back, checkpoint);
                let options = Options { resume: Some(back), ..options.clone() };
                let again = enumerate(&space, &options, &mut Quiet).unwrap();
                assert_eq!(
                    (again.count, again.designs, again.best, again.complete),
                    (whole.count, whole.designs.clone(), whole.best.clone(), whole.complete),
                    "seed {seed} {mode:?} unit {}",
                    checkpoint.unit
                );
                resumed += 1;
            }
        }
    }
    assert!(resumed > 500, "only {resumed} resumptions");
}

#[test]
fn a_checkpoint_of_another_search_is_refused() {
    let (a, b) = (random_space(1), random_space(2));
    let mut collect = Collect::default();
    enumerate(&a, &Options::new(Mode::Count), &mut collect).unwrap();
    let resume = collect.0.pop();
    assert!(resume.is_some());
    for (space, mode) in [(&b, Mode::Count), (&a, Mode::List)] {
        let options = Options { resume: resume.clone(), ..Options::new(mode) };
        assert!(enumerate(space, &options, &mut Quiet).is_err());
    }
    assert!(Checkpoint::from_bytes(b"not one").is_err());
}

#[test]
fn two_and_five_threads_give_what_one_gives() {
    for seed in 0..150 {
        let space = random_space(seed);
        for mode in [Mode::List, Mode::Count, Mode::Best { k: 5 }, Mode::Sample { k: 5, seed }] {
            let one = enumerate(&space, &Options::new(mode), &mut Quiet).unwrap();
            for threads in [2, 5] {
                let options = Options { threads, ..Options::new(mode) };
                let many = enumerate(&space, &options, &mut Quiet).unwrap();
                assert_eq!(
                    (many.count, many.designs, many.best, many.complete),
                    (one.count, one.designs.clone(), one.best.clone(), one.complete),
                    "seed {seed} {mode:?} {threads} threads"
                );
            }
        }
    }
}

/// Stops after some units.
struct StopAfter(u64);
impl Observer for StopAfter {
    fn progress(&mut self, progress: &Progress) -> Flow {
        if progress.units_done >= self.0 { Flow::Stop } else { Flow::Continue }
    }
}

#[test]
fn a_stopped_search_says_so_and_counts_only_what_it_saw() {
    // 30^8 combinations: no machine finishes these before the observer is asked.
    let options = |d: usize| {
        let option = |o: usize| format!("{{id: o{o}, attributes: {{mass: {}}}}}", (o * (d + 3)) % 31);
        (0..30).map(option).collect::<Vec<_>>().join(", ")
    };
    let decisions: Vec<String> =
        (0..8).map(|d| format!("  - {{name: d{d}, options: [{}]}}", options(d))).collect();
    let text = format!(
        "design_space: 1\nname: wide\ndecisions:\n{}\nconstraints:\n  - {{name: mass, sum: {{attribute: mass}}, max: 120}}\n",
        decisions.join("\n")
    );
    let space = solvers::space::read(&text, "wide").unwrap();
    for threads in [1, 2] {
        let options = Options { threads, ..Options::new(Mode::Count) };
        let part = enumerate(&space, &options, &mut StopAfter(0)).unwrap();
        assert!(!part.complete);
        assert!(part.count < 30u128.pow(8));
    }
    for seed in 0..200 {
        let space = random_space(seed);
        let whole = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap();
        let part = enumerate(&space, &Options::new(Mode::List), &mut StopAfter(3)).unwrap();
        assert!(
            part.count == whole.count || !part.complete,
            "seed {seed}: designs are missing and nobody says so"
        );
        assert!(part.designs.iter().all(|d| violations(&space, &d).is_empty()));
    }
}

#[test]
fn the_recheck_sees_a_wrong_a_doubled_and_a_misplaced_design() {
    let mut seen = 0;
    for seed in 0..300 {
        let space = random_space(seed);
        let feasible = brute(&space);
        let Some(wrong) = all_combinations(&space).into_iter().find(|d| feasible.binary_search(d).is_err())
        else {
            continue;
        };
        if feasible.len() < 3 {
            continue;
        }
        let mut with_wrong = feasible.clone();
        with_wrong.push(wrong);
        let report = recheck(&space, &with_wrong);
        assert_eq!(report.infeasible, 1);
        assert_eq!(report.violations[0].index, feasible.len() as u64);
        let mut doubled = feasible.clone();
        doubled.push(feasible[0].clone());
        let report = recheck(&space, &doubled);
        assert_eq!((report.duplicates, report.out_of_order, report.infeasible), (1, 1, 0));
        let mut swapped = feasible.clone();
        swapped.swap(0, 1);
        let report = recheck(&space, &swapped);
        assert_eq!((report.duplicates, report.out_of_order), (0, 1));
        let report = recheck(&space, [vec![0u16; space.decisions.len() + 1]]);
        assert_eq!(report.infeasible, 1);
        seen += 1;
    }
    assert!(seen > 50);
}
