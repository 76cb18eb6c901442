//! Faults on purpose: what each kind of child can be made to do, who may ask for it, and what it counts.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use supervisors::process::{ProcessSource, Spawner, printed_heartbeats, process_child};
use supervisors::{
    ActorRef, ActorSpec, ChildKind, ChildSpec, ChildState, Exit, Fault, InjectError, Intensity, Restart,
    Strategy, SupervisorRef, SupervisorSpec, TreeNode, hosted_actor_child, start, supervisor_child,
    task_child, thread_child,
};

use crate::processes::shell;
use crate::support::{PATIENCE, child, in_real_time, restarted, supervisor, until};

struct Sum(u32);

impl Actor for Sum {
    type Context = Context<Self>;
}

impl Supervised for Sum {}

#[derive(Message)]
#[rtype(u32)]
struct Add(u32);

impl Handler<Add> for Sum {
    type Result = u32;
    fn handle(&mut self, Add(value): Add, _: &mut Context<Self>) -> u32 {
        self.0 += value;
        self.0
    }
}

fn task(id: &str) -> ChildSpec {
    task_child(id, |stop| stop.map(|()| Exit::Shutdown).boxed_local())
}

fn drill(children: Vec<ChildSpec>) -> SupervisorSpec {
    supervisor(Strategy::OneForOne, children).allow_faults(true)
}

/// Both kinds of actor, with a watchdog of this patience if any.
fn actors(patience: Option<Duration>) -> [(&'static str, ActorRef<Sum>, ChildSpec); 2] {
    let spec = ActorSpec::new("local", 16);
    let (local, local_spec) = match patience {
        Some(patience) => spec.watchdog(patience),
        None => spec,
    }
    .child(|| Sum(0));
    let (hosted, hosted_spec) = hosted_actor_child("hosted", 16, patience, |_| Sum(0));
    [("local", local, local_spec), ("hosted", hosted, hosted_spec)]
}

#[test]
fn every_kind_of_child_can_be_killed_and_comes_back() {
    in_real_time(async {
        let [(_, local, local_spec), (_, hosted, hosted_spec)] = actors(None);
        let request = shell("while :; do echo beat; sleep 0.05; done");
        let source = ProcessSource::cold(Spawner::start().unwrap(), move |_| request.clone());
        let thread = thread_child("thread", None, |stop, _| {
            stop.wait(PATIENCE);
            Exit::Shutdown
        });
        let (_, inner) = supervisor_child(SupervisorSpec {
            id: "inner".into(),
            ..supervisor(Strategy::OneForOne, vec![task("leaf")])
        });
        let children = vec![
            local_spec,
            hosted_spec,
            task("task").restart(Restart::Transient),
            thread.restart(Restart::Transient),
            process_child("process", source, None, printed_heartbeats),
            inner,
        ];
        let (top, _end) = start(drill(children));
        assert_eq!(local.ask(Add(1), PATIENCE).await, Ok(1));
        assert_eq!(hosted.ask(Add(1), PATIENCE).await, Ok(1));
        let kinds = [
            ("local", ChildKind::Actor),
            ("hosted", ChildKind::HostedActor),
            ("task", ChildKind::Task),
            ("thread", ChildKind::Thread),
            ("process", ChildKind::Process),
            ("inner", ChildKind::Supervisor),
        ];
        for (id, kind) in kinds {
            up(&top, id).await;
            top.inject(id, Fault::Kill).await.unwrap();
            // Also of the thread, which cannot be killed and ended in order by its flag.
            assert_eq!(restarted(&top, id, 1).await, Exit::Killed, "{id}");
            assert_eq!(child(&top, id).await.kind, kind);
        }
        // Killed actors are made anew.
        assert_eq!(local.ask(Add(5), PATIENCE).await, Ok(5));
        assert_eq!(hosted.ask(Add(5), PATIENCE).await, Ok(5));
    });
}

async fn up(top: &SupervisorRef, id: &str) {
    let began = std::time::Instant::now();
    while child(top, id).await.state != ChildState::Running {
        assert!(began.elapsed() < PATIENCE, "{id} does not come up");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_panic_on_purpose_costs_no_message_and_keeps_the_actor() {
    in_real_time(async {
        for (id, actor, spec) in actors(None) {
            let (top, _end) = start(drill(vec![spec]));
            assert_eq!(actor.ask(Add(1), PATIENCE).await, Ok(1));
            top.inject(id, Fault::Panic).await.unwrap();
            let answers = futures::future::join_all((0..5).map(|_| actor.ask(Add(1), PATIENCE))).await;
            assert_eq!(answers, (2..=6).map(Ok).collect::<Vec<_>>(), "{id}");
            let text = "a drill: this actor was told to panic".to_owned();
            assert_eq!(restarted(&top, id, 1).await, Exit::Panicked(text));
        }
    });
}

#[test]
fn a_hang_on_purpose_is_found_by_the_watchdog_and_stops_nobody_else_on_the_thread() {
    in_real_time(async {
        let patience = Duration::from_secs(1);
        for (id, actor, spec) in actors(Some(patience)) {
            let (neighbour, beside) = ActorSpec::new("beside", 16).child(|| Sum(0));
            let (top, _end) = start(drill(vec![spec, beside]));
            assert_eq!(actor.ask(Add(1), PATIENCE).await, Ok(1));
            top.inject(id, Fault::Hang(PATIENCE)).await.unwrap();
            let began = std::time::Instant::now();
            // Another thread may be in the middle of its turn: it hangs when its watchdog hears nothing.
            while child(&top, id).await.watchdog.unwrap().so_far.is_zero() {
                assert!(began.elapsed() < PATIENCE, "{id} does not hang");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let late = tokio::task::spawn_local(actor.ask(Add(1), PATIENCE));
            assert_eq!(neighbour.ask(Add(1), PATIENCE).await, Ok(1));
            assert!(!late.is_finished(), "{id} handles nothing while it hangs");
            assert_eq!(restarted(&top, id, 1).await, Exit::Hung(patience), "{id}");
            // Killed for it and made anew; its mailbox is kept.
            assert_eq!(late.await.unwrap(), Ok(1), "{id}");
            assert_eq!(child(&top, "beside").await.restarts, 0);
        }
    });
}

#[test]
fn a_hang_without_a_watchdog_ends_by_itself_and_costs_nothing() {
    in_real_time(async {
        for (id, actor, spec) in actors(None) {
            let (top, _end) = start(drill(vec![spec]));
            assert_eq!(actor.ask(Add(1), PATIENCE).await, Ok(1));
            let began = std::time::Instant::now();
            top.inject(id, Fault::Hang(Duration::from_millis(60))).await.unwrap();
            assert_eq!(actor.ask(Add(1), PATIENCE).await, Ok(2));
            // Another thread may have taken the message in the turn before.
            assert!(id == "hosted" || began.elapsed() >= Duration::from_millis(60), "{id} did not hang");
            assert_eq!(child(&top, id).await.restarts, 0);
        }
    });
}

#[test]
fn what_a_child_cannot_do_is_refused_by_its_kind_and_nothing_happens() {
    in_real_time(async {
        let (_, inner) = supervisor_child(SupervisorSpec {
            id: "inner".into(),
            ..supervisor(Strategy::OneForOne, vec![task("a/b")])
        });
        let (top, _end) = start(drill(vec![task("task"), inner]));
        up(&top, "inner").await;
        let hang = Fault::Hang(PATIENCE);
        for (path, kind, fault) in [
            ("task", ChildKind::Task, Fault::Panic),
            ("inner/a/b", ChildKind::Task, hang),
            ("inner", ChildKind::Supervisor, Fault::Panic),
        ] {
            let refused = InjectError::Unfit { path: path.to_owned(), kind, fault };
            assert_eq!(top.inject(path, fault).await, Err(refused));
        }
        for path in ["", "nobody", "task/below", "inner/nobody", "inner/"] {
            let not_found = InjectError::NotFound { supervisor: "top".to_owned(), path: path.to_owned() };
            assert_eq!(top.inject(path, Fault::Kill).await, Err(not_found));
        }
        top.terminate_child("task").await.unwrap();
        assert_eq!(top.inject("task", Fault::Kill).await, Err(InjectError::NotUp("task".to_owned())));
        assert!(child(&top, "inner").await.restarts == 0);
        top.shutdown().await;
        assert_eq!(
            top.inject("inner", Fault::Kill).await,
            Err(InjectError::SupervisorGone("top".to_owned()))
        );
    });
}

#[test]
fn faults_are_refused_unless_the_supervisor_that_is_asked_was_made_for_them() {
    in_real_time(async {
        let runs = Rc::new(std::cell::Cell::new(0));
        let counted = runs.clone();
        let leaf = task_child("leaf", move |stop| {
            counted.set(counted.get() + 1);
            stop.map(|()| Exit::Shutdown).boxed_local()
        });
        let inner = SupervisorSpec { id: "inner".into(), ..supervisor(Strategy::OneForOne, vec![leaf]) };
        let (handle, inner) = supervisor_child(inner);
        let (top, _end) = start(drill(vec![inner]));
        until("the leaf", || runs.get() == 1).await;
        let refused = InjectError::NotAllowed("inner".to_owned());
        assert_eq!(handle.inject("leaf", Fault::Kill).await, Err(refused));
        assert_eq!(runs.get(), 1);
        // From above it is allowed.
        top.inject("inner/leaf", Fault::Kill).await.unwrap();
        until("the leaf is restarted", || runs.get() == 2).await;
    });
}

#[test]
fn faults_count_against_the_intensity_and_the_tree_shows_what_became_of_them() {
    in_real_time(async {
        let starts = Arc::new(AtomicU32::new(0));
        let counted = starts.clone();
        let worker = task_child("worker-1", move |stop| {
            counted.fetch_add(1, Ordering::SeqCst);
            stop.map(|()| Exit::Shutdown).boxed_local()
        });
        let intensity = Intensity { restarts: 2, period: Duration::from_secs(600) };
        let workers = SupervisorSpec {
            id: "workers".into(),
            intensity,
            ..supervisor(Strategy::RestForOne, vec![worker])
        };
        let (_, workers) = supervisor_child(workers);
        let (top, _end) = start(drill(vec![workers]));
        for hits in 1..=2 {
            until("the worker", || starts.load(Ordering::SeqCst) == hits).await;
            top.inject("workers/worker-1", Fault::Kill).await.unwrap();
        }
        until("the worker", || starts.load(Ordering::SeqCst) == 3).await;
        let tree = top.tree().await;
        let supervision = tree.supervision.unwrap();
        assert!(supervision.allows_faults && supervision.recent_restarts == 0);
        let TreeNode { kind, supervision, children, .. } = &tree.children[0];
        let supervision = supervision.unwrap();
        assert_eq!((*kind, supervision.settings.strategy), (ChildKind::Supervisor, Strategy::RestForOne));
        assert_eq!((supervision.recent_restarts, supervision.settings.intensity), (2, intensity));
        assert!(!supervision.allows_faults);
        let worker = &children[0];
        assert_eq!((worker.kind, worker.generation, worker.restarts), (ChildKind::Task, 2, 2));
        assert_eq!(worker.last_exit, Some(Exit::Killed));
        assert!(worker.supervision.is_none() && worker.watchdog.is_none());
        // It was restarted after it ended, so it has been up for less time than has passed since.
        assert!(worker.uptime.unwrap() <= worker.last_exit_age.unwrap());
        // One more is one too many.
        top.inject("workers/worker-1", Fault::Kill).await.unwrap();
        let exit = restarted(&top, "workers", 1).await;
        assert_eq!(exit, Exit::Escalated(vec!["child `worker-1` ended: killed".to_owned()]));
    });
}
