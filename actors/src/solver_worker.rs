//! One worker slot: holds at most one attempt, in a process of its own.
//!
//! Rule: every [`Execute`] is answered by exactly one report to the run, even when this actor panics in
//! between; a report with an old fence does no harm, the run refuses it. Absent: what the process
//! computes. The conversation with the process is in `worker_drive`.

use crate::board::Progress;
use crate::exec;
use crate::run_actor::Drive;
use crate::shared::Shared;
use crate::stages::{Executor, Work, executor};
use crate::steering::Heard;
use crate::worker_drive::{self, DriveEvent, Finished};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, Supervised, WrapFuture,
};
use engine::definition::StageIndex;
use engine::run::{ErrorClass, Fence, Input, StageError};
use std::collections::VecDeque;
use std::time::Duration;
use supervisors::{TellError, Teller};
use tokio::sync::mpsc;

/// A slot gets one attempt at a time; a second may arrive while the first is being put away.
pub const WORKER_MAILBOX: usize = 16;
/// Pause before a report is offered again to a run whose mailbox is full.
const REPORT_PAUSE: Duration = Duration::from_millis(20);

struct InFlight {
    run: String,
    stage: StageIndex,
    fence: u64,
    undo: bool,
    /// Whether an attempt that may have had its effect may be repeated unasked.
    repeatable: bool,
    report_to: Teller<Drive>,
    handle: Option<SpawnHandle>,
}

/// Attempts that were abandoned, newest last. An `Abandon` goes by the control lane and so may come
/// before the `Execute` that it is about; what it names must not begin any more.
#[derive(Debug, Default)]
pub(crate) struct Abandoned(VecDeque<(String, u32, u64)>);

/// Attempts remembered: each is told to every executor, and the one it is about follows within a few
/// messages, so a mailbox full of them is plenty.
const ABANDONED_MAX: usize = 256;

impl Abandoned {
    pub(crate) fn note(&mut self, abandon: &Abandon) {
        if self.0.len() >= ABANDONED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((abandon.run.clone(), abandon.stage.0, abandon.fence.0));
    }

    pub(crate) fn contains(&self, work: &Work) -> bool {
        self.0
            .iter()
            .any(|(run, stage, fence)| *fence == work.fence && *stage == work.stage.0 && *run == work.run)
    }
}

/// The actor of one slot.
pub struct SolverWorker {
    name: String,
    shared: Shared,
    current: Option<InFlight>,
    abandoned: Abandoned,
    /// Undos that came while another stage's attempt holds the slot; they are not placed by the scheduler.
    waiting: VecDeque<Execute>,
}

impl std::fmt::Debug for SolverWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SolverWorker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SolverWorker {
    pub fn new(name: String, shared: Shared) -> Self {
        Self { name, shared, current: None, abandoned: Abandoned::default(), waiting: VecDeque::new() }
    }

    fn finish(&mut self, fence: u64, result: Result<Finished, StageError>, ctx: &mut Context<Self>) {
        journal::failpoint!("worker.before-report");
        let Some(current) = self.current.take_if(|current| current.fence == fence) else { return };
        self.shared.board.set_progress(&current.run, current.stage.0, None);
        report_end(&current.report_to, current.stage, current.fence, current.undo, result);
        journal::failpoint!("worker.after-report");
        self.next(ctx);
    }

    /// The slot is free: whoever waited for it begins.
    fn next(&mut self, ctx: &mut Context<Self>) {
        if self.current.is_none()
            && let Some(execute) = self.waiting.pop_front()
        {
            self.begin(execute, ctx);
        }
    }
}

/// Reports the end of an attempt; a full mailbox is waited for, since a report must never be lost.
pub(crate) fn report_end(
    report_to: &Teller<Drive>,
    stage: StageIndex,
    fence: u64,
    undo: bool,
    result: Result<Finished, StageError>,
) {
    let fence = Fence(fence);
    let input = match (within_limits(result), undo) {
        (Ok(done), false) => Input::Succeeded { stage, fence, outputs: done.outputs, facts: done.facts },
        (Ok(_), true) => Input::Compensated { stage, fence },
        (Err(error), false) if error.code == worker_drive::STOPPED => Input::Stopped { stage, fence },
        (Err(error), false) => Input::Failed { stage, fence, error },
        (Err(error), true) => Input::CompensationFailed { stage, fence, error },
    };
    report(report_to, input);
}

pub(crate) fn report(report_to: &Teller<Drive>, input: Input) {
    if report_to.tell_control(Drive::report(input.clone())) == Err(TellError::Busy) {
        let report_to = report_to.clone();
        tokio::task::spawn_local(async move {
            while report_to.tell_control(Drive::report(input.clone())) == Err(TellError::Busy) {
                tokio::time::sleep(REPORT_PAUSE).await;
            }
        });
    }
}

/// Passes on what a running attempt tells, until its sender is gone.
pub(crate) async fn relay(
    shared: Shared,
    pid_file: Option<std::path::PathBuf>,
    work: Work,
    mut events: mpsc::UnboundedReceiver<DriveEvent>,
) {
    while let Some(event) = events.recv().await {
        match event {
            DriveEvent::Started { pid, start_time_ticks } => {
                // So that a daemon started after kill -9 can end what outlived it (it should not, but then).
                if let Some(path) = &pid_file
                    && let Err(error) = journal::failpoint_io!("worker.before-pid-file")
                        .and_then(|()| std::fs::write(path, format!("{pid} {start_time_ticks}\n")))
                {
                    tracing::warn!(%error, "The worker's process id could not be noted.");
                }
                journal::failpoint!("worker.after-pid-file");
            }
            DriveEvent::Progress { done, message } => {
                shared.board.set_progress(&work.run, work.stage.0, Some(Progress { done, message }));
            }
            DriveEvent::Checkpointed(checkpoint) => {
                let fence = Fence(work.fence);
                report(&work.report_to, Input::Checkpointed { stage: work.stage, fence, checkpoint });
            }
            DriveEvent::Tuned { parameter, value, taken, why } => {
                let heard = if taken { Heard::Taken } else { Heard::NotTaken(why.clone()) };
                shared.steering.answer(&work.run, work.stage.0, &parameter, &value, heard);
                let (stage, fence) = (work.stage, Fence(work.fence));
                let input = Input::TuningAnswered { stage, fence, parameter, value, taken, why };
                report(&work.report_to, input);
            }
        }
    }
}

impl Actor for SolverWorker {
    type Context = Context<Self>;
}

impl Supervised for SolverWorker {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The futures of the old incarnation are gone and their process group with them.
        if let Some(current) = self.current.take() {
            let message = format!("{} panicked during the attempt", self.name);
            let class = if current.repeatable { ErrorClass::Transient } else { ErrorClass::Ambiguous };
            let error = StageError { code: "EX-0501".to_owned(), message, class };
            report_end(&current.report_to, current.stage, current.fence, current.undo, Err(error));
        }
    }
}

/// Longest message of an error that goes into the journal: a person reads no more, and a record has a limit.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Largest facts of one stage. Facts are small values for predicates; anything larger is an artefact.
const FACTS_BYTES_MAX: usize = 16 * 1024;

/// A newer attempt has taken the place of this one; the run refuses what it reports.
fn overtaken() -> StageError {
    worker_drive::transient("EX-0501", "a newer attempt of the stage has begun".to_owned())
}

/// Cuts a message at a character, keeping its beginning and saying that it was cut.
fn shortened(mut error: StageError) -> StageError {
    if error.message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|i| error.message.is_char_boundary(*i)).unwrap_or(0);
        error.message.truncate(end);
        error.message.push_str(" .. (cut)");
    }
    error
}

/// What a run may be told: within the limits of a record.
fn within_limits(result: Result<Finished, StageError>) -> Result<Finished, StageError> {
    match result {
        Ok(done) if done.facts.len() > FACTS_BYTES_MAX => Err(worker_drive::permanent(
            "EX-0511",
            format!(
                "the stage's facts have {} bytes, allowed are {FACTS_BYTES_MAX}: leave large values as an artefact",
                done.facts.len()
            ),
        )),
        Ok(done) => Ok(done),
        Err(error) => Err(shortened(error)),
    }
}

/// Carry out one attempt (or undo it). Answered by exactly one report to `work.report_to`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Execute {
    pub work: Work,
    pub undo: bool,
}

impl Handler<Execute> for SolverWorker {
    type Result = ();

    fn handle(&mut self, message: Execute, ctx: &mut Self::Context) {
        if self.abandoned.contains(&message.work) || self.shared.board.emergency().is_some() {
            // Nobody waits for it: the run has journaled its interruption, or is about to.
            tracing::info!(worker = %self.name, run = %message.work.run, "Attempt abandoned before it began.");
            return;
        }
        let other =
            |current: &InFlight| current.run != message.work.run || current.stage != message.work.stage;
        if self.current.as_ref().is_some_and(other) {
            self.waiting.push_back(message);
        } else {
            self.begin(message, ctx);
        }
    }
}

impl SolverWorker {
    fn begin(&mut self, message: Execute, ctx: &mut Context<Self>) {
        let Execute { work, undo } = message;
        if let Some(old) = self.current.take()
            && let Some(handle) = old.handle
        {
            // The lease moved on, so the old attempt is abandoned; dropping its future kills it.
            ctx.cancel_future(handle);
        }
        // Before anything else can go wrong: who is known here is answered even after a panic.
        let (run, report_to) = (work.run.clone(), work.report_to.clone());
        let repeatable = work.idempotent || executor(work.kind) != Executor::Program || undo;
        let (stage, fence) = (work.stage, work.fence);
        self.current = Some(InFlight { run, stage, fence, undo, repeatable, report_to, handle: None });
        journal::failpoint!("worker.begin");
        tracing::info!(worker = %self.name, run = %work.run, stage = %work.path, attempt = work.attempt, undo, "Attempt begins.");
        metrics::counter!("executing_attempts_total", "kind" => work.kind.name()).increment(1);
        let shared = self.shared.clone();
        let pid_file = shared.limits.state_dir.join("workers").join(format!("{}.pid", self.name));
        let attempt = async move {
            // The attempt before may sit in another slot that has not heard yet that it is abandoned.
            let Some(mut hold) = shared.at_work.begin(&work.run, work.stage.0, work.fence).await else {
                return Err(overtaken());
            };
            let (sender, receiver) = mpsc::unbounded_channel();
            let relayed = relay(shared.clone(), Some(pid_file.clone()), work.clone(), receiver);
            let attempt = async {
                let result = match executor(work.kind) {
                    Executor::Program => exec::run(&shared, &work, undo, &sender).await,
                    _ => worker_drive::drive(&shared, &work, &sender).await,
                };
                drop(sender);
                result
            };
            let result = tokio::select! {
                (result, ()) = async { tokio::join!(attempt, relayed) } => result,
                () = hold.overtaken() => Err(overtaken()),
            };
            journal::failpoint!("worker.before-pid-file-removal");
            let _ = std::fs::remove_file(pid_file);
            result
        };
        let handle = ctx.spawn(
            attempt.into_actor(self).map(move |result, actor, ctx| {
                if let Err(error) = &result {
                    tracing::warn!(worker = %actor.name, code = error.code, error = error.message, "Attempt failed.");
                }
                actor.finish(fence, result, ctx);
            }),
        );
        if let Some(current) = &mut self.current {
            current.handle = Some(handle);
        }
    }
}

/// The attempt is no longer wanted: kill its process group; no report is expected.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Abandon {
    pub run: String,
    pub stage: StageIndex,
    pub fence: Fence,
}

impl Handler<Abandon> for SolverWorker {
    type Result = ();

    fn handle(&mut self, message: Abandon, ctx: &mut Self::Context) {
        self.abandoned.note(&message);
        let wanted = |current: &mut InFlight| {
            current.run == message.run && current.stage == message.stage && current.fence == message.fence.0
        };
        if let Some(current) = self.current.take_if(wanted)
            && let Some(handle) = current.handle
        {
            journal::failpoint!("worker.abandon");
            tracing::info!(worker = %self.name, run = %current.run, "Attempt abandoned.");
            ctx.cancel_future(handle);
        }
        self.waiting.retain(|waiting| {
            waiting.work.run != message.run
                || waiting.work.stage != message.stage
                || waiting.work.fence != message.fence.0
        });
        self.next(ctx);
    }
}

/// Emergency stop: whatever is in flight ends now, whether or not its record is durable yet. The run
/// journals the interruption by itself.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct AbandonAll;

impl Handler<AbandonAll> for SolverWorker {
    type Result = ();

    fn handle(&mut self, _: AbandonAll, ctx: &mut Self::Context) {
        if let Some(current) = self.current.take()
            && let Some(handle) = current.handle
        {
            tracing::warn!(worker = %self.name, run = %current.run, "Attempt ended by an emergency stop.");
            ctx.cancel_future(handle);
        }
        self.waiting.clear();
    }
}
