//! Reads a whole journal and says what it is: sound, damaged, or ending in an unfinished write.
//!
//! Rule: bytes that are not the next frame are an unfinished write only if nothing proves that they were
//! durable once. Proof is: a later segment, a later frame whose header says so, or the head mark.
//! Everything else is damage. Opening and verifying both go through here, so they cannot disagree.
//!
//! It takes no lock and writes nothing, and works while a writer is at work: the mark is read first, and
//! a suspicious place is read again after the evidence against it, before anything is called damage.

mod chain;
mod frames;
mod sidecars;
mod snapshots;
mod window;

use std::io;
use std::sync::Arc;

pub(crate) use window::Window;

use crate::disk::{Disk, DiskFile};
use crate::frame::{ChainState, FrameFault, RecordView};
use crate::mark::{self, MarkFound};
use crate::record::{ChainHash, Head, Position};
use crate::segment::{is_unfinished, segment_number};
use crate::sidecar::{Sidecar, SidecarHead, is_sidecar};
use crate::snapshot::{Confirmation, snapshot_number};
use chain::scan_from;

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
