//! What each event changes. Wishes only: the starts and stops themselves are `advance`'s.

use std::time::Duration;

use super::{Action, Cause, Child, Decision, Fate, Key, Policy, Refusal, Restart, Status, Strategy};
use crate::Exit;

impl Decision {
    pub(super) fn boot(&mut self, now: Duration) {
        for child in &mut self.children {
            child.status = Status::Pending { not_before: now, cause: Cause::Boot };
        }
    }

    pub(super) fn started(&mut self, at: usize, now: Duration, out: &mut Vec<Action>) {
        let child = &mut self.children[at];
        let key = child.key;
        match child.status {
            Status::Starting { fate, .. } => {
                child.starts += 1;
                child.status = Status::Running { since: now, fate };
                out.push(Action::Up { key });
            }
            // The start won the race against its cancellation: the child has not heard the stop.
            Status::Stopping { .. } => out.push(Action::Stop { key }),
            Status::Killing { .. } => out.push(Action::Kill { key }),
            Status::Idle | Status::Pending { .. } | Status::Running { .. } => {}
        }
    }

    pub(super) fn ignored(&mut self, at: usize, out: &mut Vec<Action>) {
        let child = &self.children[at];
        let fate = match child.status {
            Status::Starting { fate: None, .. } => self.fate_for_good(child),
            Status::Starting { fate: Some(fate), .. }
            | Status::Stopping { fate, .. }
            | Status::Killing { fate, .. } => fate,
            Status::Idle | Status::Pending { .. } | Status::Running { .. } => return,
        };
        out.push(Action::Up { key: child.key });
        self.settle(at, Exit::Normal, fate, out);
    }

    pub(super) fn start_failed(
        &mut self,
        at: usize,
        error: Exit,
        now: Duration,
        random: f64,
        out: &mut Vec<Action>,
    ) {
        let key = self.children[at].key;
        let asked = match self.children[at].status {
            Status::Starting { cause: Cause::AskedNew, fate: None } => Some(Fate::Forgotten),
            Status::Starting { cause: Cause::AskedAgain, fate: None } => Some(Fate::Idle),
            _ => None,
        };
        if let Some(fate) = asked {
            out.push(Action::Refused { key, error: error.clone() });
            self.children[at].last_exit = Some(error.clone());
            self.settle(at, error, fate, out);
        } else {
            self.exited(at, error, now, random, out);
        }
    }

    pub(super) fn exited(
        &mut self,
        at: usize,
        exit: Exit,
        now: Duration,
        random: f64,
        out: &mut Vec<Action>,
    ) {
        match self.children[at].status {
            Status::Idle | Status::Pending { .. } => {}
            Status::Starting { fate: Some(fate), .. }
            | Status::Running { fate: Some(fate), .. }
            | Status::Stopping { fate, .. }
            | Status::Killing { fate, .. } => {
                self.children[at].last_exit = Some(exit.clone());
                self.settle(at, exit, fate, out);
            }
            Status::Starting { fate: None, .. } => self.failed(at, exit, Duration::ZERO, now, random, out),
            Status::Running { since, fate: None } => {
                self.failed(at, exit, now.saturating_sub(since), now, random, out);
            }
        }
    }

    /// The child is down and `fate` says what becomes of it.
    pub(super) fn settle(&mut self, at: usize, exit: Exit, fate: Fate, out: &mut Vec<Action>) {
        let key = self.children[at].key;
        out.push(Action::Down { key, exit });
        match fate {
            Fate::Again(not_before) => {
                self.children[at].status = Status::Pending { not_before, cause: Cause::Restart };
            }
            Fate::Idle => {
                self.children[at].status = Status::Idle;
                out.push(Action::Retire { key });
            }
            Fate::Forgotten => {
                out.push(Action::Retire { key });
                out.push(Action::Forget { key });
                self.children.remove(at);
            }
        }
    }

    /// Nobody asked this child to end: restart it, alone or with its group, or leave it down.
    fn failed(
        &mut self,
        at: usize,
        exit: Exit,
        was_up: Duration,
        now: Duration,
        random: f64,
        out: &mut Vec<Action>,
    ) {
        let child = &mut self.children[at];
        child.last_exit = Some(exit.clone());
        let again = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_normal(),
            Restart::Temporary => false,
        };
        if !again {
            let fate = self.fate_for_good(&self.children[at]);
            self.settle(at, exit, fate, out);
            return;
        }
        if was_up > child.policy.backoff.max {
            child.failures = 0;
        }
        child.failures = child.failures.saturating_add(1);
        let not_before = now.saturating_add(child.policy.backoff.delay(child.failures, random));
        let cause = format!("child `{}` ended: {exit}", child.policy.id);
        if !self.window.allows(now) {
            let mut chain = vec![cause];
            if let Exit::Escalated(inner) = &exit {
                chain = vec![format!("child `{}` gave up", self.children[at].policy.id)];
                chain.extend(inner.iter().cloned());
            }
            self.settle(at, exit, Fate::Idle, out);
            self.end(Exit::Escalated(chain), out);
            return;
        }
        self.settle(at, exit, Fate::Again(not_before), out);
        let group = match self.strategy {
            Strategy::OneForOne | Strategy::Dynamic => 0..0,
            Strategy::OneForAll => 0..self.children.len(),
            Strategy::RestForOne => at + 1..self.children.len(),
        };
        for other in group.filter(|&other| other != at) {
            self.children[other].join_group_restart(not_before);
        }
    }

    /// What a child that ended by itself and is not restarted becomes.
    fn fate_for_good(&self, child: &Child) -> Fate {
        if self.strategy == Strategy::Dynamic || child.policy.restart == Restart::Temporary {
            Fate::Forgotten
        } else {
            Fate::Idle
        }
    }

    /// From here on the supervisor only stops its children.
    pub(super) fn end(&mut self, exit: Exit, out: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(exit);
        for child in &mut self.children {
            match &mut child.status {
                Status::Idle => {}
                Status::Pending { .. } => {
                    child.status = Status::Idle;
                    out.push(Action::Retire { key: child.key });
                }
                Status::Starting { fate, .. } | Status::Running { fate, .. } => *fate = Some(Fate::Idle),
                Status::Stopping { fate, .. } | Status::Killing { fate, .. } => *fate = Fate::Idle,
            }
        }
    }

    pub(super) fn add(&mut self, key: Key, policy: Policy, now: Duration) -> Result<(), Refusal> {
        self.still_open()?;
        if let Some(at) = self.position(&policy.id) {
            return Err(match self.children[at].status {
                Status::Idle | Status::Pending { .. } => Refusal::AlreadyPresent(policy.id),
                _ => Refusal::AlreadyRunning(policy.id),
            });
        }
        let mut child = Child::new(key, policy);
        child.status = Status::Pending { not_before: now, cause: Cause::AskedNew };
        self.children.push(child);
        Ok(())
    }

    pub(super) fn terminate(&mut self, id: &str, out: &mut Vec<Action>) -> Result<(), Refusal> {
        let at = self.position(id).ok_or_else(|| Refusal::NotFound(id.to_owned()))?;
        let child = &mut self.children[at];
        let never_up = matches!(
            child.status,
            Status::Pending { cause: Cause::AskedNew, .. } | Status::Starting { cause: Cause::AskedNew, .. }
        );
        let for_good = self.strategy == Strategy::Dynamic || child.policy.restart == Restart::Temporary;
        let after = if never_up || for_good { Fate::Forgotten } else { Fate::Idle };
        match &mut child.status {
            Status::Idle => out.push(Action::Down { key: child.key, exit: Exit::Shutdown }),
            Status::Pending { .. } => self.settle(at, Exit::Shutdown, after, out),
            Status::Starting { fate, .. } | Status::Running { fate, .. } => *fate = Some(after),
            Status::Stopping { fate, .. } | Status::Killing { fate, .. } => *fate = after,
        }
        Ok(())
    }

    pub(super) fn restart(&mut self, id: &str, now: Duration) -> Result<(), Refusal> {
        self.still_open()?;
        let at = self.position(id).ok_or_else(|| Refusal::NotFound(id.to_owned()))?;
        self.expect_down(at)?;
        self.children[at].status = Status::Pending { not_before: now, cause: Cause::AskedAgain };
        Ok(())
    }

    pub(super) fn delete(&mut self, id: &str, out: &mut Vec<Action>) -> Result<(), Refusal> {
        let at = self.position(id).ok_or_else(|| Refusal::NotFound(id.to_owned()))?;
        self.expect_down(at)?;
        out.push(Action::Forget { key: self.children[at].key });
        self.children.remove(at);
        Ok(())
    }

    fn expect_down(&self, at: usize) -> Result<(), Refusal> {
        let child = &self.children[at];
        match child.status {
            Status::Idle => Ok(()),
            Status::Pending { .. } | Status::Starting { .. } => {
                Err(Refusal::Restarting(child.policy.id.clone()))
            }
            Status::Running { .. } | Status::Stopping { .. } | Status::Killing { .. } => {
                Err(Refusal::Running(child.policy.id.clone()))
            }
        }
    }

    fn still_open(&self) -> Result<(), Refusal> {
        if self.ending.is_some() { Err(Refusal::ShuttingDown) } else { Ok(()) }
    }
}

impl Child {
    /// A sibling is restarted and this child shares its fate: down, then up again with the group.
    fn join_group_restart(&mut self, at: Duration) {
        // OTP: a temporary sibling is stopped with the group and never started again.
        let again = match self.policy.restart {
            Restart::Temporary => Fate::Forgotten,
            Restart::Permanent | Restart::Transient => Fate::Again(at),
        };
        match &mut self.status {
            // OTP: a group restart starts every child of the group, also one that was down.
            Status::Idle => self.status = Status::Pending { not_before: at, cause: Cause::Restart },
            Status::Pending { not_before, .. } => *not_before = at,
            Status::Starting { fate, .. } | Status::Running { fate, .. } => *fate = Some(again),
            Status::Stopping { fate, .. } | Status::Killing { fate, .. } => *fate = again,
        }
    }
}
