//! Workflow definitions: from YAML in either form to one flat, checked [`Definition`].
//!
//! Rule: all that is wrong is said at once, each with file, line and column, and nothing that is written
//! is silently dropped. Steps: [`yaml`] (text to tree), `document` (tree to workflows as written),
//! `expand` (names to kinds, sub-workflows to paths), `settle` (defaults). What words mean stands in
//! [`table`]. Absent on purpose: reading files, and judging parameters that only a stage knows.
//! Start at [`load`].

mod canonical;
mod computing;
mod control;
mod criteria;
mod defaults;
mod document;
mod expand;
mod library;
mod order;
pub mod parameters;
mod problem;
mod retries;
mod settle;
mod spec;
pub mod table;
pub mod units;
pub mod walk;
pub mod yaml;

pub use canonical::{canonical_json, canonical_text, digest, from_canonical};
pub use control::{Awaited, Origin, RunControl, StageControl};
pub use defaults::{Defaults, StageDefaults, WorkflowDefaults};
pub use document::{GATE_ROLES, NAME_BYTES_MAX, STAGES_MAX};
pub use expand::NESTING_MAX;
pub use library::Library;
pub use order::topological_order;
pub use problem::Problem;
pub use retries::{
    ATTEMPTS_MAX, BACKOFF_MS_MAX, FACTOR_PERMILLE, FACTOR_PERMILLE_DEFAULT, Policy as RetryPolicy,
    RetryDefaults, RetryOn, RetryRule,
};
pub use settle::{
    ATTEMPTS_DEFAULT, BACKOFF_MS_DEFAULT, BACKOFF_MS_MAX_DEFAULT, HEARTBEAT_MS_DEFAULT,
    JITTER_PERMILLE_DEFAULT, START_TO_CLOSE_MS_DEFAULT, with_params,
};
pub use spec::*;

use document::Workflow;
use std::collections::BTreeMap;
use walk::Problems;

/// What to load, and from where.
#[derive(Debug, Clone, Copy)]
pub struct LoadRequest<'a> {
    pub text: &'a str,
    /// Name of the file in problems; nothing is read from it.
    pub file: &'a str,
    /// Which workflow of the file; may be left out if there is only one.
    pub workflow: Option<&'a str>,
    pub library: &'a Library,
    /// `seed`, `cvar_level` and other names of the workflow level, or `stage.parameter`, where the
    /// stage is a path, a last name that only one stage has, or a group of stages.
    pub params: &'a BTreeMap<String, serde_json::Value>,
}

/// A definition that may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub definition: Definition,
    /// Does not stop a run, but somebody should know.
    pub warnings: Vec<Problem>,
}

/// Reads, checks and flattens a workflow.
///
/// Cost grows with the text and with the flat stages, at most [`STAGES_MAX`].
///
/// # Errors
/// Every problem found, in the order of the text; never an empty list.
pub fn load(request: LoadRequest<'_>) -> Result<Loaded, Vec<Problem>> {
    load_with(request, &Defaults::default())
}

/// [`load`] where settings say what stages leave unsaid.
///
/// # Errors
/// As [`load`].
pub fn load_with(request: LoadRequest<'_>, defaults: &Defaults) -> Result<Loaded, Vec<Problem>> {
    let documents = yaml::parse(request.text, request.file)?;
    let mut local = Problems::of(request.file);
    let workflows = document::read(&documents, &mut local);
    let chosen = choose(&workflows, request.workflow, &mut local);
    let mut problems = local.into_found();
    let stated = request.params.keys().filter(|name| !name.contains('.')).cloned().collect();
    let mut expander = expand::Expander::new(&workflows, request.library, stated);
    let Some(workflow) = chosen else {
        // Nothing can come of it, but whoever checks a file wants to hear of all its workflows.
        for workflow in &workflows {
            expander.expand(workflow, request.file, &mut problems);
        }
        return Err(sorted(problems));
    };
    let mut flat = expander.expand(workflow, request.file, &mut problems);
    let mut outside = Problems::of(settle::SET);
    let params = settle::set_params(workflow, request.params, &mut flat.drafts, &mut outside);
    let has_stage_problems = !problems.is_empty();
    // A stage that could not be read is no stage to set a parameter of; one message is enough.
    problems.extend(
        outside.into_found().into_iter().filter(|found| !has_stage_problems || found.code != "EX-0127"),
    );
    check_flat(workflow, &flat, request.file, &mut problems);
    if !problems.is_empty() {
        return Err(sorted(problems));
    }
    let definition = settle::settle(workflow, flat, params, defaults);
    Ok(Loaded { definition, warnings: sorted(std::mem::take(&mut expander.warnings)) })
}

/// [`load`] of a workflow that comes with the program.
///
/// # Errors
/// As [`load`], and `EX-0108` if the library has no such workflow.
pub fn load_builtin(
    name: &str,
    library: &Library,
    params: &BTreeMap<String, serde_json::Value>,
) -> Result<Loaded, Vec<Problem>> {
    load_builtin_with(name, library, params, &Defaults::default())
}

/// [`load_builtin`] where settings say what stages leave unsaid.
///
/// # Errors
/// As [`load_builtin`].
pub fn load_builtin_with(
    name: &str,
    library: &Library,
    params: &BTreeMap<String, serde_json::Value>,
    defaults: &Defaults,
) -> Result<Loaded, Vec<Problem>> {
    let file = Library::file_of(name);
    let Some(text) = library.text(name) else {
        let mut local = Problems::of(&file);
        unknown_workflow(name, library.names(), &mut local);
        return Err(local.into_found());
    };
    load_with(LoadRequest { text, file: &file, workflow: Some(name), library, params }, defaults)
}

/// Names of the workflows in a file, in order.
///
/// # Errors
/// What keeps the names from being known: not YAML, no workflow, a name missing or given twice.
pub fn workflows_in(text: &str, file: &str) -> Result<Vec<String>, Vec<Problem>> {
    let documents = yaml::parse(text, file)?;
    let mut local = Problems::of(file);
    let workflows = document::read(&documents, &mut local);
    let names: Vec<_> =
        workflows.into_iter().map(|workflow| workflow.name).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        none_in_file(&mut local);
        return Err(sorted(local.into_found()));
    }
    Ok(names)
}

fn choose<'w>(
    workflows: &'w [Workflow],
    name: Option<&str>,
    problems: &mut Problems,
) -> Option<&'w Workflow> {
    let names = || workflows.iter().map(|workflow| workflow.name.as_str());
    match (name, workflows) {
        (_, []) => {
            none_in_file(problems);
            None
        }
        (None, [only]) => Some(only),
        (None, _) => {
            let message = format!("the file holds {} workflows and none is chosen", workflows.len());
            let help = format!("choose one with --workflow: {}", names().collect::<Vec<_>>().join(", "));
            problems.add(yaml::Place::default(), "EX-0107", message, help);
            None
        }
        (Some(name), _) => {
            let found = workflows.iter().find(|workflow| workflow.name == name);
            if found.is_none() {
                unknown_workflow(name, names(), problems);
            }
            found
        }
    }
}

fn none_in_file(problems: &mut Problems) {
    problems.add(
        yaml::Place::default(),
        "EX-0106",
        "the file holds no workflow",
        "write `workflow: name` and `stages: [..]`",
    );
}

fn unknown_workflow<'k>(name: &str, known: impl Iterator<Item = &'k str>, problems: &mut Problems) {
    let known: Vec<_> = known.collect();
    let help = walk::did_you_mean(name, known.iter().copied())
        .unwrap_or_else(|| format!("there are: {}", known.join(", ")));
    problems.add(yaml::Place::default(), "EX-0108", format!("there is no workflow `{name}`"), help);
}

/// What only shows once everything is flat.
fn check_flat(workflow: &Workflow, flat: &expand::Flat, file: &str, problems: &mut Vec<Problem>) {
    let mut local = Problems::of(file);
    let mut paths = std::collections::BTreeSet::new();
    for draft in &flat.drafts {
        if !paths.insert(&draft.path) {
            let message = format!("two stages come to the same path `{}`", draft.path);
            local.add(workflow.at, "EX-0112", message, "rename one of them");
        }
    }
    if flat.drafts.len() > STAGES_MAX {
        let message = format!("{} stages once flat, more than the {STAGES_MAX} allowed", flat.drafts.len());
        local.add(workflow.at, "EX-0100", message, "split the workflow");
    }
    problems.extend(local.into_found());
}

/// In the order of the text, each once: a sub-workflow used twice has its problems once.
fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    let key = |problem: &Problem| {
        (problem.file.clone(), problem.line, problem.column, problem.code.clone(), problem.message.clone())
    };
    problems.sort_by_key(key);
    problems.dedup();
    problems
}
