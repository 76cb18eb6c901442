//! The lives of an actor, for those who wait for the end of one.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::Either;
use tokio::sync::oneshot;

use crate::Exit;

#[derive(Default)]
pub(super) struct Lives(Mutex<State>);

/// `None` until somebody watches; boxed, as most actors are not watched.
#[allow(clippy::box_collection)]
type Watchers = Option<Box<Vec<oneshot::Sender<Exit>>>>;

#[derive(Default)]
struct State {
    /// Counts the lives; 0 before the first.
    life: u64,
    is_up: bool,
    is_over: bool,
    last: Option<Box<Exit>>,
    watchers: Watchers,
}

impl State {
    fn last(&self) -> Exit {
        match &self.last {
            Some(exit) => Exit::clone(exit),
            None => Exit::Error("the actor never ran".to_owned()),
        }
    }
}

impl Lives {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new life; its number.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.life += 1;
        (state.is_up, state.is_over) = (true, false);
        state.life
    }

    /// The number of the life that runs or ran last.
    pub(super) fn current(&self) -> u64 {
        self.state().life
    }

    /// A life ended. Means nothing if it had been given up or had ended before.
    pub(super) fn end(&self, life: u64, exit: &Exit) {
        let mut state = self.state();
        if !state.is_up || state.life != life {
            return;
        }
        state.is_up = false;
        state.last = Some(Box::new(exit.clone()));
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        fire(watchers, exit);
    }

    /// There will be no further life, unless one begins.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_over = true;
        if state.is_up {
            // Killed at this moment; its end will be told.
            return;
        }
        let watchers = std::mem::take(&mut state.watchers);
        let last = state.last();
        drop(state);
        fire(watchers, &last);
    }

    pub(super) fn watch(&self) -> impl Future<Output = Exit> + Send + use<> {
        let mut state = self.state();
        if !state.is_up && (state.is_over || state.life > 0) {
            return Either::Left(std::future::ready(state.last()));
        }
        let (watcher, exit) = oneshot::channel();
        // Those that gave up are swept out as the list doubles.
        let watchers = state.watchers.get_or_insert_default();
        if watchers.len().is_power_of_two() {
            watchers.retain(|watcher| !watcher.is_closed());
        }
        watchers.push(watcher);
        Either::Right(async move { exit.await.unwrap_or(Exit::Killed) })
    }
}

fn fire(watchers: Watchers, exit: &Exit) {
    for watcher in watchers.into_iter().flat_map(|watchers| *watchers) {
        // Err: it does not watch any more.
        let _ = watcher.send(exit.clone());
    }
}
