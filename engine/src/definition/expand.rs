//! Flattening: names become kinds, sub-workflows become stages with path names, tasks find their kind.
//!
//! Rule: what the caller's stage states wins over what the sub-workflow states, except limits, where the
//! smaller holds. Edges only ever go from a group's first stages to an earlier group's last ones,
//! so groups without circles give a whole without circles. Start at [`Expander::expand`].

mod draft;
mod fields;
mod meaning;
mod promises;

pub(super) use draft::Draft;

use super::document::{STAGES_MAX, Stage, Workflow};
use super::problem::Problem;
use super::spec::{Criterion, StageKind};
use super::walk::Problems;
use super::yaml::Place;
use super::{Library, order};
use draft::{add_kind, ancestors, chain};
use fields::state_fields;
use meaning::known_tasks;
use promises::promise_outputs;
use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting of workflows. The programme's own files need two levels.
pub const NESTING_MAX: usize = 8;

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
