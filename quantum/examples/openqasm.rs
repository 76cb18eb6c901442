//! Prints a QAOA problem file's circuit as OpenQASM 3: `cargo run -p quantum --example openqasm FILE [braket]`.

use quantum::circuit::Circuit;
use quantum::openqasm::{Dialect, program_in};
use quantum::problem::{Cost, Problem};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: openqasm FILE")?;
    let dialect = match std::env::args().nth(2).as_deref() {
        Some("braket") => Dialect::Braket,
        _ => Dialect::Portable,
    };
    let problem = Problem::read(&std::fs::read_to_string(path)?)?;
    let Cost::Ising(ising) = problem.cost() else { return Err("only an `ising` cost has a circuit".into()) };
    print!("{}", program_in(&Circuit::qaoa(ising, problem.angles().layers()), dialect));
    Ok(())
}
