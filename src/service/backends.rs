//! Verbs about quantum backends and their jobs.
//!
//! Rule: looking asks no vendor; `test` does, and buys only what costs nothing unless told to. A drain is journaled
//! before it holds, so it outlasts a restart.

use super::queries::time;
use super::replies::{self, error, exit};
use super::{CHANGE_WAIT, Inner};
use crate::control::Caller;
use actors::quantum_proxy::{Desks, JOBS_MAX, TEST_RUN, Wish, state_name};
use actors::records::Principal;
use engine::protocol::ErrorReply;
use quantum::backends::order::End;
use quantum::backends::{JobSpec, JobState, JobWork, unfit};
use serde_json::{Value, json};
use std::time::Duration;

/// Shots of a test job: enough to see which outcome is the rule.
const TEST_SHOTS: u32 = 10;
/// A test waits so long for its job, within what a client waits for an answer.
const TEST_WAIT: Duration = Duration::from_secs(25);
/// Flips one qubit: every shot should give 1.
const TEST_PROGRAM: &str = "OPENQASM 3.0;\ngate x a { U(3.141592653589793, 0, 3.141592653589793) a; }\nqubit[1] q;\nbit[1] c;\nx q[0];\nc = measure q;\n";

/// Every backend as it is known here.
pub(super) fn show(inner: &Inner) -> Value {
    let now = inner.shared.clock.now_ms();
    let places = inner.shared.board.breakers();
    let mut backends = inner.office.desks.show(now);
    for shown in &mut backends {
        let name = shown["backend"].as_str().unwrap_or_default().to_owned();
        shown["jobs"] = places.get(&name).map_or(json!(0), |place| place["jobs"].clone());
        shown["places"] = json!(inner.capacity.backends.get(&name));
        shown["queue"] = shown["target"]["queue"].clone();
        for (key, at) in [("described", "described_ms"), ("error_at", "error_ms")] {
            let at = shown.as_object_mut().and_then(|object| object.remove(at));
            shown[key] = json!(at.and_then(|ms| ms.as_u64()).map(time));
        }
    }
    json!({ "backends": backends, "capacity": inner.capacity.backends })
}

fn unknown(inner: &Inner, name: &str) -> ErrorReply {
    let known = inner.office.desks.names().join(", ");
    error("EX-0487", exit::NOT_FOUND, format!("no quantum backend {name} is set up; there are {known}"))
}

/// Drains a backend (`reason`) or lets it take jobs again.
pub(super) async fn drain(
    inner: &Inner,
    who: &Caller,
    name: &str,
    reason: Option<String>,
) -> Result<Value, ErrorReply> {
    if inner.office.desks.backend(name).is_none() {
        return Err(unknown(inner, name));
    }
    let by = Principal { name: who.name.clone(), role: who.role.clone() };
    let record = Desks::drain_record(name, reason.clone(), &by)
        .map_err(|e| error("EX-0014", exit::TRY_LATER, e.to_string()))?;
    let appended = tokio::time::timeout(CHANGE_WAIT, inner.shared.append(vec![record])).await;
    match appended {
        Ok(Ok(_)) => {}
        Ok(Err(e)) => return Err(error("EX-0013", exit::TRY_LATER, e.to_string())),
        Err(_) => return Err(replies::busy("the journal")),
    }
    inner.office.desks.set_drained(name, reason.clone());
    tracing::warn!(
        backend = name,
        by = who.name,
        drained = reason.is_some(),
        ?reason,
        "A backend was drained or resumed."
    );
    Ok(json!({ "backend": name, "drained": reason }))
}

/// Asks a backend what it is; runs a job on it where that costs nothing, or `spend`.
pub(super) async fn test(inner: &Inner, name: &str, spend: bool) -> Result<Value, ErrorReply> {
    if let Some(reason) = inner.shared.board.emergency() {
        let message = format!("an emergency stop is in force: {reason}. `emergency-clear` ends it");
        return Err(error("EX-0018", exit::TRY_LATER, message));
    }
    let office = &inner.office;
    let failed = |exit: u8, why: String| error("EX-0490", exit, format!("backend {name}: {why}"));
    let until = tokio::time::Instant::now() + TEST_WAIT;
    let target = loop {
        let answer = tokio::time::timeout_at(until, office.desks.probe(name, office.clock.now_ms())).await;
        match answer {
            Ok(None) => return Err(unknown(inner, name)),
            Ok(Some(Ok(target))) => break target,
            // One that is being started asks to be asked again.
            Ok(Some(Err(quantum::backends::BackendError::Transient { after_ms: Some(ms), .. })))
                if tokio::time::Instant::now() + Duration::from_millis(ms) < until =>
            {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            Ok(Some(Err(e))) => return Err(failed(exit::FAILED, e.to_string())),
            Err(_) => {
                let why =
                    format!("no answer within {} s; ask again, it may be being made", TEST_WAIT.as_secs());
                return Err(failed(exit::TIMEOUT, why));
            }
        }
    };
    let mut answer = json!({
        "backend": name, "kind": office.desks.kind(name), "ok": true, "target": target,
        "budget": office.desks.budget(name, office.clock.now_ms()),
    });
    let now = office.clock.now_ms();
    let work = JobWork::OpenQasm3 { program: TEST_PROGRAM.to_owned(), qubits: 1, inputs: Vec::new() };
    let job = JobSpec { work, shots: TEST_SHOTS, seed: now };
    let why_not = match unfit(&target, &job) {
        Some(why) => Some(why),
        // A machine without a stated price is not a free one.
        None if (target.price.of(TEST_SHOTS.into(), 1) > 0 || !target.simulated) && !spend => Some(format!(
            "EX-0491: {TEST_SHOTS} shots cost {} millionths of a US dollar by the settings; --spend makes the job",
            target.price.of(TEST_SHOTS.into(), 0)
        )),
        None => None,
    };
    if let Some(why) = why_not {
        answer["job"] = Value::Null;
        answer["why_no_job"] = json!(why);
        return Ok(answer);
    }
    let wish = Wish {
        run: TEST_RUN.to_owned(),
        stage: name.to_owned(),
        fence: now,
        job,
        chain: vec![name.to_owned()],
        wait_ms: TEST_WAIT.as_millis() as u64,
    };
    let ended = match tokio::time::timeout_at(until, office.lead(wish)).await {
        Ok(ended) => ended.map_err(|e| failed(exit::TRY_LATER, e.to_string()))?,
        Err(_) => {
            let why = "the test job has not ended yet; `jobs` shows it".to_owned();
            return Err(failed(exit::TIMEOUT, why));
        }
    };
    let reasons: Vec<String> = ended.fallbacks.iter().map(|one| one.reason.to_string()).collect();
    match (&ended.end, &ended.result) {
        (End::Done { .. }, Some(result)) => {
            answer["job"] = json!({
                "state": state_name(&JobState::Done),
                "shots": TEST_SHOTS,
                "counts": result.counts,
                "expected": { "outcome": 1, "shots": TEST_SHOTS },
                "calibration": result.calibration,
                "retries": reasons,
            });
            Ok(answer)
        }
        _ => Err(failed(exit::FAILED, format!("the test job gave nothing: {}", reasons.join("; ")))),
    }
}

/// States that `jobs --state` knows.
const STATES: [&str; 13] = [
    "open",
    "planned",
    "reserved",
    "submitting",
    "submitted",
    "queued",
    "running",
    "fetching",
    "verified",
    "done",
    "failed",
    "cancelled",
    "lost",
];

/// Every job, of a run, in a state.
pub(super) async fn jobs(
    inner: &Inner,
    run: Option<String>,
    state: Option<String>,
) -> Result<Value, ErrorReply> {
    if let Some(run) = run.as_deref().filter(|run| *run != TEST_RUN)
        && inner.shared.board.summary(run).is_none()
    {
        return Err(replies::unknown_run(run));
    }
    if let Some(state) = state.as_deref().filter(|state| !STATES.contains(state)) {
        let message = format!("expected a state of a job ({}), got {state}", STATES.join(", "));
        return Err(error("EX-0002", exit::USAGE, message));
    }
    let office = inner.office.clone();
    // Every stream is read, and there may be many.
    let read = move || office.jobs(run.as_deref(), state.as_deref(), time);
    let jobs = tokio::task::spawn_blocking(read).await.map_err(|_| replies::busy("the journal"))?;
    let whole = jobs.len() < JOBS_MAX;
    Ok(json!({ "jobs": jobs, "complete": whole }))
}
