//! Turns wishes into starts and stops, in order. The only place that emits `Start` and `Stop`.
//!
//! Stops go from the last child to the first, one at a time; starts from the first to the last.
//! A group restart starts nothing before everything that must go is down. Dynamic supervisors know
//! no order.

use std::time::Duration;

use super::{Action, Cause, Decision, KILL_PATIENCE, Key, Shutdown, Status, Strategy};
use crate::Exit;

impl Decision {
    pub(super) fn advance(&mut self, now: Duration, random: f64, out: &mut Vec<Action>) {
        self.expire(now, random, out);
        self.stop_in_order(now, out);
        if let Some(exit) = &self.ending {
            if self.roster.present() == 0 {
                out.push(Action::Finish(exit.clone()));
                self.finished = true;
            }
            return;
        }
        if self.boot_left.as_ref().is_some_and(std::collections::BTreeSet::is_empty) {
            self.boot_left = None;
            out.push(Action::Booted);
        }
        self.start_in_order(out);
    }

    /// Times that have come: a stop becomes a kill, a kill becomes a farewell, a rest is over.
    fn expire(&mut self, now: Duration, random: f64, out: &mut Vec<Action>) {
        while let Some(key) = self.roster.take_due(now) {
            match self.status(key) {
                Some(Status::Pending { .. }) => self.roster.mark_ready(key),
                Some(Status::Running { .. }) => self.look(key, out),
                Some(Status::Stopping { fate, .. }) => {
                    let give_up_at = now.saturating_add(KILL_PATIENCE);
                    self.set(key, Status::Killing { give_up_at, fate });
                    out.push(Action::Kill { key });
                }
                Some(Status::Killing { fate, .. }) => {
                    out.push(Action::Abandon { key });
                    self.fulfil(key, Exit::Unkillable, fate, now, random, out);
                }
                Some(Status::Idle | Status::Starting { .. }) | None => {}
            }
        }
    }

    fn stop_in_order(&mut self, now: Duration, out: &mut Vec<Action>) {
        let in_parallel = self.strategy == Strategy::Dynamic;
        while let Some(key) = self.roster.last_doomed()
            && (in_parallel || self.roster.nothing_goes())
        {
            self.begin_stop(key, now, out);
        }
    }

    fn begin_stop(&mut self, key: Key, now: Duration, out: &mut Vec<Action>) {
        let begun = self.roster.update(key, |child| {
            // The roster lists only doomed children.
            let fate = child.doomed()?;
            let (status, action) = match child.policy.shutdown {
                Shutdown::Brutal => {
                    let give_up_at = now.saturating_add(KILL_PATIENCE);
                    (Status::Killing { give_up_at, fate }, Action::Kill { key })
                }
                Shutdown::Deadline(patience) => {
                    (Status::Stopping { kill_at: now.checked_add(patience), fate }, Action::Stop { key })
                }
                Shutdown::Infinity => (Status::Stopping { kill_at: None, fate }, Action::Stop { key }),
            };
            child.status = status;
            Some(action)
        });
        out.extend(begun.flatten());
    }

    fn start_in_order(&mut self, out: &mut Vec<Action>) {
        let due = match self.strategy {
            Strategy::Dynamic => self.roster.ready_up_to(None),
            // Boot order: a child that never was up holds back those after it.
            Strategy::OneForOne => self.roster.ready_up_to(self.roster.first_never_up()),
            Strategy::OneForAll | Strategy::RestForOne => self.next_of_group().into_iter().collect(),
        };
        for key in due {
            let generation = self.roster.update(key, |child| {
                let Status::Pending { cause, .. } = child.status else { return None };
                child.launches += 1;
                if cause == Cause::Restart {
                    child.restarts += 1;
                }
                child.status = Status::Starting { cause, fate: None };
                Some(child.generation())
            });
            if let Some(Some(generation)) = generation {
                out.push(Action::Start { key, generation });
            }
        }
    }

    /// Only the first that is on its way up, and only when nothing is on its way down.
    fn next_of_group(&self) -> Option<Key> {
        let still = self.roster.nothing_goes() && self.roster.last_doomed().is_none();
        self.roster.first_coming().filter(|&key| still && self.roster.is_ready(key))
    }
}
