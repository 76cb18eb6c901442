//! Verbs about the daemon as a whole.

use crate::args::{List, ReserveArgs, ResourceVerb};
use crate::context::{Context, Outcome};
use crate::tree::draw;
use crate::{batch, output};
use engine::protocol::{Request, Reserving};
use serde_json::Value;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// How often `--watch` looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Clears a terminal and puts the cursor in its corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub async fn tree(context: &Context, watch: bool) -> Outcome {
    let show = |tree: &Value| {
        if context.output.is_for_people() { output::line(&draw(tree)) } else { context.output.data(tree) }
    };
    let mut client = context.client().await?;
    loop {
        let tree = client.request(&Request::Tree).await?;
        clear(context, watch);
        show(&tree);
        if !watch {
            return Ok(0);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// An answer, once or every second.
pub async fn again(context: &Context, watch: bool, request: &Request) -> Outcome {
    if !watch {
        return context.show(request).await;
    }
    let mut client = context.client().await?;
    loop {
        let answer = client.request(request).await?;
        clear(context, watch);
        context.output.data(&answer);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

pub async fn list(context: &Context, list: &List) -> Outcome {
    let mut client = context.client().await?;
    loop {
        let page = batch::page(&mut client, list).await?;
        clear(context, list.watch);
        batch::show(context, page);
        if !list.watch {
            return Ok(0);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Makes room for the next look, where a person watches.
fn clear(context: &Context, watch: bool) {
    if watch && context.output.is_for_people() && io::stdout().is_terminal() {
        output::line(CLEAR);
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
