//! `milp-solving`: HiGHS as a second view: feasible or not, optimum and bounds.
//!
//! Output: `milp_report.json`. Parameters: `solve_seconds_max` (default 30, per solver run),
//! `attributes` (whose least and greatest sum is asked for; default those that sum constraints limit).
//! An infeasible space is EX-0512 with a minimal conflicting set. Facts: `milp_feasible`, `highs_version`.

use super::json::{self, Facts};
use super::work::Work;
use super::{fail, subject};
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::milp::{self, MilpError, Optimum, Status};
use solvers::space::{Attribute, Decimal, DesignSpace, Rule};
use std::collections::BTreeSet;

const SECONDS_DEFAULT: f64 = 30.0;

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let space = &subject.space;
    let seconds = work.params.number("solve_seconds_max")?.unwrap_or(SECONDS_DEFAULT);
    work.progress(0.0, || "HiGHS: is there a design".to_owned());
    let feasibility = match milp::optimum(space, None, Some(seconds)) {
        Ok(optimum) if optimum.status == Status::Infeasible => return Err(fail::infeasible(space)),
        Ok(optimum) => shown(space, &optimum),
        Err(error) => refused(&error),
    };
    let highs_feasible = feasibility["status"] == "optimal" || feasibility["status"] == "feasible";

    let mut objective = Value::Null;
    if let Some(stated) = &space.objective {
        work.check()?;
        work.progress(0.2, || "HiGHS: optimum of the objective".to_owned());
        objective = match milp::optimum(space, Some(stated), Some(seconds)) {
            Ok(optimum) => shown(space, &optimum),
            Err(error) => refused(&error),
        };
        objective["attribute"] = stated.attribute.clone().into();
        objective["maximise"] = stated.maximise.into();
    }

    let asked = work.params.texts("attributes")?;
    let attributes: Vec<String> = if asked.is_empty() { summed(space).into_iter().collect() } else { asked };
    let mut sums = Vec::new();
    for (at, attribute) in attributes.iter().enumerate() {
        work.check()?;
        let done = 0.3 + 0.7 * at as f64 / attributes.len() as f64;
        work.progress(done, || format!("HiGHS: range of the sum of {attribute}"));
        // Where some option states no figure the sum counts it as 0, and the report says so.
        let missing = (!stated_everywhere(space, attribute)).then_some(Decimal { mantissa: 0, scale: 0 });
        let mut entry = match milp::attribute_range(space, attribute, missing, Some(seconds)) {
            Ok((least, greatest)) => json!({
                "least": shown(space, &least),
                "greatest": shown(space, &greatest),
            }),
            Err(error) => refused(&error),
        };
        entry["attribute"] = attribute.clone().into();
        entry["missing_counts_as_zero"] = missing.is_some().into();
        sums.push(entry);
    }
    let report = json!({
        "highs_version": milp::highs_version(),
        "feasibility": feasibility,
        "objective": objective,
        "sums": sums,
        "solve_seconds_max": seconds,
        "tasks": work.request.tasks,
    });
    work.write_json("milp_report.json", &report)?;
    Ok(json::facts(json!({
        "milp_feasible": if highs_feasible { json!(true) } else { json!("not-evaluated") },
        "highs_version": milp::highs_version(),
    })))
}

fn shown(space: &DesignSpace, optimum: &Optimum) -> Value {
    json!({
        "status": json::of(&optimum.status),
        "objective": optimum.objective.map(|decimal| decimal.to_f64()),
        "bound": optimum.bound,
        "gap": optimum.gap,
        "design": optimum.design.as_ref().map(|design| space.design_json(design)),
    })
}

fn refused(error: &MilpError) -> Value {
    json!({"status": "refused", "reason": error.to_string()})
}

/// Attributes whose sum some constraint limits.
fn summed(space: &DesignSpace) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for constraint in &space.constraints {
        match &constraint.rule {
            Rule::Sum { attribute, .. } => {
                all.insert(attribute.clone());
            }
            Rule::Linear { terms, .. } => all.extend(terms.iter().map(|term| term.attribute.clone())),
            Rule::Ratio { of, over, .. } => all.extend([of.clone(), over.clone()]),
            _ => {}
        }
    }
    all
}

fn stated_everywhere(space: &DesignSpace, attribute: &str) -> bool {
    let states = |option: &solvers::space::DesignOption| {
        matches!(option.attributes.get(attribute), Some(Attribute::Number(_)))
    };
    space.decisions.iter().all(|decision| decision.options.iter().all(states))
}
