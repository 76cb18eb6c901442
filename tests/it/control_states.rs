//! Control as journaled states: pause now, tune, reset, clone, signals, deadlines, roles, emergency stop.

use crate::harness::{
    Daemon, PATIENCE, is_alive, of_stage, signal, small_problem, small_run, stage_of, started_again, wait_for,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// Names of the events of a run, in order.
fn names(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["event"].as_str()).collect()
}

fn count(events: &[Value], name: &str) -> usize {
    names(events).iter().filter(|event| **event == name).count()
}

/// A program that works until the file is there.
fn until(file: &std::path::Path) -> Value {
    json!(["/bin/sh", "-c", format!("while ! test -e {}; do sleep 0.02; done", file.display())])
}

/// Pauses `full-optimization` in every stage that can be met at work, kills the daemon in every other pause,
/// and expects the bytes of a run that nobody disturbed.
fn paused_in_every_stage(now: bool) {
    let mut daemon = Daemon::start();
    let files = small_problem();
    let undisturbed = daemon.succeed(&small_run(&files, &[]));
    let expected = daemon.artefact_bytes(&undisturbed, "optimal_config.json");
    let run = daemon.submit(&small_run(&files, &["--set", "drill_sleep_ms=400"]));
    let stages: Vec<String> = daemon.show(&run)["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["name"].as_str().unwrap().to_owned())
        .collect();
    let mut met = BTreeSet::new();
    for (at, stage) in stages.iter().enumerate() {
        let phase = wait_for(&format!("{stage} begins"), PATIENCE, || {
            let phase = stage_of(&daemon.show(&run), stage)["phase"].as_str().unwrap().to_owned();
            ["running", "succeeded", "skipped"].contains(&phase.as_str()).then_some(phase)
        });
        let verb = if now { vec!["pause", &run, "--now"] } else { vec!["pause", &run] };
        let answer = daemon.ctl(&verb);
        if answer.code != 0 {
            // It ended just now, or while it was asked: then it is told to ask again.
            assert!([5, 75].contains(&answer.code), "{}", answer.stderr);
            continue;
        }
        assert_eq!(answer.json()["phase"], "paused");
        if phase == "running" {
            met.insert(stage.clone());
        }
        if at % 2 == 0 {
            daemon.kill9();
            daemon.restart();
        }
        wait_for("nothing runs in the pause", PATIENCE, || {
            let shown = daemon.show(&run);
            assert_eq!(shown["phase"], "paused", "{shown:#}");
            let stages = shown["stages"].as_array().unwrap();
            (!stages.iter().any(|stage| stage["phase"] == "running")).then_some(())
        });
        daemon.ctl(&["resume", &run]).expect(0);
    }
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(daemon.artefact_bytes(&run, "optimal_config.json"), expected);
    println!("met at work, {}: {met:?}", if now { "--now" } else { "draining" });
    assert!(met.len() >= 8, "only {met:?} were met at work");
    let events = daemon.events(&run);
    assert_eq!(started_again(&events), Vec::<String>::new());
    assert_eq!(count(&events, "StageRetryPlanned"), 0, "a pause costs no attempt");
    if now {
        let paused =
            events.iter().filter(|e| e["event"] == "StageInterrupted" && e["why"] == "Paused").count();
        assert!(paused >= 3, "{paused} stages were stopped by the pause alone");
    }
    daemon.expect_journal_whole();
}

#[test]
fn a_run_stopped_with_pause_now_in_every_stage_ends_with_the_same_bytes() {
    paused_in_every_stage(true);
}

#[test]
fn a_run_drained_with_pause_in_every_stage_ends_with_the_same_bytes() {
    paused_in_every_stage(false);
}

#[test]
fn pause_now_leaves_a_checkpoint_from_which_resume_goes_on_to_the_same_bytes() {
    let mut daemon = Daemon::start();
    let files = small_problem();
    // The only checkpoint is the one that the stop asks for.
    let long = [
        "--set",
        "qaoa-optimization.optimiser=spsa",
        "--set",
        "qaoa-optimization.iterations=60000",
        "--set",
        "qaoa-optimization.checkpoint_ms=3600000",
    ];
    let undisturbed = daemon.succeed(&small_run(&files, &long));
    let run = daemon.submit(&small_run(&files, &long));
    let stage = "risk-aware-selection/qaoa-optimization";
    daemon.is_computing(&run, stage);
    let answer = daemon.ctl(&["pause", &run, "--now"]).expect(0).json();
    assert_eq!(answer["stopping"], json!([stage]), "{answer:#}");
    daemon.stage_reaches(&run, stage, "waiting");
    let events = daemon.events(&run);
    let of_it: Vec<String> = of_stage(&events, stage).into_iter().map(|(event, _)| event).collect();
    let tail = &of_it[of_it.len() - 3..];
    assert_eq!(tail, ["StageStopRequested", "StageCheckpointed", "StageInterrupted"], "{of_it:?}");
    daemon.kill9();
    daemon.restart();
    daemon.ctl(&["resume", &run]).expect(0);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(stage_of(&shown, stage)["attempts"], 1);
    for name in ["qaoa_result.json", "optimal_config.json", "convergence.svg"] {
        assert!(
            daemon.artefact_bytes(&run, name) == daemon.artefact_bytes(&undisturbed, name),
            "{name} differs"
        );
    }
}

#[test]
fn pause_now_ends_a_program_that_may_be_repeated_and_lets_another_finish() {
    let daemon = Daemon::start();
    let go = daemon.folder().join("go");
    let text = json!({ "workflow": "both", "stages": [
        {"name": "may", "kind": "exec", "needs": [], "idempotent": true, "command": until(&go)},
        {"name": "may-not", "kind": "exec", "needs": [], "command": until(&go)},
    ]});
    let run = daemon.submit(&[&daemon.file("w.yaml", &text.to_string())]);
    daemon.stage_reaches(&run, "may", "running");
    daemon.stage_reaches(&run, "may-not", "running");
    let answer = daemon.ctl(&["pause", &run, "--now"]).expect(0).json();
    assert_eq!(answer["finishing"], json!(["may-not"]), "{answer:#}");
    daemon.stage_reaches(&run, "may", "waiting");
    assert_eq!(stage_of(&daemon.show(&run), "may-not")["phase"], "running");
    daemon.ctl(&["pause", &run, "--now"]).expect(5);
    fs::write(&go, "").unwrap();
    daemon.stage_reaches(&run, "may-not", "succeeded");
    daemon.ctl(&["resume", &run]).expect(0);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(stage_of(&shown, "may")["attempts"], 1, "what a pause took away is not counted");
    daemon.ctl(&["pause", &run, "--now"]).expect(5);
    daemon.ctl(&["resume", &run]).expect(5);
}

#[test]
fn a_pause_holds_in_backoff_at_a_gate_and_in_doubt_and_is_refused_while_undoing() {
    let mut daemon = Daemon::start();
    let go = daemon.folder().join("go");
    let text = json!({ "workflow": "waits", "stages": [
        {"name": "fails", "kind": "exec", "idempotent": true, "needs": [], "retry": {"attempts": 50, "backoff": "300ms", "backoff_max": "300ms"},
         "command": ["/bin/sh", "-c", format!("test -e {}", go.display())]},
        {"name": "asked", "kind": "approval", "needs": []},
        {"name": "program", "kind": "exec", "needs": [], "command": until(&go),
         "undo": ["/bin/sh", "-c", "sleep 1"]},
    ]});
    let run = daemon.submit(&[&daemon.file("w.yaml", &text.to_string()), "--as", "ada"]);
    daemon.stage_reaches(&run, "fails", "backoff");
    daemon.stage_reaches(&run, "program", "running");
    daemon.kill9();
    daemon.restart();
    daemon.ctl(&["pause", &run]).expect(0);
    let begun = of_stage(&daemon.events(&run), "fails").iter().filter(|(e, _)| e == "StageStarted").count();
    let why = daemon.ctl(&["explain", &run]).expect(0).json().to_string();
    assert!(why.contains("approval") && why.contains("not known"), "{why}");
    // What people say in a pause is kept and acted upon afterwards.
    daemon.ctl(&["approve", &run, "asked", "--as", "bo"]).expect(0);
    daemon.ctl(&["retry", &run, "--from", "program"]).expect(0);
    std::thread::sleep(Duration::from_millis(700));
    let events = daemon.events(&run);
    assert_eq!(of_stage(&events, "fails").iter().filter(|(e, _)| e == "StageStarted").count(), begun);
    assert_eq!(stage_of(&daemon.show(&run), "program")["phase"], "waiting");
    daemon.ctl(&["resume", &run]).expect(0);
    daemon.stage_reaches(&run, "asked", "succeeded");
    daemon.stage_reaches(&run, "program", "running");
    daemon.ctl(&["cancel", &run]).expect(0);
    daemon.stage_reaches(&run, "program", "compensating");
    for verb in [vec!["pause", &run], vec!["pause", &run, "--now"], vec!["reset", &run, "--to", "program"]] {
        let refused = daemon.ctl(&verb).expect(5);
        assert!(refused.stderr.contains("EX-0020"), "{}", refused.stderr);
    }
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
}

#[test]
fn tune_says_the_range_the_nearest_name_and_when_it_counts() {
    let daemon = Daemon::start();
    let go = daemon.folder().join("go");
    let text = json!({ "workflow": "tuned", "stages": [
        {"name": "works", "kind": "exec", "idempotent": true, "retry": {"attempts": 1}, "command": until(&go)},
        {"name": "lists", "kind": "feasible-set-generation"},
    ]});
    let file = daemon.file("w.yaml", &text.to_string());
    let files = small_problem();
    let with: Vec<&str> = std::iter::once(file.as_str()).chain(files.iter().map(String::as_str)).collect();
    let run = daemon.submit(&with);
    daemon.stage_reaches(&run, "works", "running");
    for (setting, code, exit, words) in [
        ("lists.kep=3", "EX-0052", 8, "did you mean `keep`?"),
        ("lists.keep=0", "EX-0054", 8, "a whole number from 1 to 1000000"),
        ("lists.checkpoint_ms=-1", "EX-0054", 8, "from 0 to 3600000"),
        ("works.start_to_close=never", "EX-0054", 8, "a duration"),
        ("works.command=[\"x\"]", "EX-0055", 8, "clone"),
        ("nowhere.keep=3", "EX-0019", 3, "lists"),
    ] {
        let refused = daemon.ctl(&["tune", &run, setting]).expect(exit);
        assert!(
            refused.stderr.contains(code) && refused.stderr.contains(words),
            "{setting}: {}",
            refused.stderr
        );
    }
    assert_eq!(count(&daemon.events(&run), "ParameterTuned"), 0);
    let later = daemon.ctl(&["tune", &run, "lists.keep=7", "--as", "ada"]).expect(0).json();
    assert_eq!(later["takes_effect"], "at the stage's next attempt");
    let now = daemon.ctl(&["tune", &run, "works.start_to_close=300ms", "--as", "ada"]).expect(0).json();
    assert_eq!((&now["takes_effect"], &now["changed"][0]["value"]), (&json!("now"), &json!("300ms")));
    let shown = daemon.end_of(&run);
    assert_eq!(stage_of(&shown, "works")["error"]["code"], "EX-0505", "the new limit ended it: {shown:#}");
    let events = daemon.events(&run);
    let tuned = events.iter().find(|event| event["event"] == "ParameterTunedLive").unwrap();
    assert_eq!(
        (&tuned["stage"], &tuned["old"], &tuned["value"], &tuned["by"]),
        (&json!("works"), &Value::Null, &json!("300ms"), &json!("ada"))
    );
    assert!(tuned["time"].is_string());
}

#[test]
fn a_submission_with_wrong_parameters_is_refused_with_all_of_them() {
    let daemon = Daemon::start();
    let files = small_problem();
    let wrong =
        ["--set", "qaoa-optimization.shotz=5", "--set", "qaoa-optimization.layers=0", "--set", "lits_max=4"];
    let refused = daemon.ctl(&[&["submit"], small_run(&files, &wrong).as_slice()].concat()).expect(8);
    for words in ["did you mean `shots`?", "from 1 to 64", "did you mean `list_max`?"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
}

/// `first` and `third` write a line when they work and when they are undone.
fn lines(daemon: &Daemon) -> (String, std::path::PathBuf) {
    let log = daemon.folder().join("lines");
    let line = |word: &str| json!(["/bin/sh", "-c", format!("echo {word} >> {}", log.display())]);
    let text = json!({ "workflow": "lines", "stages": [
        {"name": "first", "kind": "exec", "command": line("first"), "undo": line("undo-first")},
        {"name": "second", "kind": "exec", "command": line("second"), "undo": line("undo-second")},
        {"name": "third", "kind": "exec", "command": line("third"), "undo": line("undo-third")},
    ]});
    (daemon.file("lines.yaml", &text.to_string()), log)
}

#[test]
fn a_reset_undoes_what_came_after_newest_first_and_runs_it_again() {
    let mut daemon = Daemon::start();
    let (file, log) = lines(&daemon);
    let run = daemon.succeed(&[&file]);
    let said = || fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(said(), ["first", "second", "third"]);
    let events = daemon.events(&run);
    let first_done = events.iter().find(|e| e["event"] == "StageSucceeded" && e["stage"] == "first").unwrap();
    let position = first_done["position"].to_string();
    let answer = daemon.ctl(&["reset", &run, "--to", &position]).expect(0).json();
    assert_eq!(answer["run"], json!(run), "{answer:#}");
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(said()[3..], ["undo-third", "undo-second", "second", "third"]);
    let reset = daemon.events(&run).into_iter().find(|e| e["event"] == "RunReset").unwrap();
    assert_eq!(reset["again"], json!(["second", "third"]), "{reset:#}");
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.show(&run)["phase"], "succeeded");
    daemon.ctl(&["reset", &run, "--to", "third"]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    assert_eq!(said()[7..], ["undo-third", "third"]);
    for (to, code) in [("99999999", "EX-0051"), ("nowhere", "EX-0019")] {
        let refused = daemon.ctl(&["reset", &run, "--to", to]).expect(3);
        assert!(refused.stderr.contains(code), "{to}: {}", refused.stderr);
    }
    daemon.ctl(&["reset", "run-999999", "--to", "third"]).expect(3);
}

#[test]
fn a_clone_takes_over_what_comes_before_and_says_whose_it_is() {
    let daemon = Daemon::start();
    let files = small_problem();
    let run = daemon.succeed(&small_run(&files, &[]));
    let same = daemon.ctl(&["clone", &run]).expect(0).json();
    let same = same["run"].as_str().unwrap().to_owned();
    let from = "risk-aware-selection/cvar-calculation";
    let args = ["clone", &run, "--set", "cvar-calculation.risk_weight=0", "--from", from, "--key", "k"];
    let answer = daemon.ctl(&args).expect(0).json();
    let other = answer["run"].as_str().unwrap().to_owned();
    assert_eq!(daemon.ctl(&args).expect(0).json()["run"], json!(other), "the same key, the same run");
    let conflict = daemon.ctl(&["clone", &run, "--key", "k"]).expect(5);
    assert!(conflict.stderr.contains("EX-0023"), "{}", conflict.stderr);
    for clone in [&same, &other] {
        assert_eq!(daemon.end_of(clone)["phase"], "succeeded", "{:#}", daemon.show(clone));
    }
    let config = |run: &str| daemon.artefact_bytes(run, "optimal_config.json");
    assert!(config(&same) == config(&run), "an unchanged clone gives the same bytes");
    assert_eq!(daemon.artefact(&other, "optimal_config.json")["risk_weight"], json!(0.0));
    let shown = daemon.show(&other);
    assert_eq!(shown["clone_of"], json!({"run": run, "from": from}), "{shown:#}");
    let events = daemon.events(&other);
    let taken: Vec<&Value> = events.iter().filter(|e| e["event"] == "StageTakenOver").collect();
    assert!(taken.len() >= 5 && taken.iter().all(|e| e["run"] == json!(run)), "{events:#?}");
    let kept = "feasible-enumeration/feasible-set-generation";
    assert!(!of_stage(&events, kept).iter().any(|(event, _)| event == "StageStarted"));
    daemon.ctl(&["clone", "run-999999"]).expect(3);
    daemon.ctl(&["clone", &run, "--from", "nowhere"]).expect(3);
    daemon.ctl(&["clone", &run, "--set", "cvar-calculation.risk_weigth=0"]).expect(8);
}

fn waiting_for_wind(daemon: &Daemon, deadline: Option<&str>) -> String {
    let go = daemon.folder().join("go");
    let mut params = json!({"signal": "wind"});
    if let Some(deadline) = deadline {
        params["deadline"] = json!(deadline);
    }
    let text = json!({ "workflow": "signalled", "stages": [
        {"name": "before", "kind": "exec", "idempotent": true, "command": until(&go)},
        {"name": "twin", "kind": "signal", "params": params},
        {"name": "calm", "kind": "check", "params": {"expect": ["wind_speed < 10.0"]}},
    ]});
    daemon.submit(&[&daemon.file("w.yaml", &text.to_string())])
}

#[test]
fn a_signal_that_comes_early_is_kept_over_a_kill_and_its_data_become_facts() {
    let mut daemon = Daemon::start();
    let run = waiting_for_wind(&daemon, None);
    daemon.stage_reaches(&run, "before", "running");
    let data = ["--data", "{\"wind_speed\": 7.5}", "--key", "reading-1"];
    for (name, code) in [("rain", 8), ("wind", 0), ("wind", 0)] {
        let verb = [&["signal", &run, "twin", name], data.as_slice()].concat();
        daemon.ctl(&verb).expect(code);
    }
    daemon.ctl(&["signal", &run, "twin", "wind", "--key", "reading-2"]).expect(5);
    daemon.ctl(&["signal", &run, "before", "wind"]).expect(8);
    daemon.ctl(&["signal", &run, "nowhere", "wind"]).expect(3);
    daemon.kill9();
    daemon.restart();
    fs::write(daemon.folder().join("go"), "").unwrap();
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(shown["facts"]["wind_speed"], json!(7.5));
    assert_eq!(count(&daemon.events(&run), "SignalRecorded"), 1, "the same key twice is one signal");
}

#[test]
fn a_stage_waits_for_its_signal_and_fails_past_its_deadline() {
    let daemon = Daemon::start();
    fs::write(daemon.folder().join("go"), "").unwrap();
    let run = waiting_for_wind(&daemon, None);
    wait_for("the stage waits", PATIENCE, || {
        (count(&daemon.events(&run), "SignalAwaited") == 1).then_some(())
    });
    let why = daemon.ctl(&["explain", &run]).expect(0).text();
    assert!(why.contains("signal `wind`"), "{why}");
    daemon.ctl(&["signal", &run, "twin", "wind", "--data", "[1]"]).expect(8);
    daemon.ctl(&["signal", &run, "twin", "wind", "--data", "{\"wind_speed\": 3}"]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    let late = waiting_for_wind(&daemon, Some("200ms"));
    let shown = daemon.end_of(&late);
    assert_eq!(
        (&shown["phase"], &shown["error"]["code"]),
        (&json!("rolled-back"), &json!("EX-0053")),
        "{shown:#}"
    );
}

#[test]
fn a_run_past_its_deadline_is_cancelled_and_undone_also_over_a_kill() {
    let mut daemon = Daemon::start();
    let undone = daemon.folder().join("undone");
    let text = json!({ "workflow": "slow", "timeout_minutes": 0.03, "stages": [
        {"name": "done", "kind": "exec", "command": ["/bin/echo", "x"],
         "undo": ["/bin/sh", "-c", format!("echo undone >> {}", undone.display())]},
        {"name": "slow", "kind": "exec", "idempotent": true, "command": ["sleep", "600"]},
    ]});
    let file = daemon.file("w.yaml", &text.to_string());
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "slow", "running");
    assert!(daemon.show(&run)["deadline"].is_string());
    daemon.kill9();
    daemon.restart();
    let shown = daemon.end_of(&run);
    assert_eq!(
        (&shown["phase"], &shown["error"]["code"]),
        (&json!("cancelled"), &json!("EX-0050")),
        "{shown:#}"
    );
    assert_eq!(fs::read_to_string(&undone).unwrap(), "undone\n");
    // A stated deadline wins over the file's, and a pause does not stop the clock.
    let other = daemon.submit(&[&file, "--deadline", "700ms"]);
    daemon.ctl(&["pause", &other]).expect(0);
    assert_eq!(daemon.end_of(&other)["error"]["code"], "EX-0050");
    daemon.ctl(&["submit", &file, "--deadline", "soon"]).expect(8);
}

#[test]
fn a_worker_silent_for_longer_than_its_stage_allows_is_killed_though_the_daemon_would_wait() {
    let daemon = Daemon::with(json!({"heartbeat_ms": 30_000}));
    let text = json!({ "workflow": "silent", "stages": [
        {"name": "lists", "kind": "feasible-set-generation", "timeout": {"heartbeat": "600ms"},
         "params": {"drill_sleep_ms": 1500}},
    ]});
    let file = daemon.file("w.yaml", &text.to_string());
    let files = small_problem();
    let with: Vec<&str> = std::iter::once(file.as_str()).chain(files.iter().map(String::as_str)).collect();
    let run = daemon.submit(&with);
    let worker = daemon.worker_of(&run, "lists");
    // It beats while it sleeps; only silence counts.
    std::thread::sleep(Duration::from_millis(300));
    signal(worker, Signal::SIGSTOP);
    wait_for("the silent worker is killed", PATIENCE, || (!is_alive(worker)).then_some(()));
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let events = daemon.events(&run);
    let planned = events.iter().find(|e| e["event"] == "StageRetryPlanned").unwrap();
    assert_eq!(planned["error"]["code"], "EX-0502", "{planned:#}");
    assert!(planned["error"]["message"].as_str().unwrap().contains("600 ms"), "{planned:#}");
}

#[test]
fn roles_say_who_looks_who_steers_who_decides_and_who_clears() {
    let daemon = Daemon::with(json!({"roles": {
        "vera": "viewer", "otto": "operator", "anna": "approver", "ada": "admin", "olga": "operator",
    }}));
    let text = json!({ "workflow": "gated", "stages": [
        {"name": "act", "kind": "exec", "command": ["/bin/echo", "x"],
         "gate": {"approvals": 2, "roles": ["approver"]}},
    ]});
    let file = daemon.file("w.yaml", &text.to_string());
    let denied = |args: &[&str], code: &str, words: &str| {
        let refused = daemon.ctl(args).expect(4);
        assert!(
            refused.stderr.contains(code) && refused.stderr.contains(words),
            "{args:?}: {}",
            refused.stderr
        );
    };
    denied(&["submit", &file, "--as", "vera"], "EX-0004", "may only look");
    let run = daemon.submit(&[&file, "--as", "anna"]);
    wait_for("the gate opens", PATIENCE, || (count(&daemon.events(&run), "GateOpened") == 1).then_some(()));
    daemon.ctl(&["show", &run, "--as", "vera"]).expect(0);
    for verb in
        [vec!["cancel", run.as_str()], vec!["emergency-stop", "--reason", "x"], vec!["approve", &run, "act"]]
    {
        denied(&[verb.as_slice(), &["--as", "vera"]].concat(), "EX-0004", "may only look");
    }
    denied(&["approve", &run, "act", "--as", "otto"], "EX-0004", "approver");
    denied(&["approve", &run, "act", "--as", "anna"], "EX-0021", "submitter");
    daemon.ctl(&["approve", &run, "act", "--as", "ada"]).expect(0);
    denied(&["approve", &run, "act", "--as", "ada"], "EX-0021", "already");
    assert_eq!(daemon.show(&run)["phase"], "running", "one of two persons is not enough");
    daemon.ctl(&["emergency-stop", "--reason", "smoke", "--as", "otto"]).expect(0);
    denied(&["emergency-clear", "--reason", "fine", "--as", "otto"], "EX-0004", "admin");
    daemon.ctl(&["emergency-clear", "--as", "ada"]).expect(2);
    daemon.ctl(&["emergency-clear", "--reason", "fine", "--as", "ada"]).expect(0);
    daemon.ctl(&["cancel", &run, "--as", "olga"]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
}

/// Living descendants of the daemon, spares and programs of programs included.
fn descendants(daemon: &Daemon) -> BTreeSet<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next(), fields.next().and_then(|parent| parent.parse::<u32>().ok()));
        if let (Some(state), Some(parent)) = (state, parent)
            && state != "Z"
        {
            parents.push((pid, parent));
        }
    }
    let mut found = BTreeSet::from([daemon.pid()]);
    loop {
        let before = found.len();
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| found.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            break;
        }
    }
    found.remove(&daemon.pid());
    found
}

#[test]
fn an_emergency_stop_under_32_busy_workers_leaves_none_alive_and_loses_nothing() {
    let mut daemon = Daemon::with(json!({
        "worker_slots": 32, "cpu_cores": 64, "cpu_overcommit": true, "spare_workers": 4,
    }));
    let go = daemon.folder().join("go");
    let stages: Vec<Value> = (0..32)
        .map(|at| json!({"name": format!("s{at}"), "kind": "exec", "needs": [], "idempotent": true, "command": until(&go)}))
        .collect();
    let text = json!({"workflow": "busy", "stages": stages});
    let run = daemon.submit(&[&daemon.file("w.yaml", &text.to_string())]);
    let running = |daemon: &Daemon| {
        let shown = daemon.show(&run);
        shown["stages"].as_array().unwrap().iter().filter(|stage| stage["phase"] == "running").count()
    };
    wait_for("32 stages are at work", PATIENCE, || (running(&daemon) == 32).then_some(()));
    let before = wait_for("32 programs and the spares live", PATIENCE, || {
        let found = descendants(&daemon);
        (found.len() >= 36).then_some(found)
    });
    let begun = Instant::now();
    let stop = std::thread::scope(|scope| {
        let stop =
            scope.spawn(|| daemon.ctl(&["emergency-stop", "--reason", "smoke in rack 3", "--as", "ada"]));
        wait_for("no process of the daemon lives", PATIENCE, || {
            (!before.iter().any(|pid| is_alive(*pid))).then_some(())
        });
        println!(
            "no worker alive {} ms after the emergency stop was asked for ({} processes)",
            begun.elapsed().as_millis(),
            before.len()
        );
        stop.join().unwrap()
    });
    let said = stop.expect(0).json();
    assert_eq!(said["killed_workers"], json!(32), "{said:#}");
    // The answer waits a tenth of a second for its records and no longer; a busy disk may need more.
    if said["journaled"] == json!(false) {
        wait_for("the stop is journaled", PATIENCE, || {
            let again = daemon.ctl(&["emergency-stop", "--reason", "smoke in rack 3", "--as", "ada"]);
            (again.expect(0).json()["journaled"] == json!(true)).then_some(())
        });
    }
    assert_eq!(descendants(&daemon), BTreeSet::new(), "no spare is refilled");
    daemon.kill9();
    daemon.restart();
    // Who said so and why is known after a restart, too.
    let refused = daemon.ctl(&["resume", &run]).expect(75);
    assert!(
        refused.stderr.contains("smoke in rack 3") && refused.stderr.contains("ada"),
        "{}",
        refused.stderr
    );
    assert_eq!(daemon.workers(), Vec::<u32>::new());
    daemon.ctl(&["emergency-clear", "--reason", "a false alarm"]).expect(0);
    daemon.kill9();
    daemon.restart();
    fs::write(&go, "").unwrap();
    daemon.ctl(&["resume", &run]).expect(0);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert!(shown["stages"].as_array().unwrap().iter().all(|stage| stage["attempts"] == 1), "{shown:#}");
    daemon.expect_journal_whole();
}
