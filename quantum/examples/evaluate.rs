//! Times evaluations of a QAOA problem file: `evaluate FILE THREADS TIMES`; a line of JSON for each.
//!
//! One evaluation is the state after all layers and its mean cost; the list of costs is there before, as with
//! the peers of `make bench-quantum`.

use quantum::problem::{Cost, Mixer, Problem};
use quantum::simulator::Simulator;
use quantum::state::State;
use quantum::threads::Threads;
use std::time::Instant;

/// Nanoseconds that all threads of this process have spent on processors, where the system (Linux) says so.
fn processor_ns() -> Option<f64> {
    let mut total = 0.0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(total)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, threads, times] = arguments.as_slice() else {
        return Err("usage: evaluate FILE THREADS TIMES".into());
    };
    let problem = Problem::read(&std::fs::read_to_string(file)?)?;
    let values = match problem.cost() {
        Cost::Ising(ising) => ising.diagonal(),
        Cost::Values(values) => values.clone(),
    };
    let simulator = match (problem.mixer(), problem.qubits()) {
        (Mixer::X, Some(qubits)) => Simulator::x(values, qubits),
        _ => Simulator::grover(values),
    };
    let simulator = simulator.ok_or("no costs")?.with_threads(Threads::new(threads.parse()?)?);
    let mut state = State::uniform(1, 1.0);
    for _ in 0..times.parse()? {
        let start = Instant::now();
        simulator.run_into(problem.angles(), &mut state);
        let expectation = simulator.expectation(&state, simulator.values());
        let seconds = start.elapsed().as_secs_f64();
        // The system counts processor time in steps of some milliseconds: take enough evaluations.
        let more = (0.2 / seconds).ceil().max(1.0);
        let before = processor_ns();
        for _ in 0..more as u32 {
            simulator.run_into(problem.angles(), &mut state);
            std::hint::black_box(simulator.expectation(&state, simulator.values()));
        }
        let processor = processor_ns().zip(before).map(|(after, before)| (after - before) / 1e9 / more);
        let start = Instant::now();
        let gradient = simulator.gradient(problem.angles(), simulator.values());
        let with_gradient = start.elapsed().as_secs_f64();
        assert!((gradient.value - expectation).abs() <= 1e-9 * expectation.abs().max(1.0));
        let line = serde_json::json!({
            "seconds": seconds,
            "processor_seconds": processor,
            "expectation": expectation,
            "gradient_seconds": with_gradient,
        });
        println!("{line}");
    }
    Ok(())
}
