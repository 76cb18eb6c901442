//! The way to an attempt that is at work: stop with a checkpoint, or take a new value of a parameter.
//!
//! A run tells this desk; whoever drives the attempt listens here, in whatever actor it does so. Rule: an
//! order that comes before its attempt begins waits for it; one for an attempt that is over is forgotten,
//! since the attempt's end was the answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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

/// Shared, cloneable handle.
#[derive(Debug, Clone, Default)]
pub struct Steering {
    places: Arc<Mutex<BTreeMap<Attempt, Place>>>,
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
    }
}

impl Steering {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Attempt, Place>> {
        // Plain values: what a panic left behind is still right.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
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
