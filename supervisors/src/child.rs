//! What a supervisor knows of a child: how to start it ([`Starter`]), and three strings on it while
//! it runs ([`Running`]): its exit, a stop, a kill. An actor, a task, a process and another
//! supervisor all look like this.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::Exit;
use crate::Pulse;
use crate::decision::{Backoff, Key, Policy, Restart, Shutdown};
use crate::fault::{ChildKind, Fault};
use crate::leash::{Exits, Leash};
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

    /// A drill: does this to the child that is up, or says by `false` that it cannot. Never called
    /// with [`Fault::Kill`], which is the supervisor's own.
    fn inject(&mut self, fault: Fault) -> bool {
        let _ = fault;
        false
    }

    /// How full the child's mailbox is, if it has one. Not asked while a start is in progress;
    /// [`ChildSpec::mailbox`] is.
    fn mailbox(&self) -> Option<MailboxInfo> {
        None
    }

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
pub struct Running(Strings);

enum Strings {
    Own(Box<Own>),
    Leash(Rc<Leash>, AbortHandle),
}

struct Own {
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
        let own = Own { done: Some(done), stop: Some(stop), kill: Some(Box::new(kill)) };
        Running(Strings::Own(Box::new(own)))
    }

    /// A task of the supervisor's thread that holds its end of `leash` and tells its exit there.
    pub(crate) fn on_leash(leash: Rc<Leash>, task: AbortHandle) -> Self {
        Running(Strings::Leash(leash, task))
    }

    /// Directs the exit into `exits`, or gives what it is to be awaited from.
    pub(crate) fn tell_exit_to(
        &mut self,
        exits: &Exits,
        key: Key,
        generation: u64,
    ) -> Option<impl Future<Output = Exit> + use<>> {
        match &mut self.0 {
            Strings::Own(own) => {
                let done = own.done.take();
                Some(async move {
                    match done {
                        Some(done) => done.await.unwrap_or(Exit::Killed),
                        None => Exit::Killed,
                    }
                })
            }
            Strings::Leash(leash, _) => {
                leash.tell_to(exits, key, generation);
                None
            }
        }
    }

    pub(crate) fn stop(&mut self) {
        match &mut self.0 {
            Strings::Own(own) => {
                if let Some(stop) = own.stop.take() {
                    // Err: the child ended meanwhile, its exit is on the way.
                    let _ = stop.send(());
                }
            }
            Strings::Leash(leash, _) => leash.ask_stop(),
        }
    }

    pub(crate) fn kill(&mut self) {
        match &mut self.0 {
            Strings::Own(own) => {
                if let Some(kill) = own.kill.take() {
                    kill();
                }
            }
            Strings::Leash(_, task) => task.abort(),
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

/// How full a mailbox is, and what its owner is busy with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailboxInfo {
    /// Ordinary messages accepted and not finished: those that wait, and those in a handler or its
    /// future.
    pub depth: usize,
    /// Ordinary messages that are accepted at most at one time.
    pub capacity: usize,
    /// As `depth`, of the control lane.
    pub control_depth: usize,
    /// How long the oldest message that no handler has seen yet has waited. `None`: none waits, or
    /// the actor has no telemetry.
    pub oldest: Option<Duration>,
    /// Messages handled, over all restarts; a message whose handler panicked is not among them.
    pub handled: u64,
    /// Time spent in handlers, over all restarts; 0 without telemetry. The time of a future that a
    /// handler answers with is not in it.
    pub handling_total: Duration,
    /// What is in the handler now. `None`: nothing, or the actor has no telemetry.
    pub handling: Option<Handling>,
    /// What the actor waits for while it lets no message in, and how long already.
    pub waiting: Option<Waiting>,
}

/// A message in its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handling {
    /// The message's type, without its path.
    pub message: &'static str,
    /// How long the handler has run.
    pub since: Duration,
}

/// An actor that lets no message in until something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// What it waits for, as its spec says.
    pub what: &'static str,
    /// How long it has waited.
    pub since: Duration,
}

/// Everything a supervisor needs to run a child.
pub struct ChildSpec {
    /// Unique among its siblings.
    pub id: Arc<str>,
    /// What it is made of, for those who look at the tree.
    pub kind: ChildKind,
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
    /// Tells how full its mailbox is, if its starter does not ([`Starter::mailbox`]).
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
        ChildSpec::with_id(id.into().into(), starter)
    }

    pub(crate) fn with_id(id: Arc<str>, starter: impl Starter) -> Self {
        ChildSpec {
            id,
            kind: ChildKind::Other,
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

    pub(crate) fn of_kind(mut self, kind: ChildKind) -> Self {
        self.kind = kind;
        self
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
    pub(crate) policy: Rc<Policy>,
    pub(crate) kind: ChildKind,
    pub(crate) is_supervisor: bool,
    pub(crate) starter: SharedStarter,
    /// What few children have.
    pub(crate) extras: Option<Rc<Extras>>,
}

pub(crate) struct Extras {
    pub(crate) mailbox: Option<Rc<dyn Fn() -> MailboxInfo>>,
    pub(crate) supervisor: Option<SupervisorRef>,
    pub(crate) pulse: Option<Pulse>,
    pub(crate) below: Vec<SpecFault>,
}

impl Held {
    pub(crate) fn supervisor(&self) -> Option<&SupervisorRef> {
        self.extras.as_ref()?.supervisor.as_ref()
    }

    pub(crate) fn pulse(&self) -> Option<&Pulse> {
        self.extras.as_ref()?.pulse.as_ref()
    }

    pub(crate) fn below(&self) -> &[SpecFault] {
        self.extras.as_ref().map_or(&[], |extras| &extras.below)
    }

    pub(crate) fn mailbox(&self) -> Option<MailboxInfo> {
        if let Some(mailbox) = self.extras.as_ref().and_then(|extras| extras.mailbox.as_ref()) {
            return Some(mailbox());
        }
        self.starter.if_at_rest(|starter| starter.mailbox())?
    }
}

impl From<ChildSpec> for Held {
    fn from(spec: ChildSpec) -> Self {
        let policy = Rc::new(spec.policy());
        let extras = Extras {
            mailbox: spec.mailbox,
            supervisor: spec.supervisor,
            pulse: spec.watchdog.map(|watchdog| watchdog.pulse),
            below: spec.below,
        };
        let has_extras = extras.mailbox.is_some()
            || extras.supervisor.is_some()
            || extras.pulse.is_some()
            || !extras.below.is_empty();
        Held {
            policy,
            kind: spec.kind,
            is_supervisor: spec.is_supervisor,
            starter: SharedStarter(Rc::new(RefCell::new(Some(spec.starter)))),
            extras: has_extras.then(|| Rc::new(extras)),
        }
    }
}

/// A starter that is away while a start is in progress.
#[derive(Clone)]
pub(crate) struct SharedStarter(Rc<RefCell<Option<Box<dyn Starter>>>>);

impl SharedStarter {
    /// Lends the starter out until the loan is dropped. `None`: it is lent already.
    pub(crate) fn lend(&self) -> Option<Loan> {
        let starter = self.0.borrow_mut().take()?;
        Some(Loan { home: self.clone(), starter: Some(starter) })
    }

    /// Does `act` with the starter unless it is lent.
    pub(crate) fn if_at_rest<T>(&self, act: impl FnOnce(&mut Box<dyn Starter>) -> T) -> Option<T> {
        let mut loan = self.lend()?;
        loan.starter.as_mut().map(act)
    }
}

/// A starter during a start.
pub(crate) struct Loan {
    home: SharedStarter,
    starter: Option<Box<dyn Starter>>,
}

impl Loan {
    pub(crate) async fn start(mut self, generation: u64) -> Result<Started, String> {
        match &mut self.starter {
            Some(starter) => starter.start(generation).await,
            None => Ok(Started::Ignore),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        *self.home.0.borrow_mut() = self.starter.take();
    }
}
