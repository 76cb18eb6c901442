//! Orders led with the journal: begun, found again after a restart, led to their end.
//!
//! Rule: one stage has one live order at most. An attempt that finds an order of an earlier attempt for the
//! same job leads it on; for another job it is ended first. The result of an ended order is used again as
//! long as it is stored. Start at [`Office::order`].

use super::desks::{Described, Desks};
use super::leading::Leading;
use crate::clock::Clock;
use crate::records::{self, Principal, RecordError};
use crate::shared::Shared;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use journal::{AppendError, Appended, Artefacts, Journal, NewRecord};
use quantum::backends::order::{Command, End, Fallback, Order, Shell, Soon, lead};
use quantum::backends::{
    Amount, Backend, BackendError, BudgetEntry, JobEvent, JobKey, JobResult, JobSpec, Reason, Told, Wanted,
};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Schema of the events of an order; 1 were those of jobs alone.
pub const ORDER_SCHEMA: u16 = 2;
/// Records of one order: a job has about ten, and few are bought.
const RECORDS_MAX: usize = 10_000;

/// Appends a batch and says when it is durable; the daemon's waits out a full disk.
pub type Append =
    Arc<dyn Fn(Vec<NewRecord>) -> BoxFuture<'static, Result<Appended, AppendError>> + Send + Sync>;

/// Why an order is not led.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    #[error("the journal takes nothing: {0}")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the job cannot be written down: {0}")]
    Job(String),
    #[error("whoever led the order has gone; it is led on by the next attempt")]
    Gone,
}

/// What a stage asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    pub run: String,
    /// Full path of the stage.
    pub stage: String,
    /// Fence of the attempt.
    pub fence: u64,
    pub job: JobSpec,
    /// Backends in the order in which they are asked.
    pub chain: Vec<String>,
    /// Longest time until the exact answer has to do.
    pub wait_ms: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub end: End,
    pub fallbacks: Vec<Fallback>,
    /// Keys of jobs that a person must look after.
    pub lost: Vec<JobKey>,
    /// The result, where there is one.
    pub result: Option<JobResult>,
    /// What the backends of the chain said of themselves when the order began.
    pub told: Vec<Told>,
    /// Stream of the order in the journal.
    pub stream: String,
}

/// Everything that leading takes.
#[derive(Clone)]
pub struct Office {
    pub journal: Journal,
    pub append: Append,
    pub artefacts: Arc<Artefacts>,
    pub clock: Clock,
    pub desks: Desks,
    /// Waits are divided by this: 1, but for drills.
    pub hurry: u64,
    /// Orders that are being led.
    pub leading: Leading,
}

/// An order as its stream has it.
#[derive(Debug, Clone)]
pub struct Stored {
    pub order: Order,
    pub records: u64,
    pub told: Vec<Told>,
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office").field("desks", &self.desks).finish_non_exhaustive()
    }
}

impl Office {
    /// The daemon's own: with its journal, store and clock. While an emergency stop is in force, records use
    /// the space that the journal reserves, so that a full disk keeps no job from being cancelled.
    pub fn of(shared: &Shared, desks: Desks, hurry: u64) -> Self {
        let appender = shared.clone();
        let append: Append = Arc::new(move |batch| {
            let shared = appender.clone();
            async move {
                if shared.board.emergency().is_some() {
                    let (now, incarnation) = (shared.clock.now_ms(), shared.journal.incarnation());
                    let urgent = shared.journal.append_urgent(batch.clone(), now, incarnation).await;
                    if let Ok(positions) = urgent {
                        return Ok(Appended { positions, time_ms: now });
                    }
                }
                shared.append_timed(batch).await
            }
            .boxed()
        });
        Self {
            journal: shared.journal.clone(),
            append,
            artefacts: Arc::clone(&shared.artefacts),
            clock: shared.clock,
            desks,
            hurry,
            leading: Leading::default(),
        }
    }

    /// Leads an order for `wish` to its end. `cancel` gives the reason if a person or the emergency stop wants
    /// it ended.
    ///
    /// # Errors
    /// [`OfficeError`]; the order stays as the journal has it.
    pub async fn order(
        &self,
        wish: &Wish,
        mut cancel: impl Future<Output = String> + Unpin,
    ) -> Result<Ended, OfficeError> {
        let spec = self.keep_spec(&wish.job).await?;
        let stage = records::job_stream(&wish.run, &wish.stage);
        for (stream, _) in self.journal.streams(&format!("{stage}@")) {
            let Some(Stored { mut order, records, told }) = self.read(&stream)? else { continue };
            let same = order.order().spec == spec;
            let mut room = self.room(&wish.run, stream.clone(), records, &order);
            match order.end() {
                Some(End::Done { digest, .. }) if same => {
                    if let Some(result) = self.kept(digest) {
                        return Ok(ended(&order, stream, Some(result), told));
                    }
                }
                Some(_) => {}
                None if same => return self.go_on(order, stream, &wish.job, room, told, cancel).await,
                None => {
                    let wish_to_end = std::future::ready("its stage asks for another job".to_owned());
                    lead(&mut order, &wish.job, &mut room, wish_to_end).await?;
                }
            }
        }
        let stream = format!("{stage}@{}", wish.fence);
        // Asking takes as long as the slowest backend; whoever is told to stop meanwhile buys nothing.
        let asked = self.desks.candidates(&wish.chain, &wish.job, self.clock.now_ms());
        let Described { candidates, told } = match select(&mut cancel, Box::pin(asked)).await {
            Either::Right((described, _)) => described,
            Either::Left(_) => {
                let (fallbacks, lost, told) = (Vec::new(), Vec::new(), Vec::new());
                return Ok(Ended { end: End::Cancelled, fallbacks, lost, result: None, told, stream });
            }
        };
        let wanted = Wanted {
            spec,
            shots: wish.job.shots,
            outcomes: wish.job.outcomes(),
            key: stream.clone(),
            chain: candidates,
            deadline_ms: self.clock.now_ms().saturating_add(wish.wait_ms),
        };
        let order = Order::wanted(self.clock.now_ms(), wanted.clone());
        let mut room = self.room(&wish.run, stream.clone(), self.journal.stream_len(&stream), &order);
        let mut first = vec![JobEvent::Wanted(Box::new(wanted.clone()))];
        first.extend(told.iter().cloned().map(JobEvent::Told));
        let time_ms = room.journal(&first).await?;
        self.go_on(Order::wanted(time_ms, wanted), stream, &wish.job, room, told, cancel).await
    }

    /// Ends the order of `stream`, whoever wanted it: looked up, recalled, settled.
    ///
    /// # Errors
    /// [`OfficeError`]; the order stays as the journal has it.
    pub async fn end(&self, run: &str, stream: &str, why: String) -> Result<Option<Ended>, OfficeError> {
        let Some(Stored { order, records, told }) = self.read(stream)? else { return Ok(None) };
        if order.end().is_some() {
            return Ok(Some(ended(&order, stream.to_owned(), None, told)));
        }
        let spec = order.order().spec.parse().ok().and_then(|digest| self.artefacts.get(&digest).ok());
        let Some(job) = spec.and_then(|bytes| serde_json::from_slice::<JobSpec>(&bytes).ok()) else {
            return Err(OfficeError::Job(format!("the job of {stream} is not in the store any more")));
        };
        let room = self.room(run, stream.to_owned(), records, &order);
        let wish = Box::pin(std::future::ready(why));
        self.go_on(order, stream.to_owned(), &job, room, told, wish).await.map(Some)
    }

    /// Stores the job, so that whoever must end its order can say what it was; gives the digest.
    async fn keep_spec(&self, job: &JobSpec) -> Result<String, OfficeError> {
        let bytes = serde_json::to_vec(job).map_err(|error| OfficeError::Job(error.to_string()))?;
        let artefacts = Arc::clone(&self.artefacts);
        let stored = tokio::task::spawn_blocking(move || artefacts.put(&bytes)).await;
        let stored = stored.map_err(|error| OfficeError::Job(error.to_string()))?;
        stored.map(|digest| digest.to_string()).map_err(|error| OfficeError::Job(error.to_string()))
    }

    async fn go_on(
        &self,
        mut order: Order,
        stream: String,
        job: &JobSpec,
        mut room: Room,
        told: Vec<Told>,
        cancel: impl Future<Output = String> + Unpin,
    ) -> Result<Ended, OfficeError> {
        let end = lead(&mut order, job, &mut room, cancel).await?;
        let result = match &end {
            End::Done { digest, .. } => self.kept(digest),
            _ => None,
        };
        Ok(ended(&order, stream, result, told))
    }

    fn room(&self, run: &str, stream: String, records: u64, order: &Order) -> Room {
        // What is settled first after a restart was held there.
        let at = order.candidate().map(|candidate| candidate.backend.clone());
        let seed = self.journal.head().position ^ self.clock.now_ms().rotate_left(32);
        Room { office: self.clone(), run: run.to_owned(), stream, records, at, counter: seed }
    }

    fn kept(&self, digest: &str) -> Option<JobResult> {
        let bytes = self.artefacts.get(&digest.parse().ok()?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The order of a stream; `None` for jobs of before there were orders.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn read(&self, stream: &str) -> Result<Option<Stored>, RecordError> {
        let page = self.journal.read_stream(stream, 1, RECORDS_MAX);
        let page = page.map_err(|error| RecordError::Unreadable(error.to_string()))?;
        let mut order: Option<Order> = None;
        let mut told = Vec::new();
        for record in &page {
            let event: JobEvent = records::decode(record, ORDER_SCHEMA)?;
            match (&mut order, event) {
                (None, JobEvent::Wanted(wanted)) => order = Some(Order::wanted(record.time_ms, *wanted)),
                (Some(_), JobEvent::Told(one)) => told.push(one),
                (Some(order), event) => order.apply(record.time_ms, &event),
                (None, _) => {}
            }
        }
        Ok(order.map(|order| Stored { order, records: page.len() as u64, told }))
    }
}

fn ended(order: &Order, stream: String, result: Option<JobResult>, told: Vec<Told>) -> Ended {
    let end = order.end().cloned().unwrap_or(End::Exact);
    let (fallbacks, lost) = (order.fallbacks().to_vec(), order.lost().to_vec());
    Ended { end, fallbacks, lost, result, told, stream }
}

/// The shell of one order.
struct Room {
    office: Office,
    run: String,
    stream: String,
    records: u64,
    /// Backend of the present job: whose budget its entries go to.
    at: Option<String>,
    counter: u64,
}

impl Shell for Room {
    type Error = OfficeError;

    fn now_ms(&self) -> u64 {
        self.office.clock.now_ms()
    }

    fn random(&mut self) -> u64 {
        // Only spreads waits; nothing that is stored depends on it.
        self.counter = self.counter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.counter >> 16
    }

    fn journal<'a>(&'a mut self, events: &'a [JobEvent]) -> Soon<'a, Result<u64, OfficeError>> {
        Box::pin(async move {
            let mut batch = Vec::with_capacity(events.len() + 1);
            let mut entries = Vec::new();
            for (i, event) in events.iter().enumerate() {
                let (stream, have) = (self.stream.clone(), self.records + i as u64);
                let by = Principal::system();
                batch.push(records::record(stream, have, "QuantumJob", ORDER_SCHEMA, event, &by)?);
                let entry = match event {
                    JobEvent::Held { key, hold } => {
                        let run = self.run.clone();
                        BudgetEntry::Held { job: key.0.clone(), run, amount: *hold }
                    }
                    JobEvent::Settled { key, spent } => {
                        BudgetEntry::Settled { job: key.0.clone(), spent: *spent }
                    }
                    _ => continue,
                };
                if let Some(backend) = self.at.clone() {
                    batch.push(Desks::budget_record(&backend, &entry)?);
                    entries.push((backend, entry));
                }
            }
            let appended = (self.office.append)(batch).await?;
            self.records += events.len() as u64;
            for (backend, entry) in &entries {
                self.office.desks.book(backend, appended.time_ms, entry);
            }
            Ok(appended.time_ms)
        })
    }

    fn sleep(&self, ms: u64) -> Soon<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms / self.office.hurry.max(1))))
    }

    fn hold(&mut self, backend: &str, key: &JobKey, amount: &Amount) -> Result<(), Reason> {
        let now = self.now_ms();
        self.office.desks.hold(backend, &self.run, key, amount, now)
    }

    fn backend(&self, name: &str) -> Option<Arc<dyn Backend>> {
        self.office.desks.backend(name)
    }

    fn keep<'a>(&'a mut self, result: &'a JobResult) -> Soon<'a, Result<String, String>> {
        Box::pin(async move {
            let bytes = serde_json::to_vec(result).map_err(|error| error.to_string())?;
            let artefacts = Arc::clone(&self.office.artefacts);
            let stored = tokio::task::spawn_blocking(move || artefacts.put(&bytes)).await;
            let stored = stored.map_err(|error| error.to_string())?;
            stored.map(|digest| digest.to_string()).map_err(|error| error.to_string())
        })
    }

    fn heard(&mut self, backend: &str, error: Option<&BackendError>) {
        let now = self.now_ms();
        self.office.desks.heard(backend, error, now);
    }

    fn about_to(&mut self, order: &Order, _: &Command) {
        if let Some(candidate) = order.candidate() {
            self.at = Some(candidate.backend.clone());
        }
    }
}
