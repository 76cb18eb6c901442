//! A machine under random load: stages come, run, end, die and are withdrawn; rules change; time jumps.

use super::judge::{Judge, Verdict};
use super::placer::Placer;
use super::random::Random;
use engine::definition::Demand;
use engine::placement::{
    Ask, Budget, Capacity, Holder, LeaseKey, Owner, Policy, Quota, Reservation, Resource, SlotKind,
};
use std::collections::{BTreeMap, BTreeSet};

const STEPS: u64 = 80;
/// Long enough for the bound on waiting to be broken.
const STREAM_STEPS: u64 = 260;
/// Longest time a stage runs, and longest step of time: what is released is placed a step later.
const RUN_MAX_MS: u64 = 5_000;
const STEP_MAX_MS: u64 = 2_000;
const LEASE_MS: u64 = 3_000;
/// Priority and age count as so much use at most: three steps of ten seconds (`shares.rs`).
const CREDIT_MS: u64 = 30_000;
/// An ask of the same user that comes later than this can no longer go first: three steps of ageing.
const AGEING_MS: u64 = 4 * 60_000;

/// What kind of load a seed makes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Load {
    /// Quotas, budgets, reservations, drains, all changing.
    Rules,
    /// Leases alone are in the way.
    Plain,
    /// As `Plain`, and small stages never stop coming.
    Stream,
}

struct Running {
    fence: u64,
    ends_ms: u64,
    /// Its holder says no more: only expiry frees it.
    dead: bool,
}

struct World<'placer, P> {
    random: Random,
    load: Load,
    placer: &'placer mut P,
    judge: Judge,
    capacity: Capacity,
    policy: Policy,
    now: u64,
    waiting: Vec<Ask>,
    running: BTreeMap<LeaseKey, Running>,
    next_run: u32,
    /// Runs that have asked and have not ended.
    open: BTreeSet<String>,
    users: u64,
    /// Own asks that may go first, per waiting ask, counted when it came.
    ahead: BTreeMap<LeaseKey, u64>,
    longest_wait: u64,
}

/// What happened, so that a run of many seeds can say what it has seen.
#[derive(Debug, Default)]
pub struct Report {
    pub seen: BTreeMap<&'static str, u64>,
}

pub fn live<P: Placer>(seed: u64, kind: &P) -> Verdict<Report> {
    let mut random = Random::new(seed);
    let load = match seed % 8 {
        0..=4 => Load::Rules,
        5 | 6 => Load::Plain,
        _ => Load::Stream,
    };
    let capacity = capacity(&mut random);
    let policy = policy(&mut random, load, &capacity);
    let mut placer = kind.over(capacity.clone(), policy.clone());
    let mut judge = Judge::new(capacity.clone(), policy.clone());
    if load != Load::Rules {
        judge.kept_max_ms = Some(RUN_MAX_MS + 2 * STEP_MAX_MS);
    }
    let users = if load == Load::Stream { random.between(2, 3) } else { random.between(1, 4) };
    let now = random.between(0, 2) * 86_390_000;
    let mut world = World {
        random,
        load,
        placer: &mut placer,
        judge,
        capacity,
        policy,
        now,
        waiting: Vec::new(),
        running: BTreeMap::new(),
        next_run: 0,
        open: BTreeSet::new(),
        users,
        ahead: BTreeMap::new(),
        longest_wait: 0,
    };
    for _ in 0..if load == Load::Stream { STREAM_STEPS } else { STEPS } {
        world.step().map_err(|broken| format!("seed {seed}, {load:?}: {broken}"))?;
    }
    world.finish().map_err(|broken| format!("seed {seed}, {load:?}, at the end: {broken}"))?;
    Ok(Report { seen: world.judge.seen })
}

fn capacity(random: &mut Random) -> Capacity {
    let slots = random.between(1, 5);
    Capacity {
        cpu_cores: random.between(1, 8) as u32,
        memory_mib: random.between(100, 1000),
        slots: (0..slots).map(|slot| (format!("worker-{slot}"), SlotKind::Worker)).collect(),
        backends: (0..random.below(3))
            .map(|b| (format!("backend-{b}"), random.between(1, 2) as u32))
            .collect(),
    }
}

fn policy(random: &mut Random, load: Load, capacity: &Capacity) -> Policy {
    let backfill_ms = random.pick(&[0, 1_000, 3_000]);
    let weights = (0..3).map(|user| (format!("user-{user}"), random.between(1, 3) as u32)).collect();
    let mut policy = Policy { backfill_ms, weights, ..Policy::default() };
    if load != Load::Rules {
        return policy;
    }
    policy.lease_ms = random.percent(50).then_some(LEASE_MS);
    policy.max_parallel_workflows = random.percent(30).then(|| random.between(1, 4) as u32);
    let cores = u64::from(capacity.cpu_cores);
    let quota = |random: &mut Random| Quota {
        stages: random.percent(30).then(|| random.between(1, 4)),
        cpu_cores: random.percent(30).then(|| random.between(1, cores)),
        memory_mib: random.percent(20).then(|| random.between(50, capacity.memory_mib)),
        shots_per_day: random.percent(20).then(|| random.between(50, 500)),
        money_micro_usd_per_day: random.percent(20).then(|| random.between(50, 500)),
    };
    if random.percent(40) {
        policy.each_user = quota(random);
    }
    if random.percent(40) {
        policy.users.insert("user-0".to_owned(), quota(random));
    }
    if random.percent(30) {
        policy.each_workflow = quota(random);
    }
    let budget = |random: &mut Random| Budget {
        shots_per_hour: random.percent(40).then(|| random.between(50, 400)),
        shots_per_day: random.percent(40).then(|| random.between(50, 800)),
        money_micro_usd_per_day: random.percent(40).then(|| random.between(50, 800)),
    };
    if random.percent(40) {
        policy.budget = budget(random);
    }
    if random.percent(30) {
        policy.backend_budgets.insert("backend-0".to_owned(), budget(random));
    }
    policy
}

/// What a run may hold in all; often enough less than two of its stages want.
fn ceiling(random: &mut Random, cores: u64, memory_mib: u64) -> Demand {
    Demand {
        cpu_cores: if random.percent(70) { random.between(1, cores) as u32 } else { 0 },
        memory_mib: if random.percent(50) { random.between(1, memory_mib) } else { 0 },
        shots: if random.percent(30) { random.between(1, 60) } else { 0 },
        ..Demand::default()
    }
}

impl<P: Placer> World<'_, P> {
    fn step(&mut self) -> Verdict {
        self.now += self.random.between(50, STEP_MAX_MS);
        if self.load == Load::Rules {
            self.change_rules();
        }
        self.end_some()?;
        self.ask_some();
        if self.load == Load::Rules && self.random.percent(10) && !self.waiting.is_empty() {
            let at = self.random.below(self.waiting.len() as u64) as usize;
            let gone = self.waiting.swap_remove(at);
            self.ahead.remove(&gone.key);
        }
        self.place()?;
        self.starved()
    }

    fn change_rules(&mut self) {
        let some: Vec<Resource> = [Resource::Machine, Resource::AnySlot, Resource::Cpu, Resource::Memory]
            .into_iter()
            .chain(self.capacity.slots.keys().cloned().map(Resource::Slot))
            .chain(self.capacity.backends.keys().cloned().map(Resource::Backend))
            .collect();
        if self.random.percent(6) {
            let resource = self.random.pick(&some);
            self.placer.drain(resource.clone());
            self.judge.drained.insert(resource);
        }
        let drained: Vec<Resource> = self.judge.drained.iter().cloned().collect();
        for resource in drained {
            if self.random.percent(20) {
                self.placer.undrain(&resource);
                self.judge.drained.remove(&resource);
            }
        }
        if self.random.percent(4) {
            let name = format!("reservation-{}", self.random.below(2));
            let number = self.random.below(3);
            let holder = match self.random.percent(50) {
                true => Holder::User(format!("user-{number}")),
                false => Holder::Workflow(format!("workflow-{number}")),
            };
            let reservation = Reservation {
                holder,
                cpu_cores: self.random.below(u64::from(self.capacity.cpu_cores) + 1),
                memory_mib: self.random.below(self.capacity.memory_mib / 2),
                slots: self.random.below(3),
                backends: self.capacity.backends.keys().take(1).map(|name| (name.clone(), 1)).collect(),
                from_ms: self.now + self.random.below(5_000),
                until_ms: self.now + self.random.between(1_000, 30_000),
            };
            self.policy.reservations.insert(name, reservation);
            self.tell_policy();
        }
    }

    fn tell_policy(&mut self) {
        self.placer.set_policy(self.policy.clone(), self.now);
        self.judge.policy_is(self.policy.clone());
    }

    fn end_some(&mut self) -> Verdict {
        let now = self.now;
        for (key, lease) in self.placer.expire(now) {
            let expired = lease.expires_ms.is_some_and(|at| at <= now);
            if !expired || self.running.remove(&key).is_none() {
                return Err(format!("{key:?} expired at {now}: {lease:?}"));
            }
            self.judge.released(&key, (u64::MAX, u64::MAX))?;
        }
        let keys: Vec<LeaseKey> = self.running.keys().cloned().collect();
        for key in keys {
            let Running { fence, ends_ms, dead } = self.running[&key];
            let late = self.judge.leases[&key].expires_ms;
            if late.is_some_and(|at| at <= now) {
                return Err(format!("leaked: {key:?} should have expired at {late:?}"));
            }
            if self.random.percent(2) {
                let old = self.random.below(fence);
                if self.placer.settle(&key, old, (0, 0), now).is_ok() {
                    return Err(format!("leaked: an old fence {old} released {key:?} of fence {fence}"));
                }
            }
            if ends_ms > now || dead {
                if !dead && self.placer.renew(&key, fence, now).is_err() {
                    return Err(format!("{key:?} could not be renewed"));
                }
                if !dead && let Some(lease) = self.judge.leases.get_mut(&key) {
                    lease.expires_ms = self.policy.lease_ms.map(|ms| now + ms);
                }
                continue;
            }
            let used = if self.random.percent(50) { (0, 0) } else { (20, 20) };
            self.placer.settle(&key, fence, used, now).map_err(|stale| format!("{key:?}: {stale}"))?;
            self.judge.released(&key, used)?;
            self.running.remove(&key);
            if self.placer.settle(&key, fence, used, now).is_ok() {
                return Err(format!("{key:?} was given back twice"));
            }
        }
        let busy: BTreeSet<&String> = self
            .running
            .keys()
            .map(|(run, _)| run)
            .chain(self.waiting.iter().map(|ask| &ask.key.0))
            .collect();
        let ended: Vec<String> = self.open.iter().filter(|run| !busy.contains(run)).cloned().collect();
        for run in ended {
            self.open.remove(&run);
            if self.placer.release_run(&run) != 0 {
                return Err(format!("leaked: {run} held something at its end"));
            }
            self.judge.run_ended(&run);
        }
        if self.load == Load::Rules && self.random.percent(3) && !self.running.is_empty() {
            self.kill_a_run()?;
        }
        Ok(())
    }

    fn kill_a_run(&mut self) -> Verdict {
        let (run, _) = self.random.pick(&self.running.keys().cloned().collect::<Vec<_>>());
        let held: Vec<LeaseKey> = self.running.keys().filter(|key| key.0 == run).cloned().collect();
        if self.placer.release_run(&run) != held.len() {
            return Err(format!("leaked: the leases of {run} were not all given back"));
        }
        for key in held {
            self.running.remove(&key);
            self.judge.released(&key, (u64::MAX, u64::MAX))?;
        }
        self.judge.run_ended(&run);
        Ok(())
    }

    fn ask_some(&mut self) {
        if self.load == Load::Stream {
            // One user needs much, now and then; the others ask for little without end.
            for _ in 0..self.random.between(1, 3) {
                if self.waiting.len() < 10 {
                    self.ask(false);
                }
            }
            if self.random.percent(2) {
                self.ask(true);
            }
        } else if self.waiting.len() < 14 && self.random.percent(60) {
            for _ in 0..self.random.between(1, 4) {
                let large = self.random.percent(20);
                self.ask(large);
            }
        }
    }

    fn ask(&mut self, large: bool) {
        let random = &mut self.random;
        let run = if random.percent(30) && self.next_run > 0 { self.next_run - 1 } else { self.next_run };
        let fresh = run == self.next_run;
        self.next_run = self.next_run.max(run + 1);
        let stage = if fresh { 0 } else { random.between(1, 1_000_000) as u32 };
        let cores = u64::from(self.capacity.cpu_cores);
        let rules = self.load == Load::Rules;
        let backends: Vec<String> = self.capacity.backends.keys().cloned().collect();
        let gang = random.percent(20) && !backends.is_empty();
        let cpu_cores = match large {
            true if rules => random.between(1, cores + 1),
            true => random.between(cores / 2 + 1, cores),
            false => random.between(0, 2).min(cores),
        };
        let memory_mib = match large {
            true => random.below(self.capacity.memory_mib + 1),
            false => random.below(self.capacity.memory_mib / 8 + 1),
        };
        let spends = rules && random.percent(40);
        let user = match (self.load, large) {
            (Load::Stream, true) => 0,
            (Load::Stream, false) => random.between(1, self.users - 1),
            _ => random.below(self.users),
        };
        let ask = Ask {
            key: (format!("run-{run}"), stage),
            owner: Owner { user: format!("user-{user}"), workflow: format!("workflow-{}", random.below(3)) },
            demand: Demand {
                cpu_cores: cpu_cores as u32,
                memory_mib,
                shots: if spends { random.between(0, 60) } else { 0 },
                backend: gang.then(|| random.pick(&backends)),
                ..Demand::default()
            },
            slot: random.percent(80).then_some(SlotKind::Worker),
            money_micro_usd: if spends { random.between(0, 60) } else { 0 },
            ceiling: if rules && random.percent(30) {
                ceiling(random, cores, self.capacity.memory_mib)
            } else {
                Demand::default()
            },
            priority: random.below(4) as u8,
            asked_ms: self.now,
        };
        self.open.insert(ask.key.0.clone());
        let own = self.waiting.iter().filter(|other| other.owner.user == ask.owner.user).count() as u64;
        self.ahead.insert(ask.key.clone(), own);
        for other in &self.waiting {
            if other.owner.user == ask.owner.user && ask.asked_ms <= other.asked_ms + AGEING_MS {
                *self.ahead.entry(other.key.clone()).or_default() += 1;
            }
        }
        self.waiting.push(ask);
    }

    fn place(&mut self) -> Verdict {
        let mut asks = self.waiting.clone();
        // A grant whose delivery failed is asked for again.
        if self.random.percent(5)
            && let Some((key, lease)) = self.judge.leases.iter().next()
        {
            asks.push(Ask {
                key: key.clone(),
                owner: lease.owner.clone(),
                demand: Demand { cpu_cores: 1, ..Demand::default() },
                slot: None,
                money_micro_usd: 0,
                ceiling: Demand::default(),
                priority: 1,
                asked_ms: self.now,
            });
        }
        let mut twin = (self.random.percent(10)).then(|| self.placer.clone());
        let outcome = self.placer.place(&asks, self.now);
        if let Some(twin) = &mut twin {
            let mut turned = asks.clone();
            turned.reverse();
            if twin.place(&turned, self.now).grants != outcome.grants {
                return Err("order: the order of asks in the queue changed what was granted".to_owned());
            }
        }
        self.judge.placed(&asks, &outcome, self.now)?;
        for grant in &outcome.grants {
            if self.running.contains_key(&grant.key) {
                continue;
            }
            let dead = self.policy.lease_ms.is_some() && self.random.percent(10);
            let ends_ms = self.now + self.random.between(100, RUN_MAX_MS);
            self.running.insert(grant.key.clone(), Running { fence: grant.lease.fence, ends_ms, dead });
        }
        let never: BTreeSet<LeaseKey> = outcome.never.iter().map(|(at, _)| asks[*at].key.clone()).collect();
        self.waiting.retain(|ask| !self.running.contains_key(&ask.key) && !never.contains(&ask.key));
        let waiting: BTreeSet<&LeaseKey> = self.waiting.iter().map(|ask| &ask.key).collect();
        self.ahead.retain(|key, _| waiting.contains(key));
        Ok(())
    }

    /// The bound that docs/scheduling.md states: shares times own asks ahead times one turn each.
    fn starved(&mut self) -> Verdict {
        if self.load == Load::Rules {
            return Ok(());
        }
        let weight = |user: &str| u64::from(self.policy.weights.get(user).copied().unwrap_or(1));
        let all: u64 = (0..self.users).map(|user| weight(&format!("user-{user}"))).sum();
        let turn = self.policy.backfill_ms + RUN_MAX_MS + STEP_MAX_MS;
        for ask in &self.waiting {
            let own = self.ahead.get(&ask.key).copied().unwrap_or(0);
            let shares = all.div_ceil(weight(&ask.owner.user));
            let bound = shares * ((own + 1) * turn + CREDIT_MS);
            let waited = self.now - ask.asked_ms;
            self.longest_wait = self.longest_wait.max(waited * 100 / bound);
            if waited > bound {
                return Err(format!("starved: waited {waited} ms, the bound is {bound}: {ask:?}"));
            }
        }
        Ok(())
    }

    /// Nothing new comes, every rule that keeps things back ends: all that waits is placed in the end.
    fn finish(&mut self) -> Verdict {
        for resource in std::mem::take(&mut self.judge.drained) {
            self.placer.undrain(&resource);
        }
        self.policy.reservations.clear();
        self.tell_policy();
        let mut rounds = 0;
        while !self.waiting.is_empty() || !self.running.is_empty() {
            self.now += 86_400_000;
            self.judge.kept_max_ms = None;
            self.end_some()?;
            if !self.running.is_empty() {
                return Err(format!("leaked: {:?}", self.running.keys()));
            }
            let before = self.waiting.len();
            self.place()?;
            if before > 0 && self.waiting.len() == before {
                return Err(format!("deadlock: idle, and {:?} waits", self.waiting[0]));
            }
            rounds += 1;
            if rounds > 10_000 {
                return Err("deadlock: no end".to_owned());
            }
        }
        let per_cent = self.longest_wait;
        self.judge.seen.insert("longest wait, % of bound", per_cent);
        let (cpu, memory) = self.placer.ledger().free();
        let leases = self.placer.ledger().leases().len();
        if (cpu, memory, leases) != (self.capacity.cpu_cores, self.capacity.memory_mib, 0) {
            return Err(format!("leaked: {cpu} cores and {memory} MiB free, {leases} leases at the end"));
        }
        Ok(())
    }
}
