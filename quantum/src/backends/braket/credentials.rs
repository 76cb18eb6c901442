//! Keys for signing, from a file and from nowhere else.
//!
//! Rule: the file is read at each call, so that rotated keys are taken up and revoked ones are not kept; its
//! content never reaches a message, a log or the journal. Absent on purpose: the environment, the metadata
//! service of a machine, profiles of a home directory.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the keys are: `aws_access_key_id`, `aws_secret_access_key` and perhaps `aws_session_token`, one
/// `name = value` per line. Lines of other profiles than `default` are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsFile(pub PathBuf);

/// Keys as read.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error("EX-0485: {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("EX-0485: {} has mode {mode:03o}, expected one that only its owner may read: chmod 600", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("EX-0485: {} has no `{name}`", path.display())]
    Incomplete { path: PathBuf, name: &'static str },
}

impl CredentialsFile {
    /// The file, or the systemd credential of that name if `name` is no path.
    pub fn named(name: &str, credentials_directory: Option<&Path>) -> Self {
        match credentials_directory {
            Some(directory) if !name.contains('/') => Self(directory.join(name)),
            _ => Self(PathBuf::from(name)),
        }
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// [`CredentialsError`], which never quotes what is in the file.
    pub fn read(&self) -> Result<Keys, CredentialsError> {
        let path = || self.0.clone();
        let unreadable =
            |error: std::io::Error| CredentialsError::Unreadable { path: path(), why: error.to_string() };
        let mode = std::fs::metadata(&self.0).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Open { path: path(), mode });
        }
        let text = std::fs::read_to_string(&self.0).map_err(unreadable)?;
        let mut ours = true;
        let mut found = [None, None, None];
        const NAMES: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                ours = line == "[default]";
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| ours) else { continue };
            if let Some(at) = NAMES.iter().position(|known| *known == name.trim()) {
                found[at] = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            }
        }
        let [id, secret, token] = found;
        let need =
            |value: Option<String>, name| value.ok_or(CredentialsError::Incomplete { path: path(), name });
        Ok(Keys { id: need(id, NAMES[0])?, secret: need(secret, NAMES[1])?, token })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, CredentialsFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, CredentialsFile(path))
    }

    const SOUND: &str = "[other]\naws_access_key_id = no\n[default]\naws_access_key_id = AKCANARY\naws_secret_access_key=s3cretcanary\n";

    #[test]
    fn keys_are_read_from_the_default_profile_and_never_shown() {
        let (_dir, file) = file(SOUND, 0o600);
        let keys = file.read().unwrap();
        assert_eq!(
            (keys.id.as_str(), keys.secret.as_str(), keys.token.clone()),
            ("AKCANARY", "s3cretcanary", None)
        );
        assert!(!format!("{keys:?}{file:?}").to_lowercase().contains("canary"));
    }

    #[test]
    fn a_file_that_others_may_read_or_that_lacks_a_key_is_refused_without_quoting_it() {
        for (text, mode, word) in [
            (SOUND, 0o640, "mode 640"),
            (SOUND, 0o604, "mode 604"),
            ("aws_access_key_id = AKCANARY\n", 0o600, "no `aws_secret_access_key`"),
            ("aws_access_key_id =\naws_secret_access_key = canary\n", 0o600, "no `aws_access_key_id`"),
        ] {
            let (_dir, file) = file(text, mode);
            let error = file.read().unwrap_err().to_string();
            assert!(error.starts_with("EX-0485") && error.contains(word), "{error}");
            assert!(!error.to_lowercase().contains("canary"), "{error}");
        }
        let missing = CredentialsFile("/nowhere/keys".into()).read().unwrap_err().to_string();
        assert!(missing.starts_with("EX-0485"), "{missing}");
    }

    #[test]
    fn a_bare_name_is_a_credential_of_systemd_and_a_path_is_a_path() {
        let directory = Path::new("/run/credentials/x");
        assert_eq!(CredentialsFile::named("braket", Some(directory)).0, directory.join("braket"));
        assert_eq!(CredentialsFile::named("/etc/keys", Some(directory)).0, Path::new("/etc/keys"));
        assert_eq!(CredentialsFile::named("keys", None).0, Path::new("keys"));
    }
}
