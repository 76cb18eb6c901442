//! What every actor may use: the journal, the stores, the clock, the board, the limits of the daemon.
//!
//! Rule: handles only, no state of its own but the fatal flag; all of it is safe to clone and to share.

use crate::board::Board;
use crate::checkpointer::{Checkpointer, Ended};
use crate::clock::Clock;
use crate::retention::Books;
use crate::room::{Room, RoomLimits};
use engine::run::Run;
use journal::{AppendError, Appended, ArtefactError, Artefacts, Checkpoints, Digest, Journal, NewRecord};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use supervisors::process::{SpawnRequest, Spawner, WarmPool, WarmSettings};
use tokio::sync::watch;

/// Waiting between two tries when the journal's queue is full. The writer drains it in milliseconds.
const BUSY_WAIT: Duration = Duration::from_millis(5);
/// Tries against a full queue: five seconds, many times any fsync seen on a healthy disk.
const BUSY_TRIES: u32 = 1_000;
/// Waiting between two tries on a full disk; somebody has to make room first.
const FULL_WAIT: Duration = Duration::from_secs(1);
/// Less free than this is not worth another try: a stage's outputs are rarely smaller.
const ROOM_BYTES: u64 = 1024 * 1024;

/// Where things lie and how much is allowed. Set once at start from the settings.
#[derive(Debug, Clone)]
pub struct Limits {
    pub state_dir: PathBuf,
    pub worker_program: PathBuf,
    /// Idle worker processes kept ready for the next stages.
    pub spare_workers: usize,
    /// Memory of one worker process when its stage does not say.
    pub worker_memory_mib: u64,
    /// Silence after which a worker counts as hung is twice this.
    pub heartbeat: Duration,
    /// Wait for a deployment's check program.
    pub check_timeout: Duration,
    /// Check program run in every staged release, empty for none beyond the digests.
    pub deployment_check: Vec<String>,
    /// The built-in example may stand in for missing inputs (a laptop started with `--state` alone).
    pub example_inputs: bool,
    /// Drills may make actors panic.
    pub fault_injection: bool,
    pub room: RoomLimits,
    pub housekeeping: crate::housekeeper::Policy,
    /// Who may have how much, and what stages that do not say it have.
    pub scheduling: Arc<crate::admission::Scheduling>,
}

/// Handles shared by all actors.
#[derive(Clone)]
pub struct Shared {
    pub journal: Journal,
    pub checkpoints: Arc<Checkpoints>,
    pub checkpointer: Checkpointer,
    pub artefacts: Arc<Artefacts>,
    pub clock: Clock,
    pub board: Board,
    pub spawner: Spawner,
    /// Worker processes that wait for a task; `tree` runs their keeper.
    pub spares: WarmPool,
    pub limits: Arc<Limits>,
    pub books: Books,
    pub roll_call: crate::roll_call::RollCall,
    /// One attempt of a stage at a time.
    pub at_work: crate::at_work::AtWork,
    /// Orders for attempts that are at work.
    pub steering: crate::steering::Steering,
    pub room: Room,
    fatal: watch::Sender<Option<String>>,
    latencies: Arc<Mutex<VecDeque<Duration>>>,
}

/// Appends whose time is remembered for `top`.
const LATENCIES_KEPT: usize = 256;

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Shared {
    pub fn new(
        journal: Journal,
        checkpoints: Arc<Checkpoints>,
        checkpointer: Checkpointer,
        artefacts: Artefacts,
        spawner: Spawner,
        limits: Limits,
    ) -> Self {
        let clock = Clock::start(journal.last_time_ms());
        let books = Books::read(&journal);
        let room = Room::new(&limits.state_dir, limits.room);
        let board = Board::default();
        // Before the first stage can be placed.
        room.look(&board);
        let spares = WarmPool::new(
            spawner.clone(),
            SpawnRequest {
                program: limits.worker_program.clone(),
                args: vec!["task".into(), "--parent".into(), std::process::id().to_string().into()],
                // A worker needs nothing of the daemon's environment, secrets least of all.
                env: Vec::new(),
                // The task names the attempt's directory, and the worker goes there.
                current_dir: Some(limits.state_dir.clone()),
            },
            WarmSettings {
                spares: limits.spare_workers,
                pid_dir: Some(limits.state_dir.join("workers")),
                ..WarmSettings::default()
            },
        );
        Self {
            books,
            roll_call: crate::roll_call::RollCall::default(),
            at_work: crate::at_work::AtWork::default(),
            steering: crate::steering::Steering::default(),
            room,
            journal,
            checkpoints,
            checkpointer,
            artefacts: Arc::new(artefacts),
            clock,
            board,
            spawner,
            spares,
            limits: Arc::new(limits),
            fatal: watch::Sender::new(None),
            latencies: Arc::default(),
        }
    }

    /// Appends durably; waits out a full queue (bounded) and a full disk (for as long as it lasts).
    ///
    /// # Errors
    /// What waiting cannot mend. A poisoned or superseded writer also ends the daemon, since only a
    /// restart through recovery can tell what the disk really holds.
    pub async fn append(&self, batch: Vec<NewRecord>) -> Result<Vec<u64>, AppendError> {
        self.append_timed(batch).await.map(|appended| appended.positions)
    }

    /// As [`Self::append`], and tells the time that the records carry: what replay will see.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn append_timed(&self, batch: Vec<NewRecord>) -> Result<Appended, AppendError> {
        let (mut tries, begun) = (0, Instant::now());
        loop {
            let answer = self
                .journal
                .append_timed(batch.clone(), self.clock.now_ms(), self.journal.incarnation())
                .await;
            match answer {
                Ok(appended) => {
                    self.board.set_disk_full("journal", None);
                    self.note_latency(begun.elapsed());
                    return Ok(appended);
                }
                Err(AppendError::Busy) if tries < BUSY_TRIES => {
                    tries += 1;
                    tokio::time::sleep(BUSY_WAIT).await;
                }
                Err(error @ AppendError::DiskFull { .. }) => {
                    if self.board.set_disk_full("journal", Some(error.to_string())) {
                        tracing::error!(%error, "The disk is full: runs wait until there is room again.");
                    }
                    tokio::time::sleep(FULL_WAIT).await;
                }
                Err(error) => {
                    if matches!(error, AppendError::Poisoned { .. } | AppendError::StaleWriter { .. }) {
                        self.give_up(format!("the journal can no longer be written: {error}"));
                    }
                    return Err(error);
                }
            }
        }
    }

    fn note_latency(&self, latency: Duration) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.push_back(latency);
        if latencies.len() > LATENCIES_KEPT {
            latencies.pop_front();
        }
    }

    /// Median and maximum, in ms, of what the newest appends took until they were durable.
    pub fn append_latency(&self) -> Option<(f64, f64)> {
        let mut newest: Vec<Duration> =
            self.latencies.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        newest.sort_unstable();
        let ms = |latency: &Duration| (latency.as_secs_f64() * 1e5).round() / 1e2;
        Some((ms(newest.get(newest.len() / 2)?), ms(newest.last()?)))
    }

    /// As [`Self::append`], for what must be recorded even on a full disk (an emergency stop): the space that
    /// the journal reserves is used before waiting for more.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn append_urgent(&self, batch: Vec<NewRecord>) -> Result<Vec<u64>, AppendError> {
        let now = self.clock.now_ms();
        match self.journal.append_urgent(batch.clone(), now, self.journal.incarnation()).await {
            Ok(positions) => Ok(positions),
            // It waits, or ends the daemon, as for any other batch.
            Err(_) => self.append(batch).await,
        }
    }

    /// Stores an artefact; waits out a full disk for as long as it lasts, charging nobody for it.
    ///
    /// # Errors
    /// What waiting cannot mend.
    pub async fn store<F>(&self, store: F) -> Result<Digest, ArtefactError>
    where
        F: Fn(&Artefacts) -> Result<Digest, ArtefactError> + Send + Sync + 'static,
    {
        let store = Arc::new(store);
        loop {
            let (artefacts, store) = (Arc::clone(&self.artefacts), Arc::clone(&store));
            let stored = tokio::task::spawn_blocking(move || store(&artefacts)).await;
            match stored {
                Ok(Err(error @ ArtefactError::DiskFull)) => {
                    self.wait_for_room("artefacts", error.to_string()).await
                }
                Ok(other) => {
                    self.board.set_disk_full("artefacts", None);
                    return other;
                }
                Err(panicked) => {
                    return Err(ArtefactError::Io {
                        doing: "store",
                        path: self.limits.state_dir.display().to_string(),
                        source: std::io::Error::other(panicked),
                    });
                }
            }
        }
    }

    /// Says that there is no room, then rests until there is a little.
    pub async fn wait_for_room(&self, place: &'static str, why: String) {
        if self.board.set_disk_full(place, Some(why.clone())) {
            tracing::error!(place, why, "The disk is full: runs wait until there is room again.");
        }
        loop {
            tokio::time::sleep(FULL_WAIT).await;
            if self.journal.status().disk_free_bytes >= ROOM_BYTES {
                return;
            }
        }
    }

    /// Declares or clears an emergency stop. While one is in force no idle worker process waits either.
    pub fn set_emergency(&self, reason: Option<String>) {
        match &reason {
            Some(_) => self.spares.freeze(),
            None => self.spares.thaw(),
        }
        self.board.set_emergency(reason);
    }

    /// Ends the daemon in order; it recovers from the journal when it is started again.
    pub fn give_up(&self, why: String) {
        tracing::error!(why, "The daemon gives up; start it again to recover.");
        self.fatal.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(why);
            first
        });
    }

    /// Resolves with the reason when the daemon must end.
    pub async fn given_up(&self) -> String {
        let mut fatal = self.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the daemon's parts are gone".to_owned(),
        }
    }

    /// Stores a run's state so that recovery need not replay its whole history.
    pub fn checkpoint_run(&self, run: &Run, sequence: u64, position: u64) {
        let bytes = match journal::codec::try_encode(&(CHECKPOINT_SCHEMA, sequence, run)) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(run = run.id(), %error, "A run's checkpoint does not encode; its journal will be replayed.");
                return;
            }
        };
        // sled may block on the disk; the journal already holds the truth, so nobody waits for this.
        self.checkpointer.put(checkpoint_key(run.id()), position, bytes);
    }

    /// Remembers how a run ended, so that the next start need not replay it.
    pub fn checkpoint_end(&self, run: &Run, sequence: u64, position: u64) {
        let content = |key: &str| {
            let definition = engine::definition::canonical_json(run.definition());
            let digest = crate::orchestrator::content_digest(&definition, run.inputs(), run.seed());
            (key.to_owned(), digest)
        };
        let ended = Ended {
            run: run.id().to_owned(),
            workflow: run.workflow().to_owned(),
            phase: run.phase_name().to_owned(),
            submitted_ms: run.submitted_ms(),
            ended_ms: run.applied().1,
            sequence,
            key: run.key().map(content),
            by: run.submitted_by().to_owned(),
        };
        self.checkpointer.put_ended(ended, position);
    }

    /// The newest readable checkpoint of a run that the journal confirms.
    pub fn checkpoint_of(&self, run: &str) -> Option<(u64, Run)> {
        let (position, bytes) = self.checkpoints.get(&checkpoint_key(run))?;
        if position > self.journal.head().position {
            return None;
        }
        let (schema, sequence, run) = journal::codec::decode::<(u64, u64, Run)>(&bytes).ok()?;
        (schema == CHECKPOINT_SCHEMA).then_some((sequence, run))
    }
}

/// Stands first in a checkpoint of a run. Before there was one, the number of a record stood there, and no
/// stream has so many; what does not begin with it is not read, and the run is replayed.
const CHECKPOINT_SCHEMA: u64 = u64::MAX - 2;

pub(crate) fn checkpoint_key(run: &str) -> String {
    format!("run/{run}")
}
