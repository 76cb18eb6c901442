//! Verbs about the daemon as a whole.

use crate::args::{ReserveArgs, ResourceVerb};
use crate::context::{Context, Outcome};
use crate::output;
use crate::tree::draw;
use engine::protocol::{Request, Reserving};
use serde_json::Value;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// How often `tree --watch` looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Clears a terminal and puts the cursor in its corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub async fn tree(context: &Context, watch: bool) -> Outcome {
    let show = |tree: &Value| {
        if context.output.is_for_people() { output::line(&draw(tree)) } else { context.output.data(tree) }
    };
    if !watch {
        show(&context.request(&Request::Tree).await?);
        return Ok(0);
    }
    let mut client = context.client().await?;
    loop {
        let tree = client.request(&Request::Tree).await?;
        if context.output.is_for_people() && io::stdout().is_terminal() {
            output::line(CLEAR);
        }
        show(&tree);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Orders of operators about resources.
pub async fn resource(context: &Context, verb: &ResourceVerb) -> Outcome {
    let request = match verb {
        ResourceVerb::Drain { resource, reason } => {
            Request::Drain { resource: resource.clone(), reason: reason.clone() }
        }
        ResourceVerb::Undrain { resource } => Request::Undrain { resource: resource.clone() },
        ResourceVerb::Reserve(args) => {
            let ReserveArgs { name, user, workflow, cpu, memory, slots, backends, from, until } = args;
            let reserving = Reserving {
                user: user.clone(),
                workflow: workflow.clone(),
                cpu_cores: *cpu,
                memory: memory.clone(),
                slots: *slots,
                backends: backends.iter().cloned().collect(),
                from: from.clone(),
                until: until.clone(),
            };
            Request::Reserve { name: name.clone(), reserving }
        }
        ResourceVerb::Unreserve { name } => Request::Unreserve { name: name.clone() },
    };
    context.show(&request).await
}

/// Exit code 0 if the daemon says that all is well, 75 if not yet.
pub async fn health(context: &Context) -> Outcome {
    let health = context.request(&Request::Health).await?;
    context.output.data(&health);
    let is_well = health.get("ok").and_then(Value::as_bool).unwrap_or(true);
    Ok(if is_well { 0 } else { 75 })
}
