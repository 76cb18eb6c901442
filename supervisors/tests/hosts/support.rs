//! A stage in real time: gates that hold a thread, and waiting for conditions.

use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use supervisors::{
    Boot, ChildInfo, ChildSpec, Exit, Intensity, Shutdown, Strategy, SupervisorRef, SupervisorSpec,
};

/// Far longer than any of this takes; a test that hangs says so instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Deadline of the children here, so that tests of its excess are short.
pub const DEADLINE: Shutdown = Shutdown::Deadline(Duration::from_millis(30));

pub fn in_real_time<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

pub fn supervisor(strategy: Strategy, children: Vec<ChildSpec>) -> SupervisorSpec {
    let intensity = Intensity { restarts: 20, period: Duration::from_secs(5) };
    let children = children.into_iter().map(|child| child.shutdown(DEADLINE)).collect();
    SupervisorSpec::new("top", strategy, intensity, children).boot(Boot::Retry)
}

/// Looks until it is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub async fn child(top: &SupervisorRef, id: &str) -> ChildInfo {
    let answered = tokio::time::timeout(PATIENCE, top.which_children()).await;
    let children = answered.expect("the supervisor does not answer").unwrap();
    children.into_iter().find(|child| child.id == id).expect("no such child")
}

/// Waits until the child has been restarted so often; gives its last exit.
pub async fn restarted(top: &SupervisorRef, id: &str, times: u64) -> Exit {
    let began = std::time::Instant::now();
    loop {
        let info = child(top, id).await;
        if info.restarts >= times
            && info.state == supervisors::ChildState::Running
            && let Some(exit) = info.last_exit
        {
            return exit;
        }
        assert!(began.elapsed() < PATIENCE, "{id} is not restarted");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Holds threads until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Blocks the thread.
    pub fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        let (open, waited) = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap();
        assert!(!waited.timed_out() || *open, "the gate was never opened");
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// The number of abandoned threads is one for the whole program: tests that look at it take turns.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gone, or a corpse that nobody has buried yet.
pub fn is_dead(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}
