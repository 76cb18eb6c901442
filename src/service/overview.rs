//! All that `top` shows, in one answer: runs with how far they are, places in use, queue, backends, figures, alerts.
//!
//! Rule: looked up where it is known; nothing is computed for it beforehand, so nobody who does not look pays.

use super::queries::time;
use super::{ANSWER_WAIT, Inner, dead, replies};
use engine::definition::StageIndex;
use engine::protocol::ErrorReply;
use engine::run::Run;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Open runs in one answer; a terminal has fewer lines.
const RUNS_MAX: usize = 100;

pub(super) async fn overview(inner: &Inner) -> Result<Value, ErrorReply> {
    let (resources, scheduler) = (&inner.directory.resources, &inner.directory.scheduler);
    let ledger = resources
        .ask(actors::resources::Look, ANSWER_WAIT)
        .await
        .map_err(|e| replies::from_ask("the resource manager", e))?
        .0;
    let queue = scheduler
        .ask(actors::scheduler::Look, ANSWER_WAIT)
        .await
        .map_err(|e| replies::from_ask("the scheduler", e))?
        .0;
    let now = inner.shared.clock.now_ms();
    let board = &inner.shared.board;
    let phases = board.select(|runs| {
        let mut phases = BTreeMap::new();
        for run in runs {
            *phases.entry(run.phase.clone()).or_insert(0_u64) += 1;
        }
        phases
    });
    let mut live = board.live_runs();
    let open = live.len();
    // What works stands first, then what waits; each in the order of submission.
    live.sort_by_key(|run| running(run).next().is_none());
    let runs: Vec<Value> = live.iter().take(RUNS_MAX).map(|run| row(inner, run, now)).collect();
    let capacity = ledger.capacity();
    let (cpu_free, memory_free) = ledger.free();
    let slots_used =
        ledger.leases().values().filter(|lease| capacity.slots.contains_key(&lease.place)).count();
    let waiting_ms = queue.iter().map(|ask| now.saturating_sub(ask.asked_ms)).max();
    let (status, latency) = (inner.shared.journal.status(), inner.shared.append_latency());
    Ok(json!({
        "time": time(now),
        "phases": phases,
        "open": open,
        "runs": runs,
        "slots": { "used": slots_used, "total": capacity.slots.len() },
        "cpu_cores": { "used": capacity.cpu_cores.saturating_sub(cpu_free), "total": capacity.cpu_cores },
        "memory_mib": { "used": capacity.memory_mib.saturating_sub(memory_free), "total": capacity.memory_mib },
        "queue": { "depth": queue.len(), "longest_wait_seconds": waiting_ms.map(|ms| ms as f64 / 1e3) },
        "backends": board.breakers().into_values().collect::<Vec<_>>(),
        "figures": figures(),
        "journal": {
            "append_ms_median": latency.map(|(median, _)| median), "append_ms_max": latency.map(|(_, max)| max),
            "records": status.records, "fsyncs": status.fsyncs, "free_bytes": status.disk_free_bytes,
        },
        "dead_letters": dead::count(inner),
        "alerts": alerts(inner, status.poisoned),
    }))
}

fn running(run: &Run) -> impl Iterator<Item = StageIndex> {
    let stages = (0..run.definition().stages.len() as u32).map(StageIndex);
    stages.filter(|stage| matches!(run.stage(*stage).name(), "running" | "compensating"))
}

fn row(inner: &Inner, run: &Arc<Run>, now: u64) -> Value {
    let stages = run.definition().stages.len();
    let mut done = 0.0;
    for stage in (0..stages as u32).map(StageIndex) {
        done += if run.stage(stage).is_done() {
            1.0
        } else {
            inner
                .shared
                .board
                .progress(run.id(), stage.0)
                .map_or(0.0, |progress| progress.done.clamp(0.0, 1.0))
        };
    }
    let running: Vec<Value> = running(run)
        .map(|stage| {
            let progress = inner.shared.board.progress(run.id(), stage.0);
            json!({
                "stage": run.definition().stages[stage.0 as usize].path,
                "phase": run.stage(stage).name(),
                "attempt": run.attempts(stage),
                "seconds": run.timing(stage, now).seconds(),
                "done": progress.as_ref().map(|progress| progress.done),
                "message": progress.map(|progress| progress.message),
            })
        })
        .collect();
    json!({
        "run": run.id(), "workflow": run.workflow(), "phase": run.phase_name(), "user": run.submitted_by(),
        "seconds": now.saturating_sub(run.submitted_ms()) as f64 / 1e3,
        "done": if stages == 0 { 1.0 } else { done / stages as f64 },
        "stages": stages, "running": running,
    })
}

fn figures() -> Value {
    let figures = actors::health::figures();
    json!({
        "runs_ended": figures.ended,
        "designs_per_hour": figures.designs_per_hour,
        "success_rate": figures.success_rate,
        "error_rate": figures.error_rate,
    })
}

/// What somebody should look at, in one sentence each, worst first.
fn alerts(inner: &Inner, poisoned: Option<String>) -> Vec<String> {
    let board = &inner.shared.board;
    let mut alerts = Vec::new();
    if let Some(why) = poisoned {
        alerts.push(format!("the journal takes nothing any more: {why}"));
    }
    if let Some(reason) = board.emergency() {
        alerts.push(format!("an emergency stop is in force: {reason}"));
    }
    if let Some(why) = board.disk_full() {
        alerts.push(format!("the disk is full: {why}"));
    }
    if let Some(why) = board.no_room() {
        alerts.push(format!("too little room on disk, nothing new begins: {why}"));
    }
    for (run, why) in board.unreadable() {
        alerts.push(format!("{run} cannot be read: {why}"));
    }
    if let Some(why) = inner.shared.books.unreadable() {
        alerts.push(format!("the books of retention cannot be read: {why}"));
    }
    for (backend, state) in board.breakers() {
        let state = state.get("breaker").or_else(|| state.get("state")).and_then(Value::as_str);
        if let Some(state) = state.filter(|state| !matches!(*state, "closed" | "online" | "idle" | "ready")) {
            alerts.push(format!("the breaker of {backend} is {state}"));
        }
    }
    let dead = dead::count(inner);
    if dead > 0 {
        alerts.push(format!("{dead} run(s) failed and nobody has looked; `executingctl dead` lists them"));
    }
    alerts
}
