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
use crate::record::{CHAIN_START, Head, Position};
use crate::segment::{
    SEGMENT_HEADER_BYTES, SegmentFault, SegmentHeader, is_unfinished, segment_name, segment_number,
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
    pub first: Position,
    /// End of the last frame.
    pub end: u64,
    pub len: u64,
}

pub(crate) struct StoreScan {
    pub segments: Vec<ScannedSegment>,
    /// The file of the last one.
    pub newest: Option<Arc<dyn DiskFile>>,
    pub state: ChainState,
    pub records: u64,
    pub problems: Vec<Problem>,
    /// True if the first problem is only that a newer program wrote it.
    pub newer: Option<u16>,
    pub tail: Option<Tail>,
    pub notes: Vec<String>,
    pub unfinished: Vec<String>,
    pub mark: MarkFound,
    /// Writes failed behind the mark in the last segment, and nobody has recovered since.
    pub poisoned: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {name}: {source}")]
pub(crate) struct ScanError {
    pub name: String,
    pub source: io::Error,
}

/// What the caller is told about each sound record: index of its segment, offset of its frame, the
/// record, and whether records before it are missing.
pub(crate) type Visit<'v> = dyn FnMut(usize, u64, &RecordView<'_>, bool) -> Result<(), FrameFault> + 'v;

/// Reads everything in `disk`. With `keep_going` it goes on behind a problem to find the next ones.
pub(crate) fn scan_store(
    disk: &dyn Disk,
    writable: bool,
    keep_going: bool,
    visit: &mut Visit<'_>,
) -> Result<StoreScan, ScanError> {
    let failed = |name: &str| {
        let name = name.to_owned();
        move |source| ScanError { name, source }
    };
    // Before the list and the files: whatever the mark names was written before it.
    let mark = mark::load(disk).map_err(failed(mark::MARK_NAME))?;
    let names = disk.list().map_err(failed("the directory"))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();

    let mut scan = StoreScan {
        segments: Vec::new(),
        newest: None,
        state: ChainState { position: 0, hash: CHAIN_START, incarnation: mark.mark.incarnation, time_ms: 0 },
        records: 0,
        problems: Vec::new(),
        newer: None,
        tail: None,
        notes: Vec::new(),
        unfinished: names.into_iter().filter(|name| is_unfinished(name)).collect(),
        poisoned: false,
        mark,
    };
    if mark.damaged {
        scan.notes.push(format!(
            "{} is damaged in part; it is only a witness and is written anew",
            mark::MARK_NAME
        ));
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

    let mut after_gap = false;
    // The chain's incarnation starts at 0; the mark's only bounds the next writer's from below.
    let mut state = ChainState { incarnation: 0, ..scan.state };
    for at in 0..headers.len() {
        let (number, header) = &headers[at];
        let name = segment_name(*number);
        let newest = at + 1 == headers.len();
        let file = if writable && newest { disk.open(&name) } else { disk.open_read(&name) };
        let file = file.map_err(failed(&name))?;
        let next_first = headers.get(at + 1).map(|(_, next)| next.as_ref().map(|next| next.first));
        let len = file.len().map_err(failed(&name))?;
        let fault = match header {
            Ok(header) if header.first != state.position + 1 => Some(format!(
                "the segment begins at position {}, but {} comes next: a segment or the end of one is missing",
                header.first,
                state.position + 1
            )),
            Ok(header) if header.before != state.hash => {
                Some("the chain is broken: the segment does not follow the one before".to_owned())
            }
            Ok(header) if header.incarnation < state.incarnation || header.time_ms < state.time_ms => {
                Some("the segment is older than the one before it".to_owned())
            }
            Ok(_) => None,
            Err(fault) => {
                if let SegmentFault::Newer { found } = fault {
                    scan.newer = scan.newer.or(Some(*found));
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
            if !keep_going {
                break;
            }
        }
        if let Ok(header) = header {
            state = ChainState {
                position: header.first - 1,
                hash: header.before,
                incarnation: header.incarnation,
                time_ms: header.time_ms,
            };
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
            index: at,
            last: next_first.is_none(),
            next_unreadable: matches!(next_first, Some(Err(_))),
            limit,
            marked: mark.mark.head,
            keep_going,
            after_gap,
            end: SEGMENT_HEADER_BYTES,
        };
        segment.run(&mut state, &mut scan, visit).map_err(failed(&name))?;
        after_gap = segment.after_gap;
        let end = segment.end;
        if newest {
            scan.newest = Some(file);
        }
        scan.segments.push(ScannedSegment {
            number: *number,
            first: header.as_ref().map_or(state.position + 1, |header| header.first),
            end,
            len,
        });
        if !scan.problems.is_empty() && !keep_going {
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
    Ok(scan)
}

struct SegmentScan<'a> {
    window: Window<'a>,
    name: &'a str,
    index: usize,
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
    fn run(&mut self, state: &mut ChainState, scan: &mut StoreScan, visit: &mut Visit<'_>) -> io::Result<()> {
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

    fn step(
        &mut self,
        state: &mut ChainState,
        scan: &mut StoreScan,
        visit: &mut Visit<'_>,
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
            if let Err(fault) = visit(self.index, self.end, view, self.after_gap) {
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
struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile, len: u64) -> Window<'a> {
        Window { file, len, buffer: Vec::new(), start: 0 }
    }

    /// Drops what was read, so that it is read again.
    fn forget(&mut self) {
        self.buffer.clear();
    }

    /// `wanted` bytes from `offset`; fewer only at the end of the file.
    fn get(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
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
