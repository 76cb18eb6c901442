//! The resource manager: the one owner of the ledger of leases.
//!
//! Rule: only this actor changes the ledger; everybody else asks. Leases follow the runs: they are not
//! journaled, since a restarted daemon has no worker left and every run asks again. They outlive the actor,
//! though ([`Leases`]): one that is made anew knows every lease in force before it grants any. What operators order
//! (drains, reservations) and what was taken out of budgets is journaled, in a stream of its own, and
//! holds over restarts. A lease that its owner does not renew ends. Start at [`Place`].

mod orders;

pub use orders::{BeginAnew, Operate, OperateError, RESOURCES_STREAM, Stands};

use crate::scheduler::{Freed, Scheduler};
use crate::shared::Shared;
use actix::{Actor, AsyncContext, Context, Handler, Message, Supervised};
use engine::placement::{Ask, Grant, LeaseKey, Ledger, Policy, Standing, StandingEvent, Why};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use supervisors::ActorRef;

/// Requests for resources that may wait; every run can have several stages asking at once.
pub const RESOURCES_MAILBOX: usize = 4096;

/// Between two looks at leases that may be over; a lease lasts a second at least.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Kept {
    ledger: Ledger,
    /// What was spent before this ledger is in its sums.
    counted: bool,
}

/// The ledger of one daemon, whichever incarnation of the actor keeps it. Made once, where the actor is
/// specified; clones share it.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Mutex<Kept>>);

impl Leases {
    /// Nobody holds anything yet, over the capacity and with the rules that the settings state.
    pub fn none(shared: &Shared) -> Self {
        let ledger = shared.limits.scheduling.empty.clone();
        Self(Arc::new(Mutex::new(Kept { ledger, counted: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // As after any panic of the actor, what is there counts: leases may be one too many, never one too few.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The actor round the [`Ledger`].
#[derive(Debug)]
pub struct ResourceManager {
    leases: Leases,
    standing: Standing,
    /// Which of the generations of [`RESOURCES_STREAM`] is written to, and its records.
    generation: u64,
    records: u64,
    shared: Shared,
    scheduler: Arc<OnceLock<ActorRef<Scheduler>>>,
    /// The newest time that was told, and when: releases come without one.
    told: (u64, Instant),
    /// Events that are being journaled, and those that wait for them.
    writing: bool,
    unwritten: Vec<StandingEvent>,
    orders: VecDeque<Operate>,
}

impl ResourceManager {
    /// Over the leases in force.
    pub fn new(shared: Shared, leases: Leases, scheduler: Arc<OnceLock<ActorRef<Scheduler>>>) -> Self {
        Self {
            leases,
            standing: Standing::default(),
            generation: 1,
            records: 0,
            shared,
            scheduler,
            told: (0, Instant::now()),
            writing: false,
            unwritten: Vec::new(),
            orders: VecDeque::new(),
        }
    }

    fn rules(&self) -> &Policy {
        &self.shared.limits.scheduling.policy
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
        let kept = self.leases.lock();
        let (cpu, memory) = kept.ledger.free();
        metrics::gauge!("executing_cpu_cores_free").set(f64::from(cpu));
        metrics::gauge!("executing_memory_free_mebibytes").set(memory as f64);
        metrics::gauge!("executing_leases").set(kept.ledger.leases().len() as f64);
    }

    /// Takes back what nobody renewed: its owner is gone, or has not been heard of for a whole lease.
    fn expire(&mut self) {
        if self.shared.board.disk_full().is_some() {
            // Owners that wait for the journal cannot renew, and their work goes on.
            return;
        }
        let over = self.leases.lock().ledger.expire(self.now_ms());
        for ((run, stage), lease) in &over {
            tracing::warn!(
                run,
                stage,
                fence = lease.fence,
                place = lease.place,
                code = "EX-0031",
                "A lease was not renewed and is taken back."
            );
            metrics::counter!("executing_leases_expired_total").increment(1);
        }
        if !over.is_empty() {
            self.tell_freed();
        }
    }

    /// What of a granted lease must outlast this daemon.
    fn note_spending(&mut self, grants: &[Grant], before: u64, ctx: &mut Context<Self>) {
        if !self.rules().counts_spending() {
            return;
        }
        let new = grants.iter().map(|grant| &grant.lease);
        let spending =
            new.filter(|lease| lease.fence > before && (lease.shots > 0 || lease.money_micro_usd > 0));
        let events: Vec<StandingEvent> = spending
            .map(|lease| StandingEvent::SetAside {
                owner: lease.owner.clone(),
                backend: lease.backend.clone(),
                shots: lease.shots,
                money_micro_usd: lease.money_micro_usd,
                since_ms: lease.since_ms,
            })
            .collect();
        self.note(events, ctx);
    }
}

impl Actor for ResourceManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.told = (self.shared.clock.now_ms(), Instant::now());
        self.reread();
        ctx.run_interval(EXPIRE_EVERY, |actor, _| actor.expire());
        self.tell_freed();
    }
}

impl Supervised for ResourceManager {
    fn restarting(&mut self, _: &mut Self::Context) {
        // What was being written when it panicked is in the journal, or was never said to be.
        self.writing = false;
        self.orders.clear();
    }
}

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

    fn handle(&mut self, message: Place, ctx: &mut Self::Context) -> Placement {
        journal::failpoint!("resources.before-place");
        self.told = (message.now_ms, Instant::now());
        let asks = message.asks;
        let mut kept = self.leases.lock();
        let before = kept.ledger.leases().values().map(|lease| lease.fence).max().unwrap_or(0);
        let outcome = kept.ledger.place_all(&asks, message.now_ms);
        metrics::gauge!("executing_leases").set(kept.ledger.leases().len() as f64);
        drop(kept);
        let key = |at: usize| asks[at].key.clone();
        let placement = Placement {
            never: outcome.never.iter().map(|(at, why)| (key(*at), why.to_string())).collect(),
            waits: outcome.waits.into_iter().map(|wait| (key(wait.ask), wait.why)).collect(),
            grants: outcome.grants,
        };
        self.note_spending(&placement.grants, before, ctx);
        journal::failpoint!("resources.after-place");
        placement
    }
}

/// The stage ended; its lease is free.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Release {
    pub key: LeaseKey,
    /// Of the lease that is meant; `None` is whichever the stage has.
    pub fence: Option<u64>,
    /// Shots and micro-USD really used; `None` is all that was set aside.
    pub used: Option<(u64, u64)>,
}

impl Release {
    /// Of whatever the stage holds.
    pub const fn any(key: LeaseKey) -> Self {
        Self { key, fence: None, used: None }
    }
}

impl Handler<Release> for ResourceManager {
    type Result = ();

    fn handle(&mut self, message: Release, ctx: &mut Self::Context) {
        journal::failpoint!("resources.before-release");
        let Release { key, fence, used } = message;
        let now_ms = self.now_ms();
        let freed = match fence {
            None => self.leases.lock().ledger.release_at(&key, now_ms),
            Some(fence) => self.settle(&key, fence, used.unwrap_or((u64::MAX, u64::MAX)), now_ms, ctx),
        };
        if freed {
            journal::failpoint!("resources.after-release");
            self.tell_freed();
        }
    }
}

impl ResourceManager {
    /// Gives the lease with this fence back, and to the budgets what it did not use; false if it is an old one.
    fn settle(
        &mut self,
        key: &LeaseKey,
        fence: u64,
        used: (u64, u64),
        now_ms: u64,
        ctx: &mut Context<Self>,
    ) -> bool {
        let mut kept = self.leases.lock();
        let lease = kept.ledger.leases().get(key).cloned();
        let settled = kept.ledger.settle(key, fence, used, now_ms);
        drop(kept);
        if let Err(stale) = settled {
            tracing::debug!(run = key.0, stage = key.1, %stale, "An old lease was given back.");
            metrics::counter!("executing_leases_stale_total").increment(1);
            return false;
        }
        let Some(lease) = lease else { return true };
        let shots = lease.shots.saturating_sub(used.0);
        let money_micro_usd = lease.money_micro_usd.saturating_sub(used.1);
        if self.rules().counts_spending() && (shots > 0 || money_micro_usd > 0) {
            let (owner, backend, since_ms) = (lease.owner, lease.backend, lease.since_ms);
            let given = StandingEvent::GivenBack { owner, backend, shots, money_micro_usd, since_ms };
            self.note(vec![given], ctx);
        }
        true
    }
}

/// The owner of these leases lives.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Renew {
    pub run: String,
    /// Stage and fence.
    pub leases: Vec<(u32, u64)>,
}

impl Handler<Renew> for ResourceManager {
    type Result = ();

    fn handle(&mut self, message: Renew, _: &mut Self::Context) {
        let now_ms = self.now_ms();
        for (stage, fence) in message.leases {
            let key = (message.run.clone(), stage);
            let renewed = self.leases.lock().ledger.renew(&key, fence, now_ms);
            if let Err(stale) = renewed {
                // Its release may be on its way; a lease that was taken back was said to be at that time.
                tracing::debug!(run = key.0, stage, %stale, "A lease could not be renewed.");
                metrics::counter!("executing_leases_stale_total").increment(1);
            }
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
        let mut kept = self.leases.lock();
        let counts = kept.ledger.policy().max_parallel_workflows.is_some();
        // Where runs are counted, one that ends makes room even if it holds nothing.
        let freed = kept.ledger.release_run_at(&message.run, now_ms) > 0 || counts;
        drop(kept);
        if freed {
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
        LedgerView(self.leases.lock().ledger.clone())
    }
}
