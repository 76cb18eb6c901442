//! Dedicated OS threads: as children ([`thread_child`]) and as hosts of actors (`adapter/hosted.rs`).
//!
//! The one rule: a thread cannot be killed, so it is never trusted to end. Whatever a thread shares
//! with its supervisor is fenced by its `Life`: once abandoned it beats no pulse and reports no
//! exit, and is only counted until it ends by itself.
//! Start at [`thread_child`].

mod child;
mod launch;
mod life;
mod stop_flag;

pub use child::{ThreadPulse, thread_child};
pub use life::{abandoned_threads, is_abandoned};
pub use stop_flag::StopFlag;

pub(crate) use launch::launch;
pub(crate) use life::{Life, unless_abandoned};
