//! `check FILE SET`: re-checks a list of designs.

use crate::answer::{Answer, Failure};
use crate::input;
use serde_json::{Value, json};
use solvers::enumeration::{DesignSet, feasible_set_digest};
use solvers::problem::Problem;
use solvers::recheck::recheck;
use solvers::space::{Design, DesignSpace};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The design space (YAML, JSON).
    file: PathBuf,
    /// The designs: `feasible_set.json`, an answer of `enumerate`, a bare list, or the compact form.
    set: PathBuf,
}

fn problem(path: &Path, code: &str, message: String, help: &str) -> Problem {
    Problem {
        code: code.to_string(),
        file: path.display().to_string(),
        line: 0,
        column: 0,
        message,
        help: help.to_string(),
    }
}

pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let space = input::space(&arguments.file)?;
    let bytes = input::bytes(&arguments.set)?;
    let (designs, claimed) = read(&space, &arguments.set, &bytes)?;
    let report = recheck(&space, &designs);
    // A list of the best stands in the order of its objectives, not in canonical order.
    let mut sorted = designs.clone();
    sorted.sort();
    let mut set = DesignSet::new(solvers::enumeration::Packing::new(&space));
    let whole = sorted.iter().all(|d| d.len() == space.decisions.len());
    if whole {
        sorted.iter().for_each(|d| set.push(d));
    }
    let digest = feasible_set_digest(&space, &set).to_hex().to_string();
    let digest_agrees = claimed.digest.as_ref().map(|d| *d == digest);
    let count_agrees = claimed.count.map(|c| c == report.checked);
    let ok = report.infeasible == 0
        && report.duplicates == 0
        && (report.out_of_order == 0 || claimed.ranked)
        && digest_agrees != Some(false)
        && count_agrees != Some(false);
    let violations: Vec<Value> = report
        .violations
        .iter()
        .map(|v| json!({"index": v.index, "constraint": v.constraint, "what": v.what}))
        .collect();
    for v in report.violations.iter().take(20) {
        eprintln!("executing-worker: design {}: {}: {}", v.index, v.constraint, v.what);
    }
    let object = json!({
        "ok": ok,
        "checked": report.checked,
        "infeasible": report.infeasible,
        "violations": violations,
        "duplicates": report.duplicates,
        "out_of_order": report.out_of_order,
        "digest": digest,
        "digest_agrees": digest_agrees,
        "count_agrees": count_agrees,
    });
    Ok(Answer { object, good: ok })
}

/// What the file says about itself.
#[derive(Debug, Default)]
struct Claimed {
    count: Option<u64>,
    digest: Option<String>,
    ranked: bool,
}

fn read(space: &DesignSpace, path: &Path, bytes: &[u8]) -> Result<(Vec<Design>, Claimed), Failure> {
    if DesignSet::is_file(bytes) {
        let set = DesignSet::from_file(space, bytes)
            .map_err(|error| Failure::Invalid(vec![problem(path, "EX-0340", error.to_string(), "")]))?;
        return Ok((set.iter().collect(), Claimed::default()));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        let mut found = problem(path, "EX-0340", format!("not readable as JSON: {error}"), "");
        found.line = u32::try_from(error.line()).unwrap_or(0);
        found.column = u32::try_from(error.column()).unwrap_or(0);
        Failure::Invalid(vec![found])
    })?;
    let listed = value.get("designs").and_then(Value::as_array).or(value.as_array());
    let best = value.get("best").and_then(Value::as_array);
    let (items, ranked): (Vec<&Value>, bool) = match (listed, best) {
        (Some(items), _) => (items.iter().collect(), false),
        (None, Some(best)) => (best.iter().map(|one| one.get("design").unwrap_or(one)).collect(), true),
        (None, None) => {
            let message = "expected a list of designs, or an object with `designs` or `best`".to_string();
            return Err(Failure::Invalid(vec![problem(path, "EX-0340", message, "")]));
        }
    };
    let mut problems = Vec::new();
    let mut designs = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match space.design_from_json(item) {
            Ok(design) => designs.push(design),
            Err(error) => problems.push(problem(path, "EX-0341", format!("design {index}: {error}"), "")),
        }
    }
    if !problems.is_empty() {
        problems.truncate(solvers::space::PROBLEMS_MAX);
        return Err(Failure::Invalid(problems));
    }
    let claimed = Claimed {
        // A truncated list says how many there are, not how many it holds.
        count: value.get("count").and_then(Value::as_u64).filter(|_| value["complete"] == json!(true)),
        digest: value.get("digest").and_then(Value::as_str).map(str::to_string),
        ranked,
    };
    Ok((designs, claimed))
}
