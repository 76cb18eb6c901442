//! Checks a whole journal without touching it.
//!
//! Rule: read-only and without a lock, so it may run beside a writer. An unfinished write at the end is
//! reported as a tail, not as damage. What it cannot see: a tail cut off together with the head mark, or a
//! whole older directory put back; compare the head with one that was kept outside.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::disk::{Disk, RealDisk};
use crate::frame::{FrameFault, RecordView};
use crate::index::Known;
use crate::indexing::{Indexing, out_of_turn, retired_before};
use crate::record::{ChainHash, Head, Position};
use crate::scan::{Problem, Reading, ScannedSegment, Tail, Visitor, scan_store};
use crate::segment::segment_name;
use crate::sidecar::{Sidecar, SidecarHead};

/// What a journal is, in one object.
#[derive(Debug, Clone)]
pub struct VerifyReport {
    /// No problems.
    pub ok: bool,
    /// Sound records.
    pub records: u64,
    /// The last sound record.
    pub head: Head,
    /// Every place that is not what was written, in order. Behind the first one nothing is proven: later
    /// records are listed as far as they hold together.
    pub problems: Vec<Problem>,
    /// An unfinished write, or one that is being made right now.
    pub tail: Option<Tail>,
    pub segments: usize,
    /// The last writer's number.
    pub incarnation: u64,
    /// Oddities that endanger nothing, in words.
    pub notes: Vec<String>,
}

/// Why a journal cannot even be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("there is no journal in {directory}")]
    NoJournal { directory: String },
    #[error("cannot read {name}: {source}")]
    Io { name: String, source: io::Error },
}

/// Checks the journal in `dir`: every checksum, the chain from its start, every stream's numbering, the
/// head mark. Reads everything once, about 0.5 GB/s.
///
/// # Errors
/// [`VerifyError`] if it cannot be read; damage is no error but part of the report.
pub fn verify(dir: &Path) -> Result<VerifyReport, VerifyError> {
    let disk = RealDisk::existing(dir).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            VerifyError::NoJournal { directory: dir.display().to_string() }
        }
        _ => VerifyError::Io { name: dir.display().to_string(), source },
    })?;
    let report = verify_on(&disk)?;
    if report.segments == 0 && report.ok {
        return Err(VerifyError::NoJournal { directory: dir.display().to_string() });
    }
    Ok(report)
}

/// The same on any [`Disk`].
///
/// # Errors
/// As [`verify`].
pub fn verify_on(disk: &dyn Disk) -> Result<VerifyReport, VerifyError> {
    check(disk, None)
}

/// As [`verify`], and compares with a head that was kept outside (a log, an export, an alert): a tail that was
/// cut off together with the head mark, or an older directory that was put back, shows here and nowhere else.
///
/// # Errors
/// As [`verify`].
pub fn verify_against(dir: &Path, expected: Head) -> Result<VerifyReport, VerifyError> {
    let disk = RealDisk::existing(dir)
        .map_err(|source| VerifyError::Io { name: dir.display().to_string(), source })?;
    check(&disk, Some(expected))
}

/// As [`verify_against`], on any [`Disk`].
///
/// # Errors
/// As [`verify`].
pub fn verify_against_on(disk: &dyn Disk, expected: Head) -> Result<VerifyReport, VerifyError> {
    check(disk, Some(expected))
}

/// A compaction may remove files between the listing and the reading; it cannot do so this often.
const TRIES_MAX: usize = 4;

fn check(disk: &dyn Disk, expected: Option<Head>) -> Result<VerifyReport, VerifyError> {
    let reading = Reading { writable: false, keep_going: true, believe: false };
    let mut tries = 0;
    let (scan, checking) = loop {
        tries += 1;
        match scan_store(disk, reading, || Checking { expected, ..Checking::default() }) {
            Ok(scanned) => break scanned,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX => {}
            Err(error) => return Err(VerifyError::Io { name: error.name, source: error.source }),
        }
    };
    let mut problems = scan.problems;
    let mut notes = scan.notes;
    if !scan.leftovers.is_empty() {
        notes.push(format!(
            "{} files that nothing needs any more are removed at the next opening",
            scan.leftovers.len()
        ));
    }
    for (name, bytes) in &checking.made.sidecars {
        // Of the file as it is; a sidecar that says otherwise is not believed, or lies in what opening believes.
        if let Some(found) = read_whole(disk, name)
            && found != *bytes
        {
            notes.push(format!("{name} is not the index of its file; `journal rebuild` makes it anew"));
        }
    }
    let head = Head { position: scan.state.position, hash: scan.state.hash };
    if let Some(expected) = expected {
        match checking.met {
            Some(hash) if hash == expected.hash => {}
            Some(_) => problems.push(at_end(&scan.segments, expected.position, format!(
                "position {} does not have the hash of the head that was kept outside: this is another history", expected.position
            ))),
            None if expected.position > head.position => problems.push(at_end(&scan.segments, head.position + 1, format!(
                "the head that was kept outside says that position {} was durable, but the journal ends at {}: its tail was cut off or an older copy put back",
                expected.position, head.position
            ))),
            None if expected == Head::START => {}
            None => notes.push(format!(
                "position {} has been dropped by a compaction, so its hash cannot be compared; keep a newer head",
                expected.position
            )),
        }
    }
    Ok(VerifyReport {
        ok: problems.is_empty(),
        records: scan.records,
        head,
        problems,
        tail: scan.tail,
        segments: scan.segments.len(),
        incarnation: scan.state.incarnation,
        notes,
    })
}

fn at_end(segments: &[ScannedSegment], position: Position, what: String) -> Problem {
    let last = segments.last();
    Problem {
        segment: last.map_or_else(|| segment_name(1), |last| segment_name(last.number)),
        offset: last.map_or(0, |last| last.end),
        position,
        what,
    }
}

fn read_whole(disk: &dyn Disk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open_read(name).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
    let read = file.read_at(0, &mut bytes).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// Follows every stream's numbers; behind a gap they cannot be followed, only taken up again.
#[derive(Default)]
struct Checking {
    made: Indexing,
    gap: bool,
    streams: BTreeMap<String, u64>,
    expected: Option<Head>,
    /// The hash found at the expected head's position.
    met: Option<ChainHash>,
}

impl Visitor for Checking {
    fn segment(&mut self, number: u64, name: &str, first: Position) {
        self.made.segment(number, name, first);
    }

    fn snapshot(&mut self, number: u64, name: &str) {
        self.made.snapshot(number, name);
    }

    fn record(&mut self, offset: u64, view: &RecordView<'_>, after_gap: bool) -> Result<(), FrameFault> {
        let length = self.streams.get(view.stream).copied().unwrap_or(0);
        if view.stream_seq != length + 1 && !after_gap {
            return Err(out_of_turn(view, length));
        }
        if !after_gap && length == 0 && self.made.index.known(view.stream) == Known::Retired {
            return Err(retired_before(view));
        }
        match self.streams.get_mut(view.stream) {
            Some(length) => *length = view.stream_seq,
            None => {
                self.streams.insert(view.stream.to_owned(), view.stream_seq);
            }
        }
        self.passed(Head { position: view.position, hash: view.hash });
        self.gap |= after_gap;
        if !self.gap {
            self.made.record(offset, view);
        }
        Ok(())
    }

    fn retired(&mut self, fingerprints: &[u64]) {
        self.made.index.add_retired(fingerprints);
    }

    fn sidecar(&mut self, _sidecar: &Sidecar) -> Result<(), FrameFault> {
        Ok(())
    }

    fn sealed(&mut self, name: &str, head: SidecarHead) {
        if !self.gap {
            self.made.sealed(name, head);
        }
    }

    fn passed(&mut self, head: Head) {
        if self.expected.is_some_and(|expected| expected.position == head.position) {
            self.met = Some(head.hash);
        }
    }
}
