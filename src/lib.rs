//! `executing`: the wiring of the rooms into three programs.
//!
//! `executingd` runs the supervision tree, `executingctl` talks to it, `executing-worker` computes.
//! Rule: only this package knows every room. What the daemon links must never reach `solvers`
//! (tests/it/arrows.rs looks for HiGHS in the binary). Start at [`tree`].

pub mod catalog;
pub mod control;
pub mod service;
pub mod settings;
pub mod systemd;
pub mod telemetry;
pub mod tree;
