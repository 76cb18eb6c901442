//! What the stores take, what is left, and when that is too little.
//!
//! Rule: pure arithmetic over what the file system says. Who pauses, and how that is told, is the caller's.

use std::io;
use std::path::Path;

use crate::{Artefacts, Checkpoints, Journal};

/// Bytes on disk, by store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// With reserved space, sidecars and kept tails.
    pub journal_bytes: u64,
    /// With quarantines.
    pub checkpoint_bytes: u64,
    pub artefact_bytes: u64,
    pub artefacts: u64,
    pub free: FreeSpace,
}

/// What a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FreeSpace {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// Free and total space of the file system that holds `path` (statvfs; microseconds).
///
/// # Errors
/// What the file system answers.
pub fn free_space(path: &Path) -> io::Result<FreeSpace> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(FreeSpace {
        free_bytes: stat.blocks_available().saturating_mul(stat.fragment_size()),
        total_bytes: stat.blocks().saturating_mul(stat.fragment_size()),
    })
}

/// What all three stores take. Lists every file: milliseconds for thousands of artefacts.
///
/// # Errors
/// What the file system answers.
pub fn space(journal: &Journal, checkpoints: &Checkpoints, artefacts: &Artefacts) -> io::Result<Space> {
    let (count, artefact_bytes) = tree_bytes(artefacts.directory())?;
    Ok(Space {
        journal_bytes: journal.disk_bytes()?,
        checkpoint_bytes: tree_bytes(checkpoints.directory())?.1,
        artefact_bytes,
        artefacts: count,
        free: free_space(artefacts.directory())?,
    })
}

/// Files under a directory and their bytes; what vanishes meanwhile does not count.
pub(crate) fn tree_bytes(directory: &Path) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => waiting.push(entry.path()),
                Ok(found) => {
                    files += 1;
                    bytes += found.len();
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((files, bytes))
}

/// What a look at the free space means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has just become too little: start nothing new, say so.
    Pause,
    /// There is enough again: go on by itself.
    Resume,
    /// As before.
    Unchanged { paused: bool },
}

/// Two thresholds, so that work does not stop and go at one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    pause_below_bytes: u64,
    resume_from_bytes: u64,
    paused: bool,
}

impl Watermark {
    /// Pauses below `pause_below_bytes` and resumes from `resume_from_bytes` (raised to the former) on.
    pub fn new(pause_below_bytes: u64, resume_from_bytes: u64) -> Watermark {
        Watermark {
            pause_below_bytes,
            resume_from_bytes: resume_from_bytes.max(pause_below_bytes),
            paused: false,
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Judges the free space that there is now.
    pub fn judge(&mut self, free_bytes: u64) -> Verdict {
        let paused = if self.paused {
            free_bytes < self.resume_from_bytes
        } else {
            free_bytes < self.pause_below_bytes
        };
        if paused == self.paused {
            return Verdict::Unchanged { paused };
        }
        self.paused = paused;
        if paused { Verdict::Pause } else { Verdict::Resume }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_resumes_only_from_the_upper_mark_on() {
        let mut mark = Watermark::new(100, 200);
        let verdicts: Vec<_> = [150, 99, 150, 199, 200, 100, 99].map(|free| mark.judge(free)).to_vec();
        let same = |paused| Verdict::Unchanged { paused };
        assert_eq!(
            verdicts,
            [
                same(false),
                Verdict::Pause,
                same(true),
                same(true),
                Verdict::Resume,
                same(false),
                Verdict::Pause
            ]
        );
    }

    #[test]
    fn a_directory_tree_is_added_up_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/c"), [0; 10]).unwrap();
        std::fs::write(dir.path().join("d"), [0; 5]).unwrap();
        assert_eq!(tree_bytes(dir.path()).unwrap(), (2, 15));
        assert_eq!(tree_bytes(&dir.path().join("none")).unwrap(), (0, 0));
        let free = free_space(dir.path()).unwrap();
        assert!(free.total_bytes >= free.free_bytes && free.total_bytes > 0);
    }
}
