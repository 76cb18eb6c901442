//! The books of retention, shared: which runs are pinned and which are gone, as the journal has it.
//!
//! Rule: the housekeeper alone writes (append, then [`Books::apply`]); everybody may look. Books that could
//! not be read completely say so, and then nothing may be removed. The machine is `engine::retention`.

use crate::records::{self, Principal, RecordError};
use engine::retention::{EVENT_SCHEMA, Event, Retention};
use journal::{Journal, NewRecord};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Stream of all pins and of all decisions to forget runs.
pub const RETENTION_STREAM: &str = "retention";
/// Records read at once.
const PAGE: usize = 1_000;

#[derive(Debug, Default)]
struct State {
    retention: Retention,
    records: u64,
    unreadable: Option<String>,
}

/// Shared, cloneable handle.
#[derive(Debug, Clone, Default)]
pub struct Books {
    state: Arc<Mutex<State>>,
}

impl Books {
    /// Reads the stream. What cannot be read is said by [`Books::unreadable`].
    pub fn read(journal: &Journal) -> Self {
        let books = Self::default();
        books.reread(journal);
        books
    }

    /// Reads the stream again: after a restart of whoever writes it, or when an append failed.
    pub(crate) fn reread(&self, journal: &Journal) {
        let mut state = State::default();
        loop {
            let page = match journal.read_stream(RETENTION_STREAM, state.records + 1, PAGE) {
                Ok(page) => page,
                Err(error) => {
                    state.unreadable = Some(error.to_string());
                    break;
                }
            };
            if page.is_empty() {
                break;
            }
            for record in page {
                state.records = record.stream_seq;
                match records::decode::<Event>(&record, EVENT_SCHEMA) {
                    Ok(event) => state.retention.apply(&event),
                    Err(error) => state.unreadable = Some(error.to_string()),
                }
            }
        }
        if let Some(why) = &state.unreadable {
            tracing::error!(why, "The books of retention cannot be read; nothing will be removed.");
        }
        *self.lock() = state;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves plain values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the books are not complete, if so.
    pub fn unreadable(&self) -> Option<String> {
        self.lock().unreadable.clone()
    }

    /// The books as they are now.
    pub fn now(&self) -> Retention {
        self.lock().retention.clone()
    }

    pub fn is_pinned(&self, run: &str) -> bool {
        engine::retention::number_of(run).is_some_and(|number| self.lock().retention.is_pinned(number))
    }

    pub fn pinned_count(&self) -> usize {
        self.lock().retention.pins().len()
    }

    pub fn is_forgotten(&self, run: &str) -> bool {
        engine::retention::number_of(run).is_some_and(|number| self.lock().retention.is_forgotten(number))
    }

    /// The record that this event becomes.
    ///
    /// # Errors
    /// When the event does not encode.
    pub(crate) fn record(&self, event: &Event, by: &Principal) -> Result<NewRecord, RecordError> {
        records::record(
            RETENTION_STREAM.to_owned(),
            self.lock().records,
            event.name(),
            event.schema(),
            event,
            by,
        )
    }

    /// After the event's record became durable.
    pub(crate) fn apply(&self, event: &Event) {
        let mut state = self.lock();
        state.retention.apply(event);
        state.records += 1;
    }
}

/// The run that a stream belongs to, if any: `runs/RUN`, `jobs/RUN/..` and `waits/RUN`.
pub fn run_of(stream: &str) -> Option<&str> {
    let rest = ["runs/", "jobs/", "waits/"].into_iter().find_map(|prefix| stream.strip_prefix(prefix))?;
    rest.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_owns_its_events_and_its_jobs_and_nothing_else() {
        assert_eq!(run_of("runs/run-000001"), Some("run-000001"));
        assert_eq!(run_of("jobs/run-000001/a/b@17"), Some("run-000001"));
        assert_eq!(run_of("waits/run-000001"), Some("run-000001"));
        for other in ["deployments", "retention", "journal/snapshots"] {
            assert_eq!(run_of(other), None);
        }
    }
}
