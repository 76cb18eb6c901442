//! The deployer: builds releases, makes one active, verifies it, or goes back to the one before.
//!
//! Rule: the intent is journaled before the link is touched; an activation that was cut short is
//! reverted before anything else is done. One activation at a time: work waits its turn in the actor.
//! The machine is `engine::deployment`. Start at [`Deployer::carry_out`].

mod steps;

use crate::records::{self, Principal};
use crate::releases::Releases;
use crate::shared::Shared;
use crate::solver_worker::{Abandon, Abandoned, report_end};
use crate::stages::Work;
use crate::worker_drive::{Finished, permanent};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised, WrapFuture};
use engine::definition::StageKind;
use engine::deployment::{self, Deployments, Input};
use engine::run::StageError;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Deployments that may wait their turn.
pub const DEPLOYER_MAILBOX: usize = 256;

/// The machine, shared with the future that carries out one activation at a time.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    pub(crate) shared: Shared,
    pub(crate) releases: Releases,
    machine: Arc<Mutex<(Deployments, u64)>>,
    /// One commit at a time: a freeze that came between the steps of an activation would take the place of
    /// its record in the stream, and the activation would stay half done.
    turn: Arc<tokio::sync::Mutex<()>>,
    abandoned: Arc<Mutex<Abandoned>>,
}

impl Books {
    /// Whether nobody waits for this attempt any more; then it must not change anything outside.
    pub(crate) fn is_abandoned(&self, work: &Work) -> bool {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).contains(work)
    }

    /// A copy of the machine as the journal has it.
    pub(crate) fn now(&self) -> Deployments {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// decide, journal, apply.
    pub(crate) async fn commit(&self, input: Input, by: &Principal) -> Result<(), StageError> {
        let _turn = self.turn.lock().await;
        let (event, have) = {
            let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            let event = machine.0.decide(input).map_err(|e| permanent("EX-0521", e.to_string()))?;
            (event, machine.1)
        };
        let record =
            records::deployment_record(have, &event, by).map_err(|e| permanent("EX-0521", e.to_string()))?;
        let refused = |e: journal::AppendError| {
            if matches!(e, journal::AppendError::Conflict { .. }) {
                // A record of a deployer that panicked became durable after its successor had read.
                self.reread();
            }
            crate::worker_drive::transient("EX-0521", e.to_string())
        };
        journal::failpoint!("deployer.before-append");
        let (positions, time_ms) = match event {
            // An emergency stop must be recorded on a full disk, too. Its time is in no state.
            deployment::Event::Frozen { .. } | deployment::Event::Thawed { .. } => {
                let positions = self.shared.append_urgent(vec![record]).await.map_err(refused)?;
                (positions, self.shared.clock.now_ms())
            }
            _ => {
                let appended = self.shared.append_timed(vec![record]).await.map_err(refused)?;
                (appended.positions, appended.time_ms)
            }
        };
        journal::failpoint!("deployer.after-append");
        let position = positions.first().copied().unwrap_or_default();
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        machine.0.apply(position, time_ms, &event);
        machine.1 += 1;
        Ok(())
    }

    /// Reads the whole stream again.
    fn reread(&self) {
        let mut rebuilt = (Deployments::default(), 0);
        let unreadable = |why: String| {
            tracing::error!(why, "The record of deployments cannot be read; nothing runs until it can.");
            self.shared.set_emergency(Some(format!("the record of deployments cannot be read: {why}")));
        };
        loop {
            let page = self.shared.journal.read_stream(records::DEPLOYMENTS_STREAM, rebuilt.1 + 1, 1_000);
            let page = match page {
                Ok(page) if page.is_empty() => break,
                Ok(page) => page,
                Err(error) => {
                    unreadable(error.to_string());
                    break;
                }
            };
            for record in page {
                match records::decode::<deployment::Event>(&record, deployment::EVENT_SCHEMA) {
                    Ok(event) => rebuilt.0.apply(record.position, record.time_ms, &event),
                    Err(error) => unreadable(error.to_string()),
                }
                rebuilt.1 = record.stream_seq;
            }
        }
        *self.machine.lock().unwrap_or_else(PoisonError::into_inner) = rebuilt;
    }
}

enum Job {
    Stage {
        work: Box<Work>,
        undo: bool,
    },
    Rollback {
        to: Option<String>,
        by: Principal,
        reply: oneshot::Sender<Result<serde_json::Value, StageError>>,
    },
    Recover,
}

/// The actor round the [`Deployments`].
pub struct Deployer {
    books: Books,
    waiting: VecDeque<Job>,
    at_work: bool,
    /// The stage being worked on: whom to tell if this actor panics over it.
    current: Option<(Box<Work>, bool)>,
}

impl std::fmt::Debug for Deployer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployer").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Deployer {
    pub fn new(shared: Shared, releases: Releases) -> Self {
        let machine = Arc::new(Mutex::new((Deployments::default(), 0)));
        Self {
            books: Books { shared, releases, machine, turn: Arc::default(), abandoned: Arc::default() },
            waiting: VecDeque::new(),
            at_work: false,
            current: None,
        }
    }

    /// Takes the next job, if none is being done.
    fn next(&mut self, ctx: &mut Context<Self>) {
        if self.at_work {
            return;
        }
        journal::failpoint!("deployer.next");
        let Some(job) = self.waiting.pop_front() else { return };
        self.at_work = true;
        self.current = match &job {
            Job::Stage { work, undo } => Some((work.clone(), *undo)),
            Job::Rollback { .. } | Job::Recover => None,
        };
        let books = self.books.clone();
        ctx.spawn(Self::carry_out(books, job).into_actor(self).map(|(), actor, ctx| {
            actor.at_work = false;
            actor.current = None;
            actor.next(ctx);
        }));
    }

    async fn carry_out(books: Books, job: Job) {
        match job {
            Job::Recover => steps::recover(&books).await,
            Job::Rollback { to, by, reply } => {
                let _ = reply.send(steps::rollback(&books, to, &by, None).await);
            }
            Job::Stage { work, undo } => {
                if books.is_abandoned(&work) {
                    return;
                }
                let result = match (work.kind, undo) {
                    (StageKind::Deployment, false) => steps::deploy(&books, &work).await,
                    (StageKind::ReleaseAssessment, false) => steps::assess(&books).await,
                    (StageKind::ReleaseRollback, false) => steps::roll_back_stage(&books, &work).await,
                    (StageKind::Deployment | StageKind::ReleaseRollback, true) => {
                        steps::undo(&books, &work).await
                    }
                    _ => Ok(Finished { outputs: Vec::new(), facts: "{}".to_owned() }),
                };
                journal::failpoint!("deployer.before-report");
                report_end(&work.report_to, work.stage, work.fence, undo, result);
            }
        }
    }
}

impl Actor for Deployer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        journal::failpoint!("deployer.before-reread");
        self.books.reread();
        // An emergency stop outlives the daemon: it ends by an authorised clear and in no other way.
        let declared = crate::emergency::in_force(&self.books.shared);
        let frozen = || {
            let by = self.books.now().frozen_by()?.to_owned();
            Some(format!("deployments were frozen by {by} before the last restart"))
        };
        if let Some(reason) = declared.or_else(frozen)
            && self.books.shared.board.emergency().is_none()
        {
            self.books.shared.set_emergency(Some(reason));
        }
        self.waiting.push_front(Job::Recover);
        self.next(ctx);
    }
}

impl Supervised for Deployer {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The future at work died with the old incarnation; `started` reverts what it left open.
        self.at_work = false;
        if let Some((work, undo)) = self.current.take() {
            let error =
                crate::worker_drive::transient("EX-0521", "the deployer panicked over the stage".to_owned());
            report_end(&work.report_to, work.stage, work.fence, undo, Err(error));
        }
    }
}

/// Carry out (or undo) a stage. Answered by exactly one report to `work.report_to`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Execute {
    pub work: Work,
    pub undo: bool,
}

impl Handler<Execute> for Deployer {
    type Result = ();

    fn handle(&mut self, message: Execute, ctx: &mut Self::Context) {
        self.waiting.push_back(Job::Stage { work: Box::new(message.work), undo: message.undo });
        self.next(ctx);
    }
}

impl Handler<Abandon> for Deployer {
    type Result = ();

    fn handle(&mut self, message: Abandon, _: &mut Self::Context) {
        // What is being done looks here before it activates; what waits is not begun.
        self.books.abandoned.lock().unwrap_or_else(PoisonError::into_inner).note(&message);
    }
}

/// A person asks for an earlier release (or the one before). Answered on `reply`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Rollback {
    pub to: Option<String>,
    pub by: Principal,
    pub reply: oneshot::Sender<Result<serde_json::Value, StageError>>,
}

impl Handler<Rollback> for Deployer {
    type Result = ();

    fn handle(&mut self, message: Rollback, ctx: &mut Self::Context) {
        let Rollback { to, by, reply } = message;
        self.waiting.push_back(Job::Rollback { to, by, reply });
        self.next(ctx);
    }
}

/// The history of activations, for `deployments`.
#[derive(Debug, Message)]
#[rtype(result = "History")]
pub struct Look;

/// Answer to [`Look`].
#[derive(Debug, actix::MessageResponse)]
pub struct History(pub Deployments);

impl Handler<Look> for Deployer {
    type Result = History;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> History {
        History(self.books.now())
    }
}

/// Freeze or thaw all deployments.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Freeze {
    pub frozen: bool,
    pub by: Principal,
    pub reply: oneshot::Sender<Result<(), StageError>>,
}

impl Handler<Freeze> for Deployer {
    type Result = ();

    fn handle(&mut self, message: Freeze, ctx: &mut Self::Context) {
        let Freeze { frozen, by, reply } = message;
        let books = self.books.clone();
        let name = by.name.clone();
        let input = if frozen { Input::Freeze { by: name } } else { Input::Thaw { by: name } };
        ctx.spawn(
            async move {
                let _ = reply.send(books.commit(input, &by).await);
            }
            .into_actor(self),
        );
    }
}
