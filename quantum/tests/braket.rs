//! The Braket backend against a fake made from the vendor's own service model, which boto3 agrees with.
//!
//! Nothing here has ever spoken to the vendor. Where pip cannot install botocore, these tests say so and are
//! skipped.
#![allow(clippy::unwrap_used)]

#[path = "fakes/server.rs"]
mod fakes;
mod shell;

use fakes::{ACCESS, FAKES, Fake, PRICE, SECRET, installed, write_keys};
use quantum::backends::braket::{Braket, BraketOptions};
use quantum::backends::order::{End, Order, lead};
use quantum::backends::{
    Amount, Backend, BackendError, Budget, Cancelled, Candidate, Ceiling, JobId, JobKey, JobSpec, JobWork,
    Poll, Reason, Wanted,
};
use serde_json::json;
use shell::{Room, block_on, now_ms};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

/// The fake, and a folder with keys for it.
struct Vendor {
    fake: Fake,
    dir: tempfile::TempDir,
}

impl Deref for Vendor {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.fake
    }
}

impl Vendor {
    fn start() -> Option<Self> {
        let vendor = Self { fake: Fake::start()?, dir: tempfile::tempdir().unwrap() };
        vendor.keys(SECRET);
        Some(vendor)
    }

    fn keys(&self, secret: &str) {
        write_keys(&self.dir.path().join("keys"), ACCESS, secret);
    }

    fn options(&self) -> BraketOptions {
        fakes::options(self.endpoint(), self.dir.path().join("keys"))
    }

    fn braket(&self) -> Braket {
        Braket::new(self.options())
    }
}

fn job(shots: u32) -> JobSpec {
    let program = "OPENQASM 3.0;\nqubit[3] q;\nbit[3] c;\nh q[0];\nc = measure q;\n".to_owned();
    JobSpec { work: JobWork::OpenQasm3 { program, qubits: 3, inputs: vec![] }, shots, seed: 0 }
}

fn key(text: &str) -> JobKey {
    JobKey(text.to_owned())
}

fn done(braket: &Braket, id: &JobId) {
    for _ in 0..10 {
        if block_on(braket.poll(id)).unwrap() == Poll::Succeeded {
            return;
        }
    }
    panic!("{id:?} never succeeds");
}

fn wanted(names: &[&str], shots: u32) -> Wanted {
    let candidate = |name: &&str| Candidate {
        backend: (*name).to_owned(),
        idempotent: true,
        find: true,
        hold: Amount { shots: shots.into(), qpu_ms: 0, micro_usd: PRICE.of(shots.into(), 0) },
        queue_ms: 600_000,
        unfit: None,
    };
    Wanted {
        spec: "s".into(),
        shots,
        outcomes: Some(8),
        key: "jobs/r/a stage with a long name/so that the key is longer than a client token may be@17".into(),
        chain: names.iter().map(candidate).collect(),
        deadline_ms: now_ms() + 600_000,
    }
}

fn run(room: &mut Room, wanted: Wanted) -> (End, Order) {
    let job = job(wanted.shots);
    let mut order = Order::wanted(now_ms(), wanted);
    let end = block_on(lead(&mut order, &job, room, std::future::pending::<String>())).unwrap();
    (end, order)
}

#[test]
fn the_vendors_own_client_and_the_fake_agree() {
    let Some(fake) = Vendor::start() else { return };
    let checked = Command::new(installed(FAKES).unwrap())
        .arg(fakes::file("cross_check.py"))
        .args([&fake.port.to_string(), ACCESS, SECRET])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_task_goes_from_submission_to_its_counts_with_the_first_bit_as_the_first_qubit() {
    let Some(fake) = Vendor::start() else { return };
    let braket = fake.braket();
    let target = block_on(braket.describe()).unwrap();
    assert_eq!((target.qubits_max, target.shots_max, target.queue.jobs), (25, 100_000, Some(12)));
    assert!(target.capability.idempotent_submit && !target.simulated && target.calibration.is_some());
    assert_eq!(block_on(braket.estimate(&job(1_000))).unwrap().cost_micro_usd, 650_000);
    let id = block_on(braket.submit(&job(10), &key("k"))).unwrap();
    let queued = block_on(braket.poll(&id)).unwrap();
    assert_eq!(queued, Poll::Queued { position: Some(2_000), wait_ms: None });
    done(&braket, &id);
    let result = block_on(braket.result(&id)).unwrap();
    // Shot k measures outcome k modulo 8.
    let expected: Vec<(u64, u64)> = (0..8).map(|z| (z, if z < 2 { 2 } else { 1 })).collect();
    assert_eq!(result.counts, expected);
    assert_eq!(block_on(braket.cancel(&id)).unwrap(), Cancelled::AlreadyEnded);
}

#[test]
fn a_key_makes_one_task_and_is_found_on_whatever_page_it_stands() {
    let Some(fake) = Vendor::start() else { return };
    let braket = fake.braket();
    assert_eq!(block_on(braket.find(&key("3"))).unwrap(), None);
    let ids: Vec<JobId> =
        (0..5).map(|n| block_on(braket.submit(&job(10), &key(&n.to_string()))).unwrap()).collect();
    assert_eq!(block_on(braket.submit(&job(10), &key("3"))).unwrap(), ids[3]);
    assert_eq!(block_on(braket.find(&key("3"))).unwrap().as_ref(), Some(&ids[3]));
    assert_eq!(block_on(braket.find(&key("6"))).unwrap(), None);
    assert_eq!(fake.tasks().len(), 5);
}

#[test]
fn each_fault_of_a_submission_gets_its_class() {
    let Some(fake) = Vendor::start() else { return };
    let braket = fake.braket();
    let op = "CreateQuantumTask";
    let status =
        |status: u16, error: &str| json!([{ "op": op, "kind": "status", "status": status, "error": error }]);
    let classes = [
        (status(400, "ValidationException"), "permanent"),
        (status(402, "ServiceQuotaExceededException"), "permanent"),
        (status(403, "AccessDeniedException"), "permanent"),
        (status(403, "ExpiredTokenException"), "transient"),
        (status(410, "DeviceRetiredException"), "permanent"),
        (status(424, "DeviceOfflineException"), "transient 60000"),
        (json!([{ "op": op, "kind": "status", "status": 429, "retry_after": 7 }]), "transient 7000"),
        (status(500, "InternalServiceException"), "ambiguous"),
        (status(503, "ServiceUnavailable"), "ambiguous"),
        (json!([{ "op": op, "kind": "lost" }]), "ambiguous"),
        (json!([{ "op": op, "kind": "unread" }]), "ambiguous"),
    ];
    for (number, (fault, class)) in classes.iter().enumerate() {
        fake.faults(fault.clone());
        let got = match block_on(braket.submit(&job(10), &key(&format!("f{number}")))) {
            Err(BackendError::Permanent { .. }) => "permanent".to_owned(),
            Err(BackendError::Ambiguous { .. }) => "ambiguous".to_owned(),
            Err(BackendError::Transient { after_ms: Some(ms), .. }) => format!("transient {ms}"),
            Err(BackendError::Transient { .. }) => "transient".to_owned(),
            Ok(id) => format!("{id:?}"),
        };
        assert_eq!(got, *class, "{fault}");
    }
    let mut nobody = fake.options();
    nobody.endpoint = "http://127.0.0.1:9".to_owned();
    let refused = block_on(Braket::new(nobody).submit(&job(10), &key("n"))).unwrap_err();
    assert!(matches!(refused, BackendError::Transient { .. }), "{refused}");
}

#[test]
fn a_wrong_or_missing_or_open_key_file_is_permanent_and_shows_no_secret() {
    let Some(fake) = Vendor::start() else { return };
    let braket = fake.braket();
    fake.keys("another-canary");
    let mut errors = vec![block_on(braket.describe()).unwrap_err()];
    std::fs::set_permissions(fake.dir.path().join("keys"), std::fs::Permissions::from_mode(0o644)).unwrap();
    errors.push(block_on(braket.describe()).unwrap_err());
    std::fs::remove_file(fake.dir.path().join("keys")).unwrap();
    errors.push(block_on(braket.describe()).unwrap_err());
    for error in &errors {
        assert!(matches!(error, BackendError::Permanent { .. }), "{error}");
        assert!(!format!("{error:?} {error} {braket:?}").to_lowercase().contains("canary"), "{error:?}");
    }
    // Keys that are replaced are taken up without a restart.
    fake.keys(SECRET);
    block_on(braket.describe()).unwrap();
}

#[test]
fn a_lost_reply_is_one_task_and_one_result() {
    let Some(fake) = Vendor::start() else { return };
    let faults = [
        json!([{ "op": "CreateQuantumTask", "kind": "lost" }]),
        json!([{ "op": "CreateQuantumTask", "kind": "unread" }]),
        json!([{ "op": "CreateQuantumTask", "kind": "status", "status": 500 },
               { "op": "SearchQuantumTasks", "kind": "lost", "times": 2 }]),
        json!([{ "op": "CreateQuantumTask", "kind": "status", "status": 429, "retry_after": 1, "times": 2 }]),
        json!([{ "op": "GetQuantumTask", "kind": "unknown_state", "times": 3 }]),
        json!([{ "op": "GetQuantumTask", "kind": "status", "status": 503, "times": 2 }]),
        json!([{ "op": "result", "kind": "missing_shots" }]),
        json!([{ "op": "result", "kind": "doubled", "times": 2 }]),
        json!([{ "op": "result", "kind": "extra_bit" }, { "op": "result", "kind": "garbage" }]),
        json!([{ "op": "result", "kind": "lost" }]),
    ];
    let mut made = 0;
    for (number, fault) in faults.iter().enumerate() {
        let mut room = Room::new(vec![Arc::new(fake.braket())]);
        fake.faults(fault.clone());
        let mut wanted = wanted(&["braket"], 16);
        wanted.key = format!("{}-{number}", wanted.key);
        let (end, _) = run(&mut room, wanted);
        let End::Done { digest, .. } = end else { panic!("{fault}: {end:?} after {:?}", room.names()) };
        room.kept[&digest].verify(&job(16)).unwrap();
        made += 1;
        assert_eq!(fake.tasks().len(), made, "{fault}: {:?}", room.names());
    }
    let books = fake.books();
    assert!(books["tasks_per_token"].as_object().unwrap().values().all(|tasks| tasks == 1), "{books}");
}

#[test]
fn a_result_that_stays_wrong_is_bought_once_more_and_then_the_next_backend_is_asked_with_the_reason_kept() {
    let Some(fake) = Vendor::start() else { return };
    fake.faults(json!([{ "op": "result", "kind": "missing_shots", "times": 1_000 }]));
    let mut room = Room::new(vec![Arc::new(fake.braket())]);
    let (end, order) = run(&mut room, wanted(&["braket", "gone"], 16));
    assert_eq!(end, End::Exact, "{:?}", room.names());
    let reasons: Vec<&Reason> = order.fallbacks().iter().map(|one| &one.reason).collect();
    assert!(
        matches!(reasons[..], [Reason::Wrong(_), Reason::Wrong(_), Reason::Unavailable { .. }]),
        "{reasons:?}"
    );
    assert!(reasons[0].to_string().contains("15 shots came back, but 16"), "{}", reasons[0]);
    assert_eq!(fake.tasks().len(), 2);
}

#[test]
fn a_spent_budget_buys_nothing_and_what_was_bought_never_exceeds_it() {
    let Some(fake) = Vendor::start() else { return };
    let mut room = Room::new(vec![Arc::new(fake.braket())]);
    let two = 2 * PRICE.of(16, 0);
    room.budget = Budget { day: Ceiling { micro_usd: Some(two), ..Ceiling::default() }, ..Budget::default() };
    for number in 0..4 {
        let mut wanted = wanted(&["braket"], 16);
        wanted.key = format!("{}-{number}", wanted.key);
        let (end, order) = run(&mut room, wanted);
        assert_eq!(matches!(end, End::Done { .. }), number < 2, "{number}: {end:?}");
        if number >= 2 {
            assert!(matches!(order.fallbacks()[0].reason, Reason::Budget(_)));
        }
    }
    assert_eq!(fake.books()["cost_micro_usd"].as_u64().unwrap(), two);
}

#[test]
fn an_order_that_is_cancelled_leaves_no_task_running() {
    let Some(fake) = Vendor::start() else { return };
    fake.control(&json!({ "queue_polls": 1_000_000 }));
    let mut room = Room::new(vec![Arc::new(fake.braket())]);
    let (tell, told) = futures::channel::oneshot::channel::<String>();
    let mut tell = Some(tell);
    let mut polls = 0;
    room.seen = Box::new(move |_, command| {
        polls += u32::from(matches!(command, quantum::backends::order::Command::Poll { .. }));
        if polls == 3
            && let Some(tell) = tell.take()
        {
            tell.send("a person".to_owned()).unwrap();
        }
    });
    let mut order = Order::wanted(now_ms(), wanted(&["braket"], 16));
    let wish = Box::pin(async { told.await.unwrap() });
    let end = block_on(lead(&mut order, &job(16), &mut room, wish)).unwrap();
    assert_eq!(end, End::Cancelled);
    assert_eq!(fake.books()["tasks"][0]["status"], "CANCELLED");
}
