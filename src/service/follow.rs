//! Following a run: its events as they become durable, and its progress in between.

use super::Inner;
use super::queries;
use super::replies::unknown_run;
use crate::control::Reply;
use engine::definition::StageIndex;
use engine::protocol::ErrorReply;
use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Progress is sent this often; faster than the eye is of no use.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

struct Following {
    inner: Rc<Inner>,
    run: String,
    from: u64,
    /// Where in the run's stream the next look begins.
    sequence: u64,
    ready: VecDeque<Value>,
    changed: tokio::sync::watch::Receiver<u64>,
    ended: bool,
    last_progress: Value,
}

pub(super) fn follow(inner: Rc<Inner>, run: String, from: u64) -> Result<Reply, ErrorReply> {
    if inner.shared.board.summary(&run).is_none() {
        return Err(unknown_run(&run));
    }
    let changed = inner.shared.board.follow(&run);
    let following = Following {
        inner,
        run,
        from,
        sequence: 1,
        ready: VecDeque::new(),
        changed,
        ended: false,
        last_progress: Value::Null,
    };
    let items = stream::unfold(following, |mut following| async move {
        loop {
            if let Some(item) = following.ready.pop_front() {
                return Some((Ok(item), following));
            }
            if following.ended {
                return None;
            }
            if let Err(error) = following.look() {
                following.ended = true;
                return Some((Err(error), following));
            }
            if following.ready.is_empty() && !following.ended {
                // A change of the journal or the next tick, whichever is first.
                let changed = tokio::time::timeout(PROGRESS_EVERY, following.changed.changed()).await;
                if matches!(changed, Ok(Err(_))) {
                    // The run ended and was retried before this follower looked.
                    following.changed = following.inner.shared.board.follow(&following.run);
                    tokio::time::sleep(PROGRESS_EVERY).await;
                }
            }
        }
    });
    Ok(Reply::Items(items.boxed_local()))
}

/// Waits for the end of a run; an answer says how it ended.
pub(super) async fn wait(inner: &Inner, run: &str) -> Result<Value, ErrorReply> {
    if inner.shared.board.summary(run).is_none() {
        return Err(unknown_run(run));
    }
    let mut changed = inner.shared.board.follow(run);
    loop {
        let summary = inner.shared.board.summary(run).ok_or_else(|| unknown_run(run))?;
        if summary.ended_ms.is_some() {
            return Ok(json!({ "run": run, "workflow": summary.workflow, "phase": summary.phase }));
        }
        if changed.changed().await.is_err() {
            // It ended and was retried before this was heard.
            changed = inner.shared.board.follow(run);
        }
    }
}

impl Following {
    fn look(&mut self) -> Result<(), ErrorReply> {
        // Read before the events: what ended by now has all its events in the journal.
        let run = self.inner.run(&self.run)?;
        let page = queries::page(&self.inner, &self.run, self.from, &run, &mut self.sequence)?;
        let whole = page.is_empty();
        for (position, mut event) in page {
            self.from = position + 1;
            event["type"] = json!("event");
            self.ready.push_back(event);
        }
        let mut stages = queries::stages(&self.inner, &run);
        for (i, stage) in stages.iter_mut().enumerate() {
            let done = run.stage(StageIndex(i as u32)).is_done();
            let progress = self.inner.shared.board.progress(&self.run, i as u32);
            stage["done"] = if done { json!(1.0) } else { json!(progress.as_ref().map(|p| p.done)) };
            stage["message"] = json!(progress.map(|p| p.message));
        }
        let progress = json!({ "type": "progress", "phase": run.phase_name(), "stages": stages });
        if progress != self.last_progress {
            self.last_progress = progress.clone();
            self.ready.push_back(progress);
        }
        // Only when nothing was left to tell: a long run has more than one page of events.
        self.ended = whole && run.phase().is_ended();
        Ok(())
    }
}
