//! F2: the process is killed at every failpoint, and everything goes on as if nothing had been.
//!
//! Rule: a point that no scenario passes is a violation. Which scenario passes a point is decided by
//! [`scenario`]; a point that only a special case passes comes with the fault that leads there.

use crate::harness::{Daemon, PATIENCE, RUN_PATIENCE, settings, small_problem, small_run, started_again};
use crate::store;
use crate::table::{Row, Share, in_parallel, round};
use journal::failpoints::NAMES;
use serde_json::json;
use std::time::{Duration, Instant};

/// What is going on when the kill comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The small pipeline with its deployment, from start to orderly end.
    Pipeline,
    /// The same, but the kill comes at the start after another kill, at the named point.
    Recovery(&'static str),
    /// A program that fails twice, whose run unwinds what came before.
    Unwinding,
    /// Two runs that are cancelled, one working and one waiting.
    Cancelled,
    /// A process of its own on a journal, with compaction, collection and checkpoints; and what else is planned.
    Store(&'static str),
}

/// Where a point is passed.
pub fn scenario(point: &str) -> Scenario {
    match point {
        "opening.before-scan" | "opening.before-incarnation" | "opening.before-sync" => {
            Scenario::Recovery("journal.before-sync=kill@30")
        }
        "journal.poisoned" | "journal.before-recover" | "journal.after-recover" | "journal.keep-tail" => {
            Scenario::Store("journal.before-sync=error@20")
        }
        "opening.before-removal" => Scenario::Store("compaction.before-each-removal=kill@1"),
        "orchestrator.recover-run" | "opening.after-sync" => Scenario::Recovery("run.after-append=kill@9"),
        "quantum.settle" => Scenario::Recovery("quantum.submitted=kill@1"),
        "deployer.reverted" | "deployer.before-recovery" => Scenario::Recovery("deployer.switched=kill@1"),
        "run.wake-at" | "run.dispatch-undo" => Scenario::Unwinding,
        "run.abandon" | "run.withdraw-placement" | "worker.abandon" | "orchestrator.control" => {
            Scenario::Cancelled
        }
        "artefacts.before-removal" | "journal.sidecar" => Scenario::Store(""),
        _ if point.starts_with("exec.") => Scenario::Unwinding,
        _ if point.starts_with("compaction.") => Scenario::Store(""),
        _ if point.starts_with("journal.") && point.ends_with("-rotate") => Scenario::Store(""),
        _ if point.ends_with("-flush") || point.ends_with("-quarantine") => Scenario::Store(""),
        "checkpoints.before-sync" => Scenario::Store(""),
        _ => Scenario::Pipeline,
    }
}

/// A daemon that dies now and then, and whoever talks to it.
pub struct Drilled {
    pub daemon: Daemon,
    pub deaths: Vec<std::process::ExitStatus>,
}

impl Drilled {
    /// Starts with a plan for its first life.
    pub fn start(plan: &str, more: serde_json::Value) -> Self {
        let mut all = settings();
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        let mut drilled = Self { daemon: Daemon::unstarted(None, &all), deaths: Vec::new() };
        drilled.life(plan);
        drilled
    }

    /// Launches the daemon with a plan; it may die at once.
    pub fn life(&mut self, plan: &str) {
        let hits = self.daemon.folder().join("hits").display().to_string();
        self.daemon.environment =
            [("EXECUTING_FAILPOINTS", plan.to_owned()), ("EXECUTING_FAILPOINTS_HITS", hits)]
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec();
        self.daemon.launch();
        let begun = Instant::now();
        while self.daemon.is_running() && begun.elapsed() < PATIENCE {
            if self.daemon.socket().exists() && self.daemon.ctl(&["health"]).code == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// If it died it is started again, without a plan.
    pub fn alive(&mut self) -> bool {
        if self.daemon.is_running() {
            return true;
        }
        let status = self.daemon.kill9();
        self.deaths.push(status);
        self.daemon.environment.clear();
        self.daemon.restart();
        false
    }

    /// Asks until there is an answer that is no failure of the connection.
    pub fn ask(&mut self, args: &[&str]) -> crate::harness::Answer {
        for _ in 0..20 {
            self.alive();
            let answer = self.daemon.ctl(args);
            if answer.code != 6 && answer.code != 75 {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{args:?} is not answered: {}", self.daemon.log());
    }

    pub fn submit(&mut self, key: &str, args: &[&str]) -> String {
        let answer = self.ask(&[&["submit", "--key", key], args].concat()).expect(0).json();
        answer["run"].as_str().unwrap().to_owned()
    }

    pub fn end_of(&mut self, run: &str) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let shown = self.ask(&["show", run]).expect(0).json();
            let phase = shown["phase"].as_str().unwrap();
            if ["succeeded", "rolled-back", "failed", "cancelled"].contains(&phase) {
                return shown;
            }
            assert!(begun.elapsed() < RUN_PATIENCE, "{run} does not end: {shown:#}\n{}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// SIGTERM, if it did not die before; then a start without a plan.
    pub fn close_and_reopen(&mut self) {
        if self.deaths.is_empty() && self.daemon.is_running() {
            self.daemon.terminate();
            self.daemon.environment.clear();
            self.daemon.restart();
        } else {
            self.alive();
        }
    }

    pub fn hits(&self) -> String {
        std::fs::read_to_string(self.daemon.folder().join("hits")).unwrap_or_default()
    }

    fn was_killed_at(&self, point: &str) -> bool {
        self.hits().lines().any(|line| line == format!("Kill {point}"))
    }
}

/// Ends as the undisturbed run does: succeeded, the same bytes, nothing done twice, journal and release whole.
pub fn expect_undisturbed(drilled: &mut Drilled, run: &str, expected: &[u8]) {
    let shown = drilled.end_of(run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    drilled.close_and_reopen();
    let daemon = &drilled.daemon;
    assert_eq!(daemon.show(run)["phase"], "succeeded", "the end of the run did not last");
    let events = daemon.events(run);
    assert_eq!(started_again(&events), Vec::<String>::new(), "{events:#?}");
    let found = daemon.artefact_bytes(run, "optimal_config.json");
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(expected));
    let manifest = daemon.artefact(run, "deployment_manifest.json");
    let deployed = daemon.ctl(&["deployments"]).expect(0).json();
    assert_eq!(deployed["active"], manifest["release"]);
    let listed = daemon.ctl(&["list"]).expect(0).json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1, "one key made other than one run: {listed:#}");
    daemon.expect_journal_whole();
}

/// Bytes of the choice of an undisturbed small run.
pub fn undisturbed() -> Vec<u8> {
    let files = small_problem();
    let daemon = Daemon::start();
    let run = daemon.succeed(&small_run(&files, &["--set", "seed=3"]));
    daemon.artefact_bytes(&run, "optimal_config.json")
}

/// One kill at the `nth` passing of a point; false if the point was not passed so often.
fn kill_at(point: &str, nth: u64, expected: &[u8]) -> bool {
    let plan = format!("{point}=kill@{nth}");
    let files = small_problem();
    let pipeline = small_run(&files, &["--set", "seed=3"]);
    match scenario(point) {
        Scenario::Store(also) => return store::killed_at(&plan, also),
        Scenario::Pipeline => {
            let mut drilled = Drilled::start(&plan, json!({}));
            let run = drilled.submit("drill", &pipeline);
            let begun = Instant::now();
            // It looks once a second, and a run may be shorter.
            while point == "health.look" && drilled.daemon.is_running() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
            expect_undisturbed(&mut drilled, &run, expected);
            drilled.was_killed_at(point)
        }
        Scenario::Recovery(first) => {
            let mut drilled = Drilled::start(first, json!({}));
            let submitted = drilled.daemon.ctl(&[&["submit", "--key", "drill"], &pipeline[..]].concat());
            let begun = Instant::now();
            while drilled.daemon.is_running() && begun.elapsed() < RUN_PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(!drilled.daemon.is_running(), "the first kill did not come: {submitted:?}");
            let _ = drilled.daemon.kill9();
            drilled.life(&plan);
            let run = drilled.submit("drill", &pipeline);
            expect_undisturbed(&mut drilled, &run, expected);
            drilled.was_killed_at(point)
        }
        Scenario::Unwinding => {
            let mut drilled = Drilled::start(&plan, json!({}));
            let undone = drilled.daemon.folder().join("undone");
            let text = json!({"workflow": "unwinding", "stages": [
                {"name": "first", "kind": "exec", "idempotent": true, "params": {"command": ["/bin/true"]},
                 "undo": ["/bin/sh", "-c", format!("echo undone >> {}", undone.display())]},
                {"name": "second", "kind": "exec", "idempotent": true, "retry": {"attempts": 2},
                 "params": {"command": ["/bin/false"]}},
            ]});
            let file = drilled.daemon.file("unwinding.yaml", &text.to_string());
            let run = drilled.submit("drill", &[&file]);
            let shown = drilled.end_of(&run);
            assert_eq!(shown["phase"], "rolled-back", "{shown:#}");
            drilled.close_and_reopen();
            let events = drilled.daemon.events(&run);
            assert_eq!(started_again(&events), Vec::<String>::new());
            let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
            assert_eq!(count("CompensationSucceeded"), 1, "{events:#?}");
            assert!(undone.exists());
            drilled.daemon.expect_journal_whole();
            drilled.was_killed_at(point)
        }
        Scenario::Cancelled => {
            let mut drilled = Drilled::start(&plan, json!({"worker_slots": 1}));
            let text = json!({"workflow": "long", "stages": [
                {"name": "only", "kind": "exec", "idempotent": true, "params": {"command": ["/bin/sleep", "600"]}},
            ]});
            let file = drilled.daemon.file("long.yaml", &text.to_string());
            let works = drilled.submit("works", &[&file]);
            let begun = Instant::now();
            while drilled.ask(&["show", &works]).json()["stages"][0]["phase"] != "running" {
                assert!(begun.elapsed() < PATIENCE, "the stage does not begin");
            }
            let waits = drilled.submit("waits", &[&file]);
            for run in [&waits, &works] {
                // 5: a kill came after the first of two askings, and it is cancelled already.
                let answer = drilled.ask(&["cancel", run]);
                assert!(answer.code == 0 || answer.code == 5, "{answer:?}");
                assert_eq!(drilled.end_of(run)["phase"], "cancelled");
            }
            drilled.close_and_reopen();
            for run in [&waits, &works] {
                assert_eq!(drilled.daemon.show(run)["phase"], "cancelled");
            }
            assert!(drilled.daemon.workers().is_empty(), "a worker of a cancelled run is left");
            drilled.daemon.expect_journal_whole();
            drilled.was_killed_at(point)
        }
    }
}

/// Passings at which a kill comes; a later one finds other things under way.
const LATER: u64 = 3;

pub fn every_point(share: &Share) -> Vec<Row> {
    let wanted = std::env::var("POINT").ok();
    let expected = undisturbed();
    let mut jobs: Vec<(&str, u64)> = Vec::new();
    for name in NAMES.iter().filter(|name| wanted.as_deref().is_none_or(|wanted| wanted == **name)) {
        jobs.push((name, 1));
        if share.full {
            jobs.push((name, LATER));
        }
    }
    let rounds = in_parallel(share.jobs, jobs, |(point, nth)| {
        let name = format!("{point}@{nth}");
        (point, nth, round(&name, || kill_at(point, nth, &expected)))
    });
    let mut missed = Vec::new();
    let mut seldom = Vec::new();
    let mut results = Vec::new();
    for (point, nth, result) in rounds {
        match result {
            Ok(true) => results.push(Ok(())),
            // Passed, but not so often: nothing was killed, so it is no round.
            Ok(false) if nth > 1 => seldom.push(point),
            Ok(false) => missed.push(point),
            Err(error) => results.push(Err(error)),
        }
    }
    let hit = NAMES.len() - missed.len();
    results.extend(missed.iter().map(|point| Err(format!("{point} was not passed by its scenario"))));
    let target = NAMES.len() as u64 * 20;
    let note = format!("{hit} of {} points hit; fewer than {LATER} passings: {}", NAMES.len(), seldom.len());
    vec![
        Row::of("F2", "killed at a failpoint: same end, nothing twice, journal whole", target, results)
            .note(note),
    ]
}
