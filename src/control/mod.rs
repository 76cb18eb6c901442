//! Both ends of the control wire: frames, the server's shell, the client.
//!
//! Rule: nothing in here knows what a verb means; requests are handed to a [`Service`] and answers are
//! carried back. A hostile client costs at most its own connection. Absent: TLS and what the daemon does.
//! Start at [`server::serve`] and [`client::Client`].

pub mod client;
mod conversation;
pub mod frame;
pub mod server;
mod service;
pub mod wire;

pub use client::{Client, ClientError};
pub use server::{Settings, serve};
pub use service::{Caller, Reply, Service, UploadSink};
