//! Flattening: names become kinds, sub-workflows become stages with path names, tasks find their kind.
//!
//! Rule: what the caller's stage states wins over what the sub-workflow states, except limits, where the
//! smaller holds. Edges only ever go from a group's first stages to an earlier group's last ones,
//! so groups without circles give a whole without circles. Start at [`Expander::expand`].

use super::document::{self, STAGES_MAX, Stage, Tuning, Workflow};
use super::problem::Problem;
use super::spec::{Criterion, Demand, Gate, StageKind};
use super::walk::{Placed, Problems, did_you_mean};
use super::yaml::{self, Place};
use super::{Library, order, parameters, table};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting of workflows. The programme's own files need two levels.
pub const NESTING_MAX: usize = 8;

/// A flat stage before defaults are filled in. `needs` are positions within the same list.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub path: String,
    pub kind: StageKind,
    pub needs: BTreeSet<usize>,
    pub params: Map<String, Json>,
    pub tasks: Vec<String>,
    pub outputs: Vec<String>,
    pub tuning: Tuning,
    pub demand: Demand,
    pub gate: Option<Gate>,
    pub gate_roles: Vec<String>,
    pub when: Option<Criterion>,
    pub utcs_phase: Option<u8>,
    pub idempotent: Option<bool>,
}

impl Draft {
    pub fn new(path: String, kind: StageKind) -> Self {
        Self {
            path,
            kind,
            needs: BTreeSet::new(),
            params: Map::new(),
            tasks: vec![],
            outputs: vec![],
            tuning: Tuning::default(),
            demand: Demand::default(),
            gate: None,
            gate_roles: vec![],
            when: None,
            utcs_phase: None,
            idempotent: None,
        }
    }

    fn makes(&self, artefact: &str) -> bool {
        table::kind(self.kind).artefacts.contains(&artefact) || self.outputs.iter().any(|own| own == artefact)
    }
}

/// Most stages looked at in flattening; a workflow of [`STAGES_MAX`] flat stages needs about twice as many.
const VISITS_MAX: usize = 4 * STAGES_MAX;

/// What a workflow comes to once it is flat.
#[derive(Debug, Default)]
pub(super) struct Flat {
    pub drafts: Vec<Draft>,
    /// Inputs and criteria of sub-workflows, the outer ones first.
    pub inputs: BTreeMap<String, String>,
    pub criteria: Vec<Criterion>,
}

/// Where a workflow was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    File,
    Library,
}

/// What a stage's name (or kind, or tasks) comes to.
enum Meaning {
    Kinds(Vec<StageKind>),
    Workflow(Source),
    /// Reported already.
    Wrong,
}

/// Flattens workflows of one file, with the built-in ones behind them.
pub(super) struct Expander<'a> {
    file: &'a [Workflow],
    library: &'a Library,
    /// Built-in workflows read so far.
    built_in: BTreeMap<String, Option<Workflow>>,
    /// The chain of workflows being flattened, to refuse recursion.
    open: Vec<(Source, String)>,
    /// Stages flattened so far, the workflows that stand for stages included.
    visits: usize,
    /// Workflow-level parameters that something further out states.
    stated: BTreeSet<String>,
    inputs: BTreeMap<String, String>,
    criteria: Vec<Criterion>,
    problems_elsewhere: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl<'a> Expander<'a> {
    pub fn new(file: &'a [Workflow], library: &'a Library, stated: BTreeSet<String>) -> Self {
        Self {
            file,
            library,
            built_in: BTreeMap::new(),
            open: vec![],
            visits: 0,
            stated,
            inputs: BTreeMap::new(),
            criteria: vec![],
            problems_elsewhere: vec![],
            warnings: vec![],
        }
    }

    /// Flattens `workflow` of `file`. What is wrong is added to `problems`; then the result is partial.
    pub fn expand(&mut self, workflow: &Workflow, file: &str, problems: &mut Vec<Problem>) -> Flat {
        let mut local = Problems::of(file);
        let drafts = self.workflow(workflow, Source::File, file, &mut local);
        problems.extend(local.into_found());
        problems.append(&mut self.problems_elsewhere);
        self.open.clear();
        self.visits = 0;
        Flat {
            drafts,
            inputs: std::mem::take(&mut self.inputs),
            criteria: std::mem::take(&mut self.criteria),
        }
    }

    fn workflow(
        &mut self,
        workflow: &Workflow,
        source: Source,
        file: &str,
        problems: &mut Problems,
    ) -> Vec<Draft> {
        if let (Some((_, at)), false) = (workflow.deadline, self.open.is_empty()) {
            let message =
                format!("the deadline of `{}` holds only where it is submitted by itself", workflow.name);
            self.warn(file, at, "EX-0130", message, "state it in the workflow that contains it");
        }
        self.open.push((source, workflow.name.clone()));
        for (name, path) in &workflow.inputs {
            self.inputs.entry(name.clone()).or_insert_with(|| path.clone());
        }
        for criterion in &workflow.criteria {
            if !self.criteria.iter().any(|known| known.expression == criterion.expression) {
                self.criteria.push(criterion.clone());
            }
        }
        let outer = self.stated.clone();
        self.stated.extend(workflow.params.keys().cloned());
        order::check(workflow, problems);
        let mut drafts: Vec<Draft> = vec![];
        let mut groups: Vec<std::ops::Range<usize>> = vec![];
        for stage in &workflow.stages {
            let mut group = self.stage(stage, workflow, source, file, problems);
            let start = drafts.len();
            for draft in &mut group {
                draft.needs = draft.needs.iter().map(|need| need + start).collect();
            }
            drafts.append(&mut group);
            groups.push(start..drafts.len());
        }
        connect(workflow, &groups, &mut drafts);
        if source == Source::Library || self.open.len() > 1 {
            for draft in &mut drafts {
                for (key, value) in workflow.params.iter().filter(|(key, _)| !outer.contains(*key)) {
                    draft.params.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        for (stage, group) in workflow.stages.iter().zip(&groups) {
            self.warn_of_unmade_inputs(stage, workflow, group, &drafts, file);
        }
        self.stated = outer;
        self.open.pop();
        drafts
    }

    /// The flat stages that one written stage comes to, in order, with needs among themselves only.
    fn stage(
        &mut self,
        stage: &Stage,
        workflow: &Workflow,
        source: Source,
        file: &str,
        problems: &mut Problems,
    ) -> Vec<Draft> {
        // Nested workflows multiply, also where they come to no stage at all, and so do their problems.
        self.visits += 1;
        if self.visits > VISITS_MAX {
            if self.visits == VISITS_MAX + 1 {
                let message = format!("more than {VISITS_MAX} stages and workflows once they are nested");
                problems.add(stage.at, "EX-0100", message, "split the workflow");
            }
            return vec![];
        }
        let tasks = known_tasks(stage, problems);
        let is_sub_workflow;
        let mut group = match self.meaning(stage, source, &tasks, problems) {
            Meaning::Wrong => return vec![],
            Meaning::Kinds(kinds) => {
                is_sub_workflow = false;
                chain(&stage.name, kinds)
            }
            Meaning::Workflow(found) => {
                is_sub_workflow = true;
                self.sub_workflow(stage, found, problems)
            }
        };
        if group.is_empty() {
            return vec![];
        }
        for row in tasks {
            let at = add_kind(&mut group, &stage.name, row.kind);
            if !group[at].tasks.iter().any(|task| task == row.name) {
                group[at].tasks.push(row.name.into());
            }
        }
        promise_outputs(stage, is_sub_workflow, &mut group, problems);
        state_fields(stage, workflow, &mut group, problems);
        if group.len() > 1 && stage.tuning.start_to_close_ms.flatten().is_some() {
            let message = format!(
                "the time limit of `{}` holds for each of its {} stages, not for their sum",
                stage.name,
                group.len()
            );
            self.warn(file, stage.at, "EX-0130", message, "");
        }
        group
    }

    fn meaning(
        &mut self,
        stage: &Stage,
        source: Source,
        tasks: &[&'static table::TaskRow],
        problems: &mut Problems,
    ) -> Meaning {
        if stage.kind_is_wrong {
            return Meaning::Wrong;
        }
        if let Some(kind) = stage.kind {
            if let Some(row) = tasks.iter().find(|row| row.kind != kind) {
                let at =
                    stage.tasks.iter().find(|task| task.text == row.name).map_or(stage.at, |task| task.at);
                let message = format!("the task `{}` is no part of `{}`", row.name, kind.name());
                problems.add(at, "EX-0119", message, format!("it belongs to `{}`", row.kind.name()));
            }
            return Meaning::Kinds(vec![kind]);
        }
        let named = StageKind::from_name(&stage.name)
            .map(|kind| vec![kind])
            .or_else(|| table::kinds_of_name(&stage.name).map(<[_]>::to_vec));
        if named.is_none() {
            if source == Source::File && self.file.iter().any(|known| known.name == stage.name) {
                return Meaning::Workflow(Source::File);
            }
            if self.library.text(&stage.name).is_some() {
                return Meaning::Workflow(Source::Library);
            }
        }
        if !tasks.is_empty() {
            return Meaning::Kinds(tasks.iter().map(|row| row.kind).collect());
        }
        if let Some(kinds) = named {
            return Meaning::Kinds(kinds);
        }
        self.meaning_of_type(stage, problems)
    }

    fn meaning_of_type(&self, stage: &Stage, problems: &mut Problems) -> Meaning {
        if let Some(long_type) = &stage.long_type {
            if let Some(kind) = StageKind::from_name(&long_type.text) {
                return Meaning::Kinds(vec![kind]);
            }
            if let Some((_, Some(kinds))) = table::TYPES.iter().find(|(name, _)| *name == long_type.text) {
                return Meaning::Kinds(kinds.to_vec());
            }
        }
        // Wrong tasks were reported already and say more than the name does.
        if stage.tasks.is_empty() {
            let kinds = StageKind::ALL.map(StageKind::name);
            let known = kinds
                .into_iter()
                .chain(table::NAMES.iter().map(|(name, _)| *name))
                .chain(self.file.iter().map(|workflow| workflow.name.as_str()))
                .chain(self.library.names());
            let help = did_you_mean(&stage.name, known)
                .unwrap_or_else(|| format!("kinds: {}; or give it a `kind`", kinds.join(", ")));
            let message = format!("`{}` is neither a stage kind nor a workflow", stage.name);
            problems.add(stage.at, "EX-0111", message, help);
        }
        Meaning::Wrong
    }

    fn sub_workflow(&mut self, stage: &Stage, found: Source, problems: &mut Problems) -> Vec<Draft> {
        let step = (found, stage.name.clone());
        if self.open.contains(&step) {
            let mut names: Vec<_> = self.open.iter().map(|(_, name)| name.as_str()).collect();
            names.push(&stage.name);
            let message = format!("a workflow contains itself: {}", names.join(" -> "));
            problems.add(stage.at, "EX-0116", message, "give the stage a `kind`, or another name");
            return vec![];
        }
        if self.open.len() >= NESTING_MAX {
            let message = format!("`{}` is nested more than {NESTING_MAX} workflows deep", stage.name);
            problems.add(stage.at, "EX-0117", message, "flatten it");
            return vec![];
        }
        let mut drafts = match found {
            Source::File => {
                let file = self.file;
                let Some(workflow) = file.iter().find(|known| known.name == stage.name) else {
                    return vec![];
                };
                let name = problems.file().to_owned();
                self.workflow(workflow, found, &name, problems)
            }
            Source::Library => {
                let Some(workflow) = self.built_in_workflow(&stage.name) else { return vec![] };
                let name = Library::file_of(&stage.name);
                let mut local = Problems::of(&name);
                let drafts = self.workflow(&workflow, found, &name, &mut local);
                self.problems_elsewhere.extend(local.into_found());
                drafts
            }
        };
        for draft in &mut drafts {
            draft.path = format!("{}/{}", stage.name, draft.path);
        }
        drafts
    }

    fn built_in_workflow(&mut self, name: &str) -> Option<Workflow> {
        if let Some(known) = self.built_in.get(name) {
            return known.clone();
        }
        let file = Library::file_of(name);
        let found = match yaml::parse(self.library.text(name)?, &file) {
            Ok(documents) => {
                let mut local = Problems::of(&file);
                let workflows = document::read(&documents, &mut local);
                self.problems_elsewhere.extend(local.into_found());
                workflows.into_iter().find(|workflow| workflow.name == name)
            }
            Err(problems) => {
                self.problems_elsewhere.extend(problems);
                None
            }
        };
        self.built_in.insert(name.into(), found.clone());
        found
    }

    fn warn(&mut self, file: &str, at: Place, code: &str, message: String, help: &str) {
        let mut local = Problems::of(file);
        local.add(at, code, message, help);
        self.warnings.extend(local.into_found());
    }

    /// An input that no earlier stage makes must come from outside, or the stage will fail.
    fn warn_of_unmade_inputs(
        &mut self,
        stage: &Stage,
        workflow: &Workflow,
        group: &std::ops::Range<usize>,
        drafts: &[Draft],
        file: &str,
    ) {
        if stage.inputs.is_empty() || group.is_empty() {
            return;
        }
        let before = ancestors(drafts, group.clone());
        for input in &stage.inputs {
            let stem = input.text.split('.').next().unwrap_or_default();
            let is_given = workflow.inputs.contains_key(&input.text) || workflow.inputs.contains_key(stem);
            if !is_given && !before.iter().any(|&earlier| drafts[earlier].makes(&input.text)) {
                let message = format!("no stage before `{}` makes `{}`", stage.name, input.text);
                self.warn(file, input.at, "EX-0121", message, "it must be given as an input of the run");
            }
        }
    }
}

/// All stages that `group` waits for, directly or not, the group's own included.
fn ancestors(drafts: &[Draft], group: impl Iterator<Item = usize>) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open: Vec<usize> = group.collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&drafts[next].needs);
        }
    }
    found
}

fn known_tasks(stage: &Stage, problems: &mut Problems) -> Vec<&'static table::TaskRow> {
    let mut rows = vec![];
    for task in &stage.tasks {
        match table::find_task(&task.text) {
            Some(row) => rows.push(row),
            None => {
                let known = table::TASKS.iter().map(|row| row.name);
                let help = did_you_mean(&task.text, known)
                    .unwrap_or_else(|| "docs/workflow-table.md lists the tasks".into());
                problems.add(
                    task.at,
                    "EX-0119",
                    format!("`{}` is not a task that anything does", task.text),
                    help,
                );
            }
        }
    }
    rows
}

/// Stages of `kinds` in pipeline order, each needing the one before.
fn chain(name: &str, mut kinds: Vec<StageKind>) -> Vec<Draft> {
    kinds.sort_by_key(|&kind| table::rank(kind));
    kinds.dedup();
    let is_one = kinds.len() == 1;
    let mut drafts: Vec<Draft> = vec![];
    for kind in kinds {
        let path = if is_one { name.into() } else { format!("{name}/{}", kind.name()) };
        let mut draft = Draft::new(path, kind);
        draft.needs.extend(drafts.len().checked_sub(1));
        drafts.push(draft);
    }
    drafts
}

/// Position of the last stage of `kind` in the group, which is put into pipeline order if it is not there.
fn add_kind(group: &mut Vec<Draft>, name: &str, kind: StageKind) -> usize {
    if let Some(at) = group.iter().rposition(|draft| draft.kind == kind) {
        return at;
    }
    if group.len() == 1 && group[0].path == name {
        group[0].path = format!("{name}/{}", group[0].kind.name());
    }
    let earlier: Vec<usize> =
        (0..group.len()).filter(|&at| table::rank(group[at].kind) < table::rank(kind)).collect();
    let before = ancestors(group, earlier.iter().copied());
    // Written order follows the pipeline too: behind the last stage that it needs.
    let at = before.last().map_or(0, |last| last + 1);
    for draft in group.iter_mut() {
        draft.needs = draft.needs.iter().map(|&need| if need >= at { need + 1 } else { need }).collect();
    }
    for (later, draft) in group.iter_mut().enumerate() {
        if !before.contains(&later) {
            draft.needs.insert(at);
        }
    }
    let mut draft = Draft::new(format!("{name}/{}", kind.name()), kind);
    draft.needs.extend(earlier);
    group.insert(at, draft);
    at
}

/// Gives each promised output to the last stage of the group that can make it.
fn promise_outputs(stage: &Stage, is_sub_workflow: bool, group: &mut Vec<Draft>, problems: &mut Problems) {
    let may_grow = !stage.tasks.is_empty() && stage.kind.is_none();
    for output in &stage.outputs {
        let name = &output.text;
        if group.len() == 1 && group[0].kind == StageKind::Exec && !is_sub_workflow {
            promise(&mut group[0], name, output, problems);
            continue;
        }
        let at = group.iter().rposition(|draft| draft.makes(name)).or_else(|| {
            // Only what changes nothing outside may come in through a promise.
            let kind = table::maker_of(name).filter(|&kind| may_grow && !table::kind(kind).has_undo)?;
            (kind != StageKind::Exec).then(|| add_kind(group, &stage.name, kind))
        });
        match at {
            Some(at) => {
                if !group[at].outputs.contains(name) {
                    group[at].outputs.push(name.clone());
                }
            }
            None => {
                let own: Vec<_> =
                    group.iter().flat_map(|draft| table::kind(draft.kind).artefacts).copied().collect();
                let help = did_you_mean(name, own.iter().copied()).unwrap_or_else(|| match own.is_empty() {
                    true => "it makes no artefacts".into(),
                    false => format!("it can make {}", own.join(", ")),
                });
                problems.add(output.at, "EX-0120", format!("`{}` cannot make `{name}`", stage.name), help);
            }
        }
    }
}

/// An `exec` stage names its own outputs: plain file names, since they become artefact names.
fn promise(draft: &mut Draft, name: &str, output: &Placed, problems: &mut Problems) {
    let is_plain = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !is_plain {
        problems.add(
            output.at,
            "EX-0113",
            format!("{name:?} cannot name an artefact"),
            "use letters, digits, `.`, `-`, `_`",
        );
    } else if !draft.outputs.iter().any(|known| known == name) {
        draft.outputs.push(name.into());
    }
}

/// Lays what the written stage states over every flat stage it came to.
fn state_fields(stage: &Stage, workflow: &Workflow, group: &mut [Draft], problems: &mut Problems) {
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

/// Draws the edges between groups: first stages of one to last stages of those it needs.
fn connect(workflow: &Workflow, groups: &[std::ops::Range<usize>], drafts: &mut [Draft]) {
    let needed: BTreeSet<usize> = drafts.iter().flat_map(|draft| draft.needs.iter().copied()).collect();
    let last =
        |group: &std::ops::Range<usize>| group.clone().filter(|at| !needed.contains(at)).collect::<Vec<_>>();
    let exits: Vec<_> = groups.iter().map(last).collect();
    let entries: Vec<Vec<usize>> = groups
        .iter()
        .map(|group| group.clone().filter(|&at| drafts[at].needs.is_empty()).collect())
        .collect();
    for (index, needs) in order::edges(workflow).into_iter().enumerate() {
        for &entry in &entries[index] {
            for need in &needs {
                drafts[entry].needs.extend(&exits[*need]);
            }
        }
    }
}
