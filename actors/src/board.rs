//! The read side: what runs and workers look like right now, for `list`, `show`, `watch`, `/metrics`.
//!
//! Rule: written only after the journal holds what is shown; never read by a decision. Queries take
//! a short lock and copy; they never pass through a mailbox, so a busy actor cannot delay `list`.

use engine::retention::by_number;
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
    /// Who submitted it.
    pub by: String,
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

/// Runs in the order of their numbers, as they are listed.
#[derive(Debug)]
struct Listed<V>(BTreeMap<(usize, String), V>);

impl<V> Default for Listed<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> Listed<V> {
    fn place(run: &str) -> (usize, String) {
        let (length, name) = by_number(run);
        (length, name.to_owned())
    }

    fn insert(&mut self, run: &str, value: V) {
        self.0.insert(Self::place(run), value);
    }

    fn get(&self, run: &str) -> Option<&V> {
        self.0.get(&Self::place(run))
    }

    fn remove(&mut self, run: &str) -> Option<V> {
        self.0.remove(&Self::place(run))
    }

    fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Debug, Default)]
struct State {
    summaries: Listed<Summary>,
    live: Listed<Arc<Run>>,
    progress: BTreeMap<(String, u32), Progress>,
    breakers: BTreeMap<String, serde_json::Value>,
    /// Where there is no room, and what was said about it.
    disk_full: BTreeMap<&'static str, String>,
    /// Too little room on disk to take or place anything: which directory, how much it has and needs.
    no_room: Option<String>,
    /// Ended runs that are being forgotten: nobody sees them any more.
    withheld: BTreeMap<String, Summary>,
    recovered: bool,
    /// Runs that are acknowledged but cannot be read, and why.
    unreadable: BTreeMap<String, String>,
    emergency: Option<String>,
    /// Who wants to know when a run changes. Made by the first follower, gone with the run's end.
    followers: BTreeMap<String, watch::Sender<u64>>,
}

/// Followed runs that are kept before those that nobody follows any more are looked for; as many as there
/// are connections.
const FOLLOWERS_SWEPT_AT: usize = 256;

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
            by: run.submitted_by().to_owned(),
            submitted_ms: run.submitted_ms(),
            ended_ms: run.phase().is_ended().then(|| run.applied().1),
        };
        let mut state = self.lock();
        let name = summary.run.clone();
        state.summaries.insert(&name, summary);
        if run.phase().is_ended() {
            state.live.remove(run.id());
            state.progress.retain(|(of, _), _| of != run.id());
        } else {
            state.live.insert(run.id(), Arc::new(run.clone()));
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
        let mut state = self.lock();
        if state.followers.len() >= FOLLOWERS_SWEPT_AT {
            // Followers of runs that do not change any more have left.
            state.followers.retain(|_, follower| follower.receiver_count() > 0);
        }
        state.followers.entry(run.to_owned()).or_default().subscribe()
    }

    /// Shows a run that ended before this start.
    pub fn publish_ended(&self, summary: Summary) {
        let mut state = self.lock();
        if !state.withheld.contains_key(&summary.run) {
            let name = summary.run.clone();
            state.summaries.insert(&name, summary);
        }
    }

    /// Takes an ended run out of sight; `false` if there is no such run or it has not ended. From here on
    /// whoever asks for it is told that there is none, so it cannot come back to life.
    pub fn withhold(&self, run: &str) -> bool {
        let mut state = self.lock();
        if state.live.get(run).is_some() || state.summaries.get(run).is_none_or(|s| s.ended_ms.is_none()) {
            return false;
        }
        let Some(summary) = state.summaries.remove(run) else { return false };
        state.withheld.insert(run.to_owned(), summary);
        true
    }

    /// Ends what [`Board::withhold`] began: those for which `is_gone` is true are gone, the others come back.
    pub fn settle_withheld(&self, is_gone: impl Fn(&str) -> bool) {
        let mut state = self.lock();
        for (run, summary) in std::mem::take(&mut state.withheld) {
            if !is_gone(&run) {
                state.summaries.insert(&run, summary);
            }
        }
    }

    /// Runs that ended: name and time of the end.
    pub fn ended(&self) -> Vec<(String, u64)> {
        let state = self.lock();
        state.summaries.values().filter_map(|s| Some((s.run.clone(), s.ended_ms?))).collect()
    }

    /// How many runs have ended.
    pub fn ended_count(&self) -> usize {
        let state = self.lock();
        state.summaries.len().saturating_sub(state.live.len())
    }

    /// How many runs have not ended.
    pub fn live_count(&self) -> usize {
        self.lock().live.len()
    }

    pub fn summaries(&self) -> Vec<Summary> {
        self.lock().summaries.values().cloned().collect()
    }

    /// Looks at every run in the order of submission; what `look` returns is kept. One lock for all, so that
    /// ten thousand runs are not copied for a page of a hundred.
    pub fn select<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Summary>) -> T) -> T {
        look(&mut self.lock().summaries.values())
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

    pub fn set_no_room(&self, why: Option<String>) {
        self.lock().no_room = why;
    }

    /// Why nothing new is taken and nothing placed, if the disk has too little room.
    pub fn no_room(&self) -> Option<String> {
        self.lock().no_room.clone()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(run: &str, ended_ms: Option<u64>) -> Summary {
        let (workflow, phase) = ("w".to_owned(), "succeeded".to_owned());
        Summary { run: run.to_owned(), workflow, phase, by: "ada".to_owned(), submitted_ms: 1, ended_ms }
    }

    #[test]
    fn runs_are_listed_in_the_order_of_their_numbers_beyond_a_million_too() {
        let board = Board::default();
        let names = ["run-000009", "run-999999", "run-1000000", "run-1000001"];
        for name in [names[2], names[0], names[3], names[1]] {
            board.publish_ended(summary(name, Some(1)));
        }
        let listed: Vec<String> = board.select(|runs| runs.map(|run| run.run.clone()).collect());
        assert_eq!(listed, names);
        assert!(board.summary("run-1000000").is_some());
    }

    #[test]
    fn a_withheld_run_is_unknown_until_it_is_gone_or_comes_back_and_an_open_one_is_not_withheld() {
        let board = Board::default();
        for (run, ended) in [("a", Some(2)), ("b", Some(3)), ("open", None)] {
            board.publish_ended(summary(run, ended));
        }
        assert!(board.withhold("a") && board.withhold("b"));
        assert!(!board.withhold("open") && !board.withhold("nobody") && !board.withhold("a"));
        assert_eq!(board.summary("a"), None);
        // A recovery in between does not bring it back.
        board.publish_ended(summary("a", Some(2)));
        assert_eq!(board.ended(), []);
        board.settle_withheld(|run| run == "a");
        assert_eq!(board.ended(), [("b".to_owned(), 3)]);
        assert_eq!(board.summary("a"), None);
    }
}
