//! A new run from a stored one: its definition and inputs, with changes, perhaps with its first results.
//!
//! Rule: a clone computes by the parameters that the run had last, changed as asked; what is taken over is
//! named in the clone's own journal, so the clone depends on nothing of the run. Start at [`cloned`].

use super::submit::{Prepared, Read, SubmitError, known_run, stored};
use crate::shared::Shared;
use engine::definition::{Origin, Problem, StageIndex, with_params};
use engine::protocol::CloneOf;
use engine::run::StageState;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn cloned(
    shared: &Shared,
    origin: &CloneOf,
    params: &BTreeMap<String, Value>,
) -> Result<Prepared, SubmitError> {
    let run = known_run(shared, &origin.run)?;
    let mut definition = run.definition().clone();
    for (i, stage) in (0u32..).zip(&mut definition.stages) {
        // As last tuned, without what the workflow says anyway.
        stage.params = run.own_params_of(StageIndex(i));
    }
    let from = match &origin.from {
        None => None,
        Some(path) => Some(run.stage_at(path).ok_or_else(|| SubmitError::UnknownStage {
            run: origin.run.clone(),
            stage: path.clone(),
            known: definition.stages.iter().map(|stage| stage.path.as_str()).collect::<Vec<_>>().join(", "),
        })?),
    };
    let changed = with_params(&mut definition, params);
    let changed: Vec<usize> = changed.map_err(|problems: Vec<Problem>| SubmitError::Invalid(problems))?;
    let mut taken_over = Vec::new();
    if let Some(from) = from {
        let again = run.dependents_of(from);
        for (i, stage) in definition.stages.iter().enumerate() {
            let index = StageIndex(i as u32);
            let succeeded = *run.stage(index) == StageState::Succeeded;
            // What a change touches computes anew, and so does what could not be taken over.
            if again[i] || changed.contains(&i) || !succeeded {
                let needed = run.is_needed_by(index, from);
                if needed && !again[i] {
                    return Err(SubmitError::NotDone { run: origin.run.clone(), stage: stage.path.clone() });
                }
                continue;
            }
            let (outputs, facts) = run.result_of(index);
            taken_over.push((index, outputs, facts));
        }
        // A stage whose need computes anew computes anew, too.
        let mut anew: Vec<bool> = (0..definition.stages.len())
            .map(|i| !taken_over.iter().any(|(at, ..)| at.0 as usize == i))
            .collect();
        for _ in 0..definition.stages.len() {
            for (i, stage) in definition.stages.iter().enumerate() {
                anew[i] |= stage.needs.iter().any(|need| anew[need.0 as usize]);
            }
        }
        taken_over.retain(|(at, ..)| !anew[at.0 as usize]);
    }
    definition.control.origin = Some(Origin { run: origin.run.clone(), from: origin.from.clone() });
    let seed = params.get("seed").and_then(Value::as_u64).unwrap_or_else(|| run.seed());
    let inputs = run.inputs().iter().map(|input| (input.name.clone(), input.digest.clone())).collect();
    let inputs = stored(shared, &inputs)?;
    Ok(Prepared { workflow: Arc::new(Read::of(definition, seed)), inputs, taken_over })
}
