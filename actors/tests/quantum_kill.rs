//! kill -9 of whoever leads quantum orders, at random instants, with a journal on a real disk: no job is lost,
//! none bought twice, no budget exceeded. The vendor is the Braket fake of `quantum/tests/fakes`, whose books
//! count; or the real Aer service.
//!
//! `KILLS=100 cargo test -p actors --test quantum_kill` kills that often. Without pip these tests say so and
//! are skipped.
#![allow(clippy::unwrap_used)]

#[path = "../../quantum/tests/fakes/server.rs"]
mod fakes;

use actors::clock::Clock;
use actors::quantum_proxy::{Append, Desks, Office, Setup, Wish};
use fakes::{ACCESS, Fake, PRICE, SECRET, cache, installed, write_keys};
use futures::FutureExt;
use journal::{Artefacts, Journal};
use quantum::backends::aer::{AER, Aer, Options};
use quantum::backends::braket::Braket;
use quantum::backends::order::End;
use quantum::backends::{Backend, Budget, Ceiling, JobSpec, JobWork};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SHOTS: u32 = 16;
/// Orders that are led side by side, of two runs.
const ORDERS: u64 = 4;
/// Longest time for one life of the leader.
const PATIENCE: Duration = Duration::from_secs(120);

fn kills() -> u64 {
    std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn backend(dir: &Path, kind: &str) -> Arc<dyn Backend> {
    if kind == "aer" {
        return Arc::new(Aer::new(Options {
            name: "aer".to_owned(),
            python: "python3".into(),
            cache: cache(),
            run_dir: dir.join("aer"),
            provision_seconds: 600,
            qubits_max: 20,
            shots_max: 100_000,
            threads: 1,
            noise: None,
        }));
    }
    let endpoint = fakes::endpoint(kind.strip_prefix("braket:").unwrap().parse().unwrap());
    Arc::new(Braket::new(fakes::options(endpoint, dir.join("keys"))))
}

/// Two of three jobs' worth per run: some orders find the budget spent.
fn budget() -> Budget {
    let price = PRICE.of(SHOTS.into(), 0);
    let run = Ceiling { micro_usd: Some(3 * price), shots: Some(6 * u64::from(SHOTS)), ..Ceiling::default() };
    Budget { run, ..Budget::default() }
}

fn job(number: u64) -> JobSpec {
    let angle = format!("{:?}", 0.1 + number as f64);
    let program = format!(
        "OPENQASM 3.0;\ngate rx(t) a {{ U(t, -1.5707963267948966, 1.5707963267948966) a; }}\nqubit[3] q;\nbit[3] c;\nrx({angle}) q[0];\nc = measure q;\n"
    );
    JobSpec { work: JobWork::OpenQasm3 { program, qubits: 3, inputs: vec![] }, shots: SHOTS, seed: number }
}

/// Not a test of its own: the process that is killed. It leads all orders of one round to their end.
#[test]
fn leader_of_orders() {
    let Some(dir) = std::env::var_os("EXECUTING_TEST_LEADER").map(PathBuf::from) else { return };
    let kind = std::env::var("EXECUTING_TEST_BACKEND").unwrap();
    let round = std::env::var("EXECUTING_TEST_ROUND").unwrap();
    let (journal, _) = Journal::open(&dir.join("journal"), journal::Options::default()).unwrap();
    let clock = Clock::start(journal.last_time_ms());
    let queue_ms = 600_000;
    let setup = Setup { backend: backend(&dir, &kind), kind: "braket", budget: budget(), queue_ms };
    let name = setup.backend.name().to_owned();
    let appender = journal.clone();
    let append: Append =
        Arc::new(move |batch| appender.append_timed(batch, clock.now_ms(), appender.incarnation()).boxed());
    let office = Office {
        desks: Desks::open(&journal, vec![setup]).unwrap(),
        journal,
        append,
        artefacts: Arc::new(Artefacts::open(&dir.join("artefacts")).unwrap()),
        clock,
        hurry: 20,
        leading: actors::quantum_proxy::Leading::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async {
        let orders = (0..ORDERS).map(|number| {
            let wish = Wish {
                run: format!("run-{round}-{}", number % 2),
                stage: format!("s{number}"),
                fence: 7,
                job: job(number),
                chain: vec![name.clone()],
                wait_ms: 600_000,
            };
            let office = office.clone();
            async move { office.order(&wish, std::future::pending::<String>()).await.unwrap() }
        });
        futures::future::join_all(orders).await
    });
    let shown: Vec<Value> = ended
        .iter()
        .map(|one| {
            let word = match &one.end {
                End::Done { .. } => "done",
                End::Exact => "exact",
                End::Cancelled => "cancelled",
            };
            let whys: Vec<String> = one.fallbacks.iter().map(|why| why.reason.to_string()).collect();
            json!({ "end": word, "lost": one.lost.len(), "result": one.result.is_some(), "why": whys })
        })
        .collect();
    let file = dir.join(format!("ended-{round}.tmp"));
    std::fs::write(&file, json!(shown).to_string()).unwrap();
    std::fs::rename(file, dir.join(format!("ended-{round}"))).unwrap();
}

/// A small generator; the seed is printed with the test's result.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn leader(dir: &Path, kind: &str, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leader_of_orders", "--nocapture"])
        .env("EXECUTING_TEST_LEADER", dir)
        .env("EXECUTING_TEST_BACKEND", kind)
        .env("EXECUTING_TEST_ROUND", round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills leaders until the round is over; gives the ends and how many were killed.
fn round(
    dir: &Path,
    kind: &str,
    round: u64,
    random: &mut Random,
    life_ms: u64,
    states: &mut BTreeMap<String, u64>,
) -> (Vec<Value>, u64) {
    let ended = dir.join(format!("ended-{round}"));
    let mut killed = 0;
    loop {
        let mut child = leader(dir, kind, round);
        // Half of the lives are long enough to get on; a life that is always too short never ends.
        let life = Duration::from_millis(random.below(life_ms << (killed / 6).min(6)));
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                let mut words = String::new();
                child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
                assert!(status.success(), "the leader failed by itself: {words}");
                let text = std::fs::read_to_string(&ended).unwrap();
                return (serde_json::from_str(&text).unwrap(), killed);
            }
            if begun.elapsed() > life {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "a leader neither ends nor is killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        struck(dir, states);
        killed += 1;
    }
}

/// What each unfinished order had written down last: where a kill has struck.
fn struck(dir: &Path, states: &mut BTreeMap<String, u64>) {
    let Ok((journal, _)) = Journal::open(&dir.join("journal"), journal::Options::default()) else { return };
    for (stream, length) in journal.streams("jobs/") {
        let Some(record) = journal.read_stream(&stream, length, 1).unwrap().pop() else { continue };
        let event: quantum::backends::JobEvent = journal::codec::decode(&record.payload).unwrap();
        let name = format!("{event:?}").split([' ', '(']).next().unwrap().to_owned();
        if name != "Done" && name != "FellBack" {
            *states.entry(name).or_default() += 1;
        }
    }
}

#[test]
fn killing_the_leader_at_any_instant_loses_no_task_buys_none_twice_and_keeps_the_budget() {
    let Some(fake) = Fake::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    write_keys(&dir.path().join("keys"), ACCESS, SECRET);
    let kind = format!("braket:{}", fake.port);
    let mut random = Random(std::process::id().into());
    let mut states = BTreeMap::new();
    let (mut killed, mut rounds, mut done) = (0, 0, 0);
    while killed < kills() {
        // Long enough in the queue to be killed there, and a few replies lost on the way.
        let faults = [
            json!({ "op": "CreateQuantumTask", "kind": "lost", "times": random.below(3) }),
            json!({ "op": "GetQuantumTask", "kind": "status", "status": 503, "times": random.below(3) }),
            json!({ "op": "SearchQuantumTasks", "kind": "lost", "times": random.below(2) }),
            json!({ "op": "result", "kind": "lost", "times": random.below(2) }),
        ];
        fake.control(&json!({ "queue_polls": 2, "run_polls": 2, "faults": faults }));
        let (ends, killed_now) = round(dir.path(), &kind, rounds, &mut random, 400, &mut states);
        for end in &ends {
            assert_eq!(
                (&end["end"], &end["lost"], &end["result"]),
                (&json!("done"), &json!(0), &json!(true)),
                "{ends:?}"
            );
        }
        done += ends.len();
        (killed, rounds) = (killed + killed_now, rounds + 1);
    }
    let books = fake.books();
    let tasks = books["tasks"].as_array().unwrap();
    assert!(books["tasks_per_token"].as_object().unwrap().values().all(|tasks| tasks == 1), "{books}");
    assert_eq!(tasks.len(), done, "as many tasks as orders: none bought twice under another key");
    assert!(tasks.iter().all(|task| task["status"] == "COMPLETED"), "{books}");
    let most = rounds * 2 * budget().run.micro_usd.unwrap();
    assert!(books["cost_micro_usd"].as_u64().unwrap() <= most);
    println!("{killed} kills, {rounds} rounds, {done} orders; struck after {states:?}");
}

#[test]
fn killing_the_leader_with_the_aer_service_ends_every_order_with_its_reason() {
    if installed(AER).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(std::process::id().into());
    let mut states = BTreeMap::new();
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills() / 4 {
        let (ends, killed_now) = round(dir.path(), "aer", rounds, &mut random, 6_000, &mut states);
        for end in &ends {
            assert_eq!(end["lost"], 0, "{ends:?}");
            // The jobs die with their service: bought again once, or left to the exact answer; and it says so.
            let why = end["why"].to_string();
            match end["end"].as_str() {
                Some("done") => assert_eq!(end["result"], true),
                Some("exact") => assert!(why.contains("restarted") || why.contains("budget"), "{ends:?}"),
                _ => panic!("{ends:?}"),
            }
        }
        (killed, rounds) = (killed + killed_now, rounds + 1);
    }
    println!("{killed} kills, {rounds} rounds; struck after {states:?}");
}
