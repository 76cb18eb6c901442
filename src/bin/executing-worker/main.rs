//! `executing-worker`: one solver process, by hand or for the daemon.
//!
//! Rule: it may crash, hang or be killed without harm to anything but its own attempt. Start at [`Verb`].

mod qaoa;
mod select;
mod task;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "executing-worker", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run one task of the daemon; the task comes as a frame on the input pipe.
    Task {
        /// Process id of the daemon: the worker dies with it.
        #[arg(long)]
        parent: u32,
    },
    /// Choose the design of least expected cost plus weighted CVaR.
    Select(select::Arguments),
    /// Evaluate a QAOA problem file at its angles.
    Qaoa(qaoa::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Task { parent } => task::run(parent),
        Verb::Select(arguments) => select::run(&arguments),
        Verb::Qaoa(arguments) => qaoa::run(&arguments),
    }
}
