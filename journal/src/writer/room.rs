//! Room for what comes: reserved space of the segment, a new segment, and going on after a failure in another one.
//!
//! Rule: a name whose creation failed is never used again, and the old segment stays whole until the new one is there.

use std::io;
use std::sync::atomic::Ordering;

use super::group::Group;
use super::{Segment, Writer};
use crate::disk::{Disk, is_full};
use crate::frame::ChainState;
use crate::journal::{AppendError, RecoverError, Recovery};
use crate::opening::{keep_sidecar, sidecar_of};
use crate::record::Head;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, create_segment, segment_name};
use crate::sidecar::sidecar_name;

pub(super) enum Room {
    Yes,
    No(AppendError),
}

impl Writer {
    /// Sees to it that `bytes` more fit behind the group, in a new segment if need be.
    pub(super) fn make_room(&mut self, bytes: u64, urgent: bool, group: &mut Group) -> Room {
        let reserve = if urgent { 0 } else { self.options.reserve_bytes };
        let fits = |writer: &Writer, group: &Group| {
            writer.segment.tail + group.bytes.len() as u64 + bytes + reserve <= writer.segment.allocated
        };
        if fits(self, group) {
            return Room::Yes;
        }
        // A group stands in one segment; what is in it goes into this one, for which it was measured.
        self.commit(group);
        if let Some(why) = &self.poisoned {
            return Room::No(AppendError::Poisoned { why: why.clone() });
        }
        if self.segment.allocated < self.segment.target {
            match self.segment.file.preallocate(self.segment.target) {
                Ok(()) => self.segment.allocated = self.segment.target,
                Err(error) if is_full(&error) => {}
                Err(error) => return Room::No(self.poison("reserving space", &error)),
            }
            if fits(self, group) {
                return Room::Yes;
            }
        }
        match self.rotate(bytes + self.options.reserve_bytes, self.chain.incarnation, self.format) {
            Ok(()) => Room::Yes,
            Err(error) if is_full(&error) => {
                self.shared.full.store(true, Ordering::Relaxed);
                Room::No(AppendError::DiskFull {
                    wanted_bytes: bytes,
                    free_bytes: self.disk.free_bytes().unwrap_or(0),
                })
            }
            Err(error) => Room::No(self.poison("making a new segment", &error)),
        }
    }

    /// Goes on in a new segment with room for at least `bytes`.
    pub(super) fn rotate(&mut self, bytes: u64, incarnation: u64, format: u16) -> io::Result<()> {
        let state = ChainState { incarnation, ..self.chain };
        let target = self.options.segment_bytes.max(SEGMENT_HEADER_BYTES + bytes);
        let number = self.next_number;
        // Never twice: a name whose creation failed may stand on disk.
        self.next_number += 1;
        let header = SegmentHeader::new(format, number, &state);
        crate::failpoint!("journal.before-rotate");
        let file = create_segment(self.disk.as_ref(), &header, target)?;
        // Spare space goes back; without it the old segment only stays longer.
        if let Err(error) = self.segment.file.set_len(self.segment.tail) {
            tracing::warn!(segment = self.segment.number, %error, "A full segment keeps its spare space.");
        }
        let sealed = self.segment.number;
        let sidecar = sidecar_of(sealed, self.segment.before, self.chain, &self.shared.view().index);
        keep_sidecar(self.disk.as_ref(), &sidecar_name(&segment_name(sealed)), &sidecar);
        self.chain = state;
        self.format = format;
        self.segment = Segment {
            number,
            first: header.first,
            before: header.before,
            incarnation,
            file: file.clone(),
            tail: SEGMENT_HEADER_BYTES,
            allocated: target,
            target,
        };
        crate::failpoint!("journal.after-rotate");
        let mut view = self.shared.view_mut();
        view.index.add_segment(number, segment_name(number), Some(file), header.first);
        view.segment_end = SEGMENT_HEADER_BYTES;
        Ok(())
    }

    /// Cuts back to the last acknowledged frame and goes on in a new segment under a new incarnation.
    pub(super) fn recover(&mut self) -> Result<Recovery, RecoverError> {
        if self.poisoned.is_none() {
            return Ok(Recovery {
                incarnation: self.chain.incarnation,
                kept_tail: None,
                segment: segment_name(self.segment.number),
            });
        }
        crate::failpoint!("journal.before-recover");
        let kept_tail = set_aside(self.disk.as_ref(), &self.segment, self.chain.incarnation);
        let incarnation = self.chain.incarnation + 1;
        if let Err(error) = self.rotate(self.options.reserve_bytes, incarnation, self.format) {
            return Err(if is_full(&error) {
                RecoverError::DiskFull { free_bytes: self.disk.free_bytes().unwrap_or(0) }
            } else {
                RecoverError::Io { source: error }
            });
        }
        crate::failpoint!("journal.after-recover");
        self.poisoned = None;
        self.shared.incarnation.store(incarnation, Ordering::Release);
        self.shared.set_poisoned(None);
        let head = Head { position: self.chain.position, hash: self.chain.hash };
        if let Err(error) = self.mark.write(head, incarnation, 0) {
            tracing::warn!(%error, "The head mark could not be written; it stays older than the journal.");
        }
        Ok(Recovery { incarnation, kept_tail, segment: segment_name(self.segment.number) })
    }
}

/// Copies what stands behind the durable end into a file of its own; `None` if there is nothing, or if
/// even that cannot be written (the failure is logged: evidence is no reason to stay down).
pub(crate) fn set_aside(disk: &dyn Disk, segment: &Segment, incarnation: u64) -> Option<String> {
    let name = format!("tail-{:010}-{}-{incarnation}.bin", segment.number, segment.tail);
    let copied = (|| {
        let length = segment.file.len()?.saturating_sub(segment.tail);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = segment.file.read_at(segment.tail, &mut bytes)?;
        bytes.truncate(read);
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            return Ok(None);
        };
        crate::failpoint_io!("journal.keep-tail")?;
        let file = disk.create(&name)?;
        file.write_at(0, &bytes[..=last])?;
        file.sync_data()?;
        disk.sync_directory()?;
        Ok(Some(name.clone()))
    })();
    copied.unwrap_or_else(|error: io::Error| {
        tracing::error!(%error, name, "An unfinished write could not be kept aside.");
        let _ = disk.remove(&name);
        None
    })
}
