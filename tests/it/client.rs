//! The client as people and scripts use it: every verb there is, many runs at once, pages, tables, `top`.

use crate::harness::{Daemon, PATIENCE, client, project, run_program, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a verb writes.
enum Form {
    /// One compact object as the last line, with these fields.
    Object(&'static [&'static str]),
    /// One object per line.
    Lines,
    /// Text that begins so.
    Text(&'static str),
}

/// How one verb is tried.
struct Row {
    verb: &'static str,
    /// What stands behind the verb; `{..}` is filled in.
    args: &'static str,
    form: Form,
    /// Arguments that name nothing there is, and the exit code.
    missing: Option<(&'static str, i32)>,
    /// Works without a daemon.
    offline: bool,
}

const fn row(verb: &'static str, args: &'static str, fields: &'static [&'static str]) -> Row {
    Row { verb, args, form: Form::Object(fields), missing: None, offline: false }
}

impl Row {
    const fn or(mut self, args: &'static str, code: i32) -> Self {
        self.missing = Some((args, code));
        self
    }

    const fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    const fn alone(mut self) -> Self {
        self.offline = true;
        self
    }
}

/// No run, schedule or file is called so.
const NOBODY: &str = "run-999999";

/// Every verb, in an order in which each can do its work. A verb that is not here fails the test.
const TABLE: &[Row] = &[
    row("submit", "{quick}", &["run", "workflow", "phase"]).or("nowhere.yaml", 8),
    row("list", "--limit 3 --sort ended", &["runs", "matched"]),
    row("show", "{done}", &["run", "workflow", "phase", "stages"]).or(NOBODY, 3),
    row(
        "top",
        "--count 1",
        &["runs", "slots", "cpu_cores", "queue", "backends", "figures", "journal", "alerts"],
    ),
    row("events", "{done}", &[]).form(Form::Lines).or(NOBODY, 3),
    row("result", "{done}", &["run", "artifacts"]).or(NOBODY, 3),
    row("watch", "{done}", &["run", "workflow", "phase"]).or(NOBODY, 3),
    row("tune", "{open} second.colour=1", &["run", "changed", "takes_effect"]).or("run-999999 a.b=1", 3),
    row("pause", "{open}", &["run", "phase"]).or(NOBODY, 3),
    row("resume", "{open}", &["run", "phase"]).or(NOBODY, 3),
    row("retry", "{failed}", &["run", "phase"]).or(NOBODY, 3),
    row("reset", "{long-done} --to second", &["run", "phase", "reset_to"]).or("run-999999 --to second", 3),
    row("clone", "{done} --key copy", &["run", "workflow", "phase"]).or(NOBODY, 3),
    row("signal", "{signal} told news --data {\"wind\":3}", &["run", "phase", "stage", "signal"])
        .or("run-999999 told news", 3),
    row("dead", "", &["letters", "matched"]),
    row("dead list", "--workflow fails", &["letters", "matched"]),
    row("dead retry", "{failed-too}", &["matched", "done", "refused"]).or(NOBODY, 3),
    row("dead dismiss", "{failed-at-last} --reason seen", &["run", "dismissed"])
        .or("run-999999 --reason x", 3),
    row("approve", "{gate} ask --as bob", &["run", "gate", "decision"]).or("run-999999 ask", 3),
    row("reject", "{other-gate} ask --as bob", &["run", "gate", "decision"]).or("run-999999 ask", 3),
    row(
        "schedule add",
        "nightly --cron 0,30\u{a0}2\u{a0}*\u{a0}*\u{a0}1-5 -- {quick} --set seed=7",
        &["schedule", "next", "state"],
    )
    .or("other --cron @daily nowhere.yaml", 8),
    row("schedule list", "", &["schedules"]),
    row("schedule show", "nightly", &["schedule", "cron", "timezone", "fires", "waiting"]).or("nobody", 3),
    row("schedule next", "nightly -n 3", &["schedule", "next"]).or("nobody", 3),
    row("schedule run", "nightly", &["schedule", "run", "state"]).or("nobody", 3),
    row("schedule pause", "nightly", &["schedule", "state"]).or("nobody", 3),
    row("schedule resume", "nightly", &["schedule", "state"]).or("nobody", 3),
    row("schedule remove", "nightly", &["schedule", "state"]).or("nobody", 3),
    row("resources", "", &["capacity", "free", "leases"]),
    row("resource drain", "worker-1 --reason drill", &["resource", "drained", "by"])
        .or("nobody --reason x", 3),
    row("resource undrain", "worker-1", &["resource", "drained"]).or("nobody", 3),
    row("resource reserve", "review --user ada --cpu 1 --until 1h", &["name", "for", "until"])
        .or("other --user ada --cpu 4000 --until 1h", 8),
    row("resource unreserve", "review", &["name", "reserved"]).or("nobody", 3),
    row("backends", "", &["backends", "capacity"]),
    row("backend test", "simulator", &["backend", "kind", "ok", "job"]).or("nobody", 3),
    row("backend drain", "simulator --reason drill", &["backend", "drained"]).or("nobody --reason x", 3),
    row("backend resume", "simulator", &["backend", "drained"]).or("nobody", 3),
    row("jobs", "--state open", &["jobs", "complete"]),
    row("tree", "", &["id", "children"]),
    row("health", "", &["ok", "healthy", "components"]),
    row("explain", "{open}", &["run", "phase", "stages"]).or(NOBODY, 3),
    row("deployments", "", &["active", "deployments"]),
    row("pin", "{done}", &["run", "pinned"]).or(NOBODY, 3),
    row("unpin", "{done}", &["run", "pinned"]).or(NOBODY, 3),
    row("gc", "--dry-run", &["forgotten", "runs"]),
    row("doctor", "", &["ok", "checks"]),
    row("compare", "{done} {done}", &["equal", "differences"]).or("run-999999 run-999999", 3),
    row("reproduce", "{done}", &["run", "again", "reproduced"]).or(NOBODY, 3),
    row("journal verify", "", &["ok", "records", "head"]),
    row("journal head", "", &["ok", "records", "head"]),
    row("journal export", "{folder}/export", &["ok", "records", "head"]),
    row("journal import", "{folder}/export --state {folder}/new", &["ok", "records", "head"])
        .or("{folder}/nowhere --state {folder}/other", 3)
        .alone(),
    row("journal rebuild", "--state {folder}/new", &["ok", "records", "head"])
        .or("--state {folder}/none", 3)
        .alone(),
    row("journal backup", "{folder}/backup", &["ok", "records", "head"]),
    row("journal compact", "", &["forgotten"]),
    row("audit verify", "", &["ok", "records", "head"]),
    row("audit export", "{folder}/audit", &["ok", "records", "head"]),
    row("validate", "{quick}", &["ok"]).or("nowhere.yaml", 8).alone(),
    row("inject", "worker-1", &["child", "injected"]).or("nobody", 3),
    row("verbs", "", &["verbs"]).alone(),
    row("completions", "bash", &[]).form(Form::Text("_executingctl")).alone(),
    row("man", "", &[]).form(Form::Text(".ie")).alone(),
    // There is no release to go back to.
    row("rollback", "", &[]).or("", 3),
    row("cancel", "{open}", &["run", "phase"]).or(NOBODY, 3),
    row(
        "emergency-stop",
        "--reason drill",
        &["stopped_runs", "killed_workers", "cancelled_jobs", "not_cancellable"],
    ),
    row("emergency-clear", "--reason over", &["cleared"]),
];

fn workflow(daemon: &Daemon, name: &str, stages: Value) -> String {
    daemon.file(&format!("{name}.yaml"), &json!({ "workflow": name, "stages": stages }).to_string())
}

/// A stage that succeeds and may be repeated.
fn quick(daemon: &Daemon) -> String {
    workflow(
        daemon,
        "quick",
        json!([{"name": "a", "kind": "exec", "idempotent": true, "command": ["/bin/true"]}]),
    )
}

/// A stage that fails at once.
fn fails(daemon: &Daemon) -> String {
    let stage = json!({"name": "no", "kind": "exec", "command": ["/bin/false"], "retry": {"attempts": 1}});
    workflow(daemon, "fails", json!([stage]))
}

/// A run that waits for a file before its second stage.
fn waits(daemon: &Daemon) -> (String, PathBuf) {
    let go = daemon.folder().join("go");
    let script = format!("while ! test -e {}; do sleep 0.02; done", go.display());
    let first =
        json!({"name": "first", "kind": "exec", "idempotent": true, "command": ["/bin/sh", "-c", script]});
    let second = json!({"name": "second", "kind": "exec", "idempotent": true, "needs": ["first"], "command": ["/bin/true"]});
    (workflow(daemon, "waits", json!([first, second])), go)
}

fn gate(daemon: &Daemon) -> String {
    workflow(daemon, "gate", json!([{"name": "ask", "kind": "approval"}]))
}

fn words(args: &str) -> Vec<String> {
    // A space within a value is written as one that does not break.
    args.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('\u{a0}', " ")).collect()
}

fn verbs() -> Vec<Value> {
    let all = run_program(client().args(["verbs", "-o", "json"]), PATIENCE).expect(0).json();
    all["verbs"].as_array().unwrap().clone()
}

#[test]
fn every_verb_answers_as_promised_when_it_works_when_there_is_no_such_thing_and_when_nobody_is_there() {
    let known: BTreeSet<String> = verbs()
        .iter()
        .filter(|verb| verb["group"] == json!(false))
        .map(|verb| verb["verb"].as_str().unwrap().to_owned())
        .collect();
    let tried: BTreeSet<String> = TABLE.iter().map(|row| row.verb.to_owned()).collect();
    assert_eq!(known, tried, "the table of this test and the verbs of the program are not the same");

    assert_eq!(TABLE.len(), tried.len(), "a verb stands twice in the table of this test");

    let daemon = Daemon::start();
    let (open_file, _) = waits(&daemon);
    let signalled = workflow(
        &daemon,
        "signalled",
        json!([{"name": "told", "kind": "signal", "params": {"signal": "news"}}]),
    );
    let two = workflow(
        &daemon,
        "two",
        json!([
            {"name": "first", "kind": "exec", "idempotent": true, "command": ["/bin/true"]},
            {"name": "second", "kind": "exec", "idempotent": true, "needs": ["first"], "command": ["/bin/true"]},
        ]),
    );
    let named = [
        ("{folder}", daemon.folder().display().to_string()),
        ("{quick}", quick(&daemon)),
        ("{done}", daemon.succeed(&[&quick(&daemon)])),
        ("{failed}", daemon.submit(&[&fails(&daemon)])),
        ("{failed-too}", daemon.submit(&[&fails(&daemon)])),
        ("{failed-at-last}", daemon.submit(&[&fails(&daemon)])),
        ("{gate}", daemon.submit(&[&gate(&daemon)])),
        ("{other-gate}", daemon.submit(&[&gate(&daemon)])),
        ("{open}", daemon.submit(&[&open_file])),
        ("{signal}", daemon.submit(&[&signalled])),
        ("{long-done}", daemon.succeed(&[&two])),
    ];
    for name in ["{failed}", "{failed-too}", "{failed-at-last}"] {
        daemon.end_of(&named.iter().find(|(known, _)| *known == name).unwrap().1);
    }
    daemon.stage_reaches(&named[8].1, "first", "running");
    for name in ["{gate}", "{other-gate}"] {
        let run = &named.iter().find(|(known, _)| *known == name).unwrap().1;
        wait_for("the gate opens", PATIENCE, || {
            daemon.events(run).iter().any(|event| event["event"] == "GateOpened").then_some(())
        });
    }
    let call = |row: &Row, args: &str| {
        let filled = named.iter().fold(args.to_owned(), |text, (name, value)| text.replace(name, value));
        let mut line = words(row.verb);
        line.extend(words(&filled));
        line
    };
    for row in TABLE {
        let said = |line: &[String]| {
            let answer = daemon.ctl(&line.iter().map(String::as_str).collect::<Vec<_>>());
            (format!("executingctl {}: {answer:?}", line.join(" ")), answer)
        };
        let works = !matches!(row.missing, Some((same, _)) if same == row.args);
        if works {
            let (what, answer) = said(&call(row, row.args));
            assert_eq!(answer.code, 0, "{what}");
            check_form(&row.form, &answer.text(), &what);
        }
        if let Some((args, code)) = row.missing {
            let (what, answer) = said(&call(row, args));
            assert_eq!(answer.code, code, "{what}");
            assert!(
                answer.stderr.starts_with("error[EX-") && answer.stderr.contains("help: ")
                    || !answer.stdout.is_empty(),
                "{what}"
            );
        }
        // Nobody is there.
        let line = call(row, row.args);
        let mut away = client();
        away.args(["--socket", "/nowhere/control.sock", "-o", "json"])
            .args(&line)
            .current_dir(daemon.folder());
        let answer = run_program(&mut away, PATIENCE);
        let expected = match (row.offline, row.verb) {
            // What it makes is there by now.
            (true, "journal import") => 5,
            (true, _) => 0,
            (false, _) => 6,
        };
        assert_eq!(answer.code, expected, "executingctl {} without a daemon: {answer:?}", line.join(" "));
        // `doctor` says what it found all the same.
        assert!(row.offline || row.verb == "doctor" || answer.stdout.is_empty(), "{answer:?}");
    }
    daemon.expect_journal_whole();
}

fn check_form(form: &Form, text: &str, what: &str) {
    let object = |line: &str| -> serde_json::Map<String, Value> {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {what}"))
    };
    match form {
        Form::Object(fields) => {
            assert_eq!(text.lines().count(), 1, "one line: {what}");
            let found = object(text.trim_end());
            for field in *fields {
                assert!(found.contains_key(*field), "no `{field}`: {what}");
            }
        }
        Form::Lines => {
            assert!(text.lines().count() > 0, "{what}");
            text.lines().for_each(|line| assert!(object(line).contains_key("event"), "{what}"));
        }
        Form::Text(begins) => assert!(text.starts_with(begins), "{what}"),
    }
}

#[test]
fn every_verb_has_a_man_page_a_completion_in_three_shells_and_an_example_in_its_help() {
    let folder = tempfile::tempdir().unwrap();
    run_program(client().arg("man").arg(folder.path()), PATIENCE).expect(0);
    let script = |shell: &str| run_program(client().args(["completions", shell]), PATIENCE).expect(0).text();
    let scripts = ["bash", "zsh", "fish"].map(|shell| (shell, script(shell)));
    let page = fs::read_to_string(project().join("docs/client.md")).unwrap();
    for verb in verbs() {
        let (path, hidden) = (verb["verb"].as_str().unwrap(), verb["hidden"] == json!(true));
        let last = path.rsplit(' ').next().unwrap();
        let help = run_program(client().args(path.split(' ')).arg("--help"), PATIENCE).expect(0).text();
        assert!(help.contains("Example:\n  executingctl "), "{help}");
        if hidden {
            continue;
        }
        let man = folder.path().join(format!("executingctl-{}.1", path.replace(' ', "-")));
        let text = fs::read_to_string(&man).unwrap_or_else(|error| panic!("{}: {error}", man.display()));
        assert!(text.contains(".SH SYNOPSIS") && text.contains("Example"), "{text}");
        for (shell, script) in &scripts {
            assert!(script.contains(last), "{shell} does not know {path}");
        }
        assert!(
            verb["group"] == json!(true) || page.contains(&format!("| `{path}")),
            "docs/client.md lacks {path}"
        );
    }
}

#[test]
fn a_batch_is_done_to_what_matches_and_to_many_only_after_somebody_said_yes() {
    let daemon = Daemon::with(json!({ "worker_slots": 1 }));
    let (file, go) = waits(&daemon);
    let runs: Vec<String> = (0..13).map(|_| daemon.submit(&[&file, "--as", "ada"])).collect();
    let other = daemon.submit(&[&quick(&daemon), "--as", "bob"]);
    // Three by name: one of them is not there, and the others are paused all the same.
    let said = daemon.ctl(&["pause", &runs[0], NOBODY, &runs[1]]).expect(3).json();
    assert_eq!(said["done"], json!([runs[0], runs[1]]), "{said:#}");
    assert_eq!((&said["matched"], &said["refused"][0]["code"]), (&json!(3), &json!("EX-0003")), "{said:#}");
    assert!(said["refused"][0]["message"].as_str().unwrap().contains(NOBODY), "{said:#}");
    // A dry run says what it would do and does nothing.
    let dry = daemon.ctl(&["cancel", "--workflow", "waits", "--dry-run"]).expect(0).json();
    assert_eq!((&dry["matched"], &dry["done"]), (&json!(13), &json!([])), "{dry:#}");
    let refused = daemon.ctl(&["cancel", "--workflow", "waits"]).expect(2);
    assert!(
        refused.stderr.contains("error[EX-0062]") && refused.stderr.contains("13 runs"),
        "{}",
        refused.stderr
    );
    let phases = |daemon: &Daemon| -> Vec<String> {
        let listed = daemon.ctl(&["list", "--workflow", "waits"]).expect(0).json();
        listed["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["phase"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(phases(&daemon).iter().all(|phase| phase != "cancelled" && phase != "unwinding"));
    // Two match: nobody is asked. What cannot resume is not matched.
    let said = daemon.ctl(&["resume", "--user", "ada"]).expect(0).json();
    assert_eq!((&said["matched"], &said["refused"]), (&json!(2), &json!([])), "{said:#}");
    // Nobody is old enough, and a phase that does not exist is told.
    assert_eq!(daemon.ctl(&["cancel", "--older-than", "7d"]).expect(0).json()["matched"], 0);
    daemon.ctl(&["cancel", "--phase", "runing", "--yes"]).expect(2);
    daemon.ctl(&["cancel"]).expect(2);
    let said = daemon.ctl(&["cancel", "--workflow", "waits", "--yes"]).expect(0).json();
    assert_eq!(said["done"].as_array().unwrap().len(), 13, "{said:#}");
    fs::write(&go, "").unwrap();
    assert_eq!(daemon.end_of(&other)["phase"], "succeeded");
    for run in &runs {
        assert_eq!(daemon.end_of(run)["phase"], "cancelled");
    }
    // With a phase the filter matches just that, and each says why it cannot.
    let said = daemon.ctl(&["pause", "--phase", "succeeded"]).expect(5).json();
    assert_eq!((&said["matched"], &said["refused"][0]["run"]), (&json!(1), &json!(other)), "{said:#}");
}

#[test]
fn pages_of_a_list_follow_each_other_without_a_gap_in_every_order() {
    let daemon = Daemon::start();
    let file = quick(&daemon);
    let runs: Vec<String> =
        (0..7).map(|i| daemon.submit(&[&file, "--as", ["zoe", "ada", "bob"][i % 3]])).collect();
    runs.iter().for_each(|run| drop(daemon.end_of(run)));
    let names = |page: &Value| -> Vec<String> {
        page["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
    };
    for order in ["submitted", "ended", "workflow", "phase", "user"] {
        let whole = names(&daemon.ctl(&["list", "--sort", order]).expect(0).json());
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 7);
        let mut joined: Vec<String> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut args = vec!["list", "--sort", order, "--limit", "3"];
            if let Some(after) = &after {
                args.extend(["--after", after]);
            }
            let page = daemon.ctl(&args).expect(0).json();
            assert_eq!(page["matched"], 7);
            joined = [names(&page), joined].concat();
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(joined, whole, "by {order}");
    }
    let users = daemon.ctl(&["list", "--sort", "user", "--reverse"]).expect(0).json();
    assert_eq!(
        (&users["runs"][0]["user"], &users["runs"][6]["user"]),
        (&json!("zoe"), &json!("ada")),
        "{users:#}"
    );
    let ada = daemon.ctl(&["list", "--user", "ada"]).expect(0).json();
    assert_eq!(names(&ada), [runs[1].clone(), runs[4].clone()]);
    let wrong = daemon.ctl(&["list", "--after", "run-000003"]).expect(2);
    assert!(wrong.stderr.contains("EX-0061"), "{}", wrong.stderr);
}

#[test]
fn who_submitted_a_run_and_that_its_letter_was_dismissed_are_known_after_a_kill() {
    let mut daemon = Daemon::start();
    let file = fails(&daemon);
    let runs: Vec<String> = (0..3).map(|_| daemon.submit(&[&file, "--as", "ada"])).collect();
    runs.iter().for_each(|run| drop(daemon.end_of(run)));
    daemon.succeed(&[&quick(&daemon)]);
    let letters =
        |daemon: &Daemon| daemon.ctl(&["dead"]).expect(0).json()["letters"].as_array().unwrap().clone();
    let first = &letters(&daemon)[0];
    assert_eq!(
        (&first["run"], &first["code"], &first["stage"]),
        (&json!(runs[0]), &json!("EX-0530"), &json!("no")),
        "{first:#}"
    );
    assert_eq!(
        (&first["class"], &first["retried"], &first["user"]),
        (&json!("permanent"), &json!(0), &json!("ada")),
        "{first:#}"
    );
    daemon.ctl(&["dead", "dismiss", &runs[0], "--reason", "known"]).expect(0);
    daemon.ctl(&["dead", "dismiss", &runs[1], "--reason", " "]).expect(2);
    let retried = daemon.ctl(&["dead", "retry", "--workflow", "fails"]).expect(0).json();
    assert_eq!(retried["done"], json!([runs[1], runs[2]]), "{retried:#}");
    daemon.end_of(&runs[1]);
    daemon.end_of(&runs[2]);
    daemon.kill9();
    daemon.restart();
    let after: Vec<(String, u64)> = letters(&daemon)
        .iter()
        .map(|letter| (letter["run"].as_str().unwrap().to_owned(), letter["retried"].as_u64().unwrap()))
        .collect();
    assert_eq!(after, [(runs[1].clone(), 1), (runs[2].clone(), 1)]);
    assert_eq!(daemon.ctl(&["list", "--user", "ada"]).expect(0).json()["matched"], 3);
    // One that was dismissed is back when it fails again.
    daemon.ctl(&["retry", &runs[0]]).expect(0);
    daemon.end_of(&runs[0]);
    assert_eq!(letters(&daemon).len(), 3);
    let open = daemon.succeed(&[&quick(&daemon)]);
    daemon.ctl(&["dead", "dismiss", &open, "--reason", "x"]).expect(5);
    assert!(
        daemon.ctl(&["top", "--count", "1"]).expect(0).json()["alerts"]
            .to_string()
            .contains("3 run(s) failed")
    );
    daemon.expect_journal_whole();
}

#[test]
fn a_key_that_was_used_for_something_else_says_what_differs() {
    let daemon = Daemon::start();
    let file = quick(&daemon);
    let run = daemon.succeed(&[&file, "--key", "k", "--set", "seed=1"]);
    assert_eq!(daemon.submit(&[&file, "--key", "k", "--set", "seed=1"]), run);
    let seed = daemon.ctl(&["submit", &file, "--key", "k", "--set", "seed=2"]).expect(5);
    assert!(
        seed.stderr.contains("error[EX-0023]") && seed.stderr.contains("parameter seed"),
        "{}",
        seed.stderr
    );
    assert!(seed.stderr.contains(&run) && !seed.stderr.contains("stage"), "{}", seed.stderr);
    let other = workflow(
        &daemon,
        "quick",
        json!([{"name": "a", "kind": "exec", "idempotent": true, "command": ["/bin/echo"]}]),
    );
    let stage = daemon.ctl(&["submit", &other, "--key", "k", "--set", "seed=1"]).expect(5);
    assert!(stage.stderr.contains("stage a differ"), "{}", stage.stderr);
    let another = daemon.ctl(&["submit", &fails(&daemon), "--key", "k"]).expect(5);
    assert!(another.stderr.contains("workflow quick, not fails"), "{}", another.stderr);
    assert_eq!(daemon.ctl(&["list"]).expect(0).json()["matched"], 1);
}

#[test]
fn tables_fit_sixty_eighty_and_two_hundred_columns_and_json_is_never_shortened() {
    let daemon = Daemon::start();
    let name = "a-workflow-whose-name-is-as-long-as-names-of-workflows-may-be-ok";
    let stage = json!({"name": "no", "kind": "exec", "command": ["/bin/false"], "retry": {"attempts": 1}});
    let file = workflow(&daemon, name, json!([stage]));
    let run = daemon.submit(&[&file, "--as", "somebody.with.a.long.name@a-long-domain.example.org"]);
    daemon.end_of(&run);
    for verb in ["list", "dead", "resources", "backends", "health", "doctor", "top"] {
        for columns in [60, 80, 200] {
            let mut shown = client();
            shown.arg("--socket").arg(daemon.socket()).arg(verb).env("COLUMNS", columns.to_string());
            let text = run_program(&mut shown, PATIENCE).expect(0).text();
            for line in text.lines() {
                assert!(line.chars().count() <= columns, "{verb} at {columns}: {line:?}\n{text}");
            }
            assert!(verb != "list" || text.contains(&run), "{text}");
            assert!(!text.contains('\x1b'), "{text:?}");
        }
        let mut whole = client();
        whole.args(["-o", "json", "--socket"]).arg(daemon.socket()).env("COLUMNS", "60").arg(verb);
        if verb == "top" {
            whole.args(["--count", "1"]);
        }
        let json = run_program(&mut whole, PATIENCE).expect(0).text();
        assert!(!json.contains('…') && json.lines().count() == 1, "{json}");
    }
    let listed = daemon.ctl(&["list"]).expect(0).text();
    assert!(listed.contains(name), "{listed}");
}

/// What a program shows on a terminal of its own, while `keys` are typed.
fn on_a_terminal(folder: &Path, line: &str, keys: &str) -> Option<(i32, String)> {
    let typed = folder.join("typed");
    fs::write(&typed, keys).unwrap();
    let mut command = std::process::Command::new("sh");
    // The keys come late, and the terminal stays for a while after them.
    let script = format!("(sleep 1.5; cat {}; sleep 3) | script -qec '{line}' /dev/null", typed.display());
    command.args(["-c", &script]).env("TERM", "xterm");
    if !Path::new("/usr/bin/script").exists() {
        return None;
    }
    let answer = run_program(&mut command, PATIENCE);
    Some((answer.code, answer.text()))
}

#[test]
fn top_takes_the_whole_terminal_and_gives_it_back_when_q_is_typed() {
    let daemon = Daemon::start();
    let line = format!(
        "stty rows 24 cols 80; {} --socket {} top --every 0.2; echo left with $?; stty -a",
        env!("CARGO_BIN_EXE_executingctl"),
        daemon.socket().display()
    );
    let Some((_, seen)) = on_a_terminal(daemon.folder(), &line, "cpq") else {
        println!("skipped: there is no `script`");
        return;
    };
    let (enter, leave) = (seen.find("\x1b[?1049h"), seen.find("\x1b[?1049l"));
    assert!(enter.is_some() && enter < leave, "{seen:?}");
    assert!(seen.contains("slots ") && seen.contains("no run is open"), "{seen:?}");
    assert!(seen.contains("left with 0"), "{seen:?}");
    // Echo and line editing are as they were.
    let after = seen.split("left with 0").nth(1).unwrap();
    assert!(after.contains(" icanon") && after.contains(" echo "), "{after}");
}

#[test]
fn nothing_moves_on_a_pipe() {
    let daemon = Daemon::start();
    let file = quick(&daemon);
    let waited = daemon.ctl(&["submit", &file, "--wait"]).expect(0);
    let run = waited.json()["run"].as_str().unwrap().to_owned();
    let again = daemon.ctl(&["reproduce", &run]).expect(0);
    let backup =
        daemon.ctl(&["journal", "backup", &daemon.folder().join("b").display().to_string()]).expect(0);
    for answer in [waited, again, backup] {
        assert!(!answer.stderr.contains('\r') && !answer.stderr.contains('\x1b'), "{:?}", answer.stderr);
        assert_eq!(answer.text().lines().count(), 1);
    }
}
