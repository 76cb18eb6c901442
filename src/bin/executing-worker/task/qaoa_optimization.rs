//! `qaoa-optimization`: QAOA over the feasible set, on the worker's own simulator.
//!
//! Outputs: `qaoa_result.json`, `convergence.svg`. Parameters: `layers` (3), `iterations` (60), `shots`
//! (1024), `elite_fraction` (1), `mixer` (grover, one-hot), `optimiser` (lbfgs, nelder-mead, spsa),
//! `warm_start` (none, ramp, sherrington-kirkpatrick, cubic-max-cut), `noise` ({depolarising, readout}, 0
//! each), and those of the costs. A checkpoint holds the search and its history, at most one per
//! `checkpoint_ms`; going on from it gives the same bytes. Facts: `qaoa_objective`,
//! `qaoa_optimum_probability`. The result says what it is: a simulation, of which encoding, with which
//! errors, how far from the exact answer, and whether guessing would have done as well.
//!
//! What is asked is read in [`question`]. Where the stage asks for a machine the daemon names a part of the work by
//! the parameter `quantum_step`; those parts are in [`machine`] and [`exact`]. With it come the backends that gave
//! nothing, which the result names as `fallback`.

mod exact;
mod machine;
mod question;

use super::json::{self, Facts};
use super::work::Work;
use super::{fail, feasible, params};
use engine::definition::parameters::SHOTS;
use engine::run::StageError;
use quantum::qaoa::comparison::{random_best_expected, random_hit_probability};
use quantum::qaoa::{Mixing, Optimiser, QaoaError, Settings};
use quantum::simulator::one_hot::Groups;
use quantum::threads::Threads;
use question::{Mixer, Question, question};
use serde::{Deserialize, Serialize};
use serde_json::json;
use solvers::space::{Design, DesignSpace};
use std::sync::Arc;

/// The search as its own checkpoint writes it, and what it reported after every iteration.
#[derive(Serialize, Deserialize)]
struct Saved {
    history: Vec<f64>,
    search: String,
}

/// A backend that was asked before and gave nothing, as the daemon says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fell {
    backend: String,
    reason: String,
}

/// By this the daemon names a part; no stage may be given it, so it is not in the table of parameters.
const STEP: &str = "quantum_step";

/// Which part of the stage this worker does.
#[derive(Debug, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
enum Step {
    /// Make the circuit and find its angles.
    Prepare { asked: String },
    /// Turn the counts of a machine into the result.
    Conclude { order: machine::Bought },
    /// All of it here, as the machines gave nothing.
    Simulate { fallback: Vec<Fell> },
    /// The answer of the scan, as nobody else may be asked.
    Exact { fallback: Vec<Fell> },
}

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let Some(step) = work.params.get(STEP) else { return simulate(work, &[]) };
    let given = step.to_string();
    match serde_json::from_value(step.clone()) {
        Ok(Step::Prepare { asked }) => machine::prepare(work, &asked),
        Ok(Step::Conclude { order }) => machine::conclude(work, &order),
        Ok(Step::Simulate { fallback }) => simulate(work, &fallback),
        Ok(Step::Exact { fallback }) => exact::answer(work, &fallback),
        Err(_) => Err(params::wrong(STEP, &given, "a part that the daemon names")),
    }
}

/// Finds angles, telling progress and leaving checkpoints; also the objective before each step. New numbers of
/// steps and shots are taken until it is finished; the search is then one that began with them.
fn search(
    work: &mut Work,
    costs: &[f64],
    mixing: &Mixing,
    settings: &mut Settings,
) -> Result<(Optimiser, Vec<f64>), StageError> {
    let (mut search, mut history) = begin(work, costs, mixing, settings)?;
    loop {
        let finished = search.progress().finished;
        if retuned(work, finished) {
            *settings = question::settings(work)?;
            match search.under(settings) {
                Some(same) => search = same,
                None => (search, history) = begin(work, costs, mixing, settings)?,
            }
            continue;
        }
        if finished {
            return Ok((search, history));
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
        work.check()?;
    }
}

/// Takes new numbers of steps and shots; for the last time if the search is finished.
fn retuned(work: &mut Work, finished: bool) -> bool {
    let mut any = false;
    for name in ["iterations", SHOTS] {
        any |= if finished { work.take_last(name) } else { work.take(name) };
    }
    any
}

/// The whole stage on the worker's own simulator.
fn simulate(work: &mut Work, fallback: &[Fell]) -> Result<Facts, StageError> {
    let question = question(work)?;
    let Question { subject, money, risk, mixer, found, costs, unit, .. } = &question;
    let mut settings = question.settings.clone();
    let mixing = mixing(*mixer, &subject.space, &found.designs)?;
    let parts = match &mixing {
        Mixing::OneHot(groups) => groups.components(),
        _ => 1,
    };
    let (search, history) = search(work, costs, &mixing, &mut settings)?;
    let outcome = search.outcome();
    let samples = outcome.sample_noisy(settings.shots, settings.seed, settings.noise);
    let best = samples
        .best(costs)
        .and_then(|(index, cost)| Some((index as usize, cost, found.designs.get(index as usize)?)));
    let Some((index, cost, design)) = best else {
        return Err(fail::permanent("EX-0514", "no shot gave a design of the feasible set".to_owned()));
    };
    let exact = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let hit = random_hit_probability(costs, settings.shots, cost);
    let mut result = json!({
        "source": "simulator",
        "backend": "simulator",
        "simulated": true,
        // A simulator has none; a machine's results compare within one calibration only.
        "calibration": null,
        "encoding": encoding(&mixing),
        "mixer": mixing.name(),
        // One-hot mixers move only within such a part; more than one limits what a search can reach.
        "mixer_components": parts,
        "optimiser": settings.method,
        "warm_start": settings.warm_start,
        "noise": settings.noise,
        "shots_outside_feasible_set": samples.outside,
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
        "sampled_mean": samples.mean(costs),
        "designs_measured": samples.counts.len(),
        "best": question.best(index, design),
        "exact_objective": exact,
        "gap_to_exact": gap(exact, cost),
        // What as many uniform guesses would have done: more likely than not as well, or not.
        "random_would_have_done_as_well": hit >= 0.5,
        "random_hit_probability": hit,
        "random_best_expected": random_best_expected(costs, settings.shots),
        "cvar_level": risk.level,
        "risk_weight": risk.weight,
        "unit": unit,
        "figures": money.sources(),
        "tasks": work.request.tasks,
    });
    if !fallback.is_empty() {
        result["fallback"] = json!(fallback);
    }
    work.write_json("qaoa_result.json", &result)?;
    let plot = solvers::plots::convergence(&history, Some(exact), unit)
        .map_err(|error| fail::permanent("EX-0514", error.to_string()))?;
    work.write("convergence.svg", plot.as_bytes())?;
    let mut facts = feasible::facts(found);
    facts.extend(json::facts(json!({
        "qaoa_objective": cost,
        "qaoa_optimum_probability": outcome.optimum_probability,
        "qaoa_source": "simulator",
    })));
    Ok(facts)
}

/// From the checkpoint if it fits these costs and settings, else from the start.
fn begin(
    work: &Work,
    costs: &[f64],
    mixing: &Mixing,
    settings: &Settings,
) -> Result<(Optimiser, Vec<f64>), StageError> {
    let threads = Threads::new(work.threads().clamp(1, quantum::threads::THREADS_MAX))
        .unwrap_or_else(|_| Threads::one());
    if let Some(saved) = work.resume_bytes().and_then(|b| serde_json::from_slice::<Saved>(&b).ok())
        && let Ok(search) = Optimiser::resume_over(
            costs,
            mixing.clone(),
            threads.clone(),
            settings.clone(),
            saved.search.as_bytes(),
        )
    {
        return Ok((search, saved.history));
    }
    let search = Optimiser::over(costs, mixing.clone(), threads, settings.clone());
    let search = search.map_err(|error| qaoa(&error))?;
    let history = vec![search.progress().objective];
    Ok((search, history))
}

fn mixing(mixer: Mixer, space: &DesignSpace, designs: &[Design]) -> Result<Mixing, StageError> {
    if mixer == Mixer::Grover {
        return Ok(Mixing::Grover);
    }
    let sizes: Vec<u32> = space.decisions.iter().map(|d| d.options.len() as u32).collect();
    let choices: Vec<Vec<u32>> =
        designs.iter().map(|design| design.iter().map(|choice| u32::from(*choice)).collect()).collect();
    match Groups::listed(&sizes, &choices) {
        Ok(groups) => Ok(Mixing::OneHot(Arc::new(groups))),
        Err(error) => Err(fail::permanent("EX-0514", format!("{}: mixer one-hot: {error}", error.code()))),
    }
}

fn encoding(mixing: &Mixing) -> &'static str {
    match mixing {
        Mixing::Grover => "one amplitude per feasible design, Grover mixer; needs no qubits on the simulator",
        Mixing::OneHot(_) => {
            "one amplitude per feasible design, complete-graph mixer per decision within the feasible set"
        }
        Mixing::X { .. } => "one qubit per bit, X mixer",
    }
}

/// Excess over the exact optimum, as a share of it; in cost where that is 0.
fn gap(exact: f64, objective: f64) -> f64 {
    let excess = objective - exact;
    if exact == 0.0 { excess } else { excess / exact.abs() }
}

fn qaoa(error: &QaoaError) -> StageError {
    let code = match error {
        QaoaError::SettingOutOfRange { .. } => "EX-0511",
        _ => "EX-0514",
    };
    fail::permanent(code, format!("{}: {error}", error.code()))
}
