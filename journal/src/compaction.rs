//! Compaction: the streams that nobody needs any more are dropped, the others move into a snapshot.
//!
//! Order of steps, each durable before the next:
//! 1. the writer begins a new segment N and refuses appends to the streams that will go;
//! 2. `snapshot-N.journal` is written from the older files, synced, named, its name synced;
//! 3. a record in the chain names its number, position, chain hash, length and BLAKE3: from here on it is
//!    the truth;
//! 4. everything older is removed and the directory synced.
//!
//! Rule: a crash before 3 leaves the old truth and an unfinished snapshot that nobody believes; after 3 the
//! new truth and old files that nobody needs. Opening removes what is left over either way.
//! Positions, numbers in streams, times and chain hashes of what is kept never change; a retired stream takes
//! no records any more, so none of its numbers is given out twice.
//!
//! Disk use: with the live bytes L (what the kept streams take in a snapshot, [`Weight::live_bytes`]) and the
//! threshold C ([`crate::Options::dead_bytes_min`]), a journal that is compacted whenever it is due stays
//! below `2 L + C + 2 segments + 8 bytes per retired stream`, sidecars not counted (they are at most a tenth of
//! it for records of usual size); while a compaction runs, its snapshot of at most L comes on top.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, is_full};
use crate::frame::{self, ChainState, FrameFault, FrameKind, HEADER_BYTES};
use crate::index::{Index, Weighed};
use crate::journal::Shared;
use crate::mutants::{Mutant, on};
use crate::opening::keep_sidecar;
use crate::queue::{Finish, Request};
use crate::record::{CHAIN_START, Position, SNAPSHOTS_STREAM};
use crate::scan::{Problem, Window};
use crate::segment::segment_number;
use crate::sidecar::{SidecarHead, encode, is_sidecar, sidecar_name};
use crate::snapshot::{
    Confirmation, FINGERPRINTS_PER_FRAME, SNAPSHOT_HEADER_BYTES, SnapshotHeader, fingerprint, snapshot_name,
    snapshot_number,
};

/// The snapshot is written in pieces of this size.
const WRITE_BYTES: usize = 1024 * 1024;

/// What becomes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every record of it stays.
    All,
    /// Every record of it goes, and it takes no new ones.
    Drop,
}

/// What a compaction would keep and drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// At most this much the kept streams take in a snapshot.
    pub live_bytes: u64,
    pub dead_bytes: u64,
    pub live_streams: u64,
    pub dead_streams: u64,
    /// More is dead than alive, by [`crate::Options::dead_bytes_min`]: compact now to hold the bound.
    pub due: bool,
}

/// What a compaction did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compaction {
    pub dropped_streams: u64,
    pub dropped_records: u64,
    pub kept_records: u64,
    /// The snapshot speaks up to here; 0 if there was nothing to drop and nothing was done.
    pub position: Position,
    /// Bytes of the files that were removed, and of the snapshot.
    pub removed_bytes: u64,
    pub snapshot_bytes: u64,
    /// Oddities that endanger nothing, in words.
    pub notes: Vec<String>,
}

/// Why a journal was not compacted. It is as it was; nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// A backup, an export or another compaction is at work. Try again later.
    #[error("another compaction, backup or export is at work; try again later")]
    Busy,
    #[error("the journal is poisoned: {why}")]
    Poisoned { why: String },
    /// A snapshot needs room beside what it replaces.
    #[error("no space for a snapshot ({free_bytes} bytes free); free some and compact again")]
    DiskFull { free_bytes: u64 },
    /// What should be kept is damaged. Nothing was removed.
    #[error("the journal is damaged: {0}; nothing was removed, `journal verify` lists every place")]
    Damaged(Problem),
    #[error("cannot compact the journal ({doing}): {source}")]
    Io { doing: String, source: io::Error },
    #[error("the journal is closed")]
    Closed,
}

/// The line that the writer drew.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Number of the first segment behind the snapshot.
    pub number: u64,
    /// Where the chain stood there.
    pub state: ChainState,
    /// What is dropped.
    pub streams: Vec<Weighed>,
}

/// Who compacts, for the record in the chain.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub principal: &'a str,
    pub role: &'a str,
    pub time_ms: u64,
}

fn failed(doing: &str) -> impl FnOnce(io::Error) -> CompactError + use<> {
    let doing = doing.to_owned();
    move |source| CompactError::Io { doing, source }
}

/// What would be kept and dropped.
pub(crate) fn weigh(
    shared: &Shared,
    dead_bytes_min: u64,
    mut keep: impl FnMut(&str) -> Keep,
) -> (Weight, Vec<Weighed>) {
    let all = shared.view().index.weigh();
    let mut weight = Weight::default();
    let mut dropped = Vec::new();
    for weighed in all {
        if *weighed.stream == *SNAPSHOTS_STREAM || keep(&weighed.stream) == Keep::All {
            weight.live_bytes += weighed.bytes;
            weight.live_streams += 1;
        } else {
            weight.dead_bytes += weighed.bytes;
            weight.dead_streams += 1;
            dropped.push(weighed);
        }
    }
    weight.due = weight.dead_bytes > weight.live_bytes + dead_bytes_min;
    (weight, dropped)
}

/// Runs a compaction; `drive` lets the writer work in a simulation, where it has no thread.
pub(crate) fn compact(
    shared: &Arc<Shared>,
    disk: &Arc<dyn Disk>,
    keep: impl FnMut(&str) -> Keep,
    by: By<'_>,
    drive: &mut dyn FnMut(),
) -> Result<Compaction, CompactError> {
    let Ok(_one) = shared.maintenance.try_lock() else { return Err(CompactError::Busy) };
    let (_, streams) = weigh(shared, 0, keep);
    if streams.is_empty() {
        return Ok(Compaction::default());
    }
    let (reply, begun) = tokio::sync::oneshot::channel();
    ask(shared, Request::BeginCompaction { streams, reply }, drive)?;
    let begun = begun.blocking_recv().unwrap_or(Err(CompactError::Closed))?;
    if begun.streams.is_empty() {
        // All of them have grown since they were looked at, so none is finished.
        return Ok(Compaction::default());
    }
    let written = write_snapshot(shared, disk.as_ref(), &begun);
    let Written { confirmation, files } = match written {
        Ok(written) => written,
        Err(error) => {
            let _ = disk.remove(&temporary(begun.number));
            // If the queue is closed nobody appends any more.
            let _ = ask(shared, Request::GiveUpCompaction, drive);
            return Err(error);
        }
    };
    let mut compaction = Compaction {
        dropped_streams: confirmation.dropped_streams,
        dropped_records: confirmation.dropped_records,
        kept_records: confirmation.records,
        position: confirmation.position,
        snapshot_bytes: confirmation.bytes,
        ..Compaction::default()
    };
    if on(Mutant::TrimmedBeforeConfirmed) {
        remove_older(disk.as_ref(), begun.number, &mut compaction);
    }
    let (reply, finished) = tokio::sync::oneshot::channel();
    let finish = Finish {
        confirmation: confirmation.to_record(by.principal, by.role),
        number: begun.number,
        files,
        time_ms: by.time_ms,
        reply,
    };
    ask(shared, Request::FinishCompaction(finish), drive)?;
    // On an error the snapshot stays: whether its record is durable is for the next opening to find out.
    finished.blocking_recv().unwrap_or(Err(CompactError::Closed))?;
    remove_older(disk.as_ref(), begun.number, &mut compaction);
    Ok(compaction)
}

fn ask(shared: &Shared, request: Request, drive: &mut dyn FnMut()) -> Result<(), CompactError> {
    shared.queue.push(request).map_err(|_| CompactError::Closed)?;
    drive();
    Ok(())
}

/// The snapshot is the truth already, so whatever fails here is left to the next opening.
fn remove_older(disk: &dyn Disk, number: u64, compaction: &mut Compaction) {
    let names = match disk.list() {
        Ok(names) => names,
        Err(error) => {
            compaction.notes.push(format!("the directory cannot be listed: {error}"));
            return;
        }
    };
    let kept = snapshot_name(number);
    for name in names {
        let file = name.strip_suffix(".index").filter(|_| is_sidecar(&name));
        let file = file.map_or_else(|| name.clone(), |stem| format!("{stem}.journal"));
        let old = segment_number(&file).is_some_and(|segment| segment < number)
            || (snapshot_number(&file).is_some() && file != kept);
        if !old {
            continue;
        }
        let bytes = disk.open_read(&name).and_then(|file| file.len()).unwrap_or(0);
        match disk.remove(&name) {
            Ok(()) => compaction.removed_bytes += bytes,
            Err(error) => compaction.notes.push(format!("{name} could not be removed: {error}")),
        }
    }
    if let Err(error) = disk.sync_directory() {
        compaction.notes.push(format!("the directory could not be synced: {error}"));
    }
}

fn temporary(number: u64) -> String {
    format!("{}.tmp", snapshot_name(number))
}

struct Written {
    confirmation: Confirmation,
    files: Vec<crate::index::FileIndex>,
}

/// What is written, hashed and indexed as it goes.
struct Output {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Bytes that have been written out.
    written: u64,
    hasher: blake3::Hasher,
    index: Index,
    records: u64,
    dropped_records: u64,
}

impl Output {
    fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(self.written, &self.buffer)?;
        self.hasher.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn write_snapshot(shared: &Shared, disk: &dyn Disk, begun: &Begun) -> Result<Written, CompactError> {
    let full = |doing: &str, error: io::Error| {
        if is_full(&error) {
            return CompactError::DiskFull { free_bytes: disk.free_bytes().unwrap_or(0) };
        }
        failed(doing)(error)
    };
    let name = snapshot_name(begun.number);
    let file = disk.create(&temporary(begun.number)).map_err(|error| full("making the snapshot", error))?;
    let mut output = Output {
        file,
        buffer: SnapshotHeader { number: begun.number, state: begun.state }.to_bytes().to_vec(),
        written: 0,
        hasher: blake3::Hasher::new(),
        index: Index::default(),
        records: 0,
        dropped_records: 0,
    };
    debug_assert_eq!(output.buffer.len() as u64, SNAPSHOT_HEADER_BYTES);
    output.index.add_snapshot(begun.number, name.clone());
    copy_kept(shared, disk, begun, &mut output)?;
    let mut retired = shared.view().index.retired().to_vec();
    retired.extend(begun.streams.iter().map(|weighed| fingerprint(&weighed.stream)));
    retired.sort_unstable();
    retired.dedup();
    for part in retired.chunks(FINGERPRINTS_PER_FRAME) {
        let bytes: Vec<u8> = part.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
        let at = ChainState { position: begun.state.position, ..begun.state };
        frame::build_verbatim(&mut output.buffer, FrameKind::Retired, &[&bytes], 0, &at, begun.state.hash);
    }
    let finish = |output: &mut Output| -> io::Result<()> {
        output.flush()?;
        if !on(Mutant::SnapshotNotSynced) {
            output.file.sync_data()?;
        }
        disk.rename(&temporary(begun.number), &name)?;
        disk.sync_directory()
    };
    finish(&mut output).map_err(|error| full("writing the snapshot", error))?;
    let digest = *output.hasher.finalize().as_bytes();
    let (last_frame, _) = output.index.newest_frames(SNAPSHOTS_STREAM);
    let head = SidecarHead {
        number: begun.number,
        first: 1,
        before: CHAIN_START,
        end: begun.state,
        last_frame,
        own_frame: 0,
        records: output.records,
        bytes: output.written,
        digest,
    };
    keep_sidecar(disk, &sidecar_name(&name), &encode(&head, &output.index, &retired));
    let confirmation = Confirmation {
        number: begun.number,
        position: begun.state.position,
        hash: begun.state.hash,
        bytes: output.written,
        digest,
        records: output.records,
        dropped_streams: begun.streams.len() as u64,
        dropped_records: output.dropped_records,
        retired_streams: retired.len() as u64,
    };
    Ok(Written { confirmation, files: output.index.into_files() })
}

/// Copies the kept records of everything up to the line, checked against checksums and chain.
fn copy_kept(
    shared: &Shared,
    disk: &dyn Disk,
    begun: &Begun,
    output: &mut Output,
) -> Result<(), CompactError> {
    let dropped: BTreeSet<&str> = begun.streams.iter().map(|weighed| &*weighed.stream).collect();
    let mut last = ChainState { position: 0, hash: CHAIN_START, incarnation: 0, time_ms: 0 };
    let mut opened: Option<(String, Arc<dyn DiskFile>)> = None;
    let mut window: Option<(String, Vec<u8>, u64)> = None;
    loop {
        let place = shared.view().index.place_after(last.position);
        let Some(place) = place.filter(|place| place.first <= begun.state.position) else { break };
        let file = match &opened {
            Some((name, file)) if *name == place.segment => file.clone(),
            _ => {
                let file =
                    disk.open_read(&place.segment).map_err(failed(&format!("opening {}", place.segment)))?;
                opened = Some((place.segment.clone(), file.clone()));
                window = None;
                file
            }
        };
        // One window serves all frames of a file that follow each other.
        let held = window.take().filter(|(name, _, _)| *name == place.segment);
        let (mut buffer, mut start) = held.map_or((Vec::new(), 0), |(_, buffer, start)| (buffer, start));
        let read = read_frame(file.as_ref(), place.offset, &mut buffer, &mut start);
        let (header, from) = match read.map_err(failed(&format!("reading {}", place.segment)))? {
            Ok(found) => found,
            Err(fault) => return Err(damaged(&place, last.position + 1, &fault)),
        };
        let bytes = &buffer[from..from + header.frame_bytes()];
        last = copy_frame(&header, bytes, &last, &dropped, output)
            .map_err(|fault| damaged(&place, last.position + 1, &fault))?;
        window = Some((place.segment.clone(), buffer, start));
        if output.buffer.len() >= WRITE_BYTES {
            output.flush().map_err(|error| {
                if is_full(&error) {
                    return CompactError::DiskFull { free_bytes: disk.free_bytes().unwrap_or(0) };
                }
                failed("writing the snapshot")(error)
            })?;
        }
    }
    if (last.position, last.hash) != (begun.state.position, begun.state.hash) {
        let fault = FrameFault::PositionGap { expected: begun.state.position, found: last.position };
        let segment = opened.map_or_else(String::new, |(name, _)| name);
        let problem = Problem { segment, offset: 0, position: last.position + 1, what: fault.to_string() };
        return Err(CompactError::Damaged(problem));
    }
    Ok(())
}

fn damaged(place: &crate::index::FramePlace, position: Position, fault: &FrameFault) -> CompactError {
    CompactError::Damaged(Problem {
        segment: place.segment.clone(),
        offset: place.offset,
        position,
        what: fault.to_string(),
    })
}

type FrameRead = Result<(frame::FrameHeader, usize), FrameFault>;

/// Finds the frame at `offset` in the buffer, which is filled anew if it does not hold all of it.
fn read_frame(
    file: &dyn DiskFile,
    offset: u64,
    buffer: &mut Vec<u8>,
    start: &mut u64,
) -> io::Result<FrameRead> {
    for wanted in [WRITE_BYTES, HEADER_BYTES + frame::padded(crate::record::BATCH_BYTES_MAX)] {
        if let Some(from) = offset.checked_sub(*start).and_then(|from| usize::try_from(from).ok())
            && let Some(bytes) = buffer.get(from..).filter(|bytes| bytes.len() >= HEADER_BYTES)
        {
            match frame::parse_header(bytes) {
                Ok(header) if header.frame_bytes() <= bytes.len() => return Ok(Ok((header, from))),
                Ok(_) => {}
                Err(fault) => return Ok(Err(fault)),
            }
        }
        let len = file.len()?;
        let size = usize::try_from(len.saturating_sub(offset)).unwrap_or(wanted).min(wanted);
        let mut reading = Window::new(file, len);
        *buffer = reading.get(offset, size)?.to_vec();
        *start = offset;
    }
    let Ok(header) = frame::parse_header(buffer) else { return Ok(Err(FrameFault::CutOff)) };
    if header.frame_bytes() > buffer.len() {
        return Ok(Err(FrameFault::CutOff));
    }
    Ok(Ok((header, 0)))
}

/// Copies what is kept of one frame, in runs of records that follow each other.
fn copy_frame(
    header: &frame::FrameHeader,
    bytes: &[u8],
    last: &ChainState,
    dropped: &BTreeSet<&str>,
    output: &mut Output,
) -> Result<ChainState, FrameFault> {
    let body = &bytes[HEADER_BYTES..];
    frame::check_body(header, body)?;
    if header.first == last.position + 1 && header.before != last.hash {
        return Err(FrameFault::ChainBroken);
    }
    let mut views = Vec::with_capacity(header.records as usize);
    let after = frame::walk(header, body, |view| {
        views.push(view);
        Ok(())
    })?;
    let kept = |view: &frame::RecordView<'_>| !dropped.contains(view.stream);
    let count = views.iter().filter(|view| kept(view)).count();
    output.records += count as u64;
    output.dropped_records += (views.len() - count) as u64;
    if count == views.len() {
        note(output, &views);
        output.buffer.extend_from_slice(bytes);
        return Ok(after);
    }
    let mut before = header.before;
    let mut rest = &views[..];
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|view| kept(view)).count();
        if run == 0 {
            before = first.hash;
            rest = &rest[1..];
            continue;
        }
        let (records, behind) = rest.split_at(run);
        note(output, records);
        let raw: Vec<&[u8]> = records.iter().map(|view| view.raw).collect();
        let state = ChainState {
            position: first.position - 1,
            hash: before,
            incarnation: header.incarnation,
            time_ms: header.time_ms,
        };
        before = records[run - 1].hash;
        // What was durable then is no statement about records that are gone.
        let durable = header.durable.min(first.position - 1);
        frame::build_verbatim(&mut output.buffer, FrameKind::Records, &raw, durable, &state, before);
        rest = behind;
    }
    Ok(after)
}

fn note(output: &mut Output, records: &[frame::RecordView<'_>]) {
    let offset = output.offset();
    if let Some(first) = records.first() {
        output.index.add_frame(first.position, offset);
    }
    for (at, view) in records.iter().enumerate() {
        output.index.add_record(view.stream, view.position, view.raw.len(), at == 0);
    }
}
