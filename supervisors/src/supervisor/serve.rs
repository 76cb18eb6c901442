//! The loop's answers to requests. A request that takes time (a start, a stop) is answered when the
//! child gets there; the loop goes on meanwhile.

use tokio::sync::oneshot;
use tracing::warn;

use super::control::{Answer, ChildError, Request};
use super::info::{ChildInfo, ChildState, Silence, Supervision};
use super::shell::{AwaitedState, Entry, Link, Shell};
use crate::Exit;
use crate::child::Held;
use crate::decision::{Child, Event, Key, Policy, Refusal, Settings, Status};
use crate::fault::{Fault, InjectError};
use crate::panics::contained;
use crate::spec::{self, SpecErrors};

impl Shell {
    pub(super) fn answer(&mut self, key: Key, reached: AwaitedState, answer: &Result<(), ChildError>) {
        let Some(waiting) = self.waiting.get_mut(&key) else { return };
        for (_, waiter) in waiting.answers.extract_if(.., |(awaited, _)| *awaited == reached) {
            // Err: the asker has gone.
            let _ = waiter.send(answer.clone());
        }
        if waiting.answers.is_empty() && waiting.watchers.is_empty() {
            self.waiting.remove(&key);
        }
    }

    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Start(held, answer) => self.start_child(*held, answer),
            Request::Terminate(id, answer) => {
                self.wait_for(&id, AwaitedState::Down, answer, Event::Terminate { id: id.clone() });
            }
            Request::Restart(id, answer) => {
                self.wait_for(&id, AwaitedState::Up, answer, Event::Restart { id: id.clone() });
            }
            Request::Delete(id, answer) => {
                // Err: the asker has gone.
                let _ = answer.send(self.try_tell(Event::Delete { id }).map_err(ChildError::from));
            }
            Request::Which(answer) => {
                let _ = answer.send(self.infos());
            }
            Request::Supervision(answer) => {
                let _ = answer.send((self.supervision(), self.infos()));
            }
            Request::AllowsFaults(answer) => {
                let _ = answer.send(self.allow_faults);
            }
            Request::Inject(id, fault, answer) => {
                let _ = answer.send(self.inject(&id, fault));
            }
            Request::WhichOne(id, answer) => {
                let found = self.decision.key_of(&id).and_then(|key| self.decision.child(key));
                let info = found.and_then(|child| self.info(child));
                let _ = answer.send(info.ok_or_else(|| Refusal::NotFound(id).into()));
            }
            Request::Spec(id, answer) => {
                let found = self.decision.key_of(&id).and_then(|key| self.decision.child(key));
                let policy = found.map(|child| Policy::clone(&child.policy));
                let _ = answer.send(policy.ok_or_else(|| Refusal::NotFound(id).into()));
            }
            Request::Watch(id, answer) => {
                let _ = answer.send(self.watch(id));
            }
            Request::Settings(answer) => {
                let _ = answer.send(self.decision.settings());
            }
            Request::Reconfigure(settings, answer) => {
                let _ = answer.send(self.reconfigure(settings));
            }
            Request::Shutdown(answer) => {
                self.shutdown_waiting.extend(answer);
                self.tell(Event::Shutdown);
            }
        }
    }

    fn start_child(&mut self, held: Held, answer: Answer) {
        let settings = self.decision.settings();
        let mut faults = Vec::new();
        spec::child_faults("child", &held, settings.auto_shutdown, &mut faults);
        if !faults.is_empty() {
            let errors = SpecErrors { supervisor: self.id.to_string(), faults };
            // Err: the asker has gone.
            let _ = answer.send(Err(ChildError::BadSpec(errors)));
            return;
        }
        let key = Key(self.next_key);
        self.next_key += 1;
        let policy = held.policy.clone();
        self.entries.insert(key, Box::new(Entry { held, link: Link::Down }));
        self.waiting.entry(key).or_default().answers.push((AwaitedState::Up, answer));
        if let Err(refusal) = self.try_tell(Event::Add { key, policy }) {
            self.answer(key, AwaitedState::Up, &Err(refusal.into()));
            self.entries.remove(&key);
        }
    }

    fn wait_for(&mut self, id: &str, state: AwaitedState, answer: Answer, event: Event) {
        let Some(key) = self.decision.key_of(id) else {
            // Refused by the decision core too, which knows the right words.
            let refused = self.try_tell(event).err().unwrap_or_else(|| Refusal::NotFound(id.to_owned()));
            let _ = answer.send(Err(refused.into()));
            return;
        };
        self.waiting.entry(key).or_default().answers.push((state, answer));
        if let Err(refusal) = self.try_tell(event)
            && let Some((_, answer)) = self.waiting.get_mut(&key).and_then(|waiting| waiting.answers.pop())
        {
            let _ = answer.send(Err(refusal.into()));
        }
    }

    fn watch(&mut self, id: String) -> Result<oneshot::Receiver<Exit>, ChildError> {
        let key = self.decision.key_of(&id).ok_or_else(|| Refusal::NotFound(id.clone()))?;
        match self.decision.child(key).map(|child| child.status) {
            Some(Status::Running { .. } | Status::Stopping { .. } | Status::Killing { .. }) => {
                let (watcher, ended) = oneshot::channel();
                self.waiting.entry(key).or_default().watchers.push(watcher);
                Ok(ended)
            }
            _ => Err(ChildError::NotUp(id)),
        }
    }

    fn reconfigure(&mut self, settings: Settings) -> Result<(), ChildError> {
        let mut faults = Vec::new();
        spec::settings_faults(&settings, &mut faults);
        for child in self.decision.children() {
            let path = format!("child `{}`", child.policy.id);
            spec::significance_faults(&path, &child.policy, settings.auto_shutdown, &mut faults);
        }
        if faults.is_empty() {
            self.try_tell(Event::Reconfigure(settings)).map_err(ChildError::from)
        } else {
            Err(ChildError::BadSpec(SpecErrors { supervisor: self.id.to_string(), faults }))
        }
    }

    /// Does a fault to a child that is up. Answered when it is on its way, not when it has its effect.
    fn inject(&mut self, id: &str, fault: Fault) -> Result<(), InjectError> {
        let not_found = || InjectError::NotFound { supervisor: self.id.to_string(), path: id.to_owned() };
        let child =
            self.decision.key_of(id).and_then(|key| self.decision.child(key)).ok_or_else(not_found)?;
        let (key, generation) = (child.key, child.generation());
        let Status::Running { fate: None, .. } = child.status else {
            return Err(InjectError::NotUp(id.to_owned()));
        };
        warn!(supervisor = %self.id, child = %id, %fault, "A fault is injected.");
        if fault == Fault::Kill {
            self.tell(Event::Struck { key, generation });
            return Ok(());
        }
        let Some(entry) = self.entries.get(&key) else { return Err(InjectError::NotUp(id.to_owned())) };
        let injected = contained(|| entry.held.starter.if_at_rest(|starter| starter.inject(fault)));
        if injected == Ok(Some(true)) {
            return Ok(());
        }
        Err(InjectError::Unfit { path: id.to_owned(), kind: entry.held.kind, fault })
    }

    fn supervision(&self) -> Supervision {
        Supervision {
            settings: self.decision.settings(),
            recent_restarts: self.decision.recent_restarts(self.now()),
            uptime: self.now(),
            allows_faults: self.allow_faults,
        }
    }

    fn infos(&self) -> Vec<ChildInfo> {
        self.decision.children().filter_map(|child| self.info(child)).collect()
    }

    fn info(&self, child: &Child) -> Option<ChildInfo> {
        let held = &self.entries.get(&child.key)?.held;
        let now = self.now();
        let uptime = match child.status {
            Status::Running { since, .. } => Some(now.saturating_sub(since)),
            _ => None,
        };
        let silence = child.policy.watchdog.zip(child.silence());
        Some(ChildInfo {
            id: child.policy.id.to_string(),
            kind: held.kind,
            uptime,
            last_exit_age: child.last.as_ref().map(|last| now.saturating_sub(last.at)),
            watchdog: silence.map(|(patience, so_far)| Silence { patience, so_far }),
            state: match child.status {
                Status::Idle => ChildState::Undefined,
                Status::Pending { .. } | Status::Starting { .. } => ChildState::Restarting,
                Status::Running { .. } | Status::Stopping { .. } | Status::Killing { .. } => {
                    ChildState::Running
                }
            },
            generation: child.generation(),
            restarts: child.restarts,
            last_exit: child.last.as_ref().map(|last| last.exit.clone()),
            is_supervisor: held.is_supervisor,
            mailbox: held.mailbox(),
            supervisor: held.supervisor().cloned(),
        })
    }
}
