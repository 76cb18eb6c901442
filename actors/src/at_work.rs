//! Who works at which stage: one attempt at a time, whatever actor carries it out.
//!
//! A run that begins a stage anew tells whoever may hold the old attempt to let go, but the word to begin may
//! reach one slot before the word to let go reaches another. So an executor asks here first. Rule: a higher
//! fence goes before a lower one; it begins when the lower one has let go, and a lower one never begins behind
//! a higher one. Absent: what an attempt does. Start at [`AtWork::begin`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedMutexGuard, watch};

/// Run and stage.
type Stage = (String, u32);

#[derive(Debug)]
struct Place {
    /// Held by whoever works here.
    turn: Arc<tokio::sync::Mutex<()>>,
    newest: watch::Sender<u64>,
}

/// Shared, cloneable handle.
#[derive(Debug, Clone, Default)]
pub struct AtWork {
    places: Arc<Mutex<BTreeMap<Stage, Arc<Place>>>>,
}

/// Leave to work at a stage; given back when dropped.
#[derive(Debug)]
pub struct Hold {
    fence: u64,
    newest: watch::Receiver<u64>,
    // Dropped before `visit`, so that the place is free when it is looked whether anybody wants it.
    _turn: OwnedMutexGuard<()>,
    _visit: Visit,
}

/// Keeps the place of a stage for as long as anybody works there or waits to.
#[derive(Debug)]
struct Visit {
    stage: Stage,
    place: Option<Arc<Place>>,
    at_work: AtWork,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut places = self.at_work.lock();
        self.place = None;
        // Only the map itself still has it.
        if places.get(&self.stage).is_some_and(|place| Arc::strong_count(place) == 1) {
            places.remove(&self.stage);
        }
    }
}

impl AtWork {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Stage, Arc<Place>>> {
        // Plain values: what a panic left behind is still right.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn visit(&self, stage: Stage) -> (Visit, Arc<Place>) {
        let made = || Arc::new(Place { turn: Arc::default(), newest: watch::Sender::new(0) });
        let place = Arc::clone(self.lock().entry(stage.clone()).or_insert_with(made));
        (Visit { stage, place: Some(Arc::clone(&place)), at_work: self.clone() }, place)
    }

    /// Tells who works here under a lower fence to let go, and waits until it has; `None` if a higher fence
    /// has come before or comes meanwhile: then there is nothing to begin.
    pub async fn begin(&self, run: &str, stage: u32, fence: u64) -> Option<Hold> {
        let (visit, place) = self.visit((run.to_owned(), stage));
        place.newest.send_if_modified(|newest| {
            let is_newer = fence > *newest;
            *newest = fence.max(*newest);
            is_newer
        });
        let (newest, turn) = (place.newest.subscribe(), Arc::clone(&place.turn));
        drop(place);
        let turn = turn.lock_owned().await;
        let overtaken = *newest.borrow() > fence;
        (!overtaken).then_some(Hold { fence, newest, _turn: turn, _visit: visit })
    }
}

impl Hold {
    /// Resolves when an attempt with a higher fence wants to begin.
    pub async fn overtaken(&mut self) {
        let fence = self.fence;
        if self.newest.wait_for(|newest| *newest > fence).await.is_err() {
            // Nobody is left who could.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn now<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_next_attempt_of_a_stage_begins_when_the_one_before_has_let_go_and_not_sooner() {
        let at_work = AtWork::default();
        let mut first = now(&mut pin!(at_work.begin("run-1", 0, 10))).unwrap().unwrap();
        assert!(now(&mut pin!(first.overtaken())).is_none(), "nobody wants its place");
        assert!(now(&mut pin!(at_work.begin("run-1", 1, 11))).unwrap().is_some(), "another stage");
        let mut second = pin!(at_work.begin("run-1", 0, 12));
        assert!(now(&mut second).is_none(), "two at one stage");
        assert!(now(&mut pin!(first.overtaken())).is_some(), "it was not told to let go");
        drop(first);
        let second = now(&mut second).unwrap().unwrap();
        drop(second);
        assert!(at_work.lock().is_empty(), "a stage that nobody works at leaves nothing");
    }

    #[test]
    fn an_attempt_that_comes_behind_a_newer_one_never_begins() {
        let at_work = AtWork::default();
        let newer = now(&mut pin!(at_work.begin("run-1", 0, 12))).unwrap().unwrap();
        let mut late = pin!(at_work.begin("run-1", 0, 10));
        assert!(now(&mut late).is_none());
        drop(newer);
        assert!(now(&mut late).unwrap().is_none(), "its fence is an old one");
    }
}
