//! `executing`: wiring of the rooms.
