//! What the handle and the writer thread share: the queue, the durable journal as readers see it, the counts.
//!
//! Rule: the view holds durable records only; the writer changes it after fdatasync has returned.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::AppendError;
use crate::disk::Disk;
use crate::frame::ChainState;
use crate::index::Index;
use crate::queue::Queue;
use crate::record::{Head, Position};

/// How the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Why nothing is acknowledged, if so.
    pub poisoned: Option<String>,
    /// The last append found no space.
    pub full: bool,
    /// Commits, batches, records and bytes since opening.
    pub fsyncs: u64,
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
    pub segments: usize,
    /// Space left for this user on the journal's file system; 0 if it cannot be asked.
    pub disk_free_bytes: u64,
}

/// What the handle and the writer thread share.
pub(crate) struct Shared {
    pub queue: Queue,
    view: RwLock<View>,
    pub incarnation: AtomicU64,
    pub changed: watch::Sender<Position>,
    pub full: AtomicBool,
    poisoned: Mutex<Option<String>>,
    fsyncs: AtomicU64,
    batches: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    /// Held by whoever needs the older files to stay: a compaction, a backup, an export.
    pub maintenance: Mutex<()>,
}

/// The durable journal as readers see it.
pub(crate) struct View {
    pub index: Index,
    pub head: Head,
    pub time_ms: u64,
    /// End of the last durable frame in the newest segment.
    pub segment_end: u64,
}

impl Shared {
    /// As opening left it: nothing counted, nothing poisoned.
    pub(super) fn new(queue_max: usize, view: View, chain: &ChainState) -> Shared {
        let (changed, _) = watch::channel(chain.position);
        Shared {
            queue: Queue::new(queue_max),
            view: RwLock::new(view),
            incarnation: AtomicU64::new(chain.incarnation),
            changed,
            full: AtomicBool::new(false),
            poisoned: Mutex::new(None),
            fsyncs: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            maintenance: Mutex::new(()),
        }
    }

    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_poisoned(&self, why: Option<String>) {
        *self.poisoned.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub(super) fn poisoned(&self) -> Option<String> {
        self.poisoned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a caller is told whose answer will never come.
    pub(super) fn gone(&self) -> AppendError {
        match self.poisoned() {
            Some(why) => AppendError::Poisoned { why },
            None => AppendError::Closed,
        }
    }

    pub fn count(&self, batches: u64, records: u64, bytes: u64) {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.batches.fetch_add(batches, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn status(&self, disk: &dyn Disk) -> Status {
        Status {
            poisoned: self.poisoned(),
            full: self.full.load(Ordering::Relaxed),
            fsyncs: self.fsyncs.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            segments: self.view().index.segments(),
            disk_free_bytes: disk.free_bytes().unwrap_or(0),
        }
    }
}
