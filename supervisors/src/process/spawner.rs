//! The thread that spawns all processes.
//!
//! One thread that never ends, because PR_SET_PDEATHSIG fires when the *thread* that spawned ends:
//! a process spawned from a pool's thread dies when the pool retires the thread. And spawning blocks
//! for milliseconds, which the actors' thread cannot spare.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;

use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::handle::Process;
use super::identity::{signal_group_unchecked, start_time_of};

/// What to run. The environment is exactly `env`, the three standard streams are pipes, and the
/// process leads a group of its own.
#[derive(Debug, Clone, Default)]
pub struct SpawnRequest {
    /// Path of the program; it is not searched for.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts; `None`: where we are.
    pub current_dir: Option<PathBuf>,
}

/// Why a process was not spawned.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program or its directory is missing; look at the settings.
    #[error("cannot run {}: the program or its directory {} is missing", .program.display(), .dir.display())]
    Missing {
        /// The program asked for.
        program: PathBuf,
        /// The directory asked for (`.`: the current one).
        dir: PathBuf,
    },
    /// The program is not executable for this user.
    #[error("cannot run {}: {source}; make it executable for this user", .program.display())]
    Forbidden {
        /// The program asked for.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Processes, memory or file descriptors are exhausted, or the system said something unusual;
    /// trying later may help.
    #[error("cannot run {} at the moment: {source}", .program.display())]
    System {
        /// The program asked for.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The spawning thread is gone; only a restart of the daemon helps.
    #[error("the thread that spawns processes is gone; restart the daemon")]
    SpawnerGone,
}

struct Job {
    request: SpawnRequest,
    runtime: Handle,
    reply: oneshot::Sender<Result<Process, SpawnError>>,
}

/// Spawns processes; clones share the thread. The thread lives as long as the program.
#[derive(Debug, Clone)]
pub struct Spawner {
    jobs: mpsc::Sender<Job>,
}

impl Spawner {
    /// Starts the thread. One spawner is enough for a program.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start() -> io::Result<Spawner> {
        let (jobs, queue) = mpsc::channel::<Job>();
        // The thread keeps a sender of its own and so never sees the end of its queue: if it ended
        // with the last clone, it would take the processes along.
        let keep = jobs.clone();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _keep = keep;
            for Job { request, runtime, reply } in queue {
                let _inside = runtime.enter();
                // Err: the asker has gone; dropping the process kills it.
                let _ = reply.send(spawn_here(request));
            }
        })?;
        Ok(Spawner { jobs })
    }

    /// Spawns a process. If the returned future is dropped, so is the process.
    ///
    /// # Errors
    /// See [`SpawnError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Process, SpawnError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { request, runtime: Handle::current(), reply };
        self.jobs.send(job).map_err(|_| SpawnError::SpawnerGone)?;
        answer.await.map_err(|_| SpawnError::SpawnerGone)?
    }
}

fn spawn_here(request: SpawnRequest) -> Result<Process, SpawnError> {
    let SpawnRequest { program, args, env, current_dir } = request;
    let mut command = Command::new(&program);
    command
        .args(args)
        .env_clear()
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(dir) = &current_dir {
        command.current_dir(dir);
    }
    let child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SpawnError::Missing {
            program: program.clone(),
            dir: current_dir.unwrap_or_else(|| PathBuf::from(".")),
        },
        io::ErrorKind::PermissionDenied => SpawnError::Forbidden { program: program.clone(), source },
        _ => SpawnError::System { program: program.clone(), source },
    })?;
    // Nobody has waited for it yet, so it has a pid and an entry in /proc even if it has ended.
    let identity = child.id().and_then(|pid| Some((pid, start_time_of(pid)?)));
    match identity {
        Some((pid, start_time_ticks)) => Ok(Process::new(child, pid, start_time_ticks)),
        None => {
            if let Some(pid) = child.id() {
                signal_group_unchecked(pid, nix::sys::signal::Signal::SIGKILL);
            }
            let source = io::Error::other("its start time cannot be read; is /proc mounted?");
            Err(SpawnError::System { program, source })
        }
    }
}
