//! `executing`: wiring of the rooms.

pub mod control;
