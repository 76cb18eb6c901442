//! The Aer service as a child process: started when first needed, and again after it has died.
//!
//! Rule: it never outlives this process. Its standard input is a pipe whose other end is held here; when that
//! closes, however this process ends, the service dies of the signal. Start at [`Service::socket`].

use super::provision;
use super::{Options, ServiceError};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The service's program, as it is shipped.
const PROGRAM: &str = include_str!("../../../../services/aer/aer_service.py");
/// Importing Qiskit takes 2 s on a quiet machine with a warm cache.
const START_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for another call that looks at the service at the same time.
const LOCK_WAIT: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const WORDS_BYTES: usize = 2_000;

/// Kills the process with all its children and waits for its end.
pub(super) fn kill_group(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // The group is the child's own, so nobody else is hit; it may have ended already.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.wait();
}

/// A running service. Dropping it kills it.
#[derive(Debug)]
struct Running {
    child: Child,
    words: Arc<Mutex<Vec<u8>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// The service, running or not.
#[derive(Debug)]
pub struct Service {
    options: Options,
    running: Mutex<Option<Running>>,
    starts: std::sync::atomic::AtomicU64,
}

impl Service {
    pub(super) fn new(options: Options) -> Self {
        Self { options, running: Mutex::new(None), starts: std::sync::atomic::AtomicU64::new(0) }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// How often it was started.
    pub fn starts(&self) -> u64 {
        self.starts.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.as_mut()?;
        matches!(running.child.try_wait(), Ok(None)).then(|| running.child.id())
    }

    /// Ends it; the next call starts it again.
    pub fn stop(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Path of the socket of the running service; makes the environment and starts it if need be.
    pub(super) fn socket(&self) -> Result<PathBuf, ServiceError> {
        let until = Instant::now() + LOCK_WAIT;
        let mut running = loop {
            match self.running.try_lock() {
                Ok(running) => break running,
                // Another call looks, which takes microseconds, or starts it just now, which may take as long as
                // an installation.
                Err(std::sync::TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(std::sync::TryLockError::WouldBlock) => return Err(ServiceError::Starting),
                Err(std::sync::TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
            }
        };
        let socket = self.options.run_dir.join("aer.sock");
        if let Some(service) = running.as_mut() {
            match service.child.try_wait() {
                Ok(None) => return Ok(socket),
                _ => *running = None,
            }
        }
        *running = Some(self.start(&socket)?);
        self.starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(socket)
    }

    fn start(&self, socket: &PathBuf) -> Result<Running, ServiceError> {
        let options = &self.options;
        let python =
            provision::provide(provision::AER, &options.python, &options.cache, options.provision_seconds)?;
        let failed = |why: String| ServiceError::NotStarted { why };
        let run_dir = &options.run_dir;
        std::fs::create_dir_all(run_dir).map_err(|e| failed(format!("{}: {e}", run_dir.display())))?;
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(run_dir, closed)
            .map_err(|e| failed(format!("{}: {e}", run_dir.display())))?;
        let program = run_dir.join("aer_service.py");
        std::fs::write(&program, PROGRAM).map_err(|e| failed(format!("{}: {e}", program.display())))?;
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error.to_string()));
            }
            _ => {}
        }
        let mut command = Command::new(python);
        command.arg(&program).arg("--socket").arg(socket);
        command.arg("--qubits-max").arg(options.qubits_max.to_string());
        command.arg("--shots-max").arg(options.shots_max.to_string());
        if let Some(noise) = &options.noise {
            let words = serde_json::to_string(noise).map_err(|e| failed(e.to_string()))?;
            command.arg("--noise").arg(words);
        }
        // Nothing of this process is its business; HOME keeps matplotlib and friends from complaining.
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", run_dir)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if options.threads > 0 {
            command.env("OMP_NUM_THREADS", options.threads.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
        let words = Arc::new(Mutex::new(Vec::new()));
        if let Some(pipe) = child.stderr.take() {
            keep_words(pipe, Arc::clone(&words));
        }
        let mut running = Running { child, words };
        let until = Instant::now() + START_WAIT;
        loop {
            if UnixStream::connect(socket).is_ok() {
                return Ok(running);
            }
            let ended = running.child.try_wait().map_err(|e| failed(e.to_string()))?;
            if let Some(status) = ended {
                return Err(failed(format!("{status}; {}", running.last_words())));
            }
            if Instant::now() > until {
                let waited = START_WAIT.as_secs();
                return Err(failed(format!("no answer within {waited} s; {}", running.last_words())));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Running {
    fn last_words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&words).trim().to_owned()
    }
}

fn keep_words(mut pipe: impl Read + Send + 'static, words: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read) = pipe.read(&mut buffer) {
            if read == 0 {
                return;
            }
            let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
            words.extend_from_slice(&buffer[..read]);
            let over = words.len().saturating_sub(WORDS_BYTES);
            words.drain(..over);
        }
    });
}
