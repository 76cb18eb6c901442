//! What each report changes. Wishes only: the starts and stops themselves are `advance`'s.

use std::time::Duration;

use super::{Action, Boot, Cause, Child, Decision, Fate, KILL_PATIENCE, Key, Restart, Status, Strategy};
use crate::Exit;

/// Looks per patience, and so how many in a row must see no beat. Two give 1 to 1.5 patiences from the
/// hang to its discovery.
const LOOKS_PER_PATIENCE: u32 = 2;

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
                    child.watch = super::child::Watch::default();
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
                self.note_exit(key, &error);
                let fate = if cause == Cause::AskedNew { Fate::Forgotten } else { Fate::Idle };
                self.settle(key, error, fate, out);
            }
            Cause::Boot if self.boot == Boot::Fail => self.boot_failed(key, error, out),
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
        if let Fate::Hung(patience) = fate {
            let again = self.roster.get(key).is_some_and(|child| child.policy.restart != Restart::Temporary);
            self.failed(key, Exit::Hung(patience), again, Duration::ZERO, now, random, out);
        } else {
            self.note_exit(key, &exit);
            self.settle(key, exit, fate, out);
        }
    }

    /// The child is down and `fate` says what becomes of it.
    pub(super) fn settle(&mut self, key: Key, exit: Exit, fate: Fate, out: &mut Vec<Action>) {
        out.push(Action::Down { key, exit });
        match fate {
            Fate::Again(not_before) => {
                self.set(key, Status::Pending { not_before, cause: Cause::Restart });
            }
            Fate::Idle | Fate::Hung(_) => {
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
        let misses = if child.watch.beats == Some(beats) { child.watch.misses + 1 } else { 0 };
        if misses >= LOOKS_PER_PATIENCE {
            let give_up_at = now.saturating_add(KILL_PATIENCE);
            self.set(key, Status::Killing { give_up_at, fate: Fate::Hung(patience) });
            out.push(Action::Kill { key });
            return;
        }
        // Counted in looks, not in time: a supervisor that was itself held up blames nobody.
        let look_at = now.checked_add(patience / LOOKS_PER_PATIENCE);
        self.roster.update(key, |child| {
            child.watch = super::child::Watch { look_at, beats: Some(beats), misses };
        });
    }

    /// Asks the shell for a look at the pulse of a child that has a watchdog.
    pub(super) fn look(&mut self, key: Key, out: &mut Vec<Action>) {
        let looked = self.roster.update(key, |child| {
            child.watch.look_at = None;
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

    pub(super) fn note_exit(&mut self, key: Key, exit: &Exit) {
        self.roster.update(key, |child| child.last_exit = Some(exit.clone()));
    }

    fn boot_is_over_for(&mut self, key: Key) {
        if let Some(left) = &mut self.boot_left {
            left.remove(&key);
        }
    }
}
