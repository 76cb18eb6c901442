//! `cvar-calculation`: expectation, VaR and CVaR of every design, and the exact argmin.
//!
//! Outputs: `cvar_metrics.json` (summary and the 100 best), `risk_metrics.bin` (all figures),
//! `optimal_config.json` (nothing in it differs from run to run). Facts: `objective`, `expected`,
//! `cvar`, `tie_size`, level and weight with their sources, and those of the set.
//!
//! Parameter `milp_seconds` (above 0, at most a day): HiGHS searches the whole space beside the scan, for so
//! long; `cvar_metrics.json` then holds its design and a bound on what any design can cost. It matters
//! where the feasible set is not complete. The choice stays the scan's.
//!
//! `risk_metrics.bin`: `EXRISK1\n`, count (8 bytes), level, risk weight (8 bytes each), then expectation and
//! CVaR per design in canonical order; all little end first, figures as doubles.

use super::json::{self, Facts};
use super::work::Work;
use super::{fail, feasible, money, params, subject};
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::risk::RiskWeight;
use solvers::selection::{Figures, Question, Selection, choose, milp};

const MAGIC: &[u8; 8] = b"EXRISK1\n";
/// Longest search by HiGHS: a day, as for a stage of the longest workflow.
const MILP_SECONDS_MAX: f64 = 86_400.0;
/// Designs listed with their figures in the metrics.
const BEST_LISTED: usize = 100;

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let money = money::read(work, &subject)?;
    let risk = money::risk(work)?;
    let found = feasible::load(work, &subject)?;
    let evaluator = money.evaluator(&found.designs)?;
    let figures = money::figures(work, &evaluator, &[risk.level], 0.0, 0.95)?;
    // The weight first counts here; what comes later is for the next attempt.
    work.take_last("risk_weight");
    let risk = money::risk(work)?;
    let question = Question {
        cvar_level: risk.level,
        risk_weight: risk.weight,
        runners_up: BEST_LISTED - 1,
        grid_levels: vec![risk.level],
        grid_weights: vec![RiskWeight::NEUTRAL],
    };
    let selection = choose(&evaluator, &figures, &question).map_err(fail::selection)?;

    work.check()?;
    let whole_space = whole_space(work, &money, &risk, &selection)?;
    let mut best = vec![json!({
        "design": selection.design,
        "index": selection.index,
        "objective": selection.objective,
        "expected": selection.expected,
        "value_at_risk": selection.value_at_risk,
        "cvar": selection.cvar,
    })];
    best.extend(selection.runners_up.iter().map(json::of));
    let metrics = json!({
        "designs": found.designs.len(),
        "complete": found.complete,
        "feasible_set_digest": found.digest,
        "feasible_set_source": found.source,
        "cvar_level": risk.level,
        "cvar_level_source": risk.level_source,
        "risk_weight": risk.weight,
        "risk_weight_source": risk.weight_source,
        "unit": selection.unit,
        "expected": spread(&figures.expected),
        "value_at_risk": spread(&figures.value_at_risk),
        "cvar": spread(&figures.cvar),
        "objective": spread(&money::objectives(&figures, risk.weight)),
        "best": best,
        "tie": selection.tie,
        "whole_space": whole_space,
        "figures": money.sources(),
        "tasks": work.request.tasks,
    });
    work.write_json("cvar_metrics.json", &metrics)?;
    work.write("risk_metrics.bin", &binary(&figures, risk.level.get(), risk.weight.get()))?;

    let mut chosen = json!({
        "design": selection.design,
        "expected": selection.expected,
        "cvar": selection.cvar,
        "objective": selection.objective,
        "cvar_level": risk.level,
        "risk_weight": risk.weight,
        "source": "exact",
        "complete": found.complete,
        "seed": work.request.seed,
    });
    if selection.tie.size > 1 {
        chosen["tie"] = json!({"size": selection.tie.size});
    }
    work.write_json("optimal_config.json", &chosen)?;
    let mut facts = feasible::facts(&found);
    facts.extend(json::facts(json!({
        "objective": selection.objective,
        "expected": selection.expected,
        "cvar": selection.cvar,
        "tie_size": selection.tie.size,
        "cvar_level": risk.level,
        "cvar_level_source": risk.level_source,
        "risk_weight": risk.weight,
        "risk_weight_source": risk.weight_source,
    })));
    Ok(facts)
}

/// What HiGHS says about the whole space, if it is asked.
fn whole_space(
    work: &mut Work,
    money: &money::Money,
    risk: &money::Risk,
    chosen: &Selection,
) -> Result<Value, StageError> {
    let Some(seconds) = work.params.number("milp_seconds")? else {
        return Ok(json!({"reason": "no `milp_seconds` was given, so HiGHS was not asked"}));
    };
    if !(seconds > 0.0 && seconds <= MILP_SECONDS_MAX) {
        let expected = format!("a number of seconds above 0, at most {MILP_SECONDS_MAX}");
        return Err(params::wrong("milp_seconds", &seconds.to_string(), &expected));
    }
    work.progress(0.96, || "asking HiGHS about the whole space".to_owned());
    let found =
        milp::least(&money.space, &money.scenarios, &money.model, risk.level, risk.weight, Some(seconds))
            .map_err(|error| fail::permanent("EX-0511", error.to_string()))?;
    work.check()?;
    let mut told = json::of(&found);
    // The gap of the design that the scan chose, whatever HiGHS found itself.
    told["gap_of_chosen"] = found.bound.map(|bound| (chosen.objective - bound).max(0.0)).into();
    told["seconds_max"] = seconds.into();
    Ok(told)
}

/// Least, mean and greatest.
fn spread(values: &[f64]) -> Value {
    let mean = solvers::risk::sum(values.iter().map(|v| v / values.len() as f64));
    json!({
        "least": values.iter().copied().fold(f64::INFINITY, f64::min),
        "mean": mean,
        "greatest": values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

fn binary(figures: &Figures, level: f64, weight: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + figures.len() * 16);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(figures.len() as u64).to_le_bytes());
    out.extend_from_slice(&level.to_le_bytes());
    out.extend_from_slice(&weight.to_le_bytes());
    for (expected, cvar) in figures.expected.iter().zip(&figures.cvar) {
        out.extend_from_slice(&expected.to_le_bytes());
        out.extend_from_slice(&cvar.to_le_bytes());
    }
    out
}
