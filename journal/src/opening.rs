//! From a directory to a writer that may go on: scan, refuse or repair the end, record the incarnation.
//!
//! Rule: damage is refused before anything is changed. What is repaired is only the unfinished write at
//! the end, which is kept aside first. The end is made durable before anyone acts on it, because after a
//! kill it may stand in the page cache only.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, is_full};
use crate::frame::{self, ChainState, FrameFault, FrameKind, RecordView};
use crate::index::{Index, Known};
use crate::indexing::{Indexing, out_of_turn, retired_before};
use crate::journal::{OpenError, OpenReport, Options};
use crate::mark::{self, MarkFile};
use crate::mutants::{Mutant, on};
use crate::record::{ChainHash, Head, Position, SNAPSHOTS_STREAM};
use crate::scan::{Reading, StoreScan, Visitor, scan_store};
use crate::segment::{
    FORMAT_SNAPSHOT, SEGMENT_HEADER_BYTES, SegmentHeader, create_segment, is_unfinished, segment_name,
    segment_number,
};
use crate::sidecar::{self, Sidecar, SidecarHead, is_sidecar, sidecar_name};
use crate::snapshot::snapshot_number;
use crate::writer::{Segment, set_aside};

/// What the writer starts from.
pub(crate) struct Opened {
    pub segment: Segment,
    pub chain: ChainState,
    pub mark: MarkFile,
    pub index: Index,
    pub format: u16,
    pub report: OpenReport,
}

/// Makes the index while the journal is read, and sidecars for sealed files that have none.
#[derive(Default)]
struct Building {
    made: Indexing,
}

impl Visitor for Building {
    fn segment(&mut self, number: u64, name: &str, first: Position) {
        self.made.segment(number, name, first);
    }

    fn snapshot(&mut self, number: u64, name: &str) {
        self.made.snapshot(number, name);
    }

    fn record(&mut self, offset: u64, view: &RecordView<'_>, _after_gap: bool) -> Result<(), FrameFault> {
        match self.made.index.known(view.stream) {
            Known::Holds(length) if view.stream_seq == length + 1 => {}
            Known::Holds(length) => return Err(out_of_turn(view, length)),
            Known::Retired => return Err(retired_before(view)),
        }
        self.made.record(offset, view);
        Ok(())
    }

    fn retired(&mut self, fingerprints: &[u64]) {
        self.made.index.add_retired(fingerprints);
    }

    fn sidecar(&mut self, sidecar: &Sidecar) -> Result<(), FrameFault> {
        let retired = sidecar.fill(&mut self.made.index)?;
        if !retired.is_empty() {
            self.made.index.add_retired(&retired);
        }
        Ok(())
    }

    fn sealed(&mut self, name: &str, head: SidecarHead) {
        self.made.sealed(name, head);
    }

    fn passed(&mut self, _head: Head) {}
}

/// Opens what is in `disk`, or begins a journal there.
pub(crate) fn open(disk: &dyn Disk, options: &Options) -> Result<Opened, OpenError> {
    crate::failpoint!("opening.before-scan");
    refuse_what_is_not_ours(disk)?;
    let read = |believe: bool| {
        let reading = Reading { writable: true, keep_going: false, believe };
        scan_store(disk, reading, Building::default)
            .map_err(|error| refused(disk, &format!("reading {}", error.name), error.source))
    };
    let (mut scan, mut building) = read(options.believe_sidecars)?;
    // What a sidecar vouches for is good enough to work with, not to call something damaged or to remove
    // what a snapshot has replaced.
    if scan.believed > 0 && !(scan.problems.is_empty() && scan.leftovers.is_empty()) {
        (scan, building) = read(false)?;
    }
    refuse_damage(&scan)?;
    crate::failpoint!("opening.after-scan");
    let Indexing { mut index, sidecars, .. } = building.made;
    if let Some((last, file)) = scan.segments.last().zip(scan.newest.clone()) {
        index.hold_open(last.number, file);
    }
    let failed = |doing: &'static str| move |error: io::Error| refused(disk, doing, error);

    for name in &scan.unfinished {
        disk.remove(name).map_err(failed("removing an unfinished file"))?;
    }
    let chain = ChainState {
        incarnation: scan.state.incarnation + 1,
        // Only a new journal takes the wall clock; afterwards the caller decides how far a step of it counts.
        time_ms: if scan.segments.is_empty() { (options.clock)() } else { scan.state.time_ms },
        ..scan.state
    };
    let head = Head { position: chain.position, hash: chain.hash };
    let mut kept_tail = None;
    let segment = match scan.segments.last().zip(scan.newest.clone()) {
        None => begin(disk, options, scan.format, 1, &chain, &mut index),
        Some((last, file)) => {
            let mut segment = Segment {
                number: last.number,
                first: index.newest_first(),
                before: last.before,
                incarnation: last.incarnation,
                file,
                tail: last.end,
                allocated: last.len,
                target: options.segment_bytes,
            };
            if scan.tail.is_some() {
                if on(Mutant::TailCutTooEarly) {
                    segment.tail -= frame::ALIGNMENT as u64;
                }
                kept_tail = set_aside(disk, &segment, chain.incarnation);
                segment.file.set_len(segment.tail).map_err(failed("cutting off an unfinished write"))?;
                segment.allocated = segment.tail;
            }
            // Only then is the end the truth; a write that failed unseen is reported here.
            crate::failpoint_io!("opening.before-sync").map_err(failed("syncing the end"))?;
            segment.file.sync_data().map_err(failed("syncing the end"))?;
            crate::failpoint!("opening.after-sync");
            if scan.poisoned {
                seal_unwritten(disk, &segment, &scan, &index);
                begin(disk, options, scan.format, last.number + 1, &chain, &mut index)
            } else {
                resume(disk, options, segment, &chain, &scan, &mut index)
            }
        }
    }
    .map_err(failed("recording the new incarnation"))?;
    crate::failpoint_io!("opening.before-mark").map_err(failed("writing the head mark"))?;
    let mark =
        MarkFile::open(disk, &scan.mark, head, chain.incarnation).map_err(failed("writing the head mark"))?;
    crate::failpoint!("opening.after-mark");
    for (name, bytes) in &sidecars {
        keep_sidecar(disk, name, bytes);
    }
    let mut notes = scan.notes;
    if !scan.leftovers.is_empty() {
        notes.push(format!("{} files that nothing needs any more were removed", scan.leftovers.len()));
        crate::failpoint!("opening.before-removal");
        // The truth stands without them, so one that stays is only seen again.
        for name in &scan.leftovers {
            if let Err(error) = disk.remove(name) {
                notes.push(format!("{name} could not be removed: {error}"));
            }
        }
        disk.sync_directory().map_err(failed("syncing the directory"))?;
    }
    let report = OpenReport {
        head,
        records: scan.records,
        segments: index.segments(),
        incarnation: chain.incarnation,
        tail: scan.tail,
        kept_tail,
        was_poisoned: scan.poisoned,
        read_files: scan.segments.len() + usize::from(scan.snapshot.is_some()) - scan.believed,
        notes,
    };
    Ok(Opened { segment, chain, mark, index, format: scan.format, report })
}

/// Writes a sidecar. It is a copy, so a failure costs only the time of the next opening.
pub(crate) fn keep_sidecar(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let permitted = crate::failpoint_io!("journal.sidecar");
    let written = permitted.and_then(|()| disk.create(name)).and_then(|file| file.write_at(0, bytes));
    if let Err(error) = written {
        tracing::warn!(name, %error, "An index sidecar could not be written; opening will read the file itself.");
        let _ = disk.remove(name);
    }
}

/// The sidecar of the newest segment, which ends where the chain stands at `end`.
pub(crate) fn sidecar_of(number: u64, before: ChainHash, end: ChainState, index: &Index) -> Vec<u8> {
    let first = index.newest_first();
    let (last_frame, own_frame) = index.newest_frames(SNAPSHOTS_STREAM);
    let records = end.position + 1 - first;
    let head =
        SidecarHead { number, first, before, end, last_frame, own_frame, records, bytes: 0, digest: [0; 32] };
    sidecar::encode(&head, index, &[])
}

/// Gives the segment that was the last one a sidecar, now that another follows.
fn seal_unwritten(disk: &dyn Disk, segment: &Segment, scan: &StoreScan, index: &Index) {
    let name = sidecar_name(&segment_name(segment.number));
    keep_sidecar(disk, &name, &sidecar_of(segment.number, segment.before, scan.state, index));
}

/// Refuses a directory of another user or of another program before anything in it is touched.
fn refuse_what_is_not_ours(disk: &dyn Disk) -> Result<(), OpenError> {
    let names = disk.list().map_err(|error| refused(disk, "listing the directory", error))?;
    let ours = |name: &str| {
        name == mark::MARK_NAME
            || segment_number(name).is_some()
            || snapshot_number(name).is_some()
            || is_unfinished(name)
            || is_sidecar(name)
            || name.starts_with("tail-")
    };
    if let Some(foreign) = disk.foreign_owner().map_err(|error| refused(disk, "asking for owners", error))? {
        return Err(OpenError::ForeignOwner { name: foreign.name, owner: foreign.owner, own: foreign.own });
    }
    let begun = names.iter().any(|name| ours(name));
    let other = names.into_iter().find(|name| !ours(name) && name != "lost+found" && !name.starts_with('.'));
    match other {
        Some(name) if !begun => Err(OpenError::NotAJournal { name }),
        _ => Ok(()),
    }
}

fn refuse_damage(scan: &StoreScan) -> Result<(), OpenError> {
    let Some(problem) = scan.problems.first().cloned() else {
        return Ok(());
    };
    if let Some(name) = scan.foreign.clone() {
        return Err(OpenError::NotAJournal { name });
    }
    Err(match scan.newer {
        Some(found) => {
            let header = problem.offset == 0 && segment_number(&problem.segment).is_some();
            let known = if header { FORMAT_SNAPSHOT } else { frame::FORMAT };
            OpenError::NewerFormat { segment: problem.segment, found, known }
        }
        None => OpenError::Damaged {
            segment: problem.segment,
            offset: problem.offset,
            position: problem.position,
            what: problem.what,
        },
    })
}

fn refused(disk: &dyn Disk, doing: &str, error: io::Error) -> OpenError {
    if is_full(&error) {
        return OpenError::DiskFull { doing: doing.into(), free_bytes: disk.free_bytes().unwrap_or(0) };
    }
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        return OpenError::ReadOnly { doing: doing.into() };
    }
    OpenError::Io { doing: doing.into(), source: error }
}

/// A new segment, whose header records the incarnation.
fn begin(
    disk: &dyn Disk,
    options: &Options,
    format: u16,
    number: u64,
    chain: &ChainState,
    index: &mut Index,
) -> io::Result<Segment> {
    let header = SegmentHeader::new(format, number, chain);
    let file = create_segment(disk, &header, options.segment_bytes)?;
    index.add_segment(number, segment_name(number), Some(file.clone()), header.first);
    Ok(Segment {
        number,
        first: header.first,
        before: header.before,
        incarnation: header.incarnation,
        file,
        tail: SEGMENT_HEADER_BYTES,
        allocated: options.segment_bytes,
        target: options.segment_bytes,
    })
}

/// The last segment again, with a frame that records the incarnation.
fn resume(
    disk: &dyn Disk,
    options: &Options,
    mut segment: Segment,
    chain: &ChainState,
    scan: &StoreScan,
    index: &mut Index,
) -> io::Result<Segment> {
    let mut bytes = Vec::new();
    frame::build(&mut bytes, FrameKind::WriterOpened, &[], &[], chain.position, chain);
    let end = segment.tail + bytes.len() as u64;
    // On a full disk what is already reserved has to do.
    if segment.allocated < segment.target {
        match segment.file.preallocate(segment.target) {
            Ok(()) => segment.allocated = segment.target,
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(error),
        }
    }
    if end > segment.allocated {
        seal_unwritten(disk, &segment, scan, index);
        return begin(disk, options, scan.format, segment.number + 1, chain, index);
    }
    crate::failpoint_io!("opening.before-incarnation")?;
    write_durably(&segment.file, segment.tail, &bytes)?;
    segment.tail = end;
    Ok(segment)
}

fn write_durably(file: &Arc<dyn DiskFile>, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_at(offset, bytes)?;
    file.sync_data()
}
