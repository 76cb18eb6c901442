//! Why an ask waits, and the sentence for it.

use super::capacity::{Ask, LeaseKey, Resource};
use super::ledger::{Lease, Ledger};
use super::policy::Holder;
use serde::{Deserialize, Serialize};

/// Holders that a sentence names; more are counted.
const NAMED_MAX: usize = 3;

/// What an ask waits for: the first that is in its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// An operator drained what it needs.
    Drained(Resource),
    /// As many runs hold resources as may.
    Parallel { most: u32 },
    /// The user or workflow has as much at once as it may; `kept_for` is an older ask of the same holder.
    Quota { of: Holder, what: String, used: u64, most: u64, kept_for: Option<LeaseKey> },
    /// What may be used in an hour or a day is used up.
    Budget { of: String, what: String, used: u64, most: u64, until_ms: u64 },
    /// Beside what is set aside for others there is too little, even were nothing else running.
    Reserved { reservation: String, until_ms: u64 },
    /// Others hold it. `behind` is whoever is first in line for it, if another.
    Short { resource: Resource, behind: Option<LeaseKey> },
    /// It is free, and kept for `head`, which others have passed for long enough.
    Kept { resource: Resource, head: LeaseKey },
    /// The other stages of its own run hold what the run may have at once.
    Ceiling { what: String, used: u64, most: u64 },
}

impl Why {
    /// Whether it waits for what others hold, and not for a limit of its own or an operator.
    pub const fn competes(&self) -> bool {
        matches!(self, Self::Short { .. } | Self::Kept { .. })
    }

    /// The reason in one word, for JSON answers.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Drained(_) => "drain",
            Self::Parallel { .. } => "parallel",
            Self::Quota { .. } => "quota",
            Self::Budget { .. } => "budget",
            Self::Reserved { .. } => "reservation",
            Self::Short { .. } => "resource",
            Self::Kept { .. } => "kept",
            Self::Ceiling { .. } => "ceiling",
        }
    }

    /// When time alone takes it away.
    pub const fn until_ms(&self) -> Option<u64> {
        match self {
            Self::Budget { until_ms, .. } | Self::Reserved { until_ms, .. } => Some(*until_ms),
            _ => None,
        }
    }

    /// In a few fixed words.
    pub const fn short(&self) -> &'static str {
        match self {
            Self::Drained(_) => "an operator: what it needs is drained",
            Self::Parallel { .. } => "another run to end: as many run side by side as may",
            Self::Quota { .. } => "its quota",
            Self::Budget { .. } => "the next hour or day: its budget is used up",
            Self::Reserved { .. } => "the end of a reservation",
            Self::Ceiling { .. } => "other stages of its own run: the run has as much as it may",
            Self::Short { resource: Resource::Cpu, .. } => "CPU cores",
            Self::Short { resource: Resource::Memory, .. } => "memory",
            Self::Short { resource: Resource::Backend(_), .. } => "a place on the quantum backend",
            Self::Short { .. } => "a worker slot",
            Self::Kept { .. } => "a stage that has waited longer and comes first",
        }
    }
}

impl Ledger {
    /// One sentence for `explain`: what is in the way, and who holds it. `time` writes a time for people,
    /// `stage` names the stage of a lease or an ask.
    pub fn sentence(
        &self,
        ask: &Ask,
        why: &Why,
        time: impl Fn(u64) -> String,
        stage: impl Fn(&LeaseKey) -> String,
    ) -> String {
        match why {
            Why::Ceiling { what, used, most } => format!(
                "waits for other stages of its own run, which hold {used} of the {most} {what} that the run may have at once"
            ),
            Why::Drained(resource) => format!("waits for {resource}, which an operator has drained"),
            Why::Parallel { most } => {
                let open = self.open_runs.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
                format!("waits for one of the {most} runs that may run side by side to end: {open}")
            }
            Why::Quota { of, what, used, most, kept_for: None } => {
                format!("waits for the quota of {of}: {used} of {most} {what} are in use")
            }
            Why::Quota { of, what, most, kept_for: Some(key), .. } => format!(
                "waits for the quota of {of}: what is left of {most} {what} is kept for {}, which is older",
                stage(key)
            ),
            Why::Budget { of, what, used, most, until_ms } => format!(
                "waits until {} for the budget of {of}: {used} of {most} {what} are used",
                time(*until_ms)
            ),
            Why::Reserved { reservation, until_ms } => {
                format!("waits for the reservation {reservation:?} to end at {}", time(*until_ms))
            }
            Why::Short { resource, behind } => {
                let held = self.holding(ask, resource, &stage);
                match behind {
                    Some(key) => format!("waits for {resource} ({held}), after {}", stage(key)),
                    None => format!("waits for {resource} ({held})"),
                }
            }
            Why::Kept { resource, head } => format!(
                "waits for {resource}: what is free is kept for {}, which others have passed for {} s",
                stage(head),
                self.policy.backfill_ms / 1000
            ),
        }
    }

    /// The leases on a resource, the longest first.
    pub fn holders_of(&self, resource: &Resource) -> Vec<(&LeaseKey, &Lease)> {
        let holds = |lease: &Lease| match resource {
            Resource::Machine | Resource::Cpu => true,
            Resource::Memory => lease.memory_mib > 0,
            Resource::AnySlot => lease.slot.is_some(),
            Resource::Slot(name) => lease.slot.as_ref() == Some(name),
            Resource::Backend(name) => lease.backend.as_ref() == Some(name),
        };
        let mut holders: Vec<_> = self.leases.iter().filter(|(_, lease)| holds(lease)).collect();
        holders.sort_by_key(|(_, lease)| lease.since_ms);
        holders
    }

    fn holding(&self, ask: &Ask, resource: &Resource, stage: impl Fn(&LeaseKey) -> String) -> String {
        let holders = self.holders_of(resource);
        let named = holders.iter().take(NAMED_MAX).map(|(key, lease)| {
            let user = &lease.owner.user;
            if user.is_empty() { stage(key) } else { format!("{} for {user}", stage(key)) }
        });
        let named = named.collect::<Vec<_>>().join(", ");
        let more = holders.len().saturating_sub(NAMED_MAX);
        let (cpu, memory) = self.free();
        let needs = match resource {
            Resource::Cpu => format!("{} asked, {cpu} free; ", ask.demand.cpu_cores.max(1)),
            Resource::Memory => format!("{} MiB asked, {memory} free; ", ask.demand.memory_mib),
            _ => String::new(),
        };
        match (holders.len(), more) {
            (0, _) => format!("{needs}the rest is set aside for others"),
            (_, 0) => format!("{needs}held by {named}"),
            _ => format!("{needs}held by {named} and {more} more"),
        }
    }
}
