//! Tests of the supervisors from outside. `support` holds puppets: children that do as they are told.

#![allow(clippy::unwrap_used)]

mod backoff;
mod counter;
mod intensity;
mod mailbox;
mod nested;
mod panics;
mod process;
mod requests;
mod restarts;
mod shutdown;
mod strategies;
mod support;
