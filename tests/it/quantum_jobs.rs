//! Quantum jobs through the real daemon: the Braket fake of `quantum/tests/fakes`, whose books count, and the real
//! Aer service. Killed daemons, killed services, lost replies, wrong results, wrong keys, spent budgets.
//!
//! `KILLS=100` kills that often (20 if unset), `KILL_SEED` sets the moments. Where pip cannot install, these tests
//! say so and are skipped. Waits between calls are shortened by `EXECUTING_DRILL_HURRY`, which only works where
//! faults may be injected.

#[path = "../../quantum/tests/fakes/server.rs"]
mod fakes;
mod faults;
mod kills;
mod refusals;
mod stops;
mod whole;

use crate::harness::{Daemon, small_problem};
use fakes::{ACCESS, DEVICE, Fake, SECRET, SHOT_MICRO_USD, TASK_MICRO_USD, cache, installed, write_keys};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const SHOTS: u64 = 64;

const STAGE: &str = "qaoa-optimization";

/// A folder with the keys of the fake.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        keys.write(ACCESS, SECRET);
        keys
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    fn write(&self, id: &str, secret: &str) {
        write_keys(&self.path(), id, secret);
    }
}

/// A backend of this server, with a budget.
fn backend(fake: &Fake, keys: &Keys, budget: Value) -> Value {
    let endpoint = fake.endpoint();
    json!({
        "kind": "braket", "region": "us-east-1", "device": DEVICE,
        "bucket": "bucket", "endpoint": endpoint, "s3_endpoint": endpoint,
        "credentials": keys.path().display().to_string(), "budget": budget, "queue_seconds": 600,
        "price": { "job_micro_usd": TASK_MICRO_USD, "shot_micro_usd": SHOT_MICRO_USD },
    })
}

fn aer() -> Value {
    json!({ "kind": "aer", "cache": cache().display().to_string(), "threads": 1, "queue_seconds": 120 })
}

/// A daemon with these backends, its waits shortened.
fn daemon_with(backends: Value) -> Daemon {
    hurried(backends, 20)
}

fn hurried(backends: Value, hurry: u32) -> Daemon {
    let mut all = crate::harness::settings();
    all["backends"] = backends;
    let mut daemon = Daemon::unstarted(None, &all);
    daemon.environment.push(("EXECUTING_DRILL_HURRY".to_owned(), hurry.to_string()));
    daemon.restart();
    daemon
}

/// A workflow of the one stage, with its parameters.
fn workflow(daemon: &Daemon, params: &Value) -> String {
    let mut params = params.clone();
    for (name, value) in [("shots", json!(SHOTS)), ("iterations", json!(20)), ("layers", json!(1))] {
        if params.get(name).is_none() {
            params[name] = value;
        }
    }
    let stage = json!({ "name": STAGE, "params": params, "retry": { "attempts": 3, "backoff": "100ms" } });
    let number = fs::read_dir(daemon.folder()).unwrap().count();
    daemon.file(&format!("w{number}.yaml"), &json!({ "workflow": "shots", "stages": [stage] }).to_string())
}

fn submit(daemon: &Daemon, params: &Value) -> String {
    let file = workflow(daemon, params);
    let files = small_problem();
    let mut args = vec![file.as_str()];
    args.extend(files.iter().map(String::as_str));
    daemon.submit(&args)
}

/// The result of a run of the one stage, which must succeed.
#[track_caller]
fn result(daemon: &Daemon, run: &str) -> Value {
    let shown = daemon.end_of(run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}\n{}", daemon.log());
    daemon.artefact(run, "qaoa_result.json")
}

#[track_caller]
fn run(daemon: &Daemon, params: &Value) -> Value {
    result(daemon, &submit(daemon, params))
}

fn jobs(daemon: &Daemon, args: &[&str]) -> Vec<Value> {
    let answer = daemon.ctl(&[&["jobs"], args].concat()).expect(0).json();
    answer["jobs"].as_array().unwrap().clone()
}

fn backend_of(daemon: &Daemon, name: &str) -> Value {
    let answer = daemon.ctl(&["backends"]).expect(0).json();
    let found = answer["backends"].as_array().unwrap().iter().find(|one| one["backend"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name} in {answer:#}"))
}

fn reasons(result: &Value) -> String {
    result["fallback"].to_string()
}

/// The Aer service that this daemon has started, if there is one.
fn aer_process(daemon: &Daemon) -> Option<u32> {
    let mut all = String::new();
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid())).ok()?.flatten() {
        all += &fs::read_to_string(task.path().join("children")).unwrap_or_default();
    }
    all.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().contains("aer_service.py")
    })
}
