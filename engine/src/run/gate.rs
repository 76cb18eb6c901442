//! Gates: people decide whether a stage may start.
//!
//! An approval counts once per person and never from the submitter. It holds for the artefacts shown
//! when the gate opened; a retry of anything they come from opens the gate anew.

use super::decide::Draft;
use super::state::GateProgress;
use super::{ArtefactRef, Event, Refusal, StageState, faults};
use crate::definition::{GATE_ROLES, Gate, StageIndex, StageKind, StageSpec};

/// The stage's gate. A stage of kind `approval` always has one: it is nothing else.
pub(super) fn gate_of(spec: &StageSpec) -> Option<Gate> {
    let lone = (spec.kind == StageKind::Approval).then_some(Gate { approvals: 1, deadline_ms: None });
    spec.gate.clone().or(lone)
}

fn is_satisfied(gate: &Gate, progress: &GateProgress) -> bool {
    progress.rejection.is_none() && progress.approvals.len() >= gate.approvals.max(1) as usize
}

impl Draft<'_> {
    /// For a stage that may run: asks people first, if it has a gate that has not been passed.
    pub fn open_gate_or_ready(&mut self, stage: StageIndex) {
        let progress = &self.next.stages[stage.0 as usize];
        match gate_of(self.spec(stage)) {
            Some(gate) if progress.gate.is_none() => {
                let deadline_ms = gate.deadline_ms.map(|limit_ms| self.now_ms.saturating_add(limit_ms));
                let subjects = self.subjects(stage);
                self.emit(Event::GateOpened { stage, deadline_ms, subjects });
            }
            _ => self.ready(stage, progress.next_attempt()),
        }
    }

    /// Acts on the answers at an open gate, or on their absence past the deadline.
    pub fn settle_gate(&mut self, stage: StageIndex) {
        let spec = self.spec(stage);
        let progress = &self.next.stages[stage.0 as usize];
        let (Some(gate), Some(answers)) = (gate_of(spec), progress.gate.as_ref()) else {
            return;
        };
        let attempt = progress.next_attempt();
        if let Some((by, reason)) = &answers.rejection {
            let error = faults::rejected(by, reason);
            self.emit(Event::StageFailed { stage, attempt, error });
        } else if is_satisfied(&gate, answers) {
            if spec.kind == StageKind::Approval {
                let facts = "{}".to_owned();
                self.emit(Event::StageSucceeded { stage, attempt, outputs: Vec::new(), facts });
            } else {
                self.ready(stage, attempt);
            }
        } else if let Some(deadline_ms) = answers.deadline_ms.filter(|at_ms| *at_ms <= self.now_ms) {
            self.emit(Event::StageFailed { stage, attempt, error: faults::gate_unanswered(deadline_ms) });
        }
    }

    pub fn answer_gate(
        &mut self,
        stage: StageIndex,
        by: String,
        role: String,
        approved: bool,
        reason: String,
    ) -> Result<(), Refusal> {
        self.expect_known(stage)?;
        let open = "a stage whose gate is open";
        if *self.state(stage) != StageState::AwaitingApproval {
            return Err(self.not_now(open));
        }
        let Some(answers) = &self.next.stages[stage.0 as usize].gate else {
            return Err(self.not_now(open));
        };
        if answers.rejection.is_some() || answers.deadline_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
            return Err(self.not_now("a gate that is not rejected or past its deadline"));
        }
        if by == self.terms.submitted_by {
            let why = "the submitter may not decide at a gate of the same run; ask another person".to_owned();
            return Err(Refusal::NotAllowed { by, why });
        }
        let roles = &self.spec(stage).control.roles;
        let rank = |name: &str| GATE_ROLES.iter().position(|known| *known == name);
        // A role contains those before it.
        let least = roles.iter().filter_map(|needed| rank(needed)).min();
        if !roles.is_empty() && (least.is_none() || rank(&role) < least) {
            let (gate, needed) = (self.spec(stage).path.clone(), roles.join(" or "));
            return Err(Refusal::NotInRole { by, role, gate, needed });
        }
        if answers.approvals.contains(&by) {
            let why = "this person has approved already; the gate counts persons".to_owned();
            return Err(Refusal::NotAllowed { by, why });
        }
        self.emit(Event::ApprovalRecorded { stage, by, approved, reason });
        Ok(())
    }

    /// Every artefact the stage may build on, in order of production.
    fn subjects(&self, stage: StageIndex) -> Vec<ArtefactRef> {
        let ancestors = self.terms.ancestors(stage);
        let made_before = self.terms.order.iter().filter(|earlier| ancestors[earlier.0 as usize]);
        made_before.flat_map(|earlier| self.next.stages[earlier.0 as usize].outputs.iter().cloned()).collect()
    }
}
