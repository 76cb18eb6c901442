//! Waiting for a run's end, with progress for people.
//!
//! Rule: waiting survives a restart of the daemon: it connects again and asks for what it has not seen.
//! Words and bars go to stderr; the final object is the last line of stdout.

use crate::context::{Context, Outcome, refusal};
use crate::output;
use crate::progress::Progress;
use crate::summary;
use engine::protocol::{ErrorReply, Request};
use executing::control::{Client, ClientError};
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// How long a daemon may be away before waiting is given up. A restart takes less than a second; an
/// upgrade with a long recovery may take many.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// A daemon that was never seen in this call may just be starting; longer and it is not there.
const FIRST_MAX: Duration = Duration::from_secs(3);

/// Pause between two tries to reach a daemon that is away.
const AGAIN: Duration = Duration::from_millis(100);

/// Phases after which nothing more happens.
const ENDED: [&str; 4] = ["succeeded", "rolled-back", "failed", "cancelled"];

/// Waits for the end of `run`, then writes how it ended. Exit code 0 if it succeeded, 1 otherwise.
pub async fn until_the_end(context: &Context, run: &str) -> Outcome {
    let mut progress = Progress::new();
    let ended = ended(context, run, |item| progress.show(item)).await;
    progress.finish();
    let shown = ended?;
    let succeeded = shown.get("phase").and_then(Value::as_str) == Some("succeeded");
    let ended = final_object(run, &shown);
    if context.output.is_for_people() {
        if succeeded {
            summary::print(context, run, &shown).await?;
        } else {
            context.output.data(&ended);
        }
    } else {
        context.output.data(&ended);
    }
    Ok(u8::from(!succeeded))
}

/// Follows `run` to its end, as long as the call may take, and answers how it is shown then.
pub async fn ended(context: &Context, run: &str, each: impl FnMut(&Value)) -> Result<Value, ErrorReply> {
    let followed = follow(context, run, each);
    match context.wait_max {
        None => followed.await,
        Some(limit) => tokio::time::timeout(limit, followed).await.unwrap_or_else(|_| {
            let seconds = limit.as_secs_f64();
            let message = format!("run {run} did not end within {seconds} s; it goes on");
            Err(refusal("EX-0010", 7, message))
        }),
    }
}

/// `{"run","workflow","phase"}`, with `error` unless the run succeeded.
fn final_object(run: &str, shown: &Value) -> Value {
    let mut ended = Map::new();
    ended.insert("run".into(), run.into());
    for key in ["workflow", "phase"] {
        ended.insert(key.into(), shown.get(key).cloned().unwrap_or(Value::Null));
    }
    let succeeded = shown.get("phase").and_then(Value::as_str) == Some("succeeded");
    if let Some(error) = shown.get("error").filter(|error| !error.is_null() && !succeeded) {
        ended.insert("error".into(), error.clone());
    }
    Value::Object(ended)
}

/// Gives every item of the run to `seen` until the run has ended; then what `show` says about it.
///
/// # Errors
/// A refusal; unreachable if the daemon stays away.
pub async fn follow(context: &Context, run: &str, mut seen: impl FnMut(&Value)) -> Result<Value, ErrorReply> {
    let (mut from, mut away_since) = (0, None);
    let mut reached = false;
    let mut error: Option<Value> = None;
    loop {
        let round = follow_once(context, run, &mut from, &mut reached, |item| {
            if let Some(found) = item.get("error").filter(|found| !found.is_null()) {
                error = Some(found.clone());
            }
            away_since = None;
            seen(item);
        });
        match round.await {
            Ok(mut shown) if is_ended(&shown) => {
                if let (Some(fields), Some(error)) = (shown.as_object_mut(), error) {
                    fields.entry("error").or_insert(error);
                }
                return Ok(shown);
            }
            // The daemon is going down in order, and ended its streams.
            Ok(_) => {}
            Err(ClientError::Unreachable { .. } | ClientError::HungUp) => {}
            Err(other) => return Err(other.into()),
        }
        let since = *away_since.get_or_insert_with(Instant::now);
        let patience = if reached { AWAY_MAX } else { FIRST_MAX };
        if since.elapsed() > patience {
            let message = format!(
                "the daemon went away while run {run} was being followed; the run goes on when it is back"
            );
            return Err(refusal("EX-0001", 6, message));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn follow_once(
    context: &Context,
    run: &str,
    from: &mut u64,
    reached: &mut bool,
    mut seen: impl FnMut(&Value),
) -> Result<Value, ClientError> {
    let client = Client::connect(&context.options).await?;
    *reached = true;
    let mut items = client.stream(&Request::Follow { run: run.into(), from: *from }).await?;
    while let Some(item) = items.next().await? {
        if let Some(position) = item.get("position").and_then(Value::as_u64) {
            *from = (*from).max(position + 1);
        }
        seen(&item);
    }
    let mut client = match items.into_client() {
        Some(client) => client,
        None => Client::connect(&context.options).await?,
    };
    client.request(&Request::Show { run: run.into() }).await
}

fn is_ended(shown: &Value) -> bool {
    shown.get("phase").and_then(Value::as_str).is_some_and(|phase| ENDED.contains(&phase))
}

/// `events RUN --follow`: each event as one line.
pub async fn print_events(context: &Context, run: &str) -> Outcome {
    follow(context, run, |item| {
        let mut event = item.clone();
        let kind = event.as_object_mut().and_then(|fields| fields.remove("type"));
        if kind.is_none_or(|kind| kind == "event") {
            output::line(&event.to_string());
        }
    })
    .await?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_final_object_of_a_success_has_exactly_three_fields() {
        let shown = json!({"run": "r", "workflow": "w", "phase": "succeeded", "stages": [], "error": null});
        assert_eq!(final_object("r", &shown), json!({"run": "r", "workflow": "w", "phase": "succeeded"}));
    }

    #[test]
    fn the_final_object_of_a_failure_says_what_failed() {
        let shown =
            json!({"run": "r", "workflow": "w", "phase": "rolled-back", "error": {"code": "EX-0501"}});
        assert_eq!(final_object("r", &shown)["error"]["code"], "EX-0501");
    }

    #[test]
    fn a_paused_run_has_not_ended() {
        assert!(!is_ended(&json!({"phase": "paused"})));
        assert!(is_ended(&json!({"phase": "rolled-back"})));
    }
}
