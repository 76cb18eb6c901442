//! How one batch lies on disk: a header, the records, padding; version 1.
//!
//! ```text
//! at  bytes  header, all numbers little-endian
//!  0    4    magic "EXJF"
//!  4    2    format version, 1
//!  6    2    kind: 1 records, 2 a writer opened the journal (no records), 3 names of retired streams
//!            (no records; only in snapshots, see snapshot.rs)
//!  8    4    length of the body without padding
//! 12    4    number of records
//! 16    8    position of the first record (kind 2: of the next)
//! 24    8    head that was durable when this frame was written
//! 32    8    incarnation of the writer
//! 40    8    time in milliseconds
//! 48   32    chain hash before the first record
//! 80   32    chain hash after the last record
//! 112   4    CRC32 of body and padding
//! 116   4    CRC32 of header bytes 0..116
//! 120        body: the records, zeros up to a multiple of 8
//! ```
//! A record: length of the rest u32, stream_seq u64, cause u64, schema u16, lengths of stream, kind,
//! principal, role u16 each, length of payload u32, then those five in that order.
//! Its chain hash is BLAKE3 of (hash before, position, time, incarnation, these bytes).
//!
//! Rule: a batch is one frame, so it is there whole or not at all. Nothing is allocated for a length
//! before the header's CRC and the cap have been checked. Magic, version and header CRC keep their
//! places in every future version, so that a newer one is told from damage.

use crate::mutants::{Mutant, on};
use crate::record::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, ChainHash, NewRecord, Position, Record};

pub(crate) const MAGIC: [u8; 4] = *b"EXJF";
pub(crate) const FORMAT: u16 = 1;
pub(crate) const HEADER_BYTES: usize = 120;
/// Frames begin at multiples of this, which bounds the search for the next one after damage.
pub(crate) const ALIGNMENT: usize = 8;
const RECORD_FIXED_BYTES: usize = 8 + 8 + 2 + 4 * 2 + 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Records,
    WriterOpened,
    /// Fingerprints of retired streams; only in snapshots.
    Retired,
}

/// Where the chain stands after some frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainState {
    pub position: Position,
    pub hash: ChainHash,
    pub incarnation: u64,
    pub time_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub kind: FrameKind,
    pub body_bytes: u32,
    pub records: u32,
    pub first: Position,
    pub durable: Position,
    pub incarnation: u64,
    pub time_ms: u64,
    pub before: ChainHash,
    pub after: ChainHash,
    pub body_crc: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame with padding.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + padded(self.body_bytes as usize)
    }
}

/// Why the bytes at a place are not the next frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameFault {
    #[error("no frame begins here (the magic is missing)")]
    NoMagic,
    #[error("the file ends inside a frame")]
    CutOff,
    #[error("the frame's header does not match its checksum")]
    HeaderDamaged,
    #[error("format version {found} is newer than {FORMAT}, the newest this program reads")]
    Newer { found: u16 },
    #[error("the frame's header makes no sense: {0}")]
    HeaderNonsense(&'static str),
    #[error("the frame's records do not match their checksum")]
    BodyDamaged,
    #[error("expected position {expected}, found {found}")]
    PositionGap { expected: Position, found: Position },
    #[error("the chain is broken: the frame does not follow the record before it")]
    ChainBroken,
    #[error("the chain is sound in itself, but its hash here is not the one the head mark kept")]
    NotAsMarked,
    #[error("a record does not follow its stream: {0}")]
    StreamBroken(String),
    #[error("a record is malformed: {0}")]
    RecordMalformed(&'static str),
}

pub(crate) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Bytes that one record takes in a body.
pub(crate) fn record_bytes(record: &NewRecord) -> usize {
    4 + RECORD_FIXED_BYTES
        + record.stream.len()
        + record.kind.len()
        + record.principal.len()
        + record.role.len()
        + record.payload.len()
}

/// Appends the frame of one batch to `out` and returns where the chain stands then.
///
/// `sequences` holds the records' places in their streams. The caller has checked all lengths.
pub(crate) fn build(
    out: &mut Vec<u8>,
    kind: FrameKind,
    records: &[NewRecord],
    sequences: &[u64],
    durable: Position,
    before: &ChainState,
) -> ChainState {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    let mut state = *before;
    for (record, sequence) in records.iter().zip(sequences) {
        let at = out.len();
        push_record(out, record, *sequence);
        state.position += 1;
        state.hash = link(&state, &out[at..]);
    }
    seal(out, start, kind, records.len() as u32, durable, before, state.hash);
    state
}

/// Appends a frame whose body is given: records that stood in another frame, or fingerprints.
pub(crate) fn build_verbatim(
    out: &mut Vec<u8>,
    kind: FrameKind,
    body: &[&[u8]],
    durable: Position,
    before: &ChainState,
    after: ChainHash,
) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    for part in body {
        out.extend_from_slice(part);
    }
    let records = if kind == FrameKind::Records { body.len() as u32 } else { 0 };
    seal(out, start, kind, records, durable, before, after);
}

/// Pads the body that begins behind the header's place at `start`, and fills in the header.
fn seal(
    out: &mut Vec<u8>,
    start: usize,
    kind: FrameKind,
    records: u32,
    durable: Position,
    before: &ChainState,
    after: ChainHash,
) {
    let body = start + HEADER_BYTES;
    let body_bytes = out.len() - body;
    out.resize(body + padded(body_bytes), 0);
    let body_crc = crc32fast::hash(&out[body..]);
    let header = &mut out[start..body];
    header[0..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&FORMAT.to_le_bytes());
    let kind_number: u16 = match kind {
        FrameKind::Records => 1,
        FrameKind::WriterOpened => 2,
        FrameKind::Retired => 3,
    };
    header[6..8].copy_from_slice(&kind_number.to_le_bytes());
    header[8..12].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    header[12..16].copy_from_slice(&records.to_le_bytes());
    header[16..24].copy_from_slice(&(before.position + 1).to_le_bytes());
    header[24..32].copy_from_slice(&durable.to_le_bytes());
    header[32..40].copy_from_slice(&before.incarnation.to_le_bytes());
    header[40..48].copy_from_slice(&before.time_ms.to_le_bytes());
    header[48..80].copy_from_slice(&before.hash);
    header[80..112].copy_from_slice(&after);
    header[112..116].copy_from_slice(&body_crc.to_le_bytes());
    let header_crc = crc32fast::hash(&header[..116]);
    header[116..120].copy_from_slice(&header_crc.to_le_bytes());
}

fn push_record(out: &mut Vec<u8>, record: &NewRecord, sequence: u64) {
    let rest = record_bytes(record) - 4;
    out.extend_from_slice(&(rest as u32).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&record.cause.to_le_bytes());
    out.extend_from_slice(&record.schema.to_le_bytes());
    for name in [&record.stream, &record.kind, &record.principal, &record.role] {
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
    for name in [&record.stream, &record.kind, &record.principal, &record.role] {
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(&record.payload);
}

/// The chain hash of the record whose bytes are `bytes`; `state` already holds its position.
fn link(state: &ChainState, bytes: &[u8]) -> ChainHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&state.hash);
    hasher.update(&state.position.to_le_bytes());
    hasher.update(&state.time_ms.to_le_bytes());
    hasher.update(&state.incarnation.to_le_bytes());
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}

/// Reads a header. `bytes` may be longer; shorter means [`FrameFault::CutOff`].
pub(crate) fn parse_header(bytes: &[u8]) -> Result<FrameHeader, FrameFault> {
    let header = bytes.get(..HEADER_BYTES).ok_or(FrameFault::CutOff)?;
    if header[..4] != MAGIC {
        return Err(FrameFault::NoMagic);
    }
    if crc32fast::hash(&header[..116]) != u32_at(header, 116) && !on(Mutant::HeaderChecksumNotCompared) {
        return Err(FrameFault::HeaderDamaged);
    }
    let found = u16_at(header, 4);
    if found > FORMAT {
        return Err(FrameFault::Newer { found });
    }
    if found != FORMAT {
        return Err(FrameFault::HeaderNonsense("there is no such format version"));
    }
    let kind = match u16_at(header, 6) {
        1 => FrameKind::Records,
        2 => FrameKind::WriterOpened,
        3 => FrameKind::Retired,
        _ => return Err(FrameFault::HeaderNonsense("unknown kind of frame")),
    };
    let parsed = FrameHeader {
        kind,
        body_bytes: u32_at(header, 8),
        records: u32_at(header, 12),
        first: u64_at(header, 16),
        durable: u64_at(header, 24),
        incarnation: u64_at(header, 32),
        time_ms: u64_at(header, 40),
        before: hash_at(header, 48),
        after: hash_at(header, 80),
        body_crc: u32_at(header, 112),
    };
    if parsed.body_bytes as usize > BATCH_BYTES_MAX {
        return Err(FrameFault::HeaderNonsense("longer than any batch"));
    }
    if parsed.records as usize > BATCH_RECORDS_MAX {
        return Err(FrameFault::HeaderNonsense("more records than any batch"));
    }
    if (parsed.kind == FrameKind::Records) != (parsed.records > 0) {
        return Err(FrameFault::HeaderNonsense("kind and number of records disagree"));
    }
    if parsed.first == 0 || parsed.first.checked_add(parsed.records.into()).is_none() {
        return Err(FrameFault::HeaderNonsense("no such position"));
    }
    Ok(parsed)
}

/// Checks that the body belongs to the header. `body` is padded.
pub(crate) fn check_body(header: &FrameHeader, body: &[u8]) -> Result<(), FrameFault> {
    if crc32fast::hash(body) != header.body_crc {
        return Err(FrameFault::BodyDamaged);
    }
    if body[header.body_bytes as usize..].iter().any(|byte| *byte != 0) {
        return Err(FrameFault::HeaderNonsense("padding is not zero"));
    }
    Ok(())
}

/// Checks that the frame follows `state`.
pub(crate) fn check_follows(header: &FrameHeader, state: &ChainState) -> Result<(), FrameFault> {
    if header.first != state.position + 1 {
        return Err(FrameFault::PositionGap { expected: state.position + 1, found: header.first });
    }
    if header.before != state.hash && !on(Mutant::ChainNotCompared)
        || header.incarnation < state.incarnation
        || header.time_ms < state.time_ms
        || header.durable > state.position
    {
        return Err(FrameFault::ChainBroken);
    }
    Ok(())
}

/// One record inside a frame's bytes, checked against the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordView<'a> {
    pub position: Position,
    pub hash: ChainHash,
    pub stream_seq: u64,
    pub time_ms: u64,
    pub cause: Position,
    pub schema: u16,
    pub stream: &'a str,
    pub kind: &'a str,
    pub principal: &'a str,
    pub role: &'a str,
    pub payload: &'a [u8],
    /// The record as it stands in the frame.
    pub raw: &'a [u8],
}

impl RecordView<'_> {
    pub fn to_record(self) -> Record {
        Record {
            position: self.position,
            stream: self.stream.to_owned(),
            stream_seq: self.stream_seq,
            time_ms: self.time_ms,
            principal: self.principal.to_owned(),
            role: self.role.to_owned(),
            cause: self.cause,
            kind: self.kind.to_owned(),
            schema: self.schema,
            payload: self.payload.to_vec(),
            hash: self.hash,
        }
    }
}

/// Walks a frame's records along the chain, from `header.before` to `header.after`.
///
/// A record is visited before the end of the chain has been compared: the caller keeps nothing of it
/// when this returns an error. (The checksum of the body has been compared before.)
pub(crate) fn walk<'a>(
    header: &FrameHeader,
    body: &'a [u8],
    mut visit: impl FnMut(RecordView<'a>) -> Result<(), FrameFault>,
) -> Result<ChainState, FrameFault> {
    let mut rest = body.get(..header.body_bytes as usize).ok_or(FrameFault::CutOff)?;
    let mut state = ChainState {
        position: header.first - 1,
        hash: header.before,
        incarnation: header.incarnation,
        time_ms: header.time_ms,
    };
    for _ in 0..header.records {
        let short = FrameFault::RecordMalformed("it is cut off");
        let length = rest.get(..4).ok_or_else(|| short.clone())?;
        let length = 4 + u32_at(length, 0) as usize;
        let bytes = rest.get(..length).ok_or(short)?;
        rest = &rest[length..];
        state.position += 1;
        state.hash = link(&state, bytes);
        visit(view(bytes, &state)?)?;
    }
    if !rest.is_empty() {
        return Err(FrameFault::RecordMalformed("bytes are left over"));
    }
    if state.hash != header.after && !on(Mutant::ChainNotCompared) {
        return Err(FrameFault::ChainBroken);
    }
    Ok(state)
}

fn view<'a>(bytes: &'a [u8], state: &ChainState) -> Result<RecordView<'a>, FrameFault> {
    let malformed = FrameFault::RecordMalformed;
    let fixed = bytes.get(4..4 + RECORD_FIXED_BYTES).ok_or(malformed("it is cut off"))?;
    let mut rest = &bytes[4 + RECORD_FIXED_BYTES..];
    let mut take = |length: usize| -> Result<&'a [u8], FrameFault> {
        let taken = rest.get(..length).ok_or(malformed("its lengths disagree"))?;
        rest = &rest[length..];
        Ok(taken)
    };
    let mut name = |at: usize| -> Result<&'a str, FrameFault> {
        std::str::from_utf8(take(u16_at(fixed, at).into())?).map_err(|_| malformed("a name is not UTF-8"))
    };
    let (stream, kind, principal, role) = (name(18)?, name(20)?, name(22)?, name(24)?);
    let payload = take(u32_at(fixed, 26) as usize)?;
    if !rest.is_empty() {
        return Err(malformed("its lengths disagree"));
    }
    Ok(RecordView {
        position: state.position,
        hash: state.hash,
        stream_seq: u64_at(fixed, 0),
        time_ms: state.time_ms,
        cause: u64_at(fixed, 8),
        schema: u16_at(fixed, 16),
        stream,
        kind,
        principal,
        role,
        payload,
        raw: bytes,
    })
}

// The callers below pass slices of known length; the copies cannot be short.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

pub(crate) fn hash_at(bytes: &[u8], at: usize) -> ChainHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes[at..at + 32]);
    hash
}
