//! The shell round [`crate::decision`]: one plain async loop that starts, watches and stops.
//!
//! The one rule: the loop never waits for a child. It waits for *something* (a stop, an exit, a
//! deadline, a request), hands it to [`Decision::handle`](crate::decision::Decision::handle) and
//! performs the actions, none of which blocks. So it answers at any time, also while a child takes
//! seconds to stop. Start at `shell::run`.

mod control;
mod info;
mod jitter;
mod launch;
mod nested;
mod perform;
mod serve;
mod shell;
mod tree;

pub use control::{ChildError, SupervisorRef};
pub use info::{ChildCounts, ChildInfo, ChildState, Silence, Supervision};
pub(crate) use launch::Plan;
pub use launch::{StartError, SupervisorSpec, launch, start};
pub use nested::{supervisor_child, supervisor_child_with};
pub use tree::TreeNode;
