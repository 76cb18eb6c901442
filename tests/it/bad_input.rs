//! Whatever is put in wrongly gets one clear error with its code and place, the exit code of the table,
//! and leaves the daemon and its data as they were.

use crate::harness::{Answer, Daemon, PATIENCE, SmallDisk, client, example, run_program};
use engine::limits::CONTROL_FRAME_BYTES_MAX;
use engine::protocol::{Answer as Reply, CONTROL_PROTOCOL, ErrorReply, Hello, Request, Submission};
use executing::control::frame::{self, FrameReader};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

/// What must not change when something is refused.
fn data_of(daemon: &Daemon) -> (Value, Value, Value) {
    let verified = daemon.ctl(&["journal", "verify"]).expect(0).json();
    assert_eq!(verified["ok"], true, "{verified:#}");
    let list = daemon.ctl(&["list"]).expect(0).json();
    (verified["head"].clone(), list, daemon.ctl(&["deployments"]).expect(0).json())
}

/// `error[CODE]`, once, with all of `words` in what is said.
#[track_caller]
fn expect_error(answer: &Answer, exit: i32, code: &str, words: &[&str]) {
    let all = format!("{answer:?}");
    assert_eq!(answer.code, exit, "{all}");
    assert_eq!(answer.stderr.matches("error[").count(), 1, "one error, not several: {all}");
    assert!(answer.stderr.contains(&format!("[{code}]")), "expected {code}: {all}");
    for word in words {
        assert!(answer.stderr.contains(word), "expected `{word}`: {all}");
    }
    for word in ["panicked", "RUST_BACKTRACE"] {
        assert!(!answer.stderr.contains(word), "{all}");
    }
}

/// A workflow and where its mistake stands.
struct Wrong {
    what: &'static str,
    text: &'static str,
    code: &'static str,
    words: &'static [&'static str],
}

const WRONG_WORKFLOWS: [Wrong; 9] = [
    Wrong {
        what: "unknown stage kind",
        text: "workflow: w\nstages:\n  - name: a\n    kind: constraint-validaton\n",
        code: "EX-0111",
        words: &[":4:11", "constraint-validaton", "did you mean `constraint-validation`"],
    },
    Wrong {
        what: "unknown stage name",
        text: "workflow: w\nstages:\n  - initialization\n  - deploymint\n",
        code: "EX-0111",
        words: &[":4:5", "deploymint", "deployment"],
    },
    Wrong {
        what: "cyclic dependency",
        text: "workflow: w\nstages:\n  - {name: a, kind: exec, command: [x], needs: [b]}\n  - {name: b, kind: exec, command: [x], needs: [a]}\n",
        code: "EX-0115",
        words: &["a", "b", ":3:"],
    },
    Wrong {
        what: "duplicate stage name",
        text: "workflow: w\nstages:\n  - initialization\n  - initialization\n",
        code: "EX-0112",
        words: &[":4:5", "initialization"],
    },
    Wrong {
        what: "unknown dependency",
        text: "workflow: w\nstages:\n  - {name: a, kind: exec, command: [x], needs: [nobody]}\n",
        code: "EX-0114",
        words: &[":3:", "nobody"],
    },
    Wrong {
        what: "wrong YAML type",
        text: "workflow: w\nstages: 7\n",
        code: "EX-0102",
        words: &[":2:9", "a list"],
    },
    Wrong { what: "no YAML", text: "workflow: w\nstages: [a\n", code: "EX-0101", words: &["w.yaml:"] },
    Wrong {
        what: "unknown key",
        text: "workflow: w\nstagess: []\nstages:\n  - initialization\n",
        code: "EX-0103",
        words: &[":2:1", "stagess", "did you mean `stages`"],
    },
    Wrong {
        what: "NaN as risk weight",
        text: "workflow: w\nparams: {risk_weight: .nan}\nstages:\n  - initialization\n",
        code: "EX-0123",
        words: &[":2:", "risk_weight"],
    },
];

#[test]
fn a_wrong_workflow_is_refused_with_code_and_place_by_validate_and_by_submit_alike() {
    let daemon = Daemon::start();
    let before = data_of(&daemon);
    for wrong in &WRONG_WORKFLOWS {
        let file = daemon.file("w.yaml", wrong.text);
        for verb in ["validate", "submit"] {
            let answer = daemon.ctl(&[verb, &file]);
            println!("{}: {}", wrong.what, answer.stderr);
            expect_error(&answer, 8, wrong.code, wrong.words);
        }
    }
    assert_eq!(data_of(&daemon), before);
    daemon.expect_healthy();
}

#[test]
fn all_problems_of_a_workflow_are_told_at_once() {
    let daemon = Daemon::start();
    let text = "workflow: w\nbogus: 1\nstages:\n  - name: a\n    kind: nonsense\n  - name: b\n    retry: {attempts: many}\n    kind: exec\n    command: [x]\n";
    let file = daemon.file("w.yaml", text);
    let answer = daemon.ctl(&["submit", &file]);
    assert_eq!(answer.code, 8);
    for place in ["w.yaml:2:1", "w.yaml:5:11", "w.yaml:7:23"] {
        assert!(answer.stderr.contains(place), "{place}: {}", answer.stderr);
    }
}

#[test]
fn a_missing_file_is_named() {
    let daemon = Daemon::start();
    let before = data_of(&daemon);
    let here = daemon.folder().canonicalize().unwrap();
    let looked = |path: &str| {
        let whole = here.join(path);
        format!(
            "looked at {}: nothing is there; the working directory is {}",
            whole.display(),
            here.display()
        )
    };
    let (workflow, space) = (looked("no/such.yaml"), looked("no/space.yaml"));
    expect_error(&daemon.ctl(&["submit", "no/such.yaml"]), 8, "EX-0015", &["no/such.yaml", &workflow]);
    expect_error(&daemon.ctl(&["validate", "no/such.yaml"]), 8, "EX-0015", &["no/such.yaml", &workflow]);
    let missing = daemon.ctl(&["submit", "full-optimization", "--set", "space=no/space.yaml"]);
    expect_error(&missing, 8, "EX-0015", &["space: no/space.yaml", &space]);
    assert!(!missing.stderr.contains("--set"), "an input that was given need not be given: {missing:?}");
    let mistyped = daemon.ctl(&["submit", "full-optimisation"]);
    expect_error(&mistyped, 8, "EX-0015", &["did you mean `full-optimization`?", "feasible-enumeration"]);
    assert!(!mistyped.stderr.contains("--set"), "no input makes a workflow: {mistyped:?}");
    let program = daemon.file("p.mps", "NAME p\nROWS\n N obj\nENDATA\n");
    let refused = daemon.ctl(&["submit", "feasible-enumeration", "--set", &format!("space={program}")]);
    expect_error(&refused, 8, "EX-0511", &["executing-worker enumerate"]);
    let half = format!("candidates={}", example("ampel360/programme/candidates.yaml"));
    let half = daemon.ctl(&["submit", "full-optimization", "--set", &half]);
    expect_error(&half, 8, "EX-0015", &["constraints", "--set name=file"]);
    assert_eq!(data_of(&daemon), before);
}

/// Two decisions of two options each, for a problem that takes no time.
fn space(constraints: &str) -> String {
    format!(
        "design_space: 1\nname: tiny\ndecisions:\n  - name: wing\n    options:\n      - {{id: a, attributes: {{mass: 3, trl: 6}}}}\n      \
         - {{id: b, attributes: {{mass: 4, trl: 7}}}}\n  - name: tail\n    options:\n      - {{id: c, attributes: {{mass: 5, trl: 6}}}}\n      \
         - {{id: d, attributes: {{mass: 6, trl: 7}}}}\n{constraints}"
    )
}

const COSTS: &str = "costs: 1\nattributes:\n  mass: {aggregate: sum}\nterms:\n  fuel: \"mass * price\"\n";

#[test]
fn a_wrong_input_file_is_refused_with_code_and_place() {
    let daemon = Daemon::start();
    let before = data_of(&daemon);
    let good = daemon.file("space.yaml", &space(""));
    let costs = daemon.file("costs.yaml", COSTS);
    let cases: [(&str, &str, &str, &str, &[&str]); 9] = [
        ("scenarios", "s.csv", "price,probability\n", "EX-0357", &["s.csv"]),
        ("scenarios", "s.yaml", "scenarios: 1\nvariables: {}\ncount: 10\n", "EX-0357", &["s.yaml"]),
        ("scenarios", "s.csv", "price,probability\n1,0.5\n2,0.4\n", "EX-0359", &["0.9"]),
        ("scenarios", "s.csv", "price,probability\n1,0.5\nnan,0.5\n", "EX-0355", &["s.csv:3"]),
        (
            "scenarios",
            "s.yaml",
            "scenarios: 1\nvariables:\n  price: {uniform: [.nan, 1]}\ncount: 10\n",
            "EX-0355",
            &["s.yaml:3"],
        ),
        (
            "costs",
            "c.yaml",
            "costs: 1\nattributes:\n  mass: {aggregate: summ}\nterms:\n  fuel: \"mass\"\n",
            "EX-03",
            &["c.yaml:3", "summ"],
        ),
        ("space", "b.yaml", "design_space: 1\nname: x\ndecisions: 7\n", "EX-03", &["b.yaml:3"]),
        (
            "space",
            "b.yaml",
            "design_space: 1\nname: x\nbogus: 1\ndecisions: []\n",
            "EX-03",
            &["b.yaml:3", "bogus"],
        ),
        (
            "space",
            "b.yaml",
            "design_space: 1\nname: x\ndecisions:\n  - name: wing\n    options:\n      - {id: a, attributes: {mass: .nan}}\n",
            "EX-03",
            &["b.yaml:6"],
        ),
    ];
    for (name, file, text, code, words) in cases {
        let path = daemon.file(file, text);
        let mut inputs = BTreeMap::from([("space", good.as_str()), ("costs", costs.as_str())]);
        inputs.insert(name, &path);
        let sets: Vec<String> = inputs.iter().map(|(name, path)| format!("{name}={path}")).collect();
        let mut args = vec!["submit", "full-optimization"];
        sets.iter().for_each(|set| args.extend(["--set", set.as_str()]));
        // Of several files together the code is that of a wrong input; of one file that of its mistake.
        for (answer, code) in [(daemon.ctl(&args), "EX-0511"), (daemon.ctl(&["validate", &path]), code)] {
            assert_eq!(answer.code, 8, "{text}: {answer:?}");
            assert!(answer.stderr.contains(&format!("[{code}")), "{text}: expected {code}: {answer:?}");
            let said = words.iter().all(|word| answer.stderr.contains(word));
            assert!(said, "{text}: expected {words:?}: {answer:?}");
        }
    }
    assert_eq!(data_of(&daemon), before);
    daemon.expect_healthy();
}

#[test]
fn an_infeasible_problem_fails_the_run_and_names_exactly_the_constraints_that_contradict_each_other() {
    let daemon = Daemon::start();
    let constraints = "constraints:\n  - {name: light, sum: {attribute: mass}, max: 9}\n  - {name: mature, each: {attribute: trl, decisions: [wing, tail]}, min: 7}\n  \
                       - {name: not-too-heavy, sum: {attribute: mass}, max: 100}\n";
    let space = format!("space={}", daemon.file("space.yaml", &space(constraints)));
    let answer = daemon.ctl_within(&["submit", "feasible-enumeration", "--set", &space, "--wait"], PATIENCE);
    let ended = answer.clone().expect(1).json();
    assert_eq!(ended["phase"], "rolled-back", "{ended:#}");
    assert_eq!(ended["error"]["code"], "EX-0512", "{ended:#}");
    let message = ended["error"]["message"].as_str().unwrap();
    assert!(message.contains("light") && message.contains("mature"), "{message}");
    assert!(!message.contains("not-too-heavy"), "a constraint that can be spared is named: {message}");
    let run = ended["run"].as_str().unwrap();
    let failures = daemon.events(run).iter().filter(|e| e["event"] == "StageRetryPlanned").count();
    assert_eq!(failures, 0, "what cannot be mended by repeating is not repeated");
    daemon.expect_healthy();
}

#[test]
fn a_cost_that_is_not_finite_fails_the_run_and_names_the_term() {
    let daemon = Daemon::start();
    let costs = "costs: 1\nattributes:\n  mass: {aggregate: sum}\nterms:\n  fuel: \"mass / (price - 1)\"\n";
    let sets = [
        format!("space={}", daemon.file("space.yaml", &space(""))),
        format!("costs={}", daemon.file("costs.yaml", costs)),
        format!("scenarios={}", daemon.file("s.csv", "price\n1\n2\n")),
    ];
    let mut args = vec!["submit", "full-optimization", "--wait"];
    sets.iter().for_each(|set| args.extend(["--set", set.as_str()]));
    let ended = daemon.ctl_within(&args, PATIENCE).expect(1).json();
    assert_eq!(ended["phase"], "rolled-back", "{ended:#}");
    assert!(ended["error"]["message"].as_str().unwrap().contains("fuel"), "{ended:#}");
    assert_eq!(daemon.ctl(&["deployments"]).expect(0).json()["active"], Value::Null);
}

/// Connects, sends, and reads frames until the daemon hangs up.
fn talk(socket: &Path, bytes: &[u8]) -> Vec<Value> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // The daemon may hang up before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    // A reset after the answer is an end, too.
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..read]);
    }
    let mut reader = FrameReader::new(CONTROL_FRAME_BYTES_MAX);
    reader.push(&all);
    let mut said = Vec::new();
    while let Ok(Some(frame)) = reader.next() {
        said.push(serde_json::from_slice(&frame.body).unwrap());
    }
    said
}

fn hello() -> Vec<u8> {
    let hello = Hello { protocol: CONTROL_PROTOCOL, software: "a test".to_owned(), principal: None };
    frame::encode_message(&hello).unwrap()
}

fn refusal(said: &Value) -> ErrorReply {
    match serde_json::from_value(said.clone()) {
        Ok(Reply::Error { error }) => error,
        other => panic!("expected a refusal, got {other:?} from {said}"),
    }
}

/// Resident memory of the daemon, in KiB.
fn resident_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn garbage_and_a_frame_of_4_gib_are_refused_without_memory_for_them() {
    let daemon = Daemon::start();
    let before = data_of(&daemon);
    let resident = resident_kib(&daemon);
    let huge = |length: u32| {
        let mut bytes = b"EXC1J".to_vec();
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes
    };
    // As a greeting and, from a guest, as a request.
    let said = talk(&daemon.socket(), &huge(u32::MAX));
    assert_eq!((refusal(&said[0]).code.as_str(), refusal(&said[0]).exit), ("EX-0007", 8));
    let said = talk(&daemon.socket(), &[hello(), huge(u32::MAX)].concat());
    assert_eq!(refusal(&said[1]).code, "EX-0007");
    assert!(refusal(&said[1]).message.contains("4294967295"), "{said:?}");
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xff; 100_000], b"EXC1X\0\0\0\0".to_vec()] {
        let said = talk(&daemon.socket(), &garbage);
        assert_eq!(refusal(&said[0]).code, "EX-0008", "{said:?}");
        let said = talk(&daemon.socket(), &[hello(), garbage].concat());
        assert_eq!(refusal(&said[1]).code, "EX-0008", "{said:?}");
    }
    let said = talk(
        &daemon.socket(),
        &[hello(), frame::encode(frame::Kind::Json, b"{\"verb\":\"fly\"}").unwrap()].concat(),
    );
    assert_eq!(refusal(&said[1]).code, "EX-0008", "{said:?}");
    // Half a frame and silence, many times over, hold nobody up.
    let half: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            stream.write_all(&hello()[..7]).unwrap();
            stream
        })
        .collect();
    daemon.expect_healthy();
    drop(half);
    assert_eq!(data_of(&daemon), before);
    let grown = resident_kib(&daemon).saturating_sub(resident);
    assert!(grown < 64 * 1024, "the daemon grew by {grown} KiB");
}

#[test]
fn what_a_client_did_not_check_the_daemon_refuses_itself() {
    let daemon = Daemon::start();
    let before = data_of(&daemon);
    let submit = |submission: Submission| {
        let request = frame::encode_message(&Request::Submit(submission)).unwrap();
        let said = talk(&daemon.socket(), &[hello(), request].concat());
        refusal(&said[1])
    };
    for wrong in &WRONG_WORKFLOWS {
        let file = "w.yaml".to_owned();
        let refused = submit(Submission { yaml: Some(wrong.text.to_owned()), file, ..Submission::default() });
        assert_eq!((refused.code.as_str(), refused.exit), (wrong.code, 8), "{}: {refused:?}", wrong.what);
        assert!(
            refused.problems.iter().all(|p| p.file == "w.yaml" && p.line > 0),
            "{}: {refused:?}",
            wrong.what
        );
    }
    let digest = format!("b3:{}", "0".repeat(64));
    let refused = submit(Submission {
        workflow: Some("full-optimization".to_owned()),
        inputs: BTreeMap::from([("space".to_owned(), digest)]),
        ..Submission::default()
    });
    assert_eq!((refused.code.as_str(), refused.exit), ("EX-0015", 8), "{refused:?}");
    let refused = submit(Submission {
        workflow: Some("feasible-enumeration".to_owned()),
        params: BTreeMap::from([("seed".to_owned(), json!("many"))]),
        ..Submission::default()
    });
    assert_eq!((refused.code.as_str(), refused.exit), ("EX-0123", 8), "{refused:?}");
    assert_eq!(data_of(&daemon), before);
}

fn start(arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_executingd"));
    run_program(command.args(arguments).env_remove("RUST_LOG"), PATIENCE)
}

#[test]
fn a_state_directory_that_cannot_be_used_is_one_error_with_exit_code_75() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let below = file.join("state");
    // As root nothing is read-only but what the kernel says is.
    for place in [file.to_str().unwrap(), below.to_str().unwrap(), "/proc/state"] {
        let answer = start(&["--state", place]);
        expect_error(&answer, 75, "EX-0012", &[place]);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a directory");
}

#[test]
fn wrong_settings_are_refused_with_their_place_and_leave_no_directory_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.yaml");
    let state = folder.path().join("state");
    for (text, words) in [
        ("worker_slotz: 3\n", &["settings.yaml", "worker_slotz"][..]),
        ("worker_slots: many\n", &["settings.yaml", "worker_slots"]),
        ("heartbeat_ms: 1\n", &["heartbeat_ms", "50", "60000"]),
        ("worker_program: /nonexistent/worker\n", &["worker_program", "/nonexistent/worker"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let answer = start(&["--settings", file.to_str().unwrap(), "--state", state.to_str().unwrap()]);
        expect_error(&answer, 8, "EX-0022", words);
    }
    let answer = start(&["--settings", "/nonexistent/settings.yaml"]);
    expect_error(&answer, 8, "EX-0022", &["/nonexistent/settings.yaml"]);
    expect_error(&start(&[]), 8, "EX-0022", &["--state"]);
    assert!(!state.exists());
}

#[test]
fn a_full_disk_at_start_is_one_error_with_exit_code_75() {
    let Some(disk) = SmallDisk::mount(1024) else {
        println!("skipped: mounting a small file system is not allowed here");
        return;
    };
    disk.fill();
    let state = disk.path().join("state");
    let answer = start(&["--state", state.to_str().unwrap()]);
    assert_eq!(answer.code, 75, "{answer:?}");
    assert!(answer.stderr.contains("error[EX-0013]"), "{answer:?}");
    assert!(answer.stderr.contains(state.to_str().unwrap()), "{answer:?}");
}

#[test]
fn validate_needs_no_daemon_and_finds_nothing_wrong_with_the_examples() {
    for file in [
        "h2-bwb/full-optimization.yaml",
        "h2-bwb/space.yaml",
        "h2-bwb/scenarios.yaml",
        "h2-bwb/costs.yaml",
        "ampel360/costs.yaml",
        "ampel360/scenarios.yaml",
        "ampel360/programme/workflow-definitions.yaml",
        "ampel360/programme/candidates.yaml",
        "ampel360/programme/hard_constraints.yaml",
        "ampel360/programme/ampel360_config.json",
        "ampel360/programme/orchestrator-config.yaml",
    ] {
        let answer = run_program(client().args(["-o", "json", "validate", &example(file)]), PATIENCE);
        assert_eq!(answer.expect(0).json()["ok"], true, "{file}");
    }
}

#[test]
fn validate_knows_what_a_file_is_and_says_all_that_is_wrong_with_it_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let validate = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let answer = run_program(client().args(["-o", "json", "validate"]).arg(&path), PATIENCE);
        let answer = answer.expect(8);
        (answer.json(), answer.stderr)
    };
    for (name, kind, text, code, word) in [
        ("s.yaml", "settings", "worker_slots: 100000\n", "EX-0022", "worker_slots"),
        ("k.yaml", "settings", "worker_slots: 1\ncolour: red\n", "EX-0022", "colour"),
        ("c.yaml", "candidates", "candidates:\n  - name: nameless\n", "EX-0421", "id"),
        ("c.json", "programme configuration", "{\"utcs_mi\": {}, \"risk\": {}}", "EX-0413", "cvar_alpha"),
        ("p.mps", "program in integers", "NAME p\nROWS\n N obj\n", "EX-0337", "ENDATA"),
        ("n.txt", "unknown", "a shopping list\nmilk\n", "EX-0106", "design_space"),
    ] {
        let (data, stderr) = validate(name, text);
        assert_eq!((&data["ok"], &data["kind"]), (&json!(false), &json!(kind)), "{name}: {data:#}");
        let problems = data["problems"].as_array().unwrap();
        assert!(problems.iter().any(|p| p["code"] == code), "{name}: {problems:#?}");
        assert!(stderr.contains(word), "{name}: {stderr}");
    }
    let path = folder.path().join("alone").join("rules.yaml");
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "trl_gates: {wing: 6}\n").unwrap();
    let alone = run_program(client().arg("validate").arg(&path), PATIENCE);
    expect_error(&alone, 8, "EX-0015", &["candidates.yaml"]);
}
