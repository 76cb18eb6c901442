//! OTP over actix: supervisors, child specs, strategies, restart intensity, ordered shutdown,
//! bounded mailboxes, OS processes. No domain word in it.
pub mod decision;
pub mod process;

mod adapter;
mod child;
mod exit;
mod panics;
mod supervisor;
mod task;

pub use adapter::*;
pub use child::{ChildSpec, MailboxInfo, Running, STOP_PATIENCE, Started, Starter, StopSignal};
pub use decision::{Backoff, Intensity, Refusal, Restart, Shutdown, Strategy};
pub use exit::Exit;
pub use panics::install_panic_hook;
pub use supervisor::{
    ChildCounts, ChildError, ChildInfo, ChildState, SupervisorRef, SupervisorSpec, TreeNode, start,
    supervisor_child,
};
pub use task::task_child;
