//! Who may have how much: quotas, weights, reservations, budgets. The default allows everything.

use super::capacity::Owner;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long later stages may pass the first one in line before what is free is kept for it. A minute
/// fills gaps with short stages and is little beside stages that take minutes to hours.
pub const BACKFILL_MS: u64 = 60_000;

/// Most weight a user can have; beyond it a share is no share any more.
pub const WEIGHT_MAX: u32 = 1_000;

/// The most that a user or workflow may have. At once: stages, cores, memory. In a day (UTC): shots, money.
/// `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    pub stages: Option<u64>,
    pub cpu_cores: Option<u64>,
    pub memory_mib: Option<u64>,
    pub shots_per_day: Option<u64>,
    pub money_micro_usd_per_day: Option<u64>,
}

/// What may be used up in a window of time. Windows are whole hours and days of UTC, and what was set
/// aside counts in the window of the grant. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    pub shots_per_hour: Option<u64>,
    pub shots_per_day: Option<u64>,
    pub money_micro_usd_per_day: Option<u64>,
}

/// A user or a workflow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    User(String),
    Workflow(String),
}

impl Holder {
    pub fn covers(&self, owner: &Owner) -> bool {
        match self {
            Self::User(name) => *name == owner.user,
            Self::Workflow(name) => *name == owner.workflow,
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name:?}"),
            Self::Workflow(name) => write!(f, "workflow {name:?}"),
        }
    }
}

/// A share set aside: from `from_ms` until `until_ms` nobody else is given what is left of it. Leases
/// that exist when it begins run to their end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub holder: Holder,
    pub cpu_cores: u64,
    pub memory_mib: u64,
    pub slots: u64,
    pub backends: BTreeMap<String, u64>,
    pub from_ms: u64,
    pub until_ms: u64,
}

impl Reservation {
    pub const fn holds_at(&self, now_ms: u64) -> bool {
        self.from_ms <= now_ms && now_ms < self.until_ms
    }
}

/// All rules beside the capacity itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Quota of every user that `users` does not name.
    pub each_user: Quota,
    pub users: BTreeMap<String, Quota>,
    pub each_workflow: Quota,
    pub workflows: BTreeMap<String, Quota>,
    /// Share of a user under contention, 1..=[`WEIGHT_MAX`]; 1 for whoever is not named.
    pub weights: BTreeMap<String, u32>,
    /// By name, which `explain` shows.
    pub reservations: BTreeMap<String, Reservation>,
    /// For everything together.
    pub budget: Budget,
    /// For single backends.
    pub backend_budgets: BTreeMap<String, Budget>,
    /// How long a lease lives without being renewed; `None` is until it is given back.
    pub lease_ms: Option<u64>,
    pub backfill_ms: u64,
    /// Runs that may hold leases side by side, from a run's first lease until [`super::Ledger::release_run`].
    pub max_parallel_workflows: Option<u32>,
    /// Asks that may wait before [`super::Ledger::admit`] says busy.
    pub queue_max: Option<usize>,
    pub queue_max_per_user: Option<usize>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            each_user: Quota::default(),
            users: BTreeMap::new(),
            each_workflow: Quota::default(),
            workflows: BTreeMap::new(),
            weights: BTreeMap::new(),
            reservations: BTreeMap::new(),
            budget: Budget::default(),
            backend_budgets: BTreeMap::new(),
            lease_ms: None,
            backfill_ms: BACKFILL_MS,
            max_parallel_workflows: None,
            queue_max: None,
            queue_max_per_user: None,
        }
    }
}

impl Policy {
    pub fn weight(&self, user: &str) -> u32 {
        self.weights.get(user).copied().unwrap_or(1).clamp(1, WEIGHT_MAX)
    }

    pub fn user_quota(&self, name: &str) -> Quota {
        self.users.get(name).copied().unwrap_or(self.each_user)
    }

    pub fn workflow_quota(&self, name: &str) -> Quota {
        self.workflows.get(name).copied().unwrap_or(self.each_workflow)
    }

    pub fn quota(&self, holder: &Holder) -> Quota {
        match holder {
            Holder::User(name) => self.user_quota(name),
            Holder::Workflow(name) => self.workflow_quota(name),
        }
    }

    /// Whether anything limits what is used up over time; where nothing does, it need not be remembered.
    pub fn counts_spending(&self) -> bool {
        let of_quotas = self.users.values().chain(self.workflows.values());
        of_quotas
            .chain([&self.each_user, &self.each_workflow])
            .any(|quota| quota.shots_per_day.is_some() || quota.money_micro_usd_per_day.is_some())
            || self.budget != Budget::default()
            || self.backend_budgets.values().any(|budget| *budget != Budget::default())
    }

    /// Whether any quota limits anybody; most daemons have none.
    pub fn has_quotas(&self) -> bool {
        let none = Quota::default();
        self.each_user != none
            || self.each_workflow != none
            || self.users.values().chain(self.workflows.values()).any(|quota| *quota != none)
    }
}
