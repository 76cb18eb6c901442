//! What each report changes. Wishes only: the starts and stops themselves are `advance`'s.

use std::time::Duration;

use super::{Action, Boot, Cause, Child, Decision, Fate, KILL_PATIENCE, Key, Restart, Status, Strategy};
use crate::Exit;

/// Looks per patience, and so how many in a row must see no beat. Two give 1 to 1.5 patiences from the
/// hang to its discovery.
pub(super) const LOOKS_PER_PATIENCE: u32 = 2;

impl Decision {
    pub(super) fn begin_boot(&mut self, now: Duration) {
        let keys = self.roster.keys();
        for &key in &keys {
            self.set(key, Status::Pending { not_before: now, cause: Cause::Boot });
        }
        self.boot_left = Some(keys.into_iter().collect());
    }

    pub(super) fn started(&mut self, key: Key, now: Duration, out: &mut Vec<Action>) {
        let Some(status) = self.status(key) else { return };
        match status {
            Status::Starting { fate, .. } => {
                self.roster.update(key, |child| {
                    child.starts += 1;
                    child.watch = None;
                    child.status = Status::Running { since: now, fate };
                });
                self.boot_is_over_for(key);
                out.push(Action::Up { key });
                self.look(key, out);
            }
            // The start won the race against its cancellation: the child has not heard the stop.
            Status::Stopping { .. } => out.push(Action::Stop { key }),
            Status::Killing { .. } => out.push(Action::Kill { key }),
            Status::Idle | Status::Pending { .. } | Status::Running { .. } => {}
        }
    }

    pub(super) fn ignored(&mut self, key: Key, out: &mut Vec<Action>) {
        let Some(child) = self.roster.get(key) else { return };
        let fate = match child.status {
            Status::Starting { fate: None, .. } => self.fate_for_good(child),
            Status::Starting { fate: Some(fate), .. }
            | Status::Stopping { fate, .. }
            | Status::Killing { fate, .. } => fate,
            Status::Idle | Status::Pending { .. } | Status::Running { .. } => return,
        };
        out.push(Action::Up { key });
        self.settle(key, Exit::Normal, fate, out);
    }

    pub(super) fn start_failed(
        &mut self,
        key: Key,
        error: Exit,
        now: Duration,
        random: f64,
        out: &mut Vec<Action>,
    ) {
        let Some(Status::Starting { cause, fate: None }) = self.status(key) else {
            self.exited(key, error, now, random, out);
            return;
        };
        match cause {
            Cause::AskedNew | Cause::AskedAgain => {
                out.push(Action::Refused { key, error: error.clone() });
                self.note_exit(key, &error, now);
                let fate = if cause == Cause::AskedNew { Fate::Forgotten } else { Fate::Idle };
                self.settle(key, error, fate, out);
            }
            Cause::Boot if self.boot == Boot::Fail => self.boot_failed(key, error, now, out),
            Cause::Boot | Cause::Restart => {
                // A start that fails is tried again whatever it says, but never a temporary child's.
                let again =
                    self.roster.get(key).is_some_and(|child| child.policy.restart != Restart::Temporary);
                self.failed(key, error, again, Duration::ZERO, now, random, out);
            }
        }
    }

    pub(super) fn exited(&mut self, key: Key, exit: Exit, now: Duration, random: f64, out: &mut Vec<Action>) {
        let Some(child) = self.roster.get(key) else { return };
        let again = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_normal(),
            Restart::Temporary => false,
        };
        match child.status {
            Status::Idle | Status::Pending { .. } => {}
            Status::Starting { fate: Some(fate), .. }
            | Status::Running { fate: Some(fate), .. }
            | Status::Stopping { fate, .. }
            | Status::Killing { fate, .. } => self.fulfil(key, exit, fate, now, random, out),
            Status::Starting { fate: None, .. } => {
                self.failed(key, exit, again, Duration::ZERO, now, random, out);
            }
            Status::Running { since, fate: None } => {
                let was_up = now.saturating_sub(since);
                self.failed(key, exit, again, was_up, now, random, out);
            }
        }
    }

    /// The child is down, as it was meant to be.
    pub(super) fn fulfil(
        &mut self,
        key: Key,
        exit: Exit,
        fate: Fate,
        now: Duration,
        random: f64,
        out: &mut Vec<Action>,
    ) {
        let exit = match fate {
            Fate::Hung(patience) => Exit::Hung(patience),
            // A thread that obeyed its flag ends in order, but it was not asked to.
            Fate::Struck if exit.is_normal() => Exit::Killed,
            Fate::Struck => exit,
            Fate::Idle | Fate::Again(_) | Fate::Forgotten => {
                self.note_exit(key, &exit, now);
                self.settle(key, exit, fate, out);
                return;
            }
        };
        let again = self.roster.get(key).is_some_and(|child| child.policy.restart != Restart::Temporary);
        self.failed(key, exit, again, Duration::ZERO, now, random, out);
    }

    /// The child is down and `fate` says what becomes of it.
    pub(super) fn settle(&mut self, key: Key, exit: Exit, fate: Fate, out: &mut Vec<Action>) {
        out.push(Action::Down { key, exit });
        match fate {
            Fate::Again(not_before) => {
                self.set(key, Status::Pending { not_before, cause: Cause::Restart });
            }
            Fate::Idle | Fate::Hung(_) | Fate::Struck => {
                self.set(key, Status::Idle);
                self.boot_is_over_for(key);
                out.push(Action::Retire { key });
            }
            Fate::Forgotten => {
                out.push(Action::Retire { key });
                out.push(Action::Forget { key });
                self.boot_is_over_for(key);
                self.roster.remove(key);
            }
        }
    }

    /// What a look at the pulse showed. Two looks in a row without a beat between: it hangs.
    pub(super) fn felt(&mut self, key: Key, beats: u64, now: Duration, out: &mut Vec<Action>) {
        let Some(child) = self.roster.get(key) else { return };
        let (Some(patience), Status::Running { fate: None, .. }) = (child.policy.watchdog, child.status)
        else {
            return;
        };
        let (seen, missed) = child.watch.as_ref().map_or((None, 0), |watch| (watch.beats, watch.misses));
        let misses = if seen == Some(beats) { missed + 1 } else { 0 };
        if misses >= LOOKS_PER_PATIENCE {
            // Its silence is no part of the time it was up.
            let silence = patience.saturating_add(patience / LOOKS_PER_PATIENCE);
            self.strike(key, Fate::Hung(patience), silence, now, out);
            return;
        }
        // Counted in looks, not in time: a supervisor that was itself held up blames nobody.
        let look_at = now.checked_add(patience / LOOKS_PER_PATIENCE);
        self.roster.update(key, |child| {
            child.watch = Some(Box::new(super::child::Watch { look_at, beats: Some(beats), misses }));
        });
    }

    /// A drill: as a failure, but by force.
    pub(super) fn struck(&mut self, key: Key, now: Duration, out: &mut Vec<Action>) {
        if let Some(Status::Running { fate: None, .. }) = self.status(key) {
            self.strike(key, Fate::Struck, Duration::ZERO, now, out);
        }
    }

    /// Kills a child that is up, which counts as its failure after it was up until `silence` ago.
    fn strike(&mut self, key: Key, fate: Fate, silence: Duration, now: Duration, out: &mut Vec<Action>) {
        self.roster.update(key, |child| {
            if let Status::Running { since, .. } = child.status {
                child.forgive(now.saturating_sub(since).saturating_sub(silence));
            }
            child.status = Status::Killing { give_up_at: now.saturating_add(KILL_PATIENCE), fate };
        });
        out.push(Action::Kill { key });
    }

    /// Asks the shell for a look at the pulse of a child that has a watchdog.
    pub(super) fn look(&mut self, key: Key, out: &mut Vec<Action>) {
        let looked = self.roster.update(key, |child| {
            if let Some(watch) = &mut child.watch {
                watch.look_at = None;
            }
            child.policy.watchdog.map(|_| child.generation())
        });
        if let Some(Some(generation)) = looked {
            out.push(Action::Look { key, generation });
        }
    }

    /// What a child that ended by itself and is not restarted becomes.
    pub(super) fn fate_for_good(&self, child: &Child) -> Fate {
        if self.strategy == Strategy::Dynamic || child.policy.restart == Restart::Temporary {
            Fate::Forgotten
        } else {
            Fate::Idle
        }
    }

    pub(super) fn status(&self, key: Key) -> Option<Status> {
        self.roster.get(key).map(|child| child.status)
    }

    pub(super) fn set(&mut self, key: Key, status: Status) {
        self.roster.update(key, |child| child.status = status);
    }

    pub(super) fn note_exit(&mut self, key: Key, exit: &Exit, at: Duration) {
        let ended = Box::new(super::Ended { exit: exit.clone(), at });
        self.roster.update(key, |child| child.last = Some(ended));
    }

    fn boot_is_over_for(&mut self, key: Key) {
        if let Some(left) = &mut self.boot_left {
            left.remove(&key);
        }
    }
}
