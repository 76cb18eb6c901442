//! What goes into the journal and what comes out: the words every other module shares.
//!
//! A record belongs to one stream; its place in the whole journal is its [`Position`], its place in the
//! stream is `stream_seq`. Both count from 1 without gaps.
//!
//! Absent on purpose: what a payload means. The journal stores bytes with a kind and a schema number.

/// Place of a record in the whole journal, from 1, without gaps. 0 means "before the first".
pub type Position = u64;

/// BLAKE3 hash that ends the chain at one record.
pub type ChainHash = [u8; 32];

/// What the chain starts from, before the first record.
pub const CHAIN_START: ChainHash = [0; 32];

/// The journal's own stream: one record per compaction, which names the snapshot and its digest. Callers may
/// read it and may not append to it.
pub const SNAPSHOTS_STREAM: &str = "journal/snapshots";

/// Longest stream, kind, principal or role, in bytes. Names are paths of a few words; 1 KiB is surely a mistake.
pub const NAME_BYTES_MAX: usize = 1024;

/// Most records in one batch. A decision of a 300-stage run gives about 600; a hundred times that is surely a mistake.
pub const BATCH_RECORDS_MAX: usize = 65_536;

/// Largest batch on disk, in bytes; checked before allocation when reading. Anything larger belongs into artefacts.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One record to be appended. Times and positions are given by the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The stream it belongs to, such as `run/17`.
    pub stream: String,
    /// How many records the stream must hold before this one (earlier records of the same batch count);
    /// `None` does not care.
    pub expected_seq: Option<u64>,
    /// The event's name, such as `StageStarted`.
    pub kind: String,
    /// Version of the payload's schema.
    pub schema: u16,
    /// The payload's bytes, at most `Options::record_bytes_max`.
    pub payload: Vec<u8>,
    /// Who caused it.
    pub principal: String,
    /// In which role.
    pub role: String,
    /// Position of the record that led to this one; 0 for none.
    pub cause: Position,
}

/// One record as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub position: Position,
    pub stream: String,
    /// Place in its stream, from 1.
    pub stream_seq: u64,
    /// Milliseconds since 1970, never less than the record's before.
    pub time_ms: u64,
    pub principal: String,
    pub role: String,
    pub cause: Position,
    pub kind: String,
    pub schema: u16,
    pub payload: Vec<u8>,
    /// The chain's hash up to and with this record.
    pub hash: ChainHash,
}

/// The last durable record and the chain's hash there. Keep it outside too (log, export, alert channel):
/// only an outside copy shows that a whole tail was cut off or an older directory was put back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub position: Position,
    pub hash: ChainHash,
}

impl Head {
    /// The head of an empty journal.
    pub const START: Head = Head { position: 0, hash: CHAIN_START };

    /// The hash as 64 lower-case hexadecimal digits.
    pub fn hash_hex(&self) -> String {
        crate::digest::hex(&self.hash)
    }
}

impl std::fmt::Debug for Head {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Head({}, {})", self.position, self.hash_hex())
    }
}
