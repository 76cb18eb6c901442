//! What a compaction leaves of the older segments: the records of the streams that were kept.
//!
//! ```text
//! snapshot-0000000012.journal stands for all segments before segment 12
//! at  bytes  header, all numbers little-endian
//!  0    8    magic "EXJSNAP\n"
//!  8    2    format version, 1
//! 10    6    zero
//! 16    8    number of the first segment behind it
//! 24    8    position up to which it speaks
//! 32    8    incarnation there
//! 40    8    time there
//! 48   32    chain hash there
//! 80   36    zero
//! 116   4    CRC32 of header bytes 0..116
//! 120   8    zero
//! 128        frames as in segments: kind 1, the kept records byte by byte with their positions, and the chain
//!            hash before and after each run of them; then kind 3, fingerprints of all retired streams
//! ```
//! Rule: a snapshot counts only if a record of the chain behind it ([`SNAPSHOTS_STREAM`]) names its number,
//! its position, its hash and the BLAKE3 of its bytes. So it is as tamper-evident as the records that it
//! replaces, and one that was never finished is never believed.
//!
//! A fingerprint is the first 8 bytes of the BLAKE3 of the stream's name: 8 bytes per retired stream for
//! ever, so that its numbers are never given out again. With a million retired streams a new name meets one
//! by chance once in 10^13 times, and is then refused, not confused.

use crate::frame::{ChainState, FrameFault, hash_at, u16_at, u32_at, u64_at};
use crate::record::{ChainHash, NewRecord, Position, SNAPSHOTS_STREAM};

pub(crate) const SNAPSHOT_HEADER_BYTES: u64 = 128;
const MAGIC: [u8; 8] = *b"EXJSNAP\n";
pub(crate) const FORMAT: u16 = 1;
const CONFIRMED: &str = "SnapshotTaken";
const CONFIRMED_SCHEMA: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    /// Number of the first segment behind it.
    pub number: u64,
    pub state: ChainState,
}

pub(crate) fn snapshot_name(number: u64) -> String {
    format!("snapshot-{number:010}.journal")
}

pub(crate) fn snapshot_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("snapshot-")?.strip_suffix(".journal")?.parse().ok()?;
    (snapshot_name(number) == name).then_some(number)
}

impl SnapshotHeader {
    pub fn to_bytes(self) -> [u8; SNAPSHOT_HEADER_BYTES as usize] {
        let mut bytes = [0; SNAPSHOT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.state.position.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.state.incarnation.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.state.time_ms.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.state.hash);
        let crc = crc32fast::hash(&bytes[..116]);
        bytes[116..120].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8], named: u64) -> Result<SnapshotHeader, FrameFault> {
        let bytes = bytes.get(..SNAPSHOT_HEADER_BYTES as usize).ok_or(FrameFault::CutOff)?;
        if bytes[..8] != MAGIC
            || crc32fast::hash(&bytes[..116]) != u32_at(bytes, 116)
            || bytes[120..].iter().any(|byte| *byte != 0)
        {
            return Err(FrameFault::HeaderDamaged);
        }
        let found = u16_at(bytes, 8);
        if found > FORMAT {
            return Err(FrameFault::Newer { found });
        }
        if u64_at(bytes, 16) != named {
            return Err(FrameFault::HeaderNonsense("the file's name and its number disagree"));
        }
        Ok(SnapshotHeader {
            number: named,
            state: ChainState {
                position: u64_at(bytes, 24),
                hash: hash_at(bytes, 48),
                incarnation: u64_at(bytes, 32),
                time_ms: u64_at(bytes, 40),
            },
        })
    }
}

/// What the chain says about a snapshot; the payload of a record in [`SNAPSHOTS_STREAM`], schema 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Confirmation {
    pub number: u64,
    pub position: Position,
    pub hash: ChainHash,
    pub bytes: u64,
    pub digest: [u8; 32],
    /// What was kept, what was dropped by this compaction, and all streams retired so far.
    pub records: u64,
    pub dropped_streams: u64,
    pub dropped_records: u64,
    pub retired_streams: u64,
}

impl Confirmation {
    pub fn to_record(self, principal: &str, role: &str) -> NewRecord {
        NewRecord {
            stream: SNAPSHOTS_STREAM.to_owned(),
            expected_seq: None,
            kind: CONFIRMED.to_owned(),
            schema: CONFIRMED_SCHEMA,
            payload: crate::codec::encode(&self),
            principal: principal.to_owned(),
            role: role.to_owned(),
            cause: 0,
        }
    }

    /// Reads the payload of a record in [`SNAPSHOTS_STREAM`].
    pub fn parse(kind: &str, schema: u16, payload: &[u8]) -> Result<Confirmation, FrameFault> {
        if kind != CONFIRMED {
            return Err(FrameFault::RecordMalformed("unknown kind in the journal's own stream"));
        }
        if schema != CONFIRMED_SCHEMA {
            return Err(FrameFault::Newer { found: schema });
        }
        crate::codec::decode(payload)
            .map_err(|_| FrameFault::RecordMalformed("a compaction's record does not decode"))
    }
}

/// What stays of a retired stream's name.
pub(crate) fn fingerprint(stream: &str) -> u64 {
    u64_at(blake3::hash(stream.as_bytes()).as_bytes(), 0)
}

/// Bytes of a frame of fingerprints; small, so that one frame is never large.
pub(crate) const FINGERPRINTS_PER_FRAME: usize = 128 * 1024;

pub(crate) fn fingerprints(body: &[u8]) -> Result<Vec<u64>, FrameFault> {
    if !body.len().is_multiple_of(8) {
        return Err(FrameFault::RecordMalformed("fingerprints are cut off"));
    }
    Ok(body.chunks_exact(8).map(|part| u64_at(part, 0)).collect())
}
