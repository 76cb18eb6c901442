//! A supervisor as the child of another one.

use std::panic::AssertUnwindSafe;

use futures::future::{FutureExt, LocalBoxFuture};
use tokio::sync::oneshot;

use super::launch::AbortOnDrop;
use super::{Plan, SupervisorRef, SupervisorSpec, shell};
use crate::Exit;
use crate::child::{ChildSpec, Running, Started, Starter};
use crate::decision::Shutdown;
use crate::fault::ChildKind;
use crate::panics::into_text;

/// A supervisor as a child: permanent, and waited for without limit when it stops, because its own
/// children have their limits. It counts as up when its children are up. A restart begins with the
/// children of `spec` again; those added at run time are gone.
#[must_use]
pub fn supervisor_child(spec: SupervisorSpec) -> (SupervisorRef, ChildSpec) {
    let below = spec.faults();
    let id = spec.id.clone();
    let plan: Plan = spec.into();
    let (handle, mut child) = child_of(&id, move || Ok(Some(plan.clone())));
    child.below = below;
    (handle, child)
}

/// Like [`supervisor_child`], but `init` says at every start what the supervisor is made of, as OTP's
/// `Module:init/1`: `None` means that there is nothing to supervise ([`Started::Ignore`]), an error
/// (or a panic, or a spec with faults) that the start failed. `id` goes before the id in the spec.
pub fn supervisor_child_with(
    id: &str,
    mut init: impl FnMut() -> Result<Option<SupervisorSpec>, String> + 'static,
) -> (SupervisorRef, ChildSpec) {
    child_of(id, move || Ok(init()?.map(Plan::from)))
}

fn child_of(
    id: &str,
    init: impl FnMut() -> Result<Option<Plan>, String> + 'static,
) -> (SupervisorRef, ChildSpec) {
    let handle = SupervisorRef::new(id);
    let mut child = ChildSpec::new(id, Nested { init, handle: handle.clone() });
    child.shutdown = Shutdown::Infinity;
    child.is_supervisor = true;
    child.kind = ChildKind::Supervisor;
    child.supervisor = Some(handle.clone());
    (handle, child)
}

struct Nested<F> {
    init: F,
    handle: SupervisorRef,
}

impl<F> Starter for Nested<F>
where
    F: FnMut() -> Result<Option<Plan>, String> + 'static,
{
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move {
            let Some(mut plan) = (self.init)()? else { return Ok(Started::Ignore) };
            self.handle.id().clone_into(&mut plan.id);
            let (stop, stopped) = oneshot::channel();
            let (done, exit) = oneshot::channel();
            let (booted, is_up) = oneshot::channel();
            let run = shell::run(plan, self.handle.clone(), stopped, booted);
            let task = tokio::task::spawn_local(async move {
                // A defect of the loop itself: its drop killed the children, the parent restarts all.
                let ended = AssertUnwindSafe(run).catch_unwind().await;
                let exit = ended.unwrap_or_else(|panic| Exit::Panicked(into_text(panic)));
                // Err: the parent is gone, and with it everyone who would want to know.
                let _ = done.send(exit);
            });
            // Before the wait: a start that is given up kills what it began.
            let guard = AbortOnDrop(Some(task.abort_handle()));
            if is_up.await.is_ok() {
                return Ok(Started::Running(Running::new(exit, stop, move || drop(guard))));
            }
            Ok(Started::Failed(exit.await.unwrap_or(Exit::Killed)))
        }
        .boxed_local()
    }
}
