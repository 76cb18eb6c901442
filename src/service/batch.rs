//! Pages of runs, and one act on many runs.
//!
//! Rule: a filter is evaluated here and once; each run then decides for itself, as if it had been asked alone,
//! and its refusal is part of the answer. Absent: what an act does to a run. Start at [`batch`].

use super::Inner;
use super::changes;
use super::dead;
use super::queries::time;
use super::replies::{error, exit};
use crate::control::Caller;
use actors::board::Summary;
use engine::limits::{BATCH_AT_ONCE, BATCH_NAMED_MAX, BATCH_REFUSALS_MAX, PAGE_RECORDS_MAX};
use engine::protocol::{Batch, BatchAct, ErrorReply, Request, RunFilter, RunList, RunOrder};
use engine::retention::{by_number, number_of};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use std::rc::Rc;

/// A page of runs ends beyond this; it must fit a frame.
const PAGE_BYTES: usize = 512 * 1024;

/// The words for phases that a filter may name.
const PHASES: [&str; 8] =
    ["pending", "running", "paused", "unwinding", "succeeded", "rolled-back", "failed", "cancelled"];

/// A filter that can be held against runs.
#[derive(Debug)]
pub(super) struct Matcher {
    filter: RunFilter,
    submitted_ms_max: u64,
}

impl Matcher {
    pub(super) fn new(filter: &RunFilter, now_ms: u64) -> Result<Self, ErrorReply> {
        if let Some(phase) = &filter.phase
            && !PHASES.contains(&phase.as_str())
        {
            let message = format!("no run is ever `{phase}`; phases are {}", PHASES.join(", "));
            return Err(error("EX-0060", exit::USAGE, message));
        }
        let submitted_ms_max = filter.older_than_ms.map_or(u64::MAX, |age| now_ms.saturating_sub(age));
        Ok(Self { filter: filter.clone(), submitted_ms_max })
    }

    pub(super) fn fits(&self, run: &Summary) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        fits(&self.filter.workflow, &run.workflow)
            && fits(&self.filter.phase, &run.phase)
            && fits(&self.filter.user, &run.by)
            && run.submitted_ms <= self.submitted_ms_max
    }
}

/// Whether a run in this phase can take the act at all.
fn suits(act: BatchAct, phase: &str) -> bool {
    match act {
        BatchAct::Pause => matches!(phase, "pending" | "running"),
        BatchAct::Resume => phase == "paused",
        BatchAct::Cancel => matches!(phase, "pending" | "running" | "paused"),
        BatchAct::Retry => matches!(phase, "rolled-back" | "failed" | "cancelled"),
    }
}

/// Does one act to many runs.
pub(super) async fn batch(inner: &Rc<Inner>, who: Caller, batch: Batch) -> Result<Value, ErrorReply> {
    let matched = matched(inner, &batch)?;
    if batch.matched_max.is_some_and(|most| matched.len() > most) {
        let message = format!(
            "{} runs match by now, more than the {} that were agreed to; nothing was done",
            matched.len(),
            batch.matched_max.unwrap_or_default()
        );
        return Err(error("EX-0062", exit::CONFLICT, message));
    }
    if batch.dry_run {
        return Ok(json!({ "matched": matched.len(), "done": [], "refused": [], "dry_run": true,
            "would": matched.iter().take(PAGE_RECORDS_MAX).collect::<Vec<_>>() }));
    }
    let (act, with) = (batch.act, &batch.with);
    let asked = matched.iter().map(|run| {
        let (who, run) = (who.clone(), run.clone());
        async move { changes::change(inner, who, request(act, &run, with)?).await }
    });
    let answers: Vec<_> = futures::stream::iter(asked).buffered(BATCH_AT_ONCE).collect().await;
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for (run, answer) in matched.iter().zip(answers) {
        match answer {
            Ok(_) => done.push(json!(run)),
            Err(refusal) => {
                refused.push(json!({ "run": run, "code": refusal.code, "message": refusal.message }))
            }
        }
    }
    tracing::info!(
        by = who.name,
        act = act.name(),
        done = done.len(),
        refused = refused.len(),
        "A batch was done."
    );
    let refusals = refused.len();
    refused.truncate(BATCH_REFUSALS_MAX);
    let mut answer = json!({ "matched": matched.len(), "done": done, "refused": refused });
    if refusals > BATCH_REFUSALS_MAX {
        answer["refused_count"] = json!(refusals);
    }
    Ok(answer)
}

/// The request of a verb as its client would send it: fields that are not given keep their defaults.
fn request(act: BatchAct, run: &str, with: &Map<String, Value>) -> Result<Request, ErrorReply> {
    let mut fields = with.clone();
    fields.insert("verb".into(), act.name().into());
    fields.insert("run".into(), run.into());
    serde_json::from_value(Value::Object(fields))
        .map_err(|e| error("EX-0002", exit::USAGE, format!("`{}` takes no such batch: {e}", act.name())))
}

fn matched(inner: &Inner, batch: &Batch) -> Result<Vec<String>, ErrorReply> {
    if batch.runs.len() > BATCH_NAMED_MAX {
        let message =
            format!("{} runs are named, at most {BATCH_NAMED_MAX} may be; use a filter", batch.runs.len());
        return Err(error("EX-0002", exit::USAGE, message));
    }
    if !batch.runs.is_empty() {
        let mut runs = batch.runs.clone();
        let mut seen = std::collections::BTreeSet::new();
        // Named twice is meant once.
        runs.retain(|run| seen.insert(run.clone()));
        return Ok(runs);
    }
    let matcher = Matcher::new(&batch.filter, inner.shared.clock.now_ms())?;
    let books = inner.shared.books.now();
    let names_phase = batch.filter.phase.is_some();
    Ok(inner.shared.board.select(|runs| {
        runs.filter(|run| matcher.fits(run) && (names_phase || suits(batch.act, &run.phase)))
            .filter(|run| !batch.dead || dead::is_dead(run, &books))
            .map(|run| run.run.clone())
            .collect()
    }))
}

/// What a run is sorted by; the run's number breaks ties.
fn key(order: RunOrder, run: &Summary) -> String {
    match order {
        RunOrder::Submitted => String::new(),
        // Open runs end last.
        RunOrder::Ended => format!("{:020}", run.ended_ms.unwrap_or(u64::MAX)),
        RunOrder::Workflow => run.workflow.clone(),
        RunOrder::Phase => run.phase.clone(),
        RunOrder::User => run.by.clone(),
    }
}

/// Where a page began: the order, the key and the run of its first line.
fn cursor(order: RunOrder, run: &Summary) -> String {
    json!([order, key(order, run), run.run]).to_string()
}

fn read_cursor(order: RunOrder, text: &str) -> Result<(String, String), ErrorReply> {
    match serde_json::from_str::<(RunOrder, String, String)>(text) {
        Ok((made_for, key, run)) if made_for == order => Ok((key, run)),
        Ok(_) => Err(error(
            "EX-0061",
            exit::USAGE,
            "this place in the list belongs to another order; give the same --sort as before",
        )),
        Err(_) => Err(error(
            "EX-0061",
            exit::USAGE,
            format!("{text} is no place in the list; give the `next` of the page before"),
        )),
    }
}

/// A page of `list`.
pub(super) fn list(inner: &Inner, asked: &RunList) -> Result<Value, ErrorReply> {
    let RunList { workflow, phase, user, older_than_ms, .. } = asked.clone();
    let filter = RunFilter { workflow, phase, user, older_than_ms };
    let matcher = Matcher::new(&filter, inner.shared.clock.now_ms())?;
    let after = asked.after.as_deref().map(|text| read_cursor(asked.sort, text)).transpose()?;
    let limit = asked.limit.unwrap_or(PAGE_RECORDS_MAX).min(PAGE_RECORDS_MAX);
    let order = asked.sort;
    let (matched, rows) = inner.shared.board.select(|runs| {
        let mut fit: Vec<&Summary> = runs.filter(|run| matcher.fits(run)).collect();
        let matched = fit.len();
        if order != RunOrder::Submitted {
            // They come in the order of their numbers, which a stable sort keeps.
            fit.sort_by_cached_key(|run| key(order, run));
        }
        if let Some((key_before, run_before)) = &after {
            let before = (key_before, by_number(run_before));
            let ends = fit.partition_point(|run| (&key(order, run), by_number(&run.run)) < before);
            fit.truncate(ends);
        }
        let skip = fit.len().saturating_sub(limit);
        (matched, (skip > 0, fit.split_off(skip).into_iter().cloned().collect::<Vec<_>>()))
    });
    let (mut has_more, page) = rows;
    let books = inner.shared.books.now();
    let mut bytes = 0;
    let mut rows = Vec::with_capacity(page.len());
    let mut first = None;
    // The last are the ones people look for, so the page is filled from its end.
    for run in page.iter().rev() {
        let row = json!({
            "run": run.run, "workflow": run.workflow, "phase": run.phase, "user": run.by,
            "submitted": time(run.submitted_ms), "ended": run.ended_ms.map(time),
            "pinned": number_of(&run.run).is_some_and(|number| books.is_pinned(number)),
        });
        // Far more than a row's other fields take.
        bytes += run.workflow.len() + run.by.len() + 256;
        if bytes > PAGE_BYTES {
            has_more = true;
            break;
        }
        rows.push(row);
        first = Some(run);
    }
    rows.reverse();
    let mut answer = json!({ "runs": rows, "matched": matched });
    if let Some(first) = first.filter(|_| has_more) {
        answer["next"] = json!(cursor(order, first));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u64, workflow: &str, phase: &str, by: &str, submitted_ms: u64) -> Summary {
        let ended_ms = (!["pending", "running", "paused"].contains(&phase)).then_some(submitted_ms + 10);
        Summary {
            run: format!("run-{number:06}"),
            workflow: workflow.into(),
            phase: phase.into(),
            by: by.into(),
            submitted_ms,
            ended_ms,
        }
    }

    #[test]
    fn a_filter_matches_what_fits_all_that_it_gives_and_an_age_counts_from_the_submission() {
        let all = [
            run(1, "a", "running", "ada", 1_000),
            run(2, "a", "failed", "ada", 2_000),
            run(3, "b", "running", "bob", 2_000),
        ];
        let found = |filter: RunFilter| -> Vec<usize> {
            let matcher = Matcher::new(&filter, 3_000).unwrap();
            (1..=3).filter(|n| matcher.fits(&all[n - 1])).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(found(RunFilter::default()), [1, 2, 3]);
        assert_eq!(
            found(RunFilter { workflow: some("a"), phase: some("running"), ..Default::default() }),
            [1]
        );
        assert_eq!(found(RunFilter { user: some("bob"), ..Default::default() }), [3]);
        assert_eq!(found(RunFilter { older_than_ms: Some(1_000), ..Default::default() }), [1, 2, 3]);
        assert_eq!(found(RunFilter { older_than_ms: Some(1_001), ..Default::default() }), [1]);
        assert_eq!(found(RunFilter { older_than_ms: Some(u64::MAX), ..Default::default() }), [0; 0]);
        let wrong = RunFilter { phase: some("runing"), ..Default::default() };
        assert_eq!(Matcher::new(&wrong, 0).unwrap_err().code, "EX-0060");
    }

    #[test]
    fn every_verb_of_a_batch_can_be_asked_of_one_run_with_what_the_verb_takes() {
        let sent = |act, with: Value| {
            let request = request(act, "run-000001", with.as_object().unwrap()).unwrap();
            serde_json::to_value(&request).unwrap()
        };
        for act in [BatchAct::Pause, BatchAct::Resume, BatchAct::Cancel, BatchAct::Retry] {
            let sent = sent(act, json!({}));
            assert_eq!((&sent["verb"], &sent["run"]), (&json!(act.name()), &json!("run-000001")));
        }
        assert_eq!(sent(BatchAct::Pause, json!({ "now": true }))["now"], true);
        assert_eq!(sent(BatchAct::Retry, json!({ "from": "a/b" }))["from"], "a/b");
        // Nobody slips another verb or another run in.
        let other = sent(BatchAct::Pause, json!({ "verb": "emergency-stop", "run": "run-2", "reason": "x" }));
        assert_eq!((&other["verb"], &other["run"]), (&json!("pause"), &json!("run-000001")));
    }

    #[test]
    fn a_place_in_the_list_is_taken_back_only_with_the_order_it_was_made_for() {
        let place = cursor(RunOrder::Workflow, &run(7, "a:b\"c", "running", "ada", 1));
        assert_eq!(read_cursor(RunOrder::Workflow, &place).unwrap(), ("a:b\"c".into(), "run-000007".into()));
        assert_eq!(read_cursor(RunOrder::Ended, &place).unwrap_err().exit, exit::USAGE);
        assert_eq!(read_cursor(RunOrder::Workflow, "run-000007").unwrap_err().code, "EX-0061");
    }
}
