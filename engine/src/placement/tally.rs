//! Sums over leases, kept as leases come and go, and sums over windows of time.

use super::ledger::Lease;
use super::policy::Budget;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const HOUR_MS: u64 = 3_600_000;
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// What is held right now by somebody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    pub stages: u64,
    pub cpu_cores: u64,
    pub memory_mib: u64,
    pub slots: u64,
    pub backends: BTreeMap<String, u64>,
    pub spent: Spent,
}

impl Tally {
    pub fn add(&mut self, lease: &Lease) {
        self.stages += 1;
        self.cpu_cores += u64::from(lease.cpu_cores);
        self.memory_mib += lease.memory_mib;
        self.slots += u64::from(lease.slot.is_some());
        if let Some(backend) = &lease.backend {
            *self.backends.entry(backend.clone()).or_default() += 1;
        }
    }

    pub fn remove(&mut self, lease: &Lease) {
        self.stages -= 1;
        self.cpu_cores -= u64::from(lease.cpu_cores);
        self.memory_mib -= lease.memory_mib;
        self.slots -= u64::from(lease.slot.is_some());
        if let Some(backend) = &lease.backend
            && let Some(places) = self.backends.get_mut(backend)
        {
            *places -= 1;
            if *places == 0 {
                self.backends.remove(backend);
            }
        }
    }

    pub fn places_on(&self, backend: &str) -> u64 {
        self.backends.get(backend).copied().unwrap_or(0)
    }

    /// Nothing held and nothing spent today: need not be remembered.
    pub fn is_nothing(&self, now_ms: u64) -> bool {
        self.stages == 0 && self.spent.today(now_ms) == (0, 0)
    }
}

/// What was set aside in the running hour and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    hour: u64,
    shots_hour: u64,
    day: u64,
    shots_day: u64,
    money_day: u64,
}

/// A budget that does not suffice now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overspent {
    pub what: &'static str,
    pub used: u64,
    pub most: u64,
    /// When the next window begins.
    pub until_ms: u64,
}

impl Spent {
    pub fn add(&mut self, shots: u64, money: u64, now_ms: u64) {
        let (hour, day) = (now_ms / HOUR_MS, now_ms / DAY_MS);
        if self.hour != hour {
            (self.hour, self.shots_hour) = (hour, 0);
        }
        if self.day != day {
            (self.day, self.shots_day, self.money_day) = (day, 0, 0);
        }
        self.shots_hour = self.shots_hour.saturating_add(shots);
        self.shots_day = self.shots_day.saturating_add(shots);
        self.money_day = self.money_day.saturating_add(money);
    }

    /// As [`Spent::add`], for what was told out of order: older windows than the newest count no more.
    pub fn add_past(&mut self, shots: u64, money: u64, at_ms: u64) {
        if at_ms / HOUR_MS >= self.hour {
            self.add(shots, money, at_ms);
        } else if at_ms / DAY_MS == self.day {
            self.shots_day = self.shots_day.saturating_add(shots);
            self.money_day = self.money_day.saturating_add(money);
        }
    }

    /// Takes back what a lease granted at `since_ms` did not use, where its window still runs.
    pub fn give_back(&mut self, shots: u64, money: u64, since_ms: u64) {
        if self.hour == since_ms / HOUR_MS {
            self.shots_hour = self.shots_hour.saturating_sub(shots);
        }
        if self.day == since_ms / DAY_MS {
            self.shots_day = self.shots_day.saturating_sub(shots);
            self.money_day = self.money_day.saturating_sub(money);
        }
    }

    /// Shots and money of the day at `now_ms`.
    pub fn today(&self, now_ms: u64) -> (u64, u64) {
        if self.day == now_ms / DAY_MS { (self.shots_day, self.money_day) } else { (0, 0) }
    }

    pub fn shots_in_hour(&self, now_ms: u64) -> u64 {
        if self.hour == now_ms / HOUR_MS { self.shots_hour } else { 0 }
    }

    /// Whether `shots` and `money` more would exceed `budget`.
    pub fn lacks(&self, budget: &Budget, shots: u64, money: u64, now_ms: u64) -> Option<Overspent> {
        let (shots_day, money_day) = self.today(now_ms);
        let hour_ends = (now_ms / HOUR_MS + 1) * HOUR_MS;
        let day_ends = (now_ms / DAY_MS + 1) * DAY_MS;
        [
            ("shots per day", budget.shots_per_day, shots_day, shots, day_ends),
            ("micro-USD per day", budget.money_micro_usd_per_day, money_day, money, day_ends),
            ("shots per hour", budget.shots_per_hour, self.shots_in_hour(now_ms), shots, hour_ends),
        ]
        .into_iter()
        .find_map(|(what, most, used, more, until_ms)| {
            let most = most?;
            (more > 0 && used.saturating_add(more) > most).then_some(Overspent { what, used, most, until_ms })
        })
    }
}
