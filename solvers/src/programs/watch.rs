//! What a running count and its caller tell one another.
//!
//! Rule: the count runs on a thread of its own, with room for its recursion; the caller's thread asks the
//! observer every [`LOOK_EVERY`], so a stop is heard within two looks whatever the search is doing.

use super::resume::{CountCheckpoint, Place};
use crate::enumeration::{Flow, Observer, Progress};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often the observer is asked.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Stack of the search per column: a level of the deepest recursion, twice over.
const STACK_PER_COLUMN: usize = 2048;

/// Stack besides.
const STACK_BASE: usize = 8 << 20;

/// Units into which the progress of a count is divided.
const UNITS: u64 = 1_000_000;

/// Shared between a count and its caller.
#[derive(Debug, Default)]
pub(super) struct Signals {
    stop: AtomicBool,
    /// Share that is done, as the bits of a double; only the count's thread writes it.
    share: AtomicU64,
    /// What was found, for show.
    found: Mutex<u128>,
    /// The caller wants to know where the count stands.
    wanted: AtomicBool,
    place: Mutex<Option<Place>>,
}

impl Signals {
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether [`Self::keep`] is waited for.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Tells where the count stands; the share that is done is added here.
    pub fn keep(&self, mut place: Place) {
        place.share = self.share.load(Ordering::Relaxed);
        if let Ok(mut kept) = self.place.lock() {
            *kept = Some(place);
        }
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// Goes on from a place of an earlier count.
    pub fn resume(&self, place: &Place) {
        self.share.store(place.share, Ordering::Relaxed);
        if let Ok(mut shown) = self.found.lock() {
            *shown = place.found;
        }
    }

    fn take(&self) -> Option<Place> {
        self.place.lock().ok().and_then(|mut kept| kept.take())
    }

    pub fn advance(&self, share: f64, found: u128) {
        let before = f64::from_bits(self.share.load(Ordering::Relaxed));
        self.share.store((before + share).to_bits(), Ordering::Relaxed);
        // Never waits: a reader that holds it sees the next figure.
        if let Ok(mut shown) = self.found.try_lock() {
            *shown = found;
        }
    }

    fn progress(&self, pass: u8) -> Progress {
        let share = f64::from_bits(self.share.load(Ordering::Relaxed)).clamp(0.0, 1.0);
        let found = self.found.lock().map_or(0, |f| *f);
        let units_done = (share * UNITS as f64) as u64;
        Progress { units_done, units: UNITS, found, pass, total: None, estimate: None, estimated_share: None }
    }
}

/// Runs `work` on its own thread while `observer` watches; `None` if the thread could not be had or ended.
/// With `program`, the digest of the program, the observer gets the checkpoints that it wants.
pub(super) fn watched<T: Send>(
    columns: usize,
    pass: u8,
    program: Option<&str>,
    observer: &mut dyn Observer,
    work: impl FnOnce(&Signals) -> T + Send,
) -> Option<T> {
    let signals = Signals::default();
    let stack = STACK_BASE.saturating_add(columns.saturating_mul(STACK_PER_COLUMN));
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let shared = &signals;
        let builder = std::thread::Builder::new().stack_size(stack);
        let thread = builder
            .spawn_scoped(scope, move || {
                // The caller waits for this until it comes or the thread ends.
                let _ = send.send(work(shared));
            })
            .ok()?;
        loop {
            match receive.recv_timeout(LOOK_EVERY) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Timeout) => {
                    if observer.progress(&signals.progress(pass)) == Flow::Stop {
                        signals.stop.store(true, Ordering::Relaxed);
                    }
                    let Some(program) = program else { continue };
                    if let Some(place) = signals.take() {
                        observer.count_checkpoint(CountCheckpoint::new(program, place));
                    } else if observer.wants_checkpoint() {
                        signals.wanted.store(true, Ordering::Relaxed);
                    }
                }
                // A panic of the search: joining here keeps it from ending the caller as well.
                Err(RecvTimeoutError::Disconnected) => return thread.join().err().and(None),
            }
        }
    })
}
