//! Verbs of schedules: what is asked is checked here as a submission would be, and decided by the timetable.
//!
//! Rule: a schedule is taken only if its submission would be, so that what can be wrong is told to the person
//! who is there, not to the log at night.

use super::queries::time;
use super::replies::{self, error, exit};
use super::{ANSWER_WAIT, CHANGE_WAIT, Inner};
use crate::control::Caller;
use actors::orchestrator::Check;
use actors::records::Principal;
use actors::timetable::{Change, Look, TimetableError};
use engine::definition::{Definition, StageKind};
use engine::protocol::{ErrorReply, ScheduleRequest, ScheduleSpec, Submission};
use engine::schedule::{
    CatchUp, Entry, Fire, INTERVAL_MS_MIN, Input, Outcome, Overlap, Refusal, Spec, Timetable, jitter_of,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Most moments that `next` shows.
const NEXT_MAX: usize = 1_000;

/// Largest stored submission: a workflow file may have 1 MiB, a record of the journal too.
const SUBMISSION_BYTES_MAX: usize = 512 * 1024;

pub(super) async fn schedule(
    inner: &Inner,
    who: &Caller,
    asked: ScheduleRequest,
) -> Result<Value, ErrorReply> {
    match asked {
        ScheduleRequest::Add(spec) => add(inner, who, *spec).await,
        ScheduleRequest::List => {
            let table = look(inner).await?;
            let rows: Vec<Value> = table.entries().iter().map(|(name, entry)| row(name, entry)).collect();
            Ok(json!({ "schedules": rows }))
        }
        ScheduleRequest::Show { name } => show(inner, &name).await,
        ScheduleRequest::Pause { name, reason } => {
            let input = Input::Pause { name: name.clone(), reason: reason.unwrap_or_default() };
            change(inner, who, input).await?;
            Ok(json!({ "schedule": name, "state": "paused" }))
        }
        ScheduleRequest::Resume { name } => {
            change(inner, who, Input::Resume { name: name.clone() }).await?;
            show(inner, &name).await
        }
        ScheduleRequest::Remove { name } => {
            change(inner, who, Input::Remove { name: name.clone() }).await?;
            Ok(json!({ "schedule": name, "state": "removed" }))
        }
        ScheduleRequest::Run { name } => run(inner, who, name).await,
        ScheduleRequest::Next { name, count } => {
            let table = look(inner).await?;
            let entry = entry(&table, &name)?;
            let count = count.clamp(1, NEXT_MAX);
            Ok(
                json!({ "schedule": name, "timezone": entry.spec.timezone, "next": next(&name, entry, count) }),
            )
        }
    }
}

fn refused(refused: TimetableError) -> ErrorReply {
    let message = refused.to_string();
    match refused {
        TimetableError::NotDurable(_) => error("EX-0013", exit::TRY_LATER, message),
        TimetableError::Unreadable(_) => error("EX-0014", exit::TRY_LATER, message),
        TimetableError::Refused(refusal) => match refusal {
            Refusal::Unknown(_) => error("EX-0063", exit::NOT_FOUND, message),
            Refusal::Exists(_) | Refusal::Paused(_) | Refusal::NotPaused(_) => {
                error("EX-0066", exit::CONFLICT, message)
            }
            Refusal::StillOpen { .. } | Refusal::Stale => error("EX-0066", exit::CONFLICT, message),
            Refusal::TooSoon { .. } | Refusal::QueueFull(_) | Refusal::TooMany(_) => {
                error("EX-0067", exit::TRY_LATER, message)
            }
            Refusal::Name(_)
            | Refusal::Line(_)
            | Refusal::TooOften { .. }
            | Refusal::Interval(_)
            | Refusal::Jitter { .. }
            | Refusal::CatchUp { .. } => error("EX-0064", exit::INVALID, message),
        },
    }
}

async fn change(inner: &Inner, who: &Caller, input: Input) -> Result<(), ErrorReply> {
    let (reply, answered) = oneshot::channel();
    let by = Principal { name: who.name.clone(), role: who.role.clone() };
    inner.timetable.tell(Change { input, by, reply }).map_err(|_| replies::busy("the timetable"))?;
    match tokio::time::timeout(CHANGE_WAIT, answered).await {
        Ok(Ok(answer)) => answer.map_err(refused),
        Ok(Err(_)) => Err(replies::busy("the timetable")),
        Err(_) => Err(error(
            "EX-0010",
            exit::TIMEOUT,
            "the timetable did not answer in time; look with `schedule show`",
        )),
    }
}

async fn look(inner: &Inner) -> Result<Timetable, ErrorReply> {
    let asked = inner.timetable.ask(Look, ANSWER_WAIT).await;
    let shown = asked.map_err(|e| replies::from_ask("the timetable", e))?;
    match shown.unreadable {
        None => Ok(shown.table),
        Some(why) => Err(refused(TimetableError::Unreadable(why))),
    }
}

fn entry<'t>(table: &'t Timetable, name: &str) -> Result<&'t Entry, ErrorReply> {
    table.get(name).ok_or_else(|| refused(Refusal::Unknown(name.to_owned()).into()))
}

async fn add(inner: &Inner, who: &Caller, asked: ScheduleSpec) -> Result<Value, ErrorReply> {
    let ScheduleSpec { name, cron, timezone, overlap, catch_up, jitter_ms, interval_ms_min, submission } =
        asked;
    let submission = Submission { key: None, ..submission };
    let (reply, answered) = oneshot::channel();
    let check = Check { submission: submission.clone(), reply };
    inner.orchestrator.tell(check).map_err(|_| replies::busy("the orchestrator"))?;
    let checked = match tokio::time::timeout(CHANGE_WAIT, answered).await {
        Ok(Ok(checked)) => checked.map_err(replies::from_submit)?,
        _ => return Err(replies::busy("the orchestrator")),
    };
    if let Some(stage) = fires_itself(&checked, &name) {
        let message = format!(
            "the stage {stage} of {} has the schedule {name} run again, which would go on for ever",
            checked.workflow
        );
        return Err(error("EX-0064", exit::INVALID, message));
    }
    let text = serde_json::to_string(&submission).map_err(|e| {
        error("EX-0064", exit::INVALID, format!("what is to be submitted cannot be kept: {e}"))
    })?;
    if text.len() > SUBMISSION_BYTES_MAX {
        let message = format!(
            "the workflow takes {} bytes, at most {SUBMISSION_BYTES_MAX} are kept with a schedule",
            text.len()
        );
        return Err(error("EX-0064", exit::INVALID, message));
    }
    let spec = Spec {
        cron,
        timezone,
        overlap,
        catch_up,
        jitter_ms,
        interval_ms_min: interval_ms_min.unwrap_or(INTERVAL_MS_MIN),
        workflow: checked.workflow,
        submission: text,
        by: who.name.clone(),
        role: who.role.clone(),
    };
    change(inner, who, Input::Add { name: name.clone(), spec: Box::new(spec) }).await?;
    show(inner, &name).await
}

/// The stage that has the schedule `name` run again: a program whose command says so.
fn fires_itself(definition: &Definition, name: &str) -> Option<String> {
    let stages = definition.stages.iter().filter(|stage| stage.kind == StageKind::Exec);
    let mut found = stages.filter(|stage| {
        let words: String = stage
            .params
            .chars()
            .map(|c| if c.is_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { ' ' })
            .collect();
        let words: Vec<&str> = words.split_whitespace().collect();
        words.windows(3).any(|three| three == ["schedule", "run", name])
    });
    found.next().map(|stage| stage.path.clone())
}

async fn run(inner: &Inner, who: &Caller, name: String) -> Result<Value, ErrorReply> {
    if let Some(reason) = inner.shared.board.emergency() {
        let message = format!("an emergency stop is in force: {reason}. `emergency-clear` ends it");
        return Err(error("EX-0018", exit::TRY_LATER, message));
    }
    let before = entry(&look(inner).await?, &name)?.fired;
    change(inner, who, Input::Run { name: name.clone() }).await?;
    // The submission takes a disk write; whoever asks wants to know the run.
    let begun = tokio::time::Instant::now();
    loop {
        let table = look(inner).await?;
        let entry = entry(&table, &name)?;
        match entry.latest.as_ref().and_then(|fire| fire.outcome.as_ref()) {
            Some(Outcome::Submitted { run }) if entry.fired > before => {
                let key = entry.latest.as_ref().map(|fire| fire.key.clone());
                return Ok(json!({ "schedule": name, "state": "submitted", "run": run, "key": key }));
            }
            Some(Outcome::Refused { code, message }) if entry.fired > before => {
                return Err(error(code, exit::INVALID, message.clone()));
            }
            _ if entry.waiting.iter().any(|waiting| waiting.manual) => {
                return Ok(json!({ "schedule": name, "state": "queued", "run": null }));
            }
            _ if begun.elapsed() > CHANGE_WAIT => {
                return Ok(json!({ "schedule": name, "state": "submitting", "run": null }));
            }
            _ => tokio::time::sleep(ANSWER_PAUSE).await,
        }
    }
}

/// Pause between two looks at a submission that is on its way.
const ANSWER_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

async fn show(inner: &Inner, name: &str) -> Result<Value, ErrorReply> {
    let table = look(inner).await?;
    let entry = entry(&table, name)?;
    let spec = &entry.spec;
    let mut shown = row(name, entry);
    let submission: Submission = serde_json::from_str(&spec.submission).unwrap_or_default();
    shown["jitter_seconds"] = json!(spec.jitter_ms as f64 / 1e3);
    shown["interval_seconds_min"] = json!(spec.interval_ms_min as f64 / 1e3);
    shown["params"] = json!(submission.params);
    shown["inputs"] = json!(submission.inputs);
    shown["waiting"] = json!(entry.waiting.iter().map(|waiting| time(waiting.due_ms)).collect::<Vec<_>>());
    if let Some((through_ms, why)) = entry.passed_why {
        shown["last_passed"] = json!({ "through": time(through_ms), "why": why });
    }
    shown["fires"] = json!(entry.outcomes.iter().map(fire).collect::<Vec<_>>());
    Ok(shown)
}

fn fire(fire: &Fire) -> Value {
    let mut row = json!({ "due": time(fire.due_ms), "submitted": time(fire.at_ms), "by_hand": fire.manual, "key": fire.key });
    match &fire.outcome {
        None => row["state"] = json!("submitting"),
        Some(Outcome::Submitted { run }) => {
            row["state"] = json!("submitted");
            row["run"] = json!(run);
        }
        Some(Outcome::Refused { code, message }) => {
            row["state"] = json!("refused");
            row["code"] = json!(code);
            row["message"] = json!(message);
        }
    }
    row
}

fn row(name: &str, entry: &Entry) -> Value {
    let spec = &entry.spec;
    let overlap = match spec.overlap {
        Overlap::Skip => "skip",
        Overlap::Queue => "queue",
        Overlap::CancelPrevious => "cancel-previous",
    };
    let catch_up = match spec.catch_up {
        CatchUp::None => "none".to_owned(),
        CatchUp::One => "one".to_owned(),
        CatchUp::All { max } => format!("all, at most {max}"),
    };
    let next = next(name, entry, 1);
    let mut row = json!({
        "schedule": name, "workflow": spec.workflow, "cron": spec.cron, "timezone": spec.timezone,
        "state": if entry.paused.is_some() { "paused" } else { "active" },
        "next": next.first().and_then(|next| next.get("time")).filter(|_| entry.paused.is_none()),
        "overlap": overlap, "catch_up": catch_up, "user": spec.by,
        "fired": entry.fired, "passed": entry.passed, "queued": entry.waiting.len(),
        "last": entry.latest.as_ref().map(fire),
    });
    if let Some(reason) = entry.paused.as_ref().filter(|reason| !reason.is_empty()) {
        row["reason"] = json!(reason);
    }
    row
}

/// The next moments: in UTC with the jitter, and as people in the zone say them.
fn next(name: &str, entry: &Entry, count: usize) -> Vec<Value> {
    let Some(line) = entry.line() else { return Vec::new() };
    let dues = std::iter::successors(entry.next_ms(), |due| line.next_after(*due)).take(count);
    dues.map(|due| {
        let jitter_ms = jitter_of(name, due, entry.spec.jitter_ms);
        json!({ "time": time(due + jitter_ms), "due": time(due), "local": line.local(due) })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(command: &str) -> Definition {
        let text = format!("workflow: w\nstages:\n  - {{name: again, kind: exec, command: {command}}}\n");
        let library = crate::catalog::library();
        let params = std::collections::BTreeMap::new();
        let request = engine::definition::LoadRequest {
            text: &text,
            file: "w.yaml",
            workflow: None,
            library: &library,
            params: &params,
        };
        engine::definition::load(request).unwrap().definition
    }

    #[test]
    fn a_workflow_that_has_its_own_schedule_run_is_found_in_an_argument_list_and_in_a_shell_line() {
        let itself = definition("[executingctl, schedule, run, nightly]");
        assert_eq!(fires_itself(&itself, "nightly").as_deref(), Some("again"));
        assert_eq!(fires_itself(&itself, "weekly"), None);
        let shell = definition("[/bin/sh, -c, \"sleep 1; executingctl schedule run nightly && true\"]");
        assert_eq!(fires_itself(&shell, "nightly").as_deref(), Some("again"));
        assert_eq!(fires_itself(&definition("[/bin/true, nightly]"), "nightly"), None);
    }
}
