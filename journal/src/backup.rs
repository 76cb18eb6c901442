//! A consistent copy of journal and artefacts while appends go on, and the way back from a journal alone.
//!
//! Rule: the copy ends at one durable head. Sealed files never change, so they are copied as they are; of
//! the newest segment the bytes up to that head are copied. The writer is not stopped for any of it. An
//! artefact is stored before the record that names it, so every artefact that the copied records name is
//! listed after the head was taken. Garbage collection and compaction wait meanwhile (they answer `Busy`).
//! The copy is verified and synced before it gets its name.
//!
//! Layout: `journal/`, `artefacts/`, and `head`, the head as text, for `verify_against`. Checkpoints are not
//! copied: they are rebuilt.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::artefacts::Artefacts;
use crate::checkpoints::quarantine_store;
use crate::disk::{Disk, RealDisk, create_directory, is_full, sync_directory};
use crate::record::Head;
use crate::scan::Problem;
use crate::sidecar::is_sidecar;
use crate::verify::{VerifyError, verify};
use crate::{ArtefactError, Journal, OpenError, Options};

const COPY_BYTES: usize = 1024 * 1024;

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupReport {
    pub head: Head,
    pub records: u64,
    pub artefacts: u64,
    /// Of the artefacts that are links to the store's own files, because both lie on one file system.
    pub linked: u64,
    pub journal_bytes: u64,
}

/// Why there is no backup. The target is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A compaction, an export, a collection or another backup is at work.
    #[error("a compaction, an export, a collection or another backup is at work; try again later")]
    Busy,
    #[error("{target} is there already; nothing was changed, name a new directory")]
    TargetExists { target: String },
    #[error(
        "the journal is damaged: {0}; nothing was kept of the backup, `journal verify` lists every place"
    )]
    Damaged(Problem),
    #[error("no space for the backup; free some or name another place")]
    DiskFull,
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> BackupError {
    let doing = doing.into();
    move |source| {
        if is_full(&source) {
            return BackupError::DiskFull;
        }
        BackupError::Io { doing, source }
    }
}

/// Copies journal and artefacts to the new directory `target`. Blocks; appending goes on meanwhile.
///
/// # Errors
/// [`BackupError`].
pub fn backup(
    journal: &Journal,
    artefacts: Option<&Artefacts>,
    target: &Path,
) -> Result<BackupReport, BackupError> {
    if target.symlink_metadata().is_ok() {
        return Err(BackupError::TargetExists { target: target.display().to_string() });
    }
    let (shared, disk) = journal.parts();
    let Ok(_files_stay) = shared.maintenance.try_lock() else { return Err(BackupError::Busy) };
    let collecting = artefacts.map(|artefacts| artefacts.collecting().try_lock());
    if collecting.as_ref().is_some_and(Result::is_err) {
        return Err(BackupError::Busy);
    }
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let staging = target.with_file_name(name);
    match std::fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(format!("remove {}", staging.display()))(error));
        }
        _ => {}
    }
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let done = (|| {
        create_directory(parent).map_err(failed(format!("make {}", parent.display())))?;
        private_directory(&staging)?;
        let (head, files, end) = {
            let view = shared.view();
            (view.head, view.index.file_names(), view.segment_end)
        };
        let journal_bytes = copy_journal(disk.as_ref(), &staging.join("journal"), &files, end)?;
        let (count, linked) = match artefacts {
            Some(artefacts) => copy_artefacts(artefacts, &staging.join("artefacts"))?,
            None => (0, 0),
        };
        std::fs::write(staging.join("head"), format!("{head}\n")).map_err(failed("write the head"))?;
        std::fs::File::open(staging.join("head"))
            .and_then(|file| file.sync_all())
            .map_err(failed("sync the head"))?;
        let found = verify(&staging.join("journal")).map_err(|error| match error {
            VerifyError::Io { source, .. } => failed("read the copy")(source),
            error => failed("read the copy")(io::Error::other(error)),
        })?;
        if let Some(problem) = found.problems.into_iter().next() {
            return Err(BackupError::Damaged(problem));
        }
        if found.head != head {
            let what = format!("the copy ends at {}, not at {head}", found.head);
            let problem =
                Problem { segment: files.last().cloned().unwrap_or_default(), offset: 0, position: 0, what };
            return Err(BackupError::Damaged(problem));
        }
        sync_directory(&staging).map_err(failed("sync the copy"))?;
        std::fs::rename(&staging, target)
            .and_then(|()| sync_directory(parent))
            .map_err(failed(format!("name {}", target.display())))?;
        Ok(BackupReport { head, records: found.records, artefacts: count, linked, journal_bytes })
    })();
    if done.is_err() {
        let _ = std::fs::remove_dir_all(&staging);
    }
    done
}

fn private_directory(directory: &Path) -> Result<(), BackupError> {
    let made = std::fs::DirBuilder::new().mode(0o700).create(directory);
    made.map_err(failed(format!("make {}", directory.display())))
}

fn copy_journal(disk: &dyn Disk, to: &Path, files: &[String], end: u64) -> Result<u64, BackupError> {
    private_directory(to)?;
    let target = RealDisk::existing(to).map_err(failed("open the copy"))?;
    let mut bytes = 0;
    for (at, name) in files.iter().enumerate() {
        let from = disk.open_read(name).map_err(failed(format!("open {name}")))?;
        let mut length = from.len().map_err(failed(format!("read {name}")))?;
        if at + 1 == files.len() {
            length = length.min(end);
        }
        let file = target.create(name).map_err(failed(format!("make {name}")))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut done = 0;
        while done < length {
            let part = usize::try_from(length - done).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let read = from.read_at(done, &mut buffer[..part]).map_err(failed(format!("read {name}")))?;
            if read == 0 {
                break;
            }
            file.write_at(done, &buffer[..read]).map_err(failed(format!("write {name}")))?;
            done += read as u64;
        }
        file.sync_data().map_err(failed(format!("sync {name}")))?;
        bytes += done;
    }
    target.sync_directory().map_err(failed("sync the copy"))?;
    Ok(bytes)
}

fn copy_artefacts(artefacts: &Artefacts, to: &Path) -> Result<(u64, u64), BackupError> {
    private_directory(to)?;
    let digests = artefacts.list().map_err(|error| match error {
        ArtefactError::DiskFull => BackupError::DiskFull,
        error => failed("list the artefacts")(io::Error::other(error)),
    })?;
    let (mut linked, mut shard) = (0, None::<PathBuf>);
    for digest in &digests {
        let from = artefacts.place(digest);
        let name = digest.hex();
        let directory = to.join(&name[..2]);
        if shard.as_ref() != Some(&directory) {
            if let Some(done) = &shard {
                sync_directory(done).map_err(failed("sync artefacts"))?;
            }
            private_directory(&directory)?;
            shard = Some(directory.clone());
        }
        let target = directory.join(&name);
        if std::fs::hard_link(&from, &target).is_ok() {
            linked += 1;
            continue;
        }
        std::fs::copy(&from, &target)
            .and_then(|_| std::fs::File::open(&target)?.sync_all())
            .map_err(failed(format!("copy {digest}")))?;
    }
    if let Some(done) = &shard {
        sync_directory(done).map_err(failed("sync artefacts"))?;
    }
    sync_directory(to).map_err(failed("sync artefacts"))?;
    Ok((digests.len() as u64, linked))
}

/// What was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildReport {
    pub head: Head,
    pub records: u64,
    /// Index sidecars that were made anew.
    pub sidecars: usize,
    /// Where the old checkpoint store was moved; the next start fills a fresh one from the journal.
    pub quarantined: Option<PathBuf>,
    pub notes: Vec<String>,
}

/// Why nothing was rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The journal itself must be whole. Nothing was changed.
    #[error("the journal is damaged: {0}; nothing was changed, restore a backup or import an export")]
    Damaged(Problem),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
}

/// Makes everything that is not the truth anew from the journal alone: index sidecars at once, checkpoints by
/// moving the old store away, so that the next start replays. Reads the whole journal. The caller holds the
/// state directory's lock.
///
/// # Errors
/// [`RebuildError`].
pub fn rebuild(journal_dir: &Path, checkpoints_dir: &Path) -> Result<RebuildReport, RebuildError> {
    let found = verify(journal_dir)?;
    if let Some(problem) = found.problems.into_iter().next() {
        return Err(RebuildError::Damaged(problem));
    }
    let failed = |doing: &str| {
        let doing = doing.to_owned();
        move |source| RebuildError::Io { doing, source }
    };
    let disk = RealDisk::existing(journal_dir).map_err(failed("open the journal's directory"))?;
    for name in disk.list().map_err(failed("list the journal's directory"))? {
        if is_sidecar(&name) {
            disk.remove(&name).map_err(failed("remove an index sidecar"))?;
        }
    }
    let quarantined = quarantine_store(checkpoints_dir).map_err(failed("move the checkpoint store away"))?;
    let (journal, report) =
        Journal::open(journal_dir, Options { believe_sidecars: false, ..Options::default() })?;
    journal.close();
    let names = disk.list().map_err(failed("list the journal's directory"))?;
    Ok(RebuildReport {
        head: report.head,
        records: report.records,
        sidecars: names.iter().filter(|name| is_sidecar(name)).count(),
        quarantined,
        notes: report.notes,
    })
}
