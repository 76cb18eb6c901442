//! Room on disk: below a watermark the daemon takes nothing new and places no stage, until there is room again.
//!
//! Rule: looked at before the first stage is placed, then once a second. Work that runs goes on, and records
//! of control are still written: the watermark lies far above what they need. Absent: removing anything.

use crate::board::Board;
use journal::{FreeSpace, Verdict, Watermark};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const MIB: u64 = 1024 * 1024;
/// Without a setting: pause below this, or below a twentieth of the file system if that is less.
const PAUSE_BELOW_BYTES: u64 = 256 * MIB;
const PAUSE_BELOW_SHARE: u64 = 20;

/// Thresholds from the settings, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomLimits {
    /// `None`: 256 MiB or a twentieth of the file system, whichever is less. 0: never pause.
    pub pause_below_mib: Option<u64>,
    /// `None`: twice the former.
    pub resume_from_mib: Option<u64>,
}

impl RoomLimits {
    /// Bytes to pause below and to resume from, on a file system of that size.
    fn bytes(self, total_bytes: u64) -> (u64, u64) {
        let pause = self.pause_below_mib.map_or_else(
            || PAUSE_BELOW_BYTES.min(total_bytes / PAUSE_BELOW_SHARE),
            |mib| mib.saturating_mul(MIB),
        );
        let resume = self.resume_from_mib.map_or(pause.saturating_mul(2), |mib| mib.saturating_mul(MIB));
        (pause, resume.max(pause))
    }
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    mark: Watermark,
    resume_from: u64,
}

/// Watches the directories that grow. Clones share it.
#[derive(Debug, Clone)]
pub struct Room {
    places: Arc<Mutex<Vec<Place>>>,
}

impl Room {
    /// Directories of `state` that may lie on file systems of their own. Those that cannot be asked are
    /// left out, with a word in the log.
    pub fn new(state: &Path, limits: RoomLimits) -> Self {
        let mut places = Vec::new();
        for name in ["journal", "artefacts", "checkpoints", "releases", "work"] {
            let path = state.join(name);
            match journal::free_space(&path) {
                Ok(space) => {
                    let (pause, resume_from) = limits.bytes(space.total_bytes);
                    places.push(Place { path, mark: Watermark::new(pause, resume_from), resume_from });
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "Its free space cannot be watched.")
                }
            }
        }
        Self { places: Arc::new(Mutex::new(places)) }
    }

    /// Looks at every place, shows what it found, and says so in the log when that is news.
    pub fn look(&self, board: &Board) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut words: Vec<String> = Vec::new();
        for place in places.iter_mut() {
            // What cannot be asked any more stays as it was.
            let Ok(FreeSpace { free_bytes, .. }) = journal::free_space(&place.path) else { continue };
            let verdict = place.mark.judge(free_bytes);
            let path = place.path.display();
            match verdict {
                Verdict::Pause => tracing::error!(%path, free_bytes, needed_bytes = place.resume_from,
                    "Too little room: nothing new is accepted and no stage is placed until there is more."),
                Verdict::Resume => tracing::warn!(%path, free_bytes, "There is room again; work goes on."),
                Verdict::Unchanged { .. } => {}
            }
            if place.mark.is_paused() {
                words.push(format!(
                    "{path} has {} MiB free and needs {} MiB",
                    free_bytes / MIB,
                    place.resume_from.div_ceil(MIB)
                ));
            }
        }
        metrics::gauge!("executing_disk_paused").set(if words.is_empty() { 0.0 } else { 1.0 });
        // Directories of one file system have the same room; naming the first is enough.
        board.set_no_room(words.into_iter().next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_setting_a_small_disk_pauses_later_than_a_large_one() {
        let auto = RoomLimits::default();
        assert_eq!(auto.bytes(100 * 1024 * MIB), (256 * MIB, 512 * MIB));
        assert_eq!(auto.bytes(100 * MIB), (5 * MIB, 10 * MIB));
        let set = RoomLimits { pause_below_mib: Some(8), resume_from_mib: Some(4) };
        assert_eq!(set.bytes(100 * MIB), (8 * MIB, 8 * MIB));
    }

    #[test]
    fn a_threshold_above_the_free_space_pauses_and_names_the_directory_and_zero_never_does() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir(state.path().join("journal")).unwrap();
        let (low, never) = (Board::default(), Board::default());
        let limits = |mib| RoomLimits { pause_below_mib: Some(mib), resume_from_mib: None };
        Room::new(state.path(), limits(u64::MAX / MIB)).look(&low);
        Room::new(state.path(), limits(0)).look(&never);
        assert!(low.no_room().unwrap().contains("/journal has "));
        assert_eq!(never.no_room(), None);
    }
}
