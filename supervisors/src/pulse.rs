//! Signs of life of a child, for its watchdog.
//!
//! A pulse counts, it does not know time: the child (or whoever speaks for it: the cell of an actor,
//! the reader of a process' heartbeats) calls [`Pulse::beat`]; the supervisor looks at the count on
//! its own clock and takes a count that stands still for longer than the child's patience for a hang.
//! A child that only acts when it is spoken to is asked first ([`Pulse::ask`]).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

#[derive(Default)]
struct State {
    beats: AtomicU64,
    asked: AtomicBool,
    answerer: AtomicWaker,
}

/// A child's pulse; clones are the same pulse. May be beaten from any thread. A beat costs one
/// relaxed atomic addition.
#[derive(Clone, Default)]
pub struct Pulse(Arc<State>);

impl Pulse {
    /// A pulse that was never beaten.
    #[must_use]
    pub fn new() -> Self {
        Pulse::default()
    }

    /// The child is alive.
    pub fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was beaten. Wraps round; only a difference means anything.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Ordering::Relaxed)
    }

    /// Asks for a beat: wakes whoever waits in [`Self::answer`].
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::Release);
        self.0.answerer.wake();
    }

    /// Beats if somebody asked, and has `cx` woken by the next question. To be called in every poll
    /// of a future that speaks for the child; one task at a time.
    pub fn answer(&self, cx: &Context<'_>) {
        self.0.answerer.register(cx.waker());
        if self.0.asked.swap(false, Ordering::AcqRel) {
            self.beat();
        }
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pulse").field(&self.beats()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Pulse;
    use futures::task::noop_waker_ref;
    use std::task::Context;

    #[test]
    fn a_pulse_is_answered_only_when_it_was_asked() {
        let pulse = Pulse::new();
        let cx = Context::from_waker(noop_waker_ref());
        pulse.answer(&cx);
        assert_eq!(pulse.beats(), 0);
        pulse.ask();
        pulse.ask();
        pulse.answer(&cx);
        pulse.answer(&cx);
        assert_eq!(pulse.beats(), 1);
    }
}
