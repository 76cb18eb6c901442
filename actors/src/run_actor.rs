//! One run: decide, journal, apply, perform.
//!
//! The machine is `engine::run::Run`; this shell adds the journal, the timers and the way to executors.
//! Rule: between `decide` and `apply` no other message is handled (`ctx.wait`), and what `decide` saw is
//! what `apply` changes. After a panic the run is read again from the journal. Start at [`RunActor::commit`].

use crate::admission::{self, Asking};
use crate::directory::Directory;
use crate::records::{self, Principal};
use crate::shared::Shared;
use crate::stages::{self, Executor, Work};
use crate::steering::{Heard, Order};
use crate::{deployer, quantum_proxy, resources, scheduler, solver_worker};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised, WrapFuture};
use engine::definition::StageIndex;
use engine::definition::parameters::SHOTS;
use engine::run::{Command, Event, Fence, Input, Refusal, Run, StageState};
use journal::{AppendError, Appended};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use supervisors::{ActorRef, TellError};
use tokio::sync::oneshot;

/// Messages a run may have waiting. At most one report per stage and a few requests of people; 256 is
/// far beyond both.
pub const RUN_MAILBOX: usize = 256;
/// Pause before a message is offered again to a full mailbox.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// A stage that still waits for room after so long asks again, whatever became of its request. Asking twice is
/// harmless, the newest request of a stage counts.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Pause before a run is read again after the journal did not take its events.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// A lease is renewed so often before it would be over; two renewals may be lost.
const RENEWALS: u64 = 3;
/// Events between two checkpoints of a run; replaying so many takes well under a millisecond.
const CHECKPOINT_EVERY: u64 = 32;

/// Numbers of requests for room. They differ over all starts of all runs' actors, so that an answer to a
/// request from before a panic is known as such.
static NEXT_TURN: AtomicU64 = AtomicU64::new(1);

/// Feed one input to the run. Answered on `reply`, if anybody wants to know.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drive {
    pub input: Input,
    pub by: Principal,
    pub reply: Option<oneshot::Sender<Result<(), DriveError>>>,
    /// For a placement: the request that it answers, and its lease.
    pub turn: Option<Turn>,
}

/// Which request a placement answers, and with which lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Number of the request.
    pub asked: u64,
    /// Fence of the lease; none where nothing was granted.
    pub lease: Option<u64>,
}

impl Drive {
    /// An input from the daemon's own parts; nobody waits for the answer.
    pub fn report(input: Input) -> Self {
        Self { input, by: Principal::system(), reply: None, turn: None }
    }

    /// The answer to a request for room.
    pub fn placed(input: Input, turn: Turn) -> Self {
        Self { turn: Some(turn), ..Self::report(input) }
    }
}

/// Why an input was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriveError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the journal did not take it: {0}")]
    NotDurable(String),
    #[error("no such run")]
    Unknown,
}

/// What waits until the present commit is over.
#[derive(Debug)]
enum Due {
    Input(Input),
    Recover,
}

/// The actor round one [`Run`].
#[derive(Debug)]
pub struct RunActor {
    id: String,
    run: Option<Run>,
    /// For the first start only.
    known: Option<(Run, u64)>,
    /// Records in the run's stream.
    sequence: u64,
    checkpointed: u64,
    /// Where the scheduler placed each running stage; nothing runs over a restart, so it need not last.
    placed_on: BTreeMap<u32, String>,
    /// Number of the newest request for room of each stage that waits for it.
    asked: BTreeMap<u32, u64>,
    /// Fence of the lease of each stage that holds one.
    leases: BTreeMap<u32, u64>,
    /// Shots that were set aside for each attempt that was handed out.
    shots: BTreeMap<u32, u64>,
    /// A timer runs that renews them.
    renewing: bool,
    /// Commands behind one that found a full mailbox; they keep their order.
    held: VecDeque<Command>,
    /// Between `decide` and `apply`: whatever comes up waits in `due`.
    committing: bool,
    due: VecDeque<Due>,
    shared: Shared,
    directory: Directory,
    me: ActorRef<Self>,
}

impl RunActor {
    /// `known`: the run as its journal says, if whoever starts it has just read or written that.
    pub fn new(
        id: String,
        known: Option<(Run, u64)>,
        shared: Shared,
        directory: Directory,
        me: ActorRef<Self>,
    ) -> Self {
        Self {
            id,
            run: None,
            known,
            sequence: 0,
            checkpointed: 0,
            placed_on: BTreeMap::new(),
            asked: BTreeMap::new(),
            leases: BTreeMap::new(),
            shots: BTreeMap::new(),
            renewing: false,
            held: VecDeque::new(),
            committing: false,
            due: VecDeque::new(),
            shared,
            directory,
            me,
        }
    }

    /// Reads the run from checkpoint and journal, interrupts what was in flight, and goes on.
    fn resume(&mut self, ctx: &mut Context<Self>) {
        journal::failpoint!("run.before-resume");
        let rebuilt = match self.known.take() {
            Some(known) => Ok(known),
            None => {
                // Whatever an earlier incarnation held is given back before anything is asked for again.
                let _ = self.directory.resources.tell_control(resources::ReleaseRun { run: self.id.clone() });
                let _ =
                    self.directory.scheduler.tell_control(scheduler::WithdrawRun { run: self.id.clone() });
                let checkpoint = self.shared.checkpoint_of(&self.id);
                records::rebuild_run(&self.shared.journal, &self.id, checkpoint)
            }
        };
        let (run, sequence) = match rebuilt {
            Ok(rebuilt) => rebuilt,
            Err(error) => {
                tracing::error!(run = %self.id, %error, "A run cannot be read from the journal; it stays as it is.");
                return self.answer_roll(ctx);
            }
        };
        journal::failpoint!("run.after-rebuild");
        // An actor that starts again in a living daemon has left its executors at work.
        for stage in (0..run.definition().stages.len() as u32).map(StageIndex) {
            if let Some(fence) = run.fence(stage) {
                let _ = self.abandon(stage, fence);
            }
        }
        self.sequence = sequence;
        self.checkpointed = sequence;
        let ended = run.phase().is_ended();
        let stop = self.shared.board.emergency().is_some() && !run.is_paused();
        self.run = Some(run);
        if ended {
            // Started to be asked something (`retry`): the question is in the mailbox.
            return self.answer_roll(ctx);
        }
        self.due.push_back(Due::Recover);
        if stop {
            // Submitted or restarted while the stop is in force: it is told like the others, before it
            // goes on.
            self.due.push_front(Due::Input(Input::EmergencyStop));
        }
        self.settle_due(ctx);
    }

    /// Takes up what was in flight before this start, and looks what is due.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        let Some(run) = &self.run else { return };
        let (events, commands) = run.recover(self.shared.clock.now_ms());
        self.commit(events, commands, Principal::system(), None, true, ctx);
    }

    /// Journals `events`, then applies them, then performs `commands`, then answers; nothing else is
    /// handled meanwhile.
    fn commit(
        &mut self,
        events: Vec<Event>,
        commands: Vec<Command>,
        by: Principal,
        reply: Option<oneshot::Sender<Result<(), DriveError>>>,
        then_look: bool,
        ctx: &mut Context<Self>,
    ) {
        if events.is_empty() {
            if let Some(run) = &self.run {
                self.shared.board.publish(run);
            }
            self.perform(commands, ctx);
            answer(reply, Ok(()));
            if then_look {
                self.answer_roll(ctx);
                self.due.push_back(Due::Input(Input::Woke));
            }
            return self.settle_due(ctx);
        }
        let batch = match records::run_records(&self.id, self.sequence, &events, &by) {
            Ok(batch) => batch,
            Err(error) => return answer(reply, Err(DriveError::NotDurable(error.to_string()))),
        };
        self.committing = true;
        let shared = self.shared.clone();
        journal::failpoint!("run.before-append");
        let durable = async move { shared.append_timed(batch).await }.into_actor(self);
        ctx.wait(durable.map(move |result, actor, ctx| {
            actor.committing = false;
            match result {
                Ok(appended) => {
                    journal::failpoint!("run.after-append");
                    actor.apply(&events, &appended);
                    journal::failpoint!("run.after-apply");
                    actor.perform(commands, ctx);
                    journal::failpoint!("run.after-commands");
                    answer(reply, Ok(()));
                    if then_look {
                        actor.answer_roll(ctx);
                        actor.due.push_back(Due::Input(Input::Woke));
                    }
                }
                Err(error) => {
                    tracing::error!(run = %actor.id, %error, "Events of a run could not be journaled.");
                    answer(reply, Err(DriveError::NotDurable(error.to_string())));
                    if !matches!(error, AppendError::Poisoned { .. } | AppendError::Closed) {
                        // What was to be recorded is lost with its sender. Only the journal is believed:
                        // the run is read again, and what was in flight begins anew.
                        actor.due.clear();
                        actor.asked.clear();
                        actor.held.clear();
                        actor.run = None;
                        ctx.run_later(READ_AGAIN, |actor, ctx| {
                            if actor.run.is_none() {
                                actor.resume(ctx);
                            }
                        });
                    }
                }
            }
            actor.settle_due_in_turn(ctx);
        }));
    }

    /// As [`Self::settle_due`], after the messages that wait already: a chain of stages that each end at
    /// once must not keep a pause or a cancel out.
    fn settle_due_in_turn(&mut self, ctx: &mut Context<Self>) {
        if !self.due.is_empty() && self.me.tell(SettleDue).is_err() {
            self.settle_due(ctx);
        }
    }

    /// Takes what came up while commands were performed, one decision after the other.
    fn settle_due(&mut self, ctx: &mut Context<Self>) {
        while !self.committing
            && let Some(due) = self.due.pop_front()
        {
            match due {
                Due::Input(input) => self.drive(input, Principal::system(), None, ctx),
                Due::Recover => self.recover(ctx),
            }
        }
    }

    fn apply(&mut self, events: &[Event], appended: &Appended) {
        let Some(run) = &mut self.run else { return };
        // The journal's own time of the records, so that replay and life agree to the millisecond.
        for (event, position) in events.iter().zip(&appended.positions) {
            run.apply(*position, appended.time_ms, event);
            if let Event::StageStarted { stage, placed_on, .. } = event {
                self.placed_on.insert(stage.0, placed_on.clone());
            }
            tracing::debug!(run = %self.id, position, event = event.name(), "Journaled.");
            metrics::counter!("executing_run_events_total", "event" => event.name()).increment(1);
        }
        self.sequence += events.len() as u64;
        self.shared.board.publish(run);
        let last = appended.positions.last().copied().unwrap_or_default();
        if run.phase().is_ended() {
            self.shared.checkpoint_end(run, self.sequence, last);
        } else if self.sequence - self.checkpointed >= CHECKPOINT_EVERY {
            self.checkpointed = self.sequence;
            self.shared.checkpoint_run(run, self.sequence, last);
        }
    }

    /// Lets the run say what is due now.
    fn look(&mut self, ctx: &mut Context<Self>) {
        self.drive(Input::Woke, Principal::system(), None, ctx);
    }

    fn drive(
        &mut self,
        input: Input,
        by: Principal,
        reply: Option<oneshot::Sender<Result<(), DriveError>>>,
        ctx: &mut Context<Self>,
    ) {
        let Some(run) = &self.run else {
            return answer(
                reply,
                Err(DriveError::NotDurable("the run could not be read from the journal".into())),
            );
        };
        // Asked just before an emergency stop and heard after it: nothing begins until it is cleared.
        if matches!(
            input,
            Input::Resume { .. } | Input::Retry { .. } | Input::Cancel { .. } | Input::Reset { .. }
        ) && let Some(reason) = self.shared.board.emergency()
        {
            let expected = "no emergency stop in force".to_owned();
            let refusal = Refusal::NotNow { expected, actual: format!("stopped: {reason}") };
            return answer(reply, Err(refusal.into()));
        }
        let placed = match &input {
            Input::Placed { stage, .. } => Some(*stage),
            _ => None,
        };
        journal::failpoint!("run.before-decide");
        match run.decide(self.shared.clock.now_ms(), self.random(), input) {
            Ok(decision) => {
                journal::failpoint!("run.after-decide");
                self.commit(decision.events, decision.commands, by, reply, false, ctx)
            }
            Err(refusal) => {
                tracing::debug!(run = %self.id, %refusal, "Refused.");
                metrics::counter!("executing_refusals_total").increment(1);
                if let Some(stage) = placed {
                    self.give_back(stage);
                }
                if run.phase().is_ended() {
                    // Started only to be asked; the answer is no, and the run stays ended.
                    use actix::ActorContext;
                    ctx.stop();
                }
                answer(reply, Err(refusal.into()));
            }
        }
    }

    /// Gives a lease back that came for nothing, unless the stage uses one, or has asked again and will be
    /// granted this.
    fn give_back(&self, stage: StageIndex) {
        let used = self.run.as_ref().is_some_and(|run| {
            matches!(run.stage(stage), StageState::Running { .. } | StageState::Ready { .. })
        });
        if !used {
            let key = (self.id.clone(), stage.0);
            let _ = self.directory.resources.tell_control(resources::Release::any(key));
        }
    }

    /// Renews the leases three times before they are over, for as long as there are any.
    fn renew_later(&mut self, ctx: &mut Context<Self>) {
        let Some(lease_ms) = self.shared.limits.scheduling.policy.lease_ms else { return };
        if self.leases.is_empty() || std::mem::replace(&mut self.renewing, true) {
            return;
        }
        ctx.run_later(Duration::from_millis(lease_ms / RENEWALS), |actor, ctx| {
            actor.renewing = false;
            // A lease that was given back for want of use needs no renewal.
            let Some(run) = &actor.run else { return };
            let held = |stage: &u32| {
                matches!(run.stage(StageIndex(*stage)), StageState::Running { .. } | StageState::Ready { .. })
            };
            actor.leases.retain(|stage, _| held(stage));
            if actor.leases.is_empty() {
                return;
            }
            let leases = actor.leases.iter().map(|(stage, fence)| (*stage, *fence)).collect();
            let renew = resources::Renew { run: actor.id.clone(), leases };
            // A full lane is tried again in a third of the lease.
            let _ = actor.directory.resources.tell_control(renew);
            actor.renew_later(ctx);
        });
    }

    /// Gives the lease of an attempt that is over back, with the shots that it says it used.
    fn release(&mut self, stage: StageIndex) -> Result<(), TellError> {
        let fence = self.leases.get(&stage.0).copied();
        let used = self.run.as_ref().and_then(|run| run.shots_used(stage)).map(|shots| {
            let spec = self
                .run
                .as_ref()
                .and_then(|run| Some((run.definition().stages.get(stage.0 as usize)?, run.params_of(stage))));
            let scheduling = &self.shared.limits.scheduling;
            (shots, spec.map_or(u64::MAX, |(spec, params)| scheduling.cost(spec, &params, shots)))
        });
        let key = (self.id.clone(), stage.0);
        self.directory.resources.tell_control(resources::Release { key, fence, used })?;
        self.leases.remove(&stage.0);
        Ok(())
    }

    /// A number that differs per run and per step, the same on every replay: jitter needs no more.
    fn random(&self) -> u64 {
        let hash = blake3::hash(format!("{}/{}", self.id, self.sequence).as_bytes());
        hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Carries out `commands` in their order. What meets a full mailbox is offered again, never dropped, and
    /// what follows waits behind it: an execution must not overtake the abandon before it.
    fn perform(&mut self, commands: Vec<Command>, ctx: &mut Context<Self>) {
        for command in commands {
            if let Some(done) = self.done_at_once(&command) {
                self.due.push_back(Due::Input(done));
            } else if !self.held.is_empty() {
                self.held.push_back(command);
            } else if !self.performed(&command, ctx) {
                self.held.push_back(command);
                ctx.run_later(BUSY_PAUSE, Self::offer_again);
            }
        }
    }

    /// Waits for the next time that the runs are called to say what they ask for, again and again.
    fn hear_calls(&mut self, ctx: &mut Context<Self>) {
        let mut calls = self.shared.roll_call.listen();
        let called = async move { calls.changed().await.is_ok() };
        ctx.spawn(called.into_actor(self).map(|called, actor, ctx| {
            if called {
                actor.ask_again(ctx);
                actor.hear_calls(ctx);
            }
        }));
    }

    /// Requests were lost: asks for room for every stage that waits for it.
    fn ask_again(&mut self, ctx: &mut Context<Self>) {
        if let Some(run) = &self.run {
            let (definition, stages) = (run.definition(), 0..run.definition().stages.len() as u32);
            let requests = stages.map(StageIndex).filter_map(|stage| match *run.stage(stage) {
                StageState::Ready { attempt, .. } => Some(Command::RequestPlacement {
                    stage,
                    attempt,
                    demand: definition.stages[stage.0 as usize].demand.clone(),
                    priority: definition.priority,
                }),
                _ => None,
            });
            let requests = requests.collect();
            self.perform(requests, ctx);
        }
        self.answer_roll(ctx);
    }

    /// Says that all requests were made, behind the last of them, if anybody waits for that.
    fn answer_roll(&mut self, ctx: &mut Context<Self>) {
        if !self.shared.roll_call.is_missing(&self.id) {
            return;
        }
        let answered = scheduler::Answered { run: self.id.clone() };
        if !self.held.is_empty() || self.directory.scheduler.tell(answered) == Err(TellError::Busy) {
            ctx.run_later(BUSY_PAUSE, Self::answer_roll);
        }
    }

    /// From here on the attempt's time counts.
    fn handed_out(&mut self, stage: StageIndex, ctx: &mut Context<Self>) {
        let now_ms = self.shared.clock.now_ms();
        let Some(run) = &mut self.run else { return };
        let Some(fence) = run.fence(stage) else { return };
        if let Some(at_ms) = run.handed_out(stage, fence, now_ms) {
            let wait = Duration::from_millis(at_ms.saturating_sub(now_ms));
            ctx.run_later(wait, |actor, ctx| actor.look(ctx));
        }
    }

    fn offer_again(&mut self, ctx: &mut Context<Self>) {
        while let Some(command) = self.held.pop_front() {
            if !self.performed(&command, ctx) {
                self.held.push_front(command);
                ctx.run_later(BUSY_PAUSE, Self::offer_again);
                break;
            }
        }
        self.settle_due(ctx);
    }

    /// False if the command met a full mailbox.
    fn performed(&mut self, command: &Command, ctx: &mut Context<Self>) -> bool {
        journal::failpoint!("run.before-command");
        match (self.try_perform(command, ctx), command) {
            (Err(TellError::Busy), _) => return false,
            (Err(TellError::Down), Command::Dispatch { stage, .. }) => {
                // Its executor is gone; this attempt failed, and the next may find it restarted.
                if let Some(fence) = self.run.as_ref().and_then(|run| run.fence(*stage)) {
                    let error = crate::worker_drive::transient(
                        "EX-0501",
                        "the stage's executor is being restarted".to_owned(),
                    );
                    self.due.push_back(Due::Input(Input::Failed { stage: *stage, fence, error }));
                }
            }
            (Ok(()), Command::Dispatch { stage, .. } | Command::DispatchUndo { stage, .. }) => {
                self.handed_out(*stage, ctx);
            }
            (Ok(()) | Err(TellError::Down), _) => {}
        }
        true
    }

    /// The report of a stage that needs nobody else. It is taken when this commit is over, so the start
    /// of a stage and its end are two records, and each is durable before what follows from it.
    fn done_at_once(&self, command: &Command) -> Option<Input> {
        let (run, Command::Dispatch { stage, .. } | Command::DispatchUndo { stage, .. }) =
            (self.run.as_ref()?, command)
        else {
            return None;
        };
        if !run.definition().stages.get(stage.0 as usize)?.kind.is_immediate() {
            return None;
        }
        let (stage, fence) = (*stage, run.fence(*stage)?);
        if matches!(command, Command::DispatchUndo { .. }) {
            // It changed nothing outside of the journal.
            return Some(Input::Compensated { stage, fence });
        }
        Some(match run.check(stage) {
            Ok(facts) => Input::Succeeded { stage, fence, outputs: Vec::new(), facts },
            Err(error) => Input::Failed { stage, fence, error },
        })
    }

    fn try_perform(&mut self, command: &Command, ctx: &mut Context<Self>) -> Result<(), TellError> {
        let Some(run) = &self.run else { return Ok(()) };
        match command {
            Command::RequestPlacement { stage, attempt, demand: _, priority } => {
                journal::failpoint!("run.request-placement");
                let since_ms = match *run.stage(*stage) {
                    StageState::Ready { attempt: now, since_ms } if now == *attempt => since_ms,
                    // Asked again, and it no longer waits for this.
                    _ => return Ok(()),
                };
                let params = run.params_of(*stage);
                let ask = self.shared.limits.scheduling.ask(
                    run.definition(),
                    &Asking {
                        run: &self.id,
                        stage: *stage,
                        user: run.submitted_by(),
                        params: &params,
                        worker_memory_mib: self.shared.limits.worker_memory_mib,
                        priority: *priority,
                        asked_ms: run.asked_ms(*stage).unwrap_or(since_ms),
                    },
                );
                let turn = NEXT_TURN.fetch_add(1, Ordering::Relaxed);
                let told = self.directory.scheduler.tell(scheduler::Enqueue {
                    ask,
                    attempt: *attempt,
                    turn,
                    report_to: self.me.recipient::<Drive>(),
                });
                if told.is_ok() {
                    self.asked.insert(stage.0, turn);
                    let (again, stage) = (command.clone(), stage.0);
                    ctx.run_later(ASK_AGAIN, move |actor, ctx| {
                        // A newer request has a timer of its own.
                        if actor.asked.get(&stage) == Some(&turn) {
                            actor.perform(vec![again], ctx);
                        }
                    });
                }
                told
            }
            Command::WithdrawPlacement { stage } => {
                journal::failpoint!("run.withdraw-placement");
                self.asked.remove(&stage.0);
                self.leases.remove(&stage.0);
                let key = (self.id.clone(), stage.0);
                self.directory.scheduler.tell_control(scheduler::Withdraw { key: key.clone() })?;
                // A lease that an earlier answer left for this request is nobody's now.
                self.directory.resources.tell_control(resources::Release::any(key))
            }
            Command::Dispatch { stage, attempt, resume_from } => {
                journal::failpoint!("run.dispatch");
                let work = self.work(run, *stage, attempt.0, resume_from.clone());
                if let Some(spec) = run.definition().stages.get(stage.0 as usize) {
                    self.shots.insert(stage.0, admission::shots_of(spec, &work.params));
                }
                self.hand_out(work, false, ctx)
            }
            Command::DispatchUndo { stage, attempt } => {
                journal::failpoint!("run.dispatch-undo");
                let work = self.work(run, *stage, attempt.0, None);
                self.hand_out(work, true, ctx)
            }
            Command::Stop { stage, fence } => {
                self.shared.steering.tell((self.id.clone(), stage.0, fence.0), Order::Stop);
                Ok(())
            }
            Command::Steer { stage, fence, parameter, value } => {
                if let Some(why) = self.not_set_aside(run, *stage, parameter) {
                    let said = Heard::NotTaken(why.clone());
                    self.shared.steering.answer(&self.id, stage.0, parameter, value, said);
                    let (parameter, value) = (parameter.clone(), value.clone());
                    let input = Input::TuningAnswered {
                        stage: *stage,
                        fence: *fence,
                        parameter,
                        value,
                        taken: false,
                        why,
                    };
                    self.due.push_back(Due::Input(input));
                    return Ok(());
                }
                let order = Order::Tune { parameter: parameter.clone(), value: value.clone() };
                self.shared.steering.tell((self.id.clone(), stage.0, fence.0), order);
                Ok(())
            }
            Command::Abandon { stage, fence } => {
                journal::failpoint!("run.abandon");
                self.abandon(*stage, *fence)
            }
            Command::ReleaseLease { stage } => {
                journal::failpoint!("run.release-lease");
                self.shared.board.set_progress(&self.id, stage.0, None);
                self.release(*stage)
            }
            Command::WakeAt { at_ms } => {
                journal::failpoint!("run.wake-at");
                let wait = Duration::from_millis(at_ms.saturating_sub(self.shared.clock.now_ms()));
                ctx.run_later(wait, |actor, ctx| actor.look(ctx));
                Ok(())
            }
            Command::Ended => {
                journal::failpoint!("run.ended");
                tracing::info!(run = %self.id, phase = run.phase_name(), "The run ended.");
                metrics::counter!("executing_runs_ended_total", "phase" => run.phase_name()).increment(1);
                crate::health::observe_run_end(run);
                if run.definition().stages.iter().any(|stage| !stage.kind.is_immediate()) {
                    // A release that the resource manager lost in a panic ends here at the latest.
                    let _ =
                        self.directory.resources.tell_control(resources::ReleaseRun { run: self.id.clone() });
                }
                // Results are in the store; what stages left lying about is of no use to anybody.
                if run.definition().stages.iter().any(|stage| !stage.kind.is_immediate()) {
                    let left = crate::worker_drive::environment_of(&self.shared.limits.state_dir, &self.id);
                    drop(tokio::task::spawn_blocking(move || std::fs::remove_dir_all(left)));
                }
                use actix::ActorContext;
                ctx.stop();
                Ok(())
            }
        }
    }

    /// Why an attempt at work may not have what its stage was tuned to: more shots than were set aside for it,
    /// where somebody counts them.
    fn not_set_aside(&self, run: &Run, stage: StageIndex, parameter: &str) -> Option<String> {
        if parameter != SHOTS || !self.shared.limits.scheduling.shots_limited {
            return None;
        }
        let set_aside = *self.shots.get(&stage.0)?;
        let wanted =
            admission::shots_of(run.definition().stages.get(stage.0 as usize)?, &run.params_of(stage));
        (wanted > set_aside).then(|| {
            format!("{set_aside} shots were set aside for this attempt; shots are limited here, so more wait for room")
        })
    }

    /// All that an executor must know about the attempt that was just journaled.
    fn work(
        &self,
        run: &Run,
        stage: StageIndex,
        attempt: u32,
        resume_from: Option<engine::run::ArtefactRef>,
    ) -> Work {
        let spec = &run.definition().stages[stage.0 as usize];
        let mut files = run.inputs().to_vec();
        files.extend(run.artefacts().into_values().map(|(artefact, _)| artefact));
        Work {
            run: self.id.clone(),
            workflow: run.workflow().to_owned(),
            stage,
            path: spec.path.clone(),
            kind: spec.kind,
            attempt,
            fence: run.fence(stage).map_or(0, |fence| fence.0),
            tasks: spec.tasks.clone(),
            params: run.params_of(stage),
            seed: run.seed(),
            files,
            resume_from,
            outputs: spec.outputs.clone(),
            memory_mib: admission::memory_of(run.definition(), spec, self.shared.limits.worker_memory_mib),
            memory_stated: spec.demand.memory_mib > 0,
            threads: spec.demand.cpu_cores.max(1),
            idempotent: spec.idempotent,
            heartbeat_ms: spec.timeout.heartbeat_ms,
            submitted_by: run.submitted_by().to_owned(),
            report_to: self.me.recipient::<Drive>(),
        }
    }

    fn hand_out(&self, work: Work, undo: bool, ctx: &mut Context<Self>) -> Result<(), TellError> {
        let placed_on = self.placed_on.get(&work.stage.0).cloned().unwrap_or_default();
        let sent = match (stages::executor(work.kind), undo) {
            (Executor::Worker, true) => {
                // What a worker stage left behind is its environment; removing it twice is harmless.
                let dir = crate::worker_drive::environment_of(&self.shared.limits.state_dir, &work.run);
                let (stage, fence) = (work.stage, Fence(work.fence));
                let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(dir));
                ctx.spawn(removed.into_actor(self).map(move |_, actor, ctx| {
                    actor.drive(Input::Compensated { stage, fence }, Principal::system(), None, ctx);
                }));
                Ok(())
            }
            (Executor::Worker | Executor::Program, _) => match self.directory.workers.get(&placed_on) {
                Some(worker) => worker.tell(solver_worker::Execute { work, undo }),
                // An undo is not placed; any worker will do, the first is always there.
                None => match self.directory.workers.values().next() {
                    Some(worker) => worker.tell(solver_worker::Execute { work, undo }),
                    None => Err(TellError::Down),
                },
            },
            (Executor::Quantum, _) => {
                let backend = self
                    .run
                    .as_ref()
                    .and_then(|run| {
                        stages::backend(run.definition().stages.get(work.stage.0 as usize)?, &work.params)
                    })
                    .unwrap_or_default();
                match self.directory.backends.get(&backend) {
                    Some(proxy) => proxy.tell(quantum_proxy::Execute { work, undo }),
                    None => Err(TellError::Down),
                }
            }
            (Executor::Deployer, _) => self.directory.deployer.tell(deployer::Execute { work, undo }),
            (Executor::People | Executor::Daemon, _) => Ok(()),
        };
        if sent == Err(TellError::Down) {
            tracing::error!(run = %self.id, placed_on, "The executor of a placed stage is gone.");
        }
        sent
    }

    /// Tells whoever may hold the attempt; saying it twice is harmless, so a full lane is simply retried.
    fn abandon(&self, stage: StageIndex, fence: Fence) -> Result<(), TellError> {
        let stop = solver_worker::Abandon { run: self.id.clone(), stage, fence };
        let workers = self.directory.workers.values().map(|worker| worker.tell_control(stop.clone()));
        let proxies = self.directory.backends.values().map(|proxy| proxy.tell_control(stop.clone()));
        let deployer = [self.directory.deployer.tell_control(stop.clone())];
        let told: Vec<_> = workers.chain(proxies).chain(deployer).collect();
        if told.contains(&Err(TellError::Busy)) { Err(TellError::Busy) } else { Ok(()) }
    }
}

fn answer(reply: Option<oneshot::Sender<Result<(), DriveError>>>, result: Result<(), DriveError>) {
    if let Some(reply) = reply {
        // The asker may have gone; what was decided stands all the same.
        let _ = reply.send(result);
    }
}

impl Actor for RunActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.resume(ctx);
        self.hear_calls(ctx);
    }
}

impl Supervised for RunActor {
    fn restarting(&mut self, _ctx: &mut Self::Context) {
        // `started` runs next and reads the journal; nothing of the broken state is kept.
        self.run = None;
        self.committing = false;
        self.due.clear();
        self.asked.clear();
        self.leases.clear();
        self.renewing = false;
        self.held.clear();
    }
}

impl Handler<Drive> for RunActor {
    type Result = ();

    fn handle(&mut self, message: Drive, ctx: &mut Self::Context) {
        if let (Some(turn), Input::Placed { stage, .. } | Input::PlacementFailed { stage, .. }) =
            (message.turn, &message.input)
            && self.asked.get(&stage.0) != Some(&turn.asked)
        {
            // The lease of an earlier request was given back when it was withdrawn, or granted since.
            return self.give_back(*stage);
        }
        if let (Some(Turn { lease: Some(fence), .. }), Input::Placed { stage, .. }) =
            (message.turn, &message.input)
        {
            self.leases.insert(stage.0, fence);
            self.renew_later(ctx);
        }
        self.drive(message.input, message.by, message.reply, ctx);
    }
}

/// Something came up while commands were performed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct SettleDue;

impl Handler<SettleDue> for RunActor {
    type Result = ();

    fn handle(&mut self, _: SettleDue, ctx: &mut Self::Context) {
        self.settle_due(ctx);
    }
}
