//! Panics of children: their text, and a hook that records them without flooding the log.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use tracing::error;

/// Panics recorded per [`WINDOW`]; a child that panics in a loop must not fill the disk, and its
/// supervisor records every exit anyhow.
const RECORDS_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);

thread_local! {
    static CURRENT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// The message of a caught panic.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic whose payload is not text".to_owned()
    }
}

/// Runs `act`; a panic in it becomes its message.
///
/// The payload of a panic is a user's value too: one whose `Drop` panics again is leaked rather than
/// let loose outside of the catch.
pub(crate) fn contained<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(act)).map_err(into_text)
}

/// As [`text_of`], and drops the payload without letting a panic of its `Drop` out.
pub(crate) fn into_text(panic: Box<dyn Any + Send>) -> String {
    let text = text_of(&*panic);
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    text
}

/// Marks this thread as running `child` until the guard goes.
pub(crate) struct Running(Option<Arc<str>>);

impl Running {
    pub(crate) fn child(id: &Arc<str>) -> Self {
        Running(CURRENT.with(|current| current.borrow_mut().replace(id.clone())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        CURRENT.with(|current| *current.borrow_mut() = self.0.take());
    }
}

/// Records panics of supervised children through tracing (with the child's id, no backtrace, at
/// most 20 a second, the rest counted) and leaves all other panics to the hook
/// installed before. Call it once, early; further calls do nothing.
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let child = CURRENT.with(|current| current.try_borrow().ok().and_then(|id| id.clone()));
            match child {
                Some(child) => record(&child, info),
                None => before(info),
            }
        }));
    });
}

fn record(child: &str, info: &PanicHookInfo<'_>) {
    metrics::counter!("actor_panics_total").increment(1);
    let Some(suppressed) = admit(Instant::now()) else { return };
    let text = if let Some(text) = info.payload().downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else {
        info.payload().downcast_ref::<String>().cloned().unwrap_or_default()
    };
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    error!(%child, %text, %place, suppressed, "Child panicked.");
}

struct Rate {
    since: Instant,
    recorded: u32,
    suppressed: u64,
}

/// `None`: too many already. Otherwise how many were kept quiet since the last record.
fn admit(now: Instant) -> Option<u64> {
    static RATE: Mutex<Option<Rate>> = Mutex::new(None);
    let mut rate = RATE.lock().unwrap_or_else(PoisonError::into_inner);
    let rate = rate.get_or_insert(Rate { since: now, recorded: 0, suppressed: 0 });
    if now.saturating_duration_since(rate.since) >= WINDOW {
        rate.since = now;
        rate.recorded = 0;
    }
    if rate.recorded >= RECORDS_MAX {
        rate.suppressed += 1;
        return None;
    }
    rate.recorded += 1;
    Some(std::mem::take(&mut rate.suppressed))
}
