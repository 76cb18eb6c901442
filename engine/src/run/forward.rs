//! The way forward: stages become ready, start, finish; the run succeeds or must unwind.

use super::decide::Draft;
use super::{ArtefactRef, Event, Fence, Refusal, StageError, StageState, faults};
use crate::definition::{Attempt, Criterion, StageIndex, StageKind};
use crate::predicate::{self, Verdict};
use serde_json::{Map, Value};

/// Where a stage is that needs no room.
pub const PLACED_ON_DAEMON: &str = "daemon";

impl Draft<'_> {
    pub fn placed(&mut self, stage: StageIndex, given: Attempt, placed_on: String) -> Result<(), Refusal> {
        self.expect_ready(stage, given)?;
        self.placed = Some(stage);
        // Something may be due first, such as the end of another stage's gate; then nothing may start,
        // and a start that is taken back at once would leave an undo for nothing.
        self.advance();
        if self.expect_ready(stage, given).is_ok() {
            self.emit(Event::StageStarted { stage, attempt: given, placed_on });
        }
        Ok(())
    }

    pub fn expect_ready(&self, stage: StageIndex, given: Attempt) -> Result<(), Refusal> {
        self.expect_known(stage)?;
        match *self.state(stage) {
            StageState::Ready { attempt, .. } if attempt == given => Ok(()),
            _ => Err(Refusal::Stale),
        }
    }

    pub fn checkpointed(
        &mut self,
        stage: StageIndex,
        fence: Fence,
        checkpoint: ArtefactRef,
    ) -> Result<(), Refusal> {
        let attempt = self.expect_running(stage, fence)?;
        // It was made with the old parameters; resuming from it with the new ones would mix the two.
        if !self.next.stages[stage.0 as usize].untaken.is_empty() {
            return Err(self.not_now("a checkpoint made with the stage's present parameters"));
        }
        self.emit(Event::StageCheckpointed { stage, attempt, checkpoint });
        Ok(())
    }

    pub fn succeeded(
        &mut self,
        stage: StageIndex,
        fence: Fence,
        outputs: Vec<ArtefactRef>,
        facts: String,
    ) -> Result<(), Refusal> {
        let attempt = self.expect_running(stage, fence)?;
        self.reported = Some(stage);
        match serde_json::from_str::<Map<String, Value>>(&facts) {
            Ok(_) => self.emit(Event::StageSucceeded { stage, attempt, outputs, facts }),
            Err(reason) => self.attempt_failed(stage, attempt, faults::facts_malformed(&reason.to_string())),
        }
        Ok(())
    }

    /// Everything that follows by itself. Needs come first in `order`, so one pass settles chains of
    /// skipped stages and satisfied gates.
    pub fn go_forward(&mut self) {
        for at in 0..self.terms.order.len() {
            self.open(self.terms.order[at]);
        }
        if let Some(cause) = self.cause_to_unwind() {
            self.start_unwinding(cause);
        } else if self.next.stages.iter().all(|stage| stage.state.is_done()) {
            match self.criterion_not_met() {
                None => self.emit(Event::RunSucceeded),
                Some(error) => {
                    let cause = format!("{}: {}", error.code, error.message);
                    self.emit(Event::CriteriaNotMet { error });
                    self.start_unwinding(cause);
                }
            }
        }
    }

    fn open(&mut self, stage: StageIndex) {
        let progress = &self.next.stages[stage.0 as usize];
        match progress.state {
            StageState::Backoff { attempt, until_ms } if until_ms <= self.now_ms => {
                self.ready(stage, attempt);
            }
            StageState::AwaitingApproval => self.settle_gate(stage),
            StageState::AwaitingSignal { .. } => self.await_signal(stage),
            StageState::Waiting if self.needs_are_done(stage) => {
                // What has begun, or what people were asked about, is not put in question again.
                let asked =
                    progress.started_ms.is_some() || progress.attempts_used > 0 || progress.gate.is_some();
                if asked || self.condition_holds(stage) {
                    self.open_gate_or_ready(stage);
                }
            }
            _ => {}
        }
    }

    /// The stage may run: it asks for room, or starts at once if it needs none. One record instead of
    /// two then, and no way round by the scheduler.
    pub fn ready(&mut self, stage: StageIndex, attempt: Attempt) {
        if self.spec(stage).kind == StageKind::Signal {
            return self.await_signal(stage);
        }
        self.emit(if self.spec(stage).kind.is_immediate() {
            Event::StageStarted { stage, attempt, placed_on: PLACED_ON_DAEMON.to_owned() }
        } else {
            Event::StageReady { stage, attempt }
        });
    }

    fn needs_are_done(&self, stage: StageIndex) -> bool {
        self.spec(stage).needs.iter().all(|need| self.state(*need).is_done())
    }

    /// Whether the stage is to run; otherwise it is skipped or fails here.
    fn condition_holds(&mut self, stage: StageIndex) -> bool {
        let Some(Criterion { written, expression }) = &self.spec(stage).when else {
            return true;
        };
        match predicate::evaluate(expression, &self.next.facts(self.terms)) {
            Verdict::True => true,
            Verdict::False => {
                self.emit(Event::StageSkipped { stage, why: format!("`when` is false: {written}") });
                false
            }
            Verdict::NotEvaluated { why: reason } => {
                let attempt = self.next.stages[stage.0 as usize].next_attempt();
                let error = faults::condition_not_evaluated(written, &reason);
                self.emit(Event::StageFailed { stage, attempt, error });
                false
            }
        }
    }

    fn cause_to_unwind(&self) -> Option<String> {
        if let Some(by) = &self.next.cancelled_by {
            return Some(format!("cancelled by {by}"));
        }
        if self.next.late {
            let error = self.next.error.as_ref()?;
            return Some(format!("{}: {}", error.code, error.message));
        }
        let failed = self.next.failed?;
        let error = self.next.error.as_ref()?;
        Some(format!("stage {} failed: {}: {}", self.spec(failed).path, error.code, error.message))
    }

    fn criterion_not_met(&self) -> Option<StageError> {
        let criteria = &self.terms.definition.success_criteria;
        if criteria.is_empty() {
            return None;
        }
        let facts = self.next.facts(self.terms);
        criteria.iter().find_map(|criterion| match predicate::evaluate(&criterion.expression, &facts) {
            Verdict::True => None,
            Verdict::False => Some(faults::criterion_false(&criterion.written)),
            Verdict::NotEvaluated { .. } if is_waived(criterion, &facts, self.now_ms) => None,
            Verdict::NotEvaluated { why: reason } => {
                Some(faults::criterion_not_evaluated(&criterion.written, &reason))
            }
        })
    }
}

/// A waiver is an object under the fact `waivers` that names the criterion, a reason and the day until
/// which it holds (`expires: 2027-01-31`, inclusive, UTC).
/// Only what could not be evaluated can be waived; what is false stays false.
fn is_waived(criterion: &Criterion, facts: &Map<String, Value>, now_ms: u64) -> bool {
    let names = |text: &str| text == criterion.written || text == criterion.expression;
    facts.get("waivers").and_then(Value::as_array).is_some_and(|waivers| {
        waivers.iter().any(|waiver| {
            let field = |name: &str| waiver.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
            field("criterion").is_some_and(names)
                && field("reason").is_some()
                && field("expires").and_then(end_of_day_ms).is_some_and(|end_ms| now_ms <= end_ms)
        })
    })
}

/// Last millisecond of a day written as `YYYY-MM-DD`, in ms since 1970 (UTC).
fn end_of_day_ms(day: &str) -> Option<u64> {
    let begins = humantime::parse_rfc3339(&format!("{day}T00:00:00Z")).ok()?;
    let since = begins.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_millis() as u64 + 86_400_000 - 1)
}
