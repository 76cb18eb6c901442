//! One child as the decision core sees it: where it is and what is to become of it.

use std::rc::Rc;
use std::time::Duration;

use super::{Key, Policy};
use crate::Exit;

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
    /// It was killed because its pulse stood still for this patience: a failure like any other.
    Hung(Duration),
    /// It was ended by force for a drill: a failure like any other.
    Struck,
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

/// What the watchdog has seen of a child that is up.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// The next look; `None` while one is under way.
    pub(super) look_at: Option<Duration>,
    /// The count at the last look; `None` before the first.
    pub(super) beats: Option<u64>,
    /// Looks in a row that saw the same count.
    pub(super) misses: u32,
}

/// How a child last ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// When.
    pub at: Duration,
}

/// One child, as the decision core sees it.
#[derive(Debug, Clone)]
pub struct Child {
    /// Identity.
    pub key: Key,
    /// The user's choices.
    pub policy: Rc<Policy>,
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
    pub last: Option<Box<Ended>>,
    /// `None` while nothing was seen yet, and for a child without a watchdog.
    pub(super) watch: Option<Box<Watch>>,
}

impl Child {
    pub(super) fn new(key: Key, policy: Rc<Policy>, status: Status) -> Self {
        Child {
            key,
            policy,
            status,
            launches: 0,
            starts: 0,
            restarts: 0,
            failures: 0,
            last: None,
            watch: None,
        }
    }

    /// Number of the current or last call of the starter, from 0.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.launches.saturating_sub(1)
    }

    /// How long its watchdog has seen no beat, in whole looks; `None`: it has no watchdog, or is not up.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let patience = self.policy.watchdog?;
        let Status::Running { .. } = self.status else { return None };
        let misses = self.watch.as_ref().map_or(0, |watch| watch.misses);
        Some(patience / super::transitions::LOOKS_PER_PATIENCE * misses)
    }

    /// It was up long enough for its failures to begin anew. What follows counts as the first one.
    pub(super) fn forgive(&mut self, was_up: Duration) {
        if was_up > self.policy.backoff.max {
            self.failures = 0;
        }
    }

    /// When something happens to it by itself.
    pub(super) fn timer(&self) -> Option<Duration> {
        match self.status {
            Status::Pending { not_before, .. } => Some(not_before),
            Status::Stopping { kill_at, .. } => kill_at,
            Status::Killing { give_up_at, .. } => Some(give_up_at),
            Status::Running { .. } => self.watch.as_ref().and_then(|watch| watch.look_at),
            Status::Idle | Status::Starting { .. } => None,
        }
    }

    pub(super) fn doomed(&self) -> Option<Fate> {
        match self.status {
            Status::Starting { fate, .. } | Status::Running { fate, .. } => fate,
            _ => None,
        }
    }

    /// Whatever it is doing now, this is what becomes of it; a child that is down is left alone.
    pub(super) fn doom(&mut self, to: Fate) {
        match &mut self.status {
            Status::Idle | Status::Pending { .. } => {}
            Status::Starting { fate, .. } | Status::Running { fate, .. } => *fate = Some(to),
            Status::Stopping { fate, .. } | Status::Killing { fate, .. } => *fate = to,
        }
    }
}
