//! A flat stage before defaults are filled in, and groups of them in pipeline order.

use crate::definition::document::Tuning;
use crate::definition::spec::{Criterion, Demand, Gate, StageKind};
use crate::definition::table;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// A flat stage before defaults are filled in. `needs` are positions within the same list.
#[derive(Debug, Clone)]
pub(in crate::definition) struct Draft {
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

    pub(super) fn makes(&self, artefact: &str) -> bool {
        table::kind(self.kind).artefacts.contains(&artefact) || self.outputs.iter().any(|own| own == artefact)
    }
}

/// All stages that `group` waits for, directly or not, the group's own included.
pub(super) fn ancestors(drafts: &[Draft], group: impl Iterator<Item = usize>) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open: Vec<usize> = group.collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&drafts[next].needs);
        }
    }
    found
}

/// Stages of `kinds` in pipeline order, each needing the one before.
pub(super) fn chain(name: &str, mut kinds: Vec<StageKind>) -> Vec<Draft> {
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
pub(super) fn add_kind(group: &mut Vec<Draft>, name: &str, kind: StageKind) -> usize {
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
