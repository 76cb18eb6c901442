//! Retention, pins, compaction, export and import, backup, rebuild, and too little room on disk.
//!
//! Rule: what a test asserts about removal it also asserts after a start, since removal must not come undone.

use crate::harness::{Answer, Daemon, PATIENCE, RUN_PATIENCE, SmallDisk, client, run_program, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A run of it is over in milliseconds and needs no process.
const ONE: &str = "workflow: one\nstages:\n  - {name: a, kind: check, params: {facts: {ok: true}}}\n";

/// Tidies up only when it is told to.
fn by_hand(max: u64) -> Value {
    json!({"retention": {"finished_runs_max": max, "every_seconds": 86_400, "artefact_grace_seconds": 1}})
}

/// Keeps nothing that ended longer ago than a few milliseconds.
fn nothing() -> Value {
    json!({"retention": {"finished_runs_days": 1e-8, "every_seconds": 86_400, "artefact_grace_seconds": 1}})
}

fn workflow(daemon: &Daemon) -> String {
    daemon.file("one.yaml", ONE)
}

#[track_caller]
fn finish(daemon: &Daemon, count: usize) -> Vec<String> {
    let file = workflow(daemon);
    (0..count).map(|_| daemon.succeed(&[&file])).collect()
}

#[track_caller]
fn listed(daemon: &Daemon) -> Vec<String> {
    let list = daemon.ctl(&["list"]).expect(0).json();
    list["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

fn offline(args: &[&str]) -> Answer {
    run_program(client().args(["-o", "json"]).args(args), PATIENCE)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn beyond_the_number_allowed_the_oldest_runs_go_but_not_a_pinned_one_and_none_comes_back() {
    let mut daemon = Daemon::with(by_hand(3));
    let runs = finish(&daemon, 6);
    let pinned = daemon.ctl(&["pin", &runs[0], "--reason", "reference"]).expect(0).json();
    assert_eq!(pinned, json!({"run": runs[0], "pinned": true}));
    assert_eq!(daemon.show(&runs[0])["pinned"], true);
    assert_eq!(daemon.show(&runs[1])["pinned"], false);

    let told = daemon.ctl(&["gc", "--dry-run"]).expect(0).json();
    assert_eq!(told["runs"], json!([runs[1], runs[2]]), "{told}");
    assert_eq!(listed(&daemon).len(), 6, "a dry run removed something");

    let done = daemon.ctl(&["gc"]).expect(0).json();
    assert_eq!((&done["forgotten"], &done["runs"]), (&json!(2), &told["runs"]), "{done}");
    let left = [&runs[0], &runs[3], &runs[4], &runs[5]].map(String::clone);
    assert_eq!(listed(&daemon), left);
    let gone = daemon.ctl(&["show", &runs[1]]).expect(3);
    assert!(gone.stderr.contains("EX-0003"), "{}", gone.stderr);
    daemon.ctl(&["retry", &runs[1]]).expect(3);
    daemon.ctl(&["pin", &runs[1]]).expect(3);

    daemon.kill9();
    daemon.restart();
    assert_eq!(listed(&daemon), left);
    let compacted = daemon.ctl(&["journal", "compact"]).expect(0).json();
    assert_eq!(compacted["compaction"]["dropped_streams"], 2, "{compacted}");
    daemon.expect_journal_whole();
    daemon.kill9();
    daemon.restart();
    assert_eq!(listed(&daemon), left);
    assert_eq!(daemon.events(&runs[0])[0]["event"], "RunSubmitted");

    daemon.ctl(&["unpin", &runs[0]]).expect(0);
    finish(&daemon, 1);
    let done = daemon.ctl(&["gc"]).expect(0).json();
    assert_eq!(done["runs"], json!([runs[0], runs[3]]), "{done}");
}

#[test]
fn old_runs_go_with_their_keys_and_their_numbers_are_never_given_out_again() {
    let mut daemon = Daemon::with(nothing());
    let file = workflow(&daemon);
    let first = daemon.succeed(&[&file, "--key", "k"]);
    let second = daemon.succeed(&[&file]);
    wait_for("both runs are forgotten", PATIENCE, || {
        daemon.ctl(&["gc"]).expect(0);
        listed(&daemon).is_empty().then_some(())
    });
    daemon.ctl(&["journal", "compact"]).expect(0);
    daemon.kill9();
    daemon.restart();
    assert_eq!(listed(&daemon), Vec::<String>::new());
    let again = daemon.submit(&[&file, "--key", "k"]);
    assert_eq!((first.as_str(), second.as_str(), again.as_str()), ("run-000001", "run-000002", "run-000003"));
    daemon.expect_journal_whole();
}

#[test]
fn nobody_needs_to_ask_for_it_and_a_run_that_has_not_ended_stays() {
    let daemon = Daemon::with(json!({"retention": {"finished_runs_max": 2, "every_seconds": 1}}));
    let gate = daemon.file("gate.yaml", "workflow: gate\nstages:\n  - {name: a, kind: approval}\n");
    let open = daemon.submit(&[&gate]);
    let runs = finish(&daemon, 5);
    let left = [&open, &runs[3], &runs[4]].map(String::clone);
    wait_for("two ended runs are left", PATIENCE, || (listed(&daemon) == left).then_some(()));
}

#[test]
fn an_artefact_goes_when_no_run_names_it_any_more_and_one_that_is_still_named_stays() {
    let daemon = Daemon::with(by_hand(1));
    let run_of = |word: &str| {
        let text = format!(
            "workflow: w\nstages:\n  - {{name: a, kind: exec, idempotent: true, params: {{command: [\"echo\", \"{word}\"]}}}}\n"
        );
        daemon.succeed(&[&daemon.file(&format!("{word}.yaml"), &text)])
    };
    let (old, kept) = (run_of("old"), run_of("kept"));
    let artefacts = daemon.ctl(&["result", &kept]).expect(0).json()["artifacts"].clone();
    let name = artefacts[0]["name"].as_str().unwrap().to_owned();
    let lost = daemon.ctl(&["result", &old]).expect(0).json()["artifacts"][0]["digest"].clone();
    let lost = lost.as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let file = daemon.state().join("artefacts").join(&lost[..2]).join(&lost);
    assert!(file.is_file());
    let first = daemon.ctl(&["gc"]).expect(0).json();
    assert_eq!((&first["forgotten"], &first["artefacts"]["removed"]), (&json!(1), &json!(0)), "{first}");
    assert!(file.is_file(), "it went within the grace");
    wait_for("the grace is over", PATIENCE, || {
        daemon.ctl(&["gc"]).expect(0);
        (!file.exists()).then_some(())
    });
    assert!(!daemon.artefact_bytes(&kept, &name).is_empty());
}

#[test]
fn killed_in_the_middle_of_housekeeping_it_goes_on_and_nothing_that_is_kept_is_lost() {
    let mut daemon = Daemon::with(by_hand(4));
    let pinned = finish(&daemon, 1).remove(0);
    daemon.ctl(&["pin", &pinned]).expect(0);
    let mut newest = 0;
    for round in 0..8_u64 {
        let runs = finish(&daemon, 9);
        let first: u64 = runs[0].trim_start_matches("run-").parse().unwrap();
        assert!(first > newest, "a number was given out twice: {runs:?}");
        newest = first + 8;
        let verb: &[&str] = if round % 2 == 0 { &["gc"] } else { &["journal", "compact"] };
        if round % 2 == 1 {
            daemon.ctl(&["gc"]).expect(0);
        }
        let mut asking = Command::new(env!("CARGO_BIN_EXE_executingctl"))
            .arg("--socket")
            .arg(daemon.socket())
            .args(verb)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(3 + round * 4));
        daemon.kill9();
        let _ = asking.kill();
        let _ = asking.wait();
        daemon.restart();
        daemon.expect_journal_whole();
        let left = listed(&daemon);
        assert!(left.contains(&pinned) && left.contains(&runs[8]), "{left:?}");
        // Whatever is shown is there whole; whatever is gone is gone for good.
        for run in &left {
            assert_eq!(daemon.show(run)["phase"], "succeeded");
            assert_eq!(daemon.events(run)[0]["event"], "RunSubmitted");
        }
        daemon.ctl(&["gc"]).expect(0);
        let kept = [std::slice::from_ref(&pinned), &runs[5..]].concat();
        assert_eq!(listed(&daemon), kept);
    }
}

#[test]
fn an_export_imported_into_nothing_has_the_same_head_and_the_same_runs() {
    let mut daemon = Daemon::with(by_hand(2));
    finish(&daemon, 4);
    daemon.ctl(&["gc"]).expect(0);
    daemon.ctl(&["journal", "compact"]).expect(0);
    let runs = listed(&daemon);
    let (online, at_rest) = (daemon.folder().join("online"), daemon.folder().join("at-rest"));
    let exported = daemon.ctl(&["journal", "export", text(&online)]).expect(0).json();
    let head = daemon.ctl(&["journal", "head"]).expect(0).json();
    assert_eq!((&exported["ok"], &exported["head"]), (&json!(true), &head["head"]));
    let state = daemon.state();
    let busy = offline(&["journal", "export", text(&at_rest), "--state", text(&state)]).expect(75);
    assert!(busy.stderr.contains("EX-0011") && !at_rest.exists(), "{}", busy.stderr);
    assert_eq!(daemon.terminate(), 0);
    let second = offline(&["journal", "export", text(&at_rest), "--state", text(&state)]).expect(0).json();
    assert_eq!(second["head"], exported["head"]);
    assert_eq!(fs::read(&online).unwrap(), fs::read(&at_rest).unwrap());

    let fresh = daemon.folder().join("fresh");
    let arguments = ["journal", "import", text(&online), "--state", text(&fresh), "--expect"];
    let other_head = format!("1:{}", "ab".repeat(32));
    offline(&[&arguments[..], &[&other_head]].concat()).expect(1);
    let imported = offline(&[&arguments[..], &[head["text"].as_str().unwrap()]].concat()).expect(0).json();
    assert_eq!((&imported["head"], &imported["records"]), (&exported["head"], &exported["records"]));
    let verified = offline(&["journal", "verify", "--state", text(&fresh)]).expect(0).json();
    assert_eq!(verified["head"], exported["head"]);
    let occupied = offline(&["journal", "import", text(&online), "--state", text(&fresh)]).expect(5);
    assert!(occupied.stderr.contains("EX-0045"), "{}", occupied.stderr);

    let restored = Daemon::on(&fresh);
    assert_eq!(listed(&restored), runs);
    assert_eq!(finish(&restored, 1), ["run-000005"]);
}

#[test]
fn an_import_that_was_cut_off_makes_no_journal() {
    let daemon = Daemon::start();
    finish(&daemon, 2);
    let file = daemon.folder().join("export");
    daemon.ctl(&["journal", "export", text(&file)]).expect(0);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let fresh = daemon.folder().join("fresh");
    let refused = offline(&["journal", "import", text(&file), "--state", text(&fresh)]).expect(1);
    assert!(refused.stderr.contains("EX-0014"), "{}", refused.stderr);
    assert!(!fresh.join("journal").exists());
}

#[test]
fn without_checkpoints_everything_is_made_anew_from_the_journal() {
    let mut daemon = Daemon::with(by_hand(2));
    finish(&daemon, 4);
    daemon.ctl(&["gc"]).expect(0);
    let before = daemon.ctl(&["list"]).expect(0).json();
    let state = daemon.state();
    offline(&["journal", "rebuild", "--state", text(&state)]).expect(75);
    assert_eq!(daemon.terminate(), 0);
    fs::remove_dir_all(state.join("checkpoints")).unwrap();
    let rebuilt = offline(&["journal", "rebuild", "--state", text(&state)]).expect(0).json();
    assert_eq!(rebuilt["ok"], true, "{rebuilt}");
    daemon.restart();
    assert_eq!(daemon.ctl(&["list"]).expect(0).json(), before);
}

#[test]
fn a_backup_made_while_a_run_is_going_starts_and_brings_that_run_to_its_end() {
    let daemon = Daemon::start();
    let done = finish(&daemon, 1).remove(0);
    let file = daemon.file(
        "slow.yaml",
        "workflow: slow\nstages:\n  - {name: a, kind: exec, idempotent: true, params: {command: [\"echo\", \"first\"]}}\n  - {name: b, kind: exec, idempotent: true, params: {command: [\"sleep\", \"2\"]}}\n",
    );
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "b", "running");
    let target = daemon.folder().join("backup");
    let copied = daemon.ctl(&["journal", "backup", text(&target)]).expect(0).json();
    assert_eq!(copied["ok"], true, "{copied}");
    daemon.ctl(&["journal", "backup", text(&target)]).expect(5);
    let expected = fs::read_to_string(target.join("head")).unwrap();
    let arguments = ["journal", "verify", "--state", text(&target), "--expect", expected.trim()];
    offline(&arguments).expect(0);
    let restored = Daemon::on(&target);
    assert_eq!(restored.show(&done)["phase"], "succeeded");
    let shown = restored.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    // The first stage is not run again; what it made came along.
    let started =
        restored.events(&run).iter().filter(|e| e["event"] == "StageStarted" && e["stage"] == "a").count();
    assert_eq!(started, 1);
    let events = restored.events(&run);
    let made = events.iter().find(|e| e["event"] == "StageSucceeded" && e["stage"] == "a").unwrap();
    let digest = made["outputs"][0]["digest"].as_str().unwrap().rsplit(':').next().unwrap();
    let file = target.join("artefacts").join(&digest[..2]).join(digest);
    assert_eq!(fs::read(file).unwrap(), b"first\n");
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn an_older_journal_put_back_is_sound_in_itself_and_is_told_by_the_head_that_was_kept() {
    let mut daemon = Daemon::start();
    finish(&daemon, 2);
    let (journal, older) = (daemon.state().join("journal"), daemon.folder().join("older"));
    assert_eq!(daemon.terminate(), 0);
    copy_tree(&journal, &older);
    daemon.restart();
    finish(&daemon, 1);
    let head = daemon.ctl(&["journal", "head"]).expect(0).json()["text"].as_str().unwrap().to_owned();
    daemon.ctl(&["journal", "verify", "--expect", &head]).expect(0);
    finish(&daemon, 1);
    daemon.ctl(&["audit", "verify", "--expect", &head]).expect(0);
    assert_eq!(daemon.terminate(), 0);
    fs::remove_dir_all(&journal).unwrap();
    copy_tree(&older, &journal);
    let state = daemon.state();
    offline(&["journal", "verify", "--state", text(&state)]).expect(0);
    let told = offline(&["journal", "verify", "--state", text(&state), "--expect", &head]).expect(1);
    assert!(told.stderr.contains("EX-0014"), "{}", told.stderr);
    offline(&["journal", "verify", "--state", text(&state), "--expect", "7"]).expect(2);
}

#[test]
fn the_audit_log_has_one_line_per_record_with_who_and_when() {
    let daemon = Daemon::start();
    let run = finish(&daemon, 1).remove(0);
    daemon.ctl(&["--as", "ada", "pin", &run]).expect(0);
    let file = daemon.folder().join("audit.jsonl");
    let report = daemon.ctl(&["audit", "export", text(&file)]).expect(0).json();
    let log = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(report["records"], lines.len());
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["event"], &last["principal"], &last["stream"]),
        (&json!("RunPinned"), &json!("ada"), &json!("retention"))
    );
    assert_eq!(last["hash"], report["head"]["hash"]);
}

#[test]
fn with_too_little_room_nothing_new_is_taken_what_is_there_can_be_read_and_a_start_with_room_goes_on() {
    let mut daemon = Daemon::start();
    let run = finish(&daemon, 1).remove(0);
    assert_eq!(daemon.terminate(), 0);
    daemon.change_settings(json!({"disk_pause_below_mib": 1_u64 << 40}));
    daemon.launch();
    let health = wait_for("the daemon answers", PATIENCE, || {
        let health = daemon.ctl(&["health"]);
        (health.code == 75 && health.text().contains("components")).then(|| health.json())
    });
    let disk = &health["components"]["disk"];
    assert_eq!(disk["ok"], false, "{health:#}");
    assert!(disk["paused"].as_str().unwrap().contains("/journal has"), "{health:#}");
    let file = workflow(&daemon);
    let refused = daemon.ctl(&["submit", &file]).expect(75);
    assert!(refused.stderr.contains("EX-0013") && refused.stderr.contains("needs"), "{}", refused.stderr);
    assert_eq!(daemon.show(&run)["phase"], "succeeded");
    assert_eq!(listed(&daemon), [run]);
    daemon.ctl(&["gc", "--dry-run"]).expect(0);
    assert_eq!(daemon.terminate(), 0);
    daemon.change_settings(json!({}));
    daemon.restart();
    finish(&daemon, 1);
}

#[test]
fn below_the_watermark_a_stage_waits_for_room_and_goes_on_by_itself() {
    let Some(disk) = SmallDisk::mount(192 * 1024) else {
        println!("skipped: mounting a small file system is not allowed here");
        return;
    };
    let limits = json!({"disk_pause_below_mib": 64, "disk_resume_from_mib": 72});
    let daemon = Daemon::on_with(&disk.path().join("state"), limits);
    let file = daemon.file(
        "two.yaml",
        "workflow: two\nstages:\n  - {name: a, kind: exec, idempotent: true, params: {command: [\"sleep\", \"3\"]}}\n  - {name: b, kind: exec, idempotent: true, params: {command: [\"true\"]}}\n",
    );
    let run = daemon.submit(&[&file]);
    daemon.stage_reaches(&run, "a", "running");
    disk.take(140);
    // What runs goes on and ends; what comes after it waits.
    daemon.stage_reaches(&run, "a", "succeeded");
    wait_for("the wait is explained", RUN_PATIENCE, || {
        let why = daemon.ctl(&["explain", &run]).expect(0).json();
        why["stages"].to_string().contains("room on disk").then_some(())
    });
    assert_eq!(daemon.ctl(&["health"]).expect(75).json()["components"]["disk"]["ok"], false);
    daemon.ctl(&["submit", &file]).expect(75);
    disk.clear();
    assert_eq!(daemon.end_of(&run)["phase"], "succeeded");
    wait_for("all is well again", PATIENCE, || (daemon.ctl(&["health"]).code == 0).then_some(()));
}

/// Starts a daemon that must refuse, and compares the journal's files before and after.
#[track_caller]
fn expect_refused(daemon: &Daemon, code: &str, words: &str) {
    let journal = daemon.state().join("journal");
    let look = || {
        let mut files: Vec<_> = fs::read_dir(&journal).unwrap().flatten().map(|e| e.path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect::<Vec<_>>()
    };
    let before = look();
    let refused = run_program(&mut daemon.command(), PATIENCE).expect(75);
    assert!(refused.stderr.contains(code) && refused.stderr.contains(words), "{}", refused.stderr);
    assert_eq!(look(), before, "something was changed");
}

#[test]
fn a_store_that_lacks_a_file_or_is_not_a_journal_is_refused_and_left_as_it_is() {
    let mut daemon = Daemon::with(nothing());
    finish(&daemon, 3);
    wait_for("a run is forgotten", PATIENCE, || {
        (daemon.ctl(&["gc"]).expect(0).json()["forgotten"] != 0).then_some(())
    });
    daemon.ctl(&["journal", "compact"]).expect(0);
    assert_eq!(daemon.terminate(), 0);
    let journal = daemon.state().join("journal");
    let snapshot = fs::read_dir(&journal)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name().unwrap().to_str().unwrap().starts_with("snapshot-")
                && path.extension().unwrap() == "journal"
        })
        .unwrap();
    let aside = daemon.folder().join("aside");
    fs::rename(&snapshot, &aside).unwrap();
    expect_refused(&daemon, "EX-0014", "journal verify");
    fs::rename(&aside, &snapshot).unwrap();
    daemon.restart();
    assert_eq!(daemon.terminate(), 0);
    fs::remove_dir_all(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    fs::write(journal.join("holiday.jpg"), "no journal").unwrap();
    expect_refused(&daemon, "EX-0041", "holiday.jpg");
}

#[test]
fn on_a_read_only_file_system_the_daemon_refuses_and_verify_and_export_work() {
    let Some(disk) = SmallDisk::mount(128 * 1024) else {
        println!("skipped: mounting a small file system is not allowed here");
        return;
    };
    let state = disk.path().join("state");
    let mut daemon = Daemon::on(&state);
    finish(&daemon, 1);
    assert_eq!(daemon.terminate(), 0);
    disk.make_read_only();
    expect_refused(&daemon, "EX-0043", "journal verify");
    offline(&["journal", "verify", "--state", text(&state)]).expect(0);
    let file = daemon.folder().join("export");
    let exported = offline(&["journal", "export", text(&file), "--state", text(&state)]).expect(0).json();
    assert_eq!(exported["ok"], true);
}
