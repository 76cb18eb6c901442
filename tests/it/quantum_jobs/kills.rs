//! kill -9 of the daemon at random moments, with orders at the vendor or at the Aer service.
//!
//! `KILLS=100` and `AER_KILLS=100` kill that often (20 and 5 if unset), `KILL_SEED` sets the moments.

use super::{
    Fake, Keys, SHOT_MICRO_USD, SHOTS, TASK_MICRO_USD, aer, aer_process, backend, backend_of, daemon_with,
    installed, jobs, reasons, result, submit,
};
use crate::harness::{Daemon, PATIENCE, wait_for};
use crate::kill::{Dice, from_environment};
use quantum::backends::aer::AER;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How a drill goes.
struct Plan<'a> {
    kills: u64,
    /// Longest life of a daemon before it is killed, where no job is waited for.
    life: Duration,
    /// A job is waited for at most so long before the daemon is killed all the same.
    job_wait: Duration,
    /// A job that was waited for is struck within this time.
    spread: Duration,
    params: Value,
    /// How often the vendor was turned to so far; without a daemon, by those before.
    calls: &'a dyn Fn(Option<&Daemon>) -> usize,
}

/// Counts of a kill drill.
#[derive(Debug, Default)]
struct Drill {
    kills: u64,
    /// Of these, the ones that struck some order in flight.
    in_flight: u64,
    rounds: u64,
    orders: u64,
    /// Longest time from the start of a daemon until it went on with an order, in milliseconds.
    went_on_ms: u128,
    struck: BTreeMap<String, u64>,
}

/// Rounds of some runs each, the daemon killed at random moments; `check` sees the result of each.
fn kill_at_random(
    daemon: &mut Daemon,
    plan: &Plan<'_>,
    dice: &mut Dice,
    mut check: impl FnMut(&Daemon, &str, Value),
) -> Drill {
    let mut drill = Drill::default();
    while drill.kills < plan.kills {
        drill.rounds += 1;
        let runs: Vec<String> = (0..3)
            .map(|i| {
                let mut params = plan.params.clone();
                params["seed"] = json!(drill.rounds * 10 + i);
                submit(daemon, &params)
            })
            .collect();
        let mut left = 5.min(plan.kills - drill.kills);
        while left > 0 {
            if dice.next().is_multiple_of(2) {
                // Half of the kills fall where a job is under way, however long it takes until there is one.
                let begun = Instant::now();
                while jobs(daemon, &["--state", "open"]).is_empty() && begun.elapsed() < plan.job_wait {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(dice.below(plan.spread));
            } else {
                std::thread::sleep(dice.below(plan.life));
            }
            let open = jobs(daemon, &["--state", "open"]);
            for job in &open {
                *drill.struck.entry(job["state"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            daemon.kill9();
            (drill.kills, left) = (drill.kills + 1, left - 1);
            let (before, begun) = ((plan.calls)(None), Instant::now());
            daemon.launch();
            if !open.is_empty() {
                drill.in_flight += 1;
                // How long until the vendor is turned to about it again?
                let asked = wait_for("the daemon goes on", PATIENCE, || {
                    ((plan.calls)(Some(daemon)) > before).then(|| begun.elapsed().as_millis())
                });
                drill.went_on_ms = drill.went_on_ms.max(asked);
            }
            wait_for("the daemon is back", PATIENCE, || (daemon.ctl(&["health"]).code == 0).then_some(()));
        }
        for run in &runs {
            let result = result(daemon, run);
            drill.orders += 1;
            check(daemon, run, result);
        }
    }
    daemon.expect_journal_whole();
    drill
}

#[test]
fn killed_at_random_moments_the_daemon_loses_no_task_buys_none_twice_and_keeps_the_budget() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let (kills, seed) = (from_environment("KILLS", 20), from_environment("KILL_SEED", 1));
    let price = TASK_MICRO_USD + SHOTS * SHOT_MICRO_USD;
    // A run may buy two jobs and needs one: what is bought twice shows in the books, not only in the budget.
    let budget = json!({ "run": { "micro_usd": 2 * price }, "day": { "micro_usd": 10_000 * price } });
    let mut daemon = daemon_with(json!({ "braket": backend(&fake, &keys, budget) }));
    let mut dice = Dice(seed);
    fake.control(&json!({ "queue_polls": 3, "run_polls": 3 }));
    let plan = Plan {
        kills,
        life: Duration::from_millis(700),
        job_wait: Duration::from_secs(8),
        spread: Duration::from_millis(150),
        params: json!({ "backend": "braket" }),
        calls: &|_| fake.calls(),
    };
    let drill = kill_at_random(&mut daemon, &plan, &mut dice, |daemon, run, result| {
        assert_eq!((&result["source"], reasons(&result).as_str()), (&json!("braket"), "[]"), "{result:#}");
        assert_eq!(jobs(daemon, &["--run", run]).len(), 1, "one order, one job");
        // A few replies get lost on the way of the next round.
        fake.control(&json!({ "faults": [
            { "op": "CreateQuantumTask", "kind": "lost", "times": 2 },
            { "op": "SearchQuantumTasks", "kind": "lost", "times": 1 },
            { "op": "result", "kind": "lost", "times": 1 },
        ]}));
    });
    let books = fake.books();
    assert!(books["tasks_per_token"].as_object().unwrap().values().all(|n| n == 1), "{books}");
    assert_eq!(
        fake.tasks().len() as u64,
        drill.orders,
        "none bought twice under another key, none left behind"
    );
    assert!(fake.tasks().iter().all(|task| task["status"] == "COMPLETED"), "{books}");
    assert_eq!(books["cost_micro_usd"], drill.orders * price);
    let shown = backend_of(&daemon, "braket");
    assert_eq!(shown["used_today"]["micro_usd"], drill.orders * price, "the ledger and the vendor agree");
    assert_eq!(shown["held_jobs"], json!([]));
    println!("{drill:?}; KILL_SEED={seed}");
}

#[test]
fn killed_at_random_moments_with_aer_every_run_ends_and_says_what_became_of_its_jobs() {
    if installed(AER).is_none() {
        return;
    }
    // Each costs a start of the service, which takes seconds.
    let (kills, seed) = (from_environment("AER_KILLS", 5), from_environment("KILL_SEED", 1));
    let mut daemon = daemon_with(json!({ "aer": aer() }));
    let mut dice = Dice(seed);
    let plan = Plan {
        kills,
        life: Duration::from_secs(8),
        job_wait: Duration::from_secs(30),
        // Its jobs take milliseconds once the service is up.
        spread: Duration::from_millis(4),
        params: json!({ "backend": "aer", "shots": 50_000 }),
        // Its own service is what it turns to: gone with the daemon before, and started anew for the order.
        calls: &|daemon| usize::from(daemon.is_some_and(|daemon| aer_process(daemon).is_some())),
    };
    let mut ends = BTreeMap::new();
    let drill = kill_at_random(&mut daemon, &plan, &mut dice, |daemon, run, result| {
        let whys = reasons(&result);
        *ends.entry(result["source"].as_str().unwrap().to_owned()).or_insert(0u64) += 1;
        let bought = jobs(daemon, &["--run", run]);
        let done = bought.iter().filter(|job| job["state"] == "done" && job["backend"] == "aer").count();
        let lost = bought.iter().filter(|job| job["state"] == "lost").count();
        assert_eq!(lost, 0, "{bought:#?}");
        match result["source"].as_str() {
            Some("aer") => assert_eq!(done, 1, "{bought:#?}"),
            // Its jobs died with the service twice; the simulator stands behind it and says so.
            Some("simulator") => assert!(whys.contains("aer"), "{whys}"),
            _ => panic!("{result:#}"),
        }
    });
    println!("{drill:?} {ends:?}; KILL_SEED={seed}");
}
