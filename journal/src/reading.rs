//! Reading durable records: by position, or by stream.
//!
//! Rule: every record is checked against its frame's checksum and chain hashes before it is given out, so
//! damaged bytes are an error, never an answer. A compaction may replace the files meanwhile: then the place
//! is looked up again.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::frame::{self, FrameFault, HEADER_BYTES};
use crate::index::{FramePlace, Known};
use crate::journal::{ReadError, Shared};
use crate::record::{Position, Record};
use crate::scan::Problem;

/// One `read` gives back at most about this many bytes of records, so that a large limit is no large allocation.
const READ_BYTES_MAX: usize = 64 * 1024 * 1024;

/// First guess at a frame's size: one read then brings header and body of nearly every batch.
const FRAME_BYTES_GUESS: usize = 4096;

/// A compaction removes files at most this often while one frame is read; more means that something else does.
const LOOKUPS_MAX: usize = 8;

/// Keeps the file of an old segment that was opened last: a replay reads thousands of frames of each.
struct Source<'a> {
    shared: &'a Shared,
    disk: &'a dyn Disk,
    opened: Option<(String, Arc<dyn DiskFile>)>,
}

impl Source<'_> {
    /// Finds a frame and reads it; `None` if there is none.
    fn frame(
        &mut self,
        find: impl Fn(&Shared) -> Option<FramePlace>,
    ) -> Result<Option<(FramePlace, frame::FrameHeader, Vec<u8>)>, ReadError> {
        for lookup in 1..=LOOKUPS_MAX {
            let Some(place) = find(self.shared) else { return Ok(None) };
            let file = match (&place.file, &self.opened) {
                (Some(file), _) => file.clone(),
                (None, Some((name, file))) if *name == place.segment => file.clone(),
                (None, _) => match self.disk.open_read(&place.segment) {
                    Ok(file) => {
                        self.opened = Some((place.segment.clone(), file.clone()));
                        file
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound && lookup < LOOKUPS_MAX => continue,
                    Err(source) => return Err(ReadError::Io { segment: place.segment, source }),
                },
            };
            let (header, body) = read_frame(&place, file.as_ref())?;
            return Ok(Some((place, header, body)));
        }
        Ok(None)
    }
}

/// Records from position `from` on, whatever their stream.
pub(crate) fn range(
    shared: &Shared,
    disk: &dyn Disk,
    from: Position,
    limit: usize,
) -> Result<Vec<Record>, ReadError> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    let head = shared.view().head.position;
    let mut next = from.max(1);
    let mut source = Source { shared, disk, opened: None };
    // The frame that holds `from`, then each that follows.
    let mut frame = source.frame(|shared| shared.view().index.place(next))?;
    if frame.is_none() {
        frame = source.frame(|shared| shared.view().index.place_after(next - 1))?;
    }
    while let Some((place, header, body)) = frame {
        if place.first > head || records.len() >= limit || bytes >= READ_BYTES_MAX {
            break;
        }
        let mut found = Vec::new();
        let walked = frame::walk(&header, &body, |view| {
            if view.position >= next && view.position <= head && records.len() + found.len() < limit {
                found.push(view);
            }
            Ok(())
        });
        walked.map_err(|fault| damaged(&place, place.first, &fault))?;
        for view in found {
            next = view.position + 1;
            bytes += view.payload.len();
            records.push(view.to_record());
        }
        let behind = place.first;
        frame = source.frame(|shared| shared.view().index.place_after(behind))?;
    }
    Ok(records)
}

/// Records of one stream.
pub(crate) fn stream(
    shared: &Shared,
    disk: &dyn Disk,
    stream: &str,
    from_seq: u64,
    limit: usize,
) -> Result<Vec<Record>, ReadError> {
    let retired = || ReadError::Retired { stream: stream.to_owned() };
    let positions = {
        let view = shared.view();
        if view.index.known(stream) == Known::Retired {
            return Err(retired());
        }
        view.index.positions(stream, from_seq, limit)
    };
    let (mut records, mut bytes, mut at) = (Vec::new(), 0, 0);
    let mut source = Source { shared, disk, opened: None };
    while at < positions.len() && bytes < READ_BYTES_MAX {
        let position = positions[at];
        let frame = source.frame(|shared| shared.view().index.place(position))?;
        let Some((place, header, body)) = frame else { return Err(retired()) };
        let mut found = Vec::new();
        let mut wanted = positions[at..].iter().copied().peekable();
        let walked = frame::walk(&header, &body, |view| {
            if wanted.next_if_eq(&view.position).is_some() {
                found.push(view);
            }
            Ok(())
        });
        walked.map_err(|fault| damaged(&place, position, &fault))?;
        if found.is_empty() {
            // Dropped since its positions were looked up, or not what the index says.
            if shared.view().index.known(stream) == Known::Retired {
                return Err(retired());
            }
            let fault = FrameFault::PositionGap { expected: position, found: header.first };
            return Err(damaged(&place, position, &fault));
        }
        at += found.len();
        for view in found {
            if view.stream != stream {
                let fault =
                    FrameFault::StreamBroken(format!("`{}` stands in the place of `{stream}`", view.stream));
                return Err(damaged(&place, view.position, &fault));
            }
            bytes += view.payload.len();
            records.push(view.to_record());
        }
    }
    Ok(records)
}

fn damaged(place: &FramePlace, position: Position, fault: &FrameFault) -> ReadError {
    ReadError::Damaged(Problem {
        segment: place.segment.clone(),
        offset: place.offset,
        position,
        what: fault.to_string(),
    })
}

/// Reads the frame at `place`: its header, and its body as far as the checksum vouches for it.
fn read_frame(place: &FramePlace, file: &dyn DiskFile) -> Result<(frame::FrameHeader, Vec<u8>), ReadError> {
    let faulty = |fault: FrameFault| damaged(place, place.first, &fault);
    let failed = |source| ReadError::Io { segment: place.segment.clone(), source };
    let mut bytes = vec![0; FRAME_BYTES_GUESS];
    let read = file.read_at(place.offset, &mut bytes).map_err(failed)?;
    let header = frame::parse_header(&bytes[..read]).map_err(faulty)?;
    let length = header.frame_bytes();
    if length > read {
        bytes.resize(length, 0);
        let more = file.read_at(place.offset + read as u64, &mut bytes[read..]).map_err(failed)?;
        if read + more < length {
            return Err(faulty(FrameFault::CutOff));
        }
    }
    bytes.truncate(length);
    bytes.drain(..HEADER_BYTES);
    frame::check_body(&header, &bytes).map_err(faulty)?;
    if header.first != place.first {
        return Err(faulty(FrameFault::PositionGap { expected: place.first, found: header.first }));
    }
    Ok((header, bytes))
}
