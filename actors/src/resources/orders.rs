//! Orders of operators and use of budgets: decided, journaled, then in force.
//!
//! Rule: an order is answered when its record is durable, and holds over a restart. One batch is written at
//! a time; what comes meanwhile waits its turn. A stream that has grown long begins anew ([`BeginAnew`]).

use super::ResourceManager;
use crate::generations;
use crate::records::{self, Principal};
use crate::shared::Shared;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use engine::placement::{Ledger, Order, OrderRefused, STANDING_SCHEMA, Standing, StandingEvent, carried};
use journal::{Journal, NewRecord};
use tokio::sync::{mpsc, oneshot};

/// Stream of all orders about resources and of what was taken out of budgets.
pub const RESOURCES_STREAM: &str = "resources";
/// Records read at once.
const PAGE: usize = 1_000;
/// Orders that wait for the journal: people give them, one at a time.
const ORDERS_MAX: usize = 64;
/// Spendings that wait for the journal; beyond this it stands still, and budgets are the least of worries.
const UNWRITTEN_MAX: usize = 10_000;

/// Why an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    #[error(transparent)]
    Refused(#[from] OrderRefused),
    #[error("{0} orders about resources wait for the journal; try again in a moment")]
    Busy(usize),
    #[error("the journal did not take it: {0}")]
    NotDurable(String),
}

/// Drain, undrain, reserve or give a reservation back. Answered when it holds.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Operate {
    pub order: Order,
    pub by: Principal,
    pub reply: oneshot::Sender<Result<(), OperateError>>,
}

/// For `resources`: what operators ordered.
#[derive(Debug, Message)]
#[rtype(result = "StandingView")]
pub struct Stands;

/// Answer to [`Stands`].
#[derive(Debug, actix::MessageResponse)]
pub struct StandingView(pub Standing);

impl Handler<Stands> for ResourceManager {
    type Result = StandingView;

    fn handle(&mut self, _: Stands, _: &mut Self::Context) -> StandingView {
        StandingView(self.standing.clone())
    }
}

/// What a stream holds: its events with who and when, and how many records there are.
#[derive(Default)]
struct Read {
    events: Vec<(StandingEvent, String, u64)>,
    last: u64,
    /// Everything could be read.
    whole: bool,
}

/// All events of the stream, those that cannot be read left out and said.
fn read(journal: &Journal, stream: &str) -> Read {
    let Read { mut events, mut last, mut whole } = Read { whole: true, ..Read::default() };
    loop {
        let page = match journal.read_stream(stream, last + 1, PAGE) {
            Ok(page) if !page.is_empty() => page,
            Ok(_) => return Read { events, last, whole },
            Err(error) => {
                tracing::error!(%error, "Drains, reservations and budgets cannot be read.");
                return Read { events, last, whole: false };
            }
        };
        for record in page {
            last = record.stream_seq;
            match records::decode::<StandingEvent>(&record, STANDING_SCHEMA) {
                Ok(event) => events.push((event, record.principal, record.time_ms)),
                Err(error) => {
                    tracing::error!(%error, "A record about resources cannot be read.");
                    whole = false;
                }
            }
        }
    }
}

async fn append(
    shared: Shared,
    stream: String,
    records: u64,
    events: Vec<StandingEvent>,
    by: Principal,
) -> Result<u64, String> {
    let batch: Result<Vec<_>, _> = (0..)
        .zip(&events)
        .map(|(i, event)| {
            records::record(stream.clone(), records + i, event.name(), STANDING_SCHEMA, event, &by)
        })
        .collect();
    let batch = batch.map_err(|e| e.to_string())?;
    let appended = shared.append_timed(batch).await.map_err(|e| e.to_string())?;
    Ok(appended.time_ms)
}

fn recount(ledger: &mut Ledger, event: &StandingEvent) {
    match event {
        StandingEvent::SetAside { owner, backend, shots, money_micro_usd, since_ms } => {
            ledger.charge(owner, backend.as_deref(), (*shots, *money_micro_usd), *since_ms);
        }
        StandingEvent::GivenBack { owner, backend, shots, money_micro_usd, since_ms } => {
            ledger.refund(owner, backend.as_deref(), (*shots, *money_micro_usd), *since_ms);
        }
        StandingEvent::Carried(carried) => {
            for used in &carried.spent {
                let amount = (used.shots, used.money_micro_usd);
                ledger.charge(&used.owner, used.backend.as_deref(), amount, used.since_ms);
            }
        }
        _ => {}
    }
}

impl ResourceManager {
    /// Takes what stands and what was spent from the journal.
    pub(super) fn reread(&mut self) {
        self.generation = generations::newest(&self.shared.journal, RESOURCES_STREAM);
        let Read { events, last, .. } = read(&self.shared.journal, &self.stream());
        self.records = last;
        self.standing = Standing::default();
        let leases = self.leases.clone();
        let mut kept = leases.lock();
        for (event, by, at_ms) in &events {
            self.standing.apply(event, by, *at_ms);
            // A ledger that has outlived an incarnation of the actor has these in its sums already.
            if !kept.counted {
                recount(&mut kept.ledger, event);
            }
        }
        kept.counted = true;
        drop(kept);
        self.put_in_force();
    }

    /// Makes the ledger agree with what stands.
    fn put_in_force(&mut self) {
        let now_ms = self.now_ms();
        let wanted = self.standing.over(self.rules(), now_ms);
        let leases = self.leases.clone();
        let ledger = &mut leases.lock().ledger;
        if *ledger.policy() != wanted {
            ledger.set_policy(wanted, now_ms);
        }
        let gone: Vec<_> = ledger
            .drained()
            .iter()
            .filter(|resource| !self.standing.drains().contains_key(resource))
            .cloned()
            .collect();
        for resource in gone {
            ledger.undrain(&resource);
        }
        for resource in self.standing.drains().keys() {
            ledger.drain(resource.clone());
        }
    }

    /// Journals what was spent, without anybody waiting for it: what a crash loses is the newest moment.
    pub(super) fn note(&mut self, events: Vec<StandingEvent>, ctx: &mut Context<Self>) {
        self.unwritten.extend(events);
        let over = self.unwritten.len().saturating_sub(UNWRITTEN_MAX);
        self.unwritten.drain(..over);
        if self.writing || self.unwritten.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.unwritten);
        self.write(events, Principal::system(), None, ctx);
    }

    fn write(
        &mut self,
        events: Vec<StandingEvent>,
        by: Principal,
        reply: Option<oneshot::Sender<Result<(), OperateError>>>,
        ctx: &mut Context<Self>,
    ) {
        self.writing = true;
        let durable = append(self.shared.clone(), self.stream(), self.records, events.clone(), by.clone());
        ctx.spawn(durable.into_actor(self).map(move |result, actor, ctx| {
            actor.writing = false;
            let answer = match result {
                Ok(at_ms) => {
                    actor.records += events.len() as u64;
                    events.iter().for_each(|event| actor.standing.apply(event, &by.name, at_ms));
                    if reply.is_some() {
                        actor.put_in_force();
                        actor.tell_freed();
                    }
                    Ok(())
                }
                Err(why) => {
                    tracing::error!(why, "An event about resources could not be journaled.");
                    // Only the journal knows whether it took the batch after all.
                    actor.reread();
                    Err(OperateError::NotDurable(why))
                }
            };
            if let Some(reply) = reply {
                let _ = reply.send(answer);
            }
            actor.go_on(ctx);
        }));
    }

    /// Takes what came while something was written.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if let Some(next) = self.orders.pop_front() {
            self.operate(next, ctx);
        } else {
            self.note(Vec::new(), ctx);
        }
    }

    fn stream(&self) -> String {
        generations::name(RESOURCES_STREAM, self.generation)
    }

    /// The records that close the stream and begin the next one, if all of it can be read.
    fn anew(&self) -> Option<Vec<NewRecord>> {
        let Read { events, last, whole } = read(&self.shared.journal, &self.stream());
        if !whole || last != self.records {
            return None;
        }
        let told = events.iter().map(|(event, by, at_ms)| (event, by.as_str(), *at_ms));
        let all = StandingEvent::Carried(carried(told, self.now_ms()));
        let next = generations::name(RESOURCES_STREAM, self.generation + 1);
        let steps = [(self.stream(), last, StandingEvent::Closed), (next, 0, all)];
        let by = Principal::system();
        let batch = steps.into_iter().map(|(stream, have, event)| {
            records::record(stream, have, event.name(), STANDING_SCHEMA, &event, &by)
        });
        batch.collect::<Result<_, _>>().ok()
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

impl Handler<BeginAnew> for ResourceManager {
    type Result = ();

    fn handle(&mut self, message: BeginAnew, ctx: &mut Self::Context) {
        if self.writing || self.records < message.records_min {
            return;
        }
        let Some(batch) = self.anew() else { return };
        self.writing = true;
        let shared = self.shared.clone();
        let durable = async move { shared.append_timed(batch).await };
        ctx.spawn(durable.into_actor(self).map(move |result, actor, ctx| {
            actor.writing = false;
            match result {
                Ok(_) => {
                    tracing::info!(records = actor.records, "The stream of resources begins anew.");
                    (actor.generation, actor.records) = (actor.generation + 1, 1);
                }
                Err(error) => {
                    tracing::warn!(%error, "The stream of resources could not begin anew.");
                    actor.reread();
                }
            }
            drop(message.done);
            actor.go_on(ctx);
        }));
    }
}

impl ResourceManager {
    fn operate(&mut self, operate: Operate, ctx: &mut Context<Self>) {
        let Operate { order, by, reply } = operate;
        let capacity = self.leases.lock().ledger.capacity().clone();
        match self.standing.decide(order, &capacity, self.rules(), self.now_ms()) {
            Ok(event) => self.write(vec![event], by, Some(reply), ctx),
            Err(refused) => {
                let _ = reply.send(Err(refused.into()));
                self.go_on(ctx);
            }
        }
    }
}

impl Handler<Operate> for ResourceManager {
    type Result = ();

    fn handle(&mut self, message: Operate, ctx: &mut Self::Context) {
        if !self.writing {
            self.operate(message, ctx);
        } else if self.orders.len() < ORDERS_MAX {
            self.orders.push_back(message);
        } else {
            let _ = message.reply.send(Err(OperateError::Busy(self.orders.len())));
        }
    }
}
