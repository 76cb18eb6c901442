//! What the name of a stage comes to: kinds, or a workflow of the file or of the library.
//!
//! Rule: a workflow never contains itself, and is nested at most [`NESTING_MAX`] deep.

use super::draft::Draft;
use super::{Expander, Meaning, NESTING_MAX, Source};
use crate::definition::document::{self, Stage, Workflow};
use crate::definition::spec::StageKind;
use crate::definition::walk::{Problems, did_you_mean};
use crate::definition::yaml::{self};
use crate::definition::{Library, table};

impl<'a> Expander<'a> {
    pub(super) fn meaning(
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

    pub(super) fn sub_workflow(
        &mut self,
        stage: &Stage,
        found: Source,
        problems: &mut Problems,
    ) -> Vec<Draft> {
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
}

pub(super) fn known_tasks(stage: &Stage, problems: &mut Problems) -> Vec<&'static table::TaskRow> {
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
