//! The resource manager: the one owner of the ledger of leases.
//!
//! Rule: only this actor changes the ledger; everybody else asks. Leases follow the runs: they are not
//! journaled, since a restarted daemon has no worker left and every run asks again.

use crate::scheduler::{Freed, Scheduler};
use actix::{Actor, Context, Handler, Message, Supervised};
use engine::placement::{Ask, Capacity, Grant, LeaseKey, Ledger};
use std::sync::{Arc, OnceLock};
use supervisors::ActorRef;

/// Requests for resources that may wait; every run can have several stages asking at once.
pub const RESOURCES_MAILBOX: usize = 4096;

/// The actor round the [`Ledger`].
#[derive(Debug)]
pub struct ResourceManager {
    ledger: Ledger,
    scheduler: Arc<OnceLock<ActorRef<Scheduler>>>,
}

impl ResourceManager {
    pub fn new(capacity: Capacity, scheduler: Arc<OnceLock<ActorRef<Scheduler>>>) -> Self {
        Self { ledger: Ledger::new(capacity), scheduler }
    }

    fn tell_freed(&self) {
        if let Some(scheduler) = self.scheduler.get() {
            // A full mailbox holds other reasons to look again; one look serves them all.
            let _ = scheduler.tell_control(Freed);
        }
        let (cpu, memory) = self.ledger.free();
        metrics::gauge!("executing_cpu_cores_free").set(f64::from(cpu));
        metrics::gauge!("executing_memory_free_mebibytes").set(memory as f64);
    }
}

impl Actor for ResourceManager {
    type Context = Context<Self>;
}

impl Supervised for ResourceManager {}

/// Grant what fits of these asks; those granted come back, and what can never fit with its reason.
#[derive(Debug, Message)]
#[rtype(result = "Placement")]
pub struct Place {
    pub asks: Vec<Ask>,
    pub now_ms: u64,
}

/// Answer to [`Place`].
#[derive(Debug, Default, actix::MessageResponse)]
pub struct Placement {
    pub grants: Vec<Grant>,
    pub never: Vec<(LeaseKey, String)>,
}

impl Handler<Place> for ResourceManager {
    type Result = Placement;

    fn handle(&mut self, message: Place, _: &mut Self::Context) -> Placement {
        journal::failpoint!("resources.before-place");
        let mut placement = Placement::default();
        let mut asks = Vec::with_capacity(message.asks.len());
        for ask in message.asks {
            match self.ledger.can_ever_fit(&ask.demand) {
                Ok(()) => asks.push(ask),
                Err(why) => placement.never.push((ask.key, why.to_string())),
            }
        }
        placement.grants = self.ledger.place(&mut asks, message.now_ms);
        journal::failpoint!("resources.after-place");
        placement
    }
}

/// The stage ended; its lease is free.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Release {
    pub key: LeaseKey,
}

impl Handler<Release> for ResourceManager {
    type Result = ();

    fn handle(&mut self, message: Release, _: &mut Self::Context) {
        journal::failpoint!("resources.before-release");
        if self.ledger.release(&message.key) {
            journal::failpoint!("resources.after-release");
            self.tell_freed();
        }
    }
}

/// A run starts over: whatever it held is free.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReleaseRun {
    pub run: String,
}

impl Handler<ReleaseRun> for ResourceManager {
    type Result = ();

    fn handle(&mut self, message: ReleaseRun, _: &mut Self::Context) {
        if self.ledger.release_run(&message.run) > 0 {
            self.tell_freed();
        }
    }
}

/// For `resources`: capacity and who holds what.
#[derive(Debug, Message)]
#[rtype(result = "LedgerView")]
pub struct Look;

/// Answer to [`Look`].
#[derive(Debug, actix::MessageResponse)]
pub struct LedgerView(pub Ledger);

impl Handler<Look> for ResourceManager {
    type Result = LedgerView;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> LedgerView {
        LedgerView(self.ledger.clone())
    }
}
