//! The housekeeper: the one owner of removal. Ended runs that nobody keeps are forgotten, the journal is
//! compacted, artefacts that nobody names are collected; pins are recorded here, too.
//!
//! Rule: what goes is journaled (stream `retention`: which, when, by whom) before anything is removed. From
//! that record on the runs are gone for every reader; what is left of them on disk goes in steps that may be
//! cut short anywhere and are taken up by the next round. Which runs go is decided by `engine::retention`.
//! Blocking work is done off the actors' thread, one sweep at a time. Start at [`Housekeeper::carry_out`].

mod sweep;

pub use sweep::Want;

use crate::deployer::{self, Deployer};
use crate::generations;
use crate::orchestrator::{ForgetKeys, Orchestrator, Withhold};
use crate::records::Principal;
use crate::releases::Releases;
use crate::resources::{self, ResourceManager};
use crate::shared::Shared;
use crate::timetable::{self, Timekeeper};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised, WrapFuture};
use engine::deployment::{Deployments, Outcome};
use engine::retention::{Ended, Event, Input, Limits, name_of, number_of, runs_to_forget};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisors::ActorRef;
use sweep::Sweeper;
use tokio::sync::{mpsc, oneshot};

/// Requests of people that may wait.
pub const HOUSEKEEPER_MAILBOX: usize = 256;
/// How often it looks whether there is something to do. Asks the board for two numbers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A start is for runs; the first round comes after this part of the time between two, 10 s by default.
const FIRST_ROUND_PART: u32 = 60;
/// The orchestrator and the deployer answer in microseconds; a restart takes milliseconds.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Ended runs beyond the number allowed that make a round begin before its time: a tenth, and at least this.
const SURPLUS_MIN: usize = 64;
/// Names in one answer; the rest is a number.
const NAMES_MAX: usize = 1_000;

/// What the settings say about housekeeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub limits: Limits,
    /// Time between two rounds.
    pub every: Duration,
    /// How long an artefact must have been without a name before it is removed.
    pub grace: Duration,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HousekeepingError {
    #[error("there is no run {0}; `executingctl list` shows those there are")]
    UnknownRun(String),
    #[error("{run} is {phase}; only a run that is failed or rolled-back is a dead letter")]
    NotDead { run: String, phase: String },
    #[error("{0}; try again in a moment")]
    Busy(String),
    #[error("nothing was removed: {0}")]
    Refused(String),
    #[error("the journal did not take it: {0}")]
    NotDurable(String),
}

type Reply = oneshot::Sender<Result<Value, HousekeepingError>>;

enum Job {
    Pin { run: String, pinned: bool, reason: String, by: Principal, reply: Reply },
    Dismiss { run: String, reason: String, by: Principal, reply: Reply },
    Round { gc: Gc, reply: Option<Reply> },
}

/// What a round should do.
#[derive(Debug, Clone)]
pub struct Gc {
    pub by: Principal,
    /// Says what would go, and does nothing.
    pub dry_run: bool,
    /// Decide which runs to forget.
    pub forget: bool,
    pub want: Want,
}

/// Who writes the streams that begin anew.
#[derive(Debug, Clone)]
pub struct Writers {
    pub resources: ActorRef<ResourceManager>,
    pub timetable: ActorRef<Timekeeper>,
}

impl Writers {
    /// Lets streams that have grown long begin anew, so that the compaction after it can drop what is behind
    /// them; who compacts by hand wants all that can go to go.
    async fn begin_anew(&self, want: Want) {
        let records_min = if want.compact_now { 2 } else { generations::RECORDS_MAX };
        let (done, mut over) = mpsc::channel(1);
        let _ = self.resources.tell(resources::BeginAnew { records_min, done: done.clone() });
        let _ = self.timetable.tell(timetable::BeginAnew { records_min, done });
        // Both have let go, or one takes too long: then its old stream goes in the next round.
        let _ = tokio::time::timeout(ANSWER_WAIT, over.recv()).await;
    }
}

/// The actor round the books of retention.
pub struct Housekeeper {
    shared: Shared,
    orchestrator: ActorRef<Orchestrator>,
    deployer: ActorRef<Deployer>,
    writers: Writers,
    sweeper: Arc<tokio::sync::Mutex<Sweeper>>,
    waiting: VecDeque<Job>,
    at_work: bool,
    next_round: Instant,
}

impl std::fmt::Debug for Housekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Housekeeper").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Housekeeper {
    pub fn new(
        shared: Shared,
        releases: Releases,
        orchestrator: ActorRef<Orchestrator>,
        deployer: ActorRef<Deployer>,
        writers: Writers,
    ) -> Self {
        let first = shared.limits.housekeeping.every / FIRST_ROUND_PART;
        let sweeper = Arc::new(tokio::sync::Mutex::new(Sweeper::new(shared.clone(), releases)));
        Self {
            shared,
            orchestrator,
            deployer,
            writers,
            sweeper,
            waiting: VecDeque::new(),
            at_work: false,
            next_round: Instant::now() + first,
        }
    }

    /// Begins a round if its time has come, or if many more runs have ended than are kept.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if !self.shared.board.is_recovered() || self.at_work || !self.waiting.is_empty() {
            return;
        }
        let policy = self.shared.limits.housekeeping;
        let is_time = Instant::now() >= self.next_round;
        let (most, pinned) = (policy.limits.runs_max, self.shared.books.pinned_count());
        let surplus = self.shared.board.ended_count().saturating_sub(most.saturating_add(pinned));
        if !is_time && (surplus <= SURPLUS_MIN.max(most / 10) || self.sweeper.try_lock().is_err()) {
            return;
        }
        if is_time {
            self.next_round = Instant::now() + policy.every;
        }
        let want = Want { compact_now: false, collect: is_time };
        let gc = Gc { by: Principal::system(), dry_run: false, forget: true, want };
        self.waiting.push_back(Job::Round { gc, reply: None });
        self.next(ctx);
    }

    /// Takes the next job, if none is being done. A sweep goes on behind it, so that a pin need not wait.
    fn next(&mut self, ctx: &mut Context<Self>) {
        if self.at_work {
            return;
        }
        let Some(job) = self.waiting.pop_front() else { return };
        self.at_work = true;
        let (shared, orchestrator) = (self.shared.clone(), self.orchestrator.clone());
        let (deployer, sweeper) = (self.deployer.clone(), Arc::clone(&self.sweeper));
        let writers = self.writers.clone();
        let work = async move { Self::carry_out(&shared, &orchestrator, &deployer, job).await };
        ctx.spawn(work.into_actor(self).map(move |then, actor, ctx| {
            actor.at_work = false;
            if let Some((gc, decided, reply)) = then {
                let swept = async move {
                    writers.begin_anew(gc.want).await;
                    sweep::run(sweeper, gc, decided, reply).await;
                };
                ctx.spawn(swept.into_actor(actor));
            }
            actor.next(ctx);
        }));
    }

    /// Does the part of a job that changes the books; gives what is left to be swept.
    async fn carry_out(
        shared: &Shared,
        orchestrator: &ActorRef<Orchestrator>,
        deployer: &ActorRef<Deployer>,
        job: Job,
    ) -> Option<(Gc, Value, Option<Reply>)> {
        match job {
            Job::Pin { run, pinned, reason, by, reply } => {
                let _ = reply.send(pin(shared, &run, pinned, reason, &by).await);
                None
            }
            Job::Dismiss { run, reason, by, reply } => {
                let _ = reply.send(dismiss(shared, &run, reason, &by).await);
                None
            }
            Job::Round { gc, reply } => match forget(shared, orchestrator, deployer, &gc).await {
                Ok(decided) if !gc.dry_run => Some((gc, decided, reply)),
                other => {
                    match (reply, other) {
                        (Some(reply), other) => drop(reply.send(other)),
                        (None, Err(error)) => tracing::warn!(%error, "Housekeeping was put off."),
                        (None, Ok(_)) => {}
                    }
                    None
                }
            },
        }
    }
}

/// Journals an event, then applies it.
async fn commit(shared: &Shared, event: &Event, by: &Principal) -> Result<u64, HousekeepingError> {
    let not_durable = |why: String| HousekeepingError::NotDurable(why);
    let record = shared.books.record(event, by).map_err(|e| not_durable(e.to_string()))?;
    match shared.append(vec![record]).await {
        Ok(positions) => {
            shared.books.apply(event);
            metrics::gauge!("executing_runs_pinned").set(shared.books.pinned_count() as f64);
            Ok(positions.first().copied().unwrap_or_default())
        }
        Err(error) => {
            // Whatever the journal holds is what counts, not what was believed here.
            shared.books.reread(&shared.journal);
            Err(not_durable(error.to_string()))
        }
    }
}

async fn pin(
    shared: &Shared,
    run: &str,
    pinned: bool,
    reason: String,
    by: &Principal,
) -> Result<Value, HousekeepingError> {
    let known = number_of(run).filter(|_| shared.board.summary(run).is_some());
    let number = known.ok_or_else(|| HousekeepingError::UnknownRun(run.to_owned()))?;
    if let Some(why) = shared.books.unreadable() {
        return Err(HousekeepingError::Refused(why));
    }
    let input =
        if pinned { Input::Pin { run: number, reason } } else { Input::Unpin { run: number, reason } };
    let decided = shared.books.now().decide(input);
    if let Some(event) = decided.map_err(|e| HousekeepingError::Refused(e.to_string()))? {
        commit(shared, &event, by).await?;
    }
    Ok(json!({ "run": run, "pinned": pinned }))
}

/// Lets a dead letter rest: what the journal says of the run's end stays as it is.
async fn dismiss(
    shared: &Shared,
    run: &str,
    reason: String,
    by: &Principal,
) -> Result<Value, HousekeepingError> {
    let unknown = || HousekeepingError::UnknownRun(run.to_owned());
    let number = number_of(run).ok_or_else(unknown)?;
    let summary = shared.board.summary(run).ok_or_else(unknown)?;
    if let Some(why) = shared.books.unreadable() {
        return Err(HousekeepingError::Refused(why));
    }
    let (Some(ended_ms), "failed" | "rolled-back") = (summary.ended_ms, summary.phase.as_str()) else {
        return Err(HousekeepingError::NotDead { run: run.to_owned(), phase: summary.phase });
    };
    let decided = shared.books.now().decide(Input::Dismiss { run: number, ended_ms, reason });
    if let Some(event) = decided.map_err(|e| HousekeepingError::Refused(e.to_string()))? {
        commit(shared, &event, by).await?;
    }
    Ok(json!({ "run": run, "dismissed": true }))
}

/// Runs whose release is active, is about to be, or is the one to go back to.
fn runs_of_releases(deployments: &Deployments) -> BTreeSet<u64> {
    let wanted = [deployments.active(), deployments.before_active().flatten()];
    let held = deployments.history().iter().filter(|activation| {
        activation.outcome == Outcome::Open
            || (activation.release.is_some() && wanted.contains(&activation.release.as_deref()))
    });
    held.filter_map(|activation| number_of(activation.run.as_deref()?)).collect()
}

/// Chooses, withholds, journals, forgets.
async fn forget(
    shared: &Shared,
    orchestrator: &ActorRef<Orchestrator>,
    deployer: &ActorRef<Deployer>,
    gc: &Gc,
) -> Result<Value, HousekeepingError> {
    if let Some(why) = shared.books.unreadable() {
        return Err(HousekeepingError::Refused(format!("the books of retention cannot be read ({why})")));
    }
    if !gc.forget {
        return Ok(told(&[], 0, gc.dry_run));
    }
    let busy = |what: &str| HousekeepingError::Busy(format!("{what} does not answer"));
    let history = deployer.ask(deployer::Look, ANSWER_WAIT).await.map_err(|_| busy("the deployer"))?.0;
    let mut kept = runs_of_releases(&history);
    let books = shared.books.now();
    kept.extend(books.pins().keys());
    let ended: Vec<Ended> = shared
        .board
        .ended()
        .into_iter()
        .filter_map(|(run, ended_ms)| Some(Ended { number: number_of(&run)?, ended_ms }))
        .collect();
    let limits = shared.limits.housekeeping.limits;
    let chosen = runs_to_forget(&ended, &kept, shared.clock.now_ms(), limits);
    if gc.dry_run || chosen.is_empty() {
        return Ok(told(&chosen, kept.len(), gc.dry_run));
    }
    let names = chosen.iter().map(|number| name_of(*number)).collect();
    let withheld = orchestrator.ask(Withhold { runs: names }, ANSWER_WAIT).await;
    let withheld = withheld.map_err(|_| {
        // It may have done so all the same.
        shared.board.settle_withheld(|run| shared.books.is_forgotten(run));
        busy("the orchestrator")
    })?;
    let runs: Vec<u64> = withheld.iter().filter_map(|run| number_of(run)).collect();
    let decided = books.decide(Input::Forget { runs: runs.clone() });
    let committed = match decided.map_err(|e| HousekeepingError::Refused(e.to_string())) {
        Ok(Some(event)) => commit(shared, &event, &gc.by).await.map(Some),
        Ok(None) => Ok(None),
        Err(refused) => Err(refused),
    };
    shared.board.settle_withheld(|run| shared.books.is_forgotten(run));
    if let Some(position) = committed? {
        withheld.iter().for_each(|run| shared.checkpointer.forget(run, position));
        let _ = orchestrator.tell_control(ForgetKeys);
        metrics::counter!("executing_runs_forgotten_total").increment(runs.len() as u64);
        tracing::info!(runs = runs.len(), position, by = gc.by.name, "Ended runs were forgotten.");
    }
    Ok(told(&runs, kept.len(), false))
}

fn told(runs: &[u64], protected: usize, dry_run: bool) -> Value {
    let names: Vec<String> = runs.iter().take(NAMES_MAX).map(|number| name_of(*number)).collect();
    json!({ "forgotten": runs.len(), "runs": names, "protected": protected, "dry_run": dry_run })
}

impl Actor for Housekeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.shared.books.reread(&self.shared.journal);
        let books = self.shared.books.clone();
        self.shared.board.settle_withheld(|run| books.is_forgotten(run));
        metrics::gauge!("executing_runs_pinned").set(books.pinned_count() as f64);
        ctx.run_interval(LOOK_EVERY, Self::look);
        self.next(ctx);
    }
}

impl Supervised for Housekeeper {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The job at work died with the old incarnation; its asker is told by the dropped reply.
        self.at_work = false;
    }
}

/// Keep this run for ever, or no longer. Answered on `reply`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Pin {
    pub run: String,
    pub pinned: bool,
    pub reason: String,
    pub by: Principal,
    pub reply: oneshot::Sender<Result<Value, HousekeepingError>>,
}

impl Handler<Pin> for Housekeeper {
    type Result = ();

    fn handle(&mut self, message: Pin, ctx: &mut Self::Context) {
        let Pin { run, pinned, reason, by, reply } = message;
        self.waiting.push_back(Job::Pin { run, pinned, reason, by, reply });
        self.next(ctx);
    }
}

/// Somebody has looked at this dead letter. Answered on `reply`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Dismiss {
    pub run: String,
    pub reason: String,
    pub by: Principal,
    pub reply: oneshot::Sender<Result<Value, HousekeepingError>>,
}

impl Handler<Dismiss> for Housekeeper {
    type Result = ();

    fn handle(&mut self, message: Dismiss, ctx: &mut Self::Context) {
        let Dismiss { run, reason, by, reply } = message;
        self.waiting.push_back(Job::Dismiss { run, reason, by, reply });
        self.next(ctx);
    }
}

/// Tidy up now. Answered on `reply` when it is done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Collect {
    pub gc: Gc,
    pub reply: oneshot::Sender<Result<Value, HousekeepingError>>,
}

impl Handler<Collect> for Housekeeper {
    type Result = ();

    fn handle(&mut self, message: Collect, ctx: &mut Self::Context) {
        self.waiting.push_back(Job::Round { gc: message.gc, reply: Some(message.reply) });
        self.next(ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::deployment;

    #[test]
    fn the_runs_of_the_active_release_and_of_the_one_to_go_back_to_are_protected_and_older_ones_not() {
        let mut deployments = Deployments::default();
        for (position, (release, run)) in [("rel-a", 1), ("rel-b", 2), ("rel-c", 3)].into_iter().enumerate() {
            let input = deployment::Input::Activate {
                release: Some(release.into()),
                run: Some(name_of(run)),
                by: "p".into(),
            };
            for input in [input, deployment::Input::Verified] {
                let event = deployments.decide(input).unwrap();
                deployments.apply(position as u64, 0, &event);
            }
        }
        assert_eq!(runs_of_releases(&deployments), BTreeSet::from([2, 3]));
    }
}
