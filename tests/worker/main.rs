//! The real worker program over real pipes: every stage kind on both examples, faults on purpose.
//!
//! Start at [`drive::Task`]. What the tests need lives in `examples/`.

#![allow(clippy::unwrap_used)]

mod byhand;
mod drive;
mod enumerate;
mod faults;
mod pipeline;
mod risk;
