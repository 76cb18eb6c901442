//! `reproduce RUN`: computes a run again from what is stored of it, and compares the results.
//!
//! Rule: nothing is done twice that acts (deployments, programs that may not be repeated); what was left out or
//! not compared is named. Results are the same if their digests are; a JSON result that itself names the keys that
//! vary between runs is compared without them, and said to be. Exit code 0 if all is the same, 1 if not.

use crate::context::{Context, Outcome, refusal};
use crate::progress::Progress;
use crate::watch;
use engine::protocol::{ErrorReply, Request, Submission};
use executing::control::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Results larger than this are compared by digest alone; those that vary are small reports.
const VARIES_BYTES_MAX: u64 = 16 * 1024 * 1024;

pub async fn reproduce(context: &Context, run: &str) -> Outcome {
    let mut client = context.client().await?;
    let submission = Submission { again: Some(run.to_owned()), ..Submission::default() };
    let answer = client.request(&Request::Submit(submission)).await?;
    let again = answer.get("run").and_then(Value::as_str).unwrap_or_default().to_owned();
    drop(client);
    let mut progress = Progress::new();
    let ended = watch::ended(context, &again, |item| progress.show(item)).await;
    progress.finish();
    let shown = ended?;
    let phase = shown.get("phase").and_then(Value::as_str).unwrap_or_default().to_owned();
    if phase != "succeeded" {
        let message = format!("{run} could not be computed again: {again} ended {phase}; see `show {again}`");
        return Err(refusal("EX-0024", 1, message));
    }
    let mut client = context.client().await?;
    let (first, second) = (results(&mut client, run).await?, results(&mut client, &again).await?);
    let mut compared = Vec::new();
    let mut same = true;
    for (name, (digest, bytes)) in &second {
        let verdict = match first.get(name) {
            // Made by a stage that had not ended, or whose name a later stage took.
            None => "new",
            Some((before, _)) if before == digest => "same",
            Some((_, before_bytes)) if *bytes.max(before_bytes) <= VARIES_BYTES_MAX => {
                let left = fetch(&mut client, run, name).await?;
                let right = fetch(&mut client, &again, name).await?;
                if same_but_for_what_varies(&left, &right) { "same-but-for-what-varies" } else { "differs" }
            }
            Some(_) => "differs",
        };
        same &= verdict != "differs";
        compared.push(json!({ "name": name, "verdict": verdict, "digest": digest }));
    }
    let missing: Vec<&String> = first.keys().filter(|name| !second.contains_key(*name)).collect();
    context.output.data(&json!({
        "run": run,
        "again": again,
        "reproduced": same,
        "artifacts": compared,
        "not_compared": missing,
        "notes": answer.get("warnings").cloned().unwrap_or_else(|| json!([])),
    }));
    Ok(u8::from(!same))
}

/// Results of a run by name: digest and size.
async fn results(client: &mut Client, run: &str) -> Result<BTreeMap<String, (String, u64)>, ErrorReply> {
    let answer = client.request(&Request::Result { run: run.into() }).await?;
    let all = answer.get("artifacts").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |artefact: &Value, key: &str| artefact.get(key).and_then(Value::as_str).map(str::to_owned);
    let named = all.iter().filter_map(|artefact| {
        let bytes = artefact.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        Some((text(artefact, "name")?, (text(artefact, "digest")?, bytes)))
    });
    Ok(named.collect())
}

async fn fetch(client: &mut Client, run: &str, name: &str) -> Result<Vec<u8>, ErrorReply> {
    let mut bytes = Vec::new();
    client.download(&Request::Artifact { run: run.into(), name: name.into() }, &mut bytes).await?;
    Ok(bytes)
}

/// Whether two JSON results agree in all but the keys that both name as varying.
fn same_but_for_what_varies(left: &[u8], right: &[u8]) -> bool {
    let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Map<String, Value>>(bytes).ok();
    let (Some(mut left), Some(mut right)) = (read(left), read(right)) else { return false };
    let varies = left.get("varies_between_runs").cloned();
    if varies.is_none() || varies.as_ref() != right.get("varies_between_runs") {
        return false;
    }
    for key in varies.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
        left.remove(key);
        right.remove(key);
    }
    left == right
}

#[cfg(test)]
mod tests {
    use super::same_but_for_what_varies;

    #[test]
    fn only_keys_that_are_named_as_varying_may_vary() {
        let report = |seconds: f64, count: u32| {
            format!("{{\"varies_between_runs\": [\"seconds\"], \"seconds\": {seconds}, \"count\": {count}}}")
        };
        let same = |left: &str, right: &str| same_but_for_what_varies(left.as_bytes(), right.as_bytes());
        assert!(same(&report(1.0, 6), &report(2.0, 6)));
        assert!(!same(&report(1.0, 6), &report(1.0, 7)));
        assert!(!same("{\"seconds\": 1}", "{\"seconds\": 2}"));
        assert!(!same(
            &report(1.0, 6),
            "{\"varies_between_runs\": [\"count\"], \"seconds\": 1.0, \"count\": 6}"
        ));
        assert!(!same("no json", "no json either"));
    }
}
