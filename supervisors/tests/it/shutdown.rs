//! Ordered shutdown, deadlines, kills.

use std::time::Duration;

use supervisors::{Exit, Restart, Shutdown, Strategy, start, task_child};
use tokio::time::Instant;

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn children_stop_one_after_the_other_in_reverse_start_order() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = start(supervisor(Strategy::OneForAll, 1, stage.puppets(&["a", "b", "c", "d"])));
        settle().await;
        stage.happened();
        top.shutdown().await;
        assert_eq!(stage.happened(), "-d -c -b -a");
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        // Once more is fine.
        top.shutdown().await;
    });
}

#[test]
fn a_child_that_ignores_the_stop_is_killed_after_its_deadline_and_holds_up_nobody_longer() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("b");
        let mut children = stage.puppets(&["a", "b", "c"]);
        children[1].shutdown = Shutdown::Deadline(ms(100));
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, children));
        settle().await;
        stage.happened();
        let began = Instant::now();
        top.shutdown().await;
        assert_eq!(stage.happened(), "-c -b xb -a");
        let took = began.elapsed();
        assert!(took >= ms(100) && took <= ms(102), "virtual time {took:?}");
    });
}

#[test]
fn a_brutal_stop_does_not_ask() {
    in_virtual_time(async {
        let stage = Stage::default();
        let child = stage.puppet("a").shutdown(Shutdown::Brutal);
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, vec![child]));
        settle().await;
        top.terminate_child("a").await.unwrap();
        assert_eq!(stage.happened(), "+a xa");
        assert_eq!(top.which_children().await.unwrap()[0].last_exit, Some(Exit::Killed));
    });
}

#[test]
fn infinity_waits_longer_than_any_deadline() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("a");
        let child = stage.puppet("a").shutdown(Shutdown::Infinity);
        let (top, end) = start(supervisor(Strategy::OneForOne, 1, vec![child]));
        settle().await;
        let stopping = tokio::task::spawn_local(async move { top.shutdown().await });
        tokio::time::sleep(Duration::from_secs(1_000_000)).await;
        assert!(!end.is_finished());
        stage.exit("a", Exit::Normal).await;
        stopping.await.unwrap();
        assert!(end.is_finished());
    });
}

#[test]
fn a_child_that_survives_its_kill_is_given_up_as_unkillable_and_the_shutdown_goes_on() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("b");
        stage.ignore_kills("b");
        let mut children = stage.puppets(&["a", "b"]);
        children[1].shutdown = Shutdown::Deadline(ms(300));
        let (top, end) = start(supervisor(Strategy::OneForOne, 1, children));
        settle().await;
        stage.happened();
        let began = Instant::now();
        top.terminate_child("b").await.unwrap();
        let took = began.elapsed();
        assert!(took >= ms(500) && took <= ms(504), "virtual time {took:?}");
        assert_eq!(top.which_children().await.unwrap()[1].last_exit, Some(Exit::Unkillable));
        top.shutdown().await;
        assert_eq!(stage.happened(), "-b -a");
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn children_that_die_in_all_ways_during_the_shutdown_are_not_restarted() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("d");
        let mut children = stage.puppets(&["a", "b", "c", "d"]);
        children[0].restart = Restart::Transient;
        children[1].restart = Restart::Temporary;
        let (top, end) = start(supervisor(Strategy::OneForAll, 0, children));
        settle().await;
        stage.happened();
        let stopping = tokio::task::spawn_local(async move { top.shutdown().await });
        settle().await;
        stage.exit("a", Exit::Killed).await;
        stage.exit("b", Exit::Normal).await;
        stage.exit("c", Exit::Panicked("late".into())).await;
        stage.exit("d", Exit::Shutdown).await;
        stopping.await.unwrap();
        assert_eq!(stage.happened(), "-d");
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn a_dynamic_supervisor_stops_all_children_at_the_same_time() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = start(supervisor(Strategy::Dynamic, 1, vec![]));
        for n in 0..10 {
            let id = n.to_string();
            stage.ignore_stops(&id);
            let child = stage.puppet(&id).shutdown(Shutdown::Deadline(ms(100)));
            top.start_child(child).await.unwrap();
        }
        assert_eq!(top.count_children().await.unwrap().active, 10);
        let began = Instant::now();
        top.shutdown().await;
        assert!(began.elapsed() < ms(110), "virtual time {:?}", began.elapsed());
    });
}

#[test]
fn in_a_dynamic_supervisor_a_child_that_ended_for_good_is_forgotten() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = start(supervisor(Strategy::Dynamic, 1, vec![]));
        top.start_child(stage.puppet("a").restart(Restart::Transient)).await.unwrap();
        top.start_child(stage.puppet("b")).await.unwrap();
        stage.exit("a", Exit::Normal).await;
        assert_eq!(states(&top).await, "b:up");
    });
}

#[test]
fn a_task_hears_the_stop_and_one_that_does_not_listen_is_aborted() {
    in_virtual_time(async {
        let polite = task_child("polite", |stop| {
            Box::pin(async move {
                stop.await;
                Exit::Shutdown
            })
        });
        let deaf = task_child("deaf", |_stop| Box::pin(std::future::pending()))
            .shutdown(Shutdown::Deadline(ms(100)));
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, vec![polite, deaf]));
        settle().await;
        top.terminate_child("polite").await.unwrap();
        top.terminate_child("deaf").await.unwrap();
        let exits: Vec<_> =
            top.which_children().await.unwrap().into_iter().map(|child| child.last_exit).collect();
        assert_eq!(exits, [Some(Exit::Shutdown), Some(Exit::Killed)]);
    });
}
