//! Hangs from end to end: a child of each kind that gives no sign of life is found by its supervisor's
//! watchdog, ended and replaced; one that only waits is left alone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisors::process::{ProcessSource, Spawner, printed_heartbeats, process_child};
use supervisors::{
    ActorRef, ActorSpec, AskError, ChildSpec, ChildState, Exit, Intensity, Pulse, Restart, Strategy,
    SupervisorSpec, Watchdog, abandoned_threads, hosted_actor_child, is_abandoned, start, task_child,
    thread_child,
};
use tokio::time::Instant;

use crate::processes::shell;
use crate::support::{Gate, PATIENCE, alone, child, in_real_time, is_dead, restarted, supervisor, until};

/// Long enough that a busy machine is not taken for a hang.
const PULSE_PATIENCE: Duration = Duration::from_millis(500);

/// Writes down what it handled, and blocks on command.
struct Scribe {
    number: u32,
    handled: Arc<Mutex<Vec<(u32, u32)>>>,
}

impl Actor for Scribe {
    type Context = Context<Self>;
}

impl Supervised for Scribe {}

#[derive(Message)]
#[rtype(u32)]
struct Note(u32);

#[derive(Message)]
#[rtype(result = "u32")]
struct Block(Gate, Gate);

#[derive(Message)]
#[rtype(result = "()")]
struct Rest(Duration);

impl Handler<Note> for Scribe {
    type Result = u32;
    fn handle(&mut self, Note(value): Note, _: &mut Context<Self>) -> u32 {
        self.handled.lock().unwrap().push((self.number, value));
        self.number
    }
}

impl Handler<Block> for Scribe {
    type Result = u32;
    fn handle(&mut self, Block(entered, gate): Block, _: &mut Context<Self>) -> u32 {
        entered.open();
        gate.pass();
        self.handled.lock().unwrap().push((self.number, if is_abandoned() { 666 } else { 0 }));
        self.number
    }
}

impl Handler<Rest> for Scribe {
    type Result = ();
    fn handle(&mut self, Rest(time): Rest, ctx: &mut Context<Self>) {
        ctx.wait(actix::fut::wrap_future(tokio::time::sleep(time)));
    }
}

type Handled = Arc<Mutex<Vec<(u32, u32)>>>;

fn scribe() -> (ActorRef<Scribe>, ChildSpec, Handled) {
    let (handled, made) = (Handled::default(), AtomicU32::new(0));
    let kept = handled.clone();
    let (actor, spec) = hosted_actor_child("scribe", 16, Some(PULSE_PATIENCE), move |_| Scribe {
        number: made.fetch_add(1, Ordering::SeqCst),
        handled: kept.clone(),
    });
    (actor, spec, handled)
}

async fn entered(gate: &Gate) {
    let gate = gate.clone();
    tokio::task::spawn_blocking(move || gate.pass()).await.unwrap();
}

#[test]
fn a_handler_that_blocks_costs_its_message_and_nothing_of_what_waits_behind_it() {
    let _turn = alone();
    in_real_time(async {
        let before = abandoned_threads();
        let (actor, spec, handled) = scribe();
        let (top, end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        assert_eq!(actor.ask(Note(1), PATIENCE).await, Ok(0));
        let (inside, gate) = (Gate::default(), Gate::default());
        let poison = tokio::task::spawn_local(actor.ask(Block(inside.clone(), gate.clone()), PATIENCE));
        entered(&inside).await;
        let behind: Vec<_> = (2..=6).map(|value| actor.ask(Note(value), PATIENCE)).collect();
        let watch = top.watch_child("scribe").await.unwrap();
        let life = actor.watch();

        assert_eq!(watch.await, Exit::Hung(PULSE_PATIENCE));
        assert_eq!(life.await, Exit::Unkillable);
        // The new actor on its new thread answers what was queued, under the same address.
        assert_eq!(futures::future::join_all(behind).await, [Ok(1); 5]);
        assert_eq!(restarted(&top, "scribe", 1).await, Exit::Hung(PULSE_PATIENCE));
        assert_eq!(abandoned_threads(), before + 1);
        assert_eq!(actor.ask(Note(7), PATIENCE).await, Ok(1));
        assert!(!poison.is_finished(), "the old thread still holds the poison");

        let second_life = actor.watch();
        gate.open();
        until("the old thread ends", || abandoned_threads() == before).await;
        assert_eq!(poison.await.unwrap(), Err(AskError::Lost));
        // The end of the old thread is not the end of the new actor.
        assert_eq!(actor.ask(Note(8), PATIENCE).await, Ok(1));
        let info = child(&top, "scribe").await;
        assert_eq!((info.restarts, info.state), (1, ChildState::Running));
        top.shutdown().await;
        assert_eq!(second_life.await, Exit::Shutdown);
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        let handled = handled.lock().unwrap();
        let of = |actor| handled.iter().filter(|one| one.0 == actor).map(|one| one.1).collect::<Vec<_>>();
        assert_eq!(of(0), [1, 666]);
        assert_eq!(of(1), [2, 3, 4, 5, 6, 7, 8]);
    });
}

#[test]
fn hangs_count_against_the_intensity_and_the_end_of_the_supervisor_names_them() {
    let _turn = alone();
    in_real_time(async {
        let before = abandoned_threads();
        let (actor, spec, _) = scribe();
        let intensity = Intensity { restarts: 1, period: Duration::from_secs(600) };
        let (_top, end) = start(SupervisorSpec { intensity, ..supervisor(Strategy::OneForOne, vec![spec]) });
        let gate = Gate::default();
        for _ in 0..2 {
            let inside = Gate::default();
            actor.tell(Block(inside.clone(), gate.clone())).unwrap();
            entered(&inside).await;
        }
        let cause = format!("child `scribe` ended: {}", Exit::Hung(PULSE_PATIENCE));
        assert_eq!(end.await.unwrap(), Exit::Escalated(vec![cause]));
        assert_eq!(abandoned_threads(), before + 2);
        gate.open();
        until("both threads end", || abandoned_threads() == before).await;
    });
}

#[test]
fn a_thread_that_stops_beating_is_stopped_and_one_that_ignores_that_is_abandoned() {
    let _turn = alone();
    in_real_time(async {
        let before = abandoned_threads();
        for ignores_its_stop in [false, true] {
            let (runs, gate) = (Arc::new(AtomicU32::new(0)), Gate::default());
            let (counted, held) = (runs.clone(), gate.clone());
            let worker = thread_child("worker", Some(PULSE_PATIENCE), move |stop, pulse| {
                let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
                for beats in 0.. {
                    pulse.beat();
                    if stop.wait(Duration::from_millis(20)) {
                        return Exit::Shutdown;
                    }
                    if first && beats > 5 {
                        break;
                    }
                }
                if ignores_its_stop {
                    held.pass();
                } else {
                    stop.wait(PATIENCE);
                }
                // What it says now is not its end: it was killed for its silence.
                Exit::Normal
            });
            let (top, end) = start(supervisor(Strategy::OneForOne, vec![worker.restart(Restart::Transient)]));
            assert_eq!(restarted(&top, "worker", 1).await, Exit::Hung(PULSE_PATIENCE));
            assert_eq!(abandoned_threads(), before + usize::from(ignores_its_stop));
            gate.open();
            until("the old thread ends", || abandoned_threads() == before).await;
            until("the new thread runs", || runs.load(Ordering::SeqCst) == 2).await;
            assert_eq!(child(&top, "worker").await.restarts, 1);
            top.shutdown().await;
            assert_eq!(end.await.unwrap(), Exit::Shutdown);
        }
    });
}

#[test]
fn a_process_that_was_halted_is_killed_and_another_one_takes_its_place() {
    in_real_time(async {
        let pids = Rc::new(RefCell::new(Vec::new()));
        let seen = pids.clone();
        let request = shell("while :; do echo beat; sleep 0.02; done");
        let source = ProcessSource::cold(Spawner::start().unwrap(), move |_| request.clone());
        let patience = Duration::from_secs(1);
        let worker = process_child("worker", source, Some(patience), move |with| {
            seen.borrow_mut().push(with.pid);
            printed_heartbeats(with)
        });
        let (top, end) = start(supervisor(Strategy::OneForOne, vec![worker]));
        until("a process", || !pids.borrow().is_empty()).await;
        let halted = pids.borrow()[0];
        kill(Pid::from_raw(halted.cast_signed()), Signal::SIGSTOP).unwrap();
        assert_eq!(restarted(&top, "worker", 1).await, Exit::Hung(patience));
        assert!(is_dead(halted));
        assert_eq!(pids.borrow().len(), 2);
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

fn in_virtual_time<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

#[test]
fn a_task_in_an_endless_await_that_does_not_beat_is_aborted_and_started_again() {
    in_virtual_time(async {
        let (pulse, runs) = (Pulse::new(), Rc::new(Cell::new(0)));
        let (beaten, counted) = (pulse.clone(), runs.clone());
        let task = task_child("task", move |stop| {
            counted.set(counted.get() + 1);
            let (first, pulse) = (counted.get() == 1, beaten.clone());
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                let beating = async {
                    loop {
                        pulse.beat();
                        tokio::time::sleep(PULSE_PATIENCE / 10).await;
                    }
                };
                tokio::select! {
                    () = stop => Exit::Shutdown,
                    () = beating => Exit::Normal,
                }
            }
            .boxed_local()
        });
        let task = task.watchdog(Watchdog { pulse, patience: PULSE_PATIENCE });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![task]));
        let began = Instant::now();
        assert_eq!(restarted(&top, "task", 1).await, Exit::Hung(PULSE_PATIENCE));
        let took = began.elapsed();
        assert!(
            (PULSE_PATIENCE..=PULSE_PATIENCE * 3 / 2 + Duration::from_millis(5)).contains(&took),
            "{took:?}"
        );
        tokio::time::sleep(PULSE_PATIENCE * 100).await;
        assert_eq!((child(&top, "task").await.restarts, runs.get()), (1, 2));
    });
}

#[test]
fn an_actor_that_waits_for_an_hour_is_not_taken_for_hung() {
    in_virtual_time(async {
        let handled = Handled::default();
        let kept = handled.clone();
        let spec = ActorSpec::new("scribe", 16).waits_for("the hour").watchdog(PULSE_PATIENCE);
        let (actor, spec) = spec.child(move || Scribe { number: 0, handled: kept.clone() });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        actor.ask(Rest(Duration::from_secs(3600)), PATIENCE).await.unwrap();
        let late = actor.ask(Note(1), Duration::MAX);
        tokio::time::sleep(Duration::from_secs(3599)).await;
        let info = child(&top, "scribe").await;
        assert_eq!((info.restarts, info.last_exit, info.state), (0, None, ChildState::Running));
        assert_eq!(info.mailbox.unwrap().waiting.map(|waiting| waiting.what), Some("the hour"));
        assert_eq!(late.await, Ok(0));
        assert_eq!(*handled.lock().unwrap(), [(0, 1)]);
    });
}

/// Tells an actor elsewhere, before and after it was abandoned.
struct Publisher {
    to: ActorRef<Scribe>,
    told: Arc<Mutex<Vec<Result<(), supervisors::TellError>>>>,
}

impl Actor for Publisher {
    type Context = Context<Self>;
}

impl Supervised for Publisher {}

impl Handler<Block> for Publisher {
    type Result = ResponseActFuture<Self, u32>;
    fn handle(&mut self, Block(entered, gate): Block, _: &mut Context<Self>) -> Self::Result {
        let mut told = vec![self.to.tell(Note(10))];
        entered.open();
        gate.pass();
        told.push(self.to.tell(Note(11)));
        told.push(self.to.recipient::<Note>().tell_control(Note(12)));
        told.push(self.to.tell_wait(Note(13), PATIENCE).now_or_never().unwrap());
        *self.told.lock().unwrap() = told;
        Box::pin(actix::fut::ready(7))
    }
}

#[test]
fn an_abandoned_thread_tells_nobody_anything_and_answers_nobody() {
    let _turn = alone();
    in_real_time(async {
        let before = abandoned_threads();
        let handled = Handled::default();
        let kept = handled.clone();
        let (to, reader) =
            supervisors::actor_child("reader", 16, move || Scribe { number: 0, handled: kept.clone() });
        let told = Arc::new(Mutex::new(Vec::new()));
        let (outbox, results) = (to.clone(), told.clone());
        let (actor, spec) = hosted_actor_child("publisher", 16, Some(PULSE_PATIENCE), move |_| Publisher {
            to: outbox.clone(),
            told: results.clone(),
        });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![reader, spec]));
        let (inside, gate) = (Gate::default(), Gate::default());
        let asked = tokio::task::spawn_local(actor.ask(Block(inside.clone(), gate.clone()), PATIENCE));
        entered(&inside).await;
        assert_eq!(restarted(&top, "publisher", 1).await, Exit::Hung(PULSE_PATIENCE));
        gate.open();
        until("the old thread ends", || abandoned_threads() == before).await;
        let down = Err(supervisors::TellError::Down);
        assert_eq!(*told.lock().unwrap(), [Ok(()), down, down, down]);
        assert_eq!(asked.await.unwrap(), Err(AskError::Lost));
        to.ask(Note(20), PATIENCE).await.unwrap();
        assert_eq!(*handled.lock().unwrap(), [(0, 10), (0, 20)]);
        // Its successor's word counts again.
        let (inside, gate) = (Gate::default(), Gate::default());
        gate.open();
        assert_eq!(actor.ask(Block(inside, gate), PATIENCE).await, Ok(7));
        to.ask(Note(21), PATIENCE).await.unwrap();
        assert_eq!(handled.lock().unwrap().last(), Some(&(0, 21)));
        assert_eq!(handled.lock().unwrap().len(), 7);
    });
}
