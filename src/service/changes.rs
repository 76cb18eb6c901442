//! Verbs that change something: each goes to the actor that owns the thing and waits for its journal record.

use super::replies::{self, error, exit};
use super::{CHANGE_WAIT, Inner, steer};
use crate::control::Caller;
use actors::orchestrator::{Control, Submit, ToAll};
use actors::quantum_proxy::{SIMULATOR, TEST_RUN};
use actors::records::Principal;
use actors::run_actor::DriveError;
use actors::{deployer, emergency, solver_worker};
use engine::definition::StageIndex;
use engine::protocol::{CloneOf, ErrorReply, Request, Submission};
use engine::run::{Input, Wait};
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;
use supervisors::TellError;
use tokio::sync::oneshot;

/// How often an executor whose control lane is full is told of an emergency stop, and the pause between: 20 ms
/// in all, of the 500 that a stop may take.
const ABANDON_TRIES: u32 = 10;
const ABANDON_PAUSE: Duration = Duration::from_millis(2);

fn principal(who: &Caller) -> Principal {
    Principal { name: who.name.clone(), role: who.role.clone() }
}

/// Waits for the one answer of an actor, which may die before it gives it.
async fn answer<T>(what: &str, reply: oneshot::Receiver<T>) -> Result<T, ErrorReply> {
    match tokio::time::timeout(CHANGE_WAIT, reply).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(replies::busy(what)),
        Err(_) => Err(error(
            "EX-0010",
            exit::TIMEOUT,
            format!(
                "{what} did not answer within {} s; it may still do so, look with `show`",
                CHANGE_WAIT.as_secs()
            ),
        )),
    }
}

pub(super) async fn submit(inner: &Inner, who: Caller, submission: Submission) -> Result<Value, ErrorReply> {
    let (reply, answered) = oneshot::channel();
    inner
        .orchestrator
        .tell(Submit { submission, by: principal(&who), reply })
        .map_err(|_| replies::busy("the orchestrator"))?;
    let accepted = answer("the orchestrator", answered).await?.map_err(replies::from_submit)?;
    let phase = inner.shared.board.summary(&accepted.run).map_or_else(|| "pending".to_owned(), |s| s.phase);
    let mut data = json!({ "run": accepted.run, "workflow": accepted.workflow, "phase": phase });
    if !accepted.warnings.is_empty() {
        data["warnings"] = json!(accepted.warnings);
    }
    Ok(data)
}

/// Every other changing verb.
pub(super) async fn change(inner: &Rc<Inner>, who: Caller, request: Request) -> Result<Value, ErrorReply> {
    let by = who.name.clone();
    if let (
        Request::Resume { .. } | Request::Retry { .. } | Request::Cancel { .. } | Request::Reset { .. },
        Some(reason),
    ) = (&request, inner.shared.board.emergency())
    {
        let message = format!("an emergency stop is in force: {reason}. `emergency-clear` ends it");
        return Err(error("EX-0018", exit::TRY_LATER, message));
    }
    match request {
        Request::Pause { run, now: false } => control(inner, who, run, Input::Pause { by }).await,
        Request::Pause { run, now: true } => steer::pause_now(inner, who, run).await,
        Request::Reset { run, to } => steer::reset(inner, who, run, &to).await,
        Request::Signal { run, stage, name, data, key } => {
            steer::signal(inner, who, run, stage, name, data, key).await
        }
        Request::Clone { run, params, from, key, deadline } => {
            let clone_of = Some(CloneOf { run, from });
            let submission = Submission { params, key, deadline, clone_of, ..Submission::default() };
            submit(inner, who, submission).await
        }
        Request::Resume { run } => control(inner, who, run, Input::Resume { by }).await,
        Request::Cancel { run } => control(inner, who, run, Input::Cancel { by }).await,
        Request::Retry { run, from } => {
            let from = from.map(|stage| stage_of(inner, &run, &stage)).transpose()?;
            control(inner, who, run, Input::Retry { by, from }).await
        }
        Request::Approve { run, stage, reason } => decide(inner, who, run, stage, true, reason).await,
        Request::Reject { run, stage, reason } => decide(inner, who, run, stage, false, reason).await,
        Request::Tune { run, stage, parameter, value } => {
            steer::tune(inner, who, run, stage, parameter, value).await
        }
        Request::Rollback { release } => rollback(inner, &who, release).await,
        Request::EmergencyStop { reason } => emergency_stop(inner, &who, reason).await,
        Request::EmergencyClear { reason } => emergency_clear(inner, &who, reason).await,
        other => Err(error("EX-0002", exit::USAGE, format!("this daemon does not know {other:?}"))),
    }
}

pub(super) fn stage_of(inner: &Inner, run: &str, stage: &str) -> Result<StageIndex, ErrorReply> {
    let state = inner.run(run)?;
    state.stage_at(stage).ok_or_else(|| {
        let known: Vec<&str> = state.definition().stages.iter().map(|s| s.path.as_str()).collect();
        error("EX-0019", exit::NOT_FOUND, format!("{run} has no stage {stage}; it has {}", known.join(", ")))
    })
}

pub(super) async fn control(
    inner: &Inner,
    who: Caller,
    run: String,
    input: Input,
) -> Result<Value, ErrorReply> {
    let (reply, answered) = oneshot::channel();
    inner
        .orchestrator
        .tell(Control { run: run.clone(), input, by: principal(&who), reply })
        .map_err(|_| replies::busy("the orchestrator"))?;
    answer("the run", answered).await?.map_err(|refused| replies::from_drive(&run, refused))?;
    let phase = inner.shared.board.summary(&run).map(|summary| summary.phase);
    Ok(json!({ "run": run, "phase": phase }))
}

async fn decide(
    inner: &Inner,
    who: Caller,
    run: String,
    stage: String,
    approved: bool,
    reason: Option<String>,
) -> Result<Value, ErrorReply> {
    let index = stage_of(inner, &run, &stage)?;
    let state = inner.run(&run)?;
    let asks = !state.definition().stages[index.0 as usize].control.roles.is_empty();
    if inner.settings.roles.are_stated() && !asks && !["approver", "admin"].contains(&who.role.as_str()) {
        let (name, role) = (&who.name, &who.role);
        let message = format!("{name} ({role}) may not decide at {stage}: it asks for the role approver");
        return Err(error("EX-0004", exit::DENIED, message));
    }
    let (by, role, reason) = (who.name.clone(), who.role.clone(), reason.unwrap_or_default());
    let input = Input::Decide { stage: index, by, role, approved, reason };
    control(inner, who, run.clone(), input).await?;
    let mut answer =
        json!({ "run": run, "gate": stage, "decision": if approved { "approved" } else { "rejected" } });
    // How many further persons the gate waits for.
    let now_ms = inner.shared.clock.now_ms();
    let waits = inner.run(&run).map(|state| state.waits(now_ms)).unwrap_or_default();
    if let Some((_, Wait::Gate { missing, .. })) = waits.into_iter().find(|(at, _)| *at == index) {
        answer["missing"] = missing.into();
    }
    Ok(answer)
}

async fn rollback(inner: &Inner, who: &Caller, to: Option<String>) -> Result<Value, ErrorReply> {
    let (reply, answered) = oneshot::channel();
    inner
        .directory
        .deployer
        .tell(deployer::Rollback { to, by: principal(who), reply })
        .map_err(|_| replies::busy("the deployer"))?;
    answer("the deployer", answered).await?.map_err(replies::from_stage)
}

async fn freeze(inner: &Inner, who: &Caller, frozen: bool) -> Result<(), ErrorReply> {
    let (reply, answered) = oneshot::channel();
    inner
        .directory
        .deployer
        .tell_control(deployer::Freeze { frozen, by: principal(who), reply })
        .map_err(|_| replies::busy("the deployer"))?;
    answer("the deployer", answered).await?.map_err(replies::from_stage)
}

/// An emergency stop waits so long for vendors to confirm that they have cancelled.
const EMERGENCY_ORDERS_WAIT: std::time::Duration = std::time::Duration::from_secs(3);
/// An emergency stop waits so long for each of its records, and holds without them.
const EMERGENCY_RECORD_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// The stop with its reason, in its own stream.
async fn note_stop(inner: &Inner, who: &Caller, reason: &str) -> bool {
    let event = emergency::Event::Declared { reason: reason.to_owned(), by: who.name.clone() };
    let principal = principal(who);
    let noting = emergency::note(&inner.shared, &event, &principal);
    matches!(tokio::time::timeout(EMERGENCY_RECORD_WAIT, noting).await, Ok(Ok(())))
}

/// Tells every run, and whether each has the stop in its journal.
async fn tell_runs(inner: &Inner, who: &Caller) -> bool {
    let all = ToAll { input: Input::EmergencyStop, by: principal(who) };
    let Ok(told) = inner.orchestrator.ask_control(all, EMERGENCY_RECORD_WAIT).await else { return false };
    let answers = futures::future::join_all(told.0.into_iter().map(|(run, answer)| async move {
        match answer.await {
            // A refusal is an answer too: the run is stopped already, or has ended.
            Ok(answer) => !matches!(answer, Err(DriveError::NotDurable(_))),
            Err(_) => inner.shared.board.live(&run).is_none_or(|run| run.is_paused()),
        }
    }));
    match tokio::time::timeout(EMERGENCY_RECORD_WAIT, answers).await {
        Ok(answers) => answers.into_iter().all(|durable| durable),
        Err(_) => false,
    }
}

/// Jobs of the simulator that are being worked on, by the name of their stream; they end with their workers.
fn simulated_jobs(inner: &Inner) -> Vec<String> {
    let mut jobs = Vec::new();
    for run in inner.shared.board.live_runs() {
        for (i, stage) in run.definition().stages.iter().enumerate() {
            let index = StageIndex(i as u32);
            if let (engine::definition::StageKind::QaoaOptimization, Some(fence)) =
                (stage.kind, run.fence(index))
            {
                let backend = actors::stages::backend(stage, &run.params_of(index));
                if backend.as_deref() == Some(SIMULATOR) {
                    jobs.push(format!("jobs/{}/{}@{}", run.id(), stage.path, fence.0));
                }
            }
        }
    }
    jobs
}

/// Has every quantum order ended; those that ended, and those that may run and cost.
async fn stop_orders(inner: &Inner, reason: &str) -> (Vec<String>, Vec<String>) {
    let mut prefixes: Vec<String> =
        inner.shared.board.live_runs().iter().map(|run| format!("jobs/{}/", run.id())).collect();
    prefixes.push(format!("jobs/{TEST_RUN}/"));
    inner.office.stop(&prefixes, &format!("emergency stop: {reason}"), EMERGENCY_ORDERS_WAIT).await
}

/// Tells every executor to end its attempts. A full control lane empties within a few messages; one that does
/// not for [`ABANDON_TRIES`] belongs to an executor that hears nothing, whose attempts end with their runs.
async fn abandon_all(inner: &Inner) {
    for round in 0..ABANDON_TRIES {
        if round > 0 {
            tokio::time::sleep(ABANDON_PAUSE).await;
        }
        let workers = inner.directory.workers.values().map(|w| w.tell_control(solver_worker::AbandonAll));
        let proxies = inner.directory.backends.values().map(|p| p.tell_control(solver_worker::AbandonAll));
        let told: Vec<_> = workers.chain(proxies).collect();
        if !told.contains(&Err(TellError::Busy)) {
            return;
        }
    }
    tracing::error!("An executor did not take the emergency stop in time; its attempts end with their runs.");
}

/// Stops all work now. The order matters: refuse new work, end what runs, then freeze deployments.
async fn emergency_stop(inner: &Rc<Inner>, who: &Caller, reason: String) -> Result<Value, ErrorReply> {
    let mut jobs = simulated_jobs(inner);
    inner.stops_unrecorded.set(inner.stops_unrecorded.get() + 1);
    inner.shared.set_emergency(Some(reason.clone()));
    let busy_workers = inner
        .shared
        .board
        .live_runs()
        .iter()
        .flat_map(|run| {
            (0..run.definition().stages.len() as u32)
                .map(|i| run.stage(StageIndex(i)).fence())
                .collect::<Vec<_>>()
        })
        .flatten()
        .count();
    tracing::error!(by = who.name, reason, "Emergency stop.");
    // The records may have to wait for a full disk; the processes may not.
    abandon_all(inner).await;
    let stopped: Vec<String> = inner.shared.board.live_runs().iter().map(|run| run.id().to_owned()).collect();
    let noted = note_stop(inner, who, &reason).await;
    // Vendors are told while the records are written; who does not answer in time is told on.
    let (told, (cancelled, not_cancellable)) =
        futures::join!(tell_runs(inner, who), stop_orders(inner, &reason));
    jobs.extend(cancelled);
    let frozen = match tokio::time::timeout(EMERGENCY_RECORD_WAIT, freeze(inner, who, true)).await {
        Ok(frozen) => frozen.is_ok(),
        Err(_) => false,
    };
    if noted && told && frozen {
        inner.stops_unrecorded.set(inner.stops_unrecorded.get() - 1);
    } else {
        tracing::error!("The emergency stop is in force but not journaled yet: the disk does not take it.");
        // Told again until the journal holds it; nothing runs meanwhile, and nothing can clear it.
        let (inner, who) = (Rc::clone(inner), who.clone());
        tokio::task::spawn_local(async move {
            let mut noted = noted;
            loop {
                noted = noted || note_stop(&inner, &who, &reason).await;
                if noted && tell_runs(&inner, &who).await && freeze(&inner, &who, true).await.is_ok() {
                    break;
                }
                tokio::time::sleep(EMERGENCY_RECORD_WAIT).await;
            }
            inner.stops_unrecorded.set(inner.stops_unrecorded.get() - 1);
        });
    }
    Ok(json!({
        "stopped_runs": stopped, "killed_workers": busy_workers, "cancelled_jobs": jobs,
        "not_cancellable": not_cancellable,
        "journaled": noted && told && frozen,
    }))
}

/// Who may: an admin. Where nobody was given a role that is the owner of the daemon's socket, and root.
async fn emergency_clear(inner: &Inner, who: &Caller, reason: Option<String>) -> Result<Value, ErrorReply> {
    let stated = inner.settings.roles.are_stated();
    if who.role != "admin" {
        let whom = if stated { "an admin may" } else { "the owner of the daemon's socket may" };
        let message = format!("{} ({}) may not clear an emergency stop; {whom}", who.name, who.role);
        return Err(error("EX-0004", exit::DENIED, message));
    }
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    if stated && reason.is_none() {
        let message = "an emergency stop is cleared with a reason: --reason WORDS";
        return Err(error("EX-0002", exit::USAGE, message));
    }
    if inner.stops_unrecorded.get() > 0 {
        let message = "the emergency stop is still being written to the journal; clear it when that is done";
        return Err(error("EX-0009", exit::TRY_LATER, message));
    }
    let was_in_force = inner.shared.board.emergency().is_some();
    if was_in_force {
        // The contract of the programs has the verb without a reason; where roles are stated one is asked for.
        let (said, by) = (reason.clone().unwrap_or_else(|| "none given".to_owned()), who.name.clone());
        let event = emergency::Event::Cleared { reason: said, by };
        let noted = emergency::note(&inner.shared, &event, &principal(who)).await;
        noted.map_err(|why| error("EX-0013", exit::TRY_LATER, why))?;
    }
    // First the record: a stop that comes meanwhile must find the deployments thawed, not thaw them.
    freeze(inner, who, false).await?;
    if inner.stops_unrecorded.get() == 0 {
        inner.shared.set_emergency(None);
    }
    tracing::warn!(by = who.name, ?reason, "Emergency stop cleared.");
    let paused: Vec<String> = inner
        .shared
        .board
        .live_runs()
        .iter()
        .filter(|run| run.is_paused())
        .map(|run| run.id().to_owned())
        .collect();
    Ok(json!({
        "cleared": true, "was_in_force": was_in_force, "by": who.name, "reason": reason, "paused_runs": paused,
        // The answer of both emergency verbs has these: what still stands still, and that a clear ends nothing.
        "stopped_runs": paused, "killed_workers": 0, "cancelled_jobs": [], "not_cancellable": [],
    }))
}
