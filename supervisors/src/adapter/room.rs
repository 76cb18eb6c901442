//! Waiting for room in a mailbox: the line in which senders stand, first come, first served.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actix::Actor;

use super::actor_ref::{Shared, TellError};
use super::parcel::BoxedParcel;
use crate::thread::unless_abandoned;

/// Allocates nothing until somebody waits, since most mailboxes never see that.
#[derive(Default)]
pub(super) struct Line(Option<Box<Standing>>);

#[derive(Default)]
struct Standing {
    waiting: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |line| line.waiting.len())
    }

    /// How many stand before the holder of `ticket`. Without a ticket it gets one, at the end.
    pub(super) fn stand(&mut self, ticket: &mut Option<u64>, waker: &Waker) -> usize {
        let line = self.0.get_or_insert_default();
        if let Some(ticket) = *ticket
            && let Some(place) = line.waiting.iter().position(|(held, _)| *held == ticket)
        {
            line.waiting[place].1.clone_from(waker);
            return place;
        }
        *ticket = Some(line.next_ticket);
        line.waiting.push_back((line.next_ticket, waker.clone()));
        line.next_ticket += 1;
        line.waiting.len() - 1
    }

    pub(super) fn leave(&mut self, ticket: &mut Option<u64>) {
        if let (Some(ticket), Some(line)) = (ticket.take(), &mut self.0) {
            line.waiting.retain(|(held, _)| *held != ticket);
        }
    }

    /// The wakers of the first `count`; they keep their places.
    pub(super) fn call(&self, count: usize) -> Vec<Waker> {
        let Some(line) = &self.0 else { return Vec::new() };
        line.waiting.iter().take(count).map(|(_, waker)| waker.clone()).collect()
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
        let accepted =
            unless_abandoned(|| this.shared.lanes.poll_push(&mut this.parcel, &mut this.ticket, cx));
        accepted.unwrap_or(Poll::Ready(Err(TellError::Down)))
    }
}

impl<A: Actor> Drop for Room<A> {
    fn drop(&mut self) {
        self.shared.lanes.leave_line(&mut self.ticket);
    }
}
