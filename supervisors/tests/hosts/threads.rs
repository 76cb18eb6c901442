//! Threads as children: stopped by a flag, contained in their panics, abandoned when they do not end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use supervisors::{
    ChildState, Exit, Restart, StopFlag, Strategy, abandoned_threads, is_abandoned, start, thread_child,
};

use crate::support::{Gate, PATIENCE, alone, child, in_real_time, restarted, supervisor, until};

#[test]
fn a_thread_runs_beside_its_supervisor_and_its_exit_is_the_childs() {
    in_real_time(async {
        let here = std::thread::current().id();
        let elsewhere = Arc::new(Mutex::new(None));
        let seen = elsewhere.clone();
        let worker = thread_child("worker", None, move |stop, _| {
            let before = seen.lock().unwrap().replace(std::thread::current().id());
            if before.is_none() {
                return Exit::Error("told so".to_owned());
            }
            stop.wait(PATIENCE);
            Exit::Shutdown
        });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![worker.restart(Restart::Transient)]));
        assert_eq!(restarted(&top, "worker", 1).await, Exit::Error("told so".to_owned()));
        assert!(elsewhere.lock().unwrap().is_some_and(|thread| thread != here));
    });
}

#[test]
fn a_panic_costs_the_thread_and_nothing_else() {
    in_real_time(async {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let worker = thread_child("worker", None, move |stop, _| {
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                panic!("the first time");
            }
            stop.wait(PATIENCE);
            Exit::Shutdown
        });
        let (top, end) = start(supervisor(Strategy::OneForOne, vec![worker]));
        assert_eq!(restarted(&top, "worker", 1).await, Exit::Panicked("the first time".to_owned()));
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_stop_reaches_a_thread_that_rests_and_one_that_looks() {
    in_real_time(async {
        let rests = thread_child("rests", None, |stop, _| {
            // Far longer than the deadline: it ends in order only if the stop interrupts the rest.
            if stop.wait(PATIENCE) { Exit::Shutdown } else { Exit::Error("not asked".to_owned()) }
        });
        let looks = thread_child("looks", None, |stop, _| {
            while !stop.is_set() {
                std::thread::sleep(Duration::from_micros(100));
            }
            Exit::Shutdown
        });
        let (top, end) = start(supervisor(Strategy::OneForOne, vec![rests, looks]));
        for id in ["rests", "looks"] {
            top.terminate_child(id).await.unwrap();
            assert_eq!(child(&top, id).await.last_exit, Some(Exit::Shutdown), "{id}");
        }
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn a_thread_that_ignores_its_stop_is_abandoned_counted_and_replaced_and_its_late_end_does_no_harm() {
    let _turn = alone();
    in_real_time(async {
        let (gate, runs) = (Gate::default(), Arc::new(AtomicU32::new(0)));
        let said: Arc<Mutex<Vec<(u32, bool, bool)>>> = Arc::default();
        let before = abandoned_threads();
        let worker = {
            let (gate, runs, said) = (gate.clone(), runs.clone(), said.clone());
            thread_child("worker", Some(PATIENCE), move |stop, pulse| {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                if run == 0 {
                    gate.pass();
                    // It comes back late, beats and reports.
                    pulse.beat();
                    said.lock().unwrap().push((run, stop.is_set(), is_abandoned()));
                    return Exit::Error("late".to_owned());
                }
                pulse.beat();
                said.lock().unwrap().push((run, stop.is_set(), is_abandoned()));
                stop.wait(PATIENCE);
                Exit::Shutdown
            })
        };
        let pulse = worker.watchdog.as_ref().unwrap().pulse.clone();
        let (top, end) = start(supervisor(Strategy::OneForOne, vec![worker]));
        until("the first thread runs", || runs.load(Ordering::SeqCst) == 1).await;

        top.terminate_child("worker").await.unwrap();
        assert_eq!(child(&top, "worker").await.last_exit, Some(Exit::Unkillable));
        assert_eq!(abandoned_threads(), before + 1);

        top.restart_child("worker").await.unwrap();
        until("the second thread has beaten", || pulse.beats() == 1).await;
        gate.open();
        until("the first thread ends", || abandoned_threads() == before).await;
        // The old thread knew, its beat did not count, and its exit was not taken for the new one's.
        assert_eq!(*said.lock().unwrap(), [(1, false, false), (0, true, true)]);
        assert_eq!(pulse.beats(), 1);
        let info = child(&top, "worker").await;
        assert_eq!((info.state, info.last_exit), (ChildState::Running, Some(Exit::Unkillable)));

        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert!(!is_abandoned(), "a thread that is no child was never abandoned");
    });
}

#[test]
fn a_blocked_thread_does_not_keep_its_siblings_from_stopping() {
    let _turn = alone();
    in_real_time(async {
        let (gate, running) = (Gate::default(), Arc::new(AtomicU32::new(0)));
        let (held, began) = (gate.clone(), running.clone());
        let blocked = thread_child("blocked", None, move |_, _| {
            began.fetch_add(1, Ordering::SeqCst);
            held.pass();
            Exit::Normal
        });
        let stopped = Arc::new(AtomicU32::new(0));
        let counted = stopped.clone();
        let sibling = thread_child("sibling", None, move |stop, _| {
            stop.wait(PATIENCE);
            counted.fetch_add(1, Ordering::SeqCst);
            Exit::Shutdown
        });
        let before = abandoned_threads();
        let (top, end) = start(supervisor(Strategy::OneForOne, vec![sibling, blocked]));
        // Started last, so its sibling is up.
        until("it blocks", || running.load(Ordering::SeqCst) == 1).await;
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        assert_eq!(stopped.load(Ordering::SeqCst), 1);
        gate.open();
        until("the blocked thread ends", || abandoned_threads() == before).await;
    });
}

#[test]
fn a_supervisor_that_vanishes_asks_its_threads_to_end() {
    in_real_time(async {
        let ended = Arc::new(AtomicU32::new(0));
        let (counted, began) = (ended.clone(), Gate::default());
        let beginning = began.clone();
        let worker = thread_child("worker", None, move |stop, _| {
            beginning.open();
            stop.wait(PATIENCE);
            counted.fetch_add(1, Ordering::SeqCst);
            Exit::Shutdown
        });
        let (top, end) = start(supervisor(Strategy::OneForOne, vec![worker]));
        assert_eq!(child(&top, "worker").await.id, "worker");
        tokio::task::spawn_blocking(move || began.pass()).await.unwrap();
        end.abort();
        until("the thread ends", || ended.load(Ordering::SeqCst) == 1).await;
    });
}

#[test]
fn a_flag_once_set_stays_set() {
    let flag = StopFlag::new();
    assert!(!flag.is_set());
    assert!(!flag.wait(Duration::ZERO));
    flag.clone().set();
    assert!(flag.is_set() && flag.wait(PATIENCE));
}
