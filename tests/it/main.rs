//! Whole-program tests, one binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ampel360;
mod arrows;
mod bad_input;
mod client;
mod control;
mod control_connections;
mod control_states;
mod demo;
mod deployment;
mod disk;
mod exec;
mod failpoints;
mod harness;
mod hostile;
mod housekeeping;
mod kill;
mod made_anew;
mod orphans;
mod programs;
mod quantum_jobs;
mod repeat;
mod reproduce;
mod scheduling;
mod timetable;
mod workers;
