//! Children that are not tasks of the supervisor's thread: threads, actors on threads, processes; and
//! the names of children. Real threads and processes do not live in virtual time, so these tests wait
//! for conditions, with one long limit.

#![allow(clippy::unwrap_used)]

mod faults;
mod hosted;
mod names;
mod processes;
mod support;
mod threads;
mod warm;
mod watchdog;
