//! Whole-program tests, one binary.

mod control_connections;
