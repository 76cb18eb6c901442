//! Durable workflows per second: `cargo bench --bench workflow` (or `make bench-workflow`).
//!
//! A workflow of six trivial stages done by the daemon itself (kind `check`), each durable before the
//! next starts, submitted and waited for over the control socket: by one client, and by 64 at once.
//! The same with stages that start a process (`exec`). Real programs, five rounds, all printed, nothing
//! dropped, no judgement. The load comes from one process, which shares the machine with the daemon.

use engine::protocol::{Request, Submission};
use executing::control::client::{Client, Options};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DAEMON: &str = env!("CARGO_BIN_EXE_executingd");
const ROUNDS: usize = 5;
const STAGES: usize = 6;
/// Far beyond any figure seen; a daemon that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);

type Failure = Box<dyn std::error::Error>;

fn workflow(kind: &str, params: &str) -> String {
    let stages: String =
        (1..=STAGES).map(|i| format!("  - {{name: s{i}, kind: {kind}, params: {params}}}\n")).collect();
    format!("workflow: six-{kind}\nstages:\n{stages}")
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or ends now; nobody waits for more than that.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn start(state: &Path) -> Result<(Daemon, Options, Duration), Failure> {
    let begun = Instant::now();
    let log = std::fs::File::create(state.with_extension("log"))?;
    let daemon = Daemon(Command::new(DAEMON).arg("--state").arg(state).stderr(Stdio::from(log)).spawn()?);
    let options = Options::new(Some(state.join("control.sock")));
    loop {
        if let Ok(mut client) = Client::connect(&options).await
            && client.request(&Request::Health).await.is_ok()
        {
            return Ok((daemon, options, begun.elapsed()));
        }
        if begun.elapsed() > PATIENCE {
            return Err("the daemon did not become ready".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// One client: `count` workflows one after the other; the times from submit to end.
async fn client(options: &Options, yaml: &str, count: usize) -> Result<Vec<f64>, String> {
    let mut connection = Client::connect(options).await.map_err(|e| e.to_string())?;
    let submission =
        Submission { yaml: Some(yaml.to_owned()), file: "bench.yaml".into(), ..Default::default() };
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        let request = Request::Submit(submission.clone());
        let accepted = connection.request(&request).await.map_err(|e| e.to_string())?;
        let run = accepted["run"].as_str().unwrap_or_default().to_owned();
        let ended = connection.request(&Request::Wait { run }).await.map_err(|e| e.to_string())?;
        if ended["phase"] != "succeeded" {
            return Err(format!("a run ended otherwise: {ended}"));
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn at(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len().saturating_sub(1)) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

async fn round(
    options: &Options,
    yaml: &str,
    clients: usize,
    each: usize,
) -> Result<(f64, Vec<f64>), Failure> {
    let begun = Instant::now();
    let all = futures::future::try_join_all((0..clients).map(|_| client(options, yaml, each))).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut times: Vec<f64> = all.into_iter().flatten().collect();
    times.sort_by(f64::total_cmp);
    Ok((times.len() as f64 / seconds, times))
}

async fn series(
    name: &str,
    options: &Options,
    yaml: &str,
    clients: usize,
    each: usize,
) -> Result<(), Failure> {
    for number in 1..=ROUNDS {
        let (rate, times) = round(options, yaml, clients, each).await?;
        println!(
            "{name:<8} {clients:>3} clients  round {number}  {rate:>8.1} workflows/s  p50 {:>7.2} ms  p99 {:>7.2} ms  worst {:>7.2} ms",
            at(&times, 0.5),
            at(&times, 0.99),
            at(&times, 1.0)
        );
    }
    Ok(())
}

fn resident_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

fn main() -> Result<(), Failure> {
    let scale = std::env::var("SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0_f64);
    let only = std::env::var("ONLY").unwrap_or_default();
    let scaled = |count: usize| ((count as f64 * scale) as usize).max(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    runtime.block_on(async {
        let state = folder.path().join("state");
        let (daemon, options, cold) = start(&state).await?;
        println!("cold start to ready: {:.1} ms", cold.as_secs_f64() * 1e3);
        println!("idle resident: {} KiB", resident_kib(daemon.0.id()).unwrap_or_default());
        let check = workflow("check", "{facts: {ok: true}}");
        let exec = workflow("exec", "{command: [\"/bin/true\"]}");
        if only.is_empty() || only == "check" {
            series("check", &options, &check, 1, scaled(500)).await?;
            series("check", &options, &check, 64, scaled(100)).await?;
        }
        if only.is_empty() || only == "exec" {
            series("exec", &options, &exec, 1, scaled(20)).await?;
            series("exec", &options, &exec, 64, scaled(2)).await?;
        }
        println!("resident after all: {} KiB", resident_kib(daemon.0.id()).unwrap_or_default());
        Ok(())
    })
}
