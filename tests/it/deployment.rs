//! Releases: activated only when their check agrees, given back when it does not, never lost by a kill.

use crate::harness::{Daemon, PATIENCE, small_problem, small_run, wait_for};
use serde_json::Value;
use std::fs;

/// What is active, by the daemon's word and by the link on disk, which must agree.
#[track_caller]
fn active(daemon: &Daemon) -> Option<String> {
    let said = daemon.ctl(&["deployments"]).expect(0).json();
    let said = said["active"].as_str().map(str::to_owned);
    let link = fs::read_link(daemon.state().join("releases/active")).ok();
    let linked = link.map(|target| target.file_name().unwrap().to_string_lossy().into_owned());
    assert_eq!(said, linked, "the journal and the disk disagree");
    said
}

/// Two different choices of the small problem: without and with aversion to risk.
const CAREFREE: [&str; 4] = ["--set", "risk_weight=0", "--set", "cvar_level=0.8"];
const CAREFUL: [&str; 4] = ["--set", "risk_weight=1", "--set", "cvar_level=0.8"];

fn deploy(daemon: &Daemon, choice: &[&str]) -> String {
    let files = small_problem();
    let run = daemon.succeed(&small_run(&files, choice));
    let release = daemon.artefact(&run, "deployment_manifest.json")["release"].as_str().unwrap().to_owned();
    assert_eq!(active(daemon).as_deref(), Some(release.as_str()));
    release
}

/// Submits with a check program and gives exit code and final object.
fn submit_checked(daemon: &Daemon, choice: &[&str], check: &str) -> (i32, Value) {
    let files = small_problem();
    let check = format!("deployment.check={}", serde_json::json!(["/bin/sh", "-c", check]));
    let mut more = choice.to_vec();
    more.extend(["--set", &check, "--wait"]);
    let args: Vec<&str> = std::iter::once("submit").chain(small_run(&files, &more)).collect();
    let answer = daemon.ctl_within(&args, crate::harness::RUN_PATIENCE);
    (answer.code, answer.json())
}

#[test]
fn a_check_that_fails_before_or_after_activation_leaves_the_old_release_active_and_exits_with_1() {
    let daemon = Daemon::start();
    let old = deploy(&daemon, &CAREFREE);
    let kept = fs::read(daemon.state().join("releases").join(&old).join("optimal_config.json")).unwrap();
    for check in [
        "echo no such luck >&2; exit 3",
        "test \"$RELEASE_PHASE\" != active || { echo no such luck >&2; exit 3; }",
    ] {
        let (code, ended) = submit_checked(&daemon, &CAREFUL, check);
        assert_eq!((code, ended["phase"].as_str()), (1, Some("rolled-back")), "{ended:#}");
        assert_eq!(ended["error"]["code"], "EX-0520", "{ended:#}");
        assert!(ended["error"]["message"].as_str().unwrap().contains("no such luck"), "{ended:#}");
        assert_eq!(active(&daemon).as_deref(), Some(old.as_str()), "{check}");
        let events = daemon.events(ended["run"].as_str().unwrap());
        assert!(events.iter().any(|e| e["event"] == "StageFailed" && e["stage"] == "deployment"));
        assert!(!events.iter().any(|e| e["event"] == "RunSucceeded"));
    }
    let now = fs::read(daemon.state().join("releases/active/optimal_config.json")).unwrap();
    assert_eq!(now, kept, "the old release was written to");
    // The same choice with a check that agrees goes through, so it was the check that held it back.
    let (code, ended) = submit_checked(&daemon, &CAREFUL, "test -s \"$RELEASE_DIR/optimal_config.json\"");
    assert_eq!((code, ended["phase"].as_str()), (0, Some("succeeded")), "{ended:#}");
    assert_ne!(active(&daemon).as_deref(), Some(old.as_str()));
}

#[test]
fn a_failed_check_of_the_first_release_ever_leaves_none_active() {
    let daemon = Daemon::with(serde_json::json!({"deployment_check": ["/bin/false"]}));
    let files = small_problem();
    let run = daemon.submit(&small_run(&files, &[]));
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "rolled-back", "{shown:#}");
    assert_eq!(active(&daemon), None);
    let refused = daemon.ctl(&["rollback"]).expect(3);
    assert!(refused.stderr.contains("EX-0522"), "{}", refused.stderr);
}

#[test]
fn rollback_returns_to_the_release_before_or_to_the_named_one_and_says_who_did_it() {
    let daemon = Daemon::start();
    let first = deploy(&daemon, &CAREFREE);
    let second = deploy(&daemon, &CAREFUL);
    assert_ne!(first, second);
    let answer = daemon.ctl(&["rollback", "--as", "approver"]).expect(0).json();
    assert_eq!(
        (answer["from"].as_str(), answer["active"].as_str()),
        (Some(second.as_str()), Some(first.as_str()))
    );
    assert_eq!(active(&daemon).as_deref(), Some(first.as_str()));
    daemon.ctl(&["rollback", &second]).expect(0);
    assert_eq!(active(&daemon).as_deref(), Some(second.as_str()));
    let unknown = daemon.ctl(&["rollback", "rel-0000000000000000"]).expect(3);
    assert!(unknown.stderr.contains("EX-0522") && unknown.stderr.contains("rel-0000000000000000"));
    assert_eq!(active(&daemon).as_deref(), Some(second.as_str()));

    let said = daemon.ctl(&["deployments"]).expect(0).json();
    let history = said["deployments"].as_array().unwrap();
    let of = |field: &str| history.iter().map(|d| d[field].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(of("release"), [first.clone(), second.clone(), first, second]);
    assert_eq!(of("by")[2], "approver");
    assert!(history.iter().all(|d| d["outcome"] == "succeeded" && d["at"].is_string()), "{said:#}");
    let now: Vec<_> = history.iter().filter(|d| d["active"] == true).map(|d| d["position"].clone()).collect();
    assert_eq!(now, [history[3]["position"].clone()], "exactly the last activation is the active one");
}

#[test]
fn the_same_choice_from_the_same_inputs_gives_the_same_release() {
    let daemon = Daemon::start();
    assert_eq!(deploy(&daemon, &CAREFUL), deploy(&daemon, &CAREFUL));
}

#[test]
fn what_is_active_survives_a_kill_and_a_kill_within_an_activation_is_made_good() {
    let mut daemon = Daemon::start();
    let old = deploy(&daemon, &CAREFREE);
    daemon.kill9();
    daemon.restart();
    assert_eq!(active(&daemon).as_deref(), Some(old.as_str()));

    // The check of the new release waits, after the switch, for a file that only comes after the kill.
    let mark = daemon.folder().join("checking");
    let go = daemon.folder().join("go");
    let check = format!(
        "test \"$RELEASE_PHASE\" = staged && exit 0; touch {}; while ! test -e {}; do sleep 0.05; done",
        mark.display(),
        go.display()
    );
    let check = format!("deployment.check={}", serde_json::json!(["/bin/sh", "-c", check]));
    let files = small_problem();
    let mut more = CAREFUL.to_vec();
    more.extend(["--set", &check]);
    let run = daemon.submit(&small_run(&files, &more));
    wait_for("the new release is being checked", PATIENCE, || mark.exists().then_some(()));
    daemon.kill9();
    fs::write(&go, "").unwrap();
    daemon.restart();
    let shown = daemon.end_of(&run);
    assert_eq!(shown["phase"], "succeeded", "{shown:#}");
    let new = daemon.artefact(&run, "deployment_manifest.json")["release"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!(active(&daemon).as_deref(), Some(new.as_str()));
    let said = daemon.ctl(&["deployments"]).expect(0).json();
    let outcomes: Vec<_> =
        said["deployments"].as_array().unwrap().iter().map(|d| d["outcome"].clone()).collect();
    assert_eq!(outcomes, ["succeeded", "reverted", "succeeded"], "{said:#}");
    daemon.expect_journal_whole();
}

#[test]
fn a_release_that_was_tampered_with_is_not_returned_to() {
    let daemon = Daemon::start();
    let first = deploy(&daemon, &CAREFREE);
    let second = deploy(&daemon, &CAREFUL);
    fs::write(daemon.state().join("releases").join(&first).join("optimal_config.json"), "{}").unwrap();
    let refused = daemon.ctl(&["rollback"]);
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("EX-0520") && refused.stderr.contains("optimal_config.json"),
        "{}",
        refused.stderr
    );
    assert_eq!(active(&daemon).as_deref(), Some(second.as_str()));
    daemon.expect_healthy();
}
