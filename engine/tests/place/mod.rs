//! Random loads for the ledger, and an independent judge of what it does with them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod judge;
pub mod placer;
#[path = "../../../simulation/src/random.rs"]
pub mod random;
pub mod shares;
pub mod world;
