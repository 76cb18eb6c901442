//! The actor cell from outside: lanes under load, waiting for room, what observers see, telemetry,
//! the watchdog's answers, death watch, and panics in every place where they could end the process.

#![allow(clippy::unwrap_used)]

mod actor;
mod alive;
mod contained;
mod observed;
mod pressure;
mod room;
mod spans;
mod watched;
