//! kameo 0.22: mailboxes bounded or not, supervision of its own.

use std::time::{Duration, Instant};

use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::message::{Context, Message};
use kameo::supervision::RestartPolicy;

use crate::{ASKS, BURST, SPAWNS, TELLS, note_start, per_second, restarts};

#[derive(Clone)]
pub struct Adder {
    sum: u64,
    notes_starts: bool,
}

const QUIET: Adder = Adder { sum: 0, notes_starts: false };

impl Actor for Adder {
    type Args = Self;
    type Error = Infallible;
    async fn on_start(state: Self::Args, _: ActorRef<Self>) -> Result<Self, Self::Error> {
        if state.notes_starts {
            note_start();
        }
        Ok(state)
    }
}

pub struct Top;

impl Actor for Top {
    type Args = ();
    type Error = Infallible;
    async fn on_start(_: (), _: ActorRef<Self>) -> Result<Self, Self::Error> {
        Ok(Top)
    }
}

pub struct Add(pub u64);
pub struct Read;
pub struct Boom;

impl Message<Add> for Adder {
    type Reply = ();
    async fn handle(&mut self, message: Add, _: &mut Context<Self, Self::Reply>) {
        self.sum = self.sum.wrapping_add(message.0);
    }
}

impl Message<Read> for Adder {
    type Reply = u64;
    async fn handle(&mut self, _: Read, _: &mut Context<Self, Self::Reply>) -> u64 {
        self.sum
    }
}

impl Message<Boom> for Adder {
    type Reply = ();
    async fn handle(&mut self, _: Boom, _: &mut Context<Self, Self::Reply>) {
        panic!("boom");
    }
}

fn one(capacity: Option<u64>) -> ActorRef<Adder> {
    match capacity {
        Some(capacity) => {
            let capacity = usize::try_from(capacity).expect("small");
            Adder::spawn_with_mailbox(QUIET, mailbox::bounded(capacity))
        }
        None => Adder::spawn_with_mailbox(QUIET, mailbox::unbounded()),
    }
}

pub async fn tell(bounded: bool) -> f64 {
    let actor = one(bounded.then_some(TELLS + 1));
    actor.ask(Read).await.expect("an answer");
    let began = Instant::now();
    for value in 0..TELLS {
        actor.tell(Add(value)).try_send().expect("room");
    }
    actor.ask(Read).await.expect("an answer");
    per_second(TELLS, began)
}

pub async fn tell_in_bursts(bounded: bool) -> f64 {
    let actor = one(bounded.then_some(BURST));
    actor.ask(Read).await.expect("an answer");
    let began = Instant::now();
    for value in 0..TELLS {
        if value % BURST == BURST - 1 {
            actor.ask(Read).await.expect("an answer");
        } else {
            actor.tell(Add(value)).try_send().expect("room");
        }
    }
    per_second(TELLS, began)
}

pub async fn tell_across(bounded: bool) -> f64 {
    let actor = one(bounded.then_some(TELLS + 1));
    actor.ask(Read).await.expect("an answer");
    let began = Instant::now();
    let sender = actor.clone();
    let thread = std::thread::spawn(move || {
        for value in 0..TELLS {
            sender.tell(Add(value)).try_send().expect("room");
        }
    });
    while !thread.is_finished() {
        tokio::task::yield_now().await;
    }
    thread.join().expect("no panic");
    actor.ask(Read).await.expect("an answer");
    per_second(TELLS, began)
}

pub async fn ask(timeout: Option<Duration>) -> f64 {
    let actor = one(Some(BURST));
    actor.ask(Read).await.expect("an answer");
    let began = Instant::now();
    for _ in 0..ASKS {
        match timeout {
            Some(timeout) => actor.ask(Read).reply_timeout(timeout).await.expect("an answer"),
            None => actor.ask(Read).await.expect("an answer"),
        };
    }
    per_second(ASKS, began)
}

pub async fn spawn_many(supervised: bool, count: usize) -> (Vec<ActorRef<Adder>>, ActorRef<Top>) {
    let top = Top::spawn(());
    top.wait_for_startup().await;
    let mut actors = Vec::with_capacity(count);
    for _ in 0..count {
        let actor =
            if supervised { Adder::supervise(&top, QUIET).spawn().await } else { Adder::spawn(QUIET) };
        actors.push(actor);
    }
    for actor in &actors {
        actor.wait_for_startup().await;
    }
    (actors, top)
}

pub async fn spawn(supervised: bool) -> f64 {
    let began = Instant::now();
    let all = spawn_many(supervised, SPAWNS).await;
    let rate = per_second(SPAWNS as u64, began);
    drop(all);
    rate
}

pub async fn panic_to_restarted() -> Vec<u64> {
    let top = Top::spawn(());
    let actor = Adder::supervise(&top, Adder { sum: 0, notes_starts: true })
        .restart_policy(RestartPolicy::Permanent)
        .restart_limit(u32::MAX, Duration::from_secs(1))
        .spawn()
        .await;
    actor.wait_for_startup().await;
    restarts(|| async {
        actor.tell(Boom).send().await.expect("room");
    })
    .await
}
