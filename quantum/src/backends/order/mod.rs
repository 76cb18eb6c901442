//! One order for a quantum result as a pure state machine: a chain of backends, one job at a time.
//!
//! [`Order::decide`] says what becomes true and what must be done, and changes nothing. The caller journals
//! the events, applies them, takes over the memo, then performs the one command, so every arrow is durable
//! before the call it stands for. What the memo holds (how often a call failed, when the last one was made) is
//! not journaled: forgetting it in a crash makes calls sooner or later, never double.
//!
//! Rule: whoever may have bought a job finds out before anything is bought again. A job that cannot be
//! reached any more is lost, keeps its budget, and a person sees it. Every order ends: with a verified result,
//! with the exact classical answer to be given instead, or cancelled.
//!
//! It lives here and not in the engine because its words are those of this crate ([`JobEvent`], [`JobState`],
//! [`BackendError`]), which the engine must not know; it does no I/O like everything in the engine. Absent on
//! purpose: clocks, randomness (both are arguments), the breaker and the ledger (the caller asks them when
//! told to [`Command::Hold`]). Simulated with faults in `tests/order_simulation.rs`. Start at
//! [`Order::decide`], then `answers.rs`.

mod answers;
mod apply;
mod lead;
mod leave;
mod waits;

use super::{Amount, BackendError, Cancelled, Candidate, JobEvent, JobId, JobKey, JobResult, JobState, Poll};
use super::{Reason, Wanted};

pub use lead::{Shell, Soon, lead};
pub use waits::{ARRIVAL_MS, POLL_MS_MAX, POLL_MS_MIN, RECALL_MS_MAX, RESOLVE_MS_MAX};

/// Jobs bought at one backend before the next one is asked: a vendor that fails twice fails again.
pub const TRIES_MAX: u32 = 2;
/// Calls to hand one job over, when each was answered with "nothing was done".
pub const SUBMITS_MAX: u32 = 5;
/// Times a result is fetched that contradicts what was asked; a torn transfer mends, a wrong result does not.
pub const FETCHES_MAX: u32 = 3;

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The result under `digest` was verified; `backend` gave it.
    Done { backend: String, digest: String },
    /// No backend gave a result: the exact classical answer stands, and [`Order::fallbacks`] says why.
    Exact,
    /// A person or the emergency stop wanted it so.
    Cancelled,
}

/// Why a backend of the chain was left, or a job of it bought again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    pub backend: String,
    pub reason: Reason,
}

/// What the world answered to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The breaker permits and the ledger has set the amount aside.
    Held,
    /// They did not.
    NotHeld(Reason),
    /// The wait is over.
    Waited,
    Submitted(Result<JobId, BackendError>),
    Found(Result<Option<JobId>, BackendError>),
    Polled(Result<Poll, BackendError>),
    /// The result and the digest under which it is stored.
    Fetched(Result<(JobResult, String), BackendError>),
    Cancelled(Result<Cancelled, BackendError>),
}

/// What the world reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The answer to the command of this number; late and doubled ones are refused.
    Answer { call: u64, answer: Answer },
    /// A person or the emergency stop wants the order ended.
    Cancel { why: String },
}

/// What must be done now. A newer command replaces the one before, which need not be answered any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Ask breaker and ledger of this backend, at once and without waiting for anything else.
    Hold {
        call: u64,
        backend: String,
        key: JobKey,
        hold: Amount,
    },
    Wait {
        call: u64,
        after_ms: u64,
    },
    Submit {
        call: u64,
        after_ms: u64,
        backend: String,
        key: JobKey,
    },
    Find {
        call: u64,
        after_ms: u64,
        backend: String,
        key: JobKey,
    },
    Poll {
        call: u64,
        after_ms: u64,
        backend: String,
        id: JobId,
    },
    /// Get the result and store it.
    Fetch {
        call: u64,
        after_ms: u64,
        backend: String,
        id: JobId,
    },
    Cancel {
        call: u64,
        after_ms: u64,
        backend: String,
        id: JobId,
    },
    /// Nothing more will happen.
    End(End),
}

/// What is remembered between inputs and may be forgotten in a crash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memo {
    /// Number of the newest command.
    call: u64,
    /// Whether its answer is awaited, and from when on the call may be under way.
    awaiting: bool,
    starts_ms: u64,
    /// Failures in a row of the present kind of call.
    failures: u32,
    /// Some submission of the present key was left without an answer, so it may still arrive.
    may_arrive: bool,
    polls: u32,
    fetches: u32,
    /// No submission was under way after this time.
    quiet_from_ms: u64,
    /// Deadlines of looking and recalling count from here if the state is older.
    recovered_ms: u64,
}

/// What an input leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// To be journaled in one batch, then applied in this order.
    pub events: Vec<JobEvent>,
    pub memo: Memo,
    /// To be performed when the events are durable. `None`: the command before still stands.
    pub command: Option<Command>,
}

/// Why an input changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the answer belongs to call {given}, and {awaited} is awaited")]
    Stale { given: u64, awaited: u64 },
    #[error("the order has ended")]
    Ended,
    #[error("the order is being cancelled already")]
    Cancelling,
    #[error("the answer does not fit the state of the job")]
    Unexpected,
}

/// One order; built by [`Order::wanted`] and the events of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    wanted: Wanted,
    /// Index of the present backend; the chain's length means the exact answer.
    place: usize,
    /// Jobs begun in this order; numbers the keys.
    jobs: u32,
    /// Jobs at the present backend that ended without a result.
    tries: u32,
    state: JobState,
    /// Key of the present job, once its budget is held.
    key: Option<JobKey>,
    /// When the present job was first handed over, and when its state last changed.
    submitted_ms: u64,
    since_ms: u64,
    cancel: Option<String>,
    recalled: Option<Reason>,
    kept: Option<String>,
    fallbacks: Vec<Fallback>,
    lost: Vec<JobKey>,
    end: Option<End>,
    memo: Memo,
}

impl Order {
    /// A new order, after [`JobEvent::Wanted`] was journaled. [`Order::recover`] gives the first command.
    pub fn wanted(time_ms: u64, wanted: Wanted) -> Self {
        Self {
            wanted,
            place: 0,
            jobs: 0,
            tries: 0,
            state: JobState::Planned,
            key: None,
            submitted_ms: time_ms,
            since_ms: time_ms,
            cancel: None,
            recalled: None,
            kept: None,
            fallbacks: Vec::new(),
            lost: Vec::new(),
            end: None,
            memo: Memo::default(),
        }
    }

    /// What `input` leads to at `now_ms`; `random` spreads the waits.
    ///
    /// # Errors
    /// [`Refusal`] if the input does not fit; nothing is to be done then.
    pub fn decide(&self, now_ms: u64, random: u64, input: Input) -> Result<Decision, Refusal> {
        if self.end.is_some() {
            return Err(Refusal::Ended);
        }
        let mut step = Step::new(self, now_ms, random);
        match input {
            Input::Answer { call, answer } => {
                if !self.memo.awaiting || call != self.memo.call {
                    return Err(Refusal::Stale { given: call, awaited: self.memo.call });
                }
                step.memo.awaiting = false;
                step.answered(answer)?;
            }
            Input::Cancel { why } => {
                if self.cancel.is_some() {
                    return Err(Refusal::Cancelling);
                }
                step.emit(JobEvent::CancelWanted { why });
                step.stop();
            }
        }
        Ok(step.done())
    }

    /// What must be done after a restart, or at the beginning: whatever was under way is not any more.
    /// Adopt the answer like any decision.
    pub fn recover(&self, now_ms: u64, random: u64) -> Decision {
        let mut step = Step::new(self, now_ms, random);
        // Calls are numbered on, so that a reply to the life before cannot be taken for a new one.
        step.memo =
            Memo { call: self.memo.call, quiet_from_ms: now_ms, recovered_ms: now_ms, ..Memo::default() };
        step.go_on();
        step.done()
    }

    /// Takes over the memo of a decision, after its events were applied.
    pub fn remember(&mut self, memo: Memo) {
        self.memo = memo;
    }

    /// What is remembered beside the journaled events.
    pub fn memo(&self) -> &Memo {
        &self.memo
    }

    /// Key of the present job, from the time its budget is held.
    pub fn key(&self) -> Option<&JobKey> {
        self.key.as_ref()
    }

    /// The present job, or the last one.
    pub fn state(&self) -> &JobState {
        &self.state
    }

    pub fn order(&self) -> &Wanted {
        &self.wanted
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The backend whose turn it is.
    pub fn candidate(&self) -> Option<&Candidate> {
        self.wanted.chain.get(self.place)
    }

    /// Why backends were left or asked again, oldest first.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }

    /// Keys of jobs that may run and cost and cannot be reached: a person must look.
    pub fn lost(&self) -> &[JobKey] {
        &self.lost
    }

    /// Why its end is wanted, if it is.
    pub fn cancel_wanted(&self) -> Option<&str> {
        self.cancel.as_deref()
    }

    fn next_key(&self) -> JobKey {
        JobKey(format!("{}/{}", self.wanted.key, self.jobs + 1))
    }
}

/// A decision in the making: the order as it will be, and what led there.
struct Step {
    next: Order,
    now_ms: u64,
    random: u64,
    events: Vec<JobEvent>,
    memo: Memo,
    command: Option<Command>,
}

impl Step {
    fn new(order: &Order, now_ms: u64, random: u64) -> Self {
        let memo = order.memo.clone();
        Self { next: order.clone(), now_ms, random, events: Vec::new(), memo, command: None }
    }

    fn emit(&mut self, event: JobEvent) {
        self.next.apply(self.now_ms, &event);
        self.events.push(event);
    }

    fn done(mut self) -> Decision {
        if let Some(end) = &self.next.end {
            self.memo.awaiting = false;
            self.command = Some(Command::End(end.clone()));
        }
        Decision { events: self.events, memo: self.memo, command: self.command }
    }
}
