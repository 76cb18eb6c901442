//! A journal as one portable file: the snapshot if there is one, every frame of the chain, a trailer.
//!
//! ```text
//! header, 128 bytes: magic "EXJEXP\r\n", version u16 (1) at 8, number of the snapshot u64 at 16 (0 for none),
//!                    its length u64 at 24, CRC32 of bytes 0..116 at 116, else zero
//! the snapshot's file, byte by byte
//! frames, byte by byte, as they follow each other in the segments (frame.rs)
//! trailer, 128 bytes: magic "EXJTRAIL", position of the head u64 at 16, its chain hash at 24, number of
//!                    records u64 at 56, bytes before the trailer u64 at 64, BLAKE3 of them at 72,
//!                    CRC32 of bytes 0..116 at 116, else zero
//! ```
//! Rule: only what checksums and chain confirm is written, up to one durable head; the trailer comes last, so
//! an export that was cut off is not one.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::Journal;
use crate::disk::{Disk, RealDisk};
use crate::frame::{self, ChainState, FrameFault, FrameKind, HEADER_BYTES};
use crate::record::{CHAIN_START, Head, Position};
use crate::scan::{Problem, Window};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_number};
use crate::snapshot::{SNAPSHOT_HEADER_BYTES, SnapshotHeader, snapshot_number};
use crate::verify::verify_on;

pub(crate) const EXPORT_MAGIC: [u8; 8] = *b"EXJEXP\r\n";
pub(crate) const TRAILER_MAGIC: [u8; 8] = *b"EXJTRAIL";
pub(crate) const EXPORT_FORMAT: u16 = 1;
pub(crate) const EXPORT_HEADER_BYTES: usize = 128;
pub(crate) const TRAILER_BYTES: usize = 128;
const COPY_BYTES: usize = 256 * 1024;

/// What was exported or imported. Keep the head: `verify_against` and `import` compare with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportReport {
    pub head: Head,
    pub records: u64,
    pub bytes: u64,
}

/// Why nothing usable was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A compaction, a backup or another export is at work.
    #[error("a compaction, a backup or another export is at work; try again later")]
    Busy,
    #[error("there is no journal in {directory}")]
    NoJournal { directory: String },
    #[error("the journal is damaged: {0}; `journal verify` lists every place, restore a backup")]
    Damaged(Problem),
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ExportError {
    let doing = doing.into();
    move |source| ExportError::Io { doing, source }
}

/// The files of a journal and where its durable end is.
pub(crate) struct Extent {
    pub files: Vec<String>,
    pub head: Head,
}

impl Journal {
    /// Writes everything up to the present durable head to `to`, while appending goes on. Blocks.
    ///
    /// # Errors
    /// [`ExportError`]; what has been written then is not an export.
    pub fn export(&self, to: &mut dyn Write) -> Result<ExportReport, ExportError> {
        let (shared, disk) = self.parts();
        let Ok(_files_stay) = shared.maintenance.try_lock() else { return Err(ExportError::Busy) };
        let extent = {
            let view = shared.view();
            Extent { files: view.index.file_names(), head: view.head }
        };
        export_files(disk.as_ref(), &extent, to)
    }
}

/// As [`Journal::export`], of a journal that nobody has open.
///
/// # Errors
/// [`ExportError`].
pub fn export(dir: &Path, to: &mut dyn Write) -> Result<ExportReport, ExportError> {
    let disk = RealDisk::existing(dir)
        .map_err(|_| ExportError::NoJournal { directory: dir.display().to_string() })?;
    let report = verify_on(&disk).map_err(|error| failed("read the journal")(io::Error::other(error)))?;
    if let Some(problem) = report.problems.first() {
        return Err(ExportError::Damaged(problem.clone()));
    }
    let mut names = disk.list().map_err(failed("list the journal"))?;
    let snapshot = names.iter().filter_map(|name| Some((snapshot_number(name)?, name.clone()))).max();
    let from = snapshot.as_ref().map_or(0, |(number, _)| *number);
    names.retain(|name| segment_number(name).is_some_and(|number| number >= from));
    names.sort();
    if names.is_empty() {
        return Err(ExportError::NoJournal { directory: dir.display().to_string() });
    }
    let files = snapshot.map(|(_, name)| name).into_iter().chain(names).collect();
    export_files(&disk, &Extent { files, head: report.head }, to)
}

/// Hashes and counts what goes through.
struct Hashed<'a> {
    to: &'a mut dyn Write,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.to.write_all(bytes).map_err(failed("write the export"))
    }
}

fn export_files(disk: &dyn Disk, extent: &Extent, to: &mut dyn Write) -> Result<ExportReport, ExportError> {
    let mut out = Hashed { to, hasher: blake3::Hasher::new(), bytes: 0 };
    let mut header = [0; EXPORT_HEADER_BYTES];
    header[..8].copy_from_slice(&EXPORT_MAGIC);
    header[8..10].copy_from_slice(&EXPORT_FORMAT.to_le_bytes());
    let mut state = ChainState { position: 0, hash: CHAIN_START, incarnation: 0, time_ms: 0 };
    let mut records = 0;
    let mut files = extent.files.iter().peekable();
    let snapshot = files.next_if(|name| snapshot_number(name).is_some());
    let opened = match snapshot {
        Some(name) => {
            let file = disk.open_read(name).map_err(failed(format!("open {name}")))?;
            let len = file.len().map_err(failed(format!("read {name}")))?;
            header[16..24].copy_from_slice(&snapshot_number(name).unwrap_or(0).to_le_bytes());
            header[24..32].copy_from_slice(&len.to_le_bytes());
            Some((name, file, len))
        }
        None => None,
    };
    let crc = crc32fast::hash(&header[..116]);
    header[116..120].copy_from_slice(&crc.to_le_bytes());
    out.write(&header)?;
    if let Some((name, file, len)) = opened {
        (state, records) = copy_snapshot(name, file.as_ref(), len, &mut out)?;
    }
    let names: Vec<&String> = files.collect();
    for (at, name) in names.iter().enumerate() {
        let file = disk.open_read(name).map_err(failed(format!("open {name}")))?;
        let limit = match names.get(at + 1) {
            Some(next) => first_of(disk, next)?.saturating_sub(1),
            None => extent.head.position,
        };
        records += copy_segment(name, &file, limit, &mut state, &mut out)?;
    }
    let found = Head { position: state.position, hash: state.hash };
    if found != extent.head {
        let segment = names.last().map_or_else(String::new, |name| (*name).clone());
        let what = format!("it ends at {found:?}, not at the durable head {:?}", extent.head);
        return Err(ExportError::Damaged(Problem { segment, offset: 0, position: found.position + 1, what }));
    }
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..8].copy_from_slice(&TRAILER_MAGIC);
    trailer[16..24].copy_from_slice(&found.position.to_le_bytes());
    trailer[24..56].copy_from_slice(&found.hash);
    trailer[56..64].copy_from_slice(&records.to_le_bytes());
    trailer[64..72].copy_from_slice(&out.bytes.to_le_bytes());
    trailer[72..104].copy_from_slice(out.hasher.finalize().as_bytes());
    let crc = crc32fast::hash(&trailer[..116]);
    trailer[116..120].copy_from_slice(&crc.to_le_bytes());
    out.to.write_all(&trailer).and_then(|()| out.to.flush()).map_err(failed("write the export"))?;
    Ok(ExportReport { head: found, records, bytes: out.bytes + TRAILER_BYTES as u64 })
}

fn damaged(name: &str, offset: u64, position: Position, fault: &FrameFault) -> ExportError {
    ExportError::Damaged(Problem { segment: name.to_owned(), offset, position, what: fault.to_string() })
}

fn first_of(disk: &dyn Disk, name: &str) -> Result<Position, ExportError> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    let file = disk.open_read(name).map_err(failed(format!("open {name}")))?;
    let read = file.read_at(0, &mut bytes).map_err(failed(format!("read {name}")))?;
    let header = SegmentHeader::parse(&bytes[..read], segment_number(name).unwrap_or(0));
    let damaged = |fault: crate::segment::SegmentFault| {
        ExportError::Damaged(Problem {
            segment: name.to_owned(),
            offset: 0,
            position: 0,
            what: fault.to_string(),
        })
    };
    Ok(header.map_err(damaged)?.first)
}

/// Copies a snapshot; the chain behind it names its hash, which importing compares.
fn copy_snapshot(
    name: &str,
    file: &dyn crate::disk::DiskFile,
    len: u64,
    out: &mut Hashed<'_>,
) -> Result<(ChainState, u64), ExportError> {
    let mut window = Window::new(file, len);
    let bytes = window.get(0, SNAPSHOT_HEADER_BYTES as usize).map_err(failed(format!("read {name}")))?;
    let header = SnapshotHeader::parse(bytes, snapshot_number(name).unwrap_or(0))
        .map_err(|fault| damaged(name, 0, 1, &fault))?;
    let (mut at, mut records) = (SNAPSHOT_HEADER_BYTES, 0);
    while at < len {
        let read = window.get(at, HEADER_BYTES).map_err(failed(format!("read {name}")))?;
        let frame = frame::parse_header(read).map_err(|fault| damaged(name, at, 1, &fault))?;
        records += u64::from(frame.records);
        at += frame.frame_bytes() as u64;
    }
    let mut at = 0;
    while at < len {
        let part = window.get(at, COPY_BYTES).map_err(failed(format!("read {name}")))?;
        if part.is_empty() {
            return Err(damaged(name, at, 1, &FrameFault::CutOff));
        }
        out.write(part)?;
        at += part.len() as u64;
    }
    Ok((header.state, records))
}

/// Copies the frames of a segment up to the record at `limit`; gives the number of records.
fn copy_segment(
    name: &str,
    file: &Arc<dyn crate::disk::DiskFile>,
    limit: Position,
    state: &mut ChainState,
    out: &mut Hashed<'_>,
) -> Result<u64, ExportError> {
    let len = file.len().map_err(failed(format!("read {name}")))?;
    let mut window = Window::new(file.as_ref(), len);
    let (mut at, mut records) = (SEGMENT_HEADER_BYTES, 0);
    loop {
        let frame = next_frame(&mut window, at, limit, state).map_err(failed(format!("read {name}")))?;
        match frame {
            Ok((length, next, count)) => {
                out.write(window.get(at, length).map_err(failed(format!("read {name}")))?)?;
                at += length as u64;
                *state = next;
                records += count;
            }
            // Behind the last durable record anything may stand.
            Err(_) if state.position >= limit => return Ok(records),
            Err(fault) => return Err(damaged(name, at, state.position + 1, &fault)),
        }
    }
}

type NextFrame = Result<(usize, ChainState, u64), FrameFault>;

fn next_frame(
    window: &mut Window<'_>,
    at: u64,
    limit: Position,
    state: &ChainState,
) -> io::Result<NextFrame> {
    let (header, body) = match window.frame(at)? {
        Ok(found) => found,
        Err(fault) => return Ok(Err(fault)),
    };
    Ok((|| {
        frame::check_body(&header, body)?;
        frame::check_follows(&header, state)?;
        if header.kind == FrameKind::Retired || header.first + u64::from(header.records) > limit + 1 {
            return Err(FrameFault::NoMagic);
        }
        let next = frame::walk(&header, body, |_| Ok(()))?;
        Ok((header.frame_bytes(), next, u64::from(header.records)))
    })())
}
