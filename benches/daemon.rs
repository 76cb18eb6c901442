//! How fast and how small the daemon is: `cargo bench --bench daemon` (or `make bench`).
//!
//! Real programs, all rounds printed, nothing dropped, no judgement: the targets stand in the design and
//! the reader compares. Figures: start to ready, one cold `list`, kill -9 to ready again, resident memory
//! when idle, one run of three trivial programs from submit to end.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 10;
const DAEMON: &str = env!("CARGO_BIN_EXE_executingd");
const CLIENT: &str = env!("CARGO_BIN_EXE_executingctl");
/// Far beyond any figure seen; a daemon that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(30);

fn ctl(state: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(CLIENT)
        .arg("--socket")
        .arg(state.join("control.sock"))
        .args(["-o", "json"])
        .args(args)
        .stderr(Stdio::null())
        .output();
    output.map_or((false, String::new()), |output| {
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    })
}

fn start(state: &Path) -> std::io::Result<(Child, Duration)> {
    let begun = Instant::now();
    let daemon = Command::new(DAEMON).arg("--state").arg(state).stderr(Stdio::null()).spawn()?;
    // The socket appears shortly before the daemon is ready; `health` says when it is.
    while !ctl(state, &["health"]).0 {
        if begun.elapsed() > PATIENCE {
            return Err(std::io::Error::other("the daemon did not become ready"));
        }
    }
    Ok((daemon, begun.elapsed()))
}

fn resident_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

fn show(name: &str, rounds: &mut [Duration]) {
    let all: Vec<String> = rounds.iter().map(|r| format!("{:.1}", r.as_secs_f64() * 1e3)).collect();
    rounds.sort_unstable();
    let median = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
    println!("{name:<34} median {:>7.1} ms   rounds {}", median.as_secs_f64() * 1e3, all.join(" "));
}

fn main() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let workflow = folder.path().join("three.yaml");
    let mut file = std::fs::File::create(&workflow)?;
    writeln!(file, "workflow: three\nstages:")?;
    for name in ["a", "b", "c"] {
        writeln!(
            file,
            "  - {{name: {name}, kind: exec, idempotent: true, params: {{command: [\"true\"]}}}}"
        )?;
    }
    let (mut daemon, first) = start(&state)?;
    let (mut starts, mut lists, mut runs) = (vec![first], Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        ctl(&state, &["list"]);
        lists.push(begun.elapsed());
        let begun = Instant::now();
        let (ended_well, answer) = ctl(&state, &["submit", &workflow.display().to_string(), "--wait"]);
        runs.push(begun.elapsed());
        if !ended_well {
            return Err(std::io::Error::other(format!("a run did not succeed: {answer}")));
        }
    }
    let resident = resident_kib(daemon.id());
    for _ in 0..ROUNDS {
        daemon.kill()?;
        daemon.wait()?;
        let (again, took) = start(&state)?;
        daemon = again;
        starts.push(took);
    }
    daemon.kill()?;
    daemon.wait()?;
    show("start, or kill -9 to ready (by `health`)", &mut starts);
    show("executingctl list, cold client", &mut lists);
    show("three `exec` stages, submit to end", &mut runs);
    println!(
        "resident after {ROUNDS} runs: {} KiB",
        resident.map_or("not known".into(), |kib| kib.to_string())
    );
    Ok(())
}
