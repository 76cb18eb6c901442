//! What a supervisor tells about its children.

use std::time::Duration;

use super::SupervisorRef;
use crate::Exit;
use crate::child::MailboxInfo;
use crate::decision::Settings;
use crate::fault::ChildKind;

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
    /// What it is made of.
    pub kind: ChildKind,
    /// Whether it is up.
    pub state: ChildState,
    /// Which call of its starter made the current (or last) incarnation, from 0.
    pub generation: u64,
    /// How often the supervisor started it again.
    pub restarts: u64,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// How long ago that was.
    pub last_exit_age: Option<Duration>,
    /// How long the incarnation has been up that runs now; `None` while none does, or it is being ended.
    pub uptime: Option<Duration>,
    /// What its watchdog sees, if it has one and is up.
    pub watchdog: Option<Silence>,
    /// Whether it is a supervisor.
    pub is_supervisor: bool,
    /// How full its mailbox is, if it has one.
    pub mailbox: Option<MailboxInfo>,
    /// Its handle, if it is a supervisor.
    pub supervisor: Option<SupervisorRef>,
}

/// What a watchdog sees of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// How long the child's pulse may stand still.
    pub patience: Duration,
    /// How long it has stood still, in whole looks of the watchdog (two per patience), so it may be up
    /// to half a patience longer.
    pub so_far: Duration,
}

/// What a supervisor tells about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervision {
    /// Strategy, intensity and auto_shutdown in force.
    pub settings: Settings,
    /// Restarts that count against the intensity now.
    pub recent_restarts: usize,
    /// How long it has run since it was last started.
    pub uptime: Duration,
    /// Whether its handle may inject faults.
    pub allows_faults: bool,
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
