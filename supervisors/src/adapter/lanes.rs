//! The two queues in front of an actor: ordinary messages, and a small reserved lane for control.
//!
//! The bound counts messages that were accepted and are not finished, so it counts real work and no
//! clone of an address adds to it: a message leaves the count when its handler is done (a handler
//! that answers with a future: when the future is done) or when it is lost.
//!
//! Senders append under a short lock. The actor's side takes everything that waits in one go and
//! works it off without the lock; only a look at one atomic, per message, tells it that a control
//! message came meanwhile. No code of a user (a `Drop`, a waker) ever runs under the lock.
//!
//! Absent on purpose: what a message is ([`super::parcel`]) and how it is handled ([`super::pump`]).

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use actix::Actor;
use tracing::error;

use super::actor_ref::{Shared, TellError};
use super::ledger::Ledger;
use super::parcel::BoxedParcel;
use super::room::Line;
use crate::panics::contained;

/// Control messages that are accepted and not yet handled. They are rare and short (stop, pause,
/// health); a backlog of 16 means that the actor is stuck.
pub const CONTROL_CAPACITY: usize = 16;

/// Room for this many parcels (16 bytes each) is kept by an idle queue; what a burst took beyond it
/// is given back.
const KEPT_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Ordinary,
    Control,
}

/// The senders' side.
pub(super) struct Lanes<A: Actor> {
    state: Mutex<State<A>>,
    capacity: usize,
}

struct State<A: Actor> {
    /// Closed while the actor is down for good.
    open: bool,
    /// Changes when the queues are abandoned or closed; receivers of an older one get nothing more.
    ledger: Arc<Ledger>,
    ordinary: VecDeque<BoxedParcel<A>>,
    /// `None` until the first control message; boxed, as most actors never see one.
    #[allow(clippy::box_collection)]
    control: Option<Box<VecDeque<BoxedParcel<A>>>>,
    ordinary_accepted: usize,
    /// Of these, those known to be finished. Perhaps more are: the ledger says so, but to look costs a
    /// cache line that the actor writes for every message.
    ordinary_finished: usize,
    control_accepted: usize,
    /// The actor's task, when it found nothing to do.
    idle: Option<Waker>,
    /// Senders that wait for room.
    line: Line,
}

impl<A: Actor> State<A> {
    fn depth(&self) -> usize {
        self.ordinary_accepted.wrapping_sub(self.ledger.finished(Lane::Ordinary))
    }

    /// Whether there is room for one more that stands in no line.
    fn has_room(&mut self, capacity: usize) -> bool {
        let at_most = self.ordinary_accepted.wrapping_sub(self.ordinary_finished);
        if at_most + self.line.len() < capacity {
            return true;
        }
        self.ordinary_finished = self.ledger.finished(Lane::Ordinary);
        self.depth() + self.line.len() < capacity
    }

    fn control_len(&self) -> usize {
        self.control.as_ref().map_or(0, |control| control.len())
    }

    fn control_depth(&self) -> usize {
        self.control_accepted.wrapping_sub(self.ledger.finished(Lane::Control))
    }
}

impl<A: Actor> Lanes<A> {
    pub(super) fn new(capacity: usize) -> Self {
        Lanes {
            state: Mutex::new(State {
                open: true,
                ledger: Arc::default(),
                ordinary: VecDeque::new(),
                control: None,
                ordinary_accepted: 0,
                ordinary_finished: 0,
                control_accepted: 0,
                idle: None,
                line: Line::default(),
            }),
            capacity,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    fn state(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open
    }

    /// Accepts a parcel or gives it back.
    pub(super) fn push(&self, lane: Lane, parcel: BoxedParcel<A>) -> Result<(), (TellError, BoxedParcel<A>)> {
        let mut state = self.state();
        if !state.open {
            return Err((TellError::Down, parcel));
        }
        match lane {
            Lane::Ordinary => {
                // Who waits in the line came first.
                if !state.has_room(self.capacity) {
                    return Err((TellError::Busy, parcel));
                }
                state.ordinary_accepted = state.ordinary_accepted.wrapping_add(1);
                state.ordinary.push_back(parcel);
            }
            Lane::Control => {
                if state.control_depth() >= CONTROL_CAPACITY {
                    return Err((TellError::Busy, parcel));
                }
                state.control_accepted = state.control_accepted.wrapping_add(1);
                state.control.get_or_insert_default().push_back(parcel);
                state.ledger.control_queued(state.control_len());
            }
        }
        let idle = state.idle.take();
        drop(state);
        if let Some(actor) = idle {
            actor.wake();
        }
        Ok(())
    }

    /// One poll of a sender that waits for room; `ticket` is its place in the line once it has one.
    /// The parcel is taken when it is accepted.
    pub(super) fn poll_push(
        &self,
        parcel: &mut Option<BoxedParcel<A>>,
        ticket: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), TellError>> {
        let mut state = self.state();
        if !state.open {
            return Poll::Ready(Err(TellError::Down));
        }
        let place = state.line.stand(ticket, cx.waker());
        state.ledger.senders_waiting.store(state.line.len(), SeqCst);
        // After the store: whoever finishes a message from here on sees the line and calls.
        if state.depth() + place >= self.capacity {
            return Poll::Pending;
        }
        state.line.leave(ticket);
        state.ledger.senders_waiting.store(state.line.len(), SeqCst);
        if let Some(parcel) = parcel.take() {
            state.ordinary_accepted = state.ordinary_accepted.wrapping_add(1);
            state.ordinary.push_back(parcel);
        }
        let idle = state.idle.take();
        drop(state);
        if let Some(actor) = idle {
            actor.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// A sender gave up waiting. Those behind it move up.
    pub(super) fn leave_line(&self, ticket: &mut Option<u64>) {
        if ticket.is_none() {
            return;
        }
        let mut state = self.state();
        state.line.leave(ticket);
        state.ledger.senders_waiting.store(state.line.len(), SeqCst);
        drop(state);
        self.call_next();
    }

    /// Wakes as many waiting senders as there is room for.
    fn call_next(&self) {
        let state = self.state();
        let room = self.capacity.saturating_sub(state.depth());
        let called = state.line.call(room);
        drop(state);
        for sender in called {
            sender.wake();
        }
    }

    /// A message of `ledger` is handled or lost.
    pub(super) fn finish(&self, ledger: &Ledger, lane: Lane, count: usize) {
        ledger.finish(lane, count);
        if ledger.senders_waiting.load(SeqCst) > 0 {
            self.call_next();
        }
    }

    /// From now on nothing is accepted, and what waits is lost.
    pub(super) fn close(&self) {
        self.renew(false);
    }

    /// Empty queues: accepts again after [`Self::close`], and parts with receivers that do not react.
    fn renew(&self, open: bool) {
        let ledger = Arc::new(Ledger::default());
        let mut state = self.state();
        ledger.carry_totals(&state.ledger);
        state.open = open;
        // Nobody can stand in line for a count that begins anew: all of them look again.
        let called = state.line.call(usize::MAX);
        ledger.senders_waiting.store(state.line.len(), SeqCst);
        state.ledger = ledger;
        (state.ordinary_accepted, state.ordinary_finished, state.control_accepted) = (0, 0, 0);
        let lost = (std::mem::take(&mut state.ordinary), std::mem::take(&mut state.control));
        let idle = state.idle.take();
        drop(state);
        for waker in called.into_iter().chain(idle) {
            waker.wake();
        }
        discard(lost.0);
        discard(lost.1.into_iter().flat_map(|control| *control));
    }

    /// What an observer reads under the lock: both depths, the ledger, and when the first message
    /// in the queue was accepted.
    pub(super) fn look(&self) -> (usize, usize, Arc<Ledger>, Option<u64>) {
        let state = self.state();
        let first = [state.control.as_ref().and_then(|control| control.front()), state.ordinary.front()];
        let oldest = first.into_iter().flatten().filter_map(|parcel| parcel.accepted_at()).min();
        (state.depth(), state.control_depth(), state.ledger.clone(), oldest)
    }
}

/// Drops messages that nobody will handle. Their `Drop` is a user's code.
pub(super) fn discard<A: Actor>(parcels: impl IntoIterator<Item = BoxedParcel<A>>) {
    for parcel in parcels {
        if let Err(text) = contained(|| drop(parcel)) {
            error!(%text, "A message panicked while it was dropped.");
        }
    }
}

/// The actor's side. It outlives the actor's incarnations and may move between threads with it.
pub(super) struct Receivers<A: Actor> {
    pub(super) shared: Arc<Shared<A>>,
    pub(super) ledger: Arc<Ledger>,
    /// Ordinary parcels that were taken out of the queue in one go.
    batch: VecDeque<BoxedParcel<A>>,
}

impl<A: Actor> Receivers<A> {
    /// The first receivers of an address.
    pub(super) fn first(shared: Arc<Shared<A>>) -> Self {
        let ledger = shared.lanes.state().ledger.clone();
        Receivers { shared, ledger, batch: VecDeque::new() }
    }

    /// Opens the address with empty queues; older receivers get nothing more.
    pub(super) fn anew(shared: Arc<Shared<A>>) -> Self {
        shared.lanes.renew(true);
        Receivers::first(shared)
    }

    /// What waits, for a new thread, counted anew: the thread that had it is given up, and what it
    /// still holds is counted in a ledger that nobody reads any more.
    pub(super) fn handed_on(mut self) -> Self {
        let ledger = Arc::new(Ledger::default());
        let shared = self.shared.clone();
        let mut state = shared.lanes.state();
        // Closed or taken over meanwhile: there is nothing to hand on.
        if Arc::ptr_eq(&state.ledger, &self.ledger) {
            ledger.carry_totals(&state.ledger);
            ledger.control_queued(state.control_len());
            (state.ordinary_accepted, state.ordinary_finished) = (state.ordinary.len() + self.batch.len(), 0);
            state.control_accepted = state.control_len();
            let called = state.line.call(usize::MAX);
            ledger.senders_waiting.store(state.line.len(), SeqCst);
            state.ledger = ledger.clone();
            self.ledger = ledger;
            drop(state);
            for sender in called {
                sender.wake();
            }
        } else {
            drop(state);
        }
        self.publish_front();
        self
    }

    /// Control first. `None`: other receivers took over.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Lane, BoxedParcel<A>)>> {
        if self.ledger.control_waits.load(Acquire) == 0
            && let Some(parcel) = self.batch.pop_front()
        {
            self.publish_front();
            return Poll::Ready(Some((Lane::Ordinary, parcel)));
        }
        let mut state = self.shared.lanes.state();
        if !Arc::ptr_eq(&state.ledger, &self.ledger) {
            return Poll::Ready(None);
        }
        if let Some(parcel) = state.control.as_mut().and_then(|control| control.pop_front()) {
            self.ledger.control_queued(state.control_len());
            return Poll::Ready(Some((Lane::Control, parcel)));
        }
        if self.batch.is_empty() {
            std::mem::swap(&mut self.batch, &mut state.ordinary);
        }
        if let Some(parcel) = self.batch.pop_front() {
            drop(state);
            self.publish_front();
            return Poll::Ready(Some((Lane::Ordinary, parcel)));
        }
        if state.ordinary.capacity() > KEPT_MAX {
            state.ordinary = VecDeque::new();
        }
        if self.batch.capacity() > KEPT_MAX {
            self.batch = VecDeque::new();
        }
        let before = match &state.idle {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => state.idle.replace(cx.waker().clone()),
        };
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// An observer cannot see into the batch, so the age of its first message is told.
    fn publish_front(&self) {
        if self.shared.telemetry.is_some() {
            let front = self.batch.front().and_then(|parcel| parcel.accepted_at());
            self.ledger.publish_front(front);
        }
    }
}

impl<A: Actor> Drop for Receivers<A> {
    fn drop(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let count = batch.len();
        discard(batch);
        if count > 0 {
            self.ledger.publish_front(None);
            self.shared.lanes.finish(&self.ledger, Lane::Ordinary, count);
        }
    }
}
