//! A supervisor as the child of another one.

use std::panic::AssertUnwindSafe;

use futures::future::{FutureExt, LocalBoxFuture};
use tokio::sync::oneshot;

use super::{Plan, SupervisorRef, SupervisorSpec, shell};
use crate::Exit;
use crate::child::{ChildSpec, Running, Started, Starter};
use crate::decision::Shutdown;
use crate::panics::text_of;

/// A supervisor as a child: permanent, and waited for without limit when it stops, because its own
/// children have their limits. A restart begins with the children of `spec` again; those added at
/// run time are gone.
#[must_use]
pub fn supervisor_child(spec: SupervisorSpec) -> (SupervisorRef, ChildSpec) {
    let handle = SupervisorRef::new(&spec.id);
    let id = spec.id.clone();
    let mut child = ChildSpec::new(id, Nested { plan: spec.into(), handle: handle.clone() });
    child.shutdown = Shutdown::Infinity;
    child.is_supervisor = true;
    child.supervisor = Some(handle.clone());
    (handle, child)
}

struct Nested {
    plan: Plan,
    handle: SupervisorRef,
}

impl Starter for Nested {
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        let (stop, stopped) = oneshot::channel();
        let (done, exit) = oneshot::channel();
        let run = shell::run(self.plan.clone(), self.handle.clone(), stopped);
        async move {
            let task = tokio::task::spawn_local(async move {
                // A defect of the loop itself: its drop killed the children, the parent restarts all.
                let ended = AssertUnwindSafe(run).catch_unwind().await;
                let exit = ended.unwrap_or_else(|panic| Exit::Panicked(text_of(&*panic)));
                // Err: the parent is gone, and with it everyone who would want to know.
                let _ = done.send(exit);
            });
            Ok(Started::Running(Running::new(exit, stop, move || task.abort())))
        }
        .boxed_local()
    }
}
