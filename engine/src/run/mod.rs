//! One workflow run as a pure state machine.

mod event;
mod exchange;
pub use event::*;
pub use exchange::*;
