//! One actor over all its incarnations: start, watch, stop, kill, restart.
//!
//! An incarnation is a local task that polls the actor's `ContextFut`. When it ends, the `ContextFut`
//! is parked for the next start (same actor value, same actix address), unless it cannot be trusted.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::dev::ContextFut;
use actix::{Actor, ActorContext, Addr, AsyncContext, Supervised};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tracing::error;

use super::actor_ref::ActorRef;
use super::lanes::{Pump, Receivers};
use crate::Exit;
use crate::child::{Running, Started, Starter};
use crate::panics::{self, text_of};

/// An actor with its context.
pub(super) struct Cell<A: Actor<Context = actix::Context<A>>> {
    /// `None` only after it was taken apart.
    pub(super) context: Option<ContextFut<A, actix::Context<A>>>,
    /// actix restarts a context only while somebody holds its address.
    _address: Addr<A>,
    id: Arc<str>,
}

impl<A: Actor<Context = actix::Context<A>>> Cell<A> {
    pub(super) fn new(id: Arc<str>, actor: A) -> Self {
        let context = actix::Context::new();
        let address = context.address();
        Cell { context: Some(context.into_future(actor)), _address: address, id }
    }
}

impl<A: Actor<Context = actix::Context<A>>> Drop for Cell<A> {
    fn drop(&mut self) {
        let Some(mut context) = self.context.take() else { return };
        // Before the drop: the drop of a live context polls the actor once more, also a broken one.
        context.ctx().terminate();
        let _running = panics::Running::child(&self.id);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(context))) {
            error!(child = %self.id, text = %text_of(&*panic), "An actor panicked while it was dropped.");
        }
    }
}

pub(super) type Parking<A> = Rc<RefCell<Option<Cell<A>>>>;

pub(super) struct ActorStarter<A: Actor<Context = actix::Context<A>>, F> {
    actor: ActorRef<A>,
    /// `None` while the actor is down for good.
    lanes: Option<Rc<RefCell<Receivers<A>>>>,
    parked: Parking<A>,
    started_before: bool,
    factory: F,
}

impl<A, F> ActorStarter<A, F>
where
    A: Actor<Context = actix::Context<A>> + Supervised,
    F: FnMut(&ActorRef<A>) -> A + 'static,
{
    pub(super) fn new(actor: ActorRef<A>, receivers: Receivers<A>, factory: F) -> Self {
        ActorStarter {
            actor,
            lanes: Some(Rc::new(RefCell::new(receivers))),
            parked: Rc::default(),
            started_before: false,
            factory,
        }
    }

    /// The parked actor restarted in place, or else a new one.
    fn revive(&mut self) -> Result<Cell<A>, String> {
        let id = self.actor.id().clone();
        let _running = panics::Running::child(&id);
        let parked = self.parked.borrow_mut().take();
        if let Some(mut cell) = parked
            && let Some(context) = &mut cell.context
        {
            match catch_unwind(AssertUnwindSafe(|| context.restart())) {
                Ok(true) => return Ok(cell),
                Ok(false) => {}
                // The cell is dropped, so the next start makes a new actor.
                Err(panic) => return Err(format!("panicked in restarting: {}", text_of(&*panic))),
            }
        }
        match catch_unwind(AssertUnwindSafe(|| (self.factory)(&self.actor))) {
            Ok(actor) => Ok(Cell::new(id.clone(), actor)),
            Err(panic) => Err(format!("panicked in its factory: {}", text_of(&*panic))),
        }
    }

    fn launch(&mut self) -> Result<Running, String> {
        let mut cell = self.revive()?;
        if self.started_before {
            self.actor.count_restart();
        }
        self.started_before = true;
        let lanes = match &self.lanes {
            Some(lanes) => lanes.clone(),
            None => self.lanes.insert(Rc::new(RefCell::new(self.actor.reopen()))).clone(),
        };
        if let Some(context) = &mut cell.context {
            context.ctx().spawn(Pump(lanes));
        }
        let (stop, stopped) = oneshot::channel();
        let (done, exit) = oneshot::channel();
        let incarnation = Incarnation {
            cell: Some(cell),
            parking: self.parked.clone(),
            stop: Some(stopped),
            stop_heard: false,
        };
        let task = tokio::task::spawn_local(async move {
            // Err: the supervisor is gone.
            let _ = done.send(incarnation.await);
        });
        Ok(Running::new(exit, stop, move || task.abort()))
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

    fn abandon(&mut self) {
        // The old incarnation may still park its cell and read its lanes; it gets to keep both.
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
    pub(super) cell: Option<Cell<A>>,
    pub(super) parking: Parking<A>,
    pub(super) stop: Option<oneshot::Receiver<()>>,
    pub(super) stop_heard: bool,
}

// Nothing is pinned structurally: the context is Unpin as actix demands it.
impl<A: Actor<Context = actix::Context<A>>> Unpin for Incarnation<A> {}

impl<A: Actor<Context = actix::Context<A>>> Future for Incarnation<A> {
    type Output = Exit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exit> {
        let this = self.get_mut();
        let Some(mut cell) = this.cell.take() else { return Poll::Ready(Exit::Killed) };
        let Some(context) = &mut cell.context else { return Poll::Ready(Exit::Killed) };
        if let Some(stop) = &mut this.stop
            && let Poll::Ready(heard) = Pin::new(stop).poll(cx)
        {
            this.stop = None;
            // Err: the supervisor is gone, and its kill is on the way.
            if heard.is_ok() {
                this.stop_heard = true;
                context.ctx().stop();
            }
        }
        let polled = {
            let _running = panics::Running::child(&cell.id);
            catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *context).poll(cx)))
        };
        let exit = match polled {
            Ok(Poll::Pending) => {
                this.cell = Some(cell);
                return Poll::Pending;
            }
            Ok(Poll::Ready(())) if this.stop_heard => Exit::Shutdown,
            Ok(Poll::Ready(())) => Exit::Normal,
            Err(panic) => Exit::Panicked(text_of(&*panic)),
        };
        *this.parking.borrow_mut() = Some(cell);
        Poll::Ready(exit)
    }
}
