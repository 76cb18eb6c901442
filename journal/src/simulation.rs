//! Drives the writer step by step on a faulty disk and checks it against a model that shares nothing with it.
//!
//! The checker knows only what callers know: which batches were acknowledged with which positions, which
//! were refused, and which got no answer. `SEEDS=100000 cargo test -p journal --release simulation` runs
//! more seeds; a failure names its seed.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::compaction::{By, CompactError, Compaction, Keep, compact};
use crate::journal::{AppendError, Appended, Journal, Options, ReadError};
use crate::queue::{Append, Request};
use crate::record::{NewRecord, Position};
use crate::sim::{Fault, Random, SimDisk};
use crate::writer::Writer;
use crate::{OpenError, verify_on};

pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 4096,
        reserve_bytes: 512,
        record_bytes_max: 64 * 1024,
        queue_max: 16,
        clock: Box::new(|| 1_000),
        ..Options::default()
    }
}

pub(crate) fn record(stream: u64, label: &str, bytes: usize) -> NewRecord {
    let mut payload = label.as_bytes().to_vec();
    payload.resize(bytes.max(payload.len()), b'.');
    NewRecord {
        stream: format!("run/{stream}"),
        expected_seq: None,
        kind: "Happened".into(),
        schema: 1,
        payload,
        principal: "p".into(),
        role: "r".into(),
        cause: 0,
    }
}

pub(crate) struct Turn {
    pub journal: Journal,
    pub writer: Writer,
}

type Waiting = oneshot::Receiver<Result<Appended, AppendError>>;

impl Turn {
    pub fn open(disk: &SimDisk) -> Result<Turn, OpenError> {
        let (journal, writer, _) = Journal::assemble(Arc::new(disk.clone()), options())?;
        Ok(Turn { journal, writer })
    }

    fn enqueue(&self, batch: Vec<NewRecord>, time_ms: u64) -> Waiting {
        let (reply, waiting) = oneshot::channel();
        let incarnation = self.journal.incarnation();
        let append = Append { batch, time_ms, incarnation, urgent: false, reply };
        assert!(self.writer.shared.queue.push(Request::Append(append)).is_ok());
        waiting
    }

    pub fn append(&mut self, batch: Vec<NewRecord>) -> Result<Vec<Position>, AppendError> {
        let mut waiting = self.enqueue(batch, 0);
        self.writer.step();
        waiting.try_recv().expect("every batch is answered").map(|appended| appended.positions)
    }

    pub fn append_as(
        &mut self,
        batch: Vec<NewRecord>,
        incarnation: u64,
    ) -> Result<Vec<Position>, AppendError> {
        let (reply, mut waiting) = oneshot::channel();
        let append = Append { batch, time_ms: 0, incarnation, urgent: false, reply };
        assert!(self.writer.shared.queue.push(Request::Append(append)).is_ok());
        self.writer.step();
        let answer = waiting.try_recv().expect("every batch is answered");
        answer.map(|appended| appended.positions)
    }

    pub fn compact(&mut self, dropped: &[u64]) -> Result<Compaction, CompactError> {
        let Turn { journal, writer } = self;
        let (shared, disk) = journal.parts();
        let keep = |stream: &str| {
            if dropped.iter().any(|number| format!("run/{number}") == stream) {
                Keep::Drop
            } else {
                Keep::All
            }
        };
        let by = By { principal: "p", role: "r", time_ms: 0 };
        compact(shared, disk, keep, by, &mut || writer.step())
    }

    fn recover(&mut self) -> Result<(), String> {
        let (reply, mut waiting) = oneshot::channel();
        assert!(self.writer.shared.queue.push(Request::Recover(reply)).is_ok());
        self.writer.step();
        waiting.try_recv().expect("recovery is answered").map(|_| ()).map_err(|error| error.to_string())
    }
}

/// What a caller knows about a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    Acknowledged(Position),
    Unknown,
    Refused,
}

/// Batches in the order in which they were sent.
#[derive(Default)]
struct Model {
    batches: Vec<(Vec<NewRecord>, Known)>,
}

impl Model {
    /// Compares the journal with what callers know.
    fn check(&mut self, journal: &Journal, case: &str) {
        let records = journal.read(1, usize::MAX).unwrap_or_else(|error| panic!("{case}: {error}"));
        let mut next = 0usize;
        for (number, (batch, known)) in self.batches.iter_mut().enumerate() {
            let here = records.len() >= next + batch.len()
                && batch
                    .iter()
                    .zip(&records[next..])
                    .all(|(sent, found)| sent.payload == found.payload && sent.stream == found.stream);
            match *known {
                Known::Acknowledged(first) => {
                    assert!(here, "{case}: acknowledged batch {number} is lost or changed");
                    assert_eq!(first, next as u64 + 1, "{case}: batch {number} moved");
                    next += batch.len();
                }
                Known::Refused => assert!(!here, "{case}: refused batch {number} is there"),
                Known::Unknown if here => {
                    // Now it has been seen, so it must stay.
                    *known = Known::Acknowledged(next as u64 + 1);
                    next += batch.len();
                }
                Known::Unknown => *known = Known::Refused,
            }
        }
        assert_eq!(records.len(), next, "{case}: records that nobody sent, or part of a batch");
        let mut lengths = std::collections::BTreeMap::new();
        for (record, position) in records.iter().zip(1..) {
            assert_eq!(record.position, position, "{case}");
            let length = lengths.entry(record.stream.clone()).or_insert(0);
            *length += 1;
            assert_eq!(record.stream_seq, *length, "{case}");
        }
        for (stream, length) in lengths {
            assert_eq!(journal.stream_len(&stream), length, "{case}");
            let read = journal.read_stream(&stream, 1, usize::MAX).expect("a stream reads");
            assert_eq!(read.len() as u64, length, "{case}");
        }
    }
}

pub(crate) fn seeds(usual: u64) -> u64 {
    std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// One life: open, send groups of batches until the power goes, note what callers were told.
fn live(disk: &SimDisk, random: &mut Random, model: &mut Model, label: &str) {
    disk.plan(disk.operations() + 1 + random.below(60), Fault::Stop);
    let Ok(mut turn) = Turn::open(disk) else { return };
    for group in 0..12 {
        let mut waiting = Vec::new();
        for number in 0..=random.below(4) {
            let count = 1 + random.below(3);
            let batch: Vec<_> = (0..count)
                .map(|part| {
                    let bytes = if random.below(12) == 0 { 3000 } else { random.below(200) as usize };
                    record(random.below(5), &format!("{label}-{group}-{number}-{part}"), bytes)
                })
                .collect();
            model.batches.push((batch.clone(), Known::Unknown));
            waiting.push((model.batches.len() - 1, turn.enqueue(batch, random.below(5_000))));
        }
        turn.writer.step();
        for (number, mut answer) in waiting {
            match answer.try_recv().expect("every batch is answered") {
                Ok(positions) => {
                    model.batches[number].1 = Known::Acknowledged(positions.positions[0]);
                    let found = turn.journal.stream_len(&model.batches[number].0[0].stream);
                    assert!(found > 0, "{label}: acknowledged but not in the index");
                }
                Err(AppendError::Poisoned { .. }) => {}
                Err(error) => panic!("{label}: {error}"),
            }
        }
    }
}

#[test]
fn no_power_loss_takes_an_acknowledged_record() {
    let (torn, lost) = power_losses(seeds(3_000));
    // The simulation itself must be worth something.
    assert!(torn > 100 && lost > 1000, "too tame: {torn} torn tails, {lost} lives with unanswered batches");
}

/// Lives that end in power losses and kills; gives how many tails were torn and batches unanswered.
pub(crate) fn power_losses(seeds: u64) -> (usize, usize) {
    let (mut torn, mut lost) = (0, 0);
    for seed in 0..seeds {
        let mut random = Random(seed);
        let mut disk = SimDisk::new(seed);
        let mut model = Model::default();
        for life in 0..4 {
            live(&disk, &mut random, &mut model, &format!("seed{seed}-life{life}"));
            // A kill keeps the page cache, a power loss does not.
            disk = if random.below(4) == 0 { disk.after_kill() } else { disk.power_loss(random.next()) };
            let case = format!("seed {seed}, life {life}");
            let before = verify_on(&disk).unwrap();
            assert!(before.ok, "{case}: {:?}", before.problems);
            torn += usize::from(before.tail.is_some());
            let turn = Turn::open(&disk).unwrap_or_else(|error| panic!("{case}: {error}"));
            let unknown = model.batches.iter().filter(|batch| batch.1 == Known::Unknown).count();
            model.check(&turn.journal, &case);
            let after = verify_on(&disk).unwrap();
            assert!(after.ok && after.tail.is_none(), "{case}: {after:?}");
            lost += usize::from(unknown > 0);
            assert!(turn.journal.last_time_ms() >= 1_000);
        }
    }
    (torn, lost)
}

/// A small piece of work that goes on after every failure as a daemon would; returns what was found wrong.
fn work_through(disk: &SimDisk, restart: bool, model: &mut Model, case: &str) {
    let mut patience = 0;
    let mut open = || loop {
        match Turn::open(disk) {
            Ok(turn) => return turn,
            Err(OpenError::Damaged { .. } | OpenError::NewerFormat { .. }) => {
                panic!("{case}: a failing disk was taken for a damaged journal")
            }
            Err(_) => patience += 1,
        }
        assert!(patience < 3, "{case}: it does not open");
    };
    let mut turn = open();
    for number in 0..14 {
        let mut tries = 0;
        loop {
            tries += 1;
            assert!(tries < 4, "{case}: batch {number} does not go through");
            // Each try has its own content, so that one cannot be taken for another.
            let batch = vec![
                record(number % 3, &format!("{number}-{tries}-a"), 300),
                record(7, &format!("{number}-{tries}-b"), 40),
            ];
            model.batches.push((batch.clone(), Known::Unknown));
            let last = model.batches.len() - 1;
            match turn.append(batch) {
                Ok(positions) => {
                    model.batches[last].1 = Known::Acknowledged(positions[0]);
                    break;
                }
                Err(AppendError::DiskFull { .. }) => model.batches[last].1 = Known::Refused,
                Err(AppendError::Poisoned { .. }) => {
                    if restart {
                        drop(turn);
                        turn = open();
                        let mut found = Model { batches: std::mem::take(&mut model.batches) };
                        found.check(&turn.journal, case);
                        model.batches = found.batches;
                        if model.batches[last].1 != Known::Refused {
                            break;
                        }
                    } else {
                        model.batches[last].1 = Known::Refused;
                        while let Err(error) = turn.recover() {
                            tries += 1;
                            assert!(tries < 4, "{case}: {error}");
                        }
                    }
                }
                Err(error) => panic!("{case}: {error}"),
            }
        }
        // Every answer but a wrong one is right.
        match turn.journal.read(1, 5) {
            Ok(_) | Err(ReadError::Io { .. }) => {}
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn no_failing_operation_loses_changes_or_doubles_a_record() {
    let quiet = SimDisk::new(0);
    work_through(&quiet, false, &mut Model::default(), "quiet");
    let operations = quiet.operations();
    assert!(operations > 80, "only {operations} operations");
    for fault in [Fault::Error, Fault::Full] {
        for restart in [false, true] {
            for at in 1..=operations + 5 {
                for seed in 0..3 {
                    let case = format!("{fault:?} at operation {at}, restart {restart}, seed {seed}");
                    let disk = SimDisk::new(seed);
                    disk.plan(at, fault);
                    let mut model = Model::default();
                    work_through(&disk, restart, &mut model, &case);
                    for found in [disk.after_kill(), disk.power_loss(seed)] {
                        let report = verify_on(&found).unwrap();
                        assert!(report.ok, "{case}: {:?}", report.problems);
                        // Everything went through in the end, so nothing half-written may lie about.
                        assert!(fault != Fault::Full || report.tail.is_none(), "{case}: {:?}", report.tail);
                        let turn = Turn::open(&found).unwrap_or_else(|error| panic!("{case}: {error}"));
                        model.check(&turn.journal, &case);
                    }
                }
            }
        }
    }
}

#[test]
fn a_failed_sync_is_not_believed_after_a_restart_that_still_sees_the_page_cache() {
    failed_syncs();
}

pub(crate) fn failed_syncs() {
    // The cache shows a batch that the disk does not hold. Whoever believes it loses it at the power loss.
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut turn = Turn::open(&disk).unwrap();
        let first = turn.append(vec![record(1, "kept", 100)]).unwrap();
        // The next append writes, then syncs: the second operation from here.
        disk.plan(disk.operations() + 2, Fault::Error);
        let answer = turn.append(vec![record(1, "doubtful", 2000)]);
        assert!(matches!(answer, Err(AppendError::Poisoned { .. })), "{answer:?}");
        let answer = turn.append(vec![record(1, "later", 100)]);
        assert!(matches!(answer, Err(AppendError::Poisoned { .. })), "{answer:?}");
        drop(turn);
        let (journal, mut writer, report) = Journal::assemble(Arc::new(disk.clone()), options()).unwrap();
        assert!(report.was_poisoned && report.kept_tail.is_some(), "{report:?}");
        assert_eq!(journal.head().position, first[0]);
        let mut answer = {
            Turn {
                journal: journal.clone(),
                writer: {
                    writer.step();
                    writer
                },
            }
        };
        answer.append(vec![record(1, "after", 100)]).unwrap();
        let lost = disk.power_loss(seed);
        let turn = Turn::open(&lost).unwrap();
        let payloads: Vec<_> = turn.journal.read(1, 9).unwrap().into_iter().map(|r| r.payload[0]).collect();
        assert_eq!(payloads, b"ka", "seed {seed}");
    }
}

#[test]
fn an_urgent_batch_goes_through_on_a_full_disk_and_others_when_space_is_back() {
    let disk = SimDisk::new(1);
    let mut turn = Turn::open(&disk).unwrap();
    let used: u64 = disk.files().values().map(|file| file.len() as u64).sum();
    disk.set_capacity(Some(used));
    let mut acknowledged = 0;
    let error = loop {
        match turn.append(vec![record(1, "x", 200)]) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::DiskFull { .. }), "{error}");
    assert!(acknowledged > 3 && turn.journal.status().full);
    assert_eq!(turn.journal.status().poisoned, None);
    let (reply, mut waiting) = oneshot::channel();
    let stop = Append {
        batch: vec![record(2, "emergency stop", 100)],
        time_ms: 0,
        incarnation: turn.journal.incarnation(),
        urgent: true,
        reply,
    };
    assert!(turn.writer.shared.queue.push(Request::Append(stop)).is_ok());
    turn.writer.step();
    assert_eq!(waiting.try_recv().unwrap().unwrap().positions, [acknowledged + 1]);
    assert!(matches!(turn.append(vec![record(1, "x", 200)]), Err(AppendError::DiskFull { .. })));
    disk.set_capacity(None);
    assert_eq!(turn.append(vec![record(1, "x", 200)]), Ok(vec![acknowledged + 2]));
    assert!(!turn.journal.status().full);
    let turn = Turn::open(&disk.power_loss(3)).unwrap();
    assert_eq!(turn.journal.head().position, acknowledged + 2);
}

#[test]
fn an_end_that_only_the_page_cache_holds_is_made_durable_before_a_new_segment_follows_it() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let mut turn = Turn::open(&disk).unwrap();
        // Fill the segment so far that the next opening needs another one.
        let overhead = record(1, "", 0);
        let empty = crate::frame::HEADER_BYTES + crate::frame::padded(crate::frame::record_bytes(&overhead));
        let left = (turn.writer.segment.allocated - turn.writer.segment.tail) as usize;
        let (reply, _waiting) = oneshot::channel();
        let batch = vec![record(1, "x", left - empty - 80)];
        let incarnation = turn.journal.incarnation();
        let append = Append { batch, time_ms: 0, incarnation, urgent: true, reply };
        assert!(turn.writer.shared.queue.push(Request::Append(append)).is_ok());
        // Written, but killed before the sync.
        disk.plan(disk.operations() + 2, Fault::Stop);
        turn.writer.step();
        drop(turn);
        let disk = disk.after_kill();
        let turn = Turn::open(&disk).unwrap();
        assert_eq!((turn.journal.head().position, turn.journal.status().segments), (1, 2));
        let turn = Turn::open(&disk.power_loss(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(turn.journal.head().position, 1, "seed {seed}");
    }
}

#[test]
fn a_batch_that_found_no_space_leaves_no_half_of_itself_behind() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut turn = Turn::open(&disk).unwrap();
        // The write itself, in space that was reserved: some file systems refuse even that.
        disk.plan(disk.operations() + 1, Fault::Full);
        let answer = turn.append(vec![record(1, "x", 2000)]);
        assert!(matches!(answer, Err(AppendError::DiskFull { .. })), "seed {seed}: {answer:?}");
        let report = verify_on(&disk).unwrap();
        assert!(report.ok && report.tail.is_none() && report.records == 0, "seed {seed}: {report:?}");
        assert_eq!(turn.append(vec![record(1, "y", 10)]), Ok(vec![1]), "seed {seed}");
    }
}

#[test]
fn one_sync_serves_all_batches_that_wait() {
    let disk = SimDisk::new(1);
    let mut turn = Turn::open(&disk).unwrap();
    let syncs = disk.syncs();
    let waiting: Vec<_> = (0..10).map(|_| turn.enqueue(vec![record(1, "x", 20)], 0)).collect();
    turn.writer.step();
    assert_eq!(disk.syncs() - syncs, 1);
    for (mut answer, position) in waiting.into_iter().zip(1..) {
        assert_eq!(answer.try_recv().unwrap().unwrap().positions, [position]);
    }
}
