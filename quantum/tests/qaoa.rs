//! The angle search as a whole: it gains, it resumes to the bit, it samples what it says.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use quantum::CODES;
use quantum::problem::{Mixer, Problem, evaluate};
use quantum::qaoa::comparison::random_hit_probability;
use quantum::qaoa::{Optimiser, QaoaError, Settings};
use quantum::simulator::Angles;

/// Costs of `count` designs, roughly bell-shaped as sums of parts are.
fn costs(count: u32) -> Vec<f64> {
    let part = |i: u32, k: u32| {
        f64::from(i.wrapping_mul(2654435761).wrapping_add(k * 40503) >> 7 & 0xffff) / 65536.0
    };
    (0..count)
        .map(|i| 900.0 + 50.0 * (part(i, 1) + part(i * 3, 2) + part(i * 7, 3) + part(i * 11, 4)))
        .collect()
}

fn finished(costs: &[f64], settings: &Settings) -> Optimiser {
    let mut search = Optimiser::new(costs, settings.clone()).unwrap();
    while !search.step().finished {}
    search
}

#[test]
fn a_run_resumed_at_any_step_ends_in_the_same_bytes() {
    let costs = costs(300);
    for elite_fraction in [1.0, 0.2] {
        let settings =
            Settings { layers: 3, iterations: 24, seed: 7, elite_fraction, shots: 64, ..Settings::default() };
        let whole = finished(&costs, &settings);
        let mut live = Optimiser::new(&costs, settings.clone()).unwrap();
        loop {
            // Every single step is taken by a machine fresh from bytes.
            live = Optimiser::resume(&costs, settings.clone(), &live.checkpoint()).unwrap();
            if live.step().finished {
                break;
            }
        }
        assert_eq!(live.checkpoint(), whole.checkpoint());
        assert_eq!(live.outcome().sample(500, 3), whole.outcome().sample(500, 3));
    }
}

#[test]
fn a_search_that_goes_on_under_other_settings_is_the_one_that_began_with_them_and_any_other_is_refused() {
    use quantum::qaoa::{Method, WarmStart};
    let costs = costs(120);
    let base = Settings { layers: 1, iterations: 40, seed: 5, shots: 64, ..Settings::default() };
    let bases = [
        base.clone(),
        Settings { method: Method::NelderMead, ..base.clone() },
        Settings { layers: 3, warm_start: WarmStart::Ramp, ..base.clone() },
        Settings { layers: 3, ..base.clone() },
        Settings { method: Method::Spsa, ..base.clone() },
    ];
    let (mut same, mut refused) = (0, 0);
    for old in &bases {
        let others = [
            Settings { shots: 7, ..old.clone() },
            Settings { iterations: 60, ..old.clone() },
            Settings { iterations: 12, ..old.clone() },
            Settings { iterations: 3, ..old.clone() },
            Settings { seed: 6, ..old.clone() },
        ];
        for new in others {
            let mut live = Optimiser::new(&costs, old.clone()).unwrap();
            for _ in 0..8 {
                live.step();
            }
            // A checkpoint of it is good for the other settings only where the search is the same.
            let of_bytes = Optimiser::resume(&costs, new.clone(), &live.checkpoint()).is_ok();
            let Some(mut live) = live.under(&new) else {
                refused += 1;
                continue;
            };
            while !live.step().finished {}
            assert_eq!(live.checkpoint(), finished(&costs, &new).checkpoint(), "{old:?} to {new:?}");
            assert!(of_bytes || new.iterations != old.iterations);
            same += 1;
        }
    }
    assert_eq!((same, refused), (10, 15), "shots alone, and steps of one depth that are still ahead, go on");
}

#[test]
fn more_layers_never_hurt_and_the_search_beats_guessing() {
    let costs = costs(2000);
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let mut last = 0.0;
    for layers in [1, 2, 4] {
        let search = finished(&costs, &Settings { layers, iterations: 80, ..Settings::default() });
        let outcome = search.outcome();
        assert!(
            outcome.approximation_ratio > last,
            "{layers} layers: {} after {last}",
            outcome.approximation_ratio
        );
        last = outcome.approximation_ratio;
        let samples = outcome.sample(512, 1);
        let (_, best) = samples.best(&costs).unwrap();
        assert!(best >= least);
        let guess = random_hit_probability(&costs, 1, least);
        assert!(outcome.optimum_probability > 3.0 * guess, "{} against {guess}", outcome.optimum_probability);
    }
}

#[test]
fn the_seed_decides_where_the_search_begins() {
    let costs = costs(100);
    let began = |seed| {
        let search = Optimiser::new(&costs, Settings { seed, ..Settings::default() }).unwrap();
        search.outcome().mixer_angles
    };
    assert_eq!(began(1), began(1));
    assert_ne!(began(1), began(2));
}

#[test]
fn a_small_budget_still_reaches_the_full_depth() {
    let mut search =
        Optimiser::new(&costs(500), Settings { layers: 4, iterations: 4, ..Settings::default() }).unwrap();
    let layers: Vec<u32> = (0..4).map(|_| search.step().layers).collect();
    assert_eq!(layers, [1, 2, 3, 4]);
}

#[test]
fn progress_never_worsens_and_ends_on_budget() {
    let costs = costs(500);
    let settings = Settings { layers: 3, iterations: 50, ..Settings::default() };
    let mut search = Optimiser::new(&costs, settings).unwrap();
    let mut last = search.progress();
    let mean = costs.iter().sum::<f64>() / costs.len() as f64;
    assert!(last.best < mean, "even the first guess beats the uniform mean");
    while !last.finished {
        let now = search.step();
        assert_eq!(now.iteration, last.iteration + 1);
        assert!(now.best <= last.best && now.best <= now.objective && now.layers >= last.layers);
        assert!((now.expectation - now.best).abs() < 1e-9, "with all shots elite the objective is the mean");
        last = now;
    }
    assert_eq!((last.iteration, last.layers), (50, 3));
    assert_eq!(search.step(), last, "a finished search does nothing");
}

#[test]
fn the_outcome_is_what_a_problem_file_with_its_angles_evaluates_to() {
    let mut costs = costs(400);
    costs[17] = costs[250];
    let outcome = finished(&costs, &Settings { elite_fraction: 0.3, ..Settings::default() }).outcome();
    let angles = Angles::new(outcome.cost_angles_per_unit(), outcome.mixer_angles.clone()).unwrap();
    let found = evaluate(&Problem::values(costs.clone(), Mixer::Grover, angles, None).unwrap());
    assert!((found.expectation - outcome.expectation).abs() < 1e-9 * outcome.expectation);
    assert!((found.optimum_probability - outcome.optimum_probability).abs() < 1e-11);
    assert!((outcome.probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(outcome.objective < outcome.expectation, "the elite is cheaper than the mean");
}

#[test]
fn training_on_the_elite_makes_the_elite_cheaper() {
    let costs = costs(1000);
    let elite_mean = |trained_on: f64| {
        let outcome = finished(
            &costs,
            &Settings { elite_fraction: trained_on, iterations: 100, ..Settings::default() },
        )
        .outcome();
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by(|a, b| costs[*a].total_cmp(&costs[*b]));
        let (mut left, mut mean) = (0.1f64, 0.0);
        for design in order {
            let share = outcome.probabilities()[design].min(left);
            mean += share * costs[design] / 0.1;
            left -= share;
        }
        mean
    };
    assert!(elite_mean(0.1) < elite_mean(1.0), "{} {}", elite_mean(0.1), elite_mean(1.0));
}

#[test]
fn shots_follow_the_probabilities() {
    let costs = costs(40);
    let outcome = finished(&costs, &Settings { iterations: 20, ..Settings::default() }).outcome();
    let shots = 200_000;
    let samples = outcome.sample(shots, 11);
    assert_eq!(samples.counts.iter().map(|(_, count)| count).sum::<u32>(), shots);
    assert!(samples.counts.windows(2).all(|pair| pair[0].0 < pair[1].0));
    // Chi-square over 40 cells: above 80 once in ten thousand seeds; this seed is fixed.
    let mut chi_square = 0.0;
    for (design, probability) in outcome.probabilities().iter().enumerate() {
        let seen = samples.counts.iter().find(|(d, _)| *d == design as u32).map_or(0, |(_, count)| *count);
        let wanted = probability * f64::from(shots);
        chi_square += (f64::from(seen) - wanted).powi(2) / wanted;
    }
    assert!(chi_square < 80.0, "{chi_square}");
    assert_eq!(samples, outcome.sample(shots, 11));
    assert_ne!(samples, outcome.sample(shots, 12));
    let mean = samples.mean(&costs).unwrap();
    assert!((mean - outcome.expectation).abs() < 1.0, "{mean} {}", outcome.expectation);
}

#[test]
fn the_lowest_index_wins_a_tie_among_samples() {
    let samples = quantum::qaoa::Samples { shots: 4, counts: vec![(1, 1), (2, 2), (5, 1)], outside: 0 };
    assert_eq!(samples.best(&[0.0, 3.0, 2.0, 0.0, 0.0, 2.0]), Some((2, 2.0)));
    assert_eq!(samples.mean(&[0.0, 3.0, 2.0, 0.0, 0.0, 2.0]), Some(9.0 / 4.0));
    assert_eq!(samples.mean(&[0.0]), None);
}

#[test]
fn one_design_or_equal_costs_finish_at_once() {
    for costs in [vec![5.0], vec![5.0; 9], vec![-0.0, 0.0]] {
        let search = Optimiser::new(&costs, Settings::default()).unwrap();
        assert!(search.progress().finished);
        let outcome = search.outcome();
        assert_eq!((outcome.expectation, outcome.approximation_ratio), (costs[0], 1.0));
        assert!((outcome.optimum_probability - 1.0).abs() < 1e-12);
        assert!(outcome.sample(10, 0).best(&costs).is_some());
    }
}

#[test]
fn bad_settings_costs_and_checkpoints_are_refused_by_name() {
    let costs = costs(20);
    let base = Settings::default;
    let good = Optimiser::new(&costs, base()).unwrap().checkpoint();
    let code = |error: QaoaError| {
        assert!(CODES.iter().any(|(known, _)| *known == error.code()), "{error}");
        error.code()
    };
    for (settings, name) in [
        (Settings { layers: 0, ..base() }, "layers"),
        (Settings { layers: 65, ..base() }, "layers"),
        (Settings { iterations: 0, ..base() }, "iterations"),
        (Settings { shots: 0, ..base() }, "shots"),
        (Settings { elite_fraction: 0.0, ..base() }, "elite_fraction"),
        (Settings { elite_fraction: 1.1, ..base() }, "elite_fraction"),
        (Settings { elite_fraction: f64::NAN, ..base() }, "elite_fraction"),
    ] {
        let error = Optimiser::new(&costs, settings).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(code(error), "EX-0470");
    }
    assert_eq!(code(Optimiser::new(&[], base()).unwrap_err()), "EX-0471");
    let error = Optimiser::new(&[1.0, f64::NAN], base()).unwrap_err();
    assert!(error.to_string().contains("design 1"));
    assert_eq!(code(error), "EX-0472");
    let resume =
        |costs: &[f64], settings, bytes: &[u8]| code(Optimiser::resume(costs, settings, bytes).unwrap_err());
    assert_eq!(resume(&costs, base(), &good[..good.len() / 2]), "EX-0473");
    assert_eq!(resume(&costs, base(), b"\xff\x00"), "EX-0473");
    let newer = String::from_utf8(good.clone()).unwrap().replace("\"version\":2", "\"version\":3");
    assert_eq!(resume(&costs, base(), newer.as_bytes()), "EX-0473");
    let deeper = String::from_utf8(good.clone()).unwrap().replace("\"depth\":1", "\"depth\":2");
    assert_eq!(resume(&costs, base(), deeper.as_bytes()), "EX-0473");
    assert_eq!(resume(&costs[1..], base(), &good), "EX-0474");
    assert_eq!(resume(&costs, Settings { seed: 1, ..base() }, &good), "EX-0474");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn shifting_and_scaling_the_costs_changes_only_their_unit(
        costs in prop::collection::vec(0u32..1000, 3..30),
        seed in any::<u64>(),
    ) {
        // Powers of two and whole numbers: standardising is exact up to rounding in the mean.
        let plain: Vec<f64> = costs.iter().map(|c| f64::from(*c)).collect();
        let scaled: Vec<f64> = plain.iter().map(|c| 1024.0 * c).collect();
        let settings = Settings { iterations: 6, layers: 2, seed, ..Settings::default() };
        let (a, b) = (finished(&plain, &settings).outcome(), finished(&scaled, &settings).outcome());
        prop_assert!((a.approximation_ratio - b.approximation_ratio).abs() < 1e-6);
        prop_assert!((0.0..=1.0 + 1e-9).contains(&a.approximation_ratio));
    }
}
