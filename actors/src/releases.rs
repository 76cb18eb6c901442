//! Releases on disk: immutable directories named by digest, and one link that names the active one.
//!
//! Rule: a release directory appears whole (staged beside, fsynced, renamed) and is never written to
//! again; what is active changes by one atomic rename. Absent: when and why (deployer, engine).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The link in the releases directory that names the active release.
pub const ACTIVE_LINK: &str = "active";
/// File in a release that lists all its other files.
pub const MANIFEST: &str = "manifest.json";

/// What a release consists of. Its digest is the release's name; it holds nothing that differs from
/// run to run, so the same choice gives the same release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub manifest: u32,
    pub workflow: String,
    /// File name to content digest.
    pub files: BTreeMap<String, String>,
}

/// What went wrong with a release on disk.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("release {release}: {file} is not what the manifest says (expected {expected}, found {found})")]
    Damaged { release: String, file: String, expected: String, found: String },
    #[error("release {0} is not here")]
    Unknown(String),
}

/// The directory of all releases.
#[derive(Debug, Clone)]
pub struct Releases {
    dir: PathBuf,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ReleaseError + '_ {
    move |source| ReleaseError::Io { path: path.to_path_buf(), source }
}

fn sync_dir(dir: &Path) -> Result<(), ReleaseError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io(dir))
}

impl Releases {
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(dir: PathBuf) -> Result<Self, ReleaseError> {
        fs::create_dir_all(&dir).map_err(io(&dir))?;
        Ok(Self { dir })
    }

    pub fn path(&self, release: &str) -> PathBuf {
        self.dir.join(release)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Builds the release from these files, or finds it already there. Answers its name.
    ///
    /// # Errors
    /// [`ReleaseError::Io`]; nothing half-built is ever visible under the release's name.
    pub fn build(&self, workflow: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<String, ReleaseError> {
        let manifest = Manifest {
            manifest: 1,
            workflow: workflow.to_owned(),
            files: files
                .iter()
                .map(|(name, bytes)| (name.clone(), format!("b3:{}", blake3::hash(bytes).to_hex())))
                .collect(),
        };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| ReleaseError::Io { path: self.dir.clone(), source: e.into() })?;
        let hash = blake3::hash(&text).to_hex();
        let release = format!("rel-{}", &hash.as_str()[..16]);
        let home = self.path(&release);
        if home.join(MANIFEST).exists() && self.check(&release).is_ok() {
            return Ok(release);
        }
        let staging = self.dir.join(format!(".staging-{release}"));
        for stale in [&staging, &home] {
            match fs::remove_dir_all(stale) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(stale)(e)),
                _ => {}
            }
        }
        fs::create_dir_all(&staging).map_err(io(&staging))?;
        for (name, bytes) in
            files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).chain([(MANIFEST, text.as_slice())])
        {
            let path = staging.join(name);
            journal::failpoint_io!("release.before-file").map_err(io(&path))?;
            let mut file = File::create(&path).map_err(io(&path))?;
            file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io(&path))?;
        }
        journal::failpoint_io!("release.before-sync").map_err(io(&staging))?;
        sync_dir(&staging)?;
        journal::failpoint_io!("release.before-rename").map_err(io(&home))?;
        fs::rename(&staging, &home).map_err(io(&home))?;
        journal::failpoint_io!("release.before-directory-sync").map_err(io(&home))?;
        sync_dir(&self.dir)?;
        Ok(release)
    }

    /// Re-hashes every file of a release against its manifest.
    ///
    /// # Errors
    /// [`ReleaseError::Unknown`] or [`ReleaseError::Damaged`].
    pub fn check(&self, release: &str) -> Result<Manifest, ReleaseError> {
        let path = self.path(release).join(MANIFEST);
        let text = fs::read(&path).map_err(|_| ReleaseError::Unknown(release.to_owned()))?;
        let name = format!("rel-{}", &blake3::hash(&text).to_hex().as_str()[..16]);
        let damaged = |file: &str, expected: &str, found: String| ReleaseError::Damaged {
            release: release.to_owned(),
            file: file.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        if name != release {
            return Err(damaged(MANIFEST, release, name));
        }
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|e| damaged(MANIFEST, "a manifest", e.to_string()))?;
        for (file, expected) in &manifest.files {
            let found = fs::read(self.path(release).join(file))
                .map_or_else(|e| e.to_string(), |bytes| format!("b3:{}", blake3::hash(&bytes).to_hex()));
            if &found != expected {
                return Err(damaged(file, expected, found));
            }
        }
        Ok(manifest)
    }

    /// Makes `release` (or nothing) the active one by one rename; durable when it returns.
    ///
    /// # Errors
    /// [`ReleaseError::Io`]; then the link is either the old or the new one, never neither.
    pub fn activate(&self, release: Option<&str>) -> Result<(), ReleaseError> {
        let link = self.dir.join(ACTIVE_LINK);
        match release {
            Some(release) => {
                let fresh = self.dir.join(".active-next");
                match fs::remove_file(&fresh) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(&fresh)(e)),
                    _ => {}
                }
                journal::failpoint_io!("release.before-link").map_err(io(&fresh))?;
                std::os::unix::fs::symlink(release, &fresh).map_err(io(&fresh))?;
                journal::failpoint_io!("release.before-activation").map_err(io(&link))?;
                fs::rename(&fresh, &link).map_err(io(&link))?;
            }
            None => match fs::remove_file(&link) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(&link)(e)),
                _ => {}
            },
        }
        journal::failpoint_io!("release.after-activation").map_err(io(&link))?;
        sync_dir(&self.dir)
    }

    /// What the link says is active.
    pub fn active(&self) -> Option<String> {
        let target = fs::read_link(self.dir.join(ACTIVE_LINK)).ok()?;
        target.file_name().map(|name| name.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("optimal_config.json".to_owned(), text.as_bytes().to_vec())])
    }

    #[test]
    fn the_same_files_make_the_same_release_and_other_files_another() {
        let dir = tempfile::tempdir().unwrap();
        let releases = Releases::open(dir.path().join("releases")).unwrap();
        let a = releases.build("w", &files("a")).unwrap();
        assert_eq!(a, releases.build("w", &files("a")).unwrap());
        assert_ne!(a, releases.build("w", &files("b")).unwrap());
    }

    #[test]
    fn a_changed_file_is_found_and_a_rebuild_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let releases = Releases::open(dir.path().join("releases")).unwrap();
        let a = releases.build("w", &files("a")).unwrap();
        fs::write(releases.path(&a).join("optimal_config.json"), "forged").unwrap();
        assert!(matches!(releases.check(&a), Err(ReleaseError::Damaged { .. })));
        releases.build("w", &files("a")).unwrap();
        assert!(releases.check(&a).is_ok());
    }

    #[test]
    fn activation_replaces_and_none_deactivates() {
        let dir = tempfile::tempdir().unwrap();
        let releases = Releases::open(dir.path().join("releases")).unwrap();
        assert_eq!(releases.active(), None);
        releases.activate(Some("rel-a")).unwrap();
        releases.activate(Some("rel-b")).unwrap();
        assert_eq!(releases.active().as_deref(), Some("rel-b"));
        releases.activate(None).unwrap();
        releases.activate(None).unwrap();
        assert_eq!(releases.active(), None);
    }
}
