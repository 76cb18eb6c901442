//! Thin shells round the engine: each actor's whole work is decide, journal, apply, perform.
//!
//! An actor owns one machine of `engine` (a run, the ledger of leases, the deployments) or one piece of
//! the outside (a worker process, a quantum backend). Rule: nothing is performed or shown before the
//! journal holds it. Absent on purpose: decisions (engine has them), sockets and settings files (the
//! programs have them), solvers (worker processes have them). Start at [`run_actor::RunActor`].

pub mod admission;
pub mod at_work;
pub mod board;
pub mod checkpointer;
pub mod clock;
pub mod deployer;
pub mod directory;
pub mod emergency;
pub mod exec;
pub mod generations;
pub mod health;
pub mod housekeeper;
pub mod orchestrator;
pub mod quantum_proxy;
pub mod records;
pub mod releases;
pub mod resources;
pub mod retention;
pub mod roll_call;
pub mod room;
pub mod run_actor;
pub mod scheduler;
pub mod shared;
pub mod solver_worker;
pub mod stages;
pub mod steering;
pub mod timetable;
pub mod waits;
pub mod worker_drive;
