//! A message on its way, and how it is opened: handled, counted, answered.
//!
//! A **bare** parcel is the message and its reply address. A **full** one also carries the sender's
//! span and the time of its acceptance; what that costs is paid by actors with telemetry only.

use std::any::{TypeId, type_name};
use std::cell::Cell;

use actix::dev::MessageResponse;
use actix::{Actor, AsyncContext, Handler, Message, MessageResult};
use tokio::sync::oneshot;
use tracing::{Span, debug_span, error};

use super::desk::{Desk, Permit};
use super::lanes::Lane;
use super::telemetry::{Telemetry, short_name};
use crate::panics::contained;
use crate::thread::unless_abandoned;

pub(super) trait Parcel<A: Actor>: Send {
    /// Hands the message to the actor. A panic of the handler passes through.
    fn open(self: Box<Self>, actor: &mut A, ctx: &mut A::Context, desk: &mut Desk<A>, lane: Lane);

    /// When it was accepted, if it knows.
    fn accepted_at(&self) -> Option<u64> {
        None
    }
}

pub(super) type BoxedParcel<A> = Box<dyn Parcel<A>>;

pub(super) struct Bare<M: Message> {
    pub(super) message: M,
    pub(super) reply: Option<oneshot::Sender<M::Result>>,
}

pub(super) struct Full<M: Message> {
    pub(super) bare: Bare<M>,
    pub(super) span: Span,
    pub(super) accepted: u64,
}

impl<A, M> Parcel<A> for Bare<M>
where
    A: Actor<Context = actix::Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn open(self: Box<Self>, actor: &mut A, ctx: &mut A::Context, desk: &mut Desk<A>, lane: Lane) {
        let Bare { message, reply } = *self;
        let permit = desk.permit(lane);
        if given_up(reply.as_ref()) {
            return skip(message);
        }
        hand_over(actor, ctx, message, reply, permit, None);
        desk.ledger.count_handled();
    }
}

impl<A, M> Parcel<A> for Full<M>
where
    A: Actor<Context = actix::Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn open(self: Box<Self>, actor: &mut A, ctx: &mut A::Context, desk: &mut Desk<A>, lane: Lane) {
        let Full { bare: Bare { message, reply }, span, accepted } = *self;
        let name = type_name::<M>();
        let index = desk.index_of(name);
        let desk = &*desk;
        let permit = desk.permit(lane);
        if given_up(reply.as_ref()) {
            return skip(message);
        }
        let Some(telemetry) = &desk.shared.telemetry else { return };
        let begun = desk.now.get();
        telemetry.queued(begun.saturating_sub(accepted));
        let child = debug_span!(parent: &span, "handle", actor = %desk.shared.id, message = short_name(name));
        // Where the level leaves out the handler's own span, its records still say whose work it is.
        let _entered = if child.is_disabled() { span.enter() } else { child.enter() };
        let handling = Handling::begin(desk, telemetry, index, begun);
        if hand_over(actor, ctx, message, reply, permit, Some(Began { at: begun })) {
            handling.is_answered_later.set(true);
        }
        desk.ledger.count_handled();
    }

    fn accepted_at(&self) -> Option<u64> {
        Some(self.accepted)
    }
}

/// While the handler runs, also when it ends by a panic: what is handled since when, and how long it took.
struct Handling<'a, A: Actor> {
    desk: &'a Desk<A>,
    telemetry: &'a Telemetry,
    begun: u64,
    is_answered_later: Cell<bool>,
}

impl<'a, A: Actor> Handling<'a, A> {
    fn begin(desk: &'a Desk<A>, telemetry: &'a Telemetry, message: u32, begun: u64) -> Self {
        desk.ledger.begin(message, begun);
        Handling { desk, telemetry, begun, is_answered_later: Cell::new(false) }
    }
}

impl<A: Actor> Drop for Handling<'_, A> {
    fn drop(&mut self) {
        let now = self.desk.shared.now();
        self.desk.now.set(now);
        let nanos = now.saturating_sub(self.begun);
        self.desk.ledger.end();
        self.desk.ledger.add_handling(nanos);
        if !self.is_answered_later.get() {
            self.telemetry.handled(nanos);
        }
    }
}

/// When a timed handler began.
struct Began {
    at: u64,
}

/// Calls the handler and sees to its answer and its permit. True: the answer is a future.
///
/// The answer of a handler whose thread was abandoned meanwhile does not go out: its asker is told that
/// the message is lost, as everyone else was.
fn hand_over<A, M>(
    actor: &mut A,
    ctx: &mut actix::Context<A>,
    message: M,
    reply: Option<oneshot::Sender<M::Result>>,
    permit: Permit<'_, A>,
    began: Option<Began>,
) -> bool
where
    A: Actor<Context = actix::Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    if is_plain::<A, M>() {
        let response = actor.handle(message, ctx);
        // Before the answer: whoever gets it may tell the next message at once.
        drop(permit);
        unless_abandoned(|| response.handle(ctx, reply));
        return false;
    }
    let (answer, mut answered) = oneshot::channel();
    actor.handle(message, ctx).handle(ctx, Some(answer));
    match answered.try_recv() {
        Ok(result) => {
            drop(permit);
            deliver(reply, result);
            false
        }
        Err(oneshot::error::TryRecvError::Closed) => false,
        Err(oneshot::error::TryRecvError::Empty) => {
            let permit = permit.keep();
            ctx.spawn(actix::fut::wrap_future(async move {
                let result = answered.await;
                if let Some(began) = began {
                    permit.record_handling_since(began.at);
                }
                drop(permit);
                if let Ok(result) = result {
                    deliver(reply, result);
                }
            }));
            true
        }
    }
}

/// Whether the handler's response is the result itself and not a future of it. Then the work is done
/// when the handler returns, and no channel is needed to learn that.
fn is_plain<A, M>() -> bool
where
    A: Actor + Handler<M>,
    M: Message + 'static,
{
    let response = TypeId::of::<<A as Handler<M>>::Result>();
    response == TypeId::of::<M::Result>() || response == TypeId::of::<MessageResult<M>>()
}

/// The asker gave up: the work would be done for nobody.
fn given_up<R>(reply: Option<&oneshot::Sender<R>>) -> bool {
    reply.is_some_and(oneshot::Sender::is_closed)
}

fn deliver<R>(reply: Option<oneshot::Sender<R>>, result: R) {
    if let Some(reply) = reply {
        // Err: the asker gave up meanwhile.
        unless_abandoned(|| reply.send(result).is_ok());
    }
}

fn skip<M>(message: M) {
    if let Err(text) = contained(|| drop(message)) {
        error!(%text, "A message panicked while it was dropped.");
    }
}
