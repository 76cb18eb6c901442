//! Waiting for room in a mailbox: the line in which senders stand, first come, first served.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actix::Actor;

use super::actor_ref::{Shared, TellError};
use super::parcel::BoxedParcel;

/// Allocates nothing while nobody waits.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many stand before the holder of `ticket`. Without a ticket it gets one, at the end.
    pub(super) fn stand(&mut self, ticket: &mut Option<u64>, waker: &Waker) -> usize {
        if let Some(ticket) = *ticket
            && let Some(place) = self.waiting.iter().position(|(held, _)| *held == ticket)
        {
            self.waiting[place].1.clone_from(waker);
            return place;
        }
        *ticket = Some(self.next_ticket);
        self.waiting.push_back((self.next_ticket, waker.clone()));
        self.next_ticket += 1;
        self.waiting.len() - 1
    }

    pub(super) fn leave(&mut self, ticket: &mut Option<u64>) {
        let Some(ticket) = ticket.take() else { return };
        self.waiting.retain(|(held, _)| *held != ticket);
    }

    /// The wakers of the first `count`; they keep their places.
    pub(super) fn call(&self, count: usize) -> Vec<Waker> {
        self.waiting.iter().take(count).map(|(_, waker)| waker.clone()).collect()
    }
}

/// Resolves when the parcel is accepted.
pub(super) struct Room<A: Actor> {
    pub(super) shared: Arc<Shared<A>>,
    pub(super) parcel: Option<BoxedParcel<A>>,
    pub(super) ticket: Option<u64>,
}

impl<A: Actor> Future for Room<A> {
    type Output = Result<(), TellError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.shared.lanes.poll_push(&mut this.parcel, &mut this.ticket, cx)
    }
}

impl<A: Actor> Drop for Room<A> {
    fn drop(&mut self) {
        self.shared.lanes.leave_line(&mut self.ticket);
    }
}
