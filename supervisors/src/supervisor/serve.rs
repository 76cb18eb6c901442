//! The loop's answers to requests. A request that takes time (a start, a stop) is answered when the
//! child gets there; the loop goes on meanwhile.

use super::control::{Answer, ChildError, ChildInfo, ChildState, Request};
use super::shell::{AwaitedState, Entry, Link, Shell};
use crate::decision::{Event, Key, Refusal, Status};

impl Shell {
    pub(super) fn answer(&mut self, key: Key, reached: &AwaitedState, answer: &Result<(), ChildError>) {
        let matches = |waiter: &mut (Key, AwaitedState, Answer)| waiter.0 == key && waiter.1 == *reached;
        for (_, _, waiter) in self.waiting.extract_if(.., matches) {
            // Err: the asker has gone.
            let _ = waiter.send(answer.clone());
        }
    }

    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Start(held, answer) => {
                let key = Key(self.next_key);
                self.next_key += 1;
                let policy = held.policy.clone();
                self.entries.push(Entry { key, held: *held, link: Link::Down });
                self.waiting.push((key, AwaitedState::Up, answer));
                if let Err(refusal) = self.try_tell(Event::Add { key, policy }) {
                    self.answer(key, &AwaitedState::Up, &Err(refusal.into()));
                    self.entries.retain(|entry| entry.key != key);
                }
            }
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
            Request::Shutdown(answer) => {
                self.shutdown_waiting.push(answer);
                self.tell(Event::Shutdown);
            }
        }
    }

    fn wait_for(&mut self, id: &str, state: AwaitedState, answer: Answer, event: Event) {
        let Some(key) = self.entries.iter().find(|entry| entry.held.policy.id == id).map(|e| e.key) else {
            let _ = answer.send(Err(Refusal::NotFound(id.to_owned()).into()));
            return;
        };
        self.waiting.push((key, state, answer));
        if let Err(refusal) = self.try_tell(event)
            && let Some((_, _, answer)) = self.waiting.pop()
        {
            let _ = answer.send(Err(refusal.into()));
        }
    }

    fn infos(&self) -> Vec<ChildInfo> {
        let info = |child: &crate::decision::Child| {
            let held = &self.entries.iter().find(|entry| entry.key == child.key)?.held;
            Some(ChildInfo {
                id: child.policy.id.clone(),
                state: match child.status {
                    Status::Idle => ChildState::Undefined,
                    Status::Pending { .. } | Status::Starting { .. } => ChildState::Restarting,
                    Status::Running { .. } | Status::Stopping { .. } | Status::Killing { .. } => {
                        ChildState::Running
                    }
                },
                restarts: child.restarts,
                last_exit: child.last_exit.clone(),
                is_supervisor: held.is_supervisor,
                mailbox: held.mailbox.as_ref().map(|mailbox| mailbox()),
                supervisor: held.supervisor.clone(),
            })
        };
        self.decision.children().iter().filter_map(info).collect()
    }
}
