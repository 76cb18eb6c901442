//! Garbage collection of artefacts: what nobody names any more goes, in two steps.
//!
//! First an artefact without a root is noted; only a later collection, at least the grace period after, and
//! only if it still has no root, removes it. Storing it again, asking whether it is there, or asking for its
//! path takes the note away, since whoever does that may be about to name it.
//!
//! Rule: in doubt it stays. Notes live in memory only, so a restart begins the grace anew, and time is the
//! caller's monotonic time, so no step of the wall clock shortens it. Roots that are not complete refuse the
//! collection. A crash anywhere leaves each artefact whole or gone.
//! Absent on purpose: what the roots are. One owner calls this; two at once are told so.

use std::time::Duration;

use crate::artefacts::{ArtefactError, Artefacts};
use crate::digest::Digest;
use crate::mutants::{Mutant, on};

/// Grace that is long enough for anything between storing an artefact and the record that names it: the
/// longest upload, a full disk waited out, an approval does not count (its inputs have records).
pub const COLLECT_GRACE: Duration = Duration::from_secs(3600);

/// What must stay.
pub enum Roots<'a> {
    /// True for every artefact that a record, a checkpoint, a release or a pin names.
    Complete(&'a dyn Fn(&Digest) -> bool),
    /// Not everything that may name artefacts could be read.
    Incomplete { why: String },
}

impl std::fmt::Debug for Roots<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Roots::Complete(_) => out.write_str("Complete"),
            Roots::Incomplete { why } => write!(out, "Incomplete({why})"),
        }
    }
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    pub rooted: u64,
    /// Without a root, but within the grace.
    pub waiting: u64,
    pub removed: u64,
    pub freed_bytes: u64,
}

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(
        "nothing was collected: what must stay is not known completely ({why}); mend that, then collect again"
    )]
    RootsIncomplete { why: String },
    /// Another collection or a backup is at work.
    #[error("another collection or a backup is at work; try again later")]
    Busy,
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
}

impl Artefacts {
    /// Removes artefacts that had no root for at least `grace`; `now` is monotonic time since any fixed point.
    /// Blocks; lists the whole store and asks `roots` once per artefact.
    ///
    /// # Errors
    /// [`CollectError`]; what was removed before an error stays removed.
    pub fn collect(
        &self,
        roots: Roots<'_>,
        grace: Duration,
        now: Duration,
    ) -> Result<Collected, CollectError> {
        let Ok(_one) = self.collecting().try_lock() else { return Err(CollectError::Busy) };
        let rooted = match roots {
            Roots::Complete(rooted) => rooted,
            Roots::Incomplete { why } => return Err(CollectError::RootsIncomplete { why }),
        };
        let mut collected = Collected::default();
        for digest in self.list()? {
            if rooted(&digest) {
                self.pin(&digest);
                collected.rooted += 1;
                continue;
            }
            // Whoever pins it in between wins: the note is looked at again under the lock.
            match self.remove_noted(&digest, grace, now)? {
                Some(bytes) => {
                    collected.removed += 1;
                    collected.freed_bytes += bytes;
                }
                None => collected.waiting += 1,
            }
        }
        Ok(collected)
    }

    /// Forgets what was noted, so that the grace of everything begins anew: for a time in which records
    /// that name artefacts could not be written, such as a full disk.
    pub fn forget_noted(&self) {
        self.noted().clear();
    }

    fn remove_noted(
        &self,
        digest: &Digest,
        grace: Duration,
        now: Duration,
    ) -> Result<Option<u64>, ArtefactError> {
        let mut noted = self.noted();
        let since = noted.get(digest).copied();
        let long_enough = since.is_some_and(|since| now.saturating_sub(since) >= grace);
        if !long_enough && !on(Mutant::GraceIgnored) {
            noted.entry(*digest).or_insert(now);
            return Ok(None);
        }
        let path = self.place(digest);
        let bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        self.remove(digest)?;
        noted.remove(digest);
        Ok(Some(bytes))
    }

    /// How many artefacts there are and what they take, unfinished uploads included.
    ///
    /// # Errors
    /// [`ArtefactError::Io`].
    pub fn disk_bytes(&self) -> Result<(u64, u64), ArtefactError> {
        crate::space::tree_bytes(self.directory()).map_err(|source| ArtefactError::Io {
            doing: "add up",
            path: self.directory().display().to_string(),
            source,
        })
    }
}
