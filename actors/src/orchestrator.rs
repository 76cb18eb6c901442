//! The orchestrator: takes submissions, starts run actors, and passes on what people ask of runs.
//!
//! Rule: a run is acknowledged only when its first record is durable; the same key never makes two
//! runs. It decides nothing about a run itself. Start at [`Orchestrator::submit`].

mod clone;
mod submit;

pub use submit::{Catalog, SubmitError, content_digest};

use crate::directory::Directory;
use crate::records::{self, Principal};
use crate::run_actor::{Drive, DriveError, RUN_MAILBOX, RunActor};
use crate::scheduler;
use crate::shared::Shared;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised, WrapFuture};
use engine::protocol::Submission;
use engine::run::{Event, Input, Run};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use supervisors::{ActorRef, ActorSpec, ChildSpec, Restart, SupervisorRef, TellError};
use tokio::sync::oneshot;

/// Requests of clients that may wait.
pub const ORCHESTRATOR_MAILBOX: usize = 1024;

/// Addresses of ended runs that may lie about; each is a few hundred bytes.
const LIVE_SLACK: usize = 256;

/// A run made before under a key, and the digest of what was submitted.
#[derive(Debug)]
struct Keyed {
    run: String,
    content: String,
    /// Who asked again before the run was durable; `None` once it is.
    waiting: Option<Vec<(SubmitReply, Accepted)>>,
}

type SubmitReply = oneshot::Sender<Result<Accepted, SubmitError>>;

/// The actor that knows all runs.
pub struct Orchestrator {
    shared: Shared,
    directory: Directory,
    catalog: Arc<Catalog>,
    runs: SupervisorRef,
    live: BTreeMap<String, ActorRef<RunActor>>,
    keys: BTreeMap<String, Keyed>,
    live_after_sweep: usize,
    cache: submit::Cache,
    /// Submissions whose first record is on its way to the disk, by user.
    arriving: BTreeMap<String, usize>,
    inbox: Arc<Mutex<Vec<Arrival>>>,
    me: ActorRef<Self>,
    /// Number of the newest run.
    newest: u64,
}

impl std::fmt::Debug for Orchestrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orchestrator").field("newest", &self.newest).finish_non_exhaustive()
    }
}

impl Orchestrator {
    fn prepare(&mut self, submission: &Submission) -> Result<submit::Prepared, SubmitError> {
        let backends: Vec<String> = self.directory.backends.keys().cloned().collect();
        submit::prepare(&self.shared, &self.catalog, &mut self.cache, submission, &backends)
    }

    pub fn new(
        shared: Shared,
        directory: Directory,
        catalog: Arc<Catalog>,
        runs: SupervisorRef,
        me: ActorRef<Self>,
    ) -> Self {
        Self {
            shared,
            directory,
            catalog,
            runs,
            live: BTreeMap::new(),
            live_after_sweep: 0,
            cache: submit::Cache::default(),
            arriving: BTreeMap::new(),
            inbox: Arc::default(),
            me,
            keys: BTreeMap::new(),
            newest: 0,
        }
    }

    /// Finds every acknowledged run in the journal, shows it, and starts those that are not finished.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        journal::failpoint!("orchestrator.before-recovery");
        let mut unfinished = 0;
        let forgotten = self.shared.books.now();
        // A number that was forgotten is never given out again.
        self.newest = self.newest.max(forgotten.newest_forgotten().unwrap_or(0));
        for (stream, records) in self.shared.journal.streams(records::run_prefix()) {
            let Some(id) = records::run_of_stream(&stream) else { continue };
            if let Some(number) = id.strip_prefix("run-").and_then(|n| n.parse::<u64>().ok()) {
                self.newest = self.newest.max(number);
            }
            if engine::retention::number_of(id).is_some_and(|number| forgotten.is_forgotten(number)) {
                // Its records may still be there; they go with the next compaction.
                continue;
            }
            if let Some(ended) = self.shared.checkpointer.ended(id).filter(|ended| ended.sequence == records)
            {
                self.shared.board.publish_ended(ended.summary());
                if let Some((key, content)) = ended.key {
                    self.keys.insert(key, Keyed { run: id.to_owned(), content, waiting: None });
                }
                continue;
            }
            journal::failpoint!("orchestrator.recover-run");
            self.remember_key(id, &stream);
            match crate::records::rebuild_run(&self.shared.journal, id, self.shared.checkpoint_of(id)) {
                Ok((run, sequence)) => {
                    self.shared.board.publish(&run);
                    if run.phase().is_ended() {
                        self.shared.checkpoint_end(&run, sequence, run.applied().0);
                    }
                    if !run.phase().is_ended() && !self.is_live(id) {
                        unfinished += 1;
                        self.shared.roll_call.expect(id);
                        self.start(id.to_owned(), None, Some((run, sequence)), ctx);
                    }
                }
                Err(error) => {
                    tracing::error!(run = id, %error, "A run cannot be read; it is left as it is.");
                    self.shared.board.set_unreadable(id, error.to_string());
                }
            }
        }
        journal::failpoint!("orchestrator.after-recovery");
        self.shared.board.set_recovered();
        tracing::info!(runs = self.newest, unfinished, "Recovered.");
    }

    fn remember_key(&mut self, id: &str, stream: &str) {
        let first =
            self.shared.journal.read_stream(stream, 1, 1).ok().and_then(|page| page.into_iter().next());
        let Some(Ok(Event::RunSubmitted { key: Some(key), definition, inputs, seed, .. })) =
            first.map(|record| records::decode_run_event(&record))
        else {
            return;
        };
        let content = submit::content_digest(&definition, &inputs, seed);
        self.keys.insert(key, Keyed { run: id.to_owned(), content, waiting: None });
    }

    fn is_live(&self, run: &str) -> bool {
        // A full mailbox is alive too; only Down means that the actor ended.
        self.live.get(run).is_some_and(|actor| !actor.is_down())
    }

    /// Starts the actor of a run; an input may ride along and is delivered when it is up.
    fn start(
        &mut self,
        id: String,
        first: Option<Drive>,
        known: Option<(Run, u64)>,
        ctx: &mut Context<Self>,
    ) {
        // Those that ended are forgotten from time to time, so that a start costs the same at any number.
        if self.live.len() >= 2 * self.live_after_sweep + LIVE_SLACK {
            self.live.retain(|_, actor| !actor.is_down());
            self.live_after_sweep = self.live.len();
        }
        let (actor, spec) = self.child(&id, known);
        self.live.insert(id.clone(), actor.clone());
        let runs = self.runs.clone();
        ctx.spawn(async move { runs.start_child(spec).await }.into_actor(self).map(
            move |started, this, _| match started {
                Ok(()) => {
                    if let Some(drive) = first {
                        let _ = actor.tell(drive);
                    }
                }
                Err(error) => {
                    tracing::error!(run = id, %error, "The actor of a run could not be started.");
                    let _ = this.directory.scheduler.tell(scheduler::Answered { run: id.clone() });
                    this.live.remove(&id);
                }
            },
        ));
    }

    fn child(&self, id: &str, mut known: Option<(Run, u64)>) -> (ActorRef<RunActor>, ChildSpec) {
        let (shared, directory, run) = (self.shared.clone(), self.directory.clone(), id.to_owned());
        // One name for all in metrics: runs come and go, series stay.
        let spec = ActorSpec::new(id, RUN_MAILBOX).kind("run").waits_for("the journal");
        let (actor, spec) = spec.child_with(move |me: &ActorRef<RunActor>| {
            // Whoever starts it may know the run already; a restart reads the journal.
            RunActor::new(run.clone(), known.take(), shared.clone(), directory.clone(), me.clone())
        });
        (actor, spec.restart(Restart::Transient))
    }
}

impl Actor for Orchestrator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.recover(ctx);
    }
}

impl Supervised for Orchestrator {}

/// Take a workflow in. Answered when its first record is durable.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Submit {
    pub submission: Submission,
    pub by: Principal,
    pub reply: oneshot::Sender<Result<Accepted, SubmitError>>,
}

/// An acknowledged run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub run: String,
    pub workflow: String,
    pub warnings: Vec<String>,
}

impl Handler<Submit> for Orchestrator {
    type Result = ();

    fn handle(&mut self, message: Submit, _: &mut Self::Context) {
        let Submit { submission, by, reply } = message;
        journal::failpoint!("orchestrator.before-prepare");
        let prepared = self.prepare(&submission);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let workflow = prepared.workflow;
        let content = submission
            .key
            .as_ref()
            .map(|_| submit::content_digest(&workflow.bytes, &prepared.inputs, workflow.seed));
        if let Some((key, content)) = submission.key.as_ref().zip(content.as_ref())
            && let Some(known) = self.keys.get_mut(key)
        {
            let accepted = Accepted {
                run: known.run.clone(),
                workflow: workflow.definition.workflow.clone(),
                warnings: workflow.warnings.clone(),
            };
            if known.content != *content {
                let (key, run) = (key.clone(), known.run.clone());
                let differs = submit::differences(&self.shared, &run, &workflow, &prepared.inputs);
                let _ = reply.send(Err(SubmitError::KeyReused { key, run, differs }));
            } else if let Some(waiting) = &mut known.waiting {
                waiting.push((reply, accepted));
            } else {
                let _ = reply.send(Ok(accepted));
            }
            return;
        }
        let warnings = match self.admit(&workflow.definition, &by.name) {
            Ok(warnings) => warnings,
            Err(error) => {
                let _ = reply.send(Err(error.into()));
                return;
            }
        };
        self.newest += 1;
        let run = format!("run-{:06}", self.newest);
        let event = Event::RunSubmitted {
            run: run.clone(),
            workflow: workflow.definition.workflow.clone(),
            definition: workflow.bytes.clone(),
            inputs: prepared.inputs,
            key: submission.key.clone(),
            submitted_by: by.name.clone(),
            seed: workflow.seed,
        };
        let origin = workflow.definition.control.origin.as_ref().map(|origin| origin.run.clone());
        let mut events = vec![event];
        events.extend(prepared.taken_over.into_iter().map(|(stage, outputs, facts)| Event::StageTakenOver {
            stage,
            run: origin.clone().unwrap_or_default(),
            outputs,
            facts,
        }));
        let batch = match records::run_records(&run, 0, &events, &by) {
            Ok(batch) => batch,
            Err(error) => {
                let _ = reply.send(Err(SubmitError::NotDurable(error.to_string())));
                return;
            }
        };
        if let Some((key, content)) = submission.key.clone().zip(content) {
            self.keys.insert(key, Keyed { run: run.clone(), content, waiting: Some(Vec::new()) });
        }
        *self.arriving.entry(by.name.clone()).or_default() += 1;
        let (shared, me, inbox) = (self.shared.clone(), self.me.clone(), Arc::clone(&self.inbox));
        // Not waited for here: those who submit at the same time share one disk write. A task of its own,
        // and a message: what became durable is heard of even if this actor panics meanwhile.
        tokio::task::spawn_local(async move {
            journal::failpoint!("orchestrator.before-append");
            let result = shared.append_timed(batch).await;
            journal::failpoint!("orchestrator.after-append");
            let arrival = Arrival { run, events, workflow, warnings, key: submission.key, result, reply };
            inbox.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
            while me.tell(Arrived) == Err(TellError::Busy) {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
        });
    }
}

/// Pause before news are offered again to a full mailbox.
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// There is something in the inbox.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Arrived;

/// The first record of a run is durable, or never will be.
#[derive(Debug)]
struct Arrival {
    run: String,
    /// `RunSubmitted`, then what was taken over.
    events: Vec<Event>,
    workflow: Arc<submit::Read>,
    /// Of the workflow, and of this machine about it.
    warnings: Vec<String>,
    key: Option<String>,
    result: Result<journal::Appended, journal::AppendError>,
    reply: oneshot::Sender<Result<Accepted, SubmitError>>,
}

impl Handler<Arrived> for Orchestrator {
    type Result = ();

    fn handle(&mut self, _: Arrived, ctx: &mut Self::Context) {
        let arrivals = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        for arrival in arrivals {
            self.arrived(arrival, ctx);
        }
    }
}

impl Orchestrator {
    /// Whether a run of this definition may be taken now, and could ever run; answers warnings.
    fn admit(
        &self,
        definition: &engine::definition::Definition,
        user: &str,
    ) -> Result<Vec<String>, crate::admission::NotAdmitted> {
        let limits = &self.shared.limits;
        let own = self.arriving.get(user).copied().unwrap_or(0);
        let arriving = (own, self.arriving.values().sum());
        let board = &self.shared.board;
        limits.scheduling.room_for_one_more(user, board.live_count(), || board.live_runs(), arriving)?;
        limits.scheduling.admit(definition, user, limits.worker_memory_mib)
    }

    fn arrived(&mut self, arrival: Arrival, ctx: &mut Context<Self>) {
        let Arrival { run, events, workflow, warnings, key, result, reply } = arrival;
        if let Some(Event::RunSubmitted { submitted_by, .. }) = events.first()
            && let Some(arriving) = self.arriving.get_mut(submitted_by)
        {
            *arriving -= 1;
            if *arriving == 0 {
                self.arriving.remove(submitted_by);
            }
        }
        let waiting = |this: &mut Self| {
            let known = key.as_ref().and_then(|key| this.keys.get_mut(key));
            known.and_then(|known| known.waiting.take()).unwrap_or_default()
        };
        let (positions, time) = match result {
            Ok(appended) => (appended.positions, appended.time_ms),
            Err(error) => {
                let error = SubmitError::NotDurable(error.to_string());
                for (other, _) in waiting(self) {
                    let _ = other.send(Err(error.clone()));
                }
                if let Some(key) = key {
                    self.keys.remove(&key);
                }
                let _ = reply.send(Err(error));
                return;
            }
        };
        journal::failpoint!("orchestrator.arrived");
        let accepted = Accepted {
            run: run.clone(),
            workflow: workflow.definition.workflow.clone(),
            warnings: workflow.warnings.iter().chain(&warnings).cloned().collect(),
        };
        let mut records = positions.iter().copied().zip(&events);
        let begun = match records.next() {
            Some((position, event)) => {
                Run::submitted_with(position, time, event, workflow.definition.clone())
            }
            None => Err(engine::run::SubmitError::NotFirst { position: 0, event: "nothing" }),
        };
        let known = match begun {
            Ok(mut run) => {
                for (position, event) in records {
                    run.apply(position, time, event);
                }
                self.shared.board.publish(&run);
                Some((run, events.len() as u64))
            }
            Err(error) => {
                tracing::error!(%error, "A run just journaled cannot be read.");
                None
            }
        };
        if !self.is_live(&run) {
            self.start(run, None, known, ctx);
        }
        metrics::counter!("executing_runs_submitted_total").increment(1);
        for (other, accepted) in waiting(self) {
            let _ = other.send(Ok(accepted));
        }
        journal::failpoint!("orchestrator.before-answer");
        let _ = reply.send(Ok(accepted));
        journal::failpoint!("orchestrator.after-answer");
    }
}

/// Pass an input to a run, starting its actor if the run had ended. Answered by the run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Control {
    pub run: String,
    pub input: Input,
    pub by: Principal,
    pub reply: oneshot::Sender<Result<(), DriveError>>,
}

impl Handler<Control> for Orchestrator {
    type Result = ();

    fn handle(&mut self, message: Control, ctx: &mut Self::Context) {
        let Control { run, input, by, reply } = message;
        if self.shared.board.summary(&run).is_none() {
            let _ = reply.send(Err(DriveError::Unknown));
            return;
        }
        journal::failpoint!("orchestrator.control");
        let drive = Drive { input, by, reply: Some(reply), turn: None };
        if !self.is_live(&run) {
            return self.start(run, Some(drive), None, ctx);
        }
        // A drive that is not taken drops its reply, and the asker reads that as busy.
        if let Some(actor) = self.live.get(&run)
            && actor.tell(drive) == Err(TellError::Busy)
        {
            tracing::warn!(run, "A run's mailbox is full; the request was answered busy.");
        }
    }
}

/// Would this submission be taken? Answered with the definition that a run of it would have.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Check {
    pub submission: Submission,
    pub reply: oneshot::Sender<Result<engine::definition::Definition, SubmitError>>,
}

impl Handler<Check> for Orchestrator {
    type Result = ();

    fn handle(&mut self, message: Check, _: &mut Self::Context) {
        let Check { submission, reply } = message;
        let prepared = self.prepare(&submission);
        let _ = reply.send(prepared.map(|prepared| prepared.workflow.definition.clone()));
    }
}

/// Every unfinished run gets this input (emergency stop). Answers the runs, each with its answer to come.
#[derive(Debug, Message)]
#[rtype(result = "Told")]
pub struct ToAll {
    pub input: Input,
    pub by: Principal,
}

/// Answer to [`ToAll`]: a run whose sender is gone was not reached, or ended meanwhile.
#[derive(Debug, actix::MessageResponse)]
pub struct Told(pub Vec<(String, oneshot::Receiver<Result<(), DriveError>>)>);

impl Handler<ToAll> for Orchestrator {
    type Result = Told;

    fn handle(&mut self, message: ToAll, _: &mut Self::Context) -> Told {
        let tell = |(run, actor): (&String, &ActorRef<RunActor>)| {
            let (reply, answer) = oneshot::channel();
            let drive = Drive {
                input: message.input.clone(),
                by: message.by.clone(),
                reply: Some(reply),
                turn: None,
            };
            // A full control lane drops the reply, and the asker tells again.
            let _ = actor.tell_control(drive);
            (run.clone(), answer)
        };
        Told(self.live.iter().filter(|(_, actor)| !actor.is_down()).map(tell).collect())
    }
}

/// Take these ended runs out of sight, since they will be forgotten. Answers those that are: a run that is
/// live, or is being asked something, is not.
#[derive(Debug, Message)]
#[rtype(result = "Vec<String>")]
pub struct Withhold {
    pub runs: Vec<String>,
}

impl Handler<Withhold> for Orchestrator {
    type Result = Vec<String>;

    fn handle(&mut self, message: Withhold, _: &mut Self::Context) -> Vec<String> {
        let runs = message.runs.into_iter();
        runs.filter(|run| !self.is_live(run) && self.shared.board.withhold(run)).collect()
    }
}

/// Runs were forgotten, as the books say: so are the keys under which they were submitted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ForgetKeys;

impl Handler<ForgetKeys> for Orchestrator {
    type Result = ();

    fn handle(&mut self, _: ForgetKeys, _: &mut Self::Context) {
        let books = self.shared.books.now();
        let is_gone = |run: &str| engine::retention::number_of(run).is_some_and(|n| books.is_forgotten(n));
        self.keys.retain(|_, keyed| !is_gone(&keyed.run));
        self.live.retain(|_, actor| !actor.is_down());
        self.live_after_sweep = self.live.len();
    }
}
