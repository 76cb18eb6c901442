//! What a child process does first, in its own `main`, to be a safe child.

use std::io;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// Exit code of a child that finds itself orphaned at its start.
pub const ORPHANED: i32 = 70;

/// Binds this process' life to its parent's: the kernel kills it when the thread that spawned it
/// ends. `expected_parent` is the parent's pid, handed over by the parent; if the parent is gone
/// already, this does not return but ends the process with [`ORPHANED`].
///
/// The binding does not pass to processes spawned from here, and a set-uid program loses it.
///
/// # Errors
/// When the kernel refuses the request.
pub fn die_with_parent(expected_parent: u32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Only now: a parent that died before the request would never be noticed.
    if u32::try_from(getppid().as_raw()) != Ok(expected_parent) {
        std::process::exit(ORPHANED);
    }
    Ok(())
}

/// Limits the address space of this process (RLIMIT_AS) to `bytes`; an allocation beyond it fails,
/// which ends a Rust program with SIGABRT. The limit cannot be raised again.
///
/// # Errors
/// When the kernel refuses, for example to raise a limit.
pub fn limit_memory(bytes: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_AS, bytes, bytes)?)
}

/// Writes no core dumps: a crash of a solver with gigabytes must not fill the disk.
///
/// # Errors
/// When the kernel refuses.
pub fn limit_cores() -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}
