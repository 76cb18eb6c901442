//! The verbs that only look, the metrics and the log.

use super::two_stages;
use crate::harness::{Daemon, PATIENCE, client, run_program, small_problem, small_run, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};

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
