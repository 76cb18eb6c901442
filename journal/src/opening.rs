//! From a directory to a writer that may go on: scan, refuse or repair the end, record the incarnation.
//!
//! Rule: damage is refused before anything is changed. What is repaired is only the unfinished write at
//! the end, which is kept aside first. The end is made durable before anyone acts on it, because after a
//! kill it may stand in the page cache only.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, is_full};
use crate::frame::{self, ChainState, FrameFault, FrameKind, RecordView};
use crate::index::Index;
use crate::journal::{OpenError, OpenReport, Options};
use crate::mark::MarkFile;
use crate::record::{Head, Position};
use crate::scan::{StoreScan, scan_store};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, create_segment, segment_name};
use crate::writer::{Segment, set_aside};

/// What the writer starts from.
pub(crate) struct Opened {
    pub segment: Segment,
    pub chain: ChainState,
    pub mark: MarkFile,
    pub index: Index,
    pub report: OpenReport,
}

/// What a scanned record says about the index: segment, offset of its frame, position, stream.
#[derive(Default)]
struct Building {
    index: Index,
    /// Frames in order: segment, offset, first position.
    frames: Vec<(usize, u64, Position)>,
}

impl Building {
    fn add(&mut self, segment: usize, offset: u64, view: &RecordView<'_>) -> Result<(), FrameFault> {
        let expected = self.index.stream_len(view.stream) + 1;
        if view.stream_seq != expected {
            return Err(FrameFault::StreamBroken(format!(
                "`{}` has {} records, but this one says it is number {}",
                view.stream,
                expected - 1,
                view.stream_seq
            )));
        }
        self.index.add_record(view.stream, view.position);
        if self.frames.last().map(|frame| (frame.0, frame.1)) != Some((segment, offset)) {
            self.frames.push((segment, offset, view.position));
        }
        Ok(())
    }

    fn finish(self, scan: &StoreScan) -> Index {
        let mut index = self.index;
        let mut frames = self.frames.into_iter().peekable();
        for (at, segment) in scan.segments.iter().enumerate() {
            let file = scan.newest.clone().filter(|_| at + 1 == scan.segments.len());
            index.add_segment(segment_name(segment.number), file, segment.first);
            while let Some((_, offset, first)) = frames.next_if(|frame| frame.0 == at) {
                index.add_frame(first, offset);
            }
        }
        index
    }
}

/// Opens what is in `disk`, or begins a journal there.
pub(crate) fn open(disk: &dyn Disk, options: &Options) -> Result<Opened, OpenError> {
    let mut building = Building::default();
    let scan =
        scan_store(disk, true, false, &mut |segment, offset, view, _| building.add(segment, offset, view))
            .map_err(|error| OpenError::Io {
                doing: format!("reading {}", error.name),
                source: error.source,
            })?;
    refuse_damage(&scan)?;
    let mut index = building.finish(&scan);
    let failed = |doing: &'static str| move |error: io::Error| refused(disk, doing, error);

    for name in &scan.unfinished {
        disk.remove(name).map_err(failed("removing an unfinished segment"))?;
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
        None => begin(disk, options, 1, &chain, &mut index),
        Some((last, file)) => {
            let mut segment = Segment {
                number: last.number,
                file,
                tail: last.end,
                allocated: last.len,
                target: options.segment_bytes,
            };
            if scan.tail.is_some() {
                kept_tail = set_aside(disk, &segment, chain.incarnation);
                segment.file.set_len(segment.tail).map_err(failed("cutting off an unfinished write"))?;
                segment.allocated = segment.tail;
            }
            // Only then is the end the truth; a write that failed unseen is reported here.
            segment.file.sync_data().map_err(failed("syncing the end"))?;
            if scan.poisoned {
                begin(disk, options, last.number + 1, &chain, &mut index)
            } else {
                resume(disk, options, segment, &chain, &mut index)
            }
        }
    }
    .map_err(failed("recording the new incarnation"))?;
    let mark =
        MarkFile::open(disk, &scan.mark, head, chain.incarnation).map_err(failed("writing the head mark"))?;
    let report = OpenReport {
        head,
        records: scan.records,
        segments: index.segments(),
        incarnation: chain.incarnation,
        tail: scan.tail,
        kept_tail,
        was_poisoned: scan.poisoned,
        notes: scan.notes,
    };
    Ok(Opened { segment, chain, mark, index, report })
}

fn refuse_damage(scan: &StoreScan) -> Result<(), OpenError> {
    let Some(problem) = scan.problems.first().cloned() else {
        return Ok(());
    };
    Err(match scan.newer {
        Some(found) => OpenError::NewerFormat { segment: problem.segment, found, known: frame::FORMAT },
        None => OpenError::Damaged {
            segment: problem.segment,
            offset: problem.offset,
            position: problem.position,
            what: problem.what,
        },
    })
}

fn refused(disk: &dyn Disk, doing: &'static str, error: io::Error) -> OpenError {
    if is_full(&error) {
        return OpenError::DiskFull { doing, free_bytes: disk.free_bytes().unwrap_or(0) };
    }
    OpenError::Io { doing: doing.into(), source: error }
}

/// A new segment, whose header records the incarnation.
fn begin(
    disk: &dyn Disk,
    options: &Options,
    number: u64,
    chain: &ChainState,
    index: &mut Index,
) -> io::Result<Segment> {
    let header = SegmentHeader::new(number, chain);
    let file = create_segment(disk, &header, options.segment_bytes)?;
    index.add_segment(segment_name(number), Some(file.clone()), header.first);
    Ok(Segment {
        number,
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
        return begin(disk, options, segment.number + 1, chain, index);
    }
    write_durably(&segment.file, segment.tail, &bytes)?;
    segment.tail = end;
    Ok(segment)
}

fn write_durably(file: &Arc<dyn DiskFile>, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_at(offset, bytes)?;
    file.sync_data()
}
