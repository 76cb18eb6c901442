//! A real daemon on a fresh state directory, the real client against it, and bounded waiting.
//!
//! Rule: nothing here sleeps for a fixed time where a condition can be looked at, and every wait ends;
//! what a test started is gone when the test ends, however it ends. Start at [`Daemon::start`].

use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A busy machine may take this long for anything that takes milliseconds on a quiet one.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A whole run, in an unoptimised build, beside other tests.
pub const RUN_PATIENCE: Duration = Duration::from_secs(240);
/// Pause between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The project's own folder; what the tests need lies in it.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn example(path: &str) -> String {
    project().join("examples").join(path).display().to_string()
}

/// Looks until `look` gives something.
pub fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// What a program left.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last line of stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = self.text();
        let last = text.lines().next_back().unwrap_or_default();
        match serde_json::from_str(last) {
            Ok(value) => value,
            Err(error) => panic!("stdout ends with no JSON ({error}): {self:?}"),
        }
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }
}

/// Runs a program to its end, which must come in time.
pub fn run_program(command: &mut Command, patience: Duration) -> Answer {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    fn collect(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            bytes
        })
    }
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "{command:?} did not end within {patience:?}; it said: {}",
                String::from_utf8_lossy(&stderr.join().unwrap())
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Answer {
        code: exit_code(status),
        stdout: stdout.join().unwrap(),
        stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

/// The client, without a daemon.
pub fn client() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_executingctl"));
    command.env("NO_COLOR", "1").env_remove("EXECUTING_SOCKET");
    command
}

/// Settings of a daemon for tests.
pub fn settings() -> Value {
    json!({
        "worker_slots": 2,
        "heartbeat_ms": 1000,
        "fault_injection": true,
        "trust_client_names": true,
        "example_inputs": true,
        "log": "info",
    })
}

/// One daemon and its folder; killed and removed when it goes out of scope.
#[derive(Debug)]
pub struct Daemon {
    /// Holds the settings, the log and what a test writes.
    folder: tempfile::TempDir,
    state: PathBuf,
    child: Option<Child>,
    starts: AtomicU32,
    by_state_alone: bool,
    /// Environment of the next start, for drills.
    pub environment: Vec<(String, String)>,
}

impl Daemon {
    /// A daemon for tests, ready.
    pub fn start() -> Self {
        Self::with(json!({}))
    }

    /// The same with further settings.
    pub fn with(more: Value) -> Self {
        let mut all = settings();
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        Self::begin(None, &all)
    }

    /// A daemon whose state lies in a given directory, such as a small file system.
    pub fn on(state: &Path) -> Self {
        Self::begin(Some(state), &settings())
    }

    /// The same with further settings.
    pub fn on_with(state: &Path, more: Value) -> Self {
        let mut all = settings();
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        Self::begin(Some(state), &all)
    }

    /// Settings for the next start.
    pub fn change_settings(&self, more: Value) {
        let mut all = settings();
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        fs::write(self.folder.path().join("settings.yaml"), all.to_string()).unwrap();
    }

    fn begin(state: Option<&Path>, all: &Value) -> Self {
        let mut daemon = Self::unstarted(state, all);
        daemon.restart();
        daemon
    }

    /// With these settings, not started yet.
    pub fn unstarted(state: Option<&Path>, all: &Value) -> Self {
        let mut daemon = Self::prepare(false);
        if let Some(state) = state {
            daemon.state = state.to_owned();
        }
        // A JSON text is a YAML text.
        fs::write(daemon.folder.path().join("settings.yaml"), all.to_string()).unwrap();
        daemon
    }

    /// As on a laptop: `--state DIR` and nothing else.
    pub fn laptop() -> Self {
        let mut daemon = Self::prepare(true);
        daemon.restart();
        daemon
    }

    fn prepare(by_state_alone: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("ex-it-").tempdir().unwrap();
        let state = folder.path().join("state");
        Self {
            folder,
            state,
            child: None,
            starts: AtomicU32::new(0),
            by_state_alone,
            environment: Vec::new(),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    pub fn socket(&self) -> PathBuf {
        self.state().join("control.sock")
    }

    /// Writes a file of a test and gives its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The command that starts this daemon.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_executingd"));
        if !self.by_state_alone {
            command.arg("--settings").arg(self.folder.path().join("settings.yaml"));
        }
        command.arg("--state").arg(self.state()).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Starts the daemon (again) and waits until it says that it is well.
    pub fn restart(&mut self) {
        self.launch();
        let begun = Instant::now();
        loop {
            if self.socket().exists() {
                let answer = self.ctl(&["health"]);
                if answer.code == 0 && answer.json()["healthy"] == json!(true) {
                    return;
                }
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended with {ended:?}: {}", self.log());
            assert!(begun.elapsed() < PATIENCE, "the daemon does not become healthy: {}", self.log());
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Starts the daemon (again) and waits for nothing.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let log = File::create(self.folder.path().join(format!("log-{start}"))).unwrap();
        let child = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    /// What the daemon has logged since its last start.
    pub fn log(&self) -> String {
        let start = self.starts.load(Ordering::Relaxed).saturating_sub(1);
        fs::read_to_string(self.folder.path().join(format!("log-{start}"))).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// SIGKILL, at once; says how it ended, which may have been before.
    pub fn kill9(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap()
    }

    /// SIGTERM, and waits for the orderly end.
    pub fn terminate(&mut self) -> i32 {
        signal(self.pid(), nix::sys::signal::Signal::SIGTERM);
        let mut child = self.child.take().unwrap();
        let status = wait_for("the daemon ends after SIGTERM", PATIENCE, || child.try_wait().unwrap());
        exit_code(status)
    }

    /// The client with `-o json`.
    pub fn ctl(&self, args: &[&str]) -> Answer {
        self.ctl_within(args, PATIENCE)
    }

    pub fn ctl_within(&self, args: &[&str], patience: Duration) -> Answer {
        let mut command = client();
        command.arg("--socket").arg(self.socket()).args(["-o", "json"]).args(args);
        // Relative paths of `--set` begin in the folder of the test.
        command.current_dir(self.folder.path());
        run_program(&mut command, patience)
    }

    /// Submits and gives the run's id.
    #[track_caller]
    pub fn submit(&self, args: &[&str]) -> String {
        let answer = self.ctl(&[&["submit"], args].concat()).expect(0).json();
        answer["run"].as_str().unwrap().to_owned()
    }

    /// Submits and waits until it has succeeded.
    #[track_caller]
    pub fn succeed(&self, args: &[&str]) -> String {
        let run = self.submit(args);
        let shown = self.end_of(&run);
        assert_eq!(shown["phase"], "succeeded", "{shown:#}\n{}", self.log());
        run
    }

    pub fn show(&self, run: &str) -> Value {
        self.ctl(&["show", run]).expect(0).json()
    }

    /// Waits until the run has ended and shows it.
    #[track_caller]
    pub fn end_of(&self, run: &str) -> Value {
        wait_for(&format!("{run} ends"), RUN_PATIENCE, || {
            let shown = self.show(run);
            let phase = shown["phase"].as_str().unwrap();
            let ended = ["succeeded", "rolled-back", "failed", "cancelled"].contains(&phase);
            if !ended {
                std::thread::sleep(Duration::from_millis(20));
            }
            ended.then_some(shown)
        })
    }

    /// Waits until a stage is in that phase.
    #[track_caller]
    pub fn stage_reaches(&self, run: &str, stage: &str, phase: &str) {
        wait_for(&format!("stage {stage} of {run} is {phase}"), RUN_PATIENCE, || {
            let shown = self.show(run);
            (stage_of(&shown, stage)["phase"] == phase).then_some(())
        });
    }

    pub fn events(&self, run: &str) -> Vec<Value> {
        let text = self.ctl(&["events", run]).expect(0).text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    pub fn artefact_bytes(&self, run: &str, name: &str) -> Vec<u8> {
        self.ctl(&["result", run, "--artifact", name]).expect(0).stdout
    }

    #[track_caller]
    pub fn artefact(&self, run: &str, name: &str) -> Value {
        serde_json::from_slice(&self.artefact_bytes(run, name)).unwrap()
    }

    #[track_caller]
    pub fn expect_healthy(&self) {
        let health = self.ctl(&["health"]).expect(0).json();
        assert_eq!(health["healthy"], json!(true), "{health:#}");
    }

    #[track_caller]
    pub fn expect_journal_whole(&self) {
        let report = self.ctl(&["journal", "verify"]).expect(0).json();
        assert_eq!(report["ok"], json!(true), "{report:#}");
    }

    /// Process ids of the daemon's living workers that have a task; a spare has not gone to its
    /// attempt's directory yet.
    pub fn workers(&self) -> Vec<u32> {
        let (daemon, home) = (self.pid(), self.state.canonicalize().ok());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // `pid (name) state ppid ..`; the name may hold anything.
            let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
            let mut fields = rest.split(' ');
            let (state, parent) = (fields.next(), fields.next());
            let is_worker = head.ends_with("(executing-worke");
            let waits = fs::read_link(entry.path().join("cwd")).is_ok_and(|dir| Some(dir) == home);
            if is_worker && !waits && state != Some("Z") && parent == Some(daemon.to_string().as_str()) {
                found.push(pid);
            }
        }
        found
    }

    /// Waits for a worker process while `stage` runs.
    #[track_caller]
    pub fn worker_of(&self, run: &str, stage: &str) -> u32 {
        self.stage_reaches(run, stage, "running");
        wait_for("a worker process", PATIENCE, || self.workers().first().copied())
    }

    /// Waits until the worker of a stage has told of progress: it reads no more, it computes.
    pub fn is_computing(&self, run: &str, stage: &str) {
        wait_for("progress of the stage", RUN_PATIENCE, || {
            let top = self.ctl(&["top", "--count", "1"]).expect(0).json();
            let runs = top["runs"].as_array()?.iter();
            let mut running =
                runs.filter(|r| r["run"] == run).flat_map(|r| r["running"].as_array()).flatten();
            running.any(|s| s["stage"] == stage && s["done"].as_f64() > Some(0.0)).then_some(())
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the daemon's last words:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// The programme's files and invented costs: six designs, so that stages are short.
pub fn small_problem() -> Vec<String> {
    let set = |name: &str, file: &str| format!("{name}={}", example(file));
    let all = [
        set("candidates", "ampel360/programme/candidates.yaml"),
        set("constraints", "ampel360/programme/hard_constraints.yaml"),
        set("costs", "ampel360/costs.yaml"),
        set("scenarios", "ampel360/scenarios.yaml"),
    ];
    all.into_iter().flat_map(|pair| ["--set".to_owned(), pair]).collect()
}

/// `full-optimization` on the small problem, with further arguments.
pub fn small_run<'a>(files: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["full-optimization"];
    args.extend(files.iter().map(String::as_str));
    args.extend(more);
    args
}

/// Whether a process is there and not merely waiting to be buried.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// A stage in what `show` says.
#[track_caller]
pub fn stage_of<'v>(shown: &'v Value, stage: &str) -> &'v Value {
    let stages = shown["stages"].as_array().unwrap();
    let found = stages.iter().find(|s| s["name"] == stage);
    found.unwrap_or_else(|| panic!("no stage {stage} in {shown:#}"))
}

/// Events of a stage in order, as (event, attempt).
pub fn of_stage(events: &[Value], stage: &str) -> Vec<(String, u64)> {
    let of_it = events.iter().filter(|event| event["stage"] == stage);
    of_it
        .map(|event| (event["event"].as_str().unwrap().to_owned(), event["attempt"].as_u64().unwrap_or(0)))
        .collect()
}

/// Every `StageStarted` that comes after a `StageSucceeded` of the same stage.
pub fn started_again(events: &[Value]) -> Vec<String> {
    let mut finished = std::collections::BTreeSet::new();
    let mut again = Vec::new();
    for event in events {
        let stage = event["stage"].as_str().unwrap_or_default();
        match event["event"].as_str() {
            Some("StageSucceeded") => {
                finished.insert(stage.to_owned());
            }
            Some("StageStarted") if finished.contains(stage) => again.push(stage.to_owned()),
            _ => {}
        }
    }
    again
}

/// A small file system of its own; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    pub fn mount(kib: u64) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let size = format!("size={kib}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk.0.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(disk),
            _ => None,
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room there is.
    pub fn fill(&self) {
        let mut file = File::create(self.0.path().join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    }

    /// Takes so much room.
    pub fn take(&self, mib: usize) {
        let mut file = File::create(self.0.path().join("filler")).unwrap();
        (0..mib).for_each(|_| file.write_all(&[7; 1024 * 1024]).unwrap());
    }

    /// Allows no more writing.
    pub fn make_read_only(&self) {
        let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).output().unwrap();
        assert!(remounted.status.success(), "{remounted:?}");
    }

    /// Gives the room back.
    pub fn clear(&self) {
        fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}
