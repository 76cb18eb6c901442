//! One job on the simulator: in the worker process of its stage, journaled like any other.
//!
//! Rule: every arrow of a job's life is journaled before the call it stands for. A job that was in flight when
//! the daemon died is lost and said to be lost; its stage starts a new one from its last checkpoint.

use super::Desks;
use super::in_worker::SIMULATOR;
use super::office::Office;
use crate::records::{self, Principal};
use crate::shared::Shared;
use crate::solver_worker::relay;
use crate::stages::Work;
use crate::worker_drive::{self, DriveEvent, Finished};
use engine::run::{ErrorClass, StageError};
use quantum::backends::{Amount, BackendError, BudgetEntry, JobEvent, JobId, JobKey, JobState, Reason};
use serde_json::Value;
use tokio::sync::mpsc;

/// Shots of a stage that does not say: the programme's `quantum_shots`.
const SHOTS_DEFAULT: u64 = 1_024;
/// Schema version of [`JobEvent`] in journal envelopes, of jobs without an order.
const JOB_SCHEMA: u16 = 1;

/// A job that this proxy leads: its stream in the journal and where it stands.
struct Led {
    shared: Shared,
    stream: String,
    state: JobState,
    records: u64,
}

impl Led {
    /// Journals these arrows in one batch, with an entry of the budget if there is one, then takes them.
    async fn note(&mut self, events: &[JobEvent], entry: Option<&BudgetEntry>) -> Result<(), StageError> {
        let mut state = self.state.clone();
        let mut batch = Vec::with_capacity(events.len() + 1);
        let unwritten = |e: records::RecordError| worker_drive::permanent("EX-0014", e.to_string());
        for (i, event) in events.iter().enumerate() {
            state = state.after(event).ok_or_else(|| {
                worker_drive::permanent(
                    "EX-0514",
                    format!("{event:?} cannot follow {state:?} of {}", self.stream),
                )
            })?;
            let (stream, have) = (self.stream.clone(), self.records + i as u64);
            let by = Principal::system();
            let record = records::record(stream, have, "QuantumJob", JOB_SCHEMA, event, &by);
            batch.push(record.map_err(unwritten)?);
        }
        if let Some(entry) = entry {
            batch.push(Desks::budget_record(SIMULATOR, entry).map_err(unwritten)?);
        }
        let appended = self.shared.append(batch).await;
        appended.map_err(|e| worker_drive::transient("EX-0013", e.to_string()))?;
        self.state = state;
        self.records += events.len() as u64;
        Ok(())
    }

    /// The job of this stream as the journal has it; `None` for an order, which is led elsewhere.
    fn read(shared: &Shared, stream: String) -> Option<Self> {
        let page =
            shared.journal.read_stream(&stream, 1, engine::limits::PAGE_RECORDS_MAX).unwrap_or_default();
        if page.first().is_some_and(|record| record.schema > JOB_SCHEMA) {
            return None;
        }
        let mut state = JobState::Planned;
        for record in &page {
            match records::decode::<JobEvent>(record, JOB_SCHEMA) {
                Ok(event) => state = state.after(&event).unwrap_or(state),
                Err(error) => tracing::error!(stream, %error, "A record of a quantum job cannot be read."),
            }
        }
        Some(Self { shared: shared.clone(), stream, state, records: page.len() as u64 })
    }

    /// Ends a job that nobody leads any more. The simulator dies with the daemon or the attempt, so what
    /// it was doing is known: nothing. A job still being submitted was never there.
    async fn settle(mut self, office: &Office, why: &str) -> Result<(), StageError> {
        if self.records == 0 || self.state.ended() {
            return Ok(());
        }
        journal::failpoint!("quantum.settle");
        let failed = JobEvent::Failed { message: why.to_owned() };
        let entry = spent(office, &self.stream, Amount::NONE);
        match self.state {
            JobState::Submitting { .. } => {
                self.note(&[JobEvent::NotSubmitted, failed], entry.as_ref()).await?;
            }
            _ => self.note(&[failed], entry.as_ref()).await?,
        }
        book(office, entry.as_ref());
        Ok(())
    }
}

/// The settlement of a job of the simulator, where its budget is limited; else nobody counts.
fn spent(office: &Office, key: &str, spent: Amount) -> Option<BudgetEntry> {
    let limited = office.desks.is_limited(SIMULATOR);
    limited.then(|| BudgetEntry::Settled { job: key.to_owned(), spent })
}

fn book(office: &Office, entry: Option<&BudgetEntry>) {
    if let Some(entry) = entry {
        office.desks.book(SIMULATOR, office.clock.now_ms(), entry);
    }
}

/// Ends the jobs of a stage on the simulator that nobody leads any more.
pub(super) async fn settle(
    shared: &Shared,
    office: &Office,
    work: &Work,
    why: &str,
) -> Result<(), StageError> {
    let stage = records::job_stream(&work.run, &work.path);
    for (stream, _) in shared.journal.streams(&format!("{stage}@")) {
        if let Some(led) = Led::read(shared, stream) {
            led.settle(office, why).await?;
        }
    }
    Ok(())
}

/// How a job on the simulator is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole stage.
    Whole,
    /// The stage's machines gave nothing; what they were asked is remembered, so the search keeps nothing.
    Fallback,
}

/// Why the simulator did not do it.
#[derive(Debug)]
pub(super) enum Left {
    /// It may not be asked: drained, or its budget is spent.
    NotAsked(String),
    Failed(StageError),
}

impl From<StageError> for Left {
    fn from(error: StageError) -> Self {
        Self::Failed(error)
    }
}

/// One job from reservation to result.
pub(super) async fn job(shared: &Shared, office: &Office, work: &Work, part: Part) -> Result<Finished, Left> {
    settle(shared, office, work, "its attempt was cut short").await?;
    let fence = work.fence;
    let ending = if part == Part::Whole { "" } else { ".simulator" };
    let stream = format!("{}@{fence}{ending}", records::job_stream(&work.run, &work.path));
    let (key, shots) = (JobKey(stream.clone()), Amount { shots: shots_of(&work.params), ..Amount::NONE });
    let now = office.clock.now_ms();
    let limited = office.desks.is_limited(SIMULATOR);
    let asked = match limited {
        true => office.desks.hold(SIMULATOR, &work.run, &key, &shots, now),
        false => office.desks.ask(SIMULATOR, now),
    };
    asked.map_err(|reason| match reason {
        Reason::Resting(why) if office.desks.drained(SIMULATOR).is_none() => {
            Left::Failed(worker_drive::transient("EX-0514", format!("backend {SIMULATOR} is resting: {why}")))
        }
        reason => Left::NotAsked(reason.to_string()),
    })?;
    let held =
        limited.then(|| BudgetEntry::Held { job: key.0.clone(), run: work.run.clone(), amount: shots });
    let mut led =
        Led { shared: shared.clone(), stream: stream.clone(), state: JobState::Planned, records: 0 };
    journal::failpoint!("quantum.before-intent");
    led.note(&[JobEvent::Reserved, JobEvent::Submitting { key }], held.as_ref()).await?;
    journal::failpoint!("quantum.after-intent");
    led.note(&[JobEvent::Submitted { id: JobId(format!("simulator-{fence}")) }, JobEvent::Running], None)
        .await?;
    journal::failpoint!("quantum.submitted");
    let result = in_worker(shared, work, part == Part::Whole).await;
    journal::failpoint!("quantum.before-result");
    let entry = spent(office, &stream, if result.is_ok() { shots } else { Amount::NONE });
    match &result {
        Ok(_) => led.note(&[JobEvent::Fetching, JobEvent::Verified, JobEvent::Done], entry.as_ref()).await?,
        Err(error) => {
            let failed = JobEvent::Failed { message: format!("{}: {}", error.code, error.message) };
            led.note(&[failed], entry.as_ref()).await?;
        }
    }
    book(office, entry.as_ref());
    journal::failpoint!("quantum.after-result");
    // A wrong problem is not the backend's fault.
    let fault = result.as_ref().err().filter(|error| error.class != ErrorClass::Permanent).map(|error| {
        let message = format!("{}: {}", error.code, error.message);
        BackendError::Transient { backend: SIMULATOR.to_owned(), message, after_ms: None }
    });
    office.desks.heard(SIMULATOR, fault.as_ref(), office.clock.now_ms());
    metrics::counter!("executing_quantum_shots_total").increment(shots.shots);
    Ok(result?)
}

/// One conversation with a worker about a stage of this proxy; its checkpoints go to the run if wanted.
pub(super) async fn in_worker(
    shared: &Shared,
    work: &Work,
    checkpoints: bool,
) -> Result<Finished, StageError> {
    let (sender, mut inner) = mpsc::unbounded_channel();
    let (outer, receiver) = mpsc::unbounded_channel();
    let relayed = relay(shared.clone(), None, work.clone(), receiver);
    let filtered = async move {
        while let Some(event) = inner.recv().await {
            if checkpoints || !matches!(event, DriveEvent::Checkpointed(_)) {
                let _ = outer.send(event);
            }
        }
    };
    let attempt = async {
        let result = worker_drive::drive(shared, work, &sender).await;
        drop(sender);
        result
    };
    let (result, (), ()) = tokio::join!(attempt, filtered, relayed);
    result
}

/// Shots that a stage with these parameters asks for.
pub(super) fn shots_of(params: &str) -> u64 {
    let params = serde_json::from_str::<Value>(params).unwrap_or_default();
    match params.get("shots") {
        Some(Value::String(text)) => text.trim().parse().unwrap_or(SHOTS_DEFAULT),
        Some(value) => value.as_u64().unwrap_or(SHOTS_DEFAULT),
        None => SHOTS_DEFAULT,
    }
}
