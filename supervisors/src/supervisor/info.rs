//! What a supervisor tells about its children.

use super::SupervisorRef;
use crate::Exit;
use crate::child::MailboxInfo;

/// Whether a child is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// Up (or on its way down).
    Running,
    /// Coming up, or waiting for its restart.
    Restarting,
    /// Down and staying down.
    Undefined,
}

/// One child, as its supervisor sees it.
#[derive(Debug, Clone)]
pub struct ChildInfo {
    /// Unique among its siblings.
    pub id: String,
    /// Whether it is up.
    pub state: ChildState,
    /// Which call of its starter made the current (or last) incarnation, from 0.
    pub generation: u64,
    /// How often the supervisor started it again.
    pub restarts: u64,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Whether it is a supervisor.
    pub is_supervisor: bool,
    /// How full its mailbox is, if it has one.
    pub mailbox: Option<MailboxInfo>,
    /// Its handle, if it is a supervisor.
    pub supervisor: Option<SupervisorRef>,
}

/// How many children there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildCounts {
    /// Known, up or down.
    pub specs: usize,
    /// Up.
    pub active: usize,
    /// Known and supervisors themselves.
    pub supervisors: usize,
    /// Known and not supervisors.
    pub workers: usize,
}

impl ChildCounts {
    pub(super) fn of(children: &[ChildInfo]) -> Self {
        let count = |test: fn(&ChildInfo) -> bool| children.iter().filter(|child| test(child)).count();
        ChildCounts {
            specs: children.len(),
            active: count(|child| child.state == ChildState::Running),
            supervisors: count(|child| child.is_supervisor),
            workers: count(|child| !child.is_supervisor),
        }
    }
}
