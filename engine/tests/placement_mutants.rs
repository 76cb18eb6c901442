//! The judge of placement is judged: each mutant breaks one promise, and the simulation must notice.
//!
//! A mutant wraps the ledger and alters what it hears or says; nothing in the engine knows of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod place;

use engine::placement::{
    Ask, Budget, Capacity, Lease, LeaseKey, Ledger, Outcome, Policy, Quota, Resource, StaleLease, Waits, Why,
};
use place::placer::Placer;
use place::world::live;

/// Seeds within which a mutant must be caught; most need fewer than ten.
const SEEDS: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    GrantsTwice,
    ForgetsAReleaseInSeven,
    TakesOldFences,
    IgnoresQuotasOfUsers,
    IgnoresQuotasOfWorkflows,
    IgnoresReservations,
    IgnoresDrains,
    IgnoresTheEndOfDrains,
    IgnoresParallelRuns,
    RunsNeverEnd,
    IgnoresBudgets,
    KeepsWhatWasNotUsed,
    IsPassedForEver,
    NeverBackfills,
    GrantsAGangInParts,
    NeverExpires,
    AlwaysSaysCores,
    TakesTheQueueAsItComes,
    LosesAnAsk,
    RefusesWhatMustWait,
    GivesOneAtATime,
    IgnoresWeights,
    IgnoresWhatTheRunHolds,
    IgnoresCeilings,
}

#[derive(Clone)]
struct Mutant {
    fault: Fault,
    ledger: Ledger,
}

impl Mutant {
    fn of(fault: Fault) -> Self {
        let none = Capacity { cpu_cores: 0, memory_mib: 0, slots: [].into(), backends: [].into() };
        Self { fault, ledger: Ledger::new(none) }
    }

    fn bend(&self, mut policy: Policy) -> Policy {
        match self.fault {
            Fault::IgnoresQuotasOfUsers => {
                policy.each_user = Quota::default();
                policy.users.clear();
            }
            Fault::IgnoresQuotasOfWorkflows => policy.each_workflow = Quota::default(),
            Fault::IgnoresReservations => policy.reservations.clear(),
            Fault::IgnoresParallelRuns => policy.max_parallel_workflows = None,
            Fault::IgnoresBudgets => {
                policy.budget = Budget::default();
                policy.backend_budgets.clear();
            }
            Fault::IsPassedForEver => policy.backfill_ms = u64::MAX / 4,
            Fault::IgnoresWeights => policy.weights.clear(),
            _ => {}
        }
        policy
    }

    fn is_seventh(&self, key: &LeaseKey, fence: u64) -> bool {
        fence.is_multiple_of(7) && self.ledger.leases().get(key).is_some_and(|lease| lease.fence == fence)
    }

    /// The ask as if its run had no ceiling; one that alone is too large stays too large, if only what the
    /// run holds is to be forgotten.
    fn without_ceiling(&self, ask: &Ask) -> Ask {
        let none = Ask { ceiling: engine::definition::Demand::default(), ..ask.clone() };
        let too_large = self.ledger.may_ever_fit(ask).is_err();
        if too_large && self.fault == Fault::IgnoresWhatTheRunHolds { ask.clone() } else { none }
    }

    /// Takes granted leases back and says that cores lack.
    fn take_back(&mut self, asks: &[Ask], outcome: &mut Outcome, from: usize) {
        for grant in outcome.grants.split_off(from) {
            self.ledger.release(&grant.key);
            let ask = asks.iter().position(|ask| ask.key == grant.key).unwrap();
            outcome.waits.push(Waits { ask, why: Why::Short { resource: Resource::Cpu, behind: None } });
        }
    }
}

impl Placer for Mutant {
    fn over(&self, capacity: Capacity, policy: Policy) -> Self {
        Self { fault: self.fault, ledger: Ledger::with_policy(capacity, self.bend(policy)) }
    }

    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn place(&mut self, asks: &[Ask], now_ms: u64) -> Outcome {
        let blind: Vec<Ask>;
        let asks = match self.fault {
            Fault::IgnoresWhatTheRunHolds | Fault::IgnoresCeilings => {
                blind = asks.iter().map(|ask| self.without_ceiling(ask)).collect();
                &blind[..]
            }
            _ => asks,
        };
        if self.fault == Fault::GrantsTwice {
            let (capacity, policy) = (self.ledger.capacity().clone(), self.ledger.policy().clone());
            self.ledger = Ledger::with_policy(capacity, policy);
        }
        if self.fault == Fault::TakesTheQueueAsItComes {
            let mut all = Outcome::default();
            for (at, ask) in asks.iter().enumerate() {
                let one = self.ledger.place_all(std::slice::from_ref(ask), now_ms);
                all.grants.extend(one.grants);
                all.waits.extend(one.waits.into_iter().map(|wait| Waits { ask: at, ..wait }));
                all.never.extend(one.never.into_iter().map(|(_, never)| (at, never)));
            }
            return all;
        }
        let mut outcome = self.ledger.place_all(asks, now_ms);
        match self.fault {
            Fault::NeverBackfills if !outcome.waits.is_empty() => self.take_back(asks, &mut outcome, 0),
            Fault::GivesOneAtATime if outcome.grants.len() > 1 => self.take_back(asks, &mut outcome, 1),
            Fault::GrantsAGangInParts => {
                for grant in outcome.grants.iter_mut().filter(|grant| grant.lease.backend.is_some()) {
                    grant.lease.slot = None;
                }
            }
            Fault::AlwaysSaysCores => {
                for wait in &mut outcome.waits {
                    wait.why = Why::Short { resource: Resource::Cpu, behind: None };
                }
            }
            Fault::LosesAnAsk => drop(outcome.waits.pop()),
            Fault::RefusesWhatMustWait => {
                if let Some(wait) = outcome.waits.pop() {
                    outcome.never.push((wait.ask, engine::placement::NeverFits::Slot));
                }
            }
            _ => {}
        }
        outcome
    }

    fn settle(
        &mut self,
        key: &LeaseKey,
        fence: u64,
        used: (u64, u64),
        now_ms: u64,
    ) -> Result<(), StaleLease> {
        match self.fault {
            Fault::ForgetsAReleaseInSeven if self.is_seventh(key, fence) => Ok(()),
            Fault::TakesOldFences if self.ledger.release_at(key, now_ms) => Ok(()),
            Fault::KeepsWhatWasNotUsed => self.ledger.settle(key, fence, (u64::MAX, u64::MAX), now_ms),
            _ => self.ledger.settle(key, fence, used, now_ms),
        }
    }

    fn expire(&mut self, now_ms: u64) -> Vec<(LeaseKey, Lease)> {
        if self.fault == Fault::NeverExpires { Vec::new() } else { self.ledger.expire(now_ms) }
    }

    fn release_run(&mut self, run: &str) -> usize {
        if self.fault != Fault::RunsNeverEnd {
            return self.ledger.release_run(run);
        }
        let keys: Vec<LeaseKey> = self.ledger.leases().keys().filter(|key| key.0 == run).cloned().collect();
        keys.iter().filter(|key| self.ledger.release(key)).count()
    }

    fn drain(&mut self, resource: Resource) {
        if self.fault != Fault::IgnoresDrains {
            self.ledger.drain(resource);
        }
    }

    fn undrain(&mut self, resource: &Resource) {
        if self.fault != Fault::IgnoresTheEndOfDrains {
            self.ledger.undrain(resource);
        }
    }

    fn set_policy(&mut self, policy: Policy, now_ms: u64) {
        let policy = self.bend(policy);
        self.ledger.set_policy(policy, now_ms);
    }
}

/// Fails unless some seed notices the fault, and notices it for a reason that contains one of `words`.
fn caught(fault: Fault, words: &[&str]) {
    let mutant = Mutant::of(fault);
    for seed in 0..SEEDS {
        if let Err(broken) = live(seed, &mutant) {
            let right = words.iter().any(|word| broken.contains(word));
            assert!(right, "{fault:?}, seed {seed}: caught for another reason: {broken}");
            println!("{fault:?} caught by seed {seed}: {}", broken.lines().next().unwrap_or_default());
            return;
        }
    }
    panic!("{fault:?} lived through {SEEDS} seeds");
}

#[test]
fn a_ledger_that_gives_or_keeps_what_it_must_not_is_caught() {
    caught(Fault::GrantsTwice, &["granted against", "fence", "a second lease", "could not be renewed"]);
    caught(Fault::ForgetsAReleaseInSeven, &["was given back twice", "idle", "leaked", "a false reason"]);
    caught(Fault::TakesOldFences, &["leaked: an old fence"]);
    caught(Fault::NeverExpires, &["should have expired"]);
    caught(Fault::GrantsAGangInParts, &["not all that was asked for"]);
}

#[test]
fn a_ledger_that_ignores_a_rule_is_caught() {
    caught(
        Fault::IgnoresQuotasOfUsers,
        &["granted against [Quota(User", "can never be had", "waits for ever"],
    );
    caught(Fault::IgnoresQuotasOfWorkflows, &["Quota(Workflow", "can never be had", "waits for ever"]);
    caught(Fault::IgnoresReservations, &["granted against", "idle", "a false reason"]);
    caught(Fault::IgnoresDrains, &["granted against [Drained"]);
    caught(Fault::IgnoresTheEndOfDrains, &["Drained", "deadlock"]);
    caught(Fault::IgnoresParallelRuns, &["granted against [Parallel"]);
    caught(Fault::IgnoresWhatTheRunHolds, &["granted against [Ceiling"]);
    caught(Fault::IgnoresCeilings, &["Ceiling", "can never be had", "waits for ever"]);
    caught(Fault::RunsNeverEnd, &["Parallel"]);
    caught(Fault::IgnoresBudgets, &["Budget", "can never be had", "waits for ever"]);
    caught(Fault::KeepsWhatWasNotUsed, &["Budget"]);
}

#[test]
fn a_ledger_that_lets_wait_what_must_not_wait_is_caught() {
    caught(Fault::IsPassedForEver, &["starved"]);
    caught(Fault::NeverBackfills, &["idle", "a false reason"]);
    caught(Fault::GivesOneAtATime, &["idle", "a false reason"]);
    caught(Fault::LosesAnAsk, &["answers to"]);
    caught(Fault::RefusesWhatMustWait, &["refused for ever"]);
    caught(Fault::AlwaysSaysCores, &["a false reason", "idle"]);
    caught(Fault::TakesTheQueueAsItComes, &["order", "starved"]);
}

#[test]
fn a_ledger_that_ignores_weights_misses_the_shares() {
    let parts = place::shares::of_weights(0, &Mutant::of(Fault::IgnoresWeights));
    assert!(parts.iter().any(|part| (part - 1.0).abs() > 0.05), "{parts:?}");
}
