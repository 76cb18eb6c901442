//! An order led for real in a test: journal in memory, time that does not wait long, a blocking executor.
#![allow(dead_code, clippy::unwrap_used)]

use quantum::backends::order::{Command, Order, Shell, Soon};
use quantum::backends::{
    Amount, Backend, BackendError, Budget, BudgetEntry, JobEvent, JobKey, JobResult, Ledger, Reason,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Waits are so many times shorter than asked.
const HURRY: u64 = 20;

type Seen = Box<dyn FnMut(&Order, &Command)>;

pub struct Room {
    pub journal: Vec<(u64, JobEvent)>,
    pub backends: BTreeMap<String, Arc<dyn Backend>>,
    pub budget: Budget,
    pub ledger: Ledger,
    pub kept: BTreeMap<String, JobResult>,
    pub seen: Seen,
    counter: u64,
}

impl Room {
    pub fn new(backends: Vec<Arc<dyn Backend>>) -> Self {
        Self {
            journal: Vec::new(),
            backends: backends.into_iter().map(|one| (one.name().to_owned(), one)).collect(),
            budget: Budget::default(),
            ledger: Ledger::default(),
            kept: BTreeMap::new(),
            seen: Box::new(|_, _| {}),
            counter: 0,
        }
    }

    /// Names of the journaled events, in order.
    pub fn names(&self) -> Vec<String> {
        let name = |event: &JobEvent| format!("{event:?}").split([' ', '(']).next().unwrap().to_owned();
        self.journal.iter().map(|(_, event)| name(event)).collect()
    }
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

impl Shell for Room {
    type Error = String;

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn random(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.counter
    }

    fn journal<'a>(&'a mut self, events: &'a [JobEvent]) -> Soon<'a, Result<u64, String>> {
        let now = now_ms();
        for event in events {
            match event {
                JobEvent::Held { key, hold } => self
                    .ledger
                    .apply(now, &BudgetEntry::Held { job: key.0.clone(), run: "r".into(), amount: *hold }),
                JobEvent::Settled { key, spent } => {
                    self.ledger.apply(now, &BudgetEntry::Settled { job: key.0.clone(), spent: *spent });
                }
                _ => {}
            }
            self.journal.push((now, event.clone()));
        }
        Box::pin(async move { Ok(now) })
    }

    fn sleep(&self, ms: u64) -> Soon<'static, ()> {
        std::thread::sleep(Duration::from_millis(ms / HURRY));
        Box::pin(async {})
    }

    fn hold(&mut self, _: &str, _: &JobKey, amount: &Amount) -> Result<(), Reason> {
        let checked = self.ledger.check(&self.budget, "r", now_ms(), amount);
        checked.map_err(|over| Reason::Budget(over.to_string()))
    }

    fn backend(&self, name: &str) -> Option<Arc<dyn Backend>> {
        self.backends.get(name).cloned()
    }

    fn keep<'a>(&'a mut self, result: &'a JobResult) -> Soon<'a, Result<String, String>> {
        let digest = format!("digest-{}", self.kept.len());
        self.kept.insert(digest.clone(), result.clone());
        Box::pin(async move { Ok(digest) })
    }

    fn heard(&mut self, _: &str, _: Option<&BackendError>) {}

    fn about_to(&mut self, order: &Order, command: &Command) {
        (self.seen)(order, command);
    }
}
