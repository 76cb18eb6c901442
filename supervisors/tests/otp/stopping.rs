//! OTP's group sup_stop.

use supervisors::{Exit, Restart, Shutdown, Strategy};

use crate::support::{Stage, in_virtual_time, settle, supervisor};
use crate::{error, ms, patient, up};

#[test]
fn sup_stop_infinity() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("a");
        let mut children = stage.puppets(&["a", "b"]);
        children[0].shutdown = Shutdown::Infinity;
        children[1].shutdown = Shutdown::Infinity;
        let (top, end) = patient(Strategy::OneForOne, children).await;
        let (a, b) = (top.watch_child("a").await.unwrap(), top.watch_child("b").await.unwrap());
        let stopping = tokio::task::spawn_local(async move { top.shutdown().await });
        // However long it takes.
        tokio::time::sleep(ms(100_000_000)).await;
        assert!(!end.is_finished());
        stage.exit("a", Exit::Shutdown).await;
        stopping.await.unwrap();
        assert_eq!((a.await, b.await), (Exit::Shutdown, Exit::Shutdown));
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn sup_stop_timeout() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("b");
        let mut children = stage.puppets(&["a", "b"]);
        children[1].shutdown = Shutdown::Deadline(ms(1_000));
        let (top, end) = patient(Strategy::OneForOne, children).await;
        let (a, b) = (top.watch_child("a").await.unwrap(), top.watch_child("b").await.unwrap());
        top.shutdown().await;
        assert_eq!((a.await, b.await), (Exit::Shutdown, Exit::Killed));
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn sup_stop_timeout_dynamic() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = patient(Strategy::Dynamic, vec![]).await;
        let mut watches = Vec::new();
        for id in ["a", "b", "c", "d"] {
            top.start_child(stage.puppet(id).shutdown(Shutdown::Deadline(ms(1_000)))).await.unwrap();
            watches.push(top.watch_child(id).await.unwrap());
        }
        stage.ignore_stops("b");
        stage.ignore_stops("d");
        top.shutdown().await;
        let mut exits = Vec::new();
        for watch in watches {
            exits.push(watch.await);
        }
        assert_eq!(exits, [Exit::Shutdown, Exit::Killed, Exit::Shutdown, Exit::Killed]);
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn sup_stop_brutal_kill() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut children = stage.puppets(&["a", "b"]);
        children[1].shutdown = Shutdown::Brutal;
        let (top, _end) = patient(Strategy::OneForOne, children).await;
        let (a, b) = (top.watch_child("a").await.unwrap(), top.watch_child("b").await.unwrap());
        top.shutdown().await;
        assert_eq!((a.await, b.await), (Exit::Shutdown, Exit::Killed));
        assert_eq!(stage.happened(), "+a +b xb -a");
    });
}

#[test]
fn sup_stop_brutal_kill_dynamic() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = patient(Strategy::Dynamic, vec![]).await;
        let mut watches = Vec::new();
        for n in 0..10 {
            let id = n.to_string();
            top.start_child(stage.puppet(&id).shutdown(Shutdown::Brutal)).await.unwrap();
            watches.push(top.watch_child(&id).await.unwrap());
        }
        top.shutdown().await;
        for watch in watches {
            assert_eq!(watch.await, Exit::Killed);
        }
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

/// Children that end by themselves, in every way, while their supervisor stops them.
#[test]
fn sup_stop_race() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        for reason in
            [Exit::Normal, Exit::Shutdown, Exit::ShutdownBecause("x".into()), error("other"), Exit::Killed]
        {
            for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
                in_virtual_time(async {
                    let stage = Stage::default();
                    // The last one holds the shutdown up; meanwhile the others die by themselves.
                    stage.ignore_stops("c");
                    let children =
                        stage.puppets(&["a", "b", "c"]).into_iter().map(|child| child.restart(restart));
                    // Not a single restart is tolerated, so a wrong count would show in the exit.
                    let (top, end) = up(supervisor(strategy, 0, children.collect())).await;
                    let mut watches = Vec::new();
                    for id in ["a", "b", "c"] {
                        watches.push(top.watch_child(id).await.unwrap());
                    }
                    let stopping = tokio::task::spawn_local(async move { top.shutdown().await });
                    settle().await;
                    for id in ["a", "b", "c"] {
                        stage.exit(id, reason.clone()).await;
                    }
                    stopping.await.unwrap();
                    for watch in watches {
                        assert_eq!(watch.await, reason);
                    }
                    assert_eq!(end.await.unwrap(), Exit::Shutdown);
                    assert_eq!(stage.happened(), "+a +b +c -c");
                });
            }
        }
    }
}

#[test]
fn sup_stop_non_shutdown_exit_dynamic() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = up(supervisor(Strategy::Dynamic, 0, vec![])).await;
        for id in ["a", "b", "c"] {
            stage.ignore_stops(id);
            top.start_child(stage.puppet(id)).await.unwrap();
        }
        let watch = top.watch_child("b").await.unwrap();
        let stopping = tokio::task::spawn_local(async move { top.shutdown().await });
        settle().await;
        stage.exit("a", Exit::Normal).await;
        stage.exit("b", error("not shutdown")).await;
        stage.exit("c", Exit::ShutdownBecause("x".into())).await;
        stopping.await.unwrap();
        assert_eq!(watch.await, error("not shutdown"));
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}
