//! The read side: what runs and workers look like right now, for `list`, `show`, `watch`, `/metrics`.
//!
//! Rule: written only after the journal holds what is shown; never read by a decision. Queries take
//! a short lock and copy; they never pass through a mailbox, so a busy actor cannot delay `list`.

use engine::run::Run;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// One line of `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub run: String,
    pub workflow: String,
    pub phase: String,
    pub submitted_ms: u64,
    pub ended_ms: Option<u64>,
}

/// How far a running attempt says it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// In 0..=1.
    pub done: f64,
    pub message: String,
}

#[derive(Debug, Default)]
struct State {
    summaries: BTreeMap<String, Summary>,
    live: BTreeMap<String, Arc<Run>>,
    progress: BTreeMap<(String, u32), Progress>,
    breakers: BTreeMap<String, serde_json::Value>,
    /// Where there is no room, and what was said about it.
    disk_full: BTreeMap<&'static str, String>,
    recovered: bool,
    /// Runs that are acknowledged but cannot be read, and why.
    unreadable: BTreeMap<String, String>,
    emergency: Option<String>,
    /// Who wants to know when a run changes. Made by the first follower, gone with the run's end.
    followers: BTreeMap<String, watch::Sender<u64>>,
}

/// Shared, cloneable handle.
#[derive(Debug, Clone, Default)]
pub struct Board {
    state: Arc<Mutex<State>>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves plain values behind; showing them is still right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a run's newest durable state. Finished runs keep only their summary in memory.
    pub fn publish(&self, run: &Run) {
        let summary = Summary {
            run: run.id().to_owned(),
            workflow: run.workflow().to_owned(),
            phase: run.phase_name().to_owned(),
            submitted_ms: run.submitted_ms(),
            ended_ms: run.phase().is_ended().then(|| run.applied().1),
        };
        let mut state = self.lock();
        state.summaries.insert(summary.run.clone(), summary);
        if run.phase().is_ended() {
            state.live.remove(run.id());
            state.progress.retain(|(of, _), _| of != run.id());
        } else {
            state.live.insert(run.id().to_owned(), Arc::new(run.clone()));
        }
        if let Some(follower) = state.followers.get(run.id()) {
            follower.send_modify(|changes| *changes += 1);
            if run.phase().is_ended() || follower.receiver_count() == 0 {
                // Whoever still listens has heard of the last change; the channel's end says no more.
                state.followers.remove(run.id());
            }
        }
    }

    /// Changes each time the run does. What was published before the call is not told again, so look
    /// first at what is there. The sender goes when the run ends; a retried run is followed anew.
    pub fn follow(&self, run: &str) -> watch::Receiver<u64> {
        self.lock().followers.entry(run.to_owned()).or_default().subscribe()
    }

    /// Shows a run that ended before this start.
    pub fn publish_ended(&self, summary: Summary) {
        self.lock().summaries.insert(summary.run.clone(), summary);
    }

    /// How many runs have not ended.
    pub fn live_count(&self) -> usize {
        self.lock().live.len()
    }

    pub fn summaries(&self) -> Vec<Summary> {
        self.lock().summaries.values().cloned().collect()
    }

    pub fn summary(&self, run: &str) -> Option<Summary> {
        self.lock().summaries.get(run).cloned()
    }

    /// The state of an unfinished run.
    pub fn live(&self, run: &str) -> Option<Arc<Run>> {
        self.lock().live.get(run).cloned()
    }

    pub fn live_runs(&self) -> Vec<Arc<Run>> {
        self.lock().live.values().cloned().collect()
    }

    pub fn set_progress(&self, run: &str, stage: u32, progress: Option<Progress>) {
        let mut state = self.lock();
        let key = (run.to_owned(), stage);
        match progress {
            Some(progress) => state.progress.insert(key, progress),
            None => state.progress.remove(&key),
        };
    }

    pub fn progress(&self, run: &str, stage: u32) -> Option<Progress> {
        self.lock().progress.get(&(run.to_owned(), stage)).cloned()
    }

    pub fn set_breaker(&self, backend: &str, state_now: serde_json::Value) {
        self.lock().breakers.insert(backend.to_owned(), state_now);
    }

    pub fn breakers(&self) -> BTreeMap<String, serde_json::Value> {
        self.lock().breakers.clone()
    }

    /// Notes that `place` (journal, artefacts, work) has or has no room. Answers whether this was news.
    pub fn set_disk_full(&self, place: &'static str, why: Option<String>) -> bool {
        let mut state = self.lock();
        match why {
            Some(why) => state.disk_full.insert(place, why).is_none(),
            None => state.disk_full.remove(place).is_some(),
        }
    }

    pub fn disk_full(&self) -> Option<String> {
        let state = self.lock();
        let words: Vec<&str> = state.disk_full.values().map(String::as_str).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Every acknowledged run is visible from here on.
    pub fn set_recovered(&self) {
        self.lock().recovered = true;
    }

    pub fn is_recovered(&self) -> bool {
        self.lock().recovered
    }

    pub fn set_unreadable(&self, run: &str, why: String) {
        self.lock().unreadable.insert(run.to_owned(), why);
    }

    pub fn unreadable(&self) -> BTreeMap<String, String> {
        self.lock().unreadable.clone()
    }

    pub fn set_emergency(&self, reason: Option<String>) {
        self.lock().emergency = reason;
    }

    pub fn emergency(&self) -> Option<String> {
        self.lock().emergency.clone()
    }
}
