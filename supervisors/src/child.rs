//! What a supervisor knows of a child: how to start it ([`Starter`]), and three strings on it while
//! it runs ([`Running`]): its exit, a stop, a kill. An actor, a task, a process and another
//! supervisor all look like this.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::sync::{Mutex, oneshot};

use crate::Exit;
use crate::Pulse;
use crate::decision::{Backoff, Policy, Restart, Shutdown};
use crate::spec::SpecFault;
use crate::supervisor::SupervisorRef;

/// How long a child may take to stop before it is killed, unless its spec says otherwise (as OTP).
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Starts a child, again and again. Lives as long as the child's spec.
pub trait Starter: 'static {
    /// Brings the child up. `generation` counts the calls under the current supervisor from 0.
    ///
    /// The future may be dropped at any await (the start is then cancelled), so whatever it began
    /// must end on drop. A panic counts as a failed start.
    ///
    /// # Errors
    /// A text for people, short for [`Started::Failed`] with [`Exit::Error`].
    fn start(&mut self, generation: u64) -> LocalBoxFuture<'_, Result<Started, String>>;

    /// The last child did not react to its kill: keep nothing of it for the next start.
    fn abandon(&mut self) {}

    /// The supervisor will not start this child again unless someone asks for it: drop what was
    /// kept for a restart (queued messages, for example).
    fn retire(&mut self) {}
}

/// What a successful start gives.
#[derive(Debug)]
pub enum Started {
    /// The child is up.
    Running(Running),
    /// There is nothing to run; the child counts as down, and nothing is wrong.
    Ignore,
    /// It did not start, for a reason that is more than a text.
    Failed(Exit),
}

/// The strings on a running child. Dropping it kills the child, so there are no orphans.
pub struct Running {
    done: Option<oneshot::Receiver<Exit>>,
    stop: Option<oneshot::Sender<()>>,
    kill: Option<Box<dyn FnOnce()>>,
}

impl Running {
    /// `done` yields the exit, exactly once, when nothing of the child runs any more; if its sender
    /// vanishes that reads as [`Exit::Killed`]. `stop` asks the child to end. `kill` ends it without
    /// asking; it is called at most once, also after the child ended, and must not block.
    #[must_use]
    pub fn new(
        done: oneshot::Receiver<Exit>,
        stop: oneshot::Sender<()>,
        kill: impl FnOnce() + 'static,
    ) -> Self {
        Running { done: Some(done), stop: Some(stop), kill: Some(Box::new(kill)) }
    }

    pub(crate) fn take_done(&mut self) -> Option<oneshot::Receiver<Exit>> {
        self.done.take()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Err: the child ended meanwhile, its exit is on the way.
            let _ = stop.send(());
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            kill();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// Resolves when the supervisor asks the child to stop. Stays resolved.
#[derive(Debug)]
pub struct StopSignal(Option<oneshot::Receiver<()>>);

impl StopSignal {
    pub(crate) fn new(receiver: oneshot::Receiver<()>) -> Self {
        StopSignal(Some(receiver))
    }
}

impl Future for StopSignal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(receiver) = &mut self.0 {
            if Pin::new(receiver).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// How a hang of the child is found: its pulse stands still for longer than `patience`.
///
/// The supervisor asks for a beat and looks at the count twice per patience, so a hang is seen after
/// 1 to 1.5 times the patience. The child is then killed and its end counts as a failure.
#[derive(Debug, Clone)]
pub struct Watchdog {
    /// Beaten by the child, or by whoever speaks for it.
    pub pulse: Pulse,
    /// How long the pulse may stand still.
    pub patience: Duration,
}

/// How full a mailbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxInfo {
    /// Messages accepted and not yet handled.
    pub depth: usize,
    /// Messages that are accepted at most at one time.
    pub capacity: usize,
}

/// Everything a supervisor needs to run a child.
pub struct ChildSpec {
    /// Unique among its siblings.
    pub id: String,
    /// When it is started again.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// How long it rests before a restart.
    pub backoff: Backoff,
    /// Whether it is a supervisor itself.
    pub is_supervisor: bool,
    /// Starts it.
    pub starter: Box<dyn Starter>,
    /// Tells how full its mailbox is, if it has one.
    pub mailbox: Option<Rc<dyn Fn() -> MailboxInfo>>,
    /// The handle of the supervisor it is, if it is one.
    pub supervisor: Option<SupervisorRef>,
    /// How a hang is found; `None`: not at all.
    pub watchdog: Option<Watchdog>,
    /// Whether its end can end its supervisor ([`AutoShutdown`](crate::AutoShutdown)). Not for
    /// permanent children.
    pub significant: bool,
    /// What is wrong with the supervisor it is, found before anything starts.
    pub(crate) below: Vec<SpecFault>,
}

impl ChildSpec {
    /// A permanent worker with [`STOP_PATIENCE`] and no backoff.
    #[must_use]
    pub fn new(id: impl Into<String>, starter: impl Starter) -> Self {
        ChildSpec {
            id: id.into(),
            restart: Restart::Permanent,
            shutdown: Shutdown::Deadline(STOP_PATIENCE),
            backoff: Backoff::NONE,
            is_supervisor: false,
            starter: Box::new(starter),
            mailbox: None,
            supervisor: None,
            watchdog: None,
            significant: false,
            below: Vec::new(),
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            id: self.id.clone(),
            restart: self.restart,
            shutdown: self.shutdown,
            backoff: self.backoff,
            significant: self.significant,
            watchdog: self.watchdog.as_ref().map(|watchdog| watchdog.patience),
        }
    }

    /// Sets [`Self::restart`].
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets [`Self::shutdown`].
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Sets [`Self::backoff`].
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets [`Self::watchdog`].
    #[must_use]
    pub fn watchdog(mut self, watchdog: Watchdog) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// Sets [`Self::significant`].
    #[must_use]
    pub fn significant(mut self, significant: bool) -> Self {
        self.significant = significant;
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .field("backoff", &self.backoff)
            .field("is_supervisor", &self.is_supervisor)
            .field("significant", &self.significant)
            .finish_non_exhaustive()
    }
}

/// A spec in use. Clonable, so that a restarted supervisor starts with its first children again.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) policy: Policy,
    pub(crate) is_supervisor: bool,
    /// Locked only while a start is in progress.
    pub(crate) starter: Rc<Mutex<Box<dyn Starter>>>,
    pub(crate) mailbox: Option<Rc<dyn Fn() -> MailboxInfo>>,
    pub(crate) supervisor: Option<SupervisorRef>,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) below: Vec<SpecFault>,
}

impl From<ChildSpec> for Held {
    fn from(spec: ChildSpec) -> Self {
        Held {
            policy: spec.policy(),
            is_supervisor: spec.is_supervisor,
            starter: Rc::new(Mutex::new(spec.starter)),
            mailbox: spec.mailbox,
            supervisor: spec.supervisor,
            watchdog: spec.watchdog,
            below: spec.below,
        }
    }
}
