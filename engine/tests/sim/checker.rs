//! The judge: sees only the journal's records and knows nothing of how a run decides.
//!
//! Every rule is written from what was promised, not from the code. Workers of the simulation sign
//! their answers with their fence, so a stale answer that got through is seen in the records.

use engine::definition::{Definition, StageIndex, StageKind, StageSpec};
use engine::run::{ErrorClass, Event, Interruption, ResetTo, StageError};
use std::collections::{BTreeMap, BTreeSet};

pub type Verdict = Result<(), String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    Forward,
    Unwinding,
    Succeeded,
    Over,
}

#[derive(Debug, Default)]
pub struct Gate {
    pub deadline_ms: Option<u64>,
    pub yes: BTreeSet<String>,
    pub no: bool,
}

/// What the records say of one stage.
#[derive(Debug, Default)]
pub struct Seen {
    pub succeeded: bool,
    pub skipped: bool,
    pub failed: bool,
    pub doubt: bool,
    /// Attempt, and time it became ready.
    pub ready: Option<(u32, u64)>,
    /// Attempt, position and time of its start.
    pub in_flight: Option<(u32, u64, u64)>,
    pub used: u32,
    pub not_before_ms: u64,
    pub begun: bool,
    pub intent: Option<u64>,
    pub gate: Option<Gate>,
    pub undo: Option<(u32, u64, u64)>,
    pub undo_used: u32,
    pub undo_not_before_ms: u64,
    pub undo_given_up: bool,
    pub checkpoint: Option<String>,
    pub tuned_in_flight: bool,
    pub tunings: BTreeMap<String, String>,
    pub flag: Option<bool>,
    /// Position of the record by which it was done.
    pub done_at: Option<u64>,
    /// It was asked to leave a checkpoint and end.
    pub stopping: bool,
    /// It waits for its signal; the deadline, if there is one.
    pub awaiting: Option<Option<u64>>,
    /// Data of the signal that came.
    pub signal: Option<String>,
}

#[derive(Debug)]
pub struct Checker {
    pub definition: Definition,
    submitted_by: String,
    pub stages: Vec<Seen>,
    pub going: Going,
    pub paused: bool,
    cancelled: bool,
    criteria_not_met: bool,
    last: (u64, u64),
    /// Stages that a reset is to run again, while it undoes them.
    pub resetting: Option<Vec<bool>>,
    /// What the world asked for last.
    pub reset_asked: Option<ResetTo>,
    late: bool,
    /// Paused by an emergency stop.
    stopped: bool,
    deadline_from_ms: u64,
}

macro_rules! must {
    ($holds:expr, $($words:tt)+) => {
        if !$holds { return Err(format!($($words)+)); }
    };
}

impl Checker {
    pub fn new(position: u64, time_ms: u64, event: &Event) -> Self {
        let Event::RunSubmitted { definition, submitted_by, .. } = event else {
            panic!("a journal begins with RunSubmitted");
        };
        let definition: Definition = serde_json::from_slice(definition).expect("a definition is JSON");
        Self {
            stages: definition.stages.iter().map(|_| Seen::default()).collect(),
            definition,
            submitted_by: submitted_by.clone(),
            going: Going::Forward,
            paused: false,
            cancelled: false,
            criteria_not_met: false,
            last: (position, time_ms),
            resetting: None,
            reset_asked: None,
            late: false,
            stopped: false,
            deadline_from_ms: time_ms,
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.going, Going::Succeeded | Going::Over)
    }

    /// Fence under which an answer of an attempt (or of an undo) would be good now.
    pub fn fence(&self, stage: StageIndex, undo: bool) -> Option<u64> {
        let seen = self.stages.get(stage.0 as usize)?;
        if undo { seen.undo.map(|(_, at, _)| at) } else { seen.in_flight.map(|(_, at, _)| at) }
    }

    /// Gates that only people can move, by stage.
    pub fn open_gates(&self) -> Vec<StageIndex> {
        let open = |(at, seen): (usize, &Seen)| {
            let gate = seen.gate.as_ref()?;
            let asked = !seen.succeeded && !seen.failed && !seen.begun && seen.ready.is_none();
            (asked && !gate.no && !self.gate_passed(at)).then_some(StageIndex(at as u32))
        };
        self.stages.iter().enumerate().filter_map(open).collect()
    }

    /// Stages whose signal has not come.
    pub fn open_signals(&self) -> Vec<StageIndex> {
        let open = |(at, seen): (usize, &Seen)| {
            let waits = seen.awaiting.is_some() && seen.signal.is_none() && !seen.failed && !seen.succeeded;
            waits.then_some(StageIndex(at as u32))
        };
        self.stages.iter().enumerate().filter_map(open).collect()
    }

    /// Journal time by which the run must have ended.
    fn deadline(&self) -> Option<u64> {
        Some(self.deadline_from_ms + self.definition.control.deadline_ms?)
    }

    fn dependents(&self, mut again: BTreeSet<usize>) -> BTreeSet<usize> {
        // As many rounds as stages carry the mark along the longest chain of needs.
        for _ in 0..self.stages.len() {
            for (at, spec) in self.definition.stages.iter().enumerate() {
                if spec.needs.iter().any(|need| again.contains(&(need.0 as usize))) {
                    again.insert(at);
                }
            }
        }
        again
    }

    /// Why a run that does nothing does nothing rightly.
    pub fn may_wait(&self) -> bool {
        let waits_for_people = !self.open_gates().is_empty()
            || !self.open_signals().is_empty()
            || self.stages.iter().any(|seen| seen.doubt);
        self.has_ended() || self.paused || (self.going == Going::Forward && waits_for_people)
    }

    fn gate_passed(&self, at: usize) -> bool {
        let spec = &self.definition.stages[at];
        let needed = match (&spec.gate, spec.kind) {
            (Some(gate), _) => gate.approvals as usize,
            (None, StageKind::Approval) => 1,
            (None, _) => return true,
        };
        self.stages[at].gate.as_ref().is_some_and(|gate| !gate.no && gate.yes.len() >= needed)
    }

    fn needs_done(&self, at: usize) -> bool {
        self.definition.stages[at].needs.iter().all(|need| {
            let need = &self.stages[need.0 as usize];
            need.succeeded || need.skipped
        })
    }

    /// The value of a predicate, if it has one: the simulation's predicates are constants or flags.
    fn value(&self, expression: &str) -> Option<bool> {
        match expression.strip_prefix("flag_") {
            Some(at) => self.stages.get(at.parse::<usize>().ok()?)?.flag,
            None => Some(expression == "true"),
        }
    }

    fn all_done(&self) -> bool {
        self.stages.iter().all(|seen| seen.succeeded || seen.skipped)
    }

    /// The one undo that may begin now: of the newest start not yet undone.
    fn undo_due(&self) -> Option<usize> {
        let begun = self.stages.iter().enumerate().filter(|(at, seen)| {
            let asked = self.resetting.as_ref().is_none_or(|again| again[*at]);
            asked && self.definition.stages[*at].has_undo && seen.intent.is_some() && !seen.undo_given_up
        });
        begun.max_by_key(|(_, seen)| seen.intent).map(|(at, _)| at)
    }

    fn quiet(&self) -> Verdict {
        for (at, seen) in self.stages.iter().enumerate() {
            must!(seen.in_flight.is_none(), "stage {at} is still in flight");
            must!(seen.undo.is_none(), "the undo of stage {at} is still in flight");
        }
        Ok(())
    }

    fn going_forward(&self) -> Verdict {
        must!(self.going == Going::Forward, "the run does not go forward but is {:?}", self.going);
        Ok(())
    }

    fn dispatching(&self) -> Verdict {
        self.going_forward()?;
        must!(!self.paused, "the run is paused");
        Ok(())
    }

    fn attempt_in_flight(&self, at: usize, attempt: u32) -> Verdict {
        let running = self.stages[at].in_flight.map(|(running, ..)| running);
        must!(running == Some(attempt), "attempt {attempt} of stage {at} is not in flight, but {running:?}");
        Ok(())
    }

    /// Whether an attempt could have ended in this way at this time.
    fn error_is_real(&self, at: usize, time_ms: u64, error: &StageError) -> Verdict {
        let (seen, spec) = (&self.stages[at], &self.definition.stages[at]);
        let started = seen.in_flight.or(seen.undo);
        let real = match error.code.as_str() {
            "EX-0505" => match (started, self.limit(at, "start_to_close", spec.timeout.start_to_close_ms)) {
                (Some((.., since_ms)), Some(limit_ms)) => time_ms >= since_ms + limit_ms,
                _ => false,
            },
            "EX-0508" => {
                match (seen.ready, self.limit(at, "schedule_to_start", spec.timeout.schedule_to_start_ms)) {
                    (Some((_, since_ms)), Some(limit_ms)) => time_ms >= since_ms + limit_ms,
                    _ => false,
                }
            }
            "EX-9001" => seen.ready.is_some(),
            "EX-0503" => started.is_some(),
            "EX-0531" => seen.in_flight.is_some() && spec.kind == StageKind::Exec && !spec.idempotent,
            "EX-9000" => started.is_some_and(|(_, position, _)| error.message == format!("fence {position}")),
            _ => false,
        };
        must!(real, "stage {at} cannot have failed with {error:?} ({seen:?})");
        Ok(())
    }

    /// A limit on a stage's time, as tuned: the world writes whole ms.
    fn limit(&self, at: usize, name: &str, stated: Option<u64>) -> Option<u64> {
        let tuned = self.stages[at].tunings.get(name);
        let ms = tuned.and_then(|value| value.trim_matches('"').strip_suffix("ms")?.parse().ok());
        ms.or(stated)
    }

    fn backoff_is_kept(spec: &StageSpec, failures: u32, time_ms: u64, at_ms: u64) -> Verdict {
        let whole = (spec.retry.backoff_ms << (failures - 1)).min(spec.retry.backoff_ms_max);
        let least = whole - whole * u64::from(spec.retry.jitter_permille) / 1000;
        let wait = at_ms.checked_sub(time_ms);
        must!(
            wait.is_some_and(|wait| (least..=whole).contains(&wait)),
            "backoff until {at_ms} from {time_ms} is not within {least}..={whole}"
        );
        Ok(())
    }

    /// # Errors
    /// The promise that this record breaks.
    pub fn see(&mut self, position: u64, time_ms: u64, event: &Event) -> Verdict {
        must!(position > self.last.0 && time_ms >= self.last.1, "records out of order at {position}");
        self.last = (position, time_ms);
        if self.has_ended() {
            let again = matches!(event, Event::RunRetried { .. }) && self.going == Going::Over;
            let again = again || matches!(event, Event::RunReset { .. });
            must!(again, "{} after the end", event.name());
        }
        self.see_stage(position, time_ms, event)?;
        self.see_undo(position, time_ms, event)?;
        self.see_run(event)
    }

    fn see_stage(&mut self, position: u64, time_ms: u64, event: &Event) -> Verdict {
        match event {
            Event::StageReady { stage, attempt } => {
                let at = stage.0 as usize;
                self.dispatching()?;
                self.may_begin(at, attempt.0, time_ms)?;
                must!(self.definition.stages[at].kind != StageKind::Check, "a check needs no room");
                must!(self.stages[at].ready.is_none(), "stage {at} is ready already");
                self.stages[at].ready = Some((attempt.0, time_ms));
            }
            Event::StageStarted { stage, attempt, .. } => {
                let at = stage.0 as usize;
                self.dispatching()?;
                self.may_begin(at, attempt.0, time_ms)?;
                let ready = self.stages[at].ready.take().map(|(attempt, _)| attempt);
                let needs_room = self.definition.stages[at].kind != StageKind::Check;
                must!(
                    ready == needs_room.then_some(attempt.0),
                    "stage {at} started but was ready for {ready:?}"
                );
                let late = self.deadline().is_some_and(|at_ms| time_ms >= at_ms) && !self.late;
                must!(!late, "stage {at} begins past the deadline of the run");
                let seen = &mut self.stages[at];
                seen.stopping = false;
                seen.in_flight = Some((attempt.0, position, time_ms));
                seen.intent = Some(position);
                seen.begun = true;
                seen.tuned_in_flight = false;
            }
            Event::StageCheckpointed { stage, attempt, checkpoint } => {
                let at = stage.0 as usize;
                self.attempt_in_flight(at, attempt.0)?;
                must!(!self.stages[at].tuned_in_flight, "stage {at} kept a checkpoint of old parameters");
                self.stages[at].checkpoint = Some(checkpoint.digest.clone());
            }
            Event::StageSucceeded { stage, attempt, facts, .. } => {
                self.see_success(stage.0 as usize, attempt.0, facts)?;
                self.stages[stage.0 as usize].done_at = Some(position);
            }
            Event::StageRetryPlanned { stage, attempt, at_ms, error } => {
                let at = stage.0 as usize;
                let spec = &self.definition.stages[at];
                self.going_forward()?;
                let over = attempt.0 - 1;
                self.attempt_over(at, over)?;
                self.error_is_real(at, time_ms, error)?;
                must!(
                    attempt.0 <= spec.retry.attempts,
                    "attempt {} of stage {at} exceeds its limit",
                    attempt.0
                );
                must!(error.class != ErrorClass::Permanent, "stage {at} retries a permanent error");
                let handed_out = self.stages[at].in_flight.is_some();
                let asks = handed_out && error.class == ErrorClass::Ambiguous && !self.repeatable(at);
                must!(!asks, "stage {at} repeats unasked what may have happened");
                Self::backoff_is_kept(spec, over, time_ms, *at_ms)?;
                let seen = &mut self.stages[at];
                (seen.in_flight, seen.ready, seen.used, seen.not_before_ms) = (None, None, over, *at_ms);
            }
            Event::StageInterrupted { stage, attempt, why }
                if self.stages[stage.0 as usize].undo.is_some() =>
            {
                let seen = &mut self.stages[stage.0 as usize];
                must!(*why != Interruption::Unwinding, "unwinding interrupted its own undo");
                let undoing = seen.undo.take().map(|(undoing, ..)| undoing);
                must!(undoing == Some(attempt.0), "undo {} was not in flight but {undoing:?}", attempt.0);
                seen.undo_not_before_ms = 0;
            }
            Event::StageInterrupted { stage, attempt, why } => {
                let at = stage.0 as usize;
                self.attempt_in_flight(at, attempt.0)?;
                must!(*why == Interruption::Unwinding || self.repeatable(at), "stage {at} is not repeatable");
                let asked = *why != Interruption::Paused || self.stages[at].stopping;
                must!(asked, "stage {at} was stopped, but nobody asked it to");
                self.stages[at].in_flight = None;
                self.stages[at].not_before_ms = 0;
            }
            Event::StageFailed { stage, attempt, error } => {
                self.see_failure(stage.0 as usize, attempt.0, time_ms, error)?
            }
            Event::StageInDoubt { stage, attempt, error } => {
                let at = stage.0 as usize;
                self.attempt_in_flight(at, attempt.0)?;
                self.error_is_real(at, time_ms, error)?;
                must!(!self.repeatable(at), "stage {at} may be repeated but asks");
                let seen = &mut self.stages[at];
                (seen.in_flight, seen.doubt, seen.used) = (None, true, attempt.0);
            }
            Event::StageSkipped { stage, .. } => {
                let at = stage.0 as usize;
                self.dispatching()?;
                must!(self.needs_done(at), "stage {at} skipped before its needs");
                let when = self.definition.stages[at].when.as_ref();
                must!(
                    when.is_some_and(|when| self.value(&when.expression) == Some(false)),
                    "stage {at} skipped"
                );
                let seen = &mut self.stages[at];
                must!(
                    !seen.begun && !seen.succeeded && !seen.failed && !seen.skipped,
                    "stage {at} skipped late"
                );
                seen.skipped = true;
                seen.done_at = Some(position);
            }
            Event::StageStopRequested { stage, attempt } => {
                let at = stage.0 as usize;
                self.going_forward()?;
                must!(self.paused, "stage {at} is asked to stop, but the run is not paused");
                self.attempt_in_flight(at, attempt.0)?;
                must!(
                    self.repeatable(at),
                    "stage {at} is asked to stop in the middle, but may not be repeated"
                );
                must!(!self.stages[at].stopping, "stage {at} is asked to stop twice");
                self.stages[at].stopping = true;
            }
            Event::SignalAwaited { stage, deadline_ms } => {
                let at = stage.0 as usize;
                self.dispatching()?;
                let spec = &self.definition.stages[at];
                must!(spec.kind == StageKind::Signal, "stage {at} waits for a signal, but is none");
                must!(self.needs_done(at), "stage {at} waits for its signal before its needs");
                must!(self.gate_passed(at), "stage {at} waits for its signal before its gate");
                let limit = spec.control.signal.as_ref().and_then(|signal| signal.deadline_ms);
                must!(*deadline_ms == limit.map(|limit| time_ms + limit), "wrong deadline at signal {at}");
                let seen = &mut self.stages[at];
                must!(seen.awaiting.is_none() && seen.signal.is_none(), "signal {at} awaited in vain");
                seen.awaiting = Some(*deadline_ms);
            }
            Event::SignalRecorded { stage, name, data, .. } => {
                let at = stage.0 as usize;
                self.going_forward()?;
                let wanted = self.definition.stages[at].control.signal.as_ref();
                must!(wanted.is_some_and(|wanted| wanted.name == *name), "stage {at} takes no signal {name}");
                let seen = &mut self.stages[at];
                must!(seen.signal.is_none(), "stage {at} took two signals");
                must!(
                    !seen.succeeded && !seen.skipped && !seen.failed,
                    "stage {at} took a signal after its end"
                );
                let in_time = seen.awaiting.flatten().is_none_or(|at_ms| time_ms < at_ms);
                must!(in_time, "stage {at} took a signal past its deadline");
                seen.signal = Some(data.clone());
            }
            Event::ParameterTunedLive { stage, parameter, value, .. } => {
                self.going_forward()?;
                let live = ["start_to_close", "schedule_to_start", "checkpoint_ms"];
                must!(
                    live.contains(&parameter.as_str()),
                    "{parameter} changes the result and was tuned live"
                );
                let seen = &mut self.stages[stage.0 as usize];
                must!(!seen.succeeded && !seen.skipped && !seen.failed, "stage {} tuned too late", stage.0);
                seen.tunings.insert(parameter.clone(), value.clone());
            }
            Event::GateOpened { stage, deadline_ms, .. } => {
                let at = stage.0 as usize;
                self.dispatching()?;
                let spec = &self.definition.stages[at];
                must!(self.needs_done(at), "the gate of stage {at} opened before its needs");
                must!(spec.gate.is_some() || spec.kind == StageKind::Approval, "stage {at} has no gate");
                let limit = spec.gate.as_ref().and_then(|gate| gate.deadline_ms);
                must!(*deadline_ms == limit.map(|limit| time_ms + limit), "wrong deadline at gate {at}");
                must!(self.stages[at].gate.is_none(), "gate {at} opened twice");
                self.stages[at].gate = Some(Gate { deadline_ms: *deadline_ms, ..Gate::default() });
            }
            Event::ApprovalRecorded { stage, by, approved, .. } => {
                self.going_forward()?;
                must!(*by != self.submitted_by, "the submitter decided at gate {}", stage.0);
                let roles = &self.definition.stages[stage.0 as usize].control.roles;
                let may = roles.is_empty() || by.starts_with("approver");
                must!(may, "{by} decided at gate {} without the role", stage.0);
                let Some(gate) = &mut self.stages[stage.0 as usize].gate else {
                    return Err(format!("an answer at gate {}, which is not open", stage.0));
                };
                must!(
                    gate.deadline_ms.is_none_or(|deadline| time_ms < deadline),
                    "an answer past the deadline"
                );
                must!(!gate.no, "an answer after a rejection");
                if *approved {
                    must!(gate.yes.insert(by.clone()), "{by} counted twice");
                } else {
                    gate.no = true;
                }
            }
            Event::ParameterTuned { stage, parameter, value, .. } => {
                self.going_forward()?;
                let seen = &mut self.stages[stage.0 as usize];
                must!(!seen.succeeded && !seen.skipped && !seen.failed, "stage {} tuned too late", stage.0);
                seen.tunings.insert(parameter.clone(), value.clone());
                seen.checkpoint = None;
                seen.tuned_in_flight = seen.in_flight.is_some();
            }
            _ => {}
        }
        Ok(())
    }

    fn repeatable(&self, at: usize) -> bool {
        self.definition.stages[at].kind != StageKind::Exec || self.definition.stages[at].idempotent
    }

    fn may_begin(&self, at: usize, attempt: u32, time_ms: u64) -> Verdict {
        let (seen, spec) = (&self.stages[at], &self.definition.stages[at]);
        must!(self.needs_done(at), "stage {at} begins before its needs");
        must!(!seen.succeeded && !seen.skipped && !seen.failed, "stage {at} begins again after its end");
        must!(!seen.doubt, "stage {at} begins again while in doubt");
        must!(seen.in_flight.is_none(), "stage {at} begins while it is in flight");
        must!(spec.kind != StageKind::Approval, "an approval is never dispatched");
        must!(spec.kind != StageKind::Signal, "a signal is never dispatched");
        must!(self.gate_passed(at), "stage {at} begins before its gate");
        must!(attempt == seen.used + 1, "attempt {attempt} of stage {at} follows {}", seen.used);
        must!(attempt <= spec.retry.attempts, "attempt {attempt} of stage {at} exceeds its limit");
        must!(time_ms >= seen.not_before_ms, "stage {at} begins before its backoff is over");
        let when = spec.when.as_ref().filter(|_| !seen.begun && seen.gate.is_none() && seen.used == 0);
        let runs = when.is_none_or(|when| seen.ready.is_some() || self.value(&when.expression) == Some(true));
        must!(runs, "stage {at} begins though its condition is not true");
        Ok(())
    }

    fn attempt_over(&self, at: usize, attempt: u32) -> Verdict {
        let seen = &self.stages[at];
        let current = seen.in_flight.map(|(attempt, ..)| attempt).or(seen.ready.map(|(attempt, _)| attempt));
        must!(current == Some(attempt), "attempt {attempt} of stage {at} ended, but {current:?} was current");
        Ok(())
    }

    fn see_success(&mut self, at: usize, attempt: u32, facts: &str) -> Verdict {
        self.going_forward()?;
        let facts: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(facts).map_err(|e| format!("facts of stage {at}: {e}"))?;
        if self.definition.stages[at].kind == StageKind::Approval {
            must!(self.gate_passed(at), "approval {at} succeeded before its gate");
            must!(!self.paused, "approval {at} succeeded in a pause");
        } else if self.definition.stages[at].kind == StageKind::Signal {
            must!(!self.paused, "signal {at} succeeded in a pause");
            must!(self.needs_done(at) && self.gate_passed(at), "signal {at} succeeded before its needs");
            let data = self.stages[at].signal.as_ref();
            let said: Option<BTreeMap<String, serde_json::Value>> =
                data.and_then(|data| serde_json::from_str(data).ok());
            must!(said.as_ref() == Some(&facts), "signal {at} says {facts:?}, but {said:?} came");
        } else {
            self.attempt_in_flight(at, attempt)?;
            let signed = facts.get("fence").and_then(serde_json::Value::as_u64);
            let fence = self.stages[at].in_flight.map(|(_, position, _)| position);
            must!(signed == fence, "stage {at} took the result of {signed:?} for that of {fence:?}");
        }
        let seen = &mut self.stages[at];
        must!(!seen.succeeded && !seen.failed && !seen.skipped, "stage {at} ended twice");
        seen.flag = facts.get(&format!("flag_{at}")).and_then(serde_json::Value::as_bool);
        (seen.in_flight, seen.succeeded, seen.used, seen.checkpoint) = (None, true, attempt, None);
        Ok(())
    }

    fn see_failure(&mut self, at: usize, attempt: u32, time_ms: u64, error: &StageError) -> Verdict {
        self.going_forward()?;
        let spec = &self.definition.stages[at];
        let gate = self.stages[at].gate.as_ref();
        match error.code.as_str() {
            "EX-0518" => {
                let when = spec.when.as_ref();
                must!(
                    when.is_some_and(|when| self.value(&when.expression).is_none()),
                    "the condition has a value"
                );
            }
            "EX-0053" => {
                let seen = &self.stages[at];
                let over = seen.awaiting.flatten().is_some_and(|at_ms| at_ms <= time_ms);
                must!(over && seen.signal.is_none(), "signal {at} was given up, but was not late");
            }
            "EX-0540" => must!(gate.is_some_and(|gate| gate.no), "nobody rejected stage {at}"),
            "EX-0541" => {
                let deadline = gate.and_then(|gate| gate.deadline_ms);
                must!(
                    deadline.is_some_and(|at_ms| at_ms <= time_ms),
                    "gate {at} was given up before its deadline"
                );
                must!(!self.gate_passed(at), "gate {at} was given up though passed");
            }
            _ => {
                self.attempt_over(at, attempt)?;
                self.error_is_real(at, time_ms, error)?;
                let spent = attempt >= spec.retry.attempts;
                must!(error.class == ErrorClass::Permanent || spent, "stage {at} gave up early");
                let asks = self.stages[at].in_flight.is_some() && error.class == ErrorClass::Ambiguous;
                must!(!asks || self.repeatable(at), "stage {at} failed where a person was to be asked");
            }
        }
        let seen = &mut self.stages[at];
        must!(!seen.succeeded && !seen.failed && !seen.skipped, "stage {at} ended twice");
        (seen.in_flight, seen.ready, seen.failed, seen.used) = (None, None, true, attempt);
        Ok(())
    }

    fn see_undo(&mut self, position: u64, time_ms: u64, event: &Event) -> Verdict {
        match event {
            Event::CompensationStarted { stage, attempt } => {
                let at = stage.0 as usize;
                must!(
                    self.going == Going::Unwinding && !self.paused,
                    "an undo began, but not while unwinding"
                );
                self.quiet()?;
                let due = self.undo_due();
                must!(due == Some(at), "the undo of stage {at} began, but {due:?} is next in reverse order");
                let (seen, spec) = (&mut self.stages[at], &self.definition.stages[at]);
                must!(
                    attempt.0 == seen.undo_used + 1,
                    "undo attempt {} follows {}",
                    attempt.0,
                    seen.undo_used
                );
                must!(attempt.0 <= spec.retry.attempts, "undo attempt {} exceeds its limit", attempt.0);
                must!(time_ms >= seen.undo_not_before_ms, "an undo began before its backoff was over");
                seen.undo = Some((attempt.0, position, time_ms));
            }
            Event::CompensationSucceeded { stage } => {
                let seen = &mut self.stages[stage.0 as usize];
                must!(seen.undo.is_some(), "stage {} undone, but no undo was in flight", stage.0);
                *seen = Seen { tunings: std::mem::take(&mut seen.tunings), ..Seen::default() };
            }
            Event::CompensationRetryPlanned { stage, attempt, at_ms, error } => {
                let at = stage.0 as usize;
                let over = attempt.0 - 1;
                let current = self.stages[at].undo.map(|(attempt, ..)| attempt);
                must!(current == Some(over), "undo attempt {over} ended, but {current:?} was in flight");
                self.error_is_real(at, time_ms, error)?;
                must!(error.class != ErrorClass::Permanent, "an undo retries a permanent error");
                Self::backoff_is_kept(&self.definition.stages[at], over, time_ms, *at_ms)?;
                let seen = &mut self.stages[at];
                (seen.undo, seen.undo_used, seen.undo_not_before_ms) = (None, over, *at_ms);
            }
            Event::CompensationFailed { stage, error } => {
                let at = stage.0 as usize;
                let Some((attempt, ..)) = self.stages[at].undo else {
                    return Err(format!("the undo of stage {at} failed, but none was in flight"));
                };
                self.error_is_real(at, time_ms, error)?;
                let spent = attempt >= self.definition.stages[at].retry.attempts;
                must!(spent || error.class == ErrorClass::Permanent, "the undo of stage {at} gave up early");
                let seen = &mut self.stages[at];
                (seen.undo, seen.undo_given_up, seen.failed, seen.succeeded) = (None, true, true, false);
            }
            _ => {}
        }
        Ok(())
    }

    fn see_run(&mut self, event: &Event) -> Verdict {
        match event {
            Event::DeadlinePassed { .. } => {
                self.going_forward()?;
                let over = self.deadline().is_some_and(|at_ms| at_ms <= self.last.1);
                must!(over && !self.stopped, "the run was ended before its deadline");
                must!(!self.late, "the deadline passed twice");
                (self.late, self.paused) = (true, false);
            }
            Event::RunReset { to, again, .. } => self.see_reset(*to, again)?,
            Event::ResetDone => {
                must!(!self.paused, "a reset went on in a pause");
                self.quiet()?;
                let due = self.undo_due();
                must!(due.is_none(), "the reset is done with stage {due:?} not undone");
                let Some(again) = self.resetting.take() else {
                    return Err("a reset is done that nobody asked for".to_owned());
                };
                must!(!self.stages.iter().any(|seen| seen.undo_given_up), "a reset is done without its undo");
                for (seen, _) in self.stages.iter_mut().zip(again).filter(|(_, again)| *again) {
                    let tunings = std::mem::take(&mut seen.tunings);
                    *seen = Seen { tunings, intent: seen.intent, ..Seen::default() };
                }
                self.goes_again();
            }
            Event::RunPaused { by } => {
                let emergency = by == "emergency-stop";
                self.stopped |= emergency;
                must!(emergency || (self.going == Going::Forward && !self.paused), "paused out of turn");
                if emergency {
                    self.quiet()?;
                }
                self.paused = true;
                self.stages.iter_mut().for_each(|seen| seen.ready = None);
            }
            Event::RunResumed { .. } => {
                must!(self.paused, "resumed, but was not paused");
                (self.paused, self.stopped) = (false, false);
            }
            Event::CancelRequested { .. } => {
                self.going_forward()?;
                (self.cancelled, self.paused, self.stopped) = (true, false, false);
            }
            Event::CriteriaNotMet { .. } => {
                self.dispatching()?;
                must!(self.all_done(), "criteria were asked before all stages were done");
                let met =
                    self.definition.success_criteria.iter().all(|c| self.value(&c.expression) == Some(true));
                must!(!met, "the criteria hold");
                self.criteria_not_met = true;
            }
            Event::UnwindingStarted { .. } => {
                self.dispatching()?;
                let cause = self.cancelled
                    || self.late
                    || self.criteria_not_met
                    || self.stages.iter().any(|seen| seen.failed);
                must!(cause, "unwinding without a cause");
                self.quiet()?;
                self.going = Going::Unwinding;
                for seen in &mut self.stages {
                    (seen.ready, seen.doubt, seen.undo_used, seen.undo_not_before_ms) = (None, false, 0, 0);
                    seen.awaiting = None;
                }
            }
            Event::RunSucceeded => {
                self.dispatching()?;
                self.quiet()?;
                must!(self.all_done(), "succeeded with stages to go");
                let met =
                    self.definition.success_criteria.iter().all(|c| self.value(&c.expression) == Some(true));
                must!(met, "succeeded against its criteria");
                self.going = Going::Succeeded;
            }
            Event::RunRolledBack | Event::RunCancelled | Event::RunFailed { .. } => {
                must!(self.going == Going::Unwinding && !self.paused, "ended without unwinding");
                self.quiet()?;
                let in_reset = self.resetting.is_some() && !matches!(event, Event::RunFailed { .. });
                must!(!in_reset, "a reset ended the run");
                must!(self.undo_due().is_none(), "ended with stage {:?} not undone", self.undo_due());
                self.resetting = None;
                let given_up = self.stages.iter().any(|seen| seen.undo_given_up);
                let fits = match event {
                    Event::RunFailed { .. } => given_up,
                    Event::RunCancelled => !given_up && (self.cancelled || self.late),
                    _ => !given_up && !self.cancelled && !self.late,
                };
                must!(fits, "{} does not fit how the run went", event.name());
                self.going = Going::Over;
            }
            Event::RunRetried { from, .. } => self.see_retry(from.0 as usize)?,
            _ => {}
        }
        Ok(())
    }

    fn see_retry(&mut self, from: usize) -> Verdict {
        if self.going == Going::Forward {
            let seen = &mut self.stages[from];
            must!(seen.doubt, "stage {from} was retried, but is not in doubt");
            (seen.doubt, seen.used, seen.not_before_ms) = (false, 0, 0);
            return Ok(());
        }
        must!(self.going == Going::Over, "a run that has not ended was retried");
        let again = self.dependents(BTreeSet::from([from]));
        for (at, seen) in self.stages.iter_mut().enumerate() {
            if again.contains(&at) || !(seen.succeeded || seen.skipped) {
                let tunings = std::mem::take(&mut seen.tunings);
                *seen = Seen { tunings, intent: seen.intent, ..Seen::default() };
            }
        }
        self.goes_again();
        Ok(())
    }

    fn goes_again(&mut self) {
        (self.going, self.cancelled, self.criteria_not_met) = (Going::Forward, false, false);
        (self.late, self.deadline_from_ms) = (false, self.last.1);
    }

    /// What was not done by the record, and all that needs it, runs again, and nothing else.
    fn see_reset(&mut self, to: u64, again: &[StageIndex]) -> Verdict {
        must!(self.going != Going::Unwinding, "a reset while the run is undone");
        self.quiet()?;
        let done = |seen: &Seen| seen.succeeded || seen.skipped;
        let later = |seen: &Seen| match self.reset_asked {
            Some(ResetTo::Stage(_)) => false,
            _ => seen.done_at.is_none_or(|at| at > to),
        };
        let mut wanted: BTreeSet<usize> = (0..self.stages.len())
            .filter(|at| !done(&self.stages[*at]) || later(&self.stages[*at]))
            .collect();
        match self.reset_asked {
            Some(ResetTo::Stage(stage)) => drop(wanted.insert(stage.0 as usize)),
            Some(ResetTo::Position(asked)) => must!(asked == to, "reset to {to} instead of {asked}"),
            None => return Err("a reset that nobody asked for".to_owned()),
        }
        let wanted = self.dependents(wanted);
        let given: BTreeSet<usize> = again.iter().map(|stage| stage.0 as usize).collect();
        must!(wanted == given, "the reset to {to} runs {given:?} again instead of {wanted:?}");
        self.resetting = Some((0..self.stages.len()).map(|at| given.contains(&at)).collect());
        self.going = Going::Unwinding;
        for at in given {
            let seen = &mut self.stages[at];
            (seen.ready, seen.doubt, seen.undo_used, seen.undo_not_before_ms) = (None, false, 0, 0);
            seen.awaiting = None;
        }
        Ok(())
    }
}
