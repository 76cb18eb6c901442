//! Index sidecars: what the index needs to know of a sealed segment or a snapshot, so that opening does not
//! read it. `segment-0000000001.index`, `snapshot-0000000012.index`.
//!
//! Rule: a sidecar is a copy, never the truth. It is believed only if its BLAKE3 fits, if it agrees with its
//! file's header and with the header of the next file, and if the last frame that it names is there; else
//! the file itself is read and the sidecar made anew. It is not synced: half of it does not fit its hash.
//! Damage inside a file whose sidecar is believed is found when the record is read, or by `verify`.

use crate::frame::{ChainState, FrameFault, hash_at, u16_at, u64_at};
use crate::index::Index;
use crate::mutants::{Mutant, on};
use crate::record::{ChainHash, Position};

const MAGIC: [u8; 8] = *b"EXJIDX\r\n";
const FORMAT: u16 = 1;
const HEAD_BYTES: usize = 256;
const HASH_BYTES: usize = 32;

/// The fixed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SidecarHead {
    pub number: u64,
    /// Position of the first record that may stand in the file, and the chain hash before it.
    pub first: Position,
    pub before: ChainHash,
    /// Where the chain stands at the end of the file.
    pub end: ChainState,
    /// Where the last frame with records begins; 0 for none.
    pub last_frame: u64,
    /// Frame with the last record of the journal's own stream; 0 for none.
    pub own_frame: u64,
    pub records: u64,
    /// Of a snapshot: length and BLAKE3 of the file; zero for a segment.
    pub bytes: u64,
    pub digest: [u8; 32],
}

/// A sidecar whose hash fits.
pub(crate) struct Sidecar {
    pub head: SidecarHead,
    bytes: Vec<u8>,
}

pub(crate) fn sidecar_name(file: &str) -> String {
    format!("{}.index", file.strip_suffix(".journal").unwrap_or(file))
}

pub(crate) fn is_sidecar(name: &str) -> bool {
    name.strip_suffix(".index").is_some_and(|stem| {
        let file = format!("{stem}.journal");
        crate::segment::segment_number(&file).is_some() || crate::snapshot::snapshot_number(&file).is_some()
    })
}

/// Writes whole numbers of any size in as few bytes as they need.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

/// The bytes of the sidecar of the newest file of `index`.
pub(crate) fn encode(head: &SidecarHead, index: &Index, retired: &[u64]) -> Vec<u8> {
    let mut out = vec![0; HEAD_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    let numbers = [
        (16, head.number),
        (24, head.first),
        (32, head.end.position),
        (40, head.end.incarnation),
        (48, head.end.time_ms),
        (56, head.last_frame),
        (64, head.own_frame),
        (72, head.records),
        (80, head.bytes),
    ];
    for (at, number) in numbers {
        out[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    out[96..128].copy_from_slice(&head.before);
    out[128..160].copy_from_slice(&head.end.hash);
    out[160..192].copy_from_slice(&head.digest);
    index.write_newest(head.first, &mut out);
    push_number(&mut out, retired.len() as u64);
    for fingerprint in retired {
        out.extend_from_slice(&fingerprint.to_le_bytes());
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

impl Sidecar {
    /// `None` unless it is a whole, undamaged sidecar of this version.
    pub fn parse(mut bytes: Vec<u8>) -> Option<Sidecar> {
        let end = bytes.len().checked_sub(HASH_BYTES).filter(|end| *end >= HEAD_BYTES)?;
        if bytes[..8] != MAGIC
            || u16_at(&bytes, 8) != FORMAT
            || (blake3::hash(&bytes[..end]).as_bytes()[..] != bytes[end..] && !on(Mutant::SidecarNotCompared))
        {
            return None;
        }
        bytes.truncate(end);
        let head = SidecarHead {
            number: u64_at(&bytes, 16),
            first: u64_at(&bytes, 24),
            before: hash_at(&bytes, 96),
            end: ChainState {
                position: u64_at(&bytes, 32),
                hash: hash_at(&bytes, 128),
                incarnation: u64_at(&bytes, 40),
                time_ms: u64_at(&bytes, 48),
            },
            last_frame: u64_at(&bytes, 56),
            own_frame: u64_at(&bytes, 64),
            records: u64_at(&bytes, 72),
            bytes: u64_at(&bytes, 80),
            digest: hash_at(&bytes, 160),
        };
        Some(Sidecar { head, bytes })
    }

    /// Adds what it says to the newest file of `index`; gives the fingerprints of retired streams.
    pub fn fill(&self, index: &mut Index) -> Result<Vec<u64>, FrameFault> {
        let mut reader = Reader(&self.bytes[HEAD_BYTES..]);
        self.read(&mut reader, index).ok_or(FrameFault::RecordMalformed("the index does not continue"))
    }

    fn read(&self, reader: &mut Reader<'_>, index: &mut Index) -> Option<Vec<u64>> {
        let (mut position, mut offset) = (self.head.first, 0u64);
        for _ in 0..reader.number()? {
            position = position.checked_add(reader.number()?)?;
            offset = offset.checked_add(reader.number()?)?;
            index.add_frame(position, offset);
        }
        for _ in 0..reader.number()? {
            let length = reader.number()?;
            let name = std::str::from_utf8(reader.take(length)?).ok()?;
            let (before, bytes, count) = (reader.number()?, reader.number()?, reader.number()?);
            let mut position = self.head.first;
            let mut damaged = false;
            let added = index.add_records(name, before, bytes, count, || {
                match reader.number().and_then(|step| position.checked_add(step)) {
                    Some(next) => position = next,
                    None => damaged = true,
                }
                position
            });
            if !added || damaged {
                return None;
            }
        }
        let retired = reader.number()?;
        let retired = reader.take(retired.checked_mul(8)?)?;
        reader.0.is_empty().then(|| retired.chunks_exact(8).map(|part| u64_at(part, 0)).collect())
    }
}
