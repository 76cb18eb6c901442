//! What a person wants to know of a run that succeeded.

use crate::context::Context;
use crate::output;
use engine::protocol::{ErrorReply, Request};
use executing::control::Client;
use serde_json::Value;
use std::fmt::Write as _;

/// Prints design, costs, gap, times and where to find more.
///
/// # Errors
/// A daemon that went away; an artefact that is not there only leaves its lines out.
pub async fn print(context: &Context, run: &str, shown: &Value) -> Result<(), ErrorReply> {
    let mut client = context.client().await?;
    let config = artefact(&mut client, run, "optimal_config.json").await;
    let risk = artefact(&mut client, run, "risk_analysis.json").await;
    let manifest = artefact(&mut client, run, "deployment_manifest.json").await;
    let artefacts = client.request(&Request::Result { run: run.into() }).await.unwrap_or_default();
    output::line(text(run, shown, &config, &risk, &manifest, &artefacts).trim_end());
    Ok(())
}

async fn artefact(client: &mut Client, run: &str, name: &str) -> Value {
    let mut bytes = Vec::new();
    let request = Request::Artifact { run: run.into(), name: name.into() };
    match client.download(&request, &mut bytes).await {
        Ok(_) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => Value::Null,
    }
}

fn text(run: &str, shown: &Value, config: &Value, risk: &Value, manifest: &Value, result: &Value) -> String {
    let mut text = String::new();
    let mut say = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<14}{value}");
    };
    let workflow = shown.get("workflow").and_then(Value::as_str).unwrap_or_default();
    say("run", format!("{run} ({workflow}) succeeded"));
    if let Some(design) = config.get("design").and_then(Value::as_object) {
        let parts: Vec<_> =
            design.iter().map(|(decision, option)| format!("{decision} {}", plain(option))).collect();
        say("design", parts.join(", "));
        for (name, key) in [("E", "expected"), ("CVaR", "cvar"), ("objective", "objective")] {
            if let Some(value) = number(config, key) {
                say(name, value);
            }
        }
        if let (Some(level), Some(weight)) = (number(config, "cvar_level"), number(config, "risk_weight")) {
            say("", format!("E + {weight} x CVaR at level {level}"));
        }
        if config.get("complete") == Some(&Value::Bool(false)) {
            say("", "the feasible set is not complete, so a better design may exist".into());
        }
    }
    if let Some(gap) = find(risk, "gap_to_exact") {
        say("gap to exact", plain(gap));
    }
    for stage in shown.get("stages").and_then(Value::as_array).into_iter().flatten() {
        let name = stage.get("name").map(plain).unwrap_or_default();
        let seconds = stage.get("seconds").and_then(Value::as_f64).unwrap_or_default();
        say("stage", format!("{seconds:>9.3} s  {name}"));
    }
    if let Some(release) = manifest.get("release").or_else(|| manifest.get("id")) {
        say("release", plain(release));
        if let Some(path) =
            ["active", "path", "directory"].iter().find_map(|key| manifest.get(*key)?.as_str())
        {
            say("", path.into());
        }
    }
    let names = result.get("artifacts").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<_> = names.filter_map(|artefact| artefact.get("name")).map(plain).collect();
    if !names.is_empty() {
        say("artefacts", names.join(", "));
        say("", format!("executingctl result {run} --artifact NAME"));
    }
    text
}

fn number(from: &Value, key: &str) -> Option<String> {
    from.get(key).filter(|value| value.is_number()).map(Value::to_string)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first value under `key`, at any depth.
fn find<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(fields) => {
            fields.get(key).or_else(|| fields.values().find_map(|field| find(field, key)))
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_summary_names_design_figures_gap_times_and_artefacts() {
        let shown = json!({"workflow": "w", "stages": [{"name": "a/b", "seconds": 0.25}]});
        let config = json!({"design": {"wing": "d24"}, "expected": 1.5, "cvar": 2.5, "objective": 1.75,
            "cvar_level": 0.95, "risk_weight": 0.1, "complete": false});
        let risk = json!({"qaoa": {"gap_to_exact": 0.0}});
        let result = json!({"artifacts": [{"name": "plot.svg"}]});
        let text = text("r-1", &shown, &config, &risk, &Value::Null, &result);
        for part in
            ["r-1", "wing d24", "1.5", "2.5", "1.75", "0.95", "gap to exact  0.0", "0.250 s  a/b", "plot.svg"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.contains("not complete"), "{text}");
        assert!(!text.contains("release"), "{text}");
    }
}
