//! Schedules under kills and clock jumps: nothing lost, nothing doubled, nothing too soon.
//!
//! The world here has a journal, runs found by their keys, and a clock that is moved forward by seconds or by
//! months. The judge sees the journal and the runs alone; which moments there are it counts itself, minute by
//! minute. The judge is judged by mutants. `SEEDS=20000 cargo test -p engine --test schedule_simulation` for more
//! seeds, `SEED=n` for a single one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use chrono::{DateTime, Datelike, Timelike, Utc};
use engine::schedule::{
    CatchUp, Command, Event, Input, ON_TIME_MS, Outcome, Overlap, Passed, Spec, Timetable, jitter_of,
};
use rand_like::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Seeds per commit: a few seconds.
const SEEDS: u64 = 400;
/// Seeds within which a mutant must be caught.
const MUTANT_SEEDS: u64 = 400;
const STEPS: usize = 160;
const MINUTE: u64 = 60_000;

/// A small generator of our own: the engine's tests need no crate for it.
mod rand_like {
    #[derive(Debug)]
    pub struct Rng(u64);

    impl Rng {
        pub fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
        }

        pub fn next(&mut self) -> u64 {
            // xorshift64*
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        pub fn below(&mut self, most: u64) -> u64 {
            (self.next() >> 11) % most
        }

        pub fn one_in(&mut self, many: u64) -> bool {
            self.below(many) == 0
        }
    }
}

/// A cron line as the judge understands it: the line, and which minutes of the zone's clock it names.
type Judged = (&'static str, fn(&DateTime<chrono_tz::Tz>) -> bool);

const LINES: [Judged; 5] = [
    ("* * * * *", |_| true),
    ("*/10 * * * *", |at| at.minute() % 10 == 0),
    ("30 5 * * *", |at| (at.hour(), at.minute()) == (5, 30)),
    ("0 */6 * * 1-5", |at| {
        at.hour() % 6 == 0 && at.minute() == 0 && !matches!(at.weekday().num_days_from_sunday(), 0 | 6)
    }),
    ("15,45 9-17 1 * *", |at| at.day() == 1 && (9..=17).contains(&at.hour()) && at.minute() % 30 == 15),
];

/// Zones whose clocks are not changed at hours that these lines name one by one.
const ZONES: [&str; 3] = ["UTC", "Asia/Kolkata", "America/Bogota"];

/// What a mutant changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// After a restart nothing is submitted again.
    ForgetsSubmissions,
    /// A submission made again gets another key.
    ChangesKeys,
    /// Fires before it is journaled: a kill in between fires twice.
    FiresWithoutRecord,
    IgnoresPause,
    IgnoresOpenRuns,
    IgnoresTheInterval,
    PassesInSilence,
    FiresEarly,
}

struct World {
    rng: Rng,
    now: u64,
    journal: Vec<Event>,
    table: Timetable,
    /// Key to run.
    runs: BTreeMap<String, String>,
    /// Each submission that made a run: schedule, time.
    submitted: Vec<(String, u64)>,
    open: BTreeSet<String>,
    commands: Vec<Command>,
    mutant: Mutant,
    judge: Judge,
    /// Nothing is killed any more.
    calm: bool,
}

/// Looks at the journal alone, and counts moments by itself.
#[derive(Default)]
struct Judge {
    schedules: BTreeMap<String, Known>,
    /// Everything a removed schedule leaves.
    keys: BTreeSet<String>,
}

struct Known {
    spec: Spec,
    names: fn(&DateTime<chrono_tz::Tz>) -> bool,
    through: u64,
    paused: bool,
    waiting: Vec<u64>,
    last_fire: Option<u64>,
    open: Option<String>,
    unsettled: Option<String>,
}

impl Known {
    /// The moments in (after, until], minute by minute, at most so many minutes back.
    fn moments(&self, after: u64, until: u64) -> Vec<u64> {
        let zone: chrono_tz::Tz = self.spec.timezone.parse().unwrap();
        let first = after / MINUTE + 1;
        (first..=until / MINUTE)
            .map(|minute| minute * MINUTE)
            .filter(|ms| {
                let at = DateTime::<Utc>::from_timestamp_millis(*ms as i64).unwrap().with_timezone(&zone);
                (self.names)(&at)
            })
            .collect()
    }
}

impl Judge {
    fn sees(&mut self, now: u64, event: &Event, open: &BTreeSet<String>) -> Result<(), String> {
        let wrong = |what: String| Err(format!("{what}: {event:?}"));
        let name = event.schedule().to_owned();
        if let Event::ScheduleAdded { spec, at_ms, .. } = event {
            let names = LINES.iter().find(|(line, _)| *line == spec.cron).unwrap().1;
            let known = Known {
                spec: spec.clone(),
                names,
                through: *at_ms,
                paused: false,
                waiting: Vec::new(),
                last_fire: None,
                open: None,
                unsettled: None,
            };
            self.schedules.insert(name, known);
            return Ok(());
        }
        if matches!(event, Event::ScheduleRemoved { .. }) {
            self.schedules.remove(&name);
            return Ok(());
        }
        let Some(known) = self.schedules.get_mut(&name) else { return wrong("of no schedule".into()) };
        let is_open = known.unsettled.is_some() || known.open.as_ref().is_some_and(|run| open.contains(run));
        match event {
            Event::TimetableClosed | Event::TimetableCarried { .. } | Event::ScheduleCarried { .. } => {
                return Err("a decision begins the stream anew".into());
            }
            Event::SchedulePaused { .. } => known.paused = true,
            Event::ScheduleResumed { at_ms, .. } => {
                known.paused = false;
                known.through = *at_ms;
            }
            Event::DuesPassed { through_ms, count, exact, why, .. } => {
                if known.paused {
                    return wrong("a paused schedule passes moments".into());
                }
                if *through_ms > now || *through_ms <= known.through {
                    return wrong("passes what has not come or has passed".into());
                }
                // A year of minutes is not counted here either.
                if through_ms - known.through <= 3 * 24 * 60 * MINUTE {
                    let there = known.moments(known.through, *through_ms).len() as u64;
                    if *count > there || (*exact && *count != there) {
                        return wrong(format!("says {count} moments, there are {there}"));
                    }
                }
                if *why == Passed::Overlap && !is_open {
                    return wrong("nothing is open that it could overlap with".into());
                }
                known.through = *through_ms;
            }
            Event::DueQueued { due_ms, manual, .. } => {
                if !manual {
                    Self::next_moment(known, *due_ms, now).map_err(|what| format!("{what}: {event:?}"))?;
                }
                known.waiting.push(*due_ms);
            }
            Event::DueDropped { due_ms, .. } => {
                let Some(at) = known.waiting.iter().position(|due| due == due_ms) else {
                    return wrong("drops what does not wait".into());
                };
                known.waiting.remove(at);
            }
            Event::ScheduleFired { due_ms, key, manual, at_ms, .. } => {
                if known.paused && !manual {
                    return wrong("a paused schedule fires".into());
                }
                if is_open {
                    return wrong("two open runs of one schedule".into());
                }
                if known.last_fire.is_some_and(|last| at_ms - last < known.spec.interval_ms_min) {
                    return wrong("sooner than its interval".into());
                }
                if !self.keys.insert(key.clone()) {
                    return wrong("a key is used twice".into());
                }
                match known.waiting.iter().position(|due| due == due_ms) {
                    Some(at) => {
                        known.waiting.remove(at);
                    }
                    None if *manual => {}
                    None => {
                        Self::next_moment(known, *due_ms, now).map_err(|what| format!("{what}: {event:?}"))?
                    }
                }
                if !manual && due_ms + jitter_of(&name, *due_ms, known.spec.jitter_ms) > now {
                    return wrong("before its time".into());
                }
                known.last_fire = Some(*at_ms);
                known.unsettled = Some(key.clone());
            }
            Event::FireSettled { key, outcome, .. } => {
                if known.unsettled.take().as_ref() != Some(key) {
                    return wrong("settles what was not fired".into());
                }
                known.open = match outcome {
                    Outcome::Submitted { run } => Some(run.clone()),
                    Outcome::Refused { .. } => None,
                };
            }
            Event::ScheduleAdded { .. } | Event::ScheduleRemoved { .. } => {}
        }
        Ok(())
    }

    /// `due` must be the very next moment that nothing was said of.
    fn next_moment(known: &mut Known, due: u64, now: u64) -> Result<(), String> {
        if due > now {
            return Err("a moment that has not come".into());
        }
        match known.moments(known.through, due).as_slice() {
            [only] if *only == due => {
                known.through = due;
                Ok(())
            }
            [] => Err("no moment of its line".into()),
            several => Err(format!("{} moments before it were lost in silence", several.len() - 1)),
        }
    }
}

impl World {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let mut rng = Rng::new(seed);
        // Any minute of three years; seconds matter too.
        let now = 1_767_225_600_000 + rng.below(3 * 365 * 24 * 60) * MINUTE + rng.below(MINUTE);
        Self {
            rng,
            now,
            journal: Vec::new(),
            table: Timetable::default(),
            runs: BTreeMap::new(),
            submitted: Vec::new(),
            open: BTreeSet::new(),
            commands: Vec::new(),
            mutant,
            judge: Judge::default(),
            calm: false,
        }
    }

    fn dies(&mut self, one_in: u64) -> bool {
        self.rng.one_in(one_in) && !self.calm
    }

    fn spec(&mut self) -> Spec {
        let (cron, _) = LINES[self.rng.below(LINES.len() as u64) as usize];
        let overlap = [Overlap::Skip, Overlap::Queue, Overlap::CancelPrevious][self.rng.below(3) as usize];
        let max = 1 + self.rng.below(5) as u32;
        let catch_up = [CatchUp::None, CatchUp::One, CatchUp::All { max }][self.rng.below(3) as usize];
        Spec {
            cron: cron.into(),
            timezone: ZONES[self.rng.below(3) as usize].into(),
            overlap,
            catch_up,
            jitter_ms: if self.rng.one_in(2) { self.rng.below(MINUTE) } else { 0 },
            interval_ms_min: MINUTE,
            workflow: "w".into(),
            submission: "{}".into(),
            by: "ada".into(),
            role: "operator".into(),
        }
    }

    /// Decides, journals, applies; a kill may come before or after the record.
    fn input(&mut self, input: Input) -> Result<(), String> {
        let (open, mutant) = (self.open.clone(), self.mutant);
        let is_open = move |run: &str| mutant != Mutant::IgnoresOpenRuns && open.contains(run);
        let early = if mutant == Mutant::FiresEarly { 90_000 } else { 0 };
        let Ok(mut decision) = self.table.decide(self.now + early, input, &is_open) else { return Ok(()) };
        if self.mutant == Mutant::PassesInSilence {
            decision.events.retain(|event| !matches!(event, Event::DuesPassed { .. }));
        }
        if self.mutant == Mutant::FiresWithoutRecord {
            // Done first, recorded afterwards.
            let commands = std::mem::take(&mut decision.commands);
            self.perform(commands)?;
        }
        if self.dies(25) {
            return self.kill();
        }
        for event in &decision.events {
            self.judge.sees(self.now, event, &self.open)?;
            self.journal.push(event.clone());
            self.table.apply(event);
        }
        self.commands.append(&mut decision.commands);
        if self.dies(25) {
            return self.kill();
        }
        let commands = std::mem::take(&mut self.commands);
        self.perform(commands)
    }

    fn perform(&mut self, commands: Vec<Command>) -> Result<(), String> {
        for command in commands {
            match command {
                Command::Submit { name, mut key, .. } => {
                    if self.mutant == Mutant::ChangesKeys && self.rng.one_in(4) {
                        key.push_str("-again");
                    }
                    let next = format!("run-{:06}", self.runs.len() + 1);
                    let new = !self.runs.contains_key(&key);
                    if new && self.rng.one_in(20) {
                        let outcome = Outcome::Refused { code: "EX-0015".into(), message: "no input".into() };
                        self.input(Input::Settled { name, key, outcome })?;
                        continue;
                    }
                    let run = self.runs.entry(key.clone()).or_insert(next).clone();
                    if new {
                        self.submitted.push((name.clone(), self.now));
                        self.open.insert(run.clone());
                    }
                    if self.dies(10) {
                        // The answer is lost with the daemon.
                        return self.kill();
                    }
                    let outcome = Outcome::Submitted { run };
                    let key = key.trim_end_matches("-again").to_owned();
                    self.input(Input::Settled { name, key, outcome })?;
                }
                Command::Cancel { run, .. } => {
                    if self.rng.one_in(2) {
                        self.open.remove(&run);
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything in memory is gone; the journal is read again and its recovery carried out.
    fn kill(&mut self) -> Result<(), String> {
        self.commands.clear();
        let mut again = Timetable::default();
        self.journal.iter().for_each(|event| again.apply(event));
        let complete = !matches!(self.mutant, Mutant::IgnoresPause | Mutant::IgnoresTheInterval);
        if complete && again != self.table {
            return Err("a replay gives another timetable".into());
        }
        // The stream begins anew now and then: what is carried over must go on as if nothing had been.
        if complete && self.rng.one_in(3) {
            let mut carried = Timetable::default();
            again.carried().iter().for_each(|event| carried.apply(event));
            if carried != again {
                return Err("what is carried over is another timetable".into());
            }
            again = carried;
        }
        self.table = again;
        // It is off for a while: mostly seconds, at times months.
        self.now += match self.rng.below(12) {
            0 => self.rng.below(120 * 24 * 60) * MINUTE,
            1 | 2 => self.rng.below(3 * 24 * 60) * MINUTE,
            _ => self.rng.below(30_000),
        };
        if self.mutant == Mutant::ForgetsSubmissions {
            return Ok(());
        }
        self.perform(self.table.recover())
    }

    fn step(&mut self) -> Result<(), String> {
        let name = ["a", "b", "c"][self.rng.below(3) as usize].to_owned();
        match self.rng.below(16) {
            0 => {
                let spec = Box::new(self.spec());
                self.input(Input::Add { name, spec })?;
            }
            1 if self.rng.one_in(4) => self.input(Input::Remove { name })?,
            2 => self.input(Input::Pause { name, reason: String::new() })?,
            3 => self.input(Input::Resume { name })?,
            4 => self.input(Input::Run { name })?,
            5 => self.kill()?,
            6 => {
                // The clock is set forward.
                self.now += self.rng.below(2 * 24 * 60) * MINUTE;
            }
            7 | 8 => {
                // A run ends.
                let ended = self.open.iter().nth(self.rng.below(3) as usize).cloned();
                if let Some(run) = ended {
                    self.open.remove(&run);
                }
            }
            _ => self.now += 1_000 + self.rng.below(90_000),
        }
        if self.mutant == Mutant::IgnoresPause {
            let paused: Vec<String> = self
                .table
                .entries()
                .iter()
                .filter(|(_, e)| e.paused.is_some())
                .map(|(n, _)| n.clone())
                .collect();
            for name in paused {
                self.table.apply(&Event::ScheduleResumed { name, at_ms: 0 });
            }
        }
        if self.mutant == Mutant::IgnoresTheInterval && self.rng.one_in(2) {
            let names: Vec<String> = self.table.entries().keys().cloned().collect();
            for name in names {
                let now = self.now;
                let Some(entry) = self.table.get(&name) else { continue };
                let free = entry.latest.as_ref().is_some_and(|fire| {
                    matches!(&fire.outcome, Some(Outcome::Submitted { run }) if !self.open.contains(run))
                        && now > fire.at_ms
                });
                if free {
                    let key = format!("{name}@now{now}");
                    let event = Event::ScheduleFired { name, due_ms: now, key, manual: true, at_ms: now };
                    self.judge.sees(now, &event, &self.open)?;
                    self.journal.push(event.clone());
                    self.table.apply(&event);
                }
            }
        }
        self.input(Input::Tick)
    }

    /// At the end nothing is in doubt: every fire has one run, and no moment that has come is unspoken of.
    fn settle(&mut self) -> Result<(), String> {
        let fired: BTreeSet<&String> = self
            .journal
            .iter()
            .filter_map(|event| match event {
                Event::ScheduleFired { key, .. } => Some(key),
                _ => None,
            })
            .collect();
        if let Some(stray) = self.runs.keys().find(|key| !fired.contains(key)) {
            return Err(format!("a run nobody fired: {stray}"));
        }
        let settled: BTreeSet<&String> = self
            .journal
            .iter()
            .filter_map(|event| match event {
                Event::FireSettled { key, .. } => Some(key),
                _ => None,
            })
            .collect();
        for event in &self.journal {
            if let Event::FireSettled { key, outcome: Outcome::Submitted { run }, .. } = event
                && self.runs.get(key) != Some(run)
            {
                return Err(format!("{key} is said to be {run}"));
            }
        }
        for (name, known) in &self.judge.schedules {
            if let Some(key) = &known.unsettled
                && !settled.contains(key)
                && !self.runs.contains_key(key)
            {
                return Err(format!("{name}: the run of {key} was lost"));
            }
            let jitter_and_a_tick = MINUTE + ON_TIME_MS;
            if !known.paused && known.through + jitter_and_a_tick < self.now {
                let left = known
                    .moments(known.through.max(self.now - 24 * 60 * MINUTE), self.now - jitter_and_a_tick);
                if !left.is_empty() {
                    return Err(format!("{name}: {} moments were neither fired nor passed", left.len()));
                }
            }
        }
        Ok(())
    }
}

fn live(seed: u64, mutant: Mutant) -> Result<u64, String> {
    let mut world = World::new(seed, mutant);
    let broken = |what: String| format!("seed {seed}: {what}");
    for _ in 0..STEPS {
        world.step().map_err(broken)?;
    }
    // One last look, undisturbed by kills that would lose its record.
    world.calm = true;
    if mutant != Mutant::ForgetsSubmissions {
        let commands = world.table.recover();
        world.perform(commands).map_err(broken)?;
    }
    for _ in 0..3 {
        world.now += 1_000;
        world.input(Input::Tick).map_err(broken)?;
    }
    world.settle().map_err(broken)?;
    Ok(world.runs.len() as u64)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_moment_is_lost_doubled_or_too_soon_under_kills_and_clock_jumps() {
    if let Some(seed) = number("SEED") {
        println!("{} runs", live(seed, Mutant::None).unwrap());
        return;
    }
    let mut runs = 0;
    for seed in 0..number("SEEDS").unwrap_or(SEEDS) {
        match live(seed, Mutant::None) {
            Ok(made) => runs += made,
            Err(broken) => {
                panic!("{broken}\nreplay: SEED={seed} cargo test -p engine --test schedule_simulation")
            }
        }
    }
    println!("{runs} runs were submitted");
    assert!(runs > 1_000, "schedules that submit nothing try nothing: {runs}");
}

#[test]
fn every_mutant_is_noticed_for_what_it_does() {
    for (mutant, word) in [
        (Mutant::ForgetsSubmissions, "lost"),
        (Mutant::ChangesKeys, "nobody fired"),
        (Mutant::FiresWithoutRecord, "nobody fired"),
        (Mutant::IgnoresPause, "paused"),
        (Mutant::IgnoresOpenRuns, "two open runs"),
        (Mutant::IgnoresTheInterval, "sooner than its interval"),
        (Mutant::PassesInSilence, "lost in silence"),
        (Mutant::FiresEarly, "not come"),
    ] {
        let caught = (0..MUTANT_SEEDS).find_map(|seed| live(seed, mutant).err());
        let broken = caught.unwrap_or_else(|| panic!("{mutant:?} lived through {MUTANT_SEEDS} seeds"));
        assert!(broken.contains(word), "{mutant:?} was caught for another reason: {broken}");
        println!("{mutant:?}: {}", broken.lines().next().unwrap_or_default());
    }
}
