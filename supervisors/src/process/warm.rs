//! Processes that were spawned before they are needed.
//!
//! Spawning takes 16 to 26 ms and a program's own start more; a spare has both behind it and waits on
//! its pipe. [`WarmPool::take`] never waits: it gives a spare or says that there is none.
//! The one rule: a spare is handed out only if it lives, is young enough, was spawned from the file
//! that now lies at the program's path, and the pool is not frozen. Start at [`WarmPool::keep`].

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::handle::Process;
use super::spawner::{SpawnError, SpawnRequest, Spawner};
use crate::child::{ChildSpec, StopSignal};
use crate::decision::Backoff;
use crate::{Exit, task_child};

/// Spares of one pool. Each is an idle process of some megabytes; more than cores are never taken at
/// one moment.
pub const SPARES_MAX: usize = 64;

/// A pool looks this often whether a spare is too old or its program was replaced. A take looks too.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A spare that lived so long was sound; when it dies the waits begin from the first again.
const SOUND_AFTER: Duration = Duration::from_secs(10);

/// How many spares, and for how long.
#[derive(Debug, Clone)]
pub struct WarmSettings {
    /// Spares kept ready; 0 turns the pool off, more than [`SPARES_MAX`] are not kept.
    pub spares: usize,
    /// A spare older than this is renewed.
    pub age_max: Duration,
    /// Waits between two spawns while they fail or the spares die.
    pub backoff: Backoff,
    /// Where `spare-PID.pid` files are written (`PID START_TIME_TICKS`, as for any process that must
    /// be found after a crash of this program). A file is there as long as its process, taken or not.
    pub pid_dir: Option<PathBuf>,
}

impl Default for WarmSettings {
    /// One spare, an hour old at most, 100 ms to 30 s between failures, no pid files.
    fn default() -> Self {
        WarmSettings {
            spares: 1,
            age_max: Duration::from_secs(3_600),
            backoff: Backoff {
                first: Duration::from_millis(100),
                factor: 2,
                max: Duration::from_secs(30),
                jitter: 0.0,
            },
            pid_dir: None,
        }
    }
}

/// What a pool has done so far, and what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WarmStatus {
    /// Spares that wait.
    pub ready: usize,
    /// Whether the pool is frozen.
    pub frozen: bool,
    /// Spares spawned.
    pub spawned: u64,
    /// Spares handed out.
    pub taken: u64,
    /// Asked for when there was none.
    pub missed: u64,
    /// Spares that ended by themselves.
    pub died: u64,
    /// Spares killed because of their age or a new program.
    pub renewed: u64,
    /// Why the last spawn failed, until one succeeds.
    pub last_error: Option<String>,
}

/// Which file a program was started from. A replaced program has another inode or time, however
/// it was replaced; reading the whole file for a digest at each take would cost what the pool saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProgramStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl ProgramStamp {
    fn of(program: &Path) -> Option<Self> {
        let found = std::fs::metadata(program).ok()?;
        Some(ProgramStamp {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Removed with its process.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    fn write(dir: &Path, process: &Process) -> Option<Self> {
        let path = dir.join(format!("spare-{}.pid", process.pid));
        match std::fs::write(&path, format!("{} {}\n", process.pid, process.start_time_ticks)) {
            Ok(()) => Some(PidFile(path)),
            Err(error) => {
                warn!(path = %path.display(), %error, "A spare's process id could not be noted.");
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Err: somebody tidied up.
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Spare {
    process: Process,
    stamp: ProgramStamp,
    born: Instant,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Spare>,
    frozen: bool,
    /// Spawns that failed and spares that died in a row.
    failures: u32,
    next_spawn: Option<Instant>,
    status: WarmStatus,
}

struct Inner {
    spawner: Spawner,
    request: SpawnRequest,
    settings: WarmSettings,
    state: Mutex<State>,
    changed: Notify,
}

/// A pool of spare processes of one [`SpawnRequest`]. Clones are the same pool; it is empty until
/// [`Self::keep`] runs, and its spares die with its last clone.
#[derive(Clone)]
pub struct WarmPool(Arc<Inner>);

impl WarmPool {
    /// An empty pool. Nothing is spawned yet.
    #[must_use]
    pub fn new(spawner: Spawner, request: SpawnRequest, settings: WarmSettings) -> Self {
        WarmPool(Arc::new(Inner {
            spawner,
            request,
            settings,
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// A spare, if there is a sound one. Never waits; costs one look at the program's file.
    #[must_use]
    pub fn take(&self) -> Option<Process> {
        let now = Instant::now();
        let stamp = ProgramStamp::of(&self.0.request.program);
        let mut state = self.state();
        let mut refused = Vec::new();
        let mut found = None;
        while !state.frozen
            && found.is_none()
            && let Some(mut spare) = state.ready.pop_front()
        {
            if has_ended(&mut spare.process) {
                self.note_death(&mut state, &spare, now);
                refused.push(spare);
            } else if stamp != Some(spare.stamp) || self.is_old(&spare, now) {
                state.status.renewed += 1;
                refused.push(spare);
            } else {
                found = Some(spare.process);
            }
        }
        if found.is_some() {
            state.status.taken += 1;
            state.failures = 0;
        } else {
            state.status.missed += 1;
        }
        drop(state);
        // Killed here, outside of the lock.
        drop(refused);
        self.0.changed.notify_one();
        found
    }

    /// A spare, or else a process spawned now.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub async fn take_or_spawn(&self) -> Result<Process, SpawnError> {
        match self.take() {
            Some(process) => Ok(process),
            None => self.spawn().await,
        }
    }

    /// The same process, spawned now; also while the pool is frozen.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub async fn spawn(&self) -> Result<Process, SpawnError> {
        self.0.spawner.spawn(self.0.request.clone()).await
    }

    /// Kills all spares now and keeps none until [`Self::thaw`]. Processes already taken are not its.
    pub fn freeze(&self) {
        let spares = {
            let mut state = self.state();
            state.frozen = true;
            std::mem::take(&mut state.ready)
        };
        if !spares.is_empty() {
            warn!(spares = spares.len(), "Spare processes are killed; none is kept until the thaw.");
        }
        drop(spares);
        self.0.changed.notify_one();
    }

    /// Keeps spares again.
    pub fn thaw(&self) {
        {
            let mut state = self.state();
            state.frozen = false;
            state.failures = 0;
            state.next_spawn = None;
        }
        self.0.changed.notify_one();
    }

    /// What it holds and has done.
    #[must_use]
    pub fn status(&self) -> WarmStatus {
        let state = self.state();
        WarmStatus { ready: state.ready.len(), frozen: state.frozen, ..state.status.clone() }
    }

    /// Keeps the pool full until `stop`; then kills the spares. One keeper at a time.
    pub async fn keep(&self, mut stop: StopSignal) {
        loop {
            // Before the look, so that a change during the look is not missed.
            let changed = self.0.changed.notified();
            let next_look = self.tidy();
            if self.may_spawn() {
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = self.add_one() => {}
                }
                continue;
            }
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = changed => {}
                () = self.a_death() => {}
                () = sleep_until(next_look) => {}
            }
        }
        let spares = std::mem::take(&mut self.state().ready);
        drop(spares);
    }

    /// Throws out what is dead, old or of another program. Gives the time of the next look.
    fn tidy(&self) -> Instant {
        let now = Instant::now();
        let stamp = ProgramStamp::of(&self.0.request.program);
        let mut state = self.state();
        let mut refused = Vec::new();
        for mut spare in std::mem::take(&mut state.ready) {
            if has_ended(&mut spare.process) {
                self.note_death(&mut state, &spare, now);
            } else if stamp != Some(spare.stamp) || self.is_old(&spare, now) {
                info!(pid = spare.process.pid, "A spare process is renewed.");
                state.status.renewed += 1;
            } else {
                state.ready.push_back(spare);
                continue;
            }
            refused.push(spare);
        }
        let oldest = state.ready.front().map(|spare| spare.born + self.0.settings.age_max);
        let retry = state.next_spawn.filter(|_| !state.frozen && self.lacks(&state));
        drop(state);
        drop(refused);
        [oldest, retry].into_iter().flatten().fold(now + LOOK_EVERY, Instant::min)
    }

    fn lacks(&self, state: &State) -> bool {
        state.ready.len() < self.0.settings.spares.min(SPARES_MAX)
    }

    fn may_spawn(&self) -> bool {
        let state = self.state();
        !state.frozen && self.lacks(&state) && state.next_spawn.is_none_or(|at| at <= Instant::now())
    }

    async fn add_one(&self) {
        let before = ProgramStamp::of(&self.0.request.program);
        let spawned = self.0.spawner.spawn(self.0.request.clone()).await;
        let pid_dir = self.0.settings.pid_dir.clone();
        let spawned = match (spawned, pid_dir) {
            (Ok(process), Some(dir)) => {
                // A disk may block. If this is dropped half-way, so is the process, with its file.
                let noted = tokio::task::spawn_blocking(move || {
                    let mut process = process;
                    process.exit.pid_file = PidFile::write(&dir, &process);
                    process
                });
                noted.await.map_err(|_| SpawnError::SpawnerGone)
            }
            (spawned, _) => spawned,
        };
        let after = ProgramStamp::of(&self.0.request.program);
        let mut state = self.state();
        match spawned {
            Ok(process) => {
                state.status.spawned += 1;
                state.status.last_error = None;
                state.next_spawn = None;
                match after {
                    // Frozen meanwhile, or it is not sure which program this is: dropped, thus killed.
                    Some(stamp) if before == after && !state.frozen => {
                        state.ready.push_back(Spare { process, stamp, born: Instant::now() });
                    }
                    _ => drop(process),
                }
            }
            Err(error) => {
                let text = error.to_string();
                warn!(error = text, "A spare process could not be spawned.");
                state.status.last_error = Some(text);
                self.rest(&mut state);
            }
        }
    }

    /// Resolves when some spare has ended, or some was taken while it waited.
    async fn a_death(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            let ended = state.ready.iter_mut().any(|spare| spare.process.exit.poll_unpin(cx).is_ready());
            if ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn note_death(&self, state: &mut State, spare: &Spare, now: Instant) {
        warn!(pid = spare.process.pid, "A spare process ended by itself.");
        state.status.died += 1;
        if now.saturating_duration_since(spare.born) >= SOUND_AFTER {
            state.failures = 0;
        }
        self.rest(state);
    }

    /// One more failure: the next spawn waits.
    fn rest(&self, state: &mut State) {
        state.failures = state.failures.saturating_add(1);
        state.next_spawn = Some(Instant::now() + self.0.settings.backoff.delay(state.failures, 0.5));
    }

    fn is_old(&self, spare: &Spare, now: Instant) -> bool {
        now.saturating_duration_since(spare.born) >= self.0.settings.age_max
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look, that leaves no waker behind.
fn has_ended(process: &mut Process) -> bool {
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    Pin::new(&mut process.exit).poll(&mut cx).is_ready()
}

/// The keeper of a pool as a permanent child. When it is stopped, the spares are killed.
#[must_use]
pub fn warm_pool_child(id: impl Into<String>, pool: &WarmPool) -> ChildSpec {
    let pool = pool.clone();
    task_child(id, move |stop| {
        let pool = pool.clone();
        async move {
            pool.keep(stop).await;
            Exit::Shutdown
        }
        .boxed_local()
    })
}

impl fmt::Debug for WarmPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmPool").field("status", &self.status()).finish_non_exhaustive()
    }
}
