//! Operating system processes: spawned, watched, killed with their whole group.
//!
//! The one rule: nothing outlives its owner. Dropping a [`ProcessExit`] kills the group; a child that calls
//! [`child::die_with_parent`] dies with the daemon, however that dies; what still slipped through is
//! found by pid and start time ([`kill_leftover`]) after a restart.
//! Absent on purpose: what is said on the pipes, and any supervision policy. Start at [`Spawner`].

pub mod child;
mod handle;
mod identity;
mod spawner;

pub use handle::{ExitKind, Process, ProcessExit, ProcessKiller};
pub use identity::{kill_leftover, start_time_of};
pub use spawner::{SpawnError, SpawnRequest, Spawner};
