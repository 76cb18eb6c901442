//! Orders of operators and use of budgets: decided, journaled, then in force.
//!
//! Rule: an order is answered when its record is durable, and holds over a restart. One batch is written at
//! a time; what comes meanwhile waits its turn.

use super::ResourceManager;
use crate::records::{self, Principal};
use crate::shared::Shared;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use engine::placement::{Order, OrderRefused, STANDING_SCHEMA, Standing, StandingEvent};
use journal::Journal;
use tokio::sync::oneshot;

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

/// All events of the stream, those that cannot be read left out and said.
fn read(journal: &Journal) -> (Vec<(StandingEvent, String, u64)>, u64) {
    let (mut events, mut last) = (Vec::new(), 0);
    loop {
        let page = match journal.read_stream(RESOURCES_STREAM, last + 1, PAGE) {
            Ok(page) if !page.is_empty() => page,
            Ok(_) => return (events, last),
            Err(error) => {
                tracing::error!(%error, "Drains, reservations and budgets cannot be read.");
                return (events, last);
            }
        };
        for record in page {
            last = record.stream_seq;
            match records::decode::<StandingEvent>(&record, STANDING_SCHEMA) {
                Ok(event) => events.push((event, record.principal, record.time_ms)),
                Err(error) => tracing::error!(%error, "A record about resources cannot be read."),
            }
        }
    }
}

async fn append(
    shared: Shared,
    records: u64,
    events: Vec<StandingEvent>,
    by: Principal,
) -> Result<u64, String> {
    let batch: Result<Vec<_>, _> = (0..)
        .zip(&events)
        .map(|(i, event)| {
            let stream = RESOURCES_STREAM.to_owned();
            records::record(stream, records + i, event.name(), STANDING_SCHEMA, event, &by)
        })
        .collect();
    let batch = batch.map_err(|e| e.to_string())?;
    let appended = shared.append_timed(batch).await.map_err(|e| e.to_string())?;
    Ok(appended.time_ms)
}

impl ResourceManager {
    /// Takes what stands and what was spent from the journal.
    pub(super) fn reread(&mut self) {
        let (events, last) = read(&self.shared.journal);
        self.records = last;
        self.standing = Standing::default();
        for (event, by, at_ms) in &events {
            self.standing.apply(event, by, *at_ms);
            // A ledger that has lived through a panic has these in its sums already.
            if !self.counted {
                self.recount(event);
            }
        }
        self.counted = true;
        self.put_in_force();
    }

    fn recount(&mut self, event: &StandingEvent) {
        match event {
            StandingEvent::SetAside { owner, backend, shots, money_micro_usd, since_ms } => {
                self.ledger.charge(owner, backend.as_deref(), (*shots, *money_micro_usd), *since_ms);
            }
            StandingEvent::GivenBack { owner, backend, shots, money_micro_usd, since_ms } => {
                self.ledger.refund(owner, backend.as_deref(), (*shots, *money_micro_usd), *since_ms);
            }
            _ => {}
        }
    }

    /// Makes the ledger agree with what stands.
    fn put_in_force(&mut self) {
        let now_ms = self.now_ms();
        let wanted = self.standing.over(self.rules(), now_ms);
        if *self.ledger.policy() != wanted {
            self.ledger.set_policy(wanted, now_ms);
        }
        let gone: Vec<_> = self
            .ledger
            .drained()
            .iter()
            .filter(|resource| !self.standing.drains().contains_key(resource))
            .cloned()
            .collect();
        for resource in gone {
            self.ledger.undrain(&resource);
        }
        for resource in self.standing.drains().keys() {
            self.ledger.drain(resource.clone());
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
        let durable = append(self.shared.clone(), self.records, events.clone(), by.clone());
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
            if let Some(next) = actor.orders.pop_front() {
                actor.operate(next, ctx);
            } else {
                actor.note(Vec::new(), ctx);
            }
        }));
    }
}

impl ResourceManager {
    fn operate(&mut self, operate: Operate, ctx: &mut Context<Self>) {
        let Operate { order, by, reply } = operate;
        let capacity = self.ledger.capacity().clone();
        match self.standing.decide(order, &capacity, self.rules(), self.now_ms()) {
            Ok(event) => self.write(vec![event], by, Some(reply), ctx),
            Err(refused) => {
                let _ = reply.send(Err(refused.into()));
                match self.orders.pop_front() {
                    Some(next) => self.operate(next, ctx),
                    None => self.note(Vec::new(), ctx),
                }
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
