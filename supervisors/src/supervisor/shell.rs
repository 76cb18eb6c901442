//! The loop: wait for something, decide, perform.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::{AbortHandle, LocalBoxFuture, abortable};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until};
use tracing::{error, info, warn};

use super::Plan;
use super::control::{Answer, ChildError, Request, SupervisorRef};
use super::jitter::Jitter;
use crate::Exit;
use crate::child::{Held, Running, Started, StopSignal};
use crate::decision::{Action, Decision, Event, Key, Refusal, Status};
use crate::panics::text_of;

/// Runs a supervisor to its end. Requests are accepted from now on, also before the first poll.
/// Dropping the future kills the children.
pub(super) fn run(
    plan: Plan,
    handle: SupervisorRef,
    stop: oneshot::Receiver<()>,
) -> impl Future<Output = Exit> {
    let requests = handle.open();
    let shell = Shell::new(plan, handle);
    async move {
        match shell {
            Ok(shell) => shell.work(requests, StopSignal::new(stop)).await,
            Err(exit) => exit,
        }
    }
}

/// What a child's start or its watch reports.
struct Report {
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

pub(super) enum Link {
    Down,
    Starting(AbortHandle),
    Up(Running),
}

pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) held: Held,
    pub(super) link: Link,
}

#[derive(PartialEq)]
pub(super) enum AwaitedState {
    Up,
    Down,
}

pub(super) struct Shell {
    pub(super) id: String,
    handle: SupervisorRef,
    pub(super) decision: Decision,
    pub(super) entries: Vec<Entry>,
    reports: FuturesUnordered<LocalBoxFuture<'static, Report>>,
    pub(super) waiting: Vec<(Key, AwaitedState, Answer)>,
    pub(super) shutdown_waiting: Vec<oneshot::Sender<()>>,
    pub(super) next_key: u64,
    origin: Instant,
    jitter: Jitter,
    finished: Option<Exit>,
}

impl Shell {
    fn new(plan: Plan, handle: SupervisorRef) -> Result<Self, Exit> {
        let mut entries: Vec<Entry> = Vec::with_capacity(plan.children.len());
        for (key, held) in (0..).zip(plan.children) {
            if entries.iter().any(|other| other.held.policy.id == held.policy.id) {
                let id = &held.policy.id;
                handle.close();
                return Err(Exit::Error(format!("supervisor `{}` has two children `{id}`", plan.id)));
            }
            entries.push(Entry { key: Key(key), held, link: Link::Down });
        }
        let children = entries.iter().map(|entry| (entry.key, entry.held.policy.clone())).collect();
        Ok(Shell {
            jitter: Jitter::new(&plan.id),
            id: plan.id,
            handle,
            decision: Decision::new(plan.strategy, plan.intensity, children),
            next_key: entries.len() as u64,
            entries,
            reports: FuturesUnordered::new(),
            waiting: Vec::new(),
            shutdown_waiting: Vec::new(),
            origin: Instant::now(),
            finished: None,
        })
    }

    async fn work(mut self, mut requests: mpsc::Receiver<Request>, mut stop: StopSignal) -> Exit {
        let mut stop_heard = false;
        self.tell(Event::Boot);
        loop {
            if let Some(exit) = self.finished.take() {
                return exit;
            }
            let wake = self.decision.next_wake(self.now()).map(|at| self.origin + at);
            tokio::select! {
                biased;
                () = &mut stop, if !stop_heard => {
                    stop_heard = true;
                    self.tell(Event::Shutdown);
                }
                Some(report) = self.reports.next(), if !self.reports.is_empty() => self.hear(report),
                () = sleep_until(wake.unwrap_or(self.origin)), if wake.is_some() => self.tell(Event::Tick),
                Some(request) = requests.recv() => self.serve(request),
            }
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(super) fn tell(&mut self, event: Event) {
        if let Err(refusal) = self.try_tell(event) {
            // Only requests are refused, and they use try_tell.
            error!(supervisor = %self.id, %refusal, "A report was refused.");
        }
    }

    pub(super) fn try_tell(&mut self, event: Event) -> Result<(), Refusal> {
        let actions = self.decision.handle(event, self.now(), self.jitter.next())?;
        for action in actions {
            self.perform(action);
        }
        Ok(())
    }

    fn hear(&mut self, report: Report) {
        let Report { key, generation, what } = report;
        let event = match what {
            What::Started(Started::Ignore) => Event::Ignored { key, generation },
            What::StartFailed(error) => Event::StartFailed { key, generation, error },
            What::StartCancelled => Event::Exited { key, generation, exit: Exit::Shutdown },
            What::Exited(exit) => Event::Exited { key, generation, exit },
            What::Started(Started::Running(mut running)) => {
                let done = running.take_done();
                let Some(entry) = self.entry(key) else { return };
                entry.link = Link::Up(running);
                self.reports.push(
                    async move {
                        let exit = match done {
                            Some(done) => done.await.unwrap_or(Exit::Killed),
                            None => Exit::Killed,
                        };
                        Report { key, generation, what: What::Exited(exit) }
                    }
                    .boxed_local(),
                );
                Event::Started { key, generation }
            }
        };
        self.tell(event);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { key, generation } => self.begin_start(key, generation),
            Action::Stop { key } => match self.entry(key).map(|entry| &mut entry.link) {
                Some(Link::Up(running)) => running.stop(),
                Some(Link::Starting(start)) => start.abort(),
                Some(Link::Down) | None => {}
            },
            Action::Kill { key } => match self.entry(key).map(|entry| &mut entry.link) {
                Some(Link::Up(running)) => running.kill(),
                Some(Link::Starting(start)) => start.abort(),
                Some(Link::Down) | None => {}
            },
            Action::Abandon { key } => self.with_starter(key, |starter| starter.abandon()),
            Action::Up { key } => self.answer(key, &AwaitedState::Up, &Ok(())),
            Action::Down { key, exit } => self.went_down(key, &exit),
            Action::Refused { key, error } => {
                let Some(entry) = self.entry(key) else { return };
                let id = entry.held.policy.id.clone();
                self.answer(key, &AwaitedState::Up, &Err(ChildError::StartFailed { id, exit: error }));
            }
            Action::Retire { key } => self.with_starter(key, |starter| starter.retire()),
            Action::Forget { key } => self.entries.retain(|entry| entry.key != key),
            Action::Finish(exit) => {
                info!(supervisor = %self.id, %exit, "Supervisor ended.");
                self.finished = Some(exit);
            }
        }
    }

    fn begin_start(&mut self, key: Key, generation: u64) {
        let supervisor = self.id.clone();
        let Some(entry) = self.entry(key) else { return };
        if generation > 0 {
            info!(%supervisor, child = %entry.held.policy.id, generation, "Child starts again.");
            metrics::counter!("supervisor_restarts_total", "supervisor" => supervisor).increment(1);
        }
        let starter = entry.held.starter.clone();
        let start = AssertUnwindSafe(async move { starter.lock().await.start(generation).await });
        let (start, cancel) = abortable(start.catch_unwind());
        entry.link = Link::Starting(cancel);
        self.reports.push(
            async move {
                let what = match start.await {
                    Err(_aborted) => What::StartCancelled,
                    Ok(Err(panic)) => What::StartFailed(Exit::Panicked(text_of(&*panic))),
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
        if let Some(entry) = self.entry(key) {
            let child = &entry.held.policy.id;
            if exit.is_normal() {
                info!(%supervisor, %child, %exit, "Child ended.");
            } else {
                warn!(%supervisor, %child, %exit, "Child ended.");
                metrics::counter!("supervisor_child_failures_total", "supervisor" => supervisor).increment(1);
            }
            entry.link = Link::Down;
        }
        self.answer(key, &AwaitedState::Down, &Ok(()));
        // Whoever waits for this child to come up would wait in vain if it was stopped meanwhile.
        let coming_up = self.decision.children().iter().any(|child| {
            child.key == key && matches!(child.status, Status::Pending { .. } | Status::Starting { .. })
        });
        if !coming_up && let Some(entry) = self.entry(key) {
            let id = entry.held.policy.id.clone();
            let failed = Err(ChildError::StartFailed { id, exit: exit.clone() });
            self.answer(key, &AwaitedState::Up, &failed);
        }
    }

    fn entry(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    fn with_starter(&mut self, key: Key, act: impl FnOnce(&mut Box<dyn crate::Starter>)) {
        let supervisor = self.id.clone();
        let Some(entry) = self.entry(key) else { return };
        entry.link = Link::Down;
        // Locked only during a start, and a child whose start is in progress is not let go.
        if let Ok(mut starter) = entry.held.starter.try_lock() {
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| act(&mut starter)));
            if let Err(panic) = done {
                let child = &entry.held.policy.id;
                error!(%supervisor, %child, text = %text_of(&*panic), "Panic while letting go of a child.");
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.handle.close();
        // Starts in progress hold their starters' locks.
        self.reports.clear();
        let keys: Vec<Key> = self.entries.iter().map(|entry| entry.key).collect();
        for key in keys.into_iter().rev() {
            // Sets the link down, which kills what still runs.
            self.with_starter(key, |starter| starter.retire());
        }
        for answer in self.shutdown_waiting.drain(..) {
            let _ = answer.send(());
        }
    }
}
