//! Writes checkpoints beside the work: one thread, the newest value of each key, many in one go.
//!
//! Rule: nobody waits for it and nothing depends on it. What it has not written when the daemon dies is
//! replayed from the journal. A run that ended leaves one line ([`Ended`]) in a block of many, so that a
//! start reads tens of values for tens of thousands of runs.

use crate::board::Summary;
use journal::Checkpoints;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long values gather before they are written. A start after a crash replays at most so much more.
const GATHER: Duration = Duration::from_millis(100);
/// Longest wait for the last values at an orderly end; a stop must not hang on what can be replayed.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// Runs in one block: about 30 KiB, rewritten when one of them ends.
const BLOCK_RUNS: u64 = 256;
const BLOCK_PREFIX: &str = "ended/";
/// Version of [`Ended`] as stored; another one is not read, and the runs are replayed.
const BLOCK_SCHEMA: u16 = 2;

/// What is remembered of a run that ended, and how many records its stream had then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub run: String,
    pub workflow: String,
    pub phase: String,
    pub submitted_ms: u64,
    pub ended_ms: u64,
    pub sequence: u64,
    /// Key of the submission and the digest of its content.
    pub key: Option<(String, String)>,
    /// Who submitted it (since schema 2).
    pub by: String,
}

impl Ended {
    /// As the board shows it.
    pub fn summary(&self) -> Summary {
        Summary {
            run: self.run.clone(),
            workflow: self.workflow.clone(),
            phase: self.phase.clone(),
            by: self.by.clone(),
            submitted_ms: self.submitted_ms,
            ended_ms: Some(self.ended_ms),
        }
    }
}

#[derive(Debug, Default)]
struct Pending {
    /// Key to journal position and value.
    values: BTreeMap<String, (u64, Vec<u8>)>,
    blocks: BTreeMap<u64, BTreeMap<String, Ended>>,
    /// Blocks that changed since they were written, and up to which position.
    changed: BTreeMap<u64, u64>,
    closed: bool,
    /// The thread has written all that there was and is gone.
    ended: bool,
}

#[derive(Debug, Default)]
struct Desk {
    pending: Mutex<Pending>,
    news: Condvar,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Plain values; whatever a panic left behind is at worst an older checkpoint.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handle of the writing thread; clones share it.
#[derive(Debug, Clone)]
pub struct Checkpointer {
    desk: Arc<Desk>,
}

impl Checkpointer {
    /// Starts the thread and reads what is known of ended runs, by run.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(checkpoints: Arc<Checkpoints>) -> io::Result<Self> {
        let mut pending = Pending::default();
        for key in checkpoints.keys(BLOCK_PREFIX) {
            let Some(block) = key.strip_prefix(BLOCK_PREFIX).and_then(|text| text.parse().ok()) else {
                continue;
            };
            let read = checkpoints.get(&key);
            let decoded =
                read.and_then(|(_, bytes)| journal::codec::decode::<(u16, Vec<Ended>)>(&bytes).ok());
            if let Some((BLOCK_SCHEMA, runs)) = decoded {
                pending
                    .blocks
                    .insert(block, runs.into_iter().map(|ended| (ended.run.clone(), ended)).collect());
            }
        }
        let desk = Arc::new(Desk { pending: Mutex::new(pending), news: Condvar::new() });
        let own = Arc::clone(&desk);
        std::thread::Builder::new()
            .name("checkpointer".to_owned())
            .spawn(move || write(&own, &checkpoints))?;
        Ok(Self { desk })
    }

    /// What was known of this run when it ended.
    pub fn ended(&self, run: &str) -> Option<Ended> {
        self.desk.lock().blocks.get(&block_of(run))?.get(run).cloned()
    }

    /// Keeps a value; it replaces one of the same key that is not written yet.
    pub fn put(&self, key: String, position: u64, bytes: Vec<u8>) {
        self.desk.lock().values.insert(key, (position, bytes));
        self.desk.news.notify_one();
    }

    /// Remembers a run that ended with the record at `position`.
    pub fn put_ended(&self, ended: Ended, position: u64) {
        let block = block_of(&ended.run);
        let mut pending = self.desk.lock();
        pending.blocks.entry(block).or_default().insert(ended.run.clone(), ended);
        let changed = pending.changed.entry(block).or_default();
        *changed = position.max(*changed);
        self.desk.news.notify_one();
    }

    /// Forgets a run for good.
    pub fn forget(&self, run: &str, position: u64) {
        let block = block_of(run);
        let mut pending = self.desk.lock();
        pending.values.remove(&crate::shared::checkpoint_key(run));
        let found = pending.blocks.get_mut(&block).and_then(|runs| runs.remove(run));
        if found.is_some() {
            let changed = pending.changed.entry(block).or_default();
            *changed = position.max(*changed);
            self.desk.news.notify_one();
        }
    }

    /// Ends the thread after it has written what is there, and waits for that, within bounds: what is not
    /// written is replayed at the next start. Blocks.
    pub fn close(&self) {
        let mut pending = self.desk.lock();
        pending.closed = true;
        self.desk.news.notify_all();
        let waited = self.desk.news.wait_timeout_while(pending, CLOSE_WAIT, |pending| !pending.ended);
        let (pending, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(pending);
        if timeout.timed_out() {
            tracing::warn!(
                "The newest checkpoints were not written in time; the journal will be replayed instead."
            );
        }
    }
}

/// Runs are numbered; whatever else a name may be goes into block 0.
fn block_of(run: &str) -> u64 {
    run.rsplit('-').next().and_then(|digits| digits.parse::<u64>().ok()).unwrap_or(0) / BLOCK_RUNS
}

fn write(desk: &Desk, checkpoints: &Checkpoints) {
    loop {
        let mut pending = desk.lock();
        while pending.values.is_empty() && pending.changed.is_empty() && !pending.closed {
            pending = desk.news.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        if !pending.closed {
            // Newer values of the same keys arrive meanwhile and replace these.
            drop(pending);
            std::thread::sleep(GATHER);
            pending = desk.lock();
        }
        let closed = pending.closed;
        let values = std::mem::take(&mut pending.values);
        let changed = std::mem::take(&mut pending.changed);
        let blocks: Vec<_> = changed
            .into_iter()
            .map(|(block, position)| {
                let runs: Vec<Ended> = pending
                    .blocks
                    .get(&block)
                    .map(|runs| runs.values().cloned().collect())
                    .unwrap_or_default();
                (format!("{BLOCK_PREFIX}{block:010}"), position, runs)
            })
            .collect();
        drop(pending);
        journal::failpoint!("checkpointer.before-write");
        for (key, (position, bytes)) in values {
            put(checkpoints, &key, position, &bytes);
        }
        for (key, position, runs) in blocks {
            if runs.is_empty() {
                // Every run of it is forgotten.
                if let Err(error) = checkpoints.remove(&key) {
                    tracing::warn!(key, %error, "An empty block could not be removed.");
                }
                continue;
            }
            match journal::codec::try_encode(&(BLOCK_SCHEMA, runs)) {
                Ok(bytes) => put(checkpoints, &key, position, &bytes),
                Err(error) => tracing::warn!(key, %error, "A block of ended runs does not encode."),
            }
        }
        journal::failpoint!("checkpointer.after-write");
        if closed {
            desk.lock().ended = true;
            desk.news.notify_all();
            return;
        }
    }
}

fn put(checkpoints: &Checkpoints, key: &str, position: u64, bytes: &[u8]) {
    if let Err(error) = checkpoints.put(key, position, bytes) {
        tracing::warn!(key, %error, "A checkpoint could not be stored; the journal will be replayed instead.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(number: u64, sequence: u64) -> Ended {
        Ended {
            run: format!("run-{number:06}"),
            workflow: "six".into(),
            phase: "succeeded".into(),
            submitted_ms: 1,
            ended_ms: 2,
            sequence,
            key: Some(("k".into(), "c".into())),
            by: "ada".into(),
        }
    }

    #[test]
    fn what_was_remembered_is_there_after_the_next_start_and_what_was_forgotten_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (checkpoints, _) = Checkpoints::open(folder.path(), 1_000);
        let checkpoints = Arc::new(checkpoints);
        let first = Checkpointer::start(Arc::clone(&checkpoints)).unwrap();
        for number in 0..600 {
            first.put_ended(ended(number, number), number);
        }
        first.forget("run-000300", 600);
        first.close();
        assert_eq!(checkpoints.keys(BLOCK_PREFIX).len(), 3, "closed before all was written");
        let second = Checkpointer::start(checkpoints).unwrap();
        assert_eq!(second.ended("run-000599"), Some(ended(599, 599)));
        assert_eq!(second.ended("run-000300"), None);
        assert_eq!(second.ended("run-000600"), None);
    }
}
