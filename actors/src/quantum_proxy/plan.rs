//! `quantum-backend-setup`: what the backends of a stage's chain are today, what its job would take, what their
//! budgets leave, and who is asked after whom.
//!
//! Rule: nothing is bought and nothing is held by this; the budget of a job is set aside in the same record as the
//! order for it, when the stage that needs it begins. What differs from day to day is named in the plan itself.

use super::chain::Chain;
use super::office::Office;
use super::simulated::shots_of;
use crate::shared::Shared;
use crate::stages::Work;
use crate::worker_drive::{self, Finished};
use engine::run::{ArtefactRef, StageError};
use serde_json::{Value, json};

/// Probes the chain and writes the plan.
pub(super) async fn set_up(
    shared: &Shared,
    office: &Office,
    work: &Work,
    chain: &Chain,
) -> Result<Finished, StageError> {
    let first = chain.gates.first().map_or(super::SIMULATOR, String::as_str).to_owned();
    let shots = shots_of(&work.params);
    let plan = if chain.gates.is_empty() {
        json!({
            "backend": first,
            "simulated": true,
            "probe": {
                "breaker": office.desks.breaker(&first),
                "worker_program": shared.limits.worker_program.exists(),
            },
            "shots": shots,
            "encoding": "amplitudes over the feasible set, Grover mixer",
            "fallback": chain.fallback(),
        })
    } else {
        on_machines(office, chain, &first, shots).await
    };
    let bytes =
        serde_json::to_vec_pretty(&plan).map_err(|e| worker_drive::permanent("EX-0514", e.to_string()))?;
    let length = bytes.len() as u64;
    let digest = shared
        .store(move |artefacts| artefacts.put(&bytes))
        .await
        .map_err(|e| worker_drive::transient("EX-0013", e.to_string()))?;
    let output =
        ArtefactRef { name: "backend_plan.json".to_owned(), digest: digest.to_string(), bytes: length };
    journal::failpoint!("quantum.set-up");
    let facts = json!({ "backend": first }).to_string();
    Ok(Finished { outputs: vec![output], facts })
}

async fn on_machines(office: &Office, chain: &Chain, first: &str, shots: u64) -> Value {
    let now = office.clock.now_ms();
    let one = |name: &String| {
        let (name, office) = (name.clone(), office.clone());
        async move {
            let answer = office.desks.probe(&name, now).await;
            let (target, error) = match answer {
                Some(Ok(target)) => (Some(target), None),
                Some(Err(error)) => (None, Some(error.to_string())),
                None => (None, Some("no backend of this name is set up".to_owned())),
            };
            let estimate = target
                .as_ref()
                .map(|target| json!({ "shots": shots, "qpu_ms": 0, "micro_usd": target.price.of(shots, 0) }));
            let fits = target.as_ref().map(|target| shots <= u64::from(target.shots_max));
            json!({
                "backend": name,
                "kind": office.desks.kind(&name),
                "breaker": office.desks.breaker(&name),
                "drained": office.desks.drained(&name),
                "target": target,
                "error": error,
                "shots_fit": fits,
                "estimate": estimate,
                "budget": office.desks.budget(&name, now),
            })
        }
    };
    let chained = futures::future::join_all(chain.gates.iter().map(one)).await;
    let head = chained.first().cloned().unwrap_or_default();
    json!({
        "backend": first,
        "simulated": head.pointer("/target/simulated"),
        "probe": head.get("target"),
        "probe_error": head.get("error"),
        "shots": shots,
        "estimate": head.get("estimate"),
        // Held in the same record as the order, when the stage that wants the shots begins.
        "budget_set_aside_at_order": head.get("estimate"),
        "budget": head.get("budget"),
        "encoding": "index: design k is basis state k, X mixer",
        "chain": chained,
        "fallback": chain.fallback(),
        "wait_seconds": chain.wait_ms / 1_000,
        "varies_between_runs": ["probe", "probe_error", "chain", "budget", "estimate", "budget_set_aside_at_order", "simulated"],
    })
}
