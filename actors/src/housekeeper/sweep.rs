//! Removing what forgotten runs have left on disk: their checkpoints, their streams, their artefacts.
//!
//! Rule: looks only at the books, never at what a round has just decided, so a sweep that was cut short is
//! taken up by the next one. Every step may be repeated. An artefact goes only if all that may name it could
//! be read: every kept run, every release, every schedule.

use super::{Gc, HousekeepingError, Reply};
use crate::generations;
use crate::quantum_proxy::ORDER_SCHEMA;
use crate::records;
use crate::releases::{MANIFEST, Manifest, Releases};
use crate::retention::run_of;
use crate::shared::Shared;
use engine::retention::{Retention, number_of};
use engine::run::{ArtefactRef, Event};
use journal::{By, CollectError, CompactError, Digest, Keep, Roots};
use quantum::backends::JobEvent;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Records read at once while artefacts are looked for.
const PAGE: usize = 1_000;
/// Records of one order that are read; a job has about ten.
const ORDER_RECORDS_MAX: usize = 10_000;

/// How far a sweep goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Want {
    /// Compact even if it is not due.
    pub compact_now: bool,
    /// Collect artefacts.
    pub collect: bool,
}

/// What a sweep works with; one at a time.
pub(super) struct Sweeper {
    shared: Shared,
    releases: Releases,
    /// Artefacts that each run names, and at how many records that was so.
    named: BTreeMap<u64, (u64, Vec<Digest>)>,
    /// The same of each order's stream.
    orders: BTreeMap<String, (u64, Vec<Digest>)>,
}

/// Sweeps off the actors' thread and answers. An automatic sweep beside another one is left out.
pub(super) async fn run(
    sweeper: Arc<tokio::sync::Mutex<Sweeper>>,
    gc: Gc,
    decided: Value,
    reply: Option<Reply>,
) {
    let mut held = match &reply {
        Some(_) => sweeper.lock_owned().await,
        None => match sweeper.try_lock_owned() {
            Ok(held) => held,
            Err(_) => return,
        },
    };
    // The guard goes along: even if the actor ends meanwhile, no second sweep begins.
    let swept = tokio::task::spawn_blocking(move || held.sweep(&gc)).await;
    let swept = swept.unwrap_or_else(|error| Err(HousekeepingError::Refused(error.to_string())));
    if let Err(error) = &swept {
        tracing::warn!(%error, "Housekeeping could not remove what is no longer needed; it tries again.");
    }
    if let Some(reply) = reply {
        let _ = reply.send(swept.map(|(compaction, artefacts)| {
            let mut answer = decided;
            answer["compaction"] = compaction;
            answer["artefacts"] = artefacts;
            answer
        }));
    }
}

impl Sweeper {
    pub(super) fn new(shared: Shared, releases: Releases) -> Self {
        Self { shared, releases, named: BTreeMap::new(), orders: BTreeMap::new() }
    }

    fn sweep(&mut self, gc: &Gc) -> Result<(Value, Value), HousekeepingError> {
        let books = self.shared.books.now();
        self.remove_checkpoints(&books);
        let compaction = self.compact(&books, gc)?;
        let artefacts = if gc.want.collect { self.collect(&books)? } else { Value::Null };
        Ok((compaction, artefacts))
    }

    fn remove_checkpoints(&self, books: &Retention) {
        for key in self.shared.checkpoints.keys("run/") {
            let run = key.strip_prefix("run/").and_then(number_of);
            if run.is_some_and(|run| books.is_forgotten(run))
                && let Err(error) = self.shared.checkpoints.remove(&key)
            {
                tracing::warn!(key, %error, "A checkpoint of a forgotten run could not be removed.");
            }
        }
    }

    fn compact(&self, books: &Retention, gc: &Gc) -> Result<Value, HousekeepingError> {
        let newest = generations::BASES.map(|base| generations::newest(&self.shared.journal, base));
        let keep = |stream: &str| {
            let run = run_of(stream).and_then(number_of);
            let is_dead =
                run.is_some_and(|run| books.is_forgotten(run)) || generations::is_over(&newest, stream);
            if is_dead { Keep::Drop } else { Keep::All }
        };
        let weight = self.shared.journal.weigh(keep);
        metrics::gauge!("executing_journal_live_bytes").set(weight.live_bytes as f64);
        metrics::gauge!("executing_journal_dead_bytes").set(weight.dead_bytes as f64);
        if weight.dead_streams == 0 || !(weight.due || gc.want.compact_now) {
            return Ok(Value::Null);
        }
        let by = By { principal: &gc.by.name, role: &gc.by.role, time_ms: self.shared.clock.now_ms() };
        let done = self.shared.journal.compact(keep, by).map_err(|error| match error {
            CompactError::Busy => HousekeepingError::Busy(error.to_string()),
            _ => HousekeepingError::Refused(error.to_string()),
        })?;
        metrics::counter!("executing_journal_compactions_total").increment(1);
        tracing::info!(
            dropped_streams = done.dropped_streams,
            dropped_records = done.dropped_records,
            removed_bytes = done.removed_bytes,
            snapshot_bytes = done.snapshot_bytes,
            "The journal was compacted."
        );
        Ok(json!({
            "dropped_streams": done.dropped_streams, "dropped_records": done.dropped_records,
            "kept_records": done.kept_records, "removed_bytes": done.removed_bytes,
            "snapshot_bytes": done.snapshot_bytes, "notes": done.notes,
        }))
    }

    fn collect(&mut self, books: &Retention) -> Result<Value, HousekeepingError> {
        if self.shared.board.disk_full().is_some() {
            // Results wait for their records, for as long as the disk is full: their grace begins anew.
            self.shared.artefacts.forget_noted();
            return Ok(Value::Null);
        }
        let refused = |error: String| HousekeepingError::Refused(error);
        let all = self.shared.artefacts.list().map_err(|e| refused(e.to_string()))?;
        if all.is_empty() {
            return Ok(json!({ "rooted": 0, "waiting": 0, "removed": 0, "freed_bytes": 0 }));
        }
        let named = self.roots(books);
        let rooted = |digest: &Digest| named.as_ref().is_ok_and(|named| named.contains(digest));
        let roots = match &named {
            Ok(_) => Roots::Complete(&rooted),
            Err(why) => Roots::Incomplete { why: why.clone() },
        };
        // Monotonic, and the same for every incarnation of the housekeeper.
        let now = Duration::from_millis(self.shared.clock.now_ms());
        let grace = self.shared.limits.housekeeping.grace;
        let done = self.shared.artefacts.collect(roots, grace, now).map_err(|error| match error {
            CollectError::Busy => HousekeepingError::Busy(error.to_string()),
            _ => refused(error.to_string()),
        })?;
        metrics::counter!("executing_artefacts_removed_total").increment(done.removed);
        if done.removed > 0 {
            tracing::info!(
                removed = done.removed,
                freed_bytes = done.freed_bytes,
                "Artefacts were collected."
            );
        }
        Ok(json!({
            "rooted": done.rooted, "waiting": done.waiting, "removed": done.removed,
            "freed_bytes": done.freed_bytes,
        }))
    }

    /// Every artefact that a kept run or a release names; an error says what could not be read.
    fn roots(&mut self, books: &Retention) -> Result<BTreeSet<Digest>, String> {
        let mut found = BTreeSet::new();
        self.named.retain(|run, _| !books.is_forgotten(*run));
        for (stream, records) in self.shared.journal.streams(records::run_prefix()) {
            let Some(run) = records::run_of_stream(&stream) else { continue };
            let number = number_of(run);
            if number.is_some_and(|number| books.is_forgotten(number)) {
                continue;
            }
            let known = number.and_then(|number| self.named.get(&number)).filter(|(at, _)| *at == records);
            if let Some((_, digests)) = known {
                found.extend(digests.iter().copied());
                continue;
            }
            let (read, digests) = self.named_by(&stream)?;
            found.extend(digests.iter().copied());
            if let Some(number) = number {
                self.named.insert(number, (read, digests));
            }
        }
        self.named_by_releases(&mut found)?;
        found.extend(crate::timetable::named_artefacts(&self.shared.journal)?);
        self.named_by_orders(books, &mut found)?;
        Ok(found)
    }

    /// Jobs and results of quantum orders: whoever leads one on after a restart needs both.
    fn named_by_orders(&mut self, books: &Retention, found: &mut BTreeSet<Digest>) -> Result<(), String> {
        for (stream, records) in self.shared.journal.streams("jobs/") {
            if run_of(&stream).and_then(number_of).is_some_and(|number| books.is_forgotten(number)) {
                self.orders.remove(&stream);
                continue;
            }
            let known = self.orders.get(&stream).filter(|(at, _)| *at == records);
            if let Some((_, digests)) = known {
                found.extend(digests.iter().copied());
                continue;
            }
            let page = self.shared.journal.read_stream(&stream, 1, ORDER_RECORDS_MAX);
            let mut digests = Vec::new();
            for record in page.map_err(|e| e.to_string())? {
                match records::decode::<JobEvent>(&record, ORDER_SCHEMA).map_err(|e| e.to_string())? {
                    JobEvent::Wanted(wanted) => digests.push(parse(&wanted.spec)?),
                    JobEvent::Kept { digest } => digests.push(parse(&digest)?),
                    _ => {}
                }
            }
            found.extend(digests.iter().copied());
            self.orders.insert(stream, (records, digests));
        }
        Ok(())
    }

    fn named_by(&self, stream: &str) -> Result<(u64, Vec<Digest>), String> {
        let (mut read, mut digests) = (0, Vec::new());
        loop {
            let page = self.shared.journal.read_stream(stream, read + 1, PAGE).map_err(|e| e.to_string())?;
            let Some(last) = page.last() else { return Ok((read, digests)) };
            read = last.stream_seq;
            for record in &page {
                let event = records::decode_run_event(record).map_err(|e| e.to_string())?;
                for artefact in named_in(&event) {
                    digests.push(parse(&artefact.digest)?);
                }
            }
        }
    }

    fn named_by_releases(&self, found: &mut BTreeSet<Digest>) -> Result<(), String> {
        let dir = self.releases.dir();
        let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| e.to_string())?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.starts_with("rel-") {
                continue;
            }
            let file = path.join(MANIFEST);
            let failed = |e: String| format!("{}: {e}", file.display());
            let text = std::fs::read(&file).map_err(|e| failed(e.to_string()))?;
            let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))?;
            for digest in manifest.files.values() {
                found.insert(parse(digest)?);
            }
        }
        Ok(())
    }
}

fn parse(digest: &str) -> Result<Digest, String> {
    digest.parse().map_err(|e| format!("{digest}: {e}"))
}

/// Every artefact that an event names. Exhaustive, so that a new event that names some is not forgotten.
fn named_in(event: &Event) -> Vec<&ArtefactRef> {
    match event {
        Event::RunSubmitted { inputs, .. } => inputs.iter().collect(),
        Event::StageCheckpointed { checkpoint, .. } => vec![checkpoint],
        Event::StageSucceeded { outputs, .. } | Event::StageTakenOver { outputs, .. } => {
            outputs.iter().collect()
        }
        Event::GateOpened { subjects, .. } => subjects.iter().collect(),
        Event::StageStarted { .. }
        | Event::StageRetryPlanned { .. }
        | Event::StageInterrupted { .. }
        | Event::StageFailed { .. }
        | Event::StageSkipped { .. }
        | Event::ApprovalRecorded { .. }
        | Event::StageInDoubt { .. }
        | Event::RunPaused { .. }
        | Event::RunResumed { .. }
        | Event::CancelRequested { .. }
        | Event::UnwindingStarted { .. }
        | Event::CompensationStarted { .. }
        | Event::CompensationSucceeded { .. }
        | Event::CompensationRetryPlanned { .. }
        | Event::CompensationFailed { .. }
        | Event::RunRetried { .. }
        | Event::ParameterTuned { .. }
        | Event::RunFailed { .. }
        | Event::StageReady { .. }
        | Event::CriteriaNotMet { .. }
        | Event::StageStopRequested { .. }
        | Event::ParameterTunedLive { .. }
        | Event::TuningAnswered { .. }
        | Event::RunReset { .. }
        | Event::ResetDone
        | Event::SignalAwaited { .. }
        | Event::SignalRecorded { .. }
        | Event::DeadlinePassed { .. }
        | Event::RunSucceeded
        | Event::RunRolledBack
        | Event::RunCancelled => Vec::new(),
    }
}
