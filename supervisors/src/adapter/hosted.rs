//! An actor on a thread of its own: one that blocks does not block its supervisor.
//!
//! The host thread runs the actor's incarnations one after the other, on orders from the starter,
//! which lives with the supervisor. The lanes belong to the starter: the thread borrows one message at
//! a time under a lock. So when the thread is abandoned the lanes are taken away from it, with all that
//! is still queued, and handed to a new thread; the old one finds nothing any more, whenever it comes
//! back. The one rule: whatever the thread does for its actor, it asks first whether it still counts.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix::{Actor, ActorFuture, AsyncContext, Supervised};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet};
use tracing::warn;

use super::actor_ref::ActorRef;
use super::actor_spec::ActorSpec;
use super::cell::{Incarnation, Parking, revive};
use super::desk::Desk;
use super::lanes::Receivers;
use super::ledger::PumpTurn;
use super::reins::{Drill, Reins};
use crate::child::{ChildSpec, Running, Started, Starter, Watchdog};
use crate::thread::{Life, launch};
use crate::{ChildKind, Exit, Fault, Pulse};

/// Messages handled in one go before the actor's own futures get their turn.
const BATCH_MAX: usize = 64;

/// As [`actor_child`](super::actor_child), for an actor that may block: it lives on a thread of its
/// own, with its own single-threaded tokio runtime, and is made there, so it need not be `Send`.
///
/// Address, mailbox bound, lanes, order and what a restart keeps are the same. With a `patience` a
/// watchdog asks the actor's cell, not the actor: an actor that waits is alive, one whose handler does
/// not return is hung. It is then killed, and when the thread does not react it is abandoned: the
/// message it is stuck in is lost, **all that is queued behind it is kept**, and a new thread with a
/// new actor from `factory` goes on under the same address. The old thread never gets another message
/// and ends when its handler returns; a handler that publishes something itself after a long step asks
/// [`is_abandoned`](crate::is_abandoned) first.
///
/// The thread starts with the child and ends when the child is down for good. There is no actix
/// `System` or arbiter on it.
#[must_use]
pub fn hosted_actor_child<A, F>(
    id: impl Into<String>,
    mailbox_capacity: usize,
    patience: Option<Duration>,
    factory: F,
) -> (ActorRef<A>, ChildSpec)
where
    A: Actor<Context = actix::Context<A>> + Supervised,
    F: Fn(&ActorRef<A>) -> A + Send + Sync + 'static,
{
    let id = id.into();
    let (actor, receivers) = ActorRef::new(&ActorSpec::new(id.clone(), mailbox_capacity));
    let pulse = Pulse::new();
    let starter = HostedStarter {
        actor: actor.clone(),
        factory: Arc::new(factory),
        pulse: pulse.clone(),
        receivers: Some(receivers),
        host: None,
        start_in_progress: false,
        started_before: false,
    };
    let mut spec = ChildSpec::new(id, starter).of_kind(ChildKind::HostedActor);
    spec.watchdog = patience.map(|patience| Watchdog { pulse, patience });
    let probe = actor.clone();
    spec.mailbox = Some(Rc::new(move || probe.mailbox()));
    (actor, spec)
}

/// The receiving ends, lent to the thread of the moment. `None`: taken away from it.
struct Lent<A: Actor>(Mutex<Option<Receivers<A>>>);

impl<A: Actor> Lent<A> {
    fn lock(&self) -> MutexGuard<'_, Option<Receivers<A>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Start the next incarnation.
struct Order {
    reply: oneshot::Sender<Result<Strings, String>>,
}

/// The strings on an incarnation, as they cross threads.
struct Strings {
    done: oneshot::Receiver<Exit>,
    stop: oneshot::Sender<()>,
    task: AbortHandle,
}

/// A host thread, seen from the supervisor. Dropping it ends the thread once its actor returns.
struct Host<A: Actor> {
    orders: mpsc::UnboundedSender<Order>,
    life: Arc<Life>,
    lent: Arc<Lent<A>>,
    drill: Arc<Drill>,
}

struct HostedStarter<A: Actor, F> {
    actor: ActorRef<A>,
    factory: Arc<F>,
    pulse: Pulse,
    /// Here while no thread has them.
    receivers: Option<Receivers<A>>,
    host: Option<Host<A>>,
    /// Still set at the next call: that start was cancelled, and its thread may be stuck.
    start_in_progress: bool,
    started_before: bool,
}

impl<A, F> HostedStarter<A, F>
where
    A: Actor<Context = actix::Context<A>> + Supervised,
    F: Fn(&ActorRef<A>) -> A + Send + Sync + 'static,
{
    async fn launch(&mut self) -> Result<Running, String> {
        if std::mem::replace(&mut self.start_in_progress, true)
            || self.host.as_ref().is_some_and(|host| host.orders.is_closed())
        {
            self.let_go();
        }
        let host = match &self.host {
            Some(host) => host,
            None => {
                let host = self.new_host().await?;
                self.host.insert(host)
            }
        };
        let (reply, answer) = oneshot::channel();
        let gone = || "its thread has ended".to_owned();
        host.orders.send(Order { reply }).map_err(|_| gone())?;
        let strings = answer.await.map_err(|_| gone())?;
        self.start_in_progress = false;
        let Strings { done, stop, task } = strings?;
        if self.started_before {
            self.actor.count_restart();
        }
        self.started_before = true;
        Ok(Running::new(done, stop, move || task.abort()))
    }

    async fn new_host(&mut self) -> Result<Host<A>, String> {
        let receivers = self.receivers.take().unwrap_or_else(|| self.actor.reopen());
        let lent = Arc::new(Lent(Mutex::new(Some(receivers))));
        let life = Arc::new(Life::default());
        let drill = Arc::new(Drill::default());
        let (orders, queue) = mpsc::unbounded_channel();
        let tenant = Tenancy {
            actor: self.actor.clone(),
            factory: self.factory.clone(),
            pulse: self.pulse.clone(),
            lent: lent.clone(),
            life: life.clone(),
            drill: drill.clone(),
        };
        let launched = launch(self.actor.id(), life.clone(), move || tenant.serve(queue)).await;
        match launched {
            Ok(()) => Ok(Host { orders, life, lent, drill }),
            Err(error) => {
                self.receivers = lent.lock().take();
                Err(format!("no thread: {error}"))
            }
        }
    }

    /// Takes the lanes away from the thread and gives up on it. True if it still runs.
    fn let_go(&mut self) -> bool {
        let Some(host) = self.host.take() else { return false };
        // First the lanes: from here on it finds no message.
        let taken = host.lent.lock().take();
        self.receivers = taken.map(Receivers::handed_on);
        host.life.abandon()
    }
}

impl<A, F> Starter for HostedStarter<A, F>
where
    A: Actor<Context = actix::Context<A>> + Supervised,
    F: Fn(&ActorRef<A>) -> A + Send + Sync + 'static,
{
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move { self.launch().await.map(Started::Running) }.boxed_local()
    }

    fn inject(&mut self, fault: Fault) -> bool {
        let Some(host) = &self.host else { return false };
        host.drill.inject(fault);
        true
    }

    fn abandon(&mut self) {
        let lives = &self.actor.0.lives;
        lives.end(lives.current(), &Exit::Unkillable);
        if self.let_go() {
            warn!(child = %self.actor.id(), "An actor's thread does not react; it is abandoned and replaced.");
        }
    }

    fn retire(&mut self) {
        self.actor.close();
        if std::mem::take(&mut self.start_in_progress) {
            // The start that was cancelled may be stuck.
            self.let_go();
        }
        if let Some(host) = self.host.take() {
            let lost = host.lent.lock().take();
            drop(lost);
        }
        self.receivers = None;
    }
}

impl<A: Actor, F> Drop for HostedStarter<A, F> {
    fn drop(&mut self) {
        self.actor.close();
    }
}

/// All that the host thread needs.
struct Tenancy<A: Actor, F> {
    actor: ActorRef<A>,
    factory: Arc<F>,
    pulse: Pulse,
    lent: Arc<Lent<A>>,
    life: Arc<Life>,
    drill: Arc<Drill>,
}

impl<A, F> Tenancy<A, F>
where
    A: Actor<Context = actix::Context<A>> + Supervised,
    F: Fn(&ActorRef<A>) -> A,
{
    /// The thread's whole work: until the starter lets go of it.
    fn serve(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                // The queue closes here, and the starter tries another thread next time.
                if let Some(order) = orders.blocking_recv() {
                    let _ = order.reply.send(Err(format!("its thread has no runtime: {error}")));
                }
                return;
            }
        };
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            let parking = Parking::default();
            while let Some(order) = orders.recv().await {
                // Err: the start was cancelled.
                if let Err(Ok(strings)) = order.reply.send(self.start(&parking)) {
                    strings.task.abort();
                }
            }
        });
    }

    fn start(&self, parking: &Parking<A>) -> Result<Strings, String> {
        let parked = parking.borrow_mut().take();
        let mut cell = revive(&self.actor, parked, |actor| (self.factory)(actor))?;
        let desk = self.lent.lock().as_ref().map(Desk::of).ok_or("its thread was given up")?;
        let ledger = desk.ledger.clone();
        if let Some(context) = &mut cell.context {
            let (lent, pulse) = (self.lent.clone(), self.pulse.clone());
            context.ctx().spawn(HostedPump { lent, pulse, desk });
        }
        let (stop, stopped) = oneshot::channel();
        let (done, exit) = oneshot::channel();
        let mut incarnation = Incarnation {
            cell: Some(cell),
            parking: parking.clone(),
            reins: Reins::threaded(stopped, self.drill.clone()),
            hang: None,
            life: self.actor.0.lives.begin(),
            actor: self.actor.clone(),
            ledger,
            // Answered below, as long as this thread counts.
            pulse: None,
        };
        let (life, pulse) = (self.life.clone(), self.pulse.clone());
        let task = tokio::task::spawn_local(async move {
            let ended = poll_fn(|cx| {
                if life.is_abandoned() {
                    return Poll::Ready(None);
                }
                // The cell answers, not the actor: an actor that waits is not hung.
                if incarnation.hang.is_none() {
                    life.unless_abandoned(|| pulse.answer(cx));
                }
                incarnation.poll_unpin(cx).map(Some)
            });
            if let Some(exit) = ended.await {
                // Err: the supervisor is gone.
                let _ = done.send(exit);
            }
        });
        Ok(Strings { done: exit, stop, task: task.abort_handle() })
    }
}

/// Hands the parcels to the actor, one at a time, as long as the lanes are lent.
struct HostedPump<A: Actor> {
    lent: Arc<Lent<A>>,
    pulse: Pulse,
    desk: Desk<A>,
}

impl<A: Actor<Context = actix::Context<A>>> ActorFuture<A> for HostedPump<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut actix::Context<A>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let this = self.get_mut();
        this.desk.ledger.set_pump_turn(PumpTurn::Polled);
        for handled in 0..BATCH_MAX {
            // A handler asked for the wait or the stop; actix polls again when the wait is over.
            if ctx.waiting() {
                this.desk.ledger.set_pump_turn(PumpTurn::HeldBack);
                return Poll::Pending;
            }
            // The lock ends before the handler runs: the lanes can be taken away meanwhile.
            let next = match &mut *this.lent.lock() {
                None => return Poll::Ready(()),
                Some(receivers) => {
                    // A long queue of short messages is no hang.
                    this.pulse.beat();
                    receivers.poll_next(cx)
                }
            };
            match next {
                Poll::Ready(Some((lane, parcel))) => {
                    if handled == 0 {
                        this.desk.now.set(this.desk.shared.now());
                    }
                    parcel.open(actor, ctx, &mut this.desk, lane);
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        if ctx.waiting() {
            this.desk.ledger.set_pump_turn(PumpTurn::HeldBack);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
