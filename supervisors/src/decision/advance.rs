//! Turns wishes into starts and stops, in order. The only place that emits `Start`, `Stop`, `Kill`.
//!
//! Stops go from the last child to the first, one at a time; starts from the first to the last.
//! A group restart starts nothing before everything that must go is down. Dynamic supervisors know
//! no order.

use std::time::Duration;

use super::{Action, Cause, Child, Decision, Fate, KILL_PATIENCE, Shutdown, Status, Strategy};
use crate::Exit;

impl Decision {
    pub(super) fn advance(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.expire(now, out);
        self.stop_in_order(now, out);
        if let Some(exit) = &self.ending {
            if self.children.iter().all(|child| child.status == Status::Idle) {
                out.push(Action::Finish(exit.clone()));
                self.finished = true;
            }
        } else {
            self.start_in_order(now, out);
        }
    }

    /// Deadlines that have passed: a stop becomes a kill, a kill becomes a farewell.
    fn expire(&mut self, now: Duration, out: &mut Vec<Action>) {
        for at in (0..self.children.len()).rev() {
            let child = &mut self.children[at];
            let key = child.key;
            match child.status {
                Status::Stopping { kill_at: Some(kill_at), fate } if kill_at <= now => {
                    child.status = Status::Killing { give_up_at: now + KILL_PATIENCE, fate };
                    out.push(Action::Kill { key });
                }
                Status::Killing { give_up_at, fate } if give_up_at <= now => {
                    child.last_exit = Some(Exit::Unkillable);
                    out.push(Action::Abandon { key });
                    self.settle(at, Exit::Unkillable, fate, out);
                }
                _ => {}
            }
        }
    }

    fn stop_in_order(&mut self, now: Duration, out: &mut Vec<Action>) {
        let in_parallel = self.strategy == Strategy::Dynamic;
        let mut busy = self.children.iter().any(Child::is_going_down);
        for child in self.children.iter_mut().rev() {
            if let Some(fate) = child.doomed()
                && (in_parallel || !busy)
            {
                child.begin_stop(fate, now, out);
                busy = true;
            }
        }
    }

    fn start_in_order(&mut self, now: Duration, out: &mut Vec<Action>) {
        for at in 0..self.children.len() {
            if let Status::Pending { not_before, cause } = self.children[at].status
                && not_before <= now
                && self.may_start(at)
            {
                let child = &mut self.children[at];
                child.launches += 1;
                if cause == Cause::Restart {
                    child.restarts += 1;
                }
                child.status = Status::Starting { cause, fate: None };
                out.push(Action::Start { key: child.key, generation: child.generation() });
            }
        }
    }

    fn may_start(&self, at: usize) -> bool {
        let earlier = &self.children[..at];
        match self.strategy {
            Strategy::Dynamic => true,
            // Boot order: a child that never was up holds back those after it.
            Strategy::OneForOne => !earlier.iter().any(|child| child.starts == 0 && child.is_coming_up()),
            Strategy::OneForAll | Strategy::RestForOne => {
                let going = |child: &Child| child.is_going_down() || child.doomed().is_some();
                !earlier.iter().any(Child::is_coming_up) && !self.children.iter().any(going)
            }
        }
    }
}

impl Child {
    fn is_going_down(&self) -> bool {
        matches!(self.status, Status::Stopping { .. } | Status::Killing { .. })
    }

    fn is_coming_up(&self) -> bool {
        matches!(self.status, Status::Pending { .. } | Status::Starting { .. })
    }

    fn doomed(&self) -> Option<Fate> {
        match self.status {
            Status::Starting { fate, .. } | Status::Running { fate, .. } => fate,
            _ => None,
        }
    }

    fn begin_stop(&mut self, fate: Fate, now: Duration, out: &mut Vec<Action>) {
        let key = self.key;
        match self.policy.shutdown {
            Shutdown::Brutal => {
                self.status = Status::Killing { give_up_at: now + KILL_PATIENCE, fate };
                out.push(Action::Kill { key });
            }
            Shutdown::Deadline(patience) => {
                self.status = Status::Stopping { kill_at: now.checked_add(patience), fate };
                out.push(Action::Stop { key });
            }
            Shutdown::Infinity => {
                self.status = Status::Stopping { kill_at: None, fate };
                out.push(Action::Stop { key });
            }
        }
    }
}
