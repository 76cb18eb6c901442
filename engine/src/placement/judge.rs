//! Whether one ask fits and is allowed right now, or what is in its way.
//!
//! Rule: judging changes nothing. What is in the way is looked for from what only people change (drains,
//! limits) to what time changes by itself (leases), so that `explain` names what there is to do.

use super::capacity::{Ask, NeverFits, Resource};
use super::ledger::{Ledger, holders};
use super::policy::{Holder, Quota, Reservation};
use super::tally::Tally;
use super::why::Why;

/// What is free and set aside, read off the ledger once per change.
pub(super) struct View {
    free: Amounts,
    free_slots_undrained: u64,
    /// Slots that leases could ever free: all but the drained ones.
    usable_slots: u64,
    /// Those that hold now.
    reservations: Vec<(String, Reservation)>,
    pub quotas: bool,
}

/// Cores, memory, slots, places on the one backend that the ask names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub cpu: u64,
    pub memory: u64,
    pub slots: u64,
    pub places: u64,
}

impl Amounts {
    pub fn of(ask: &Ask) -> Self {
        Self {
            // Nothing runs on less than one core, whatever it says of itself.
            cpu: u64::from(ask.demand.cpu_cores.max(1)),
            memory: ask.demand.memory_mib,
            slots: u64::from(ask.slot.is_some()),
            places: u64::from(ask.demand.backend.is_some()),
        }
    }

    fn each(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            cpu: with(self.cpu, other.cpu),
            memory: with(self.memory, other.memory),
            slots: with(self.slots, other.slots),
            places: with(self.places, other.places),
        }
    }

    fn less(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    fn more(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    fn larger(self, other: Self) -> Self {
        self.each(other, u64::max)
    }

    /// What of `self` exceeds `free`.
    fn beyond(self, free: Self, ask: &Ask) -> Option<Resource> {
        if self.cpu > free.cpu {
            Some(Resource::Cpu)
        } else if self.memory > free.memory {
            Some(Resource::Memory)
        } else if self.slots > free.slots {
            Some(Resource::AnySlot)
        } else if self.places > free.places {
            ask.demand.backend.clone().map(Resource::Backend)
        } else {
            None
        }
    }
}

/// Asks for which something is kept: the head of the line of the machine, and heads of holders' quotas.
#[derive(Debug, Default)]
pub(super) struct Kept<'asks> {
    pub machine: Option<&'asks Ask>,
    pub holders: Vec<(Holder, &'asks Ask)>,
}

impl Ledger {
    pub(super) fn view(&self) -> View {
        let drained =
            |name: &String| !self.drained.is_empty() && self.drained.contains(&Resource::Slot(name.clone()));
        let all_drained = self.drained.contains(&Resource::AnySlot);
        let usable = || self.capacity.slots.keys().filter(|name| !all_drained && !drained(name));
        let (cpu, memory) = (
            u64::from(self.capacity.cpu_cores).saturating_sub(self.held.cpu_cores),
            self.capacity.memory_mib.saturating_sub(self.held.memory_mib),
        );
        let now_ms = self.now_ms;
        View {
            free: Amounts { cpu, memory, slots: 0, places: 0 },
            free_slots_undrained: usable().filter(|name| !self.held_slots.contains(*name)).count() as u64,
            usable_slots: usable().count() as u64,
            reservations: self
                .policy
                .reservations
                .iter()
                .filter(|(_, reservation)| reservation.holds_at(now_ms))
                .map(|(name, reservation)| (name.clone(), reservation.clone()))
                .collect(),
            quotas: self.policy.has_quotas(),
        }
    }

    /// `Ok(Err(..))` is a wait, `Err` is for ever.
    pub(super) fn judge(
        &self,
        view: &View,
        kept: &Kept<'_>,
        ask: &Ask,
    ) -> Result<Result<(), Why>, NeverFits> {
        self.may_ever_fit(ask)?;
        Ok(self.judge_now(view, kept, ask))
    }

    fn judge_now(&self, view: &View, kept: &Kept<'_>, ask: &Ask) -> Result<(), Why> {
        self.judge_drain(view, ask)?;
        if let Some(most) = self.policy.max_parallel_workflows
            && !self.open_runs.contains(&ask.key.0)
            && self.open_runs.len() >= most as usize
        {
            return Err(Why::Parallel { most });
        }
        self.judge_ceiling(ask)?;
        if view.quotas {
            self.judge_quotas(kept, ask)?;
        }
        self.judge_budgets(ask)?;
        let need = Amounts::of(ask);
        if !view.reservations.is_empty() {
            self.judge_reservations(view, ask, need)?;
        }
        let free = self.free_for(view, ask);
        if let Some(resource) = need.beyond(free, ask) {
            return Err(Why::Short { resource, behind: None });
        }
        let Some(head) = kept.machine.filter(|head| head.key != ask.key) else { return Ok(()) };
        let after = self.free_beside(view, head, ask);
        match need.beyond(after, ask) {
            Some(resource) => Err(Why::Kept { resource, head: head.key.clone() }),
            None => Ok(()),
        }
    }

    fn judge_drain(&self, view: &View, ask: &Ask) -> Result<(), Why> {
        if self.drained.is_empty() {
            return Ok(());
        }
        for resource in [Resource::Machine, Resource::Cpu, Resource::Memory] {
            let uses = resource != Resource::Memory || ask.demand.memory_mib > 0;
            if uses && self.drained.contains(&resource) {
                return Err(Why::Drained(resource));
            }
        }
        if ask.slot.is_some() && view.usable_slots == 0 {
            return Err(Why::Drained(Resource::AnySlot));
        }
        match ask.demand.backend.clone().map(Resource::Backend) {
            Some(backend) if self.drained.contains(&backend) => Err(Why::Drained(backend)),
            _ => Ok(()),
        }
    }

    /// What the other stages of the same run hold counts against its ceiling.
    fn judge_ceiling(&self, ask: &Ask) -> Result<(), Why> {
        let (cores, memory) = (u64::from(ask.ceiling.cpu_cores), ask.ceiling.memory_mib);
        if cores == 0 && memory == 0 {
            return Ok(());
        }
        let of_run = self.leases.range((ask.key.0.clone(), 0)..);
        let of_run = of_run.take_while(|((run, _), _)| *run == ask.key.0);
        let held = of_run.fold((0_u64, 0_u64), |held, (_, lease)| {
            (held.0 + u64::from(lease.cpu_cores), held.1.saturating_add(lease.memory_mib))
        });
        let need = Amounts::of(ask);
        for (what, used, more, most) in
            [("CPU cores", held.0, need.cpu, cores), ("MiB of memory", held.1, need.memory, memory)]
        {
            if most > 0 && more > 0 && used.saturating_add(more) > most {
                return Err(Why::Ceiling { what: what.to_owned(), used, most });
            }
        }
        Ok(())
    }

    fn judge_quotas(&self, kept: &Kept<'_>, ask: &Ask) -> Result<(), Why> {
        let (shots, money) = (ask.demand.shots, ask.money_micro_usd);
        for holder in holders(&ask.owner) {
            let quota = self.policy.quota(&holder);
            if quota == Quota::default() {
                continue;
            }
            let nothing = Tally::default();
            let tally = match &holder {
                Holder::User(name) => self.users.get(name),
                Holder::Workflow(name) => self.workflows.get(name),
            }
            .unwrap_or(&nothing);
            let budget = super::Budget {
                shots_per_hour: None,
                shots_per_day: quota.shots_per_day,
                money_micro_usd_per_day: quota.money_micro_usd_per_day,
            };
            if let Some(over) = tally.spent.lacks(&budget, shots, money, self.now_ms) {
                return Err(budget_why(over, holder.to_string()));
            }
            if let Some((what, used, most)) = quota_lacks(&quota, tally, ask, None) {
                return Err(Why::Quota { of: holder, what: what.to_owned(), used, most, kept_for: None });
            }
            let head = kept.holders.iter().find(|(of, head)| *of == holder && head.key != ask.key);
            if let Some((_, head)) = head
                && let Some((what, used, most)) = quota_lacks(&quota, tally, ask, Some(head))
            {
                let kept_for = Some(head.key.clone());
                return Err(Why::Quota { of: holder, what: what.to_owned(), used, most, kept_for });
            }
        }
        Ok(())
    }

    fn judge_budgets(&self, ask: &Ask) -> Result<(), Why> {
        let (shots, money) = (ask.demand.shots, ask.money_micro_usd);
        if shots == 0 && money == 0 {
            return Ok(());
        }
        if let Some(over) = self.held.spent.lacks(&self.policy.budget, shots, money, self.now_ms) {
            return Err(budget_why(over, "the daemon".to_owned()));
        }
        let Some(backend) = &ask.demand.backend else { return Ok(()) };
        let spent = self.backend_spent.get(backend).copied().unwrap_or_default();
        let over =
            self.policy.backend_budgets.get(backend).and_then(|b| spent.lacks(b, shots, money, self.now_ms));
        over.map_or(Ok(()), |over| Err(budget_why(over, format!("backend {backend:?}"))))
    }

    /// Beside the reservations of others, could it fit were nothing running?
    fn judge_reservations(&self, view: &View, ask: &Ask, need: Amounts) -> Result<(), Why> {
        let places = ask.demand.backend.as_ref().and_then(|name| self.capacity.backends.get(name));
        let all = Amounts {
            cpu: u64::from(self.capacity.cpu_cores),
            memory: self.capacity.memory_mib,
            slots: view.usable_slots,
            places: u64::from(places.copied().unwrap_or(0)),
        };
        let mut aside = Amounts::default();
        for (name, reservation) in view.of_others(ask) {
            aside = aside.more(reserved(reservation, ask));
            if need.beyond(all.less(aside), ask).is_some() {
                let until_ms = reservation.until_ms;
                return Err(Why::Reserved { reservation: name.clone(), until_ms });
            }
        }
        Ok(())
    }

    /// What is free for `ask`, reservations of others set aside.
    fn free_for(&self, view: &View, ask: &Ask) -> Amounts {
        self.free_all(view, ask).less(self.set_aside(view, ask, ask))
    }

    /// What `ask` may take so that `head` finds no less than it needs, or no less than now.
    fn free_beside(&self, view: &View, head: &Ask, ask: &Ask) -> Amounts {
        let mut keep = Amounts::of(head);
        if head.demand.backend != ask.demand.backend {
            keep.places = 0;
        }
        // Of what the head does not need, nothing is kept for it, nor what is set aside from it.
        let from_head =
            self.set_aside(view, head, ask).each(keep, |aside, keep| if keep == 0 { 0 } else { aside });
        let aside = self.set_aside(view, ask, ask).larger(from_head);
        self.free_all(view, ask).less(aside).less(keep)
    }

    fn free_all(&self, view: &View, ask: &Ask) -> Amounts {
        let places = ask.demand.backend.as_ref().map_or(0, |name| {
            let all = self.capacity.backends.get(name).copied().unwrap_or(0);
            u64::from(all).saturating_sub(self.held.places_on(name))
        });
        Amounts { slots: view.free_slots_undrained, places, ..view.free }
    }

    /// What is left of reservations that do not cover the owner of `of`, with places on the backend of
    /// `ask`.
    fn set_aside(&self, view: &View, of: &Ask, ask: &Ask) -> Amounts {
        view.of_others(of).fold(Amounts::default(), |sum, (_, reservation)| {
            let tally = match &reservation.holder {
                Holder::User(name) => self.users.get(name),
                Holder::Workflow(name) => self.workflows.get(name),
            };
            let used = tally.map_or_else(Amounts::default, |tally| Amounts {
                cpu: tally.cpu_cores,
                memory: tally.memory_mib,
                slots: tally.slots,
                places: ask.demand.backend.as_ref().map_or(0, |name| tally.places_on(name)),
            });
            sum.more(reserved(reservation, ask).less(used))
        })
    }

    /// Whether the lease just given to `taker` left `head` without something it needs.
    pub(super) fn overtook(&self, view: &View, taker: &Ask, head: &Ask) -> bool {
        let took = Amounts::of(taker);
        let need = Amounts::of(head);
        let free = self.free_for(view, head);
        let same_backend = taker.demand.backend == head.demand.backend;
        need.cpu > free.cpu
            || (took.memory > 0 && need.memory > free.memory)
            || (took.slots > 0 && need.slots > free.slots)
            || (took.places > 0 && same_backend && need.places > free.places)
    }

    /// Whether the lease just given to `taker` left `head` without a part of the quota of `holder`.
    pub(super) fn overtook_in(&self, holder: &Holder, taker: &Ask, head: &Ask) -> bool {
        let quota = self.policy.quota(holder);
        let tally = self.held_by(holder);
        match quota_lacks(&quota, &tally, head, None) {
            Some(("MiB of memory", ..)) => taker.demand.memory_mib > 0,
            Some(_) => true,
            None => false,
        }
    }
}

impl View {
    pub(super) const fn reservations(&self) -> usize {
        self.reservations.len()
    }

    fn of_others(&self, ask: &Ask) -> impl Iterator<Item = &(String, Reservation)> {
        self.reservations.iter().filter(|(_, reservation)| !reservation.holder.covers(&ask.owner))
    }
}

fn reserved(reservation: &Reservation, ask: &Ask) -> Amounts {
    let places = ask.demand.backend.as_ref().and_then(|name| reservation.backends.get(name));
    Amounts {
        cpu: reservation.cpu_cores,
        memory: reservation.memory_mib,
        slots: reservation.slots,
        places: places.copied().unwrap_or(0),
    }
}

/// The part of a quota that `ask` would exceed, if `head` too shall find room.
fn quota_lacks(
    quota: &Quota,
    tally: &Tally,
    ask: &Ask,
    head: Option<&Ask>,
) -> Option<(&'static str, u64, u64)> {
    let (need, keep) = (Amounts::of(ask), head.map_or_else(Amounts::default, Amounts::of));
    let parts = [
        ("stages", tally.stages, 1, u64::from(head.is_some()), quota.stages),
        ("CPU cores", tally.cpu_cores, need.cpu, keep.cpu, quota.cpu_cores),
        ("MiB of memory", tally.memory_mib, need.memory, keep.memory, quota.memory_mib),
    ];
    parts.into_iter().find_map(|(what, used, more, keep, most)| {
        let most = most?;
        let over = more > 0 && used.saturating_add(more).saturating_add(keep) > most;
        over.then_some((what, used, most))
    })
}

fn budget_why(over: super::tally::Overspent, of: String) -> Why {
    let what = over.what.to_owned();
    Why::Budget { of, what, used: over.used, most: over.most, until_ms: over.until_ms }
}
