//! What opening, appending, recovering and reading answer when they do not go well, and where a batch stands.
//!
//! Rule: one variant per thing that the caller can do about it.

use std::io;

use crate::record::Position;
use crate::scan::Problem;

/// Why a journal does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Stored records are not what was written. Nothing was changed. Let `journal verify` list all of it,
    /// then restore a backup, or import an export into an empty directory.
    #[error(
        "the journal is damaged: {segment} at byte {offset}, position {position}: {what}; nothing was changed; `journal verify` lists every place, then restore a backup or `journal import` an export"
    )]
    Damaged { segment: String, offset: u64, position: Position, what: String },
    /// A newer program wrote it. Use that one.
    #[error(
        "{segment} has format version {found}, this program reads up to {known}; nothing was changed, use the newer program"
    )]
    NewerFormat { segment: String, found: u16, known: u16 },
    /// Something else lives here. Name another directory.
    #[error(
        "`{name}` was not written by this program, so this is not a journal's directory; nothing was changed, name another one"
    )]
    NotAJournal { name: String },
    /// Another user's files. Run as that user, or give the files to this one.
    #[error(
        "`{name}` belongs to user {owner}, but this program runs as user {own}; nothing was changed, run it as user {owner} or `chown -R` the directory"
    )]
    ForeignOwner { name: String, owner: u32, own: u32 },
    /// The file system is mounted read-only. `journal verify` and `journal export` work there.
    #[error(
        "the file system of the journal is read-only ({doing}); nothing was changed, mount it for writing (`journal verify` and `journal export` work as it is)"
    )]
    ReadOnly { doing: String },
    /// No space for the little that opening writes.
    #[error("no space to open the journal ({doing}, {free_bytes} bytes free); free some and start again")]
    DiskFull { doing: String, free_bytes: u64 },
    /// The file system refuses (missing rights, read-only, broken hardware).
    #[error("cannot open the journal ({doing}): {source}")]
    Io { doing: String, source: io::Error },
}

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Of its records, in order.
    pub positions: Vec<Position>,
    /// The time that all of them carry, in ms.
    pub time_ms: u64,
}

/// Why a batch was not appended. Unless said otherwise none of it will ever be seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too many batches wait. Try again later.
    #[error("the journal is busy: its queue is full; try again later")]
    Busy,
    /// The stream is not where the caller believed it to be. Read it again and decide anew.
    #[error("stream `{stream}` has {actual} records, expected {expected}; read it again and decide anew")]
    Conflict { stream: String, expected: u64, actual: u64 },
    /// Another writer has taken over since. Stop acting on old state.
    #[error("incarnation {given} may not write any more, the current one is {current}")]
    StaleWriter { given: u64, current: u64 },
    /// A write or fsync failed, and it is not known whether this batch is on disk; after
    /// [`Journal::recover`] or a restart it may be there only if a restart found it complete.
    #[error("the journal is poisoned: {why}")]
    Poisoned { why: String },
    /// No space. Nothing is half-written; it goes on by itself when there is space again.
    #[error(
        "no space for {wanted_bytes} bytes in the journal ({free_bytes} bytes free); free some, then append again"
    )]
    DiskFull { wanted_bytes: u64, free_bytes: u64 },
    /// A compaction has dropped the stream, or is about to. It takes no records any more.
    #[error("stream `{stream}` is retired and takes no more records; use a new name")]
    Retired { stream: String },
    /// The journal writes into this stream itself.
    #[error("stream `{stream}` is the journal's own; use another name")]
    ReservedStream { stream: String },
    /// Over a limit; put large things into artefacts.
    #[error("{given} {what} exceed the limit of {max}; put large things into artefacts")]
    TooLarge { what: &'static str, given: usize, max: usize },
    /// The journal has been closed.
    #[error("the journal is closed")]
    Closed,
}

/// Why a poisoned journal stays poisoned.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("no space for a new segment ({free_bytes} bytes free); free some and recover again")]
    DiskFull { free_bytes: u64 },
    #[error("a new segment could not be made: {source}; the disk may be broken")]
    Io { source: io::Error },
    #[error("the journal is closed")]
    Closed,
}

/// How a poisoned journal went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The new incarnation; whoever appends with the old one is refused.
    pub incarnation: u64,
    /// The file that keeps what stood behind the last acknowledged record.
    pub kept_tail: Option<String>,
    /// The segment that is written to now.
    pub segment: String,
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes on disk are no longer what was written. Stop and verify.
    #[error("the journal is damaged: {0}; stop and verify it")]
    Damaged(Problem),
    #[error("cannot read {segment}: {source}")]
    Io { segment: String, source: io::Error },
    /// A compaction has dropped the stream; its records are gone.
    #[error("stream `{stream}` is retired: its records were dropped by a compaction")]
    Retired { stream: String },
}
