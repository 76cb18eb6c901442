//! Dead letters: runs that ended failed or rolled back, and that nobody has looked at.
//!
//! Rule: nothing is kept beside the journal. A run is a dead letter by how it ended, and stops being one by a
//! retry (it has not ended any more) or by a dismissal (an event of the stream `retention`).

use super::batch::Matcher;
use super::queries::time;
use super::replies::{self, error, exit};
use super::{CHANGE_WAIT, Inner};
use crate::control::Caller;
use actors::board::Summary;
use actors::housekeeper::Dismiss;
use actors::records::{self, Principal};
use engine::definition::StageIndex;
use engine::limits::PAGE_RECORDS_MAX;
use engine::protocol::{ErrorReply, RunFilter};
use engine::retention::{Retention, by_number, number_of};
use engine::run::{ErrorClass, Run};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Letters in one answer: each is read from its checkpoint or its journal.
const LETTERS_MAX: usize = 200;
/// Letters between two breaths of the thread that all actors share.
const LETTERS_AT_ONCE: usize = 8;
/// Longest message of one letter; an answer of [`LETTERS_MAX`] fits a frame.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Whether a run is a dead letter, as the books say.
pub(super) fn is_dead(run: &Summary, books: &Retention) -> bool {
    let Some(ended_ms) = run.ended_ms else { return false };
    matches!(run.phase.as_str(), "failed" | "rolled-back")
        && !number_of(&run.run).is_some_and(|number| books.is_dismissed(number, ended_ms))
}

/// How many there are.
pub(super) fn count(inner: &Inner) -> usize {
    let books = inner.shared.books.now();
    inner.shared.board.select(|runs| runs.filter(|run| is_dead(run, &books)).count())
}

/// The newest letters, newest last.
pub(super) async fn list(
    inner: &Inner,
    filter: &RunFilter,
    limit: Option<usize>,
    after: Option<&str>,
) -> Result<Value, ErrorReply> {
    let matcher = Matcher::new(filter, inner.shared.clock.now_ms())?;
    let books = inner.shared.books.now();
    let mut letters: Vec<Summary> = inner
        .shared
        .board
        .select(|runs| runs.filter(|run| is_dead(run, &books) && matcher.fits(run)).cloned().collect());
    let total = letters.len();
    if let Some(after) = after {
        letters.retain(|run| by_number(&run.run) < by_number(after));
    }
    let skip = letters.len().saturating_sub(limit.unwrap_or(LETTERS_MAX).min(LETTERS_MAX));
    let page = letters.split_off(skip);
    let mut rows = Vec::with_capacity(page.len());
    for (i, summary) in page.iter().enumerate() {
        if i % LETTERS_AT_ONCE == LETTERS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        rows.push(letter(inner, summary));
    }
    let mut answer = json!({ "letters": rows, "matched": total });
    if let (true, Some(first)) = (skip > 0, page.first()) {
        answer["next"] = json!(first.run);
    }
    Ok(answer)
}

fn letter(inner: &Inner, summary: &Summary) -> Value {
    let mut row = json!({
        "run": summary.run, "workflow": summary.workflow, "phase": summary.phase, "user": summary.by,
        "since": summary.ended_ms.map(time),
    });
    match inner.run(&summary.run) {
        Ok(run) => {
            // A failed undo is what a person must look at; else what made the run unwind.
            if let Some(failure) = run.undo_error().or_else(|| run.error()) {
                row["code"] = json!(failure.code);
                row["class"] = json!(class(failure.class));
                row["message"] = json!(failure.message.chars().take(MESSAGE_CHARS_MAX).collect::<String>());
                row["stage"] = json!(stage_of(&run, failure));
            }
        }
        Err(unreadable) => row["message"] = json!(unreadable.message),
    }
    row["retried"] = json!(retried(inner, &summary.run));
    row
}

fn class(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "transient",
        ErrorClass::Permanent => "permanent",
        ErrorClass::Ambiguous => "ambiguous",
    }
}

/// The stage that failed so; the newest attempts come last.
fn stage_of(run: &Run, failure: &engine::run::StageError) -> Option<String> {
    let stages = run.definition().stages.iter().enumerate();
    let mut found = stages.filter(|(i, _)| run.stage_error(StageIndex(*i as u32)) == Some(failure));
    found.next().map(|(_, spec)| spec.path.clone())
}

/// How often somebody had it go on after it had ended.
fn retried(inner: &Inner, run: &str) -> u64 {
    let stream = records::run_stream(run);
    let (mut count, mut sequence) = (0, 1);
    loop {
        let page = inner.shared.journal.read_stream(&stream, sequence, PAGE_RECORDS_MAX).unwrap_or_default();
        let Some(last) = page.last() else { return count };
        sequence = last.stream_seq + 1;
        count += page.iter().filter(|record| record.kind == "RunRetried").count() as u64;
    }
}

/// Lets a letter rest.
pub(super) async fn dismiss(
    inner: &Inner,
    who: &Caller,
    run: String,
    reason: String,
) -> Result<Value, ErrorReply> {
    if reason.trim().is_empty() {
        return Err(error("EX-0002", exit::USAGE, "a dismissal needs a reason that says something"));
    }
    let (reply, answered) = oneshot::channel();
    let by = Principal { name: who.name.clone(), role: who.role.clone() };
    inner
        .housekeeper
        .tell(Dismiss { run, reason, by, reply })
        .map_err(|_| replies::busy("the housekeeper"))?;
    match tokio::time::timeout(CHANGE_WAIT, answered).await {
        Ok(Ok(answer)) => answer.map_err(super::housekeeping::refused),
        Ok(Err(_)) => Err(replies::busy("the housekeeper")),
        Err(_) => Err(error("EX-0010", exit::TIMEOUT, "the housekeeper did not answer in time")),
    }
}
