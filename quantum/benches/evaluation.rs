//! Times of single evaluations and of an angle search; prints, asserts nothing.
//! Run: `cargo bench -p quantum`.

use quantum::ising::Ising;
use quantum::qaoa::{Optimiser, Settings};
use quantum::simulator::{Angles, Simulator};
use quantum::state::State;
use quantum::threads::Threads;
use std::time::Instant;

fn angles(layers: u32) -> Angles {
    let ramp = |k: u32| 0.1 + 0.05 * f64::from(k);
    Angles { cost: (0..layers).map(ramp).collect(), mixer: (0..layers).map(|k| 0.9 - ramp(k)).collect() }
}

/// A cubic ring: neighbours and the opposite vertex.
fn cubic(n: u32) -> Ising {
    let edges: Vec<(u32, u32)> =
        (0..n).map(|i| (i, (i + 1) % n)).chain((0..n / 2).map(|i| (i, i + n / 2))).collect();
    match Ising::max_cut(n, &edges) {
        Ok(ising) => ising,
        Err(error) => panic!("{error}"),
    }
}

fn fastest(times: u32, mut work: impl FnMut()) -> f64 {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..times).map(once).fold(f64::INFINITY, f64::min)
}

fn main() {
    for threads in [1, 2] {
        let Ok(pool) = Threads::new(threads) else { continue };
        for (n, layers) in [(16, 10), (20, 10), (24, 1)] {
            let Some(simulator) = Simulator::x(cubic(n).diagonal(), n) else { continue };
            let simulator = simulator.with_threads(pool.clone());
            let (mut state, angles) = (State::uniform(1, 1.0), angles(layers));
            let run = fastest(5, || {
                simulator.run_into(&angles, &mut state);
                std::hint::black_box(simulator.expectation(&state, simulator.values()));
            });
            let gradient =
                fastest(3, || drop(std::hint::black_box(simulator.gradient(&angles, simulator.values()))));
            println!(
                "x mixer, n = {n}, p = {layers}, {threads} threads: {:.2} ms, value and gradient {:.2} evaluations",
                run * 1e3,
                gradient / run
            );
        }
    }
    for count in [1_000u32, 100_000, 1_000_000] {
        let costs: Vec<f64> = (0..count).map(|i| f64::from(i.wrapping_mul(2654435761) >> 8) / 1e6).collect();
        let Some(simulator) = Simulator::grover(costs) else { continue };
        let ten = angles(10);
        let run = fastest(5, || drop(std::hint::black_box(simulator.run(&ten))));
        let gradient =
            fastest(5, || drop(std::hint::black_box(simulator.gradient(&ten, simulator.values()))));
        println!(
            "grover mixer, |F| = {count}, p = 10: {:.3} ms, value and gradient {:.1} evaluations",
            run * 1e3,
            gradient / run
        );
    }
    let costs: Vec<f64> = (0..34_000u32).map(|i| f64::from(i.wrapping_mul(2654435761) >> 8).sqrt()).collect();
    for layers in [3, 5] {
        let settings = Settings { layers, iterations: 100, ..Settings::default() };
        let start = Instant::now();
        let Ok(mut search) = Optimiser::new(&costs, settings) else { continue };
        while !search.step().finished {}
        let outcome = search.outcome();
        println!(
            "search, |F| = 34000, p = {layers}, 100 iterations: {:.2} s, optimum probability {:.2e} ({:.1} times uniform), ratio {:.4}",
            start.elapsed().as_secs_f64(),
            outcome.optimum_probability,
            outcome.optimum_probability * 34_000.0,
            outcome.approximation_ratio
        );
    }
}
