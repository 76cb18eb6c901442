//! A world round one machine: scheduler, workers, people, disk and power, all of them unreliable.
//!
//! The world obeys the caller's contract (journal, apply, perform) and breaks everything else. It also
//! watches what no journal shows: leases, live workers, timers, and that stale answers are refused.

use super::checker::Checker;
use super::define::{SIGNAL, SUBMITTER, submission};
use super::machine::Machine;
use super::random::Random;
use engine::definition::{Attempt, StageIndex, StageKind, StageSpec};
use engine::run::{ArtefactRef, Command, ErrorClass, Event, Fence, Input, ResetTo, Run, StageError};
use std::collections::BTreeMap;

/// Steps after which a run is not slow but going round in circles.
const STEPS_MAX: u32 = 4_000;

#[derive(Clone)]
enum Arrival {
    Answer(Input),
    /// `holds`: this message carries the lease; a doubled one does not.
    Placed {
        stage: StageIndex,
        attempt: Attempt,
        holds: bool,
    },
    Woke,
    Schedule,
    Person,
}

struct Record {
    position: u64,
    time_ms: u64,
    event: Event,
}

/// What a seed did, to show that the simulation goes where it should.
#[derive(Debug, Default, Clone)]
pub struct Report {
    pub events: BTreeMap<&'static str, u64>,
    pub crashes: u64,
    pub refusals: u64,
    pub steps: u64,
}

pub struct World<M> {
    random: Random,
    machine: M,
    /// Fed from the journal alone, one record at a time: the replay of every prefix.
    replay: M,
    journal: Vec<Record>,
    snapshot: Option<(usize, Vec<u8>)>,
    checker: Checker,
    clock_ms: u64,
    queue: BTreeMap<(u64, u64), Arrival>,
    arrivals: u64,
    calm: bool,
    crash_permille: u64,
    /// How many attempts in a hundred fail; undisturbed runs must be seen too.
    trouble_percent: u64,
    slots: usize,
    requests: Vec<(StageIndex, Attempt)>,
    leases: Vec<StageIndex>,
    alive: BTreeMap<Fence, StageIndex>,
    old_fences: Vec<(StageIndex, Fence)>,
    report: Report,
    /// Prints every step: `SEED=n cargo test .. -- --nocapture`.
    trace: bool,
}

/// Lives one seed to its end.
///
/// # Errors
/// The first broken promise, in words.
pub fn live<M: Machine>(seed: u64, maker: &M) -> Result<Report, String> {
    let mut random = Random::new(seed);
    let event = submission(&mut random);
    let run = Run::submitted(1, 1_000, &event).map_err(|e| e.to_string())?;
    let mut world = World {
        machine: maker.holding(run.clone(), false),
        replay: maker.holding(run, true),
        checker: Checker::new(1, 1_000, &event),
        journal: vec![Record { position: 1, time_ms: 1_000, event }],
        snapshot: None,
        clock_ms: 1_000,
        queue: BTreeMap::new(),
        arrivals: 0,
        calm: false,
        crash_permille: random.pick(&[0, 0, 15, 80]),
        trouble_percent: random.pick(&[0, 4, 20]),
        slots: random.between(1, 4) as usize,
        requests: Vec::new(),
        leases: Vec::new(),
        alive: BTreeMap::new(),
        old_fences: Vec::new(),
        report: Report::default(),
        trace: std::env::var_os("SEED").is_some(),
        random,
    };
    world.run_to_the_end()?;
    Ok(world.report)
}

impl<M: Machine> World<M> {
    fn run_to_the_end(&mut self) -> Result<(), String> {
        let people = self.random.pick(&[0, 2, 6]);
        for _ in 0..people {
            let after = self.random.below(3_000);
            self.arrive(after, Arrival::Person);
        }
        let chaos = self.random.between(10, 120);
        let mut retries = self.random.below(3);
        self.deliver(Input::Woke, None)?;
        for step in 0..STEPS_MAX {
            self.report.steps += 1;
            self.calm = u64::from(step) >= chaos;
            if let Some((at, arrival)) = self.queue.pop_first() {
                self.clock_ms = self.clock_ms.max(at.0);
                self.meet(arrival)?;
                if !self.calm {
                    self.disturb()?;
                }
            } else if !self.checker.has_ended() {
                self.help()?;
            } else {
                self.nothing_is_left()?;
                if retries == 0
                    || (self.machine.run().phase().name() == "succeeded" && self.random.percent(70))
                {
                    return self.whole_replay();
                }
                retries -= 1;
                let input = if self.random.percent(35) {
                    let last = self.journal.last().map_or(0, |record| record.position);
                    let stage = ResetTo::Stage(self.any_stage());
                    let position = ResetTo::Position(self.random.below(last + 1));
                    let to = if self.random.percent(40) { stage } else { position };
                    Input::Reset { by: "operator".into(), to }
                } else {
                    let from = self.random.percent(30).then(|| self.any_stage());
                    Input::Retry { by: "operator".into(), from }
                };
                self.deliver(input, None)?;
                if !self.checker.has_ended() {
                    self.arrive(500, Arrival::Woke);
                } else {
                    retries = 0;
                }
            }
        }
        Err(format!("not over after {STEPS_MAX} steps"))
    }

    /// Nothing will come by itself any more: rightly so? Then people do what they are waited for.
    fn help(&mut self) -> Result<(), String> {
        if !self.checker.may_wait() {
            return Err(format!(
                "stuck: {:?} {:?}",
                self.checker.going,
                self.machine.run().waits(self.clock_ms)
            ));
        }
        if self.checker.paused {
            return self.deliver(Input::Resume { by: "operator".into() }, None).map(drop);
        }
        if self.checker.stages.iter().any(|seen| seen.doubt) {
            let again = Input::Retry { by: "operator".into(), from: None };
            let cancel = Input::Cancel { by: "operator".into() };
            let input = if self.random.percent(70) { again } else { cancel };
            return self.deliver(input, None).map(drop);
        }
        for stage in self.checker.open_gates() {
            for by in ["approver-1", "approver-2"] {
                let (by, reason) = (by.to_owned(), "seen".to_owned());
                let role = "approver".to_owned();
                self.deliver(Input::Decide { stage, by, role, approved: true, reason }, None)?;
            }
        }
        for stage in self.checker.open_signals() {
            let input = self.signal(stage, SIGNAL);
            self.deliver(input, None)?;
        }
        Ok(())
    }

    fn signal(&mut self, stage: StageIndex, name: &str) -> Input {
        let data = format!(r#"{{"flag_{}":{}}}"#, stage.0, self.random.percent(85));
        let data = if self.random.percent(3) { "[1]".to_owned() } else { data };
        let key = self.random.percent(50).then(|| self.random.pick(&["k1", "k2"]).to_owned());
        Input::Signal { stage, name: name.to_owned(), data, key, by: "twin".to_owned() }
    }

    fn nothing_is_left(&self) -> Result<(), String> {
        if !self.leases.is_empty() || !self.alive.is_empty() || !self.requests.is_empty() {
            let left = (&self.leases, &self.alive, &self.requests);
            return Err(format!("ended, but leases, workers or requests are left: {left:?}"));
        }
        Ok(())
    }

    fn arrive(&mut self, after_ms: u64, arrival: Arrival) {
        self.arrivals += 1;
        self.queue.insert((self.clock_ms + after_ms, self.arrivals), arrival);
    }

    fn any_stage(&mut self) -> StageIndex {
        StageIndex(self.random.below(self.checker.stages.len() as u64) as u32)
    }

    fn last_time(&self) -> u64 {
        self.journal.last().map_or(0, |record| record.time_ms)
    }

    fn meet(&mut self, arrival: Arrival) -> Result<(), String> {
        match arrival {
            Arrival::Woke => self.deliver(Input::Woke, None).map(drop),
            Arrival::Person => self.person(),
            Arrival::Schedule => self.schedule(),
            Arrival::Placed { stage, attempt, holds } => {
                let wanted = self.checker.stages[stage.0 as usize].ready.map(|(ready, _)| ready);
                if !holds && wanted == Some(attempt.0) {
                    return Ok(());
                }
                let placed = Input::Placed { stage, attempt, placed_on: "node-1".into() };
                let refused = self.deliver(placed, Some(wanted == Some(attempt.0)))? == Some(false);
                if refused && holds {
                    self.release(stage)?;
                }
                Ok(())
            }
            Arrival::Answer(input) => {
                let (stage, fence, undo, last) = match &input {
                    Input::Checkpointed { stage, fence, .. } => (*stage, *fence, false, false),
                    Input::Succeeded { stage, fence, .. } | Input::Failed { stage, fence, .. } => {
                        (*stage, *fence, false, true)
                    }
                    Input::Stopped { stage, fence } => (*stage, *fence, false, true),
                    Input::Compensated { stage, fence } | Input::CompensationFailed { stage, fence, .. } => {
                        (*stage, *fence, true, true)
                    }
                    _ => return Err("not an answer".into()),
                };
                if last && self.alive.get(&fence) == Some(&stage) {
                    self.alive.remove(&fence);
                }
                let mut good = self.checker.fence(stage, undo) == Some(fence.0);
                if matches!(input, Input::Stopped { .. }) {
                    good &= self.checker.stages[stage.0 as usize].stopping;
                }
                if !last {
                    good &= !self.checker.stages[stage.0 as usize].tuned_in_flight;
                }
                self.deliver(input, Some(good)).map(drop)
            }
        }
    }

    /// Spurious wakes, forged and repeated answers, a snapshot, a loss of power between two steps.
    fn disturb(&mut self) -> Result<(), String> {
        if self.random.percent(5) {
            self.deliver(Input::Woke, None)?;
        }
        if self.random.percent(8) {
            let (stage, fence) = if self.old_fences.is_empty() || self.random.percent(30) {
                (self.any_stage(), Fence(self.random.below(60)))
            } else {
                self.random.pick(&self.old_fences)
            };
            let undo = self.random.percent(30);
            if self.checker.fence(stage, undo) != Some(fence.0) {
                let forged = match (undo, self.random.percent(50)) {
                    (true, true) => Input::Compensated { stage, fence },
                    (true, false) => Input::CompensationFailed { stage, fence, error: self.error(fence) },
                    (false, true) => self.success(stage, fence),
                    (false, false) => Input::Failed { stage, fence, error: self.error(fence) },
                };
                self.meet(Arrival::Answer(forged))?;
            }
        }
        if self.random.percent(1) {
            let nowhere = StageIndex(99);
            self.deliver(Input::Compensated { stage: nowhere, fence: Fence(1) }, Some(false))?;
            self.deliver(
                Input::Placed { stage: nowhere, attempt: Attempt(1), placed_on: "x".into() },
                Some(false),
            )?;
        }
        if self.random.percent(5) {
            let bytes = bincode::serialize(self.machine.run()).map_err(|e| e.to_string())?;
            self.snapshot = Some((self.journal.len(), bytes));
        }
        if self.power_fails() {
            self.crash()?;
        }
        Ok(())
    }

    fn power_fails(&mut self) -> bool {
        !self.calm && self.random.below(1_000) < self.crash_permille
    }

    fn person(&mut self) -> Result<(), String> {
        let by = self.random.pick(&[SUBMITTER, "approver-1", "approver-2", "operator"]).to_owned();
        let stage = self.any_stage();
        let input = match self.random.below(24) {
            0..=2 => Input::Pause { by },
            3..=5 => Input::Resume { by },
            6 => Input::Cancel { by },
            7 | 8 => Input::Retry { by, from: self.random.percent(50).then_some(stage) },
            9 => Input::EmergencyStop,
            10 | 11 => {
                let value = self.random.pick(&["1", "2.5", "\"x\"", "{\"a\":[1]}", "no json"]).to_owned();
                let parameter = self.random.pick(&["p", "solve_seconds_max"]).into();
                Input::Tune { stage, parameter, value, by }
            }
            16 => {
                let value = format!("\"{}ms\"", self.random.between(50, 2_000));
                let parameter = self.random.pick(&["start_to_close", "schedule_to_start"]).into();
                Input::Tune { stage, parameter, value, by }
            }
            17 | 18 => Input::PauseNow { by },
            19 => {
                // Among so many other stages the few that wait for signals would hardly be met by chance.
                let of_signals = |(_, spec): &(u32, &StageSpec)| spec.kind == StageKind::Signal;
                let specs = (0..).zip(&self.checker.definition.stages);
                let takers: Vec<StageIndex> =
                    specs.filter(of_signals).map(|(at, _)| StageIndex(at)).collect();
                let stage = match self.random.percent(20) {
                    _ if takers.is_empty() => StageIndex(77),
                    true => stage,
                    false => self.random.pick(&takers),
                };
                let name = self.random.pick(&[SIGNAL, SIGNAL, "rain"]);
                self.signal(stage, name)
            }
            20 | 21 => {
                let last = self.journal.last().map_or(0, |record| record.position);
                let to = match self.random.percent(40) {
                    true => ResetTo::Stage(stage),
                    false => ResetTo::Position(self.random.below(last + 3)),
                };
                Input::Reset { by, to }
            }
            _ => {
                let open = self.checker.open_gates();
                let stage = if open.is_empty() { stage } else { self.random.pick(&open) };
                let role = if by.starts_with("approver") { "approver" } else { "operator" }.to_owned();
                Input::Decide { stage, by, role, approved: self.random.percent(85), reason: "seen".into() }
            }
        };
        self.deliver(input, None).map(drop)
    }

    fn schedule(&mut self) -> Result<(), String> {
        if self.requests.is_empty() {
            return Ok(());
        }
        if self.leases.len() >= self.slots || self.random.percent(20) {
            let after = self.random.between(1, 200);
            self.arrive(after, Arrival::Schedule);
            return Ok(());
        }
        let at = self.random.below(self.requests.len() as u64) as usize;
        let (stage, attempt) = self.requests.remove(at);
        if !self.requests.is_empty() {
            self.arrive(1, Arrival::Schedule);
        }
        if self.random.percent(1 + self.trouble_percent / 5) {
            let class =
                self.random.pick(&[ErrorClass::Transient, ErrorClass::Ambiguous, ErrorClass::Permanent]);
            let error = StageError { code: "EX-9001".into(), message: "does not fit".into(), class };
            return self.deliver(Input::PlacementFailed { stage, attempt, error }, Some(true)).map(drop);
        }
        self.leases.push(stage);
        let after = self.random.pick(&[0, 0, 0, 5, 50]);
        self.arrive(after, Arrival::Placed { stage, attempt, holds: true });
        if self.random.percent(5) {
            self.arrive(after + 1, Arrival::Placed { stage, attempt, holds: false });
        }
        Ok(())
    }

    fn release(&mut self, stage: StageIndex) -> Result<(), String> {
        let held = self.leases.iter().position(|lease| *lease == stage);
        let at = held.ok_or(format!("a lease of stage {} was released that nobody holds", stage.0))?;
        self.leases.remove(at);
        Ok(())
    }

    /// One input through decide, journal, apply, perform; power may fail between any two of them.
    /// `Some(accepted)`, or `None` if power failed before the machine saw it.
    fn deliver(&mut self, input: Input, expected: Option<bool>) -> Result<Option<bool>, String> {
        if self.power_fails() {
            self.crash()?;
            return Ok(None);
        }
        let now_ms = self.clock_ms;
        let name = format!("{input:?}");
        if let Input::Reset { to, .. } = &input {
            self.checker.reset_asked = Some(*to);
        }
        if self.trace {
            println!("{now_ms} {name}");
        }
        let Ok(decision) = self.machine.decide(now_ms, self.random.word(), input) else {
            self.report.refusals += 1;
            if expected == Some(true) {
                return Err(format!("refused, but it fits: {name}"));
            }
            return Ok(Some(false));
        };
        if expected == Some(false) {
            return Err(format!("accepted, but it is stale: {name}"));
        }
        self.commit(now_ms, decision.events, decision.commands)?;
        Ok(Some(true))
    }

    fn commit(&mut self, now_ms: u64, events: Vec<Event>, commands: Vec<Command>) -> Result<(), String> {
        let time_ms = now_ms.max(self.last_time());
        let mut batch = Vec::new();
        for event in events {
            let before =
                batch.last().map_or(self.journal[self.journal.len() - 1].position, |r: &Record| r.position);
            let position = before + self.random.between(1, 3);
            *self.report.events.entry(event.name()).or_default() += 1;
            if self.trace {
                println!("    {position} {event:?}");
            }
            self.checker.see(position, time_ms, &event)?;
            let bytes = bincode::serialize(&event).map_err(|e| e.to_string())?;
            let stored: Event = bincode::deserialize(&bytes).map_err(|e| e.to_string())?;
            self.replay.apply(position, time_ms, &stored);
            batch.push(Record { position, time_ms, event });
        }
        let first = self.journal.len();
        self.journal.extend(batch);
        if self.power_fails() {
            return self.crash();
        }
        for record in &self.journal[first..] {
            self.machine.apply(record.position, record.time_ms, &record.event);
        }
        if self.machine.run() != self.replay.run() {
            return Err(format!("replay differs:\n{:?}\n{:?}", self.machine.run(), self.replay.run()));
        }
        for record in &self.journal[first..] {
            let Event::StageStopRequested { stage, .. } = &record.event else { continue };
            let told = |command: &Command| matches!(command, Command::Stop { stage: s, .. } if s == stage);
            if self.checker.stages[stage.0 as usize].in_flight.is_some() && !commands.iter().any(told) {
                return Err(format!("stage {} is to stop, but nobody tells it", stage.0));
            }
        }
        for command in commands {
            if self.power_fails() {
                return self.crash();
            }
            self.perform(command)?;
        }
        Ok(())
    }

    fn perform(&mut self, command: Command) -> Result<(), String> {
        if self.trace {
            println!("        {command:?}");
        }
        match command {
            Command::RequestPlacement { stage, attempt, .. } => {
                if self.requests.iter().any(|(other, _)| *other == stage) {
                    return Err(format!("room was asked for twice for stage {}", stage.0));
                }
                // The scheduler keeps one request or placement per stage and attempt: an answer that was
                // on its way when the first request was withdrawn also answers the second.
                let same = |arrival: &Arrival| matches!(arrival, Arrival::Placed { stage: s, attempt: a, holds: true } if (*s, *a) == (stage, attempt));
                if self.queue.values().any(same) {
                    return Ok(());
                }
                self.requests.push((stage, attempt));
                let after = self.random.between(0, 20);
                self.arrive(after, Arrival::Schedule);
            }
            Command::WithdrawPlacement { stage } => self.requests.retain(|(other, _)| *other != stage),
            Command::Dispatch { stage, resume_from, .. } => self.dispatch(stage, resume_from)?,
            Command::DispatchUndo { stage, .. } => self.dispatch_undo(stage)?,
            Command::Stop { stage, fence } => self.stop(stage, fence)?,
            Command::Steer { stage, fence, .. } => {
                if self.alive.get(&fence) != Some(&stage) && !self.is_answered(fence) {
                    return Err(format!("stage {} is steered, but is not at work", stage.0));
                }
            }
            Command::Abandon { fence, .. } => drop(self.alive.remove(&fence)),
            Command::ReleaseLease { stage } => self.release(stage)?,
            Command::WakeAt { at_ms } => {
                let after = at_ms.saturating_sub(self.clock_ms) + self.random.pick(&[0, 0, 3]);
                self.arrive(after, Arrival::Woke);
            }
            Command::Ended => {
                if !self.checker.has_ended() {
                    return Err("told that the run ended, but the journal does not say so".into());
                }
            }
        }
        Ok(())
    }

    /// An answer of this attempt was accepted or is on its way.
    fn is_answered(&self, fence: Fence) -> bool {
        self.old_fences.iter().any(|(_, old)| *old == fence)
    }

    /// A worker leaves a checkpoint at its next safe point and ends, or is killed for not doing so.
    fn stop(&mut self, stage: StageIndex, fence: Fence) -> Result<(), String> {
        if !self.is_answered(fence) {
            return Err(format!("stage {} is to stop, but never began", stage.0));
        }
        let after = self.random.pick(&[0, 5, 50, 10_000]);
        if self.random.percent(60) && after < 10_000 {
            let checkpoint =
                ArtefactRef { name: "checkpoint".into(), digest: format!("s{}", fence.0), bytes: 1 };
            self.arrive(after, Arrival::Answer(Input::Checkpointed { stage, fence, checkpoint }));
        }
        self.answer(after, Input::Stopped { stage, fence });
        Ok(())
    }

    fn error(&mut self, fence: Fence) -> StageError {
        let class = match self.random.below(10) {
            0 | 1 => ErrorClass::Permanent,
            2 | 3 => ErrorClass::Ambiguous,
            _ => ErrorClass::Transient,
        };
        StageError { code: "EX-9000".into(), message: format!("fence {}", fence.0), class }
    }

    fn success(&mut self, stage: StageIndex, fence: Fence) -> Input {
        let outputs =
            vec![ArtefactRef { name: "out.json".into(), digest: format!("b3:{}", fence.0), bytes: 1 }];
        let flag = self.random.percent(85);
        let facts = match self.random.below(100) {
            0 if !self.calm => "garbage".to_owned(),
            _ => format!(r#"{{"fence":{},"flag_{}":{flag}}}"#, fence.0, stage.0),
        };
        Input::Succeeded { stage, fence, outputs, facts }
    }

    fn dispatch(&mut self, stage: StageIndex, resume_from: Option<ArtefactRef>) -> Result<(), String> {
        let fence = self.machine.fence(stage).ok_or("dispatched without a fence")?;
        let seen = &self.checker.stages[stage.0 as usize];
        if seen.checkpoint != resume_from.map(|checkpoint| checkpoint.digest) {
            return Err(format!(
                "stage {} is to resume from {:?}, but was told otherwise",
                stage.0, seen.checkpoint
            ));
        }
        let params: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&self.machine.run().params_of(stage)).map_err(|e| e.to_string())?;
        for (name, tuned) in &seen.tunings {
            let given = params.get(name).map(ToString::to_string);
            if given.as_ref() != Some(tuned) {
                return Err(format!("stage {} runs with {name} = {given:?}, tuned to {tuned}", stage.0));
            }
        }
        let needs_room = self.checker.definition.stages[stage.0 as usize].kind != StageKind::Check;
        if needs_room && !self.leases.contains(&stage) {
            return Err(format!("stage {} runs without a lease", stage.0));
        }
        self.begin(stage, fence)?;
        let mut after = self.random.pick(&[1, 10, 100, 600]);
        if self.random.percent(25) {
            let checkpoint =
                ArtefactRef { name: "checkpoint".into(), digest: format!("c{}", fence.0), bytes: 1 };
            self.arrive(after / 2, Arrival::Answer(Input::Checkpointed { stage, fence, checkpoint }));
        }
        let limited = self.checker.definition.stages[stage.0 as usize].timeout.start_to_close_ms.is_some();
        let answer = match self.random.below(100) {
            // A hung worker or a lost answer: the owner notices by the heartbeat, or only the timeout does.
            0..=2 if limited => return Ok(()),
            0..=2 => {
                after += 200;
                let (code, message) = ("EX-9000".into(), format!("fence {}", fence.0));
                let error = StageError { code, message, class: ErrorClass::Transient };
                Input::Failed { stage, fence, error }
            }
            share if share < 3 + self.trouble_percent => {
                Input::Failed { stage, fence, error: self.error(fence) }
            }
            _ => self.success(stage, fence),
        };
        self.answer(after, answer);
        Ok(())
    }

    fn dispatch_undo(&mut self, stage: StageIndex) -> Result<(), String> {
        let fence = self.machine.fence(stage).ok_or("an undo was dispatched without a fence")?;
        if !self.alive.is_empty() {
            return Err(format!("an undo was dispatched while workers live: {:?}", self.alive));
        }
        self.begin(stage, fence)?;
        let after = self.random.pick(&[1, 10, 100]);
        let limited = self.checker.definition.stages[stage.0 as usize].timeout.start_to_close_ms.is_some();
        let answer = match self.random.below(100) {
            0..=5 if limited => return Ok(()),
            0..=20 => Input::CompensationFailed { stage, fence, error: self.error(fence) },
            _ => Input::Compensated { stage, fence },
        };
        self.answer(after, answer);
        Ok(())
    }

    fn begin(&mut self, stage: StageIndex, fence: Fence) -> Result<(), String> {
        if self.alive.values().any(|other| *other == stage) {
            return Err(format!("two workers at stage {}", stage.0));
        }
        self.alive.insert(fence, stage);
        self.old_fences.push((stage, fence));
        Ok(())
    }

    fn answer(&mut self, after: u64, answer: Input) {
        if self.random.percent(8) {
            let later = after + self.random.between(0, 300);
            self.arrive(later, Arrival::Answer(answer.clone()));
        }
        self.arrive(after, Arrival::Answer(answer));
    }

    /// The daemon dies and comes back: memory, timers, workers and leases are gone, the journal is not.
    fn crash(&mut self) -> Result<(), String> {
        self.report.crashes += 1;
        if self.trace {
            println!("power fails");
        }
        let late = |arrival: &Arrival, random: &mut Random| match arrival {
            Arrival::Answer(_) => random.percent(20),
            Arrival::Person => true,
            _ => false,
        };
        let random = &mut self.random;
        self.queue.retain(|_, arrival| late(arrival, random));
        (self.requests, self.leases, self.alive) = (Vec::new(), Vec::new(), BTreeMap::new());
        self.machine = self.restored()?;
        // The clock may have jumped either way; time goes on from the last record at the earliest.
        self.clock_ms = match self.random.below(5) {
            0 | 1 => self.clock_ms,
            2 => self.last_time(),
            3 => self.clock_ms + 300,
            _ => self.clock_ms + 100_000,
        };
        let (events, commands) = self.machine.recover(self.clock_ms);
        // After a restart the resource manager knows of no lease, so those told to it are none.
        let commands =
            commands.into_iter().filter(|command| !matches!(command, Command::ReleaseLease { .. }));
        self.commit(self.clock_ms, events, commands.collect())
    }

    fn restored(&mut self) -> Result<M, String> {
        let from_snapshot = self.snapshot.as_ref().filter(|_| self.random.percent(60));
        let (first, run) = match from_snapshot {
            Some((first, bytes)) => (*first, bincode::deserialize::<Run>(bytes).map_err(|e| e.to_string())?),
            None => {
                let Record { position, time_ms, event } = &self.journal[0];
                (1, Run::submitted(*position, *time_ms, event).map_err(|e| e.to_string())?)
            }
        };
        let mut machine = self.machine.holding(run, true);
        for record in &self.journal[first..] {
            machine.apply(record.position, record.time_ms, &record.event);
        }
        if machine.run() != self.replay.run() {
            return Err("a restored run differs from the replay".into());
        }
        Ok(machine)
    }

    fn whole_replay(&mut self) -> Result<(), String> {
        self.restored().map(drop)
    }
}
