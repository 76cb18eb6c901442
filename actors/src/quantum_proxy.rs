//! The proxy of one quantum backend: owns submit, wait, cancel and the breaker of its jobs.
//!
//! The backend `simulator` computes in a worker process; what a job does and which shots it took is in
//! its result. Rule: every arrow of a job's life is journaled before the call it stands for. A job that
//! was in flight when the daemon died is lost and said to be lost; its stage starts a new one from its
//! last checkpoint.

mod desks;
mod office;

pub use desks::{Desks, DrainEvent, Setup};
pub use office::{Append, Ended, ORDER_SCHEMA, Office, OfficeError, Wish};

use crate::records::{self, Principal};
use crate::shared::Shared;
use crate::solver_worker::{Abandon, AbandonAll, Abandoned, relay, report_end};
use crate::stages::Work;
use crate::worker_drive::{self, Finished};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, Supervised, WrapFuture,
};
use engine::definition::StageKind;
use engine::run::{ArtefactRef, Fence, StageError};
use quantum::backends::{JobEvent, JobId, JobKey, JobState};
use quantum::breaker::{self, Breaker, Phase, Thresholds};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Jobs that may wait for the proxy; the ledger hands out far fewer places.
pub const PROXY_MAILBOX: usize = 64;
/// Shots of a stage that does not say: the programme's `quantum_shots`.
const SHOTS_DEFAULT: u64 = 1_024;

/// Schema version of [`JobEvent`] in journal envelopes.
const JOB_SCHEMA: u16 = 1;

struct InFlight {
    work: Work,
    undo: bool,
    /// The breaker's generation under which the call was permitted.
    generation: u64,
    handle: Option<SpawnHandle>,
}

/// The actor of one backend.
pub struct QuantumProxy {
    backend: String,
    shared: Shared,
    breaker: Breaker,
    jobs: BTreeMap<(String, u32), InFlight>,
    abandoned: Abandoned,
}

impl std::fmt::Debug for QuantumProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuantumProxy").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl QuantumProxy {
    pub fn new(backend: String, shared: Shared) -> Self {
        Self {
            backend,
            shared,
            breaker: Breaker::new(Thresholds::default()),
            jobs: BTreeMap::new(),
            abandoned: Abandoned::default(),
        }
    }

    fn show(&self) {
        let shown = json!({
            "backend": self.backend,
            "kind": "simulator",
            "breaker": breaker_name(self.breaker.phase()),
            "jobs": self.jobs.len(),
        });
        self.shared.board.set_breaker(&self.backend, shown);
    }

    fn finish(&mut self, key: &(String, u32), fence: u64, result: Result<Finished, StageError>) {
        let ours = self.jobs.get(key).is_some_and(|job| job.work.fence == fence);
        if !ours {
            return;
        }
        journal::failpoint!("quantum.before-report");
        let Some(job) = self.jobs.remove(key) else { return };
        let generation = job.generation;
        let outcome = match &result {
            // A wrong problem is not the backend's fault.
            Err(error) if error.class != engine::run::ErrorClass::Permanent => {
                breaker::Input::Failed { generation }
            }
            _ => breaker::Input::Succeeded { generation },
        };
        if let Ok(event) = self.breaker.decide(self.shared.clock.now_ms(), outcome) {
            self.breaker.apply(event);
        }
        self.shared.board.set_progress(&job.work.run, job.work.stage.0, None);
        report_end(&job.work.report_to, job.work.stage, fence, job.undo, result);
        self.show();
    }
}

const fn breaker_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Closed { .. } => "closed",
        Phase::Open { .. } => "open",
        Phase::HalfOpen { .. } => "half-open",
    }
}

/// A job that this proxy leads: its stream in the journal and where it stands.
struct Led {
    shared: Shared,
    stream: String,
    state: JobState,
    records: u64,
}

impl Led {
    /// Journals these arrows in one batch, then takes them.
    async fn note(&mut self, events: &[JobEvent]) -> Result<(), StageError> {
        let mut state = self.state.clone();
        let mut batch = Vec::with_capacity(events.len());
        for (i, event) in events.iter().enumerate() {
            state = state.after(event).ok_or_else(|| {
                worker_drive::permanent(
                    "EX-0514",
                    format!("{event:?} cannot follow {state:?} of {}", self.stream),
                )
            })?;
            let have = self.records + i as u64;
            let record = records::record(
                self.stream.clone(),
                have,
                "QuantumJob",
                JOB_SCHEMA,
                event,
                &Principal::system(),
            )
            .map_err(|e| worker_drive::permanent("EX-0014", e.to_string()))?;
            batch.push(record);
        }
        let appended = self.shared.append(batch).await;
        appended.map_err(|e| worker_drive::transient("EX-0013", e.to_string()))?;
        self.state = state;
        self.records += events.len() as u64;
        Ok(())
    }

    /// The job of this stream as the journal has it.
    fn read(shared: &Shared, stream: String) -> Self {
        let page =
            shared.journal.read_stream(&stream, 1, engine::limits::PAGE_RECORDS_MAX).unwrap_or_default();
        let mut state = JobState::Planned;
        for record in &page {
            match records::decode::<JobEvent>(record, JOB_SCHEMA) {
                Ok(event) => state = state.after(&event).unwrap_or(state),
                Err(error) => tracing::error!(stream, %error, "A record of a quantum job cannot be read."),
            }
        }
        Self { shared: shared.clone(), stream, state, records: page.len() as u64 }
    }

    /// Ends a job that nobody leads any more. The simulator dies with the daemon or the attempt, so what
    /// it was doing is known: nothing. A job still being submitted was never there.
    async fn settle(mut self, why: &str) -> Result<(), StageError> {
        if self.records == 0 || self.state.ended() {
            return Ok(());
        }
        journal::failpoint!("quantum.settle");
        let failed = JobEvent::Failed { message: why.to_owned() };
        match self.state {
            JobState::Submitting { .. } => self.note(&[JobEvent::NotSubmitted, failed]).await,
            _ => self.note(&[failed]).await,
        }
    }
}

fn stage_stream(work: &Work) -> String {
    records::job_stream(&work.run, &work.path)
}

/// One job from reservation to result.
async fn job(shared: Shared, work: Work) -> Result<Finished, StageError> {
    let stage = stage_stream(&work);
    for (stream, _) in shared.journal.streams(&format!("{stage}@")) {
        Led::read(&shared, stream).settle("its attempt was cut short").await?;
    }
    let stream = format!("{stage}@{}", work.fence);
    let mut led =
        Led { shared: shared.clone(), stream: stream.clone(), state: JobState::Planned, records: 0 };
    journal::failpoint!("quantum.before-intent");
    led.note(&[JobEvent::Reserved, JobEvent::Submitting { key: JobKey(stream) }]).await?;
    journal::failpoint!("quantum.after-intent");
    led.note(&[JobEvent::Submitted { id: JobId(format!("simulator-{}", work.fence)) }, JobEvent::Running])
        .await?;
    journal::failpoint!("quantum.submitted");
    let (sender, receiver) = mpsc::unbounded_channel();
    let relayed = relay(shared.clone(), None, work.clone(), receiver);
    let attempt = async {
        let result = worker_drive::drive(&shared, &work, &sender).await;
        drop(sender);
        result
    };
    let (result, ()) = tokio::join!(attempt, relayed);
    journal::failpoint!("quantum.before-result");
    match &result {
        Ok(_) => led.note(&[JobEvent::Fetching, JobEvent::Verified, JobEvent::Done]).await?,
        Err(error) => {
            led.note(&[JobEvent::Failed { message: format!("{}: {}", error.code, error.message) }]).await?
        }
    }
    journal::failpoint!("quantum.after-result");
    metrics::counter!("executing_quantum_shots_total").increment(shots_of(&work));
    result
}

fn shots_of(work: &Work) -> u64 {
    serde_json::from_str::<Value>(&work.params)
        .ok()
        .and_then(|params| params.get("shots").and_then(Value::as_u64))
        .unwrap_or(SHOTS_DEFAULT)
}

/// Chooses and probes the backend and sets the budget of shots aside; says what comes if it fails.
async fn set_up(
    shared: Shared,
    backend: String,
    breaker: &'static str,
    work: Work,
) -> Result<Finished, StageError> {
    let plan = json!({
        "backend": backend,
        "simulated": true,
        "probe": { "breaker": breaker, "worker_program": shared.limits.worker_program.exists() },
        "shots": shots_of(&work),
        "encoding": "amplitudes over the feasible set, Grover mixer",
        "fallback": ["classical-exact"],
    });
    let bytes =
        serde_json::to_vec_pretty(&plan).map_err(|e| worker_drive::permanent("EX-0514", e.to_string()))?;
    let length = bytes.len() as u64;
    let digest = shared
        .store(move |artefacts| artefacts.put(&bytes))
        .await
        .map_err(|e| worker_drive::transient("EX-0013", e.to_string()))?;
    let output =
        ArtefactRef { name: "backend_plan.json".to_owned(), digest: digest.to_string(), bytes: length };
    journal::failpoint!("quantum.set-up");
    let facts = json!({ "backend": backend }).to_string();
    Ok(Finished { outputs: vec![output], facts })
}

impl Actor for QuantumProxy {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.show();
    }
}

impl Supervised for QuantumProxy {
    fn restarting(&mut self, _: &mut Self::Context) {
        for (_, job) in std::mem::take(&mut self.jobs) {
            let error = worker_drive::transient("EX-0501", format!("the proxy of {} panicked", self.backend));
            report_end(&job.work.report_to, job.work.stage, job.work.fence, job.undo, Err(error));
        }
    }
}

/// Carry out (or undo) a stage on this backend. Answered by exactly one report.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Execute {
    pub work: Work,
    pub undo: bool,
}

impl Handler<Execute> for QuantumProxy {
    type Result = ();

    fn handle(&mut self, message: Execute, ctx: &mut Self::Context) {
        let Execute { work, undo } = message;
        if self.abandoned.contains(&work) || self.shared.board.emergency().is_some() {
            // Nobody waits for it: the run has journaled its interruption, or is about to.
            return;
        }
        if undo {
            // A reservation of shots on the simulator costs nothing and is gone with its run.
            let nothing = Finished { outputs: Vec::new(), facts: "{}".to_owned() };
            return report_end(&work.report_to, work.stage, work.fence, true, Ok(nothing));
        }
        let (key, fence) = ((work.run.clone(), work.stage.0), work.fence);
        // Before anything else can go wrong: who is known here is answered even after a panic.
        let generation = self.breaker.generation();
        self.jobs.insert(key.clone(), InFlight { work: work.clone(), undo, generation, handle: None });
        journal::failpoint!("quantum.begin");
        match self.breaker.decide(self.shared.clock.now_ms(), breaker::Input::Ask) {
            Ok(event) => self.breaker.apply(event),
            Err(refusal) => {
                self.jobs.remove(&key);
                let error = worker_drive::transient(
                    "EX-0514",
                    format!("backend {} is resting: {refusal}", self.backend),
                );
                return report_end(&work.report_to, work.stage, work.fence, false, Err(error));
            }
        }
        let generation = self.breaker.generation();
        let (shared, backend) = (self.shared.clone(), self.backend.clone());
        let breaker = breaker_name(self.breaker.phase());
        let (kind, done) = (work.kind, key.clone());
        let attempt = async move {
            match kind {
                StageKind::QuantumBackendSetup => set_up(shared, backend, breaker, work).await,
                _ => job(shared, work).await,
            }
        };
        let handle = ctx
            .spawn(attempt.into_actor(self).map(move |result, actor, _| actor.finish(&done, fence, result)));
        if let Some(job) = self.jobs.get_mut(&key) {
            (job.generation, job.handle) = (generation, Some(handle));
        }
        self.show();
    }
}

impl Handler<AbandonAll> for QuantumProxy {
    type Result = ();

    fn handle(&mut self, _: AbandonAll, ctx: &mut Self::Context) {
        let open: Vec<Abandon> = self
            .jobs
            .values()
            .map(|job| Abandon {
                run: job.work.run.clone(),
                stage: job.work.stage,
                fence: Fence(job.work.fence),
            })
            .collect();
        for abandon in open {
            <Self as Handler<Abandon>>::handle(self, abandon, ctx);
        }
    }
}

impl Handler<Abandon> for QuantumProxy {
    type Result = ();

    fn handle(&mut self, message: Abandon, ctx: &mut Self::Context) {
        self.abandoned.note(&message);
        let key = (message.run.clone(), message.stage.0);
        if self.jobs.get(&key).is_some_and(|job| job.work.fence == message.fence.0)
            && let Some(job) = self.jobs.remove(&key)
        {
            if let Some(handle) = job.handle {
                ctx.cancel_future(handle);
            }
            // An abandoned call says nothing about the backend; if it was a probe, another may be made.
            if matches!(self.breaker.phase(), Phase::HalfOpen { .. }) {
                self.breaker.recover();
            }
            let led = Led::read(&self.shared, format!("{}@{}", stage_stream(&job.work), job.work.fence));
            ctx.spawn(
                async move {
                    if let Err(error) = led.settle("cancelled").await {
                        tracing::warn!(error = error.message, "A cancelled job could not be journaled.");
                    }
                }
                .into_actor(self),
            );
        }
        self.show();
    }
}
