//! `constraint-validation`: the space and its constraints read, contradictions found, removals counted.
//!
//! Output: `constraint_report.json`. Parameter `removal_designs_max` (default 20,000,000): counts beyond
//! it are given up and absent. A constraint that alone allows nothing, or a decision whose every option
//! some constraint removes, is EX-0512 with file and line. Facts: `constraints`, `combinations`.

use super::feasible::Watch;
use super::json::{self, Facts};
use super::work::Work;
use super::{fail, money, subject};
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::milp::{self, describe::describe, removal};
use solvers::space::{Constraint, DesignSpace, Rule};
use std::collections::BTreeMap;

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let mut problems = Vec::new();
    let subject = subject::collect(work, &mut problems)?;
    if work.inputs.has("costs") || work.inputs.has("scenarios") {
        let money = money::collect(work, subject.as_ref(), &mut problems)?;
        if let Some(money) = &money
            && let Err(found) = money.model.bind(&money.space, &money.scenarios)
        {
            problems.extend(found);
        }
    }
    if !problems.is_empty() {
        return Err(fail::invalid(&problems));
    }
    let Some(subject) = subject else { return Err(subject::missing(work)) };
    let space = &subject.space;
    let file = if subject.programme.is_some() { "constraints" } else { "space" };

    let removed = removed_options(space);
    contradictions(space, file, &removed)?;

    // The same model that milp-solving hands to HiGHS. What it cannot express the exact search still can.
    let solver_input = match milp::model(space, None) {
        Ok(model) => json!({"columns": model.program.columns.len(), "rows": model.program.rows.len()}),
        Err(error) => json!({"refused": error.to_string()}),
    };

    let found_max = work.params.whole("removal_designs_max", 20_000_000, 1, u64::MAX)?;
    let threads = work.threads();
    let mut watch =
        Watch { found_max: Some(found_max.into()), ..Watch::new(work, "what constraints remove") };
    let removals = removal::removal(space, threads, &mut watch).map_err(fail::search)?;
    watch.verdict()?;

    let constraints: Vec<Value> = space
        .constraints
        .iter()
        .zip(&removals)
        .map(|(constraint, removal)| {
            json!({
                "name": constraint.name,
                "line": constraint.line,
                "words": describe(space, constraint),
                "combinations_removed_alone": removal.alone.map(json::count),
                "designs_removed_given_the_others": removal.given_others.map(json::count),
            })
        })
        .collect();
    let idle: Vec<&str> =
        removals.iter().filter(|r| r.given_others == Some(0)).map(|r| r.constraint.as_str()).collect();
    let decisions: Vec<Value> = space
        .decisions
        .iter()
        .map(|d| json!({"name": d.name, "options": d.options.iter().map(|o| &o.id).collect::<Vec<_>>()}))
        .collect();
    let report = json!({
        "space": space.name,
        "space_digest": format!("b3:{}", space.digest().to_hex()),
        "decisions": decisions,
        "combinations": space.combinations().map(json::count),
        "constraints": constraints,
        "options_removed": removed,
        "constraints_that_remove_nothing_given_the_others": idle,
        "contradictions": [],
        "solver_input": solver_input,
        "notes": subject.programme.as_ref().map(|p| p.notes.clone()).unwrap_or_default(),
        "objective": space.objective.as_ref().map(|o| json!({
            "attribute": o.attribute, "maximise": o.maximise,
        })),
        "tasks": work.request.tasks,
    });
    work.write_json("constraint_report.json", &report)?;
    Ok(json::facts(json!({
        "constraints": space.constraints.len(),
        "combinations": space.combinations().map(json::count),
    })))
}

/// `decision=option` to the constraints that remove it by themselves.
fn removed_options(space: &DesignSpace) -> BTreeMap<String, Vec<String>> {
    let mut removed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for constraint in &space.constraints {
        for (d, decision) in space.decisions.iter().enumerate() {
            for (o, option) in decision.options.iter().enumerate() {
                if !allows(space, constraint, d, o) {
                    let key = format!("{}={}", decision.name, option.id);
                    removed.entry(key).or_default().push(constraint.name.clone());
                }
            }
        }
    }
    removed
}

/// Whether a rule on single options or a table leaves the option a chance. Other rules are not asked.
fn allows(space: &DesignSpace, constraint: &Constraint, d: usize, o: usize) -> bool {
    match &constraint.rule {
        Rule::Allowed { decisions, tuples } => decisions
            .iter()
            .position(|&decision| decision == d)
            .is_none_or(|at| tuples.iter().any(|tuple| tuple.get(at).is_some_and(|&t| usize::from(t) == o))),
        Rule::Each { decisions, .. } if decisions.contains(&d) => {
            let mut single = space.clone();
            single.decisions[d].options = vec![space.decisions[d].options[o].clone()];
            let mut rule = constraint.rule.clone();
            if let Rule::Each { decisions, .. } = &mut rule {
                *decisions = vec![d];
            }
            single.constraints = vec![Constraint { rule, ..constraint.clone() }];
            solvers::recheck::violations(&single, &vec![0; single.decisions.len()]).is_empty()
        }
        _ => true,
    }
}

fn contradictions(
    space: &DesignSpace,
    file: &str,
    removed: &BTreeMap<String, Vec<String>>,
) -> Result<(), StageError> {
    let mut found = Vec::new();
    for constraint in &space.constraints {
        if removal::satisfying(space, &constraint.rule) == Some(0) {
            found.push(format!(
                "{file}:{}: constraint `{}` alone allows no design: {}",
                constraint.line,
                constraint.name,
                describe(space, constraint)
            ));
        }
    }
    for decision in &space.decisions {
        let by: Vec<&Vec<String>> = decision
            .options
            .iter()
            .filter_map(|option| removed.get(&format!("{}={}", decision.name, option.id)))
            .collect();
        if by.len() == decision.options.len() {
            let mut names: Vec<&String> = by.into_iter().flatten().collect();
            names.sort_unstable();
            names.dedup();
            let names: Vec<String> = names.into_iter().map(|name| place(space, file, name)).collect();
            found.push(format!("no option of decision `{}` is left by {}", decision.name, names.join(", ")));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(fail::permanent("EX-0512", found.join("\n"))) }
}

fn place(space: &DesignSpace, file: &str, name: &str) -> String {
    let line = space.constraints.iter().find(|c| c.name == name).map_or(0, |c| c.line);
    format!("`{name}` ({file}:{line})")
}
