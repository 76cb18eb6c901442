//! The keeper of the timetable: asks once a second which schedules are due, and submits their runs.
//!
//! Rule: one input at a time; its events are journaled (stream `schedules`), then applied, then commands are
//! carried out. A moment that fired has its run submitted again and again, under the same key, until there is an
//! answer. While an emergency stop is in force or the disk has no room nothing fires; what passed then is made up
//! for as each schedule says. It decides nothing: `engine::schedule` does. Start at [`Timekeeper::next`].

use crate::admission::NotAdmitted;
use crate::generations;
use crate::orchestrator::{Accepted, Control, Orchestrator, Submit, SubmitError};
use crate::records::{self, Principal, RecordError};
use crate::shared::Shared;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised, WrapFuture};
use engine::protocol::Submission;
use engine::run::Input as RunInput;
use engine::schedule::{Command, EVENT_SCHEMA, Event, Input, Outcome, Refusal, Timetable};
use journal::{Digest, Journal, NewRecord};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use supervisors::ActorRef;
use tokio::sync::{mpsc, oneshot};

/// Requests of people that may wait.
pub const TIMETABLE_MAILBOX: usize = 256;
/// Stream of all schedules.
pub const SCHEDULES_STREAM: &str = "schedules";
/// Moments are named to the minute; a second later is on time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Records read at once.
const PAGE: usize = 1_000;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimetableError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the journal did not take it: {0}")]
    NotDurable(String),
    #[error("the schedules cannot be read, so none is changed and none fires: {0}")]
    Unreadable(String),
}

type Reply = oneshot::Sender<Result<(), TimetableError>>;

struct Job {
    input: Input,
    by: Principal,
    reply: Option<Reply>,
}

/// The actor round the timetable.
pub struct Timekeeper {
    shared: Shared,
    orchestrator: ActorRef<Orchestrator>,
    table: Timetable,
    /// Which of the generations of the stream is written to, and its records.
    generation: u64,
    records: u64,
    unreadable: Option<String>,
    waiting: VecDeque<Job>,
    at_work: bool,
    /// Keys whose submission waits for its answer.
    submitting: BTreeSet<String>,
}

impl std::fmt::Debug for Timekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timekeeper").field("schedules", &self.table.entries().len()).finish_non_exhaustive()
    }
}

impl Timekeeper {
    pub fn new(shared: Shared, orchestrator: ActorRef<Orchestrator>) -> Self {
        Self {
            shared,
            orchestrator,
            table: Timetable::default(),
            generation: 1,
            records: 0,
            unreadable: None,
            waiting: VecDeque::new(),
            at_work: false,
            submitting: BTreeSet::new(),
        }
    }

    fn reread(&mut self) {
        let mut table = Timetable::default();
        self.generation = generations::newest(&self.shared.journal, SCHEDULES_STREAM);
        let read = read(&self.shared.journal, &self.stream(), |event| table.apply(event));
        match read {
            Ok(records) => {
                (self.table, self.records, self.unreadable) = (table, records, None);
            }
            Err(error) => {
                tracing::error!(%error, "The schedules cannot be read; none fires.");
                self.unreadable = Some(error.to_string());
            }
        }
    }

    fn stream(&self) -> String {
        generations::name(SCHEDULES_STREAM, self.generation)
    }

    /// The records that close the stream and begin the next one.
    fn anew(&self) -> Result<Vec<NewRecord>, RecordError> {
        let by = Principal::system();
        let closed = (self.stream(), self.records, Event::TimetableClosed);
        let next = generations::name(SCHEDULES_STREAM, self.generation + 1);
        let told = (0..).zip(self.table.carried()).map(|(have, event)| (next.clone(), have, event));
        let record = |(stream, have, event): (String, u64, Event)| {
            records::record(stream, have, event.name(), EVENT_SCHEMA, &event, &by)
        };
        std::iter::once(closed).chain(told).map(record).collect()
    }

    /// Once a second: submissions that have no answer yet, then the clock.
    fn look(&mut self, ctx: &mut Context<Self>) {
        metrics::gauge!("executing_schedules_active")
            .set(self.table.entries().values().filter(|entry| entry.paused.is_none()).count() as f64);
        let board = &self.shared.board;
        // Whether a run is open is known only then.
        if !board.is_recovered() || self.unreadable.is_some() {
            return;
        }
        if board.emergency().is_some() || board.no_room().is_some() {
            return;
        }
        self.perform(self.table.recover(), ctx);
        if !self.at_work && self.waiting.is_empty() {
            self.waiting.push_back(Job { input: Input::Tick, by: Principal::system(), reply: None });
            self.next(ctx);
        }
    }

    /// Takes the next job, if none is being done.
    fn next(&mut self, ctx: &mut Context<Self>) {
        while !self.at_work {
            let Some(Job { input, by, reply }) = self.waiting.pop_front() else { return };
            let answer = |reply: Option<Reply>, with| {
                if let Some(reply) = reply {
                    let _ = reply.send(with);
                }
            };
            if let Some(why) = &self.unreadable {
                answer(reply, Err(TimetableError::Unreadable(why.clone())));
                continue;
            }
            let board = self.shared.board.clone();
            let is_open = move |run: &str| board.summary(run).is_some_and(|run| run.ended_ms.is_none());
            let decided = match self.table.decide(self.shared.clock.now_ms(), input, &is_open) {
                Ok(decided) => decided,
                Err(refusal) => {
                    answer(reply, Err(refusal.into()));
                    continue;
                }
            };
            if decided.events.is_empty() {
                self.perform(decided.commands, ctx);
                answer(reply, Ok(()));
                continue;
            }
            let have = self.records;
            let batch: Result<Vec<_>, RecordError> = (have..)
                .zip(&decided.events)
                .map(|(have, event)| {
                    records::record(self.stream(), have, event.name(), EVENT_SCHEMA, event, &by)
                })
                .collect();
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    answer(reply, Err(TimetableError::NotDurable(error.to_string())));
                    continue;
                }
            };
            self.at_work = true;
            let shared = self.shared.clone();
            let append = async move { shared.append(batch).await };
            ctx.spawn(append.into_actor(self).map(move |appended, this, ctx| {
                this.at_work = false;
                match appended {
                    Ok(_) => {
                        decided.events.iter().for_each(|event| this.table.apply(event));
                        this.records += decided.events.len() as u64;
                        this.perform(decided.commands, ctx);
                        answer(reply, Ok(()));
                    }
                    Err(error) => {
                        // Whatever the journal holds is what counts, not what was believed here.
                        this.reread();
                        answer(reply, Err(TimetableError::NotDurable(error.to_string())));
                    }
                }
                this.next(ctx);
            }));
        }
    }

    fn perform(&mut self, commands: Vec<Command>, ctx: &mut Context<Self>) {
        for command in commands {
            match command {
                Command::Submit { name, key, submission, by, role } => {
                    self.submit(name, key, &submission, Principal { name: by, role }, ctx);
                }
                Command::Cancel { run, by, role } => {
                    // Asked again until the run is being undone; its refusal is no news.
                    let unwinds = self.shared.board.summary(&run).is_none_or(|run| run.phase == "unwinding");
                    if !unwinds {
                        let (reply, _) = oneshot::channel();
                        let (input, by) = (RunInput::Cancel { by: by.clone() }, Principal { name: by, role });
                        let _ = self.orchestrator.tell(Control { run, input, by, reply });
                    }
                }
            }
        }
    }

    fn submit(&mut self, name: String, key: String, text: &str, by: Principal, ctx: &mut Context<Self>) {
        if self.submitting.contains(&key) {
            return;
        }
        let submission = match serde_json::from_str::<Submission>(text) {
            Ok(submission) => Submission { key: Some(key.clone()), ..submission },
            Err(error) => {
                let message = format!("what is to be submitted cannot be read: {error}");
                let outcome = Outcome::Refused { code: "EX-0065".to_owned(), message };
                return self.settle(name, key, outcome, ctx);
            }
        };
        let (reply, answered) = oneshot::channel();
        if self.orchestrator.tell(Submit { submission, by, reply }).is_err() {
            // Asked again at the next look.
            return;
        }
        self.submitting.insert(key.clone());
        ctx.spawn(answered.into_actor(self).map(move |answer, this, ctx| {
            this.submitting.remove(&key);
            match answer.ok().and_then(outcome_of) {
                Some(outcome) => this.settle(name, key, outcome, ctx),
                None => tracing::info!(key, "A scheduled run was not taken yet; it is submitted again."),
            }
        }));
    }

    fn settle(&mut self, name: String, key: String, outcome: Outcome, ctx: &mut Context<Self>) {
        match &outcome {
            Outcome::Submitted { run } => {
                metrics::counter!("executing_schedules_submitted_total").increment(1);
                tracing::info!(schedule = name, key, run, "A scheduled run was submitted.");
            }
            Outcome::Refused { code, message } => {
                tracing::warn!(schedule = name, key, code, message, "A scheduled run was refused.");
            }
        }
        let input = Input::Settled { name, key, outcome };
        self.waiting.push_back(Job { input, by: Principal::system(), reply: None });
        self.next(ctx);
    }
}

/// How a submission went; `None` if the same submission may go otherwise in a moment.
fn outcome_of(answer: Result<Accepted, SubmitError>) -> Option<Outcome> {
    let code = match &answer {
        Ok(accepted) => return Some(Outcome::Submitted { run: accepted.run.clone() }),
        // Keys of schedules are made of schedule and moment: what has this one is that moment's run, though an
        // upgrade of the daemon may read the workflow's text otherwise by now.
        Err(SubmitError::KeyReused { run, .. }) => return Some(Outcome::Submitted { run: run.clone() }),
        Err(
            SubmitError::NotAdmitted(NotAdmitted::Full { .. })
            | SubmitError::Stopped(_)
            | SubmitError::NoRoom(_)
            | SubmitError::NotDurable(_),
        ) => return None,
        Err(SubmitError::Invalid(problems)) => problems.first().map_or("EX-0100", |problem| &problem.code),
        Err(SubmitError::UnknownRun(_)) => "EX-0003",
        Err(SubmitError::NothingComputes(_)) => "EX-0024",
        Err(SubmitError::NotAdmitted(NotAdmitted::AboveCeiling(_))) => "EX-0027",
        Err(SubmitError::NotAdmitted(_)) => "EX-0025",
        Err(_) => "EX-0015",
    };
    let message = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
    Some(Outcome::Refused { code: code.to_owned(), message })
}

/// Gives every event of the stream to `each`; answers how many records there are.
fn read(journal: &Journal, stream: &str, mut each: impl FnMut(&Event)) -> Result<u64, RecordError> {
    let mut records = 0;
    loop {
        let page = journal
            .read_stream(stream, records + 1, PAGE)
            .map_err(|error| RecordError::Unreadable(error.to_string()))?;
        let Some(last) = page.last() else { return Ok(records) };
        records = last.stream_seq;
        for record in &page {
            each(&records::decode::<Event>(record, EVENT_SCHEMA)?);
        }
    }
}

/// Artefacts that schedules will submit runs with; they stay as long as their schedules do. Reads the journal.
///
/// # Errors
/// What could not be read; then it is not known what must stay.
pub fn named_artefacts(journal: &Journal) -> Result<Vec<Digest>, String> {
    let mut table = Timetable::default();
    let stream = generations::name(SCHEDULES_STREAM, generations::newest(journal, SCHEDULES_STREAM));
    read(journal, &stream, |event| table.apply(event)).map_err(|error| error.to_string())?;
    let mut named = Vec::new();
    for entry in table.entries().values() {
        let submission: Submission =
            serde_json::from_str(&entry.spec.submission).map_err(|error| error.to_string())?;
        for digest in submission.inputs.values() {
            named.push(digest.parse().map_err(|error| format!("{digest}: {error}"))?);
        }
    }
    Ok(named)
}

impl Actor for Timekeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.reread();
        ctx.run_interval(LOOK_EVERY, Self::look);
    }
}

impl Supervised for Timekeeper {
    fn restarting(&mut self, _: &mut Self::Context) {
        // What was being written or asked died with the old incarnation; its answer will not come.
        self.at_work = false;
        self.submitting.clear();
    }
}

/// Begin the stream anew if it has at least so many records; it may be put off.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct BeginAnew {
    pub records_min: u64,
    /// Dropped when it is done, or is not to be.
    pub done: mpsc::Sender<()>,
}

impl Handler<BeginAnew> for Timekeeper {
    type Result = ();

    fn handle(&mut self, message: BeginAnew, ctx: &mut Self::Context) {
        if self.at_work || self.unreadable.is_some() || self.records < message.records_min {
            return;
        }
        let Ok(batch) = self.anew() else { return };
        let count = batch.len() as u64;
        self.at_work = true;
        let shared = self.shared.clone();
        ctx.spawn(async move { shared.append(batch).await }.into_actor(self).map(
            move |appended, this, ctx| {
                this.at_work = false;
                match appended {
                    Ok(_) => {
                        tracing::info!(records = this.records, "The stream of schedules begins anew.");
                        (this.generation, this.records) = (this.generation + 1, count - 1);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "The stream of schedules could not begin anew.");
                        this.reread();
                    }
                }
                drop(message.done);
                this.next(ctx);
            },
        ));
    }
}

/// Change a schedule. Answered on `reply` when it is durable.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Change {
    pub input: Input,
    pub by: Principal,
    pub reply: oneshot::Sender<Result<(), TimetableError>>,
}

impl Handler<Change> for Timekeeper {
    type Result = ();

    fn handle(&mut self, message: Change, ctx: &mut Self::Context) {
        let Change { input, by, reply } = message;
        self.waiting.push_back(Job { input, by, reply: Some(reply) });
        self.next(ctx);
    }
}

/// How are the schedules?
#[derive(Debug, Message)]
#[rtype(result = "Shown")]
pub struct Look;

/// Answer to [`Look`].
#[derive(Debug, actix::MessageResponse)]
pub struct Shown {
    pub table: Timetable,
    pub unreadable: Option<String>,
}

impl Handler<Look> for Timekeeper {
    type Result = Shown;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Shown {
        Shown { table: self.table.clone(), unreadable: self.unreadable.clone() }
    }
}
