//! What happens next, as pure state machines: definition, run, placement, deployment, gates, protocol.
//!
//! Rule: no I/O, no clock, no randomness, no threads; times and random numbers are arguments. Every
//! machine has the same three methods: `decide` (what becomes true and what must be done; changes
//! nothing), `apply` (the only place that changes state) and `recover` (commands to issue after a
//! restart). Absent on purpose: sockets, files, solvers. Start at [`run::Run`].

pub mod codes;
pub mod definition;
pub mod deployment;
pub mod limits;
pub mod placement;
pub mod predicate;
pub mod protocol;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod taxonomy;
pub mod worker;
