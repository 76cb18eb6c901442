//! The other faults of the matrix on the real daemon: kills at random, damage, a disk that fails or is full or
//! slow, processes that stand still, panics of actors, steps of the clock, a second daemon.

use crate::harness::{Daemon, PATIENCE, is_alive, signal, small_problem, small_run, started_again, wait_for};
use crate::kill::{Dice, kill_at_random};
use crate::points::{Drilled, expect_undisturbed, undisturbed};
use crate::table::{Row, Share, in_parallel, round};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

pub fn kills(share: &Share) -> Vec<Row> {
    let kills = crate::kill::from_environment("KILLS", share.rounds(10, 200));
    let threads = (share.jobs as u64).clamp(1, kills.max(1));
    let jobs: Vec<u64> = (0..threads).collect();
    let rounds = in_parallel(share.jobs, jobs, |thread| {
        let own = kills / threads + u64::from(thread < kills % threads);
        let files = small_problem();
        let mut dice = Dice(share.seed + thread);
        let args = small_run(&files, &["--set", crate::kill::PAUSE, "--set", "seed=3"]);
        round(&format!("seed {}", share.seed + thread), || kill_at_random(&args, own, &mut dice))
    });
    let mut results = Vec::new();
    for result in rounds {
        match result {
            Ok(counts) => results.extend((0..counts.kills).map(|_| Ok(()))),
            Err(error) => results.push(Err(error)),
        }
    }
    let note = "plain process; systemd is not driven here";
    vec![
        Row::of("F1", "kill -9 at random: same bytes, nothing twice, no attempt charged", 10_000, results)
            .note(note),
    ]
}

/// Two short programs; the disk is asked for everything that a run asks it for.
fn short(drilled: &Drilled) -> String {
    let text = json!({"workflow": "short", "stages": [
        {"name": "one", "kind": "exec", "idempotent": true, "params": {"command": ["/bin/echo", "one"]}},
        {"name": "two", "kind": "exec", "idempotent": true, "params": {"command": ["/bin/echo", "two"]}},
    ]});
    drilled.daemon.file("short.yaml", &text.to_string())
}

/// The `nth` disk operation answers with `answer`; how often the daemon ended, or `None` if there is no nth one.
fn disk_answers(answer: &str, nth: u64) -> Option<usize> {
    let mut drilled = Drilled::start(&format!("io.*={answer}@{nth}"), json!({}));
    let file = short(&drilled);
    let run = drilled.submit("drill", &[&file]);
    let shown = drilled.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let came = drilled.hits().lines().any(|line| line.starts_with("Error ") || line.starts_with("Full "));
    drilled.close_and_reopen();
    let came =
        came || drilled.hits().lines().any(|line| line.starts_with("Error ") || line.starts_with("Full "));
    for status in &drilled.deaths {
        // 70 gives up in order, 75 does not start; a signal or a panic of the whole is neither.
        assert!([Some(70), Some(75)].contains(&status.code()), "it ended with {status}");
    }
    assert_eq!(drilled.daemon.show(&run)["phase"], "succeeded");
    assert_eq!(started_again(&drilled.daemon.events(&run)), Vec::<String>::new());
    drilled.daemon.expect_healthy();
    drilled.daemon.expect_journal_whole();
    came.then_some(drilled.deaths.len())
}

fn disk_fails(share: &Share, answer: &'static str, limit: u64) -> (Vec<Result<(), String>>, u64, bool) {
    let (mut results, mut deaths, mut next, mut exhausted) = (Vec::new(), 0, 1, false);
    while next <= limit && !exhausted {
        let batch: Vec<u64> = (next..next + 2 * share.jobs as u64).filter(|nth| *nth <= limit).collect();
        next += 2 * share.jobs as u64;
        for result in in_parallel(share.jobs, batch, |nth| {
            round(&format!("{answer}@{nth}"), || disk_answers(answer, nth))
        }) {
            match result {
                Ok(None) => exhausted = true,
                Ok(Some(count)) => {
                    deaths += count as u64;
                    results.push(Ok(()));
                }
                Err(error) => results.push(Err(error)),
            }
        }
    }
    (results, deaths, exhausted)
}

/// More disk operations than any short run has.
const OPERATIONS_MAX: u64 = 400;

pub fn errors_of_the_disk(share: &Share) -> Vec<Row> {
    let (results, deaths, exhausted) = disk_fails(share, "error", share.rounds(12, OPERATIONS_MAX));
    let all = if exhausted { "every n of a short run" } else { "not every n" };
    let target = if exhausted { results.len() as u64 } else { OPERATIONS_MAX };
    let note = format!("{all}; the daemon ended in order {deaths} times");
    vec![
        Row::of("F6", "EIO at the n-th disk operation: clean end or retry, nothing lost", target, results)
            .note(note),
    ]
}

pub fn full_disk(share: &Share) -> Vec<Row> {
    let (results, deaths, exhausted) = disk_fails(share, "full", share.rounds(8, OPERATIONS_MAX));
    let all = if exhausted { "every n of a short run" } else { "not every n" };
    let note = format!("{all}, space back at once; refused to start {deaths} times");
    vec![
        Row::of("F7", "ENOSPC at the n-th disk operation: waits, goes on by itself", 1_000, results)
            .note(note),
    ]
}

pub fn slow_disk(share: &Share) -> Vec<Row> {
    let rounds = share.rounds(1, 3);
    let mut slowest = Duration::ZERO;
    let mut results = Vec::new();
    for number in 0..rounds {
        let delay = [200, 50, 500][number as usize % 3];
        results.push(round(&format!("{delay} ms per sync"), || {
            let mut drilled = Drilled::start(&format!("journal.before-sync=delay({delay})@1+"), json!({}));
            let file = short(&drilled);
            let run = drilled.submit("drill", &[&file]);
            let mut taken = Vec::new();
            while taken.len() < 100 {
                let begun = Instant::now();
                drilled.daemon.ctl(&["list"]).expect(0);
                taken.push(begun.elapsed());
            }
            taken.sort();
            slowest = slowest.max(taken[98]);
            assert!(taken[98] < Duration::from_secs(1), "p99 of `list` is {:?}", taken[98]);
            assert_eq!(drilled.end_of(&run)["phase"], "succeeded");
        }));
    }
    let note = format!("p99 of `list`, its process included: {} ms at worst", slowest.as_millis());
    vec![Row::of("F8", "slow disk: control answers p99 < 1 s", 100, results).note(note)]
}

/// A run whose stage `feasible-set-generation` takes a while.
fn slow_run(drilled: &mut Drilled) -> String {
    let files = small_problem();
    let pause =
        ["--set", "seed=3", "--set", "drill_sleep_ms=1500", "--set", "drill_stage=feasible-set-generation"];
    drilled.submit("drill", &small_run(&files, &pause))
}

const SLOW_STAGE: &str = "feasible-enumeration/feasible-set-generation";

pub fn stopped_worker(share: &Share) -> Vec<Row> {
    let jobs: Vec<u64> = (0..share.rounds(2, 20)).collect();
    let results = in_parallel(share.jobs, jobs, |number| {
        round(&format!("worker {number}"), || {
            let mut drilled = Drilled::start("", json!({"heartbeat_ms": 1000}));
            let run = slow_run(&mut drilled);
            let worker = drilled.daemon.worker_of(&run, SLOW_STAGE);
            signal(worker, Signal::SIGSTOP);
            wait_for("the stopped worker is killed", PATIENCE, || (!is_alive(worker)).then_some(()));
            assert_eq!(drilled.end_of(&run)["phase"], "succeeded");
            let events = drilled.daemon.events(&run);
            let done = events.iter().filter(|e| e["event"] == "StageSucceeded" && e["stage"] == SLOW_STAGE);
            assert_eq!(done.count(), 1);
            assert!(drilled.daemon.is_running());
        })
    });
    vec![Row::of("F9", "SIGSTOP of a worker: found, killed, retried, one result", 1_000, results)]
}

pub fn stopped_daemon(share: &Share) -> Vec<Row> {
    let results = (0..share.rounds(1, 5))
        .map(|number| {
            round(&format!("stop {number}"), || {
                let mut drilled = Drilled::start("", json!({}));
                let run = slow_run(&mut drilled);
                drilled.daemon.worker_of(&run, SLOW_STAGE);
                signal(drilled.daemon.pid(), Signal::SIGSTOP);
                std::thread::sleep(Duration::from_millis(500 * (number + 1)));
                signal(drilled.daemon.pid(), Signal::SIGCONT);
                assert_eq!(drilled.end_of(&run)["phase"], "succeeded");
                assert_eq!(started_again(&drilled.daemon.events(&run)), Vec::<String>::new());
                drilled.daemon.expect_journal_whole();
            })
        })
        .collect();
    let note = "the watchdog of systemd is not driven here";
    vec![Row::of("F10", "SIGSTOP and SIGCONT of the daemon: goes on as before", 200, results).note(note)]
}

pub fn children(share: &Share) -> Vec<Row> {
    let kinds = [
        ("crash", "EX-0501"),
        ("hang", "EX-0502"),
        ("garbage", "EX-0503"),
        ("exit_without_result", "EX-0504"),
        ("allocate", "EX-0506"),
    ];
    let jobs: Vec<_> = (0..share.rounds(1, 10)).flat_map(|_| kinds).collect();
    let results = in_parallel(share.jobs, jobs, |(kind, code)| {
        round(kind, || {
            let mut drilled = Drilled::start("", json!({}));
            let files = small_problem();
            let fault = format!("drill_{kind}=1");
            let more = ["--set", &fault, "--set", "drill_stage=feasible-set-generation"];
            let run = drilled.submit("drill", &small_run(&files, &more));
            assert_eq!(drilled.end_of(&run)["phase"], "succeeded");
            let events = drilled.daemon.events(&run);
            let codes: Vec<&str> = events
                .iter()
                .filter(|e| e["event"] == "StageRetryPlanned")
                .map(|e| e["error"]["code"].as_str().unwrap())
                .collect();
            assert_eq!(codes, [code]);
            assert!(drilled.deaths.is_empty());
        })
    });
    vec![Row::of(
        "F11",
        "workers that crash, hang, talk garbage, say nothing, run out of memory",
        2_000,
        results,
    )]
}

/// Where an actor may panic, by actor.
const PANICS: [(&str, &[&str]); 8] = [
    (
        "run",
        &[
            "run.before-decide",
            "run.after-decide",
            "run.before-append",
            "run.after-append",
            "run.after-apply",
            "run.before-command",
            "run.dispatch",
        ],
    ),
    (
        "orchestrator",
        &[
            "orchestrator.arrived",
            "orchestrator.before-answer",
            "orchestrator.after-answer",
            "orchestrator.before-prepare",
        ],
    ),
    (
        "scheduler",
        &["scheduler.enqueued", "scheduler.before-ask", "scheduler.before-grant", "scheduler.after-grant"],
    ),
    (
        "resources",
        &[
            "resources.before-place",
            "resources.after-place",
            "resources.before-release",
            "resources.after-release",
        ],
    ),
    (
        "worker",
        &[
            "worker.begin",
            "worker.before-process",
            "worker.before-request",
            "worker.result-received",
            "worker.after-adopt",
            "worker.before-report",
            "worker.after-report",
        ],
    ),
    (
        "quantum",
        &[
            "quantum.begin",
            "quantum.after-intent",
            "quantum.submitted",
            "quantum.before-result",
            "quantum.before-report",
        ],
    ),
    (
        "deployer",
        &[
            "deployer.next",
            "deployer.built",
            "deployer.after-intent",
            "deployer.switched",
            "deployer.before-outcome",
            "deployer.before-report",
        ],
    ),
    ("health", &["health.look"]),
];

pub fn panics(share: &Share) -> Vec<Row> {
    let expected = undisturbed();
    let wanted = std::env::var("POINT").ok();
    let per_point = share.rounds(1, 2);
    let jobs: Vec<(&str, u64)> = PANICS
        .iter()
        .flat_map(|(_, points)| points.iter().map(|point| *point))
        .filter(|point| wanted.as_deref().is_none_or(|wanted| wanted == *point))
        .flat_map(|point| (1..=per_point).map(move |nth| (point, nth)))
        .collect();
    let results = in_parallel(share.jobs, jobs, |(point, nth)| {
        round(&format!("{point}=panic@{nth}"), || {
            let mut drilled = Drilled::start(&format!("{point}=panic@{nth}"), json!({}));
            let files = small_problem();
            let pid = drilled.daemon.pid();
            let run = drilled.submit("drill", &small_run(&files, &["--set", "seed=3"]));
            let shown = drilled.end_of(&run);
            assert_eq!(shown["phase"], "succeeded", "{shown:#}");
            if !point.starts_with("health") {
                let panicked = drilled.hits().lines().any(|line| line == format!("Panic {point}"));
                assert!(panicked || nth > 1, "it did not panic");
            }
            assert!(drilled.daemon.is_running() && drilled.daemon.pid() == pid, "the daemon did not survive");
            expect_undisturbed(&mut drilled, &run, &expected);
        })
    });
    vec![Row::of("F12", "panic in each type of actor: only its subtree restarts, same end", 500 * 8, results)]
}

const HOUR_MS: i64 = 3_600_000;

pub fn clock_steps(share: &Share) -> Vec<Row> {
    let expected = undisturbed();
    let years = 10 * 365 * 24 * HOUR_MS;
    let orders =
        [[HOUR_MS, -HOUR_MS, years], [-years, HOUR_MS, 0], [years, -years, HOUR_MS], [-HOUR_MS, 0, -years]];
    let jobs: Vec<u64> = (0..share.rounds(2, 20)).collect();
    let results = in_parallel(share.jobs, jobs, |number| {
        round(&format!("steps {number}"), || {
            let mut dice = Dice(share.seed + number);
            let mut drilled = Drilled::start("", json!({}));
            let files = small_problem();
            let run = drilled
                .submit("drill", &small_run(&files, &["--set", "seed=3", "--set", crate::kill::PAUSE]));
            for step in orders[number as usize % orders.len()] {
                std::thread::sleep(dice.below(Duration::from_millis(400)));
                let _ = drilled.daemon.kill9();
                drilled.daemon.environment = vec![("EXECUTING_WALL_STEP_MS".to_owned(), step.to_string())];
                drilled.daemon.restart();
            }
            let shown = drilled.end_of(&run);
            assert_eq!(shown["phase"], "succeeded", "{shown:#}");
            let events = drilled.daemon.events(&run);
            let retried = events.iter().filter(|e| e["event"] == "StageRetryPlanned").count();
            assert_eq!(retried, 0, "a step of the clock cost attempts: {events:#?}");
            let times: Vec<&str> = events.iter().filter_map(|event| event["time"].as_str()).collect();
            assert!(times.len() == events.len() && times.is_sorted(), "time went back: {times:?}");
            drilled.deaths.clear();
            expect_undisturbed(&mut drilled, &run, &expected);
        })
    });
    let note = "three steps of -10 y to +10 y over kills; a leap while it runs cannot be seen: only starts read the wall clock";
    vec![
        Row::of("F13", "steps of the wall clock: no attempt charged, order by sequence", 10_000, results)
            .note(note),
    ]
}

pub fn orderly_ends(share: &Share) -> Vec<Row> {
    let expected = undisturbed();
    let jobs: Vec<u64> = (0..share.rounds(3, 20)).collect();
    let results = in_parallel(share.jobs, jobs, |number| {
        round(&format!("SIGTERM {number}"), || {
            let mut dice = Dice(share.seed + number);
            let mut drilled = Drilled::start("", json!({}));
            let files = small_problem();
            let run = drilled
                .submit("drill", &small_run(&files, &["--set", "seed=3", "--set", crate::kill::PAUSE]));
            std::thread::sleep(dice.below(Duration::from_millis(1500)));
            assert_eq!(drilled.daemon.terminate(), 0);
            drilled.daemon.restart();
            expect_undisturbed(&mut drilled, &run, &expected);
        })
    });
    vec![Row::of(
        "F16",
        "SIGTERM in the middle of a run: exit code 0, goes on at the next start",
        500,
        results,
    )]
}

pub fn double_start(share: &Share) -> Vec<Row> {
    let daemon = Daemon::start();
    let results = (0..share.rounds(1, 50))
        .map(|number| {
            round(&format!("second daemon {number}"), || {
                let answer = crate::harness::run_program(&mut daemon.command(), PATIENCE).expect(75);
                assert!(answer.stderr.contains("EX-0011"), "{}", answer.stderr);
                daemon.expect_healthy();
            })
        })
        .collect();
    vec![Row::of("F18", "a second daemon on the same directory: refused with 75", 50, results)]
}

pub fn damage(share: &Share) -> Vec<Row> {
    let mut daemon = Daemon::start();
    let file = daemon.file(
        "short.yaml",
        &json!({"workflow": "short", "stages": [{"name": "one", "kind": "exec", "idempotent": true, "params": {"command": ["/bin/true"]}}]})
            .to_string(),
    );
    daemon.succeed(&[&file]);
    daemon.terminate();
    let journal = daemon.state().join("journal");
    let segment = journal.join("segment-0000000001.journal");
    let sound = std::fs::read(&segment).unwrap();
    let used = sound.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let rounds = share.rounds(40, used as u64);
    let mut dice = Dice(share.seed);
    let places: Vec<usize> = match rounds as usize == used {
        true => (0..used).collect(),
        false => (0..rounds).map(|_| (dice.next() % used as u64) as usize).collect(),
    };
    let command = || {
        let mut command = crate::harness::client();
        command.args(["-o", "json", "journal", "verify", "--state"]).arg(daemon.state());
        command
    };
    let before = crate::harness::run_program(&mut command(), PATIENCE).expect(0).json();
    assert_eq!(before["ok"], true, "{before:#}");
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    use std::os::unix::fs::FileExt;
    let results = places
        .into_iter()
        .map(|place| {
            let flipped = round(&format!("byte {place}"), || {
                file.write_all_at(&[sound[place] ^ (1 << (place % 8))], place as u64).unwrap();
                let answer = crate::harness::run_program(&mut command(), PATIENCE);
                assert_ne!(answer.code, 0, "verify calls a damaged journal whole");
            });
            file.write_all_at(&[sound[place]], place as u64).unwrap();
            flipped
        })
        .collect();
    let note = format!(
        "`journal verify` on one segment of {used} used bytes; the library's own tests flip every bit and cut at every byte"
    );
    vec![Row::of("F5", "a flipped bit is found", used as u64, results).note(note)]
}
