//! A library of its own: a world that breaks everything, and a checker that reads only the journal.
//!
//! Start at [`world::live`]; `define.rs` draws workflows, `checker.rs` judges, `machine.rs` is what can
//! be driven.

pub mod checker;
pub mod define;
pub mod machine;
pub mod random;
pub mod world;

pub use world::live;
