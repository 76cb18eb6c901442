//! From a submission to what the first record of a run holds: checks, inputs, seed.
//!
//! Rule: nothing is stored here but the embedded example's inputs; whatever is wrong with the
//! submission is reported all at once.

use crate::quantum_proxy::{ChainError, check_chains};
use crate::records;
use crate::shared::Shared;
use engine::definition::{self, Definition, Library, LoadRequest, Problem, StageIndex, StageKind};
use engine::protocol::Submission;
use engine::run::ArtefactRef;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What the programs embed: the built-in workflows and the example's inputs.
#[derive(Debug)]
pub struct Catalog {
    pub library: Library,
    /// Input name to content, for a laptop daemon that is asked to run without inputs.
    pub example_inputs: BTreeMap<String, Vec<u8>>,
    /// Parameters of the example, used with its inputs.
    pub example_params: BTreeMap<String, Value>,
}

/// Seed of a run that names none; any fixed number gives reproducible runs.
const SEED_DEFAULT: u64 = 1;

/// Why a submission was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubmitError {
    #[error("the workflow has {} problem(s)", .0.len())]
    Invalid(Vec<Problem>),
    #[error("expected inputs {expected}, got {got}. Name them with --set, for example --set space=FILE")]
    InputMissing { expected: String, got: String },
    #[error("an input may be named with letters, digits, `.`, `_` and `-`, got {0:?}")]
    InputName(String),
    #[error("input {name} ({digest}) was not uploaded; upload it first")]
    NotUploaded { name: String, digest: String },
    #[error(
        "key {key} was used for {run} with other content: {differs}. Use another key, or submit the same"
    )]
    KeyReused { key: String, run: String, differs: String },
    #[error(transparent)]
    NotAdmitted(#[from] crate::admission::NotAdmitted),
    #[error("an emergency stop is in force: {0}; it ends with emergency-clear")]
    Stopped(String),
    #[error("there is too little room on disk: {0}; what runs goes on, new work is taken when there is room")]
    NoRoom(String),
    #[error("the journal did not take it: {0}")]
    NotDurable(String),
    #[error("no run is called {0}")]
    UnknownRun(String),
    #[error("{run} has no stage {stage}; it has {known}")]
    UnknownStage { run: String, stage: String, known: String },
    #[error(
        "stage {stage} of {run} has not succeeded, so its result cannot be taken over; clone from it, or from an earlier one"
    )]
    NotDone { run: String, stage: String },
    #[error("deadline: {0}; write `30s`, `5m`, `2h`, or seconds")]
    Deadline(String),
    #[error("{0} has no stage that only computes; there is nothing to compute again")]
    NothingComputes(String),
    #[error("stage {stage}: {error}")]
    Backend { stage: String, error: ChainError },
}

/// A submission that can become a run.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) workflow: Arc<Read>,
    pub(super) inputs: Vec<ArtefactRef>,
    /// Results of another run that stand for this one's: stage, outputs, facts.
    pub(super) taken_over: Vec<(StageIndex, Vec<ArtefactRef>, String)>,
}

/// A workflow text as it was understood.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) definition: Definition,
    /// As stored.
    pub(super) bytes: Vec<u8>,
    pub(super) seed: u64,
    pub(super) warnings: Vec<String>,
}

impl Read {
    pub(super) fn of(definition: Definition, seed: u64) -> Self {
        Self { bytes: definition::canonical_json(&definition), definition, seed, warnings: Vec::new() }
    }
}

/// Workflow texts that were read before: whoever submits one often pays for reading it once.
#[derive(Debug, Default)]
pub(super) struct Cache {
    read: BTreeMap<[u8; 32], Arc<Read>>,
    oldest: VecDeque<[u8; 32]>,
}

/// Workflows in use at one time are few; each takes some kilobytes here.
const CACHE_MAX: usize = 64;

impl Cache {
    fn get_or_read(
        &mut self,
        catalog: &Catalog,
        submission: &Submission,
        params: &BTreeMap<String, Value>,
        defaults: &definition::Defaults,
    ) -> Result<Arc<Read>, SubmitError> {
        let named = (&submission.yaml, &submission.file, &submission.workflow, params);
        // Without a key there is only no memory of it.
        let key = serde_json::to_vec(&named).ok().map(|bytes| *blake3::hash(&bytes).as_bytes());
        if let Some(read) = key.and_then(|key| self.read.get(&key)) {
            return Ok(Arc::clone(read));
        }
        let read = Arc::new(read(catalog, submission, params, defaults)?);
        if let Some(key) = key {
            if self.oldest.len() >= CACHE_MAX
                && let Some(oldest) = self.oldest.pop_front()
            {
                self.read.remove(&oldest);
            }
            self.read.insert(key, Arc::clone(&read));
            self.oldest.push_back(key);
        }
        Ok(read)
    }
}

fn read(
    catalog: &Catalog,
    submission: &Submission,
    params: &BTreeMap<String, Value>,
    defaults: &definition::Defaults,
) -> Result<Read, SubmitError> {
    let loaded = match &submission.yaml {
        Some(text) => definition::load_with(
            LoadRequest {
                text,
                file: &submission.file,
                workflow: submission.workflow.as_deref(),
                library: &catalog.library,
                params,
            },
            defaults,
        ),
        None => definition::load_builtin_with(
            submission.workflow.as_deref().unwrap_or_default(),
            &catalog.library,
            params,
            defaults,
        ),
    }
    .map_err(SubmitError::Invalid)?;
    let definition = loaded.definition;
    let seed = serde_json::from_str::<Value>(&definition.params)
        .ok()
        .and_then(|params| params.get("seed").and_then(Value::as_u64))
        .unwrap_or(SEED_DEFAULT);
    Ok(Read {
        bytes: definition::canonical_json(&definition),
        definition,
        seed,
        warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
    })
}

/// What makes two submissions the same.
pub fn content_digest(definition: &[u8], inputs: &[ArtefactRef], seed: u64) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(definition);
    for input in inputs {
        hasher.update(input.name.as_bytes()).update(input.digest.as_bytes());
    }
    hasher.update(&seed.to_le_bytes());
    hasher.finalize().to_hex().to_string()
}

/// `backends` are the names of those that are set up.
pub(super) fn prepare(
    shared: &Shared,
    catalog: &Catalog,
    cache: &mut Cache,
    submission: &Submission,
    backends: &[String],
) -> Result<Prepared, SubmitError> {
    let prepared = read_whole(shared, catalog, cache, submission)?;
    check_chains(&prepared.workflow.definition, backends)
        .map_err(|(stage, error)| SubmitError::Backend { stage, error })?;
    Ok(prepared)
}

fn read_whole(
    shared: &Shared,
    catalog: &Catalog,
    cache: &mut Cache,
    submission: &Submission,
) -> Result<Prepared, SubmitError> {
    if let Some(reason) = shared.board.emergency() {
        return Err(SubmitError::Stopped(reason));
    }
    if let Some(why) = shared.board.no_room() {
        return Err(SubmitError::NoRoom(why));
    }
    let mut prepared = if let Some(run) = &submission.again {
        again(shared, run)?
    } else if let Some(origin) = &submission.clone_of {
        super::clone::cloned(shared, origin, &submission.params)?
    } else {
        fresh(shared, catalog, cache, submission)?
    };
    if let Some(text) = &submission.deadline {
        let deadline_ms = definition::units::duration_ms(text).map_err(SubmitError::Deadline)?;
        let mut read = Read {
            warnings: prepared.workflow.warnings.clone(),
            ..Read::of(prepared.workflow.definition.clone(), prepared.workflow.seed)
        };
        read.definition.control.deadline_ms = Some(deadline_ms);
        read.bytes = definition::canonical_json(&read.definition);
        prepared.workflow = Arc::new(read);
    }
    Ok(prepared)
}

fn fresh(
    shared: &Shared,
    catalog: &Catalog,
    cache: &mut Cache,
    submission: &Submission,
) -> Result<Prepared, SubmitError> {
    let mut params = submission.params.clone();
    let stands_in = submission.inputs.is_empty() && submission.yaml.is_none() && shared.limits.example_inputs;
    if stands_in {
        for (name, value) in &catalog.example_params {
            params.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let workflow = cache.get_or_read(catalog, submission, &params, &shared.limits.scheduling.defaults)?;
    let definition = &workflow.definition;
    let mut inputs = submission.inputs.clone();
    if inputs.is_empty()
        && needs_space(definition)
        && shared.limits.example_inputs
        && submission.yaml.is_none()
    {
        for (name, bytes) in &catalog.example_inputs {
            let digest = shared.artefacts.put(bytes).map_err(|e| SubmitError::NotDurable(e.to_string()))?;
            inputs.insert(name.clone(), digest.to_string());
        }
    }
    check_inputs(definition, &inputs)?;
    Ok(Prepared { workflow, inputs: stored(shared, &inputs)?, taken_over: Vec::new() })
}

/// A run as it is known, ended or not.
pub(super) fn known_run(shared: &Shared, run: &str) -> Result<Arc<engine::run::Run>, SubmitError> {
    let unknown = || SubmitError::UnknownRun(run.to_owned());
    match shared.board.live(run) {
        Some(known) => Ok(known),
        None if shared.board.summary(run).is_none() => Err(unknown()),
        None => records::rebuild_run(&shared.journal, run, shared.checkpoint_of(run))
            .map(|(known, _)| Arc::new(known))
            .map_err(|_| unknown()),
    }
}

/// What `run` computed, to be computed again: its own definition, inputs, seed and last parameters.
fn again(shared: &Shared, run: &str) -> Result<Prepared, SubmitError> {
    let known = known_run(shared, run)?;
    let mut whole = known.definition().clone();
    for (i, stage) in (0u32..).zip(&mut whole.stages) {
        // As last tuned: the results that stand were made with these.
        stage.params = known.params_of(StageIndex(i));
    }
    let Some((definition, left_out)) = whole.computing_part() else {
        return Err(SubmitError::NothingComputes(run.to_owned()));
    };
    let inputs = known.inputs().iter().map(|input| (input.name.clone(), input.digest.clone())).collect();
    let left_out = (!left_out.is_empty()).then(|| format!("left out: {}", left_out.join(", ")));
    let workflow = Read {
        bytes: definition::canonical_json(&definition),
        definition,
        seed: known.seed(),
        warnings: left_out.into_iter().collect(),
    };
    Ok(Prepared { workflow: Arc::new(workflow), inputs: stored(shared, &inputs)?, taken_over: Vec::new() })
}

/// What differs between a run and what is submitted now, in words.
pub(super) fn differences(shared: &Shared, run: &str, now: &Read, inputs: &[ArtefactRef]) -> String {
    let known = match shared.board.live(run) {
        Some(known) => Some(known),
        None => records::rebuild_run(&shared.journal, run, shared.checkpoint_of(run))
            .map(|(known, _)| Arc::new(known))
            .ok(),
    };
    let Some(known) = known else { return "the run cannot be read to say what differs".to_owned() };
    let (before, after) = (known.definition(), &now.definition);
    if before.workflow != after.workflow {
        return format!("it was the workflow {}, not {}", before.workflow, after.workflow);
    }
    let mut differs = Vec::new();
    let fields = |text: &str| serde_json::from_str::<BTreeMap<String, Value>>(text).unwrap_or_default();
    let (params_before, params_after) = (fields(&before.params), fields(&after.params));
    let names: BTreeSet<_> = params_before.keys().chain(params_after.keys()).collect();
    let changed = names.into_iter().filter(|name| params_before.get(*name) != params_after.get(*name));
    differs.extend(changed.map(|name| format!("parameter {name}")));
    if known.seed() != now.seed && !differs.iter().any(|named| named == "parameter seed") {
        differs.push("parameter seed".to_owned());
    }
    let digests = |inputs: &[ArtefactRef]| -> BTreeMap<String, String> {
        inputs.iter().map(|input| (input.name.clone(), input.digest.clone())).collect()
    };
    let (inputs_before, inputs_after) = (digests(known.inputs()), digests(inputs));
    let names: BTreeSet<_> = inputs_before.keys().chain(inputs_after.keys()).collect();
    let changed = names.into_iter().filter(|name| inputs_before.get(*name) != inputs_after.get(*name));
    differs.extend(changed.map(|name| format!("input {name}")));
    let stages = |definition: &Definition| -> BTreeMap<String, String> {
        let as_text = |stage| serde_json::to_string(stage).unwrap_or_default();
        definition.stages.iter().map(|stage| (stage.path.clone(), as_text(stage))).collect()
    };
    let (stages_before, stages_after) = (stages(before), stages(after));
    let names: BTreeSet<_> = stages_before.keys().chain(stages_after.keys()).collect();
    let changed = names.into_iter().filter(|name| stages_before.get(*name) != stages_after.get(*name));
    differs.extend(changed.map(|name| format!("stage {name}")));
    if differs.is_empty() {
        return "the text of its workflow".to_owned();
    }
    let more = differs.len().saturating_sub(DIFFERENCES_MAX);
    differs.truncate(DIFFERENCES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} differ(s){more}", differs.join(", "))
}

/// Differences that one refusal names.
const DIFFERENCES_MAX: usize = 8;

/// References to inputs that are in the store.
pub(super) fn stored(
    shared: &Shared,
    inputs: &BTreeMap<String, String>,
) -> Result<Vec<ArtefactRef>, SubmitError> {
    let mut stored = Vec::with_capacity(inputs.len());
    for (name, digest) in inputs {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(SubmitError::InputName(name.clone()));
        }
        let missing = || SubmitError::NotUploaded { name: name.clone(), digest: digest.clone() };
        let parsed = digest.parse().map_err(|_| missing())?;
        let bytes = std::fs::metadata(shared.artefacts.path(&parsed)).map_err(|_| missing())?.len();
        stored.push(ArtefactRef { name: name.clone(), digest: digest.clone(), bytes });
    }
    Ok(stored)
}

/// Whether any stage works on a design space.
fn needs_space(definition: &Definition) -> bool {
    definition.stages.iter().any(|stage| {
        !matches!(
            stage.kind,
            StageKind::Exec
                | StageKind::Approval
                | StageKind::Check
                | StageKind::Signal
                | StageKind::QuantumBackendSetup
                | StageKind::ReleaseAssessment
                | StageKind::ReleaseRollback
                // Initialization of a workflow without a space checks what it is given.
                | StageKind::Initialization
        )
    })
}

fn check_inputs(definition: &Definition, inputs: &BTreeMap<String, String>) -> Result<(), SubmitError> {
    let has = |name: &str| inputs.contains_key(name);
    if !needs_space(definition) || has("space") || (has("candidates") && has("constraints")) {
        return Ok(());
    }
    let got: Vec<&str> = inputs.keys().map(String::as_str).collect();
    Err(SubmitError::InputMissing {
        expected: "`space`, or `candidates` and `constraints`".to_owned(),
        got: if got.is_empty() { "none".to_owned() } else { got.join(", ") },
    })
}
