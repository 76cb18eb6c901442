//! Reads a whole journal and says what it is: sound, damaged, or ending in an unfinished write.
//!
//! Rule: bytes that are not the next frame are an unfinished write only if nothing proves that they were
//! durable once. Proof is: a later segment, a later frame whose header says so, or the head mark.
//! Everything else is damage. Opening and verifying both go through here, so they cannot disagree.
//!
//! It takes no lock and writes nothing, and works while a writer is at work: the mark is read first, and
//! a suspicious place is read again after the evidence against it, before anything is called damage.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::frame::{
    self, ALIGNMENT, ChainState, FrameFault, FrameHeader, FrameKind, HEADER_BYTES, RecordView,
};
use crate::mark::{self, MarkFound};
use crate::record::{CHAIN_START, ChainHash, Head, Position, SNAPSHOTS_STREAM};
use crate::segment::{
    FORMAT_PLAIN, FORMAT_SNAPSHOT, SEGMENT_HEADER_BYTES, SegmentFault, SegmentHeader, is_unfinished,
    segment_name, segment_number,
};
use crate::sidecar::{Sidecar, SidecarHead, is_sidecar, sidecar_name};
use crate::snapshot::{
    Confirmation, SNAPSHOT_HEADER_BYTES, SnapshotHeader, fingerprints, snapshot_name, snapshot_number,
};

/// How much of a file is held in memory at once, unless one frame is larger.
const WINDOW_BYTES: usize = 1024 * 1024;

/// One place where the journal is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File name in the journal's directory.
    pub segment: String,
    /// Byte in the file.
    pub offset: u64,
    /// Position of the first record that cannot be trusted.
    pub position: Position,
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Problem { segment, offset, position, what } = self;
        write!(out, "{segment} at byte {offset}, position {position}: {what}")
    }
}

/// An unfinished write behind the last complete frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub segment: String,
    /// Where it begins.
    pub offset: u64,
    /// How many bytes up to the last that is not zero.
    pub bytes: u64,
    pub what: String,
}

pub(crate) struct ScannedSegment {
    pub number: u64,
    /// Chain hash before its first record.
    pub before: ChainHash,
    /// Of the writer that made it.
    pub incarnation: u64,
    /// End of the last frame.
    pub end: u64,
    pub len: u64,
}

pub(crate) struct StoreScan {
    pub segments: Vec<ScannedSegment>,
    /// The file of the last one.
    pub newest: Option<Arc<dyn DiskFile>>,
    /// Format that segments have now.
    pub format: u16,
    /// The snapshot that stands for what is older.
    pub snapshot: Option<u64>,
    pub state: ChainState,
    pub records: u64,
    /// Segments and snapshots that were not read because their sidecars were believed.
    pub believed: usize,
    pub problems: Vec<Problem>,
    /// True if the first problem is only that a newer program wrote it.
    pub newer: Option<u16>,
    /// The first problem is a file of another program.
    pub foreign: Option<String>,
    pub tail: Option<Tail>,
    pub notes: Vec<String>,
    /// Files that did not live to get their names.
    pub unfinished: Vec<String>,
    /// Files that a snapshot has replaced, snapshots that were never confirmed, sidecars of neither.
    pub leftovers: Vec<String>,
    pub mark: MarkFound,
    /// Writes failed behind the mark in the last segment, and nobody has recovered since.
    pub poisoned: bool,
    /// The last word of the chain about a snapshot.
    confirmed: Option<Confirmation>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {name}: {source}")]
pub(crate) struct ScanError {
    pub name: String,
    pub source: io::Error,
}

/// How much of a journal is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The newest segment is opened for writing.
    pub writable: bool,
    /// Goes on behind a problem to find the next ones.
    pub keep_going: bool,
    /// Sealed files with a sound sidecar are not read.
    pub believe: bool,
}

/// What learns of the journal's content, in the order of the chain.
pub(crate) trait Visitor {
    /// What follows stands in this segment.
    fn segment(&mut self, number: u64, name: &str, first: Position);
    /// What follows stands in this snapshot.
    fn snapshot(&mut self, number: u64, name: &str);
    /// A sound record: offset of its frame, the record, and whether records before it are missing.
    fn record(&mut self, offset: u64, view: &RecordView<'_>, after_gap: bool) -> Result<(), FrameFault>;
    fn retired(&mut self, fingerprints: &[u64]);
    /// A sidecar that is believed instead of reading its file.
    fn sidecar(&mut self, sidecar: &Sidecar) -> Result<(), FrameFault>;
    /// The end of a sealed file that has been read.
    fn sealed(&mut self, name: &str, head: SidecarHead);
    /// The chain hash at a position that no record shows.
    fn passed(&mut self, head: Head);
}

struct Names {
    segments: Vec<u64>,
    snapshots: Vec<u64>,
    unfinished: Vec<String>,
    sidecars: Vec<String>,
}

/// Reads what is in `disk`. Of several snapshots the newest one that the chain confirms is the truth; the
/// visitor that saw the truth is given back.
pub(crate) fn scan_store<V: Visitor>(
    disk: &dyn Disk,
    reading: Reading,
    make: impl Fn() -> V,
) -> Result<(StoreScan, V), ScanError> {
    // Before the list and the files: whatever the mark names was written before it.
    let mark = mark::load(disk).map_err(failed(mark::MARK_NAME))?;
    let names = disk.list().map_err(failed("the directory"))?;
    let mut found = Names {
        segments: names.iter().filter_map(|name| segment_number(name)).collect(),
        snapshots: names.iter().filter_map(|name| snapshot_number(name)).collect(),
        unfinished: names.iter().filter(|name| is_unfinished(name)).cloned().collect(),
        sidecars: names.into_iter().filter(|name| is_sidecar(name)).collect(),
    };
    found.segments.sort_unstable();
    found.snapshots.sort_unstable();
    let mut first = None;
    let candidates = found.snapshots.iter().rev().map(|number| Some(*number)).chain([None]);
    for candidate in candidates {
        let scanned = scan_from(disk, reading, mark, &found, candidate, make());
        let (scan, visitor) = match scanned {
            // An unfinished snapshot need not even be readable, as long as an older truth is there.
            Err(_) if first.is_some() => continue,
            other => other?,
        };
        if scan.problems.is_empty() {
            return Ok((scan, visitor));
        }
        // With nothing older on disk only this one can be the truth, so its problems are the answer.
        first.get_or_insert((scan, visitor));
    }
    match first {
        Some(answer) => Ok(answer),
        None => scan_from(disk, reading, mark, &found, None, make()),
    }
}

fn failed(name: &str) -> impl FnOnce(io::Error) -> ScanError + use<> {
    let name = name.to_owned();
    move |source| ScanError { name, source }
}

fn load_sidecar(disk: &dyn Disk, file: &str) -> io::Result<Option<Sidecar>> {
    let sidecar = match disk.open_read(&sidecar_name(file)) {
        Ok(sidecar) => sidecar,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(sidecar.len()?).unwrap_or(0)];
    let read = sidecar.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Sidecar::parse(bytes))
}

/// Reads the snapshot `candidate` and the segments behind it, or all segments if there is no candidate.
fn scan_from<V: Visitor>(
    disk: &dyn Disk,
    reading: Reading,
    mark: MarkFound,
    found: &Names,
    candidate: Option<u64>,
    mut visitor: V,
) -> Result<(StoreScan, V), ScanError> {
    let numbers: Vec<u64> = found
        .segments
        .iter()
        .copied()
        .filter(|number| candidate.is_none_or(|from| *number >= from))
        .collect();
    let mut scan = StoreScan {
        segments: Vec::new(),
        newest: None,
        format: if candidate.is_some() { FORMAT_SNAPSHOT } else { FORMAT_PLAIN },
        snapshot: candidate,
        state: ChainState { position: 0, hash: CHAIN_START, incarnation: mark.mark.incarnation, time_ms: 0 },
        records: 0,
        believed: 0,
        problems: Vec::new(),
        newer: None,
        foreign: None,
        tail: None,
        notes: Vec::new(),
        unfinished: found.unfinished.clone(),
        leftovers: leftovers(found, candidate),
        poisoned: false,
        confirmed: None,
        mark,
    };
    if mark.damaged {
        scan.notes.push(format!(
            "{} is damaged in part; it is only a witness and is written anew",
            mark::MARK_NAME
        ));
    }
    // The chain's incarnation starts at 0; the mark's only bounds the next writer's from below.
    let mut state = ChainState { incarnation: 0, ..scan.state };
    let mut content = None;
    if let Some(number) = candidate {
        let name = snapshot_name(number);
        let read = read_snapshot(disk, number, reading, &mut scan, &mut visitor).map_err(failed(&name))?;
        match read {
            Ok((header, bytes, digest)) => {
                state = header.state;
                content = Some((header, bytes, digest));
            }
            Err(Problem { .. }) if !reading.keep_going => return Ok((scan, visitor)),
            Err(_) => {}
        }
    }

    // Headers first: each says where the segment before it ends.
    let mut headers = Vec::new();
    for number in numbers {
        let name = segment_name(number);
        let file = disk.open_read(&name).map_err(failed(&name))?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let read = file.read_at(0, &mut bytes).map_err(failed(&name))?;
        // Opened again when its turn comes: a long journal has more segments than a process may have files.
        headers.push((number, SegmentHeader::parse(&bytes[..read], number)));
    }
    scan.poisoned = headers.last().is_some_and(|(number, ..)| mark.mark.poisoned_segment == *number);

    let mut after_gap = !scan.problems.is_empty();
    for at in 0..headers.len() {
        let (number, header) = &headers[at];
        let name = segment_name(*number);
        let newest = at + 1 == headers.len();
        let file = if reading.writable && newest { disk.open(&name) } else { disk.open_read(&name) };
        let file = file.map_err(failed(&name))?;
        let next_header = headers.get(at + 1).map(|(_, next)| next.as_ref());
        let next_first = next_header.map(|next| next.map(|next| next.first));
        let len = file.len().map_err(failed(&name))?;
        let fault = match header {
            Ok(header) if header.first != state.position + 1 && !after_gap => Some(format!(
                "the segment begins at position {}, but {} comes next: a segment or the end of one is missing",
                header.first,
                state.position + 1
            )),
            Ok(header) if header.before != state.hash && !after_gap => {
                Some("the chain is broken: the segment does not follow the one before".to_owned())
            }
            Ok(header) if header.incarnation < state.incarnation || header.time_ms < state.time_ms => {
                Some("the segment is older than the one before it".to_owned())
            }
            Ok(_) => None,
            Err(fault) => {
                match fault {
                    SegmentFault::Newer { found } => scan.newer = scan.newer.or(Some(*found)),
                    SegmentFault::Foreign => scan.foreign = scan.foreign.or_else(|| Some(name.clone())),
                    _ => {}
                }
                Some(fault.to_string())
            }
        };
        if let Some(what) = fault {
            scan.problems.push(Problem {
                segment: name.clone(),
                offset: 0,
                position: state.position + 1,
                what,
            });
            after_gap = true;
            if !reading.keep_going {
                break;
            }
        }
        if let Ok(header) = header {
            scan.format = scan.format.max(header.format);
            state = ChainState {
                position: header.first - 1,
                hash: header.before,
                incarnation: header.incarnation,
                time_ms: header.time_ms,
            };
        }
        let (first, state_before, made_by) = (state.position + 1, state.hash, state.incarnation);
        visitor.segment(*number, &name, first);
        if let (true, Ok(header), Some(Ok(next)), false) = (reading.believe, header, next_header, after_gap) {
            let believed = believe(disk, &name, file.as_ref(), header, next).map_err(failed(&name))?;
            if let Some((sidecar, confirmed)) = believed {
                if let Err(fault) = visitor.sidecar(&sidecar) {
                    // Its hash fits, so this is no accident; reading everything will tell.
                    scan.problems.push(Problem {
                        segment: name.clone(),
                        offset: 0,
                        position: first,
                        what: fault.to_string(),
                    });
                    break;
                }
                state = sidecar.head.end;
                scan.records += sidecar.head.records;
                scan.believed += 1;
                scan.confirmed = confirmed.or(scan.confirmed);
                scan.segments.push(ScannedSegment {
                    number: *number,
                    before: state_before,
                    incarnation: made_by,
                    end: len,
                    len,
                });
                continue;
            }
        }
        // Records behind this one stand in a later segment, or were never acknowledged.
        let limit = match next_first {
            Some(Ok(first)) => Some(first - 1),
            Some(Err(_)) => None,
            None if scan.poisoned => Some(mark.mark.head.position),
            None => None,
        };
        let mut segment = SegmentScan {
            window: Window::new(file.as_ref(), len),
            name: &name,
            last: next_first.is_none(),
            next_unreadable: matches!(next_first, Some(Err(_))),
            limit,
            marked: mark.mark.head,
            keep_going: reading.keep_going,
            after_gap,
            end: SEGMENT_HEADER_BYTES,
        };
        let before = scan.records;
        segment.run(&mut state, &mut scan, &mut visitor).map_err(failed(&name))?;
        after_gap = segment.after_gap;
        let end = segment.end;
        if let (Ok(header), false, true) = (header, newest, scan.problems.is_empty()) {
            let head = SidecarHead {
                number: *number,
                first: header.first,
                before: header.before,
                end: state,
                last_frame: 0,
                own_frame: 0,
                records: scan.records - before,
                bytes: 0,
                digest: [0; 32],
            };
            visitor.sealed(&name, head);
        }
        if newest {
            scan.newest = Some(file);
        }
        scan.segments.push(ScannedSegment {
            number: *number,
            before: state_before,
            incarnation: made_by,
            end,
            len,
        });
        if !scan.problems.is_empty() && !reading.keep_going {
            break;
        }
    }
    scan.state = ChainState { incarnation: state.incarnation.max(scan.state.incarnation), ..state };
    if scan.problems.is_empty() && mark.mark.head.position > state.position {
        let last = scan.segments.last();
        scan.problems.push(Problem {
            segment: last.map_or_else(|| segment_name(1), |last| segment_name(last.number)),
            offset: last.map_or(0, |last| last.end),
            position: state.position + 1,
            what: format!(
                "the head mark says that position {} was durable, but the journal ends at {}",
                mark.mark.head.position, state.position
            ),
        });
    }
    confirm(&mut scan, candidate, content);
    Ok((scan, visitor))
}

/// Whether the chain confirms the snapshot that was read, and no other.
fn confirm(scan: &mut StoreScan, candidate: Option<u64>, content: Option<(SnapshotHeader, u64, [u8; 32])>) {
    if !scan.problems.is_empty() {
        return;
    }
    let (number, what) = match (scan.confirmed, candidate) {
        (None, None) => return,
        (None, Some(number)) => (
            number,
            "no record of the chain behind it confirms this snapshot, and nothing older is there".to_owned(),
        ),
        (Some(said), candidate) if candidate != Some(said.number) => (
            said.number,
            format!(
                "the chain says that {} stands for all that is older, and it is missing",
                snapshot_name(said.number)
            ),
        ),
        (Some(said), _) => {
            let Some((header, bytes, digest)) = content else { return };
            if (said.position, said.hash) != (header.state.position, header.state.hash)
                || (said.bytes, said.digest) != (bytes, digest)
            {
                (said.number, "the snapshot is not the one that the chain confirms".to_owned())
            } else {
                return;
            }
        }
    };
    scan.problems.push(Problem { segment: snapshot_name(number), offset: 0, position: 1, what });
}

/// What a snapshot stands for, and what never became anything.
fn leftovers(found: &Names, candidate: Option<u64>) -> Vec<String> {
    let replaced = found.segments.iter().filter(|number| candidate.is_some_and(|from| **number < from));
    let snapshots = found.snapshots.iter().filter(|number| candidate != Some(**number));
    let mut names: Vec<String> = replaced
        .map(|number| segment_name(*number))
        .chain(snapshots.map(|number| snapshot_name(*number)))
        .collect();
    let there = |sidecar: &&String| {
        found
            .segments
            .iter()
            .map(|number| segment_name(*number))
            .chain(found.snapshots.iter().map(|number| snapshot_name(*number)))
            .any(|file| sidecar_name(&file) == **sidecar && !names.contains(&file))
    };
    let orphans: Vec<String> = found.sidecars.iter().filter(|sidecar| !there(sidecar)).cloned().collect();
    names.extend(orphans);
    names
}

type Believed = (Sidecar, Option<Confirmation>);

/// The sidecar of a sealed segment, if it agrees with everything that is cheap to ask.
fn believe(
    disk: &dyn Disk,
    name: &str,
    file: &dyn DiskFile,
    header: &SegmentHeader,
    next: &SegmentHeader,
) -> io::Result<Option<Believed>> {
    let Some(sidecar) = load_sidecar(disk, name)? else { return Ok(None) };
    let head = sidecar.head;
    let agrees = (head.number, head.first, head.before) == (header.number, header.first, header.before)
        && (head.end.position + 1, head.end.hash) == (next.first, next.before)
        && head.end.incarnation <= next.incarnation
        && head.end.time_ms <= next.time_ms;
    if !agrees {
        return Ok(None);
    }
    if head.last_frame > 0 && last_hash(file, head.last_frame)? != Some(head.end.hash) {
        return Ok(None);
    }
    let mut confirmed = None;
    if head.own_frame > 0 {
        confirmed = confirmation_at(file, head.own_frame)?;
        if confirmed.is_none() {
            return Ok(None);
        }
    }
    Ok(Some((sidecar, confirmed)))
}

fn frame_at(file: &dyn DiskFile, offset: u64) -> io::Result<Option<(FrameHeader, Vec<u8>)>> {
    let mut bytes = vec![0; HEADER_BYTES];
    if file.read_at(offset, &mut bytes)? < HEADER_BYTES {
        return Ok(None);
    }
    let Ok(header) = frame::parse_header(&bytes) else { return Ok(None) };
    let mut body = vec![0; header.frame_bytes() - HEADER_BYTES];
    let read = file.read_at(offset + HEADER_BYTES as u64, &mut body)?;
    if read < body.len() || frame::check_body(&header, &body).is_err() {
        return Ok(None);
    }
    Ok(Some((header, body)))
}

/// The chain hash behind the frame at `offset`, if a sound frame is there.
fn last_hash(file: &dyn DiskFile, offset: u64) -> io::Result<Option<[u8; 32]>> {
    let Some((header, body)) = frame_at(file, offset)? else { return Ok(None) };
    Ok(frame::walk(&header, &body, |_| Ok(())).ok().map(|state| state.hash))
}

fn confirmation_at(file: &dyn DiskFile, offset: u64) -> io::Result<Option<Confirmation>> {
    let Some((header, body)) = frame_at(file, offset)? else { return Ok(None) };
    let mut confirmed = None;
    let walked = frame::walk(&header, &body, |view| {
        if view.stream == SNAPSHOTS_STREAM {
            confirmed = Some(Confirmation::parse(view.kind, view.schema, view.payload)?);
        }
        Ok(())
    });
    Ok(walked.ok().and(confirmed))
}

type SnapshotRead = Result<(SnapshotHeader, u64, [u8; 32]), Problem>;

/// Reads a snapshot, or believes its sidecar; gives its header, length and BLAKE3. A problem is noted too.
fn read_snapshot<V: Visitor>(
    disk: &dyn Disk,
    number: u64,
    reading: Reading,
    scan: &mut StoreScan,
    visitor: &mut V,
) -> io::Result<SnapshotRead> {
    let name = snapshot_name(number);
    let file = disk.open_read(&name)?;
    let len = file.len()?;
    let mut window = Window::new(file.as_ref(), len);
    let problem = |scan: &mut StoreScan, offset: u64, position: Position, fault: &FrameFault| {
        if let FrameFault::Newer { found } = fault {
            scan.newer = scan.newer.or(Some(*found));
        }
        let problem = Problem { segment: name.clone(), offset, position, what: fault.to_string() };
        scan.problems.push(problem.clone());
        Ok(Err(problem))
    };
    let header = match SnapshotHeader::parse(window.get(0, SNAPSHOT_HEADER_BYTES as usize)?, number) {
        Ok(header) => header,
        Err(fault) => return problem(scan, 0, 1, &fault),
    };
    visitor.snapshot(number, &snapshot_name(number));
    if reading.believe
        && let Some(sidecar) = load_sidecar(disk, &snapshot_name(number))?
        && sidecar.head.number == number
        && sidecar.head.bytes == len
        && sidecar.head.end == header.state
        && (sidecar.head.last_frame == 0 || last_hash(file.as_ref(), sidecar.head.last_frame)?.is_some())
    {
        if let Err(fault) = visitor.sidecar(&sidecar) {
            return problem(scan, 0, 1, &fault);
        }
        scan.records += sidecar.head.records;
        scan.believed += 1;
        return Ok(Ok((header, len, sidecar.head.digest)));
    }
    let (mut at, mut last, mut records) =
        (SNAPSHOT_HEADER_BYTES, ChainState { position: 0, ..header.state }, 0);
    last.hash = CHAIN_START;
    while at < len {
        match snapshot_frame(&mut window, at, &header, &last, scan.mark.mark.head, visitor)? {
            Ok((length, next, count)) => {
                at += length;
                last = next;
                records += count;
            }
            Err(fault) => return problem(scan, at, last.position + 1, &fault),
        }
    }
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < len {
        let part = window.get(at, WINDOW_BYTES)?;
        if part.is_empty() {
            return problem(scan, at, 1, &FrameFault::CutOff);
        }
        hasher.update(part);
        at += part.len() as u64;
    }
    let digest = *hasher.finalize().as_bytes();
    scan.records += records;
    visitor.passed(Head { position: header.state.position, hash: header.state.hash });
    let head = SidecarHead {
        number,
        first: 1,
        before: CHAIN_START,
        end: header.state,
        last_frame: 0,
        own_frame: 0,
        records,
        bytes: len,
        digest,
    };
    visitor.sealed(&snapshot_name(number), head);
    Ok(Ok((header, len, digest)))
}

/// One frame of a snapshot: its length, where the chain stands behind it, how many records it holds.
fn snapshot_frame<V: Visitor>(
    window: &mut Window<'_>,
    at: u64,
    snapshot: &SnapshotHeader,
    last: &ChainState,
    marked: Head,
    visitor: &mut V,
) -> io::Result<Result<(u64, ChainState, u64), FrameFault>> {
    let header = match frame::parse_header(window.get(at, HEADER_BYTES)?) {
        Ok(header) => header,
        Err(fault) => return Ok(Err(fault)),
    };
    let length = header.frame_bytes();
    let bytes = window.get(at, length)?;
    if bytes.len() < length {
        return Ok(Err(FrameFault::CutOff));
    }
    let body = &bytes[HEADER_BYTES..];
    let visited = (|| {
        frame::check_body(&header, body)?;
        match header.kind {
            FrameKind::WriterOpened => return Err(FrameFault::HeaderNonsense("no writer opens a snapshot")),
            FrameKind::Retired => {
                visitor.retired(&fingerprints(&body[..header.body_bytes as usize])?);
                return Ok((*last, 0));
            }
            FrameKind::Records => {}
        }
        if header.first <= last.position
            || header.first + u64::from(header.records) > snapshot.state.position + 1
        {
            return Err(FrameFault::PositionGap { expected: last.position + 1, found: header.first });
        }
        if header.first == last.position + 1 && header.before != last.hash {
            return Err(FrameFault::ChainBroken);
        }
        let mut views = Vec::with_capacity(header.records as usize);
        let next = frame::walk(&header, body, |view| {
            views.push(view);
            Ok(())
        })?;
        if next.position == snapshot.state.position && next.hash != snapshot.state.hash {
            return Err(FrameFault::ChainBroken);
        }
        for view in &views {
            if view.position == marked.position && view.hash != marked.hash {
                return Err(FrameFault::NotAsMarked);
            }
            visitor.record(at, view, false)?;
        }
        Ok((next, u64::from(header.records)))
    })();
    Ok(visited.map(|(next, records)| (length as u64, next, records)))
}

struct SegmentScan<'a> {
    window: Window<'a>,
    name: &'a str,
    last: bool,
    /// Where this segment should end is unknown, because the next one's header is damaged.
    next_unreadable: bool,
    limit: Option<Position>,
    marked: Head,
    keep_going: bool,
    after_gap: bool,
    end: u64,
}

impl SegmentScan<'_> {
    fn run<V: Visitor>(
        &mut self,
        state: &mut ChainState,
        scan: &mut StoreScan,
        visit: &mut V,
    ) -> io::Result<()> {
        // What spoke against an offset when it was first found wanting. A writer at work may have finished
        // the frame before that evidence was written, so the offset is read once more after it.
        let mut suspect: Option<Suspect> = None;
        loop {
            let fault = match self.step(state, scan, visit)? {
                Step::Frame => continue,
                Step::Superseded => break,
                Step::Fault(fault) => fault,
            };
            let nonzero = self.window.last_nonzero(self.end)?;
            let (proof, later) = match suspect {
                Some(Suspect { offset, proof, later }) if offset == self.end => (proof, later),
                _ => {
                    let later = match nonzero {
                        Some(_) => self.later_frame(self.end + ALIGNMENT as u64)?,
                        None => None,
                    };
                    let proof = self.is_damage(&fault, state.position, nonzero.is_some())?;
                    if proof || nonzero.is_some() {
                        suspect = Some(Suspect { offset: self.end, proof, later });
                        self.window.forget();
                        continue;
                    }
                    (proof, later)
                }
            };
            if !proof {
                if let Some(nonzero) = nonzero {
                    self.leftover(scan, nonzero, &fault);
                }
                return Ok(());
            }
            if let FrameFault::Newer { found } = fault {
                scan.newer = scan.newer.or(Some(found));
            }
            scan.problems.push(Problem {
                segment: self.name.to_owned(),
                offset: self.end,
                position: state.position + 1,
                what: match nonzero {
                    None => format!("the segment ends here, though later records were durable ({fault})"),
                    Some(_) => fault.to_string(),
                },
            });
            self.after_gap = true;
            let Some((offset, header)) = later.filter(|_| self.keep_going) else {
                return Ok(());
            };
            self.end = offset;
            *state = ChainState {
                position: header.first - 1,
                hash: header.before,
                incarnation: header.incarnation,
                time_ms: header.time_ms,
            };
        }
        if let Some(nonzero) = self.window.last_nonzero(self.end)? {
            self.leftover(scan, nonzero, &FrameFault::NoMagic);
        }
        Ok(())
    }

    /// Whether anything proves that the faulty place held a durable frame.
    fn is_damage(&mut self, fault: &FrameFault, position: Position, nonzero: bool) -> io::Result<bool> {
        if matches!(fault, FrameFault::StreamBroken(_) | FrameFault::NotAsMarked | FrameFault::Newer { .. }) {
            return Ok(true);
        }
        if self.limit.is_some_and(|limit| position >= limit) {
            return Ok(false);
        }
        if self.next_unreadable {
            return Ok(nonzero);
        }
        if !self.last || self.marked.position > position {
            return Ok(true);
        }
        Ok(nonzero && self.durable_behind(position)?)
    }

    /// Bytes behind the last frame that were never acknowledged.
    fn leftover(&self, scan: &mut StoreScan, nonzero: u64, fault: &FrameFault) {
        let bytes = nonzero + 1 - self.end;
        if self.last {
            scan.tail = Some(Tail {
                segment: self.name.to_owned(),
                offset: self.end,
                bytes,
                what: fault.to_string(),
            });
        } else {
            scan.notes.push(format!(
                "{}: {bytes} bytes at {} were never acknowledged; the next segment goes on without them",
                self.name, self.end
            ));
        }
    }

    fn step<V: Visitor>(
        &mut self,
        state: &mut ChainState,
        scan: &mut StoreScan,
        visit: &mut V,
    ) -> io::Result<Step> {
        let header = match frame::parse_header(self.window.get(self.end, HEADER_BYTES)?) {
            Ok(header) => header,
            Err(fault) => return Ok(Step::Fault(fault)),
        };
        let length = header.frame_bytes();
        let bytes = self.window.get(self.end, length)?;
        if bytes.len() < length {
            return Ok(Step::Fault(FrameFault::CutOff));
        }
        let body = &bytes[HEADER_BYTES..];
        if let Err(fault) = frame::check_body(&header, body) {
            return Ok(Step::Fault(fault));
        }
        if header.kind == FrameKind::Retired {
            return Ok(Step::Fault(FrameFault::HeaderNonsense(
                "names of retired streams stand in snapshots only",
            )));
        }
        if header.kind == FrameKind::Records && self.limit.is_some_and(|limit| header.first > limit) {
            return Ok(Step::Superseded);
        }
        if let Err(fault) = frame::check_follows(&header, state) {
            return Ok(Step::Fault(fault));
        }
        let mut views = Vec::with_capacity(header.records as usize);
        let walked = frame::walk(&header, body, |view| {
            views.push(view);
            Ok(())
        });
        let next = match walked {
            Ok(next) => next,
            Err(fault) => return Ok(Step::Fault(fault)),
        };
        for view in &views {
            if view.position == self.marked.position && view.hash != self.marked.hash {
                return Ok(Step::Fault(FrameFault::NotAsMarked));
            }
            if view.stream == SNAPSHOTS_STREAM {
                match Confirmation::parse(view.kind, view.schema, view.payload) {
                    Ok(confirmed) => scan.confirmed = Some(confirmed),
                    Err(fault) => return Ok(Step::Fault(fault)),
                }
            }
            if let Err(fault) = visit.record(self.end, view, self.after_gap) {
                return Ok(Step::Fault(fault));
            }
        }
        scan.records += u64::from(header.records);
        *state = next;
        self.end += length as u64;
        Ok(Step::Frame)
    }

    /// The first sound frame at or behind `from`, wherever it belongs in the chain.
    fn later_frame(&mut self, mut from: u64) -> io::Result<Option<(u64, FrameHeader)>> {
        loop {
            let bytes = self.window.get(from, HEADER_BYTES)?;
            if bytes.len() < HEADER_BYTES {
                return Ok(None);
            }
            if bytes[..4] == frame::MAGIC
                && let Ok(header) = frame::parse_header(bytes)
            {
                let length = header.frame_bytes();
                let frame = self.window.get(from, length)?;
                if frame.len() == length && frame::check_body(&header, &frame[HEADER_BYTES..]).is_ok() {
                    return Ok(Some((from, header)));
                }
            }
            from += ALIGNMENT as u64;
        }
    }

    /// Whether a sound frame in the rest of the segment says that a record behind `position` was durable.
    fn durable_behind(&mut self, position: Position) -> io::Result<bool> {
        // From the faulty frame itself: if its bytes are sound, its own word counts.
        let mut from = self.end;
        while let Some((offset, header)) = self.later_frame(from)? {
            if header.durable > position {
                return Ok(true);
            }
            from = offset + header.frame_bytes() as u64;
        }
        Ok(false)
    }
}

/// A place that is not the next frame, and what was found out about it.
struct Suspect {
    offset: u64,
    proof: bool,
    /// The next sound frame.
    later: Option<(u64, FrameHeader)>,
}

enum Step {
    Frame,
    /// A sound frame that the next segment replaces.
    Superseded,
    Fault(FrameFault),
}

/// A sliding view of a file.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    pub fn new(file: &'a dyn DiskFile, len: u64) -> Window<'a> {
        Window { file, len, buffer: Vec::new(), start: 0 }
    }

    /// Drops what was read, so that it is read again.
    fn forget(&mut self) {
        self.buffer.clear();
    }

    /// `wanted` bytes from `offset`; fewer only at the end of the file.
    pub fn get(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let held = self.start..self.start + self.buffer.len() as u64;
        let to = (offset + wanted as u64).min(self.len);
        if offset >= to {
            return Ok(&[]);
        }
        if offset < held.start || to > held.end {
            let size = (self.len - offset).min(wanted.max(WINDOW_BYTES) as u64) as usize;
            self.buffer.resize(size, 0);
            self.start = offset;
            let read = self.file.read_at(offset, &mut self.buffer)?;
            // A file that became shorter meanwhile (a sealed segment gives back its spare space).
            self.buffer.truncate(read);
        }
        let from = (offset - self.start) as usize;
        let until = ((to - self.start) as usize).min(self.buffer.len());
        Ok(&self.buffer[from.min(until)..until])
    }

    /// Offset of the last byte at or behind `from` that is not zero.
    fn last_nonzero(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        let mut last = None;
        loop {
            let part = self.get(from, WINDOW_BYTES)?;
            if part.is_empty() {
                return Ok(last);
            }
            if let Some(at) = part.iter().rposition(|byte| *byte != 0) {
                last = Some(from + at as u64);
            }
            from += part.len() as u64;
        }
    }
}
