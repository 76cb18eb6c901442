//! Schedules as a pure machine: which run is submitted when, exactly once.
//!
//! `decide` says what becomes true and what must be done, and changes nothing; `apply` alone changes the
//! timetable; `recover` gives the commands to issue after a restart. A moment is recorded as fired *before* its
//! run is submitted, under a key made of the schedule and the moment, so a crash between the two neither loses
//! nor doubles it: the submission is repeated, and the key makes it one run.
//!
//! Invariants (engine/tests/schedule_simulation.rs): every moment is fired, passed with its reason, or waiting,
//! and only once; never two open runs of one schedule; never two submissions within its minimum interval.
//! Absent on purpose: clocks, the journal, runs (whether one is open is asked of `is_open`). Start at
//! [`Timetable::decide`].

mod event;
mod line;
mod rules;

pub use event::{
    Carried, CatchUp, Command, Decision, EVENT_SCHEMA, Event, Input, Outcome, Overlap, Passed, Refusal, Spec,
};
pub use line::{LINE_BYTES_MAX, LastDues, Line, LineError, MINUTE_MS};
pub use rules::{CATCH_UP_MAX, INTERVAL_MS_MIN, QUEUE_MAX, SCHEDULES_MAX, jitter_of, key_of};

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A moment this much late is still on time: a restart of the daemon takes seconds, a slow disk may take more.
pub const ON_TIME_MS: u64 = 5 * 60_000;
/// Outcomes of a schedule that are kept in memory; the journal has all.
const OUTCOMES_KEPT: usize = 20;

/// A moment that waits for the run before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub due_ms: u64,
    pub manual: bool,
}

/// The newest submission of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fire {
    pub due_ms: u64,
    pub key: String,
    pub at_ms: u64,
    pub manual: bool,
    /// `None` until there is an answer.
    pub outcome: Option<Outcome>,
}

/// One schedule.
#[derive(Debug, Clone)]
pub struct Entry {
    pub spec: Arc<Spec>,
    /// What its cron line says; `None` if this version cannot read what an earlier one took.
    line: Option<Line>,
    pub paused: Option<String>,
    /// Every moment up to here is fired, passed or waiting.
    pub through_ms: u64,
    /// The next moment after that.
    next_ms: Option<u64>,
    pub waiting: VecDeque<Waiting>,
    pub latest: Option<Fire>,
    /// Newest last.
    pub outcomes: VecDeque<Fire>,
    pub fired: u64,
    pub passed: u64,
    /// Why the newest moment that passed did so.
    pub passed_why: Option<(u64, Passed)>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        // The line is what the spec says of it.
        (&self.spec, &self.paused, self.through_ms, self.next_ms, &self.waiting, &self.latest)
            == (&other.spec, &other.paused, other.through_ms, other.next_ms, &other.waiting, &other.latest)
            && (&self.outcomes, self.fired, self.passed) == (&other.outcomes, other.fired, other.passed)
    }
}

impl Entry {
    /// The next moment that is neither fired, passed nor waiting.
    pub fn next_ms(&self) -> Option<u64> {
        self.next_ms
    }

    fn carried(carried: &Carried) -> Self {
        let mut entry = Self {
            spec: Arc::new(carried.spec.clone()),
            line: Line::read(&carried.spec.cron, &carried.spec.timezone).ok(),
            paused: carried.paused.clone(),
            through_ms: carried.through_ms,
            next_ms: None,
            waiting: carried.waiting.iter().copied().collect(),
            latest: carried.latest.clone(),
            outcomes: carried.outcomes.iter().cloned().collect(),
            fired: carried.fired,
            passed: carried.passed,
            passed_why: carried.passed_why,
        };
        entry.look_ahead();
        entry
    }

    /// What the cron line says.
    pub fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    fn look_ahead(&mut self) {
        self.next_ms = self.line.as_ref().and_then(|line| line.next_after(self.through_ms));
    }

    /// The newest submission if it has no end yet.
    fn open<'e>(&'e self, is_open: &dyn Fn(&str) -> bool) -> Option<&'e Fire> {
        self.latest.as_ref().filter(|fire| match &fire.outcome {
            None => true,
            Some(Outcome::Submitted { run }) => is_open(run),
            Some(Outcome::Refused { .. }) => false,
        })
    }

    /// How long ago the newest submission was, if that is less than the interval between two.
    fn too_soon(&self, now_ms: u64) -> Option<u64> {
        let ago = now_ms.saturating_sub(self.latest.as_ref()?.at_ms);
        (ago < self.spec.interval_ms_min).then_some(ago)
    }

    fn submit(&self, name: &str, key: &str) -> Command {
        Command::Submit {
            name: name.to_owned(),
            key: key.to_owned(),
            submission: self.spec.submission.clone(),
            by: self.spec.by.clone(),
            role: self.spec.role.clone(),
        }
    }
}

/// All schedules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timetable {
    entries: BTreeMap<String, Entry>,
}

impl Timetable {
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// What follows from `input`; nothing is changed. `is_open` says of a run whether it has not ended.
    ///
    /// # Errors
    /// [`Refusal`] of what people ask; a tick is never refused.
    pub fn decide(
        &self,
        now_ms: u64,
        input: Input,
        is_open: &dyn Fn(&str) -> bool,
    ) -> Result<Decision, Refusal> {
        let known = |name: &str| self.get(name).ok_or_else(|| Refusal::Unknown(name.to_owned()));
        let one = |event| Ok(Decision { events: vec![event], commands: Vec::new() });
        match input {
            Input::Add { name, spec } => {
                rules::check(self, now_ms, &name, &spec)?;
                one(Event::ScheduleAdded { name, spec: *spec, at_ms: now_ms })
            }
            Input::Remove { name } => {
                known(&name)?;
                one(Event::ScheduleRemoved { name })
            }
            Input::Pause { name, .. } if known(&name)?.paused.is_some() => Err(Refusal::Paused(name)),
            Input::Pause { name, reason } => one(Event::SchedulePaused { name, reason }),
            Input::Resume { name } if known(&name)?.paused.is_none() => Err(Refusal::NotPaused(name)),
            Input::Resume { name } => one(Event::ScheduleResumed { name, at_ms: now_ms }),
            Input::Run { name } => {
                known(&name)?;
                let mut draft = Draft::new(self, &name, now_ms, is_open);
                draft.run_now()?;
                Ok(draft.decision)
            }
            Input::Tick => {
                let mut decision = Decision::default();
                for name in self.entries.iter().filter(|(_, entry)| entry.wants(now_ms)).map(|(name, _)| name)
                {
                    let mut draft = Draft::new(self, name, now_ms, is_open);
                    draft.tick();
                    decision.events.append(&mut draft.decision.events);
                    decision.commands.append(&mut draft.decision.commands);
                }
                Ok(decision)
            }
            Input::Settled { name, key, outcome } => {
                let latest = self.get(&name).and_then(|entry| entry.latest.as_ref());
                match latest {
                    Some(fire) if fire.key == key && fire.outcome.is_none() => {
                        one(Event::FireSettled { name, key, outcome })
                    }
                    _ => Err(Refusal::Stale),
                }
            }
        }
    }

    /// The only place that changes the timetable.
    pub fn apply(&mut self, event: &Event) {
        let name = event.schedule();
        if let Event::ScheduleAdded { spec, at_ms, .. } = event {
            let mut entry = Entry {
                spec: Arc::new(spec.clone()),
                line: Line::read(&spec.cron, &spec.timezone).ok(),
                paused: None,
                through_ms: *at_ms,
                next_ms: None,
                waiting: VecDeque::new(),
                latest: None,
                outcomes: VecDeque::new(),
                fired: 0,
                passed: 0,
                passed_why: None,
            };
            entry.look_ahead();
            self.entries.insert(name.to_owned(), entry);
            return;
        }
        if let Event::ScheduleRemoved { .. } = event {
            self.entries.remove(name);
            return;
        }
        if let Event::ScheduleCarried { carried, .. } = event {
            self.entries.insert(name.to_owned(), Entry::carried(carried));
            return;
        }
        if let Event::TimetableCarried { .. } = event {
            self.entries.clear();
            return;
        }
        let Some(entry) = self.entries.get_mut(name) else { return };
        match event {
            Event::SchedulePaused { reason, .. } => entry.paused = Some(reason.clone()),
            Event::ScheduleResumed { at_ms, .. } => {
                entry.paused = None;
                entry.through_ms = entry.through_ms.max(*at_ms);
                entry.look_ahead();
            }
            Event::DuesPassed { through_ms, count, why, .. } => {
                entry.through_ms = entry.through_ms.max(*through_ms);
                entry.passed += count;
                entry.passed_why = Some((*through_ms, *why));
                entry.look_ahead();
            }
            Event::DueQueued { due_ms, manual, .. } => {
                entry.waiting.push_back(Waiting { due_ms: *due_ms, manual: *manual });
                if !manual {
                    entry.through_ms = entry.through_ms.max(*due_ms);
                    entry.look_ahead();
                }
            }
            Event::DueDropped { due_ms, manual, why, .. } => {
                entry.waiting.retain(|waiting| (waiting.due_ms, waiting.manual) != (*due_ms, *manual));
                entry.passed += 1;
                entry.passed_why = Some((*due_ms, *why));
            }
            Event::ScheduleFired { due_ms, key, manual, at_ms, .. } => {
                entry.waiting.retain(|waiting| (waiting.due_ms, waiting.manual) != (*due_ms, *manual));
                if !manual {
                    entry.through_ms = entry.through_ms.max(*due_ms);
                    entry.look_ahead();
                }
                entry.fired += 1;
                entry.latest = Some(Fire {
                    due_ms: *due_ms,
                    key: key.clone(),
                    at_ms: *at_ms,
                    manual: *manual,
                    outcome: None,
                });
            }
            Event::FireSettled { key, outcome, .. } => {
                if let Some(fire) = entry.latest.as_mut().filter(|fire| fire.key == *key) {
                    fire.outcome = Some(outcome.clone());
                    entry.outcomes.push_back(fire.clone());
                    if entry.outcomes.len() > OUTCOMES_KEPT {
                        entry.outcomes.pop_front();
                    }
                }
            }
            Event::ScheduleAdded { .. }
            | Event::ScheduleRemoved { .. }
            | Event::ScheduleCarried { .. }
            | Event::TimetableCarried { .. }
            | Event::TimetableClosed => {}
        }
    }

    /// The events that tell all of this to a timetable that knows nothing.
    pub fn carried(&self) -> Vec<Event> {
        let first = Event::TimetableCarried { schedules: self.entries.len() as u64 };
        let schedules = self.entries.iter().map(|(name, entry)| Event::ScheduleCarried {
            name: name.clone(),
            carried: Box::new(Carried {
                spec: Spec::clone(&entry.spec),
                paused: entry.paused.clone(),
                through_ms: entry.through_ms,
                waiting: entry.waiting.iter().copied().collect(),
                latest: entry.latest.clone(),
                outcomes: entry.outcomes.iter().cloned().collect(),
                fired: entry.fired,
                passed: entry.passed,
                passed_why: entry.passed_why,
            }),
        });
        std::iter::once(first).chain(schedules).collect()
    }

    /// What must be done after a restart: submissions that have no answer yet are made again.
    pub fn recover(&self) -> Vec<Command> {
        let unsettled = self.entries.iter().filter_map(|(name, entry)| {
            let fire = entry.latest.as_ref().filter(|fire| fire.outcome.is_none())?;
            Some(entry.submit(name, &fire.key))
        });
        unsettled.collect()
    }
}

impl Entry {
    /// Whether a tick may have something to do; most have not, and cost one comparison.
    fn wants(&self, now_ms: u64) -> bool {
        self.paused.is_none() && (!self.waiting.is_empty() || self.next_ms.is_some_and(|next| next <= now_ms))
    }
}

/// A decision about one schedule in the making: what was emitted is applied to a copy at once.
struct Draft<'d> {
    next: Timetable,
    name: &'d str,
    now_ms: u64,
    is_open: &'d dyn Fn(&str) -> bool,
    decision: Decision,
}

impl<'d> Draft<'d> {
    fn new(table: &Timetable, name: &'d str, now_ms: u64, is_open: &'d dyn Fn(&str) -> bool) -> Self {
        let entries = table.entries.get_key_value(name).map(|(name, entry)| (name.clone(), entry.clone()));
        let next = Timetable { entries: entries.into_iter().collect() };
        Self { next, name, now_ms, is_open, decision: Decision::default() }
    }

    fn entry(&self) -> &Entry {
        &self.next.entries[self.name]
    }

    fn emit(&mut self, event: Event) {
        self.next.apply(&event);
        self.decision.events.push(event);
    }

    fn pass(&mut self, through_ms: u64, count: u64, exact: bool, why: Passed) {
        self.emit(Event::DuesPassed { name: self.name.to_owned(), through_ms, count, exact, why });
    }

    fn queue(&mut self, due_ms: u64, manual: bool) {
        self.emit(Event::DueQueued { name: self.name.to_owned(), due_ms, manual });
    }

    fn drop_waiting(&mut self) {
        for waiting in self.entry().waiting.clone() {
            let (name, Waiting { due_ms, manual }) = (self.name.to_owned(), waiting);
            self.emit(Event::DueDropped { name, due_ms, manual, why: Passed::Replaced });
        }
    }

    fn is_free(&self) -> bool {
        self.entry().open(self.is_open).is_none()
    }

    fn fire(&mut self, due_ms: u64, manual: bool) {
        let key = key_of(self.name, due_ms, manual);
        let name = self.name.to_owned();
        self.emit(Event::ScheduleFired { name, due_ms, key: key.clone(), manual, at_ms: self.now_ms });
        let submit = self.entry().submit(self.name, &key);
        self.decision.commands.push(submit);
    }

    /// Moments that have come, then whatever waits and may go.
    fn tick(&mut self) {
        for due in self.take_dues() {
            self.offer(due);
        }
        self.go_on();
    }

    /// The moments to be made up for; the others have passed.
    fn take_dues(&mut self) -> Vec<u64> {
        let (entry, now) = (self.entry().clone(), self.now_ms);
        let Some(line) = entry.line() else { return Vec::new() };
        let jitter = |due: u64| jitter_of(self.name, due, entry.spec.jitter_ms);
        let most = match entry.spec.catch_up {
            CatchUp::None | CatchUp::One => 1,
            CatchUp::All { max } => max as usize,
        };
        let mut until = now;
        let mut last = line.last_dues(entry.through_ms, until, most);
        // Jitter is smaller than the gap between two moments, so only the newest may still have to wait.
        if let Some(newest) = last.dues.last().copied().filter(|due| due + jitter(*due) > now) {
            until = newest - 1;
            last = line.last_dues(entry.through_ms, until, most);
        }
        let Some((&first, &newest)) = last.dues.first().zip(last.dues.last()) else { return Vec::new() };
        let is_late = now - (newest + jitter(newest)) > ON_TIME_MS;
        if entry.spec.catch_up == CatchUp::None && is_late {
            self.pass(newest, last.earlier + last.dues.len() as u64, last.exact, Passed::Missed);
            return Vec::new();
        }
        if last.earlier > 0 || !last.exact {
            let why = match entry.spec.catch_up {
                CatchUp::All { .. } => Passed::BeyondCatchUp,
                CatchUp::None | CatchUp::One => Passed::Missed,
            };
            self.pass(first - 1, last.earlier, last.exact, why);
        }
        last.dues
    }

    /// A moment has come: it fires, waits or passes.
    fn offer(&mut self, due: u64) {
        let is_free = self.is_free();
        if is_free && self.entry().waiting.is_empty() && self.entry().too_soon(self.now_ms).is_none() {
            return self.fire(due, false);
        }
        match self.entry().spec.overlap {
            Overlap::Skip if !is_free => self.pass(due, 1, true, Passed::Overlap),
            // Nothing is open; it only came too soon after a run that somebody asked for.
            Overlap::Skip | Overlap::CancelPrevious => {
                self.drop_waiting();
                self.queue(due, false);
            }
            Overlap::Queue if self.entry().waiting.len() >= QUEUE_MAX => {
                self.pass(due, 1, true, Passed::QueueFull);
            }
            Overlap::Queue => self.queue(due, false),
        }
    }

    fn go_on(&mut self) {
        let Some(first) = self.entry().waiting.front().copied() else { return };
        if self.is_free() {
            if self.entry().too_soon(self.now_ms).is_none() {
                self.fire(first.due_ms, first.manual);
            }
        } else if self.entry().spec.overlap == Overlap::CancelPrevious {
            let spec = Arc::clone(&self.entry().spec);
            let latest = self.entry().latest.as_ref().and_then(|fire| fire.outcome.clone());
            if let Some(Outcome::Submitted { run }) = latest {
                let (by, role) = (spec.by.clone(), spec.role.clone());
                self.decision.commands.push(Command::Cancel { run, by, role });
            }
        }
    }

    /// What somebody asks for now is bound by the same rules as what the clock asks for.
    fn run_now(&mut self) -> Result<(), Refusal> {
        let (entry, name) = (self.entry().clone(), self.name.to_owned());
        if let Some(ago_ms) = entry.too_soon(self.now_ms) {
            return Err(Refusal::TooSoon { name, ago_ms, min_ms: entry.spec.interval_ms_min });
        }
        let Some(open) = entry.open(self.is_open) else {
            self.fire(self.now_ms, true);
            return Ok(());
        };
        let run = match &open.outcome {
            Some(Outcome::Submitted { run }) => run.clone(),
            _ => open.key.clone(),
        };
        match entry.spec.overlap {
            _ if entry.paused.is_some() => return Err(Refusal::StillOpen { name, run }),
            Overlap::Skip => return Err(Refusal::StillOpen { name, run }),
            Overlap::Queue if entry.waiting.len() >= QUEUE_MAX => return Err(Refusal::QueueFull(name)),
            Overlap::Queue => {}
            Overlap::CancelPrevious => self.drop_waiting(),
        }
        self.queue(self.now_ms, true);
        self.go_on();
        Ok(())
    }
}
