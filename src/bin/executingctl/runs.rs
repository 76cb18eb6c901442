//! Verbs about single runs.

use crate::args::{Decision, Tuning};
use crate::context::{Context, Outcome};
use crate::why::why;
use crate::{offline, output, submit, watch};
use engine::protocol::{ErrorReply, Request};
use executing::control::Client;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;

/// One event per line, from the first on.
pub async fn events(context: &Context, run: &str, follow: bool) -> Outcome {
    if follow {
        return watch::print_events(context, run).await;
    }
    let mut client = context.client().await?;
    let mut from = 0;
    loop {
        let page = client.request(&Request::Events { run: run.into(), from }).await?;
        let events = page.as_array().or_else(|| page.get("events")?.as_array());
        let events = events.map_or(&[][..], Vec::as_slice);
        events.iter().for_each(|event| output::line(&event.to_string()));
        // Pages have no marked end: the one behind the last event is empty.
        let last = events.last().and_then(|event| event.get("position")).and_then(Value::as_u64);
        match last {
            Some(last) if last >= from => from = last + 1,
            _ => return Ok(0),
        }
    }
}

pub async fn result(context: &Context, run: &str, artifact: Option<&str>) -> Outcome {
    let Some(name) = artifact else {
        return context.show(&Request::Result { run: run.into() }).await;
    };
    let mut client = context.client().await?;
    let request = Request::Artifact { run: run.into(), name: name.into() };
    client.download(&request, &mut io::stdout().lock()).await?;
    Ok(0)
}

pub async fn tune(context: &Context, run: &str, setting: &Tuning) -> Outcome {
    let Tuning { stage, parameter, value } = setting.clone();
    let value = submit::parameter(&value);
    context.show(&Request::Tune { run: run.into(), stage, parameter, value }).await
}

pub async fn decide(context: &Context, decision: &Decision, is_yes: bool) -> Outcome {
    let Decision { run, stage, reason } = decision;
    let (run, stage, reason) = (run.clone(), stage.clone(), reason.clone());
    let request =
        if is_yes { Request::Approve { run, stage, reason } } else { Request::Reject { run, stage, reason } };
    context.show(&request).await
}

/// A code is looked up here; a run is asked about.
pub async fn explain(context: &Context, what: &str) -> Outcome {
    if offline::is_code(what) {
        return offline::explain(context.output, what);
    }
    context.show(&Request::Explain { run: what.into() }).await
}

/// What differs between two runs.
pub async fn compare(context: &Context, first: &str, second: &str) -> Outcome {
    let mut client = context.client().await?;
    let left = facts(&mut client, first).await?;
    let right = facts(&mut client, second).await?;
    let differences = differences(&left, &right);
    let shots = [qaoa_result(&mut client, first).await, qaoa_result(&mut client, second).await];
    let data = json!({
        "why": why(&differences, shots[0].as_ref(), shots[1].as_ref()),
        "first": first,
        "second": second,
        "equal": differences.is_empty(),
        "compared": left.keys().chain(right.keys()).collect::<std::collections::BTreeSet<_>>().len(),
        "differences": differences,
    });
    context.output.data(&data);
    Ok(0)
}

/// Where a run's shots came from, if it has any.
async fn qaoa_result(client: &mut Client, run: &str) -> Option<Value> {
    let mut bytes = Vec::new();
    let request = Request::Artifact { run: run.into(), name: "qaoa_result.json".into() };
    client.download(&request, &mut bytes).await.ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// All that two runs can differ in, by name.
async fn facts(client: &mut Client, run: &str) -> Result<BTreeMap<String, Value>, ErrorReply> {
    let shown = client.request(&Request::Show { run: run.into() }).await?;
    let first_page = client.request(&Request::Events { run: run.into(), from: 0 }).await?;
    let submitted =
        first_page.as_array().or_else(|| first_page.get("events")?.as_array()).and_then(|events| {
            events
                .iter()
                .find(|event| event.get("event").and_then(Value::as_str) == Some("RunSubmitted"))
                .cloned()
        });
    let result = client.request(&Request::Result { run: run.into() }).await?;
    let mut facts = BTreeMap::new();
    for key in ["workflow", "phase"] {
        facts.insert(key.to_owned(), shown.get(key).cloned().unwrap_or_default());
    }
    let sources = [Some(&shown), submitted.as_ref()];
    for (group, key) in [("input", "inputs"), ("parameter", "params"), ("parameter", "seed")] {
        let found = sources.into_iter().flatten().find_map(|source| source.get(key));
        flatten(group, key, found.unwrap_or(&Value::Null), &mut facts);
    }
    for artefact in result.get("artifacts").and_then(Value::as_array).into_iter().flatten() {
        let name = artefact.get("name").and_then(Value::as_str).unwrap_or_default();
        facts.insert(format!("result {name}"), artefact.get("digest").cloned().unwrap_or_default());
    }
    Ok(facts)
}

/// Inputs come as an object or as a list of named references; parameters also as JSON in a text.
fn flatten(group: &str, key: &str, value: &Value, facts: &mut BTreeMap<String, Value>) {
    let mut put = |name: &str, value: &Value| {
        facts.insert(format!("{group} {name}"), value.clone());
    };
    match value {
        Value::Null => {}
        Value::Object(fields) => fields.iter().for_each(|(name, value)| put(name, value)),
        Value::Array(items) => {
            for item in items {
                let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
                put(name, item.get("digest").unwrap_or(item));
            }
        }
        Value::String(text) => match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(fields) => fields.iter().for_each(|(name, value)| put(name, value)),
            Err(_) => put(key, value),
        },
        other => put(key, other),
    }
}

fn differences(left: &BTreeMap<String, Value>, right: &BTreeMap<String, Value>) -> Vec<Value> {
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differ = names.into_iter().filter(|name| left.get(*name) != right.get(*name));
    differ.map(|name| json!({"name": name, "first": left.get(name), "second": right.get(name)})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(value: Value) -> BTreeMap<String, Value> {
        let mut facts = BTreeMap::new();
        flatten("x", "key", &value, &mut facts);
        facts
    }

    #[test]
    fn every_form_of_inputs_and_parameters_compares_by_name() {
        let expected = BTreeMap::from([("x space".to_string(), Value::from("b3:1"))]);
        assert_eq!(flat(json!({"space": "b3:1"})), expected);
        assert_eq!(flat(json!([{"name": "space", "digest": "b3:1"}])), expected);
        assert_eq!(flat(json!("{\"space\":\"b3:1\"}")), expected);
        assert_eq!(flat(json!(7)), BTreeMap::from([("x key".to_string(), Value::from(7))]));
    }

    #[test]
    fn what_only_one_run_has_is_a_difference_and_what_both_have_alike_is_none() {
        let left = BTreeMap::from([("a".to_string(), json!(1)), ("b".to_string(), json!(2))]);
        let right = BTreeMap::from([("a".to_string(), json!(1)), ("c".to_string(), json!(3))]);
        let found = differences(&left, &right);
        assert_eq!(
            found,
            [
                json!({"name": "b", "first": 2, "second": null}),
                json!({"name": "c", "first": null, "second": 3})
            ]
        );
    }
}
