//! What people ask for. A request that does not fit is refused and changes nothing.

use std::rc::Rc;
use std::time::Duration;

use super::{Action, Cause, Child, Decision, Fate, Key, Policy, Refusal, Settings, Status, Strategy};
use crate::Exit;

impl Decision {
    pub(super) fn add(&mut self, key: Key, policy: Rc<Policy>, now: Duration) -> Result<(), Refusal> {
        self.still_open()?;
        if let Some(other) = self.roster.key_of(&policy.id) {
            return Err(match self.status(other) {
                Some(Status::Running { .. } | Status::Stopping { .. } | Status::Killing { .. }) => {
                    Refusal::AlreadyRunning(policy.id.to_string())
                }
                _ => Refusal::AlreadyPresent(policy.id.to_string()),
            });
        }
        let status = Status::Pending { not_before: now, cause: Cause::AskedNew };
        self.roster.add(Child::new(key, policy, status));
        Ok(())
    }

    pub(super) fn terminate(&mut self, id: &str, out: &mut Vec<Action>) -> Result<(), Refusal> {
        let key = self.find(id)?;
        let Some(child) = self.roster.get(key) else { return Ok(()) };
        let never_up = matches!(
            child.status,
            Status::Pending { cause: Cause::AskedNew, .. } | Status::Starting { cause: Cause::AskedNew, .. }
        );
        let after = if never_up { Fate::Forgotten } else { self.fate_for_good(child) };
        match child.status {
            Status::Idle => out.push(Action::Down { key, exit: Exit::Shutdown }),
            Status::Pending { .. } => self.settle(key, Exit::Shutdown, after, out),
            _ => {
                self.roster.update(key, |child| child.doom(after));
            }
        }
        Ok(())
    }

    pub(super) fn restart(&mut self, id: &str, now: Duration) -> Result<(), Refusal> {
        self.still_open()?;
        let key = self.find_down(id)?;
        self.set(key, Status::Pending { not_before: now, cause: Cause::AskedAgain });
        Ok(())
    }

    pub(super) fn delete(&mut self, id: &str, out: &mut Vec<Action>) -> Result<(), Refusal> {
        let key = self.find_down(id)?;
        out.push(Action::Forget { key });
        self.roster.remove(key);
        Ok(())
    }

    pub(super) fn reconfigure(&mut self, settings: Settings) -> Result<(), Refusal> {
        self.still_open()?;
        let (from, to) = (self.strategy, settings.strategy);
        if (from == Strategy::Dynamic) != (to == Strategy::Dynamic) {
            return Err(Refusal::StrategyFixed { from, to });
        }
        self.strategy = to;
        self.auto_shutdown = settings.auto_shutdown;
        self.window.reconfigure(settings.intensity);
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Key, Refusal> {
        self.roster.key_of(id).ok_or_else(|| Refusal::NotFound(id.to_owned()))
    }

    fn find_down(&self, id: &str) -> Result<Key, Refusal> {
        if self.strategy == Strategy::Dynamic {
            return Err(Refusal::Dynamic(id.to_owned()));
        }
        let key = self.find(id)?;
        match self.status(key) {
            Some(Status::Pending { .. } | Status::Starting { .. }) => Err(Refusal::Restarting(id.to_owned())),
            Some(Status::Running { .. } | Status::Stopping { .. } | Status::Killing { .. }) => {
                Err(Refusal::Running(id.to_owned()))
            }
            Some(Status::Idle) | None => Ok(key),
        }
    }

    fn still_open(&self) -> Result<(), Refusal> {
        if self.ending.is_some() { Err(Refusal::ShuttingDown) } else { Ok(()) }
    }
}
