//! The judges: they see the records in order, what was said to clients, and what happened outside the
//! daemon, and know nothing of how anything decides.
//!
//! Rule: no code is shared with a machine; every rule is written from what was promised. A broken
//! promise is one sentence. `runs.rs` judges runs and who holds what, `outside.rs` jobs, deployments,
//! effects and the emergency stop.

mod outside;
mod runs;

pub use runs::{Going, RunSeen};

use crate::store::{Fact, Record, Stream};
use engine::run::Event;
use std::collections::{BTreeMap, BTreeSet};

pub type Verdict = Result<(), String>;

/// Fails with words unless it holds.
macro_rules! must {
    ($holds:expr, $($words:tt)+) => {
        if !$holds { return Err(format!($($words)+)); }
    };
}
pub(crate) use must;

/// What the machine offers.
#[derive(Debug, Clone)]
pub struct Room {
    pub cpu_cores: u32,
    pub memory_mib: u64,
    /// Memory of a worker whose stage does not say.
    pub worker_memory_mib: u64,
    pub jobs: u32,
}

#[derive(Debug)]
pub struct Judge {
    pub room: Room,
    /// The journal as far as it was confirmed.
    pub records: Vec<Record>,
    pub runs: BTreeMap<u32, RunSeen>,
    lengths: BTreeMap<Stream, u64>,
    keys: BTreeMap<String, u32>,
    pub outside: outside::Outside,
}

impl Judge {
    pub fn new(room: Room) -> Self {
        Self {
            room,
            records: Vec::new(),
            runs: BTreeMap::new(),
            lengths: BTreeMap::new(),
            keys: BTreeMap::new(),
            outside: outside::Outside::default(),
        }
    }

    /// One more record is durable.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub fn see(&mut self, record: Record) -> Verdict {
        let last = self.records.last().map_or((0, 0), |last| (last.position, last.time_ms));
        must!(record.position == last.0 + 1, "record {} follows {}", record.position, last.0);
        must!(record.time_ms >= last.1, "time goes back from {} to {}", last.1, record.time_ms);
        let length = self.lengths.entry(record.stream).or_insert(0);
        *length += 1;
        must!(record.sequence == *length, "{:?} has a gap at {}", record.stream, record.sequence);
        match (&record.fact, record.stream) {
            (Fact::Run(event), Stream::Run(run)) => self.see_run(run, &record, event)?,
            (Fact::Deployment(event), Stream::Deployments) => {
                self.outside.see_deployment(record.position, event)?;
            }
            (Fact::Job(event), Stream::Job(run, stage, fence)) => {
                self.outside.see_job((run, stage, fence), event)?;
            }
            _ => return Err(format!("a record in a stream that is not its own: {record:?}")),
        }
        self.records.push(record);
        Ok(())
    }

    fn see_run(&mut self, run: u32, record: &Record, event: &Event) -> Verdict {
        if let Event::RunSubmitted { key, .. } = event {
            if let Some(key) = key {
                let other = self.keys.insert(key.clone(), run);
                must!(other.is_none(), "key {key} made run {run} and run {other:?}");
            }
            let seen = RunSeen::new(event, record.time_ms)?;
            must!(self.runs.insert(run, seen).is_none(), "run {run} was submitted twice");
            return Ok(());
        }
        if let Event::StageStarted { .. } = event {
            self.outside.may_start(record.position)?;
        }
        let Some(seen) = self.runs.get_mut(&run) else { return Err(format!("run {run} has no beginning")) };
        seen.see(record.position, record.time_ms, event).map_err(|broken| format!("run {run}: {broken}"))?;
        match event {
            Event::StageStarted { stage, placed_on, .. } => {
                self.fits()
                    .map_err(|broken| format!("run {run} stage {} on {placed_on}: {broken}", stage.0))?;
            }
            // A person asked for it by name.
            Event::RunRetried { .. } | Event::RunReset { .. } => self.outside.may_repeat(run, None),
            Event::CompensationSucceeded { stage } => self.outside.may_repeat(run, Some(stage.0)),
            Event::RunRolledBack | Event::RunCancelled => self.outside.is_undone(run)?,
            _ => {}
        }
        Ok(())
    }

    /// What is in flight by the journal must fit the machine.
    fn fits(&self) -> Verdict {
        let (mut cores, mut memory) = (0, 0);
        let mut places: BTreeMap<&str, u32> = BTreeMap::new();
        for seen in self.runs.values() {
            for (stage, place) in seen.held() {
                let (stage_cores, stage_memory) = seen.demand(stage, &self.room);
                cores += stage_cores;
                memory += stage_memory;
                *places.entry(place).or_default() += 1;
            }
        }
        let Room { cpu_cores, memory_mib, jobs, .. } = self.room;
        must!(cores <= cpu_cores, "{cores} cores are held of {cpu_cores}");
        must!(memory <= memory_mib, "{memory} MiB are held of {memory_mib}");
        for (place, holders) in places {
            let most = match place {
                "" => u32::MAX,
                place if place.starts_with("worker") => 1,
                _ => jobs,
            };
            must!(holders <= most, "two live leases of one slot: {holders} hold {place}");
        }
        Ok(())
    }

    /// The daemon died: nobody holds anything any more.
    pub fn restarted(&mut self) {
        self.runs.values_mut().for_each(RunSeen::lose_places);
        self.outside.restarted();
    }

    /// The first leases of a start: the machine is empty, so what stood first before is among them.
    ///
    /// # Errors
    /// If one that waited or ran before is passed over.
    pub fn first_leases(&self, leases: &BTreeSet<(String, u32)>, now_ms: u64) -> Verdict {
        let waiting = self.runs.iter().flat_map(|(run, seen)| {
            let priority = u64::from(seen.definition.priority);
            seen.waiting().map(move |(stage, asked_ms, old)| {
                let aged = priority + now_ms.saturating_sub(asked_ms) / 60_000;
                let granted = leases.contains(&(format!("run-{run:06}"), stage));
                ((std::cmp::Reverse(aged), asked_ms, *run, stage), old, granted)
            })
        });
        let waiting: Vec<_> = waiting.collect();
        let first = waiting.iter().filter(|(_, old, _)| *old).min();
        let served = waiting.iter().filter(|(.., granted)| *granted).min();
        // What was withdrawn at this moment may still be granted; then nothing can be said.
        if let (Some(first), Some(served)) = (first, served)
            && !self.runs.values().any(RunSeen::has_changed)
            && waiting.iter().filter(|(.., granted)| *granted).count() == leases.len()
        {
            must!(served <= first, "{first:?} is older than all that began first: {leases:?}");
        }
        Ok(())
    }

    /// The work of an attempt or undo was handed to its executor.
    pub fn handed(&mut self, run: u32, stage: u32, fence: u64, now_ms: u64) {
        if let Some(seen) = self.runs.get_mut(&run) {
            seen.handed(stage, fence, now_ms);
        }
    }

    /// Compares what a start found with what was confirmed before.
    ///
    /// # Errors
    /// If anything confirmed is lost or changed.
    pub fn reopened(&mut self, found: Vec<Record>) -> Verdict {
        must!(
            found.len() >= self.records.len(),
            "acknowledged records are lost: {} of {} are there",
            found.len(),
            self.records.len()
        );
        for (known, found) in self.records.iter().zip(&found) {
            let same = known.chain == found.chain
                && known.position == found.position
                && known.stream == found.stream
                && known.fact == found.fact;
            must!(same, "the record at {} was served changed: {:?}", known.position, found.fact);
        }
        let known = self.records.len();
        found.into_iter().skip(known).try_for_each(|record| self.see(record))
    }

    /// A client was told that its run is taken.
    ///
    /// # Errors
    /// If the record was not durable by then.
    pub fn told_submitted(&self, key: &str, run: u32) -> Verdict {
        must!(
            self.keys.get(key) == Some(&run),
            "a client was told of run {run} under {key} before it was durable, or of another: {:?}",
            self.keys.get(key)
        );
        Ok(())
    }

    /// Fence under which an answer of an attempt (or of an undo) would be good now.
    pub fn fence(&self, run: u32, stage: u32, undo: bool) -> Option<u64> {
        self.runs.get(&run)?.fence(stage, undo)
    }
}
