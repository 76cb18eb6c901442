//! The scheduler: holds the stages that are ready and offers them to the resource manager.
//!
//! Rule: an ask is removed when it was granted, withdrawn or refused for ever, and in no other way. It
//! asks the resource manager and nobody else. Placement itself is pure (`engine::placement`).

use crate::resources::{Place, Release, ResourceManager};
use crate::run_actor::{Drive, Turn};
use crate::shared::Shared;
use crate::waits::{self, Waited};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised, WrapFuture};
use engine::definition::{Attempt, StageIndex};
use engine::placement::{Ask, HOUR_MS, Lease, LeaseKey, Why};
use engine::run::{ErrorClass, Input, StageError};
use std::collections::BTreeMap;
use std::time::Duration;
use supervisors::{ActorRef, Teller};

/// Stages that may ask at once; more are answered busy and offered again by their runs.
pub const SCHEDULER_MAILBOX: usize = 4096;
/// The resource manager answers in microseconds; a second means that it is being restarted.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before asking again after no answer.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Waits of one stage's attempt that are noted: a stage that is passed to and fro says no more by the twentieth.
const WAITS_NOTED_MAX: usize = 16;
/// Pause before looking again whether there is room on disk, and whether runs that were called keep silent;
/// free space is asked for once a second.
const ROOM_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Waiting {
    ask: Ask,
    attempt: Attempt,
    turn: u64,
    report_to: Teller<Drive>,
    /// What the newest placement said, and since when a reason of this kind holds; none before the first.
    why: Option<(Why, u64)>,
    /// Waits noted so far.
    noted: usize,
}

/// The actor round the queue of asks.
#[derive(Debug)]
pub struct Scheduler {
    queue: BTreeMap<LeaseKey, Waiting>,
    resources: ActorRef<ResourceManager>,
    shared: Shared,
    asking: bool,
    look_again: bool,
    /// There is no room on disk, or runs are missing; a timer runs that looks again.
    held: bool,
    /// A timer runs that looks when a budget or reservation is over.
    timed: bool,
    /// Waits that are over and not journaled yet, by run.
    waits: Vec<(String, Waited)>,
}

impl Scheduler {
    pub fn new(resources: ActorRef<ResourceManager>, shared: Shared) -> Self {
        Self {
            queue: BTreeMap::new(),
            resources,
            shared,
            asking: false,
            look_again: false,
            held: false,
            timed: false,
            waits: Vec::new(),
        }
    }

    fn show_depth(&self) {
        metrics::gauge!("executing_queue_depth").set(self.queue.len() as f64);
    }

    fn place(&mut self, ctx: &mut Context<Self>) {
        if self.asking {
            self.look_again = true;
            return;
        }
        if self.queue.is_empty() {
            return;
        }
        if self.shared.roll_call.is_open() || self.shared.board.no_room().is_some() {
            if !std::mem::replace(&mut self.held, true) {
                ctx.run_later(ROOM_PAUSE, |actor, ctx| {
                    actor.held = false;
                    actor.place(ctx);
                });
            }
            return;
        }
        self.asking = true;
        self.look_again = false;
        journal::failpoint!("scheduler.before-ask");
        let asks = self.queue.values().map(|waiting| waiting.ask.clone()).collect();
        let now_ms = self.shared.clock.now_ms();
        let resources = self.resources.clone();
        let answer = async move { resources.ask(Place { asks, now_ms }, ASK_TIMEOUT).await };
        ctx.spawn(answer.into_actor(self).map(move |answer, actor, ctx| {
            actor.asking = false;
            match answer {
                Ok(placement) => {
                    for grant in placement.grants {
                        actor.deliver(&grant.key, grant.lease, ctx);
                    }
                    for (key, why) in placement.never {
                        actor.refuse(&key, &why);
                    }
                    actor.note_waits(placement.waits, now_ms, ctx);
                }
                Err(error) => {
                    tracing::warn!(%error, "The resource manager did not answer.");
                    ctx.run_later(RETRY_PAUSE, Self::place);
                }
            }
            actor.show_depth();
            if actor.look_again {
                actor.place(ctx);
            }
        }));
    }

    /// Keeps the reasons, and looks again when the first of those that time alone takes away is over.
    fn note_waits(&mut self, waits: Vec<(LeaseKey, Why)>, now_ms: u64, ctx: &mut Context<Self>) {
        let mut until_ms = None;
        for (key, why) in waits {
            until_ms = until_ms.into_iter().chain(why.until_ms()).min();
            let Some(waiting) = self.queue.get_mut(&key) else { continue };
            let since_ms = match &waiting.why {
                Some((before, since_ms)) if before.word() == why.word() => *since_ms,
                _ => now_ms,
            };
            if let Some((before, began_ms)) = waiting.why.replace((why, since_ms))
                && since_ms != began_ms
                && waiting.noted < WAITS_NOTED_MAX
            {
                let wait = Waited {
                    stage: key.1,
                    attempt: waiting.attempt.0,
                    why: before,
                    since_ms: began_ms,
                    until_ms: now_ms,
                };
                if wait.lasted() {
                    waiting.noted += 1;
                    self.waits.push((key.0.clone(), wait));
                }
            }
        }
        self.write_waits();
        if let Some(until_ms) = until_ms
            && !std::mem::replace(&mut self.timed, true)
        {
            // A reservation may also be changed; an hour bounds how late that is seen.
            let pause = until_ms.saturating_sub(now_ms).clamp(1, HOUR_MS);
            ctx.run_later(Duration::from_millis(pause), |actor, ctx| {
                actor.timed = false;
                actor.place(ctx);
            });
        }
    }

    fn deliver(&mut self, key: &LeaseKey, lease: Lease, ctx: &mut Context<Self>) {
        let Some(waiting) = self.queue.get(key) else {
            // Withdrawn while it was being granted: the lease goes straight back.
            let _ = self.resources.tell_control(Release::any(key.clone()));
            return;
        };
        journal::failpoint!("scheduler.before-grant");
        let turn = Turn { asked: waiting.turn, lease: Some(lease.fence) };
        let input =
            Input::Placed { stage: StageIndex(key.1), attempt: waiting.attempt, placed_on: lease.place };
        match waiting.report_to.tell_control(Drive::placed(input, turn)) {
            Ok(()) => {
                journal::failpoint!("scheduler.after-grant");
                if let Some(waiting) = self.queue.remove(key) {
                    self.note_end(key, &waiting, lease.since_ms);
                }
            }
            Err(supervisors::TellError::Busy) => {
                // Stays queued; the next placement finds the lease already held and delivers again.
                ctx.run_later(RETRY_PAUSE, Self::place);
            }
            Err(supervisors::TellError::Down) => {
                self.queue.remove(key);
                let _ = self.resources.tell_control(Release::any(key.clone()));
            }
        }
    }

    /// The wait is over: what it was for last is noted, if it lasted.
    fn note_end(&mut self, key: &LeaseKey, waiting: &Waiting, now_ms: u64) {
        let Some((why, since_ms)) = waiting.why.clone() else { return };
        let wait = Waited { stage: key.1, attempt: waiting.attempt.0, why, since_ms, until_ms: now_ms };
        if wait.lasted() && waiting.noted < WAITS_NOTED_MAX {
            self.waits.push((key.0.clone(), wait));
        }
    }

    /// Journals the waits that are over. Nobody waits for it: they explain, they decide nothing.
    fn write_waits(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        let (shared, waits) = (self.shared.clone(), std::mem::take(&mut self.waits));
        tokio::task::spawn_local(async move { waits::write(&shared, waits).await });
    }

    fn refuse(&mut self, key: &LeaseKey, why: &str) {
        let Some(waiting) = self.queue.remove(key) else { return };
        let error = StageError {
            code: "EX-0507".to_owned(),
            message: format!(
                "no resource will ever fit: the stage {why}. Lower its resources or raise the daemon's"
            ),
            class: ErrorClass::Permanent,
        };
        let input = Input::PlacementFailed { stage: StageIndex(key.1), attempt: waiting.attempt, error };
        let turn = Turn { asked: waiting.turn, lease: None };
        let _ = waiting.report_to.tell_control(Drive::placed(input, turn));
    }
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Not the first start, if there are any: a request was lost with a panic, or all of them with the actor.
        let open = self.shared.board.live_runs();
        self.shared.roll_call.call(open.iter().map(|run| run.id().to_owned()));
        self.place(ctx);
    }
}

impl Supervised for Scheduler {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The answer of a question asked before the panic will not come.
        self.asking = false;
        self.held = false;
        self.timed = false;
    }
}

/// A stage is ready. Answered to `report_to` by exactly one Placed or PlacementFailed, unless withdrawn.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Enqueue {
    pub ask: Ask,
    pub attempt: Attempt,
    /// The asker's own number of this request, which comes back with the answer.
    pub turn: u64,
    pub report_to: Teller<Drive>,
}

impl Handler<Enqueue> for Scheduler {
    type Result = ();

    fn handle(&mut self, message: Enqueue, ctx: &mut Self::Context) {
        let Enqueue { ask, attempt, turn, report_to } = message;
        let known = self.queue.get(&ask.key);
        let why = known.and_then(|waiting| waiting.why.clone());
        let noted = known.map_or(0, |waiting| waiting.noted);
        let waiting = Waiting { ask, attempt, turn, report_to, why, noted };
        let before = self.queue.insert(waiting.ask.key.clone(), waiting);
        journal::failpoint!("scheduler.enqueued");
        self.show_depth();
        if before.is_none_or(|before| before.attempt != attempt || before.turn != turn) {
            self.place(ctx);
        }
    }
}

/// A run has said all that its stages ask for.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Answered {
    pub run: String,
}

impl Handler<Answered> for Scheduler {
    type Result = ();

    fn handle(&mut self, message: Answered, ctx: &mut Self::Context) {
        if self.shared.roll_call.answered(&message.run) {
            self.place(ctx);
        }
    }
}

/// The stage no longer waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Withdraw {
    pub key: LeaseKey,
}

impl Handler<Withdraw> for Scheduler {
    type Result = ();

    fn handle(&mut self, message: Withdraw, _: &mut Self::Context) {
        if let Some(waiting) = self.queue.remove(&message.key) {
            self.note_end(&message.key, &waiting, self.shared.clock.now_ms());
            self.write_waits();
        }
        self.show_depth();
    }
}

/// A run starts over: none of its stages waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WithdrawRun {
    pub run: String,
}

impl Handler<WithdrawRun> for Scheduler {
    type Result = ();

    fn handle(&mut self, message: WithdrawRun, _: &mut Self::Context) {
        self.queue.retain(|(run, _), _| *run != message.run);
        self.show_depth();
    }
}

/// Something was given back; look again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Freed;

impl Handler<Freed> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: Freed, ctx: &mut Self::Context) {
        self.place(ctx);
    }
}

/// For `explain`: the asks that wait.
#[derive(Debug, Message)]
#[rtype(result = "Asks")]
pub struct Look;

/// Answer to [`Look`].
#[derive(Debug, actix::MessageResponse)]
pub struct Asks(pub Vec<Ask>);

impl Handler<Look> for Scheduler {
    type Result = Asks;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Asks {
        Asks(self.queue.values().map(|waiting| waiting.ask.clone()).collect())
    }
}

/// For `explain`: why the stages of a run wait, as the newest placement saw it.
#[derive(Debug, Message)]
#[rtype(result = "Reasons")]
pub struct Explain {
    pub run: String,
}

/// Answer to [`Explain`]: the ask, its reason and since when; `Ledger::sentence` puts it into words.
#[derive(Debug, actix::MessageResponse)]
pub struct Reasons(pub Vec<(Ask, Option<(Why, u64)>)>);

impl Handler<Explain> for Scheduler {
    type Result = Reasons;

    fn handle(&mut self, message: Explain, _: &mut Self::Context) -> Reasons {
        let of_run = self.queue.range((message.run.clone(), 0)..);
        let of_run = of_run.take_while(|((run, _), _)| *run == message.run);
        Reasons(of_run.map(|(_, waiting)| (waiting.ask.clone(), waiting.why.clone())).collect())
    }
}
