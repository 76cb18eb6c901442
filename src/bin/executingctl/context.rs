//! What every verb needs: how to reach the daemon, how to write.

use crate::args::Global;
use crate::output::Output;
use engine::protocol::{ErrorReply, Request};
use executing::control::Client;
use executing::control::client::Options;
use serde_json::Value;
use std::time::Duration;

/// Longest wait for work on a whole store: hundreds of GiB on a slow disk.
const PATIENT: Duration = Duration::from_secs(24 * 3_600);

/// Gives the exit code, or what went wrong.
pub type Outcome = Result<u8, ErrorReply>;

/// One call of the program.
#[derive(Debug)]
pub struct Context {
    pub options: Options,
    pub output: Output,
    /// How long to wait for a run's end; `None` waits as long as it takes.
    pub wait_max: Option<Duration>,
}

impl Context {
    pub fn new(global: &Global) -> Self {
        let mut options = Options::new(global.socket.clone());
        options.principal = global.principal.clone();
        options.timeout = global.timeout.unwrap_or(options.timeout);
        Self { options, output: Output { format: global.output }, wait_max: global.timeout }
    }

    pub async fn client(&self) -> Result<Client, ErrorReply> {
        Ok(Client::connect(&self.options).await?)
    }

    /// One request on a connection of its own.
    pub async fn request(&self, request: &Request) -> Result<Value, ErrorReply> {
        Ok(self.client().await?.request(request).await?)
    }

    /// As [`Self::client`], for what reads or writes a whole store: waits for an answer as long as it takes,
    /// unless the caller set a limit.
    pub async fn patient_client(&self) -> Result<Client, ErrorReply> {
        let mut client = self.client().await?;
        if self.wait_max.is_none() {
            client.set_timeout(PATIENT);
        }
        Ok(client)
    }

    /// [`Self::request`], and its answer written.
    pub async fn show(&self, request: &Request) -> Outcome {
        self.output.data(&self.request(request).await?);
        Ok(0)
    }
}

/// A refusal that the client itself has to make.
pub fn refusal(code: &str, exit: u8, message: impl Into<String>) -> ErrorReply {
    ErrorReply { code: code.into(), message: message.into(), exit, problems: Vec::new() }
}
