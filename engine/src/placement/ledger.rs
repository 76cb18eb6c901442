//! Who holds which part of the capacity.
//!
//! Rule: the sums are changed by [`Ledger::enter`] and [`Ledger::leave`] alone, so they are what a walk
//! over the leases would give. Every lease has a fence, one higher than the one before: a late word
//! about an earlier lease of the same stage names an old fence and is refused.

use super::capacity::{Ask, Capacity, LeaseKey, NeverFits, Owner, Resource};
use super::choice::Claims;
use super::policy::{Budget, Holder, Policy};
use super::shares::Shares;
use super::tally::{Spent, Tally};
use crate::definition::Demand;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Permission to use a part of the capacity until it is released or expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub cpu_cores: u32,
    pub memory_mib: u64,
    /// The backend, else the worker slot; empty for stages that need neither.
    pub place: String,
    pub since_ms: u64,
    pub slot: Option<String>,
    pub backend: Option<String>,
    /// Set aside from budgets and quotas of the day.
    pub shots: u64,
    pub money_micro_usd: u64,
    pub owner: Owner,
    /// Grows with every lease granted, by 1.
    pub fence: u64,
    /// Gone at this time if not renewed.
    pub expires_ms: Option<u64>,
    /// Part of the capacity that it uses, in millionths: the largest of its parts.
    pub part: u64,
}

/// A word about a lease that is not the present one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaleLease {
    #[error("the lease with fence {fence} is gone; its holder must stop and ask again")]
    Gone { fence: u64 },
    #[error(
        "fence {fence} was expected to be {current}: the stage has a newer lease; drop what the old one did"
    )]
    Newer { fence: u64, current: u64 },
}

/// Why an ask is not queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Never(#[from] NeverFits),
    #[error("{waiting} stages wait and {limit} may; try later")]
    Busy { waiting: usize, limit: usize },
    #[error("{waiting} stages of user {user:?} wait and {limit} may; try later")]
    BusyUser { user: String, waiting: usize, limit: usize },
}

/// All leases on one capacity, and the rules for new ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub(super) capacity: Capacity,
    pub(super) policy: Policy,
    pub(super) leases: BTreeMap<LeaseKey, Lease>,
    pub(super) fence: u64,
    pub(super) held: Tally,
    pub(super) users: BTreeMap<String, Tally>,
    pub(super) workflows: BTreeMap<String, Tally>,
    pub(super) backend_spent: BTreeMap<String, Spent>,
    pub(super) held_slots: BTreeSet<String>,
    pub(super) drained: BTreeSet<Resource>,
    /// Runs that count against `max_parallel_workflows`.
    pub(super) open_runs: BTreeSet<String>,
    pub(super) shares: Shares,
    pub(super) claims: Claims,
    /// The newest time heard of.
    pub(super) now_ms: u64,
}

impl Ledger {
    pub fn new(capacity: Capacity) -> Self {
        Self::with_policy(capacity, Policy::default())
    }

    pub fn with_policy(capacity: Capacity, policy: Policy) -> Self {
        Self {
            capacity,
            policy,
            leases: BTreeMap::new(),
            fence: 0,
            held: Tally::default(),
            users: BTreeMap::new(),
            workflows: BTreeMap::new(),
            backend_spent: BTreeMap::new(),
            held_slots: BTreeSet::new(),
            drained: BTreeSet::new(),
            open_runs: BTreeSet::new(),
            shares: Shares::default(),
            claims: Claims::default(),
            now_ms: 0,
        }
    }

    pub const fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// New rules for what is granted from now on; leases stay as they are, above a new limit too.
    pub fn set_policy(&mut self, policy: Policy, now_ms: u64) {
        self.tick(now_ms);
        // Time used so far counts with the weight that held then.
        self.shares.settle_all(self.now_ms);
        self.policy = policy;
        self.open_runs.extend(self.leases.keys().map(|(run, _)| run.clone()));
    }

    pub const fn leases(&self) -> &BTreeMap<LeaseKey, Lease> {
        &self.leases
    }

    /// Cores and memory not held by anyone.
    pub fn free(&self) -> (u32, u64) {
        let held = u32::try_from(self.held.cpu_cores).unwrap_or(u32::MAX);
        (
            self.capacity.cpu_cores.saturating_sub(held),
            self.capacity.memory_mib.saturating_sub(self.held.memory_mib),
        )
    }

    /// What a user or workflow holds and has spent; all zero for one that is not known.
    pub fn held_by(&self, holder: &Holder) -> Tally {
        match holder {
            Holder::User(name) => self.users.get(name),
            Holder::Workflow(name) => self.workflows.get(name),
        }
        .cloned()
        .unwrap_or_default()
    }

    /// # Errors
    /// [`NeverFits`] when the demand exceeds the whole capacity: waiting would be for ever.
    pub fn can_ever_fit(&self, demand: &Demand) -> Result<(), NeverFits> {
        let capacity = &self.capacity;
        if demand.cpu_cores.max(1) > capacity.cpu_cores {
            return Err(NeverFits::Cpu { asked: demand.cpu_cores.max(1), capacity: capacity.cpu_cores });
        }
        if demand.memory_mib > capacity.memory_mib {
            return Err(NeverFits::Memory { asked: demand.memory_mib, capacity: capacity.memory_mib });
        }
        match demand.backend.as_ref().map(|name| (name, capacity.backends.get(name))) {
            Some((name, None)) => Err(NeverFits::Backend {
                asked: name.clone(),
                known: capacity.backends.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
            Some((name, Some(0))) => Err(NeverFits::NoPlaces { backend: name.clone() }),
            _ => Ok(()),
        }
    }

    /// As [`Ledger::can_ever_fit`], with slots, quotas and budgets.
    ///
    /// # Errors
    /// [`NeverFits`], naming the limit.
    pub fn may_ever_fit(&self, ask: &Ask) -> Result<(), NeverFits> {
        self.can_ever_fit(&ask.demand)?;
        if let Some(kind) = ask.slot
            && !self.capacity.slots.values().any(|slot| *slot == kind)
        {
            return Err(NeverFits::Slot);
        }
        let (cpu, memory) = (u64::from(ask.demand.cpu_cores.max(1)), ask.demand.memory_mib);
        let (shots, money) = (ask.demand.shots, ask.money_micro_usd);
        for (what, asked, most) in [
            ("CPU cores", cpu, u64::from(ask.ceiling.cpu_cores)),
            ("MiB of memory", memory, ask.ceiling.memory_mib),
            ("shots", shots, ask.ceiling.shots),
        ] {
            if most > 0 && asked > most {
                return Err(NeverFits::Ceiling { what, asked, most });
            }
        }
        let policy = &self.policy;
        for (user, quota) in
            [(true, policy.user_quota(&ask.owner.user)), (false, policy.workflow_quota(&ask.owner.workflow))]
        {
            for (what, asked, most) in [
                ("stages", 1, quota.stages),
                ("CPU cores", cpu, quota.cpu_cores),
                ("MiB of memory", memory, quota.memory_mib),
                ("shots per day", shots, quota.shots_per_day),
                ("micro-USD per day", money, quota.money_micro_usd_per_day),
            ] {
                if let Some(most) = most.filter(|most| asked > *most) {
                    let of = holders(&ask.owner)[usize::from(!user)].to_string();
                    return Err(NeverFits::Quota { what, asked, of, most });
                }
            }
        }
        let beyond = |budget: &Budget, of: Option<&str>| {
            let limits = [
                ("shots per hour", shots, budget.shots_per_hour),
                ("shots per day", shots, budget.shots_per_day),
                ("micro-USD per day", money, budget.money_micro_usd_per_day),
            ];
            limits.into_iter().find_map(|(what, asked, most)| {
                let most = most.filter(|most| asked > *most)?;
                let of = of.map_or_else(|| "the daemon".to_owned(), |name| format!("backend {name:?}"));
                Some(NeverFits::Budget { what, asked, of, most })
            })
        };
        let on_backend = ask
            .demand
            .backend
            .as_ref()
            .and_then(|name| beyond(policy.backend_budgets.get(name)?, Some(name.as_str())));
        beyond(&policy.budget, None).or(on_backend).map_or(Ok(()), Err)
    }

    /// Whether an ask may join a queue where `waiting` asks wait, `of_user` of them of the same user.
    ///
    /// # Errors
    /// [`Refused`]: it can never fit, or the queue is full.
    pub fn admit(&self, ask: &Ask, waiting: usize, of_user: usize) -> Result<(), Refused> {
        self.may_ever_fit(ask)?;
        if let Some(limit) = self.policy.queue_max.filter(|limit| waiting >= *limit) {
            return Err(Refused::Busy { waiting, limit });
        }
        if let Some(limit) = self.policy.queue_max_per_user.filter(|limit| of_user >= *limit) {
            return Err(Refused::BusyUser { user: ask.owner.user.clone(), waiting: of_user, limit });
        }
        Ok(())
    }

    /// Nothing new is placed there until [`Ledger::undrain`]; leases run to their end.
    pub fn drain(&mut self, resource: Resource) {
        self.drained.insert(resource);
    }

    /// `false` if it was not drained.
    pub fn undrain(&mut self, resource: &Resource) -> bool {
        self.drained.remove(resource)
    }

    pub const fn drained(&self) -> &BTreeSet<Resource> {
        &self.drained
    }

    /// Gives a lease back; `false` if there was none (a release may arrive twice). The time is taken to be
    /// the newest that the ledger heard of.
    pub fn release(&mut self, key: &LeaseKey) -> bool {
        self.leave(key).is_some()
    }

    /// As [`Ledger::release`], at a stated time.
    pub fn release_at(&mut self, key: &LeaseKey, now_ms: u64) -> bool {
        self.tick(now_ms);
        self.release(key)
    }

    /// Gives a lease back if `fence` is its own, with what it really used of what was set aside: the rest
    /// counts no more in windows that still run.
    ///
    /// # Errors
    /// [`StaleLease`] if the lease is gone or another one took its place; nothing changes.
    pub fn settle(
        &mut self,
        key: &LeaseKey,
        fence: u64,
        used: (u64, u64),
        now_ms: u64,
    ) -> Result<(), StaleLease> {
        self.current(key, fence)?;
        self.tick(now_ms);
        let Some(lease) = self.leave(key) else { return Ok(()) };
        let shots = lease.shots.saturating_sub(used.0);
        let money = lease.money_micro_usd.saturating_sub(used.1);
        self.refund(&lease.owner, lease.backend.as_deref(), (shots, money), lease.since_ms);
        Ok(())
    }

    /// Puts off the expiry; answers with the new one.
    ///
    /// # Errors
    /// [`StaleLease`] if the lease is gone or another one took its place.
    pub fn renew(&mut self, key: &LeaseKey, fence: u64, now_ms: u64) -> Result<Option<u64>, StaleLease> {
        self.current(key, fence)?;
        self.tick(now_ms);
        let until = self.policy.lease_ms.map(|ms| self.now_ms.saturating_add(ms));
        if let Some(lease) = self.leases.get_mut(key) {
            lease.expires_ms = until;
        }
        Ok(until)
    }

    /// Counts what was set aside before this ledger was made, where its window still runs.
    pub fn charge(&mut self, owner: &Owner, backend: Option<&str>, used: (u64, u64), at_ms: u64) {
        let (shots, money) = used;
        self.held.spent.add_past(shots, money, at_ms);
        for (tallies, name) in [(&mut self.users, &owner.user), (&mut self.workflows, &owner.workflow)] {
            tallies.entry(name.clone()).or_default().spent.add_past(shots, money, at_ms);
        }
        if let Some(backend) = backend {
            self.backend_spent.entry(backend.to_owned()).or_default().add_past(shots, money, at_ms);
        }
    }

    /// Takes back what a lease of before this ledger did not use.
    pub fn refund(&mut self, owner: &Owner, backend: Option<&str>, unused: (u64, u64), since_ms: u64) {
        let (shots, money) = unused;
        self.held.spent.give_back(shots, money, since_ms);
        let tallies = self.users.get_mut(&owner.user).into_iter();
        for tally in tallies.chain(self.workflows.get_mut(&owner.workflow)) {
            tally.spent.give_back(shots, money, since_ms);
        }
        if let Some(spent) = backend.and_then(|backend| self.backend_spent.get_mut(backend)) {
            spent.give_back(shots, money, since_ms);
        }
    }

    /// What was set aside in the running hour and day: of everything, and of each backend.
    pub fn spent(&self) -> (Spent, &BTreeMap<String, Spent>) {
        (self.held.spent, &self.backend_spent)
    }

    /// Users and workflows that hold something or have spent something today.
    pub fn holders_known(&self) -> Vec<(Holder, Tally)> {
        let users = self.users.iter().map(|(name, tally)| (Holder::User(name.clone()), tally.clone()));
        let workflows = self.workflows.iter();
        let workflows = workflows.map(|(name, tally)| (Holder::Workflow(name.clone()), tally.clone()));
        users.chain(workflows).collect()
    }

    /// Runs that count against `max_parallel_workflows`.
    pub const fn open_runs(&self) -> &BTreeSet<String> {
        &self.open_runs
    }

    /// Takes away the leases whose time is over and answers with them. O(leases).
    pub fn expire(&mut self, now_ms: u64) -> Vec<(LeaseKey, Lease)> {
        self.tick(now_ms);
        let now_ms = self.now_ms;
        let over = self.leases.iter().filter(|(_, lease)| lease.expires_ms.is_some_and(|at| at <= now_ms));
        let keys: Vec<LeaseKey> = over.map(|(key, _)| key.clone()).collect();
        keys.into_iter().filter_map(|key| self.leave(&key).map(|lease| (key, lease))).collect()
    }

    /// A run ended or starts over: gives back all its leases, answers how many, and no longer counts it
    /// as running.
    pub fn release_run(&mut self, run: &str) -> usize {
        let first = (run.to_owned(), 0);
        let keys: Vec<LeaseKey> = self
            .leases
            .range(first..)
            .take_while(|((holder, _), _)| holder == run)
            .map(|(key, _)| key.clone())
            .collect();
        keys.iter().for_each(|key| drop(self.leave(key)));
        self.open_runs.remove(run);
        keys.len()
    }

    /// As [`Ledger::release_run`], at a stated time.
    pub fn release_run_at(&mut self, run: &str, now_ms: u64) -> usize {
        self.tick(now_ms);
        self.release_run(run)
    }

    fn current(&self, key: &LeaseKey, fence: u64) -> Result<(), StaleLease> {
        match self.leases.get(key) {
            None => Err(StaleLease::Gone { fence }),
            Some(lease) if lease.fence != fence => Err(StaleLease::Newer { fence, current: lease.fence }),
            Some(_) => Ok(()),
        }
    }

    /// Time never goes back.
    pub(super) fn tick(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    pub(super) fn enter(&mut self, key: LeaseKey, lease: Lease) {
        let (shots, money, now_ms) = (lease.shots, lease.money_micro_usd, self.now_ms);
        self.held.add(&lease);
        self.held.spent.add(shots, money, now_ms);
        for (tallies, name) in
            [(&mut self.users, &lease.owner.user), (&mut self.workflows, &lease.owner.workflow)]
        {
            let tally = tallies.entry(name.clone()).or_default();
            tally.add(&lease);
            tally.spent.add(shots, money, now_ms);
        }
        if let Some(backend) = &lease.backend {
            self.backend_spent.entry(backend.clone()).or_default().add(shots, money, now_ms);
        }
        self.held_slots.extend(lease.slot.clone());
        if self.policy.max_parallel_workflows.is_some() {
            self.open_runs.insert(key.0.clone());
        }
        self.leases.insert(key, lease);
    }

    pub(super) fn leave(&mut self, key: &LeaseKey) -> Option<Lease> {
        let lease = self.leases.remove(key)?;
        self.held.remove(&lease);
        for (tallies, name) in
            [(&mut self.users, &lease.owner.user), (&mut self.workflows, &lease.owner.workflow)]
        {
            if let Some(tally) = tallies.get_mut(name) {
                tally.remove(&lease);
                if tally.is_nothing(self.now_ms) {
                    tallies.remove(name);
                }
            }
        }
        if let Some(slot) = &lease.slot {
            self.held_slots.remove(slot);
        }
        self.shares.stops(&lease.owner.user, lease.part, self.now_ms);
        Some(lease)
    }
}

/// Whose quotas count for an owner.
pub(super) fn holders(owner: &Owner) -> [Holder; 2] {
    [Holder::User(owner.user.clone()), Holder::Workflow(owner.workflow.clone())]
}
