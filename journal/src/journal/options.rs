//! How a journal is kept, and what opening it found.

use crate::record::Head;
use crate::scan::Tail;

/// Smallest and largest segment. Below, the header and reserve leave no room; above, offsets outgrow the index.
pub(super) const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024..=1024 * 1024 * 1024;

/// How a journal is kept.
pub struct Options {
    /// Size of one segment file, reserved on disk beforehand; clamped to 4 KiB..1 GiB.
    pub segment_bytes: u64,
    /// Largest payload of one record; larger things belong into artefacts.
    pub record_bytes_max: usize,
    /// Most batches that may wait; one more is answered `Busy`.
    pub queue_max: usize,
    /// Space in the current segment that only [`Journal::append_urgent`] may use, for an emergency stop on a full disk.
    pub reserve_bytes: u64,
    /// A compaction is due when so many more bytes are dead than alive ([`Weight`]).
    pub dead_bytes_min: u64,
    /// Opening believes the index sidecars of sealed segments instead of reading these; off to check everything.
    pub believe_sidecars: bool,
    /// Milliseconds since 1970; asked when a new journal is begun. Later times come with the records.
    pub clock: Box<dyn Fn() -> u64 + Send>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 16 * 1024 * 1024,
            record_bytes_max: 1024 * 1024,
            queue_max: 4096,
            reserve_bytes: 64 * 1024,
            dead_bytes_min: 16 * 1024 * 1024,
            believe_sidecars: true,
            clock: Box::new(|| {
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |since| since.as_millis() as u64)
            }),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Options")
            .field("segment_bytes", &self.segment_bytes)
            .field("record_bytes_max", &self.record_bytes_max)
            .field("queue_max", &self.queue_max)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("dead_bytes_min", &self.dead_bytes_min)
            .field("believe_sidecars", &self.believe_sidecars)
            .finish_non_exhaustive()
    }
}

/// What opening found.
#[derive(Debug, Clone)]
pub struct OpenReport {
    pub head: Head,
    pub records: u64,
    pub segments: usize,
    /// This opening's incarnation.
    pub incarnation: u64,
    /// An unfinished write that was cut off; never acknowledged.
    pub tail: Option<Tail>,
    /// The file in the journal's directory that keeps the cut-off bytes.
    pub kept_tail: Option<String>,
    /// The writer before this one had failed to write or sync; everything behind its last acknowledged
    /// record was cut off.
    pub was_poisoned: bool,
    /// Segments and snapshots that had to be read; the index sidecars of the others were believed.
    pub read_files: usize,
    /// Oddities that endanger nothing, in words.
    pub notes: Vec<String>,
}
