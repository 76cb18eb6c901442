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
    let deployments = client.request(&Request::Deployments).await.unwrap_or_default();
    let found = Found { config, risk, manifest, artefacts, deployments };
    output::line(text(run, shown, &found).trim_end());
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

/// What the daemon has to tell about a run; `Null` where it has nothing.
#[derive(Default)]
struct Found {
    config: Value,
    risk: Value,
    manifest: Value,
    artefacts: Value,
    deployments: Value,
}

fn text(run: &str, shown: &Value, found: &Found) -> String {
    let Found { config, risk, manifest, artefacts, deployments } = found;
    let unit = risk.get("unit").and_then(Value::as_str).unwrap_or_default();
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
            if let Some(value) = config.get(key).and_then(Value::as_f64) {
                say(name, amount(value, unit));
            }
        }
        if let (Some(level), Some(weight)) = (number(config, "cvar_level"), number(config, "risk_weight")) {
            say("", format!("E + {weight} x CVaR at level {level}"));
        }
        if config.get("complete") == Some(&Value::Bool(false)) {
            say("", "the feasible set is not complete, so a better design may exist".into());
        }
    }
    if let Some(size) = config.get("tie").and_then(|tie| tie.get("size")) {
        say("tie", format!("{size} designs cost the same; this is the first of them in canonical order"));
    }
    for (i, words) in risk.get("words").and_then(Value::as_array).into_iter().flatten().enumerate() {
        say(if i == 0 { "why" } else { "" }, plain(words));
    }
    if let Some(gap) = find(risk, "gap_to_exact").and_then(Value::as_f64) {
        let qaoa = risk.get("qaoa").cloned().unwrap_or_default();
        let shots = qaoa.get("shots").map(|shots| format!(", {shots} shots")).unwrap_or_default();
        let chance = qaoa.get("random_hit_probability").and_then(Value::as_f64);
        let chance = chance
            .map(|chance| format!("; as many uniform draws find one as good with probability {chance:.3}"));
        say(
            "gap to exact",
            format!(
                "{:.3} % (QAOA's best sample against the exact choice{shots}{})",
                gap * 100.0,
                chance.unwrap_or_default()
            ),
        );
    }
    for stage in shown.get("stages").and_then(Value::as_array).into_iter().flatten() {
        let name = stage.get("name").map(plain).unwrap_or_default();
        let seconds = stage.get("seconds").and_then(Value::as_f64).unwrap_or_default();
        say("stage", format!("{seconds:>9.3} s  {name}"));
    }
    if let Some(release) = manifest.get("release").or_else(|| manifest.get("id")) {
        let is_active = deployments.get("active") == Some(release);
        say(
            "release",
            format!("{} ({})", plain(release), if is_active { "active" } else { "no longer active" }),
        );
        if let (true, Some(path)) = (is_active, deployments.get("path").and_then(Value::as_str)) {
            say("", path.into());
        }
    }
    let names = artefacts.get("artifacts").and_then(Value::as_array).into_iter().flatten();
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

/// A figure of money or mass as people say it: `33.409 billion USD`.
fn amount(value: f64, unit: &str) -> String {
    let steps = [(1e12, " trillion"), (1e9, " billion"), (1e6, " million")];
    let (by, word) = steps.into_iter().find(|(by, _)| value.abs() >= *by).unwrap_or((1.0, ""));
    format!("{:.3}{word} {unit}", value / by).trim_end().to_owned()
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
        let risk = json!({"qaoa": {"gap_to_exact": 0.0125}, "words": ["One term decides."], "unit": "USD"});
        let artefacts = json!({"artifacts": [{"name": "plot.svg"}]});
        let text = text("r-1", &shown, &Found { config, risk, artefacts, ..Found::default() });
        let parts = ["r-1", "wing d24", "1.500 USD", "2.500 USD", "1.750 USD", "0.95", "One term decides."];
        for part in parts.into_iter().chain(["gap to exact  1.250 %", "0.250 s  a/b", "plot.svg"]) {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.contains("not complete"), "{text}");
        assert!(!text.contains("release"), "{text}");
    }

    #[test]
    fn amounts_are_said_as_people_say_them() {
        assert_eq!(amount(33_408_540_815.6, "USD"), "33.409 billion USD");
        assert_eq!(amount(-1_500_000.0, ""), "-1.500 million");
        assert_eq!(amount(12.0, "kg"), "12.000 kg");
    }
}
