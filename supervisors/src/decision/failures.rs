//! What the failure of one child means for its siblings and for the supervisor.

use std::time::Duration;

use super::{Action, AutoShutdown, Cause, Child, Decision, Fate, Key, Restart, Status, Strategy};
use crate::Exit;

impl Decision {
    /// Nobody asked this child to end: restart it, alone or with its group, or leave it down.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn failed(
        &mut self,
        key: Key,
        exit: Exit,
        again: bool,
        was_up: Duration,
        now: Duration,
        random: f64,
        out: &mut Vec<Action>,
    ) {
        self.note_exit(key, &exit, now);
        let Some(child) = self.roster.get(key) else { return };
        if !again {
            let (fate, significant) = (self.fate_for_good(child), child.policy.significant);
            self.settle(key, exit, fate, out);
            if significant {
                self.significant_ended(out);
            }
            return;
        }
        let id = child.policy.id.clone();
        let not_before = self.roster.update(key, |child| child.rest(was_up, now, random)).unwrap_or(now);
        if !self.window.allows(now) {
            let mut chain = vec![format!("child `{id}` ended: {exit}")];
            if let Exit::Escalated(inner) = &exit {
                chain = vec![format!("child `{id}` gave up")];
                chain.extend(inner.iter().cloned());
            }
            self.settle(key, exit, Fate::Idle, out);
            self.end(Exit::Escalated(chain), out);
            return;
        }
        self.settle(key, exit, Fate::Again(not_before), out);
        let group = match self.strategy {
            Strategy::OneForOne | Strategy::Dynamic => Vec::new(),
            Strategy::OneForAll => self.roster.keys(),
            Strategy::RestForOne => self.roster.keys_after(key),
        };
        for other in group.into_iter().filter(|&other| other != key) {
            self.roster.update(other, |child| child.join_group_restart(not_before));
        }
    }

    /// A significant child ended by itself and is not restarted.
    fn significant_ended(&mut self, out: &mut Vec<Action>) {
        let over = match self.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => self.roster.present_significant() == 0,
        };
        if over {
            self.end(Exit::Shutdown, out);
        }
    }

    /// A child that must be there from the beginning is not.
    pub(super) fn boot_failed(&mut self, key: Key, error: Exit, now: Duration, out: &mut Vec<Action>) {
        let Some(child) = self.roster.get(key) else { return };
        let exit = Exit::StartFailed { child: child.policy.id.to_string(), cause: Box::new(error.clone()) };
        self.note_exit(key, &error, now);
        self.settle(key, error, Fate::Idle, out);
        self.end(exit, out);
    }

    /// From here on the supervisor only stops its children.
    pub(super) fn end(&mut self, exit: Exit, out: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(exit);
        self.boot_left = None;
        for key in self.roster.keys() {
            let rested = self.roster.update(key, |child| {
                child.doom(Fate::Idle);
                let rests = matches!(child.status, Status::Pending { .. });
                if rests {
                    child.status = Status::Idle;
                }
                rests
            });
            if rested == Some(true) {
                out.push(Action::Retire { key });
            }
        }
    }
}

impl Child {
    /// Counts a failure and says when the next start is due.
    fn rest(&mut self, was_up: Duration, now: Duration, random: f64) -> Duration {
        self.forgive(was_up);
        self.failures = self.failures.saturating_add(1);
        now.saturating_add(self.policy.backoff.delay(self.failures, random))
    }

    /// A sibling is restarted and this child shares its fate: down, then up again with the group.
    fn join_group_restart(&mut self, at: Duration) {
        match &mut self.status {
            // OTP: a group restart starts every child of the group, also one that was down.
            Status::Idle => self.status = Status::Pending { not_before: at, cause: Cause::Restart },
            Status::Pending { not_before, .. } => *not_before = at,
            // OTP: a temporary sibling is stopped with the group and never started again.
            _ if self.policy.restart == Restart::Temporary => self.doom(Fate::Forgotten),
            _ => self.doom(Fate::Again(at)),
        }
    }
}
