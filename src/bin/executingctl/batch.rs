//! One act on one run, on several, or on all that a filter matches; and `list` with its pages.
//!
//! Rule: the daemon evaluates filters. More than a handful of matching runs are acted on only after a person said
//! yes, here or with --yes; the daemon then refuses if more match than that person saw.

use crate::args::{DeadVerb, Filter, List, Many, SortBy};
use crate::context::{Context, Outcome, refusal};
use crate::output;
use engine::limits::{BATCH_UNASKED_MAX, PAGE_RECORDS_MAX};
use engine::protocol::{Batch, BatchAct, ErrorReply, Request, RunFilter, RunList, RunOrder};
use executing::control::Client;
use serde_json::{Map, Value, json};
use std::io::{self, BufRead, IsTerminal, Write};

/// The filter as the daemon takes it.
fn filter(given: &Filter) -> RunFilter {
    RunFilter {
        workflow: given.workflow.clone(),
        phase: given.phase.clone(),
        user: given.user.clone(),
        older_than_ms: given.older_than.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// `pause`, `resume`, `cancel`, `retry`: one named run is asked as ever, anything else is a batch.
pub async fn act(
    context: &Context,
    act: BatchAct,
    many: &Many,
    single: impl Fn(String) -> Request,
) -> Outcome {
    match many.runs.as_slice() {
        [run] if !many.dry_run => context.show(&single(run.clone())).await,
        _ => batch(context, act, many, extra(&single(String::new())), false).await,
    }
}

/// What the request of one run says beside the run.
fn extra(single: &Request) -> Map<String, Value> {
    match serde_json::to_value(single) {
        Ok(Value::Object(mut fields)) => {
            fields.remove("verb");
            fields.remove("run");
            fields.retain(|_, value| !value.is_null());
            fields
        }
        _ => Map::new(),
    }
}

async fn batch(
    context: &Context,
    act: BatchAct,
    many: &Many,
    with: Map<String, Value>,
    dead: bool,
) -> Outcome {
    let mut asked = Batch {
        act,
        runs: many.runs.clone(),
        filter: filter(&many.filter),
        dead,
        dry_run: many.dry_run,
        matched_max: None,
        with,
    };
    let mut client = context.patient_client().await?;
    if asked.runs.is_empty() && !many.dry_run && !many.yes {
        let dry = Batch { dry_run: true, ..asked.clone() };
        let answer = client.request(&Request::Batch(dry)).await?;
        let matched = answer.get("matched").and_then(Value::as_u64).unwrap_or_default() as usize;
        if matched > BATCH_UNASKED_MAX {
            agree(act, matched)?;
        }
        asked.matched_max = Some(matched.max(BATCH_UNASKED_MAX));
    }
    let answer = client.request(&Request::Batch(asked)).await?;
    context.output.data(&answer);
    Ok(exit_of(&answer))
}

/// Asks a person. Where nobody is there, the answer is no.
fn agree(act: BatchAct, matched: usize) -> Result<(), ErrorReply> {
    let verb = act.name();
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = format!(
            "{matched} runs match, and more than {BATCH_UNASKED_MAX} are not touched unasked; add --yes to {verb} them all"
        );
        return Err(refusal("EX-0062", 2, message));
    }
    let mut stderr = io::stderr().lock();
    // Nobody is there to be told that nobody is there.
    let _ = write!(stderr, "{verb} {matched} runs? [y/N] ").and_then(|()| stderr.flush());
    let mut said = String::new();
    let _ = io::stdin().lock().read_line(&mut said);
    if matches!(said.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(refusal("EX-0062", 2, format!("nothing was done to the {matched} runs")))
}

/// 0 if every run did it; else what all refusals have in common, or a conflict.
fn exit_of(answer: &Value) -> u8 {
    let refused = answer.get("refused").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let exits = refused.iter().map(|refused| match refused.get("code").and_then(Value::as_str) {
        Some("EX-0003" | "EX-0019") => 3,
        Some("EX-0004" | "EX-0021") => 4,
        Some("EX-0009" | "EX-0013" | "EX-0018") => 75,
        _ => 5,
    });
    let exits: std::collections::BTreeSet<u8> = exits.collect();
    match exits.len() {
        0 => 0,
        1 => exits.first().copied().unwrap_or(5),
        _ => 5,
    }
}

pub async fn dead(context: &Context, verb: Option<&DeadVerb>) -> Outcome {
    let none = (Filter::default(), None, None);
    let (given, limit, after) = match verb {
        Some(DeadVerb::Retry(many)) => return batch(context, BatchAct::Retry, many, Map::new(), true).await,
        Some(DeadVerb::Dismiss { run, reason }) => {
            let request = Request::DeadDismiss { run: run.clone(), reason: reason.clone() };
            return context.show(&request).await;
        }
        Some(DeadVerb::List { filter, limit, after }) => (filter.clone(), *limit, after.clone()),
        None => none,
    };
    context.show(&Request::Dead { filter: filter(&given), limit, after }).await
}

/// One answer of `list`, put together from as many pages as the limit asks for.
pub async fn page(client: &mut Client, list: &List) -> Result<Value, ErrorReply> {
    let RunFilter { workflow, phase, user, older_than_ms } = filter(&list.filter);
    let sort = match list.sort {
        SortBy::Submitted => RunOrder::Submitted,
        SortBy::Ended => RunOrder::Ended,
        SortBy::Workflow => RunOrder::Workflow,
        SortBy::Phase => RunOrder::Phase,
        SortBy::User => RunOrder::User,
    };
    let mut wanted = list.limit.unwrap_or(PAGE_RECORDS_MAX);
    let mut asked = RunList {
        workflow,
        phase,
        user,
        older_than_ms,
        sort,
        limit: Some(wanted.min(PAGE_RECORDS_MAX)),
        after: list.after.clone(),
    };
    let mut answer = client.request(&Request::List(asked.clone())).await?;
    let mut runs = taken(&mut answer);
    // Pages come from the end: each further one stands before those that are there.
    let mut pages = Vec::new();
    loop {
        wanted = wanted.saturating_sub(runs.len());
        let next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        pages.push(std::mem::take(&mut runs));
        let (Some(next), true) = (next, wanted > 0) else { break };
        asked.after = Some(next);
        asked.limit = Some(wanted.min(PAGE_RECORDS_MAX));
        let matched = answer["matched"].take();
        answer = client.request(&Request::List(asked.clone())).await?;
        answer["matched"] = matched;
        runs = taken(&mut answer);
    }
    let mut all: Vec<Value> = pages.into_iter().rev().flatten().collect();
    if list.reverse {
        all.reverse();
    }
    let mut whole = json!({ "runs": all });
    for key in ["matched", "next"] {
        if let Some(value) = answer.get_mut(key) {
            whole[key] = value.take();
        }
    }
    Ok(whole)
}

fn taken(answer: &mut Value) -> Vec<Value> {
    match answer.get_mut("runs").map(Value::take) {
        Some(Value::Array(runs)) => runs,
        _ => Vec::new(),
    }
}

/// What people see of a page: the runs, and below them, in words, that there are more.
pub fn show(context: &Context, mut page: Value) {
    if !context.output.is_for_people() {
        return context.output.data(&page);
    }
    let shown = page.get("runs").and_then(Value::as_array).map_or(0, Vec::len);
    let matched = page.get("matched").and_then(Value::as_u64).unwrap_or_default();
    let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
    if let Some(fields) = page.as_object_mut() {
        fields.remove("matched");
        fields.remove("next");
    }
    context.output.data(&page);
    if let Some(next) = next {
        output::word(&format!("{shown} of {matched} runs; further ones: --after '{next}'"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_verb_takes_beside_the_run_goes_along_to_several() {
        let retry = Request::Retry { run: "r".into(), from: Some("a/b".into()) };
        assert_eq!(Value::Object(extra(&retry)), json!({ "from": "a/b" }));
        assert_eq!(extra(&Request::Resume { run: "r".into() }), Map::new());
    }

    #[test]
    fn the_exit_code_of_a_batch_is_what_all_its_refusals_have_in_common() {
        let exit = |codes: &[&str]| {
            let refused: Vec<Value> = codes.iter().map(|code| json!({ "run": "r", "code": code })).collect();
            exit_of(&json!({ "matched": 3, "done": ["r"], "refused": refused }))
        };
        assert_eq!(exit(&[]), 0);
        assert_eq!(exit(&["EX-0003", "EX-0003"]), 3);
        assert_eq!(exit(&["EX-0018"]), 75);
        assert_eq!(exit(&["EX-0020", "EX-0003"]), 5);
        assert_eq!(exit(&["EX-0020"]), 5);
    }
}
