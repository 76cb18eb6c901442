//! OTP's group simple_one_for_one: dynamic supervisors.

use std::cell::Cell;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use supervisors::{ChildSpec, Exit, Restart, Running, Shutdown, Started, Starter, Strategy, SupervisorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::support::{Stage, in_virtual_time, states, supervisor};
use crate::{error, ms, patient, up};

async fn with_children(
    stage: &Stage,
    restarts: u32,
    ids: &[&str],
) -> (SupervisorRef, tokio::task::JoinHandle<Exit>) {
    let (top, end) = up(supervisor(Strategy::Dynamic, restarts, vec![])).await;
    for child in stage.puppets(ids) {
        top.start_child(child).await.unwrap();
    }
    (top, end)
}

#[test]
fn simple_one_for_one() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = with_children(&stage, 2, &["a", "b"]).await;
        stage.exit("a", Exit::Killed).await;
        stage.exit("a", Exit::Killed).await;
        assert_eq!(states(&top).await, "a:up b:up");
        assert_eq!(top.which_child("b").await.unwrap().generation, 0);
        stage.exit("b", Exit::Killed).await;
        assert!(matches!(end.await.unwrap(), Exit::Escalated(_)));
        assert_eq!(stage.happened(), "+a +b +a +a -a");
    });
}

/// Children that take their time, one that must be killed: all at the same time.
#[test]
fn simple_one_for_one_shutdown() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::Dynamic, vec![]).await;
        let mut watches = Vec::new();
        for n in 0..5 {
            let id = n.to_string();
            stage.ignore_stops(&id);
            let child = stage.puppet(&id).shutdown(Shutdown::Deadline(ms(1_000)));
            top.start_child(child).await.unwrap();
            watches.push(top.watch_child(&id).await.unwrap());
        }
        let began = Instant::now();
        let stopping = tokio::task::spawn_local(async move { top.shutdown().await });
        tokio::time::sleep(ms(500)).await;
        for id in ["0", "1", "2"] {
            stage.exit(id, Exit::Shutdown).await;
        }
        stopping.await.unwrap();
        // Not five times the patience.
        assert!(began.elapsed() >= ms(1_000) && began.elapsed() < ms(1_010), "{:?}", began.elapsed());
        let mut exits = Vec::new();
        for watch in watches {
            exits.push(watch.await);
        }
        assert_eq!(exits[..3], [Exit::Shutdown, Exit::Shutdown, Exit::Shutdown]);
        assert_eq!(exits[3..], [Exit::Killed, Exit::Killed]);
    });
}

/// Every child has what it needs in its own starter, also after a restart.
#[test]
fn simple_one_for_one_extra() {
    in_virtual_time(async {
        let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
        let (top, _end) = patient(Strategy::Dynamic, vec![]).await;
        for extra in [10, 20] {
            let seen = seen.clone();
            let child = supervisors::task_child(extra.to_string(), move |_stop| {
                seen.borrow_mut().push(extra);
                let again = seen.borrow().len() < 4;
                Box::pin(async move { if again { Exit::Killed } else { std::future::pending().await } })
            });
            top.start_child(child).await.unwrap();
        }
        crate::support::settle().await;
        let mut seen = seen.borrow().clone();
        seen.sort_unstable();
        assert_eq!(seen.first(), Some(&10));
        assert_eq!(seen.last(), Some(&20));
        assert!(seen.len() >= 4);
        assert_eq!(states(&top).await, "10:up 20:up");
    });
}

#[test]
fn simple_one_for_one_escalation() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = with_children(&stage, 4, &["a", "b"]).await;
        let watch = top.watch_child("b").await.unwrap();
        stage.fail_next_starts("a", 100);
        stage.exit("a", error("boom")).await;
        assert!(matches!(end.await.unwrap(), Exit::Escalated(_)));
        assert_eq!(watch.await, Exit::Shutdown);
        assert_eq!(stage.happened(), "+a +b !a !a !a !a -b");
    });
}

/// Its starter, and all that the starter holds, lives exactly as long as the child's spec.
pub struct Counted {
    pub alive: Rc<Cell<i64>>,
    pub done: Rc<Cell<Option<oneshot::Sender<Exit>>>>,
}

impl Counted {
    pub fn child(id: &str, alive: &Rc<Cell<i64>>) -> (ChildSpec, Rc<Cell<Option<oneshot::Sender<Exit>>>>) {
        alive.set(alive.get() + 1);
        let done = Rc::new(Cell::new(None));
        (ChildSpec::new(id, Counted { alive: alive.clone(), done: done.clone() }), done)
    }
}

impl Starter for Counted {
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        let (done, exit) = oneshot::channel();
        let (stop, _stopped) = oneshot::channel();
        self.done.set(Some(done));
        let kill = self.done.clone();
        let running = Running::new(exit, stop, move || {
            kill.take();
        });
        Box::pin(async { Ok(Started::Running(running)) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

/// OTP-16804: what a temporary child was started with is not kept after its death, whatever else runs.
#[test]
fn simple_one_for_one_corruption() {
    in_virtual_time(async {
        let alive = Rc::new(Cell::new(0));
        let (top, _end) = patient(Strategy::Dynamic, vec![]).await;
        let (temporary, done) = Counted::child("temporary", &alive);
        let (permanent, _kept) = Counted::child("permanent", &alive);
        top.start_child(temporary.restart(Restart::Temporary)).await.unwrap();
        top.start_child(permanent).await.unwrap();
        assert_eq!(alive.get(), 2);
        done.take().unwrap().send(error("x")).unwrap();
        crate::support::settle().await;
        assert_eq!(alive.get(), 1);
        assert_eq!(states(&top).await, "permanent:up");
    });
}

#[test]
fn simple_one_for_one_restart_ignore() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = with_children(&stage, 1, &["a", "b"]).await;
        stage.choose_not_to_run("a");
        stage.exit("a", Exit::Killed).await;
        assert_eq!(states(&top).await, "b:up");
        assert!(!end.is_finished());
    });
}
