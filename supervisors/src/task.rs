//! An async task as a child.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::ChildKind;
use crate::Exit;
use crate::child::{ChildSpec, Running, Started, Starter, StopSignal};
use crate::panics;

/// A local task as a child. `run` is called for every start and gives the task; the task ends by
/// itself after its [`StopSignal`], else it is aborted at its next await when its patience is over.
#[must_use]
pub fn task_child<F>(id: impl Into<String>, run: F) -> ChildSpec
where
    F: FnMut(StopSignal) -> LocalBoxFuture<'static, Exit> + 'static,
{
    let id = id.into();
    ChildSpec::new(id.clone(), Task { id: id.into(), run }).of_kind(ChildKind::Task)
}

struct Task<F> {
    id: Arc<str>,
    run: F,
}

impl<F> Starter for Task<F>
where
    F: FnMut(StopSignal) -> LocalBoxFuture<'static, Exit> + 'static,
{
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move {
            let (stop, stopped) = oneshot::channel();
            let (done, exit) = oneshot::channel();
            let mut work = {
                let _running = panics::Running::child(&self.id);
                (self.run)(StopSignal::new(stopped))
            };
            let id = self.id.clone();
            let work = std::future::poll_fn(move |cx| {
                let _running = panics::Running::child(&id);
                work.poll_unpin(cx)
            });
            let task = tokio::task::spawn_local(async move {
                let ended = AssertUnwindSafe(work).catch_unwind().await;
                let exit = ended.unwrap_or_else(|panic| Exit::Panicked(panics::into_text(panic)));
                // Err: the supervisor is gone.
                let _ = done.send(exit);
            });
            Ok(Started::Running(Running::new(exit, stop, move || task.abort())))
        }
        .boxed_local()
    }
}
