//! Hands the parcels to the actor. Lives among the actor's own futures, so `ctx.wait` holds it back
//! and a stop ends it, as with actix's own mailbox.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix::{Actor, ActorFuture, AsyncContext};

use super::desk::Desk;
use super::lanes::Receivers;
use super::ledger::PumpTurn;

/// Messages handled in one go before other tasks of the thread get their turn.
const BATCH_MAX: usize = 64;

/// Time in handlers after which other tasks get their turn, in nanoseconds: slow handlers must not
/// hold the thread for 64 messages, nor keep the cell from answering its watchdog. Known only with
/// telemetry.
const BATCH_NANOS_MAX: u64 = 1_000_000;

pub(super) struct Pump<A: Actor> {
    receivers: Rc<RefCell<Receivers<A>>>,
    desk: Desk<A>,
}

impl<A: Actor> Pump<A> {
    pub(super) fn new(receivers: Rc<RefCell<Receivers<A>>>) -> Self {
        let desk = Desk::of(&receivers.borrow());
        Pump { receivers, desk }
    }
}

impl<A: Actor<Context = actix::Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut actix::Context<A>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let this = self.get_mut();
        this.desk.ledger.set_pump_turn(PumpTurn::Polled);
        let is_timed = this.desk.shared.telemetry.is_some();
        let mut began = 0;
        for handled in 0..BATCH_MAX {
            // A handler asked for the wait or the stop; actix polls again when the wait is over.
            if ctx.waiting() {
                this.desk.ledger.set_pump_turn(PumpTurn::HeldBack);
                return Poll::Pending;
            }
            // The borrow ends before the handler runs: a panic must leave the lanes usable.
            let next = this.receivers.borrow_mut().poll_next(cx);
            match next {
                Poll::Ready(Some((lane, parcel))) => {
                    if is_timed && handled == 0 {
                        began = this.desk.shared.now();
                        this.desk.now.set(began);
                    }
                    parcel.open(actor, ctx, &mut this.desk, lane);
                    if is_timed && this.desk.now.get().saturating_sub(began) >= BATCH_NANOS_MAX {
                        break;
                    }
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        if ctx.waiting() {
            this.desk.ledger.set_pump_turn(PumpTurn::HeldBack);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
