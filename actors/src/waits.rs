//! Waits for room that lasted: what each was for, from when until when, kept with the run.
//!
//! Rule: written when a wait is over, and only if it lasted for ten seconds, so that a busy daemon does
//! not write a record for every stage that queues for a moment. A wait that a daemon's death cuts short is
//! not noted; that the stage was ready stands in the run's own events. Read by `explain`.

use crate::records::{self, Principal};
use crate::shared::Shared;
use engine::placement::Why;
use journal::{Journal, NewRecord};
use serde::{Deserialize, Serialize};

/// Schema version of [`Waited`] in journal envelopes.
pub const WAITED_SCHEMA: u16 = 1;
/// Shorter waits explain nothing that anybody would ask.
pub const LASTS_MS: u64 = 10_000;
/// Waits read of one run: a thousand stages with a few each.
const READ_MAX: usize = 4_000;

/// A wait for room that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    pub stage: u32,
    pub attempt: u32,
    pub why: Why,
    pub since_ms: u64,
    pub until_ms: u64,
}

impl Waited {
    pub const fn lasted(&self) -> bool {
        self.until_ms.saturating_sub(self.since_ms) >= LASTS_MS
    }
}

/// The stream of a run's waits.
pub fn stream(run: &str) -> String {
    format!("waits/{run}")
}

/// Journals them, each in its run's stream, all in one batch.
pub async fn write(shared: &Shared, waits: Vec<(String, Waited)>) {
    let mut batch: Vec<NewRecord> = Vec::with_capacity(waits.len());
    for (run, wait) in waits {
        if shared.books.is_forgotten(&run) {
            continue;
        }
        let system = Principal::system();
        match records::record(stream(&run), 0, "StageWaited", WAITED_SCHEMA, &wait, &system) {
            // The streams are this daemon's alone, and no decision rests on their order.
            Ok(record) => batch.push(NewRecord { expected_seq: None, ..record }),
            Err(error) => tracing::warn!(run, %error, "A wait could not be noted."),
        }
    }
    if !batch.is_empty()
        && let Err(error) = shared.append(batch).await
    {
        tracing::warn!(%error, "Waits could not be noted.");
    }
}

/// The waits of a run, in the order in which they ended.
pub fn read(journal: &Journal, run: &str) -> Vec<Waited> {
    let page = journal.read_stream(&stream(run), 1, READ_MAX).unwrap_or_default();
    page.iter().filter_map(|record| records::decode(record, WAITED_SCHEMA).ok()).collect()
}
