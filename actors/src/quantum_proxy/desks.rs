//! What is known here of each backend: whether it may be asked, what it may still cost, who drained it.
//!
//! Rule: what costs is durable. Budgets are a fold over the streams `budgets/NAME`, written in the same batch
//! as the arrow of the job; drains over `backends/NAME`. The breaker is not: after a restart it is closed
//! and learns again. Start at [`Desks::open`].

use crate::records::{self, Principal, RecordError};
use journal::{Journal, NewRecord};
use quantum::backends::{
    Amount, Backend, BackendError, Budget, BudgetEntry, Candidate, Ceiling, JobKey, JobSpec, Ledger, Reason,
    Target, Told, unfit,
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
    /// `simulator`, `aer` or `braket`, for reports.
    pub kind: &'static str,
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
    /// What it last said of itself, and when.
    target: Option<(u64, Target)>,
    /// What its last failed call said, and when.
    error: Option<(u64, String)>,
}

/// A chain as its backends describe themselves.
#[derive(Debug, Clone, Default)]
pub struct Described {
    pub candidates: Vec<Candidate>,
    pub told: Vec<Told>,
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
async fn described(setup: &Setup, job: &JobSpec) -> Result<(Candidate, Target), BackendError> {
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
            let candidate = Candidate {
                backend: target.name.clone(),
                idempotent: target.capability.idempotent_submit,
                find: target.capability.find,
                hold,
                queue_ms: setup.queue_ms,
                unfit,
            };
            Ok((candidate, target))
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
            let (target, error) = (None, None);
            desks.insert(name, Desk { setup, breaker, probe_ms: 0, ledger, drained, target, error });
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

    pub fn kind(&self, name: &str) -> &'static str {
        self.lock().get(name).map_or("unknown", |desk| desk.setup.kind)
    }

    /// Why it takes no new jobs, if a person drained it.
    pub fn drained(&self, name: &str) -> Option<String> {
        self.lock().get(name)?.drained.clone()
    }

    /// Whether anything limits what this backend may cost.
    pub fn is_limited(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|desk| desk.setup.budget != Budget::default())
    }

    /// The chain for `job`: what each backend says it would take, or why it cannot. All are asked at once; one
    /// that is drained is not asked.
    pub async fn candidates(&self, names: &[String], job: &JobSpec, now_ms: u64) -> Described {
        let one = |name: &String| {
            let (name, desks) = (name.clone(), self.clone());
            async move {
                let known = desks.lock().get(&name).map(|desk| (desk.setup.clone(), desk.drained.clone()));
                let cannot = |why: String| Candidate {
                    backend: name.clone(),
                    idempotent: false,
                    find: false,
                    hold: Amount::NONE,
                    queue_ms: 0,
                    unfit: Some(why),
                };
                match known {
                    None => (cannot(format!("no backend {name} is set up")), None),
                    Some((_, Some(why))) => (cannot(format!("it is drained: {why}")), None),
                    Some((setup, None)) => {
                        let answer = described(&setup, job).await;
                        desks.note(&name, now_ms, answer.as_ref().map(|(_, target)| target));
                        match answer {
                            Ok((candidate, target)) => (candidate, Some(told(&name, &target))),
                            Err(error) => (cannot(error.to_string()), None),
                        }
                    }
                }
            }
        };
        let all = futures::future::join_all(names.iter().map(one)).await;
        let mut described = Described::default();
        for (candidate, told) in all {
            described.candidates.push(candidate);
            described.told.extend(told);
        }
        described
    }

    /// What a backend says of itself now.
    ///
    /// # Errors
    /// Its own; `None` if there is no such backend.
    pub async fn probe(&self, name: &str, now_ms: u64) -> Option<Result<Target, BackendError>> {
        let backend = self.backend(name)?;
        let answer = backend.describe().await;
        self.note(name, now_ms, answer.as_ref());
        Some(answer)
    }

    fn note(&self, name: &str, now_ms: u64, answer: Result<&Target, &BackendError>) {
        if let Err(error) = answer {
            tracing::warn!(backend = name, %error, "A backend does not describe itself.");
        }
        let mut desks = self.lock();
        let Some(desk) = desks.get_mut(name) else { return };
        match answer {
            Ok(target) => (desk.target, desk.error) = (Some((now_ms, target.clone())), None),
            Err(error) => desk.error = Some((now_ms, error.to_string())),
        }
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
        desk.undrained()?;
        let checked = desk.ledger.check(&desk.setup.budget, run, now_ms, amount);
        checked.map_err(|over| Reason::Budget(over.to_string()))?;
        desk.permitted(now_ms)?;
        let entry = BudgetEntry::Held { job: key.0.clone(), run: run.to_owned(), amount: *amount };
        desk.ledger.apply(now_ms, &entry);
        Ok(())
    }

    /// Whether a backend may be asked that costs nothing: not drained, its breaker closed or probing.
    ///
    /// # Errors
    /// Why not.
    pub fn ask(&self, backend: &str, now_ms: u64) -> Result<(), Reason> {
        let mut desks = self.lock();
        let Some(desk) = desks.get_mut(backend) else {
            return Err(Reason::Unfit(format!("no backend {backend} is set up")));
        };
        desk.undrained()?;
        desk.permitted(now_ms)
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
        if let Some(error) = error {
            tracing::warn!(backend, %error, "A call to a backend failed.");
        }
        let mut desks = self.lock();
        let Some(desk) = desks.get_mut(backend) else { return };
        desk.error = error.map(|error| (now_ms, error.to_string()));
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

    /// A probe that was given up says nothing about the backend; another may be made.
    pub fn forget_probe(&self, backend: &str) {
        if let Some(desk) = self.lock().get_mut(backend)
            && matches!(desk.breaker.phase(), Phase::HalfOpen { .. })
        {
            desk.breaker.recover();
        }
    }

    /// All backends for a person or a script; times are milliseconds since 1970-01-01 UTC.
    pub fn show(&self, now_ms: u64) -> Vec<Value> {
        let desks = self.lock();
        let each = desks.iter().map(|(name, desk)| {
            let today = desk.ledger.of_day(now_ms);
            json!({
                "backend": name,
                "kind": desk.setup.kind,
                "breaker": desk.breaker_name(),
                "drained": desk.drained,
                "queue_seconds": desk.setup.queue_ms / 1_000,
                "budget": desk.setup.budget,
                "used_today": today,
                "left_today": left(&desk.setup.budget.day, &today),
                "held_jobs": desk.ledger.held().collect::<Vec<_>>(),
                "target": desk.target.as_ref().map(|(_, target)| target),
                "described_ms": desk.target.as_ref().map(|(at, _)| at),
                "error": desk.error.as_ref().map(|(_, error)| error),
                "error_ms": desk.error.as_ref().map(|(at, _)| at),
            })
        });
        each.collect()
    }

    /// Limits of a backend, what is held and spent of them today, and what is left; `null` is no limit.
    pub fn budget(&self, backend: &str, now_ms: u64) -> Value {
        let desks = self.lock();
        let Some(desk) = desks.get(backend) else { return Value::Null };
        let today = desk.ledger.of_day(now_ms);
        json!({
            "limits": desk.setup.budget,
            "used_today": today,
            "left_today": left(&desk.setup.budget.day, &today),
        })
    }

    pub fn breaker(&self, backend: &str) -> &'static str {
        self.lock().get(backend).map_or("unknown", Desk::breaker_name)
    }

    /// Held and spent today at `backend`.
    pub fn today(&self, backend: &str, now_ms: u64) -> Amount {
        self.lock().get(backend).map(|desk| desk.ledger.of_day(now_ms)).unwrap_or_default()
    }
}

impl Desk {
    fn undrained(&self) -> Result<(), Reason> {
        match &self.drained {
            Some(why) => Err(Reason::Resting(format!("it is drained: {why}"))),
            None => Ok(()),
        }
    }

    fn permitted(&mut self, now_ms: u64) -> Result<(), Reason> {
        let mut asked = self.breaker.decide(now_ms, breaker::Input::Ask);
        if asked == Err(Refusal::Probing) && now_ms >= self.probe_ms.saturating_add(PROBE_MS_MAX) {
            self.breaker.recover();
            asked = self.breaker.decide(now_ms, breaker::Input::Ask);
        }
        let event = asked.map_err(|refusal| Reason::Resting(refusal.to_string()))?;
        self.breaker.apply(event);
        self.probe_ms = now_ms;
        Ok(())
    }

    fn breaker_name(&self) -> &'static str {
        match self.breaker.phase() {
            Phase::Closed { .. } => "closed",
            Phase::Open { .. } => "open",
            Phase::HalfOpen { .. } => "half-open",
        }
    }
}

fn told(name: &str, target: &Target) -> Told {
    let calibration = target.calibration.as_ref().map(|calibration| calibration.id.clone());
    Told { backend: name.to_owned(), simulated: target.simulated, calibration }
}

/// What `used` leaves of a ceiling; no limit leaves no number.
fn left(ceiling: &Ceiling, used: &Amount) -> Ceiling {
    let less = |most: Option<u64>, used: u64| most.map(|most| most.saturating_sub(used));
    Ceiling {
        shots: less(ceiling.shots, used.shots),
        qpu_ms: less(ceiling.qpu_ms, used.qpu_ms),
        micro_usd: less(ceiling.micro_usd, used.micro_usd),
    }
}
