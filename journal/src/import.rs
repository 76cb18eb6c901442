//! Makes a journal from an export.
//!
//! Rule: the directory must be empty or absent, and nothing counts before everything has been verified: the
//! files are made in a directory beside it, checked in full (checksums, chain, streams, snapshot, trailer, the
//! expected head), synced, and only then put in place by one rename.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::hex;
use crate::disk::{Disk, DiskFile, RealDisk, create_directory, is_full, sync_directory};
use crate::export::{
    EXPORT_FORMAT, EXPORT_HEADER_BYTES, EXPORT_MAGIC, ExportReport, TRAILER_BYTES, TRAILER_MAGIC,
};
use crate::frame::{self, ChainState, FrameFault, FrameKind, HEADER_BYTES, hash_at, u16_at, u32_at, u64_at};
use crate::record::{CHAIN_START, Head};
use crate::segment::{FORMAT_PLAIN, FORMAT_SNAPSHOT, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::snapshot::{SNAPSHOT_HEADER_BYTES, SnapshotHeader, snapshot_name};
use crate::verify::verify_on;

/// Segments of an imported journal are about this long.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const COPY_BYTES: usize = 256 * 1024;

/// Why nothing was imported. The directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Import only makes new journals. Name an empty directory, or move the old one away.
    #[error("{directory} is not empty; nothing was changed, import into an empty or new directory")]
    NotEmpty { directory: String },
    #[error("this is not an export of a journal (its beginning is not one)")]
    NotAnExport,
    #[error("the export has format version {found}, this program reads {known}; use the newer program")]
    Newer { found: u16, known: u16 },
    /// The file was changed or cut off. Fetch it again.
    #[error("the export is damaged at byte {offset}: {what}; fetch it again")]
    Damaged { offset: u64, what: String },
    /// Sound in itself, but not the one that was expected: another one, or an older one.
    #[error("the export ends at {found}, but {expected} was expected; it is another or an older one")]
    OtherHead { expected: Head, found: Head },
    #[error("no space to import; free some and import again")]
    DiskFull,
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ImportError {
    let doing = doing.into();
    move |source| {
        if is_full(&source) {
            return ImportError::DiskFull;
        }
        ImportError::Io { doing, source }
    }
}

/// Makes a journal in `dir` from what an export wrote; with `expected` only if it ends at that head.
///
/// # Errors
/// [`ImportError`]; `dir` is as it was then.
pub fn import(dir: &Path, from: &mut dyn Read, expected: Option<Head>) -> Result<ExportReport, ImportError> {
    let occupied = || ImportError::NotEmpty { directory: dir.display().to_string() };
    match std::fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(occupied()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(format!("look into {}", dir.display()))(error));
        }
        _ => {}
    }
    let staging = beside(dir);
    // Left behind by an import that was cut short; nobody else makes this name.
    match std::fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(format!("remove {}", staging.display()))(error));
        }
        _ => {}
    }
    create_directory(&staging).map_err(failed(format!("make {}", staging.display())))?;
    let done = stage(&staging, from, expected).and_then(|report| {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Over an empty directory a rename is one step too.
        std::fs::rename(&staging, dir)
            .and_then(|()| sync_directory(parent))
            .map_err(failed(format!("put the journal at {}", dir.display())))?;
        Ok(report)
    });
    if done.is_err() {
        let _ = std::fs::remove_dir_all(&staging);
    }
    done
}

fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".importing");
    dir.with_file_name(name)
}

/// Reads, hashes and counts.
struct Source<'a> {
    from: &'a mut dyn Read,
    hasher: blake3::Hasher,
    offset: u64,
}

impl Source<'_> {
    fn damaged(&self, what: impl ToString) -> ImportError {
        ImportError::Damaged { offset: self.offset, what: what.to_string() }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), ImportError> {
        self.from.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it is cut off"),
            _ => failed("read the export")(error),
        })
    }

    fn take(&mut self, into: &mut [u8]) -> Result<(), ImportError> {
        self.fill(into)?;
        self.count(into);
        Ok(())
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
    }
}

/// Writes the segments one after the other.
struct Output<'a> {
    disk: &'a RealDisk,
    format: u16,
    number: u64,
    file: Option<Arc<dyn DiskFile>>,
    end: u64,
    files: Vec<Arc<dyn DiskFile>>,
}

impl Output<'_> {
    fn write(&mut self, frame: &[u8], before: &ChainState) -> Result<(), ImportError> {
        if self.file.is_none() || self.end + frame.len() as u64 > SEGMENT_BYTES {
            self.number += u64::from(self.file.is_some());
            let name = segment_name(self.number);
            let file = self.disk.create(&name).map_err(failed(format!("make {name}")))?;
            let header = SegmentHeader::new(self.format, self.number, before);
            file.write_at(0, &header.to_bytes()).map_err(failed(format!("write {name}")))?;
            self.files.push(file.clone());
            self.file = Some(file);
            self.end = SEGMENT_HEADER_BYTES;
        }
        if let Some(file) = &self.file {
            file.write_at(self.end, frame).map_err(failed("write a segment"))?;
        }
        self.end += frame.len() as u64;
        Ok(())
    }
}

fn stage(staging: &Path, from: &mut dyn Read, expected: Option<Head>) -> Result<ExportReport, ImportError> {
    let disk = RealDisk::existing(staging).map_err(failed("open the new directory"))?;
    let mut source = Source { from, hasher: blake3::Hasher::new(), offset: 0 };
    let mut header = [0; EXPORT_HEADER_BYTES];
    source.fill(&mut header)?;
    if header[..8] != EXPORT_MAGIC {
        return Err(ImportError::NotAnExport);
    }
    if crc32fast::hash(&header[..116]) != u32_at(&header, 116) {
        return Err(source.damaged("its header does not match its checksum"));
    }
    let found = u16_at(&header, 8);
    if found != EXPORT_FORMAT {
        return Err(ImportError::Newer { found, known: EXPORT_FORMAT });
    }
    source.count(&header);
    let mut state = ChainState { position: 0, hash: CHAIN_START, incarnation: 0, time_ms: 0 };
    let number = u64_at(&header, 16);
    let format = if number > 0 { FORMAT_SNAPSHOT } else { FORMAT_PLAIN };
    let mut output =
        Output { disk: &disk, format, number: number.max(1), file: None, end: 0, files: Vec::new() };
    if number > 0 {
        let (file, at) = take_snapshot(&disk, number, u64_at(&header, 24), &mut source)?;
        output.files.push(file);
        state = at;
    }
    let trailer = take_frames(&mut source, &mut output, &mut state)?;
    let mut byte = [0];
    if source.from.read(&mut byte).map_err(failed("read the export"))? > 0 {
        return Err(source.damaged("something follows its trailer"));
    }
    let head = Head { position: u64_at(&trailer, 16), hash: hash_at(&trailer, 24) };
    if u64_at(&trailer, 64) != source.offset || hash_at(&trailer, 72) != *source.hasher.finalize().as_bytes()
    {
        return Err(source.damaged("its bytes are not those that its trailer names"));
    }
    if (state.position, state.hash) != (head.position, head.hash) {
        return Err(source.damaged(format!("its chain ends at {}, its trailer says {head}", state.position)));
    }
    // As opening will see it: streams, snapshot and its confirmation, every checksum once more from disk.
    let report =
        verify_on(&disk).map_err(|error| failed("read what was imported")(io::Error::other(error)))?;
    if let Some(problem) = report.problems.first() {
        return Err(source.damaged(problem));
    }
    if report.head != head || report.records != u64_at(&trailer, 56) {
        return Err(source.damaged("the records are not those that its trailer counts"));
    }
    if let Some(expected) = expected.filter(|expected| *expected != head) {
        return Err(ImportError::OtherHead { expected, found: head });
    }
    for file in &output.files {
        file.sync_data().map_err(failed("sync the new journal"))?;
    }
    disk.sync_directory().map_err(failed("sync the new directory"))?;
    Ok(ExportReport { head, records: report.records, bytes: source.offset + TRAILER_BYTES as u64 })
}

type Snapshot = (Arc<dyn DiskFile>, ChainState);

fn take_snapshot(
    disk: &RealDisk,
    number: u64,
    length: u64,
    source: &mut Source<'_>,
) -> Result<Snapshot, ImportError> {
    let name = snapshot_name(number);
    let file = disk.create(&name).map_err(failed(format!("make {name}")))?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut state = None;
    let mut at = 0;
    if length < SNAPSHOT_HEADER_BYTES {
        return Err(source.damaged("its snapshot is too short"));
    }
    while at < length {
        let part = usize::try_from(length - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        source.take(&mut buffer[..part])?;
        if at == 0 {
            let header =
                SnapshotHeader::parse(&buffer[..part], number).map_err(|fault| source.damaged(fault))?;
            state = Some(header.state);
        }
        file.write_at(at, &buffer[..part]).map_err(failed(format!("write {name}")))?;
        at += part as u64;
    }
    state.map(|state| (file, state)).ok_or_else(|| source.damaged("its snapshot has no header"))
}

/// Takes all frames; gives the trailer, which is not counted.
fn take_frames(
    source: &mut Source<'_>,
    output: &mut Output<'_>,
    state: &mut ChainState,
) -> Result<Vec<u8>, ImportError> {
    let mut bytes = vec![0; HEADER_BYTES];
    loop {
        bytes.resize(HEADER_BYTES, 0);
        source.fill(&mut bytes)?;
        if bytes[..8] == TRAILER_MAGIC {
            bytes.resize(TRAILER_BYTES, 0);
            source.fill(&mut bytes[HEADER_BYTES..])?;
            if crc32fast::hash(&bytes[..116]) != u32_at(&bytes, 116)
                || bytes[120..].iter().any(|byte| *byte != 0)
            {
                return Err(source.damaged("its trailer does not match its checksum"));
            }
            return Ok(bytes);
        }
        let header = frame::parse_header(&bytes).map_err(|fault| source.damaged(fault))?;
        bytes.resize(header.frame_bytes(), 0);
        source.fill(&mut bytes[HEADER_BYTES..])?;
        let checked = (|| {
            if header.kind == FrameKind::Retired {
                return Err(FrameFault::HeaderNonsense("names of retired streams stand in snapshots only"));
            }
            frame::check_body(&header, &bytes[HEADER_BYTES..])?;
            frame::check_follows(&header, state)?;
            frame::walk(&header, &bytes[HEADER_BYTES..], |_| Ok(()))
        })();
        let next = checked.map_err(|fault| source.damaged(fault))?;
        source.count(&bytes);
        output.write(&bytes, state)?;
        *state = next;
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}", self.position, hex(&self.hash))
    }
}

/// A text that is not a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a head: expected a position, a colon and 64 lower-case hexadecimal digits")]
pub struct HeadError {
    given: String,
}

impl std::str::FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Head, HeadError> {
        let parsed = text.split_once(':').and_then(|(position, hash)| {
            Some(Head { position: position.parse().ok()?, hash: crate::digest::unhex(hash)? })
        });
        parsed.ok_or_else(|| HeadError { given: text.chars().take(100).collect() })
    }
}
