//! The head mark: a small file that says how far the journal was durable, written after every commit.
//!
//! A torn write and a flipped bit look the same in the last frame. The mark tells them apart: what it
//! names was durable, so if that is missing or unreadable it is damage, not an unfinished write. It is
//! written *after* the journal's fdatasync and not synced itself: after a power loss it may be old, never
//! ahead. Two slots in two sectors, so that a torn write costs one of them.
//!
//! Rule: the mark is a witness, not the truth. Without it the journal opens; with it less goes unnoticed.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::frame::{hash_at, u32_at, u64_at};
use crate::record::Head;

pub(crate) const MARK_NAME: &str = "head.mark";
const MAGIC: [u8; 8] = *b"EXJMARK1";
const SLOT_BYTES: u64 = 512;
const USED_BYTES: usize = 76;

/// What the mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Counts the writings of the mark; the higher slot is the newer one.
    pub turn: u64,
    pub head: Head,
    pub incarnation: u64,
    /// Number of the segment in which a write or fsync failed behind `head`; 0 for none. As long as that
    /// segment is the last one, what stands behind `head` may be in the page cache only.
    pub poisoned_segment: u64,
}

impl Mark {
    const NONE: Mark = Mark { turn: 0, head: Head::START, incarnation: 0, poisoned_segment: 0 };

    fn to_bytes(self) -> [u8; USED_BYTES] {
        let mut bytes = [0; USED_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.turn.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.head.position.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.head.hash);
        bytes[56..64].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.poisoned_segment.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..72]);
        bytes[72..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Mark> {
        let bytes = bytes.get(..USED_BYTES)?;
        (bytes[..8] == MAGIC && crc32fast::hash(&bytes[..72]) == u32_at(bytes, 72)).then(|| Mark {
            turn: u64_at(bytes, 8),
            head: Head { position: u64_at(bytes, 16), hash: hash_at(bytes, 24) },
            incarnation: u64_at(bytes, 56),
            poisoned_segment: u64_at(bytes, 64),
        })
    }
}

/// What was found where the mark should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MarkFound {
    pub mark: Mark,
    pub present: bool,
    /// Something that is neither a mark nor zeros stands in the file.
    pub damaged: bool,
}

/// Reads the newer of the two slots.
pub(crate) fn load(disk: &dyn Disk) -> io::Result<MarkFound> {
    let mut found = MarkFound { mark: Mark::NONE, present: false, damaged: false };
    let file = match disk.open_read(MARK_NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; 2 * SLOT_BYTES as usize];
    let read = file.read_at(0, &mut bytes)?;
    found.damaged = read < bytes.len() || file.len()? > bytes.len() as u64;
    for slot in bytes.chunks(SLOT_BYTES as usize) {
        match Mark::parse(slot) {
            Some(mark) => {
                found.present = true;
                if mark.turn >= found.mark.turn {
                    found.mark = mark;
                }
                found.damaged |= slot[USED_BYTES..].iter().any(|byte| *byte != 0);
            }
            None => found.damaged |= slot.iter().any(|byte| *byte != 0),
        }
    }
    Ok(found)
}

/// The open mark of a writer.
pub(crate) struct MarkFile {
    file: Arc<dyn DiskFile>,
    last: Mark,
}

impl MarkFile {
    /// Opens or makes the file and writes `head` into both slots, durably.
    pub fn open(disk: &dyn Disk, found: &MarkFound, head: Head, incarnation: u64) -> io::Result<MarkFile> {
        let file = match disk.open(MARK_NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(MARK_NAME)?,
            Err(error) => return Err(error),
        };
        let mut mark = MarkFile { file, last: found.mark };
        mark.file.set_len(2 * SLOT_BYTES)?;
        for _ in 0..2 {
            mark.write(head, incarnation, 0)?;
        }
        mark.file.sync_data()?;
        disk.sync_directory()?;
        Ok(mark)
    }

    /// Writes the other slot, without waiting for the disk.
    pub fn write(&mut self, head: Head, incarnation: u64, poisoned_segment: u64) -> io::Result<()> {
        let next = Mark { turn: self.last.turn + 1, head, incarnation, poisoned_segment };
        // The whole slot: bytes behind the mark are zero, so that a flipped one is seen.
        let mut slot = [0; SLOT_BYTES as usize];
        slot[..USED_BYTES].copy_from_slice(&next.to_bytes());
        self.file.write_at(next.turn % 2 * SLOT_BYTES, &slot)?;
        self.last = next;
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
