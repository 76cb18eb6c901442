//! The handle that everyone holds: append, read, follow.
//!
//! Rule: `append` answers `Ok` only when the batch is durable (fdatasync has returned), and nothing that
//! is not durable is ever read, counted or announced. The handle is cheap to clone and usable from any
//! thread or runtime; all writing happens on one thread of its own ([`crate::writer`]).
//!
//! Absent on purpose: the lock on the directory (the caller holds one on the state directory), and what
//! records mean. Start at [`Journal::open`], then [`Journal::append`].

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use crate::compaction::{self, By, CompactError, Compaction, Keep, Weight};
use crate::disk::{Disk, RealDisk};
use crate::index::{Index, Known};
use crate::opening::{self, Opened};
use crate::queue::{Append, Queue, Refused, Request};
use crate::reading;
use crate::record::{Head, NewRecord, Position, Record};
use crate::scan::{Problem, Tail};
use crate::writer::Writer;

/// Smallest and largest segment. Below, the header and reserve leave no room; above, offsets outgrow the index.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024..=1024 * 1024 * 1024;

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
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_poisoned(&self, why: Option<String>) {
        *self.poisoned.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn poisoned(&self) -> Option<String> {
        self.poisoned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a caller is told whose answer will never come.
    fn gone(&self) -> AppendError {
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
        let (changed, _) = watch::channel(chain.position);
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_max),
            view: RwLock::new(View {
                index,
                head: report.head,
                time_ms: chain.time_ms,
                segment_end: segment.tail,
            }),
            incarnation: AtomicU64::new(chain.incarnation),
            changed,
            full: AtomicBool::new(false),
            poisoned: Mutex::new(None),
            fsyncs: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            maintenance: Mutex::new(()),
        });
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
        let shared = &self.inner.shared;
        Status {
            poisoned: shared.poisoned(),
            full: shared.full.load(Ordering::Relaxed),
            fsyncs: shared.fsyncs.load(Ordering::Relaxed),
            batches: shared.batches.load(Ordering::Relaxed),
            records: shared.records.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            segments: shared.view().index.segments(),
            disk_free_bytes: self.inner.disk.free_bytes().unwrap_or(0),
        }
    }

    /// Takes nothing new, writes what waits, and ends the writer thread. Reading goes on working. Blocks.
    pub fn close(&self) {
        self.inner.shut();
    }
}
