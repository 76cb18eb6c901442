//! Checks a whole journal without touching it.
//!
//! Rule: read-only and without a lock, so it may run beside a writer. An unfinished write at the end is
//! reported as a tail, not as damage. What it cannot see: a tail cut off together with the head mark, or a
//! whole older directory put back; compare the head with one that was kept outside.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::disk::{Disk, RealDisk};
use crate::frame::FrameFault;
use crate::record::Head;
use crate::scan::{Problem, Tail, scan_store};

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
    let mut streams: BTreeMap<String, u64> = BTreeMap::new();
    let scan = scan_store(disk, false, true, &mut |_, _, view, after_gap| {
        let length = streams.get(view.stream).copied().unwrap_or(0);
        // Behind a gap a stream's numbers cannot be followed, only taken up again.
        if view.stream_seq != length + 1 && !after_gap {
            return Err(FrameFault::StreamBroken(format!(
                "`{}` has {length} records, but this one says it is number {}",
                view.stream, view.stream_seq
            )));
        }
        match streams.get_mut(view.stream) {
            Some(length) => *length = view.stream_seq,
            None => {
                streams.insert(view.stream.to_owned(), view.stream_seq);
            }
        }
        Ok(())
    })
    .map_err(|error| VerifyError::Io { name: error.name, source: error.source })?;
    Ok(VerifyReport {
        ok: scan.problems.is_empty(),
        records: scan.records,
        head: Head { position: scan.state.position, hash: scan.state.hash },
        problems: scan.problems,
        tail: scan.tail,
        segments: scan.segments.len(),
        incarnation: scan.state.incarnation,
        notes: scan.notes,
    })
}
