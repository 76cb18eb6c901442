//! `qaoa-optimization`: QAOA with the Grover mixer over the feasible set, on the worker's own simulator.
//!
//! Outputs: `qaoa_result.json`, `convergence.svg`. Parameters: `layers` (3), `iterations` (60), `shots`
//! (1024), `elite_fraction` (1), and those of the costs. A checkpoint holds the search and its history,
//! at most one per `checkpoint_ms`; going on from it gives the same bytes. Facts: `qaoa_objective`,
//! `qaoa_optimum_probability`.

use super::json::{self, Facts};
use super::work::Work;
use super::{fail, feasible, money, subject};
use engine::run::StageError;
use quantum::qaoa::comparison::{random_best_expected, random_hit_probability};
use quantum::qaoa::{Optimiser, QaoaError, Settings};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The search as its own checkpoint writes it, and what it reported after every iteration.
#[derive(Serialize, Deserialize)]
struct Saved {
    history: Vec<f64>,
    search: String,
}

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let money = money::read(work, &subject)?;
    let risk = money::risk(work)?;
    let settings = Settings {
        layers: work.params.whole("layers", 3, 1, 64)? as u32,
        iterations: work.params.whole("iterations", 60, 1, 10_000_000)? as u32,
        seed: work.request.seed,
        elite_fraction: work.params.number("elite_fraction")?.unwrap_or(1.0),
        shots: work.params.whole("shots", 1_024, 1, 10_000_000)? as u32,
    };
    settings.check().map_err(|error| qaoa(&error))?;
    let found = feasible::load(work, &subject)?;
    let evaluator = money.evaluator(&found.designs)?;
    let figures = money::figures(work, &evaluator, &[risk.level], 0.0, 0.4)?;
    let costs = money::objectives(&figures, risk.weight);

    let (mut search, mut history) = begin(work, &costs, &settings)?;
    loop {
        work.check()?;
        let now = search.progress();
        if now.finished {
            break;
        }
        let now = search.step();
        history.push(now.objective);
        work.progress(0.4 + 0.6 * f64::from(now.iteration) / f64::from(now.iterations), || {
            format!("iteration {} of {}, expectation {:.6e}", now.iteration, now.iterations, now.expectation)
        });
        if work.wants_checkpoint() {
            let search = String::from_utf8(search.checkpoint()).unwrap_or_default();
            let saved = Saved { history: history.clone(), search };
            work.checkpoint(&serde_json::to_vec(&saved).unwrap_or_default())?;
        }
    }
    let outcome = search.outcome();
    let samples = outcome.sample(settings.shots, settings.seed);
    let best = samples
        .best(&costs)
        .and_then(|(index, cost)| Some((index as usize, cost, found.designs.get(index as usize)?)));
    let Some((index, cost, design)) = best else {
        return Err(fail::permanent("EX-0514", "no shot gave a design of the feasible set".to_owned()));
    };
    let unit = evaluator.model().unit.clone().unwrap_or_default();
    let exact = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let result = json!({
        "source": "simulator",
        "backend": "simulator",
        "simulated": true,
        "encoding": "one amplitude per feasible design, Grover mixer; needs no qubits on the simulator",
        "designs": found.designs.len(),
        "complete": found.complete,
        "layers": settings.layers,
        "shots": settings.shots,
        "seed": settings.seed,
        "elite_fraction": settings.elite_fraction,
        "iterations": outcome.iterations,
        "cost_angles": outcome.cost_angles,
        "cost_angles_per_unit_of_cost": outcome.cost_angles_per_unit(),
        "mixer_angles": outcome.mixer_angles,
        "expectation": outcome.expectation,
        "trained_objective": outcome.objective,
        "optimum_probability": outcome.optimum_probability,
        "approximation_ratio": outcome.approximation_ratio,
        "sampled_mean": samples.mean(&costs),
        "designs_measured": samples.counts.len(),
        "best": {
            "design": subject.space.design_json(design),
            "index": index,
            "objective": cost,
            "expected": figures.expected[index],
            "cvar": figures.cvar[index],
        },
        // What as many uniform guesses would have done.
        "random_hit_probability": random_hit_probability(&costs, settings.shots, cost),
        "random_best_expected": random_best_expected(&costs, settings.shots),
        "cvar_level": risk.level,
        "risk_weight": risk.weight,
        "unit": unit,
        "figures": money.sources(),
        "tasks": work.request.tasks,
    });
    work.write_json("qaoa_result.json", &result)?;
    let plot = solvers::plots::convergence(&history, Some(exact), &unit)
        .map_err(|error| fail::permanent("EX-0514", error.to_string()))?;
    work.write("convergence.svg", plot.as_bytes())?;
    let mut facts = feasible::facts(&found);
    facts.extend(json::facts(json!({
        "qaoa_objective": cost,
        "qaoa_optimum_probability": outcome.optimum_probability,
        "qaoa_source": "simulator",
    })));
    Ok(facts)
}

/// From the checkpoint if it fits these costs and settings, else from the start.
fn begin(work: &Work, costs: &[f64], settings: &Settings) -> Result<(Optimiser, Vec<f64>), StageError> {
    if let Some(saved) = work.resume_bytes().and_then(|b| serde_json::from_slice::<Saved>(&b).ok())
        && let Ok(search) = Optimiser::resume(costs, settings.clone(), saved.search.as_bytes())
    {
        return Ok((search, saved.history));
    }
    let search = Optimiser::new(costs, settings.clone()).map_err(|error| qaoa(&error))?;
    let history = vec![search.progress().objective];
    Ok((search, history))
}

fn qaoa(error: &QaoaError) -> StageError {
    let code = match error {
        QaoaError::SettingOutOfRange { .. } => "EX-0511",
        _ => "EX-0514",
    };
    fail::permanent(code, format!("{}: {error}", error.code()))
}
