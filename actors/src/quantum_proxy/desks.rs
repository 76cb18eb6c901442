//! What is known here of each backend: whether it may be asked, what it may still cost, who drained it.
//!
//! Rule: what costs is durable. Budgets are a fold over the streams `budgets/NAME`, written in the same batch
//! as the arrow of the job; drains over `backends/NAME`. The breaker is not: after a restart it is closed
//! and learns again. Start at [`Desks::open`].

use crate::records::{self, Principal, RecordError};
use journal::{Journal, NewRecord};
use quantum::backends::{
    Amount, Backend, BackendError, Budget, BudgetEntry, Candidate, JobKey, JobSpec, Ledger, Reason, unfit,
};
use quantum::breaker::{self, Breaker, Phase, Refusal, Thresholds};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Schema of [`BudgetEntry`] and [`DrainEvent`] in journal envelopes.
const DESK_SCHEMA: u16 = 1;
/// Records read at once.
const PAGE: usize = 1_000;
/// Times a backend is asked what it is, and the pause between, when it does not answer.
const DESCRIBE_TRIES: u32 = 3;
const DESCRIBE_PAUSE: Duration = Duration::from_secs(1);
/// A probe that has not answered for so long was given up by whoever made it.
const PROBE_MS_MAX: u64 = 120_000;

/// One backend as the settings have it.
#[derive(Debug, Clone)]
pub struct Setup {
    pub backend: Arc<dyn Backend>,
    pub budget: Budget,
    /// Longest wait in its queue.
    pub queue_ms: u64,
}

/// Whether a backend takes new jobs. Stored: new variants go last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainEvent {
    /// No new jobs; those that are there end by themselves.
    Drained {
        why: String,
    },
    Resumed,
}

#[derive(Debug)]
struct Desk {
    setup: Setup,
    breaker: Breaker,
    probe_ms: u64,
    ledger: Ledger,
    drained: Option<String>,
}

/// All backends, shared by everybody who asks them.
#[derive(Debug, Clone)]
pub struct Desks(Arc<Mutex<BTreeMap<String, Desk>>>);

fn budget_stream(backend: &str) -> String {
    format!("budgets/{backend}")
}

fn drain_stream(backend: &str) -> String {
    format!("backends/{backend}")
}

/// Folds a whole stream.
fn replay<E: serde::de::DeserializeOwned>(
    journal: &Journal,
    stream: &str,
    mut take: impl FnMut(u64, E),
) -> Result<(), RecordError> {
    let mut from = 1;
    loop {
        let page = journal.read_stream(stream, from, PAGE);
        let page = page.map_err(|error| RecordError::Unreadable(error.to_string()))?;
        let Some(last) = page.last() else { return Ok(()) };
        from = last.stream_seq + 1;
        for record in &page {
            take(record.time_ms, records::decode(record, DESK_SCHEMA)?);
        }
    }
}

/// What the backend says of itself and of `job`. One that is being started is waited for as long as it asks
/// to be, within its queue deadline; one that does not answer is asked a few times.
async fn described(setup: &Setup, job: &JobSpec) -> Result<Candidate, BackendError> {
    let until = tokio::time::Instant::now() + Duration::from_millis(setup.queue_ms);
    let mut tries = 0;
    loop {
        let answer = async {
            let target = setup.backend.describe().await?;
            let unfit = unfit(&target, job);
            // What does not fit has no estimate.
            let hold = match &unfit {
                None => Amount::of(&setup.backend.estimate(job).await?),
                Some(_) => Amount::NONE,
            };
            Ok(Candidate {
                backend: target.name,
                idempotent: target.capability.idempotent_submit,
                find: target.capability.find,
                hold,
                queue_ms: setup.queue_ms,
                unfit,
            })
        };
        let pause = match answer.await {
            Err(BackendError::Transient { after_ms: Some(ms), .. }) => Duration::from_millis(ms),
            Err(BackendError::Transient { .. } | BackendError::Ambiguous { .. })
                if tries < DESCRIBE_TRIES =>
            {
                tries += 1;
                DESCRIBE_PAUSE
            }
            answer => return answer,
        };
        if tokio::time::Instant::now() + pause > until {
            let message = "it could not be asked within its queue deadline".to_owned();
            let backend = setup.backend.name().to_owned();
            return Err(BackendError::Transient { backend, message, after_ms: None });
        }
        tokio::time::sleep(pause).await;
    }
}

impl Desks {
    /// Reads what the journal knows of these backends.
    ///
    /// # Errors
    /// A record that cannot be read: a budget that is not known must not be spent.
    pub fn open(journal: &Journal, setups: Vec<Setup>) -> Result<Self, RecordError> {
        let mut desks = BTreeMap::new();
        for setup in setups {
            let name = setup.backend.name().to_owned();
            let mut ledger = Ledger::default();
            replay::<BudgetEntry>(journal, &budget_stream(&name), |time, entry| ledger.apply(time, &entry))?;
            let mut drained = None;
            replay::<DrainEvent>(journal, &drain_stream(&name), |_, event| {
                drained = match event {
                    DrainEvent::Drained { why } => Some(why),
                    DrainEvent::Resumed => None,
                };
            })?;
            let breaker = Breaker::new(Thresholds::default());
            desks.insert(name, Desk { setup, breaker, probe_ms: 0, ledger, drained });
        }
        Ok(Self(Arc::new(Mutex::new(desks))))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Desk>> {
        // A panic while the lock was held leaves plain values behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of the backends.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub fn backend(&self, name: &str) -> Option<Arc<dyn Backend>> {
        self.lock().get(name).map(|desk| Arc::clone(&desk.setup.backend))
    }

    /// The chain for `job`: what each backend says it would take, or why it cannot.
    pub async fn candidates(&self, names: &[String], job: &JobSpec) -> Vec<Candidate> {
        let mut chain = Vec::with_capacity(names.len());
        for name in names {
            let known = self.lock().get(name).map(|desk| desk.setup.clone());
            let cannot = |why: String| Candidate {
                backend: name.clone(),
                idempotent: false,
                find: false,
                hold: Amount::NONE,
                queue_ms: 0,
                unfit: Some(why),
            };
            let Some(setup) = known else {
                chain.push(cannot(format!("no backend {name} is set up")));
                continue;
            };
            let described = described(&setup, job).await;
            chain.push(described.unwrap_or_else(|error| cannot(error.to_string())));
        }
        chain
    }

    /// Whether a job of `run` may be begun; what is granted counts as held at once.
    ///
    /// # Errors
    /// Why not: drained, over budget, or resting.
    pub fn hold(
        &self,
        backend: &str,
        run: &str,
        key: &JobKey,
        amount: &Amount,
        now_ms: u64,
    ) -> Result<(), Reason> {
        let mut desks = self.lock();
        let Some(desk) = desks.get_mut(backend) else {
            return Err(Reason::Unfit(format!("no backend {backend} is set up")));
        };
        if let Some(why) = &desk.drained {
            return Err(Reason::Resting(format!("it is drained: {why}")));
        }
        let checked = desk.ledger.check(&desk.setup.budget, run, now_ms, amount);
        checked.map_err(|over| Reason::Budget(over.to_string()))?;
        let mut asked = desk.breaker.decide(now_ms, breaker::Input::Ask);
        if asked == Err(Refusal::Probing) && now_ms >= desk.probe_ms.saturating_add(PROBE_MS_MAX) {
            desk.breaker.recover();
            asked = desk.breaker.decide(now_ms, breaker::Input::Ask);
        }
        let event = asked.map_err(|refusal| Reason::Resting(refusal.to_string()))?;
        desk.breaker.apply(event);
        desk.probe_ms = now_ms;
        let entry = BudgetEntry::Held { job: key.0.clone(), run: run.to_owned(), amount: *amount };
        desk.ledger.apply(now_ms, &entry);
        Ok(())
    }

    /// Takes over an entry that is durable; one that was held before changes nothing.
    pub(super) fn book(&self, backend: &str, time_ms: u64, entry: &BudgetEntry) {
        if let Some(desk) = self.lock().get_mut(backend) {
            desk.ledger.apply(time_ms, entry);
        }
    }

    /// The record of an entry, for the batch of its arrow.
    pub(super) fn budget_record(backend: &str, entry: &BudgetEntry) -> Result<NewRecord, RecordError> {
        let stream = budget_stream(backend);
        let mut record = records::record(stream, 0, "Budget", DESK_SCHEMA, entry, &Principal::system())?;
        // Jobs of several runs write here side by side; the order among them does not matter.
        record.expected_seq = None;
        Ok(record)
    }

    /// A call has ended; transient and ambiguous errors speak against the backend.
    pub fn heard(&self, backend: &str, error: Option<&BackendError>, now_ms: u64) {
        let mut desks = self.lock();
        let Some(desk) = desks.get_mut(backend) else { return };
        let generation = desk.breaker.generation();
        let input = match error {
            None | Some(BackendError::Permanent { .. }) => breaker::Input::Succeeded { generation },
            Some(_) => breaker::Input::Failed { generation },
        };
        if let Ok(event) = desk.breaker.decide(now_ms, input) {
            desk.breaker.apply(event);
        }
    }

    /// The record that drains a backend (`why`) or lets it take jobs again.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn drain_record(
        backend: &str,
        why: Option<String>,
        by: &Principal,
    ) -> Result<NewRecord, RecordError> {
        let event = why.map_or(DrainEvent::Resumed, |why| DrainEvent::Drained { why });
        let mut record = records::record(drain_stream(backend), 0, "Backend", DESK_SCHEMA, &event, by)?;
        record.expected_seq = None;
        Ok(record)
    }

    /// Takes over a durable drain (`why`) or its end; `false` if there is no such backend.
    pub fn set_drained(&self, backend: &str, why: Option<String>) -> bool {
        let mut desks = self.lock();
        let Some(desk) = desks.get_mut(backend) else { return false };
        desk.drained = why;
        true
    }

    /// All backends for a person or a script.
    pub fn show(&self, now_ms: u64) -> Value {
        let desks = self.lock();
        let amount = |a: Amount| json!({ "shots": a.shots, "qpu_ms": a.qpu_ms, "micro_usd": a.micro_usd });
        let shown: Vec<Value> = desks
            .iter()
            .map(|(name, desk)| {
                json!({
                    "backend": name,
                    "breaker": match desk.breaker.phase() {
                        Phase::Closed { .. } => "closed",
                        Phase::Open { .. } => "open",
                        Phase::HalfOpen { .. } => "half-open",
                    },
                    "drained": desk.drained,
                    "budget": desk.setup.budget,
                    "today": amount(desk.ledger.of_day(now_ms)),
                    "held_jobs": desk.ledger.held().collect::<Vec<_>>(),
                })
            })
            .collect();
        Value::Array(shown)
    }

    /// Held and spent today at `backend`.
    pub fn today(&self, backend: &str, now_ms: u64) -> Amount {
        self.lock().get(backend).map(|desk| desk.ledger.of_day(now_ms)).unwrap_or_default()
    }
}
