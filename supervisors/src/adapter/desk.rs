//! What the pump lends to a parcel while it is opened: permits, the clock, names of messages.

use std::cell::Cell;
use std::sync::Arc;

use actix::Actor;

use super::actor_ref::Shared;
use super::lanes::{Lane, Receivers};
use super::ledger::Ledger;

pub(super) struct Desk<A: Actor> {
    pub(super) shared: Arc<Shared<A>>,
    pub(super) ledger: Arc<Ledger>,
    /// The clock's last reading. The end of one message is the beginning of the next, which saves
    /// every other reading.
    pub(super) now: Cell<u64>,
    /// The names of the messages handled here, each with its index in the ledger.
    names: Vec<(&'static str, u32)>,
}

impl<A: Actor> Desk<A> {
    pub(super) fn of(receivers: &Receivers<A>) -> Self {
        Desk {
            shared: receivers.shared.clone(),
            ledger: receivers.ledger.clone(),
            now: Cell::new(0),
            names: Vec::new(),
        }
    }

    pub(super) fn permit(&self, lane: Lane) -> Permit<'_, A> {
        Permit { desk: self, lane, kept: false }
    }

    /// An actor has a handful of message types, and the same name is the same place in memory.
    pub(super) fn index_of(&mut self, name: &'static str) -> u32 {
        if let Some(&(_, index)) = self.names.iter().find(|(known, _)| std::ptr::eq(*known, name)) {
            return index;
        }
        let index = Ledger::learn(name);
        self.names.push((name, index));
        index
    }
}

/// Holds a message in the count of the mailbox. Returned when it goes, also by a panic.
pub(super) struct Permit<'a, A: Actor> {
    desk: &'a Desk<A>,
    lane: Lane,
    kept: bool,
}

impl<A: Actor> Permit<'_, A> {
    /// For a handler that answers with a future.
    pub(super) fn keep(mut self) -> KeptPermit<A> {
        self.kept = true;
        KeptPermit { shared: self.desk.shared.clone(), ledger: self.desk.ledger.clone(), lane: self.lane }
    }
}

impl<A: Actor> Drop for Permit<'_, A> {
    fn drop(&mut self) {
        if !self.kept {
            self.desk.shared.lanes.finish(&self.desk.ledger, self.lane, 1);
        }
    }
}

pub(super) struct KeptPermit<A: Actor> {
    shared: Arc<Shared<A>>,
    ledger: Arc<Ledger>,
    lane: Lane,
}

impl<A: Actor> KeptPermit<A> {
    pub(super) fn record_handling_since(&self, begun: u64) {
        if let Some(telemetry) = &self.shared.telemetry {
            telemetry.handled(self.shared.now().saturating_sub(begun));
        }
    }
}

impl<A: Actor> Drop for KeptPermit<A> {
    fn drop(&mut self) {
        self.shared.lanes.finish(&self.ledger, self.lane, 1);
    }
}
