//! Known results of QAOA, gradients, norms and order of summation.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use quantum::ising::{Ising, Term};
use quantum::qaoa::Search;
use quantum::simulator::one_hot::Groups;
use quantum::simulator::{Angles, Simulator};
use quantum::threads::Threads;
use std::f64::consts::PI;
use std::sync::Arc;

fn simulator_of(ising: &Ising) -> Simulator {
    Simulator::x(ising.diagonal(), ising.qubits()).unwrap()
}

fn split(point: &[f64]) -> Angles {
    let (cost, mixer) = point.split_at(point.len() / 2);
    Angles::new(cost.to_vec(), mixer.to_vec()).unwrap()
}

/// Least expectation over all angles, by searches from a grid of ramps.
fn least(simulator: &Simulator, layers: usize) -> f64 {
    let evaluate = |x: &[f64]| {
        let gradient = simulator.gradient(&split(x), simulator.values());
        (gradient.value, [gradient.cost, gradient.mixer].concat())
    };
    let mut least = f64::INFINITY;
    for cost in [-0.9, -0.5, 0.5, 0.9] {
        for mixer in [0.3, 0.6] {
            let ramp = |k: usize| (k as f64 + 0.5) / layers as f64;
            let up = (0..layers).map(|k| cost * ramp(k));
            let down = (0..layers).map(|k| mixer * (1.0 - ramp(k)));
            let mut search = Search::new(up.chain(down).collect(), evaluate);
            for _ in 0..200 {
                search.step(evaluate);
            }
            least = least.min(search.at().value);
        }
    }
    least
}

#[test]
fn max_cut_on_the_even_ring_reaches_its_known_share() {
    for (layers, share) in [(1usize, 3.0 / 4.0), (2, 5.0 / 6.0), (3, 7.0 / 8.0)] {
        let n = 2 * layers as u32 + 2;
        let edges: Vec<(u32, u32)> = (0..n).map(|i| (i, (i + 1) % n)).collect();
        let ising = Ising::max_cut(n, &edges).unwrap();
        let cut = -least(&simulator_of(&ising), layers) / f64::from(n);
        assert!((cut - share).abs() < 1e-9, "p = {layers}: {cut}");
    }
}

#[test]
fn the_petersen_graph_at_one_layer_reaches_its_known_share() {
    let edges: Vec<(u32, u32)> =
        (0..5).flat_map(|i| [(i, (i + 1) % 5), (i, i + 5), (i + 5, (i + 2) % 5 + 5)]).collect();
    let ising = Ising::max_cut(10, &edges).unwrap();
    let cut = -least(&simulator_of(&ising), 1) / 15.0;
    assert!((cut - (0.5 + 1.0 / (3.0 * 3f64.sqrt()))).abs() < 1e-10, "{cut}");
}

#[test]
fn the_grover_mixer_at_pi_is_grovers_search() {
    let costs: Vec<f64> = (0..1000).map(|i| if i % 143 == 5 { -1.0 } else { 0.0 }).collect();
    assert_eq!(costs.iter().filter(|c| **c < 0.0).count(), 7);
    let simulator = Simulator::grover(costs).unwrap();
    for (layers, wanted) in [(1, 0.061829488), (3, 0.306165532), (6, 0.785229927)] {
        let angles = Angles::new(vec![PI; layers], vec![PI; layers]).unwrap();
        let found = simulator.probability_at_most(&simulator.run(&angles), -1.0);
        assert!((found - wanted).abs() < 1e-9, "p = {layers}: {found}");
    }
}

/// Layers by definition: one qubit, one amplitude, one dense projector at a time.
fn by_definition(values: &[f64], angles: &Angles, grover: bool) -> Vec<(f64, f64)> {
    let count = values.len();
    let mut state = vec![(1.0 / (count as f64).sqrt(), 0.0); count];
    for k in 0..angles.layers() {
        for (a, value) in state.iter_mut().zip(values) {
            let (s, c) = (-angles.cost[k] * value).sin_cos();
            *a = (a.0 * c - a.1 * s, a.0 * s + a.1 * c);
        }
        let (s, c) = angles.mixer[k].sin_cos();
        if grover {
            let mean =
                state.iter().fold((0.0, 0.0), |m, a| (m.0 + a.0 / count as f64, m.1 + a.1 / count as f64));
            // (exp(-i angle) - 1) mean
            let shift = ((c - 1.0) * mean.0 + s * mean.1, (c - 1.0) * mean.1 - s * mean.0);
            state.iter_mut().for_each(|a| *a = (a.0 + shift.0, a.1 + shift.1));
        } else {
            let mut bit = 1;
            while bit < count {
                let old = state.clone();
                for (z, a) in state.iter_mut().enumerate() {
                    let other = old[z ^ bit];
                    *a = (c * a.0 + s * other.1, c * a.1 - s * other.0);
                }
                bit *= 2;
            }
        }
    }
    state
}

#[test]
fn blocked_passes_equal_the_definition_at_every_size() {
    // 11 and 12 qubits straddle the block, 14 and 15 the chunk, 4 to 6 the run of columns.
    for qubits in [1u32, 2, 3, 4, 5, 6, 10, 11, 12, 14, 15, 16, 17] {
        let values: Vec<f64> =
            (0..1u64 << qubits).map(|z| ((z * 2654435761) % 1000) as f64 / 300.0).collect();
        let angles = Angles::new(vec![0.4, -1.1], vec![0.7, 0.3]).unwrap();
        for grover in [false, true] {
            let simulator =
                if grover { Simulator::grover(values.clone()) } else { Simulator::x(values.clone(), qubits) };
            let state = simulator.unwrap().run(&angles);
            for (z, wanted) in by_definition(&values, &angles, grover).into_iter().enumerate() {
                let off = (state.re[z] - wanted.0).abs().max((state.im[z] - wanted.1).abs());
                assert!(off < 1e-13, "{qubits} qubits, grover {grover}, state {z}: off by {off}");
            }
        }
    }
}

fn check_gradient(simulator: &Simulator, point: &[f64]) -> Result<(), TestCaseError> {
    let gradient = simulator.gradient(&split(point), simulator.values());
    let exact = [gradient.cost, gradient.mixer].concat();
    let value = |x: &[f64]| {
        let state = simulator.run(&split(x));
        simulator.expectation(&state, simulator.values())
    };
    let size = exact.iter().fold(1e-3f64, |most, g| most.max(g.abs()));
    for k in 0..point.len() {
        let at = |step: f64| {
            let mut moved = point.to_vec();
            moved[k] += step;
            value(&moved)
        };
        // Fourth order: its own error is below 1e-9 at this step.
        let h = 2e-3;
        let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        prop_assert!((slope - exact[k]).abs() < 1e-7 * size, "angle {k}: {} against {slope}", exact[k]);
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_gradient_with_the_x_mixer_is_the_slope(
        coefficients in prop::collection::vec(-0.5f64..0.5, 6),
        point in prop::collection::vec(-1.0f64..1.0, 6),
    ) {
        let z = [vec![0, 1], vec![1, 2], vec![2, 3], vec![0, 3], vec![1], vec![0, 1, 3]];
        let terms = z.into_iter().zip(coefficients).map(|(z, coefficient)| Term { z, coefficient }).collect();
        check_gradient(&simulator_of(&Ising::new(4, terms).unwrap()), &point)?;
    }

    #[test]
    fn the_gradient_with_the_grover_mixer_is_the_slope(
        values in prop::collection::vec(-2.0f64..2.0, 2..12),
        point in prop::collection::vec(-1.5f64..1.5, 8),
        grouped in any::<bool>(),
    ) {
        let simulator = if grouped {
            let multiplicity = (0..values.len()).map(|i| (i % 3 + 1) as f64).collect();
            Simulator::grover_grouped(values, multiplicity)
        } else {
            Simulator::grover(values)
        };
        check_gradient(&simulator.unwrap(), &point)?;
    }

    #[test]
    fn designs_of_equal_cost_may_share_an_amplitude(
        values in prop::collection::vec((-3.0f64..3.0, 1u32..5), 1..8),
        point in prop::collection::vec(-3.0f64..3.0, 6),
    ) {
        let listed: Vec<f64> = values.iter().flat_map(|&(v, m)| vec![v; m as usize]).collect();
        let (costs, multiplicity) = values.iter().map(|&(v, m)| (v, f64::from(m))).unzip();
        let (one, all) = (Simulator::grover_grouped(costs, multiplicity).unwrap(), Simulator::grover(listed).unwrap());
        let (a, b) = (one.run(&split(&point)), all.run(&split(&point)));
        prop_assert!((one.expectation(&a, one.values()) - all.expectation(&b, all.values())).abs() < 1e-12);
        prop_assert!((one.norm(&a) - 1.0).abs() < 1e-13);
    }
}

#[test]
fn the_gradient_over_several_chunks_is_the_slope() {
    let values: Vec<f64> = (0..1u32 << 15).map(|z| f64::from(z * 7919 % 32749) / 9000.0).collect();
    for simulator in [Simulator::x(values.clone(), 15), Simulator::grover(values)] {
        check_gradient(&simulator.unwrap(), &[0.3, -0.7, 0.5, 0.9]).unwrap();
    }
}

#[test]
fn the_norm_stays_one_for_a_hundred_layers() {
    let angles = |layers: u32| {
        let cost = (0..layers).map(|k| 0.1 + 0.37 * f64::from(k)).collect();
        Angles::new(cost, (0..layers).map(|k| 3.0 - 0.21 * f64::from(k)).collect()).unwrap()
    };
    let values: Vec<f64> = (0..1u32 << 13).map(|z| f64::from(z * 7919 % 8191) / 700.0).collect();
    for simulator in [Simulator::x(values.clone(), 13), Simulator::grover(values)] {
        let simulator = simulator.unwrap();
        let drift = (simulator.norm(&simulator.run(&angles(100))) - 1.0).abs();
        assert!(drift < 1e-12, "{drift}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let values: Vec<f64> = (0..1u32 << 17).map(|z| f64::from(z * 7919 % 131071) / 900.0).collect();
    let few: Vec<f64> = values.iter().map(|v| v.floor()).collect();
    let angles = Angles::new(vec![0.3, 0.8, 1.1], vec![0.9, 0.5, 0.2]).unwrap();
    let groups = Arc::new(Groups::product(&[8, 2, 16, 32, 16]).unwrap());
    let make: Vec<(&str, Simulator)> = vec![
        ("x", Simulator::x(values.clone(), 17).unwrap()),
        ("x by table", Simulator::x(few, 17).unwrap()),
        ("grover", Simulator::grover(values[..100_003].to_vec()).unwrap()),
        ("one-hot", Simulator::one_hot(values, groups).unwrap()),
    ];
    for (name, simulator) in make {
        let found: Vec<_> = (1..=3)
            .map(|count| {
                let simulator = simulator.clone().with_threads(Threads::new(count).unwrap());
                let state = simulator.run(&angles);
                let norm = simulator.norm(&state).to_bits();
                (state, norm, simulator.gradient(&angles, simulator.values()))
            })
            .collect();
        assert!(found.iter().all(|f| *f == found[0]), "{name}");
        assert!((f64::from_bits(found[0].1) - 1.0).abs() < 1e-12, "{name}");
    }
}

#[test]
fn memory_that_held_another_state_gives_the_same_bits() {
    let values: Vec<f64> = (0..1u32 << 15).map(|z| f64::from(z % 37)).collect();
    for simulator in [Simulator::x(values.clone(), 15).unwrap(), Simulator::grover(values).unwrap()] {
        let angles = |a: f64| Angles::new(vec![a, 0.4], vec![0.9, -a]).unwrap();
        let mut state = simulator.run(&angles(0.8));
        simulator.run_into(&angles(0.3), &mut state);
        assert_eq!(state, simulator.run(&angles(0.3)));
        simulator.run_into(&Angles::default(), &mut state);
        assert_eq!(state, simulator.run(&Angles::default()));
        assert!((simulator.norm(&state) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn single_layers_make_up_the_run() {
    let values: Vec<f64> = (0..1u32 << 15).map(|z| f64::from(z % 377) / 90.0).collect();
    let angles = Angles::new(vec![0.7, 0.4], vec![0.9, -0.3]).unwrap();
    for simulator in [Simulator::x(values.clone(), 15).unwrap(), Simulator::grover(values).unwrap()] {
        let (mut state, whole) = (simulator.run(&Angles::default()), simulator.run(&angles));
        (0..2).for_each(|k| simulator.layer(&mut state, angles.cost[k], angles.mixer[k]));
        for z in 0..state.len() {
            assert!((state.re[z] - whole.re[z]).abs() + (state.im[z] - whole.im[z]).abs() < 1e-14);
        }
    }
}
