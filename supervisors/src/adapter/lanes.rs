//! The two queues in front of an actor: ordinary messages, and a small reserved lane for control.
//!
//! The bound is a semaphore whose permit travels with the message and returns when the message has
//! been handled or lost, so it counts real work and no clone of an address adds to it. A handler
//! that answers with a future holds its permit until the future is done.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix::dev::MessageResponse;
use actix::{Actor, ActorFuture, AsyncContext, Handler, Message};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Control messages that are accepted and not yet handled. They are rare and short (stop, pause,
/// health); a backlog of 16 means that the actor is stuck.
pub const CONTROL_CAPACITY: usize = 16;

/// Messages handled in one go before other tasks of the thread get their turn.
const BATCH_MAX: usize = 64;

/// A message on its way, with its permit and its reply address.
pub(super) trait Parcel<A: Actor>: Send {
    fn open(self: Box<Self>, actor: &mut A, ctx: &mut A::Context);
}

pub(super) type BoxedParcel<A> = Box<dyn Parcel<A>>;

pub(super) struct Packed<M: Message> {
    pub(super) message: M,
    pub(super) reply: Option<oneshot::Sender<M::Result>>,
    pub(super) permit: OwnedSemaphorePermit,
}

impl<A, M> Parcel<A> for Packed<M>
where
    A: Actor<Context = actix::Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn open(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) {
        let Packed { message, reply, permit } = *self;
        // The asker gave up: the work would be done for nobody.
        if reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
            return;
        }
        let (answer, mut answered) = oneshot::channel();
        actor.handle(message, ctx).handle(ctx, Some(answer));
        match answered.try_recv() {
            Ok(result) => {
                if let Some(reply) = reply {
                    // Err: the asker gave up meanwhile.
                    let _ = reply.send(result);
                }
            }
            Err(oneshot::error::TryRecvError::Closed) => {}
            Err(oneshot::error::TryRecvError::Empty) => {
                ctx.spawn(actix::fut::wrap_future(async move {
                    if let Ok(result) = answered.await
                        && let Some(reply) = reply
                    {
                        let _ = reply.send(result);
                    }
                    drop(permit);
                }));
            }
        }
    }
}

pub(super) struct Senders<A: Actor> {
    pub(super) ordinary: mpsc::UnboundedSender<BoxedParcel<A>>,
    pub(super) control: mpsc::UnboundedSender<BoxedParcel<A>>,
}

pub(super) struct Receivers<A: Actor> {
    ordinary: mpsc::UnboundedReceiver<BoxedParcel<A>>,
    control: mpsc::UnboundedReceiver<BoxedParcel<A>>,
}

pub(super) fn lanes<A: Actor>() -> (Senders<A>, Receivers<A>) {
    let (ordinary, from_ordinary) = mpsc::unbounded_channel();
    let (control, from_control) = mpsc::unbounded_channel();
    (Senders { ordinary, control }, Receivers { ordinary: from_ordinary, control: from_control })
}

impl<A: Actor> Receivers<A> {
    /// Control first. `None` cannot come while the actor lives: its own address keeps the lanes.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BoxedParcel<A>>> {
        if let Poll::Ready(Some(parcel)) = self.control.poll_recv(cx) {
            return Poll::Ready(Some(parcel));
        }
        self.ordinary.poll_recv(cx)
    }

    /// Messages that wait in the ordinary lane, and in the one for control.
    pub(super) fn queued(&self) -> (usize, usize) {
        (self.ordinary.len(), self.control.len())
    }
}

/// Hands the parcels to the actor. Lives among the actor's own futures, so `ctx.wait` holds it back
/// and a stop ends it, as with actix's own mailbox.
pub(super) struct Pump<A: Actor>(pub(super) Rc<RefCell<Receivers<A>>>);

impl<A: Actor<Context = actix::Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut actix::Context<A>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        for _ in 0..BATCH_MAX {
            // A handler asked for the wait or the stop; actix polls again when the wait is over.
            if ctx.waiting() {
                return Poll::Pending;
            }
            // The borrow ends before the handler runs: a panic must leave the lanes usable.
            let next = self.0.borrow_mut().poll_next(cx);
            match next {
                Poll::Ready(Some(parcel)) => parcel.open(actor, ctx),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
