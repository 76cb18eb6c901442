//! This project's actors: always supervised, always bounded.

use std::time::{Duration, Instant};

use actix::prelude::*;
use supervisors::{ActorRef, ActorSpec, Intensity, Strategy, SupervisorRef, SupervisorSpec, start};

use crate::{ASKS, BURST, LONG, SIBLINGS, SPAWNS, TELLS, note_start, per_second, restarts};

pub struct Adder {
    sum: u64,
    notes_starts: bool,
}

impl Actor for Adder {
    type Context = Context<Self>;
    fn started(&mut self, _: &mut Context<Self>) {
        if self.notes_starts {
            note_start();
        }
    }
}

impl Supervised for Adder {}

#[derive(Message)]
#[rtype(result = "()")]
pub struct Add(pub u64);

#[derive(Message)]
#[rtype(result = "u64")]
pub struct Read;

#[derive(Message)]
#[rtype(result = "()")]
pub struct Boom;

impl Handler<Add> for Adder {
    type Result = ();
    fn handle(&mut self, message: Add, _: &mut Context<Self>) {
        self.sum = self.sum.wrapping_add(message.0);
    }
}

impl Handler<Read> for Adder {
    type Result = u64;
    fn handle(&mut self, _: Read, _: &mut Context<Self>) -> u64 {
        self.sum
    }
}

impl Handler<Boom> for Adder {
    type Result = ();
    fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        panic!("boom");
    }
}

fn spec(id: impl Into<String>, capacity: usize, bare: bool) -> ActorSpec {
    let spec = ActorSpec::new(id, capacity).kind("adder");
    if bare { spec.bare() } else { spec }
}

fn one(bare: bool, capacity: u64, notes_starts: bool) -> (ActorRef<Adder>, SupervisorRef) {
    let capacity = usize::try_from(capacity).expect("small");
    let (actor, child) = spec("adder", capacity, bare).child(move || Adder { sum: 0, notes_starts });
    let intensity = Intensity { restarts: u32::MAX, period: Duration::from_secs(1) };
    let (top, _) = start(SupervisorSpec::new("top", Strategy::OneForOne, intensity, vec![child]));
    (actor, top)
}

/// Messages per second: all told at once, then worked off.
pub async fn tell(bare: bool) -> f64 {
    let (actor, _top) = one(bare, TELLS + 1, false);
    actor.ask(Read, LONG).await.expect("an answer");
    let began = Instant::now();
    for value in 0..TELLS {
        actor.tell(Add(value)).expect("room");
    }
    actor.ask(Read, LONG).await.expect("an answer");
    per_second(TELLS, began)
}

/// Messages per second in bursts that the actor works off before the next; the last one is an ask.
pub async fn tell_in_bursts(bare: bool) -> f64 {
    let (actor, _top) = one(bare, BURST, false);
    actor.ask(Read, LONG).await.expect("an answer");
    let began = Instant::now();
    for value in 0..TELLS {
        if value % BURST == BURST - 1 {
            actor.ask(Read, Duration::MAX).await.expect("an answer");
        } else {
            actor.tell(Add(value)).expect("room");
        }
    }
    per_second(TELLS, began)
}

/// Messages per second from another thread.
pub async fn tell_across(bare: bool) -> f64 {
    let (actor, _top) = one(bare, TELLS + 1, false);
    actor.ask(Read, LONG).await.expect("an answer");
    let began = Instant::now();
    let sender = actor.clone();
    let thread = std::thread::spawn(move || {
        for value in 0..TELLS {
            sender.tell(Add(value)).expect("room");
        }
        sender.ask(Read, LONG)
    });
    // The actor's thread stays awake, as it would in a busy daemon.
    while !thread.is_finished() {
        tokio::task::yield_now().await;
    }
    thread.join().expect("no panic").await.expect("an answer");
    per_second(TELLS, began)
}

/// Answers per second, one after the other.
pub async fn ask(bare: bool, timeout: Duration) -> f64 {
    let (actor, _top) = one(bare, BURST, false);
    actor.ask(Read, timeout).await.expect("an answer");
    let began = Instant::now();
    for _ in 0..ASKS {
        actor.ask(Read, timeout).await.expect("an answer");
    }
    per_second(ASKS, began)
}

/// Supervised actors, each up and able to answer.
pub async fn spawn_many(bare: bool, count: usize) -> (Vec<ActorRef<Adder>>, Vec<SupervisorRef>) {
    let (mut actors, mut supervisors) = (Vec::new(), Vec::new());
    for supervisor in 0..count.div_ceil(SIBLINGS) {
        let mut children = Vec::new();
        for child in 0..SIBLINGS.min(count - supervisor * SIBLINGS) {
            let (actor, child) =
                spec(format!("adder-{child}"), 64, bare).child(move || Adder { sum: 0, notes_starts: false });
            actors.push(actor);
            children.push(child);
        }
        let intensity = Intensity { restarts: 1, period: Duration::from_secs(1) };
        let (top, _) =
            start(SupervisorSpec::new(format!("adders-{supervisor}"), Strategy::Dynamic, intensity, children));
        supervisors.push(top);
        if let Some(last) = actors.last() {
            last.ask(Read, LONG).await.expect("an answer");
        }
    }
    (actors, supervisors)
}

/// Spawns per second, supervised.
pub async fn spawn(bare: bool) -> f64 {
    let began = Instant::now();
    let all = spawn_many(bare, SPAWNS).await;
    let rate = per_second(SPAWNS as u64, began);
    drop(all);
    rate
}

pub async fn panic_to_restarted(bare: bool) -> Vec<u64> {
    let (actor, _top) = one(bare, BURST, true);
    actor.ask(Read, LONG).await.expect("an answer");
    restarts(|| {
        actor.tell(Boom).expect("room");
        std::future::ready(())
    })
    .await
}
