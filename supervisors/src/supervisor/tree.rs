//! The supervision tree as data, for people and for monitoring.

use futures::future::{FutureExt, LocalBoxFuture};

use super::control::SupervisorRef;
use super::info::{ChildInfo, ChildState};
use crate::Exit;
use crate::child::MailboxInfo;

/// A supervisor or a worker with what is below it.
#[derive(Debug, Clone)]
pub struct TreeNode {
    /// Unique among its siblings.
    pub id: String,
    /// Whether it is up.
    pub state: ChildState,
    /// How often its supervisor started it again.
    pub restarts: u64,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Whether it is a supervisor.
    pub is_supervisor: bool,
    /// How full its mailbox is, if it has one.
    pub mailbox: Option<MailboxInfo>,
    /// Its children in start order; empty for workers and for a supervisor that is down.
    pub children: Vec<TreeNode>,
}

/// The root has no supervisor, so its restarts are 0 and it has no last exit.
pub(super) async fn of(root: &SupervisorRef) -> TreeNode {
    let asked = root.which_children().await;
    let state = if asked.is_ok() { ChildState::Running } else { ChildState::Undefined };
    let mut children = Vec::new();
    for info in asked.unwrap_or_default() {
        children.push(node(info).await);
    }
    TreeNode {
        id: root.id().to_owned(),
        state,
        restarts: 0,
        last_exit: None,
        is_supervisor: true,
        mailbox: None,
        children,
    }
}

// The walk asks each supervisor from outside: no supervisor ever waits for another one.
fn node(info: ChildInfo) -> LocalBoxFuture<'static, TreeNode> {
    async move {
        let children = match &info.supervisor {
            Some(supervisor) => of(supervisor).await.children,
            None => Vec::new(),
        };
        TreeNode {
            id: info.id,
            state: info.state,
            restarts: info.restarts,
            last_exit: info.last_exit,
            is_supervisor: info.is_supervisor,
            mailbox: info.mailbox,
            children,
        }
    }
    .boxed_local()
}
