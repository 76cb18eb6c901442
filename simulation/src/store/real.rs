//! The `journal` crate on its simulated disk.
//!
//! Rule: one batch at a time and each answer awaited, so that the writer's thread does the same
//! operations in the same order for the same seed.

use super::{Batch, Damaged, End, Fact, Fate, Record, Stream, Weather};
use crate::random::Random;
use journal::sim::{Fault, SimDisk};
use journal::{AppendError, Journal, NewRecord, OpenError, Options};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Small, so that worlds cross from one segment into the next.
const SEGMENT_BYTES: u64 = 16 * 1024;
/// A commit is a write, a sync and a mark; a fault somewhere in it meets a few operations further.
const OPERATIONS_OF_A_COMMIT: u64 = 6;

#[derive(Debug)]
pub struct Real {
    disk: SimDisk,
    journal: Option<Journal>,
    pending: Vec<(Batch, bool)>,
    copy: Option<BTreeMap<String, Vec<u8>>>,
    /// The mark of the last acknowledged head is as it was written: no power was lost since.
    mark_is_whole: bool,
}

fn options(time_ms: u64) -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 512,
        clock: Box::new(move || time_ms),
        ..Options::default()
    }
}

fn name(stream: Stream) -> String {
    match stream {
        Stream::Run(run) => format!("runs/run-{run:06}"),
        Stream::Deployments => "deployments".to_owned(),
        Stream::Job(run, stage, fence) => format!("jobs/{run}/{stage}@{fence}"),
    }
}

fn stream_of(name: &str) -> Option<Stream> {
    if name == "deployments" {
        return Some(Stream::Deployments);
    }
    if let Some(run) = name.strip_prefix("runs/run-") {
        return Some(Stream::Run(run.parse().ok()?));
    }
    let (run, rest) = name.strip_prefix("jobs/")?.split_once('/')?;
    let (stage, fence) = rest.split_once('@')?;
    Some(Stream::Job(run.parse().ok()?, stage.parse().ok()?, fence.parse().ok()?))
}

impl Real {
    pub fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(seed),
            journal: None,
            pending: Vec::new(),
            copy: None,
            mark_is_whole: false,
        }
    }

    pub fn write(&mut self, batches: Vec<Batch>, full: bool) {
        self.pending.extend(batches.into_iter().map(|batch| (batch, full)));
    }

    pub fn sync(&mut self, weather: Weather, random: &mut Random) -> Vec<Fate> {
        if weather != Weather::Fine {
            let fault = if weather == Weather::Stop { Fault::Stop } else { Fault::Error };
            self.disk.plan(self.disk.operations() + random.between(1, OPERATIONS_OF_A_COMMIT), fault);
        }
        let mut fates = Vec::new();
        for (batch, full) in std::mem::take(&mut self.pending) {
            let capacity = full.then(|| self.disk.files().values().map(|file| file.len() as u64).sum());
            self.disk.set_capacity(capacity);
            fates.push(self.append(batch));
        }
        if weather == Weather::Stop {
            // Whatever was answered is known to callers that are dead in the same instant.
            return fates.into_iter().map(|_| Fate::Killed).collect();
        }
        fates
    }

    fn append(&self, batch: Batch) -> Fate {
        let Some(journal) = &self.journal else { return Fate::Killed };
        let new = batch.facts.iter().zip(batch.expected..).map(|(fact, expected)| NewRecord {
            stream: name(batch.stream),
            expected_seq: Some(expected),
            kind: fact.name().to_owned(),
            schema: 1,
            payload: journal::codec::try_encode(fact).unwrap_or_default(),
            principal: "simulation".to_owned(),
            role: "system".to_owned(),
            cause: 0,
        });
        match journal.append_blocking(new.collect(), batch.time_ms, journal.incarnation()) {
            Ok(positions) => match positions.first().map(|first| journal.read(*first, positions.len())) {
                Some(Ok(records)) => Fate::Durable(records.into_iter().filter_map(record).collect()),
                _ => Fate::Poisoned,
            },
            Err(AppendError::Conflict { .. }) => Fate::Conflict,
            Err(AppendError::DiskFull { .. }) => Fate::Full,
            Err(_) => Fate::Poisoned,
        }
    }

    pub fn end(&mut self, end: End, random: &mut Random) {
        self.pending.clear();
        self.mark_is_whole = end == End::Kill;
        if let Some(journal) = self.journal.take() {
            if end == End::PowerLoss || random.percent(50) {
                // Nobody closes a journal whose machine lost power: nothing after this reaches the disk.
                self.disk.plan(self.disk.operations() + 1, Fault::Stop);
            }
            journal.close();
        }
        self.disk = match end {
            End::Kill => self.disk.after_kill(),
            End::PowerLoss => self.disk.power_loss(random.word()),
        };
        self.disk.set_capacity(None);
    }

    pub fn open(&mut self) -> Result<Vec<Record>, Damaged> {
        let (journal, _) =
            Journal::open_on(Arc::new(self.disk.clone()), options(1_000)).map_err(|error| match error {
                OpenError::Damaged { .. } | OpenError::NewerFormat { .. } => Damaged(error.to_string()),
                other => Damaged(format!("does not open: {other}")),
            })?;
        let records = journal.read(1, usize::MAX).map_err(|error| Damaged(error.to_string()))?;
        self.journal = Some(journal);
        let count = records.len();
        let records: Vec<Record> = records.into_iter().filter_map(record).collect();
        if records.len() != count {
            return Err(Damaged("a record does not decode".to_owned()));
        }
        Ok(records)
    }

    pub fn damage(&mut self, random: &mut Random) -> bool {
        let mut files = self.disk.files();
        let segments: Vec<String> =
            files.keys().filter(|name| name.starts_with("segment")).cloned().collect();
        // Without its mark a damaged end looks like one that was never finished.
        if segments.is_empty() || self.journal.is_some() || !self.mark_is_whole {
            return false;
        }
        self.copy = Some(files.clone());
        let chosen = random.pick(&segments);
        let Some(file) = files.get_mut(&chosen) else { return false };
        let used = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if used == 0 {
            return false;
        }
        let at = random.below(used as u64) as usize;
        file[at] ^= 1 << random.below(8);
        self.disk = SimDisk::with_files(files);
        true
    }

    pub fn restore(&mut self) {
        if let Some(files) = self.copy.take() {
            self.disk = SimDisk::with_files(files);
        }
    }
}

fn record(record: journal::Record) -> Option<Record> {
    let chain = u64::from_le_bytes(*record.hash.first_chunk::<8>()?);
    let fact: Fact = journal::codec::decode(&record.payload).ok()?;
    Some(Record {
        position: record.position,
        stream: stream_of(&record.stream)?,
        sequence: record.stream_seq,
        time_ms: record.time_ms,
        fact,
        chain,
    })
}
