//! Typed settings of the daemon: every field with unit, default and limit.
//!
//! Read from a YAML file (`--settings`), or all defaults for a state directory alone (`--state`). The
//! programme's `orchestrator-config.yaml` is accepted as it is: [`foreign`] maps what it can and lists
//! what is not honoured. Absent: what only one workflow needs (that belongs into the workflow).

mod amounts;
pub mod backends;
mod foreign;
mod retries;
pub mod roles;
pub mod scheduling;
mod supervision;

pub use scheduling::Scheduling;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
pub use supervision::Supervision;

/// Everything a daemon can be told at start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Directory of journal, checkpoints, artefacts, releases, work. Made if absent.
    pub state: PathBuf,
    /// Control socket, relative to where the daemon is started; default `control.sock` in `state`.
    pub socket: Option<PathBuf>,
    /// The worker program; default beside the daemon's own.
    pub worker_program: Option<PathBuf>,
    /// CPU cores that stages may hold together; 0 means all of the machine.
    pub cpu_cores: u32,
    /// Memory in MiB that stages may hold together; 0 means three quarters of the machine.
    pub memory_mib: u64,
    /// Worker processes at once; 0 means one per core.
    pub worker_slots: u32,
    /// Idle worker processes kept ready, so that a stage begins without waiting for a new one; 0 for none.
    pub spare_workers: u32,
    /// Memory of a worker in MiB when its stage does not say.
    pub worker_memory_mib: u64,
    /// Workers say that they live this often, in ms; silence for twice as long means hung.
    pub heartbeat_ms: u64,
    /// Jobs that the simulator takes at once.
    pub simulator_jobs: u32,
    /// Check program run in every release: `[program, argument, ..]`; empty for digests only.
    pub deployment_check: Vec<String>,
    /// Longest wait for the check program, in seconds.
    pub deployment_check_seconds: u64,
    /// Whether clients may say who they are (`--as`). Right for one person's laptop, where the socket
    /// is theirs alone; off elsewhere.
    pub trust_client_names: bool,
    /// Whether a submission without inputs runs the embedded example.
    pub example_inputs: bool,
    /// Whether `inject` works. For drills.
    pub fault_injection: bool,
    /// Which ended runs are kept, and how often is tidied up.
    pub retention: Retention,
    /// Free MiB below which nothing new is taken and no stage is placed; by default 256, or a twentieth of
    /// the file system if that is less. 0: never.
    pub disk_pause_below_mib: Option<u64>,
    /// Free MiB from which on work resumes; by default twice the former.
    pub disk_resume_from_mib: Option<u64>,
    /// Strategy, intensity and period of the groups of the supervision tree: `executing`, `workers`,
    /// `backends`, `runs`.
    pub supervision: Supervision,
    /// Whether `cpu_cores` may be more than the machine has: for stages that mostly wait.
    pub cpu_overcommit: bool,
    /// Users (`name`) and groups (`@name`) to roles: viewer, operator, approver, admin.
    pub roles: roles::Roles,
    /// Quantum backends beside the simulator, by name.
    pub backends: backends::Backends,
    /// Quotas, weights, budgets, reservations, leases, queue.
    pub scheduling: Scheduling,
    /// How failed attempts are repeated, by stage kind; a workflow's own `retry` wins.
    pub retries: retries::Retries,
    /// Codes and kinds of errors to the class that they count as: transient, permanent, ambiguous.
    pub error_classes: retries::Classes,
    /// Seconds between two looks at journal, queues and rates, 1 to 3,600. Free space on disk is looked at once
    /// a second whatever is said here.
    pub health_check_seconds: u64,
    /// What stages that do not say it have; only an accepted foreign file states any.
    #[serde(skip)]
    pub defaults: engine::definition::Defaults,
    /// Log filter as in `RUST_LOG`.
    pub log: String,
    /// Keys of an accepted foreign file that this version does not honour.
    #[serde(skip)]
    pub not_honoured: Vec<String>,
}

/// What is kept, and for how long. Pinned runs and those of the active release and of the one to go back to
/// are kept whatever is said here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Days since its end after which a run is forgotten; parts of a day are allowed.
    pub finished_runs_days: f64,
    /// Ended runs that are kept at most.
    pub finished_runs_max: u64,
    /// Seconds between two rounds of tidying up.
    pub every_seconds: u64,
    /// Seconds that an artefact must have been without a name before it is removed. Must be longer than
    /// anything between an upload and its submission.
    pub artefact_grace_seconds: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            finished_runs_days: 90.0,
            finished_runs_max: 10_000,
            every_seconds: 600,
            artefact_grace_seconds: journal::COLLECT_GRACE.as_secs(),
        }
    }
}

/// A century: longer means that somebody wrote something else than days.
const DAYS_MAX: f64 = 36_500.0;
/// Their summaries are kept in memory, some 200 bytes each.
const FINISHED_RUNS_MAX: u64 = 10_000_000;
const SECONDS_MAX: u64 = 7 * 86_400;

impl Retention {
    fn check(&self) -> Result<(), SettingsError> {
        let wrong = |key: &str, expected: String, got: String| {
            Err(SettingsError(format!("retention.{key}: expected {expected}, got {got}")))
        };
        let days = self.finished_runs_days;
        if !(days > 0.0 && days <= DAYS_MAX) {
            return wrong("finished_runs_days", format!("more than 0, at most {DAYS_MAX}"), days.to_string());
        }
        if !(1..=FINISHED_RUNS_MAX).contains(&self.finished_runs_max) {
            let got = self.finished_runs_max.to_string();
            return wrong("finished_runs_max", format!("1 to {FINISHED_RUNS_MAX}"), got);
        }
        for (key, value) in
            [("every_seconds", self.every_seconds), ("artefact_grace_seconds", self.artefact_grace_seconds)]
        {
            if !(1..=SECONDS_MAX).contains(&value) {
                return wrong(key, format!("1 to {SECONDS_MAX}"), value.to_string());
            }
        }
        Ok(())
    }

    /// As the housekeeper takes it.
    pub fn policy(&self) -> actors::housekeeper::Policy {
        let limits = engine::retention::Limits {
            age_ms_max: (self.finished_runs_days * 86_400_000.0) as u64,
            runs_max: usize::try_from(self.finished_runs_max).unwrap_or(usize::MAX),
        };
        actors::housekeeper::Policy {
            limits,
            every: std::time::Duration::from_secs(self.every_seconds),
            grace: std::time::Duration::from_secs(self.artefact_grace_seconds),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state: PathBuf::new(),
            socket: None,
            worker_program: None,
            cpu_cores: 0,
            memory_mib: 0,
            worker_slots: 0,
            spare_workers: 1,
            worker_memory_mib: 1_024,
            heartbeat_ms: 1_000,
            simulator_jobs: 2,
            deployment_check: Vec::new(),
            deployment_check_seconds: 60,
            trust_client_names: false,
            example_inputs: false,
            fault_injection: false,
            retention: Retention::default(),
            disk_pause_below_mib: None,
            disk_resume_from_mib: None,
            supervision: Supervision::default(),
            cpu_overcommit: false,
            roles: roles::Roles::default(),
            backends: backends::Backends::new(),
            scheduling: Scheduling::default(),
            retries: retries::Retries::default(),
            error_classes: retries::Classes::default(),
            health_check_seconds: 1,
            defaults: engine::definition::Defaults::default(),
            log: "info".to_owned(),
            not_honoured: Vec::new(),
        }
    }
}

/// Whoever looks less than once an hour does not look.
const HEALTH_CHECK_SECONDS_MAX: u64 = 3_600;
/// Heartbeats more often than this cost more than they tell.
const HEARTBEAT_MS_MIN: u64 = 50;
/// Slots are actors and processes; a machine with more cores than this is not known to us.
const SLOTS_MAX: u32 = 1_024;
/// More idle workers than this are memory for nothing: stages do not begin that close together.
const SPARE_WORKERS_MAX: u32 = 16;
/// The worker program alone, with HiGHS, needs about this much.
const WORKER_MEMORY_MIB_MIN: u64 = 64;
/// Slower heartbeats leave a hung worker unnoticed for minutes.
const HEARTBEAT_MS_MAX: u64 = 60_000;

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error[EX-0022]: {0}")]
pub struct SettingsError(pub String);

impl Settings {
    /// Settings for `--state DIR` alone: a laptop of one person.
    pub fn laptop(state: PathBuf) -> Self {
        Self { state, trust_client_names: true, example_inputs: true, ..Self::default() }
    }

    /// Reads settings, or the programme's orchestrator configuration.
    ///
    /// # Errors
    /// What was expected, what came, and where.
    pub fn read(text: &str, file: &str) -> Result<Self, SettingsError> {
        if foreign::is_foreign(text) {
            return foreign::read(text, file);
        }
        serde_saphyr::from_str::<Self>(text).map_err(|error| SettingsError(format!("{file}: {error}")))
    }

    /// Fills in what the machine decides, and checks the rest.
    ///
    /// # Errors
    /// Every value out of its range, named with range and unit.
    pub fn settle(mut self) -> Result<Self, SettingsError> {
        let wrong = |text: String| Err(SettingsError(text));
        if self.state.as_os_str().is_empty() {
            return wrong(
                "expected a state directory: --state DIR, or `state: DIR` in the settings".to_owned(),
            );
        }
        if !(HEARTBEAT_MS_MIN..=HEARTBEAT_MS_MAX).contains(&self.heartbeat_ms) {
            return wrong(format!(
                "heartbeat_ms: expected {HEARTBEAT_MS_MIN} to {HEARTBEAT_MS_MAX}, got {}",
                self.heartbeat_ms
            ));
        }
        if self.simulator_jobs == 0 || self.simulator_jobs > SLOTS_MAX || self.worker_slots > SLOTS_MAX {
            return wrong(format!(
                "expected simulator_jobs 1 to {SLOTS_MAX} and worker_slots 0 to {SLOTS_MAX}, got {} and {}",
                self.simulator_jobs, self.worker_slots
            ));
        }
        self.retention.check()?;
        if let (Some(pause), Some(resume)) = (self.disk_pause_below_mib, self.disk_resume_from_mib)
            && resume < pause
        {
            return wrong(format!(
                "disk_resume_from_mib: expected at least disk_pause_below_mib ({pause}), got {resume}"
            ));
        }
        if self.spare_workers > SPARE_WORKERS_MAX {
            return wrong(format!(
                "spare_workers: expected 0 to {SPARE_WORKERS_MAX}, got {}",
                self.spare_workers
            ));
        }
        if self.worker_memory_mib < WORKER_MEMORY_MIB_MIN {
            return wrong(format!(
                "worker_memory_mib: expected at least {WORKER_MEMORY_MIB_MIN}, got {}",
                self.worker_memory_mib
            ));
        }
        let mut faults = self.supervision.faults();
        faults.extend(backends::faults(&self.backends));
        faults.extend(self.scheduling.faults());
        faults.extend(self.retries.faults());
        faults.extend(self.error_classes.faults());
        if !(1..=HEALTH_CHECK_SECONDS_MAX).contains(&self.health_check_seconds) {
            faults.push(format!(
                "health_check_seconds: expected 1 to {HEALTH_CHECK_SECONDS_MAX}, got {}",
                self.health_check_seconds
            ));
        }
        if !faults.is_empty() {
            return wrong(faults.join("\nerror[EX-0022]: "));
        }
        self.defaults.retries = self.retries.by_kind();
        self.defaults.error_classes = self.error_classes.by_code();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        self.roles.check()?;
        if self.cpu_cores > SLOTS_MAX {
            self.cpu_cores = SLOTS_MAX;
        }
        if self.cpu_cores == 0 || (self.cpu_cores > cores && !self.cpu_overcommit) {
            self.cpu_cores = cores;
        }
        let memory = machine_memory_mib();
        if self.memory_mib == 0 || self.memory_mib > memory {
            self.memory_mib = memory / 4 * 3;
        }
        if self.worker_slots == 0 {
            self.worker_slots = self.cpu_cores;
        }
        self.spare_workers = self.spare_workers.min(self.worker_slots);
        if self.worker_memory_mib > self.memory_mib {
            self.worker_memory_mib = self.memory_mib;
        }
        if self.worker_program.is_none() {
            let own = std::env::current_exe()
                .map_err(|e| SettingsError(format!("the daemon's own path is not known: {e}")))?;
            self.worker_program = Some(own.with_file_name("executing-worker"));
        }
        if let Some(program) = &self.worker_program
            && !program.is_file()
        {
            return wrong(format!("worker_program: {} is not there", program.display()));
        }
        Ok(self)
    }
}

/// All memory of the machine in MiB; a guess of 1 GiB where /proc does not say.
fn machine_memory_mib() -> u64 {
    std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            text.lines().find_map(|line| {
                line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
            })
        })
        .map_or(1_024, |kib| kib / 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = Settings::read("state: x\nworker_slotz: 3\n", "s.yaml").unwrap_err();
        assert!(error.0.contains("worker_slotz") && error.0.contains('2'), "{error}");
    }

    #[test]
    fn retention_outside_its_range_is_refused_with_the_range() {
        for (text, expected) in [
            ("retention: {finished_runs_days: 0}", "more than 0"),
            ("retention: {finished_runs_days: .nan}", "more than 0"),
            ("retention: {finished_runs_max: 0}", "1 to 10000000"),
            ("retention: {every_seconds: 0}", "1 to 604800"),
            ("disk_pause_below_mib: 9\ndisk_resume_from_mib: 8", "at least disk_pause_below_mib (9)"),
        ] {
            let settings = Settings::read(&format!("state: x\n{text}\n"), "s.yaml").unwrap();
            let error = settings.settle().unwrap_err();
            assert!(error.0.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_heartbeat_outside_its_range_is_refused_with_the_range() {
        let settings = Settings { heartbeat_ms: 1, state: "x".into(), ..Settings::default() };
        assert!(settings.settle().unwrap_err().0.contains("50 to 60000"));
    }
}
