//! The judge keeps books of its own, from what it is told, in the plainest way there is.
//!
//! Rule: nothing here calls the ledger. Sums are walks over all leases.

use engine::placement::{
    Ask, Budget, Capacity, Holder, Lease, LeaseKey, Outcome, Policy, Quota, Resource, Why,
};
use std::collections::{BTreeMap, BTreeSet};

pub type Verdict<T = ()> = Result<T, String>;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

struct Spending {
    owner_user: String,
    owner_workflow: String,
    backend: Option<String>,
    at_ms: u64,
    shots: u64,
    money: u64,
}

pub struct Judge {
    capacity: Capacity,
    pub policy: Policy,
    pub drained: BTreeSet<Resource>,
    pub leases: BTreeMap<LeaseKey, Lease>,
    spendings: BTreeMap<u64, Spending>,
    open_runs: BTreeSet<String>,
    fence: u64,
    /// Since when something is kept for an ask.
    kept_since: BTreeMap<LeaseKey, u64>,
    /// Longest time something may be kept, where nothing but leases is in the way.
    pub kept_max_ms: Option<u64>,
    pub seen: BTreeMap<&'static str, u64>,
}

#[derive(Debug, PartialEq)]
enum Block {
    Drained,
    Parallel,
    Quota(Holder),
    Ceiling,
    Budget,
    Cpu,
    Memory,
    Slot,
    Place,
}

impl Judge {
    pub fn new(capacity: Capacity, policy: Policy) -> Self {
        Self {
            capacity,
            policy,
            drained: BTreeSet::new(),
            leases: BTreeMap::new(),
            spendings: BTreeMap::new(),
            open_runs: BTreeSet::new(),
            fence: 0,
            kept_since: BTreeMap::new(),
            kept_max_ms: None,
            seen: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn sum(&self, of: impl Fn(&Lease) -> bool, what: impl Fn(&Lease) -> u64) -> u64 {
        self.leases.values().filter(|lease| of(lease)).map(what).sum()
    }

    fn spent(&self, of: impl Fn(&Spending) -> bool, window: u64, now: u64) -> (u64, u64) {
        self.spendings
            .values()
            .filter(|s| of(s) && s.at_ms / window == now / window)
            .fold((0, 0), |(shots, money), s| (shots + s.shots, money + s.money))
    }

    fn quotas(&self, ask: &Ask) -> [(Holder, Quota); 2] {
        let (user, workflow) = (&ask.owner.user, &ask.owner.workflow);
        [
            (
                Holder::User(user.clone()),
                self.policy.users.get(user).copied().unwrap_or(self.policy.each_user),
            ),
            (
                Holder::Workflow(workflow.clone()),
                self.policy.workflows.get(workflow).copied().unwrap_or(self.policy.each_workflow),
            ),
        ]
    }

    fn cores(ask: &Ask) -> u64 {
        u64::from(ask.demand.cpu_cores).max(1)
    }

    fn never(&self, ask: &Ask) -> bool {
        let over = |most: Option<u64>, asked: u64| most.is_some_and(|most| asked > most);
        let budget = |b: &Budget| {
            over(b.shots_per_hour, ask.demand.shots)
                || over(b.shots_per_day, ask.demand.shots)
                || over(b.money_micro_usd_per_day, ask.money_micro_usd)
        };
        let above = |most: u64, asked: u64| most > 0 && asked > most;
        above(u64::from(ask.ceiling.cpu_cores), Self::cores(ask))
            || above(ask.ceiling.memory_mib, ask.demand.memory_mib)
            || above(ask.ceiling.shots, ask.demand.shots)
            || Self::cores(ask) > u64::from(self.capacity.cpu_cores)
            || ask.demand.memory_mib > self.capacity.memory_mib
            || (ask.slot.is_some() && self.capacity.slots.is_empty())
            || ask
                .demand
                .backend
                .as_ref()
                .is_some_and(|b| self.capacity.backends.get(b).is_none_or(|n| *n == 0))
            || self.quotas(ask).iter().any(|(_, q)| {
                over(q.stages, 1)
                    || over(q.cpu_cores, Self::cores(ask))
                    || over(q.memory_mib, ask.demand.memory_mib)
                    || over(q.shots_per_day, ask.demand.shots)
                    || over(q.money_micro_usd_per_day, ask.money_micro_usd)
            })
            || budget(&self.policy.budget)
            || ask
                .demand
                .backend
                .as_ref()
                .is_some_and(|b| self.policy.backend_budgets.get(b).is_some_and(budget))
    }

    fn usable(&self, slot: &str) -> bool {
        self.drained.is_empty()
            || !self.drained.contains(&Resource::AnySlot)
                && !self.drained.contains(&Resource::Slot(slot.to_owned()))
    }

    /// What of reservations for others is not in use by their holders: cores, memory, slots, places.
    fn aside(&self, ask: &Ask, backend: Option<&String>, now: u64, whole: bool) -> [u64; 4] {
        let mut sum = [0; 4];
        for reservation in self.policy.reservations.values() {
            if reservation.holder.covers(&ask.owner)
                || now < reservation.from_ms
                || now >= reservation.until_ms
            {
                continue;
            }
            let theirs = |lease: &Lease| !whole && reservation.holder.covers(&lease.owner);
            let places = backend.and_then(|b| reservation.backends.get(b)).copied().unwrap_or(0);
            let on = |lease: &Lease| u64::from(backend.is_some() && lease.backend.as_ref() == backend);
            sum[0] += reservation.cpu_cores.saturating_sub(self.sum(theirs, |l| u64::from(l.cpu_cores)));
            sum[1] += reservation.memory_mib.saturating_sub(self.sum(theirs, |l| l.memory_mib));
            sum[2] += reservation.slots.saturating_sub(self.sum(theirs, |l| u64::from(l.slot.is_some())));
            sum[3] += places.saturating_sub(self.sum(theirs, on));
        }
        sum
    }

    fn free(&self, backend: Option<&String>) -> [u64; 4] {
        let held: BTreeSet<&String> = self.leases.values().filter_map(|lease| lease.slot.as_ref()).collect();
        let places = backend.and_then(|b| self.capacity.backends.get(b)).copied().unwrap_or(0);
        let on = self.sum(|l| backend.is_some() && l.backend.as_ref() == backend, |_| 1);
        let slots =
            self.capacity.slots.keys().filter(|slot| self.usable(slot) && !held.contains(slot)).count();
        [
            u64::from(self.capacity.cpu_cores) - self.sum(|_| true, |l| u64::from(l.cpu_cores)),
            self.capacity.memory_mib - self.sum(|_| true, |l| l.memory_mib),
            slots as u64,
            u64::from(places) - on,
        ]
    }

    fn need(ask: &Ask) -> [u64; 4] {
        let (slot, place) = (u64::from(ask.slot.is_some()), u64::from(ask.demand.backend.is_some()));
        [Self::cores(ask), ask.demand.memory_mib, slot, place]
    }

    /// Everything in the way of an ask, whatever the order of looking.
    fn blocks(&self, ask: &Ask, now: u64) -> Vec<Block> {
        let mut found = Vec::new();
        found.extend(self.drain_blocks(ask).then_some(Block::Drained));
        found.extend(self.parallel_blocks(ask).then_some(Block::Parallel));
        found.extend(self.ceiling_blocks(ask).then_some(Block::Ceiling));
        for (holder, quota) in self.quotas(ask) {
            if self.quota_blocks(ask, &holder, &quota) {
                found.push(Block::Quota(holder));
            }
        }
        found.extend(self.budget_blocks(ask, now).then_some(Block::Budget));
        found.extend(self.room_blocks(ask, now));
        found
    }

    fn drain_blocks(&self, ask: &Ask) -> bool {
        let drained = |resource: Resource| self.drained.contains(&resource);
        let backend = ask.demand.backend.as_ref();
        !self.drained.is_empty()
            && (drained(Resource::Machine)
                || drained(Resource::Cpu)
                || (ask.demand.memory_mib > 0 && drained(Resource::Memory))
                || (ask.slot.is_some() && !self.capacity.slots.keys().any(|slot| self.usable(slot)))
                || backend.is_some_and(|b| drained(Resource::Backend(b.clone()))))
    }

    fn parallel_blocks(&self, ask: &Ask) -> bool {
        self.policy
            .max_parallel_workflows
            .is_some_and(|most| !self.open_runs.contains(&ask.key.0) && self.open_runs.len() >= most as usize)
    }

    /// What the run holds already, by a walk over all leases.
    fn ceiling_blocks(&self, ask: &Ask) -> bool {
        let of_run = |what: &dyn Fn(&Lease) -> u64| -> u64 {
            self.leases.iter().filter(|((run, _), _)| *run == ask.key.0).map(|(_, lease)| what(lease)).sum()
        };
        let (cores, memory) = (u64::from(ask.ceiling.cpu_cores), ask.ceiling.memory_mib);
        exceeds((cores > 0).then_some(cores), || of_run(&|l| u64::from(l.cpu_cores)), Self::cores(ask))
            || exceeds((memory > 0).then_some(memory), || of_run(&|l| l.memory_mib), ask.demand.memory_mib)
    }

    fn quota_blocks(&self, ask: &Ask, holder: &Holder, quota: &Quota) -> bool {
        let theirs = |lease: &Lease| holder.covers(&lease.owner);
        exceeds(quota.stages, || self.sum(theirs, |_| 1), 1)
            || exceeds(quota.cpu_cores, || self.sum(theirs, |l| u64::from(l.cpu_cores)), Self::cores(ask))
            || exceeds(quota.memory_mib, || self.sum(theirs, |l| l.memory_mib), ask.demand.memory_mib)
    }

    /// What is used up: of a quota of the day, of the daemon or of a backend.
    fn budget_blocks(&self, ask: &Ask, now: u64) -> bool {
        let (shots, money) = (ask.demand.shots, ask.money_micro_usd);
        let of_quotas = self.quotas(ask).iter().any(|(holder, quota)| {
            let by = |s: &Spending| match holder {
                Holder::User(name) => s.owner_user == *name,
                Holder::Workflow(name) => s.owner_workflow == *name,
            };
            exceeds(quota.shots_per_day, || self.spent(by, DAY, now).0, shots)
                || exceeds(quota.money_micro_usd_per_day, || self.spent(by, DAY, now).1, money)
        });
        let backend = ask.demand.backend.as_ref();
        let exceeded = |budget: &Budget, of: &dyn Fn(&Spending) -> bool| {
            exceeds(budget.shots_per_day, || self.spent(of, DAY, now).0, shots)
                || exceeds(budget.shots_per_hour, || self.spent(of, HOUR, now).0, shots)
                || exceeds(budget.money_micro_usd_per_day, || self.spent(of, DAY, now).1, money)
        };
        let on_backend = |s: &Spending| s.backend.as_ref() == backend;
        of_quotas
            || exceeded(&self.policy.budget, &|_| true)
            || backend
                .and_then(|b| self.policy.backend_budgets.get(b))
                .is_some_and(|budget| exceeded(budget, &on_backend))
    }

    fn room_blocks(&self, ask: &Ask, now: u64) -> Vec<Block> {
        let backend = ask.demand.backend.as_ref();
        let (free, aside) = (self.free(backend), self.aside(ask, backend, now, false));
        let need = Self::need(ask);
        let blocks = [Block::Cpu, Block::Memory, Block::Slot, Block::Place];
        let short =
            |(i, block): (usize, Block)| (need[i] > free[i].saturating_sub(aside[i])).then_some(block);
        blocks.into_iter().enumerate().filter_map(short).collect()
    }

    pub fn placed(&mut self, asks: &[Ask], outcome: &Outcome, now: u64) -> Verdict {
        let by_key: BTreeMap<&LeaseKey, &Ask> = asks.iter().map(|ask| (&ask.key, ask)).collect();
        let answered = outcome.grants.len() + outcome.waits.len() + outcome.never.len();
        let mut keys: BTreeSet<&LeaseKey> = outcome.grants.iter().map(|grant| &grant.key).collect();
        keys.extend(outcome.waits.iter().map(|wait| &asks[wait.ask].key));
        keys.extend(outcome.never.iter().map(|(at, _)| &asks[*at].key));
        if answered != asks.len() || keys.len() != asks.len() {
            return Err(format!("{} asks, {answered} answers to {} of them", asks.len(), keys.len()));
        }
        for grant in &outcome.grants {
            let ask = by_key.get(&grant.key).ok_or("a grant that nobody asked for")?;
            self.granted(ask, &grant.lease, now)?;
        }
        for (at, why) in &outcome.never {
            self.count("never");
            if !self.never(&asks[*at]) {
                return Err(format!("refused for ever what could be had: {why}: {:?}", asks[*at]));
            }
        }
        for wait in &outcome.waits {
            self.waits(&asks[wait.ask], &wait.why, &by_key, now)?;
        }
        let kept: BTreeSet<&LeaseKey> = outcome
            .waits
            .iter()
            .filter_map(|wait| match &wait.why {
                Why::Kept { head, .. } => Some(head),
                _ => None,
            })
            .collect();
        self.kept_since.retain(|key, _| keys.contains(key) && !self.leases.contains_key(key));
        for key in kept {
            let since = *self.kept_since.entry(key.clone()).or_insert(now);
            if self.kept_max_ms.is_some_and(|most| now > since + most) {
                return Err(format!("starved: kept for {key:?} since {since}, now {now}"));
            }
        }
        Ok(())
    }

    fn granted(&mut self, ask: &Ask, lease: &Lease, now: u64) -> Verdict {
        if let Some(held) = self.leases.get(&ask.key) {
            let same = held.fence == lease.fence && held.place == lease.place;
            self.count("asked again");
            return if same { Ok(()) } else { Err(format!("a second lease for {:?}", ask.key)) };
        }
        let blocks = self.blocks(ask, now);
        if !blocks.is_empty() {
            return Err(format!("granted against {blocks:?} at {now}: {ask:?} {lease:?}"));
        }
        if self.never(ask) {
            return Err(format!("granted what can never be had: {ask:?}"));
        }
        if lease.fence <= self.fence {
            return Err(format!("fence {} after {}", lease.fence, self.fence));
        }
        let whole = u64::from(lease.cpu_cores) == Self::cores(ask)
            && lease.memory_mib == ask.demand.memory_mib
            && lease.slot.is_some() == ask.slot.is_some()
            && lease.backend == ask.demand.backend
            && lease.owner == ask.owner;
        if !whole {
            return Err(format!("not all that was asked for: {ask:?} {lease:?}"));
        }
        if let Some(slot) = &lease.slot {
            let taken = self.leases.values().any(|other| other.slot.as_ref() == Some(slot));
            if taken || !self.usable(slot) || !self.capacity.slots.contains_key(slot) {
                return Err(format!("slot {slot} is taken, drained or unknown"));
            }
        }
        self.count("granted");
        if lease.slot.is_some() && lease.backend.is_some() {
            self.count("gang granted");
        }
        self.fence = lease.fence;
        let spending = Spending {
            owner_user: ask.owner.user.clone(),
            owner_workflow: ask.owner.workflow.clone(),
            backend: ask.demand.backend.clone(),
            at_ms: now,
            shots: ask.demand.shots,
            money: ask.money_micro_usd,
        };
        self.spendings.insert(lease.fence, spending);
        self.leases.insert(ask.key.clone(), lease.clone());
        if self.policy.max_parallel_workflows.is_some() {
            self.open_runs.insert(ask.key.0.clone());
        }
        Ok(())
    }

    /// The reason is true, and what fits and is allowed does not wait.
    fn waits(&mut self, ask: &Ask, why: &Why, by_key: &BTreeMap<&LeaseKey, &Ask>, now: u64) -> Verdict {
        if self.never(ask) {
            return Err(format!("waits for ever: {ask:?}"));
        }
        let backend = ask.demand.backend.as_ref();
        let (name, holds) = match why {
            Why::Drained(_) => ("drained", self.drain_blocks(ask)),
            Why::Parallel { .. } => ("parallel", self.parallel_blocks(ask)),
            Why::Ceiling { .. } => ("ceiling", self.ceiling_blocks(ask)),
            Why::Quota { of, kept_for: None, .. } => {
                let mut quotas = self.quotas(ask).into_iter();
                let quota = quotas.find(|(holder, _)| holder == of);
                ("quota", quota.is_some_and(|(holder, quota)| self.quota_blocks(ask, &holder, &quota)))
            }
            Why::Budget { until_ms, .. } => ("budget", self.budget_blocks(ask, now) && *until_ms > now),
            Why::Short { resource, .. } => {
                let block = match resource {
                    Resource::Cpu => Block::Cpu,
                    Resource::Memory => Block::Memory,
                    Resource::Backend(_) => Block::Place,
                    _ => Block::Slot,
                };
                ("short", self.room_blocks(ask, now).contains(&block))
            }
            Why::Reserved { until_ms, .. } => {
                let places = backend.and_then(|b| self.capacity.backends.get(b)).copied().unwrap_or(0);
                let slots = self.capacity.slots.keys().filter(|slot| self.usable(slot)).count() as u64;
                let all =
                    [u64::from(self.capacity.cpu_cores), self.capacity.memory_mib, slots, u64::from(places)];
                let aside = self.aside(ask, backend, now, true);
                let beyond = (0..4).any(|i| Self::need(ask)[i] > all[i].saturating_sub(aside[i]));
                ("reserved", beyond && *until_ms > now)
            }
            Why::Kept { head, .. } => ("kept", self.kept_rightly(ask, head, by_key, now)),
            Why::Quota { of, kept_for: Some(head), .. } => {
                let right = by_key.get(head).is_some_and(|head| {
                    head.key != ask.key
                        && of.covers(&head.owner)
                        && now >= head.asked_ms + self.policy.backfill_ms
                });
                ("kept quota", right && !self.leases.contains_key(head))
            }
        };
        self.count(name);
        if holds {
            return Ok(());
        }
        let blocks = self.blocks(ask, now);
        if blocks.is_empty() {
            return Err(format!("idle: it fits and is allowed, and waits as {why:?} at {now}: {ask:?}"));
        }
        Err(format!("a false reason {why:?} at {now}, in the way are {blocks:?}: {ask:?}"))
    }

    fn kept_rightly(&self, ask: &Ask, head: &LeaseKey, by_key: &BTreeMap<&LeaseKey, &Ask>, now: u64) -> bool {
        let Some(head) = by_key.get(head) else { return false };
        let backend = head.demand.backend.as_ref();
        let free = self.free(backend);
        let aside_head = self.aside(head, backend, now, false);
        let aside_ask = self.aside(ask, backend, now, false);
        let (need, takes) = (Self::need(head), Self::need(ask));
        // The head would lack something after it, and could not begin right now.
        let same = ask.demand.backend == head.demand.backend;
        let harms = (0..4).any(|i| {
            let takes = if i == 3 && !same { 0 } else { takes[i] };
            takes > 0
                && need[i] > 0
                && need[i] + takes > free[i].saturating_sub(aside_head[i].max(aside_ask[i]))
        });
        harms
            && head.key != ask.key
            && !self.leases.contains_key(&head.key)
            && now >= head.asked_ms + self.policy.backfill_ms
            && !self.blocks(head, now).is_empty()
    }

    pub fn released(&mut self, key: &LeaseKey, used: (u64, u64)) -> Verdict {
        let lease = self.leases.remove(key).ok_or("a lease that is not there was given back")?;
        if let Some(spending) = self.spendings.get_mut(&lease.fence) {
            spending.shots = spending.shots.min(used.0);
            spending.money = spending.money.min(used.1);
        }
        Ok(())
    }

    pub fn run_ended(&mut self, run: &str) {
        self.open_runs.remove(run);
    }

    pub fn policy_is(&mut self, policy: Policy) {
        self.policy = policy;
        self.open_runs.extend(self.leases.keys().map(|(run, _)| run.clone()));
        self.kept_since.clear();
    }
}

/// Whether `more` goes beyond `most`; nothing asked for exceeds nothing.
fn exceeds(most: Option<u64>, used: impl Fn() -> u64, more: u64) -> bool {
    most.is_some_and(|most| more > 0 && used() + more > most)
}
