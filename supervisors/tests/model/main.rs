//! Random histories: the decision core against a checker, the supervisor against Erlang's own.

#![allow(clippy::unwrap_used)]

mod beam;
mod checker;
mod history;
mod invariants;
mod random;
