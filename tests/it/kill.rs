//! kill -9 of the daemon at random moments: it resumes by itself, repeats nothing, and ends the same.
//!
//! `KILLS` sets how many kills (20 if unset), `KILL_SEED` the moments; both are printed.

use crate::harness::{
    Daemon, PATIENCE, RUN_PATIENCE, client, is_alive, small_problem, small_run, started_again, wait_for,
};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

const KILLS: u64 = 20;
/// Of them on the real example, whose stages work for seconds.
const REAL_SHARE: u64 = 5;
/// Pause in each stage of the small problem, so that a kill falls into stages and not only between.
pub const PAUSE: &str = "drill_sleep_ms=60";
/// Kills of one run; more would only repeat its first stages.
const KILLS_PER_RUN: u64 = 5;

pub fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, not {text}")),
        Err(_) => default,
    }
}

/// splitmix64: the same seed, the same moments.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.next() % (limit.as_micros() as u64).max(1))
    }
}

#[derive(Debug, Default)]
pub struct Counts {
    pub kills: u64,
    in_a_stage: u64,
    while_starting: u64,
    runs: u64,
    interrupted: u64,
}

/// Kills the daemon, with no worker left behind.
fn kill(daemon: &mut Daemon) {
    let workers = daemon.workers();
    daemon.kill9();
    for pid in workers {
        wait_for("workers die with their daemon", PATIENCE, || (!is_alive(pid)).then_some(()));
    }
}

fn is_open(shown: &Value) -> bool {
    ["pending", "running"].contains(&shown["phase"].as_str().unwrap())
}

/// Runs `args` again and again, killed `kills` times in all, and compares each end with the undisturbed one.
pub fn kill_at_random(args: &[&str], kills: u64, dice: &mut Dice) -> Counts {
    let mut daemon = Daemon::start();
    let begun = Instant::now();
    let undisturbed = daemon.succeed(args);
    let whole = begun.elapsed();
    let expected = daemon.artefact_bytes(&undisturbed, "optimal_config.json");
    let mut counts = Counts::default();
    while counts.kills < kills {
        counts.runs += 1;
        let run = daemon.submit(args);
        let mut left = KILLS_PER_RUN.min(kills - counts.kills);
        // A repeat from nearly the start at each kill, so the moments lie in ever later parts of the run.
        let share = whole / left as u32;
        while left > 0 {
            std::thread::sleep(dice.below(share));
            let shown = daemon.show(&run);
            if !is_open(&shown) {
                break;
            }
            let stages = shown["stages"].as_array().unwrap();
            counts.in_a_stage += u64::from(stages.iter().any(|stage| stage["phase"] == "running"));
            kill(&mut daemon);
            (counts.kills, left) = (counts.kills + 1, left - 1);
            if left > 0 && counts.kills < kills && dice.next().is_multiple_of(4) {
                daemon.launch();
                std::thread::sleep(dice.below(Duration::from_millis(60)));
                kill(&mut daemon);
                (counts.kills, left) = (counts.kills + 1, left - 1);
                counts.while_starting += 1;
            }
            daemon.restart();
        }
        let shown = daemon.end_of(&run);
        assert_eq!(shown["phase"], "succeeded", "{shown:#}");
        let events = daemon.events(&run);
        assert_eq!(started_again(&events), Vec::<String>::new(), "finished stages began again: {events:#?}");
        counts.interrupted += events.iter().filter(|e| e["event"] == "StageInterrupted").count() as u64;
        // A death of the daemon is no attempt of the stage. (A worker may be late on a busy machine: EX-0502.)
        let charged: Vec<_> = events
            .iter()
            .filter(|e| e["event"] == "StageRetryPlanned" && e["error"]["code"] != "EX-0502")
            .collect();
        assert!(charged.is_empty(), "attempts were charged: {charged:#?}");
        let found = daemon.artefact_bytes(&run, "optimal_config.json");
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
        daemon.expect_journal_whole();
    }
    counts
}

#[test]
fn killed_at_random_moments_the_daemon_resumes_repeats_nothing_and_ends_with_the_same_bytes() {
    let (kills, seed) = (from_environment("KILLS", KILLS), from_environment("KILL_SEED", 1));
    let mut dice = Dice(seed);
    let real = REAL_SHARE.min(kills);
    let on_small = {
        let files = small_problem();
        kill_at_random(&small_run(&files, &["--set", PAUSE, "--set", "seed=3"]), kills - real, &mut dice)
    };
    println!("small problem, seed {seed}: {on_small:?}");
    let on_example = kill_at_random(&["full-optimization"], real, &mut dice);
    println!("example, seed {seed}: {on_example:?}");
    assert_eq!(on_small.kills + on_example.kills, kills);
    assert!(kills < KILLS || on_small.in_a_stage + on_example.in_a_stage > 0, "no kill fell into a stage");
}

/// `executingctl watch` beside the test.
struct Watching {
    child: std::process::Child,
    stdout: std::process::ChildStdout,
}

impl Watching {
    /// Gives it back once it follows the run.
    fn start(daemon: &Daemon, run: &str) -> Self {
        let mut command = client();
        command.arg("--socket").arg(daemon.socket()).args(["-o", "json", "watch", run]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (seen, first) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let _ = seen.send(line);
            }
        });
        first.recv_timeout(PATIENCE).expect("the watcher says nothing").unwrap();
        Self { child, stdout }
    }

    fn end(&mut self) -> Value {
        let status = wait_for("the watcher ends", RUN_PATIENCE, || self.child.try_wait().unwrap());
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        assert!(status.success(), "{status}: {text}");
        serde_json::from_str(text.lines().next_back().unwrap()).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_kill_in_the_middle_of_a_stage_costs_no_attempt_and_the_client_that_waits_sees_the_end() {
    let mut daemon = Daemon::start();
    let files = small_problem();
    let slow = ["--set", "drill_sleep_ms=1500", "--set", "drill_stage=cvar-calculation"];
    let run = daemon.submit(&small_run(&files, &slow));
    let stage = "risk-aware-selection/cvar-calculation";
    let mut watching = Watching::start(&daemon, &run);
    daemon.worker_of(&run, stage);
    kill(&mut daemon);
    daemon.restart();
    assert_eq!(watching.end()["phase"], "succeeded");
    let events = daemon.events(&run);
    assert_eq!(started_again(&events), Vec::<String>::new());
    let of_stage: Vec<_> =
        crate::harness::of_stage(&events, stage).into_iter().map(|(event, _)| event).collect();
    assert!(of_stage.contains(&"StageInterrupted".to_owned()), "{of_stage:?}");
    assert!(!of_stage.contains(&"StageRetryPlanned".to_owned()), "{of_stage:?}");
}

#[test]
fn an_acknowledged_run_is_there_after_a_kill_that_follows_at_once() {
    let mut daemon = Daemon::start();
    let text = json!({"workflow": "brief", "stages": [{"name": "only", "kind": "exec", "idempotent": true, "command": ["/bin/true"]}]});
    let file = daemon.file("brief.yaml", &text.to_string());
    let mut acknowledged = Vec::new();
    for _ in 0..8 {
        acknowledged.push(daemon.submit(&[&file]));
        daemon.kill9();
        daemon.restart();
    }
    for run in &acknowledged {
        assert_eq!(daemon.end_of(run)["phase"], "succeeded");
        assert_eq!(started_again(&daemon.events(run)), Vec::<String>::new());
    }
    let listed = daemon.ctl(&["list"]).expect(0).json();
    let listed: Vec<_> =
        listed["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(listed, acknowledged, "each once, in their order");
    daemon.expect_journal_whole();
}

#[test]
fn a_stage_that_begins_again_after_its_success_would_be_found() {
    let event = |event: &str, stage: &str| json!({"event": event, "stage": stage});
    let fine = [
        event("StageStarted", "a"),
        event("StageInterrupted", "a"),
        event("StageStarted", "a"),
        event("StageSucceeded", "a"),
        event("StageStarted", "b"),
    ];
    assert_eq!(started_again(&fine), Vec::<String>::new());
    let wrong = [fine.as_slice(), &[event("StageStarted", "a")]].concat();
    assert_eq!(started_again(&wrong), ["a"]);
}
