//! What a written stage states, laid over every flat stage that it came to.
//!
//! Rule: the caller's word wins, except limits, where the smaller holds.

use super::draft::Draft;
use crate::definition::document::{Stage, Workflow};
use crate::definition::parameters;
use crate::definition::spec::{Criterion, Demand, StageKind};
use crate::definition::walk::Problems;
use serde_json::Value as Json;

/// Lays what the written stage states over every flat stage it came to.
pub(super) fn state_fields(stage: &Stage, workflow: &Workflow, group: &mut [Draft], problems: &mut Problems) {
    let has_exec = group.iter().any(|draft| draft.kind == StageKind::Exec);
    let is_exec = group.len() == 1 && has_exec;
    for (field, at) in [
        ("command", stage.command.as_ref().map(|(_, at)| *at)),
        ("undo", stage.undo.as_ref().map(|(_, at)| *at)),
        ("idempotent", stage.idempotent.map(|(_, at)| at)),
    ] {
        if let (Some(at), false) = (at, is_exec) {
            let message = format!("`{field}` is for stages of kind `exec` only");
            problems.add(at, "EX-0126", message, "other kinds undo themselves, docs/workflow-table.md");
        }
    }
    check_expectations(stage, group, problems);
    check_signal(stage, group, problems);
    let is_own_exec = is_exec && group[0].path == stage.name;
    if is_own_exec && stage.command.is_none() && !stage.params.contains_key("command") {
        let message = format!("the stage `{}` has no `command`", stage.name);
        problems.add(stage.at, "EX-0104", message, "write `command: [program, argument, ..]`");
    }
    for draft in group.iter_mut() {
        draft.params.extend(stage.params.clone());
        for (name, field) in [("command", &stage.command), ("undo", &stage.undo)] {
            if let (Some((words, _)), true) = (field, is_exec) {
                draft.params.insert(name.into(), words.clone());
            }
        }
        draft.idempotent = stage.idempotent.map(|(flag, _)| flag).or(draft.idempotent);
        let limit = smaller(stage.tuning.start_to_close_ms, draft.tuning.start_to_close_ms);
        draft.tuning = stage.tuning.or(draft.tuning).or(workflow.defaults);
        draft.tuning.start_to_close_ms = limit.or(draft.tuning.start_to_close_ms);
        draft.demand = overlay(&stage.demand, &draft.demand);
        draft.utcs_phase = draft.utcs_phase.or(stage.utcs_phase).or(workflow.utcs_phase);
        draft.when = both(&stage.when, &draft.when);
    }
    state_gate(stage, group, problems);
}

/// What a `signal` waits for must be known before anything runs.
fn check_signal(stage: &Stage, group: &[Draft], problems: &mut Problems) {
    if !matches!(group, [only] if only.kind == StageKind::Signal && only.path == stage.name) {
        return;
    }
    for (name, value) in &stage.params {
        if let Err(error) = parameters::check(StageKind::Signal, name, value) {
            problems.add(
                stage.at,
                "EX-0123",
                error.to_string(),
                "write `params: {signal: NAME, deadline: 2h}`",
            );
        }
    }
}

/// What a `check` expects must be CEL before anything runs.
fn check_expectations(stage: &Stage, group: &[Draft], problems: &mut Problems) {
    if !matches!(group, [only] if only.kind == StageKind::Check && only.path == stage.name) {
        return;
    }
    let mut wrong = |message: String| {
        problems.add(stage.at, "EX-0102", message, "write `params: {expect: [\"count >= 1\"], facts: {..}}`");
    };
    match stage.params.get("facts") {
        None | Some(Json::Object(_)) => {}
        Some(other) => wrong(format!("`facts` of `{}` is {other}, expected an object", stage.name)),
    }
    match stage.params.get("expect") {
        None => {}
        Some(Json::Array(all)) => {
            for one in all {
                match one.as_str().map(crate::predicate::compile_check) {
                    Some(Ok(())) => {}
                    Some(Err(why)) => {
                        wrong(format!("`{}` expects {one}, which is not CEL: {why}", stage.name))
                    }
                    None => wrong(format!("`{}` expects {one}, which is not a text", stage.name)),
                }
            }
        }
        Some(other) => wrong(format!("`expect` of `{}` is {other}, expected a list", stage.name)),
    }
}

fn state_gate(stage: &Stage, group: &mut [Draft], problems: &mut Problems) {
    let Some((gate, at)) = &stage.gate else { return };
    let mut first: Vec<_> = group.iter_mut().filter(|draft| draft.needs.is_empty()).collect();
    match first.as_mut_slice() {
        [only] if only.gate.is_none() => {
            (only.gate, only.gate_roles) = (Some(gate.clone()), stage.gate_roles.clone());
        }
        _ => {
            let message = format!("the gate of `{}` has no single stage to stand before", stage.name);
            problems.add(*at, "EX-0132", message, "put a stage of kind `approval` before it");
        }
    }
}

/// The smaller of two stated limits, where a stated "no limit" is larger than all.
fn smaller(first: Option<Option<u64>>, second: Option<Option<u64>>) -> Option<Option<u64>> {
    match (first, second) {
        (Some(Some(first)), Some(Some(second))) => Some(Some(first.min(second))),
        (Some(None), Some(stated)) | (Some(stated), Some(None)) => Some(stated),
        (stated, None) | (None, stated) => stated,
    }
}

fn overlay(outer: &Demand, inner: &Demand) -> Demand {
    let stated = |outer: u64, inner: u64| if outer == 0 { inner } else { outer };
    Demand {
        cpu_cores: if outer.cpu_cores == 0 { inner.cpu_cores } else { outer.cpu_cores },
        memory_mib: stated(outer.memory_mib, inner.memory_mib),
        shots: stated(outer.shots, inner.shots),
        storage_mib: stated(outer.storage_mib, inner.storage_mib),
        backend: outer.backend.clone().or_else(|| inner.backend.clone()),
    }
}

fn both(outer: &Option<Criterion>, inner: &Option<Criterion>) -> Option<Criterion> {
    let (Some(first), Some(second)) = (outer, inner) else { return outer.clone().or_else(|| inner.clone()) };
    Some(Criterion {
        written: format!("({}) && ({})", first.written, second.written),
        expression: format!("({}) && ({})", first.expression, second.expression),
    })
}
