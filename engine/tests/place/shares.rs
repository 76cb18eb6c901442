//! A thousand runs of ten users on a busy machine: who gets how much of it.

use super::placer::Placer;
use super::random::Random;
use engine::definition::Demand;
use engine::placement::{Ask, Capacity, LeaseKey, Owner, Policy, SlotKind};
use std::collections::BTreeMap;

/// Weights of the users; a user queues fifty runs per unit of weight, a thousand in all.
pub const WEIGHTS: [u32; 10] = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4];
const RUNS_PER_WEIGHT: u32 = 50;
const STAGES_PER_RUN: u32 = 3;
const CORES: u32 = 16;

/// Each user's part of all core-time, over the part its weight gives it, until the first user's queue is
/// empty. The stages of a run follow each other; all runs are queued at the start.
pub fn of_weights<P: Placer>(seed: u64, kind: &P) -> Vec<f64> {
    let mut random = Random::new(seed);
    let capacity = Capacity {
        cpu_cores: CORES,
        memory_mib: 1_000_000,
        slots: (0..CORES).map(|slot| (format!("worker-{slot:02}"), SlotKind::Worker)).collect(),
        backends: BTreeMap::new(),
    };
    let name = |user: usize| format!("user-{user}");
    let weights = WEIGHTS.iter().enumerate().map(|(user, weight)| (name(user), *weight)).collect();
    let mut placer = kind.over(capacity, Policy { weights, ..Policy::default() });
    let mut waiting = Vec::new();
    for (user, weight) in WEIGHTS.iter().enumerate() {
        for run in 0..weight * RUNS_PER_WEIGHT {
            waiting.push(ask(&mut random, format!("run-{user}-{run:04}"), 0, name(user), 0));
        }
    }
    let mut used: BTreeMap<String, u64> = BTreeMap::new();
    let mut ends: BTreeMap<(u64, LeaseKey), (String, u32)> = BTreeMap::new();
    let mut now = 0;
    loop {
        let outcome = placer.place(&waiting, now);
        for grant in outcome.grants {
            let user = grant.lease.owner.user.clone();
            let lasts = random.between(1_000, 60_000);
            *used.entry(user.clone()).or_default() += u64::from(grant.lease.cpu_cores) * lasts;
            waiting.retain(|ask| ask.key != grant.key);
            ends.insert((now + lasts, grant.key), (user, 0));
        }
        let all_wait = (0..WEIGHTS.len()).all(|user| waiting.iter().any(|ask| ask.owner.user == name(user)));
        let Some(((at, key), (user, _))) = ends.pop_first().filter(|_| all_wait) else { break };
        now = at;
        let fence = placer.ledger().leases()[&key].fence;
        placer.settle(&key, fence, (0, 0), now).unwrap();
        if key.1 + 1 < STAGES_PER_RUN {
            waiting.push(ask(&mut random, key.0, key.1 + 1, user, now));
        }
    }
    let total: u64 = used.values().sum();
    let weights: u32 = WEIGHTS.iter().sum();
    let part = |user: usize| used.get(&name(user)).copied().unwrap_or(0) as f64 / total as f64;
    WEIGHTS.iter().enumerate().map(|(user, w)| part(user) / (f64::from(*w) / f64::from(weights))).collect()
}

fn ask(random: &mut Random, run: String, stage: u32, user: String, now: u64) -> Ask {
    Ask {
        key: (run, stage),
        owner: Owner { user, workflow: "w".to_owned() },
        demand: Demand { cpu_cores: random.between(1, 4) as u32, memory_mib: 10, ..Demand::default() },
        slot: Some(SlotKind::Worker),
        money_micro_usd: 0,
        ceiling: Demand::default(),
        priority: random.below(4) as u8,
        asked_ms: now,
    }
}
