//! `result-integration`: the chosen design and where everything about it came from, in one record.
//!
//! Output: `design_record.json`. Facts: `design_record_digest`.

use super::json::{self, Facts};
use super::work::Work;
use super::{fail, inputs, subject};
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::space::Attribute;

/// Artefacts that tell about the machine and the hour. They are no part of where a design came from, and
/// with them the same choice would not give the same record.
const MEASUREMENTS: [&str; 2] = ["environment.json", "enumeration_metrics.json"];

/// A plan for machines tells about their day too; one for the simulator does not, and is part of the record.
const PLAN: &str = "backend_plan.json";

fn varies(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|plan| plan.get("varies_between_runs").is_some())
}

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let Some(config) = work.inputs.json("optimal_config.json")? else {
        return Err(fail::permanent(
            "EX-0510",
            "optimal_config.json is missing; run cvar-calculation before result-integration".to_owned(),
        ));
    };
    let named = config.get("design").cloned().unwrap_or_default();
    let design = subject
        .space
        .design_from_json(&named)
        .map_err(|error| fail::permanent("EX-0511", format!("optimal_config.json: {error}")))?;
    let parts: Vec<Value> = subject
        .space
        .decisions
        .iter()
        .zip(&design)
        .filter_map(|(decision, &position)| {
            let option = decision.options.get(usize::from(position))?;
            let attributes: serde_json::Map<String, Value> =
                option.attributes.iter().map(|(name, value)| (name.clone(), shown(value))).collect();
            Some(json!({"decision": decision.name, "option": option.id, "attributes": attributes}))
        })
        .collect();
    let mut files = Vec::new();
    for file in work.inputs.all() {
        if MEASUREMENTS.contains(&file.name.as_str()) {
            continue;
        }
        work.check()?;
        let bytes = inputs::read_file(file)?;
        if file.name == PLAN && varies(&bytes) {
            continue;
        }
        files.push(json!({"name": file.name, "digest": file.digest, "bytes": file.bytes}));
    }
    let analysis = work.inputs.json("risk_analysis.json")?;
    let from = |name: &str| analysis.as_ref().and_then(|a| a.get(name)).cloned().unwrap_or(Value::Null);
    let record = json!({
        "design": named,
        "parts": parts,
        "figures": {
            "expected": config.get("expected"),
            "cvar": config.get("cvar"),
            "objective": config.get("objective"),
            "cvar_level": config.get("cvar_level"),
            "risk_weight": config.get("risk_weight"),
            "unit": from("unit"),
            "source": config.get("source"),
            "complete": config.get("complete"),
            "tie": config.get("tie"),
        },
        "why": from("words"),
        "qaoa": from("qaoa"),
        "provenance": {
            "files": files,
            "params": Value::Object(work.params.all().clone()),
            "seed": work.request.seed,
            "space_digest": format!("b3:{}", subject.space.digest().to_hex()),
            "worker": env!("CARGO_PKG_VERSION"),
            "highs": solvers::milp::highs_version(),
        },
    });
    let digest = work.write_json("design_record.json", &record)?;
    Ok(json::facts(json!({"design_record_digest": digest})))
}

fn shown(value: &Attribute) -> Value {
    match value {
        Attribute::Number(number) => json!(number.to_f64()),
        Attribute::Text(text) => json!(text),
        Attribute::Flag(flag) => json!(flag),
    }
}
