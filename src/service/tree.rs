//! The supervision tree as JSON, and faults done to it for drills.

use super::Inner;
use super::replies::{self, error, exit};
use crate::control::Caller;
use engine::protocol::{ErrorReply, FaultKind};
use serde_json::{Value, json};
use std::time::Duration;
use supervisors::{Fault, InjectError, MailboxInfo, Strategy, TreeNode};

pub(super) async fn show(inner: &Inner) -> Value {
    node(&inner.root.tree().await)
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn node(node: &TreeNode) -> Value {
    let supervision = node.supervision.as_ref().map(|supervision| {
        let settings = &supervision.settings;
        json!({
            "strategy": match settings.strategy {
                Strategy::OneForOne => "one_for_one",
                Strategy::OneForAll => "one_for_all",
                Strategy::RestForOne => "rest_for_one",
                Strategy::Dynamic => "dynamic",
            },
            "intensity": settings.intensity.restarts,
            "period_ms": settings.intensity.period.as_millis() as u64,
            "recent_restarts": supervision.recent_restarts,
        })
    });
    json!({
        "id": node.id,
        "kind": node.kind.to_string(),
        "state": format!("{:?}", node.state).to_lowercase(),
        "restarts": node.restarts,
        "last_exit": node.last_exit.as_ref().map(ToString::to_string),
        "last_exit_seconds_ago": node.last_exit_age.map(|age| age.as_secs_f64()),
        "uptime_seconds": node.uptime.map(|up| up.as_secs_f64()),
        "silent_ms": node.watchdog.as_ref().map(|silence| ms(silence.so_far)),
        "supervisor": node.is_supervisor,
        "supervision": supervision,
        "mailbox": node.mailbox.as_ref().map(mailbox),
        "children": node.children.iter().map(self::node).collect::<Vec<_>>(),
    })
}

fn mailbox(info: &MailboxInfo) -> Value {
    json!({
        "depth": info.depth,
        "capacity": info.capacity,
        "control_depth": info.control_depth,
        "oldest_ms": info.oldest.map(ms),
        "handled": info.handled,
        "handling_ms": ms(info.handling_total),
        "handling": info.handling.map(|now| json!({ "message": now.message, "ms": ms(now.since) })),
        "waiting": info.waiting.map(|now| json!({ "for": now.what, "ms": ms(now.since) })),
    })
}

/// The path of the child with this name, or the path itself; the first in start order.
fn path_of(root: &TreeNode, name: &str) -> Option<String> {
    fn search(node: &TreeNode, name: &str, above: &str) -> Option<String> {
        node.children.iter().find_map(|child| {
            let path = if above.is_empty() { child.id.clone() } else { format!("{above}/{}", child.id) };
            if child.id == name || path == name { Some(path) } else { search(child, name, &path) }
        })
    }
    search(root, name, "")
}

/// For drills: does `fault` to a child of the tree. Off unless the settings allow it, and for admins only.
pub(super) async fn inject(
    inner: &Inner,
    who: &Caller,
    child: &str,
    fault: FaultKind,
) -> Result<Value, ErrorReply> {
    if !inner.settings.fault_injection {
        return Err(error(
            "EX-0004",
            exit::DENIED,
            "faults can only be injected with `fault_injection: true` in the settings",
        ));
    }
    if who.role != "admin" && !inner.settings.trust_client_names {
        let message = format!("{} ({}) may not inject faults; an admin may", who.name, who.role);
        return Err(error("EX-0004", exit::DENIED, message));
    }
    let tree = inner.root.tree().await;
    let path = path_of(&tree, child).ok_or_else(|| {
        let message = format!("there is no child {child}; `executingctl tree` shows those there are");
        error("EX-0003", exit::NOT_FOUND, message)
    })?;
    let done = match fault {
        FaultKind::Panic => Fault::Panic,
        FaultKind::Kill => Fault::Kill,
        FaultKind::Hang { ms } => Fault::Hang(Duration::from_millis(ms)),
    };
    tracing::warn!(by = who.name, child = path, fault = %done, "A fault is injected.");
    match inner.root.inject(&path, done).await {
        Ok(()) => Ok(json!({ "child": path, "fault": done.to_string(), "injected": true })),
        Err(refused @ InjectError::NotAllowed(_)) => Err(error("EX-0004", exit::DENIED, refused.to_string())),
        Err(refused @ InjectError::NotFound { .. }) => {
            Err(error("EX-0003", exit::NOT_FOUND, refused.to_string()))
        }
        Err(InjectError::SupervisorGone(_)) => Err(replies::busy("the supervisor")),
        Err(refused) => Err(error("EX-0020", exit::CONFLICT, refused.to_string())),
    }
}
