//! ractor 0.16: unbounded mailboxes; supervision by ractor-supervisor 0.2.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_supervisor::{
    ChildSpec, Restart, SpawnFn, Supervisor, SupervisorArguments, SupervisorOptions, SupervisorStrategy,
};

use crate::{ASKS, BURST, SPAWNS, TELLS, note_start, per_second, restarts};

pub struct Adder {
    notes_starts: bool,
}

pub enum Msg {
    Add(u64),
    Read(RpcReplyPort<u64>),
    Boom,
}

impl Actor for Adder {
    type Msg = Msg;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<u64, ActorProcessingErr> {
        if self.notes_starts {
            note_start();
        }
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, sum: &mut u64) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Add(value) => *sum = sum.wrapping_add(value),
            Msg::Read(reply) => reply.send(*sum)?,
            Msg::Boom => panic!("boom"),
        }
        Ok(())
    }
}

async fn one() -> ActorRef<Msg> {
    Actor::spawn(None, Adder { notes_starts: false }, ()).await.expect("a start").0
}

async fn read(actor: &ActorRef<Msg>, timeout: Option<Duration>) -> u64 {
    actor.call(Msg::Read, timeout).await.expect("accepted").expect("an answer")
}

pub async fn tell() -> f64 {
    let actor = one().await;
    read(&actor, None).await;
    let began = Instant::now();
    for value in 0..TELLS {
        actor.cast(Msg::Add(value)).expect("room");
    }
    read(&actor, None).await;
    per_second(TELLS, began)
}

pub async fn tell_in_bursts() -> f64 {
    let actor = one().await;
    read(&actor, None).await;
    let began = Instant::now();
    for value in 0..TELLS {
        if value % BURST == BURST - 1 {
            read(&actor, None).await;
        } else {
            actor.cast(Msg::Add(value)).expect("room");
        }
    }
    per_second(TELLS, began)
}

pub async fn tell_across() -> f64 {
    let actor = one().await;
    read(&actor, None).await;
    let began = Instant::now();
    let sender = actor.clone();
    let thread = std::thread::spawn(move || {
        for value in 0..TELLS {
            sender.cast(Msg::Add(value)).expect("room");
        }
    });
    while !thread.is_finished() {
        tokio::task::yield_now().await;
    }
    thread.join().expect("no panic");
    read(&actor, None).await;
    per_second(TELLS, began)
}

pub async fn ask(timeout: Option<Duration>) -> f64 {
    let actor = one().await;
    read(&actor, timeout).await;
    let began = Instant::now();
    for _ in 0..ASKS {
        read(&actor, timeout).await;
    }
    per_second(ASKS, began)
}

/// `linked`: to another actor that hears of their ends, ractor's own kind of supervision.
pub async fn spawn_many(linked: bool, count: usize) -> (Vec<ActorRef<Msg>>, ActorRef<Msg>) {
    let top = one().await;
    let mut actors = Vec::with_capacity(count);
    for _ in 0..count {
        let adder = Adder { notes_starts: false };
        let (actor, _) = if linked {
            Actor::spawn_linked(None, adder, (), top.get_cell()).await.expect("a start")
        } else {
            Actor::spawn(None, adder, ()).await.expect("a start")
        };
        actors.push(actor);
    }
    (actors, top)
}

pub async fn spawn(linked: bool) -> f64 {
    let began = Instant::now();
    let all = spawn_many(linked, SPAWNS).await;
    let rate = per_second(SPAWNS as u64, began);
    drop(all);
    rate
}

/// The child as it runs now: ractor-supervisor makes a new actor with a new address at each restart.
static CHILD: Mutex<Option<ActorRef<Msg>>> = Mutex::new(None);

pub async fn panic_to_restarted(round: usize) -> Vec<u64> {
    let spawn_fn = SpawnFn::new(|cell, id| {
        async move {
            let adder = Adder { notes_starts: true };
            let (child, _) = Supervisor::spawn_linked(id, adder, (), cell).await?;
            *CHILD.lock().expect("no panic") = Some(child.clone());
            Ok(child.get_cell())
        }
        .boxed()
    });
    let child = ChildSpec {
        id: format!("adder-{round}"),
        restart: Restart::Permanent,
        spawn_fn,
        backoff_fn: None,
        reset_after: None,
    };
    let options = SupervisorOptions {
        strategy: SupervisorStrategy::OneForOne,
        max_restarts: usize::MAX,
        max_window: Duration::from_millis(1),
        reset_after: None,
    };
    let args = SupervisorArguments { child_specs: vec![child], options };
    let (top, end) = Supervisor::spawn(format!("top-{round}"), args).await.expect("a start");
    while CHILD.lock().expect("no panic").is_none() {
        tokio::task::yield_now().await;
    }
    let took = restarts(|| async {
        let child = CHILD.lock().expect("no panic").clone().expect("a child");
        child.cast(Msg::Boom).expect("room");
    })
    .await;
    *CHILD.lock().expect("no panic") = None;
    top.stop(None);
    end.await.expect("an end");
    took
}
