//! How long a placement of 10,000 ready stages on 100 resources takes. Prints; asserts no time.
//!
//! `cargo test --release -p engine --test placement_speed -- --ignored --nocapture`
#![allow(clippy::unwrap_used)]

mod place;

use engine::definition::Demand;
use engine::placement::{Ask, Capacity, Ledger, Owner, Policy, Quota, SlotKind};
use place::random::Random;
use std::time::Instant;

const ROUNDS: usize = 51;

fn capacity() -> Capacity {
    Capacity {
        cpu_cores: 256,
        memory_mib: 1 << 20,
        slots: (0..64).map(|slot| (format!("worker-{slot}"), SlotKind::Worker)).collect(),
        backends: (0..36).map(|backend| (format!("backend-{backend}"), 2)).collect(),
    }
}

fn asks(random: &mut Random) -> Vec<Ask> {
    (0..10_000u32)
        .map(|at| {
            let quantum = random.percent(30);
            Ask {
                key: (format!("run-{:05}", at / 4), at % 4),
                owner: Owner {
                    user: format!("user-{}", random.below(50)),
                    workflow: format!("workflow-{}", random.below(8)),
                },
                demand: Demand {
                    cpu_cores: random.between(1, 8) as u32,
                    memory_mib: random.between(64, 16_384),
                    backend: quantum.then(|| format!("backend-{}", random.below(36))),
                    ..Demand::default()
                },
                slot: (!quantum || random.percent(30)).then_some(SlotKind::Worker),
                money_micro_usd: 0,
                ceiling: Demand::default(),
                priority: random.below(4) as u8,
                asked_ms: random.below(600_000),
            }
        })
        .collect()
}

fn measure(name: &str, policy: &Policy) {
    let asks = asks(&mut Random::new(1));
    let empty = Ledger::with_policy(capacity(), policy.clone());
    let (mut first, mut again, mut granted) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let mut ledger = empty.clone();
        let began = Instant::now();
        let outcome = ledger.place_all(&asks, 600_000);
        first.push(began.elapsed());
        granted = outcome.grants.len();
        assert_eq!(granted + outcome.waits.len() + outcome.never.len(), asks.len());
        // One lease ends, and all others still wait.
        ledger.release_at(&outcome.grants[0].key, 600_100);
        let rest: Vec<Ask> = outcome.waits.iter().map(|wait| asks[wait.ask].clone()).collect();
        let began = Instant::now();
        let second = ledger.place_all(&rest, 600_200);
        again.push(began.elapsed());
        assert_eq!(second.grants.len() + second.waits.len(), rest.len());
    }
    first.sort();
    again.sort();
    println!(
        "{name}: empty machine, {granted} granted: median {:?}, worst {:?}; full machine, one lease ended: median {:?}, worst {:?}",
        first[ROUNDS / 2],
        first[ROUNDS - 1],
        again[ROUNDS / 2],
        again[ROUNDS - 1]
    );
}

#[test]
#[ignore = "measures time; run it alone"]
fn ten_thousand_stages_on_a_hundred_resources() {
    measure("no rules", &Policy::default());
    let each_user = Quota { stages: Some(8), cpu_cores: Some(64), ..Quota::default() };
    measure("quotas", &Policy { each_user, max_parallel_workflows: Some(100), ..Policy::default() });
}
