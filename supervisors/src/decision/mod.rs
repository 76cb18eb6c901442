//! A supervisor as a pure state machine: (state, event, now, random) -> actions.
//!
//! [`Decision::handle`] takes what happened and says what must be done; the shell
//! ([`crate::start`]) does it and reports back. Nothing here waits: a stop that takes seconds is a
//! state ([`Status::Stopping`]), so exits of siblings that arrive meanwhile are ordinary events.
//!
//! The one rule: wishes are recorded on the children (`Pending`, a `fate`), and one place
//! (`advance`) turns wishes into starts and stops in the right order.
//! Absent on purpose: clocks, randomness, I/O, starters. Start at [`Decision::handle`].

mod advance;
mod backoff;
mod child;
mod failures;
mod policy;
mod requests;
mod roster;
mod transitions;
mod window;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

pub use backoff::Backoff;
pub use child::{Cause, Child, Ended, Fate, Status};
pub use policy::{AutoShutdown, Boot, Intensity, Policy, Restart, Settings, Shutdown, Strategy};
use roster::Roster;
use window::Window;

use crate::Exit;

/// How long a killed child may take to vanish before it is given up as [`Exit::Unkillable`].
/// A kill acts within microseconds; 200 ms is a machine that swaps.
pub const KILL_PATIENCE: Duration = Duration::from_millis(200);

/// Identity of a child within one supervisor, never used twice. Later children have greater keys.
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
    /// What a look at the child's pulse showed; the answer to [`Action::Look`].
    Pulse { key: Key, generation: u64, beats: u64 },
    /// A drill: end the child by force, as if it had failed.
    Struck { key: Key, generation: u64 },
    /// A new child, started once; a failed start forgets it. `key` is greater than all before.
    Add { key: Key, policy: Rc<Policy> },
    /// Stop this child and leave it down.
    Terminate { id: String },
    /// Start a child that is down.
    Restart { id: String },
    /// Forget a child that is down.
    Delete { id: String },
    /// Other settings from now on.
    Reconfigure(Settings),
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
    /// Read the child's pulse, ask for the next beat, report with [`Event::Pulse`].
    Look { key: Key, generation: u64 },
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
    /// All children the supervisor was made with were up once (or chose not to run).
    Booted,
    /// All children are down: end with this exit.
    Finish(Exit),
}

/// Why a request about a child was turned down. The state is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A running child has this id (OTP: `already_started`).
    #[error("child `{0}` is already running; terminate it first or choose another id")]
    AlreadyRunning(String),
    /// A child that is not up has this id (OTP: `already_present`).
    #[error("child `{0}` exists and is not up; restart or delete it, terminate it first if it is restarting")]
    AlreadyPresent(String),
    /// The child is starting, or waits for its restart (OTP: `restarting`).
    #[error("child `{0}` is being restarted; terminate it first")]
    Restarting(String),
    /// The child runs, so it can be neither restarted nor deleted (OTP: `running`).
    #[error("child `{0}` is running; terminate it first")]
    Running(String),
    /// No child has this id (OTP: `not_found`).
    #[error("there is no child `{0}`")]
    NotFound(String),
    /// The supervisor is dynamic, and such children are neither restarted nor deleted by request
    /// (OTP: `simple_one_for_one`).
    #[error(
        "child `{0}` belongs to a dynamic supervisor, which forgets children that ended: \
         there is nothing to restart or delete; start a new child"
    )]
    Dynamic(String),
    /// A running supervisor becomes neither dynamic nor static.
    #[error("a running supervisor cannot be changed from {from:?} to {to:?}; start another one")]
    StrategyFixed {
        /// What it is.
        from: Strategy,
        /// What was asked for.
        to: Strategy,
    },
    /// The supervisor is stopping its children.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
}

/// The state of one supervisor. Times are durations since the supervisor's start.
#[derive(Debug, Clone)]
pub struct Decision {
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    boot: Boot,
    window: Window,
    roster: Roster,
    /// Children of the first hour that were not up yet; `None` when that is over.
    boot_left: Option<BTreeSet<Key>>,
    /// Set once the supervisor is on its way down.
    ending: Option<Exit>,
    finished: bool,
}

impl Decision {
    /// A supervisor with these children (in start order, keys rising), nothing started yet. It boots
    /// as [`Boot::default`] says and never shuts down by itself; see [`Self::boot`].
    #[must_use]
    pub fn new<P: Into<Rc<Policy>>>(
        strategy: Strategy,
        intensity: Intensity,
        children: impl IntoIterator<Item = (Key, P)>,
    ) -> Self {
        let mut roster = Roster::default();
        for (key, policy) in children {
            roster.add(Child::new(key, policy.into(), Status::Idle));
        }
        Decision {
            strategy,
            auto_shutdown: AutoShutdown::default(),
            boot: Boot::default(),
            window: Window::new(intensity),
            boot_left: None,
            roster,
            ending: None,
            finished: false,
        }
    }

    /// Sets what a failed start means while it boots.
    #[must_use]
    pub fn boot(mut self, boot: Boot) -> Self {
        self.boot = boot;
        self
    }

    /// Sets when the end of significant children ends the supervisor.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// The children in start order.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = &Child> {
        self.roster.iter()
    }

    /// How many children there are, up or down.
    #[must_use]
    pub fn child_count(&self) -> usize {
        self.roster.len()
    }

    /// One child. O(log n).
    #[must_use]
    pub fn child(&self, key: Key) -> Option<&Child> {
        self.roster.get(key)
    }

    /// The child of this id. O(log n).
    #[must_use]
    pub fn key_of(&self, id: &str) -> Option<Key> {
        self.roster.key_of(id)
    }

    /// Its settings now.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            strategy: self.strategy,
            intensity: self.window.intensity(),
            auto_shutdown: self.auto_shutdown,
        }
    }

    /// How many restarts count against the intensity at `now`. O(restarts tolerated).
    #[must_use]
    pub fn recent_restarts(&self, now: Duration) -> usize {
        self.window.recent(now)
    }

    /// Why the supervisor is on its way down, if it is.
    #[must_use]
    pub fn ending(&self) -> Option<&Exit> {
        self.ending.as_ref()
    }

    /// Takes what happened at `now` and says what must be done. `random` is in `[0, 1)` and only
    /// spreads backoffs. Cost: O(log n) in the number of children, times the children that are
    /// started, stopped or waited for because of it.
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
                | Event::Delete { .. }
                | Event::Reconfigure(_) => Err(Refusal::ShuttingDown),
                _ => Ok(out),
            };
        }
        match event {
            Event::Boot => self.begin_boot(now),
            Event::Tick => {}
            Event::Started { key, generation } => {
                if self.is_current(key, generation) {
                    self.started(key, now, &mut out);
                }
            }
            Event::Ignored { key, generation } => {
                if self.is_current(key, generation) {
                    self.ignored(key, &mut out);
                }
            }
            Event::StartFailed { key, generation, error } => {
                if self.is_current(key, generation) {
                    self.start_failed(key, error, now, random, &mut out);
                }
            }
            Event::Exited { key, generation, exit } => {
                if self.is_current(key, generation) {
                    self.exited(key, exit, now, random, &mut out);
                }
            }
            Event::Pulse { key, generation, beats } => {
                if self.is_current(key, generation) {
                    self.felt(key, beats, now, &mut out);
                }
            }
            Event::Struck { key, generation } => {
                if self.is_current(key, generation) {
                    self.struck(key, now, &mut out);
                }
            }
            Event::Add { key, policy } => self.add(key, policy, now)?,
            Event::Terminate { id } => self.terminate(&id, &mut out)?,
            Event::Restart { id } => self.restart(&id, now)?,
            Event::Delete { id } => self.delete(&id, &mut out)?,
            Event::Reconfigure(settings) => self.reconfigure(settings)?,
            Event::Shutdown => self.end(Exit::Shutdown, &mut out),
        }
        self.advance(now, random, &mut out);
        Ok(out)
    }

    /// When to call again with [`Event::Tick`] if nothing happens before. O(log n).
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        self.roster.next_timer()
    }

    fn is_current(&self, key: Key, generation: u64) -> bool {
        self.roster.get(key).is_some_and(|child| child.launches > 0 && child.generation() == generation)
    }
}
