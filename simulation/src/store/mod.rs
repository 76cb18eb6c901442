//! The store of the simulated daemon: what a record is, and the two stores behind one front.
//!
//! `memory.rs` is a small journal with frames, chain, page cache and disk, for most seeds; `real.rs` is
//! the `journal` crate on its simulated disk. Rule: only what a sync confirmed is answered as durable.

mod memory;
mod real;

pub use memory::Memory;
pub use real::Real;

use crate::random::Random;
use engine::deployment;
use engine::run::Event;
use quantum::backends::JobEvent;
use serde::{Deserialize, Serialize};

/// Whose history a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    Run(u32),
    Deployments,
    /// Run, stage, and fence of the attempt that bought the job.
    Job(u32, u32, u64),
}

/// What became true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    Run(Event),
    Deployment(deployment::Event),
    Job(JobEvent),
}

impl Fact {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Run(event) => event.name(),
            Self::Deployment(event) => event.name(),
            Self::Job(event) => match event {
                JobEvent::Reserved => "JobReserved",
                JobEvent::Submitting { .. } => "JobSubmitting",
                JobEvent::Submitted { .. } => "JobSubmitted",
                JobEvent::Queued => "JobQueued",
                JobEvent::Running => "JobRunning",
                JobEvent::Fetching => "JobFetching",
                JobEvent::Verified => "JobVerified",
                JobEvent::Done => "JobDone",
                JobEvent::Failed { .. } => "JobFailed",
                JobEvent::Cancelled => "JobCancelled",
                JobEvent::Lost => "JobLost",
                JobEvent::NotSubmitted => "JobNotSubmitted",
                // Orders along a chain of backends; the jobs of this simulation are the worker's own.
                JobEvent::Wanted(_) => "JobWanted",
                JobEvent::Held { .. } => "JobHeld",
                JobEvent::Kept { .. } => "JobKept",
                JobEvent::Settled { .. } => "JobSettled",
                JobEvent::Again { .. } => "JobAgain",
                JobEvent::FellBack { .. } => "JobFellBack",
                JobEvent::CancelWanted { .. } => "JobCancelWanted",
                JobEvent::Recalled { .. } => "JobRecalled",
                JobEvent::Told(_) => "JobTold",
            },
        }
    }
}

/// To be appended, all or nothing; refused if its stream has not `expected` records.
#[derive(Debug, Clone)]
pub struct Batch {
    pub stream: Stream,
    pub expected: u64,
    pub facts: Vec<Fact>,
    pub time_ms: u64,
}

/// As the store holds it.
#[derive(Debug, Clone)]
pub struct Record {
    pub position: u64,
    pub stream: Stream,
    pub sequence: u64,
    pub time_ms: u64,
    pub fact: Fact,
    /// The chain's number up to the batch that this record came in.
    pub chain: u64,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub enum Fate {
    Durable(Vec<Record>),
    /// Its stream is elsewhere; nothing was written.
    Conflict,
    /// No space; nothing was written.
    Full,
    /// Nobody knows; the daemon must restart.
    Poisoned,
    /// The program was killed in the middle of it.
    Killed,
}

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What was written is in the page cache.
    Kill,
    /// Of what was not synced, any part is on disk.
    PowerLoss,
}

/// What a disk does to the next sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fine,
    Error,
    /// Power or program end in the middle of the commit.
    Stop,
}

/// Faults put into the store itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreFaults {
    pub believes_a_failed_sync: bool,
    pub skips_checksums: bool,
    pub keeps_a_torn_tail: bool,
    pub swallows_a_full_disk: bool,
}

/// Why a store does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged(pub String);

/// Either store.
#[derive(Debug)]
pub enum Store {
    Memory(Box<Memory>),
    Real(Box<Real>),
}

impl Store {
    /// Puts batches into the page cache, in order.
    pub fn write(&mut self, batches: Vec<Batch>, full: bool) {
        match self {
            Self::Memory(store) => store.write(batches, full),
            Self::Real(store) => store.write(batches, full),
        }
    }

    /// Makes durable what was written and says what became of each batch.
    pub fn sync(&mut self, weather: Weather, random: &mut Random) -> Vec<Fate> {
        match self {
            Self::Memory(store) => store.sync(weather, random),
            Self::Real(store) => store.sync(weather, random),
        }
    }

    /// The daemon ends in this way.
    pub fn end(&mut self, end: End, random: &mut Random) {
        match self {
            Self::Memory(store) => store.end(end, random),
            Self::Real(store) => store.end(end, random),
        }
    }

    /// What the next start finds.
    ///
    /// # Errors
    /// [`Damaged`] if what is read back is not what was written.
    pub fn open(&mut self) -> Result<Vec<Record>, Damaged> {
        match self {
            Self::Memory(store) => store.open(),
            Self::Real(store) => store.open(),
        }
    }

    /// Flips one bit of what is durable.
    pub fn damage(&mut self, random: &mut Random) -> bool {
        match self {
            Self::Memory(store) => store.damage(random),
            Self::Real(store) => store.damage(random),
        }
    }

    /// Puts back the copy from before the damage, as an operator would.
    pub fn restore(&mut self) {
        match self {
            Self::Memory(store) => store.restore(),
            Self::Real(store) => store.restore(),
        }
    }
}
