//! The few things the journal asks of a file system, so that tests can stand in for one.
//!
//! Rule: nothing counts as stored before `sync_data` of the file (its bytes and length) and
//! `sync_directory` (its name) have returned without an error. [`RealDisk`] is the real one;
//! [`crate::sim::SimDisk`] loses, tears and refuses on purpose.
//!
//! Absent on purpose: locks (the caller holds the state directory's) and anything with a path:
//! a disk is one directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One directory of files.
pub trait Disk: Send + Sync {
    /// Names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file to read and write; `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading only.
    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file, or empties the one that is there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name at one stroke, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Bytes that this user may still write.
    fn free_bytes(&self) -> io::Result<u64>;
    /// The directory itself (`.`) or the first file in it that belongs to another user, if any does.
    fn foreign_owner(&self) -> io::Result<Option<ForeignOwner>> {
        Ok(None)
    }
}

/// A file that belongs to another user than the one this program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignOwner {
    pub name: String,
    /// User id of the file's owner.
    pub owner: u32,
    /// Effective user id of this program.
    pub own: u32,
}

/// One open file. Reads and writes name their place, so a file is shared between threads.
pub trait DiskFile: Send + Sync {
    /// Bytes read; fewer than asked for only at the end of the file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all of it, or an error; after an error any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// True if the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space for bytes `0..len`; what is new reads as zeros.
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// Returns when the file's bytes and length are durable. After an error nothing is known about
    /// anything written since the last success, and asking again proves nothing.
    fn sync_data(&self) -> io::Result<()>;
}

/// True for the errors that mean "no space": the disk is full or a quota is used up.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A directory of the real file system.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
}

impl RealDisk {
    /// Makes the directory if it is missing (durably, with its parents) and opens it.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn create(directory: &Path) -> io::Result<RealDisk> {
        create_directory(directory)?;
        RealDisk::existing(directory)
    }

    /// Opens a directory that must exist; writes nothing.
    ///
    /// # Errors
    /// `NotFound`, or what the file system answers.
    pub fn existing(directory: &Path) -> io::Result<RealDisk> {
        if !std::fs::metadata(directory)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(RealDisk { directory: directory.to_path_buf() })
    }
}

/// Makes a directory with its parents, each made durable in the one that holds it.
pub(crate) fn create_directory(directory: &Path) -> io::Result<()> {
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if directory.is_dir() {
        // Whoever made it may have died before this. A parent that is not ours to read is not ours to sync.
        let _ = sync_directory(parent);
        return Ok(());
    }
    create_directory(parent)?;
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_directory(parent)
}

/// Makes the names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.directory.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::open(self.directory.join(name))?)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.directory.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.directory.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        sync_directory(&self.directory)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.directory)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn foreign_owner(&self) -> io::Result<Option<ForeignOwner>> {
        let own = nix::unistd::geteuid().as_raw();
        for name in std::iter::once(".".to_owned()).chain(self.list()?) {
            let owner = match std::fs::symlink_metadata(self.directory.join(&name)) {
                Ok(found) => found.uid(),
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if owner != own {
                return Ok(Some(ForeignOwner { name, owner, own }));
            }
        }
        Ok(None)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.0.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let wanted = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        match nix::fcntl::posix_fallocate(&self.0, 0, wanted) {
            Ok(()) => Ok(()),
            // A file system that cannot reserve: written zeros reserve as well.
            Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::EINVAL) => {
                let zeros = [0; 64 * 1024];
                let mut at = self.len()?;
                while at < len {
                    let part = usize::try_from(len - at).unwrap_or(zeros.len()).min(zeros.len());
                    self.write_at(at, &zeros[..part])?;
                    at += part as u64;
                }
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
