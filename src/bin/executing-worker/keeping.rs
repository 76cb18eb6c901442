//! Checkpoints of a search by hand, in a file.
//!
//! Rule: the file always holds one whole checkpoint: the next one is written beside it, made durable and
//! renamed over it, so that a kill at any moment leaves the old or the new one.

use crate::answer::Failure;
use crate::input;
use crate::progress::Watch;
use solvers::enumeration::{Checkpoint, Flow, Observer, Progress};
use solvers::programs::{CountCheckpoint, Resume};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Share of the time that writing checkpoints may take: a large list is written more rarely.
const WRITING_SHARE: u32 = 10;

/// Watches a search and keeps its checkpoints.
#[derive(Debug)]
pub struct Keeping {
    pub watch: Watch,
    pub path: Option<PathBuf>,
    every: Duration,
    due: Instant,
    error: Option<String>,
}

/// Reads a checkpoint of a program's count back.
pub fn read_count(path: &Path) -> Result<Resume, Failure> {
    Resume::from_bytes(&input::bytes(path)?)
        .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))
}

/// Reads a checkpoint back.
pub fn read(path: &Path) -> Result<Checkpoint, Failure> {
    Checkpoint::from_bytes(&input::bytes(path)?)
        .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))
}

impl Keeping {
    pub fn new(watch: Watch, path: Option<PathBuf>, seconds: f64) -> Self {
        let every = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let due = Instant::now().checked_add(every).unwrap_or_else(Instant::now);
        Keeping { watch, path, every, due, error: None }
    }

    /// Takes the progress away and tells why a checkpoint could not be written.
    pub fn done(&mut self) -> Result<(), Failure> {
        self.watch.done();
        match self.error.take() {
            Some(error) => Err(Failure::Failed(error)),
            None => Ok(()),
        }
    }
}

impl Keeping {
    fn keep(&mut self, bytes: &[u8]) {
        let Some(path) = &self.path else { return };
        let started = Instant::now();
        if let Err(error) = replace(path, bytes) {
            self.error = Some(format!("the checkpoint {} cannot be written: {error}", path.display()));
        }
        // Asked for one after every unit, it gets them, whatever they cost.
        let rest = if self.every.is_zero() { Duration::ZERO } else { started.elapsed() * WRITING_SHARE };
        self.due = Instant::now().checked_add(self.every.max(rest)).unwrap_or_else(Instant::now);
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".next");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)
}

impl Observer for Keeping {
    fn progress(&mut self, progress: &Progress) -> Flow {
        if self.error.is_some() { Flow::Stop } else { self.watch.progress(progress) }
    }

    fn wants_checkpoint(&mut self) -> bool {
        self.path.is_some() && Instant::now() >= self.due
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.keep(&checkpoint.to_bytes());
    }

    fn count_checkpoint(&mut self, checkpoint: CountCheckpoint) {
        self.keep(&checkpoint.to_bytes());
    }
}
