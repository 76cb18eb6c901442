//! Every job as the journal has it, for people and scripts.
//!
//! Rule: a fold over the streams `jobs/`, nothing is kept. One order may have bought several jobs, each with a key
//! of its own; the simulator's jobs have no vendor's id.

use super::in_worker::SIMULATOR;
use super::leading::run_and_stage;
use super::office::{ORDER_SCHEMA, Office};
use crate::records;
use journal::Record;
use quantum::backends::{JobEvent, JobState};
use serde_json::{Value, json};

/// Jobs in one answer; the newest ones. Each takes some 300 bytes of a frame of 1 MiB.
pub const JOBS_MAX: usize = 2_000;
/// Records of one order.
const RECORDS_MAX: usize = 10_000;

#[derive(Debug)]
struct Row {
    key: String,
    id: Option<String>,
    backend: String,
    state: JobState,
    shots: Option<u32>,
    since_ms: u64,
}

/// The word for a state.
pub const fn state_name(state: &JobState) -> &'static str {
    match state {
        JobState::Planned => "planned",
        JobState::Reserved => "reserved",
        JobState::Submitting { .. } => "submitting",
        JobState::Submitted { .. } => "submitted",
        JobState::Queued { .. } => "queued",
        JobState::Running { .. } => "running",
        JobState::Fetching { .. } => "fetching",
        JobState::Verified { .. } => "verified",
        JobState::Done => "done",
        JobState::Failed { .. } => "failed",
        JobState::Cancelled => "cancelled",
        JobState::Lost { .. } => "lost",
    }
}

fn rows(stream: &str, page: &[Record]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let (mut chain, mut shots, mut place) = (vec![SIMULATOR.to_owned()], None, 0);
    for record in page {
        let Ok(event) = records::decode::<JobEvent>(record, ORDER_SCHEMA) else { continue };
        let time = record.time_ms;
        let mut begin = |key: &str, backend: Option<&String>| {
            rows.push(Row {
                key: key.to_owned(),
                id: None,
                backend: backend.cloned().unwrap_or_default(),
                state: JobState::Reserved,
                shots,
                since_ms: time,
            });
        };
        match &event {
            JobEvent::Wanted(wanted) => {
                chain = wanted.chain.iter().map(|candidate| candidate.backend.clone()).collect();
                shots = Some(wanted.shots);
            }
            JobEvent::Held { key, .. } => begin(&key.0, chain.get(place)),
            JobEvent::Reserved => begin(stream, chain.get(place)),
            JobEvent::FellBack { .. } => place += 1,
            event => {
                let Some(row) = rows.last_mut() else { continue };
                let next = match (event, row.state.id()) {
                    // Out of reach although its id is known.
                    (JobEvent::Lost, Some(_)) => {
                        Some(JobState::Lost { key: quantum::backends::JobKey(row.key.clone()) })
                    }
                    _ => row.state.after(event),
                };
                if let Some(next) = next {
                    (row.state, row.since_ms) = (next, time);
                }
                if let Some(id) = row.state.id() {
                    row.id = Some(id.0.clone());
                }
            }
        }
    }
    rows
}

impl Office {
    /// Jobs, oldest first: of a run, in a state (or `open`), the newest [`JOBS_MAX`] of them. `time` writes a
    /// time. Reads every stream under the prefix.
    pub fn jobs(&self, run: Option<&str>, state: Option<&str>, time: impl Fn(u64) -> String) -> Vec<Value> {
        let prefix = run.map_or_else(|| "jobs/".to_owned(), |run| format!("jobs/{run}/"));
        let mut found = Vec::new();
        for (stream, _) in self.journal.streams(&prefix) {
            let page = self.journal.read_stream(&stream, 1, RECORDS_MAX).unwrap_or_default();
            let Some((run, stage)) = run_and_stage(&stream) else { continue };
            for row in rows(&stream, &page) {
                let name = state_name(&row.state);
                let wanted = match state {
                    None => true,
                    Some("open") => !row.state.ended(),
                    Some(state) => state == name,
                };
                if wanted {
                    let shown = json!({
                        "run": run, "stage": stage, "key": row.key, "id": row.id, "backend": row.backend,
                        "state": name, "shots": row.shots, "since": time(row.since_ms),
                    });
                    found.push((row.since_ms, shown));
                }
            }
        }
        found.sort_by_key(|(since, _)| *since);
        let skip = found.len().saturating_sub(JOBS_MAX);
        found.drain(..skip);
        found.into_iter().map(|(_, shown)| shown).collect()
    }
}
