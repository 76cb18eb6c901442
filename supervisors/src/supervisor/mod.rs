//! The shell round [`crate::decision`]: one plain async loop that starts, watches and stops.
//!
//! The one rule: the loop never waits for a child. It waits for *something* (a stop, an exit, a
//! deadline, a request), hands it to [`Decision::handle`](crate::decision::Decision::handle) and
//! performs the actions, none of which blocks. So it answers at any time, also while a child takes
//! seconds to stop. Start at `shell::run`.

mod control;
mod jitter;
mod nested;
mod serve;
mod shell;
mod tree;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use control::{ChildCounts, ChildError, ChildInfo, ChildState, SupervisorRef};
pub use nested::supervisor_child;
pub use tree::TreeNode;

use crate::Exit;
use crate::child::{ChildSpec, Held};
use crate::decision::{Intensity, Strategy};

/// What a supervisor is made of.
#[derive(Debug)]
pub struct SupervisorSpec {
    /// Name in logs and in the tree.
    pub id: String,
    /// Which siblings share a child's restart.
    pub strategy: Strategy,
    /// How many restarts are tolerated.
    pub intensity: Intensity,
    /// Started in this order, stopped in reverse.
    pub children: Vec<ChildSpec>,
}

/// A spec in use; see [`Held`].
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) children: Vec<Held>,
}

impl From<SupervisorSpec> for Plan {
    fn from(spec: SupervisorSpec) -> Self {
        Plan {
            id: spec.id,
            strategy: spec.strategy,
            intensity: spec.intensity,
            children: spec.children.into_iter().map(Held::from).collect(),
        }
    }
}

/// Starts a supervisor as a local task and returns at once; the children come up in order.
///
/// Its end is the value of the handle: [`Exit::Shutdown`] after [`SupervisorRef::shutdown`],
/// [`Exit::Escalated`] when it gave up, [`Exit::Error`] when two children have the same id (nothing
/// is started then). Aborting the task kills all children.
///
/// # Panics
/// Outside of a `tokio::task::LocalSet` (an actix `System` is one).
#[must_use = "a supervisor whose end nobody sees can give up unnoticed"]
pub fn start(spec: SupervisorSpec) -> (SupervisorRef, JoinHandle<Exit>) {
    let handle = SupervisorRef::new(&spec.id);
    let (keep_running, stop) = oneshot::channel();
    let run = shell::run(spec.into(), handle.clone(), stop);
    let task = tokio::task::spawn_local(async move {
        let exit = run.await;
        drop(keep_running);
        exit
    });
    (handle, task)
}
