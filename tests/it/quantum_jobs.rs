//! Quantum jobs through the real daemon: the Braket fake of `quantum/tests/fakes`, whose books count, and the real
//! Aer service. Killed daemons, killed services, lost replies, wrong results, wrong keys, spent budgets.
//!
//! `KILLS=100` kills that often (20 if unset), `KILL_SEED` sets the moments. Where pip cannot install, these tests
//! say so and are skipped. Waits between calls are shortened by `EXECUTING_DRILL_HURRY`, which only works where
//! faults may be injected.

use crate::harness::{Daemon, PATIENCE, run_program, signal, small_problem, small_run, wait_for};
use crate::kill::{Dice, from_environment};
use quantum::backends::aer::{AER, List, provide};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const FAKES: List<'static> =
    List { name: "fakes", requirements: include_str!("../../quantum/tests/fakes/requirements.txt") };
const ACCESS: &str = "AKFAKECANARY";
const SECRET: &str = "secret-of-the-canary";
/// Prices of the fake, as its books count them.
const TASK_MICRO_USD: u64 = 300_000;
const SHOT_MICRO_USD: u64 = 350;
const SHOTS: u64 = 64;
const STAGE: &str = "qaoa-optimization";

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/aer-cache")
}

fn installed(list: List<'_>) -> Option<PathBuf> {
    provide(list, Path::new("python3"), &cache(), 900).map_err(|error| println!("skipped: {error}")).ok()
}

struct Fake {
    child: Child,
    port: u16,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fake {
    /// `None`, with a word, where it cannot be installed.
    fn start() -> Option<Self> {
        let python = installed(FAKES)?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("quantum/tests/fakes/fake_braket.py");
        let mut child = Command::new(python)
            .arg(program)
            .args([ACCESS, SECRET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { child, port: line.trim().parse().unwrap() })
    }

    fn http(&self, text: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }

    fn control(&self, wish: &Value) {
        let body = wish.to_string();
        let length = body.len();
        self.http(&format!(
            "POST /_control HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    fn books(&self) -> Value {
        self.http("GET /_books HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    }

    fn tasks(&self) -> Vec<Value> {
        self.books()["tasks"].as_array().unwrap().clone()
    }

    fn calls(&self) -> usize {
        self.books()["seen"].as_array().unwrap().len()
    }

    /// A backend of this server, with a budget.
    fn backend(&self, keys: &Path, budget: Value) -> Value {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        json!({
            "kind": "braket", "region": "us-east-1", "device": "arn:aws:braket:::device/qpu/fake/one",
            "bucket": "bucket", "endpoint": endpoint, "s3_endpoint": endpoint,
            "credentials": keys.display().to_string(), "budget": budget, "queue_seconds": 600,
            "price": { "job_micro_usd": TASK_MICRO_USD, "shot_micro_usd": SHOT_MICRO_USD },
        })
    }
}

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
        fs::write(self.path(), format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n"))
            .unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
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

#[test]
fn the_six_architectures_go_through_the_braket_fake_and_the_result_says_what_was_measured() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    let files = small_problem();
    let more = ["--set", "backend=braket", "--set", "shots=80"];
    let run = daemon.succeed(&small_run(&files, &more));
    let result = daemon.artefact(&run, "qaoa_result.json");
    // The fake's shot k measures k modulo 8: ten of each state, and two states are padding.
    assert_eq!(
        (&result["source"], &result["backend"], &result["simulated"], &result["encoding"]),
        (&json!("braket"), &json!("braket"), &json!(false), &json!("index"))
    );
    assert_eq!(
        (&result["qubits"], &result["designs"], &result["shots"], &result["shots_outside_feasible_set"]),
        (&json!(3), &json!(6), &json!(80), &json!(20))
    );
    assert_eq!((&result["designs_measured"], &result["fallback"]), (&json!(6), &json!([])));
    assert_eq!(result["calibration"], "2026-01-01T00:00:00");
    assert_eq!(result["gap_to_exact"], 0.0);
    assert_eq!(result["random_would_have_done_as_well"], true, "six designs need no quantum computer");
    assert_eq!(result["optimum_probability"], 0.125);
    let circuit = String::from_utf8(daemon.artefact_bytes(&run, "qaoa_circuit.qasm")).unwrap();
    assert!(
        circuit.starts_with("OPENQASM 3.0;") && !circuit.contains("input"),
        "angles are bound: {circuit}"
    );
    let plan = daemon.artefact(&run, "backend_plan.json");
    assert_eq!(plan["probe"]["qubits_max"], 25);
    assert_eq!(plan["estimate"]["micro_usd"], TASK_MICRO_USD + 80 * SHOT_MICRO_USD);
    assert_eq!(plan["fallback"], json!(["simulator", "classical-exact"]));
    assert_eq!(fake.tasks().len(), 1);
    // The rest of the run takes the pick for what it is: beside the exact choice.
    let analysis = daemon.artefact(&run, "risk_analysis.json");
    assert_eq!(analysis["qaoa"]["source"], "braket");
    let job = &jobs(&daemon, &["--run", &run])[0];
    assert_eq!(
        (&job["state"], &job["backend"], &job["shots"]),
        (&json!("done"), &json!("braket"), &json!(80))
    );
    assert_eq!(job["id"], fake.tasks()[0]["arn"]);
    // Computed again: another order, and the same bytes.
    let again = daemon.ctl(&["reproduce", &run]).expect(0).json();
    assert_eq!(again["reproduced"], true, "{again:#}");
    assert_eq!(fake.tasks().len(), 2, "what is computed again is bought again");
    let second = again["again"].as_str().unwrap();
    let compared = daemon.ctl(&["compare", &run, second]).expect(0).json();
    let differs = compared["differences"].to_string();
    assert!(!differs.contains("qaoa_result.json"), "{differs}");
    let other = daemon.succeed(&small_run(&files, &["--set", "backend=simulator", "--set", "shots=80"]));
    let compared = daemon.ctl(&["compare", &run, &other]).expect(0).json();
    let why = compared["why"].to_string();
    assert!(why.contains("source is braket in the first and simulator in the second"), "{compared:#}");
    assert!(why.contains("backend is braket in the first"), "{compared:#}");
    daemon.expect_journal_whole();
}

#[test]
fn the_six_architectures_go_through_aer_and_a_killed_service_is_labelled() {
    if installed(AER).is_none() {
        return;
    }
    // Polled a second after it was handed over, as in earnest: time enough to kill it before.
    let daemon = hurried(json!({ "aer": aer() }), 1);
    let tested = daemon.ctl(&["backend", "test", "aer"]).expect(0).json();
    assert_eq!(tested["job"]["counts"], json!([[1, 10]]), "{tested:#}");
    let first = run(&daemon, &json!({ "backend": "aer", "layers": 3, "shots": 2000 }));
    assert_eq!((&first["source"], &first["simulated"]), (&json!("aer"), &json!(true)));
    assert!(first["calibration"].as_str().unwrap().contains("noise ideal"), "{first:#}");
    // The simulator expects this of the same circuit; 2,000 shots agree within five standard errors.
    let (share, expected) = (
        first["optimum_probability"].as_f64().unwrap(),
        first["expected_by_simulator"]["optimum_probability"].as_f64().unwrap(),
    );
    let error = (expected * (1.0 - expected) / 2000.0).sqrt();
    assert!((share - expected).abs() < 5.0 * error, "{share} of the shots, {expected} expected");
    // Killed before it is polled for the first time: gone with its service, bought again, and it says so.
    let pid = aer_pid(&daemon);
    let killed = submit(&daemon, &json!({ "backend": "aer", "layers": 2, "shots": 5_000 }));
    wait_for("a job is handed over", PATIENCE, || {
        let there = jobs(&daemon, &["--run", &killed]);
        there.iter().any(|job| !job["id"].is_null()).then_some(())
    });
    signal(pid, nix::sys::signal::Signal::SIGKILL);
    let result = result(&daemon, &killed);
    let whys = reasons(&result);
    assert!(whys.contains("\"aer\"") && whys.contains("gone with it"), "{result:#}");
    assert_eq!((&result["source"], &result["shots"]), (&json!("aer"), &json!(5_000)));
    let states: Vec<Value> =
        jobs(&daemon, &["--run", &killed]).iter().map(|job| job["state"].clone()).collect();
    assert_eq!(states, ["failed", "done"]);
    assert_ne!(aer_pid(&daemon), pid, "another process serves");
    println!("killed service: {} {whys}", result["source"]);
}

/// The service among the daemon's children.
fn aer_pid(daemon: &Daemon) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", daemon.pid());
    wait_for("the service among the children", PATIENCE, || {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).ok()?;
        let mut all = fs::read_to_string(&children).unwrap_or_default();
        for task in tasks.flatten() {
            all += &fs::read_to_string(task.path().join("children")).unwrap_or_default();
        }
        all.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().contains("aer_service.py")
        })
    })
}

/// A job is waited for at most so long before the daemon is killed all the same.
const JOB_WAIT: Duration = Duration::from_secs(8);

/// Counts of a kill drill.
#[derive(Debug, Default)]
struct Drill {
    kills: u64,
    rounds: u64,
    orders: u64,
    /// Longest time from the start of a daemon until it went on with an order, in milliseconds.
    went_on_ms: u128,
    struck: BTreeMap<String, u64>,
}

/// Rounds of some runs each, the daemon killed at random moments; `check` sees the result of each.
fn kill_at_random(
    daemon: &mut Daemon,
    kills: u64,
    dice: &mut Dice,
    life: Duration,
    params: &Value,
    calls: Option<&dyn Fn() -> usize>,
    mut check: impl FnMut(&Daemon, &str, Value),
) -> Drill {
    let mut drill = Drill::default();
    while drill.kills < kills {
        drill.rounds += 1;
        let runs: Vec<String> = (0..3)
            .map(|i| {
                let mut params = params.clone();
                params["seed"] = json!(drill.rounds * 10 + i);
                submit(daemon, &params)
            })
            .collect();
        let mut left = 5.min(kills - drill.kills);
        while left > 0 {
            if dice.next().is_multiple_of(2) {
                // Half of the kills fall where a job is under way, however long it takes until there is one.
                let begun = Instant::now();
                while jobs(daemon, &["--state", "open"]).is_empty() && begun.elapsed() < JOB_WAIT {
                    std::thread::sleep(Duration::from_millis(2));
                }
                std::thread::sleep(dice.below(Duration::from_millis(150)));
            } else {
                std::thread::sleep(dice.below(life));
            }
            let open = jobs(daemon, &["--state", "open"]);
            for job in &open {
                *drill.struck.entry(job["state"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            daemon.kill9();
            (drill.kills, left) = (drill.kills + 1, left - 1);
            let (before, begun) = (calls.map(|calls| calls()), Instant::now());
            daemon.launch();
            if let (Some(calls), Some(before), false) = (calls, before, open.is_empty()) {
                // Some order was under way: how long until the vendor is asked about it again?
                let asked = wait_for("the daemon goes on", PATIENCE, || {
                    (calls() > before).then(|| begun.elapsed().as_millis())
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
    let mut daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), budget) }));
    let mut dice = Dice(seed);
    fake.control(&json!({ "queue_polls": 3, "run_polls": 3 }));
    let params = json!({ "backend": "braket" });
    let calls = || fake.calls();
    let drill = kill_at_random(
        &mut daemon,
        kills,
        &mut dice,
        Duration::from_millis(700),
        &params,
        Some(&calls),
        |daemon, run, result| {
            assert_eq!(
                (&result["source"], reasons(&result).as_str()),
                (&json!("braket"), "[]"),
                "{result:#}"
            );
            assert_eq!(jobs(daemon, &["--run", run]).len(), 1, "one order, one job");
            // A few replies get lost on the way of the next round.
            fake.control(&json!({ "faults": [
                { "op": "CreateQuantumTask", "kind": "lost", "times": 2 },
                { "op": "SearchQuantumTasks", "kind": "lost", "times": 1 },
                { "op": "result", "kind": "lost", "times": 1 },
            ]}));
        },
    );
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
    let (kills, seed) = (from_environment("KILLS", 20) / 4, from_environment("KILL_SEED", 1));
    let mut daemon = daemon_with(json!({ "aer": aer() }));
    let mut dice = Dice(seed);
    let params = json!({ "backend": "aer" });
    let mut ends = BTreeMap::new();
    let drill = kill_at_random(
        &mut daemon,
        kills,
        &mut dice,
        Duration::from_secs(4),
        &params,
        None,
        |daemon, run, result| {
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
        },
    );
    println!("{drill:?} {ends:?}; KILL_SEED={seed}");
}

#[test]
fn each_fault_of_a_vendor_is_handled_as_its_class_says() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    let params = json!({ "backend": "braket" });
    let mut tasks = 0;
    let create = |kind: Value| json!({ "faults": [kind] });
    for (what, faults, source, bought, word) in [
        (
            "too many requests",
            create(
                json!({"op": "CreateQuantumTask", "kind": "status", "status": 429, "error": "ThrottlingException", "times": 2}),
            ),
            "braket",
            1,
            "",
        ),
        (
            "a reply to a submission lost",
            create(json!({"op": "CreateQuantumTask", "kind": "lost"})),
            "braket",
            1,
            "",
        ),
        (
            "a server error over a submission",
            create(
                json!({"op": "CreateQuantumTask", "kind": "status", "status": 503, "error": "InternalServiceException", "times": 1}),
            ),
            "braket",
            1,
            "",
        ),
        (
            "a server error over a poll",
            create(
                json!({"op": "GetQuantumTask", "kind": "status", "status": 500, "error": "InternalServiceException", "times": 2}),
            ),
            "braket",
            1,
            "",
        ),
        (
            "a state that nobody knows",
            create(json!({"op": "GetQuantumTask", "kind": "unknown_state", "times": 2})),
            "braket",
            1,
            "",
        ),
        (
            "a result with missing shots, once",
            create(json!({"op": "result", "kind": "missing_shots"})),
            "braket",
            1,
            "",
        ),
        (
            "a result that came twice",
            create(json!({"op": "result", "kind": "doubled", "times": 2})),
            "braket",
            1,
            "",
        ),
        (
            "a result with missing shots, always",
            create(json!({"op": "result", "kind": "missing_shots", "times": 99})),
            "simulator",
            2,
            "63 shots came back, but 64",
        ),
        (
            "a result that is no result, always",
            create(json!({"op": "result", "kind": "garbage", "times": 2})),
            "braket",
            1,
            "",
        ),
        (
            "a refusal",
            create(
                json!({"op": "CreateQuantumTask", "kind": "status", "status": 400, "error": "ValidationException", "times": 9}),
            ),
            "simulator",
            0,
            "ValidationException",
        ),
    ] {
        fake.control(&faults);
        let result = run(&daemon, &params);
        assert_eq!(result["source"], source, "{what}: {result:#}");
        tasks += bought;
        assert_eq!(fake.tasks().len(), tasks, "{what}");
        assert!(reasons(&result).contains(word), "{what}: {}", reasons(&result));
        assert_eq!(result["fallback"].as_array().is_none_or(Vec::is_empty), word.is_empty(), "{what}");
    }
    assert!(fake.books()["tasks_per_token"].as_object().unwrap().values().all(|n| n == 1));
    daemon.expect_healthy();
}

/// Every file under a folder that holds one of the words.
fn files_with(folder: &Path, words: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, words));
        } else if entry.file_type().unwrap().is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            let holds = |word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
            if words.iter().any(|word| holds(word)) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_revoked_key_is_said_without_showing_it_and_the_next_in_the_chain_answers() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    let params = json!({ "backend": "braket" });
    let tested = daemon.ctl(&["backend", "test", "braket"]).expect(0).json();
    assert_eq!(tested["job"], Value::Null, "no job without --spend: {tested:#}");
    assert!(tested["why_no_job"].as_str().unwrap().contains("EX-0491"), "{tested:#}");
    assert_eq!(fake.tasks().len(), 0);
    let tested = daemon.ctl(&["backend", "test", "braket", "--spend"]).expect(0).json();
    // The fake measures shot k as k modulo 2.
    assert_eq!(tested["job"]["counts"], json!([[0, 5], [1, 5]]), "{tested:#}");
    assert_eq!(run(&daemon, &params)["source"], "braket");
    // The vendor knows neither this id nor this secret any more.
    keys.write("AKREVOKEDCANARY", "revoked-secret-canary");
    let result = self::run(&daemon, &params);
    assert_eq!((&result["source"], &result["simulated"]), (&json!("simulator"), &json!(true)));
    assert!(reasons(&result).contains("EX-0488"), "{}", reasons(&result));
    assert_eq!(result["fallback"][0]["backend"], "braket");
    let refused = daemon.ctl(&["backend", "test", "braket"]).expect(1);
    assert!(refused.stderr.contains("EX-0490") && refused.stderr.contains("EX-0488"), "{}", refused.stderr);
    assert!(backend_of(&daemon, "braket")["error"].as_str().unwrap().contains("EX-0488"));
    assert!(daemon.log().contains("EX-0488"), "the log says it");
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(reasons(&self::run(&daemon, &params)).contains("EX-0485"));
    let words = ["AKREVOKEDCANARY", "revoked-secret-canary", ACCESS, SECRET];
    assert_eq!(files_with(daemon.folder(), &words), Vec::<PathBuf>::new(), "keys are written nowhere");
    assert_eq!(files_with(keys.0.path(), &words), [keys.path()], "a file that holds them would be found");
    // Sound keys are taken up without a restart.
    keys.write(ACCESS, SECRET);
    assert_eq!(self::run(&daemon, &params)["source"], "braket");
    assert!(daemon.ctl(&["explain", "EX-0488"]).expect(0).text().contains("keys"));
}

#[test]
fn a_spent_budget_leads_to_the_next_backend_and_with_nobody_left_the_exact_answer_is_labelled() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let once = TASK_MICRO_USD + SHOTS * SHOT_MICRO_USD;
    let backends = json!({
        "dear": fake.backend(&keys.path(), json!({ "day": { "micro_usd": once } })),
        "spare": fake.backend(&keys.path(), json!({ "job": { "shots": SHOTS } })),
        "simulator": { "kind": "simulator", "budget": { "day": { "shots": 2 * SHOTS } } },
    });
    let mut daemon = daemon_with(backends);
    let params = json!({ "backend": "dear", "fallback": ["spare"] });
    assert_eq!(run(&daemon, &params)["backend"], "dear");
    let second = run(&daemon, &params);
    assert_eq!(second["backend"], "spare", "{second:#}");
    assert_eq!(second["fallback"][0]["backend"], "dear");
    assert!(reasons(&second).contains("budget per day"), "{}", reasons(&second));
    // One shot too many for a job of the spare one; the simulator has two jobs' worth.
    let third = run(&daemon, &json!({ "backend": "spare", "shots": SHOTS + 1 }));
    assert_eq!(third["source"], "simulator", "{third:#}");
    assert!(reasons(&third).contains("budget per job"), "{}", reasons(&third));
    daemon.ctl(&["backend", "drain", "spare", "--reason", "works on the line"]).expect(0);
    let fourth = run(&daemon, &params);
    assert_eq!(
        (&fourth["source"], &fourth["backend"], &fourth["simulated"], &fourth["shots"]),
        (&json!("classical-exact"), &Value::Null, &json!(false), &json!(0)),
        "{fourth:#}"
    );
    let names: Vec<&str> =
        fourth["fallback"].as_array().unwrap().iter().map(|one| one["backend"].as_str().unwrap()).collect();
    assert_eq!(names, ["dear", "spare", "simulator"]);
    assert!(reasons(&fourth).contains("works on the line"), "{}", reasons(&fourth));
    assert_eq!((&fourth["gap_to_exact"], &fourth["optimum_probability"]), (&json!(0.0), &Value::Null));
    // What was spent and who was drained outlasts the daemon.
    daemon.kill9();
    daemon.restart();
    assert_eq!(backend_of(&daemon, "spare")["drained"], "works on the line");
    assert_eq!(backend_of(&daemon, "dear")["left_today"]["micro_usd"], 0);
    assert_eq!(run(&daemon, &params)["source"], "classical-exact");
    daemon.ctl(&["backend", "resume", "spare"]).expect(0);
    assert_eq!(run(&daemon, &params)["backend"], "spare");
    // The simulator alone, drained: the exact answer, and no error.
    daemon.ctl(&["backend", "drain", "simulator", "--reason", "r"]).expect(0);
    let alone = run(&daemon, &json!({}));
    assert_eq!(
        (&alone["source"], &alone["fallback"][0]["backend"]),
        (&json!("classical-exact"), &json!("simulator"))
    );
    assert_eq!(fake.tasks().len(), 3);
}

#[test]
fn an_emergency_stop_and_a_cancel_reach_the_vendor_and_name_the_jobs() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let params = json!({ "backend": "braket" });
    let queued = |run: &str| {
        wait_for("the job is queued", PATIENCE, || jobs(&daemon, &["--run", run, "--state", "queued"]).pop())
    };
    let cancelled = submit(&daemon, &params);
    let job = queued(&cancelled);
    daemon.ctl(&["cancel", &cancelled]).expect(0);
    assert_eq!(daemon.end_of(&cancelled)["phase"], "cancelled");
    wait_for("the vendor is told", PATIENCE, || {
        fake.tasks().iter().any(|t| t["arn"] == job["id"] && t["status"] == "CANCELLED").then_some(())
    });
    let stopped = submit(&daemon, &params);
    let job = queued(&stopped);
    let answer = daemon.ctl(&["emergency-stop", "--reason", "drill"]).expect(0).json();
    let named = answer["cancelled_jobs"].to_string();
    assert!(named.contains(&format!("jobs/{stopped}/{STAGE}@")), "{answer:#}");
    assert_eq!(answer["not_cancellable"], json!([]));
    assert!(fake.tasks().iter().any(|t| t["arn"] == job["id"] && t["status"] == "CANCELLED"), "{answer:#}");
    assert_eq!(jobs(&daemon, &["--state", "open"]), Vec::<Value>::new());
    // After the all-clear the stage begins anew, with a job of its own.
    fake.control(&json!({ "queue_polls": 0 }));
    daemon.ctl(&["emergency-clear"]).expect(0);
    daemon.ctl(&["resume", &stopped]).expect(0);
    assert_eq!(result(&daemon, &stopped)["source"], "braket");
    assert_eq!(fake.tasks().len(), 3);
    // A vendor that says nothing any more: the job may run and cost, and is named so.
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let deaf = submit(&daemon, &params);
    queued(&deaf);
    fake.control(&json!({ "faults": [
        { "op": "CancelQuantumTask", "kind": "status", "status": 500, "times": 1_000_000 },
        { "op": "GetQuantumTask", "kind": "status", "status": 500, "times": 1_000_000 },
    ]}));
    let answer = daemon.ctl(&["emergency-stop", "--reason", "drill"]).expect(0).json();
    assert!(answer["not_cancellable"].to_string().contains(&deaf), "{answer:#}");
}

#[test]
fn an_emergency_stop_while_a_backend_is_still_being_asked_buys_nothing() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    fake.control(&json!({ "faults": [{ "op": "GetDevice", "kind": "slow", "seconds": 1.5, "times": 9 }] }));
    let run = submit(&daemon, &json!({ "backend": "braket" }));
    wait_for("the vendor is asked what it is", PATIENCE, || (fake.calls() > 0).then_some(()));
    let answer = daemon.ctl(&["emergency-stop", "--reason", "drill"]).expect(0).json();
    assert_eq!(answer["not_cancellable"], json!([]), "{answer:#}");
    // That nothing is bought cannot be waited for: longer than the slow answers take.
    std::thread::sleep(Duration::from_secs(4));
    assert!(fake.tasks().is_empty(), "{}", fake.books());
    fake.control(&json!({ "faults": [] }));
    daemon.ctl(&["emergency-clear"]).expect(0);
    daemon.ctl(&["resume", &run]).expect(0);
    assert_eq!(result(&daemon, &run)["source"], "braket");
    assert_eq!(fake.tasks().len(), 1);
}

#[test]
fn an_order_whose_run_is_over_when_the_daemon_comes_back_is_ended_at_the_vendor() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let mut daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let run = submit(&daemon, &json!({ "backend": "braket" }));
    let job = wait_for("the job is queued", PATIENCE, || {
        jobs(&daemon, &["--run", &run, "--state", "queued"]).pop()
    });
    // Nothing can be cancelled over there until the daemon has died over it.
    let deaf = json!({ "op": "CancelQuantumTask", "kind": "unread", "times": 1_000_000 });
    fake.control(&json!({ "faults": [deaf] }));
    daemon.ctl(&["cancel", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
    daemon.kill9();
    fake.control(&json!({ "faults": [] }));
    daemon.restart();
    wait_for("the vendor is told by the next daemon", PATIENCE, || {
        fake.tasks().iter().any(|t| t["arn"] == job["id"] && t["status"] == "CANCELLED").then_some(())
    });
    wait_for("the job is over", PATIENCE, || jobs(&daemon, &["--state", "open"]).is_empty().then_some(()));
}

#[test]
fn a_stage_that_asks_for_another_job_after_a_restart_has_the_first_one_ended_at_the_vendor() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let mut daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let run = submit(&daemon, &json!({ "backend": "braket" }));
    let first = wait_for("the job is queued", PATIENCE, || {
        jobs(&daemon, &["--run", &run, "--state", "queued"]).pop()
    });
    daemon.ctl(&["tune", &run, &format!("{STAGE}.shots=32")]).expect(0);
    daemon.kill9();
    daemon.restart();
    // Only then: the first one must not be done before anybody can end it.
    wait_for("the first is ended at the vendor", PATIENCE, || {
        let tasks = fake.tasks();
        tasks.iter().find(|t| t["arn"] == first["id"] && t["status"] == "CANCELLED").map(|_| ())
    });
    fake.control(&json!({ "queue_polls": 0 }));
    let result = result(&daemon, &run);
    assert_eq!((&result["source"], &result["shots"]), (&json!("braket"), &json!(32)), "{result:#}");
    let tasks = fake.tasks();
    assert_eq!(tasks.len(), 2, "{tasks:#?}");
    for task in &tasks {
        let old = task["arn"] == first["id"];
        let expected = if old { ("CANCELLED", SHOTS) } else { ("COMPLETED", 32) };
        assert_eq!((task["status"].as_str().unwrap(), task["shots"].as_u64().unwrap()), expected);
    }
    // Nobody can know what the first has cost: all that was held for it counts.
    let price = |shots: u64| TASK_MICRO_USD + shots * SHOT_MICRO_USD;
    assert_eq!(backend_of(&daemon, "braket")["used_today"]["micro_usd"], price(SHOTS) + price(32));
    assert_eq!(backend_of(&daemon, "braket")["held_jobs"], json!([]));
}

#[test]
fn wishes_that_cannot_be_met_are_refused_at_submission_with_what_there_is() {
    let daemon = daemon_with(json!({}));
    let files = small_problem();
    for (params, code, word) in [
        (json!({ "backend": "ibm" }), "EX-0487", "simulator"),
        (json!({ "fallback": ["ibm"] }), "EX-0487", "ibm"),
        (json!({ "wait_seconds": 0 }), "EX-0511", "wait_seconds"),
        (json!({ "quantum_step": { "step": "exact", "fallback": [] } }), "EX-0511", "only the daemon"),
    ] {
        let file = workflow(&daemon, &params);
        let mut args = vec!["submit", file.as_str()];
        args.extend(files.iter().map(String::as_str));
        let refused = daemon.ctl(&args).expect(8);
        assert!(
            refused.stderr.contains(code) && refused.stderr.contains(word),
            "{params}: {}",
            refused.stderr
        );
    }
    // Tuned later, where only the daemon knows: a permanent error that names what there is.
    let stages = json!([
        { "name": "initialization", "params": { "drill_sleep_ms": 1_500 } },
        { "name": STAGE },
    ]);
    let file = daemon.file("two.yaml", &json!({ "workflow": "two", "stages": stages }).to_string());
    let mut args = vec![file.as_str()];
    args.extend(files.iter().map(String::as_str));
    let run = daemon.submit(&args);
    daemon.ctl(&["tune", &run, &format!("{STAGE}.backend=ibm")]).expect(0);
    let error = daemon.end_of(&run)["error"].to_string();
    assert!(error.contains("ibm") && error.contains("simulator"), "{error}");
    for (args, code) in [
        (vec!["backend", "test", "ibm"], 3),
        (vec!["backend", "drain", "ibm", "--reason", "r"], 3),
        (vec!["backend", "resume", "ibm"], 3),
        (vec!["jobs", "--state", "asleep"], 2),
        (vec!["jobs", "--run", "run-000099"], 3),
    ] {
        daemon.ctl(&args).expect(code);
    }
    for code in ["EX-0487", "EX-0488", "EX-0489", "EX-0490", "EX-0491", "EX-0493"] {
        daemon.ctl(&["explain", code]).expect(0);
    }
}

#[test]
fn bad_values_of_the_search_are_refused_by_name_on_every_path() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    for (name, value) in [
        ("elite_fraction", json!(0)),
        ("elite_fraction", json!(1.5)),
        ("shots", json!(0)),
        ("layers", json!(0)),
        ("optimiser", json!("adam")),
        ("mixer", json!("y")),
        ("warm_start", json!("hot")),
        ("noise", json!({ "readout": 2 })),
        ("noise", json!({ "thermal": 0.1 })),
    ] {
        for backend in ["simulator", "braket"] {
            let mut params = json!({ "backend": backend });
            params[name] = value.clone();
            let shown = daemon.end_of(&submit(&daemon, &params));
            assert_eq!(shown["phase"], "rolled-back", "{backend} {name}={value}: {shown:#}");
            let error = shown["error"].to_string();
            assert!(error.contains("EX-0511") && error.contains(name), "{backend} {name}={value}: {error}");
        }
    }
    // More shots than the backend takes: it does not fit, which is no error of the stage.
    let many = run(&daemon, &json!({ "backend": "braket", "shots": 100_001 }));
    assert_eq!(many["source"], "simulator");
    assert!(reasons(&many).contains("takes 1 to 100000 shots"), "{}", reasons(&many));
    assert_eq!(fake.tasks().len(), 0, "nothing was bought for any of them");
}

#[test]
fn a_set_too_large_for_the_encoding_goes_to_the_simulator_with_the_reason() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": fake.backend(&keys.path(), json!({})) }));
    let options = |decision: usize| -> Vec<Value> {
        (0..8)
            .map(|i| json!({ "id": format!("o{i}"), "attributes": { "cost": i * (decision + 1) } }))
            .collect()
    };
    let decisions: Vec<Value> =
        (0..4).map(|d| json!({ "name": format!("d{d}"), "options": options(d) })).collect();
    let space = json!({
        "design_space": 1, "name": "large", "decisions": decisions,
        "objective": { "minimise": { "sum": { "attribute": "cost" } } },
    });
    let space = daemon.file("space.json", &space.to_string());
    let file = workflow(&daemon, &json!({ "backend": "braket" }));
    let run = daemon.submit(&[&file, "--set", &format!("space={space}")]);
    let result = result(&daemon, &run);
    assert_eq!((&result["source"], &result["designs"]), (&json!("simulator"), &json!(4096)));
    assert!(reasons(&result).contains("12 qubits"), "{}", reasons(&result));
    assert_eq!(fake.tasks().len(), 0);
}

#[test]
fn settings_of_backends_that_are_wrong_keep_the_daemon_from_starting_and_name_each_fault() {
    let mut all = crate::harness::settings();
    all["backends"] = json!({
        "b": { "kind": "braket", "queue_seconds": 0 },
        "simulator": { "kind": "aer" },
    });
    let daemon = Daemon::unstarted(None, &all);
    let answer = run_program(&mut daemon.command(), PATIENCE).expect(8);
    for word in
        ["backends.b.region", "backends.b.credentials", "backends.b.queue_seconds", "backends.simulator.kind"]
    {
        assert!(answer.stderr.contains(word), "{word}: {}", answer.stderr);
    }
}
