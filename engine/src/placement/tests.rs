//! What a ledger grants, keeps, refuses and says.

use super::*;
use crate::definition::Demand;
use std::collections::BTreeMap;

const MINUTE: u64 = 60_000;

fn capacity(cores: u32, slots: usize) -> Capacity {
    Capacity {
        cpu_cores: cores,
        memory_mib: 1000,
        slots: (1..=slots).map(|i| (format!("worker-{i}"), SlotKind::Worker)).collect(),
        backends: BTreeMap::from([("simulator".to_owned(), 1)]),
    }
}

fn ledger(cores: u32, slots: usize) -> Ledger {
    Ledger::new(capacity(cores, slots))
}

fn with(cores: u32, slots: usize, change: impl FnOnce(&mut Policy)) -> Ledger {
    let mut policy = Policy::default();
    change(&mut policy);
    Ledger::with_policy(capacity(cores, slots), policy)
}

fn ask(name: &str, cores: u32, priority: u8, asked_ms: u64) -> Ask {
    Ask {
        key: (name.to_owned(), 0),
        owner: Owner::default(),
        demand: Demand { cpu_cores: cores, memory_mib: 100, ..Demand::default() },
        slot: Some(SlotKind::Worker),
        money_micro_usd: 0,
        ceiling: Demand::default(),
        priority,
        asked_ms,
    }
}

fn of(user: &str, name: &str, cores: u32) -> Ask {
    Ask { owner: Owner { user: user.to_owned(), workflow: "w".to_owned() }, ..ask(name, cores, 1, 0) }
}

fn key(name: &str) -> LeaseKey {
    (name.to_owned(), 0)
}

fn names(grants: &[Grant]) -> Vec<&str> {
    grants.iter().map(|g| g.key.0.as_str()).collect()
}

fn why(outcome: &Outcome, asks: &[Ask], name: &str) -> Why {
    outcome.waits.iter().find(|wait| asks[wait.ask].key.0 == name).expect("it waits").why.clone()
}

fn alice() -> Holder {
    Holder::User("alice".to_owned())
}

#[test]
fn higher_priority_goes_first_and_no_core_is_given_twice() {
    let mut asks = vec![ask("low", 2, 0, 0), ask("high", 2, 2, 5)];
    let mut ledger = ledger(3, 4);
    assert_eq!(names(&ledger.place(&mut asks, 10)), ["high"]);
    assert_eq!(asks.len(), 1);
    assert_eq!(ledger.free().0, 1);
    assert!(ledger.release(&key("high")));
    assert!(!ledger.release(&key("high")), "a lease is given back once");
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

#[test]
fn a_demand_beyond_a_quota_or_budget_is_refused_with_the_limit_and_whose_it_is() {
    let ledger = with(8, 4, |policy| {
        policy.users.insert("alice".to_owned(), Quota { cpu_cores: Some(2), ..Quota::default() });
        policy.budget.shots_per_hour = Some(1000);
        policy
            .backend_budgets
            .insert("simulator".to_owned(), Budget { money_micro_usd_per_day: Some(5), ..Budget::default() });
    });
    let refused = ledger.may_ever_fit(&of("alice", "a", 3)).unwrap_err().to_string();
    assert_eq!(refused, "asks for 3 CPU cores, the quota of user \"alice\" is 2");
    assert_eq!(ledger.may_ever_fit(&of("bob", "a", 3)), Ok(()));
    let mut dear = of("bob", "a", 1);
    dear.demand.shots = 1001;
    let refused = ledger.may_ever_fit(&dear).unwrap_err().to_string();
    assert_eq!(refused, "asks for 1001 shots per hour, the budget of the daemon is 1000");
    (dear.demand.shots, dear.money_micro_usd) = (1, 6);
    assert_eq!(ledger.may_ever_fit(&dear), Ok(()), "the budget is the backend's");
    dear.demand.backend = Some("simulator".to_owned());
    let refused = ledger.may_ever_fit(&dear).unwrap_err().to_string();
    assert_eq!(refused, "asks for 6 micro-USD per day, the budget of backend \"simulator\" is 5");
    assert_eq!(super::Ledger::new(capacity(2, 0)).may_ever_fit(&ask("x", 1, 1, 0)), Err(NeverFits::Slot));
}

#[test]
fn a_full_queue_says_busy_and_names_the_user_whose_part_is_full() {
    let ledger = with(2, 2, |policy| (policy.queue_max, policy.queue_max_per_user) = (Some(10), Some(3)));
    assert_eq!(ledger.admit(&of("alice", "a", 1), 9, 2), Ok(()));
    let busy = ledger.admit(&of("alice", "a", 1), 10, 2);
    assert_eq!(busy, Err(Refused::Busy { waiting: 10, limit: 10 }));
    let busy = ledger.admit(&of("alice", "a", 1), 9, 3).unwrap_err();
    assert_eq!(busy, Refused::BusyUser { user: "alice".to_owned(), waiting: 3, limit: 3 });
}

#[test]
fn an_old_fence_changes_nothing_and_a_lease_that_is_not_renewed_expires() {
    let mut ledger = with(1, 1, |policy| policy.lease_ms = Some(100));
    let mut asks = vec![of("alice", "a", 1)];
    let first = ledger.place(&mut asks.clone(), 0)[0].lease.clone();
    assert_eq!(ledger.renew(&key("a"), first.fence, 60), Ok(Some(160)));
    assert!(ledger.expire(159).is_empty());
    assert_eq!(ledger.expire(160).len(), 1);
    assert_eq!(
        ledger.settle(&key("a"), first.fence, (0, 0), 161),
        Err(StaleLease::Gone { fence: first.fence })
    );
    let second = ledger.place(&mut asks, 170)[0].lease.clone();
    assert!(second.fence > first.fence);
    let stale = StaleLease::Newer { fence: first.fence, current: second.fence };
    assert_eq!(ledger.renew(&key("a"), first.fence, 171), Err(stale.clone()));
    assert_eq!(ledger.settle(&key("a"), first.fence, (0, 0), 171), Err(stale));
    assert_eq!(ledger.leases().len(), 1);
    assert_eq!(ledger.settle(&key("a"), second.fence, (0, 0), 172), Ok(()));
    assert_eq!(ledger.free(), (1, 1000));
}

#[test]
fn what_is_drained_gets_nothing_new_and_keeps_what_it_has() {
    let mut ledger = ledger(8, 2);
    ledger.drain(Resource::Slot("worker-1".to_owned()));
    let asks = [ask("a", 1, 1, 0), ask("b", 1, 1, 1)];
    let outcome = ledger.place_all(&asks, 2);
    assert_eq!(outcome.grants[0].lease.place, "worker-2");
    assert!(matches!(why(&outcome, &asks, "b"), Why::Short { resource: Resource::AnySlot, .. }));
    ledger.drain(Resource::Machine);
    assert!(ledger.undrain(&Resource::Slot("worker-1".to_owned())));
    let outcome = ledger.place_all(&asks[1..], 3);
    assert_eq!(why(&outcome, &asks[1..], "b"), Why::Drained(Resource::Machine));
    assert_eq!(ledger.leases().len(), 1);
    assert!(ledger.undrain(&Resource::Machine));
    assert_eq!(ledger.place_all(&asks[1..], 4).grants[0].lease.place, "worker-1");
}

#[test]
fn a_reservation_keeps_a_share_for_its_holder_until_it_ends() {
    let mut ledger = with(4, 8, |policy| {
        let reservation = Reservation {
            holder: alice(),
            cpu_cores: 3,
            memory_mib: 0,
            slots: 0,
            backends: BTreeMap::new(),
            from_ms: 0,
            until_ms: 1000,
        };
        policy.reservations.insert("trial".to_owned(), reservation);
    });
    let asks = [of("bob", "b1", 1), of("bob", "b2", 1), of("bob", "b3", 2), of("alice", "a1", 3)];
    let outcome = ledger.place_all(&asks, 0);
    let mut granted = names(&outcome.grants);
    granted.sort_unstable();
    assert_eq!(granted, ["a1", "b1"]);
    assert!(matches!(why(&outcome, &asks, "b2"), Why::Short { resource: Resource::Cpu, .. }));
    let reserved = Why::Reserved { reservation: "trial".to_owned(), until_ms: 1000 };
    assert_eq!(why(&outcome, &asks, "b3"), reserved);
    ledger.release_at(&key("a1"), 500);
    assert!(ledger.place_all(&asks[1..3], 999).grants.is_empty());
    assert_eq!(names(&ledger.place_all(&asks[1..3], 1000).grants), ["b2", "b3"]);
}

#[test]
fn a_quota_holds_at_once_and_over_the_day() {
    let mut ledger = with(8, 8, |policy| {
        policy.each_user = Quota { stages: Some(2), shots_per_day: Some(100), ..Quota::default() };
    });
    let mut asks: Vec<Ask> = ["a", "b", "c"].iter().map(|name| of("alice", name, 1)).collect();
    asks.iter_mut().for_each(|ask| ask.demand.shots = 50);
    asks.push(of("bob", "d", 1));
    let outcome = ledger.place_all(&asks, 0);
    assert_eq!(outcome.grants.len(), 3);
    assert!(matches!(why(&outcome, &asks, "c"), Why::Budget { most: 100, until_ms: DAY_MS, .. }));
    asks[2].demand.shots = 0;
    let outcome = ledger.place_all(&asks[2..3], 1);
    assert!(matches!(why(&outcome, &asks[2..3], "c"), Why::Quota { used: 2, most: 2, .. }));
    let fence = ledger.leases()[&key("a")].fence;
    assert_eq!(ledger.settle(&key("a"), fence, (10, 0), 2), Ok(()));
    asks[2].demand.shots = 40;
    assert_eq!(names(&ledger.place_all(&asks[2..3], 3).grants), ["c"], "what was not used may be used");
    assert_eq!(ledger.held_by(&alice()).spent.today(3), (100, 0));
    assert_eq!(ledger.held_by(&alice()).spent.today(DAY_MS), (0, 0));
}

#[test]
fn a_budget_of_an_hour_begins_anew_with_the_hour() {
    let mut ledger = with(8, 8, |policy| policy.budget.shots_per_hour = Some(10));
    let mut asks = vec![of("alice", "a", 1), of("alice", "b", 1)];
    asks.iter_mut().for_each(|ask| ask.demand.shots = 6);
    let outcome = ledger.place_all(&asks, 10);
    assert_eq!(outcome.grants.len(), 1);
    assert!(matches!(why(&outcome, &asks, "b"), Why::Budget { until_ms: HOUR_MS, used: 6, .. }));
    assert!(ledger.place_all(&asks[1..], HOUR_MS - 1).grants.is_empty());
    assert_eq!(ledger.place_all(&asks[1..], HOUR_MS).grants.len(), 1);
}

#[test]
fn a_stage_that_others_passed_for_a_minute_is_passed_no_more() {
    let mut ledger = ledger(2, 8);
    let large = ask("large", 2, 1, 0);
    assert_eq!(names(&ledger.place(&mut vec![ask("s0", 1, 3, 0), large.clone()], 0)), ["s0"]);
    let mut at = 0;
    let mut granted = Vec::new();
    // A new small stage comes every second and one ends every second, two at a time.
    for small in 1..200u64 {
        at = small * 1_000;
        let name = format!("s{small}");
        let mut asks = vec![large.clone(), Ask { priority: 1, asked_ms: at, ..ask(&name, 1, 1, at) }];
        granted.extend(ledger.place(&mut asks, at).into_iter().map(|grant| grant.key.0));
        if granted.contains(&"large".to_owned()) {
            break;
        }
        ledger.release_at(&key(&format!("s{}", small - 1)), at + 500);
    }
    assert!(granted.len() > 50, "small ones fill the gap first: {granted:?}");
    assert!(at <= MINUTE + 3_000, "granted after {at} ms");
}

#[test]
fn what_is_kept_says_for_whom() {
    let mut ledger = with(2, 8, |policy| policy.backfill_ms = 0);
    let asks = [ask("large", 2, 1, 0), ask("s1", 1, 1, 1), ask("s2", 1, 1, 2)];
    ledger.place_all(&[ask("s0", 1, 3, 0)], 0);
    assert_eq!(names(&ledger.place_all(&asks[..2], 1).grants), ["s1"]);
    ledger.release_at(&key("s0"), 2);
    let asks = [asks[0].clone(), asks[2].clone()];
    let outcome = ledger.place_all(&asks, 3);
    assert!(outcome.grants.is_empty());
    assert_eq!(why(&outcome, &asks, "s2"), Why::Kept { resource: Resource::Cpu, head: key("large") });
    assert_eq!(ledger.head(), Some((&key("large"), 1)));
    let sentence = ledger.sentence(
        &asks[0],
        &why(&outcome, &asks, "large"),
        |ms| ms.to_string(),
        |(run, stage)| format!("{run} stage {stage}"),
    );
    assert_eq!(sentence, "waits for CPU cores (2 asked, 1 free; held by s1 stage 0)");
}

#[test]
fn a_stage_that_needs_cores_a_slot_and_a_backend_takes_all_or_nothing() {
    let mut ledger = ledger(2, 1);
    let mut gang = of("alice", "gang", 1);
    gang.demand.backend = Some("simulator".to_owned());
    let asks = [of("bob", "b", 1), gang];
    let outcome = ledger.place_all(&asks[..1], 0);
    assert_eq!(outcome.grants.len(), 1);
    let outcome = ledger.place_all(&asks[1..], 1);
    assert!(matches!(why(&outcome, &asks[1..], "gang"), Why::Short { resource: Resource::AnySlot, .. }));
    assert_eq!(ledger.leases().len(), 1);
    ledger.release_at(&key("b"), 2);
    let lease = ledger.place_all(&asks[1..], 3).grants[0].lease.clone();
    assert_eq!((lease.place.as_str(), lease.slot.as_deref()), ("simulator", Some("worker-1")));
}

#[test]
fn only_so_many_runs_hold_resources_side_by_side() {
    let mut ledger = with(8, 8, |policy| policy.max_parallel_workflows = Some(2));
    let stage = |run: &str, stage: u32| Ask { key: (run.to_owned(), stage), ..ask(run, 1, 1, 0) };
    let asks = [stage("r1", 0), stage("r2", 0), stage("r3", 0), stage("r1", 1)];
    let outcome = ledger.place_all(&asks, 0);
    assert_eq!(names(&outcome.grants), ["r1", "r1", "r2"]);
    assert_eq!(why(&outcome, &asks, "r3"), Why::Parallel { most: 2 });
    ledger.release_at(&key("r2"), 1);
    assert!(ledger.place_all(&asks[2..3], 2).grants.is_empty(), "r2 goes on with its next stage");
    ledger.release_run("r2");
    assert_eq!(names(&ledger.place_all(&asks[2..3], 3).grants), ["r3"]);
}

#[test]
fn whoever_used_less_goes_first_and_weight_makes_time_slower() {
    let mut ledger = with(1, 1, |policy| policy.weights = BTreeMap::from([("alice".to_owned(), 3)]));
    let asks: Vec<Ask> =
        (0..40).map(|i| of(if i % 2 == 0 { "alice" } else { "bob" }, &format!("r{i:02}"), 1)).collect();
    let mut waiting = asks;
    let mut grants = Vec::new();
    for turn in 0..20u64 {
        let grant = ledger.place(&mut waiting, turn * 1000).remove(0);
        grants.push(grant.lease.owner.user.clone());
        ledger.release_at(&grant.key, turn * 1000 + 1000);
    }
    let of_alice = grants.iter().filter(|user| *user == "alice").count();
    assert!((14..=16).contains(&of_alice), "{of_alice} of 20 with weights 3 and 1: {grants:?}");
}

#[test]
fn what_nobody_waited_for_is_not_held_against_its_user() {
    let mut ledger = ledger(2, 2);
    let mut first = vec![of("alice", "a1", 1)];
    ledger.place(&mut first, 0);
    ledger.release_at(&key("a1"), 3_600_000);
    ledger.place(&mut Vec::new(), 3_600_000);
    let asks: Vec<Ask> =
        (0..4).map(|i| of(if i % 2 == 0 { "alice" } else { "bob" }, &format!("r{i}"), 1)).collect();
    let outcome = ledger.place_all(&asks, 3_600_001);
    assert_eq!(names(&outcome.grants), ["r0", "r1"], "an hour alone on the machine cost nobody anything");
}

#[test]
fn asking_again_for_a_stage_that_holds_a_lease_answers_with_that_lease() {
    let mut ledger = ledger(1, 1);
    let asks = [ask("a", 1, 1, 0)];
    let first = ledger.place_all(&asks, 0);
    let again = ledger.place_all(&asks, 5);
    assert_eq!(first.grants, again.grants);
    assert_eq!(ledger.leases().len(), 1);
}

#[test]
fn what_was_spent_before_this_ledger_counts_in_the_windows_that_still_run() {
    let mut ledger = ledger(2, 1);
    let owner = Owner { user: "ada".to_owned(), workflow: "w".to_owned() };
    let now = 3 * DAY_MS + 5 * HOUR_MS;
    ledger.charge(&owner, Some("simulator"), (4, 0), now);
    // Told late: an hour ago, and yesterday.
    ledger.charge(&owner, Some("simulator"), (7, 50), now - HOUR_MS);
    ledger.charge(&owner, None, (100, 100), now - DAY_MS);
    let sums = |ledger: &Ledger| {
        let (spent, of_backends) = ledger.spent();
        let user = ledger.held_by(&Holder::User("ada".to_owned())).spent;
        assert_eq!(
            (spent.today(now), of_backends["simulator"].today(now)),
            (user.today(now), user.today(now))
        );
        (spent.shots_in_hour(now), spent.today(now))
    };
    assert_eq!(sums(&ledger), (4, (11, 50)));
    ledger.refund(&owner, Some("simulator"), (3, 20), now - HOUR_MS);
    assert_eq!(sums(&ledger), (4, (8, 30)));
    ledger.refund(&owner, Some("simulator"), (1, 0), now);
    assert_eq!(sums(&ledger), (3, (7, 30)));
}
