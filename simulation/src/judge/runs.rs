//! One run as its records tell it: order, fences, leases, retries, undo, and the answer.

use super::{Room, Verdict, must};
use crate::answers;
use engine::definition::{Definition, StageIndex, StageKind};
use engine::run::{ErrorClass, Event, Interruption};
use std::collections::{BTreeMap, BTreeSet};

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
    tuned: BTreeMap<String, String>,
    done_at: Option<u64>,
    stopping: bool,
    awaiting: bool,
    signal: Option<String>,
    /// What the attempt in flight was given.
    params: String,
    inputs: Vec<u64>,
    output: Option<u64>,
    gate: Option<(BTreeSet<String>, bool)>,
    /// When it first asked for the room that it waits for or has; a restart makes it no younger.
    asked_ms: Option<u64>,
    /// It waited for room, or had some, when the daemon died.
    old: bool,
    /// Its request ended without room since the last restart; the scheduler may not have heard of it.
    changed: bool,
    /// Fence and time of the work that was handed out last.
    handed: Option<(u64, u64)>,
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
    /// Stages that a reset undoes and runs again.
    resetting: Option<Vec<bool>>,
    late: bool,
    stopped: bool,
    deadline_from_ms: u64,
}

impl RunSeen {
    pub fn new(event: &Event, time_ms: u64) -> Result<Self, String> {
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
            resetting: None,
            late: false,
            stopped: false,
            deadline_from_ms: time_ms,
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
        for seen in &mut self.stages {
            (seen.place, seen.changed) = (None, false);
            seen.old = seen.ready || matches!(seen.state, State::Running { .. });
        }
    }

    /// A request ended without room since the last restart.
    pub fn has_changed(&self) -> bool {
        self.stages.iter().any(|seen| seen.changed)
    }

    /// Stages that wait for room, since when they ask, and whether they did so, or had some, before the last
    /// restart.
    pub fn waiting(&self) -> impl Iterator<Item = (u32, u64, bool)> {
        let ready = self.stages.iter().enumerate().filter(|(_, seen)| seen.ready);
        ready.filter_map(|(at, seen)| Some((at as u32, seen.asked_ms?, seen.old)))
    }

    pub fn handed(&mut self, stage: u32, fence: u64, now_ms: u64) {
        if let Some(seen) = self.stages.get_mut(stage as usize) {
            seen.handed = Some((fence, now_ms));
        }
    }

    /// What is ended for taking too long had all its time since it was handed out.
    fn had_its_time(&self, at: usize, code: &str, time_ms: u64) -> Verdict {
        let seen = &self.stages[at];
        let (State::Running { fence, .. } | State::Undoing { fence }) = seen.state else { return Ok(()) };
        let limit = self.definition.stages[at].timeout.start_to_close_ms;
        if let (Some(limit), "EX-0505", false) = (limit, code, seen.tuned.contains_key("start_to_close")) {
            let handed = seen.handed.filter(|(of, _)| *of == fence).map(|(_, at_ms)| at_ms);
            must!(
                handed.is_some_and(|from_ms| time_ms >= from_ms + limit),
                "stage {at} was ended at {time_ms} for taking too long, but had not had its time: {handed:?}"
            );
        }
        Ok(())
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

    /// Stages whose signal has not come.
    pub fn open_signals(&self) -> Vec<u32> {
        let open = |(at, seen): (usize, &StageSeen)| {
            (seen.awaiting && seen.signal.is_none() && seen.state == State::Idle).then_some(at as u32)
        };
        self.stages.iter().enumerate().filter_map(open).collect()
    }

    /// Why a run that does nothing does nothing rightly.
    pub fn may_wait(&self) -> bool {
        let people = self.in_doubt() || !self.open_signals().is_empty() || !self.open_gates().is_empty();
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
            let again = again || matches!(event, Event::RunReset { .. });
            must!(again, "{} after the end", event.name());
        }
        match event {
            Event::StageReady { stage, attempt } => {
                let at = stage.0 as usize;
                self.may_begin(at, attempt.0, time_ms)?;
                self.stages[at].ready = true;
                self.stages[at].asked_ms.get_or_insert(time_ms);
            }
            Event::StageStarted { stage, attempt, placed_on } => {
                let at = stage.0 as usize;
                self.may_begin(at, attempt.0, time_ms)?;
                must!(self.stages[at].ready, "stage {at} started without being ready");
                let deadline = self.definition.control.deadline_ms.map(|limit| self.deadline_from_ms + limit);
                let late = deadline.is_some_and(|deadline| time_ms >= deadline);
                must!(!late, "stage {at} begins past the deadline of the run");
                self.stages[at].stopping = false;
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
                self.stages[stage.0 as usize].done_at = Some(position);
            }
            Event::StageRetryPlanned { stage, attempt, at_ms, error } => {
                let at = stage.0 as usize;
                let over = attempt.0 - 1;
                let running = self.in_flight(at, over).is_ok();
                must!(running || self.stages[at].ready, "stage {at} has no attempt {over} that could fail");
                let unknown = running && error.class == ErrorClass::Ambiguous;
                must!(!unknown || self.repeatable(at), "stage {at} repeats unasked what may have happened");
                must!(error.class != ErrorClass::Permanent, "stage {at} retries a permanent error");
                must!(error.code != "EX-0590", "stage {at}: a stop cost an attempt");
                self.had_its_time(at, &error.code, time_ms)?;
                self.over(at, over);
                self.stages[at].not_before_ms = *at_ms;
            }
            Event::StageInterrupted { stage, attempt, why } => {
                let at = stage.0 as usize;
                let asked = *why != Interruption::Paused || self.stages[at].stopping;
                must!(asked, "stage {at} was stopped, but nobody asked it to");
                if !matches!(self.stages[at].state, State::Undoing { .. }) {
                    self.in_flight(at, attempt.0)?;
                }
                let (asked_ms, old) = (self.stages[at].asked_ms, self.stages[at].old);
                self.over(at, attempt.0 - 1);
                self.stages[at].not_before_ms = 0;
                if *why == Interruption::DaemonRestarted {
                    (self.stages[at].asked_ms, self.stages[at].old) = (asked_ms, old);
                }
            }
            Event::StageFailed { stage, attempt, error } => {
                let at = stage.0 as usize;
                must!(error.code != "EX-0590", "stage {at}: a stop cost an attempt");
                must!(!self.is_done(at), "stage {at} failed after its end");
                self.had_its_time(at, &error.code, time_ms)?;
                self.over(at, attempt.0);
                self.stages[at].state = State::Failed;
            }
            Event::StageInDoubt { stage, attempt, error } => {
                let at = stage.0 as usize;
                self.in_flight(at, attempt.0)?;
                self.had_its_time(at, &error.code, time_ms)?;
                must!(!self.repeatable(at), "stage {at} may be repeated but asks");
                self.over(at, attempt.0);
                self.stages[at].state = State::Doubt;
            }
            Event::StageSkipped { stage, .. } => {
                let at = stage.0 as usize;
                must!(self.stages[at].state == State::Idle, "stage {at} is skipped in {:?}", self.stages[at]);
                must!(self.condition(at) == Some(false), "stage {at} is skipped though its condition holds");
                (self.stages[at].state, self.stages[at].done_at) = (State::Skipped, Some(position));
            }
            Event::StageStopRequested { stage, attempt } => {
                let at = stage.0 as usize;
                must!(self.paused && self.going == Going::Forward, "stage {at} is asked to stop out of turn");
                self.in_flight(at, attempt.0)?;
                must!(self.repeatable(at), "stage {at} is asked to stop, but may not be repeated");
                must!(!self.stages[at].stopping, "stage {at} is asked to stop twice");
                self.stages[at].stopping = true;
            }
            Event::SignalAwaited { stage, .. } => {
                let at = stage.0 as usize;
                must!(self.definition.stages[at].kind == StageKind::Signal, "stage {at} is no signal");
                must!(self.going == Going::Forward && !self.paused, "stage {at} waits out of turn");
                let done = self.definition.stages[at].needs.iter().all(|need| self.is_done(need.0 as usize));
                must!(done && self.gate_passed(at), "stage {at} waits for its signal before its needs");
                let seen = &mut self.stages[at];
                must!(!seen.awaiting && seen.signal.is_none(), "stage {at} waits for its signal again");
                seen.awaiting = true;
            }
            Event::SignalRecorded { stage, data, .. } => {
                let at = stage.0 as usize;
                must!(self.going == Going::Forward, "stage {at} took a signal out of turn");
                let seen = &mut self.stages[at];
                must!(seen.signal.is_none(), "stage {at} took two signals");
                must!(seen.state == State::Idle, "stage {at} took a signal after its end");
                seen.signal = Some(data.clone());
            }
            Event::ParameterTunedLive { stage, parameter, value, .. } => {
                let neutral = ["start_to_close", "schedule_to_start", "checkpoint_ms"];
                must!(
                    neutral.contains(&parameter.as_str()),
                    "{parameter} changes results and was tuned live"
                );
                self.stages[stage.0 as usize].tuned.insert(parameter.clone(), value.clone());
            }
            Event::GateOpened { stage, .. } => {
                let gate = &mut self.stages[stage.0 as usize].gate;
                must!(gate.is_none(), "gate {} opened twice", stage.0);
                *gate = Some((BTreeSet::new(), false));
            }
            Event::ApprovalRecorded { stage, by, approved, .. } => {
                must!(*by != self.submitted_by, "the submitter decided at gate {}", stage.0);
                let roles = &self.definition.stages[stage.0 as usize].control.roles;
                let may = roles.is_empty() || by.starts_with("approver");
                must!(may, "{by} decided at gate {} without the role", stage.0);
                let Some((yes, no)) = &mut self.stages[stage.0 as usize].gate else {
                    return Err(format!("an answer at gate {}, which is not open", stage.0));
                };
                must!(!*approved || yes.insert(by.clone()), "{by} counted twice");
                *no |= !approved;
            }
            Event::ParameterTuned { stage, parameter, value, .. } => {
                self.stages[stage.0 as usize].tuned.insert(parameter.clone(), value.clone());
                self.was_tuned = true;
            }
            Event::DeadlinePassed { .. } => {
                let limit = self.definition.control.deadline_ms;
                let over = limit.is_some_and(|limit| time_ms >= self.deadline_from_ms + limit);
                must!(over && !self.late && !self.stopped, "the run was ended before its deadline");
                must!(self.going == Going::Forward, "the deadline of a run that does not go forward");
                (self.late, self.paused) = (true, false);
            }
            Event::RunReset { to, again, .. } => self.see_reset(*to, again)?,
            Event::ResetDone => {
                self.quiet()?;
                let due = self.undo_due();
                must!(due.is_none(), "the reset is done with stage {due:?} not undone");
                let Some(again) = self.resetting.take() else {
                    return Err("a reset is done that nobody asked for".to_owned());
                };
                for at in (0..self.stages.len()).filter(|at| again[*at]) {
                    self.forget(at);
                }
                (self.going, self.cancelled) = (Going::Forward, false);
                (self.late, self.deadline_from_ms) = (false, time_ms);
            }
            Event::RunRetried { from, .. } => {
                let ended = self.going != Going::Forward;
                self.see_retry(from.0 as usize)?;
                if ended {
                    (self.late, self.deadline_from_ms) = (false, time_ms);
                }
            }
            Event::CompensationRetryPlanned { stage, error, .. }
            | Event::CompensationFailed { stage, error } => {
                self.had_its_time(stage.0 as usize, &error.code, time_ms)?;
                self.see_rest(position, event)?;
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
                *seen = StageSeen { tuned: std::mem::take(&mut seen.tuned), ..StageSeen::default() };
            }
            Event::CompensationRetryPlanned { stage, .. } => {
                self.stages[stage.0 as usize].state = State::Idle
            }
            Event::CompensationFailed { stage, .. } => {
                let seen = &mut self.stages[stage.0 as usize];
                must!(matches!(seen.state, State::Undoing { .. }), "stage {} was not being undone", stage.0);
                (seen.state, seen.undo_given_up) = (State::Failed, true);
            }
            Event::RunPaused { by } => {
                self.stopped |= by == "emergency-stop";
                self.paused = true;
                for seen in &mut self.stages {
                    seen.asked_ms = seen.asked_ms.filter(|_| !seen.ready);
                    (seen.ready, seen.old) = (false, false);
                }
            }
            Event::RunResumed { .. } => {
                must!(self.paused, "resumed, but was not paused");
                (self.paused, self.stopped) = (false, false);
                self.stages.iter_mut().for_each(|seen| seen.old = false);
            }
            Event::CancelRequested { .. } => {
                (self.cancelled, self.paused, self.stopped) = (true, false, false);
            }
            Event::UnwindingStarted { .. } => {
                self.quiet()?;
                must!(self.going == Going::Forward, "unwinding began twice");
                self.going = Going::Unwinding;
                for seen in &mut self.stages {
                    (seen.ready, seen.awaiting) = (false, false);
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
                must!(self.resetting.is_none() || failed, "a reset ended the run");
                self.resetting = None;
                must!(given_up == failed, "{} does not fit how the run went", event.name());
                self.going = Going::Over;
            }
            _ => {}
        }
        Ok(())
    }

    /// What was not done by the record `to`, and all that needs it, runs again.
    fn see_reset(&mut self, to: u64, again: &[StageIndex]) -> Verdict {
        must!(self.going != Going::Unwinding, "a reset while the run is undone");
        self.quiet()?;
        let mut flags = vec![false; self.stages.len()];
        for stage in again {
            flags[stage.0 as usize] = true;
        }
        for (at, spec) in self.definition.stages.iter().enumerate() {
            let needed = spec.needs.iter().any(|need| flags[need.0 as usize]);
            must!(flags[at] || !needed, "the reset to {to} runs {again:?} again instead of {at}, too");
            must!(
                flags[at] || self.is_done(at),
                "the reset to {to} runs {again:?} again instead of {at}, too"
            );
            // Back to before a stage: `to` is where that stage was done, so it runs again itself.
            let kept = self.stages[at].done_at.is_some_and(|done| done < to);
            let alone = kept && self.is_done(at) && !needed;
            let named = self.stages[at].done_at == Some(to);
            must!(!flags[at] || !alone || named, "the reset to {to} runs {at} again instead of keeping it");
        }
        for (at, seen) in self.stages.iter_mut().enumerate() {
            if flags[at] {
                (seen.ready, seen.awaiting) = (false, false);
                if seen.state == State::Doubt {
                    seen.state = State::Idle;
                }
            }
        }
        (self.going, self.resetting) = (Going::Unwinding, Some(flags));
        Ok(())
    }

    /// Everything but what is still to be undone, and what people tuned.
    fn forget(&mut self, at: usize) {
        let seen = &mut self.stages[at];
        let tuned = std::mem::take(&mut seen.tuned);
        *seen = StageSeen { tuned, intent: seen.intent, ..StageSeen::default() };
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
        seen.changed |= seen.ready;
        (seen.state, seen.place, seen.ready, seen.asked_ms) = (State::Idle, None, false, None);
        seen.old = false;
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
        let tuned = &self.stages[at].tuned;
        let mut all = BTreeMap::from([("p".to_owned(), "0".to_owned())]);
        all.extend(tuned.iter().map(|(name, value)| (name.clone(), value.clone())));
        let fields: Vec<String> = all.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        answers::that_count(&format!("{{{}}}", fields.join(",")))
    }

    fn see_success(&mut self, at: usize, attempt: u32, digests: &[&str]) -> Verdict {
        must!(self.going == Going::Forward, "stage {at} succeeded while the run does not go forward");
        let seen = &self.stages[at];
        if self.definition.stages[at].kind == StageKind::Approval {
            must!(self.gate_passed(at), "approval {at} succeeded before its gate");
        } else if self.definition.stages[at].kind == StageKind::Signal {
            must!(seen.signal.is_some(), "signal {at} succeeded before it came");
            must!(self.gate_passed(at) && !self.paused, "signal {at} succeeded out of turn");
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
            self.resetting.as_ref().is_none_or(|again| again[*at])
                && self.definition.stages[*at].has_undo
                && seen.intent.is_some()
                && !seen.undo_given_up
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
            let gives = runs && !matches!(spec.kind, StageKind::Approval | StageKind::Signal);
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
                self.forget(at);
            }
        }
        (self.going, self.cancelled) = (Going::Forward, false);
        Ok(())
    }
}
