//! The queue between many callers and the one writer thread.
//!
//! Rule: the queue is bounded; full is an answer (`Busy`), never a wait and never a loss. Urgent requests
//! (an emergency stop) have a few places of their own.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::compaction::{Begun, CompactError};
use crate::index::{FileIndex, Weighed};
use crate::journal::{AppendError, Appended, RecoverError, Recovery};
use crate::record::{NewRecord, Position};

/// Places that only urgent requests may take. An emergency stop is one batch per run at most; 256 covers
/// every run of a busy machine at once.
const URGENT_MAX: usize = 256;

/// Looks at a queue that does not grow before the writer goes on with what it has. A look is about 0.3 us on
/// an idle machine; a caller that is awake needs a few to come again.
const IDLE_LOOKS_MAX: u32 = 64;

pub(crate) enum Request {
    Append(Append),
    Recover(oneshot::Sender<Result<Recovery, RecoverError>>),
    BeginCompaction {
        streams: Vec<Weighed>,
        reply: oneshot::Sender<Result<Begun, CompactError>>,
    },
    FinishCompaction(Finish),
    /// Takes back what the beginning of a compaction refused to appends.
    GiveUpCompaction,
}

/// A snapshot that is durable and waits for its record in the chain.
pub(crate) struct Finish {
    pub confirmation: NewRecord,
    pub number: u64,
    pub files: Vec<FileIndex>,
    pub time_ms: u64,
    pub reply: oneshot::Sender<Result<Position, CompactError>>,
}

pub(crate) struct Append {
    pub batch: Vec<NewRecord>,
    pub time_ms: u64,
    pub incarnation: u64,
    pub urgent: bool,
    pub reply: oneshot::Sender<Result<Appended, AppendError>>,
}

pub(crate) enum Refused {
    Full,
    Closed,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    max: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    closed: bool,
    /// The writer sleeps. Only then is it woken: a wake that nobody waits for is a system call all the same.
    sleeping: bool,
}

impl Queue {
    pub fn new(max: usize) -> Queue {
        Queue { state: Mutex::default(), wake: Condvar::new(), max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic: the guarded code only moves whole requests.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, request: Request) -> Result<(), Refused> {
        let urgent = match &request {
            Request::Append(append) => append.urgent,
            // At most one of these waits at a time.
            _ => true,
        };
        let max = if urgent { self.max + URGENT_MAX } else { self.max };
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.requests.len() >= max {
            return Err(Refused::Full);
        }
        state.requests.push_back(request);
        let wake = std::mem::take(&mut state.sleeping);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits until there is a request; false when the queue is closed and empty.
    pub fn wait(&self) -> bool {
        let mut state = self.lock();
        loop {
            if !state.requests.is_empty() {
                return true;
            }
            if state.closed {
                return false;
            }
            state.sleeping = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping = false;
        }
    }

    /// Gives callers that were answered just now a moment to come again, so that one sync serves them all:
    /// true as soon as a request waits; false, without ever sleeping, when none came for a while, at
    /// `deadline`, or when the queue is closed.
    pub fn more(&self, deadline: Instant) -> bool {
        for _ in 0..IDLE_LOOKS_MAX {
            {
                let state = self.lock();
                if !state.requests.is_empty() {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
            // Whoever is on its way needs the processor, perhaps this one.
            std::thread::yield_now();
        }
        false
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.lock().requests.len()
    }

    /// Takes what waits, without waiting.
    pub fn drain(&self) -> VecDeque<Request> {
        std::mem::take(&mut self.lock().requests)
    }

    /// Takes nothing new; what is in the queue is still worked off.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// Closes and throws away what waits; each caller sees its answer's sender vanish.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.requests.clear();
    }
}
