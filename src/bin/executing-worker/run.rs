//! `executing-worker run`: becomes the program of an `exec` stage.
//!
//! Rule: the program dies with the daemon (PR_SET_PDEATHSIG lasts over `exec`) and has the memory limit
//! of its stage. Nothing of the worker is left once the program runs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use supervisors::process::child;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Process id of the daemon.
    #[arg(long)]
    parent: u32,
    /// Address space of the program in MiB; 0 for no limit.
    #[arg(long, default_value_t = 0)]
    memory_mib: u64,
    /// Program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// As a shell says it: found, but could not be executed.
const EXIT_CANNOT_EXECUTE: u8 = 126;

pub fn run(arguments: &Arguments) -> ExitCode {
    let bound = child::die_with_parent(arguments.parent).and_then(|()| child::limit_cores()).and_then(|()| {
        if arguments.memory_mib > 0 {
            child::limit_memory(arguments.memory_mib * 1024 * 1024)
        } else {
            Ok(())
        }
    });
    if let Err(error) = bound {
        eprintln!("the program could not be bound to the daemon: {error}");
        return ExitCode::from(EXIT_CANNOT_EXECUTE);
    }
    let Some((program, args)) = arguments.command.split_first() else {
        return ExitCode::from(EXIT_CANNOT_EXECUTE);
    };
    // Returns only when it failed.
    let error = Command::new(program).args(args).exec();
    eprintln!("{}: {error}", program.to_string_lossy());
    ExitCode::from(EXIT_CANNOT_EXECUTE)
}
