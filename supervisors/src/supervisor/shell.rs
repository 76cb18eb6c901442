//! The loop: wait for something, decide, perform.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until};
use tracing::error;

use super::Plan;
use super::control::{Answer, REQUESTS_MAX, Request, SupervisorRef};
use super::jitter::Jitter;
use super::perform::Report;
use crate::Exit;
use crate::child::{Held, Running, StopSignal};
use crate::decision::{Decision, Event, Key, Refusal};
use crate::leash::Exits;

/// Reports heard before everyone else on the thread and the waiting requests get their turn. A child
/// whose start fails at once would otherwise hold the thread until the intensity is used up.
const REPORTS_IN_A_ROW_MAX: u32 = 16;

/// Runs a supervisor to its end. Requests are accepted from now on, also before the first poll.
/// `booted` is told when all children were up once. Dropping the future kills the children.
pub(super) fn run(
    plan: Plan,
    handle: SupervisorRef,
    stop: oneshot::Receiver<()>,
    booted: oneshot::Sender<()>,
) -> impl Future<Output = Exit> {
    let requests = handle.open();
    let shell = if let Err(faults) = plan.check() {
        handle.close();
        Err(Exit::Error(faults.to_string()))
    } else {
        Ok(Shell::new(plan, handle, booted))
    };
    async move {
        match shell {
            Ok(shell) => shell.work(requests, StopSignal::new(stop)).await,
            Err(exit) => exit,
        }
    }
}

#[derive(Default)]
pub(super) enum Link {
    #[default]
    Down,
    Starting(futures::future::AbortHandle),
    Up(Running),
}

pub(super) struct Entry {
    pub(super) held: Held,
    pub(super) link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum AwaitedState {
    Up,
    Down,
}

/// Who waits for what of one child.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) answers: Vec<(AwaitedState, Answer)>,
    pub(super) watchers: Vec<oneshot::Sender<Exit>>,
}

pub(super) struct Shell {
    pub(super) id: Arc<str>,
    pub(super) allow_faults: bool,
    handle: SupervisorRef,
    pub(super) decision: Decision,
    /// Boxed: see the roster of the decision core.
    pub(super) entries: BTreeMap<Key, Box<Entry>>,
    /// Starts in progress, and children that tell their exit in a way of their own.
    pub(super) reports: FuturesUnordered<LocalBoxFuture<'static, Report>>,
    /// Exits of all other children.
    pub(super) exits: Exits,
    pub(super) waiting: BTreeMap<Key, Waiting>,
    pub(super) shutdown_waiting: Vec<oneshot::Sender<()>>,
    pub(super) next_key: u64,
    /// Events that performing an action brought about.
    pub(super) follow_ups: VecDeque<Event>,
    pub(super) booted: Option<oneshot::Sender<()>>,
    origin: Instant,
    jitter: Jitter,
    pub(super) finished: Option<Exit>,
}

impl Shell {
    fn new(plan: Plan, handle: SupervisorRef, booted: oneshot::Sender<()>) -> Self {
        let keyed = (0..).map(Key).zip(plan.children);
        let entries: BTreeMap<Key, Box<Entry>> =
            keyed.map(|(key, held)| (key, Box::new(Entry { held, link: Link::Down }))).collect();
        let children = entries.iter().map(|(&key, entry)| (key, entry.held.policy.clone()));
        Shell {
            jitter: Jitter::new(&plan.id),
            id: plan.id.as_str().into(),
            allow_faults: plan.allow_faults,
            handle,
            decision: Decision::new(plan.settings.strategy, plan.settings.intensity, children)
                .boot(plan.boot)
                .auto_shutdown(plan.settings.auto_shutdown),
            next_key: entries.len() as u64,
            entries,
            reports: FuturesUnordered::new(),
            exits: Exits::default(),
            waiting: BTreeMap::new(),
            shutdown_waiting: Vec::new(),
            follow_ups: VecDeque::new(),
            booted: Some(booted),
            origin: Instant::now(),
            finished: None,
        }
    }

    async fn work(mut self, mut requests: mpsc::Receiver<Request>, mut stop: StopSignal) -> Exit {
        let mut stop_heard = false;
        let mut in_a_row = 0;
        self.tell(Event::Boot);
        loop {
            if let Some(exit) = self.finished.take() {
                return exit;
            }
            if in_a_row >= REPORTS_IN_A_ROW_MAX {
                in_a_row = 0;
                tokio::task::yield_now().await;
                for _ in 0..REQUESTS_MAX {
                    let Ok(request) = requests.try_recv() else { break };
                    self.serve(request);
                }
                continue;
            }
            let exits = self.exits.clone();
            let wake = self.decision.next_wake().map(|at| self.origin + at);
            tokio::select! {
                biased;
                () = &mut stop, if !stop_heard => {
                    stop_heard = true;
                    self.tell(Event::Shutdown);
                }
                (key, generation, exit) = poll_fn(|cx| exits.poll_next(cx)) => {
                    in_a_row += 1;
                    self.tell(Event::Exited { key, generation, exit });
                }
                Some(report) = self.reports.next(), if !self.reports.is_empty() => {
                    in_a_row += 1;
                    self.hear(report);
                }
                () = sleep_until(wake.unwrap_or(self.origin)), if wake.is_some() => self.tell(Event::Tick),
                Some(request) = requests.recv() => self.serve(request),
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
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
        while let Some(event) = self.follow_ups.pop_front() {
            self.try_tell(event)?;
        }
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.handle.close();
        // Starts in progress hold their starters' locks.
        self.reports.clear();
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        for key in keys.into_iter().rev() {
            // Sets the link down, which kills what still runs.
            self.with_starter(key, |starter| starter.retire());
        }
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            for watcher in waiting.watchers {
                // Err: the watcher has gone.
                let _ = watcher.send(Exit::Killed);
            }
        }
        for answer in self.shutdown_waiting.drain(..) {
            let _ = answer.send(());
        }
    }
}
