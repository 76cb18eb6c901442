//! Actors on threads of their own: the same as any actor, except that one which blocks harms nobody.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use supervisors::{
    ActorRef, AskError, ChildSpec, ChildState, Exit, Strategy, TellError, abandoned_threads,
    hosted_actor_child, is_abandoned, start, task_child,
};
use tokio::sync::Notify;

use crate::support::{Gate, PATIENCE, alone, child, in_real_time, restarted, supervisor, until};

/// What all incarnations did, each line with the number of the actor that did it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(u32, String)>>>);

impl Log {
    fn push(&self, actor: u32, line: impl Into<String>) {
        self.0.lock().unwrap().push((actor, line.into()));
    }

    fn of(&self, actor: u32) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.0 == actor).map(|line| line.1.clone()).collect()
    }
}

/// An actor that is not `Send`, counts, blocks and panics on command.
struct Tally {
    number: u32,
    sum: std::rc::Rc<std::cell::Cell<u32>>,
    log: Log,
}

impl Actor for Tally {
    type Context = Context<Self>;
}

impl Supervised for Tally {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.log.push(self.number, "restarting");
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.log.push(self.number, format!("dropped on {:?}", std::thread::current().id()));
    }
}

#[derive(Message)]
#[rtype(u32)]
struct Add(u32);

#[derive(Message)]
#[rtype(result = "()")]
struct Block(Gate, Gate);

#[derive(Message)]
#[rtype(result = "()")]
struct Boom;

#[derive(Message)]
#[rtype(result = "()")]
struct Rest(Duration);

struct Where;

impl Message for Where {
    type Result = Option<ThreadId>;
}

impl Handler<Add> for Tally {
    type Result = u32;
    fn handle(&mut self, add: Add, _: &mut Context<Self>) -> u32 {
        self.log.push(self.number, format!("add {}", add.0));
        self.sum.set(self.sum.get() + add.0);
        self.sum.get()
    }
}

impl Handler<Block> for Tally {
    type Result = ();
    fn handle(&mut self, Block(entered, gate): Block, ctx: &mut Context<Self>) {
        let log = self.log.clone();
        let number = self.number;
        ctx.run_later(Duration::ZERO, move |_, _| log.push(number, "timer"));
        entered.open();
        gate.pass();
        self.log.push(self.number, if is_abandoned() { "back, abandoned" } else { "back" });
    }
}

impl Handler<Boom> for Tally {
    type Result = ();
    fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        panic!("boom");
    }
}

impl Handler<Rest> for Tally {
    type Result = ();
    fn handle(&mut self, rest: Rest, ctx: &mut Context<Self>) {
        ctx.wait(actix::fut::wrap_future(tokio::time::sleep(rest.0)));
    }
}

impl Handler<Where> for Tally {
    type Result = MessageResult<Where>;
    fn handle(&mut self, _: Where, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Some(std::thread::current().id()))
    }
}

fn tally(capacity: usize) -> (ActorRef<Tally>, ChildSpec, Log) {
    let (log, made) = (Log::default(), AtomicU32::new(0));
    let kept = log.clone();
    let (actor, spec) = hosted_actor_child("tally", capacity, Some(PATIENCE), move |_| Tally {
        number: made.fetch_add(1, Ordering::SeqCst),
        sum: std::rc::Rc::default(),
        log: kept.clone(),
    });
    (actor, spec, log)
}

/// A child that fails when it is told to, so that a group is restarted.
fn fuse() -> (Arc<Notify>, ChildSpec) {
    let (notify, blown) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let told = notify.clone();
    let spec = task_child("fuse", move |stop| {
        let (told, blown) = (told.clone(), blown.clone());
        async move {
            tokio::select! {
                () = stop => Exit::Shutdown,
                () = told.notified() => {
                    blown.fetch_add(1, Ordering::SeqCst);
                    Exit::Error("blown".to_owned())
                }
            }
        }
        .boxed_local()
    });
    (notify, spec)
}

async fn sum(actor: &ActorRef<Tally>) -> Result<u32, AskError> {
    actor.ask(Add(0), PATIENCE).await
}

#[test]
fn it_is_the_same_address_but_another_thread() {
    in_real_time(async {
        let (actor, spec, log) = tally(8);
        // Accepted before it was started.
        actor.tell(Add(1)).unwrap();
        let (top, end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        assert_eq!(sum(&actor).await, Ok(1));
        let thread = actor.ask(Where, PATIENCE).await.unwrap().unwrap();
        assert_ne!(thread, std::thread::current().id());
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        assert_eq!(actor.tell(Add(1)), Err(TellError::Down));
        // The actor goes where it lived.
        until("the actor is dropped", || log.of(0).last().is_some_and(|l| l.starts_with("dropped"))).await;
        assert_eq!(log.of(0).last(), Some(&format!("dropped on {thread:?}")));
    });
}

#[test]
fn a_panic_keeps_the_actor_its_thread_and_its_queue_and_loses_exactly_that_message() {
    in_real_time(async {
        let (actor, spec, log) = tally(64);
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        let before = actor.ask(Where, PATIENCE).await.unwrap();
        let mut asked: Vec<_> = (0..5).map(|_| actor.ask(Add(1), PATIENCE)).collect();
        let boom = actor.ask(Boom, PATIENCE);
        asked.extend((0..5).map(|_| actor.ask(Add(1), PATIENCE)));
        let answers = futures::future::join_all(asked).await;
        assert_eq!(answers, (1..=10).map(Ok).collect::<Vec<_>>());
        assert_eq!(boom.await, Err(AskError::Lost));
        assert_eq!(restarted(&top, "tally", 1).await, Exit::Panicked("boom".to_owned()));
        assert_eq!(actor.ask(Where, PATIENCE).await.unwrap(), before);
        assert_eq!(actor.restarts(), 1);
        assert!(log.of(0).contains(&"restarting".to_owned()));
    });
}

#[test]
fn one_that_blocks_does_not_block_its_supervisor_nor_its_siblings() {
    in_real_time(async {
        let (actor, spec, _) = tally(8);
        let (sibling, sibling_spec) = hosted_actor_child("sibling", 8, None, |_| Tally {
            number: 9,
            sum: std::rc::Rc::default(),
            log: Log::default(),
        });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec, sibling_spec]));
        let (entered, gate) = (Gate::default(), Gate::default());
        let blocked = actor.ask(Block(entered.clone(), gate.clone()), PATIENCE);
        tokio::task::spawn_blocking(move || entered.pass()).await.unwrap();
        assert_eq!(child(&top, "tally").await.state, ChildState::Running);
        assert_eq!(sum(&sibling).await, Ok(0));
        gate.open();
        assert_eq!(blocked.await, Ok(()));
    });
}

/// Wedges the actor with messages queued behind, and has it replaced by a restart of its group.
async fn wedge(
    capacity: usize,
    queued: u32,
) -> (ActorRef<Tally>, Log, Gate, usize, supervisors::SupervisorRef, impl Sized) {
    let before = abandoned_threads();
    let (actor, spec, log) = tally(capacity);
    let (blow, fuse) = fuse();
    let (top, end) = start(supervisor(Strategy::OneForAll, vec![fuse, spec]));
    let (entered, gate) = (Gate::default(), Gate::default());
    actor.tell(Block(entered.clone(), gate.clone())).unwrap();
    tokio::task::spawn_blocking(move || entered.pass()).await.unwrap();
    for i in 1..=queued {
        actor.tell(Add(i)).unwrap();
    }
    blow.notify_one();
    until("the actor is replaced", || actor.restarts() == 1).await;
    assert_eq!(child(&top, "tally").await.last_exit, Some(Exit::Unkillable));
    assert_eq!(abandoned_threads(), before + 1);
    (actor, log, gate, before, top, end)
}

#[test]
fn behind_a_wedged_message_everything_is_kept_and_the_old_thread_handles_nothing_any_more() {
    let _turn = alone();
    in_real_time(async {
        let (actor, log, gate, before, _top, _end) = wedge(16, 5).await;
        // A new actor on a new thread handled what was queued, in order.
        assert_eq!(sum(&actor).await, Ok(15));
        assert_eq!(log.of(1), ["add 1", "add 2", "add 3", "add 4", "add 5", "add 0"]);
        assert_eq!(log.of(0), Vec::<String>::new());
        gate.open();
        until("the old thread ends", || abandoned_threads() == before).await;
        // It came back, learned that it does not count, ran no timer, and took its actor along.
        let old = log.of(0);
        assert_eq!(old.len(), 2, "{old:?}");
        assert!(old[0] == "back, abandoned" && old[1].starts_with("dropped on"), "{old:?}");
        assert_eq!(sum(&actor).await, Ok(15));
    });
}

#[test]
fn the_room_of_a_wedged_message_is_not_lost_and_not_given_twice() {
    let _turn = alone();
    in_real_time(async {
        let (actor, _, gate, before, _top, _end) = wedge(2, 1).await;
        assert_eq!(sum(&actor).await, Ok(1));
        let full = |actor: &ActorRef<Tally>, what: &str| {
            let (entered, gate) = (Gate::default(), Gate::default());
            actor.tell(Block(entered.clone(), gate.clone())).unwrap();
            entered.pass();
            assert_eq!(actor.tell(Add(1)), Ok(()), "{what}");
            assert_eq!(actor.tell(Add(1)), Err(TellError::Busy), "{what}");
            gate.open();
        };
        until("the queue is empty", || actor.mailbox().depth == 0).await;
        full(&actor, "while the old thread is stuck");
        gate.open();
        until("the old thread ends", || abandoned_threads() == before).await;
        until("the queue is empty", || actor.mailbox().depth == 0).await;
        full(&actor, "when the old thread has ended");
    });
}

#[test]
fn the_pulse_of_one_that_blocks_stands_still_and_of_one_that_waits_does_not() {
    in_real_time(async {
        let (actor, spec, _) = tally(8);
        let pulse = spec.watchdog.as_ref().unwrap().pulse.clone();
        let (_top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        actor.ask(Rest(Duration::from_secs(30)), PATIENCE).await.unwrap();
        let seen = pulse.beats();
        pulse.ask();
        until("the cell answers for an actor that waits", || pulse.beats() > seen).await;

        let (actor, spec, _) = tally(8);
        let pulse = spec.watchdog.as_ref().unwrap().pulse.clone();
        let (_top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        let (entered, gate) = (Gate::default(), Gate::default());
        actor.tell(Block(entered.clone(), gate.clone())).unwrap();
        tokio::task::spawn_blocking(move || entered.pass()).await.unwrap();
        let seen = pulse.beats();
        pulse.ask();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(pulse.beats(), seen);
        gate.open();
        until("it answers when it is back", || pulse.beats() > seen).await;
    });
}

#[test]
fn a_factory_that_blocks_can_be_given_up_and_the_next_start_has_a_thread_of_its_own() {
    let _turn = alone();
    in_real_time(async {
        let before = abandoned_threads();
        let (gate, made) = (Gate::default(), Arc::new(AtomicU32::new(0)));
        let (held, count) = (gate.clone(), made.clone());
        let (actor, spec) = hosted_actor_child("tally", 8, None, move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            if number == 0 {
                held.pass();
            }
            Tally { number, sum: std::rc::Rc::default(), log: Log::default() }
        });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        until("the factory is entered", || made.load(Ordering::SeqCst) == 1).await;
        assert_eq!(child(&top, "tally").await.state, ChildState::Restarting);
        top.terminate_child("tally").await.unwrap();
        assert_eq!(abandoned_threads(), before + 1);
        top.restart_child("tally").await.unwrap();
        assert_eq!(sum(&actor).await, Ok(0));
        gate.open();
        until("the first thread ends", || abandoned_threads() == before).await;
        assert_eq!(sum(&actor).await, Ok(0));
        assert_eq!(made.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_factory_that_panics_is_a_failed_start() {
    in_real_time(async {
        let made = AtomicU32::new(0);
        let (actor, spec) = hosted_actor_child("tally", 8, None, move |_| {
            let number = made.fetch_add(1, Ordering::SeqCst);
            assert!(number > 0, "not yet");
            Tally { number, sum: std::rc::Rc::default(), log: Log::default() }
        });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        assert_eq!(sum(&actor).await, Ok(0));
        let exit = restarted(&top, "tally", 1).await.to_string();
        assert!(exit.contains("panicked in its factory") && exit.contains("not yet"), "{exit}");
    });
}
