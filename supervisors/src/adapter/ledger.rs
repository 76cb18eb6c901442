//! What an actor's cell tells whoever looks from outside: counts and times, all atomics.
//!
//! One ledger belongs to one life of the queues. A thread that was given up still writes to the
//! ledger it knew, which nobody reads any more, so its late messages cannot disturb the count of the
//! new ones. Times are nanoseconds since the address was made, plus one, so that 0 means none.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::lanes::Lane;

/// Whether the pump was polled in the current poll of the actor, and how that ended.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum PumpTurn {
    NotPolled = 0,
    Polled = 1,
    HeldBack = 2,
}

/// The message types of the program that were ever handled with telemetry, each once.
static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

#[derive(Default)]
pub(super) struct Ledger {
    ordinary_finished: AtomicUsize,
    control_finished: AtomicUsize,
    /// Control messages in the queue.
    pub(super) control_waits: AtomicUsize,
    /// Senders that wait for room.
    pub(super) senders_waiting: AtomicUsize,
    /// Written by the pump alone.
    handled: AtomicU64,
    handling_nanos: AtomicU64,
    /// When the first message of the pump's batch was accepted.
    front: AtomicU64,
    begun: AtomicU64,
    /// Index into [`NAMES`].
    message: AtomicU32,
    waiting_since: AtomicU64,
    pump_turn: AtomicU8,
}

impl Ledger {
    pub(super) fn finished(&self, lane: Lane) -> usize {
        match lane {
            Lane::Ordinary => self.ordinary_finished.load(SeqCst),
            Lane::Control => self.control_finished.load(Acquire),
        }
    }

    pub(super) fn finish(&self, lane: Lane, count: usize) {
        match lane {
            // SeqCst: a sender that stands in line afterwards sees the count, or is seen.
            Lane::Ordinary => self.ordinary_finished.fetch_add(count, SeqCst),
            Lane::Control => self.control_finished.fetch_add(count, Release),
        };
    }

    pub(super) fn control_queued(&self, count: usize) {
        self.control_waits.store(count, Release);
    }

    pub(super) fn count_handled(&self) {
        self.handled.store(self.handled.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(super) fn add_handling(&self, nanos: u64) {
        self.handling_nanos.store(self.handling_nanos.load(Relaxed).saturating_add(nanos), Relaxed);
    }

    /// What the actor did in earlier lives of its queues counts too.
    pub(super) fn carry_totals(&self, before: &Ledger) {
        self.handled.store(before.handled.load(Relaxed), Relaxed);
        self.handling_nanos.store(before.handling_nanos.load(Relaxed), Relaxed);
    }

    pub(super) fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    pub(super) fn handling_total(&self) -> Duration {
        Duration::from_nanos(self.handling_nanos.load(Relaxed))
    }

    pub(super) fn publish_front(&self, accepted: Option<u64>) {
        self.front.store(accepted.unwrap_or(0), Relaxed);
    }

    pub(super) fn front(&self) -> Option<u64> {
        some_time(self.front.load(Relaxed))
    }

    /// Makes `name` known to observers; to be remembered by the caller with the index it gets.
    pub(super) fn learn(name: &'static str) -> u32 {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|known| *known == name);
        let index = known.unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    pub(super) fn begin(&self, message: u32, now: u64) {
        self.message.store(message, Relaxed);
        self.begun.store(now, Release);
    }

    pub(super) fn end(&self) {
        self.begun.store(0, Relaxed);
    }

    /// The full type name of the message in the handler, and since when.
    pub(super) fn handling(&self) -> Option<(&'static str, u64)> {
        let begun = some_time(self.begun.load(Acquire))?;
        let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.get(usize::try_from(self.message.load(Relaxed)).ok()?)?;
        Some((name, begun))
    }

    pub(super) fn set_pump_turn(&self, turn: PumpTurn) {
        self.pump_turn.store(turn as u8, Relaxed);
    }

    pub(super) fn pump_was_idle_or_busy(&self) -> bool {
        self.pump_turn.load(Relaxed) == PumpTurn::Polled as u8
    }

    pub(super) fn waiting_since(&self) -> Option<u64> {
        some_time(self.waiting_since.load(Relaxed))
    }

    pub(super) fn set_waiting_since(&self, since: Option<u64>) {
        self.waiting_since.store(since.unwrap_or(0), Relaxed);
    }
}

fn some_time(stored: u64) -> Option<u64> {
    (stored != 0).then_some(stored)
}
