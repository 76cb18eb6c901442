//! The roll call: before the scheduler places anything, every open run says what its stages ask for.
//!
//! After a start, and after a scheduler that was made anew, requests come one by one; who comes first would get
//! what an older request of another run should have. Rule: while anybody is missing nothing is placed, for
//! [`PATIENCE`] at most: a run that waits for a full disk must not hold up all others for ever. Runs are missed
//! from [`RollCall::expect`] or [`RollCall::call`] until the scheduler has heard their answer, which comes
//! behind their requests. Absent: the requests. Start at [`RollCall::is_open`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Longest wait for those that do not answer. A start with 10,000 open runs takes a few seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Missing {
    runs: BTreeSet<String>,
    since: Option<Instant>,
}

/// Shared, cloneable handle.
#[derive(Debug, Clone)]
pub struct RollCall {
    missing: Arc<Mutex<Missing>>,
    calls: watch::Sender<u64>,
}

impl Default for RollCall {
    fn default() -> Self {
        Self { missing: Arc::default(), calls: watch::Sender::new(0) }
    }
}

impl RollCall {
    fn lock(&self) -> MutexGuard<'_, Missing> {
        // Plain values: what a panic left behind is still right.
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This run starts and will say what it asks for without being called.
    pub fn expect(&self, run: &str) {
        let mut missing = self.lock();
        missing.runs.insert(run.to_owned());
        missing.since = Some(Instant::now());
    }

    /// Requests were lost: these runs are asked to say again what their stages ask for.
    pub fn call(&self, runs: impl Iterator<Item = String>) {
        let mut missing = self.lock();
        missing.runs = runs.collect();
        missing.since = Some(Instant::now());
        drop(missing);
        self.calls.send_modify(|calls| *calls += 1);
    }

    /// Changes each time the runs are called.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.calls.subscribe()
    }

    /// This run has said what it asks for, or never will. True if it was the last that was missing.
    pub fn answered(&self, run: &str) -> bool {
        let mut missing = self.lock();
        missing.runs.remove(run) && missing.runs.is_empty()
    }

    pub fn is_missing(&self, run: &str) -> bool {
        self.lock().runs.contains(run)
    }

    /// Somebody is missing, and not for too long yet.
    pub fn is_open(&self) -> bool {
        let mut missing = self.lock();
        if missing.runs.is_empty() {
            return false;
        }
        if missing.since.is_some_and(|since| since.elapsed() < PATIENCE) {
            return true;
        }
        tracing::warn!(runs = missing.runs.len(), "Runs have not said what they ask for; the others go on.");
        missing.runs.clear();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roll_is_open_until_the_last_run_has_answered() {
        let roll = RollCall::default();
        assert!(!roll.is_open(), "nobody is missing");
        roll.expect("run-1");
        roll.expect("run-2");
        assert!(!roll.answered("run-1") && roll.is_open());
        assert!(roll.answered("run-2") && !roll.is_open());
        let calls = roll.listen();
        roll.call(["run-1".to_owned()].into_iter());
        assert!(calls.has_changed().unwrap() && roll.is_open());
        assert!(roll.answered("run-1"));
    }
}
