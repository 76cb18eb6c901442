//! How long a start after a kill takes with many runs in the store, and what the store takes on disk:
//! `cargo bench --bench recovery` (or `make bench-recovery`).
//!
//! Two measurements, `ONLY=start` or `ONLY=disk` for one of them. `start`: `FINISHED` ended runs (10,000) and
//! `RUNNING` unfinished ones (100) are in the store; the daemon is killed with SIGKILL and started again, five
//! times: time from the kill to the first answer, and to the first stage that starts. `disk`: `RUNS` runs
//! (100,000) of six stages with retention on: bytes of journal and checkpoints every tenth of them. Real
//! programs, all rounds printed, nothing dropped, no judgement.

use engine::protocol::{Request, Submission};
use executing::control::client::{Client, Options};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DAEMON: &str = env!("CARGO_BIN_EXE_executingd");
const ROUNDS: usize = 5;
const CLIENTS: usize = 64;
const STAGES: usize = 6;
/// Ended runs that are kept while disk use is measured.
const KEPT: u64 = 1_000;
/// Far beyond any figure seen; a daemon that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(120);

type Failure = Box<dyn std::error::Error>;

fn checks(stages: usize) -> String {
    let lines: String = (1..=stages)
        .map(|i| format!("  - {{name: s{i}, kind: check, params: {{facts: {{ok: true}}}}}}\n"))
        .collect();
    format!("workflow: checks\nstages:\n{lines}")
}

/// Far longer than the measurement; what waits for a slot is a running run, too.
const SLEEP: &str = "workflow: sleep\nstages:\n  - {name: a, kind: exec, idempotent: true, params: {command: [\"sleep\", \"3600\"]}}\n";

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or ends now; nobody waits for more than that.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Place {
    state: PathBuf,
    settings: PathBuf,
    options: Options,
}

impl Place {
    fn new(folder: &Path, name: &str, retention: &Value) -> Result<Self, Failure> {
        let state = folder.join(name);
        let settings = folder.join(format!("{name}.yaml"));
        // A JSON text is a YAML text.
        std::fs::write(&settings, json!({ "retention": retention, "disk_pause_below_mib": 0 }).to_string())?;
        let options = Options::new(Some(state.join("control.sock")));
        Ok(Self { state, settings, options })
    }

    fn launch(&self) -> Result<Daemon, Failure> {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.state.with_extension("log"))?;
        let mut command = Command::new(DAEMON);
        command.arg("--settings").arg(&self.settings).arg("--state").arg(&self.state);
        Ok(Daemon(command.stderr(Stdio::from(log)).spawn()?))
    }

    async fn answer(&self) -> Result<Client, Failure> {
        let begun = Instant::now();
        loop {
            if let Ok(mut client) = Client::connect(&self.options).await
                && client.request(&Request::JournalHead).await.is_ok()
            {
                return Ok(client);
            }
            if begun.elapsed() > PATIENCE {
                return Err("the daemon did not become ready".into());
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
}

async fn submit(client: &mut Client, yaml: &str) -> Result<String, Failure> {
    let submission =
        Submission { yaml: Some(yaml.to_owned()), file: "bench.yaml".into(), ..Default::default() };
    let accepted = client.request(&Request::Submit(submission)).await?;
    Ok(accepted["run"].as_str().unwrap_or_default().to_owned())
}

/// `count` runs, one after the other, each waited for.
async fn finish(options: &Options, yaml: &str, count: usize) -> Result<(), Failure> {
    let mut client = Client::connect(options).await?;
    for _ in 0..count {
        let run = submit(&mut client, yaml).await?;
        let ended = client.request(&Request::Wait { run }).await?;
        if ended["phase"] != "succeeded" {
            return Err(format!("a run ended otherwise: {ended}").into());
        }
    }
    Ok(())
}

async fn finish_many(options: &Options, yaml: &str, count: usize) -> Result<(), Failure> {
    let each = count.div_ceil(CLIENTS);
    futures::future::try_join_all((0..CLIENTS).map(|_| finish(options, yaml, each))).await?;
    Ok(())
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok().map(|found| (entry.path(), found)))
        .map(|(path, found)| if found.is_dir() { bytes_below(&path) } else { found.len() })
        .sum()
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn position(event: &Value) -> u64 {
    event["position"].as_u64().unwrap_or_default()
}

/// Position of the first start of a program behind `from`, whichever run it belongs to. A stage that the
/// daemon does itself is over by now.
async fn started_after(client: &mut Client, from: u64) -> Result<Option<u64>, Failure> {
    if from == 0 {
        let leases = client.request(&Request::Resources).await?;
        return Ok(leases["leases"].as_array().filter(|leases| !leases.is_empty()).map(|_| 0));
    }
    let page = client.request(&Request::Audit { from: from + 1 }).await?;
    let mut lines = page["records"].as_array().into_iter().flatten();
    Ok(lines.find(|line| line["event"] == "StageStarted").map(position))
}

async fn start(folder: &Path) -> Result<(), Failure> {
    let (finished, running) = (number("FINISHED", 10_000), number("RUNNING", 100));
    let retention = json!({ "finished_runs_max": 10_000_000, "every_seconds": 86_400 });
    let place = Place::new(folder, "start", &retention)?;
    let mut daemon = place.launch()?;
    let mut client = place.answer().await?;
    finish_many(&place.options, &checks(1), finished).await?;
    for _ in 0..running {
        submit(&mut client, SLEEP).await?;
    }
    println!(
        "{finished} finished and {running} running runs, {} MiB of journal",
        bytes_below(&place.state.join("journal")) >> 20
    );
    for round in 1..=ROUNDS {
        let begun = Instant::now();
        while started_after(&mut client, 0).await?.is_none() {
            if begun.elapsed() > PATIENCE {
                return Err("no stage started".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let head = client.request(&Request::JournalHead).await?;
        let last = head["records"].as_u64().unwrap_or_default();
        let killed = Instant::now();
        daemon.0.kill()?;
        daemon.0.wait()?;
        daemon = place.launch()?;
        client = place.answer().await?;
        let answered = killed.elapsed();
        let started = loop {
            if started_after(&mut client, last).await?.is_some() {
                break killed.elapsed();
            }
            if killed.elapsed() > PATIENCE {
                return Err("no stage started after the kill".into());
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        };
        println!(
            "start     round {round}  kill to first answer {:>7.1} ms  kill to next stage's start {:>7.1} ms",
            answered.as_secs_f64() * 1e3,
            started.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

async fn disk(folder: &Path) -> Result<(), Failure> {
    let runs = number("RUNS", 100_000);
    let retention = json!({ "finished_runs_max": KEPT, "every_seconds": 10 });
    let place = Place::new(folder, "disk", &retention)?;
    let _daemon = place.launch()?;
    place.answer().await?;
    let yaml = checks(STAGES);
    let mut highest = 0;
    let begun = Instant::now();
    for tenth in 1..=10 {
        finish_many(&place.options, &yaml, runs / 10).await?;
        let parts: Vec<u64> = ["journal", "checkpoints", "artefacts"]
            .iter()
            .map(|name| bytes_below(&place.state.join(name)))
            .collect();
        highest = highest.max(parts.iter().sum());
        println!(
            "disk      {:>7} runs  {:>6.1} s  journal {:>6.1} MiB  checkpoints {:>5.1} MiB  artefacts {:>5.1} MiB",
            tenth * runs / 10,
            begun.elapsed().as_secs_f64(),
            mib(parts[0]),
            mib(parts[1]),
            mib(parts[2])
        );
    }
    let mut client = place.answer().await?;
    let list = client.request(&Request::List(Default::default())).await?;
    println!(
        "highest of these: {:.1} MiB; {} runs are listed",
        mib(highest),
        list["runs"].as_array().map_or(0, Vec::len)
    );
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn main() -> Result<(), Failure> {
    let only = std::env::var("ONLY").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    if only.is_empty() || only == "start" {
        runtime.block_on(start(folder.path()))?;
    }
    if only.is_empty() || only == "disk" {
        runtime.block_on(disk(folder.path()))?;
    }
    Ok(())
}
