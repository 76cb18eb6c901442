//! The last step: parameters from outside, defaults of each kind, the finished [`Definition`].
//!
//! Rule: `--set` wins over everything, a stage's own parameter over the workflow's, and every limit
//! that nobody stated is written out, so that a later change of defaults changes no stored run.

use super::canonical::canonical_text;
use super::defaults::Defaults;
use super::document::{Workflow, check_known_param};
use super::expand::{Draft, Flat};
use super::problem::Problem;
use super::retries::RetryRule;
use super::spec::*;
use super::walk::{Problems, did_you_mean};
use super::yaml::Place;
use super::{Awaited, RunControl, StageControl, parameters, table};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// What stands for the file name in problems of parameters given outside the file.
pub(super) const SET: &str = "--set";

/// Attempts in all, unless stated: two repeats outlast a crash and a busy machine.
pub const ATTEMPTS_DEFAULT: u32 = 3;
/// First pause before a repeat, doubling each time.
pub const BACKOFF_MS_DEFAULT: u64 = 1_000;
/// Longest pause: beyond a minute a person waits for nothing.
pub const BACKOFF_MS_MAX_DEFAULT: u64 = 60_000;
/// A fifth of the pause is random, so that stages that failed together do not return together.
pub const JITTER_PERMILLE_DEFAULT: u16 = 200;
/// Silence after which a worker counts as hung.
pub const HEARTBEAT_MS_DEFAULT: u64 = 5_000;
/// Longest attempt: two hours, as the programme's own settings have it.
pub const START_TO_CLOSE_MS_DEFAULT: u64 = 7_200_000;

/// Lays parameters from outside over the flat workflow. Returns the workflow-level ones.
pub(super) fn set_params(
    workflow: &Workflow,
    given: &BTreeMap<String, Json>,
    drafts: &mut [Draft],
    problems: &mut Problems,
) -> Map<String, Json> {
    let mut params = workflow.params.clone();
    let nowhere = Place::default();
    for (name, value) in given {
        let Some((stage, param)) = name.split_once('.') else {
            if let Err((code, message)) = check_known_param(name, value) {
                problems.add(nowhere, code, message, "");
            }
            judge_workflow_param(workflow, name, value, drafts, problems);
            params.insert(name.clone(), value.clone());
            continue;
        };
        match find(stage, drafts) {
            Ok(found) if param.is_empty() => {
                let paths: Vec<_> = found.into_iter().map(|at| drafts[at].path.clone()).collect();
                let message = format!("`{name}` names {} but no parameter", paths.join(", "));
                problems.add(nowhere, "EX-0127", message, "write `stage.parameter=value`");
            }
            Ok(found) => {
                judge(name, param, value, &found, drafts, problems);
                for at in found {
                    drafts[at].params.insert(param.into(), value.clone());
                }
            }
            Err((code, message, help)) => problems.add(nowhere, code, message, help),
        }
    }
    params
}

/// Lays parameters over a finished definition, by the rules of a submission. Gives the positions of the stages
/// that they change.
///
/// # Errors
/// Every parameter that no stage reads, or that is out of its range.
pub fn with_params(
    definition: &mut Definition,
    given: &BTreeMap<String, Json>,
) -> Result<Vec<usize>, Vec<Problem>> {
    let object = |text: &str| serde_json::from_str::<Map<String, Json>>(text).unwrap_or_default();
    let workflow = Workflow { params: object(&definition.params), ..Workflow::default() };
    let mut drafts: Vec<Draft> = definition
        .stages
        .iter()
        .map(|stage| Draft { params: object(&stage.params), ..Draft::new(stage.path.clone(), stage.kind) })
        .collect();
    let before = drafts.iter().map(|draft| draft.params.clone()).collect::<Vec<_>>();
    let mut problems = Problems::of(SET);
    let params = set_params(&workflow, given, &mut drafts, &mut problems);
    let found = problems.into_found();
    if !found.is_empty() {
        return Err(found);
    }
    let mut changed = Vec::new();
    for (at, draft) in drafts.iter().enumerate() {
        let reads =
            |name: &String| parameters::takes_any(draft.kind) || parameters::find(draft.kind, name).is_some();
        let at_the_top = |name: &String| !name.contains('.') && (name == "seed" || reads(name));
        if draft.params != before[at] || given.keys().any(at_the_top) {
            changed.push(at);
        }
        definition.stages[at].params = canonical_text(&Json::Object(draft.params.clone()));
    }
    definition.params = canonical_text(&Json::Object(params));
    Ok(changed)
}

/// A name at the workflow's level must mean something to some stage, or stand in the file already.
fn judge_workflow_param(
    workflow: &Workflow,
    name: &str,
    value: &Json,
    drafts: &[Draft],
    problems: &mut Problems,
) {
    const EVERYWHERE: [&str; 3] = ["seed", "cvar_level", "risk_weight"];
    if EVERYWHERE.contains(&name) || workflow.params.contains_key(name) || drafts.is_empty() {
        return;
    }
    let all: Vec<usize> = (0..drafts.len()).collect();
    judge(name, name, value, &all, drafts, problems);
}

/// `value` must fit every stage of `found` that reads `param`, and one of them must.
fn judge(
    written: &str,
    param: &str,
    value: &Json,
    found: &[usize],
    drafts: &[Draft],
    problems: &mut Problems,
) {
    let nowhere = Place::default();
    let mut is_known = false;
    for draft in found.iter().map(|at| &drafts[*at]) {
        is_known |= draft.params.contains_key(param) || parameters::takes_any(draft.kind);
        let Some(row) = parameters::find(draft.kind, param) else { continue };
        is_known = true;
        if let Err(error) = row.judge(value) {
            return problems.add(
                nowhere,
                "EX-0054",
                format!("{written}: {error}"),
                "docs/parameters.md has the ranges",
            );
        }
    }
    if !is_known {
        let names = found.iter().flat_map(|at| parameters::names(drafts[*at].kind)).chain(["seed"]);
        let what = match found {
            [only] => format!("`{}` ({})", drafts[*only].path, drafts[*only].kind.name()),
            _ => "any stage that it is for".to_owned(),
        };
        let error = parameters::unknown(&what, param, names);
        problems.add(nowhere, "EX-0052", error.to_string(), "docs/parameters.md has them all");
    }
}

type Miss = (&'static str, String, String);

/// The stages that a name means: one by its path or last name, or all below it.
fn find(name: &str, drafts: &[Draft]) -> Result<Vec<usize>, Miss> {
    let positions = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..drafts.len()).filter(|&at| fits(&drafts[at].path)).collect()
    };
    let exact = positions(&|path| path == name);
    if !exact.is_empty() {
        return Ok(exact);
    }
    let below = format!("{name}/");
    let group = positions(&|path| path.starts_with(&below));
    if !group.is_empty() {
        return Ok(group);
    }
    let last = format!("/{name}");
    let inside = format!("/{name}/");
    let by_last = positions(&|path| path.ends_with(&last) || path.contains(&inside));
    // A nested group counts as one place: what stands before the name must be the same for all.
    let place = |at: usize| {
        let path = &drafts[at].path;
        let end = path.find(&inside).map_or(path.len(), |start| start + last.len());
        path[..end].to_owned()
    };
    let mut places: Vec<_> = by_last.iter().map(|&at| place(at)).collect();
    places.sort();
    places.dedup();
    match places.as_slice() {
        [_] => Ok(by_last),
        [] => {
            let names = drafts.iter().flat_map(|draft| [draft.path.as_str(), last_name(&draft.path)]);
            let help = did_you_mean(name, names).unwrap_or_else(|| {
                format!(
                    "stages: {}",
                    drafts.iter().map(|draft| draft.path.as_str()).collect::<Vec<_>>().join(", ")
                )
            });
            Err(("EX-0127", format!("`{name}` is no stage of this workflow"), help))
        }
        several => {
            let message = format!("`{name}` means several stages: {}", several.join(", "));
            Err(("EX-0128", message, "write the whole path".into()))
        }
    }
}

fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Fills in the defaults and gives the finished definition.
pub(super) fn settle(
    workflow: &Workflow,
    flat: Flat,
    mut params: Map<String, Json>,
    defaults: &Defaults,
) -> Definition {
    defaults.workflow_params(&flat.drafts, &mut params);
    let mut kind_versions = BTreeMap::new();
    let mut stages = vec![];
    for mut draft in flat.drafts {
        defaults.lay_under(&workflow.name, &params, &mut draft);
        let row = table::kind(draft.kind);
        kind_versions.insert(draft.kind.name().to_owned(), row.version);
        stages.push(stage(draft, row));
    }
    Definition {
        workflow: workflow.name.clone(),
        stages,
        inputs: flat.inputs,
        params: canonical_text(&Json::Object(params)),
        success_criteria: flat.criteria,
        ceilings: defaults.ceilings(&workflow.name, &workflow.ceilings),
        priority: workflow.priority.or(defaults.priority(&workflow.name)).unwrap_or(1),
        kind_versions,
        control: RunControl {
            deadline_ms: workflow.deadline.map(|(ms, _)| ms),
            origin: None,
            error_classes: defaults.error_classes.clone(),
        },
    }
}

fn stage(draft: Draft, row: &table::KindRow) -> StageSpec {
    let tuning = draft.tuning;
    let backoff_ms = tuning.backoff_ms.unwrap_or(BACKOFF_MS_DEFAULT);
    let is_approval = draft.kind == StageKind::Approval;
    let signal = (draft.kind == StageKind::Signal).then(|| Awaited {
        name: draft.params.get("signal").and_then(Json::as_str).unwrap_or(&draft.path).to_owned(),
        deadline_ms: draft.params.get("deadline").and_then(parameters::duration_ms),
    });
    let is_told =
        tuning.sources.are_of_settings() || tuning.factor_permille.is_some() || tuning.retry_on.is_some();
    let retry = is_told.then(|| RetryRule {
        factor_permille: tuning.factor_permille,
        retry_on: tuning.retry_on,
        from: tuning.sources.names(),
    });
    let control = StageControl { roles: draft.gate_roles, signal, retry };
    StageSpec {
        has_undo: row.has_undo || (draft.kind == StageKind::Exec && draft.params.contains_key("undo")),
        // Only programs from outside can be unsafe to repeat; our own kinds are built to be repeatable.
        idempotent: draft.idempotent.unwrap_or(draft.kind != StageKind::Exec),
        gate: draft.gate.or(is_approval.then_some(Gate { approvals: 1, deadline_ms: None })),
        path: draft.path,
        kind: draft.kind,
        // A definition has far fewer stages than a u32 can count (STAGES_MAX).
        needs: draft.needs.into_iter().map(|need| StageIndex(need as u32)).collect(),
        params: canonical_text(&Json::Object(draft.params)),
        tasks: draft.tasks,
        retry: Retry {
            attempts: tuning.attempts.unwrap_or(ATTEMPTS_DEFAULT),
            backoff_ms,
            backoff_ms_max: tuning.backoff_ms_max.unwrap_or(BACKOFF_MS_MAX_DEFAULT).max(backoff_ms),
            jitter_permille: tuning.jitter_permille.unwrap_or(JITTER_PERMILLE_DEFAULT),
        },
        timeout: Timeouts {
            start_to_close_ms: tuning.start_to_close_ms.unwrap_or(Some(START_TO_CLOSE_MS_DEFAULT)),
            heartbeat_ms: tuning.heartbeat_ms.unwrap_or(HEARTBEAT_MS_DEFAULT),
            schedule_to_start_ms: tuning.schedule_to_start_ms,
        },
        demand: draft.demand,
        when: draft.when,
        utcs_phase: draft.utcs_phase,
        outputs: draft.outputs,
        control,
    }
}
