//! The supervision tree as data, for people and for monitoring.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};

use super::control::SupervisorRef;
use super::info::{ChildInfo, ChildState, Silence, Supervision};
use crate::Exit;
use crate::child::MailboxInfo;
use crate::fault::ChildKind;

/// A supervisor or a worker with what is below it.
#[derive(Debug, Clone)]
pub struct TreeNode {
    /// Unique among its siblings.
    pub id: String,
    /// What it is made of.
    pub kind: ChildKind,
    /// Whether it is up.
    pub state: ChildState,
    /// Which call of its starter made the current (or last) incarnation, from 0.
    pub generation: u64,
    /// How often its supervisor started it again.
    pub restarts: u64,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// How long ago that was.
    pub last_exit_age: Option<Duration>,
    /// How long it has been up; `None` while it is not.
    pub uptime: Option<Duration>,
    /// What its watchdog sees, if it has one and is up.
    pub watchdog: Option<Silence>,
    /// Whether it is a supervisor.
    pub is_supervisor: bool,
    /// How full its mailbox is, if it has one.
    pub mailbox: Option<MailboxInfo>,
    /// Strategy, intensity and the restarts that count now; `None` for workers and for a supervisor that
    /// is down.
    pub supervision: Option<Supervision>,
    /// Its children in start order; empty for workers and for a supervisor that is down.
    pub children: Vec<TreeNode>,
}

/// The root has no supervisor, so its restarts are 0 and it has no last exit.
pub(super) async fn of(root: &SupervisorRef) -> TreeNode {
    let asked = root.supervision_and_children().await.ok();
    let state = if asked.is_some() { ChildState::Running } else { ChildState::Undefined };
    let (supervision, infos) = asked.unzip();
    let mut children = Vec::new();
    for info in infos.unwrap_or_default() {
        children.push(node(info).await);
    }
    TreeNode {
        id: root.id().to_owned(),
        kind: ChildKind::Supervisor,
        state,
        generation: 0,
        restarts: 0,
        last_exit: None,
        last_exit_age: None,
        uptime: supervision.map(|supervision: Supervision| supervision.uptime),
        watchdog: None,
        is_supervisor: true,
        mailbox: None,
        supervision,
        children,
    }
}

// The walk asks each supervisor from outside: no supervisor ever waits for another one.
fn node(info: ChildInfo) -> LocalBoxFuture<'static, TreeNode> {
    async move {
        let (supervision, children) = match &info.supervisor {
            Some(supervisor) => {
                let below = of(supervisor).await;
                (below.supervision, below.children)
            }
            None => (None, Vec::new()),
        };
        TreeNode {
            id: info.id,
            kind: info.kind,
            state: info.state,
            generation: info.generation,
            last_exit_age: info.last_exit_age,
            uptime: info.uptime,
            watchdog: info.watchdog,
            supervision,
            restarts: info.restarts,
            last_exit: info.last_exit,
            is_supervisor: info.is_supervisor,
            mailbox: info.mailbox,
            children,
        }
    }
    .boxed_local()
}
