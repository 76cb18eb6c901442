//! Run and deployment events as journal records, and back.
//!
//! Rule: the only place that knows stream names, payload codecs and schema versions of records.

use engine::deployment;
use engine::run::{EVENT_SCHEMA, Event, Run};
use journal::{NewRecord, Record};

/// Stream of all activations of releases.
pub const DEPLOYMENTS_STREAM: &str = "deployments";
const RUN_STREAM_PREFIX: &str = "runs/";
const JOB_STREAM_PREFIX: &str = "jobs/";

/// Who caused a record: goes into every envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub name: String,
    pub role: String,
}

impl Principal {
    /// The daemon itself, for what no person asked for.
    pub fn system() -> Self {
        Self { name: "executingd".to_owned(), role: "system".to_owned() }
    }
}

/// A stored record that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error(
        "record {position} has schema {schema} of {kind}; this version reads up to {known}. Use a newer executingd"
    )]
    Newer { position: u64, kind: String, schema: u16, known: u16 },
    #[error("record {position} ({kind}) does not decode: {why}")]
    Undecodable { position: u64, kind: String, why: String },
    #[error("run {run} has no first record")]
    Headless { run: String },
    #[error("the journal cannot be read: {0}")]
    Unreadable(String),
}

pub fn run_stream(run: &str) -> String {
    format!("{RUN_STREAM_PREFIX}{run}")
}

/// The run whose stream this is.
pub fn run_of_stream(stream: &str) -> Option<&str> {
    stream.strip_prefix(RUN_STREAM_PREFIX)
}

/// All run streams start so.
pub const fn run_prefix() -> &'static str {
    RUN_STREAM_PREFIX
}

pub fn job_stream(run: &str, stage: &str) -> String {
    format!("{JOB_STREAM_PREFIX}{run}/{stage}")
}

/// A batch for the journal: consecutive events of one run.
pub fn run_records(
    run: &str,
    have: u64,
    events: &[Event],
    by: &Principal,
) -> Result<Vec<NewRecord>, RecordError> {
    events
        .iter()
        .enumerate()
        .map(|(i, event)| record(run_stream(run), have + i as u64, event.name(), EVENT_SCHEMA, event, by))
        .collect()
}

pub fn deployment_record(
    have: u64,
    event: &deployment::Event,
    by: &Principal,
) -> Result<NewRecord, RecordError> {
    record(DEPLOYMENTS_STREAM.to_owned(), have, event.name(), deployment::EVENT_SCHEMA, event, by)
}

/// A record whose event is any stored type.
pub fn record<E: serde::Serialize>(
    stream: String,
    have: u64,
    kind: &str,
    schema: u16,
    event: &E,
    by: &Principal,
) -> Result<NewRecord, RecordError> {
    let payload = journal::codec::try_encode(event).map_err(|e| RecordError::Undecodable {
        position: 0,
        kind: kind.to_owned(),
        why: e.to_string(),
    })?;
    Ok(NewRecord {
        stream,
        expected_seq: Some(have),
        kind: kind.to_owned(),
        schema,
        payload,
        principal: by.name.clone(),
        role: by.role.clone(),
        cause: 0,
    })
}

/// The event in a record, after its schema version was checked.
pub fn decode<E: serde::de::DeserializeOwned>(record: &Record, known: u16) -> Result<E, RecordError> {
    if record.schema > known {
        return Err(RecordError::Newer {
            position: record.position,
            kind: record.kind.clone(),
            schema: record.schema,
            known,
        });
    }
    journal::codec::decode(&record.payload).map_err(|e| RecordError::Undecodable {
        position: record.position,
        kind: record.kind.clone(),
        why: e.to_string(),
    })
}

pub fn decode_run_event(record: &Record) -> Result<Event, RecordError> {
    decode(record, EVENT_SCHEMA)
}

/// Records read at once while a run is rebuilt; bounds memory, not correctness.
const REBUILD_PAGE: usize = 1_000;

/// A run as its journal says it is, starting from a checkpoint if one is given.
pub fn rebuild_run(
    journal: &journal::Journal,
    run: &str,
    checkpoint: Option<(u64, Run)>,
) -> Result<(Run, u64), RecordError> {
    let stream = run_stream(run);
    let (mut sequence, mut rebuilt) = match checkpoint {
        Some((sequence, run)) => (sequence, Some(run)),
        None => (0, None),
    };
    loop {
        let page = journal
            .read_stream(&stream, sequence + 1, REBUILD_PAGE)
            .map_err(|e| RecordError::Unreadable(e.to_string()))?;
        if page.is_empty() {
            break;
        }
        for record in &page {
            let event = decode_run_event(record)?;
            match &mut rebuilt {
                None => {
                    let first = Run::submitted(record.position, record.time_ms, &event).map_err(|e| {
                        RecordError::Undecodable {
                            position: record.position,
                            kind: record.kind.clone(),
                            why: e.to_string(),
                        }
                    })?;
                    rebuilt = Some(first);
                }
                Some(run) => run.apply(record.position, record.time_ms, &event),
            }
            sequence = record.stream_seq;
        }
    }
    rebuilt.map(|run| (run, sequence)).ok_or_else(|| RecordError::Headless { run: run.to_owned() })
}
