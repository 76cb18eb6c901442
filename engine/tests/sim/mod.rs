//! A library of its own: a world that breaks everything, and a checker that reads only the journal.
//!
//! Start at [`world::live`]; `define.rs` draws workflows, `checker.rs` judges, `machine.rs` is what can
//! be driven.

pub mod checker;
pub mod define;
pub mod machine;
// The same numbers for the same seed as in the simulation of the whole core.
#[path = "../../../simulation/src/random.rs"]
pub mod random;
pub mod world;

pub use world::live;
