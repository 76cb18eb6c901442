//! `executing-worker`: one solver process, by hand or for the daemon.
//!
//! Rule: it may crash, hang or be killed without harm to anything but its own attempt. By hand the last
//! line of stdout is one JSON object, words go to stderr, and the exit code says how it ended. Each verb
//! is a file of its own. Start at [`Verb`].

mod answer;
mod check;
mod enumerate;
mod enumerate_program;
mod explain;
mod input;
mod keeping;
mod optimum;
mod progress;
mod qaoa;
mod run;
mod select;
mod task;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::sync::LazyLock;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (HiGHS {})", env!("CARGO_PKG_VERSION"), solvers::milp::highs_version()));

/// Solve one task: enumerate a feasible set, find an optimum, choose under risk, evaluate QAOA.
#[derive(Debug, Parser)]
#[command(name = "executing-worker", version = VERSION.as_str())]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List, count, rank or sample the feasible set of a design space or program.
    Enumerate(enumerate::Arguments),
    /// The optimum by HiGHS, re-checked exactly.
    Optimum(optimum::Arguments),
    /// What each constraint removes, what contradicts, what to relax by how much.
    Explain(explain::Arguments),
    /// Re-check a list of designs against the space by code that shares nothing with the search.
    Check(check::Arguments),
    /// Choose the design of least expected cost plus weighted CVaR.
    Select(select::Arguments),
    /// Evaluate a QAOA problem file at its angles.
    Qaoa(qaoa::Arguments),
    /// Become the program of an `exec` stage, bound to the daemon's life.
    #[command(hide = true)]
    Run(run::Arguments),
    /// Run one task of the daemon; the task comes as a frame on the input pipe.
    Task {
        /// Process id of the daemon: the worker dies with it.
        #[arg(long)]
        parent: u32,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Enumerate(arguments) => enumerate::run(&arguments),
        Verb::Optimum(arguments) => optimum::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Select(arguments) => return select::run(&arguments),
        Verb::Qaoa(arguments) => return qaoa::run(&arguments),
        Verb::Run(arguments) => return run::run(&arguments),
        Verb::Task { parent } => return task::run(parent),
    };
    answer::finish(result)
}
