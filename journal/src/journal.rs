//! The handle that everyone holds: append, read, follow.
//!
//! Rule: `append` answers `Ok` only when the batch is durable (fdatasync has returned), and nothing that
//! is not durable is ever read, counted or announced. The handle is cheap to clone and usable from any
//! thread or runtime; all writing happens on one thread of its own ([`crate::writer`]).
//!
//! Absent on purpose: the lock on the directory (the caller holds one on the state directory), and what
//! records mean. Start at [`Journal::open`], then [`Journal::append`]; what needs no
//! writer is in reads.rs.

mod answers;
mod options;
mod reads;
mod shared;

use std::future::Future;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use answers::{AppendError, Appended, OpenError, ReadError, RecoverError, Recovery};
pub use options::{OpenReport, Options};
pub use shared::Status;
pub(crate) use shared::{Shared, View};

use crate::disk::{Disk, RealDisk};
use crate::opening::{self, Opened};
use crate::queue::{Append, Refused, Request};
use crate::record::{NewRecord, Position};
use crate::writer::Writer;
use options::SEGMENT_BYTES;

/// A handle on the journal.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Journal")
            .field("head", &self.head())
            .field("incarnation", &self.incarnation())
            .finish_non_exhaustive()
    }
}

struct Inner {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dead_bytes_min: u64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Inner {
    fn shut(&self) {
        self.shared.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the writer has been reported as poison already.
            let _ = thread.join();
        }
    }
}

impl Journal {
    /// Opens the journal in `dir`, making it if there is none.
    ///
    /// Reads and checks every record of the newest segment (checksum, chain, streams) and of every file whose
    /// index sidecar is missing or does not fit, cuts off and keeps aside an unfinished write at the end,
    /// makes the rest durable, and records a new incarnation. Damage inside an older file whose sidecar fits
    /// is found when its records are read, or by `verify`. The caller holds the lock
    /// on the state directory: two writers would destroy each other's records.
    ///
    /// # Errors
    /// [`OpenError`]; unless it is `DiskFull` or `Io` nothing has been changed.
    pub fn open(dir: &Path, options: Options) -> Result<(Journal, OpenReport), OpenError> {
        let disk = RealDisk::create(dir).map_err(|source| OpenError::Io {
            doing: format!("making the directory {}", dir.display()),
            source,
        })?;
        Journal::open_on(Arc::new(disk), options)
    }

    /// The same on any [`Disk`]; tests bring a faulty one.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<(Journal, OpenReport), OpenError> {
        let (journal, writer, report) = Journal::assemble(disk, options)?;
        let thread = std::thread::Builder::new()
            .name("journal-writer".into())
            .spawn(move || {
                let shared = writer.shared.clone();
                let run = std::panic::AssertUnwindSafe(|| writer.run());
                if std::panic::catch_unwind(run).is_err() {
                    shared.set_poisoned(Some("the writer thread panicked; restart".into()));
                }
                shared.queue.abandon();
            })
            .map_err(|source| OpenError::Io { doing: "starting the writer thread".into(), source })?;
        *journal.inner.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok((journal, report))
    }

    /// The handle and the writer, which the caller lets run: a thread, or step by step in a simulation.
    pub(crate) fn assemble(
        disk: Arc<dyn Disk>,
        mut options: Options,
    ) -> Result<(Journal, Writer, OpenReport), OpenError> {
        options.segment_bytes = options.segment_bytes.clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        options.reserve_bytes = options.reserve_bytes.min(options.segment_bytes / 2);
        let Opened { segment, chain, mark, index, format, report } = opening::open(disk.as_ref(), &options)?;
        let view = View { index, head: report.head, time_ms: chain.time_ms, segment_end: segment.tail };
        let shared = Arc::new(Shared::new(options.queue_max, view, &chain));
        let dead_bytes_min = options.dead_bytes_min;
        let writer = Writer {
            disk: disk.clone(),
            options,
            shared: shared.clone(),
            next_number: segment.number + 1,
            segment,
            chain,
            mark,
            poisoned: None,
            format,
        };
        let inner = Arc::new(Inner { shared, disk, dead_bytes_min, thread: Mutex::new(None) });
        Ok((Journal { inner }, writer, report))
    }

    /// Appends a batch: all of it or nothing. Resolves when it is durable; gives the records' positions.
    ///
    /// The batch takes its place in the queue when this is *called*, so calls in order are appended in
    /// order. Dropping the future gives up the answer, not the batch. `time_ms` is raised to the last
    /// record's time if it lies before it. `incarnation` is what [`Journal::incarnation`] said when the
    /// caller read the state it acts on.
    ///
    /// # Errors
    /// [`AppendError`]. One fdatasync serves all batches that wait (about 0.1 ms on a good disk).
    pub fn append(
        &self,
        batch: Vec<NewRecord>,
        time_ms: u64,
        incarnation: u64,
    ) -> impl Future<Output = Result<Vec<Position>, AppendError>> + Send + use<> {
        let appended = self.enqueue_async(batch, time_ms, incarnation, false);
        async move { appended.await.map(|appended| appended.positions) }
    }

    /// As [`Journal::append`], and tells the time that the records carry.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_timed(
        &self,
        batch: Vec<NewRecord>,
        time_ms: u64,
        incarnation: u64,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> {
        self.enqueue_async(batch, time_ms, incarnation, false)
    }

    /// As [`Journal::append`], for what must be recorded even on a full disk or behind a full queue (an
    /// emergency stop): may use the reserved space and a few places in the queue that are kept free.
    ///
    /// # Errors
    /// [`AppendError`]; `DiskFull` only when the reserve is used up too.
    pub fn append_urgent(
        &self,
        batch: Vec<NewRecord>,
        time_ms: u64,
        incarnation: u64,
    ) -> impl Future<Output = Result<Vec<Position>, AppendError>> + Send + use<> {
        let appended = self.enqueue_async(batch, time_ms, incarnation, true);
        async move { appended.await.map(|appended| appended.positions) }
    }

    /// As [`Journal::append`], for threads outside of any async runtime.
    ///
    /// # Errors
    /// [`AppendError`].
    ///
    /// # Panics
    /// Inside an async runtime, where blocking would stop other tasks.
    pub fn append_blocking(
        &self,
        batch: Vec<NewRecord>,
        time_ms: u64,
        incarnation: u64,
    ) -> Result<Vec<Position>, AppendError> {
        let waiting = self.enqueue(batch, time_ms, incarnation, false)?;
        let appended = waiting.blocking_recv().unwrap_or_else(|_| Err(self.inner.shared.gone()));
        appended.map(|appended| appended.positions)
    }

    fn enqueue_async(
        &self,
        batch: Vec<NewRecord>,
        time_ms: u64,
        incarnation: u64,
        urgent: bool,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> {
        let waiting = self.enqueue(batch, time_ms, incarnation, urgent);
        let shared = self.inner.shared.clone();
        async move { waiting?.await.unwrap_or_else(|_| Err(shared.gone())) }
    }

    fn enqueue(
        &self,
        batch: Vec<NewRecord>,
        time_ms: u64,
        incarnation: u64,
        urgent: bool,
    ) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError> {
        let (reply, waiting) = oneshot::channel();
        let request = Request::Append(Append { batch, time_ms, incarnation, urgent, reply });
        match self.inner.shared.queue.push(request) {
            Ok(()) => Ok(waiting),
            Err(Refused::Full) => Err(AppendError::Busy),
            Err(Refused::Closed) => Err(self.inner.shared.gone()),
        }
    }

    /// Goes on after a failed write or fsync: cuts back to the last acknowledged record (what stood behind
    /// it is kept in a `tail-*.bin` file) and continues in a new segment under a **new incarnation**, which
    /// callers must take up from [`Journal::incarnation`] after reading their state again. A sound journal
    /// is left as it is.
    ///
    /// # Errors
    /// [`RecoverError`]; the journal stays poisoned and this may be tried again.
    pub fn recover(&self) -> impl Future<Output = Result<Recovery, RecoverError>> + Send + use<> {
        let waiting = self.enqueue_recover();
        async move { waiting?.await.unwrap_or(Err(RecoverError::Closed)) }
    }

    /// As [`Journal::recover`], for threads outside of any async runtime.
    ///
    /// # Errors
    /// [`RecoverError`].
    ///
    /// # Panics
    /// Inside an async runtime.
    pub fn recover_blocking(&self) -> Result<Recovery, RecoverError> {
        self.enqueue_recover()?.blocking_recv().unwrap_or(Err(RecoverError::Closed))
    }

    fn enqueue_recover(&self) -> Result<oneshot::Receiver<Result<Recovery, RecoverError>>, RecoverError> {
        let (reply, waiting) = oneshot::channel();
        match self.inner.shared.queue.push(Request::Recover(reply)) {
            Ok(()) => Ok(waiting),
            Err(_) => Err(RecoverError::Closed),
        }
    }

    /// The number under which this opening (or recovery) writes; higher than any before it.
    pub fn incarnation(&self) -> u64 {
        self.inner.shared.incarnation.load(Ordering::Acquire)
    }

    /// Takes nothing new, writes what waits, and ends the writer thread. Reading goes on working. Blocks.
    pub fn close(&self) {
        self.inner.shut();
    }
}
