//! Segments: the files the journal is cut into. `segment-0000000001.journal`, and so on.
//!
//! ```text
//! at  bytes  header, all numbers little-endian
//!  0    8    magic "EXJSEG\r\n"
//!  8    2    format version: 1, or 2 once older records may stand in a snapshot (snapshot.rs); else the same
//! 10    6    zero
//! 16    8    number of the segment, from 1
//! 24    8    position of its first record
//! 32    8    incarnation of the writer that made it
//! 40    8    time in milliseconds
//! 48   32    chain hash before its first record
//! 80   36    zero
//! 116   4    CRC32 of header bytes 0..116
//! 120   8    zero
//! 128        frames, then zeros to the end of the file
//! ```
//! Rule: a file gets its segment name only when its header is durable, and the segment before it is
//! durable up to `first`. So a named segment with a bad header is damage, never an unfinished write.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::frame::{ChainState, u16_at, u32_at, u64_at};
use crate::mutants::{Mutant, on};
use crate::record::{ChainHash, Position};

pub(crate) const SEGMENT_HEADER_BYTES: u64 = 128;
const MAGIC: [u8; 8] = *b"EXJSEG\r\n";
/// Written until the first compaction; a program that knows nothing of snapshots reads such a journal.
pub(crate) const FORMAT_PLAIN: u16 = 1;
/// Written from the first compaction on, so that such a program refuses instead of missing records.
pub(crate) const FORMAT_SNAPSHOT: u16 = 2;
const FORMAT: u16 = FORMAT_SNAPSHOT;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub format: u16,
    pub number: u64,
    pub first: Position,
    pub incarnation: u64,
    pub time_ms: u64,
    pub before: ChainHash,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SegmentFault {
    #[error("the segment's header is cut off")]
    CutOff,
    #[error("the segment's header is damaged")]
    Damaged,
    #[error("the file does not begin as a segment of this program does; another program may have written it")]
    Foreign,
    #[error("format version {found} is newer than {FORMAT}, the newest this program reads")]
    Newer { found: u16 },
    #[error("the file is named as segment {named} but says it is segment {found}")]
    WrongNumber { named: u64, found: u64 },
}

pub(crate) fn segment_name(number: u64) -> String {
    format!("segment-{number:010}.journal")
}

/// The number in a segment's file name; `None` for any other file.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("segment-")?.strip_suffix(".journal")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// True for a segment that did not live to get its name.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.ends_with(".journal.tmp")
}

impl SegmentHeader {
    pub fn new(format: u16, number: u64, state: &ChainState) -> SegmentHeader {
        SegmentHeader {
            format,
            number,
            first: state.position + 1,
            incarnation: state.incarnation,
            time_ms: state.time_ms,
            before: state.hash,
        }
    }

    pub fn to_bytes(self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.format.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.before);
        let crc = crc32fast::hash(&bytes[..116]);
        bytes[116..120].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the file that is named as segment `named`.
    pub fn parse(bytes: &[u8], named: u64) -> Result<SegmentHeader, SegmentFault> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES as usize).ok_or(SegmentFault::CutOff)?;
        // One flipped bit is damage; a beginning that is not ours at all is somebody else's file.
        if bytes[..8].iter().zip(MAGIC).filter(|(found, own)| *found != own).count() > 4 {
            return Err(SegmentFault::Foreign);
        }
        if bytes[..8] != MAGIC
            || crc32fast::hash(&bytes[..116]) != u32_at(bytes, 116)
            || bytes[120..].iter().any(|byte| *byte != 0)
        {
            return Err(SegmentFault::Damaged);
        }
        let found = u16_at(bytes, 8);
        if found > FORMAT {
            return Err(SegmentFault::Newer { found });
        }
        let header = SegmentHeader {
            format: found,
            number: u64_at(bytes, 16),
            first: u64_at(bytes, 24),
            incarnation: u64_at(bytes, 32),
            time_ms: u64_at(bytes, 40),
            before: crate::frame::hash_at(bytes, 48),
        };
        if header.number != named {
            return Err(SegmentFault::WrongNumber { named, found: header.number });
        }
        if found == 0 || header.first == 0 {
            return Err(SegmentFault::Damaged);
        }
        Ok(header)
    }
}

/// Makes a segment of `bytes` bytes, durable with its name when this returns.
///
/// "No space" means that nothing of it is left, so the writer may go on in the old segment. After any other
/// error an empty segment of that number may stand there; it follows the chain only as long as nothing is
/// appended to the old segment.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    header: &SegmentHeader,
    bytes: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    let name = segment_name(header.number);
    let temporary = format!("{name}.tmp");
    let prepared = (|| {
        let file = disk.create(&temporary)?;
        file.preallocate(bytes)?;
        file.write_at(0, &header.to_bytes())?;
        file.sync_data()?;
        Ok(file)
    })();
    let file = match prepared {
        Ok(file) => file,
        Err(error) => {
            // Space matters on a full disk; if even this fails, opening removes it.
            let _ = disk.remove(&temporary);
            return Err(error);
        }
    };
    let sync = || if on(Mutant::SegmentNameNotSynced) { Ok(()) } else { disk.sync_directory() };
    match disk.rename(&temporary, &name).and_then(|()| sync()) {
        Ok(()) => Ok(file),
        // Whether the name stands is unknown, so this is never the harmless "no space".
        Err(error) => Err(io::Error::other(format!("naming {name}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_segments() {
        assert_eq!(segment_number(&segment_name(12)), Some(12));
        for other in ["segment-12.journal", "segment-+000000012.journal", "head.mark"] {
            assert_eq!(segment_number(other), None, "{other}");
        }
        assert_eq!(segment_number("segment-0000000012.journal.tmp"), None);
    }
}
