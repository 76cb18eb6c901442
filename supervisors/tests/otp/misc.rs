//! OTP's group misc, and the hanging restart loops.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use supervisors::{
    ChildError, ChildState, Exit, Intensity, Refusal, Restart, Shutdown, Strategy, SupervisorRef,
    SupervisorSpec, supervisor_child, supervisor_child_with, task_child,
};
use tokio::task::JoinHandle;

use crate::simple::Counted;
use crate::support::{Stage, in_virtual_time, settle, states, supervisor};
use crate::{counts, error, ms, patient, refused, up};

/// A child that never says that it ended, and one that vanishes without a word.
#[test]
fn child_unlink() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("naughty");
        stage.ignore_kills("naughty");
        let vanishing = task_child("vanishing", |_stop| Box::pin(std::future::pending()));
        let (top, end) = patient(Strategy::OneForOne, vec![stage.puppet("naughty"), vanishing]).await;
        let naughty = top.watch_child("naughty").await.unwrap();
        top.terminate_child("naughty").await.unwrap();
        assert_eq!(naughty.await, Exit::Unkillable);
        assert_eq!(states(&top).await, "naughty:down vanishing:up");
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

fn inner(id: &str, strategy: Strategy, restarts: u32, stage: &Stage, ids: &[&str]) -> SupervisorSpec {
    let mut spec = supervisor(strategy, restarts, stage.puppets(ids));
    spec.id = id.to_owned();
    spec
}

#[test]
fn tree() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (_s1, c1) = supervisor_child(inner("s1", Strategy::OneForOne, 2, &stage, &["a", "b"]));
        let (_s2, c2) = supervisor_child(inner("s2", Strategy::OneForOne, 2, &stage, &["c", "d"]));
        let (s3, c3) = supervisor_child(inner("s3", Strategy::Dynamic, 2, &stage, &[]));
        let (top, end) = patient(Strategy::OneForAll, vec![c1, c2, c3]).await;
        s3.start_child(stage.puppet("e")).await.unwrap();
        assert_eq!(counts(&top).await, [3, 3, 3, 0]);
        assert_eq!(stage.happened(), "+a +b +c +d +e");
        // Only the dead worker is restarted.
        stage.exit("a", Exit::Killed).await;
        assert_eq!(stage.happened(), "+a");
        stage.exit("a", Exit::Killed).await;
        stage.exit("a", Exit::Killed).await;
        // s1 gave up: the tree is rebuilt in order, without what was added dynamically.
        assert_eq!(stage.happened(), "+a -b -e -d -c +a +b +c +d");
        assert_eq!(counts(&top).await, [3, 3, 3, 0]);
        assert_eq!(states(&s3).await, "");
        top.shutdown().await;
        assert_eq!(stage.happened(), "-d -c -b -a");
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn count_children() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::Dynamic, vec![]).await;
        for n in 0..1_000 {
            top.start_child(stage.puppet(&n.to_string())).await.unwrap();
        }
        assert_eq!(counts(&top).await, [1_000, 1_000, 0, 1_000]);
        for n in 1_000..2_000 {
            top.start_child(stage.puppet(&n.to_string())).await.unwrap();
        }
        assert_eq!(counts(&top).await, [2_000, 2_000, 0, 2_000]);
        for n in 0..1_000 {
            top.terminate_child(&n.to_string()).await.unwrap();
        }
        assert_eq!(counts(&top).await, [1_000, 1_000, 0, 1_000]);
    });
}

#[test]
fn count_children_supervisor() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (_s, child) = supervisor_child(inner("s", Strategy::OneForOne, 1, &stage, &["b", "c"]));
        let (_i, absent) = supervisor_child_with("absent", || Ok(None));
        let (top, _end) = patient(Strategy::OneForOne, vec![stage.puppet("a"), child, absent]).await;
        assert_eq!(counts(&top).await, [3, 2, 2, 1]);
        top.terminate_child("s").await.unwrap();
        assert_eq!(counts(&top).await, [3, 1, 2, 1]);
    });
}

#[test]
fn count_restarting_children() {
    in_virtual_time(async {
        let stage = Stage::default();
        let slow = supervisors::Backoff { first: ms(100), factor: 1, max: ms(100), jitter: 0.0 };
        let (top, _end) = patient(Strategy::Dynamic, vec![]).await;
        for id in ["a", "b", "c"] {
            top.start_child(stage.puppet(id).backoff(slow)).await.unwrap();
        }
        assert_eq!(counts(&top).await, [3, 3, 0, 3]);
        stage.exit("a", Exit::Killed).await;
        assert_eq!(counts(&top).await, [3, 2, 0, 3]);
        stage.exit("b", Exit::Killed).await;
        assert_eq!(counts(&top).await, [3, 1, 0, 3]);
        assert_eq!(states(&top).await, "a:restarting b:restarting c:up");
        tokio::time::sleep(ms(110)).await;
        assert_eq!(counts(&top).await, [3, 3, 0, 3]);
    });
}

#[test]
fn temporary_bystander() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        in_virtual_time(async {
            let stage = Stage::default();
            let mut children = stage.puppets(&["a", "b"]);
            children[1].restart = Restart::Temporary;
            // One restart is tolerated: a loop, or counting the bystander, would end the supervisor.
            let (top, end) = up(supervisor(strategy, 1, children)).await;
            stage.happened();
            stage.exit("a", Exit::Killed).await;
            assert_eq!(stage.happened(), "-b +a");
            assert_eq!(states(&top).await, "a:up");
            assert!(!end.is_finished());
        });
    }
}

#[test]
fn do_not_save_start_parameters_for_temporary_children() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::Dynamic] {
        in_virtual_time(async {
            let alive = Rc::new(Cell::new(0));
            let (top, _end) = patient(strategy, vec![]).await;
            for n in 0..50 {
                let (child, done) = Counted::child(&n.to_string(), &alive);
                top.start_child(child.restart(Restart::Temporary)).await.unwrap();
                done.take().unwrap().send(Exit::Normal).unwrap();
                settle().await;
            }
            assert_eq!(alive.get(), 0);
        });
    }
}

#[test]
fn do_not_save_child_specs_for_temporary_children() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::OneForOne, vec![]).await;
        for how in ["exit", "terminate"] {
            top.start_child(stage.puppet("a").restart(Restart::Temporary)).await.unwrap();
            match how {
                "exit" => stage.exit("a", error("x")).await,
                _ => top.terminate_child("a").await.unwrap(),
            }
            assert_eq!(counts(&top).await, [0, 0, 0, 0]);
            assert_eq!(top.restart_child("a").await, refused(Refusal::NotFound("a".into())));
        }
    });
}

/// References stay good over exits, kills and restarts, of the worker and of its supervisor.
#[test]
fn simple_global_supervisor() {
    struct Count(u32);
    impl actix::Actor for Count {
        type Context = actix::Context<Self>;
    }
    impl actix::Supervised for Count {}
    struct Inc;
    impl actix::Message for Inc {
        type Result = u32;
    }
    impl actix::Handler<Inc> for Count {
        type Result = u32;
        fn handle(&mut self, _: Inc, _: &mut actix::Context<Self>) -> u32 {
            self.0 += 1;
            self.0
        }
    }
    in_virtual_time(async {
        let stage = Stage::default();
        let (worker, child) = supervisors::actor_child("worker", 4, || Count(0));
        let mut spec = supervisor(Strategy::OneForOne, 0, vec![child, stage.puppet("bomb")]);
        spec.id = "inner".to_owned();
        let (inner, child) = supervisor_child(spec);
        let (top, _end) = patient(Strategy::OneForOne, vec![child]).await;
        let ask = || worker.ask(Inc, Duration::from_secs(1));
        assert_eq!(ask().await, Ok(1));
        // The supervisor gives up and comes again.
        stage.exit("bomb", Exit::Killed).await;
        assert_eq!(ask().await, Ok(1));
        assert_eq!(states(&inner).await, "worker:up bomb:up");
        top.terminate_child("inner").await.unwrap();
        assert!(matches!(inner.which_children().await, Err(ChildError::SupervisorGone(_))));
        top.restart_child("inner").await.unwrap();
        assert_eq!((ask().await, ask().await), (Ok(1), Ok(2)));
        assert_eq!(states(&inner).await, "worker:up bomb:up");
    });
}

/// A supervisor of unlimited patience with a child that died and never comes up again. Nothing here
/// waits for time: the loop is so hot that time stands still.
async fn hanging(strategy: Strategy, stage: &Stage) -> (SupervisorRef, JoinHandle<Exit>) {
    let intensity = Intensity { restarts: u32::MAX, period: Duration::from_secs(3_600) };
    let (top, end) = up(SupervisorSpec::new("top", strategy, intensity, vec![])).await;
    for child in stage.puppets(&["a", "b", "c"]) {
        top.start_child(child).await.unwrap();
    }
    stage.fail_next_starts("b", u32::MAX);
    stage.exit_now("b", Exit::Killed);
    while top.which_child("b").await.unwrap().state != ChildState::Restarting {
        tokio::task::yield_now().await;
    }
    (top, end)
}

#[test]
fn hanging_restart_loop() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = hanging(Strategy::OneForOne, &stage).await;
        let b = || "b".to_owned();
        for _ in 0..100 {
            assert_eq!(states(&top).await, "a:up b:restarting c:up");
            assert_eq!(counts(&top).await, [3, 2, 0, 3]);
        }
        assert_eq!(top.start_child(stage.puppet("b")).await, refused(Refusal::AlreadyPresent(b())));
        assert_eq!(top.restart_child("b").await, refused(Refusal::Restarting(b())));
        assert_eq!(top.delete_child("b").await, refused(Refusal::Restarting(b())));
        assert!(matches!(top.watch_child("b").await.map(drop), Err(ChildError::NotUp(_))));
        top.terminate_child("b").await.unwrap();
        assert_eq!(states(&top).await, "a:up b:down c:up");
        // The loop is over: time goes on again.
        stage.happened();
        settle().await;
        assert_eq!(stage.happened(), "");
        top.delete_child("b").await.unwrap();
        assert!(!end.is_finished());
    });
}

#[test]
fn hanging_restart_loop_rest_for_one() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = hanging(Strategy::RestForOne, &stage).await;
        let b = || "b".to_owned();
        // c waits behind b; OTP calls that undefined.
        assert_eq!(states(&top).await, "a:up b:restarting c:restarting");
        assert_eq!(top.start_child(stage.puppet("b")).await, refused(Refusal::AlreadyPresent(b())));
        assert_eq!(top.restart_child("b").await, refused(Refusal::Restarting(b())));
        assert_eq!(top.delete_child("b").await, refused(Refusal::Restarting(b())));
        // Only b is taken out; the others of the group go on (OTP leaves c undefined).
        top.terminate_child("b").await.unwrap();
        settle().await;
        assert_eq!(states(&top).await, "a:up b:down c:up");
        assert!(!end.is_finished());

        let stage = Stage::default();
        let (top, end) = hanging(Strategy::RestForOne, &stage).await;
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn hanging_restart_loop_simple() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = hanging(Strategy::Dynamic, &stage).await;
        let b = || "b".to_owned();
        assert_eq!(states(&top).await, "a:up b:restarting c:up");
        assert_eq!(top.restart_child("b").await, refused(Refusal::Dynamic(b())));
        assert_eq!(top.delete_child("b").await, refused(Refusal::Dynamic(b())));
        top.terminate_child("b").await.unwrap();
        assert_eq!(states(&top).await, "a:up c:up");
        settle().await;

        let stage = Stage::default();
        let (top, end) = hanging(Strategy::Dynamic, &stage).await;
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn order_of_children() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::RestForOne, stage.puppets(&["a", "b", "c", "d", "e"])).await;
        assert_eq!(stage.happened(), "+a +b +c +d +e");
        // A part of them, also with holes.
        top.terminate_child("d").await.unwrap();
        assert_eq!(stage.happened(), "-d");
        stage.exit("b", Exit::Killed).await;
        assert_eq!(stage.happened(), "-e -c +b +c +d +e");
        top.terminate_child("c").await.unwrap();
        top.start_child(stage.puppet("f").shutdown(Shutdown::Infinity)).await.unwrap();
        assert_eq!(stage.happened(), "-c +f");
        top.shutdown().await;
        assert_eq!(stage.happened(), "-f -e -d -b -a");
    });
}
