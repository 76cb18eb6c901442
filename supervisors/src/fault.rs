//! Faults on purpose, for drills: what can be done to a child, and why it was not.

use std::fmt;
use std::time::Duration;

/// What is done to a child to see whether its supervisor copes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is killed without being asked, as if it had crashed. Any kind of child.
    Kill,
    /// Its next turn panics, as a handler would; no message is lost but those a panic loses. Actors.
    Panic,
    /// It handles nothing and gives no sign of life for this long; others on its thread go on. Actors.
    Hang(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill => f.write_str("kill"),
            Fault::Panic => f.write_str("panic"),
            Fault::Hang(time) => write!(f, "hang of {time:?}"),
        }
    }
}

/// What a child is made of, as far as its supervisor can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChildKind {
    /// An actor on its supervisor's thread.
    Actor,
    /// An actor on a thread of its own.
    HostedActor,
    /// An async task.
    Task,
    /// A thread.
    Thread,
    /// An operating system process.
    Process,
    /// A supervisor.
    Supervisor,
    /// Something with a starter of its own.
    #[default]
    Other,
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChildKind::Actor => "actor",
            ChildKind::HostedActor => "hosted actor",
            ChildKind::Task => "task",
            ChildKind::Thread => "thread",
            ChildKind::Process => "process",
            ChildKind::Supervisor => "supervisor",
            ChildKind::Other => "other",
        })
    }
}

/// Why a fault was not injected. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// This supervisor was not made for drills.
    #[error("supervisor `{0}` allows no faults; start it with allow_faults(true)")]
    NotAllowed(String),
    /// No child is there under this path.
    #[error(
        "there is no child `{path}` below supervisor `{supervisor}`; a path is ids with `/` between, from the top"
    )]
    NotFound {
        /// Where the search began.
        supervisor: String,
        /// What was searched for.
        path: String,
    },
    /// The child is down, or on its way up or down.
    #[error("child `{0}` is not up; wait until it runs")]
    NotUp(String),
    /// A child of this kind cannot do it.
    #[error("child `{path}` of kind {kind} cannot do a {fault}; kill it instead")]
    Unfit {
        /// The child.
        path: String,
        /// Its kind.
        kind: ChildKind,
        /// The fault.
        fault: Fault,
    },
    /// The supervisor on the way has ended, or is just being restarted itself.
    #[error("supervisor `{0}` is not running")]
    SupervisorGone(String),
}
