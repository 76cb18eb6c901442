//! Who gets what when, why not yet, and that nothing of it is lost: the real daemon under its operator.

use crate::harness::{Answer, Daemon, PATIENCE, RUN_PATIENCE, small_problem, small_run, stage_of, wait_for};
use engine::protocol::{Request, Submission};
use executing::control::Client;
use executing::control::client::Options;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// One exec stage that may be repeated, with further lines of the workflow and of the stage.
fn program(name: &str, command: &str, of_workflow: &str, of_stage: &str) -> String {
    format!(
        "workflow: {name}\n{of_workflow}stages:\n  - name: program\n    kind: exec\n    idempotent: true\n{of_stage}    params: {{command: [sh, -c, \"{command}\"]}}\n"
    )
}

/// The wait of a stage as `explain` has it.
fn wait_of(daemon: &Daemon, run: &str, stage: &str) -> Option<Value> {
    let explained = daemon.ctl(&["explain", run]).expect(0).json();
    let waits = explained["waits"].as_array().unwrap().clone();
    waits.into_iter().find(|wait| wait["stage"] == stage)
}

/// Waits until a stage waits for this reason, and gives the wait.
#[track_caller]
fn waits_for(daemon: &Daemon, run: &str, stage: &str, reason: &str) -> Value {
    let mut seen = Value::Null;
    let begun = Instant::now();
    loop {
        if let Some(wait) = wait_of(daemon, run, stage) {
            if wait["reason"] == reason {
                return wait;
            }
            seen = wait;
        }
        assert!(begun.elapsed() < PATIENCE, "{stage} of {run} does not wait for {reason}: {seen:#}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[track_caller]
fn says(wait: &Value, words: &[&str]) {
    let sentence = wait["sentence"].as_str().unwrap();
    for word in words {
        assert!(sentence.contains(word), "no {word:?} in {sentence:?}");
    }
}

fn resources(daemon: &Daemon) -> Value {
    daemon.ctl(&["resources"]).expect(0).json()
}

#[track_caller]
fn expect_all_free(daemon: &Daemon) {
    wait_for("all leases are given back", PATIENCE, || {
        let shown = resources(daemon);
        (shown["leases"] == json!([])).then_some(())
    });
    let shown = resources(daemon);
    for part in ["cpu_cores", "memory_mib", "worker_slots", "backends"] {
        assert_eq!(shown["free"][part], shown["capacity"][part], "{shown:#}");
    }
}

fn refused(answer: Answer, code: i32, error: &str, words: &[&str]) {
    let answer = answer.expect(code);
    for word in [error].iter().chain(words) {
        assert!(answer.stderr.contains(word), "no {word:?} in {}", answer.stderr);
    }
}

#[test]
fn a_wait_for_room_names_who_holds_it_and_for_what_else_a_stage_can_wait() {
    let daemon = Daemon::with(json!({
        "scheduling": {"quotas": {"users": {"quinn": {"stages": 1}}}, "budget": {"shots_per_day": 10}}
    }));
    let long = daemon.file("long.yaml", &program("long", "sleep 600", "", ""));
    let submit = |user: &str, file: &str| daemon.submit(&[file, "--as", user]);
    let holders = [submit("ada", &long), submit("ada", &long)];
    for run in &holders {
        daemon.stage_reaches(run, "program", "running");
    }
    // Room: who holds it, run and stage and user.
    let waiting = submit("bob", &long);
    let wait = waits_for(&daemon, &waiting, "program", "resource");
    says(&wait, &["waits for", &format!("program of {}", holders[0]), "for ada"]);
    let named: Vec<&str> =
        wait["holders"].as_array().unwrap().iter().map(|h| h["run"].as_str().unwrap()).collect();
    assert_eq!(named, [holders[0].as_str(), holders[1].as_str()]);
    assert!(wait["since"].is_string());
    let stages = daemon.ctl(&["explain", &waiting]).expect(0).json()["stages"].clone();
    assert_eq!(stages, json!([{"stage": "program", "why": wait["sentence"]}]));
    // Dependency.
    let two = "workflow: two\nstages:\n  - {name: first, kind: exec, idempotent: true, params: {command: [sleep, \"600\"]}}\n  - {name: second, kind: exec, params: {command: [\"true\"]}}\n";
    let two = submit("bob", &daemon.file("two.yaml", two));
    says(&waits_for(&daemon, &two, "second", "dependency"), &["waits for first"]);
    // Drain.
    daemon.ctl(&["resource", "drain", "machine", "--reason", "a new disk", "--as", "olga"]).expect(0);
    let drained = submit("eve", &long);
    says(&waits_for(&daemon, &drained, "program", "drain"), &["the machine, which an operator has drained"]);
    daemon.ctl(&["resource", "undrain", "machine"]).expect(0);
    waits_for(&daemon, &drained, "program", "resource");
    for run in [&drained, &two, &waiting, &holders[1]] {
        daemon.ctl(&["cancel", run]).expect(0);
    }
    // Quota: one stage of quinn runs, the other may not though a slot is free.
    let first = submit("quinn", &long);
    daemon.stage_reaches(&first, "program", "running");
    daemon.ctl(&["cancel", &holders[0]]).expect(0);
    let second = submit("quinn", &long);
    let wait = waits_for(&daemon, &second, "program", "quota");
    says(&wait, &["the quota of user \"quinn\"", "1 of 1 stages"]);
    assert_eq!((&wait["used"], &wait["most"]), (&json!(1), &json!(1)));
    let quotas = resources(&daemon)["quotas"].clone();
    assert_eq!(quotas[0]["of"], "user \"quinn\"");
    assert_eq!((&quotas[0]["used"], &quotas[0]["left"]), (&json!(1), &json!(0)));
    // Budget: six of ten shots are taken, six more are not to be had today.
    let spends = program("spends", "exit 0", "", "    resources: {shots: 6}\n");
    let spends = daemon.file("spends.yaml", &spends);
    daemon.succeed(&[&spends, "--as", "ada"]);
    let poor = submit("ada", &spends);
    let wait = waits_for(&daemon, &poor, "program", "budget");
    says(&wait, &["waits until 20", "6 of 10 shots per day are used"]);
    assert!(wait["until"].is_string());
    // Reservation.
    let reserve =
        ["resource", "reserve", "night", "--user", "grace", "--slots", "2", "--until", "1h", "--as", "olga"];
    let shown = daemon.ctl(&reserve).expect(0).json();
    assert_eq!((&shown["for"], &shown["slots"]), (&json!("user \"grace\""), &json!(2)));
    let kept_out = submit("eve", &long);
    let wait = waits_for(&daemon, &kept_out, "program", "reservation");
    says(&wait, &["the reservation \"night\" to end at 20"]);
    let of_grace = submit("grace", &long);
    daemon.stage_reaches(&of_grace, "program", "running");
    daemon.ctl(&["resource", "unreserve", "night"]).expect(0);
    for run in [&first, &second, &poor, &kept_out, &of_grace] {
        daemon.ctl(&["cancel", run]).expect(0);
    }
    expect_all_free(&daemon);
}

#[test]
fn a_stage_waits_for_its_run_for_people_for_time_and_for_the_end_of_an_emergency_and_says_so() {
    let daemon = Daemon::with(json!({"scheduling": {"max_parallel_workflows": 1}}));
    // Ceiling: two stages of one run, which may hold one core.
    let twins = "workflow: twins\nresources: {cpu: 1}\nstages:\n  - {name: a, kind: exec, idempotent: true, needs: [], params: {command: [sleep, \"600\"]}}\n  - {name: b, kind: exec, idempotent: true, needs: [], params: {command: [sleep, \"600\"]}}\n";
    let twins = daemon.submit(&[&daemon.file("twins.yaml", twins)]);
    daemon.stage_reaches(&twins, "a", "running");
    says(&waits_for(&daemon, &twins, "b", "ceiling"), &["which hold 1 of the 1 CPU cores"]);
    // Runs side by side.
    let short = daemon.file("short.yaml", &program("short", "exit 0", "", ""));
    let beside = daemon.submit(&[&short]);
    let wait = waits_for(&daemon, &beside, "program", "parallel");
    says(&wait, &["one of the 1 runs", &twins]);
    daemon.ctl(&["cancel", &twins]).expect(0);
    assert_eq!(daemon.end_of(&beside)["phase"], "succeeded");
    // A rest before the next attempt, and after what.
    let fails = program("fails", "exit 3", "", "    retry: {attempts: 2, backoff: 10m, backoff_max: 10m}\n");
    let fails = daemon.submit(&[&daemon.file("fails.yaml", &fails)]);
    says(&waits_for(&daemon, &fails, "program", "backoff"), &["rests until", "EX-0530", "exit code 3"]);
    daemon.ctl(&["cancel", &fails]).expect(0);
    daemon.end_of(&fails);
    // Approval: who may not.
    let gated = "workflow: gated\nstages:\n  - {name: yes, kind: approval}\n";
    let gated = daemon.submit(&[&daemon.file("gated.yaml", gated), "--as", "ada"]);
    let wait = waits_for(&daemon, &gated, "yes", "approval");
    says(&wait, &["1 approval(s)", "anybody but ada"]);
    daemon.ctl(&["approve", &gated, "yes", "--as", "bob"]).expect(0);
    // Pause: by whom and since when.
    let two = "workflow: two\nstages:\n  - {name: first, kind: exec, idempotent: true, params: {command: [sh, -c, \"sleep 1\"]}}\n  - {name: second, kind: exec, params: {command: [\"true\"]}}\n";
    let two = daemon.submit(&[&daemon.file("two.yaml", two)]);
    daemon.stage_reaches(&two, "first", "running");
    daemon.ctl(&["pause", &two, "--as", "olga"]).expect(0);
    let wait = waits_for(&daemon, &two, "second", "paused");
    says(&wait, &["paused by olga since 20", "`resume`"]);
    daemon.ctl(&["resume", &two]).expect(0);
    assert_eq!(daemon.end_of(&two)["phase"], "succeeded");
    // Emergency.
    let long = daemon.file("long.yaml", &program("long", "sleep 600", "", ""));
    let long = daemon.submit(&[&long]);
    daemon.stage_reaches(&long, "program", "running");
    daemon.ctl(&["emergency-stop", "--reason", "smoke"]).expect(0);
    says(&waits_for(&daemon, &long, "program", "emergency"), &["emergency stop (smoke)", "emergency-clear"]);
    daemon.ctl(&["emergency-clear"]).expect(0);
    daemon.ctl(&["cancel", &long]).expect(0);
    daemon.end_of(&long);
    expect_all_free(&daemon);
}

#[test]
fn a_wait_that_lasted_is_told_after_it_is_over_and_a_short_one_is_not() {
    let daemon = Daemon::start();
    let long = daemon.file("long.yaml", &program("long", "sleep 600", "", ""));
    let short = daemon.file("short.yaml", &program("short", "exit 0", "", ""));
    daemon.ctl(&["resource", "drain", "slots", "--reason", "test"]).expect(0);
    let waited = daemon.submit(&[&short]);
    waits_for(&daemon, &waited, "program", "drain");
    // What the wait is for changes: no slot at first, then two that others hold.
    std::thread::sleep(std::time::Duration::from_millis(10_500));
    daemon.ctl(&["resource", "undrain", "slots"]).expect(0);
    assert_eq!(daemon.end_of(&waited)["phase"], "succeeded");
    let told = || daemon.ctl(&["explain", &waited]).expect(0).json()["waited"].clone();
    let told = wait_for("the wait is noted", PATIENCE, || Some(told()).filter(|told| *told != json!([])));
    assert_eq!((&told[0]["stage"], &told[0]["reason"]), (&json!("program"), &json!("drain")), "{told:#}");
    assert!(told[0]["seconds"].as_f64().unwrap() >= 10.0 && told.as_array().unwrap().len() == 1, "{told:#}");
    let quick = daemon.submit(&[&long]);
    daemon.stage_reaches(&quick, "program", "running");
    assert_eq!(daemon.ctl(&["explain", &quick]).expect(0).json()["waited"], json!([]));
}

#[test]
fn what_operators_order_and_what_was_spent_holds_over_kill_9_and_wrong_orders_are_refused() {
    let mut daemon = Daemon::with(json!({"scheduling": {"budget": {"shots_per_day": 10}}}));
    let order = |words: &[&str]| daemon.ctl(&[&["resource"], words, &["--as", "olga"]].concat());
    order(&["drain", "worker-1", "--reason", "smells of smoke"]).expect(0);
    order(&["drain", "simulator", "--reason", "calibration"]).expect(0);
    order(&["reserve", "night", "--workflow", "w", "--cpu", "1", "--until", "2h"]).expect(0);
    refused(
        order(&["drain", "worker-1", "--reason", "again"]),
        5,
        "EX-0029",
        &["by olga", "smells of smoke"],
    );
    refused(
        order(&["drain", "worker-9", "--reason", "x"]),
        3,
        "EX-0028",
        &["machine, slots, worker-1", "simulator"],
    );
    refused(order(&["drain", "worker-2", "--reason", " "]), 2, "EX-0002", &["reason"]);
    refused(order(&["undrain", "worker-2"]), 5, "EX-0029", &["worker-1"]);
    refused(order(&["unreserve", "day"]), 3, "EX-0028", &["night"]);
    let reserve = |words: &[&str]| order(&[&["reserve"], words].concat());
    refused(
        reserve(&["night", "--user", "u", "--cpu", "1", "--until", "1h"]),
        5,
        "EX-0029",
        &["stands already"],
    );
    refused(
        reserve(&["r", "--user", "u", "--cpu", "4000", "--until", "1h"]),
        8,
        "EX-0030",
        &["cpu_cores: expected at most"],
    );
    refused(reserve(&["r", "--user", "u", "--until", "1h"]), 8, "EX-0030", &["at least one of"]);
    refused(reserve(&["r", "--user", "u", "--cpu", "1", "--until", "tea"]), 8, "EX-0030", &["until", "2h"]);
    refused(
        reserve(&["r", "--user", "u", "--memory", "8", "--until", "1h"]),
        8,
        "EX-0030",
        &["memory", "unit"],
    );
    let spends = daemon.file("spends.yaml", &program("spends", "exit 0", "", "    resources: {shots: 6}\n"));
    daemon.succeed(&[&spends]);
    let before = wait_for("the use is shown", PATIENCE, || {
        let shown = resources(&daemon);
        (shown["leases"] == json!([])).then_some(shown)
    });
    assert_eq!(before["budgets"][0]["left"], 4, "{before:#}");

    daemon.kill9();
    daemon.restart();
    let after = resources(&daemon);
    for part in ["drains", "reservations", "budgets", "capacity"] {
        assert_eq!(after[part], before[part], "{part} did not hold");
    }
    let drains = after["drains"].as_array().unwrap();
    let drain = drains.iter().find(|d| d["resource"] == "worker-1").unwrap();
    assert_eq!((&drain["by"], &drain["reason"]), (&json!("olga"), &json!("smells of smoke")));
    let poor = daemon.submit(&[&spends]);
    waits_for(&daemon, &poor, "program", "budget");
    daemon.ctl(&["cancel", &poor]).expect(0);
    // On the drained slot nothing begins, on the other it does.
    let long = daemon.file("long.yaml", &program("long", "sleep 600", "", ""));
    let runs = [daemon.submit(&[&long]), daemon.submit(&[&long])];
    daemon.stage_reaches(&runs[0], "program", "running");
    waits_for(&daemon, &runs[1], "program", "resource");
    assert_eq!(resources(&daemon)["leases"][0]["slot"], "worker-2");
    daemon.ctl(&["resource", "undrain", "worker-1"]).expect(0);
    daemon.ctl(&["resource", "unreserve", "night"]).expect(0);
    daemon.stage_reaches(&runs[1], "program", "running");
    runs.iter().for_each(|run| drop(daemon.ctl(&["cancel", run]).expect(0)));
    expect_all_free(&daemon);
    daemon.expect_journal_whole();
}

#[test]
fn what_can_never_run_and_what_does_not_fit_the_queue_is_refused_at_submit_with_the_limit() {
    let daemon = Daemon::with(json!({"scheduling": {
        "queue": {"runs": 4, "runs_per_user": 2},
        "quotas": {"workflows": {"tiny": {"cpu_cores": 1}}},
    }}));
    let file = |name: &str, of_workflow: &str, of_stage: &str| {
        daemon.file(&format!("{name}.yaml"), &program(name, "sleep 600", of_workflow, of_stage))
    };
    let huge = file("huge", "", "    resources: {cpu: 4000}\n");
    refused(
        daemon.ctl(&["submit", &huge]),
        8,
        "EX-0025",
        &["program asks for 4000 CPU cores, the capacity is"],
    );
    let tiny = file("tiny", "", "    resources: {cpu: 2}\n");
    refused(daemon.ctl(&["submit", &tiny]), 8, "EX-0025", &["the quota of workflow \"tiny\" is 1"]);
    let above = file("above", "resources: {memory: 1GiB}\n", "    resources: {memory: 2GiB}\n");
    refused(
        daemon.ctl(&["submit", &above]),
        8,
        "EX-0027",
        &["2048 MiB of memory, the ceiling of its workflow is 1024"],
    );
    let wide = file("wide", "resources: {cpu: 4000}\n", "");
    let warned = daemon.ctl(&["submit", &wide, "--as", "ada"]).expect(0).json();
    assert!(
        warned["warnings"].to_string().contains("may have 4000 CPU cores, this machine has"),
        "{warned:#}"
    );
    assert_eq!(daemon.ctl(&["list"]).expect(0).json()["runs"].as_array().unwrap().len(), 1);
    let long = file("long", "", "");
    let mut runs = vec![warned["run"].as_str().unwrap().to_owned(), daemon.submit(&[&long, "--as", "ada"])];
    refused(
        daemon.ctl(&["submit", &long, "--as", "ada"]),
        75,
        "EX-0026",
        &["runs of ada are open: 2, and 2 may", "try again in"],
    );
    runs.extend([daemon.submit(&[&long, "--as", "bob"]), daemon.submit(&[&long, "--as", "eve"])]);
    refused(daemon.ctl(&["submit", &long, "--as", "bob"]), 75, "EX-0026", &["runs are open: 4, and 4 may"]);
    daemon.ctl(&["cancel", &runs[0]]).expect(0);
    daemon.end_of(&runs[0]);
    daemon.submit(&[&long, "--as", "ada"]);
}

#[test]
fn a_run_keeps_the_terms_of_the_settings_under_which_it_was_submitted() {
    let programme =
        std::fs::read_to_string(crate::harness::example("ampel360/programme/orchestrator-config.yaml"));
    let programme = programme.unwrap();
    let mut daemon = Daemon::start();
    daemon.terminate();
    daemon.file("settings.yaml", &programme);
    daemon.restart();
    let files = small_problem();
    let run = daemon.submit(&small_run(
        &files,
        &["--set", "drill_sleep_ms=1500", "--set", "drill_stage=constraint-validation"],
    ));
    daemon.ctl(&["pause", &run]).expect(0);
    let not_honoured = daemon.ctl(&["doctor"]).json()["not_honoured"].to_string();
    assert!(not_honoured.contains("security.encryption_at_rest"), "{not_honoured}");
    for honoured in ["retry_delay_seconds", "retention_days", "max_parallel_workflows", "cvar_alpha"] {
        assert!(!not_honoured.contains(honoured), "{honoured} is listed: {not_honoured}");
    }
    assert_eq!(resources(&daemon)["queue"]["runs_side_by_side_max"], 3);
    let before = daemon.show(&run)["params"].clone();
    assert_eq!((&before["cvar_level_default"], &before["risk_weight_default"]), (&json!(0.95), &json!(0.1)));
    wait_for("the run rests", RUN_PATIENCE, || {
        let stages = daemon.show(&run)["stages"].to_string();
        (!stages.contains("\"running\"")).then_some(())
    });
    daemon.kill9();
    daemon.file("settings.yaml", &programme.replace("cvar_alpha: 0.95", "cvar_alpha: 0.5"));
    daemon.restart();
    daemon.ctl(&["resume", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded", "{}", daemon.log());
    assert_eq!(daemon.show(&run)["params"], before);
    let risk = daemon.artefact(&run, "cvar_metrics.json");
    assert_eq!((&risk["cvar_level"], &risk["cvar_level_source"]), (&json!(0.95), &json!("settings")));
    // What is submitted now has the new terms.
    let next = daemon.submit(&small_run(&files, &[]));
    assert_eq!(daemon.show(&next)["params"]["cvar_level_default"], 0.5);
}

/// A plain generator, so that a failing drill can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn after_cancels_and_kills_of_everything_no_lease_is_left() {
    let mut daemon = Daemon::with(json!({"scheduling": {"lease": "1s"}}));
    let mut dice = Dice(20_260_105);
    let files = small_problem();
    let workers = "workflow: solves\nstages:\n  - {name: feasible-set-generation, retry: {attempts: 9, backoff: 50ms}}\n  - {name: qaoa-optimization, retry: {attempts: 9, backoff: 50ms}}\n";
    let workers = daemon.file("solves.yaml", workers);
    let sleeps = daemon.file(
        "sleeps.yaml",
        &program("sleeps", "sleep 0.2", "", "    retry: {attempts: 9, backoff: 50ms}\n"),
    );
    let mut runs = Vec::new();
    for round in 0..36 {
        let run = if dice.roll(3) == 0 {
            let args: Vec<&str> =
                std::iter::once(workers.as_str()).chain(files.iter().map(String::as_str)).collect();
            daemon.submit(&args)
        } else {
            daemon.submit(&[&sleeps])
        };
        runs.push(run);
        match dice.roll(6) {
            0 => {
                let at = dice.roll(runs.len() as u64) as usize;
                daemon.ctl(&["cancel", &runs[at]]);
            }
            1 => {
                for pid in daemon.workers().into_iter().take(1) {
                    let pid = nix::unistd::Pid::from_raw(pid as i32);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
            }
            2 => {
                let child = ["resources", "scheduler", "worker-1", "orchestrator"][dice.roll(4) as usize];
                daemon.ctl(&["inject", child, "--fault", "panic"]);
            }
            3 => {
                let at = dice.roll(runs.len() as u64) as usize;
                daemon.ctl(&["inject", &runs[at], "--fault", "panic"]);
            }
            _ => {}
        }
        if round % 12 == 11 {
            daemon.kill9();
            daemon.restart();
        }
    }
    for run in &runs {
        let ended = wait_for(&format!("{run} ends or asks"), RUN_PATIENCE, || {
            let shown = daemon.show(run);
            let phase = shown["phase"].as_str().unwrap().to_owned();
            if ["succeeded", "rolled-back", "failed", "cancelled"].contains(&phase.as_str()) {
                return Some(phase);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            None
        });
        assert!(["succeeded", "rolled-back", "cancelled"].contains(&ended.as_str()), "{run} ended {ended}");
    }
    expect_all_free(&daemon);
    assert!(daemon.workers().is_empty(), "worker processes are left over");
    daemon.expect_journal_whole();
}

#[test]
fn a_lease_is_renewed_for_as_long_as_its_stage_runs() {
    let daemon = Daemon::with(json!({"scheduling": {"lease": "1s"}}));
    let file = daemon.file("w.yaml", &program("w", "sleep 600", "", ""));
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "program", "running");
    let lease = || resources(&daemon)["leases"][0].clone();
    let first = lease();
    assert!(first["until"].is_string() && first["fence"].as_u64().unwrap() > 0, "{first:#}");
    // Three times its length later it is the same lease, put off.
    let begun = Instant::now();
    wait_for("the lease is put off", PATIENCE, || (begun.elapsed().as_millis() > 3_000).then_some(()));
    let later = lease();
    assert_eq!(later["fence"], first["fence"]);
    assert!(later["until"].as_str() > first["until"].as_str(), "{first:#} {later:#}");
    assert!(!daemon.log().contains("not renewed"), "{}", daemon.log());
}

#[test]
fn a_stage_whose_backend_rests_says_so() {
    let daemon = Daemon::start();
    let files = small_problem();
    let text = "workflow: quantum\nstages:\n  - name: feasible-set-generation\n  - {name: qaoa-optimization, retry: {attempts: 60, backoff: 300ms, backoff_max: 300ms}}\n";
    let file = daemon.file("quantum.yaml", text);
    let crash = ["--set", "drill_crash=[1,2,3,4,5,6,7,8,9]", "--set", "drill_stage=qaoa-optimization"];
    let args: Vec<&str> =
        std::iter::once(file.as_str()).chain(files.iter().map(String::as_str)).chain(crash).collect();
    let run = daemon.submit(&args);
    let wait = wait_for("the breaker is open", RUN_PATIENCE, || {
        wait_of(&daemon, &run, "qaoa-optimization").filter(|wait| wait["reason"] == "breaker")
    });
    says(&wait, &["rests until", "the breaker of backend simulator is"]);
    daemon.ctl(&["cancel", &run]).expect(0);
    assert!(stage_of(&daemon.end_of(&run), "qaoa-optimization")["phase"] != "running");
    expect_all_free(&daemon);
}

/// Weights of ten users; each queues fifty runs per unit of weight, a thousand in all.
const WEIGHTS: [u64; 10] = [1, 1, 1, 1, 2, 2, 2, 2, 4, 4];
const RUNS_PER_WEIGHT: u64 = 50;

#[test]
fn a_thousand_runs_in_the_daemon_are_shared_by_weight_within_five_per_cent() {
    let weights: BTreeMap<String, u64> =
        WEIGHTS.iter().enumerate().map(|(i, weight)| (format!("user-{i}"), *weight)).collect();
    let daemon = Daemon::with(json!({"scheduling": {"weights": weights}, "log": "warn"}));
    let resident = |daemon: &Daemon| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
    };
    let idle = resident(&daemon);
    daemon.ctl(&["resource", "drain", "machine", "--reason", "all shall wait"]).expect(0);
    let text = program("short", "exit 0", "", "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    runtime.block_on(async {
        // Everybody queues at once, one run after the other.
        let queues = weights.iter().map(|(user, weight)| {
            let mut options = Options::new(Some(daemon.socket()));
            options.principal = Some(user.clone());
            let text = text.clone();
            async move {
                let mut client = Client::connect(&options).await.unwrap();
                let mut runs = Vec::new();
                for _ in 0..weight * RUNS_PER_WEIGHT {
                    let submission = Submission {
                        yaml: Some(text.clone()),
                        file: "short.yaml".to_owned(),
                        ..Submission::default()
                    };
                    let accepted = client.request(&Request::Submit(submission)).await.unwrap();
                    runs.push((accepted["run"].as_str().unwrap().to_owned(), user.clone()));
                }
                runs
            }
        });
        owners.extend(futures::future::join_all(queues).await.into_iter().flatten());
    });
    assert_eq!(owners.len(), 1_000);
    let queued = begun.elapsed();
    let listing = Instant::now();
    let listed = daemon.ctl(&["list"]).expect(0).json();
    let list = listing.elapsed();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1_000);
    let (run, _) = owners.first_key_value().unwrap();
    says(&waits_for(&daemon, run, "program", "drain"), &["the machine"]);
    let waiting = resident(&daemon);
    daemon.ctl(&["resource", "undrain", "machine"]).expect(0);
    wait_for("all have ended", RUN_PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        (resources(&daemon)["queue"]["runs_open"] == 0).then_some(())
    });
    println!(
        "1000 runs: queued in {queued:?}, done in {:?}; resident {idle} MiB idle, {waiting} MiB with all waiting, {} MiB after; `list` of 1000 in {list:?}, the client's start included",
        begun.elapsed(),
        resident(&daemon),
    );
    let mut starts: Vec<(u64, &String)> = Vec::new();
    runtime.block_on(async {
        let mut client = Client::connect(&Options::new(Some(daemon.socket()))).await.unwrap();
        for (run, user) in &owners {
            let page = client.request(&Request::Events { run: run.clone(), from: 0 }).await.unwrap();
            let events = page["events"].as_array().unwrap();
            let started = events.iter().find(|event| event["event"] == "StageStarted").unwrap();
            starts.push((started["position"].as_u64().unwrap(), user));
        }
    });
    starts.sort_unstable();
    // While all wait: until the first of them has nothing left.
    let mut served: BTreeMap<&String, u64> = BTreeMap::new();
    for (_, user) in starts {
        let of_user = served.entry(user).or_default();
        *of_user += 1;
        if *of_user == weights[user] * RUNS_PER_WEIGHT {
            break;
        }
    }
    let (all, sum): (u64, u64) = (served.values().sum(), WEIGHTS.iter().sum());
    let parts: Vec<f64> = weights
        .iter()
        .map(|(user, weight)| {
            let due = all as f64 * *weight as f64 / sum as f64;
            served.get(user).copied().unwrap_or(0) as f64 / due
        })
        .collect();
    println!("{all} stages began while all waited; each user's part of its due: {parts:.3?}");
    assert!(all >= 900, "the first queue was empty after {all} of 1000");
    // A stage is a whole: fifty of them cannot be shared out more finely than to two per cent.
    for part in &parts {
        assert!((part - 1.0).abs() <= 0.05, "{parts:.3?}");
    }
    expect_all_free(&daemon);
}
