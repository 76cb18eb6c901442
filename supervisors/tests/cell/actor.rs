//! An actor that does what it is told, and the runtimes it is run on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use supervisors::{
    ActorRef, ActorSpec, Boot, ChildSpec, Exit, Intensity, Restart, Strategy, SupervisorRef, SupervisorSpec,
    start,
};
use tokio::task::JoinHandle;

pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn in_virtual_time<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

pub fn in_real_time<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// For threads that are not the actor's.
pub fn wait_for<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Lets everything that can happen happen; takes one virtual millisecond.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[derive(Default)]
pub struct Puppet {
    pub seen: Vec<u64>,
    /// Handled and not lost, also by those that came and went.
    pub count: Arc<AtomicU64>,
    pub restarting: Option<fn()>,
    pub starting: Option<fn()>,
    pub stopping: Option<fn()>,
    pub stopped: Option<fn()>,
    pub dropped: Option<fn()>,
}

impl Actor for Puppet {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        if let Some(act) = self.starting.take() {
            act();
        }
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        if let Some(act) = self.stopping.take() {
            act();
        }
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if let Some(act) = self.stopped.take() {
            act();
        }
    }
}

impl Supervised for Puppet {
    fn restarting(&mut self, _: &mut Context<Self>) {
        if let Some(act) = self.restarting.take() {
            act();
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        if let Some(act) = self.dropped.take() {
            act();
        }
    }
}

/// Remembered in order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Note(pub u64);

impl Handler<Note> for Puppet {
    type Result = ();
    fn handle(&mut self, message: Note, _: &mut Context<Self>) {
        self.seen.push(message.0);
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Message)]
#[rtype(result = "Vec<u64>")]
pub struct Seen;

impl Handler<Seen> for Puppet {
    type Result = Vec<u64>;
    fn handle(&mut self, _: Seen, _: &mut Context<Self>) -> Vec<u64> {
        self.seen.clone()
    }
}

type Act = Box<dyn FnOnce(&mut Puppet, &mut Context<Puppet>) + Send>;

/// Does this, in the handler.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Do(pub Act);

impl Handler<Do> for Puppet {
    type Result = ();
    fn handle(&mut self, message: Do, ctx: &mut Context<Self>) {
        (message.0)(self, ctx);
    }
}

pub fn act(act: impl FnOnce(&mut Puppet, &mut Context<Puppet>) + Send + 'static) -> Do {
    Do(Box::new(act))
}

/// Answers from a future, after a while.
#[derive(Message)]
#[rtype(result = "u64")]
pub struct Later(pub Duration);

impl Handler<Later> for Puppet {
    type Result = ResponseActFuture<Self, u64>;
    fn handle(&mut self, message: Later, _: &mut Context<Self>) -> Self::Result {
        let sleep = actix::fut::wrap_future::<_, Self>(tokio::time::sleep(message.0));
        Box::pin(sleep.map(|(), puppet, _| puppet.count.load(Ordering::SeqCst)))
    }
}

/// Keeps every other message out for a while.
pub fn hold(time: Duration) -> Do {
    act(move |_, ctx| ctx.wait(actix::fut::wrap_future(tokio::time::sleep(time))))
}

pub fn under(restarts: u32, child: ChildSpec) -> (SupervisorRef, JoinHandle<Exit>) {
    let intensity = Intensity { restarts, period: Duration::from_secs(5) };
    // Retried from the first start on, so that a factory that panics once is seen to come up.
    start(SupervisorSpec::new("top", Strategy::OneForOne, intensity, vec![child]).boot(Boot::Retry))
}

/// Not settled: the actor has not run yet, so whatever is told now waits in its mailbox.
pub fn puppet(spec: ActorSpec) -> (ActorRef<Puppet>, SupervisorRef) {
    let (actor, child) = spec.child(Puppet::default);
    let (top, _) = under(3, child.restart(Restart::Permanent));
    (actor, top)
}
