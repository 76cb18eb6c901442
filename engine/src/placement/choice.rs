//! The order in which waiting stages are offered what is free.

use super::ledger::{Lease, LeaseKey, Ledger, SlotKind};
use crate::definition::Demand;
use serde::{Deserialize, Serialize};

/// Waiting this long lifts an ask by one priority, so that low priorities are late, never starved.
pub const AGEING_MS_PER_PRIORITY: u64 = 60_000;

/// A stage that is ready and waits for room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub key: LeaseKey,
    pub demand: Demand,
    /// The kind of slot it needs, besides cores and memory.
    pub slot: Option<SlotKind>,
    /// Higher first.
    pub priority: u8,
    pub asked_ms: u64,
}

/// An ask that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub key: LeaseKey,
    pub lease: Lease,
}

impl Ledger {
    /// Grants what fits, in order of aged priority, then of asking, then of name; removes it from `asks`.
    ///
    /// Small asks may pass a large one that does not fit (backfill). O(n log n + n x leases).
    pub fn place(&mut self, asks: &mut Vec<Ask>, now_ms: u64) -> Vec<Grant> {
        let aged = |ask: &Ask| {
            u64::from(ask.priority) + now_ms.saturating_sub(ask.asked_ms) / AGEING_MS_PER_PRIORITY
        };
        asks.sort_by(|a, b| {
            aged(b).cmp(&aged(a)).then(a.asked_ms.cmp(&b.asked_ms)).then_with(|| a.key.cmp(&b.key))
        });
        let mut grants = Vec::new();
        asks.retain(|ask| match self.try_grant(ask.key.clone(), &ask.demand, ask.slot, now_ms) {
            Ok(lease) => {
                grants.push(Grant { key: ask.key.clone(), lease });
                false
            }
            Err(_) => true,
        });
        grants
    }

    /// What an ask lacks right now, in words for `explain`; `None` if it would fit.
    pub fn lacking(&self, ask: &Ask) -> Option<&'static str> {
        self.clone().try_grant(ask.key.clone(), &ask.demand, ask.slot, 0).err()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Capacity;
    use super::*;
    use std::collections::BTreeMap;

    fn ledger(cores: u32, slots: usize) -> Ledger {
        Ledger::new(Capacity {
            cpu_cores: cores,
            memory_mib: 1000,
            slots: (1..=slots).map(|i| (format!("worker-{i}"), SlotKind::Worker)).collect(),
            backends: BTreeMap::from([("simulator".to_owned(), 1)]),
        })
    }

    fn ask(name: &str, cores: u32, priority: u8, asked_ms: u64) -> Ask {
        Ask {
            key: (name.to_owned(), 0),
            demand: Demand { cpu_cores: cores, memory_mib: 100, ..Demand::default() },
            slot: Some(SlotKind::Worker),
            priority,
            asked_ms,
        }
    }

    fn names(grants: &[Grant]) -> Vec<&str> {
        grants.iter().map(|g| g.key.0.as_str()).collect()
    }

    #[test]
    fn higher_priority_goes_first_and_no_core_is_given_twice() {
        let mut asks = vec![ask("low", 2, 0, 0), ask("high", 2, 2, 5)];
        let mut ledger = ledger(3, 4);
        assert_eq!(names(&ledger.place(&mut asks, 10)), ["high"]);
        assert_eq!(asks.len(), 1);
        assert_eq!(ledger.free().0, 1);
        assert!(ledger.release(&("high".to_owned(), 0)));
        assert!(!ledger.release(&("high".to_owned(), 0)), "a lease is given back once");
        assert_eq!(names(&ledger.place(&mut asks, 20)), ["low"]);
    }

    #[test]
    fn a_small_ask_passes_a_large_one_that_does_not_fit() {
        let mut ledger = ledger(2, 4);
        let mut asks = vec![ask("large", 3, 3, 0), ask("small", 1, 0, 1)];
        assert_eq!(names(&ledger.place(&mut asks, 2)), ["small"]);
    }

    #[test]
    fn waiting_lifts_a_low_priority_above_a_fresh_high_one() {
        let mut ledger = ledger(1, 4);
        let mut asks = vec![ask("old", 1, 0, 0), ask("new", 1, 2, 3 * AGEING_MS_PER_PRIORITY)];
        assert_eq!(names(&ledger.place(&mut asks, 3 * AGEING_MS_PER_PRIORITY)), ["old"]);
    }

    #[test]
    fn each_slot_holds_one_stage_and_a_backend_its_number_of_jobs() {
        let mut ledger = ledger(8, 1);
        let mut asks = vec![ask("a", 1, 1, 0), ask("b", 1, 1, 1)];
        assert_eq!(names(&ledger.place(&mut asks, 2)), ["a"]);
        assert_eq!(ledger.lacking(&asks[0]), Some("a worker slot"));
        let quantum = |name: &str| Ask {
            demand: Demand { backend: Some("simulator".to_owned()), ..Demand::default() },
            slot: None,
            ..ask(name, 1, 1, 0)
        };
        let mut asks = vec![quantum("q1"), quantum("q2")];
        assert_eq!(names(&ledger.place(&mut asks, 3)), ["q1"]);
    }

    #[test]
    fn a_demand_beyond_the_machine_is_refused_not_queued() {
        let ledger = ledger(2, 1);
        assert!(ledger.can_ever_fit(&ask("x", 3, 1, 0).demand).is_err());
        let elsewhere = Demand { backend: Some("nowhere".to_owned()), ..Demand::default() };
        assert!(ledger.can_ever_fit(&elsewhere).unwrap_err().to_string().contains("simulator"));
    }
}
