//! How a thread is asked to end.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
struct State {
    set: AtomicBool,
    guard: Mutex<()>,
    changed: Condvar,
}

/// Whether a thread is to end. Clones are the same flag; once set it stays set.
///
/// Long computations look at [`Self::is_set`] between two steps (an atomic load); a thread that rests
/// does so in [`Self::wait`], which a stop interrupts.
#[derive(Clone, Default)]
pub struct StopFlag(Arc<State>);

impl StopFlag {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        StopFlag::default()
    }

    /// Whether the thread is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }

    /// Rests until the flag is set, `time` at most. True if it is set.
    pub fn wait(&self, time: Duration) -> bool {
        let guard = self.0.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(guard, time, |()| !self.is_set());
        drop(waited);
        self.is_set()
    }

    /// Asks the thread to end.
    pub fn set(&self) {
        // Under the lock, so that no waiter falls asleep between its look and the wake.
        let _guard = self.0.guard.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.set.store(true, Ordering::Release);
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for StopFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopFlag").field(&self.is_set()).finish()
    }
}
