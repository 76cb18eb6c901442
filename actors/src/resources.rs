//! The resource manager: the one owner of the ledger of leases.
//!
//! Rule: only this actor changes the ledger; everybody else asks. Leases follow the runs: they are not
//! journaled, since a restarted daemon has no worker left and every run asks again.

use crate::scheduler::{Freed, Scheduler};
use actix::{Actor, Context, Handler, Message, Supervised};
use engine::placement::{Ask, Capacity, Grant, LeaseKey, Ledger, Policy, Resource, Why};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use supervisors::ActorRef;

/// Requests for resources that may wait; every run can have several stages asking at once.
pub const RESOURCES_MAILBOX: usize = 4096;

/// The actor round the [`Ledger`].
#[derive(Debug)]
pub struct ResourceManager {
    ledger: Ledger,
    scheduler: Arc<OnceLock<ActorRef<Scheduler>>>,
    /// The newest time that was told, and when: releases come without one.
    told: (u64, Instant),
}

impl ResourceManager {
    pub fn new(capacity: Capacity, scheduler: Arc<OnceLock<ActorRef<Scheduler>>>) -> Self {
        Self::with_policy(capacity, Policy::default(), scheduler)
    }

    /// With quotas, weights, budgets, reservations and limits beside the capacity.
    pub fn with_policy(
        capacity: Capacity,
        policy: Policy,
        scheduler: Arc<OnceLock<ActorRef<Scheduler>>>,
    ) -> Self {
        Self { ledger: Ledger::with_policy(capacity, policy), scheduler, told: (0, Instant::now()) }
    }

    fn now_ms(&self) -> u64 {
        let (at_ms, told) = self.told;
        at_ms.saturating_add(u64::try_from(told.elapsed().as_millis()).unwrap_or(u64::MAX))
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
    /// Why everything else waits.
    pub waits: Vec<(LeaseKey, Why)>,
}

impl Handler<Place> for ResourceManager {
    type Result = Placement;

    fn handle(&mut self, message: Place, _: &mut Self::Context) -> Placement {
        journal::failpoint!("resources.before-place");
        self.told = (message.now_ms, Instant::now());
        let asks = message.asks;
        let outcome = self.ledger.place_all(&asks, message.now_ms);
        let key = |at: usize| asks[at].key.clone();
        let placement = Placement {
            never: outcome.never.iter().map(|(at, why)| (key(*at), why.to_string())).collect(),
            waits: outcome.waits.into_iter().map(|wait| (key(wait.ask), wait.why)).collect(),
            grants: outcome.grants,
        };
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
        if self.ledger.release_at(&message.key, self.now_ms()) {
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
        let now_ms = self.now_ms();
        let counts = self.ledger.policy().max_parallel_workflows.is_some();
        // Where runs are counted, one that ends makes room even if it holds nothing.
        if self.ledger.release_run_at(&message.run, now_ms) > 0 || counts {
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

/// New rules for what is granted from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SetPolicy {
    pub policy: Policy,
}

impl Handler<SetPolicy> for ResourceManager {
    type Result = ();

    fn handle(&mut self, message: SetPolicy, _: &mut Self::Context) {
        self.ledger.set_policy(message.policy, self.now_ms());
        self.tell_freed();
    }
}

/// An operator takes a resource out of use, or back into it; leases run to their end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    pub resource: Resource,
    pub on: bool,
}

impl Handler<Drain> for ResourceManager {
    type Result = ();

    fn handle(&mut self, message: Drain, _: &mut Self::Context) {
        if message.on {
            self.ledger.drain(message.resource);
        } else if self.ledger.undrain(&message.resource) {
            self.tell_freed();
        }
    }
}
