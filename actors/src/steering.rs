//! The way to an attempt that is at work: stop with a checkpoint, or take a new value of a parameter.
//!
//! A run tells this desk; whoever drives the attempt listens here, in whatever actor it does so. Rule: an
//! order that comes before its attempt begins waits for it; one for an attempt that is over is forgotten,
//! since the attempt's end was the answer. Whoever tunes may wait for what the attempt says ([`Hearing`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// What an attempt at work may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Leave a checkpoint at the next safe point and end.
    Stop,
    /// A parameter has a new value (JSON).
    Tune { parameter: String, value: String },
}

/// Run, stage and fence of an attempt.
pub type Attempt = (String, u32, u64);

#[derive(Debug)]
enum Place {
    /// It has not begun; these wait for it.
    Expected(Vec<Order>),
    AtWork(UnboundedSender<Order>),
}

/// Attempts that were told something and never began; each ended in another way long ago.
const EXPECTED_MAX: usize = 256;

/// What became of a value that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// No attempt was at work, so none was told.
    Untold,
    /// Told, and not answered yet.
    Told,
    /// The whole result of the attempt will be of it.
    Taken,
    /// And why.
    NotTaken(String),
    /// The attempt ended first.
    Over,
}

/// Run, stage, parameter, value (JSON).
type Offer = (String, u32, String, String);

/// Somebody who waits for an answer; gone when dropped.
#[derive(Debug)]
pub struct Hearing {
    offer: Offer,
    steering: Steering,
    heard: watch::Receiver<Heard>,
}

impl Hearing {
    /// The answer, or what is known after `patience`. At once if no attempt was told.
    pub async fn answer(&mut self, patience: Duration) -> Heard {
        let ended = self.heard.wait_for(|heard| *heard != Heard::Told);
        match tokio::time::timeout(patience, ended).await {
            Ok(Ok(heard)) => heard.clone(),
            Ok(Err(_)) | Err(_) => Heard::Told,
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut offers = self.steering.offers();
        // Of two who offer the same the second waits for both.
        if offers.get(&self.offer).is_some_and(|sender| sender.receiver_count() <= 1) {
            offers.remove(&self.offer);
        }
    }
}

/// Shared, cloneable handle.
#[derive(Debug, Clone, Default)]
pub struct Steering {
    places: Arc<Mutex<BTreeMap<Attempt, Place>>>,
    offers: Arc<Mutex<BTreeMap<Offer, watch::Sender<Heard>>>>,
}

/// An attempt at work that listens; gone when dropped.
#[derive(Debug)]
pub struct Helm {
    attempt: Attempt,
    steering: Steering,
    orders: UnboundedReceiver<Order>,
}

impl Helm {
    /// The next order. Never ends by itself, so it may stand in a `select!`.
    pub async fn order(&mut self) -> Order {
        match self.orders.recv().await {
            Some(order) => order,
            // Another driver took the attempt over; nothing more will come.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Helm {
    fn drop(&mut self) {
        self.steering.lock().remove(&self.attempt);
        let (run, stage, _) = &self.attempt;
        for ((of, at, ..), sender) in self.steering.offers().iter() {
            if of == run && at == stage {
                sender.send_if_modified(|heard| {
                    *heard == Heard::Told && std::mem::replace(heard, Heard::Over) == Heard::Told
                });
            }
        }
    }
}

impl Steering {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Attempt, Place>> {
        // Plain values: what a panic left behind is still right.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offers(&self) -> MutexGuard<'_, BTreeMap<Offer, watch::Sender<Heard>>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what becomes of this value (JSON), from before it is offered.
    pub fn hear(&self, run: &str, stage: u32, parameter: &str, value: &str) -> Hearing {
        let offer = (run.to_owned(), stage, parameter.to_owned(), value.to_owned());
        let heard = {
            let mut offers = self.offers();
            let sender = offers.entry(offer.clone()).or_insert_with(|| watch::channel(Heard::Untold).0);
            sender.subscribe()
        };
        Hearing { offer, steering: self.clone(), heard }
    }

    /// What an attempt at work says of a value that it was offered.
    pub fn answer(&self, run: &str, stage: u32, parameter: &str, value: &str, said: Heard) {
        let offer = (run.to_owned(), stage, parameter.to_owned(), value.to_owned());
        if let Some(sender) = self.offers().get(&offer) {
            sender.send_replace(said);
        }
    }

    /// The attempt begins: it gets what was said before, then what is said now.
    pub fn listen(&self, attempt: Attempt) -> Helm {
        let (sender, orders) = unbounded_channel();
        let mut places = self.lock();
        if let Some(Place::Expected(waiting)) = places.remove(&attempt) {
            for order in waiting {
                let _ = sender.send(order);
            }
        }
        places.insert(attempt.clone(), Place::AtWork(sender));
        drop(places);
        Helm { attempt, steering: self.clone(), orders }
    }

    pub fn tell(&self, attempt: Attempt, order: Order) {
        if let Order::Tune { parameter, value } = &order {
            self.answer(&attempt.0, attempt.1, parameter, value, Heard::Told);
        }
        let mut places = self.lock();
        match places.get_mut(&attempt) {
            Some(Place::AtWork(sender)) => drop(sender.send(order)),
            Some(Place::Expected(waiting)) => waiting.push(order),
            None => {
                let expected = places.values().filter(|place| matches!(place, Place::Expected(_))).count();
                if expected >= EXPECTED_MAX {
                    places.retain(|_, place| matches!(place, Place::AtWork(_)));
                }
                places.insert(attempt, Place::Expected(vec![order]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(fence: u64) -> Attempt {
        ("run-1".to_owned(), 0, fence)
    }

    #[tokio::test]
    async fn an_order_that_comes_before_its_attempt_waits_for_it_and_for_no_other() {
        let steering = Steering::default();
        steering.tell(attempt(7), Order::Stop);
        let mut other = steering.listen(attempt(8));
        let mut helm = steering.listen(attempt(7));
        assert_eq!(helm.order().await, Order::Stop);
        let value = "5".to_owned();
        let tune = Order::Tune { parameter: "checkpoint_ms".to_owned(), value };
        steering.tell(attempt(8), tune.clone());
        assert_eq!(other.order().await, tune);
    }

    const SOON: Duration = Duration::from_millis(1);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn tune(value: &str) -> Order {
        Order::Tune { parameter: "shots".to_owned(), value: value.to_owned() }
    }

    #[tokio::test]
    async fn who_tunes_hears_what_the_attempt_says_of_that_value_alone() {
        let steering = Steering::default();
        let mut first = steering.hear("run-1", 0, "shots", "5");
        let mut second = steering.hear("run-1", 0, "shots", "6");
        assert_eq!(first.answer(PATIENCE).await, Heard::Untold, "nobody is at work, so nobody is waited for");
        let _helm = steering.listen(attempt(7));
        steering.tell(attempt(7), tune("5"));
        steering.tell(attempt(7), tune("6"));
        assert_eq!(first.answer(SOON).await, Heard::Told);
        steering.answer("run-1", 0, "shots", "6", Heard::Taken);
        steering.answer("run-1", 1, "shots", "5", Heard::Taken);
        assert_eq!(second.answer(PATIENCE).await, Heard::Taken);
        assert_eq!(first.answer(SOON).await, Heard::Told);
        steering.answer("run-1", 0, "shots", "5", Heard::NotTaken("too late".to_owned()));
        assert_eq!(first.answer(PATIENCE).await, Heard::NotTaken("too late".to_owned()));
    }

    #[tokio::test]
    async fn an_attempt_that_ends_before_it_answers_is_no_reason_to_wait_on() {
        let steering = Steering::default();
        let mut hearing = steering.hear("run-1", 0, "shots", "5");
        let helm = steering.listen(attempt(7));
        steering.tell(attempt(7), tune("5"));
        drop(helm);
        assert_eq!(hearing.answer(PATIENCE).await, Heard::Over);
        drop(hearing);
        assert!(steering.offers().is_empty(), "who no longer waits leaves nothing");
    }

    #[test]
    fn orders_nobody_takes_are_bounded_and_a_finished_attempt_leaves_nothing() {
        let steering = Steering::default();
        drop(steering.listen(attempt(1)));
        assert!(steering.lock().is_empty());
        for fence in 0..10 * EXPECTED_MAX as u64 {
            steering.tell(attempt(fence), Order::Stop);
        }
        assert!(steering.lock().len() <= EXPECTED_MAX);
    }
}
