//! The one thread that writes: drain the queue, one write, one fdatasync, answer all.
//!
//! Rule: nobody is answered `Ok` and nothing enters the index before fdatasync has returned. After any
//! failed write or sync the writer is poisoned: it acknowledges nothing until `recover` has cut back to
//! the last acknowledged frame and gone on in a new segment, because the page cache may show what the
//! disk does not hold. "No space" alone poisons nothing: the unfinished bytes are taken back and the
//! callers are told.
//!
//! Invariant: `chain` and `segment.tail` always describe the durable end.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::compaction::{Begun, CompactError};
use crate::disk::{Disk, DiskFile, is_full};
use crate::frame::{self, ChainState, FrameKind};
use crate::index::{Known, Weighed};
use crate::journal::{AppendError, Appended, Options, RecoverError, Recovery, Shared};
use crate::mark::MarkFile;
use crate::mutants::{Mutant, on};
use crate::opening::{keep_sidecar, sidecar_of};
use crate::queue::{Append, Finish, Request};
use crate::record::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, ChainHash, Head, NAME_BYTES_MAX, NewRecord, Position,
    SNAPSHOTS_STREAM,
};
use crate::segment::{FORMAT_SNAPSHOT, SEGMENT_HEADER_BYTES, SegmentHeader, create_segment, segment_name};
use crate::sidecar::sidecar_name;

/// One write takes at most about this much; a larger group is split. Keeps an fdatasync near 10 ms.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Part of the last commit's time that the writer spends at most on waiting for the callers of that commit.
const GATHER_SHARE: u32 = 4;
/// And never longer than this, however slow the disk is.
const GATHER_MAX: Duration = Duration::from_millis(1);

pub(crate) struct Writer {
    pub disk: Arc<dyn Disk>,
    pub options: Options,
    pub shared: Arc<Shared>,
    pub segment: Segment,
    pub chain: ChainState,
    pub mark: MarkFile,
    pub poisoned: Option<String>,
    /// Number of the next segment.
    pub next_number: u64,
    /// Format of segments from here on.
    pub format: u16,
}

/// The segment that is written to.
pub(crate) struct Segment {
    pub number: u64,
    /// Position of its first record, and the chain hash before it.
    pub first: Position,
    pub before: ChainHash,
    /// Of the writer that made it.
    pub incarnation: u64,
    pub file: Arc<dyn DiskFile>,
    /// End of the last durable frame.
    pub tail: u64,
    /// End of the space that is reserved on disk.
    pub allocated: u64,
    /// Length that this segment should have.
    pub target: u64,
}

type StreamAndBytes = (String, usize);
type Answer = (oneshot::Sender<Result<Appended, AppendError>>, Result<Appended, AppendError>);

/// Batches that become durable together.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    /// What enters the index: per batch its first position, its place in `bytes`, and per record its stream
    /// and size.
    frames: Vec<(Position, usize, Vec<StreamAndBytes>)>,
    chain: Option<ChainState>,
    /// Stream lengths with what is in the group.
    lengths: BTreeMap<String, u64>,
    answers: Vec<Answer>,
    records: u64,
}

enum Room {
    Yes,
    No(AppendError),
}

impl Writer {
    pub fn run(mut self) {
        let (mut together, mut patience) = (0, Duration::ZERO);
        while self.shared.queue.wait() {
            // A short wait for one more is repaid by the sync that it saves; what is there is made ready
            // meanwhile.
            let deadline = Instant::now() + patience;
            let mut group = Group::default();
            let mut taken = 0;
            loop {
                let requests = self.shared.queue.drain();
                taken += requests.len();
                self.work(requests, &mut group);
                if taken >= together || !self.shared.queue.more(deadline) {
                    break;
                }
            }
            let begun = Instant::now();
            self.commit(&mut group);
            // Whoever was answered just now may come again, beside those who came meanwhile. Without them two
            // halves of the callers would take turns for ever.
            together = taken + self.shared.queue.waiting();
            patience = (begun.elapsed() / GATHER_SHARE).min(GATHER_MAX);
        }
        if self.poisoned.is_none()
            && let Err(error) = self.mark.sync()
        {
            tracing::warn!(%error, "The head mark could not be synced at closing.");
        }
    }

    /// Works off what waits now; a simulation's turn of the thread.
    #[cfg(test)]
    pub fn step(&mut self) {
        let requests = self.shared.queue.drain();
        let mut group = Group::default();
        self.work(requests, &mut group);
        self.commit(&mut group);
    }

    /// Puts appends into the group; everything else is done at once, after what stands before it.
    fn work(&mut self, requests: VecDeque<Request>, group: &mut Group) {
        for request in requests {
            match request {
                Request::Append(append) => self.take(append, false, group),
                Request::Recover(reply) => {
                    self.commit(group);
                    let _ = reply.send(self.recover());
                }
                Request::BeginCompaction { streams, reply } => {
                    self.commit(group);
                    let _ = reply.send(self.begin_compaction(streams));
                }
                Request::FinishCompaction(finish) => {
                    self.commit(group);
                    self.finish_compaction(finish);
                }
                Request::GiveUpCompaction => self.shared.view_mut().index.stop_retiring(),
            }
        }
    }

    /// Puts a batch into the group, or notes why not.
    fn take(&mut self, append: Append, own: bool, group: &mut Group) {
        let Append { batch, time_ms, incarnation, urgent, reply } = append;
        if let Err(error) = self.check(&batch, incarnation, own) {
            group.answers.push((reply, Err(error)));
            return;
        }
        let bytes = frame::HEADER_BYTES + frame::padded(batch.iter().map(frame::record_bytes).sum());
        if group.bytes.len() + bytes > GROUP_BYTES_MAX {
            self.commit(group);
        }
        if let Room::No(error) = self.make_room(bytes as u64, urgent, group) {
            group.answers.push((reply, Err(error)));
            return;
        }
        let sequences = match self.sequences(&batch, group) {
            Ok(sequences) => sequences,
            Err(error) => {
                group.answers.push((reply, Err(error)));
                return;
            }
        };
        let before = group.chain.unwrap_or(self.chain);
        let first = before.position + 1;
        let positions = (first..first + batch.len() as u64).collect();
        if !batch.is_empty() {
            let at = group.bytes.len();
            let before = ChainState {
                time_ms: before.time_ms.max(time_ms),
                incarnation: self.chain.incarnation,
                ..before
            };
            let after = frame::build(
                &mut group.bytes,
                FrameKind::Records,
                &batch,
                &sequences,
                self.chain.position,
                &before,
            );
            group.chain = Some(after);
            group.records += batch.len() as u64;
            for (record, sequence) in batch.iter().zip(&sequences) {
                group.lengths.insert(record.stream.clone(), *sequence);
            }
            let streams = batch
                .into_iter()
                .map(|record| (frame::record_bytes(&record), record))
                .map(|(bytes, record)| (record.stream, bytes))
                .collect();
            group.frames.push((first, at, streams));
        }
        let time_ms = before.time_ms.max(time_ms);
        group.answers.push((reply, Ok(Appended { positions, time_ms })));
    }

    fn check(&self, batch: &[NewRecord], incarnation: u64, own: bool) -> Result<(), AppendError> {
        if let Some(why) = &self.poisoned {
            return Err(AppendError::Poisoned { why: why.clone() });
        }
        let current = self.chain.incarnation;
        if incarnation != current && !on(Mutant::StaleWriterAccepted) {
            return Err(AppendError::StaleWriter { given: incarnation, current });
        }
        too_large("records in one batch", batch.len(), BATCH_RECORDS_MAX)?;
        let mut total = 0;
        for record in batch {
            if record.stream == SNAPSHOTS_STREAM && !own {
                return Err(AppendError::ReservedStream { stream: record.stream.clone() });
            }
            for name in [&record.stream, &record.kind, &record.principal, &record.role] {
                too_large("bytes of a name", name.len(), NAME_BYTES_MAX)?;
            }
            let payload_max = self.options.record_bytes_max;
            too_large("bytes of a payload", record.payload.len(), payload_max)?;
            total += frame::record_bytes(record);
        }
        too_large("bytes of a batch", total, BATCH_BYTES_MAX)
    }

    /// Places of the batch's records in their streams, if they are where the caller believes them to be.
    fn sequences(&self, batch: &[NewRecord], group: &Group) -> Result<Vec<u64>, AppendError> {
        let view = self.shared.view();
        let mut own: BTreeMap<&str, u64> = BTreeMap::new();
        let mut sequences = Vec::with_capacity(batch.len());
        for record in batch {
            let stream = record.stream.as_str();
            let actual = match own.get(stream).or_else(|| group.lengths.get(stream)) {
                Some(length) => *length,
                None => match view.index.known_to_append(stream) {
                    Known::Holds(length) => length,
                    Known::Retired if on(Mutant::RetiredStreamReopened) => 0,
                    Known::Retired => return Err(AppendError::Retired { stream: record.stream.clone() }),
                },
            };
            if let Some(expected) = record.expected_seq
                && expected != actual
                && !on(Mutant::ConflictIgnored)
            {
                return Err(AppendError::Conflict { stream: record.stream.clone(), expected, actual });
            }
            own.insert(stream, actual + 1);
            sequences.push(actual + 1);
        }
        Ok(sequences)
    }

    /// Sees to it that `bytes` more fit behind the group, in a new segment if need be.
    fn make_room(&mut self, bytes: u64, urgent: bool, group: &mut Group) -> Room {
        let reserve = if urgent { 0 } else { self.options.reserve_bytes };
        let fits = |writer: &Writer, group: &Group| {
            writer.segment.tail + group.bytes.len() as u64 + bytes + reserve <= writer.segment.allocated
        };
        if fits(self, group) {
            return Room::Yes;
        }
        // A group stands in one segment; what is in it goes into this one, for which it was measured.
        self.commit(group);
        if let Some(why) = &self.poisoned {
            return Room::No(AppendError::Poisoned { why: why.clone() });
        }
        if self.segment.allocated < self.segment.target {
            match self.segment.file.preallocate(self.segment.target) {
                Ok(()) => self.segment.allocated = self.segment.target,
                Err(error) if is_full(&error) => {}
                Err(error) => return Room::No(self.poison("reserving space", &error)),
            }
            if fits(self, group) {
                return Room::Yes;
            }
        }
        match self.rotate(bytes + self.options.reserve_bytes, self.chain.incarnation, self.format) {
            Ok(()) => Room::Yes,
            Err(error) if is_full(&error) => {
                self.shared.full.store(true, Ordering::Relaxed);
                Room::No(AppendError::DiskFull {
                    wanted_bytes: bytes,
                    free_bytes: self.disk.free_bytes().unwrap_or(0),
                })
            }
            Err(error) => Room::No(self.poison("making a new segment", &error)),
        }
    }

    /// Goes on in a new segment with room for at least `bytes`.
    fn rotate(&mut self, bytes: u64, incarnation: u64, format: u16) -> io::Result<()> {
        let state = ChainState { incarnation, ..self.chain };
        let target = self.options.segment_bytes.max(SEGMENT_HEADER_BYTES + bytes);
        let number = self.next_number;
        // Never twice: a name whose creation failed may stand on disk.
        self.next_number += 1;
        let header = SegmentHeader::new(format, number, &state);
        crate::failpoint!("journal.before-rotate");
        let file = create_segment(self.disk.as_ref(), &header, target)?;
        // Spare space goes back; without it the old segment only stays longer.
        if let Err(error) = self.segment.file.set_len(self.segment.tail) {
            tracing::warn!(segment = self.segment.number, %error, "A full segment keeps its spare space.");
        }
        let sealed = self.segment.number;
        let sidecar = sidecar_of(sealed, self.segment.before, self.chain, &self.shared.view().index);
        keep_sidecar(self.disk.as_ref(), &sidecar_name(&segment_name(sealed)), &sidecar);
        self.chain = state;
        self.format = format;
        self.segment = Segment {
            number,
            first: header.first,
            before: header.before,
            incarnation,
            file: file.clone(),
            tail: SEGMENT_HEADER_BYTES,
            allocated: target,
            target,
        };
        crate::failpoint!("journal.after-rotate");
        let mut view = self.shared.view_mut();
        view.index.add_segment(number, segment_name(number), Some(file), header.first);
        view.segment_end = SEGMENT_HEADER_BYTES;
        Ok(())
    }

    /// Draws the line up to which a snapshot will speak, and lets nothing more into the streams that it
    /// will leave out.
    fn begin_compaction(&mut self, streams: Vec<Weighed>) -> Result<Begun, CompactError> {
        if let Some(why) = &self.poisoned {
            return Err(CompactError::Poisoned { why: why.clone() });
        }
        // Programs that know nothing of snapshots must refuse what follows one.
        // What stands in the snapshot must not be newer than the header of the segment behind it.
        let fresh = self.segment.first == self.chain.position + 1
            && self.segment.incarnation == self.chain.incarnation
            && self.format == FORMAT_SNAPSHOT;
        if !fresh {
            let rotated = self.rotate(self.options.reserve_bytes, self.chain.incarnation, FORMAT_SNAPSHOT);
            if let Err(error) = rotated {
                if is_full(&error) {
                    return Err(CompactError::DiskFull { free_bytes: self.disk.free_bytes().unwrap_or(0) });
                }
                let AppendError::Poisoned { why } = self.poison("making a new segment", &error) else {
                    return Err(CompactError::Io { doing: "making a new segment".into(), source: error });
                };
                return Err(CompactError::Poisoned { why });
            }
        }
        let mut view = self.shared.view_mut();
        let streams = view.index.begin_retiring(streams);
        Ok(Begun { number: self.segment.number, state: self.chain, streams })
    }

    /// Puts the snapshot into the chain; from then on it is the truth.
    fn finish_compaction(&mut self, finish: Finish) {
        let Finish { confirmation, number, files, time_ms, reply } = finish;
        let (sender, mut appended) = oneshot::channel();
        let append = Append {
            batch: vec![confirmation],
            time_ms,
            incarnation: self.chain.incarnation,
            // Compacting is how a full disk gets room, so it may use the reserve.
            urgent: true,
            reply: sender,
        };
        let mut group = Group::default();
        self.take(append, true, &mut group);
        self.commit(&mut group);
        let answer = appended.try_recv().unwrap_or(Err(AppendError::Closed));
        let mut view = self.shared.view_mut();
        let answer = match answer {
            Ok(appended) => {
                view.index.replace_older(number, files);
                Ok(appended.positions.first().copied().unwrap_or(0))
            }
            Err(error) => {
                view.index.stop_retiring();
                Err(match error {
                    AppendError::Poisoned { why } => CompactError::Poisoned { why },
                    AppendError::DiskFull { free_bytes, .. } => CompactError::DiskFull { free_bytes },
                    other => CompactError::Io {
                        doing: "recording the snapshot".into(),
                        source: io::Error::other(other.to_string()),
                    },
                })
            }
        };
        drop(view);
        let _ = reply.send(answer);
    }

    /// Writes and syncs the group and answers everyone in it.
    fn commit(&mut self, group: &mut Group) {
        let group = std::mem::take(group);
        let Some(chain) = group.chain else {
            answer(group.answers);
            return;
        };
        let mut group = group;
        if on(Mutant::AnsweredBeforeSync) {
            answer(std::mem::take(&mut group.answers));
        }
        let tail = self.segment.tail;
        let permitted = crate::failpoint_io!("journal.before-write");
        if let Err(error) = permitted.and_then(|()| self.segment.file.write_at(tail, &group.bytes)) {
            let error = if is_full(&error) {
                self.take_back(group.bytes.len() as u64)
            } else {
                self.poison("writing", &error)
            };
            refuse(group.answers, &error);
            return;
        }
        crate::failpoint!("journal.after-write");
        let sync =
            || crate::failpoint_io!("journal.before-sync").and_then(|()| self.segment.file.sync_data());
        let mut synced = if on(Mutant::SyncSkipped) { Ok(()) } else { sync() };
        if synced.is_err() && on(Mutant::SyncRetried) {
            synced = self.segment.file.sync_data();
        }
        if let Err(error) = synced {
            let error = self.poison("fdatasync", &error);
            refuse(group.answers, &error);
            return;
        }
        crate::failpoint!("journal.after-sync");
        self.chain = chain;
        self.segment.tail = tail + group.bytes.len() as u64;
        let head = Head { position: chain.position, hash: chain.hash };
        // Before the answers: what was acknowledged must never look like an unfinished write.
        crate::failpoint!("journal.before-mark");
        if let Err(error) = self.mark.write(head, chain.incarnation, 0) {
            tracing::warn!(%error, "The head mark could not be written; it stays older than the journal.");
        }
        crate::failpoint!("journal.after-mark");
        self.shared.count(group.frames.len() as u64, group.records, group.bytes.len() as u64);
        self.shared.full.store(false, Ordering::Relaxed);
        {
            let mut view = self.shared.view_mut();
            for (first, at, streams) in &group.frames {
                view.index.add_frame(*first, tail + *at as u64);
                for (position, (stream, bytes)) in (*first..).zip(streams) {
                    view.index.add_record(stream, position, *bytes, position == *first);
                }
            }
            view.segment_end = self.segment.tail;
            view.head = head;
            view.time_ms = chain.time_ms;
        }
        crate::failpoint!("journal.before-answer");
        answer(group.answers);
        crate::failpoint!("journal.after-answer");
        self.shared.changed.send_replace(head.position);
    }

    /// Removes a half-written group after "no space".
    fn take_back(&mut self, wanted_bytes: u64) -> AppendError {
        self.shared.full.store(true, Ordering::Relaxed);
        if let Err(error) = self.segment.file.set_len(self.segment.tail) {
            return self.poison("taking back a half-written batch", &error);
        }
        self.segment.allocated = self.segment.tail;
        if self.segment.file.preallocate(self.segment.target).is_ok() {
            self.segment.allocated = self.segment.target;
        }
        AppendError::DiskFull { wanted_bytes, free_bytes: self.disk.free_bytes().unwrap_or(0) }
    }

    fn poison(&mut self, doing: &str, error: &io::Error) -> AppendError {
        let why = format!(
            "{doing} in {} failed: {error}; nothing is acknowledged until the journal is recovered",
            segment_name(self.segment.number)
        );
        tracing::error!(why, "The journal is poisoned.");
        let head = Head { position: self.chain.position, hash: self.chain.hash };
        // A restart must know too, as long as the page cache lives; after a power loss there is nothing to know.
        if let Err(error) = self.mark.write(head, self.chain.incarnation, self.segment.number) {
            tracing::error!(%error, "The head mark could not note the failure.");
        }
        crate::failpoint!("journal.poisoned");
        self.shared.set_poisoned(Some(why.clone()));
        self.poisoned = Some(why.clone());
        AppendError::Poisoned { why }
    }

    /// Cuts back to the last acknowledged frame and goes on in a new segment under a new incarnation.
    fn recover(&mut self) -> Result<Recovery, RecoverError> {
        if self.poisoned.is_none() {
            return Ok(Recovery {
                incarnation: self.chain.incarnation,
                kept_tail: None,
                segment: segment_name(self.segment.number),
            });
        }
        crate::failpoint!("journal.before-recover");
        let kept_tail = set_aside(self.disk.as_ref(), &self.segment, self.chain.incarnation);
        let incarnation = self.chain.incarnation + 1;
        if let Err(error) = self.rotate(self.options.reserve_bytes, incarnation, self.format) {
            return Err(if is_full(&error) {
                RecoverError::DiskFull { free_bytes: self.disk.free_bytes().unwrap_or(0) }
            } else {
                RecoverError::Io { source: error }
            });
        }
        crate::failpoint!("journal.after-recover");
        self.poisoned = None;
        self.shared.incarnation.store(incarnation, Ordering::Release);
        self.shared.set_poisoned(None);
        let head = Head { position: self.chain.position, hash: self.chain.hash };
        if let Err(error) = self.mark.write(head, incarnation, 0) {
            tracing::warn!(%error, "The head mark could not be written; it stays older than the journal.");
        }
        Ok(Recovery { incarnation, kept_tail, segment: segment_name(self.segment.number) })
    }
}

/// Copies what stands behind the durable end into a file of its own; `None` if there is nothing, or if
/// even that cannot be written (the failure is logged: evidence is no reason to stay down).
pub(crate) fn set_aside(disk: &dyn Disk, segment: &Segment, incarnation: u64) -> Option<String> {
    let name = format!("tail-{:010}-{}-{incarnation}.bin", segment.number, segment.tail);
    let copied = (|| {
        let length = segment.file.len()?.saturating_sub(segment.tail);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = segment.file.read_at(segment.tail, &mut bytes)?;
        bytes.truncate(read);
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            return Ok(None);
        };
        crate::failpoint_io!("journal.keep-tail")?;
        let file = disk.create(&name)?;
        file.write_at(0, &bytes[..=last])?;
        file.sync_data()?;
        disk.sync_directory()?;
        Ok(Some(name.clone()))
    })();
    copied.unwrap_or_else(|error: io::Error| {
        tracing::error!(%error, name, "An unfinished write could not be kept aside.");
        let _ = disk.remove(&name);
        None
    })
}

fn too_large(what: &'static str, given: usize, max: usize) -> Result<(), AppendError> {
    if given > max {
        return Err(AppendError::TooLarge { what, given, max });
    }
    Ok(())
}

fn answer(answers: Vec<Answer>) {
    for (reply, answer) in answers {
        // Whoever no longer waits has given up the answer, not the batch.
        let _ = reply.send(answer);
    }
}

/// Answers a group that did not become durable. Conflicts in it were judged against records that do not
/// exist now, so they get the same answer.
fn refuse(answers: Vec<Answer>, error: &AppendError) {
    for (reply, answer) in answers {
        let _ = reply.send(match answer {
            Ok(_) | Err(AppendError::Conflict { .. }) => Err(error.clone()),
            Err(other) => Err(other),
        });
    }
}
