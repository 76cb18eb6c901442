//! Whole-program tests, one binary.

mod ampel360;
mod arrows;
mod control;
mod control_connections;
mod demo;
mod deployment;
mod harness;
mod kill;
mod workers;
