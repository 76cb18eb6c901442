//! How the loop does what the decision core says, and what it hears back from starts and watches.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::abortable;
use tracing::{error, info, warn};

use super::control::ChildError;
use super::shell::{AwaitedState, Link, Shell};
use crate::Exit;
use crate::child::{Started, Starter};
use crate::decision::{Action, Event, Key, Status};
use crate::panics::{contained, into_text};

/// What a child's start or its watch reports.
pub(super) struct Report {
    key: Key,
    generation: u64,
    what: What,
}

enum What {
    Started(Started),
    StartFailed(Exit),
    StartCancelled,
    Exited(Exit),
}

impl Shell {
    pub(super) fn hear(&mut self, report: Report) {
        let Report { key, generation, what } = report;
        let event = match what {
            What::Started(Started::Ignore) => Event::Ignored { key, generation },
            What::Started(Started::Failed(error)) | What::StartFailed(error) => {
                Event::StartFailed { key, generation, error }
            }
            What::StartCancelled => Event::Exited { key, generation, exit: Exit::Shutdown },
            What::Exited(exit) => Event::Exited { key, generation, exit },
            What::Started(Started::Running(mut running)) => {
                let Some(entry) = self.entries.get_mut(&key) else { return };
                if let Some(exit) = running.tell_exit_to(&self.exits, key, generation) {
                    let report = exit.map(move |exit| Report { key, generation, what: What::Exited(exit) });
                    self.reports.push(report.boxed_local());
                }
                entry.link = Link::Up(running);
                Event::Started { key, generation }
            }
        };
        self.tell(event);
    }

    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Start { key, generation } => self.begin_start(key, generation),
            Action::Stop { key } => self.stop(key),
            Action::Kill { key } => match self.entries.get_mut(&key).map(|entry| &mut entry.link) {
                Some(Link::Up(running)) => running.kill(),
                Some(Link::Starting(start)) => start.abort(),
                Some(Link::Down) | None => {}
            },
            Action::Abandon { key } => self.with_starter(key, |starter| starter.abandon()),
            Action::Look { key, generation } => {
                let Some(entry) = self.entries.get(&key) else { return };
                if let Some(pulse) = entry.held.pulse() {
                    let beats = pulse.beats();
                    pulse.ask();
                    self.follow_ups.push_back(Event::Pulse { key, generation, beats });
                }
            }
            Action::Up { key } => self.answer(key, AwaitedState::Up, &Ok(())),
            Action::Down { key, exit } => self.went_down(key, &exit),
            Action::Refused { key, error } => {
                let Some(entry) = self.entries.get(&key) else { return };
                let id = entry.held.policy.id.to_string();
                self.answer(key, AwaitedState::Up, &Err(ChildError::StartFailed { id, exit: error }));
            }
            Action::Retire { key } => self.with_starter(key, |starter| starter.retire()),
            Action::Forget { key } => {
                self.entries.remove(&key);
            }
            Action::Booted => {
                if let Some(booted) = self.booted.take() {
                    // Err: nobody waits for it.
                    let _ = booted.send(());
                }
            }
            Action::Finish(exit) => {
                info!(supervisor = %self.id, %exit, "Supervisor ended.");
                self.finished = Some(exit);
            }
        }
    }

    fn stop(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        match &mut entry.link {
            Link::Up(running) => running.stop(),
            Link::Starting(start) => {
                // A supervisor that still boots has children to stop in order; its start then fails.
                let asked = entry.held.supervisor().is_some_and(super::SupervisorRef::request_shutdown);
                if !asked {
                    start.abort();
                }
            }
            Link::Down => {}
        }
    }

    fn begin_start(&mut self, key: Key, generation: u64) {
        let supervisor = self.id.clone();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if generation > 0 {
            info!(%supervisor, child = %entry.held.policy.id, generation, "Child starts again.");
            metrics::counter!("supervisor_restarts_total", "supervisor" => supervisor.to_string())
                .increment(1);
        }
        let starter = entry.held.starter.clone();
        let start = AssertUnwindSafe(async move {
            match starter.lend() {
                Some(starter) => starter.start(generation).await,
                // Its supervisor was killed in the middle of a start, and that is not through yet.
                None => Err("its last start has not ended yet; it is tried again as any start".to_owned()),
            }
        });
        let (start, cancel) = abortable(start.catch_unwind());
        entry.link = Link::Starting(cancel);
        self.reports.push(
            async move {
                let what = match start.await {
                    Err(_aborted) => What::StartCancelled,
                    Ok(Err(panic)) => What::StartFailed(Exit::Panicked(into_text(panic))),
                    Ok(Ok(Err(text))) => What::StartFailed(Exit::Error(text)),
                    Ok(Ok(Ok(started))) => What::Started(started),
                };
                Report { key, generation, what }
            }
            .boxed_local(),
        );
    }

    fn went_down(&mut self, key: Key, exit: &Exit) {
        let supervisor = self.id.clone();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let child = &entry.held.policy.id;
        if exit.is_normal() {
            info!(%supervisor, %child, %exit, "Child ended.");
        } else {
            warn!(%supervisor, %child, %exit, "Child ended.");
            metrics::counter!("supervisor_child_failures_total", "supervisor" => supervisor.to_string())
                .increment(1);
        }
        let id = child.clone();
        entry.link = Link::Down;
        if let Some(waiting) = self.waiting.get_mut(&key) {
            for watcher in waiting.watchers.drain(..) {
                // Err: the watcher has gone.
                let _ = watcher.send(exit.clone());
            }
        }
        self.answer(key, AwaitedState::Down, &Ok(()));
        // Whoever waits for this child to come up would wait in vain if it was stopped meanwhile.
        let coming_up = self
            .decision
            .child(key)
            .is_some_and(|child| matches!(child.status, Status::Pending { .. } | Status::Starting { .. }));
        if !coming_up {
            let failed = Err(ChildError::StartFailed { id: id.to_string(), exit: exit.clone() });
            self.answer(key, AwaitedState::Up, &failed);
        }
    }

    pub(super) fn with_starter(&mut self, key: Key, act: impl FnOnce(&mut Box<dyn Starter>)) {
        let supervisor = self.id.clone();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.link = Link::Down;
        // Lent only during a start, and a child whose start is in progress is not let go.
        if let Err(text) = contained(|| entry.held.starter.if_at_rest(act)) {
            let child = &entry.held.policy.id;
            error!(%supervisor, %child, %text, "Panic while letting go of a child.");
        }
    }
}
