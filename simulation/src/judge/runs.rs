//! One run as its records tell it: order, fences, leases, retries, undo, and the answer.

use super::{Room, Verdict, must};
use crate::answers;
use engine::definition::{Definition, StageKind};
use engine::run::{ErrorClass, Event};
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    Forward,
    Unwinding,
    Succeeded,
    Over,
}

#[derive(Debug, Clone, Default, PartialEq)]
enum State {
    #[default]
    Idle,
    Running {
        attempt: u32,
        fence: u64,
        since_ms: u64,
    },
    Undoing {
        fence: u64,
    },
    Succeeded,
    Skipped,
    Failed,
    Doubt,
}

#[derive(Debug, Default)]
struct StageSeen {
    state: State,
    /// Where a live lease puts it; lost with the daemon.
    place: Option<String>,
    ready: bool,
    begun: bool,
    used: u32,
    not_before_ms: u64,
    intent: Option<u64>,
    undo_given_up: bool,
    tuned: Option<String>,
    /// What the attempt in flight was given.
    params: String,
    inputs: Vec<u64>,
    output: Option<u64>,
    gate: Option<(BTreeSet<String>, bool)>,
}

#[derive(Debug)]
pub struct RunSeen {
    pub definition: Definition,
    seed: u64,
    submitted_by: String,
    stages: Vec<StageSeen>,
    pub going: Going,
    pub paused: bool,
    cancelled: bool,
    was_tuned: bool,
}

impl RunSeen {
    pub fn new(event: &Event) -> Result<Self, String> {
        let Event::RunSubmitted { definition, seed, submitted_by, .. } = event else {
            return Err("a run begins with RunSubmitted".to_owned());
        };
        let definition: Definition = serde_json::from_slice(definition).map_err(|e| e.to_string())?;
        Ok(Self {
            stages: definition.stages.iter().map(|_| StageSeen::default()).collect(),
            definition,
            seed: *seed,
            submitted_by: submitted_by.clone(),
            going: Going::Forward,
            paused: false,
            cancelled: false,
            was_tuned: false,
        })
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.going, Going::Succeeded | Going::Over)
    }

    pub fn fence(&self, stage: u32, undo: bool) -> Option<u64> {
        match self.stages.get(stage as usize)?.state {
            State::Running { fence, .. } if !undo => Some(fence),
            State::Undoing { fence } if undo => Some(fence),
            _ => None,
        }
    }

    /// Stages whose lease is live, with their place.
    pub fn held(&self) -> impl Iterator<Item = (usize, &str)> {
        self.stages.iter().enumerate().filter_map(|(at, seen)| Some((at, seen.place.as_deref()?)))
    }

    pub fn lose_places(&mut self) {
        self.stages.iter_mut().for_each(|seen| seen.place = None);
    }

    pub fn demand(&self, stage: usize, room: &Room) -> (u32, u64) {
        let spec = &self.definition.stages[stage];
        let computes = matches!(spec.kind, StageKind::MilpSolving | StageKind::QaoaOptimization);
        let memory = match spec.demand.memory_mib {
            0 if computes => room.worker_memory_mib,
            stated => stated,
        };
        (spec.demand.cpu_cores.max(1), memory)
    }

    pub fn in_doubt(&self) -> bool {
        self.stages.iter().any(|seen| seen.state == State::Doubt)
    }

    /// Gates that only people can move.
    pub fn open_gates(&self) -> Vec<u32> {
        let open = |(at, seen): (usize, &StageSeen)| {
            let waits = seen.state == State::Idle && !seen.ready && !seen.begun;
            (waits && seen.gate.is_some() && !self.gate_passed(at)).then_some(at as u32)
        };
        self.stages.iter().enumerate().filter_map(open).collect()
    }

    /// Why a run that does nothing does nothing rightly.
    pub fn may_wait(&self) -> bool {
        let people = self.in_doubt() || !self.open_gates().is_empty();
        self.has_ended() || self.paused || (self.going == Going::Forward && people)
    }

    fn gate_passed(&self, at: usize) -> bool {
        let spec = &self.definition.stages[at];
        let needed = match (&spec.gate, spec.kind) {
            (Some(gate), _) => gate.approvals as usize,
            (None, StageKind::Approval) => 1,
            (None, _) => return true,
        };
        self.stages[at].gate.as_ref().is_some_and(|(yes, no)| !no && yes.len() >= needed)
    }

    fn is_done(&self, at: usize) -> bool {
        matches!(self.stages[at].state, State::Succeeded | State::Skipped)
    }

    fn repeatable(&self, at: usize) -> bool {
        let spec = &self.definition.stages[at];
        spec.kind != StageKind::Exec || spec.idempotent
    }

    fn quiet(&self) -> Verdict {
        for (at, seen) in self.stages.iter().enumerate() {
            let busy = matches!(seen.state, State::Running { .. } | State::Undoing { .. });
            must!(!busy, "stage {at} is still in flight");
        }
        Ok(())
    }

    /// # Errors
    /// The promise that this record breaks.
    pub fn see(&mut self, position: u64, time_ms: u64, event: &Event) -> Verdict {
        if self.has_ended() {
            let again = matches!(event, Event::RunRetried { .. }) && self.going == Going::Over;
            must!(again, "{} after the end", event.name());
        }
        match event {
            Event::StageReady { stage, attempt } => {
                let at = stage.0 as usize;
                self.may_begin(at, attempt.0, time_ms)?;
                self.stages[at].ready = true;
            }
            Event::StageStarted { stage, attempt, placed_on } => {
                let at = stage.0 as usize;
                self.may_begin(at, attempt.0, time_ms)?;
                must!(self.stages[at].ready, "stage {at} started without being ready");
                let params = self.params(at);
                let needs = self.definition.stages[at].needs.iter();
                let inputs = needs.map(|need| self.stages[need.0 as usize].output.unwrap_or(0)).collect();
                let seen = &mut self.stages[at];
                seen.state = State::Running { attempt: attempt.0, fence: position, since_ms: time_ms };
                (seen.place, seen.ready, seen.begun) = (Some(placed_on.clone()), false, true);
                (seen.intent, seen.params, seen.inputs) = (Some(position), params, inputs);
            }
            Event::StageCheckpointed { stage, attempt, .. } => {
                self.in_flight(stage.0 as usize, attempt.0)?;
            }
            Event::StageSucceeded { stage, attempt, outputs, .. } => {
                let digests: Vec<&str> = outputs.iter().map(|output| output.digest.as_str()).collect();
                self.see_success(stage.0 as usize, attempt.0, &digests)?;
            }
            Event::StageRetryPlanned { stage, attempt, at_ms, error } => {
                let at = stage.0 as usize;
                let over = attempt.0 - 1;
                let running = self.in_flight(at, over).is_ok();
                must!(running || self.stages[at].ready, "stage {at} has no attempt {over} that could fail");
                let unknown = running && error.class == ErrorClass::Ambiguous;
                must!(!unknown || self.repeatable(at), "stage {at} repeats unasked what may have happened");
                must!(error.class != ErrorClass::Permanent, "stage {at} retries a permanent error");
                self.over(at, over);
                self.stages[at].not_before_ms = *at_ms;
            }
            Event::StageInterrupted { stage, attempt, .. } => {
                let at = stage.0 as usize;
                if !matches!(self.stages[at].state, State::Undoing { .. }) {
                    self.in_flight(at, attempt.0)?;
                }
                self.over(at, attempt.0 - 1);
                self.stages[at].not_before_ms = 0;
            }
            Event::StageFailed { stage, attempt, .. } => {
                let at = stage.0 as usize;
                must!(!self.is_done(at), "stage {at} failed after its end");
                self.over(at, attempt.0);
                self.stages[at].state = State::Failed;
            }
            Event::StageInDoubt { stage, attempt, .. } => {
                let at = stage.0 as usize;
                self.in_flight(at, attempt.0)?;
                must!(!self.repeatable(at), "stage {at} may be repeated but asks");
                self.over(at, attempt.0);
                self.stages[at].state = State::Doubt;
            }
            Event::StageSkipped { stage, .. } => {
                let at = stage.0 as usize;
                must!(self.stages[at].state == State::Idle, "stage {at} is skipped in {:?}", self.stages[at]);
                must!(self.condition(at) == Some(false), "stage {at} is skipped though its condition holds");
                self.stages[at].state = State::Skipped;
            }
            Event::GateOpened { stage, .. } => {
                let gate = &mut self.stages[stage.0 as usize].gate;
                must!(gate.is_none(), "gate {} opened twice", stage.0);
                *gate = Some((BTreeSet::new(), false));
            }
            Event::ApprovalRecorded { stage, by, approved, .. } => {
                must!(*by != self.submitted_by, "the submitter decided at gate {}", stage.0);
                let Some((yes, no)) = &mut self.stages[stage.0 as usize].gate else {
                    return Err(format!("an answer at gate {}, which is not open", stage.0));
                };
                must!(!*approved || yes.insert(by.clone()), "{by} counted twice");
                *no |= !approved;
            }
            Event::ParameterTuned { stage, value, .. } => {
                self.stages[stage.0 as usize].tuned = Some(value.clone());
                self.was_tuned = true;
            }
            _ => self.see_rest(position, event)?,
        }
        Ok(())
    }

    fn see_rest(&mut self, position: u64, event: &Event) -> Verdict {
        match event {
            Event::CompensationStarted { stage, .. } => {
                let at = stage.0 as usize;
                must!(self.going == Going::Unwinding && !self.paused, "an undo began out of turn");
                self.quiet()?;
                let due = self.undo_due();
                must!(due == Some(at), "stage {at} is undone, but {due:?} is the newest not undone");
                self.stages[at].state = State::Undoing { fence: position };
            }
            Event::CompensationSucceeded { stage } => {
                let seen = &mut self.stages[stage.0 as usize];
                must!(matches!(seen.state, State::Undoing { .. }), "stage {} was not being undone", stage.0);
                *seen = StageSeen { tuned: seen.tuned.take(), ..StageSeen::default() };
            }
            Event::CompensationRetryPlanned { stage, .. } => {
                self.stages[stage.0 as usize].state = State::Idle
            }
            Event::CompensationFailed { stage, .. } => {
                let seen = &mut self.stages[stage.0 as usize];
                must!(matches!(seen.state, State::Undoing { .. }), "stage {} was not being undone", stage.0);
                (seen.state, seen.undo_given_up) = (State::Failed, true);
            }
            Event::RunPaused { .. } => {
                self.paused = true;
                self.stages.iter_mut().for_each(|seen| seen.ready = false);
            }
            Event::RunResumed { .. } => {
                must!(self.paused, "resumed, but was not paused");
                self.paused = false;
            }
            Event::CancelRequested { .. } => (self.cancelled, self.paused) = (true, false),
            Event::UnwindingStarted { .. } => {
                self.quiet()?;
                must!(self.going == Going::Forward, "unwinding began twice");
                self.going = Going::Unwinding;
                for seen in &mut self.stages {
                    seen.ready = false;
                    if seen.state == State::Doubt {
                        seen.state = State::Idle;
                    }
                }
            }
            Event::RunSucceeded => self.see_answer()?,
            Event::RunRolledBack | Event::RunCancelled | Event::RunFailed { .. } => {
                must!(self.going == Going::Unwinding && !self.paused, "ended without unwinding");
                self.quiet()?;
                must!(self.undo_due().is_none(), "ended with stage {:?} not undone", self.undo_due());
                let given_up = self.stages.iter().any(|seen| seen.undo_given_up);
                let failed = matches!(event, Event::RunFailed { .. });
                must!(given_up == failed, "{} does not fit how the run went", event.name());
                self.going = Going::Over;
            }
            Event::RunRetried { from, .. } => self.see_retry(from.0 as usize)?,
            _ => {}
        }
        Ok(())
    }

    fn in_flight(&self, at: usize, given: u32) -> Verdict {
        let running = match self.stages[at].state {
            State::Running { attempt, .. } => Some(attempt),
            _ => None,
        };
        must!(running == Some(given), "attempt {given} of stage {at} is not in flight, but {running:?}");
        Ok(())
    }

    fn over(&mut self, at: usize, used: u32) {
        let seen = &mut self.stages[at];
        if !matches!(seen.state, State::Undoing { .. }) {
            seen.used = used;
        }
        (seen.state, seen.place, seen.ready) = (State::Idle, None, false);
    }

    fn may_begin(&self, at: usize, attempt: u32, time_ms: u64) -> Verdict {
        let (seen, spec) = (&self.stages[at], &self.definition.stages[at]);
        must!(self.going == Going::Forward && !self.paused, "stage {at} begins out of turn");
        must!(seen.state == State::Idle, "stage {at} begins again in {:?}", seen.state);
        let done = spec.needs.iter().all(|need| self.is_done(need.0 as usize));
        must!(done, "stage {at} begins before its needs");
        must!(self.gate_passed(at), "stage {at} begins before its gate");
        must!(attempt == seen.used + 1, "attempt {attempt} of stage {at} follows {}", seen.used);
        must!(attempt <= spec.retry.attempts, "attempt {attempt} of stage {at} exceeds its limit");
        must!(time_ms >= seen.not_before_ms, "stage {at} begins before its backoff is over");
        Ok(())
    }

    /// Whether the stage is to run, if that can be said.
    fn condition(&self, at: usize) -> Option<bool> {
        let Some(when) = &self.definition.stages[at].when else { return Some(true) };
        let read: usize = when.expression.strip_prefix("flag_")?.parse().ok()?;
        Some(answers::flag(self.stages.get(read)?.output?))
    }

    fn params(&self, at: usize) -> String {
        format!(r#"{{"p":{}}}"#, self.stages[at].tuned.as_deref().unwrap_or("0"))
    }

    fn see_success(&mut self, at: usize, attempt: u32, digests: &[&str]) -> Verdict {
        must!(self.going == Going::Forward, "stage {at} succeeded while the run does not go forward");
        let seen = &self.stages[at];
        if self.definition.stages[at].kind == StageKind::Approval {
            must!(self.gate_passed(at), "approval {at} succeeded before its gate");
        } else {
            self.in_flight(at, attempt)?;
            let begun = answers::beginning(self.seed, at as u32, &seen.params, seen.inputs.iter().copied());
            let expected = answers::whole(begun, at as u32);
            let given: Vec<Option<u64>> = digests.iter().map(|digest| answers::value_of(digest)).collect();
            must!(given == [Some(expected)], "the result of stage {at} is {given:x?}, not {expected:x}");
            self.stages[at].output = Some(expected);
        }
        let seen = &mut self.stages[at];
        must!(seen.state != State::Succeeded, "stage {at} succeeded twice");
        (seen.state, seen.place, seen.used) = (State::Succeeded, None, attempt);
        Ok(())
    }

    /// The undo that may begin now: of the newest start not yet undone.
    fn undo_due(&self) -> Option<usize> {
        let begun = self.stages.iter().enumerate().filter(|(at, seen)| {
            self.definition.stages[*at].has_undo && seen.intent.is_some() && !seen.undo_given_up
        });
        begun.max_by_key(|(_, seen)| seen.intent).map(|(at, _)| at)
    }

    /// The answer of a run must be that of an undisturbed one.
    fn see_answer(&mut self) -> Verdict {
        self.quiet()?;
        must!(self.going == Going::Forward && !self.paused, "succeeded out of turn");
        must!((0..self.stages.len()).all(|at| self.is_done(at)), "succeeded with stages to go");
        self.going = Going::Succeeded;
        if self.was_tuned {
            return Ok(());
        }
        let mut undisturbed: Vec<Option<u64>> = Vec::new();
        for (at, spec) in self.definition.stages.iter().enumerate() {
            let runs = match &spec.when {
                None => true,
                Some(when) => {
                    let read = when.expression.strip_prefix("flag_").and_then(|n| n.parse::<usize>().ok());
                    let read = read.and_then(|read| undisturbed.get(read).copied().flatten());
                    read.is_some_and(answers::flag)
                }
            };
            let inputs = spec.needs.iter().map(|need| undisturbed[need.0 as usize].unwrap_or(0));
            let begun = answers::beginning(self.seed, at as u32, r#"{"p":0}"#, inputs);
            let gives = runs && spec.kind != StageKind::Approval;
            undisturbed.push(gives.then(|| answers::whole(begun, at as u32)));
        }
        let answer: Vec<Option<u64>> = self.stages.iter().map(|seen| seen.output).collect();
        must!(
            answer == undisturbed,
            "the answer {answer:x?} is not that of an undisturbed run {undisturbed:x?}"
        );
        Ok(())
    }

    fn see_retry(&mut self, from: usize) -> Verdict {
        if self.going == Going::Forward {
            let seen = &mut self.stages[from];
            must!(seen.state == State::Doubt, "stage {from} was retried, but is not in doubt");
            (seen.state, seen.used, seen.not_before_ms) = (State::Idle, 0, 0);
            return Ok(());
        }
        must!(self.going == Going::Over, "a run that has not ended was retried");
        let mut again = vec![false; self.stages.len()];
        again[from] = true;
        for (at, spec) in self.definition.stages.iter().enumerate() {
            // Needs stand before a stage in this world's definitions.
            again[at] |= spec.needs.iter().any(|need| again[need.0 as usize]);
        }
        for (at, again) in again.into_iter().enumerate() {
            if again || !self.is_done(at) {
                let seen = &mut self.stages[at];
                *seen = StageSeen { tuned: seen.tuned.take(), intent: seen.intent, ..StageSeen::default() };
            }
        }
        (self.going, self.cancelled) = (Going::Forward, false);
        Ok(())
    }
}
