//! QAOA on machines: a worker prepares, the office buys the shots, a worker concludes.
//!
//! The daemon knows nothing of designs: what the first worker leaves is a job and its reasons, what comes back
//! goes to the second worker as it is. Rule: what was prepared, and that machines gave nothing, are checkpoints of
//! the stage, so that a daemon started again asks nobody anew. Behind the last machine stands the simulator, behind
//! it the exact classical answer; each that was left is named with its reason. Start at [`run`].

use super::chain::{Chain, STEP};
use super::in_worker::SIMULATOR;
use super::office::{Ended, Office, OfficeError, Wish};
use super::simulated::{self, Left, Part};
use crate::shared::Shared;
use crate::solver_worker::report;
use crate::stages::Work;
use crate::worker_drive::{self, Finished};
use engine::run::{ArtefactRef, Fence, Input, StageError};
use quantum::backends::JobSpec;
use quantum::backends::order::{End, Fallback};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What the first worker leaves, and the checkpoint that holds it.
const PREPARED: &str = "quantum_job.json";
/// What a machine gave, for the second worker.
const RESULT: &str = "quantum_result.json";
/// The checkpoint that says that no machine gave anything, and why.
const LEFT: &str = "quantum_left.json";
/// The worker's word for "no shot was a design".
const NOTHING_USABLE: &str = "EX-0489";

/// What the daemon reads of [`PREPARED`]; the rest is for the second worker.
#[derive(Debug, Deserialize)]
struct Prepared {
    /// What it was made from.
    asked: String,
    job: Option<JobSpec>,
    /// Why there is no job for a machine.
    why: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeftBehind {
    asked: String,
    fallback: Vec<Fell>,
}

/// A backend that did not give the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fell {
    backend: String,
    reason: String,
}

impl From<&Fallback> for Fell {
    fn from(one: &Fallback) -> Self {
        Self { backend: one.backend.clone(), reason: one.reason.to_string() }
    }
}

/// Names the parameters, seed and files that a checkpoint belongs to.
fn asked_by(work: &Work) -> String {
    let files: Vec<(&str, &str)> =
        work.files.iter().map(|file| (file.name.as_str(), file.digest.as_str())).collect();
    let words = json!([work.params, work.seed, files]).to_string();
    blake3::hash(words.as_bytes()).to_hex().to_string()
}

/// The same attempt with its part for the worker.
fn part(work: &Work, step: &Value, resume_from: Option<ArtefactRef>) -> Work {
    let mut params: Map<String, Value> = serde_json::from_str(&work.params).unwrap_or_default();
    params.insert(STEP.to_owned(), step.clone());
    Work { params: Value::Object(params).to_string(), resume_from, ..work.clone() }
}

fn checkpoint(work: &Work, checkpoint: ArtefactRef) {
    let fence = Fence(work.fence);
    report(&work.report_to, Input::Checkpointed { stage: work.stage, fence, checkpoint });
}

async fn bytes(shared: &Shared, file: &ArtefactRef) -> Option<Vec<u8>> {
    let digest = file.digest.parse().ok()?;
    let artefacts = std::sync::Arc::clone(&shared.artefacts);
    tokio::task::spawn_blocking(move || artefacts.get(&digest).ok()).await.ok()?
}

async fn stored<T: serde::de::DeserializeOwned>(shared: &Shared, file: &ArtefactRef) -> Option<T> {
    serde_json::from_slice(&bytes(shared, file).await?).ok()
}

/// The whole stage, from where its last attempt was.
pub(super) async fn run(
    shared: &Shared,
    office: &Office,
    work: &Work,
    chain: &Chain,
) -> Result<Finished, StageError> {
    let asked = asked_by(work);
    simulated::settle(shared, office, work, "its attempt was cut short").await?;
    if let Some(file) = work.resume_from.as_ref().filter(|file| file.name == LEFT)
        && let Some(left) = stored::<LeftBehind>(shared, file).await
        && left.asked == asked
    {
        return behind_machines(shared, office, work, chain, left.fallback).await;
    }
    let (file, prepared) = prepare(shared, work, &asked).await?;
    let Some(job) = prepared.job else {
        let why = prepared.why.unwrap_or_else(|| "the stage has no circuit for it".to_owned());
        let fell = |backend: &String| Fell {
            backend: backend.clone(),
            reason: format!("it cannot take the job: {why}"),
        };
        let fallback = chain.gates.iter().map(fell).collect();
        return leave(shared, office, work, chain, asked, fallback).await;
    };
    let wish = Wish {
        run: work.run.clone(),
        stage: work.path.clone(),
        fence: work.fence,
        job,
        chain: chain.gates.clone(),
        wait_ms: chain.wait_ms,
    };
    let ended = office.lead(wish).await.map_err(|error| match error {
        OfficeError::Record(error) => worker_drive::permanent("EX-0014", error.to_string()),
        error => worker_drive::transient("EX-0514", error.to_string()),
    })?;
    let mut fallback: Vec<Fell> = ended.fallbacks.iter().map(Fell::from).collect();
    match &ended.end {
        End::Done { backend, digest } => {
            match conclude(shared, office, work, &file, &ended, backend, digest).await {
                Err(error) if error.code == NOTHING_USABLE => {
                    fallback.push(Fell { backend: backend.clone(), reason: error.message });
                    leave(shared, office, work, chain, asked, fallback).await
                }
                result => result,
            }
        }
        End::Exact => leave(shared, office, work, chain, asked, fallback).await,
        End::Cancelled => {
            Err(worker_drive::transient("EX-0514", "the order for its shots was cancelled".to_owned()))
        }
    }
}

/// What the first worker leaves, of an earlier attempt or made now.
async fn prepare(shared: &Shared, work: &Work, asked: &str) -> Result<(ArtefactRef, Prepared), StageError> {
    let unreadable = || {
        worker_drive::transient("EX-0493", format!("{PREPARED} of the stage's worker is missing or damaged"))
    };
    let resume = work.resume_from.clone();
    if let Some(file) = resume.as_ref().filter(|file| file.name == PREPARED)
        && let Some(prepared) = stored::<Prepared>(shared, file).await
        && prepared.asked == asked
    {
        return Ok((file.clone(), prepared));
    }
    let own = resume.filter(|file| file.name != PREPARED && file.name != LEFT);
    let step = part(work, &json!({ "step": "prepare", "asked": asked }), own);
    let made = simulated::in_worker(shared, &step, true).await?;
    let file = made.outputs.into_iter().find(|file| file.name == PREPARED).ok_or_else(unreadable)?;
    let prepared: Prepared = stored(shared, &file).await.ok_or_else(unreadable)?;
    if prepared.asked != asked {
        return Err(unreadable());
    }
    checkpoint(work, file.clone());
    Ok((file, prepared))
}

/// Counts become a result.
async fn conclude(
    shared: &Shared,
    office: &Office,
    work: &Work,
    prepared: &ArtefactRef,
    ended: &Ended,
    backend: &str,
    digest: &str,
) -> Result<Finished, StageError> {
    let told = ended.told.iter().find(|told| told.backend == backend);
    let calibration = ended.result.as_ref().and_then(|result| result.calibration.clone());
    let fallback: Vec<Fell> = ended.fallbacks.iter().map(Fell::from).collect();
    let step = json!({
        "step": "conclude",
        "order": {
            "backend": backend,
            "kind": office.desks.kind(backend),
            // Who did not say it is taken for a machine: its results are then not claimed to be exact.
            "simulated": told.is_some_and(|told| told.simulated),
            "calibration": calibration.or_else(|| told.and_then(|told| told.calibration.clone())),
            "fallback": fallback,
        },
    });
    let mut step = part(work, &step, None);
    let size = digest.parse().ok().and_then(|digest| std::fs::metadata(shared.artefacts.path(&digest)).ok());
    let result = ArtefactRef {
        name: RESULT.to_owned(),
        digest: digest.to_owned(),
        bytes: size.map_or(0, |size| size.len()),
    };
    step.files.extend([prepared.clone(), result]);
    let shots = ended.result.as_ref().map_or(0, |result| result.counts.iter().map(|(_, n)| n).sum());
    let made = simulated::in_worker(shared, &step, false).await?;
    metrics::counter!("executing_quantum_shots_total").increment(shots);
    Ok(made)
}

/// No machine gave a result: that is written down, then whoever stands behind them is asked.
async fn leave(
    shared: &Shared,
    office: &Office,
    work: &Work,
    chain: &Chain,
    asked: String,
    fallback: Vec<Fell>,
) -> Result<Finished, StageError> {
    for fell in &fallback {
        tracing::warn!(run = %work.run, stage = %work.path, backend = fell.backend, reason = fell.reason, "A backend gave no result.");
    }
    let left = serde_json::to_vec(&LeftBehind { asked, fallback: fallback.clone() })
        .map_err(|error| worker_drive::permanent("EX-0514", error.to_string()))?;
    let bytes = left.len() as u64;
    let digest = shared
        .store(move |artefacts| artefacts.put(&left))
        .await
        .map_err(|error| worker_drive::transient("EX-0013", error.to_string()))?;
    checkpoint(work, ArtefactRef { name: LEFT.to_owned(), digest: digest.to_string(), bytes });
    behind_machines(shared, office, work, chain, fallback).await
}

async fn behind_machines(
    shared: &Shared,
    office: &Office,
    work: &Work,
    chain: &Chain,
    mut fallback: Vec<Fell>,
) -> Result<Finished, StageError> {
    if chain.simulate {
        let step = part(work, &json!({ "step": "simulate", "fallback": fallback }), None);
        match simulated::job(shared, office, &step, Part::Fallback).await {
            Ok(made) => return Ok(made),
            Err(Left::Failed(error)) => return Err(error),
            Err(Left::NotAsked(reason)) => fallback.push(Fell { backend: SIMULATOR.to_owned(), reason }),
        }
    }
    if !chain.exact {
        return Err(nobody_left(&fallback));
    }
    let step = part(work, &json!({ "step": "exact", "fallback": fallback }), None);
    simulated::in_worker(shared, &step, false).await
}

/// The end of a stage whose backends gave nothing and which may not do without them. It stays: what they were asked
/// is not asked again before somebody retries.
fn nobody_left(fallback: &[Fell]) -> StageError {
    let reasons: Vec<String> =
        fallback.iter().map(|fell| format!("{}: {}", fell.backend, fell.reason)).collect();
    let message = format!(
        "no backend of the stage gave shots, and `fallback_to_classical` is false: {}",
        reasons.join("; ")
    );
    worker_drive::permanent("EX-0068", message)
}

/// The stage on the simulator alone, or its exact answer if that may not be asked and the workflow allows it.
pub(super) async fn simulator_alone(
    shared: &Shared,
    office: &Office,
    work: &Work,
    chain: &Chain,
) -> Result<Finished, StageError> {
    // A checkpoint of before the stage was told to do without machines is of no use to the simulator.
    let mut work = work.clone();
    work.resume_from = work.resume_from.filter(|file| file.name != PREPARED && file.name != LEFT);
    match simulated::job(shared, office, &work, Part::Whole).await {
        Ok(made) => Ok(made),
        Err(Left::Failed(error)) => Err(error),
        Err(Left::NotAsked(reason)) => {
            let fallback = [Fell { backend: SIMULATOR.to_owned(), reason }];
            if !chain.exact {
                return Err(nobody_left(&fallback));
            }
            let step = part(&work, &json!({ "step": "exact", "fallback": fallback }), None);
            simulated::in_worker(shared, &step, false).await
        }
    }
}
