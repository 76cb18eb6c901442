//! Operating system processes: spawned, watched, killed with their whole group.
//!
//! The one rule: nothing outlives its owner. Dropping a [`ProcessExit`] kills the group; a child that calls
//! [`child::die_with_parent`] dies with the daemon, however that dies; what still slipped through is
//! found by pid and start time ([`kill_leftover`]) after a restart.
//! Absent on purpose: what is said on the pipes. Start at [`Spawner`]; a process under supervision is a
//! [`process_child`], and [`WarmPool`] keeps spares.

pub mod child;
mod handle;
mod identity;
mod spawner;
mod supervised;
mod warm;

pub use handle::{ExitKind, Process, ProcessExit, ProcessKiller};
pub use identity::{kill_leftover, start_time_of};
pub use spawner::{SpawnError, SpawnRequest, Spawner};
pub use supervised::{Conversation, ProcessSource, printed_heartbeats, process_child};
pub use warm::{SPARES_MAX, WarmPool, WarmSettings, WarmStatus, warm_pool_child};
