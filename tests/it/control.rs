//! The verbs and their exit codes, with the real client against the real daemon.

use crate::harness::{
    Daemon, PATIENCE, client, of_stage, run_program, small_problem, small_run, stage_of, started_again,
    wait_for,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// `first` works until the file `go` is there, then `second`; neither needs an input. Undoing `first` leaves
/// a line in `undone`.
fn two_stages(daemon: &Daemon) -> (String, PathBuf) {
    let go = daemon.folder().join("go");
    let text = json!({
        "workflow": "two-stages",
        "stages": [
            {
                "name": "first", "kind": "exec", "idempotent": true,
                "command": ["/bin/sh", "-c", format!("while ! test -e {}; do sleep 0.02; done", go.display())],
                "undo": ["/bin/sh", "-c", format!("echo undone >> {}", daemon.folder().join("undone").display())],
            },
            {"name": "second", "kind": "exec", "idempotent": true, "command": ["/bin/sh", "-c", "echo $EXECUTING_PARAMS"]},
        ],
    });
    (daemon.file("two-stages.yaml", &text.to_string()), go)
}

fn is_running(shown: &Value, stage: &str) -> bool {
    stage_of(shown, stage)["phase"] == "running"
}

#[test]
fn a_paused_run_lets_its_stage_finish_starts_no_other_and_goes_on_after_resume() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "first", "running");
    let paused = daemon.ctl(&["pause", &run]).expect(0).json();
    assert_eq!((&paused["run"], &paused["phase"]), (&json!(run), &json!("paused")));
    daemon.ctl(&["pause", &run]).expect(5);
    assert!(is_running(&daemon.show(&run), "first"), "a pause does not end what runs");
    fs::write(&go, "").unwrap();
    daemon.stage_reaches(&run, "first", "succeeded");
    let shown = daemon.show(&run);
    assert_eq!(shown["phase"], "paused");
    assert_eq!(
        of_stage(&daemon.events(&run), "second").iter().filter(|(e, _)| e == "StageStarted").count(),
        0
    );
    let why = daemon.ctl(&["explain", &run]).expect(0).json();
    assert!(why["stages"].to_string().contains("paused"), "{why:#}");
    daemon.ctl(&["resume", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    for verb in ["pause", "resume", "cancel", "retry"] {
        let refused = daemon.ctl(&[verb, &run]).expect(5);
        assert!(refused.stderr.contains("error[EX-0020]"), "{verb}: {}", refused.stderr);
    }
}

#[test]
fn a_cancelled_run_undoes_what_it_did_and_may_be_retried() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let undone = daemon.folder().join("undone");
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "first", "running");
    let answer = daemon.ctl(&["cancel", &run]).expect(0).json();
    assert!(["unwinding", "cancelled"].contains(&answer["phase"].as_str().unwrap()), "{answer:#}");
    assert_eq!(daemon.end_of(&run)["phase"], "cancelled");
    daemon.ctl(&["watch", &run]).expect(1);
    assert_eq!(
        fs::read_to_string(&undone).unwrap(),
        "undone\n",
        "the stage in flight had an intent, so it is undone"
    );
    fs::write(&go, "").unwrap();
    daemon.ctl(&["retry", &run]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
}

#[test]
fn a_failed_run_ends_rolled_back_with_exit_code_1_and_retry_goes_on_from_the_failed_stage() {
    let daemon = Daemon::start();
    let mended = daemon.folder().join("mended");
    let text = json!({
        "workflow": "fails-once",
        "stages": [
            {"name": "fine", "kind": "exec", "command": ["/bin/echo", "fine"]},
            {"name": "fragile", "kind": "exec", "command": ["/bin/sh", "-c", format!("test -e {} || {{ echo no spoon >&2; exit 3; }}", mended.display())]},
        ],
    });
    let file = daemon.file("fails-once.yaml", &text.to_string());
    let answer = daemon.ctl(&["submit", &file, "--wait"]).expect(1).json();
    assert_eq!(answer["phase"], "rolled-back");
    assert_eq!(answer["error"]["code"], "EX-0530", "{answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("no spoon"), "{answer:#}");
    let run = answer["run"].as_str().unwrap();
    let refused = daemon.ctl(&["retry", run, "--from", "nowhere"]).expect(3);
    assert!(refused.stderr.contains("EX-0019") && refused.stderr.contains("fragile"), "{}", refused.stderr);
    fs::write(&mended, "").unwrap();
    daemon.ctl(&["retry", run]).expect(0);
    assert_eq!(daemon.end_of(run)["phase"], "succeeded");
    assert_eq!(
        started_again(&daemon.events(run)),
        Vec::<String>::new(),
        "`fine` had succeeded and has no undo"
    );
}

fn gated(daemon: &Daemon) -> String {
    let text = json!({
        "workflow": "gated",
        "stages": [
            {"name": "before", "kind": "exec", "command": ["/bin/echo", "evidence"]},
            {"name": "sign-off", "kind": "approval"},
            {"name": "after", "kind": "exec", "command": ["/bin/echo", "done"]},
        ],
    });
    daemon.file("gated.yaml", &text.to_string())
}

fn gate_opens(daemon: &Daemon, run: &str) {
    wait_for("the gate opens", PATIENCE, || {
        daemon.events(run).iter().any(|event| event["event"] == "GateOpened").then_some(())
    });
}

#[test]
fn another_person_may_approve_and_the_submitter_may_not() {
    let daemon = Daemon::start();
    let run = daemon.submit(&[&gated(&daemon), "--as", "engineer"]);
    gate_opens(&daemon, &run);
    let refused = daemon.ctl(&["approve", &run, "sign-off", "--as", "engineer"]).expect(4);
    assert!(
        refused.stderr.contains("error[EX-0021]") && refused.stderr.contains("submitter"),
        "{}",
        refused.stderr
    );
    daemon.ctl(&["approve", &run, "nowhere", "--as", "approver"]).expect(3);
    daemon.ctl(&["approve", &run, "after", "--as", "approver"]).expect(5);
    assert_eq!(of_stage(&daemon.events(&run), "after"), Vec::new());
    let said =
        daemon.ctl(&["approve", &run, "sign-off", "--as", "approver", "--reason", "seen"]).expect(0).json();
    assert_eq!(said, json!({"run": run, "gate": "sign-off", "decision": "approved"}));
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    daemon.ctl(&["approve", &run, "sign-off", "--as", "colleague"]).expect(5);
    let events = daemon.events(&run);
    let approval = events.iter().find(|e| e["event"] == "ApprovalRecorded").unwrap();
    assert_eq!((&approval["by"], &approval["reason"]), (&json!("approver"), &json!("seen")));
}

#[test]
fn a_rejected_run_is_rolled_back_and_says_who_said_no() {
    let daemon = Daemon::start();
    let run = daemon.submit(&[&gated(&daemon), "--as", "engineer"]);
    gate_opens(&daemon, &run);
    let said = daemon
        .ctl(&["reject", &run, "sign-off", "--as", "approver", "--reason", "too heavy"])
        .expect(0)
        .json();
    assert_eq!(said["decision"], "rejected");
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "rolled-back", "{shown:#}");
    let why = shown["error"].to_string();
    assert!(why.contains("approver") && why.contains("too heavy"), "{why}");
    daemon.ctl(&["watch", &run]).expect(1);
    assert_eq!(of_stage(&daemon.events(&run), "after"), Vec::new());
}

#[test]
fn an_open_gate_survives_a_kill_of_the_daemon() {
    let mut daemon = Daemon::start();
    let run = daemon.submit(&[&gated(&daemon), "--as", "engineer"]);
    gate_opens(&daemon, &run);
    daemon.kill9();
    daemon.restart();
    daemon.ctl(&["approve", &run, "sign-off", "--as", "engineer"]).expect(4);
    daemon.ctl(&["approve", &run, "sign-off", "--as", "approver"]).expect(0);
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
}

#[test]
fn clients_at_once_get_runs_of_their_own_unless_they_use_the_same_key() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    fs::write(&go, "").unwrap();
    let submit = |args: Vec<&'static str>| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| daemon.submit(&[&[file.as_str()], args.as_slice()].concat())))
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        })
    };
    let own = submit(vec![]);
    assert_eq!(own.len(), 6, "{own:?}");
    let keyed = submit(vec!["--key", "night-shift"]);
    assert_eq!(keyed.len(), 1, "{keyed:?}");
    for run in own.iter().chain(&keyed) {
        assert_eq!(daemon.end_of(run)["phase"], "succeeded");
    }
    let listed = daemon.ctl(&["list"]).expect(0).json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 7);
    // A key that already stands for other content is a conflict, not a second run.
    let refused = daemon.ctl(&["submit", &file, "--key", "night-shift", "--set", "seed=99"]).expect(5);
    assert!(refused.stderr.contains("error[EX-0023]"), "{}", refused.stderr);
    let none = daemon.ctl(&["list", "--phase", "running"]).expect(0).json();
    assert_eq!(none["runs"], json!([]));
}

#[test]
fn the_same_key_gives_the_same_run_after_a_kill_of_the_daemon() {
    let mut daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    fs::write(&go, "").unwrap();
    let run = daemon.submit(&[&file, "--key", "k"]);
    daemon.end_of(&run);
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.submit(&[&file, "--key", "k"]), run);
}

#[test]
fn a_tuned_parameter_counts_from_the_stages_next_attempt() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "first", "running");
    let said = daemon.ctl(&["tune", &run, "second.colour=\"blue\""]).expect(0).json();
    assert!(said["changed"].is_array() && said["takes_effect"].is_string(), "{said:#}");
    daemon.ctl(&["tune", &run, "nowhere.colour=1"]).expect(3);
    fs::write(&go, "").unwrap();
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    let printed = String::from_utf8(daemon.artefact_bytes(&run, "stdout.txt")).unwrap();
    assert!(printed.contains("blue"), "{printed}");
}

#[test]
fn every_verb_about_an_unknown_run_exits_with_3() {
    let daemon = Daemon::start();
    for args in [
        &["show", "run-999999"][..],
        &["events", "run-999999"],
        &["events", "run-999999", "--follow"],
        &["watch", "run-999999"],
        &["result", "run-999999"],
        &["result", "run-999999", "--artifact", "x.json"],
        &["pause", "run-999999"],
        &["resume", "run-999999"],
        &["cancel", "run-999999"],
        &["retry", "run-999999"],
        &["tune", "run-999999", "a.b=1"],
        &["approve", "run-999999", "gate"],
        &["reject", "run-999999", "gate"],
        &["explain", "run-999999"],
        &["compare", "run-999999", "run-999998"],
    ] {
        let refused = daemon.ctl(args);
        assert_eq!(refused.code, 3, "{args:?}: {refused:?}");
        assert!(
            refused.stderr.contains("error[EX-0003]") && refused.stderr.contains("run-999999"),
            "{args:?}: {}",
            refused.stderr
        );
        assert!(refused.stdout.is_empty(), "{args:?}");
    }
    daemon.expect_healthy();
}

#[test]
fn an_unknown_artefact_exits_with_3_and_names_those_there_are() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    fs::write(&go, "").unwrap();
    let run = daemon.succeed(&[&file]);
    let refused = daemon.ctl(&["result", &run, "--artifact", "nothing.json"]).expect(3);
    assert!(
        refused.stderr.contains("EX-0016") && refused.stderr.contains("stdout.txt"),
        "{}",
        refused.stderr
    );
    let listed = daemon.ctl(&["result", &run]).expect(0).json();
    assert!(listed["artifacts"].as_array().unwrap().iter().any(|a| a["name"] == "stdout.txt"), "{listed:#}");
}

#[test]
fn a_second_daemon_on_the_same_directory_exits_with_75_and_the_first_goes_on() {
    let mut daemon = Daemon::start();
    let second = run_program(&mut daemon.command(), PATIENCE).expect(75);
    assert!(second.stderr.contains("error[EX-0011]"), "{}", second.stderr);
    assert_eq!(second.stderr.lines().count(), 1, "one clear error: {}", second.stderr);
    assert!(daemon.is_running());
    daemon.expect_healthy();
    daemon.expect_journal_whole();
}

#[test]
fn without_a_daemon_the_client_exits_with_6_and_with_wrong_words_with_2() {
    let nowhere = Path::new("/nonexistent/control.sock");
    let answer = run_program(client().arg("--socket").arg(nowhere).arg("list"), PATIENCE).expect(6);
    assert!(
        answer.stderr.contains("error[EX-") && answer.stderr.contains("/nonexistent/control.sock"),
        "{}",
        answer.stderr
    );
    run_program(client().arg("no-such-verb"), PATIENCE).expect(2);
    run_program(client().args(["approve", "run-000001"]), PATIENCE).expect(2);
}

#[test]
fn a_wait_that_is_too_short_exits_with_7_and_the_run_goes_on() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let run = daemon.submit(&[&file]);
    daemon.ctl(&["--timeout", "0.3", "watch", &run]).expect(7);
    assert_eq!(daemon.show(&run)["phase"], "running");
    fs::write(&go, "").unwrap();
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
}

#[test]
fn another_name_and_a_fault_on_purpose_are_denied_where_the_settings_say_so() {
    let daemon = Daemon::with(json!({"trust_client_names": false, "fault_injection": false}));
    let refused = daemon.ctl(&["list", "--as", "approver"]).expect(4);
    assert!(refused.stderr.contains("error[EX-0004]"), "{}", refused.stderr);
    daemon.ctl(&["inject", "worker-1"]).expect(4);
    daemon.expect_healthy();
}

fn node<'t>(tree: &'t Value, id: &str) -> Option<&'t Value> {
    if tree["id"] == id {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| node(child, id))
}

fn restarts(node: &Value, id: &str) -> Option<u64> {
    if node["id"] == id {
        return node["restarts"].as_u64();
    }
    node["children"].as_array()?.iter().find_map(|child| restarts(child, id))
}

#[test]
fn a_child_that_panics_is_restarted_and_counted_and_its_siblings_are_not() {
    let mut daemon = Daemon::start();
    let pid = daemon.pid();
    for (child, faults) in [("worker-1", &["panic", "kill"][..]), ("health", &["panic"])] {
        for (time, fault) in (1..).zip(faults) {
            let done = daemon.ctl(&["inject", child, "--fault", fault]).expect(0).json();
            assert_eq!(done["injected"], true, "{done}");
            wait_for("the restart is counted", PATIENCE, || {
                let tree = daemon.ctl(&["tree"]).expect(0).json();
                (restarts(&tree, child) == Some(time)).then_some(())
            });
        }
    }
    let tree = daemon.ctl(&["tree"]).expect(0).json();
    for sibling in
        ["resources", "scheduler", "workers", "worker-2", "backends", "deployer", "runs", "orchestrator"]
    {
        assert_eq!(restarts(&tree, sibling), Some(0), "{sibling}: {tree:#}");
    }
    let worker = node(&tree, "worker-1").unwrap();
    assert_eq!((&worker["kind"], &worker["last_exit"]), (&json!("actor"), &json!("killed")), "{worker:#}");
    assert!(worker["uptime_seconds"].is_number() && worker["mailbox"]["capacity"].is_number(), "{worker:#}");
    let workers = node(&tree, "workers").unwrap();
    assert_eq!(workers["supervision"]["recent_restarts"], 2, "{workers:#}");
    // A supervisor is no actor: it cannot panic on demand, and says so.
    daemon.ctl(&["inject", "workers", "--fault", "panic"]).expect(5);
    daemon.ctl(&["inject", "nobody"]).expect(3);
    assert!(daemon.is_running() && daemon.pid() == pid);
    daemon.expect_healthy();
    let (file, go) = two_stages(&daemon);
    fs::write(&go, "").unwrap();
    daemon.succeed(&[&file]);
}

#[test]
fn a_panic_of_the_worker_actor_costs_an_attempt_and_one_of_the_run_actor_costs_none() {
    let daemon = Daemon::start();
    let files = small_problem();
    let stage = "feasible-enumeration/feasible-set-generation";
    let pause = ["--set", "drill_sleep_ms=1500", "--set", "drill_stage=feasible-set-generation"];
    let run = daemon.submit(&small_run(&files, &pause));
    daemon.worker_of(&run, stage);
    daemon.ctl(&["inject", &run]).expect(0);
    let events = daemon.events(&run);
    let placed = events.iter().rev().find(|e| e["event"] == "StageStarted" && e["stage"] == stage).unwrap();
    let slot = placed["placed_on"].as_str().unwrap();
    daemon.ctl(&["inject", slot]).expect(0);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let events = daemon.events(&run);
    assert_eq!(started_again(&events), Vec::<String>::new());
    let planned: Vec<_> = events.iter().filter(|e| e["event"] == "StageRetryPlanned").collect();
    assert!(planned.len() <= 1, "{planned:#?}");
    assert_eq!(restarts(&daemon.ctl(&["tree"]).expect(0).json(), slot), Some(1));
    daemon.expect_journal_whole();
}

/// One page of the metrics.
fn metrics(daemon: &Daemon) -> String {
    let address = fs::read_to_string(daemon.state().join("metrics.addr")).unwrap();
    assert!(address.starts_with("127.0.0.1:"), "loopback only: {address}");
    let mut stream = std::net::TcpStream::connect(address.trim()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

fn metric(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.split([' ', '{']).next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_five_figures_of_the_programme_are_served_and_follow_the_runs() {
    let daemon = Daemon::start();
    let files = small_problem();
    daemon.succeed(&small_run(&files, &[]));
    let page = metrics(&daemon);
    assert!(metric(&page, "executing_throughput_designs_per_hour") > 0.0);
    assert_eq!(metric(&page, "executing_run_latency_seconds_count"), 1.0);
    assert!(metric(&page, "executing_resource_efficiency_ratio") > 0.0);
    assert_eq!(metric(&page, "executing_success_rate_ratio"), 1.0);
    assert_eq!(metric(&page, "executing_error_rate_ratio"), 0.0);
    let failing =
        json!({"workflow": "fails", "stages": [{"name": "no", "kind": "exec", "command": ["/bin/false"]}]});
    let file = daemon.file("fails.yaml", &failing.to_string());
    daemon.ctl(&["submit", &file, "--wait"]).expect(1);
    wait_for("the failure is counted", PATIENCE, || {
        let page = metrics(&daemon);
        let counted = metric(&page, "executing_success_rate_ratio") == 0.5
            && metric(&page, "executing_error_rate_ratio") > 0.0;
        counted.then_some(())
    });
}

#[test]
fn a_check_states_facts_and_demands_what_it_expects() {
    let daemon = Daemon::start();
    let checks = |expect: &str| {
        let stages = json!([
            {"name": "state", "kind": "check", "params": {"facts": {"count": 3}}},
            {"name": "demand", "kind": "check", "needs": ["state"], "params": {"expect": [expect]}},
        ]);
        daemon.file("checks.yaml", &json!({"workflow": "checks", "stages": stages}).to_string())
    };
    let run = daemon.succeed(&[&checks("count >= 3")]);
    let started = daemon.events(&run).iter().filter(|e| e["event"] == "StageStarted").count();
    assert_eq!(started, 2);
    for expect in ["count > 3", "missing > 3"] {
        let failed = daemon.ctl(&["submit", &checks(expect), "--wait"]).expect(1);
        let words = format!("{}{}", failed.stderr, String::from_utf8_lossy(&failed.stdout));
        assert!(words.contains("EX-0519"), "{words}");
    }
    // Not CEL, and CEL that would never come to an end: refused before anything is stored.
    let mut endless = "true".to_owned();
    for depth in 0..8 {
        let list = format!("[{}]", ["0"; 20].join(","));
        endless = format!("{list}.all(v{depth}, {endless})");
    }
    for expect in ["count >", &endless] {
        daemon.ctl(&["submit", &checks(expect)]).expect(8);
    }
    daemon.expect_healthy();
}

#[test]
fn a_run_that_unwinds_past_a_check_ends() {
    let daemon = Daemon::start();
    let stages = json!([
        {"name": "ok", "kind": "check", "params": {"undo": 1, "facts": {"a": 1}}},
        {"name": "no", "kind": "exec", "needs": ["ok"], "command": ["/bin/false"], "retry": {"attempts": 1}},
    ]);
    let file = daemon.file("u.yaml", &json!({"workflow": "u", "stages": stages}).to_string());
    let run = daemon.submit(&[&file]);
    assert_eq!(daemon.end_of(&run)["phase"], "rolled-back");
}

#[test]
fn sigterm_in_the_middle_of_a_stage_ends_in_order_and_the_next_start_resumes() {
    let mut daemon = Daemon::start();
    let files = small_problem();
    let pause = ["--set", "drill_sleep_ms=1000", "--set", "drill_stage=cvar-calculation"];
    let run = daemon.submit(&small_run(&files, &pause));
    let stage = "risk-aware-selection/cvar-calculation";
    let worker = daemon.worker_of(&run, stage);
    assert_eq!(daemon.terminate(), 0);
    // Killed before the daemon ended; the system may take a moment to clear it away.
    wait_for("the worker is gone", PATIENCE, || (!crate::harness::is_alive(worker)).then_some(()));
    assert!(!daemon.socket().exists(), "the socket is gone");
    let offline = run_program(
        client().args(["-o", "json", "journal", "verify", "--state"]).arg(daemon.state()),
        PATIENCE,
    );
    assert_eq!(offline.expect(0).json()["ok"], true);
    daemon.restart();
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let events = daemon.events(&run);
    assert_eq!(started_again(&events), Vec::<String>::new());
    let planned = events.iter().filter(|e| e["event"] == "StageRetryPlanned").count();
    assert_eq!(planned, 0, "a stop of the daemon is no failed attempt: {events:#?}");
}

#[test]
fn an_emergency_stop_kills_all_work_refuses_new_and_is_over_after_the_clear() {
    let daemon = Daemon::start();
    let files = small_problem();
    let pause = ["--set", "drill_sleep_ms=2000", "--set", "drill_stage=cvar-calculation"];
    let run = daemon.submit(&small_run(&files, &pause));
    let worker = daemon.worker_of(&run, "risk-aware-selection/cvar-calculation");
    let said = daemon.ctl(&["emergency-stop", "--reason", "smoke"]).expect(0).json();
    assert_eq!(said["stopped_runs"], json!([run]), "{said:#}");
    assert_eq!(said["killed_workers"], 1, "{said:#}");
    wait_for("the worker is gone", PATIENCE, || (!crate::harness::is_alive(worker)).then_some(()));
    let refused = daemon.ctl(&[&["submit"], small_run(&files, &[]).as_slice()].concat()).expect(75);
    assert!(
        refused.stderr.contains("error[EX-0018]") && refused.stderr.contains("smoke"),
        "{}",
        refused.stderr
    );
    daemon.ctl(&["emergency-clear", "--reason", "false alarm"]).expect(0);
    daemon.ctl(&["resume", &run]).expect(0);
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    assert_eq!(started_again(&daemon.events(&run)), Vec::<String>::new());
}

#[test]
fn an_emergency_stop_is_still_in_force_after_a_kill_of_the_daemon() {
    let mut daemon = Daemon::start();
    daemon.ctl(&["emergency-stop", "--reason", "smoke"]).expect(0);
    daemon.kill9();
    daemon.restart();
    let (file, _) = two_stages(&daemon);
    daemon.ctl(&["submit", &file]).expect(75);
    daemon.ctl(&["emergency-clear"]).expect(0);
    daemon.submit(&[&file]);
}

#[test]
fn the_looking_verbs_answer_with_the_promised_fields() {
    let daemon = Daemon::start();
    let (file, go) = two_stages(&daemon);
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "first", "running");
    let resources = daemon.ctl(&["resources"]).expect(0).json();
    assert_eq!(resources["capacity"]["worker_slots"], 2, "{resources:#}");
    assert!(
        resources["leases"]
            .as_array()
            .unwrap()
            .iter()
            .any(|l| l["run"] == json!(run) && l["stage"] == "first")
    );
    fs::write(&go, "").unwrap();
    daemon.end_of(&run);
    let shown = daemon.show(&run);
    for stage in shown["stages"].as_array().unwrap() {
        assert!(
            stage["seconds"].is_number() && stage["attempts"] == 1 && stage["phase"] == "succeeded",
            "{stage:#}"
        );
    }
    let listed = daemon.ctl(&["list"]).expect(0).json();
    let only = &listed["runs"][0];
    assert_eq!(
        (&only["run"], &only["workflow"], &only["phase"]),
        (&json!(run), &json!("two-stages"), &json!("succeeded"))
    );
    assert!(only["submitted"].is_string());
    for event in daemon.events(&run) {
        assert!(
            event["position"].is_u64() && event["time"].is_string() && event["event"].is_string(),
            "{event:#}"
        );
    }
    let followed = daemon.ctl(&["events", &run, "--follow"]).expect(0).text();
    let last: Value = serde_json::from_str(followed.lines().next_back().unwrap()).unwrap();
    assert_eq!(last["event"], "RunSucceeded");
    let backends = daemon.ctl(&["backends"]).expect(0).json();
    assert!(backends.to_string().contains("simulator"), "{backends:#}");
    let doctor = daemon.ctl(&["doctor"]).expect(0).json();
    assert_eq!(doctor["ok"], true, "{doctor:#}");
    let verified = daemon.ctl(&["journal", "verify"]).expect(0).json();
    assert!(verified["head"]["position"].as_u64() == verified["records"].as_u64(), "{verified:#}");
    let yaml =
        run_program(client().arg("--socket").arg(daemon.socket()).args(["list", "-o", "yaml"]), PATIENCE);
    assert!(yaml.expect(0).text().contains(&run));
    let same = daemon.ctl(&["compare", &run, &run]).expect(0).json();
    assert_eq!(same["equal"], true, "{same:#}");
}

#[test]
fn what_is_logged_into_a_file_holds_no_colours_of_a_terminal() {
    let daemon = Daemon::start();
    let log = wait_for("the start is logged", PATIENCE, || {
        let log = daemon.log();
        log.contains("Ready").then_some(log)
    });
    assert!(!log.contains('\x1b'), "{log:?}");
}
