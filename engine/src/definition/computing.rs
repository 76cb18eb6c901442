//! The part of a workflow that only computes: what a run can be checked by, without doing anything twice.
//!
//! Rule: a stage that changes something outside (a deployment, a program that may not be repeated), asks people,
//! or needs what such a stage makes, is left out and named; what stays is as it was.

use super::{Definition, StageIndex, StageKind, StageSpec};

/// Whether carrying a stage out again changes nothing outside of the run.
fn computes(stage: &StageSpec) -> bool {
    match stage.kind {
        StageKind::Deployment | StageKind::ReleaseAssessment | StageKind::ReleaseRollback => false,
        StageKind::Exec => stage.idempotent,
        StageKind::Approval
        | StageKind::Initialization
        | StageKind::ConstraintValidation
        | StageKind::MilpSolving
        | StageKind::FeasibleSetGeneration
        | StageKind::ResultValidation
        | StageKind::QuantumBackendSetup
        | StageKind::QaoaOptimization
        | StageKind::CvarCalculation
        | StageKind::ResultAnalysis
        | StageKind::ResultIntegration
        | StageKind::Validation
        | StageKind::Check
        // Passed over below, as approvals are: nobody sends a signal twice.
        | StageKind::Signal => true,
    }
}

impl Definition {
    /// This workflow without whatever acts, and the paths of the stages that were left out.
    ///
    /// Who needed an approval needs what the approval needed; gates and success criteria, which judge and do
    /// not compute, are dropped. `None` if no stage is left.
    pub fn computing_part(&self) -> Option<(Definition, Vec<String>)> {
        let count = self.stages.len();
        let at = |stage: &StageIndex| stage.0 as usize;
        let mut gone: Vec<bool> = self.stages.iter().map(|stage| !computes(stage)).collect();
        // At most one round per stage: each but the last finds another one.
        for _ in 0..count {
            let before = gone.clone();
            for (i, stage) in self.stages.iter().enumerate() {
                gone[i] |= stage.needs.iter().any(|need| before.get(at(need)).copied().unwrap_or(true));
            }
            if gone == before {
                break;
            }
        }
        let approval = |i: usize| matches!(self.stages[i].kind, StageKind::Approval | StageKind::Signal);
        let keeps = |i: usize| !gone[i] && !approval(i);
        let mut place = vec![None; count];
        for (new, old) in (0..count).filter(|&i| keeps(i)).enumerate() {
            place[old] = Some(StageIndex(new as u32));
        }
        let mut stages = Vec::new();
        for i in (0..count).filter(|&i| keeps(i)) {
            let mut needs = Vec::new();
            let mut open: Vec<usize> = self.stages[i].needs.iter().map(at).collect();
            let mut seen = vec![false; count];
            while let Some(need) = open.pop() {
                if std::mem::replace(&mut seen[need], true) {
                    continue;
                }
                match place[need] {
                    Some(new) => needs.push(new),
                    None => open.extend(self.stages[need].needs.iter().map(at)),
                }
            }
            needs.sort_unstable();
            stages.push(StageSpec { needs, gate: None, ..self.stages[i].clone() });
        }
        let left_out = (0..count).filter(|&i| !keeps(i)).map(|i| self.stages[i].path.clone()).collect();
        let control = super::RunControl::default();
        let part = Definition { stages, success_criteria: Vec::new(), control, ..self.clone() };
        (!part.stages.is_empty()).then_some((part, left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Library, LoadRequest, load};
    use super::*;
    use std::collections::BTreeMap;

    fn definition(text: &str) -> Definition {
        let library = Library::default();
        let params = BTreeMap::new();
        load(LoadRequest { text, file: "w.yaml", workflow: None, library: &library, params: &params })
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .definition
    }

    #[test]
    fn what_acts_and_what_needs_it_is_left_out_and_an_approval_is_passed_over() {
        let whole = definition(
            "workflow: w\nstages:\n  - {name: a, kind: check, params: {facts: {ok: true}}}\n  \
             - {name: ask, kind: approval, needs: [a]}\n  \
             - {name: b, kind: exec, command: [x], needs: [ask], idempotent: true}\n  \
             - {name: act, kind: exec, command: [x], needs: [b]}\n  \
             - {name: after, kind: check, needs: [act], params: {facts: {ok: true}}}\n  \
             - {name: c, kind: check, needs: [a, b], params: {facts: {ok: true}}}\n",
        );
        let (part, left_out) = whole.computing_part().unwrap();
        let paths: Vec<&str> = part.stages.iter().map(|stage| stage.path.as_str()).collect();
        assert_eq!(paths, ["a", "b", "c"]);
        assert_eq!(left_out, ["ask", "act", "after"]);
        assert_eq!(part.stages[1].needs, [StageIndex(0)]);
        assert_eq!(part.stages[2].needs, [StageIndex(0), StageIndex(1)]);
        assert!(part.stages.iter().all(|stage| stage.gate.is_none()));
    }

    #[test]
    fn a_workflow_that_only_acts_has_no_part_that_computes() {
        let whole = definition("workflow: w\nstages:\n  - {name: act, kind: exec, command: [x]}\n");
        assert_eq!(whole.computing_part(), None);
    }
}
