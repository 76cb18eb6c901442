//! Settings `scheduling`: who may have how much, what is kept for whom, and how long a queue may be.
//!
//! ```yaml
//! scheduling:
//!   max_parallel_workflows: 3
//!   lease: 60s
//!   queue: {runs: 10000, runs_per_user: 500}
//!   weights: {ada: 3, grace: 1}
//!   quotas:
//!     each_user: {stages: 8, memory: 8GiB}
//!     workflows: {nightly: {shots_per_day: 100000, usd_per_day: 20}}
//!   budget: {shots_per_hour: 50000}
//!   prices: {braket: {micro_usd_per_task: 300000, micro_usd_per_shot: 10000}}
//!   reservations:
//!     review: {user: ada, cpu_cores: 2, from: 2026-01-05T08:00:00Z, until: 2026-01-05T12:00:00Z}
//! ```
//! Rule: every field has a range, and all that are outside theirs are named at once. Absent: what single
//! workflows state. Start at [`Scheduling::policy`].

use super::SettingsError;
use super::amounts::{Lease, Size, Span, Usd};
use actors::admission::Price;
use engine::limits::RUNS_OPEN_MAX;
use engine::placement::{
    BACKFILL_MS, Budget, Capacity, Holder, Policy, Quota, RESERVATIONS_MAX, Reservation, WEIGHT_MAX,
    check_reservation,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Leases shorter than this are lost to a busy machine, longer ones keep a dead run's resources for a day.
const LEASE_MS: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;
/// Who waits for an hour is not helped by backfill any more.
const BACKFILL_MS_MAX: u64 = 3_600_000;
/// A run has at most a thousand stages; a hundred full runs waiting at once are an overload.
const STAGES_WAITING_MAX: usize = 1_000_000;
/// More shots than any device gives in a year.
const SHOTS_MAX: u64 = 1_000_000_000_000;
/// A hundred dollars a shot: whoever wrote more meant another unit.
const PRICE_MICRO_USD_MAX: u64 = 100_000_000;

/// All that may be said about placement. Everything is optional; without rules nothing is limited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduling {
    /// Runs that hold resources side by side, 1 to 10,000; by default as many as fit.
    pub max_parallel_workflows: Option<u32>,
    /// How long later stages may pass the first in line before what is free is kept for it, 0 to 1 h.
    pub backfill: Span,
    /// How long a lease lives without being renewed, 1 s to 1 d, or `none`.
    pub lease: Lease,
    pub queue: Queue,
    /// Shares of users under contention, 1 to 1,000 each; 1 for whoever is not named.
    pub weights: BTreeMap<String, u32>,
    pub quotas: Quotas,
    /// What everything together may use up.
    pub budget: Limits,
    /// What stages on one backend may use up.
    pub backend_budgets: BTreeMap<String, Limits>,
    /// What a task and a shot on a backend cost; without a price quotas and budgets of money count nothing.
    pub prices: BTreeMap<String, Prices>,
    pub reservations: BTreeMap<String, Reserved>,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            max_parallel_workflows: None,
            backfill: Span(BACKFILL_MS),
            lease: Lease::default(),
            queue: Queue::default(),
            weights: BTreeMap::new(),
            quotas: Quotas::default(),
            budget: Limits::default(),
            backend_budgets: BTreeMap::new(),
            prices: BTreeMap::new(),
            reservations: BTreeMap::new(),
        }
    }
}

/// Beyond these a submission is answered `busy`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Open runs, 1 to 10,000, which is also the default.
    pub runs: Option<usize>,
    /// Open runs of one user, 1 to 10,000.
    pub runs_per_user: Option<usize>,
    /// Stages that wait for room, 1 to 1,000,000.
    pub stages: Option<usize>,
    /// Stages of one user that wait for room, 1 to 1,000,000.
    pub stages_per_user: Option<usize>,
}

/// Who may have how much.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Of every user that is not named.
    pub each_user: Share,
    pub users: BTreeMap<String, Share>,
    /// Of every workflow that is not named.
    pub each_workflow: Share,
    pub workflows: BTreeMap<String, Share>,
}

/// At once: stages, cores, memory. In a day of UTC: shots, money.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Share {
    pub stages: Option<u64>,
    pub cpu_cores: Option<u64>,
    pub memory: Option<Size>,
    pub shots_per_day: Option<u64>,
    pub usd_per_day: Option<Usd>,
}

/// In whole hours and days of UTC.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub shots_per_hour: Option<u64>,
    pub shots_per_day: Option<u64>,
    pub usd_per_day: Option<Usd>,
}

/// In millionths of a US dollar, 0 to 100,000,000 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    pub micro_usd_per_task: u64,
    pub micro_usd_per_shot: u64,
}

/// A part kept for a user or a workflow.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reserved {
    /// Exactly one of `user` and `workflow`.
    pub user: Option<String>,
    pub workflow: Option<String>,
    pub cpu_cores: u64,
    pub memory: Size,
    pub slots: u64,
    /// Places by backend.
    pub backends: BTreeMap<String, u64>,
    /// As in 2026-01-05T08:00:00Z; from the beginning if left out.
    pub from: Option<String>,
    pub until: String,
}

/// A time in milliseconds since 1970 from its text.
///
/// # Errors
/// What was expected.
pub fn time_ms(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a time such as 2026-01-05T08:00:00Z, got {text:?}");
    let time = humantime::parse_rfc3339_weak(text).map_err(|_| expected())?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| expected())?;
    u64::try_from(since.as_millis()).map_err(|_| expected())
}

impl Reserved {
    fn reservation(&self) -> Result<Reservation, String> {
        let holder = match (&self.user, &self.workflow) {
            (Some(user), None) => Holder::User(user.clone()),
            (None, Some(workflow)) => Holder::Workflow(workflow.clone()),
            _ => return Err("expected exactly one of `user` and `workflow`".to_owned()),
        };
        let from = self.from.as_deref().map(time_ms).transpose().map_err(|e| format!("from: {e}"))?;
        let until_ms = time_ms(&self.until).map_err(|e| format!("until: {e}"))?;
        Ok(Reservation {
            holder,
            cpu_cores: self.cpu_cores,
            memory_mib: self.memory.0,
            slots: self.slots,
            backends: self.backends.clone(),
            from_ms: from.unwrap_or(0),
            until_ms,
        })
    }
}

impl Share {
    fn quota(&self) -> Quota {
        Quota {
            stages: self.stages,
            cpu_cores: self.cpu_cores,
            memory_mib: self.memory.map(|size| size.0),
            shots_per_day: self.shots_per_day,
            money_micro_usd_per_day: self.usd_per_day.map(|usd| usd.0),
        }
    }
}

impl Limits {
    fn budget(&self) -> Budget {
        Budget {
            shots_per_hour: self.shots_per_hour,
            shots_per_day: self.shots_per_day,
            money_micro_usd_per_day: self.usd_per_day.map(|usd| usd.0),
        }
    }
}

impl Scheduling {
    /// Every fault, each with its field and range; empty if there is none.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut within = |field: &str, value: u64, range: std::ops::RangeInclusive<u64>| {
            if !range.contains(&value) {
                let (low, high) = (range.start(), range.end());
                faults.push(format!("scheduling.{field}: expected {low} to {high}, got {value}"));
            }
        };
        let open_max = RUNS_OPEN_MAX as u64;
        if let Some(most) = self.max_parallel_workflows {
            within("max_parallel_workflows", u64::from(most), 1..=open_max);
        }
        within("backfill (ms)", self.backfill.0, 0..=BACKFILL_MS_MAX);
        if let Some(ms) = self.lease.0 {
            within("lease (ms)", ms, LEASE_MS);
        }
        let waiting_max = STAGES_WAITING_MAX as u64;
        for (field, value, most) in [
            ("queue.runs", self.queue.runs, open_max),
            ("queue.runs_per_user", self.queue.runs_per_user, open_max),
            ("queue.stages", self.queue.stages, waiting_max),
            ("queue.stages_per_user", self.queue.stages_per_user, waiting_max),
        ] {
            if let Some(value) = value {
                within(field, value as u64, 1..=most);
            }
        }
        for (user, weight) in &self.weights {
            within(&format!("weights.{user}"), u64::from(*weight), 1..=u64::from(WEIGHT_MAX));
        }
        let quotas = &self.quotas;
        let named = |group: &'static str, shares: &BTreeMap<String, Share>| {
            shares
                .iter()
                .map(|(name, share)| (format!("quotas.{group}.{name}"), share.shots_per_day))
                .collect::<Vec<_>>()
        };
        let each = [
            ("quotas.each_user".to_owned(), quotas.each_user.shots_per_day),
            ("quotas.each_workflow".to_owned(), quotas.each_workflow.shots_per_day),
        ];
        let shares = each.into_iter().chain(named("users", &quotas.users));
        for (field, shots) in shares.chain(named("workflows", &quotas.workflows)) {
            if let Some(shots) = shots {
                within(&format!("{field}.shots_per_day"), shots, 0..=SHOTS_MAX);
            }
        }
        let of_backends =
            self.backend_budgets.iter().map(|(name, budget)| (format!("backend_budgets.{name}"), budget));
        for (field, budget) in std::iter::once(("budget".to_owned(), &self.budget)).chain(of_backends) {
            for (part, shots) in
                [("shots_per_hour", budget.shots_per_hour), ("shots_per_day", budget.shots_per_day)]
            {
                if let Some(shots) = shots {
                    within(&format!("{field}.{part}"), shots, 0..=SHOTS_MAX);
                }
            }
        }
        for (name, price) in &self.prices {
            for (part, value) in [
                ("micro_usd_per_task", price.micro_usd_per_task),
                ("micro_usd_per_shot", price.micro_usd_per_shot),
            ] {
                within(&format!("prices.{name}.{part}"), value, 0..=PRICE_MICRO_USD_MAX);
            }
        }
        within("reservations (number of)", self.reservations.len() as u64, 0..=RESERVATIONS_MAX as u64);
        for (name, reserved) in &self.reservations {
            if let Err(why) = reserved.reservation() {
                faults.push(format!("scheduling.reservations.{name}: {why}"));
            }
        }
        faults
    }

    /// The rules as the ledger takes them.
    pub fn policy(&self) -> Policy {
        let shares = |of: &BTreeMap<String, Share>| {
            of.iter().map(|(name, share)| (name.clone(), share.quota())).collect()
        };
        let reservation =
            |(name, reserved): (&String, &Reserved)| Some((name.clone(), reserved.reservation().ok()?));
        Policy {
            each_user: self.quotas.each_user.quota(),
            users: shares(&self.quotas.users),
            each_workflow: self.quotas.each_workflow.quota(),
            workflows: shares(&self.quotas.workflows),
            weights: self.weights.clone(),
            reservations: self.reservations.iter().filter_map(reservation).collect(),
            budget: self.budget.budget(),
            backend_budgets: self
                .backend_budgets
                .iter()
                .map(|(name, limits)| (name.clone(), limits.budget()))
                .collect(),
            lease_ms: self.lease.0,
            backfill_ms: self.backfill.0,
            max_parallel_workflows: self.max_parallel_workflows,
            queue_max: self.queue.stages,
            queue_max_per_user: self.queue.stages_per_user,
        }
    }

    pub fn prices(&self) -> BTreeMap<String, Price> {
        let price = |price: &Prices| Price {
            micro_usd_per_task: price.micro_usd_per_task,
            micro_usd_per_shot: price.micro_usd_per_shot,
        };
        self.prices.iter().map(|(name, of)| (name.clone(), price(of))).collect()
    }

    /// Whether something here counts shots or what they cost.
    pub fn count_shots(&self) -> bool {
        let quotas = &self.quotas;
        let shares = quotas.users.values().chain(quotas.workflows.values());
        let mut shares = shares.chain([&quotas.each_user, &quotas.each_workflow]).map(Share::quota);
        let mut budgets = self.backend_budgets.values().chain([&self.budget]).map(|limits| limits.budget());
        !self.prices.is_empty()
            || shares.any(|quota| quota.shots_per_day.or(quota.money_micro_usd_per_day).is_some())
            || budgets.any(|budget| budget != Budget::default())
    }

    /// What names a backend or an amount that the machine does not have.
    ///
    /// # Errors
    /// Every such fault, with what there is.
    pub fn check_against(&self, capacity: &Capacity) -> Result<(), SettingsError> {
        let known: Vec<&str> = capacity.backends.keys().map(String::as_str).collect();
        let mut faults = Vec::new();
        for (field, names) in [
            ("backend_budgets", self.backend_budgets.keys().collect::<Vec<_>>()),
            ("prices", self.prices.keys().collect()),
        ] {
            for name in names.into_iter().filter(|name| !known.contains(&name.as_str())) {
                let known = known.join(", ");
                faults.push(format!("scheduling.{field}.{name}: expected a backend, there are: {known}"));
            }
        }
        for (name, reserved) in &self.reservations {
            // Whether it is over depends on the day, and yesterday's settings must start today.
            if let Ok(reservation) = reserved.reservation()
                && let Err(refused) = check_reservation(&reservation, capacity, 0)
            {
                faults.push(format!("scheduling.reservations.{name}.{refused}"));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(SettingsError(faults.join("\nerror[EX-0022]: "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::placement::SlotKind;

    const ALL: &str = "
max_parallel_workflows: 3
backfill: 90s
lease: 5m
queue: {runs: 100, runs_per_user: 10, stages: 1000, stages_per_user: 50}
weights: {ada: 3}
quotas:
  each_user: {stages: 8, memory: 8GiB}
  users: {grace: {cpu_cores: 2}}
  workflows: {nightly: {shots_per_day: 100000, usd_per_day: 20.5}}
budget: {shots_per_hour: 50000}
backend_budgets: {simulator: {shots_per_day: 7, usd_per_day: 1}}
prices: {simulator: {micro_usd_per_task: 300000, micro_usd_per_shot: 10000}}
reservations:
  review: {user: ada, cpu_cores: 2, memory: 512MiB, from: 2026-01-05T08:00:00Z, until: 2026-01-05 12:00:00}
";

    fn read(text: &str) -> Scheduling {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn every_field_comes_to_its_rule_in_its_unit() {
        let settings = read(ALL);
        assert_eq!(settings.faults(), [] as [String; 0]);
        let policy = settings.policy();
        assert_eq!(policy.max_parallel_workflows, Some(3));
        assert_eq!((policy.backfill_ms, policy.lease_ms), (90_000, Some(300_000)));
        assert_eq!((policy.queue_max, policy.queue_max_per_user), (Some(1_000), Some(50)));
        assert_eq!(policy.weights["ada"], 3);
        assert_eq!((policy.each_user.stages, policy.each_user.memory_mib), (Some(8), Some(8_192)));
        assert_eq!(policy.users["grace"].cpu_cores, Some(2));
        let nightly = policy.workflows["nightly"];
        assert_eq!(nightly.shots_per_day, Some(100_000));
        assert_eq!(nightly.money_micro_usd_per_day, Some(20_500_000));
        assert_eq!(policy.budget.shots_per_hour, Some(50_000));
        assert_eq!(policy.backend_budgets["simulator"].money_micro_usd_per_day, Some(1_000_000));
        let review = &policy.reservations["review"];
        assert_eq!(review.holder, Holder::User("ada".to_owned()));
        assert_eq!((review.cpu_cores, review.memory_mib), (2, 512));
        assert_eq!(review.until_ms - review.from_ms, 4 * 3_600_000);
        assert_eq!(settings.prices()["simulator"].micro_usd_per_shot, 10_000);
    }

    #[test]
    fn what_is_outside_its_range_is_named_with_field_and_range_all_at_once() {
        let text = "{max_parallel_workflows: 0, backfill: 2h, lease: 999ms, queue: {runs: 10001, runs_per_user: 0, stages: 0, stages_per_user: 1000001}, weights: {ada: 0, bob: 1001}, quotas: {each_user: {shots_per_day: 1000000000001}, users: {ada: {shots_per_day: 1000000000001}}, workflows: {w: {shots_per_day: 1000000000001}}}, budget: {shots_per_hour: 1000000000001}, prices: {simulator: {micro_usd_per_shot: 100000001}}, reservations: {a: {until: 2026-01-01T00:00:00Z}, b: {user: u, until: noon}}}";
        let faults = read(text).faults().join("\n");
        for expected in [
            "scheduling.max_parallel_workflows: expected 1 to 10000, got 0",
            "scheduling.backfill (ms): expected 0 to 3600000, got 7200000",
            "scheduling.lease (ms): expected 1000 to 86400000, got 999",
            "scheduling.queue.runs: expected 1 to 10000, got 10001",
            "scheduling.queue.runs_per_user: expected 1 to 10000, got 0",
            "scheduling.queue.stages: expected 1 to 1000000, got 0",
            "scheduling.queue.stages_per_user: expected 1 to 1000000, got 1000001",
            "scheduling.weights.ada: expected 1 to 1000, got 0",
            "scheduling.weights.bob: expected 1 to 1000, got 1001",
            "scheduling.quotas.each_user.shots_per_day: expected 0 to 1000000000000",
            "scheduling.quotas.users.ada.shots_per_day: expected",
            "scheduling.quotas.workflows.w.shots_per_day: expected",
            "scheduling.budget.shots_per_hour: expected",
            "scheduling.prices.simulator.micro_usd_per_shot: expected 0 to 100000000",
            "scheduling.reservations.a: expected exactly one of `user` and `workflow`",
            "scheduling.reservations.b: until: expected a time such as",
        ] {
            assert!(faults.contains(expected), "no {expected} in:\n{faults}");
        }
    }

    #[test]
    fn a_wrong_unit_or_word_names_what_was_expected() {
        for (text, expected) in [
            ("backfill: soon", "is not a duration"),
            ("lease: -3s", "is not a duration"),
            ("quotas: {each_user: {memory: 8}}", "names no unit"),
            ("quotas: {each_user: {usd_per_day: -1}}", "expected 0 to 1000000000 US dollars"),
            ("budget: {usd_per_day: 1e12}", "expected 0 to 1000000000 US dollars"),
            ("queue: {run: 3}", "run"),
            ("weights: {ada: -1}", "weights"),
        ] {
            let error = serde_saphyr::from_str::<Scheduling>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(read("lease: none").lease, Lease(None));
        assert_eq!(read("backfill: 0").backfill, Span(0));
    }

    #[test]
    fn what_the_machine_does_not_have_is_refused_with_what_it_has() {
        let capacity = Capacity {
            cpu_cores: 1,
            memory_mib: 100,
            slots: [("worker-1".to_owned(), SlotKind::Worker)].into(),
            backends: [("simulator".to_owned(), 2)].into(),
        };
        let refused = read(ALL).check_against(&capacity).unwrap_err().0;
        assert!(refused.contains("reservations.review.cpu_cores: expected at most 1"), "{refused}");
        let refused = read("prices: {ibm: {}}").check_against(&capacity).unwrap_err().0;
        assert!(refused.contains("prices.ibm: expected a backend, there are: simulator"), "{refused}");
        // A reservation that is over is no fault of settings that were right when it stood.
        let over = read("reservations: {a: {user: ada, slots: 1, until: 2001-01-01T00:00:00Z}}");
        assert_eq!(over.check_against(&capacity), Ok(()));
    }
}
