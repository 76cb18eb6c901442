//! The address of an actor: bounded `tell` and `ask`, stable over restarts.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, Handler, Message};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Span;

use super::actor_spec::ActorSpec;
use super::lanes::{Lane, Lanes, Receivers};
use super::life::Lives;
use super::parcel::{Bare, BoxedParcel, Full};
use super::room::Room;
use super::telemetry::{Telemetry, short_name};
use super::teller::Teller;
use crate::Exit;
use crate::child::{Handling, MailboxInfo, Waiting};
use crate::thread::unless_abandoned;

/// Why a message was not accepted. It was not and will not be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// As many messages as the mailbox holds are waiting: try later, or shed the load.
    #[error("the mailbox is full; try later")]
    Busy,
    /// The actor ended and is not restarted; or it is the sender that does not count any more: its
    /// thread was abandoned ([`is_abandoned`](crate::is_abandoned)).
    #[error("the actor is down")]
    Down,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Not accepted, as [`TellError::Busy`].
    #[error("the mailbox is full; try later")]
    Busy,
    /// Not accepted, as [`TellError::Down`].
    #[error("the actor is down")]
    Down,
    /// No answer in time. If the actor had not begun, it will skip the message; else it may have
    /// been handled.
    #[error("no answer in time; the message may or may not be handled")]
    Timeout,
    /// Accepted, but the actor died over it or before it. It may have been handled in part and will
    /// not be handled again.
    #[error("the actor lost the message; it may have been handled in part")]
    Lost,
}

impl From<TellError> for AskError {
    fn from(error: TellError) -> Self {
        match error {
            TellError::Busy => AskError::Busy,
            TellError::Down => AskError::Down,
        }
    }
}

/// What all clones of an address share. It keeps no actor alive.
pub(super) struct Shared<A: Actor> {
    pub(super) id: Arc<str>,
    pub(super) lanes: Lanes<A>,
    pub(super) lives: Lives,
    /// `None`: a bare cell.
    pub(super) telemetry: Option<Arc<Telemetry>>,
    /// What `ctx.wait` means with this actor.
    waits_for: &'static str,
    origin: Instant,
    restarts: AtomicU64,
}

impl<A: Actor> Shared<A> {
    /// The ledger's clock; never 0.
    pub(super) fn now(&self) -> u64 {
        let passed = Instant::now().saturating_duration_since(self.origin);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The address of a supervised actor. Clones are the same address and share one bound.
///
/// Messages of one sender in one lane are handled in the order they were accepted; control messages
/// pass ordinary ones. While the actor rests before a restart, messages wait in the mailbox.
pub struct ActorRef<A: Actor>(pub(super) Arc<Shared<A>>);

impl<A: Actor<Context = actix::Context<A>>> ActorRef<A> {
    pub(super) fn new(spec: &ActorSpec) -> (Self, Receivers<A>) {
        let kind = || spec.kind.as_deref().unwrap_or(&spec.id);
        let shared = Arc::new(Shared {
            id: spec.id.clone(),
            lanes: Lanes::new(spec.mailbox_capacity.max(1)),
            lives: Lives::default(),
            telemetry: (!spec.is_bare).then(|| Telemetry::of(kind())),
            waits_for: spec.waits_for,
            origin: Instant::now(),
            restarts: AtomicU64::new(0),
        });
        (ActorRef(shared.clone()), Receivers::first(shared))
    }

    /// Puts a message into the mailbox. Never waits.
    ///
    /// # Errors
    /// [`TellError::Busy`] when the mailbox is full, [`TellError::Down`].
    pub fn tell<M>(&self, message: M) -> Result<(), TellError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.put(Lane::Ordinary, message, None)
    }

    /// As [`Self::tell`], but waits for room, at most `patience`. Who waits is served in the order of
    /// the first polls, and before anyone who tells without waiting.
    ///
    /// The message is accepted when the future says so; dropped before that, it was not.
    ///
    /// # Errors
    /// [`TellError::Busy`] when there was no room in time, [`TellError::Down`].
    pub fn tell_wait<M>(
        &self,
        message: M,
        patience: Duration,
    ) -> impl Future<Output = Result<(), TellError>> + Send + use<A, M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let parcel = Some(self.pack(message, None));
        let room = Room { shared: self.0.clone(), parcel, ticket: None };
        async move {
            let telemetry = room.shared.clone();
            let accepted = within(patience, room).await.unwrap_or(Err(TellError::Busy));
            if accepted == Err(TellError::Busy) {
                telemetry.count_busy();
            }
            accepted
        }
    }

    /// As [`Self::tell`], in the reserved lane: ordinary messages neither fill nor delay it. For
    /// stop, pause, health and the like; [`CONTROL_CAPACITY`] of them at a time.
    ///
    /// # Errors
    /// As [`Self::tell`].
    pub fn tell_control<M>(&self, message: M) -> Result<(), TellError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.put(Lane::Control, message, None)
    }

    /// Puts a message into the mailbox and waits for the handler's result. The message is accepted
    /// or refused when this is called, not when the future is polled first. A `timeout` of
    /// [`Duration::MAX`] sets no timer.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask<M>(
        &self,
        message: M,
        timeout: Duration,
    ) -> impl Future<Output = Result<M::Result, AskError>> + Send + use<A, M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_in(Lane::Ordinary, message, timeout)
    }

    /// As [`Self::ask`], in the reserved lane.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask_control<M>(
        &self,
        message: M,
        timeout: Duration,
    ) -> impl Future<Output = Result<M::Result, AskError>> + Send + use<A, M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_in(Lane::Control, message, timeout)
    }

    fn ask_in<M>(
        &self,
        lane: Lane,
        message: M,
        timeout: Duration,
    ) -> impl Future<Output = Result<M::Result, AskError>> + Send + use<A, M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (reply, answer) = oneshot::channel();
        let accepted = self.put(lane, message, Some(reply));
        async move {
            accepted?;
            match within(timeout, answer).await {
                Some(Ok(result)) => Ok(result),
                Some(Err(_)) => Err(AskError::Lost),
                None => Err(AskError::Timeout),
            }
        }
    }

    /// A sender of one message type that does not name the actor.
    #[must_use]
    pub fn recipient<M>(&self) -> Teller<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Teller::of(self.clone())
    }

    fn put<M>(
        &self,
        lane: Lane,
        message: M,
        reply: Option<oneshot::Sender<M::Result>>,
    ) -> Result<(), TellError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let parcel = self.pack(message, reply);
        // A refused message is dropped here, outside of the lock.
        let accepted = unless_abandoned(|| self.0.lanes.push(lane, parcel));
        accepted.ok_or(TellError::Down)?.map_err(|(refusal, _)| {
            if refusal == TellError::Busy {
                self.0.count_busy();
            }
            refusal
        })
    }

    fn pack<M>(&self, message: M, reply: Option<oneshot::Sender<M::Result>>) -> BoxedParcel<A>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let bare = Bare { message, reply };
        if self.0.telemetry.is_none() {
            return Box::new(bare);
        }
        Box::new(Full { bare, span: Span::current(), accepted: self.0.now() })
    }

    /// Opens the address again after [`Self::close`], or with empty queues if it is open.
    pub(super) fn reopen(&self) -> Receivers<A> {
        Receivers::anew(self.0.clone())
    }
}

impl<A: Actor> ActorRef<A> {
    /// The child's id.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.0.id
    }

    /// How full the mailbox is, and what the actor is busy with. One short lock and some atomics;
    /// the parts are read one after the other, so between two messages they need not fit together.
    #[must_use]
    pub fn mailbox(&self) -> MailboxInfo {
        let shared = &self.0;
        let (depth, control_depth, ledger, first) = shared.lanes.look();
        let now = shared.now();
        let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        MailboxInfo {
            depth,
            capacity: shared.lanes.capacity(),
            control_depth,
            oldest: first.into_iter().chain(ledger.front()).min().map(since),
            handled: ledger.handled(),
            handling_total: ledger.handling_total(),
            handling: ledger
                .handling()
                .map(|(name, begun)| Handling { message: short_name(name), since: since(begun) }),
            waiting: ledger
                .waiting_since()
                .map(|begun| Waiting { what: shared.waits_for, since: since(begun) }),
        }
    }

    /// Resolves when the incarnation that runs now ends, with its exit. At once, with the last
    /// exit, if none runs (the actor rests before a restart, or is down); before the first start it
    /// waits for the end of the first incarnation. Keeps nothing alive.
    pub fn watch(&self) -> impl Future<Output = Exit> + Send + use<A> {
        self.0.lives.watch()
    }

    /// How often the actor was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.0.restarts.load(Ordering::Relaxed)
    }

    /// Whether the actor ended and is not restarted: every message is answered with [`TellError::Down`].
    #[must_use]
    pub fn is_down(&self) -> bool {
        !self.0.lanes.is_open()
    }

    /// An address that does not keep the mailbox in memory. No address keeps the actor alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakActorRef<A> {
        WeakActorRef(Arc::downgrade(&self.0))
    }

    pub(super) fn count_restart(&self) {
        self.0.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on every message is answered with [`TellError::Down`]; those that wait are lost.
    pub(super) fn close(&self) {
        self.0.lanes.close();
        self.0.lives.close();
    }
}

impl<A: Actor> Shared<A> {
    fn count_busy(&self) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.refused_busy();
        }
    }
}

/// `None`: not in time. No timer is set for [`Duration::MAX`].
async fn within<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    if patience == Duration::MAX {
        return Some(future.await);
    }
    tokio::time::timeout(patience, future).await.ok()
}

/// An [`ActorRef`] that keeps no memory.
pub struct WeakActorRef<A: Actor>(Weak<Shared<A>>);

impl<A: Actor> WeakActorRef<A> {
    /// The address, as long as the child's spec or another address exists.
    #[must_use]
    pub fn upgrade(&self) -> Option<ActorRef<A>> {
        self.0.upgrade().map(ActorRef)
    }
}

impl<A: Actor> Clone for WeakActorRef<A> {
    fn clone(&self) -> Self {
        WeakActorRef(self.0.clone())
    }
}

impl<A: Actor> fmt::Debug for WeakActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakActorRef").field(&self.upgrade().map(|actor| actor.id().clone())).finish()
    }
}

impl<A: Actor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        ActorRef(self.0.clone())
    }
}

impl<A: Actor> fmt::Debug for ActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActorRef").field(&self.0.id).finish()
    }
}
