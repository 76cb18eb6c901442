//! `milp-solving`: HiGHS as a second view: feasible or not, optimum and bounds.
//!
//! Output: `milp_report.json`. Parameters: `solve_seconds_max` (default 30, per solver run),
//! `attributes` (whose least and greatest sum is asked for; default those that sum constraints limit).
//! Better designs and bounds are told as progress; a cancel ends HiGHS at its next callback. A tuned
//! `solve_seconds_max` holds for the run at work too, counted from its beginning; the report names the last one.
//! An infeasible space is EX-0512 with a minimal conflicting set. Facts: `milp_feasible`, `highs_version`.

use super::json::{self, Facts};
use super::work::Work;
use super::{fail, subject};
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::enumeration::Flow;
use solvers::milp::{self, MilpError, Optimum, SolveObserver, Solving, Status};
use solvers::space::{Attribute, Decimal, DesignSpace, Rule};
use std::collections::BTreeSet;

const SECONDS_DEFAULT: f64 = 30.0;
const LIMIT: &str = "solve_seconds_max";

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let space = &subject.space;
    let seconds = limit(work)?;
    work.progress(0.0, || "HiGHS: is there a design".to_owned());
    let feasibility = match milp::optimum_with(space, None, Some(seconds), None, &mut Watch::new(work, 0.0)) {
        Ok(optimum) if optimum.status == Status::Infeasible => return Err(fail::infeasible(space)),
        Ok(optimum) => shown(space, &optimum),
        Err(error) => refused(&error),
    };
    work.check()?;
    let highs_feasible = feasibility["status"] == "optimal" || feasibility["status"] == "feasible";

    let mut objective = Value::Null;
    if let Some(stated) = &space.objective {
        work.check()?;
        work.progress(0.2, || "HiGHS: optimum of the objective".to_owned());
        let mut watch = Watch::new(work, 0.2);
        objective = match milp::optimum_with(space, Some(stated), Some(seconds), None, &mut watch) {
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
        let mut watch = Watch::new(work, done);
        let mut entry = match milp::attribute_range_with(space, attribute, missing, Some(seconds), &mut watch)
        {
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
    work.check()?;
    work.take_last(LIMIT);
    let seconds = limit(work)?;
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

fn limit(work: &Work) -> Result<f64, StageError> {
    Ok(work.params.number("solve_seconds_max")?.unwrap_or(SECONDS_DEFAULT))
}

/// Tells the daemon how far HiGHS is and passes on its cancel.
struct Watch<'w> {
    work: &'w mut Work,
    /// Share of the stage that lies before this run.
    done: f64,
    incumbents: u64,
}

impl<'w> Watch<'w> {
    fn new(work: &'w mut Work, done: f64) -> Self {
        Self { work, done, incumbents: 0 }
    }
}

impl SolveObserver for Watch<'_> {
    fn seconds_max(&mut self) -> Option<f64> {
        self.work.take(LIMIT);
        limit(self.work).ok()
    }

    fn solving(&mut self, solving: &Solving) -> Flow {
        self.incumbents += u64::from(solving.incumbent.is_some());
        let (incumbents, nodes) = (self.incumbents, solving.nodes);
        if solving.bound.is_some() {
            let bound = solving.bound.map_or(String::new(), |b| format!(", bound {b}"));
            self.work
                .progress(self.done, || format!("HiGHS: {incumbents} better designs, {nodes} nodes{bound}"));
        }
        if self.work.is_cancelled() { Flow::Stop } else { Flow::Continue }
    }
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
