//! The proxy of one quantum backend: begins and abandons the stages that ask for it first.
//!
//! Stages on the simulator compute in a worker process; stages on machines are prepared by a worker, their shots
//! bought by the [`Office`] over the whole chain of backends, and concluded by a worker. Rule: every arrow of a
//! job's life is journaled before the call it stands for, and every [`Execute`] is answered by exactly one report.
//! What all proxies share (orders, budgets, breakers, drains) is in the office and not here. Start at
//! `on_machines::run`.

mod chain;
mod desks;
mod in_worker;
mod jobs;
mod leading;
mod office;
mod on_machines;
mod plan;
mod simulated;

pub use chain::{Chain, ChainError, EXACT, check as check_chains, first as first_backend};
pub use desks::{Described, Desks, DrainEvent, Setup};
pub use in_worker::{InWorker, SIMULATOR};
pub use jobs::{JOBS_MAX, state_name};
pub use leading::{Leading, run_and_stage};
pub use office::{Append, Ended, ORDER_SCHEMA, Office, OfficeError, Stored, Wish};

use crate::records;
use crate::shared::Shared;
use crate::solver_worker::{Abandon, AbandonAll, Abandoned, report_end};
use crate::stages::Work;
use crate::worker_drive::{self, Finished};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, Supervised, WrapFuture,
};
use engine::definition::StageKind;
use engine::run::{Fence, StageError, StageState};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Jobs that may wait for the proxy; the ledger hands out far fewer places.
pub const PROXY_MAILBOX: usize = 64;
/// Stands for the run in streams of jobs that test a backend.
pub const TEST_RUN: &str = "backend-test";
/// How often orders are looked for that nobody wants any more, and how long after the start for the first time.
const LOOK_FOR_UNWANTED: Duration = Duration::from_secs(60);
const LOOK_FIRST: Duration = Duration::from_millis(500);

struct InFlight {
    work: Work,
    undo: bool,
    handle: Option<SpawnHandle>,
}

/// The actor of one backend.
pub struct QuantumProxy {
    backend: String,
    shared: Shared,
    office: Office,
    jobs: BTreeMap<(String, u32), InFlight>,
    abandoned: Abandoned,
}

impl std::fmt::Debug for QuantumProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuantumProxy").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl QuantumProxy {
    pub fn new(backend: String, shared: Shared, office: Office) -> Self {
        Self { backend, shared, office, jobs: BTreeMap::new(), abandoned: Abandoned::default() }
    }

    fn show(&self) {
        let shown = json!({
            "backend": self.backend,
            "kind": self.office.desks.kind(&self.backend),
            "breaker": self.office.desks.breaker(&self.backend),
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
        self.shared.board.set_progress(&job.work.run, job.work.stage.0, None);
        report_end(&job.work.report_to, job.work.stage, fence, job.undo, result);
        self.show();
    }

    /// Looks for orders whose run is over or has done without them, and has them ended.
    fn look_for_unwanted(&mut self, ctx: &mut Context<Self>) {
        if !self.shared.board.is_recovered() {
            // Which runs there are is not known yet.
            ctx.run_later(LOOK_FIRST, Self::look_for_unwanted);
            return;
        }
        let office = self.office.clone();
        let open = tokio::task::spawn_blocking(move || office.open("jobs/"));
        ctx.spawn(open.into_actor(self).map(|open, actor, ctx| {
            let led = actor.office.leading.stages();
            for stream in open.unwrap_or_default() {
                // A test of a backend belongs to no run and ends by itself, unless the daemon died over it.
                let is_led = led.iter().any(|stage| stream.starts_with(&format!("{stage}@")));
                let of_run = run_and_stage(&stream).is_some_and(|(run, _)| run != TEST_RUN);
                if (of_run || !is_led) && !wanted(&actor.shared, &stream) {
                    actor.office.dismiss(&stream, "its run has ended");
                }
            }
            ctx.run_later(LOOK_FOR_UNWANTED, Self::look_for_unwanted);
        }));
    }
}

/// Whether the order of this stream may still be of use to its run.
fn wanted(shared: &Shared, stream: &str) -> bool {
    let Some((run, stage)) = run_and_stage(stream) else { return true };
    let Some(run) = shared.board.live(run) else { return false };
    let over = |state: &StageState| {
        matches!(state, StageState::Succeeded | StageState::Failed | StageState::Skipped)
    };
    run.phase().is_forward() && run.stage_at(stage).is_some_and(|index| !over(run.stage(index)))
}

/// The stage's work, by its kind and chain.
async fn attempt(
    shared: Shared,
    office: Office,
    backend: String,
    work: Work,
) -> Result<Finished, StageError> {
    let known = office.desks.names();
    let chain = Chain::read(&work.params, Some(&backend), &known)
        .map_err(|error| worker_drive::permanent(error.code(), error.to_string()))?;
    match work.kind {
        StageKind::QuantumBackendSetup => plan::set_up(&shared, &office, &work, &chain).await,
        _ if chain.gates.is_empty() => on_machines::simulator_alone(&shared, &office, &work, &chain).await,
        _ => on_machines::run(&shared, &office, &work, &chain).await,
    }
}

impl Actor for QuantumProxy {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.show();
        // One of the proxies is enough for it, and this one is always there.
        if self.backend == SIMULATOR {
            ctx.run_later(LOOK_FIRST, Self::look_for_unwanted);
        }
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
            // A plan reserves nothing; the stage's orders are ended when it is abandoned.
            let nothing = Finished { outputs: Vec::new(), facts: "{}".to_owned() };
            return report_end(&work.report_to, work.stage, work.fence, true, Ok(nothing));
        }
        let (key, fence) = ((work.run.clone(), work.stage.0), work.fence);
        // Before anything else can go wrong: who is known here is answered even after a panic.
        self.jobs.insert(key.clone(), InFlight { work: work.clone(), undo, handle: None });
        journal::failpoint!("quantum.begin");
        let (shared, office, backend) = (self.shared.clone(), self.office.clone(), self.backend.clone());
        let done = key.clone();
        let attempt = attempt(shared, office, backend, work);
        let handle = ctx
            .spawn(attempt.into_actor(self).map(move |result, actor, _| actor.finish(&done, fence, result)));
        if let Some(job) = self.jobs.get_mut(&key) {
            job.handle = Some(handle);
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
            self.office.desks.forget_probe(SIMULATOR);
            let stopped = self.shared.board.emergency();
            let goes_on = self.shared.board.live(&message.run).is_some_and(|run| run.phase().is_forward());
            if let Some(why) = stopped {
                let stage = records::job_stream(&job.work.run, &job.work.path);
                self.office.leading.cancel(&stage, &format!("emergency stop: {why}"));
            } else if !goes_on {
                // Its next attempt would lead it on, and there is none.
                let stage = records::job_stream(&job.work.run, &job.work.path);
                self.office.leading.cancel(&stage, "its run is cancelled or has failed");
            }
            let (shared, office, work) = (self.shared.clone(), self.office.clone(), job.work);
            ctx.spawn(
                async move {
                    if let Err(error) = simulated::settle(&shared, &office, &work, "cancelled").await {
                        tracing::warn!(error = error.message, "A cancelled job could not be journaled.");
                    }
                }
                .into_actor(self),
            );
        }
        self.show();
    }
}
