//! One workflow as it is written, in either form, with the place of whatever may turn out wrong.
//!
//! Rule: here shape, types and ranges are judged; what needs other workflows or the table is left to
//! [`super::expand`]. Short form: the keys stand at the top, among them `workflow`. Long form: the top
//! key is the workflow's name. Start at [`read`].

use super::criteria;
use super::retries::{ATTEMPTS_MAX, RetryOn, Source, Sources};
use super::spec::{Criterion, Demand, Gate, StageKind};
use super::units;
use super::walk::{Fields, Placed, Problems, did_you_mean};
use super::yaml::{Node, Place, Scalar, Value};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// Most stages written in one workflow, and most after sub-workflows are flattened.
/// The largest known has some hundreds; a run's state is walked on every event.
pub const STAGES_MAX: usize = 1000;
/// Longest name of a stage or workflow: it becomes part of metric labels and file names.
pub const NAME_BYTES_MAX: usize = 64;

/// A workflow as written.
#[derive(Debug, Clone, Default)]
pub(super) struct Workflow {
    pub name: String,
    pub at: Place,
    pub stages: Vec<Stage>,
    /// True if no stage states what it needs: then each needs the one before it.
    pub in_written_order: bool,
    pub inputs: BTreeMap<String, String>,
    pub params: Map<String, Json>,
    pub ceilings: Demand,
    pub criteria: Vec<Criterion>,
    pub priority: Option<u8>,
    pub utcs_phase: Option<u8>,
    pub defaults: Tuning,
    /// Longest run, in ms, with its place.
    pub deadline: Option<(u64, Place)>,
}

/// A stage as written.
#[derive(Debug, Clone, Default)]
pub(super) struct Stage {
    pub name: String,
    pub at: Place,
    pub kind: Option<StageKind>,
    /// A `kind` was written but is not one; nothing more is to be said about it.
    pub kind_is_wrong: bool,
    pub long_type: Option<Placed>,
    pub needs: Option<Vec<Placed>>,
    pub params: Map<String, Json>,
    pub tasks: Vec<Placed>,
    pub inputs: Vec<Placed>,
    pub outputs: Vec<Placed>,
    pub tuning: Tuning,
    pub demand: Demand,
    pub gate: Option<(Gate, Place)>,
    /// Who may decide at the gate.
    pub gate_roles: Vec<String>,
    pub when: Option<Criterion>,
    pub utcs_phase: Option<u8>,
    /// Fields that only some kinds understand, with their places.
    pub command: Option<(Json, Place)>,
    pub undo: Option<(Json, Place)>,
    pub idempotent: Option<(bool, Place)>,
}

/// Retry and timeout as far as they are stated.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tuning {
    pub attempts: Option<u32>,
    pub backoff_ms: Option<u64>,
    pub backoff_ms_max: Option<u64>,
    pub jitter_permille: Option<u16>,
    pub factor_permille: Option<u32>,
    pub retry_on: Option<RetryOn>,
    /// Who stated how failed attempts are repeated.
    pub sources: Sources,
    /// The inner `None` is a stated "no limit".
    pub start_to_close_ms: Option<Option<u64>>,
    pub heartbeat_ms: Option<u64>,
    pub schedule_to_start_ms: Option<u64>,
}

impl Tuning {
    /// What `self` states, and `other` where `self` is silent.
    pub fn or(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.or(other.attempts),
            backoff_ms: self.backoff_ms.or(other.backoff_ms),
            backoff_ms_max: self.backoff_ms_max.or(other.backoff_ms_max),
            jitter_permille: self.jitter_permille.or(other.jitter_permille),
            factor_permille: self.factor_permille.or(other.factor_permille),
            retry_on: self.retry_on.or(other.retry_on),
            sources: self.sources.or(other.sources),
            start_to_close_ms: self.start_to_close_ms.or(other.start_to_close_ms),
            heartbeat_ms: self.heartbeat_ms.or(other.heartbeat_ms),
            schedule_to_start_ms: self.schedule_to_start_ms.or(other.schedule_to_start_ms),
        }
    }
}

/// All workflows of a file, in order. What could not be read is left out and reported.
pub(super) fn read(documents: &[Node], problems: &mut Problems) -> Vec<Workflow> {
    let mut workflows: Vec<Workflow> = vec![];
    for document in documents {
        let Some(entries) = problems.map(document, "a workflow document") else { continue };
        let is_short = entries.iter().any(|entry| entry.key == "workflow" || entry.key == "stages");
        let found: Vec<_> = if is_short {
            workflow(document, None, problems).into_iter().collect()
        } else {
            entries
                .iter()
                .filter_map(|entry| workflow(&entry.node, Some((&entry.key, entry.key_at)), problems))
                .collect()
        };
        for workflow in found {
            if workflows.iter().any(|earlier| earlier.name == workflow.name) {
                let message = format!("the workflow `{}` stands twice in this file", workflow.name);
                problems.add(workflow.at, "EX-0109", message, "rename one of them");
            } else {
                workflows.push(workflow);
            }
        }
    }
    workflows
}

/// One workflow; `long_name` is its top key in the long form.
fn workflow(node: &Node, long_name: Option<(&String, Place)>, problems: &mut Problems) -> Option<Workflow> {
    let what = long_name.map_or("a workflow".into(), |(name, _)| format!("the workflow `{name}`"));
    let mut fields = Fields::open(node, what, problems)?;
    let mut workflow = Workflow { at: node.at, in_written_order: true, ..Workflow::default() };
    match long_name {
        Some((name, at)) => (workflow.name, workflow.at) = (name.clone(), at),
        None => match fields.take("workflow") {
            Some(node) => {
                workflow.at = node.at;
                workflow.name = problems.text(node, "workflow").unwrap_or_default();
            }
            None => {
                problems.add(node.at, "EX-0104", "`workflow` is missing", "name it: `workflow: my-workflow`")
            }
        },
    }
    if !workflow.name.is_empty() {
        check_name(&workflow.name, "workflow", workflow.at, problems);
    }
    for key in ["name", "description", "version"] {
        if let Some(node) = fields.take(key) {
            problems.text(node, key);
        }
    }
    if let Some(node) = fields.take("inputs") {
        for entry in problems.map(node, "inputs").unwrap_or_default() {
            if let Some(path) = problems.text(&entry.node, &entry.key) {
                workflow.inputs.insert(entry.key.clone(), path);
            }
        }
    }
    workflow.params = fields.take("params").map(|node| params(node, problems)).unwrap_or_default();
    if let Some(node) = fields.take("params") {
        for entry in problems.map(node, "params").unwrap_or_default() {
            if let Err((code, message)) = check_known_param(&entry.key, &entry.node.to_json()) {
                problems.add(entry.node.at, code, message, "");
            }
        }
    }
    if let Some(node) = fields.take("resources") {
        let (ceilings, priority) = demand(node, true, problems);
        (workflow.ceilings, workflow.priority) = (ceilings, priority);
    }
    if let Some(node) = fields.take("priority") {
        workflow.priority = priority(node, problems).or(workflow.priority);
    }
    workflow.utcs_phase = fields.take("utcs_phase").and_then(|node| utcs_phase(node, problems));
    workflow.deadline = deadline(&mut fields, problems);
    if let Some(node) = fields.take("success_criteria") {
        workflow.criteria = criteria::read(node, problems);
    }
    if let Some(node) = fields.take("defaults")
        && let Some(mut fields) = Fields::open(node, "defaults", problems)
    {
        workflow.defaults = tuning(&mut fields, Source::Workflow, problems);
        fields.finish(problems);
    }
    match fields.take("stages") {
        None => {
            let message = format!("the workflow `{}` has no `stages`", workflow.name);
            problems.add(workflow.at, "EX-0104", message, "list at least one stage");
        }
        Some(node) => stages(node, &mut workflow, problems),
    }
    fields.finish(problems);
    Some(workflow)
}

fn stages(node: &Node, workflow: &mut Workflow, problems: &mut Problems) {
    let empty = || (format!("the workflow `{}` has no stages", workflow.name), "list at least one stage");
    if node.scalar() == Some(Scalar::Null) {
        let (message, help) = empty();
        return problems.add(node.at, "EX-0110", message, help);
    }
    let Some(items) = problems.list(node, "stages") else { return };
    if items.is_empty() {
        let (message, help) = empty();
        return problems.add(node.at, "EX-0110", message, help);
    }
    if items.len() > STAGES_MAX {
        let message = format!("{} stages, more than the {STAGES_MAX} allowed", items.len());
        return problems.add(node.at, "EX-0100", message, "split the workflow");
    }
    for item in items {
        let Some(stage) = stage(item, problems) else { continue };
        if !stage.name.is_empty() && workflow.stages.iter().any(|earlier| earlier.name == stage.name) {
            let message = format!("the stage `{}` stands twice in `{}`", stage.name, workflow.name);
            problems.add(stage.at, "EX-0112", message, "give one of them another name and a `kind`");
            continue;
        }
        workflow.in_written_order &= stage.needs.is_none();
        workflow.stages.push(stage);
    }
}

fn stage(node: &Node, problems: &mut Problems) -> Option<Stage> {
    let mut stage = Stage { at: node.at, ..Stage::default() };
    if let Value::Scalar { .. } = node.value {
        stage.name = problems.text(node, "stages")?;
        return check_name(&stage.name, "stage", node.at, problems).then_some(stage);
    }
    let mut fields = Fields::open(node, "a stage", problems)?;
    let mut named = false;
    match fields.take("name") {
        None => problems.add(node.at, "EX-0104", "a stage has no `name`", "every stage needs one"),
        Some(node) => {
            stage.at = node.at;
            if let Some(name) = problems.text(node, "name") {
                named = check_name(&name, "stage", node.at, problems);
                stage.name = name;
            }
        }
    }
    if let Some(node) = fields.take("kind")
        && let Some(name) = problems.text(node, "kind")
    {
        stage.kind = StageKind::from_name(&name);
        if stage.kind.is_none() {
            stage.kind_is_wrong = true;
            let known = StageKind::ALL.map(StageKind::name);
            let help = did_you_mean(&name, known).unwrap_or_else(|| format!("known: {}", known.join(", ")));
            problems.add(node.at, "EX-0111", format!("`{name}` is not a stage kind"), help);
        }
    }
    if let Some(node) = fields.take("type") {
        stage.long_type = problems.text(node, "type").map(|text| Placed { text, at: node.at });
    }
    if let Some(node) = fields.take("description") {
        problems.text(node, "description");
    }
    if let Some(node) = fields.take_either("needs", "dependencies", problems) {
        // A list that cannot be read is still a statement: it must not turn the others into a chain.
        stage.needs = Some(problems.texts(node, "needs").unwrap_or_default());
    }
    stage.params = fields.take("params").map(|node| params(node, problems)).unwrap_or_default();
    let mut texts = |key| fields.take(key).and_then(|node| problems.texts(node, key)).unwrap_or_default();
    stage.tasks = texts("tasks");
    stage.inputs = texts("inputs");
    stage.outputs = texts("outputs");
    stage.tuning = tuning(&mut fields, Source::Stage, problems);
    if let Some(node) = fields.take("resources") {
        stage.demand = demand(node, false, problems).0;
    }
    if let Some(node) = fields.take("gate")
        && let Some((gate, roles)) = gate(node, problems)
    {
        (stage.gate, stage.gate_roles) = (Some((gate, node.at)), roles);
    }
    if let Some(node) = fields.take("when") {
        stage.when = criteria::expression(node, "when", problems);
    }
    stage.utcs_phase = fields.take("utcs_phase").and_then(|node| utcs_phase(node, problems));
    stage.command =
        fields.take("command").and_then(|node| Some((command(node, "command", problems)?, node.at)));
    stage.undo = fields.take("undo").and_then(|node| Some((command(node, "undo", problems)?, node.at)));
    stage.idempotent =
        fields.take("idempotent").and_then(|node| Some((problems.flag(node, "idempotent")?, node.at)));
    fields.finish(problems);
    named.then_some(stage)
}

fn check_name(name: &str, what: &str, at: Place, problems: &mut Problems) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let fits =
        letters && name.len() <= NAME_BYTES_MAX && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !fits {
        let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
        let help = "use letters, digits, `-` and `_`, at most 64, a letter or digit first";
        problems.add(at, "EX-0113", format!("{shown:?} cannot name a {what}"), help);
    }
    fits
}

fn params(node: &Node, problems: &mut Problems) -> Map<String, Json> {
    let entries = problems.map(node, "params").unwrap_or_default();
    entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
}

/// Ranges of the workflow-level parameters that every workflow shares.
pub(super) fn check_known_param(name: &str, value: &Json) -> Result<(), (&'static str, String)> {
    let wrong = |expected: &str| Err(("EX-0123", format!("`{name}` is {value}; it must be {expected}")));
    let number = value.as_f64();
    match name {
        "seed" if value.as_u64().is_none() => wrong("a whole number, at least 0"),
        "cvar_level" if !number.is_some_and(|level| (0.0..1.0).contains(&level)) => {
            wrong("a number from 0 to below 1")
        }
        "risk_weight" if !number.is_some_and(|weight| weight >= 0.0) => wrong("a number, at least 0"),
        _ => Ok(()),
    }
}

fn duration(node: &Node, what: &str, problems: &mut Problems) -> Option<u64> {
    let text = problems.text(node, what)?;
    match units::duration_ms(&text) {
        Ok(ms) => Some(ms),
        Err(why) => {
            let message = format!("`{what}`: {why}");
            problems.add(
                node.at,
                "EX-0122",
                message,
                "write `500ms`, `30s`, `5m`, `2h`, or seconds as a number",
            );
            None
        }
    }
}

/// `retry`, `timeout` and `timeout_minutes` of a stage or of the workflow's `defaults`.
fn tuning(fields: &mut Fields<'_>, source: Source, problems: &mut Problems) -> Tuning {
    let mut tuning = Tuning::default();
    if let Some(node) = fields.take("retry")
        && let Some(mut retry) = Fields::open(node, "retry", problems)
    {
        let attempts = retry
            .take("attempts")
            .and_then(|node| problems.whole(node, "attempts", 1..=u64::from(ATTEMPTS_MAX)));
        tuning.attempts = attempts.and_then(|attempts| u32::try_from(attempts).ok());
        tuning.backoff_ms = retry.take("backoff").and_then(|node| duration(node, "backoff", problems));
        tuning.backoff_ms_max =
            retry.take("backoff_max").and_then(|node| duration(node, "backoff_max", problems));
        let jitter = retry.take("jitter").and_then(|node| problems.number(node, "jitter", 0.0..=1.0));
        tuning.jitter_permille = jitter.map(|share| (share * 1000.0).round() as u16);
        let factor = retry.take("factor").and_then(|node| problems.number(node, "factor", 1.0..=10.0));
        tuning.factor_permille = factor.map(|factor| (factor * 1000.0).round() as u32);
        if let Some(node) = retry.take("retry_on")
            && let Some(words) = problems.texts(node, "retry_on")
        {
            match RetryOn::read(words.iter().map(|word| word.text.as_str())) {
                Ok(on) => tuning.retry_on = Some(on),
                Err(expected) => {
                    problems.add(node.at, "EX-0123", format!("`retry_on`: expected {expected}"), "");
                }
            }
        }
        tuning.sources = Sources {
            attempts: tuning.attempts.map(|_| source),
            backoff: tuning.backoff_ms.map(|_| source),
            backoff_max: tuning.backoff_ms_max.map(|_| source),
            factor: tuning.factor_permille.map(|_| source),
            retry_on: tuning.retry_on.map(|_| source),
        };
        retry.finish(problems);
    }
    let timeout = fields.take("timeout");
    let minutes = fields.take("timeout_minutes");
    if let Some(node) = minutes {
        let range = 0.001..=units::DURATION_MS_MAX as f64 / 60_000.0;
        let minutes = problems.number(node, "timeout_minutes", range);
        tuning.start_to_close_ms = minutes.map(|minutes| Some((minutes * 60_000.0).round() as u64));
    }
    let Some(node) = timeout else { return tuning };
    let limit = |node: &Node, what: &str, problems: &mut Problems| {
        if node.raw() == "none" { Some(None) } else { duration(node, what, problems).map(Some) }
    };
    let mut limits = tuning;
    if let Value::Map(_) = node.value {
        if let Some(mut timeout) = Fields::open(node, "timeout", problems) {
            if let Some(node) = timeout.take("start_to_close") {
                limits.start_to_close_ms = limit(node, "start_to_close", problems);
            }
            limits.heartbeat_ms =
                timeout.take("heartbeat").and_then(|node| duration(node, "heartbeat", problems));
            let start = timeout.take("schedule_to_start");
            limits.schedule_to_start_ms =
                start.and_then(|node| duration(node, "schedule_to_start", problems));
            timeout.finish(problems);
        }
    } else {
        limits.start_to_close_ms = limit(node, "timeout", problems);
    }
    if let (Some(node), Some(_), true) =
        (minutes, tuning.start_to_close_ms, limits.start_to_close_ms != tuning.start_to_close_ms)
    {
        problems.add(
            node.at,
            "EX-0105",
            "`timeout_minutes` and `timeout` state different limits",
            "keep one",
        );
    }
    limits
}

/// Resources, and the priority that the long form may put among them (workflow level only).
fn demand(node: &Node, of_workflow: bool, problems: &mut Problems) -> (Demand, Option<u8>) {
    let mut demand = Demand::default();
    let Some(mut fields) = Fields::open(node, "resources", problems) else { return (demand, None) };
    if let Some(node) = fields.take_either("cpu", "cpu_cores", problems) {
        let cores = problems.whole(node, "cpu", 1..=65_536);
        demand.cpu_cores = cores.and_then(|cores| u32::try_from(cores).ok()).unwrap_or_default();
    }
    if let Some(node) = fields.take_either("shots", "quantum_shots", problems) {
        demand.shots = problems.whole(node, "shots", 1..=1_000_000_000_000).unwrap_or_default();
    }
    let mut size = |key: &'static str, alias: &'static str| {
        let (plain, gib) = (fields.take(key), fields.take(alias));
        if let (Some(_), Some(node)) = (plain, gib) {
            let message = format!("`{alias}` is another name for `{key}`, and both are given");
            problems.add(node.at, "EX-0105", message, "keep one");
        }
        let from_gib = |node, problems: &mut Problems| {
            problems.number(node, alias, 0.001..=1e9).map(|gib| (gib * 1024.0).ceil() as u64)
        };
        let from_text = |node: &Node, problems: &mut Problems| {
            let text = problems.text(node, key)?;
            match units::size_mib(&text) {
                Ok(mib) => Some(mib),
                Err(why) => {
                    problems.add(node.at, "EX-0123", format!("`{key}`: {why}"), "write `512MiB` or `8GiB`");
                    None
                }
            }
        };
        match (plain, gib) {
            (Some(node), _) => from_text(node, problems),
            (None, Some(node)) => from_gib(node, problems),
            (None, None) => None,
        }
        .unwrap_or_default()
    };
    demand.memory_mib = size("memory", "memory_gb");
    demand.storage_mib = size("storage", "storage_gb");
    demand.backend = fields.take("backend").and_then(|node| problems.text(node, "backend"));
    let priority =
        if of_workflow { fields.take("priority").and_then(|node| priority(node, problems)) } else { None };
    fields.finish(problems);
    (demand, priority)
}

fn priority(node: &Node, problems: &mut Problems) -> Option<u8> {
    let text = problems.text(node, "priority")?;
    let priority = units::priority(&text);
    if priority.is_none() {
        let help = "write critical, high, medium, low, or a number from 0 to 255";
        problems.add(node.at, "EX-0125", format!("{text:?} is not a priority"), help);
    }
    priority
}

fn utcs_phase(node: &Node, problems: &mut Problems) -> Option<u8> {
    let text = problems.text(node, "utcs_phase")?;
    let phase = units::utcs_phase(&text);
    if phase.is_none() {
        problems.add(
            node.at,
            "EX-0123",
            format!("{text:?} is not a UTCS phase"),
            "write a number from 1 to 11",
        );
    }
    phase
}

/// Roles that a gate may ask for; a viewer decides nothing.
pub const GATE_ROLES: [&str; 3] = ["operator", "approver", "admin"];

/// `deadline: 2h`, or `timeout_minutes: 120` as the long form has it: of the run as a whole.
fn deadline(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<(u64, Place)> {
    let node = fields.take("deadline");
    let minutes = fields.take("timeout_minutes");
    if let (Some(_), Some(node)) = (node, minutes) {
        problems.add(
            node.at,
            "EX-0105",
            "`timeout_minutes` is another name for `deadline`, and both are given",
            "keep one",
        );
    }
    if let Some(node) = node {
        return Some((duration(node, "deadline", problems)?, node.at));
    }
    let node = minutes?;
    let range = 0.001..=units::DURATION_MS_MAX as f64 / 60_000.0;
    let minutes = problems.number(node, "timeout_minutes", range)?;
    Some(((minutes * 60_000.0).round() as u64, node.at))
}

fn gate(node: &Node, problems: &mut Problems) -> Option<(Gate, Vec<String>)> {
    if node.scalar() == Some(Scalar::Flag(true)) {
        return Some((Gate { approvals: 1, deadline_ms: None }, Vec::new()));
    }
    let mut fields = Fields::open(node, "gate", problems)?;
    let stated = fields.take("approvals").map_or(Some(1), |node| problems.whole(node, "approvals", 1..=20));
    let deadline_ms = fields.take("deadline").and_then(|node| duration(node, "deadline", problems));
    let stated_roles =
        fields.take("roles").and_then(|node| problems.texts(node, "roles")).unwrap_or_default();
    for role in &stated_roles {
        if !GATE_ROLES.contains(&role.text.as_str()) {
            let message = format!("{:?} is no role that may decide", role.text);
            problems.add(role.at, "EX-0123", message, format!("roles: {}", GATE_ROLES.join(", ")));
        }
    }
    fields.finish(problems);
    let roles = stated_roles.into_iter().map(|role| role.text).collect();
    Some((Gate { approvals: u32::try_from(stated?).ok()?, deadline_ms }, roles))
}

/// A program with its arguments: a list that is not empty, first the program.
fn command(node: &Node, what: &str, problems: &mut Problems) -> Option<Json> {
    let words = problems.texts(node, what)?;
    if words.first().is_none_or(|word| word.text.is_empty()) {
        problems.add(
            node.at,
            "EX-0104",
            format!("`{what}` names no program"),
            "write `[program, argument, ..]`",
        );
        return None;
    }
    Some(Json::from(words.into_iter().map(|word| word.text).collect::<Vec<_>>()))
}
