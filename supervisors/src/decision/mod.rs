//! A supervisor as a pure state machine: (state, event, now, random) -> actions.
//!
//! [`Decision::handle`] takes what happened and says what must be done; the shell
//! ([`crate::start`]) does it and reports back. Nothing here waits: a stop that takes seconds is a
//! state ([`Status::Stopping`]), so exits of siblings that arrive meanwhile are ordinary events.
//!
//! The one rule: wishes are recorded on the children (`Pending`, a `fate`), and one place
//! ([`advance`]) turns wishes into starts and stops in the right order.
//! Absent on purpose: clocks, randomness, I/O, starters. Start at [`Decision::handle`].

mod advance;
mod backoff;
mod policy;
mod transitions;
mod window;

use std::time::Duration;

pub use backoff::Backoff;
pub use policy::{Intensity, Policy, Restart, Shutdown, Strategy};
use window::Window;

use crate::Exit;

/// How long a killed child may take to vanish before it is given up as [`Exit::Unkillable`].
/// A kill acts within microseconds; 200 ms is a machine that swaps.
pub const KILL_PATIENCE: Duration = Duration::from_millis(200);

/// Identity of a child within one supervisor, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// Something that happened. Reports carry the generation they belong to; stale ones are ignored.
#[derive(Debug, Clone)]
pub enum Event {
    /// Start the children the supervisor was made with.
    Boot,
    /// Time has passed.
    Tick,
    /// The start succeeded.
    Started { key: Key, generation: u64 },
    /// The starter decided that nothing is to be run.
    Ignored { key: Key, generation: u64 },
    /// The start failed.
    StartFailed { key: Key, generation: u64, error: Exit },
    /// The child ended.
    Exited { key: Key, generation: u64, exit: Exit },
    /// A new child, started once; a failed start forgets it.
    Add { key: Key, policy: Policy },
    /// Stop this child and leave it down.
    Terminate { id: String },
    /// Start a child that is down.
    Restart { id: String },
    /// Forget a child that is down.
    Delete { id: String },
    /// Stop everything in order and end.
    Shutdown,
}

/// Something to be done now, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Call the starter. Answered by `Started`, `Ignored` or `StartFailed`.
    Start { key: Key, generation: u64 },
    /// Ask the child to stop (or cancel its start). Answered by `Exited`, sooner or later.
    Stop { key: Key },
    /// Kill it. Answered by `Exited`, or given up after [`KILL_PATIENCE`].
    Kill { key: Key },
    /// It did not react to the kill: let go of it.
    Abandon { key: Key },
    /// The child is up (or chose not to run).
    Up { key: Key },
    /// The child is down, for whatever reason.
    Down { key: Key, exit: Exit },
    /// A start asked for through `Add` or `Restart` failed and is not tried again.
    Refused { key: Key, error: Exit },
    /// The child will not be started again unless asked for: drop what it kept.
    Retire { key: Key },
    /// The child is forgotten. Comes after `Retire`.
    Forget { key: Key },
    /// All children are down: end with this exit.
    Finish(Exit),
}

/// Why a request about a child was turned down. The state is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A running child has this id.
    #[error("child `{0}` is already running; terminate it first or choose another id")]
    AlreadyRunning(String),
    /// A child that is down has this id.
    #[error("child `{0}` exists and is down; restart or delete it")]
    AlreadyPresent(String),
    /// The child is starting, or waits for its restart.
    #[error("child `{0}` is being restarted; terminate it first")]
    Restarting(String),
    /// The child runs, so it can be neither restarted nor deleted.
    #[error("child `{0}` is running; terminate it first")]
    Running(String),
    /// No child has this id.
    #[error("there is no child `{0}`")]
    NotFound(String),
    /// The supervisor is stopping its children.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
}

/// Why a start is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The supervisor's own start.
    Boot,
    /// An exit before.
    Restart,
    /// `Event::Add`: forgotten if it fails.
    AskedNew,
    /// `Event::Restart`: left down if it fails.
    AskedAgain,
}

/// What becomes of a child once it is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays down; its spec is kept.
    Idle,
    /// It is started again, not before this time.
    Again(Duration),
    /// It is forgotten.
    Forgotten,
}

/// Where a child is. `fate: Some` marks a child that must be stopped as soon as it is its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Down and staying down.
    Idle,
    /// To be started as soon as it is due and its turn.
    Pending { not_before: Duration, cause: Cause },
    /// Its start is in progress.
    Starting { cause: Cause, fate: Option<Fate> },
    /// Up.
    Running { since: Duration, fate: Option<Fate> },
    /// Asked to stop; killed at `kill_at`.
    Stopping { kill_at: Option<Duration>, fate: Fate },
    /// Killed; given up at `give_up_at`.
    Killing { give_up_at: Duration, fate: Fate },
}

/// One child, as the decision core sees it.
#[derive(Debug, Clone)]
pub struct Child {
    /// Identity.
    pub key: Key,
    /// The user's choices.
    pub policy: Policy,
    /// Where it is.
    pub status: Status,
    /// How often its starter was called.
    pub launches: u64,
    /// How often it was up.
    pub starts: u64,
    /// How often it was started again by the supervisor.
    pub restarts: u64,
    /// Failures in a row, for the backoff.
    pub failures: u32,
    /// How it last ended.
    pub last_exit: Option<Exit>,
}

/// The state of one supervisor. Times are durations since the supervisor's start.
#[derive(Debug, Clone)]
pub struct Decision {
    strategy: Strategy,
    window: Window,
    children: Vec<Child>,
    /// Set once the supervisor is on its way down.
    ending: Option<Exit>,
    finished: bool,
}

impl Decision {
    /// A supervisor with these children (in start order), nothing started yet.
    #[must_use]
    pub fn new(strategy: Strategy, intensity: Intensity, children: Vec<(Key, Policy)>) -> Self {
        Decision {
            strategy,
            window: Window::new(intensity),
            children: children.into_iter().map(|(key, policy)| Child::new(key, policy)).collect(),
            ending: None,
            finished: false,
        }
    }

    /// The children in start order.
    #[must_use]
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    /// Why the supervisor is on its way down, if it is.
    #[must_use]
    pub fn ending(&self) -> Option<&Exit> {
        self.ending.as_ref()
    }

    /// Takes what happened at `now` and says what must be done. `random` is in `[0, 1)` and only
    /// spreads backoffs. Cost: linear in the number of children.
    ///
    /// # Errors
    /// A [`Refusal`] for a request that does not fit; the state is then unchanged.
    pub fn handle(&mut self, event: Event, now: Duration, random: f64) -> Result<Vec<Action>, Refusal> {
        let mut out = Vec::new();
        if self.finished {
            return match event {
                Event::Add { .. }
                | Event::Terminate { .. }
                | Event::Restart { .. }
                | Event::Delete { .. } => Err(Refusal::ShuttingDown),
                _ => Ok(out),
            };
        }
        match event {
            Event::Boot => self.boot(now),
            Event::Tick => {}
            Event::Started { key, generation } => {
                if let Some(at) = self.current(key, generation) {
                    self.started(at, now, &mut out);
                }
            }
            Event::Ignored { key, generation } => {
                if let Some(at) = self.current(key, generation) {
                    self.ignored(at, &mut out);
                }
            }
            Event::StartFailed { key, generation, error } => {
                if let Some(at) = self.current(key, generation) {
                    self.start_failed(at, error, now, random, &mut out);
                }
            }
            Event::Exited { key, generation, exit } => {
                if let Some(at) = self.current(key, generation) {
                    self.exited(at, exit, now, random, &mut out);
                }
            }
            Event::Add { key, policy } => self.add(key, policy, now)?,
            Event::Terminate { id } => self.terminate(&id, &mut out)?,
            Event::Restart { id } => self.restart(&id, now)?,
            Event::Delete { id } => self.delete(&id, &mut out)?,
            Event::Shutdown => self.end(Exit::Shutdown, &mut out),
        }
        self.advance(now, &mut out);
        Ok(out)
    }

    /// When to call again with [`Event::Tick`] if nothing happens before.
    #[must_use]
    pub fn next_wake(&self, now: Duration) -> Option<Duration> {
        let deadline = |child: &Child| match child.status {
            Status::Pending { not_before, .. } => Some(not_before),
            Status::Stopping { kill_at, .. } => kill_at,
            Status::Killing { give_up_at, .. } => Some(give_up_at),
            Status::Idle | Status::Starting { .. } | Status::Running { .. } => None,
        };
        // What is due already waits for its turn, that is for an event, not for time.
        self.children.iter().filter_map(deadline).filter(|&at| at > now).min()
    }

    fn current(&self, key: Key, generation: u64) -> Option<usize> {
        self.children
            .iter()
            .position(|child| child.key == key && child.launches > 0 && child.generation() == generation)
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.children.iter().position(|child| child.policy.id == id)
    }
}

impl Child {
    fn new(key: Key, policy: Policy) -> Self {
        Child {
            key,
            policy,
            status: Status::Idle,
            launches: 0,
            starts: 0,
            restarts: 0,
            failures: 0,
            last_exit: None,
        }
    }

    /// Number of the current or last call of the starter, from 0.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.launches.saturating_sub(1)
    }
}
