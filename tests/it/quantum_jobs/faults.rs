//! What a vendor can do to an order: lost replies, wrong results, wrong keys; and a budget that is spent.

use super::{
    ACCESS, Fake, Keys, SECRET, SHOT_MICRO_USD, SHOTS, TASK_MICRO_USD, backend, backend_of, daemon_with,
    reasons, run,
};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[test]
fn each_fault_of_a_vendor_is_handled_as_its_class_says() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    let params = json!({ "backend": "braket" });
    let mut tasks = 0;
    let create = |kind: Value| json!({ "faults": [kind] });
    for (what, faults, source, bought, word) in [
        (
            "too many requests",
            create(
                json!({"op": "CreateQuantumTask", "kind": "status", "status": 429, "error": "ThrottlingException", "times": 2}),
            ),
            "braket",
            1,
            "",
        ),
        (
            "a reply to a submission lost",
            create(json!({"op": "CreateQuantumTask", "kind": "lost"})),
            "braket",
            1,
            "",
        ),
        (
            "a server error over a submission",
            create(
                json!({"op": "CreateQuantumTask", "kind": "status", "status": 503, "error": "InternalServiceException", "times": 1}),
            ),
            "braket",
            1,
            "",
        ),
        (
            "a server error over a poll",
            create(
                json!({"op": "GetQuantumTask", "kind": "status", "status": 500, "error": "InternalServiceException", "times": 2}),
            ),
            "braket",
            1,
            "",
        ),
        (
            "a state that nobody knows",
            create(json!({"op": "GetQuantumTask", "kind": "unknown_state", "times": 2})),
            "braket",
            1,
            "",
        ),
        (
            "a result with missing shots, once",
            create(json!({"op": "result", "kind": "missing_shots"})),
            "braket",
            1,
            "",
        ),
        (
            "a result that came twice",
            create(json!({"op": "result", "kind": "doubled", "times": 2})),
            "braket",
            1,
            "",
        ),
        (
            "a result with missing shots, always",
            create(json!({"op": "result", "kind": "missing_shots", "times": 99})),
            "simulator",
            2,
            "63 shots came back, but 64",
        ),
        (
            "a result that is no result, always",
            create(json!({"op": "result", "kind": "garbage", "times": 2})),
            "braket",
            1,
            "",
        ),
        (
            "a refusal",
            create(
                json!({"op": "CreateQuantumTask", "kind": "status", "status": 400, "error": "ValidationException", "times": 9}),
            ),
            "simulator",
            0,
            "ValidationException",
        ),
    ] {
        fake.control(&faults);
        let result = run(&daemon, &params);
        assert_eq!(result["source"], source, "{what}: {result:#}");
        tasks += bought;
        assert_eq!(fake.tasks().len(), tasks, "{what}");
        assert!(reasons(&result).contains(word), "{what}: {}", reasons(&result));
        assert_eq!(result["fallback"].as_array().is_none_or(Vec::is_empty), word.is_empty(), "{what}");
    }
    assert!(fake.books()["tasks_per_token"].as_object().unwrap().values().all(|n| n == 1));
    daemon.expect_healthy();
}

/// Every file under a folder that holds one of the words.
fn files_with(folder: &Path, words: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, words));
        } else if entry.file_type().unwrap().is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            let holds = |word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
            if words.iter().any(|word| holds(word)) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_revoked_key_is_said_without_showing_it_and_the_next_in_the_chain_answers() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let daemon = daemon_with(json!({ "braket": backend(&fake, &keys, json!({})) }));
    let params = json!({ "backend": "braket" });
    let tested = daemon.ctl(&["backend", "test", "braket"]).expect(0).json();
    assert_eq!(tested["job"], Value::Null, "no job without --spend: {tested:#}");
    assert!(tested["why_no_job"].as_str().unwrap().contains("EX-0491"), "{tested:#}");
    assert_eq!(fake.tasks().len(), 0);
    let tested = daemon.ctl(&["backend", "test", "braket", "--spend"]).expect(0).json();
    // The fake measures shot k as k modulo 2.
    assert_eq!(tested["job"]["counts"], json!([[0, 5], [1, 5]]), "{tested:#}");
    assert_eq!(run(&daemon, &params)["source"], "braket");
    // The vendor knows neither this id nor this secret any more.
    keys.write("AKREVOKEDCANARY", "revoked-secret-canary");
    let result = self::run(&daemon, &params);
    assert_eq!((&result["source"], &result["simulated"]), (&json!("simulator"), &json!(true)));
    assert!(reasons(&result).contains("EX-0488"), "{}", reasons(&result));
    assert_eq!(result["fallback"][0]["backend"], "braket");
    let refused = daemon.ctl(&["backend", "test", "braket"]).expect(1);
    assert!(refused.stderr.contains("EX-0490") && refused.stderr.contains("EX-0488"), "{}", refused.stderr);
    assert!(backend_of(&daemon, "braket")["error"].as_str().unwrap().contains("EX-0488"));
    assert!(daemon.log().contains("EX-0488"), "the log says it");
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(reasons(&self::run(&daemon, &params)).contains("EX-0485"));
    let words = ["AKREVOKEDCANARY", "revoked-secret-canary", ACCESS, SECRET];
    assert_eq!(files_with(daemon.folder(), &words), Vec::<PathBuf>::new(), "keys are written nowhere");
    assert_eq!(files_with(keys.0.path(), &words), [keys.path()], "a file that holds them would be found");
    // Sound keys are taken up without a restart.
    keys.write(ACCESS, SECRET);
    assert_eq!(self::run(&daemon, &params)["source"], "braket");
    assert!(daemon.ctl(&["explain", "EX-0488"]).expect(0).text().contains("keys"));
}

#[test]
fn a_spent_budget_leads_to_the_next_backend_and_with_nobody_left_the_exact_answer_is_labelled() {
    let (Some(fake), keys) = (Fake::start(), Keys::new()) else { return };
    let once = TASK_MICRO_USD + SHOTS * SHOT_MICRO_USD;
    let backends = json!({
        "dear": backend(&fake, &keys, json!({ "day": { "micro_usd": once } })),
        "spare": backend(&fake, &keys, json!({ "job": { "shots": SHOTS } })),
        "simulator": { "kind": "simulator", "budget": { "day": { "shots": 2 * SHOTS } } },
    });
    let mut daemon = daemon_with(backends);
    let params = json!({ "backend": "dear", "fallback": ["spare"] });
    assert_eq!(run(&daemon, &params)["backend"], "dear");
    let second = run(&daemon, &params);
    assert_eq!(second["backend"], "spare", "{second:#}");
    assert_eq!(second["fallback"][0]["backend"], "dear");
    assert!(reasons(&second).contains("budget per day"), "{}", reasons(&second));
    // One shot too many for a job of the spare one; the simulator has two jobs' worth.
    let third = run(&daemon, &json!({ "backend": "spare", "shots": SHOTS + 1 }));
    assert_eq!(third["source"], "simulator", "{third:#}");
    assert!(reasons(&third).contains("budget per job"), "{}", reasons(&third));
    daemon.ctl(&["backend", "drain", "spare", "--reason", "works on the line"]).expect(0);
    let fourth = run(&daemon, &params);
    assert_eq!(
        (&fourth["source"], &fourth["backend"], &fourth["simulated"], &fourth["shots"]),
        (&json!("classical-exact"), &Value::Null, &json!(false), &json!(0)),
        "{fourth:#}"
    );
    let names: Vec<&str> =
        fourth["fallback"].as_array().unwrap().iter().map(|one| one["backend"].as_str().unwrap()).collect();
    assert_eq!(names, ["dear", "spare", "simulator"]);
    assert!(reasons(&fourth).contains("works on the line"), "{}", reasons(&fourth));
    assert_eq!((&fourth["gap_to_exact"], &fourth["optimum_probability"]), (&json!(0.0), &Value::Null));
    // What was spent and who was drained outlasts the daemon.
    daemon.kill9();
    daemon.restart();
    assert_eq!(backend_of(&daemon, "spare")["drained"], "works on the line");
    assert_eq!(backend_of(&daemon, "dear")["left_today"]["micro_usd"], 0);
    assert_eq!(run(&daemon, &params)["source"], "classical-exact");
    daemon.ctl(&["backend", "resume", "spare"]).expect(0);
    assert_eq!(run(&daemon, &params)["backend"], "spare");
    // The simulator alone, drained: the exact answer, and no error.
    daemon.ctl(&["backend", "drain", "simulator", "--reason", "r"]).expect(0);
    let alone = run(&daemon, &json!({}));
    assert_eq!(
        (&alone["source"], &alone["fallback"][0]["backend"]),
        (&json!("classical-exact"), &json!("simulator"))
    );
    assert_eq!(fake.tasks().len(), 3);
}
