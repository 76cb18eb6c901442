//! What a handle answers without the writer: records, streams, the head; and what compacting asks of it.
//!
//! Rule: nothing that is not durable is read, counted or announced.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Journal, ReadError, Shared, Status};
use crate::compaction::{self, By, CompactError, Compaction, Keep, Weight};
use crate::disk::Disk;
use crate::index::Known;
use crate::reading;
use crate::record::{Head, Position, Record};

impl Journal {
    /// Up to `limit` durable records from position `from` on, in order; empty at the end. Fewer than there
    /// are if they hold more than 64 MiB. Records of retired streams are gone and left out: look at each
    /// record's position. Every record is checked against checksum and chain.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, from: Position, limit: usize) -> Result<Vec<Record>, ReadError> {
        reading::range(&self.inner.shared, self.inner.disk.as_ref(), from, limit)
    }

    /// Up to `limit` durable records of a stream from its `from_seq`-th on (from 1); as [`Journal::read`].
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Retired`] if a compaction has dropped the stream.
    pub fn read_stream(&self, stream: &str, from_seq: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        reading::stream(&self.inner.shared, self.inner.disk.as_ref(), stream, from_seq, limit)
    }

    /// How many durable records a stream holds; 0 for one that does not exist or is retired.
    pub fn stream_len(&self, stream: &str) -> u64 {
        self.inner.shared.view().index.stream_len(stream)
    }

    /// Whether a compaction has dropped the stream: its records are gone and it takes no new ones.
    pub fn is_retired(&self, stream: &str) -> bool {
        self.inner.shared.view().index.known(stream) == Known::Retired
    }

    /// Streams whose name begins with `prefix`, in order of name, with their lengths.
    pub fn streams(&self, prefix: &str) -> Vec<(String, u64)> {
        self.inner.shared.view().index.streams(prefix)
    }

    /// The last durable record.
    pub fn head(&self) -> Head {
        self.inner.shared.view().head
    }

    /// Follows the durable head. A receiver that is slow sees the newest value, not every one.
    pub fn changed(&self) -> watch::Receiver<Position> {
        self.inner.shared.changed.subscribe()
    }

    /// Time of the last durable record, or of a new journal's beginning; never goes back.
    pub fn last_time_ms(&self) -> u64 {
        self.inner.shared.view().time_ms
    }

    /// What [`Journal::compact`] would keep and drop, and whether it is due.
    /// O(streams); asks `keep` about each once, not about the journal's own.
    pub fn weigh(&self, keep: impl FnMut(&str) -> Keep) -> Weight {
        compaction::weigh(&self.inner.shared, self.inner.dead_bytes_min, keep).0
    }

    /// Drops the streams that `keep` gives up and moves all others into a snapshot; removes older segments.
    /// Appending goes on meanwhile, except to the dropped streams: their records are gone afterwards, reading
    /// them says [`ReadError::Retired`], and appending to them [`AppendError::Retired`], for ever. A stream
    /// that grows after `keep` was asked about it is kept. Blocks; reads and writes all that is kept, at about
    /// 0.3 GB/s. Needs room for it beside what is there.
    ///
    /// # Errors
    /// [`CompactError`]; the journal is as it was then.
    ///
    /// # Panics
    /// Inside an async runtime, where blocking would stop other tasks.
    pub fn compact(&self, keep: impl FnMut(&str) -> Keep, by: By<'_>) -> Result<Compaction, CompactError> {
        compaction::compact(&self.inner.shared, &self.inner.disk, keep, by, &mut || {})
    }

    /// Bytes of all files in the journal's directory, space that is reserved included.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for name in self.inner.disk.list()? {
            match self.inner.disk.open_read(&name).and_then(|file| file.len()) {
                Ok(length) => bytes += length,
                // A compaction may have removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    pub(crate) fn parts(&self) -> (&Arc<Shared>, &Arc<dyn Disk>) {
        (&self.inner.shared, &self.inner.disk)
    }

    /// How the journal is. Asks the file system for its free space.
    pub fn status(&self) -> Status {
        self.inner.shared.status(self.inner.disk.as_ref())
    }
}
