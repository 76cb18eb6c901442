//! The Aer backend with the real service: started, asked, killed, started again.
//!
//! The environment is made once under `target/`; where pip cannot install, these tests say so and are skipped.
#![allow(clippy::unwrap_used)]

mod shell;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quantum::backends::aer::{AER, Aer, Noise, Options, ProvisionError, Service, provide};
use quantum::backends::order::{Command, End, Order, lead};
use quantum::backends::{
    Amount, Backend, BackendError, Cancelled, Candidate, JobId, JobKey, JobResult, JobSpec, JobWork, Poll,
    Wanted,
};
use quantum::circuit::Circuit;
use quantum::index_encoding::{IndexEncoding, QUBITS_MAX};
use quantum::ising::{Ising, Term};
use quantum::openqasm;
use quantum::qaoa::{Mixing, Optimiser, Settings};
use quantum::simulator::one_hot::Groups;
use quantum::simulator::{Angles, Simulator};
use quantum::threads::Threads;
use shell::{Room, block_on, now_ms};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/aer-cache")
}

/// Whether the environment is there; made by whichever test comes first.
fn installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| match provide(AER, Path::new("python3"), &cache(), 900) {
        Ok(_) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    })
}

fn options(dir: &Path) -> Options {
    Options {
        name: "aer".to_owned(),
        python: "python3".into(),
        cache: cache(),
        run_dir: dir.to_owned(),
        provision_seconds: 600,
        qubits_max: 20,
        shots_max: 100_000,
        threads: 1,
        noise: None,
    }
}

fn noisy(dir: &Path) -> Options {
    let noise = Noise { one_qubit: 0.01, two_qubit: 0.1, readout: 0.05, device: None };
    Options { noise: Some(noise), ..options(dir) }
}

fn ring(qubits: u32) -> Ising {
    let edges: Vec<(u32, u32)> = (0..qubits).map(|q| (q, (q + 1) % qubits)).collect();
    Ising::max_cut(qubits, &edges).unwrap()
}

fn angles() -> Angles {
    Angles::new(vec![0.4, 0.7], vec![0.9, 0.3]).unwrap()
}

/// QAOA of a problem that is symmetric in nothing, so that a wrong order of bits shows.
fn job(shots: u32, seed: u64) -> (JobSpec, Vec<f64>) {
    let ising =
        Ising::from_qubo(4, &[(0, 0, 1.0), (0, 1, -2.0), (1, 2, 0.5), (2, 3, 1.5), (3, 3, -0.7)]).unwrap();
    let circuit = Circuit::qaoa(&ising, 2);
    let angles = angles();
    let values = [0.4, 0.9, 0.7, 0.3];
    let inputs = circuit.inputs().iter().cloned().zip(values).collect();
    let state = Simulator::x(ising.diagonal(), 4).unwrap().run(&angles);
    let truth = (0..16).map(|z| state.probability(z)).collect();
    let work = JobWork::OpenQasm3 { program: openqasm::program(&circuit), qubits: 4, inputs };
    (JobSpec { work, shots, seed }, truth)
}

/// With noise each shot is a life of its own, so this keeps one thread busy for long.
fn long_job() -> JobSpec {
    let circuit = Circuit::qaoa(&ring(16), 2);
    let inputs = circuit.inputs().iter().map(|name| (name.clone(), 0.1)).collect();
    let work = JobWork::OpenQasm3 { program: openqasm::program(&circuit), qubits: 16, inputs };
    JobSpec { work, shots: 100_000, seed: 1 }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ended(aer: &Aer, id: &JobId) -> Poll {
    wait_for("the job's end", || match block_on(aer.poll(id)).unwrap() {
        Poll::Queued { .. } | Poll::Running => None,
        poll => Some(poll),
    })
}

fn run(aer: &Aer, key: &str, job: &JobSpec) -> JobResult {
    let id = block_on(aer.submit(job, &JobKey(key.to_owned()))).unwrap();
    assert_eq!(ended(aer, &id), Poll::Succeeded);
    block_on(aer.result(&id)).unwrap()
}

fn alive(pid: u32) -> bool {
    kill(Pid::from_raw(pid as i32), None).is_ok()
        && !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z")
}

/// Sum of the differences between shares and probabilities; 0 for equal, 2 for nothing in common.
fn distance(result: &JobResult, truth: &[f64]) -> f64 {
    let shots: u64 = result.counts.iter().map(|(_, count)| count).sum();
    let share = |z: usize| {
        let count = result.counts.iter().find(|(outcome, _)| *outcome == z as u64).map_or(0, |(_, n)| *n);
        count as f64 / shots as f64
    };
    (0..truth.len()).map(|z| (share(z) - truth[z]).abs()).sum()
}

#[test]
fn aer_gives_the_probabilities_of_our_own_simulator_and_the_same_counts_for_the_same_seed() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aer = Aer::new(options(dir.path()));
    let (job, truth) = job(50_000, 3);
    let first = run(&aer, "a", &job);
    first.verify(&job).unwrap();
    // 16 outcomes, 50,000 shots: the expected distance is about 0.014.
    assert!(distance(&first, &truth) < 0.03, "{}", distance(&first, &truth));
    assert_eq!(run(&aer, "b", &job).counts, first.counts);
    let other = JobSpec { seed: 4, ..job };
    assert_ne!(run(&aer, "c", &other).counts, first.counts);
}

#[test]
fn qiskit_reads_the_one_hot_circuit_as_the_one_hot_simulators_state() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aer = Aer::new(options(dir.path()));
    let sizes = [3u32, 2];
    let term = |z: &[u32], coefficient| Term { z: z.to_vec(), coefficient };
    let mut terms: Vec<Term> = (0..5).map(|q| term(&[q], 0.3 * f64::from(q * q % 7) - 0.5)).collect();
    terms.push(term(&[0, 4], 0.45));
    let ising = Ising::new(5, terms).unwrap();
    let diagonal = ising.diagonal();
    // Group 0 is qubits 0 to 2, group 1 qubits 3 and 4; group 0 is fastest.
    let states: Vec<usize> = (0..6).map(|c| 1usize << (c % 3) | 1usize << (3 + c / 3)).collect();
    let values = states.iter().map(|state| diagonal[*state]).collect();
    let simulator = Simulator::one_hot(values, Arc::new(Groups::product(&sizes).unwrap())).unwrap();
    let wanted = simulator.run(&Angles::new(vec![0.4, -0.9], vec![0.7, 1.3]).unwrap());
    let mut truth = vec![0.0; 32];
    for (c, state) in states.iter().enumerate() {
        truth[*state] = wanted.probability(c);
    }
    let circuit = Circuit::one_hot(&ising, &sizes, 2).unwrap();
    let inputs = circuit.inputs().iter().cloned().zip([0.4, 0.7, -0.9, 1.3]).collect();
    let work = JobWork::OpenQasm3 { program: openqasm::program(&circuit), qubits: 5, inputs };
    let result = run(&aer, "one-hot", &JobSpec { work, shots: 50_000, seed: 3 });
    // Not one shot outside: on a perfect machine the mixer never leaves the one-hot states.
    assert!(result.counts.iter().all(|(outcome, _)| states.contains(&(*outcome as usize))), "{result:?}");
    assert!(distance(&result, &truth) < 0.03, "{}", distance(&result, &truth));
}

#[test]
fn qiskit_reads_the_largest_index_encoding_and_gives_what_its_search_expected() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aer = Aer::new(options(dir.path()));
    let costs: Vec<f64> = (0..1000).map(|k| f64::from(k * k % 997)).collect();
    let encoding = IndexEncoding::new(&costs).unwrap();
    assert_eq!(encoding.qubits(), QUBITS_MAX);
    let settings = Settings { layers: 2, iterations: 10, ..Settings::default() };
    let mixing = Mixing::X { qubits: QUBITS_MAX };
    let mut search = Optimiser::over(encoding.costs(), mixing, Threads::one(), settings).unwrap();
    while !search.step().finished {}
    let outcome = search.outcome();
    let circuit = encoding.circuit(&outcome).unwrap();
    let work =
        JobWork::OpenQasm3 { program: openqasm::program(&circuit), qubits: QUBITS_MAX, inputs: vec![] };
    let begun = Instant::now();
    let result = run(&aer, "index", &JobSpec { work, shots: 20_000, seed: 3 });
    println!("1,000 designs, 2 layers: {:.1} s", begun.elapsed().as_secs_f64());
    let mean = |count: &dyn Fn(usize) -> f64| -> f64 {
        encoding.costs().iter().enumerate().map(|(z, cost)| cost * count(z)).sum()
    };
    let mut shares = vec![0.0; 1 << QUBITS_MAX];
    for (outcome, count) in &result.counts {
        shares[*outcome as usize] = *count as f64 / 20_000.0;
    }
    let measured = mean(&|z| shares[z]);
    // Costs spread over a thousand, so 20,000 shots give their mean within some 2; the uniform mean is far off.
    assert!((measured - outcome.expectation).abs() < 10.0, "{measured}, not {}", outcome.expectation);
    assert!((mean(&|_| 1.0 / 1024.0) - outcome.expectation).abs() > 20.0, "this would pass for any circuit");
}

#[test]
fn noise_changes_the_counts_and_is_named_with_the_result() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aer = Aer::new(noisy(dir.path()));
    let (job, truth) = job(50_000, 3);
    let noisy = run(&aer, "a", &job);
    assert!(distance(&noisy, &truth) > 0.06, "{}", distance(&noisy, &truth));
    assert!(noisy.calibration.unwrap().contains("0.05"));
}

#[test]
fn a_key_gives_one_job_and_is_found_and_what_does_not_fit_is_refused_for_good() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aer = Aer::new(options(dir.path()));
    let (job, _) = job(100, 1);
    let key = JobKey("twice".to_owned());
    assert_eq!(block_on(aer.find(&key)).unwrap(), None);
    let id = block_on(aer.submit(&job, &key)).unwrap();
    assert_eq!(block_on(aer.submit(&job, &key)).unwrap(), id);
    assert_eq!(block_on(aer.find(&key)).unwrap(), Some(id));
    for shots in [0, 200_000] {
        let bad = JobSpec { shots, ..job.clone() };
        let refused = block_on(aer.submit(&bad, &JobKey(format!("bad-{shots}"))));
        assert!(matches!(refused, Err(BackendError::Permanent { .. })), "{refused:?}");
    }
    let wide =
        JobSpec { work: JobWork::OpenQasm3 { program: String::new(), qubits: 21, inputs: vec![] }, ..job };
    assert!(matches!(block_on(aer.estimate(&wide)), Err(BackendError::Permanent { .. })));
}

#[test]
fn a_running_job_can_be_cancelled_and_a_finished_one_cannot() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aer = Aer::new(noisy(dir.path()));
    let (short, _) = job(10, 1);
    let done = block_on(aer.submit(&short, &JobKey("done".into()))).unwrap();
    assert_eq!(ended(&aer, &done), Poll::Succeeded);
    assert_eq!(block_on(aer.cancel(&done)).unwrap(), Cancelled::AlreadyEnded);
    let id = block_on(aer.submit(&long_job(), &JobKey("long".into()))).unwrap();
    assert_eq!(block_on(aer.cancel(&id)).unwrap(), Cancelled::Yes);
    assert_eq!(block_on(aer.poll(&id)).unwrap(), Poll::Cancelled);
}

#[test]
fn a_service_killed_in_the_middle_of_a_job_is_started_again_and_the_job_bought_again_under_a_new_key() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aer = Arc::new(Aer::new(options(dir.path())));
    let (job, _) = job(1_000, 5);
    let candidate = Candidate {
        backend: "aer".into(),
        idempotent: true,
        find: true,
        hold: Amount { shots: 1_000, ..Amount::NONE },
        queue_ms: 600_000,
        unfit: None,
    };
    let wanted = Wanted {
        spec: "s".into(),
        shots: 1_000,
        outcomes: Some(16),
        key: "jobs/r/s@1".into(),
        chain: vec![candidate],
        deadline_ms: now_ms() + 600_000,
    };
    let mut room = Room::new(vec![aer.clone()]);
    let killed = Arc::clone(&aer);
    let mut kills = 0;
    room.seen = Box::new(move |_, command| {
        // The first job is there; it goes with its process before anybody asks for it.
        if kills == 0 && matches!(command, Command::Poll { .. }) {
            kills += 1;
            let pid = killed.service().pid().unwrap();
            kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
        }
    });
    let mut order = Order::wanted(now_ms(), wanted);
    let end = block_on(lead(&mut order, &job, &mut room, std::future::pending::<String>())).unwrap();
    let End::Done { backend, digest } = end else { panic!("{end:?}, {:?}", room.names()) };
    assert_eq!(backend, "aer");
    room.kept[&digest].verify(&job).unwrap();
    assert_eq!(room.names().iter().filter(|name| *name == "Submitting").count(), 2, "{:?}", room.names());
    assert!(order.fallbacks()[0].reason.to_string().contains("restarted"), "{:?}", order.fallbacks());
    assert_eq!(aer.service().starts(), 2);
    // One of the two took its shots for nothing, as far as anybody can know.
    assert_eq!(room.ledger.of_run("r").shots, 2_000);
}

/// Not a test of its own: the process that is killed in the one below.
#[test]
fn holder_of_a_service() {
    let Some(dir) = std::env::var_os("EXECUTING_TEST_HOLDER") else { return };
    let aer = Aer::new(noisy(Path::new(&dir)));
    block_on(aer.describe()).unwrap();
    block_on(aer.submit(&long_job(), &JobKey("long".into()))).unwrap();
    std::fs::write(Path::new(&dir).join("pid"), aer.service().pid().unwrap().to_string()).unwrap();
    std::thread::sleep(PATIENCE);
}

#[test]
fn the_service_dies_with_whoever_started_it_even_if_that_one_is_killed_in_the_middle_of_a_job() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder_of_a_service"])
        .env("EXECUTING_TEST_HOLDER", dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid: u32 = wait_for("the service", || {
        std::fs::read_to_string(dir.path().join("pid")).ok().and_then(|text| text.parse().ok())
    });
    assert!(alive(pid));
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_for("the service's end", || (!alive(pid)).then_some(()));
}

#[test]
fn stopping_it_ends_the_process_and_the_next_call_starts_another() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aer = Aer::new(options(dir.path()));
    block_on(aer.describe()).unwrap();
    let service: &Service = aer.service();
    let first = service.pid().unwrap();
    service.stop();
    assert!(!alive(first) && service.pid().is_none());
    block_on(aer.describe()).unwrap();
    assert_ne!(service.pid().unwrap(), first);
}

/// A stand-in for python that makes an "environment" whose pip does what `pip` says.
fn stand_in(dir: &Path, pip: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = dir.join("python");
    let text = format!(
        "#!/bin/sh\nmkdir -p \"$3/bin\"\nprintf '#!/bin/sh\\n{pip}\\n' > \"$3/bin/python\"\nchmod +x \"$3/bin/python\"\n"
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn an_environment_that_cannot_be_made_says_why_and_leaves_nothing_that_looks_like_one() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let none = provide(AER, &dir.path().join("no-python"), &cache, 5).unwrap_err();
    assert!(
        matches!(none, ProvisionError::Python { .. }) && none.to_string().starts_with("EX-0481"),
        "{none}"
    );
    let failing = stand_in(dir.path(), "echo no index there >&2; exit 1");
    let failed = provide(AER, &failing, &cache, 20).unwrap_err().to_string();
    assert!(failed.starts_with("EX-0482") && failed.contains("no index there"), "{failed}");
    let slow = stand_in(dir.path(), "sleep 60");
    let begun = Instant::now();
    let late = provide(AER, &slow, &cache, 1).unwrap_err();
    assert!(matches!(late, ProvisionError::Slow { seconds: 1, .. }), "{late}");
    assert!(begun.elapsed() < Duration::from_secs(50), "it waited for the program");
    assert_eq!(AER.ready(&cache), None);
    let sound = stand_in(dir.path(), "exit 0");
    let program = provide(AER, &sound, &cache, 20).unwrap();
    assert!(program.starts_with(AER.place(&cache)));
    // It is there now: nothing is run any more.
    assert_eq!(provide(AER, Path::new("/nowhere"), &cache, 0).unwrap(), program);
}

#[test]
fn a_service_that_cannot_start_is_a_transient_error_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let python = dir.path().join("nothing");
    let aer = Aer::new(Options { python, cache: dir.path().join("cache"), ..options(dir.path()) });
    let error = block_on(aer.describe()).unwrap_err();
    assert!(
        matches!(&error, BackendError::Transient { message, .. } if message.contains("EX-0481")),
        "{error}"
    );
}
