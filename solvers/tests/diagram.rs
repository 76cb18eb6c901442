//! The decision diagram where no search gets: closed forms, uniform samples, bounds that are kept.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

use solvers::enumeration::*;
use solvers::space::{self, DesignSpace};

/// `n` decisions of `options` options; option `o` has `mass: o`, `donor: o` and `score: o * (d + 1)`.
fn grid(n: usize, options: usize, constraints: &[String]) -> DesignSpace {
    let decision = |d: usize| {
        let option =
            |o: usize| format!("{{id: o{o}, attributes: {{mass: {o}, donor: {o}, score: {}}}}}", o * (d + 1));
        let options: Vec<String> = (0..options).map(option).collect();
        format!("  - {{name: d{d}, options: [{}]}}\n", options.join(", "))
    };
    let mut text =
        format!("design_space: 1\nname: grid\ndecisions:\n{}", (0..n).map(decision).collect::<String>());
    if !constraints.is_empty() {
        text += "constraints:\n";
        constraints.iter().for_each(|c| text += &format!("  - {c}\n"));
    }
    text += "objective: {minimise: {sum: {attribute: score}}}\n";
    space::read(&text, "grid").unwrap()
}

/// Neighbours differ.
fn neighbours(n: usize, options: usize) -> Vec<String> {
    let tuples: Vec<String> = (0..options).map(|o| format!("[o{o}, o{o}]")).collect();
    let one = |d: usize| {
        format!(
            "{{name: n{d}, forbidden: {{decisions: [d{d}, d{}], tuples: [{}]}}}}",
            d + 1,
            tuples.join(", ")
        )
    };
    (0..n - 1).map(one).collect()
}

fn counted(space: &DesignSpace) -> Outcome {
    enumerate(space, &Options { confirm: true, ..Options::new(Mode::Count) }, &mut Quiet).unwrap()
}

#[test]
fn thirty_neighbours_that_differ_are_counted_exactly_and_confirmed_in_parts() {
    let space = grid(30, 10, &neighbours(30, 10));
    let outcome = counted(&space);
    assert_eq!(outcome.count, 10 * 9u128.pow(29));
    assert!(outcome.complete && outcome.method.contains("diagram"), "{}", outcome.method);
    assert_eq!(outcome.confirmed_by.len(), 1);
}

#[test]
fn compositions_of_a_sum_are_counted_as_the_binomials_say() {
    // Ways to write 40 as an ordered sum of 16 digits: inclusion and exclusion over digits above 9.
    let choose = |n: i128, k: i128| (0..k).fold(1i128, |c, i| c * (n - i) / (i + 1));
    let expected: i128 =
        (0..=4).map(|j| (1 - 2 * (j % 2)) * choose(16, j) * choose(40 - 10 * j + 15, 15)).sum();
    let sum = "{name: mass, sum: {attribute: mass}, min: 40, max: 40}".to_string();
    let outcome = counted(&grid(16, 10, &[sum]));
    assert_eq!(outcome.count, expected as u128);
    assert!(outcome.method.contains("diagram"));
}

#[test]
fn functions_with_at_most_two_equal_values_and_with_three_values_are_counted() {
    // 12 decisions, 12 values, each at most once: 12!.
    let same = "{name: once, same: {attribute: donor}, max: 1}".to_string();
    assert_eq!(counted(&grid(12, 12, &[same])).count, (1..=12).product::<u128>());
    // Onto exactly 3 of 9 values: choose(9, 3) * surjections of 20 onto 3.
    let distinct = "{name: three, distinct: {attribute: donor}, min: 3, max: 3}".to_string();
    let onto = 3u128.pow(20) - 3 * 2u128.pow(20) + 3;
    assert_eq!(counted(&grid(20, 9, &[distinct])).count, 84 * onto);
}

#[test]
fn the_best_of_ten_to_the_thirty_come_in_canonical_order() {
    // The score of d is o * (d + 1): the best are the partitions of 0, 1, 2, 3, ... into different places.
    let space = grid(30, 10, &[]);
    let options = Options { method: Method::Diagram, ..Options::new(Mode::Best { k: 40 }) };
    let best = enumerate(&space, &options, &mut Quiet).unwrap().best;
    let cost = |design: &[u16]| -> i64 { (1..).zip(design).map(|(w, &o)| w * i64::from(o)).sum() };
    assert_eq!(best.len(), 40);
    assert!(best.iter().all(|r| r.objective.mantissa == cost(&r.design) && r.objective.scale == 0));
    assert!(best.is_sorted_by(|a, b| (a.objective.mantissa, &a.design) < (b.objective.mantissa, &b.design)));
    // Partitions of 0..=6 with parts up to 30, none more than 9 times: 1 1 2 3 5 7 11.
    let of = |cost| best.iter().filter(|r| r.objective.mantissa == cost).count();
    assert_eq!((0..=6).map(of).collect::<Vec<_>>(), [1, 1, 2, 3, 5, 7, 11]);
    let searched = Options { method: Method::Search, ..Options::new(Mode::Best { k: 40 }) };
    assert_eq!(enumerate(&space, &searched, &mut Quiet).unwrap().best, best);
}

#[test]
fn a_sample_of_a_huge_space_is_uniform_in_every_decision() {
    // Neighbours differ, so by symmetry each option is equally likely at each decision.
    let space = grid(24, 5, &neighbours(24, 5));
    let draws = 20_000u64;
    let outcome = enumerate(&space, &Options::new(Mode::Sample { k: draws, seed: 3 }), &mut Quiet).unwrap();
    assert!(outcome.method.contains("diagram"), "{}", outcome.method);
    assert_eq!((outcome.designs.len() as u64, outcome.count), (draws, 5 * 4u128.pow(23)));
    for d in 0..24 {
        let mut seen = [0u64; 5];
        outcome.designs.iter().for_each(|design| seen[usize::from(design[d])] += 1);
        let mean = draws as f64 / 5.0;
        let chi: f64 = seen.iter().map(|&s| (s as f64 - mean).powi(2) / mean).sum();
        // 4 degrees of freedom: 1 in 100,000 lies above 28.5, and the seed is fixed.
        assert!(chi < 28.5, "decision {d}: {seen:?}");
    }
}

#[test]
fn every_design_of_a_small_space_is_drawn_equally_often_by_both_methods() {
    let sum = "{name: mass, sum: {attribute: mass}, max: 6}".to_string();
    let space = grid(3, 5, &[sum, "{name: same, same: {attribute: donor}, max: 2}".to_string()]);
    let all = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap();
    let designs: Vec<_> = all.designs.iter().collect();
    for method in [Method::Search, Method::Diagram] {
        let mut seen = vec![0u64; designs.len()];
        for seed in 0..6000 {
            let options = Options { method, ..Options::new(Mode::Sample { k: 1, seed }) };
            let drawn = enumerate(&space, &options, &mut Quiet).unwrap().designs.get(0).unwrap();
            seen[designs.binary_search(&drawn).unwrap()] += 1;
        }
        let mean = 6000.0 / designs.len() as f64;
        let chi: f64 = seen.iter().map(|&s| (s as f64 - mean).powi(2) / mean).sum();
        let freedom = designs.len() as f64 - 1.0;
        // Normal approximation, five standard deviations.
        assert!(chi < freedom + 5.0 * (2.0 * freedom).sqrt(), "{method:?}: chi square {chi}");
    }
}

#[test]
fn a_diagram_without_room_gives_way_to_the_search_and_says_so() {
    let sum = "{name: mass, sum: {attribute: score}, max: 60}".to_string();
    let space = grid(6, 8, &[sum, "{name: d, same: {attribute: donor}, max: 2}".to_string()]);
    let roomy = Options { method: Method::Diagram, ..Options::new(Mode::Count) };
    let tight = Options { diagram_bytes_max: 10_000, ..roomy.clone() };
    let (roomy, tight) =
        (enumerate(&space, &roomy, &mut Quiet).unwrap(), enumerate(&space, &tight, &mut Quiet).unwrap());
    assert_eq!(roomy.count, tight.count);
    assert!(roomy.method.contains("diagram") && roomy.notes.is_empty());
    assert!(tight.method.contains("search") && !tight.method.contains("diagram"));
    assert!(tight.notes.iter().any(|n| n.contains("10000 bytes")), "{:?}", tight.notes);
    let confirmed = Options {
        confirm: true,
        method: Method::Search,
        diagram_bytes_max: 10_000,
        ..Options::new(Mode::Count)
    };
    let outcome = enumerate(&space, &confirmed, &mut Quiet).unwrap();
    assert!(outcome.confirmed_by.is_empty() && outcome.notes[0].contains("not confirmed"));
}

#[test]
fn a_diagram_keeps_to_its_bytes() {
    let sum = "{name: mass, sum: {attribute: score}, max: 300}".to_string();
    let space = grid(12, 12, &[sum, "{name: d, same: {attribute: donor}, max: 2}".to_string()]);
    for bytes in [1 << 20, 1 << 22, 1 << 24] {
        let options =
            Options { method: Method::Diagram, diagram_bytes_max: bytes, ..Options::new(Mode::Count) };
        let mut watch = Until { looks: 0, stop_after: u64::MAX, pass: 0 };
        let outcome = enumerate(&space, &options, &mut StopInSearch(&mut watch)).unwrap();
        assert!(outcome.notes[0].contains("passes its bound"), "{:?}", outcome.notes);
        // A look every few thousand moves: it may be passed by what these add.
        assert!(outcome.memory_bytes < 2 * bytes as u64 + (1 << 20), "{} of {bytes}", outcome.memory_bytes);
    }
}

#[test]
fn more_designs_than_128_bits_hold_are_not_counted_wrongly() {
    // 10^40 > 2^128; the search that then begins is stopped.
    let space = grid(40, 10, &[]);
    let mut watch = Until { looks: 0, stop_after: u64::MAX, pass: 0 };
    let outcome = enumerate(&space, &Options::new(Mode::Count), &mut StopInSearch(&mut watch)).unwrap();
    assert!(!outcome.complete);
    assert!(outcome.notes.iter().any(|n| n.contains("2^128")), "{:?}", outcome.notes);
}

/// Counts looks and stops after some.
struct Until {
    looks: u64,
    stop_after: u64,
    pass: u8,
}

impl Observer for Until {
    fn progress(&mut self, progress: &Progress) -> Flow {
        self.looks += 1;
        self.pass = progress.pass;
        if self.looks > self.stop_after { Flow::Stop } else { Flow::Continue }
    }
}

/// Lets a diagram go on and stops the search.
struct StopInSearch<'a>(&'a mut Until);

impl Observer for StopInSearch<'_> {
    fn progress(&mut self, progress: &Progress) -> Flow {
        self.0.progress(progress);
        if progress.pass == 3 { Flow::Continue } else { Flow::Stop }
    }
}

#[test]
fn a_stopped_diagram_ends_the_whole_enumeration_at_once() {
    let sum = "{name: mass, sum: {attribute: score}, max: 300}".to_string();
    let space = grid(12, 12, &[sum, "{name: d, same: {attribute: donor}, max: 2}".to_string()]);
    for stop_after in [0, 1, 5] {
        let mut watch = Until { looks: 0, stop_after, pass: 0 };
        let options = Options { method: Method::Diagram, ..Options::new(Mode::Count) };
        let outcome = enumerate(&space, &options, &mut watch).unwrap();
        assert!(!outcome.complete);
        assert_eq!((watch.looks, watch.pass), (stop_after + 1, 3), "it was asked again after it was stopped");
    }
}
