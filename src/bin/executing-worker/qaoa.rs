//! `executing-worker qaoa FILE`: expectation and optimum probability of a QAOA problem file at its angles.

use quantum::problem::{Problem, evaluate_on};
use quantum::threads::{THREADS_MAX, Threads};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A QAOA problem file (JSON, version 1).
    pub file: PathBuf,
    /// Threads of the simulation; all processors if not stated. The answer does not depend on it.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Exit codes: 3 if the file is not there, 8 if it is no problem, 1 if the answer cannot be written.
pub fn run(arguments: &Arguments) -> ExitCode {
    let text = match std::fs::read_to_string(&arguments.file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("error[EX-0510]: {} is not there", arguments.file.display());
            return ExitCode::from(3);
        }
        Err(error) => {
            eprintln!("error[EX-0511]: {}: {error}", arguments.file.display());
            return ExitCode::from(8);
        }
    };
    let problem = match Problem::read(&text) {
        Ok(problem) => problem,
        Err(error) => {
            eprintln!("error[{}]: {}: {error}", error.code(), arguments.file.display());
            return ExitCode::from(8);
        }
    };
    let count = arguments.threads.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX))
    });
    let threads = match Threads::new(count) {
        Ok(threads) => threads,
        Err(error) => {
            eprintln!("error[EX-0511]: --threads: {error}");
            return ExitCode::from(8);
        }
    };
    let started = Instant::now();
    let found = evaluate_on(&problem, &threads);
    let object = serde_json::json!({
        "expectation": found.expectation,
        "optimum_probability": found.optimum_probability,
        "seconds": started.elapsed().as_secs_f64(),
    });
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{object}").and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}
