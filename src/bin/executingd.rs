//! `executingd`: the long-running daemon. Opens the stores, starts the tree, serves the control socket.
//!
//! Rule: READY only after recovery; SIGTERM stops children in order and closes the journal last.
//! Whatever goes wrong at start is one error with a code, and leaves the data as it was.

use actors::admission::Scheduling;
use actors::checkpointer::Checkpointer;
use actors::quantum_proxy::{Desks, Office};
use actors::releases::Releases;
use actors::room::RoomLimits;
use actors::shared::{Limits, Shared};
use clap::Parser;
use engine::limits::RUNS_OPEN_MAX;
use executing::control;
use executing::service::DaemonService;
use executing::settings::{Settings, backends};
use executing::tree::{self, Size};
use executing::{catalog, systemd, telemetry};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisors::process::{Spawner, kill_leftover};
use tokio::signal::unix::{SignalKind, signal};

/// Runs optimisation pipelines and loses nothing.
#[derive(Debug, Parser)]
#[command(name = "executingd", version, about)]
struct Options {
    /// Settings file (YAML); the programme's orchestrator-config.yaml is accepted too.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// State directory; alone it is enough for a laptop, and DIR is made if absent.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Checks settings and state directory, then leaves.
    #[arg(long)]
    check: bool,
}

/// A daemon before this one may still be closing its files; longer means that it is really there.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Exit codes of the contract.
const EXIT_INVALID: u8 = 8;
const EXIT_TRY_LATER: u8 = 75;
/// The daemon ends by itself so that its supervisor starts it again through recovery.
const EXIT_GAVE_UP: u8 = 70;

struct Failure {
    exit: u8,
    message: String,
}

impl Failure {
    fn new(exit: u8, code: &str, message: impl std::fmt::Display) -> Self {
        Self { exit, message: format!("error[{code}]: {message}") }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match prepare(&options).and_then(|(settings, lock)| {
        if options.check {
            println!("settings and state directory are usable: {}", settings.state.display());
            return Ok(());
        }
        run(settings, lock)
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.message);
            ExitCode::from(failure.exit)
        }
    }
}

fn size(settings: &Settings) -> Size {
    Size {
        cpu_cores: settings.cpu_cores,
        memory_mib: settings.memory_mib,
        worker_slots: settings.worker_slots,
        backends: backends::capacity(&settings.backends, settings.simulator_jobs),
    }
}

/// Who may have how much, and what stages that do not say it have.
fn scheduling(settings: &Settings) -> Scheduling {
    let said = &settings.scheduling;
    Scheduling {
        defaults: settings.defaults.clone(),
        prices: said.prices(),
        runs_open_max: said.queue.runs.unwrap_or(RUNS_OPEN_MAX),
        runs_open_max_per_user: said.queue.runs_per_user,
        health_every: Duration::from_secs(settings.health_check_seconds),
        shots_limited: said.count_shots() || backends::limit_shots(&settings.backends),
        ..Scheduling::new(size(settings).capacity(), said.policy())
    }
}

/// Settings, state directory, lock. Nothing else is touched before the lock is held.
fn prepare(options: &Options) -> Result<(Settings, File), Failure> {
    let settings = match &options.settings {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|e| Failure::new(EXIT_INVALID, "EX-0022", format!("{}: {e}", file.display())))?;
            let mut settings = Settings::read(&text, &file.display().to_string())
                .map_err(|e| Failure { exit: EXIT_INVALID, message: e.to_string() })?;
            if let Some(state) = &options.state {
                settings.state.clone_from(state);
            }
            settings
        }
        None => Settings::laptop(options.state.clone().unwrap_or_default()),
    };
    let mut settings =
        settings.settle().map_err(|e| Failure { exit: EXIT_INVALID, message: e.to_string() })?;
    let against = settings.scheduling.check_against(&size(&settings).capacity());
    against.map_err(|e| Failure { exit: EXIT_INVALID, message: e.to_string() })?;
    let state = settings.state.clone();
    let unusable = |e: std::io::Error| {
        if e.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
            let message = format!(
                "the state directory {} lies on a file system that is mounted read-only. Mount it for writing; `executingctl journal verify --state` and `journal export --state` work as it is",
                state.display()
            );
            return Failure::new(EXIT_TRY_LATER, "EX-0043", message);
        }
        let code = if e.kind() == std::io::ErrorKind::StorageFull { "EX-0013" } else { "EX-0012" };
        Failure::new(
            EXIT_TRY_LATER,
            code,
            format!(
                "the state directory {} cannot be used: {e}. Give it space and write permission",
                state.display()
            ),
        )
    };
    if !settings.state.exists() {
        std::fs::create_dir_all(&settings.state).map_err(unusable)?;
        std::fs::set_permissions(&settings.state, std::fs::Permissions::from_mode(0o700))
            .map_err(unusable)?;
    }
    refuse_foreign(&settings.state).map_err(unusable)??;
    let path = settings.state.join("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(std::fs::TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Failure::new(
                    EXIT_TRY_LATER,
                    "EX-0011",
                    format!("another daemon holds {}. Stop it first, or use another --state", path.display()),
                ));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(unusable(e)),
        }
    }
    settings.state = settings.state.canonicalize().map_err(unusable)?;
    if settings.socket.is_none() {
        settings.socket = Some(settings.state.join("control.sock"));
    }
    for dir in ["workers", "work"] {
        std::fs::create_dir_all(settings.state.join(dir)).map_err(unusable)?;
    }
    Ok((settings, lock))
}

/// A directory that holds other things is somebody's, and this daemon cleans up behind itself.
///
/// The outer error is the file system's, the inner one ours.
fn refuse_foreign(state: &Path) -> std::io::Result<Result<(), Failure>> {
    if state.join("lock").exists() || state.join("journal").is_dir() {
        return Ok(Ok(()));
    }
    for entry in std::fs::read_dir(state)? {
        let name = entry?.file_name();
        // What a file system puts into a fresh mount.
        if name != "lost+found" {
            let message = format!(
                "{} holds other things ({}): expected a state directory, an empty directory or a new name",
                state.display(),
                name.to_string_lossy()
            );
            return Ok(Err(Failure::new(EXIT_INVALID, "EX-0012", message)));
        }
    }
    Ok(Ok(()))
}

fn run(settings: Settings, _lock: File) -> Result<(), Failure> {
    telemetry::start_logging(&settings.log);
    supervisors::install_panic_hook();
    for key in &settings.not_honoured {
        tracing::warn!(key, "This setting is not honoured.");
    }
    journal::failpoint!("daemon.locked");
    end_leftovers(&settings.state);
    journal::failpoint!("daemon.leftovers-ended");
    let (shared, releases) = open_stores(&settings)?;
    journal::failpoint!("daemon.stores-open");
    let runtime = actix::System::new();
    runtime.block_on(serve(settings, shared, releases))
}

/// Workers die with their daemon; should one have outlived it, it ends here.
fn end_leftovers(state: &Path) {
    let Ok(entries) = std::fs::read_dir(state.join("workers")) else { return };
    let is_pid_file = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pid");
    for path in entries.flatten().map(|entry| entry.path()).filter(is_pid_file) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut words = text.split_whitespace();
        if let (Some(Ok(pid)), Some(Ok(ticks))) = (words.next().map(str::parse), words.next().map(str::parse))
            && kill_leftover(pid, ticks)
        {
            tracing::warn!(pid, "A worker had outlived its daemon; it was killed.");
        }
        let _ = std::fs::remove_file(path);
    }
    let _ = std::fs::remove_dir_all(state.join("work").join("exports"));
    // Nothing of a run in there is of use without the process that wrote it.
    for entry in std::fs::read_dir(state.join("work")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("run-") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn open_stores(settings: &Settings) -> Result<(Shared, Releases), Failure> {
    let state = &settings.state;
    let refused = |code: &str, e: &dyn std::fmt::Display| {
        Failure::new(EXIT_TRY_LATER, code, format!("{}: {e}", state.display()))
    };
    let (journal, report) = journal::Journal::open(&state.join("journal"), journal::Options::default())
        .map_err(|e| match &e {
            journal::OpenError::DiskFull { .. } => refused("EX-0013", &e),
            journal::OpenError::Io { .. } => refused("EX-0012", &e),
            journal::OpenError::NewerFormat { .. } => refused("EX-0040", &e),
            journal::OpenError::NotAJournal { .. } => refused("EX-0041", &e),
            journal::OpenError::ForeignOwner { .. } => refused("EX-0042", &e),
            journal::OpenError::ReadOnly { .. } => refused("EX-0043", &e),
            journal::OpenError::Damaged { .. } => refused("EX-0014", &e),
        })?;
    tracing::info!(
        records = report.records,
        head = report.head.position,
        hash = report.head.hash_hex(),
        "Journal opened."
    );
    if let Some(kept) = &report.kept_tail {
        tracing::warn!(
            kept,
            "An unfinished write at the journal's end was cut off; it was never acknowledged."
        );
    }
    journal::failpoint!("daemon.journal-open");
    let (checkpoints, found) = journal::Checkpoints::open(&state.join("checkpoints"), report.head.position);
    tracing::info!(?found, "Checkpoints opened.");
    let checkpoints = Arc::new(checkpoints);
    let checkpointer = Checkpointer::start(Arc::clone(&checkpoints)).map_err(|e| refused("EX-0009", &e))?;
    let artefacts = journal::Artefacts::open(&state.join("artefacts")).map_err(|e| refused("EX-0012", &e))?;
    let releases = Releases::open(state.join("releases")).map_err(|e| refused("EX-0012", &e))?;
    let spawner = Spawner::start().map_err(|e| refused("EX-0009", &e))?;
    let limits = Limits {
        state_dir: state.clone(),
        worker_program: settings.worker_program.clone().unwrap_or_default(),
        spare_workers: settings.spare_workers as usize,
        worker_memory_mib: settings.worker_memory_mib,
        heartbeat: Duration::from_millis(settings.heartbeat_ms),
        check_timeout: Duration::from_secs(settings.deployment_check_seconds),
        deployment_check: settings.deployment_check.clone(),
        example_inputs: settings.example_inputs,
        fault_injection: settings.fault_injection,
        room: RoomLimits {
            pause_below_mib: settings.disk_pause_below_mib,
            resume_from_mib: settings.disk_resume_from_mib,
        },
        housekeeping: settings.retention.policy(),
        scheduling: Arc::new(scheduling(settings)),
    };
    Ok((Shared::new(journal, checkpoints, checkpointer, artefacts, spawner, limits), releases))
}

/// For drills, where `fault_injection` is on: waits between calls to quantum backends are divided by it.
const HURRY: &str = "EXECUTING_DRILL_HURRY";

/// The quantum backends and what the journal knows of them.
fn open_office(settings: &Settings, shared: &Shared) -> Result<Office, Failure> {
    let refused = |e: &dyn std::fmt::Display| Failure::new(EXIT_INVALID, "EX-0486", e);
    let setups = backends::setups(&settings.backends, &settings.state).map_err(|e| refused(&e.0))?;
    let desks = Desks::open(&shared.journal, setups)
        .map_err(|e| Failure::new(EXIT_TRY_LATER, "EX-0014", format!("budgets of quantum backends: {e}")))?;
    let hurry = std::env::var(HURRY).ok().filter(|_| settings.fault_injection);
    let hurry = hurry.and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
    Ok(Office::of(shared, desks, hurry))
}

async fn serve(settings: Settings, shared: Shared, releases: Releases) -> Result<(), Failure> {
    let metrics = telemetry::start_metrics(&settings.state)
        .map_err(|e| Failure::new(EXIT_TRY_LATER, "EX-0012", format!("metrics: {e}")))?;
    let socket = settings.socket.clone().unwrap_or_default();
    // The lock is held, so a socket that is there belongs to nobody; anything else is not ours to remove.
    if std::fs::symlink_metadata(&socket).is_ok_and(|found| found.file_type().is_socket()) {
        let _ = std::fs::remove_file(&socket);
    }
    let listener = tokio::net::UnixListener::bind(&socket)
        .map_err(|e| Failure::new(EXIT_TRY_LATER, "EX-0012", format!("{}: {e}", socket.display())))?;
    let _ = std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o660));
    let office = open_office(&settings, &shared)?;
    journal::failpoint!("daemon.listening");
    let tree = tree::start(
        &shared,
        Arc::new(catalog::catalog()),
        releases.clone(),
        office,
        size(&settings),
        &settings.supervision,
        settings.fault_injection,
    );
    let root = tree.root.clone();
    let service = DaemonService::new(&shared, &tree, releases, settings.clone());
    let mut end = tree.end;
    let granted =
        control::Settings { trust_client_names: settings.trust_client_names, ..control::Settings::default() };
    let serving = tokio::task::spawn_local(control::serve(listener, service, granted));
    let watchdog = tokio::task::spawn_local(systemd::feed_watchdog());
    wait_for_recovery(&shared).await;
    journal::failpoint!("daemon.before-ready");
    systemd::ready("running");
    tracing::info!(socket = %socket.display(), %metrics, "Ready.");
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| Failure::new(1, "EX-0009", e))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Failure::new(1, "EX-0009", e))?;
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        why = shared.given_up() => Err(Failure::new(EXIT_GAVE_UP, "EX-0014", why)),
        exit = &mut end => Err(Failure::new(EXIT_GAVE_UP, "EX-0009", format!("the supervision tree gave up: {exit:?}"))),
        _ = serving => Err(Failure::new(EXIT_GAVE_UP, "EX-0012", "the control socket is gone")),
    };
    tracing::info!(
        "Stopping: nothing new is accepted, workers are ended, runs go on from here at the next start."
    );
    journal::failpoint!("daemon.stopping");
    systemd::stopping();
    watchdog.abort();
    let _ = std::fs::remove_file(&socket);
    root.shutdown().await;
    if outcome.is_ok() {
        let _ = (&mut end).await;
    }
    journal::failpoint!("daemon.tree-stopped");
    shared.checkpointer.close();
    shared.journal.close();
    journal::failpoint!("daemon.closed");
    outcome
}

/// How often recovery is looked at; it takes milliseconds.
const RECOVERY_LOOK: Duration = Duration::from_millis(2);

async fn wait_for_recovery(shared: &Shared) {
    while !shared.board.is_recovered() {
        tokio::time::sleep(RECOVERY_LOOK).await;
    }
}
