//! The exact classical answer in place of shots: the scan over the feasible set.
//!
//! Rule: it is labelled as what it is, with every backend that was asked before it and why that gave nothing; no
//! figure of a quantum state is made up for it.

use super::Fell;
use super::question::{Question, question};
use crate::task::json::{self, Facts};
use crate::task::work::Work;
use crate::task::{fail, feasible};
use engine::run::StageError;
use serde_json::json;

/// Writes the argmin as the stage's result; ties go to the lowest canonical index.
pub(super) fn answer(work: &mut Work, fallback: &[Fell]) -> Result<Facts, StageError> {
    let question = question(work)?;
    let Question { money, risk, settings, found, costs, unit, .. } = &question;
    let least = (0..costs.len()).reduce(|best, next| if costs[next] < costs[best] { next } else { best });
    let Some((index, design)) = least.and_then(|index| Some((index, found.designs.get(index)?))) else {
        return Err(fail::permanent("EX-0512", "the feasible set is empty".to_owned()));
    };
    let cost = costs[index];
    let result = json!({
        "source": "classical-exact",
        "backend": null,
        "simulated": false,
        "calibration": null,
        "fallback": fallback,
        "encoding": "none: a scan over the feasible set",
        "mixer": null,
        "mixer_components": null,
        "optimiser": null,
        "warm_start": null,
        "noise": null,
        "shots_outside_feasible_set": 0,
        "designs": found.designs.len(),
        "complete": found.complete,
        "layers": 0,
        "shots": 0,
        "seed": settings.seed,
        "elite_fraction": settings.elite_fraction,
        "iterations": 0,
        "cost_angles": [],
        "cost_angles_per_unit_of_cost": [],
        "mixer_angles": [],
        "expectation": null,
        "trained_objective": null,
        "optimum_probability": null,
        "approximation_ratio": null,
        "sampled_mean": null,
        "designs_measured": 0,
        "best": question.best(index, design),
        "exact_objective": cost,
        "gap_to_exact": 0.0,
        "random_would_have_done_as_well": null,
        "random_hit_probability": null,
        "random_best_expected": null,
        "cvar_level": risk.level,
        "risk_weight": risk.weight,
        "unit": unit,
        "figures": money.sources(),
        "tasks": work.request.tasks,
    });
    work.write_json("qaoa_result.json", &result)?;
    let plot = solvers::plots::convergence(&[cost, cost], Some(cost), unit)
        .map_err(|error| fail::permanent("EX-0514", error.to_string()))?;
    work.write("convergence.svg", plot.as_bytes())?;
    let mut facts = feasible::facts(found);
    facts.extend(json::facts(json!({ "qaoa_objective": cost, "qaoa_source": "classical-exact" })));
    Ok(facts)
}
