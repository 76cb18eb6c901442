//! QAOA on a gate machine, in two parts: before the shots are bought and after.
//!
//! The encoding is `index` (see [`quantum::index_encoding`]). Before: the angles are searched on the simulator for
//! exactly the circuit that will run, and the circuit with its angles leaves as a job. After: counts become designs.
//! Rule: nothing here asks anybody; what a machine gave is taken as it came, and shots that are no design are
//! counted, not hidden. Outputs beside the stage's own: `qaoa_circuit.qasm`.

use super::question::{Question, question};
use super::{Fell, gap, qaoa, search};
use crate::task::json::{self, Facts};
use crate::task::work::Work;
use crate::task::{fail, feasible};
use engine::run::StageError;
use quantum::backends::{JobResult, JobSpec, JobWork};
use quantum::circuit::Resources;
use quantum::index_encoding::{EncodingError, IndexEncoding, PENALTY_SHARE};
use quantum::openqasm;
use quantum::qaoa::comparison::{random_best_expected, random_hit_probability};
use quantum::qaoa::{Mixing, Samples};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The artefact between the two parts.
const PREPARED: &str = "quantum_job.json";
/// What the machine gave, as the daemon hands it over.
const RESULT: &str = "quantum_result.json";

/// What the daemon knows of the machine that gave the shots.
#[derive(Debug, Deserialize)]
pub(super) struct Bought {
    backend: String,
    kind: String,
    simulated: bool,
    calibration: Option<String>,
    fallback: Vec<Fell>,
}

/// What was found before the shots, for whoever concludes.
#[derive(Debug, Serialize, Deserialize)]
struct Prepared {
    /// The daemon's name of what it was made from.
    asked: String,
    job: Option<JobSpec>,
    /// Why there is no job.
    why: Option<String>,
    found: Option<Found>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Found {
    /// Of the costs that the circuit was made for.
    costs_digest: String,
    qubits: u32,
    padding_states: usize,
    padding_penalty: f64,
    resources: Resources,
    iterations: u32,
    cost_angles: Vec<f64>,
    cost_angles_per_unit_of_cost: Vec<f64>,
    mixer_angles: Vec<f64>,
    objective: f64,
    expectation: f64,
    optimum_probability: f64,
    history: Vec<f64>,
}

fn digest(costs: &[f64]) -> String {
    let mut hasher = blake3::Hasher::new();
    for cost in costs {
        hasher.update(&cost.to_bits().to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Makes the job for a machine, or says why there is none.
pub(super) fn prepare(work: &mut Work, asked: &str) -> Result<Facts, StageError> {
    let question = question(work)?;
    let (asked, settings) = (asked.to_owned(), &question.settings);
    let encoding = match IndexEncoding::new(&question.costs) {
        Ok(encoding) => encoding,
        Err(error @ EncodingError::TooMany { .. }) => {
            let prepared = Prepared { asked, job: None, why: Some(error.to_string()), found: None };
            work.write_json(PREPARED, &json::of(&prepared))?;
            return Ok(feasible::facts(&question.found));
        }
        Err(EncodingError::Costs(error)) => return Err(qaoa(&error)),
        Err(error) => return Err(fail::permanent("EX-0514", error.to_string())),
    };
    let mixing = Mixing::X { qubits: encoding.qubits() };
    let (search, history) = search(work, encoding.costs(), &mixing, &mut settings.clone())?;
    let outcome = search.outcome();
    let circuit =
        encoding.circuit(&outcome).map_err(|error| fail::permanent("EX-0514", error.to_string()))?;
    let program = openqasm::program(&circuit);
    let job = JobSpec {
        work: JobWork::OpenQasm3 { program, qubits: encoding.qubits(), inputs: Vec::new() },
        shots: settings.shots,
        seed: settings.seed,
    };
    let found = Found {
        costs_digest: digest(&question.costs),
        qubits: encoding.qubits(),
        padding_states: encoding.costs().len() - encoding.designs(),
        padding_penalty: encoding.penalty(),
        resources: circuit.decomposed().resources(),
        iterations: outcome.iterations,
        cost_angles_per_unit_of_cost: outcome.cost_angles_per_unit(),
        cost_angles: outcome.cost_angles.clone(),
        mixer_angles: outcome.mixer_angles.clone(),
        objective: outcome.objective,
        expectation: outcome.expectation,
        // Of the encoded costs, whose least is that of the designs: padding is dearer than every one of them.
        optimum_probability: outcome.optimum_probability,
        history,
    };
    let prepared = Prepared { asked, job: Some(job), why: None, found: Some(found) };
    work.write_json(PREPARED, &json::of(&prepared))?;
    Ok(feasible::facts(&question.found))
}

fn read<T: serde::de::DeserializeOwned>(work: &Work, name: &str) -> Result<T, StageError> {
    let wrong = |why: String| fail::permanent("EX-0493", format!("{name}: {why}"));
    let bytes = work.inputs.bytes(name)?.ok_or_else(|| wrong("it is not there".to_owned()))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

/// Turns counts into designs, and says how good they are.
pub(super) fn conclude(work: &mut Work, bought: &Bought) -> Result<Facts, StageError> {
    let prepared: Prepared = read(work, PREPARED)?;
    let counted: JobResult = read(work, RESULT)?;
    let (Some(job), Some(found)) = (prepared.job, prepared.found) else {
        return Err(fail::permanent("EX-0493", format!("{PREPARED} holds no job")));
    };
    counted.verify(&job).map_err(|error| fail::permanent("EX-0493", format!("{RESULT}: {error}")))?;
    let question = question(work)?;
    let Question { money, risk, settings, costs, unit, .. } = &question;
    if digest(costs) != found.costs_digest || job.shots != settings.shots {
        let words = format!("{PREPARED} was made for other costs or shots than the stage has now");
        return Err(fail::permanent("EX-0493", words));
    }
    let samples = samples(&counted, job.shots, costs.len());
    let best = samples
        .best(costs)
        .and_then(|(index, cost)| Some((index as usize, cost, question.found.designs.get(index as usize)?)));
    let (Some((index, cost, design)), Some(mean)) = (best, samples.mean(costs)) else {
        let words = format!("none of {} shots was a design of the feasible set", job.shots);
        return Err(fail::permanent("EX-0489", words));
    };
    let exact = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let worst = costs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let hits: u32 =
        samples.counts.iter().filter(|(index, _)| costs[*index as usize] == exact).map(|(_, n)| n).sum();
    let optimum_share = f64::from(hits) / f64::from(job.shots);
    let hit = random_hit_probability(costs, job.shots, cost);
    let mut result = json!({
        "source": bought.kind,
        "backend": bought.backend,
        "simulated": bought.simulated,
        "calibration": bought.calibration,
        "fallback": bought.fallback,
        "encoding": "index",
        "mixer": "x",
        "mixer_components": 1,
        "optimiser": settings.method,
        "warm_start": settings.warm_start,
        // Of the search on the simulator; a machine has its own.
        "noise": settings.noise,
        "shots_outside_feasible_set": samples.outside,
        "designs": question.found.designs.len(),
        "complete": question.found.complete,
        "layers": settings.layers,
        "shots": job.shots,
        "seed": settings.seed,
        "elite_fraction": settings.elite_fraction,
        "iterations": found.iterations,
        "cost_angles": found.cost_angles,
        "cost_angles_per_unit_of_cost": found.cost_angles_per_unit_of_cost,
        "mixer_angles": found.mixer_angles,
        // Of the shots that gave a design; what the simulator expected of all basis states stands below.
        "expectation": mean,
        "expectation_source": "shots",
        "trained_objective": found.objective,
        "optimum_probability": optimum_share,
        "approximation_ratio": if worst > exact { (worst - mean) / (worst - exact) } else { 1.0 },
        "sampled_mean": mean,
        "designs_measured": samples.counts.len(),
        "best": question.best(index, design),
        "exact_objective": exact,
        "gap_to_exact": gap(exact, cost),
        "random_would_have_done_as_well": hit >= 0.5,
        "random_hit_probability": hit,
        "random_best_expected": random_best_expected(costs, job.shots),
        "cvar_level": risk.level,
        "risk_weight": risk.weight,
        "unit": unit,
        "figures": money.sources(),
        "tasks": work.request.tasks,
    });
    let more = json!({
        "encoding_words": "design k is basis state k, X mixer, costs as an exact Walsh expansion; states beyond the last design are padding",
        "qubits": found.qubits,
        "padding": {
            "states": found.padding_states,
            "cost": worst + found.padding_penalty,
            "penalty": found.padding_penalty,
            "penalty_share_of_range": PENALTY_SHARE,
        },
        "circuit": found.resources,
        "expected_by_simulator": {
            "expectation_with_padding": found.expectation,
            "optimum_probability": found.optimum_probability,
        },
    });
    if let (Some(result), serde_json::Value::Object(more)) = (result.as_object_mut(), more) {
        result.extend(more);
    }
    work.write_json("qaoa_result.json", &result)?;
    let plot = solvers::plots::convergence(&found.history, Some(exact), unit)
        .map_err(|error| fail::permanent("EX-0514", error.to_string()))?;
    work.write("convergence.svg", plot.as_bytes())?;
    if let JobWork::OpenQasm3 { program, .. } = &job.work {
        work.write("qaoa_circuit.qasm", program.as_bytes())?;
    }
    let mut facts = feasible::facts(&question.found);
    facts.extend(json::facts(json!({
        "qaoa_objective": cost,
        "qaoa_optimum_probability": optimum_share,
        "qaoa_source": bought.kind,
    })));
    Ok(facts)
}

/// Counts by design; everything else was outside the set.
fn samples(counted: &JobResult, shots: u32, designs: usize) -> Samples {
    let mut samples = Samples { shots, counts: Vec::new(), outside: 0 };
    for (outcome, count) in &counted.counts {
        let count = u32::try_from(*count).unwrap_or(u32::MAX);
        match u32::try_from(*outcome) {
            Ok(index) if (index as usize) < designs => samples.counts.push((index, count)),
            _ => samples.outside = samples.outside.saturating_add(count),
        }
    }
    samples
}
