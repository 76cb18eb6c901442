//! A dedicated thread as a child.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Life, StopFlag, launch};
use crate::child::{ChildSpec, Running, Started, Starter, Watchdog};
use crate::{ChildKind, Exit, Pulse, panics};

/// The pulse of one thread: as [`Pulse::beat`], but silent once the thread was abandoned, so that it
/// cannot speak for its successor.
#[derive(Debug, Clone)]
pub struct ThreadPulse {
    pulse: Pulse,
    life: Arc<Life>,
}

impl ThreadPulse {
    /// The thread is alive. Costs one uncontended lock.
    pub fn beat(&self) {
        self.life.unless_abandoned(|| self.pulse.beat());
    }
}

/// A thread of its own as a permanent child, for work that blocks.
///
/// Every start calls `run` on a new thread. It is to return soon after its [`StopFlag`] is set; a
/// panic in it is contained. With a `patience` it must beat its pulse more often than that, else it
/// counts as hung.
///
/// A thread cannot be killed. One that ignores its stop beyond deadline and kill ends as
/// [`Exit::Unkillable`] and is abandoned: it is counted ([`abandoned_threads`](super::abandoned_threads)),
/// its flag stays set, its pulse and its exit are ignored, and a new thread takes its place. For that
/// time `run` is executed by two threads, which is why it is `Fn` and `Sync`;
/// [`is_abandoned`](super::is_abandoned) tells the old one apart.
#[must_use]
pub fn thread_child<F>(id: impl Into<String>, patience: Option<Duration>, run: F) -> ChildSpec
where
    F: Fn(StopFlag, ThreadPulse) -> Exit + Send + Sync + 'static,
{
    let id = id.into();
    let pulse = Pulse::new();
    let starter =
        ThreadStarter { id: id.as_str().into(), run: Arc::new(run), pulse: pulse.clone(), current: None };
    let mut spec = ChildSpec::new(id, starter).of_kind(ChildKind::Thread);
    spec.watchdog = patience.map(|patience| Watchdog { pulse, patience });
    spec
}

struct ThreadStarter<F> {
    id: Arc<str>,
    run: Arc<F>,
    pulse: Pulse,
    /// The thread started last.
    current: Option<Arc<Life>>,
}

/// Stops a thread whose start was cancelled.
struct StopOnDrop(Option<StopFlag>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.set();
        }
    }
}

impl<F> ThreadStarter<F>
where
    F: Fn(StopFlag, ThreadPulse) -> Exit + Send + Sync + 'static,
{
    async fn launch(&mut self) -> Result<Running, String> {
        let flag = StopFlag::new();
        let life = Arc::new(Life::default());
        let (stop, stopped) = oneshot::channel();
        let (done, exit) = oneshot::channel();
        let mut cancelled = StopOnDrop(Some(flag.clone()));
        let body = {
            let (id, run, flag) = (self.id.clone(), self.run.clone(), flag.clone());
            let pulse = ThreadPulse { pulse: self.pulse.clone(), life: life.clone() };
            move || {
                let ended = {
                    let _running = panics::Running::child(&id);
                    catch_unwind(AssertUnwindSafe(|| run(flag, pulse)))
                };
                let exit = ended.unwrap_or_else(|panic| Exit::Panicked(panics::text_of(&*panic)));
                // Err: nobody waits, because it was abandoned or its supervisor is gone.
                let _ = done.send(exit);
            }
        };
        self.current = Some(life.clone());
        launch(&self.id, life, body).await.map_err(|error| format!("no thread: {error}"))?;
        cancelled.0 = None;
        let heard = flag.clone();
        tokio::task::spawn_local(async move {
            // Err: the supervisor is gone, and its kill sets the flag as well.
            if stopped.await.is_ok() {
                heard.set();
            }
        });
        Ok(Running::new(exit, stop, move || flag.set()))
    }
}

impl<F> Starter for ThreadStarter<F>
where
    F: Fn(StopFlag, ThreadPulse) -> Exit + Send + Sync + 'static,
{
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move { self.launch().await.map(Started::Running) }.boxed_local()
    }

    fn abandon(&mut self) {
        if self.current.take().is_some_and(|life| life.abandon()) {
            warn!(child = %self.id, "A thread ignores its stop; it is abandoned and replaced.");
        }
    }
}
