//! Whether a thread still counts, or was abandoned: the fence between it and its successor.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const RUNNING: u8 = 0;
const ENDED: u8 = 1;
const ABANDONED: u8 = 2;

static ABANDONED_THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
    /// What this thread must ask before it publishes something. A flag without a destructor: all that
    /// a thread pays which nobody can abandon.
    static STANDING: Cell<Standing> = const { Cell::new(Standing::Free) };
}

#[derive(Clone, Copy, PartialEq)]
enum Standing {
    /// Nobody can abandon it.
    Free,
    /// It can be abandoned.
    Fenced,
    /// It publishes right now and is not abandoned meanwhile.
    Publishing,
    /// It was abandoned and is about to end.
    Gone,
}

/// Threads of this program that were abandoned and still run; also the gauge
/// `supervisor_abandoned_threads`. Each holds its stack and whatever it is stuck in, so a number that
/// grows asks for a restart of the program.
#[must_use]
pub fn abandoned_threads() -> usize {
    ABANDONED_THREADS.load(Ordering::Acquire)
}

/// Whether the current thread was abandoned by its supervisor. Code that publishes a result after a
/// long step asks this first: another thread may have taken over. False on any other thread.
#[must_use]
pub fn is_abandoned() -> bool {
    OF_THIS_THREAD.with_borrow(|life| life.as_ref().is_some_and(|life| life.is_abandoned()))
}

/// Does `act` unless the current thread was abandoned; the abandonment waits meanwhile, so `act` is
/// short. A thread that cannot be abandoned pays one read of a thread-local flag.
pub(crate) fn unless_abandoned<T>(act: impl FnOnce() -> T) -> Option<T> {
    match STANDING.get() {
        Standing::Free | Standing::Publishing => Some(act()),
        Standing::Gone => None,
        Standing::Fenced => {
            let life = OF_THIS_THREAD.with_borrow(Clone::clone)?;
            life.unless_abandoned(|| {
                // What `act` sets in motion on this thread (a waker, a drop) may publish in turn.
                let _publishing = Publishing::begin();
                act()
            })
        }
    }
}

struct Publishing;

impl Publishing {
    fn begin() -> Self {
        STANDING.set(Standing::Publishing);
        Publishing
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        STANDING.set(Standing::Fenced);
    }
}

fn count(change: impl FnOnce()) {
    change();
    metrics::gauge!("supervisor_abandoned_threads").set(abandoned_threads() as f64);
}

/// The state of one thread, shared by it and its supervisor.
#[derive(Debug, Default)]
pub(crate) struct Life {
    state: AtomicU8,
    fence: Mutex<()>,
}

impl Life {
    /// Gives up on the thread. True if it had not ended yet; it is counted from now on.
    pub(crate) fn abandon(&self) -> bool {
        let _fence = self.fence();
        let abandoned =
            self.state.compare_exchange(RUNNING, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if abandoned {
            count(|| {
                ABANDONED_THREADS.fetch_add(1, Ordering::AcqRel);
            });
        }
        abandoned
    }

    /// The thread is about to end.
    fn end(&self) {
        if self.state.swap(ENDED, Ordering::AcqRel) == ABANDONED {
            count(|| {
                ABANDONED_THREADS.fetch_sub(1, Ordering::AcqRel);
            });
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.load(Ordering::Acquire) == ABANDONED
    }

    /// Does `act` unless the thread was abandoned; the abandonment waits meanwhile, so `act` is short.
    pub(crate) fn unless_abandoned<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let _fence = self.fence();
        if self.is_abandoned() { None } else { Some(act()) }
    }

    fn fence(&self) -> MutexGuard<'_, ()> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that the current thread lives this life, until it is dropped at the thread's end.
pub(super) struct Living(Arc<Life>);

impl Living {
    pub(super) fn begin(life: Arc<Life>) -> Self {
        OF_THIS_THREAD.set(Some(life.clone()));
        STANDING.set(Standing::Fenced);
        Living(life)
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        // The thread's own destructors come after this.
        STANDING.set(if self.0.is_abandoned() { Standing::Gone } else { Standing::Free });
        self.0.end();
    }
}
