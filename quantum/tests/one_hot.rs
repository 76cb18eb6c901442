//! One-hot mixers against dense matrices, and their gradients against slopes.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use quantum::qaoa::{Method, Mixing, Optimiser, Settings, WarmStart};
use quantum::simulator::one_hot::{Groups, GroupsError};
use quantum::simulator::{Angles, Simulator};
use quantum::threads::Threads;
use std::sync::Arc;

type Amplitude = (f64, f64);

/// exp(-i angle A) x for a symmetric 0-1 matrix, by the series of a small part of the angle, repeated.
fn dense_exponential(joined: &dyn Fn(usize, usize) -> bool, angle: f64, x: &mut [Amplitude]) {
    let n = x.len();
    let parts = 64;
    let h = angle / f64::from(parts);
    for _ in 0..parts {
        let mut term = x.to_vec();
        for order in 1..=20 {
            let mut next = vec![(0.0, 0.0); n];
            for (i, next) in next.iter_mut().enumerate() {
                for (j, t) in term.iter().enumerate().filter(|(j, _)| joined(i, *j)) {
                    let _ = j;
                    *next = (next.0 + t.0, next.1 + t.1);
                }
                // times -i h / order
                *next = (next.1 * h / f64::from(order), -next.0 * h / f64::from(order));
            }
            x.iter_mut().zip(&next).for_each(|(x, t)| *x = (x.0 + t.0, x.1 + t.1));
            term = next;
        }
    }
}

fn by_definition(designs: &[Vec<u32>], values: &[f64], angles: &Angles, at_once: bool) -> Vec<Amplitude> {
    let n = designs.len();
    let mut state = vec![(1.0 / (n as f64).sqrt(), 0.0); n];
    let differ = |i: usize, j: usize| -> Vec<usize> {
        (0..designs[i].len()).filter(|&g| designs[i][g] != designs[j][g]).collect()
    };
    for k in 0..angles.layers() {
        for (a, value) in state.iter_mut().zip(values) {
            let (s, c) = (-angles.cost[k] * value).sin_cos();
            *a = (a.0 * c - a.1 * s, a.0 * s + a.1 * c);
        }
        if at_once {
            dense_exponential(&|i, j| differ(i, j).len() == 1, angles.mixer[k], &mut state);
        } else {
            for group in 0..designs[0].len() {
                dense_exponential(&|i, j| differ(i, j) == [group], angles.mixer[k], &mut state);
            }
        }
    }
    state
}

fn product_designs(sizes: &[u32]) -> Vec<Vec<u32>> {
    let count: u32 = sizes.iter().product();
    (0..count)
        .map(|mut index| {
            sizes
                .iter()
                .map(|size| {
                    let choice = index % size;
                    index /= size;
                    choice
                })
                .collect()
        })
        .collect()
}

fn close(simulator: &Simulator, angles: &Angles, wanted: &[Amplitude]) {
    let state = simulator.run(angles);
    for (z, wanted) in wanted.iter().enumerate() {
        let off = (state.re[z] - wanted.0).abs().max((state.im[z] - wanted.1).abs());
        assert!(off < 1e-12, "amplitude {z} is off by {off}");
    }
}

fn angles() -> Angles {
    Angles::new(vec![0.7, -0.4], vec![0.9, 2.3]).unwrap()
}

#[test]
fn a_product_space_mixes_as_one_exponential_of_the_sum() {
    let sizes = [3u32, 1, 4, 2];
    let designs = product_designs(&sizes);
    let values: Vec<f64> = (0..designs.len()).map(|i| (i * 37 % 11) as f64 / 3.0).collect();
    let wanted = by_definition(&designs, &values, &angles(), true);
    let product = Arc::new(Groups::product(&sizes).unwrap());
    close(&Simulator::one_hot(values.clone(), product).unwrap(), &angles(), &wanted);
    let listed = Arc::new(Groups::listed(&sizes, &designs).unwrap());
    assert_eq!(listed.components(), 1);
    close(&Simulator::one_hot(values, listed).unwrap(), &angles(), &wanted);
}

#[test]
fn a_part_of_the_space_mixes_group_after_group_and_keeps_to_itself() {
    let sizes = [3u32, 4, 2];
    let designs: Vec<Vec<u32>> = product_designs(&sizes)
        .into_iter()
        .enumerate()
        .filter(|(i, _)| i * 7 % 5 != 2)
        .map(|(_, d)| d)
        .rev()
        .collect();
    let values: Vec<f64> = (0..designs.len()).map(|i| (i * 37 % 13) as f64 / 3.0).collect();
    let wanted = by_definition(&designs, &values, &angles(), false);
    let groups = Arc::new(Groups::listed(&sizes, &designs).unwrap());
    let simulator = Simulator::one_hot(values, groups).unwrap();
    close(&simulator, &angles(), &wanted);
    assert!((simulator.norm(&simulator.run(&angles())) - 1.0).abs() < 1e-13);
}

#[test]
fn qubits_are_groups_of_two() {
    let values: Vec<f64> = (0..64).map(|i| f64::from(i * 29 % 17)).collect();
    let product = Arc::new(Groups::product(&[2; 6]).unwrap());
    let (a, b) = (Simulator::one_hot(values.clone(), product).unwrap(), Simulator::x(values, 6).unwrap());
    let (a, b) = (a.run(&angles()), b.run(&angles()));
    for z in 0..64 {
        assert!((a.re[z] - b.re[z]).abs() + (a.im[z] - b.im[z]).abs() < 1e-13);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_gradient_with_one_hot_mixers_is_the_slope(
        keep in prop::collection::vec(any::<bool>(), 24),
        point in prop::collection::vec(-1.2f64..1.2, 6),
        whole in any::<bool>(),
    ) {
        let sizes = [3u32, 4, 2];
        let all = product_designs(&sizes);
        let designs: Vec<Vec<u32>> = all.into_iter().zip(&keep).filter(|(_, keep)| whole || **keep).map(|(d, _)| d).collect();
        prop_assume!(!designs.is_empty());
        let values: Vec<f64> = (0..designs.len()).map(|i| (i * 37 % 13) as f64 / 5.0).collect();
        let groups = if whole { Groups::product(&sizes) } else { Groups::listed(&sizes, &designs) };
        let simulator = Simulator::one_hot(values, Arc::new(groups.unwrap())).unwrap();
        let split = |x: &[f64]| Angles::new(x[..3].to_vec(), x[3..].to_vec()).unwrap();
        let gradient = simulator.gradient(&split(&point), simulator.values());
        let exact = [gradient.cost, gradient.mixer].concat();
        let size = exact.iter().fold(1e-3f64, |most, g| most.max(g.abs()));
        for k in 0..6 {
            let at = |step: f64| {
                let mut moved = point.clone();
                moved[k] += step;
                simulator.expectation(&simulator.run(&split(&moved)), simulator.values())
            };
            let h = 1e-3;
            let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            prop_assert!((slope - exact[k]).abs() < 1e-7 * size, "angle {k}: {} against {slope}", exact[k]);
        }
    }
}

#[test]
fn designs_that_no_mixer_joins_are_counted_apart() {
    let designs = [[0u32, 0], [1, 1], [1, 2], [2, 0]];
    let groups = Groups::listed(&[3, 3], &designs).unwrap();
    assert_eq!(groups.components(), 2, "00 - 20 and 11 - 12");
    assert_eq!((groups.find(&[1, 2]), groups.find(&[2, 2]), groups.choices(3)), (Some(2), None, vec![2, 0]));
    let product = Groups::product(&[3, 2]).unwrap();
    assert_eq!(
        (product.find(&[2, 1]), product.choices(5), product.find(&[3, 0])),
        (Some(5), vec![2, 1], None)
    );
}

#[test]
fn bad_groups_are_named_before_anything_is_allocated() {
    assert_eq!(Groups::product(&[]).unwrap_err(), GroupsError::Empty { group: 0 });
    assert_eq!(Groups::product(&[2, 0]).unwrap_err(), GroupsError::Empty { group: 1 });
    assert!(matches!(Groups::product(&[u32::MAX; 9]), Err(GroupsError::TooLarge { .. })));
    assert!(matches!(Groups::product(&[2; 28]), Err(GroupsError::TooLarge { .. })));
    let listed = |designs: &[Vec<u32>]| Groups::listed(&[2, 3], designs).unwrap_err();
    assert_eq!(listed(&[vec![0, 1], vec![0]]), GroupsError::Length { design: 1, given: 1, groups: 2 });
    assert_eq!(listed(&[vec![0, 3]]), GroupsError::Choice { design: 0, group: 1, choice: 3, size: 3 });
    assert_eq!(listed(&[vec![0, 1], vec![1, 1], vec![0, 1]]), GroupsError::Repeated { first: 0, second: 2 });
}

#[test]
fn structure_finds_what_guessing_does_not() {
    // Costs that are sums over groups: one-hot mixers see how, Grover's mixer sees values only.
    let sizes = [4u32; 5];
    let designs = product_designs(&sizes);
    let costs: Vec<f64> = designs
        .iter()
        .map(|d| d.iter().enumerate().map(|(g, c)| f64::from((c * 5 + g as u32 * 3) % 7)).sum())
        .collect();
    let groups = Arc::new(Groups::product(&sizes).unwrap());
    let probability = |mixing: Mixing| {
        let settings = Settings { layers: 3, iterations: 60, ..Settings::default() };
        let mut search = Optimiser::over(&costs, mixing, Threads::one(), settings).unwrap();
        while !search.step().finished {}
        search.outcome().optimum_probability
    };
    let (one_hot, grover) = (probability(Mixing::OneHot(groups)), probability(Mixing::Grover));
    assert!(one_hot > 5.0 * grover, "{one_hot} against {grover}");
}

#[test]
fn every_method_and_start_resumes_to_the_same_bytes() {
    let sizes = [3u32, 4, 2];
    let designs: Vec<Vec<u32>> = product_designs(&sizes).into_iter().skip(3).collect();
    let costs: Vec<f64> = (0..designs.len()).map(|i| (i * 37 % 13) as f64 / 5.0).collect();
    let groups = Arc::new(Groups::listed(&sizes, &designs).unwrap());
    for mixing in [Mixing::OneHot(groups), Mixing::Grover] {
        for method in [Method::Lbfgs, Method::NelderMead, Method::Spsa] {
            for warm_start in [WarmStart::None, WarmStart::Ramp, WarmStart::SherringtonKirkpatrick] {
                if warm_start == WarmStart::SherringtonKirkpatrick && mixing == Mixing::Grover {
                    continue;
                }
                let noise = quantum::noise::Noise { depolarising: 0.02, readout: 0.01 };
                let settings = Settings {
                    layers: 2,
                    iterations: 12,
                    seed: 5,
                    elite_fraction: 0.5,
                    shots: 200,
                    method,
                    warm_start,
                    noise,
                };
                let two = Threads::new(2).unwrap();
                let mut whole =
                    Optimiser::over(&costs, mixing.clone(), Threads::one(), settings.clone()).unwrap();
                let mut live =
                    Optimiser::over(&costs, mixing.clone(), two.clone(), settings.clone()).unwrap();
                loop {
                    let bytes = live.checkpoint();
                    live =
                        Optimiser::resume_over(&costs, mixing.clone(), two.clone(), settings.clone(), &bytes)
                            .unwrap();
                    let (a, b) = (live.step(), whole.step());
                    assert_eq!(a, b, "{method:?} {warm_start:?}");
                    if a.finished {
                        break;
                    }
                }
                assert_eq!(live.checkpoint(), whole.checkpoint());
                let other = if mixing == Mixing::Grover { continue } else { Mixing::Grover };
                let refused =
                    Optimiser::resume_over(&costs, other, two, settings, &live.checkpoint()).unwrap_err();
                assert!(["EX-0474", "EX-0470"].contains(&refused.code()), "{refused}");
            }
        }
    }
}
