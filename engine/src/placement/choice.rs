//! The order in which waiting stages are offered what is free, and what is kept for whom.
//!
//! Among users, whoever has used least (by [`super::shares`]) goes first; among the asks of one user, the
//! one of highest aged priority, then the older, then by name. What does not fit is passed by what does
//! (backfill). The first ask that was really overtaken, that is, left without something by a lease given
//! to one behind it, is the head: it can be overtaken for `backfill_ms` more, then what it needs is kept
//! for it. One head at a time for the machine, and one for each user's and workflow's quota.

use super::capacity::{Ask, LeaseKey, NeverFits, Resource, SlotKind};
use super::judge::{Kept, View};
use super::ledger::{Lease, Ledger, holders};
use super::policy::Holder;
use super::shares::PRIORITY_CREDIT;
use super::why::Why;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Waiting this long lifts an ask by one priority, so that low priorities are late, never starved.
pub const AGEING_MS_PER_PRIORITY: u64 = 60_000;

/// Highest priority that counts against other users; among the asks of one user any number does.
pub const PRIORITY_MAX: u64 = 3;

/// A whole, as lease parts count it.
const WHOLE: u64 = 1_000_000;

/// An ask that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub key: LeaseKey,
    pub lease: Lease,
}

/// An ask that was not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// Which of the asks given to [`Ledger::place_all`].
    pub ask: usize,
    pub why: Why,
}

/// Answer of [`Ledger::place_all`]: every ask is in exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    pub grants: Vec<Grant>,
    /// In the order in which they were looked at.
    pub waits: Vec<Waits>,
    /// These asks can never be met.
    pub never: Vec<(usize, NeverFits)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    key: LeaseKey,
    since_ms: u64,
}

/// The heads, remembered from one placement to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claims {
    machine: Option<Claim>,
    holders: BTreeMap<Holder, Claim>,
}

/// One user's asks in this placement.
struct Line<'asks> {
    user: &'asks str,
    used: u128,
    /// Aged priority and place in `asks`, in order.
    asks: Vec<(u64, usize)>,
    next: usize,
    competes: bool,
}

impl Line<'_> {
    /// Its place among the users; the lowest is next.
    fn tag(&self, asks: &[Ask]) -> Option<(i128, u64)> {
        let (aged, at) = *self.asks.get(self.next)?;
        let credit = PRIORITY_CREDIT * u128::from(aged.min(PRIORITY_MAX));
        let signed = |units: u128| i128::try_from(units).unwrap_or(i128::MAX);
        Some((signed(self.used).saturating_sub(signed(credit)), asks[at].asked_ms))
    }
}

/// What has happened so far in one placement.
struct Round<'asks> {
    asks: &'asks [Ask],
    /// As things stand after the newest grant.
    view: View,
    kept: Kept<'asks>,
    done: BTreeSet<usize>,
    /// The first that waits for what others hold, and the first that waits on each quota.
    first: Option<&'asks Ask>,
    first_of: BTreeMap<Holder, &'asks Ask>,
    out: Outcome,
}

impl Round<'_> {
    fn begin_again(&mut self) {
        self.first = None;
        self.first_of.clear();
        self.out.waits.clear();
        self.out.never.clear();
    }
}

impl Ledger {
    /// Grants what fits and is allowed, and says why the rest waits. An ask whose stage holds a lease
    /// already gets that lease again. O(n log n + grants x slots).
    pub fn place_all(&mut self, asks: &[Ask], now_ms: u64) -> Outcome {
        self.tick(now_ms);
        let mut lines = self.lines(asks);
        let mut round = Round {
            asks,
            view: self.view(),
            kept: Kept::default(),
            done: BTreeSet::new(),
            first: None,
            first_of: BTreeMap::new(),
            out: Outcome::default(),
        };
        self.offer_heads(&mut round, &mut lines);
        loop {
            let before = round.out.grants.len();
            self.pass(&mut round, &mut lines);
            // A lease that counts for two reservations frees more of what is set aside than it takes, so
            // that what did not fit before it may fit after it.
            if round.view.reservations() < 2 || round.out.grants.len() == before {
                break;
            }
            round.begin_again();
            lines.iter_mut().for_each(|line| (line.next, line.competes) = (0, false));
        }
        let competing: Vec<&str> = lines.iter().filter(|line| line.competes).map(|line| line.user).collect();
        self.shares.close(&competing);
        round.out
    }

    /// Offers what is free to every ask, once.
    fn pass<'asks>(&mut self, round: &mut Round<'asks>, lines: &mut [Line<'asks>]) {
        let asks = round.asks;
        let mut order: BTreeSet<(i128, u64, usize)> = lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| line.tag(asks).map(|(tag, asked_ms)| (tag, asked_ms, at)))
            .collect();
        while let Some((_, _, who)) = order.pop_first() {
            let line = &mut lines[who];
            let (_, at) = line.asks[line.next];
            line.next += 1;
            if !round.done.contains(&at) {
                self.offer(round, line, at);
            }
            if let Some((tag, asked_ms)) = line.tag(asks) {
                order.insert((tag, asked_ms, who));
            }
        }
    }

    /// As [`Ledger::place_all`]; takes what was granted out of `asks`.
    pub fn place(&mut self, asks: &mut Vec<Ask>, now_ms: u64) -> Vec<Grant> {
        let grants = self.place_all(asks, now_ms).grants;
        let granted: BTreeSet<&LeaseKey> = grants.iter().map(|grant| &grant.key).collect();
        asks.retain(|ask| !granted.contains(&ask.key));
        grants
    }

    /// What an ask lacks right now, in fixed words; `None` if it would fit.
    pub fn lacking(&self, ask: &Ask) -> Option<&'static str> {
        if self.leases.contains_key(&ask.key) {
            return None;
        }
        match self.judge(&self.view(), &Kept::default(), ask) {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why.short()),
            Err(_) => Some("more than there will ever be"),
        }
    }

    /// The ask for which the machine's free capacity is kept, or soon will be, and since when it is passed.
    pub fn head(&self) -> Option<(&LeaseKey, u64)> {
        self.claims.machine.as_ref().map(|claim| (&claim.key, claim.since_ms))
    }

    fn lines<'asks>(&mut self, asks: &'asks [Ask]) -> Vec<Line<'asks>> {
        let now_ms = self.now_ms;
        let mut of_users: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
        for (at, ask) in asks.iter().enumerate() {
            let aged = u64::from(ask.priority) + now_ms.saturating_sub(ask.asked_ms) / AGEING_MS_PER_PRIORITY;
            of_users.entry(&ask.owner.user).or_default().push((aged, at));
        }
        let mut lines = Vec::with_capacity(of_users.len());
        for (user, mut of_user) in of_users {
            of_user.sort_unstable_by(|(aged_a, a), (aged_b, b)| {
                let (a, b) = (&asks[*a], &asks[*b]);
                aged_b.cmp(aged_a).then(a.asked_ms.cmp(&b.asked_ms)).then_with(|| a.key.cmp(&b.key))
            });
            let used = self.shares.at(user, self.policy.weight(user), now_ms);
            lines.push(Line { user, used, asks: of_user, next: 0, competes: false });
        }
        lines
    }

    /// Looks at the heads of earlier placements before all others: those whose time is over are offered
    /// first, and what they need is kept from then on. One that no longer waits, or waits for something
    /// else than other holders, is a head no more.
    fn offer_heads<'asks>(&mut self, round: &mut Round<'asks>, lines: &mut [Line<'asks>]) {
        if self.claims.machine.is_none() && self.claims.holders.is_empty() {
            return;
        }
        let claims = std::mem::take(&mut self.claims);
        let keys: BTreeSet<&LeaseKey> =
            claims.machine.iter().chain(claims.holders.values()).map(|claim| &claim.key).collect();
        let found: BTreeMap<&LeaseKey, usize> = round
            .asks
            .iter()
            .enumerate()
            .filter(|(_, ask)| keys.contains(&ask.key))
            .map(|(at, ask)| (&ask.key, at))
            .collect();
        let over = |claim: &Claim| self.now_ms >= claim.since_ms.saturating_add(self.policy.backfill_ms);
        let waiting =
            |claim: &Claim| found.get(&claim.key).copied().filter(|_| !self.leases.contains_key(&claim.key));
        let mut of_holders: Vec<(&Holder, &Claim)> = claims.holders.iter().filter(|(_, c)| over(c)).collect();
        of_holders.sort_by(|(_, a), (_, b)| (a.since_ms, &a.key).cmp(&(b.since_ms, &b.key)));
        for (holder, claim) in of_holders {
            if let Some(at) = waiting(claim) {
                round.kept.holders.push((holder.clone(), &round.asks[at]));
            }
        }
        let of_machine = claims.machine.iter().map(|claim| (None, claim));
        let mut heads: Vec<(Option<Holder>, &Claim, bool, usize)> = of_machine
            .chain(claims.holders.iter().map(|(holder, claim)| (Some(holder.clone()), claim)))
            .filter_map(|(holder, claim)| waiting(claim).map(|at| (holder, claim, over(claim), at)))
            .collect();
        // A head that is none any more may have been in the way of another.
        loop {
            let before = heads.len();
            heads
                .retain(|(holder, claim, over, at)| self.offer_head(round, lines, holder, claim, *over, *at));
            if heads.len() == before {
                break;
            }
        }
    }

    /// Whether it is still a head afterwards.
    fn offer_head<'asks>(
        &mut self,
        round: &mut Round<'asks>,
        lines: &mut [Line<'asks>],
        holder: &Option<Holder>,
        claim: &Claim,
        over: bool,
        at: usize,
    ) -> bool {
        let ask = &round.asks[at];
        // A head yields to those that were heads before it and to no other, or two would wait for each
        // other: one for the user's quota, one for the workflow's, both counting in both.
        let before = round.kept.holders.iter().take_while(|(of, _)| Some(of) != holder.as_ref());
        let kept = Kept { machine: round.kept.machine, holders: before.cloned().collect() };
        let verdict = self.judge(&round.view, &kept, ask);
        let stays = !round.done.contains(&at)
            && match verdict {
                Ok(Ok(())) if over => {
                    let used = self.grant(round, at);
                    if let Some(line) = lines.iter_mut().find(|line| line.user == ask.owner.user) {
                        line.used = used;
                    }
                    false
                }
                Ok(Ok(())) => true,
                Ok(Err(why)) => why.competes() || (holder.is_some() && matches!(why, Why::Quota { .. })),
                Err(_) => false,
            };
        match holder {
            None => {
                round.kept.machine = (over && stays).then_some(ask);
                self.claims.machine = stays.then(|| claim.clone());
            }
            Some(holder) if stays => drop(self.claims.holders.insert(holder.clone(), claim.clone())),
            Some(holder) => {
                round.kept.holders.retain(|(of, _)| of != holder);
                self.claims.holders.remove(holder);
            }
        }
        stays
    }

    fn offer<'asks>(&mut self, round: &mut Round<'asks>, line: &mut Line<'asks>, at: usize) {
        let ask = &round.asks[at];
        if let Some(lease) = self.leases.get(&ask.key) {
            round.out.grants.push(Grant { key: ask.key.clone(), lease: lease.clone() });
            round.done.insert(at);
            return;
        }
        match self.judge(&round.view, &round.kept, ask) {
            Err(never) => round.out.never.push((at, never)),
            Ok(Ok(())) => {
                line.used = self.grant(round, at);
                self.note_overtaken(round, ask);
            }
            Ok(Err(mut why)) => {
                line.competes |= why.competes();
                if let Why::Short { behind, .. } = &mut why {
                    let head = round.kept.machine.or(round.first).filter(|head| head.key != ask.key);
                    *behind = head.map(|head| head.key.clone());
                }
                if why.competes() && round.first.is_none() {
                    round.first = Some(ask);
                }
                if round.view.quotas && (why.competes() || matches!(why, Why::Quota { .. })) {
                    for holder in holders(&ask.owner) {
                        round.first_of.entry(holder).or_insert(ask);
                    }
                }
                round.out.waits.push(Waits { ask: at, why });
            }
        }
    }

    /// Whether the lease just given to `taker` overtook whoever is first in line.
    fn note_overtaken(&mut self, round: &Round<'_>, taker: &Ask) {
        let claim = |head: &Ask| Claim { key: head.key.clone(), since_ms: self.now_ms };
        let of_machine = round
            .first
            .filter(|head| self.claims.machine.is_none() && self.overtook(&round.view, taker, head))
            .map(claim);
        let mut of_holders = Vec::new();
        if round.view.quotas {
            for holder in holders(&taker.owner) {
                if let Some(head) = round.first_of.get(&holder)
                    && !self.claims.holders.contains_key(&holder)
                    && self.overtook_in(&holder, taker, head)
                {
                    of_holders.push((holder, claim(head)));
                }
            }
        }
        self.claims.machine = self.claims.machine.take().or(of_machine);
        self.claims.holders.extend(of_holders);
    }

    /// Gives the lease; answers with what the user has used now.
    fn grant(&mut self, round: &mut Round<'_>, at: usize) -> u128 {
        let ask = &round.asks[at];
        let slot = ask.slot.and_then(|kind| self.free_slot(kind));
        let backend = ask.demand.backend.clone();
        self.fence += 1;
        let lease = Lease {
            cpu_cores: ask.demand.cpu_cores.max(1),
            memory_mib: ask.demand.memory_mib,
            place: backend.clone().or_else(|| slot.clone()).unwrap_or_default(),
            since_ms: self.now_ms,
            slot,
            backend,
            shots: ask.demand.shots,
            money_micro_usd: ask.money_micro_usd,
            owner: ask.owner.clone(),
            fence: self.fence,
            expires_ms: self.policy.lease_ms.map(|ms| self.now_ms.saturating_add(ms)),
            part: self.part(ask),
        };
        let used = self.shares.begins(&ask.owner.user, lease.part, self.now_ms);
        self.enter(ask.key.clone(), lease.clone());
        round.view = self.view();
        round.out.grants.push(Grant { key: ask.key.clone(), lease });
        round.done.insert(at);
        used
    }

    fn free_slot(&self, kind: SlotKind) -> Option<String> {
        let free = |name: &&String| {
            !self.held_slots.contains(*name) && !self.drained.contains(&Resource::Slot((*name).clone()))
        };
        let of_kind = self.capacity.slots.iter().filter(|(_, of)| **of == kind);
        of_kind.map(|(name, _)| name).find(free).cloned()
    }

    /// The largest part of the capacity that an ask takes, in millionths, at least one.
    fn part(&self, ask: &Ask) -> u64 {
        let capacity = &self.capacity;
        let places = ask.demand.backend.as_ref().and_then(|name| capacity.backends.get(name));
        let parts = [
            (u64::from(ask.demand.cpu_cores.max(1)), u64::from(capacity.cpu_cores)),
            (ask.demand.memory_mib, capacity.memory_mib),
            (u64::from(ask.slot.is_some()), capacity.slots.len() as u64),
            (u64::from(places.is_some()), places.map_or(1, |places| u64::from(*places))),
        ];
        let part = |(need, of): (u64, u64)| u128::from(need) * u128::from(WHOLE) / u128::from(of.max(1));
        let largest = parts.into_iter().map(part).max().unwrap_or(0);
        u64::try_from(largest).unwrap_or(WHOLE).clamp(1, WHOLE)
    }
}
