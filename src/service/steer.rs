//! Verbs that reach into a run that is at work: pause now, tune, reset, signal.
//!
//! Rule: what the answer says was read from the run after its record was durable, and when a tuned value counts
//! is what the attempt at work itself has said.

use super::Inner;
use super::changes::{control, stage_of};
use super::replies::{error, exit};
use crate::control::Caller;
use actors::records;
use actors::steering::Heard;
use engine::definition::StageIndex;
use engine::definition::parameters::{self, Takes};
use engine::protocol::ErrorReply;
use engine::run::{Input, ResetTo, Run, StageState};
use serde_json::{Value, json};
use std::time::Duration;

fn paths(run: &Run, stages: &[StageIndex]) -> Vec<String> {
    stages.iter().map(|stage| run.definition().stages[stage.0 as usize].path.clone()).collect()
}

/// Says which stages were asked to stop, and which are let finish since they cannot be stopped without harm.
pub(super) async fn pause_now(inner: &Inner, who: Caller, run: String) -> Result<Value, ErrorReply> {
    let by = who.name.clone();
    let mut answer = control(inner, who, run.clone(), Input::PauseNow { by }).await?;
    if let Ok(state) = inner.run(&run) {
        let (stopping, finishing) = state.in_flight();
        answer["stopping"] = json!(paths(&state, &stopping));
        answer["finishing"] = json!(paths(&state, &finishing));
    }
    Ok(answer)
}

pub(super) async fn tune(
    inner: &Inner,
    who: Caller,
    run: String,
    stage: String,
    parameter: String,
    value: Value,
) -> Result<Value, ErrorReply> {
    let index = stage_of(inner, &run, &stage)?;
    let state = inner.run(&run)?;
    let kind = state.definition().stages[index.0 as usize].kind;
    let at_work = matches!(state.stage(index), StageState::Running { .. });
    let old = serde_json::from_str::<Value>(&state.params_of(index))
        .ok()
        .and_then(|params| params.get(&parameter).cloned())
        .unwrap_or(Value::Null);
    let by = who.name.clone();
    let text = value.to_string();
    let mut hearing = inner.shared.steering.hear(&run, index.0, &parameter, &text);
    let input = Input::Tune { stage: index, parameter: parameter.clone(), value: text, by };
    control(inner, who, run.clone(), input).await?;
    let mut answer = json!({
        "run": run,
        "changed": [{ "stage": stage, "parameter": parameter, "old": old, "value": value }],
    });
    // The daemon keeps these limits itself.
    let kept_here = [parameters::START_TO_CLOSE, parameters::SCHEDULE_TO_START].contains(&parameter.as_str());
    let offered = !kept_here
        && parameters::find(kind, &parameter)
            .is_some_and(|row| matches!(row.tunable, Some(Takes::AtWork | Takes::Live)));
    let (when, note) = match hearing.answer(if offered { TUNING_WAIT } else { Duration::ZERO }).await {
        _ if kept_here => (if at_work { NOW } else { NEXT }, None),
        Heard::Taken => (NOW, None),
        Heard::NotTaken(why) => (NEXT, Some(why)),
        Heard::Over => (NEXT, Some("the attempt at work ended before it could take it".to_owned())),
        Heard::Told if offered => {
            let note = format!(
                "the attempt at work has not said yet whether it takes it; `executingctl events {run}` will (TuningAnswered)"
            );
            (NOT_KNOWN, Some(note))
        }
        Heard::Told | Heard::Untold => (NEXT, None),
    };
    answer["takes_effect"] = when.into();
    if let Some(note) = note {
        answer["note"] = note.into();
    }
    Ok(answer)
}

const NOW: &str = "now";
const NEXT: &str = "at the stage's next attempt";
const NOT_KNOWN: &str = "now if the attempt at work can take it, else at the stage's next attempt";
/// Work looks at what it is offered between two steps, mostly within a tenth of a second; a person waits no
/// longer than this for it.
const TUNING_WAIT: Duration = Duration::from_secs(3);

/// `to` is a position of the run's records, or the path of a stage.
pub(super) async fn reset(inner: &Inner, who: Caller, run: String, to: &str) -> Result<Value, ErrorReply> {
    let by = who.name.clone();
    let to = match to.parse::<u64>() {
        Ok(position) => {
            inner.run(&run)?;
            if !has_record(inner, &run, position)? {
                let message = format!(
                    "{run} has no event at position {position}; `executingctl events {run}` lists them"
                );
                return Err(error("EX-0051", exit::NOT_FOUND, message));
            }
            ResetTo::Position(position)
        }
        Err(_) => ResetTo::Stage(stage_of(inner, &run, to)?),
    };
    let mut answer = control(inner, who, run.clone(), Input::Reset { by, to }).await?;
    answer["reset_to"] = match to {
        ResetTo::Position(position) => json!(position),
        ResetTo::Stage(stage) => json!(paths(inner.run(&run)?.as_ref(), &[stage])[0]),
    };
    Ok(answer)
}

fn has_record(inner: &Inner, run: &str, position: u64) -> Result<bool, ErrorReply> {
    let (stream, mut from) = (records::run_stream(run), 1);
    loop {
        let page = inner
            .shared
            .journal
            .read_stream(&stream, from, engine::limits::PAGE_RECORDS_MAX)
            .map_err(|e| error("EX-0014", exit::TRY_LATER, e.to_string()))?;
        let Some(last) = page.last() else { return Ok(false) };
        if last.position >= position {
            return Ok(page.iter().any(|record| record.position == position));
        }
        from = last.stream_seq + 1;
    }
}

pub(super) async fn signal(
    inner: &Inner,
    who: Caller,
    run: String,
    stage: String,
    name: String,
    data: Option<Value>,
    key: Option<String>,
) -> Result<Value, ErrorReply> {
    let index = stage_of(inner, &run, &stage)?;
    let data = data.unwrap_or_else(|| json!({})).to_string();
    let by = who.name.clone();
    let input = Input::Signal { stage: index, name: name.clone(), data, key, by };
    let answer = control(inner, who, run, input).await?;
    Ok(json!({ "run": answer["run"], "phase": answer["phase"], "stage": stage, "signal": name }))
}
