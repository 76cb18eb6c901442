//! Verbs that only look.

use super::replies::{self, error, exit};
use super::{ANSWER_WAIT, Inner};
use crate::control::Reply;
use actors::records;
use engine::definition::StageIndex;
use engine::limits::PAGE_RECORDS_MAX;
use engine::protocol::ErrorReply;
use engine::run::{Event, Run};
use journal::Record;
use serde_json::{Map, Value, json};
use std::sync::Arc;

impl Inner {
    /// The newest state of a run, finished ones rebuilt from checkpoint and journal.
    pub(super) fn run(&self, id: &str) -> Result<Arc<Run>, ErrorReply> {
        if let Some(run) = self.shared.board.live(id) {
            return Ok(run);
        }
        if self.shared.board.summary(id).is_none() {
            return Err(replies::unknown_run(id));
        }
        records::rebuild_run(&self.shared.journal, id, self.shared.checkpoint_of(id))
            .map(|(run, _)| Arc::new(run))
            .map_err(|e| error("EX-0014", exit::TRY_LATER, e.to_string()))
    }
}

/// A page of events ends beyond this; with the largest single event it still fits a frame.
const PAGE_BYTES: usize = 512 * 1024;

pub(super) fn time(ms: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    humantime::format_rfc3339_millis(at).to_string()
}

pub(super) fn stages(inner: &Inner, run: &Run) -> Vec<Value> {
    let now = inner.shared.clock.now_ms();
    let stages = run.definition().stages.iter().enumerate();
    stages
        .map(|(i, spec)| {
            let index = StageIndex(i as u32);
            let mut stage = json!({
                "name": spec.path,
                "kind": spec.kind.name(),
                "phase": run.stage(index).name(),
                "attempts": run.attempts(index),
                "seconds": run.timing(index, now).seconds(),
            });
            if let Some(error) = run.stage_error(index) {
                stage["error"] = json!({ "code": error.code, "message": error.message });
            }
            if let Some(phase) = spec.utcs_phase {
                stage["utcs_phase"] = json!(phase);
            }
            stage
        })
        .collect()
}

pub(super) fn show(inner: &Inner, id: &str) -> Result<Value, ErrorReply> {
    let run = inner.run(id)?;
    let mut data = json!({
        "run": id,
        "workflow": run.workflow(),
        "phase": run.phase_name(),
        "stages": stages(inner, &run),
        "submitted": time(run.submitted_ms()),
        "submitted_by": run.submitted_by(),
        "pinned": inner.shared.books.is_pinned(id),
        "seed": run.seed(),
        "inputs": run.inputs().iter().map(|i| json!({ "name": i.name, "digest": i.digest, "bytes": i.bytes })).collect::<Vec<_>>(),
        "params": serde_json::from_str::<Value>(&run.definition().params).unwrap_or_default(),
        "definition_digest": engine::definition::digest(run.definition()),
        "facts": run.facts(),
    });
    if let Some(deadline_ms) = run.deadline_ms() {
        data["deadline"] = json!(time(deadline_ms));
    }
    if let Some(origin) = &run.definition().control.origin {
        data["clone_of"] = json!({ "run": origin.run, "from": origin.from });
    }
    if let Some(error) = run.error() {
        data["error"] = json!({ "code": error.code, "message": error.message });
    }
    Ok(data)
}

/// One event as a client sees it.
pub(super) fn event(record: &Record, run: &Run) -> Value {
    let mut data = Map::new();
    data.insert("position".into(), record.position.into());
    data.insert("time".into(), time(record.time_ms).into());
    data.insert("event".into(), record.kind.clone().into());
    data.insert("principal".into(), record.principal.clone().into());
    match records::decode_run_event(record) {
        Ok(decoded) => describe(&decoded, run, &mut data),
        Err(e) => {
            data.insert("unreadable".into(), e.to_string().into());
        }
    }
    Value::Object(data)
}

fn describe(event: &Event, run: &Run, into: &mut Map<String, Value>) {
    // The stored shape is `{"Name": {fields}}`; its fields are what people want to see, stages by path.
    let Ok(Value::Object(tagged)) = serde_json::to_value(event) else { return };
    let Some((_, Value::Object(fields))) = tagged.into_iter().next() else { return };
    for (name, value) in fields {
        match (name.as_str(), &value) {
            ("stage" | "from", Value::Number(n)) => {
                let path =
                    n.as_u64().and_then(|i| run.definition().stages.get(i as usize)).map(|s| s.path.clone());
                into.insert(name, path.map_or(value, Value::String));
            }
            // Bytes of the definition are for machines; its digest is in `show`.
            ("definition", _) => {}
            ("again", Value::Array(stages)) => {
                let path = |n: &Value| {
                    let at = n.as_u64().and_then(|i| usize::try_from(i).ok())?;
                    run.definition().stages.get(at).map(|stage| stage.path.clone())
                };
                into.insert(name, stages.iter().filter_map(path).collect::<Vec<_>>().into());
            }
            ("facts" | "value" | "old" | "data", Value::String(text)) => {
                let parsed = serde_json::from_str(text).unwrap_or_else(|_| value.clone());
                into.insert(name, parsed);
            }
            _ => {
                into.insert(name, value);
            }
        }
    }
}

/// A page of a run's events from the journal position `from` on. `sequence` is the place in the run's stream
/// at which to begin to look, and afterwards the one behind the page: who asks again from there reads nothing
/// twice.
pub(super) fn page(
    inner: &Inner,
    id: &str,
    from: u64,
    run: &Run,
    sequence: &mut u64,
) -> Result<Vec<(u64, Value)>, ErrorReply> {
    let stream = records::run_stream(id);
    let (mut found, mut bytes) = (Vec::new(), 0);
    loop {
        let records = inner
            .shared
            .journal
            .read_stream(&stream, *sequence, PAGE_RECORDS_MAX)
            .map_err(|e| error("EX-0014", exit::TRY_LATER, e.to_string()))?;
        if records.is_empty() {
            return Ok(found);
        }
        for record in records {
            *sequence = record.stream_seq + 1;
            if record.position < from {
                continue;
            }
            let shown = event(&record, run);
            bytes += shown.to_string().len();
            found.push((record.position, shown));
            if found.len() >= PAGE_RECORDS_MAX || bytes >= PAGE_BYTES {
                return Ok(found);
            }
        }
    }
}

pub(super) fn events(inner: &Inner, id: &str, from: u64) -> Result<Value, ErrorReply> {
    let run = inner.run(id)?;
    let events = page(inner, id, from, &run, &mut 1)?;
    let next = events.last().map_or(from, |(position, _)| position + 1);
    Ok(json!({ "events": events.into_iter().map(|(_, e)| e).collect::<Vec<_>>(), "next": next }))
}

pub(super) fn artefacts(inner: &Inner, id: &str) -> Result<Value, ErrorReply> {
    let run = inner.run(id)?;
    let artefacts: Vec<Value> = run
        .artefacts()
        .into_values()
        .map(|(artefact, stage)| {
            let made_by = run.definition().stages.get(stage.0 as usize).map(|s| s.path.clone());
            json!({ "name": artefact.name, "bytes": artefact.bytes, "digest": artefact.digest, "stage": made_by })
        })
        .collect();
    Ok(json!({ "run": id, "phase": run.phase_name(), "artifacts": artefacts }))
}

pub(super) fn artefact(inner: &Inner, id: &str, name: &str) -> Result<Reply, ErrorReply> {
    let run = inner.run(id)?;
    let found = run
        .artefacts()
        .remove(name)
        .map(|(artefact, _)| artefact)
        .or_else(|| run.inputs().iter().find(|input| input.name == name).cloned());
    let Some(artefact) = found else {
        let known: Vec<String> = run.artefacts().into_keys().collect();
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        return Err(error(
            "EX-0016",
            exit::NOT_FOUND,
            format!("{id} has no artefact {name}; it has {known}"),
        ));
    };
    let digest =
        artefact.digest.parse().map_err(|e| error("EX-0017", exit::NOT_FOUND, format!("{name}: {e}")))?;
    // Hashed before a byte leaves: damage is reported, never served.
    inner.shared.artefacts.check(&digest).map_err(|e| error("EX-0017", exit::NOT_FOUND, e.to_string()))?;
    Ok(Reply::File { path: inner.shared.artefacts.path(&digest), bytes: artefact.bytes })
}

pub(super) async fn health(inner: &Inner) -> Result<Value, ErrorReply> {
    let report = inner
        .health
        .ask(actors::health::Look, ANSWER_WAIT)
        .await
        .map_err(|e| replies::from_ask("the health monitor", e))?;
    Ok(json!({ "ok": report.healthy, "healthy": report.healthy, "components": report.components }))
}

pub(super) async fn deployments(inner: &Inner) -> Result<Value, ErrorReply> {
    let history = inner
        .directory
        .deployer
        .ask(actors::deployer::Look, ANSWER_WAIT)
        .await
        .map_err(|e| replies::from_ask("the deployer", e))?
        .0;
    // A release may have been active more than once; only its newest activation holds now.
    let holding = history
        .history()
        .iter()
        .rev()
        .find(|a| a.outcome == engine::deployment::Outcome::Succeeded)
        .filter(|a| a.release.is_some())
        .map(|a| a.position);
    let activations: Vec<Value> = history
        .history()
        .iter()
        .map(|a| {
            let (outcome, why) = match &a.outcome {
                engine::deployment::Outcome::Open => ("open", None),
                engine::deployment::Outcome::Succeeded => ("succeeded", None),
                engine::deployment::Outcome::Reverted(why) => ("reverted", Some(why.clone())),
            };
            json!({
                "release": a.release, "previous": a.previous, "run": a.run, "by": a.by,
                "at": time(a.at_ms), "position": a.position, "outcome": outcome, "why": why,
                "active": holding == Some(a.position),
            })
        })
        .collect();
    let path = history.active().map(|release| inner.releases.path(release).display().to_string());
    Ok(
        json!({ "active": history.active(), "path": path, "frozen_by": history.frozen_by(), "deployments": activations }),
    )
}

pub(super) async fn doctor(inner: &Inner) -> Result<Value, ErrorReply> {
    let health = health(inner).await?;
    let program = inner.shared.limits.worker_program.clone();
    let version = tokio::process::Command::new(&program).arg("--version").output().await;
    let worker = match version {
        Ok(output) if output.status.success() => {
            json!({ "ok": true, "version": String::from_utf8_lossy(&output.stdout).trim() })
        }
        Ok(output) => {
            json!({ "ok": false, "why": format!("{} ended with {}", program.display(), output.status) })
        }
        Err(e) => json!({ "ok": false, "why": format!("{}: {e}", program.display()) }),
    };
    let ok = health["healthy"] == json!(true) && worker["ok"] == json!(true);
    Ok(json!({
        "ok": ok,
        "daemon": env!("CARGO_PKG_VERSION"),
        "state": inner.shared.limits.state_dir.display().to_string(),
        "worker": worker,
        "health": health,
        "not_honoured": inner.settings.not_honoured,
    }))
}
