//! The address of an actor: bounded `tell` and `ask`, stable over restarts.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Handler, Message};
use tokio::sync::{Semaphore, oneshot};

use super::lanes::{CONTROL_CAPACITY, Packed, Receivers, Senders, lanes};
use super::teller::Teller;
use crate::child::MailboxInfo;

/// Why a message was not accepted. It was not and will not be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// As many messages as the mailbox holds are waiting: try later, or shed the load.
    #[error("the mailbox is full; try later")]
    Busy,
    /// The actor ended and is not restarted.
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

struct Shared<A: Actor> {
    id: Arc<str>,
    /// `None` while the actor is down for good.
    senders: Mutex<Option<Senders<A>>>,
    ordinary: Arc<Semaphore>,
    ordinary_capacity: usize,
    control: Arc<Semaphore>,
    restarts: AtomicU64,
}

/// Room held by a thread that was abandoned.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    ordinary: usize,
    control: usize,
}

#[derive(Clone, Copy)]
enum Lane {
    Ordinary,
    Control,
}

/// The address of a supervised actor. Clones are the same address and share one bound.
///
/// Messages of one sender in one lane are handled in the order they were accepted; control messages
/// pass ordinary ones. While the actor rests before a restart, messages wait in the mailbox.
pub struct ActorRef<A: Actor>(Arc<Shared<A>>);

impl<A: Actor<Context = actix::Context<A>>> ActorRef<A> {
    pub(super) fn new(id: &str, capacity: usize) -> (Self, Receivers<A>) {
        let (senders, receivers) = lanes();
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            id: id.into(),
            senders: Mutex::new(Some(senders)),
            ordinary: Arc::new(Semaphore::new(capacity)),
            ordinary_capacity: capacity,
            control: Arc::new(Semaphore::new(CONTROL_CAPACITY)),
            restarts: AtomicU64::new(0),
        };
        (ActorRef(Arc::new(shared)), receivers)
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
    /// or refused when this is called, not when the future is polled first.
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
            match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(_)) => Err(AskError::Lost),
                Err(_) => Err(AskError::Timeout),
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
        let shared = &self.0;
        // Held over the send, so that nothing slips into lanes that are just being closed.
        let senders = shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = senders.as_ref().ok_or(TellError::Down)?;
        let (semaphore, sender) = match lane {
            Lane::Ordinary => (&shared.ordinary, &senders.ordinary),
            Lane::Control => (&shared.control, &senders.control),
        };
        let permit = semaphore.clone().try_acquire_owned().map_err(|_| TellError::Busy)?;
        sender.send(Box::new(Packed { message, reply, permit })).map_err(|_| TellError::Down)
    }

    /// Makes up for the room held by an abandoned thread: all that is taken and not queued.
    pub(super) fn make_room(&self, receivers: &Receivers<A>) -> Held {
        // Nobody is half-way between a permit and the queue under this lock.
        let _senders = self.0.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let (ordinary, control) = receivers.queued();
        let taken = |capacity: usize, lane: &Semaphore, queued: usize| {
            let held = capacity.saturating_sub(lane.available_permits()).saturating_sub(queued);
            lane.add_permits(held);
            held
        };
        Held {
            ordinary: taken(self.0.ordinary_capacity, &self.0.ordinary, ordinary),
            control: taken(CONTROL_CAPACITY, &self.0.control, control),
        }
    }

    /// The abandoned thread has ended and gave its room back: takes the substitute away again. Waits
    /// until there is as much room.
    pub(super) async fn take_back(&self, held: Held) {
        for (lane, held) in [(&self.0.ordinary, held.ordinary), (&self.0.control, held.control)] {
            // Err: more than a semaphore counts; lanes are closed by other means.
            if let Ok(permits) = lane.acquire_many(u32::try_from(held).unwrap_or(u32::MAX)).await {
                permits.forget();
            }
        }
    }

    /// Opens the address again after [`Self::close`].
    pub(super) fn reopen(&self) -> Receivers<A> {
        let (senders, receivers) = lanes();
        *self.0.senders.lock().unwrap_or_else(PoisonError::into_inner) = Some(senders);
        receivers
    }
}

impl<A: Actor> ActorRef<A> {
    /// The child's id.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.0.id
    }

    /// How full the ordinary lane is.
    #[must_use]
    pub fn mailbox(&self) -> MailboxInfo {
        let capacity = self.0.ordinary_capacity;
        MailboxInfo { depth: capacity - self.0.ordinary.available_permits(), capacity }
    }

    /// How often the actor was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.0.restarts.load(Ordering::Relaxed)
    }

    /// Whether the actor ended and is not restarted: every message is answered with [`TellError::Down`].
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.0.senders.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    pub(super) fn count_restart(&self) {
        self.0.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on every message is answered with [`TellError::Down`].
    pub(super) fn close(&self) {
        *self.0.senders.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
