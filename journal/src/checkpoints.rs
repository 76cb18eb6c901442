//! Checkpoints: values that can be rebuilt from the journal, kept in sled so that a start is short.
//!
//! Rule: nothing here is the truth. A store that does not open, panics, hangs, or is ahead of the journal
//! is moved to `quarantine-N` and a fresh one begun; a damaged value reads as absent. Either way the
//! caller replays the journal from the position that the value reflects, or from the start.
//!
//! Layout: `store/` is sled's, one tree: `m` holds the applied position; `c`, key, 0, part number
//! (big-endian) holds part 0, a head with length and BLAKE3, and parts 1.. of at most 4,000 bytes (sled
//! puts larger values into files that it never syncs). sled's own `flush` is not durable on Linux, so
//! [`Checkpoints::flush`] adds an fdatasync of its `db` file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use sled::transaction::{ConflictableTransactionError, TransactionError};

use crate::codec;
use crate::disk::{create_directory, sync_directory};
use crate::record::Position;

/// Longest key, in bytes.
pub const CHECKPOINT_KEY_BYTES_MAX: usize = 512;

/// Largest value. A run's state of some thousand stages has 1 MiB; sixteen times that belongs into artefacts.
pub const CHECKPOINT_BYTES_MAX: usize = 16 * 1024 * 1024;

const PART_BYTES: usize = 4000;

/// sled recovers a large store in well under a second; one that takes this long hangs.
const OPEN_DEADLINE: Duration = Duration::from_secs(20);

/// Quarantines that are kept; the oldest goes when one more comes, so that a bad disk does not fill up.
const QUARANTINES_MAX: usize = 4;

/// Memory sled may use for its cache.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

const APPLIED_KEY: &[u8] = b"m/applied";

/// Why a checkpoint was not written. The journal has everything, so this is worth a warning and no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(
        "a checkpoint key has 1 to {CHECKPOINT_KEY_BYTES_MAX} bytes and no zero byte, `{key}` is not one"
    )]
    BadKey { key: String },
    #[error(
        "checkpoint `{key}` has {bytes} bytes, the limit is {CHECKPOINT_BYTES_MAX}; put it into artefacts"
    )]
    TooLarge { key: String, bytes: usize },
    /// The store failed; the next opening decides whether it is still sound.
    #[error("the checkpoint store failed: {why}; the journal has everything, restart to rebuild it")]
    Store { why: String },
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Where a bad store was moved, and why.
    pub quarantined: Option<(PathBuf, String)>,
    /// Nothing was there, or nothing usable: rebuild from the journal.
    pub fresh: bool,
    /// The highest position that any value reflects.
    pub applied: Position,
    /// No store could be opened or made at all; it goes on without checkpoints.
    pub unavailable: Option<String>,
}

/// The store of checkpoints. Cheap to clone; usable from any thread. All calls may block on the disk.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Option<Store>,
    directory: PathBuf,
    problems: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Store {
    tree: sled::Tree,
    db: sled::Db,
    file: PathBuf,
    /// One writer at a time, so that the parts that are to vanish are known.
    writing: Mutex<()>,
}

/// Part 0 of a value, version 1.
#[derive(serde::Serialize, serde::Deserialize)]
struct ValueHead {
    version: u16,
    position: Position,
    bytes: u64,
    hash: [u8; 32],
}

impl Checkpoints {
    /// Opens the store in `dir`, guarded: whatever is wrong with it costs the checkpoints, never the
    /// daemon. `journal_head` is the journal's durable head; a store ahead of it belongs to another journal.
    /// One opening per directory at a time: the caller holds the state directory's lock.
    pub fn open(dir: &Path, journal_head: Position) -> (Checkpoints, CheckpointReport) {
        let mut report = CheckpointReport::default();
        let path = dir.join("store");
        let existed = path.exists();
        let mut opened = create_directory(dir)
            .map_err(|error| error.to_string())
            .and_then(|()| open_guarded(&path, journal_head));
        if let Err(why) = &opened
            && existed
        {
            match quarantine(dir, &path) {
                Ok(moved) => {
                    tracing::warn!(why, to = %moved.display(), "The checkpoint store was put into quarantine.");
                    report.quarantined = Some((moved, why.clone()));
                    opened = open_guarded(&path, journal_head);
                }
                Err(error) => opened = Err(format!("{why}; and it cannot be moved away: {error}")),
            }
        }
        report.fresh = !existed || report.quarantined.is_some();
        let store = match opened {
            Ok((store, applied)) => {
                report.applied = applied;
                Some(store)
            }
            Err(why) => {
                tracing::error!(why, "There is no checkpoint store; every start replays the journal.");
                report.fresh = true;
                report.unavailable = Some(why);
                None
            }
        };
        let inner = Inner { store, directory: dir.to_path_buf(), problems: Mutex::default() };
        (Checkpoints { inner: Arc::new(inner) }, report)
    }

    /// Stores a value that reflects the journal up to `position`; in one transaction with the applied
    /// position. Durable after [`Checkpoints::flush`], not before.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn put(&self, key: &str, position: Position, value: &[u8]) -> Result<(), CheckpointError> {
        self.put_all(position, &[(key, value)])
    }

    /// Stores several values that reflect the journal up to `position`, all or none.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn put_all(&self, position: Position, values: &[(&str, &[u8])]) -> Result<(), CheckpointError> {
        for (key, value) in values {
            check_key(key)?;
            if value.len() > CHECKPOINT_BYTES_MAX {
                return Err(CheckpointError::TooLarge { key: (*key).to_owned(), bytes: value.len() });
            }
        }
        self.guarded(|store| {
            let _one = store.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut old = Vec::new();
            for (key, value) in values {
                let first_unused = value.len().div_ceil(PART_BYTES) as u32 + 1;
                let from = part_key(key, first_unused);
                let until = part_key(key, u32::MAX);
                for part in store.tree.range(from..=until).keys() {
                    old.push(part?);
                }
            }
            store.transact(|tree| {
                for part in &old {
                    tree.remove(part)?;
                }
                for (key, value) in values {
                    let head = ValueHead {
                        version: 1,
                        position,
                        bytes: value.len() as u64,
                        hash: hash(key, position, value),
                    };
                    tree.insert(part_key(key, 0), codec::encode(&head))?;
                    for (number, part) in (1..).zip(value.chunks(PART_BYTES)) {
                        tree.insert(part_key(key, number), part)?;
                    }
                }
                let applied = tree.get(APPLIED_KEY)?.map_or(0, |bytes| applied_of(&bytes).unwrap_or(0));
                tree.insert(APPLIED_KEY, applied_bytes(applied.max(position)))?;
                Ok(())
            })
        })
    }

    /// The value and the journal position it reflects; `None` if there is none or it is damaged (then
    /// [`Checkpoints::problems`] has one more).
    pub fn get(&self, key: &str) -> Option<(Position, Vec<u8>)> {
        check_key(key).ok()?;
        let read = self.guarded(|store| {
            let mut parts = Vec::new();
            for part in store.tree.range(part_key(key, 0)..=part_key(key, u32::MAX)) {
                let (part, bytes) = part?;
                if parts.len() * PART_BYTES > CHECKPOINT_BYTES_MAX + 2 * PART_BYTES {
                    break;
                }
                parts.push((part, bytes));
            }
            Ok(parts)
        });
        let parts = match read {
            Ok(parts) => parts,
            Err(error) => {
                self.problem(format!("`{key}`: {error}"));
                return None;
            }
        };
        if parts.is_empty() {
            return None;
        }
        let value = assemble(key, &parts);
        if value.is_none() {
            self.problem(format!("`{key}` is damaged and counts as absent"));
        }
        value
    }

    /// Removes a value; it need not exist.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        check_key(key)?;
        self.guarded(|store| {
            let _one = store.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let parts: Result<Vec<_>, _> =
                store.tree.range(part_key(key, 0)..=part_key(key, u32::MAX)).keys().collect();
            let parts = parts?;
            store.transact(|tree| {
                for part in &parts {
                    tree.remove(part)?;
                }
                Ok(())
            })
        })
    }

    /// Keys that begin with `prefix`, in order; also of values that turn out to be damaged.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let mut from = vec![b'c'];
        from.extend_from_slice(prefix.as_bytes());
        let listed = self.guarded(|store| {
            let mut keys = Vec::new();
            for part in store.tree.scan_prefix(&from).keys() {
                let part = part?;
                let key = part.len().checked_sub(5).and_then(|end| part.get(1..end));
                if let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok())
                    && keys.last().is_none_or(|last| last != key)
                {
                    keys.push(key.to_owned());
                }
            }
            Ok(keys)
        });
        listed.unwrap_or_else(|error| {
            self.problem(error.to_string());
            Vec::new()
        })
    }

    /// The highest position that any stored value reflects; 0 for a fresh or damaged store. Each value says
    /// for itself which position it reflects ([`Checkpoints::get`]): replay from there, not from here, unless
    /// all values are always put together.
    pub fn applied(&self) -> Position {
        self.guarded(|store| store.applied()).unwrap_or(0)
    }

    /// Makes everything put so far durable.
    ///
    /// # Errors
    /// [`CheckpointError::Store`]; what was put may vanish at a power loss then.
    pub fn flush(&self) -> Result<(), CheckpointError> {
        self.guarded(|store| store.flush())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Damage and failures noticed since opening, in words.
    pub fn problems(&self) -> Vec<String> {
        self.inner.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn problem(&self, what: String) {
        /// A store that is bad everywhere says the same thing over and over.
        const PROBLEMS_MAX: usize = 1000;
        tracing::warn!(what, "A checkpoint is unusable.");
        let mut problems = self.inner.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < PROBLEMS_MAX {
            problems.push(what);
        }
    }

    /// Runs something on the store; sled panics on some damage, and that must cost the value only.
    fn guarded<T>(&self, work: impl FnOnce(&Store) -> Result<T, sled::Error>) -> Result<T, CheckpointError> {
        let Some(store) = &self.inner.store else {
            return Err(CheckpointError::Store { why: "it could not be opened".into() });
        };
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(store))) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(CheckpointError::Store { why: error.to_string() }),
            Err(panic) => Err(CheckpointError::Store { why: format!("sled panicked: {}", words(&*panic)) }),
        }
    }
}

/// How long a lock may outlive the store that held it before it counts as somebody else's.
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

impl Store {
    fn open(path: &Path) -> Result<Store, sled::Error> {
        let begun = std::time::Instant::now();
        let db = loop {
            let opened = sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                // Only `flush` decides when; a timer would add writes that nobody waits for.
                .flush_every_ms(None)
                .open();
            match opened {
                // sled gives its lock back from a thread of its own, a moment after the last handle went.
                Err(sled::Error::Io(error))
                    if error.to_string().contains("could not acquire lock")
                        && begun.elapsed() < LOCK_WAIT =>
                {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                other => break other?,
            }
        };
        let tree = db.open_tree("checkpoints-1")?;
        Ok(Store { tree, db, file: path.join("db"), writing: Mutex::default() })
    }

    fn applied(&self) -> Result<Position, sled::Error> {
        match self.tree.get(APPLIED_KEY)? {
            None => Ok(0),
            Some(bytes) => applied_of(&bytes).ok_or_else(|| {
                sled::Error::ReportableBug("the applied position does not match its checksum".into())
            }),
        }
    }

    fn flush(&self) -> Result<(), sled::Error> {
        self.db.flush()?;
        // Any descriptor of the file syncs all of its pages.
        File::open(&self.file)?.sync_data()?;
        Ok(())
    }

    fn transact(
        &self,
        work: impl Fn(&sled::transaction::TransactionalTree) -> Result<(), ConflictableTransactionError<()>>,
    ) -> Result<(), sled::Error> {
        self.tree.transaction(work).map_err(|error| match error {
            TransactionError::Storage(error) => error,
            TransactionError::Abort(()) => sled::Error::Unsupported("a transaction was given up".into()),
        })
    }
}

/// Opens a store on a thread of its own, so that neither a panic nor a hang is ours.
fn open_guarded(path: &Path, journal_head: Position) -> Result<(Store, Position), String> {
    let (reply, opened) = mpsc::channel();
    let path = path.to_path_buf();
    std::thread::Builder::new()
        .name("checkpoints-open".into())
        .spawn(move || {
            let open = std::panic::AssertUnwindSafe(|| -> Result<(Store, Position), sled::Error> {
                let store = Store::open(&path)?;
                let applied = store.applied()?;
                // sled finds much of its damage only when it reads.
                for entry in store.tree.iter() {
                    entry?;
                }
                Ok((store, applied))
            });
            let answer = match std::panic::catch_unwind(open) {
                Ok(Ok(opened)) => Ok(opened),
                Ok(Err(error)) => Err(error.to_string()),
                Err(panic) => Err(format!("sled panicked: {}", words(&*panic))),
            };
            // Nobody waits after the deadline; the store is dropped then.
            let _ = reply.send(answer);
        })
        .map_err(|error| format!("no thread to open it: {error}"))?;
    let (store, applied) = opened
        .recv_timeout(OPEN_DEADLINE)
        .unwrap_or_else(|_| Err(format!("it did not open within {OPEN_DEADLINE:?}")))?;
    if applied > journal_head {
        return Err(format!("it reflects position {applied}, but the journal ends at {journal_head}"));
    }
    Ok((store, applied))
}

/// Moves the store in `dir` away, if there is one, so that the next opening begins a fresh one.
pub(crate) fn quarantine_store(dir: &Path) -> std::io::Result<Option<PathBuf>> {
    let path = dir.join("store");
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    quarantine(dir, &path).map(Some)
}

/// Moves the store away; gives its new place.
fn quarantine(dir: &Path, path: &Path) -> std::io::Result<PathBuf> {
    let mut numbers: Vec<u64> = std::fs::read_dir(dir)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix("quarantine-")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let target = dir.join(format!("quarantine-{}", numbers.last().unwrap_or(&0) + 1));
    std::fs::rename(path, &target)?;
    sync_directory(dir)?;
    let surplus = (numbers.len() + 1).saturating_sub(QUARANTINES_MAX);
    for number in &numbers[..surplus] {
        let old = dir.join(format!("quarantine-{number}"));
        if let Err(error) = std::fs::remove_dir_all(&old) {
            tracing::warn!(%error, path = %old.display(), "An old quarantine stays.");
        }
    }
    Ok(target)
}

fn check_key(key: &str) -> Result<(), CheckpointError> {
    if key.is_empty() || key.len() > CHECKPOINT_KEY_BYTES_MAX || key.bytes().any(|byte| byte == 0) {
        return Err(CheckpointError::BadKey { key: key.chars().take(80).collect() });
    }
    Ok(())
}

fn part_key(key: &str, part: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 6);
    bytes.push(b'c');
    bytes.extend_from_slice(key.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&part.to_be_bytes());
    bytes
}

fn hash(key: &str, position: Position, value: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(&position.to_le_bytes());
    hasher.update(value);
    *hasher.finalize().as_bytes()
}

/// The value that the parts make, if they are exactly what was put.
fn assemble(key: &str, parts: &[(sled::IVec, sled::IVec)]) -> Option<(Position, Vec<u8>)> {
    let (first, rest) = parts.split_first()?;
    if first.0 != part_key(key, 0) {
        return None;
    }
    let head: ValueHead = codec::decode(&first.1).ok()?;
    let mut value = Vec::new();
    for (number, (part, bytes)) in (1..).zip(rest) {
        if *part != part_key(key, number) {
            return None;
        }
        value.extend_from_slice(bytes);
    }
    let sound = head.version == 1
        && head.bytes == value.len() as u64
        && head.hash == hash(key, head.position, &value);
    sound.then_some((head.position, value))
}

fn applied_bytes(position: Position) -> Vec<u8> {
    let mut bytes = position.to_be_bytes().to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&position.to_be_bytes()).to_be_bytes());
    bytes
}

fn applied_of(bytes: &[u8]) -> Option<Position> {
    let number: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let position = Position::from_be_bytes(number);
    (applied_bytes(position) == bytes).then_some(position)
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic.downcast_ref::<String>().map_or_else(|| "without a word".to_owned(), Clone::clone)
}
