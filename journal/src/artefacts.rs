//! Artefacts: anything large, as files named by the BLAKE3 digest of their content.
//!
//! Rule: a file gets its name only when its bytes are durable, and the journal names it only afterwards
//! (store, then append). What is read is hashed again, so a damaged file is an error, never an answer.
//!
//! Layout: `ab/abcdef...` (64 hexadecimal digits), unfinished ones in `incoming/`.
//! Absent on purpose: deciding what may be removed; garbage collection (collect.rs) has one owner, which knows
//! the roots.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::digest::Digest;
use crate::disk::{create_directory, is_full, sync_directory};
use crate::mutants::{Mutant, on};

/// Largest artefact. The largest feasible set that is written out as a list is some hundred MB.
pub const ARTEFACT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// How much of a file is held in memory while it is copied or hashed.
const COPY_BYTES: usize = 256 * 1024;

const INCOMING: &str = "incoming";

/// Why an artefact was not stored or not given.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// Nobody stored it here, or it was removed.
    #[error("there is no artefact {digest}")]
    NotFound { digest: Digest },
    /// The file's content is no longer what its name says. Storing the content again repairs it.
    #[error("artefact {digest} is damaged: its content is {found}; store it again or restore the file")]
    Damaged { digest: Digest, found: Digest },
    /// What was uploaded is not what was announced; nothing was stored.
    #[error("the upload is {found}, but {expected} was announced; upload it again")]
    NotAsAnnounced { expected: Digest, found: Digest },
    /// Over the limit; nothing was stored.
    #[error("an artefact may have {max} bytes, this one has more")]
    TooLarge { max: u64 },
    /// No space; nothing was stored.
    #[error("no space to store an artefact; free some and try again")]
    DiskFull,
    /// The file system refuses.
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: String, source: io::Error },
}

/// A directory of artefacts. Cheap to clone; usable from any thread. All calls block on the disk.
#[derive(Debug, Clone)]
pub struct Artefacts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    bytes_max: u64,
    uploads: AtomicU64,
    /// Artefacts that a collection found without a root, and when.
    noted: Mutex<BTreeMap<Digest, Duration>>,
    /// Held by whoever needs the files to stay, or removes them.
    collecting: Mutex<()>,
}

impl Artefacts {
    /// Opens the directory, making it if it is missing, and removes uploads that were never finished.
    /// One opening per directory at a time: the caller holds the state directory's lock.
    ///
    /// # Errors
    /// [`ArtefactError::Io`] or [`ArtefactError::DiskFull`].
    pub fn open(dir: &Path) -> Result<Artefacts, ArtefactError> {
        Artefacts::open_with_limit(dir, ARTEFACT_BYTES_MAX)
    }

    /// As [`Artefacts::open`], with `bytes_max` bytes for one artefact instead of [`ARTEFACT_BYTES_MAX`].
    ///
    /// # Errors
    /// As [`Artefacts::open`].
    pub fn open_with_limit(dir: &Path, bytes_max: u64) -> Result<Artefacts, ArtefactError> {
        let incoming = dir.join(INCOMING);
        // All at once and synced here: an upload must not rely on a directory that is not durable yet.
        for shard in 0..=255u8 {
            let shard = dir.join(crate::digest::hex(&[shard]));
            std::fs::create_dir_all(&shard).map_err(failed("make", &shard))?;
        }
        create_directory(&incoming).map_err(failed("make", &incoming))?;
        for entry in std::fs::read_dir(&incoming).map_err(failed("list", &incoming))? {
            let path = entry.map_err(failed("list", &incoming))?.path();
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        sync_directory(dir).map_err(failed("sync", dir))?;
        Ok(Artefacts {
            inner: Arc::new(Inner {
                directory: dir.to_path_buf(),
                bytes_max,
                uploads: AtomicU64::new(0),
                noted: Mutex::default(),
                collecting: Mutex::default(),
            }),
        })
    }

    /// Stores `bytes` durably and gives their name. Storing something again repairs a damaged file.
    ///
    /// # Errors
    /// [`ArtefactError`]; nothing is stored then.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ArtefactError> {
        let mut upload = self.begin()?;
        upload.write(bytes)?;
        upload.store(None)
    }

    /// Stores a copy of the file at `path` durably and gives its name.
    ///
    /// # Errors
    /// [`ArtefactError`]; nothing is stored then.
    pub fn put_file(&self, path: &Path) -> Result<Digest, ArtefactError> {
        let mut file = File::open(path).map_err(failed("open", path))?;
        let mut upload = self.begin()?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return upload.store(None),
                Ok(read) => upload.write(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", path)(error)),
            }
        }
    }

    /// The artefact's bytes, checked against its name.
    ///
    /// # Errors
    /// [`ArtefactError::NotFound`], [`ArtefactError::Damaged`], [`ArtefactError::TooLarge`] if the file has
    /// grown over the limit, [`ArtefactError::Io`].
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, ArtefactError> {
        let path = self.place(digest);
        let file = self.open_artefact(digest)?;
        let length = file.metadata().map_err(failed("ask about", &path))?.len();
        if length > self.inner.bytes_max {
            return Err(ArtefactError::TooLarge { max: self.inner.bytes_max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        // One byte more than the length shows a file that grows meanwhile; its digest will not fit.
        file.take(length + 1).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(ArtefactError::Damaged { digest: *digest, found });
        }
        Ok(bytes)
    }

    /// Reads the artefact through and compares it with its name, without holding it in memory.
    ///
    /// # Errors
    /// As [`Artefacts::get`].
    pub fn check(&self, digest: &Digest) -> Result<(), ArtefactError> {
        let path = self.place(digest);
        let mut file = self.open_artefact(digest)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &path)(error)),
            }
        }
        let found = Digest::from_bytes(*hasher.finalize().as_bytes());
        if found != *digest {
            return Err(ArtefactError::Damaged { digest: *digest, found });
        }
        Ok(())
    }

    fn open_artefact(&self, digest: &Digest) -> Result<File, ArtefactError> {
        let path = self.place(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ArtefactError::NotFound { digest: *digest },
            _ => failed("open", &path)(error),
        })
    }

    /// Where the artefact lies, or would lie. Whoever reads the file there checks the digest himself. Whoever
    /// asks may be about to name it, so it is pinned for another grace ([`Artefacts::collect`]).
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.pin(digest);
        self.place(digest)
    }

    pub(crate) fn place(&self, digest: &Digest) -> PathBuf {
        let name = digest.hex();
        self.inner.directory.join(&name[..2]).join(name)
    }

    /// Whether a file of that name is there; says nothing about its content. If so it is pinned for another
    /// grace: who is told "it is there" will not store it again.
    pub fn exists(&self, digest: &Digest) -> bool {
        let mut noted = self.noted();
        noted.remove(digest);
        // Asked under the lock: a collection cannot remove it in between.
        self.place(digest).is_file()
    }

    /// Takes away the note of a collection that found no root.
    pub(crate) fn pin(&self, digest: &Digest) {
        self.noted().remove(digest);
    }

    pub(crate) fn noted(&self) -> MutexGuard<'_, BTreeMap<Digest, Duration>> {
        self.inner.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn collecting(&self) -> &Mutex<()> {
        &self.inner.collecting
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Removes an artefact; it need not exist. Only the owner of garbage collection calls this.
    ///
    /// # Errors
    /// [`ArtefactError::Io`].
    pub fn remove(&self, digest: &Digest) -> Result<(), ArtefactError> {
        let path = self.place(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Names of all artefacts, in order.
    ///
    /// # Errors
    /// [`ArtefactError::Io`].
    pub fn list(&self) -> Result<Vec<Digest>, ArtefactError> {
        let mut digests = Vec::new();
        let directory = &self.inner.directory;
        for shard in std::fs::read_dir(directory).map_err(failed("list", directory))? {
            let shard = shard.map_err(failed("list", directory))?.path();
            if !shard.is_dir() {
                continue;
            }
            for entry in std::fs::read_dir(&shard).map_err(failed("list", &shard))? {
                let name = entry.map_err(failed("list", &shard))?.file_name();
                let digest = name.to_str().and_then(crate::digest::unhex);
                digests.extend(digest.map(Digest::from_bytes));
            }
        }
        digests.sort_unstable();
        Ok(digests)
    }

    /// Begins an upload. Dropped without [`Upload::finish`] it leaves nothing.
    ///
    /// # Errors
    /// [`ArtefactError::Io`] or [`ArtefactError::DiskFull`].
    pub fn begin(&self) -> Result<Upload, ArtefactError> {
        let number = self.inner.uploads.fetch_add(1, Ordering::Relaxed);
        let path = self.inner.directory.join(INCOMING).join(format!("{}-{number}", std::process::id()));
        let file =
            OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed("make", &path))?;
        Ok(Upload { store: self.clone(), file, path, hasher: blake3::Hasher::new(), bytes: 0 })
    }
}

/// An artefact on its way in.
#[derive(Debug)]
pub struct Upload {
    store: Artefacts,
    file: File,
    path: PathBuf,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Upload {
    /// Adds a piece.
    ///
    /// # Errors
    /// [`ArtefactError::TooLarge`] at once when the limit is passed, [`ArtefactError::DiskFull`],
    /// [`ArtefactError::Io`]. Drop the upload then.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), ArtefactError> {
        let max = self.store.inner.bytes_max;
        if self.bytes + chunk.len() as u64 > max {
            return Err(ArtefactError::TooLarge { max });
        }
        self.file.write_all(chunk).map_err(failed("write", &self.path))?;
        self.hasher.update(chunk);
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stores what was written, durably, if it is what was announced.
    ///
    /// # Errors
    /// [`ArtefactError::NotAsAnnounced`] and nothing is stored; otherwise as [`Artefacts::put`].
    pub fn finish(self, expected: Digest) -> Result<Digest, ArtefactError> {
        self.store(Some(expected))
    }

    fn store(self, expected: Option<Digest>) -> Result<Digest, ArtefactError> {
        let found = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        if let Some(expected) = expected
            && found != expected
        {
            return Err(ArtefactError::NotAsAnnounced { expected, found });
        }
        self.file.sync_all().map_err(failed("sync", &self.path))?;
        let target = self.store.place(&found);
        let shard = target.parent().unwrap_or(&self.store.inner.directory);
        {
            // One step for a collection: it sees the note gone, or has removed the old file already.
            let mut noted = self.store.noted();
            if !on(Mutant::StoredAgainNotPinned) {
                noted.remove(&found);
            }
            // Replaces a file of that name: it has the same content, or was damaged.
            std::fs::rename(&self.path, &target).map_err(failed("name", &target))?;
        }
        sync_directory(shard).map_err(failed("sync", shard))?;
        Ok(found)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After a successful rename there is nothing of that name.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ArtefactError + 'a {
    move |source| {
        if is_full(&source) {
            return ArtefactError::DiskFull;
        }
        ArtefactError::Io { doing, path: path.display().to_string(), source }
    }
}
