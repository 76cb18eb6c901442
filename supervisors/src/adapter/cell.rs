//! One actor over all its incarnations: start, watch, stop, kill, restart.
//!
//! An incarnation is a local task that polls the actor's `ContextFut`. When it ends, the `ContextFut`
//! is parked for the next start (same actor value, same actix address), unless it cannot be trusted.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix::dev::ContextFut;
use actix::{Actor, ActorContext, ActorState, AsyncContext, Supervised};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::time::{Sleep, sleep};
use tracing::error;

use super::actor_ref::ActorRef;
use super::lanes::Receivers;
use super::ledger::{Ledger, PumpTurn};
use super::pump::Pump;
use super::reins::Reins;
use crate::child::{MailboxInfo, Running, Started, Starter};
use crate::fault::Fault;
use crate::leash::Leash;
use crate::panics::{self, contained};
use crate::{Exit, Pulse};

/// An actor with its context.
pub(super) struct Cell<A: Actor<Context = actix::Context<A>>> {
    /// `None` only after it was taken apart.
    pub(super) context: Option<ContextFut<A, actix::Context<A>>>,
    id: Arc<str>,
}

impl<A: Actor<Context = actix::Context<A>>> Cell<A> {
    pub(super) fn new(id: Arc<str>, actor: A) -> Self {
        Cell { context: Some(actix::Context::new().into_future(actor)), id }
    }
}

impl<A: Actor<Context = actix::Context<A>>> Drop for Cell<A> {
    fn drop(&mut self) {
        let Some(mut context) = self.context.take() else { return };
        // Before the drop: the drop of a live context polls the actor once more, also a broken one.
        context.ctx().terminate();
        let _running = panics::Running::child(&self.id);
        if let Err(text) = contained(|| drop(context)) {
            error!(child = %self.id, %text, "An actor panicked while it was dropped.");
        }
    }
}

/// Boxed: a cell moves between its task and its parking, and takes its memory once.
pub(super) type Parking<A> = Rc<RefCell<Option<Box<Cell<A>>>>>;

/// The parked actor restarted in place, or else a new one.
pub(super) fn revive<A: Actor<Context = actix::Context<A>> + Supervised>(
    actor: &ActorRef<A>,
    parked: Option<Box<Cell<A>>>,
    factory: impl FnOnce(&ActorRef<A>) -> A,
) -> Result<Box<Cell<A>>, String> {
    let id = actor.id().clone();
    let _running = panics::Running::child(&id);
    if let Some(mut cell) = parked
        && let Some(context) = &mut cell.context
    {
        // actix restarts a context only while somebody holds its address.
        let _address = context.address();
        match contained(|| context.restart()) {
            Ok(true) => return Ok(cell),
            Ok(false) => {}
            // The cell is dropped, so the next start makes a new actor.
            Err(text) => return Err(format!("panicked in restarting: {text}")),
        }
    }
    match contained(|| factory(actor)) {
        Ok(made) => Ok(Box::new(Cell::new(id.clone(), made))),
        Err(text) => Err(format!("panicked in its factory: {text}")),
    }
}

pub(super) struct ActorStarter<A: Actor<Context = actix::Context<A>>, F> {
    actor: ActorRef<A>,
    /// `None` while the actor is down for good.
    lanes: Option<Rc<RefCell<Receivers<A>>>>,
    parked: Parking<A>,
    /// Of the incarnation started last.
    leash: Option<Rc<Leash>>,
    started_before: bool,
    pulse: Option<Pulse>,
    factory: F,
}

impl<A, F> ActorStarter<A, F>
where
    A: Actor<Context = actix::Context<A>> + Supervised,
    F: FnMut(&ActorRef<A>) -> A + 'static,
{
    pub(super) fn new(actor: ActorRef<A>, receivers: Receivers<A>, pulse: Option<Pulse>, factory: F) -> Self {
        ActorStarter {
            actor,
            lanes: Some(Rc::new(RefCell::new(receivers))),
            parked: Rc::default(),
            leash: None,
            started_before: false,
            pulse,
            factory,
        }
    }

    fn launch(&mut self) -> Result<Running, String> {
        let parked = self.parked.borrow_mut().take();
        let mut cell = revive(&self.actor, parked, &mut self.factory)?;
        if self.started_before {
            self.actor.count_restart();
        }
        self.started_before = true;
        let lanes = match &self.lanes {
            Some(lanes) => lanes.clone(),
            None => self.lanes.insert(Rc::new(RefCell::new(self.actor.reopen()))).clone(),
        };
        let ledger = lanes.borrow().ledger.clone();
        if let Some(context) = &mut cell.context {
            context.ctx().spawn(Pump::new(lanes));
        }
        let leash = Leash::new();
        self.leash = Some(leash.clone());
        let incarnation = Incarnation {
            cell: Some(cell),
            parking: self.parked.clone(),
            reins: Reins::Leash(leash.clone()),
            hang: None,
            life: self.actor.0.lives.begin(),
            actor: self.actor.clone(),
            ledger,
            pulse: self.pulse.clone(),
        };
        let task = tokio::task::spawn_local(Reported {
            incarnation: Box::new(incarnation),
            leash: Report(leash.clone()),
        });
        Ok(Running::on_leash(leash, task.abort_handle()))
    }
}

impl<A, F> Starter for ActorStarter<A, F>
where
    A: Actor<Context = actix::Context<A>> + Supervised,
    F: FnMut(&ActorRef<A>) -> A + 'static,
{
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move { self.launch().map(Started::Running) }.boxed_local()
    }

    fn inject(&mut self, fault: Fault) -> bool {
        let Some(leash) = &self.leash else { return false };
        leash.inject(fault);
        true
    }

    fn mailbox(&self) -> Option<MailboxInfo> {
        Some(self.actor.mailbox())
    }

    fn abandon(&mut self) {
        // The old incarnation may still park its cell and look into its lanes; it gets to keep both.
        let lives = &self.actor.0.lives;
        lives.end(lives.current(), &Exit::Unkillable);
        self.parked = Rc::default();
        self.lanes = Some(Rc::new(RefCell::new(self.actor.reopen())));
    }

    fn retire(&mut self) {
        self.actor.close();
        self.lanes = None;
        let parked = self.parked.borrow_mut().take();
        drop(parked);
    }
}

impl<A: Actor<Context = actix::Context<A>>, F> Drop for ActorStarter<A, F> {
    fn drop(&mut self) {
        self.actor.close();
    }
}

/// One life of the actor. Dropped (killed), it takes the actor with it.
pub(super) struct Incarnation<A: Actor<Context = actix::Context<A>>> {
    pub(super) cell: Option<Box<Cell<A>>>,
    pub(super) parking: Parking<A>,
    pub(super) reins: Reins,
    /// A drill under way: until then it does nothing and hears nothing.
    pub(super) hang: Option<Pin<Box<Sleep>>>,
    pub(super) life: u64,
    pub(super) actor: ActorRef<A>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) pulse: Option<Pulse>,
}

// Nothing is pinned structurally: the context is Unpin as actix demands it.
impl<A: Actor<Context = actix::Context<A>>> Unpin for Incarnation<A> {}

impl<A: Actor<Context = actix::Context<A>>> Future for Incarnation<A> {
    type Output = Exit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exit> {
        let this = self.get_mut();
        if let Some(hang) = &mut this.hang {
            ready!(hang.as_mut().poll(cx));
            this.hang = None;
        }
        // Here and not among the actor's futures: an actor in `ctx.wait` is alive, one that blocks
        // the thread is not.
        if let Some(pulse) = &this.pulse {
            pulse.answer(cx);
        }
        let fault = this.reins.take_fault(cx);
        if let Some(Fault::Hang(time)) = fault {
            this.hang = Some(Box::pin(sleep(time)));
            return Pin::new(this).poll(cx);
        }
        let Some(mut cell) = this.cell.take() else { return Poll::Ready(Exit::Killed) };
        let Some(context) = &mut cell.context else { return Poll::Ready(Exit::Killed) };
        if this.reins.hears_stop(cx) {
            context.ctx().stop();
        }
        this.ledger.set_pump_turn(PumpTurn::NotPolled);
        let polled = {
            let _running = panics::Running::child(&cell.id);
            contained(|| {
                assert!(fault != Some(Fault::Panic), "a drill: this actor was told to panic");
                Pin::new(&mut *context).poll(cx)
            })
        };
        let exit = match polled {
            Ok(Poll::Pending) => {
                note_wait(&this.actor, &this.ledger, context);
                this.cell = Some(cell);
                return Poll::Pending;
            }
            Ok(Poll::Ready(())) if this.reins.has_heard_stop() => Exit::Shutdown,
            Ok(Poll::Ready(())) => Exit::Normal,
            Err(text) => Exit::Panicked(text),
        };
        *this.parking.borrow_mut() = Some(cell);
        this.end(&exit);
        Poll::Ready(exit)
    }
}

impl<A: Actor<Context = actix::Context<A>>> Incarnation<A> {
    fn end(&self, exit: &Exit) {
        self.ledger.set_waiting_since(None);
        self.actor.0.lives.end(self.life, exit);
    }
}

impl<A: Actor<Context = actix::Context<A>>> Drop for Incarnation<A> {
    fn drop(&mut self) {
        if self.cell.take().is_some() {
            self.end(&Exit::Killed);
        }
    }
}

/// An incarnation that tells its exit. By hand: an async block would hold the incarnation twice, which
/// is a third of an idle actor's memory.
struct Reported<A: Actor<Context = actix::Context<A>>> {
    /// Boxed: tokio rounds a task up to a multiple of 128 bytes.
    incarnation: Box<Incarnation<A>>,
    /// Dropped after the incarnation: the exit is told when nothing of the actor runs any more.
    leash: Report,
}

/// Tells that the actor was killed, unless it told another exit before.
struct Report(Rc<Leash>);

impl Drop for Report {
    fn drop(&mut self) {
        self.0.tell(Exit::Killed);
    }
}

impl<A: Actor<Context = actix::Context<A>>> Future for Reported<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let exit = ready!(Pin::new(&mut self.incarnation).poll(cx));
        self.leash.0.tell(exit);
        Poll::Ready(())
    }
}

/// Lets observers see that `ctx.wait` holds the mailbox back. actix does not say so, but it does not
/// poll the pump then. A wait that begins in another future than a message's is seen at the next poll
/// only: when a message comes, or the watchdog asks.
fn note_wait<A: Actor<Context = actix::Context<A>>>(
    actor: &ActorRef<A>,
    ledger: &Ledger,
    context: &mut ContextFut<A, actix::Context<A>>,
) {
    let waits = !ledger.pump_was_idle_or_busy() && context.ctx().state() == ActorState::Running;
    if waits != ledger.waiting_since().is_some() {
        ledger.set_waiting_since(waits.then(|| actor.0.now()));
    }
}
