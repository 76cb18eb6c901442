//! `initialization`: inputs against their digests, everything read once, parameters resolved.
//!
//! Output: `environment.json` (differs between machines). Facts: `inputs`, `cvar_level`, `risk_weight`
//! and their sources. Any problem of any input ends the run here, all of them told at once.

use super::json::{self, Facts};
use super::subject;
use super::work::Work;
use super::{fail, inputs, money};
use engine::run::StageError;
use serde_json::{Value, json};

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let mut files = Vec::new();
    for file in work.inputs.all() {
        work.check()?;
        let bytes = inputs::read_file(file)?;
        files.push(json!({"name": file.name, "digest": file.digest, "bytes": bytes.len()}));
    }
    let mut problems = Vec::new();
    let subject = subject::collect(work, &mut problems)?;
    let configuration = subject::configuration(work, &mut problems)?;
    // Without costs a plain space may still be enumerated or validated; only what is there is read.
    let has_money = work.inputs.has("costs") || work.inputs.has("scenarios");
    let money = match (&subject, has_money) {
        (Some(subject), true) => money::collect(work, Some(subject), &mut problems)?,
        (None, true) => money::collect(work, None, &mut problems)?,
        _ => None,
    };
    if let Some(money) = &money
        && let Err(found) = money.model.bind(&money.space, &money.scenarios)
    {
        problems.extend(found);
    }
    let design = match (&subject, work.inputs.json("design")?) {
        (Some(subject), Some(object)) => {
            let named = object.get("design").unwrap_or(&object).clone();
            if let Err(error) = subject.space.design_from_json(&named) {
                problems.push(fail::whole("design", error.to_string()));
            }
            named
        }
        _ => Value::Null,
    };
    if !problems.is_empty() {
        return Err(fail::invalid(&problems));
    }
    let risk = money::risk(work)?;
    let space = subject.as_ref().map(|subject| {
        json!({
            "name": subject.space.name,
            "digest": format!("b3:{}", subject.space.digest().to_hex()),
            "decisions": subject.space.decisions.len(),
            "options": subject.space.decisions.iter().map(|d| d.options.len()).sum::<usize>(),
            "constraints": subject.space.constraints.len(),
            "combinations": subject.space.combinations().map(json::count),
        })
    });
    let environment = json!({
        "varies_between_runs": ["run", "cpus"],
        "worker": env!("CARGO_PKG_VERSION"),
        "highs": solvers::milp::highs_version(),
        "cpus": std::thread::available_parallelism().map(usize::from).unwrap_or(1),
        "threads": work.request.threads,
        "memory_bytes_max": work.request.memory_bytes_max,
        "seed": work.request.seed,
        "run": work.request.run,
        "inputs": files,
        "params": Value::Object(work.params.all().clone()),
        "space": space,
        "figures": money.as_ref().map(money::Money::sources),
        "design": design,
        "architecture": configuration.map(|c| c.architecture),
        "cvar_level": risk.level,
        "cvar_level_source": risk.level_source,
        "risk_weight": risk.weight,
        "risk_weight_source": risk.weight_source,
        "tasks": work.request.tasks,
    });
    work.write_json("environment.json", &environment)?;
    Ok(json::facts(json!({
        "inputs": work.inputs.all().len(),
        "cvar_level": risk.level,
        "cvar_level_source": risk.level_source,
        "risk_weight": risk.weight,
        "risk_weight_source": risk.weight_source,
    })))
}
