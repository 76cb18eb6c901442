//! The world: time, mailboxes, power, disk, and the loop that draws what happens next.
//!
//! Between any two steps the daemon may die. The daemon's actors take turns in a drawn order; what comes
//! from outside arrives in its own time. After a drawn number of steps all faults stop, and from then on
//! everything must come to its end. Start at [`live`] and [`World::step`].

use crate::define::Size;
use crate::judge::{Judge, Room, Verdict};
use crate::mutants::Mutant;
use crate::random::Random;
use crate::shells::{
    Append, Clients, Daemon, FIRST_RUN, Link, Mail, PROXY, Request, SCHEDULER, Tick, WRITER, id,
};
use crate::store::{End, Fact, Fate, Memory, Real, Record, Store, StoreFaults, Stream, Weather};
use crate::vendor::{Call, Reply, Vendor};
use crate::workers::{Process, Word};
use engine::run::{Input, Run};
use quantum::backends::JobState;
use std::collections::{BTreeMap, BTreeSet};

/// Steps after which a world is not slow but going round in circles.
const STEPS_MAX: u64 = 20_000;
/// Simulated time within which everything ends once the faults stop: half an hour. The longest waits of
/// these worlds are the daemon's standstill of two minutes and gates of five seconds.
const PATIENCE_MS: u64 = 1_800_000;
/// A start of the daemon, in ms.
const START_MS: u64 = 100;
const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 10 * 365 * 24 * HOUR_MS;
/// Wall time at which worlds begin: far enough from 0 for a clock that is set back ten years.
const EPOCH_MS: i64 = 2_000_000_000_000;
/// Of so many seeds one uses the `journal` crate on its simulated disk.
const REAL_EVERY: u64 = 128;

/// Of so many seeds one is about releases and emergency stops.
const RELEASES_EVERY: u64 = 32;

/// What a seed did, to show that the simulation goes where it should.
#[derive(Debug, Default, Clone)]
pub struct Report {
    pub events: BTreeMap<&'static str, u64>,
    pub counts: BTreeMap<&'static str, u64>,
    pub steps: u64,
    /// Simulated time, in ms.
    pub lived_ms: u64,
    pub real_journal: bool,
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        other.events.iter().for_each(|(name, count)| *self.events.entry(name).or_default() += count);
        other.counts.iter().for_each(|(name, count)| *self.counts.entry(name).or_default() += count);
        self.steps += other.steps;
        self.lived_ms += other.lived_ms;
    }
}

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

#[derive(Debug)]
pub enum Happening {
    Tick {
        incarnation: u64,
        tick: Tick,
    },
    Process {
        pid: u64,
    },
    FromWorker {
        slot: usize,
        pid: u64,
        word: Word,
    },
    ToVendor(Call),
    FromVendor(Reply),
    Request(Request),
    /// The client looks whether its request was answered, and asks again.
    Unanswered(usize),
    Restart,
    Space(bool),
    Trouble,
}

/// How bad it gets.
#[derive(Debug)]
pub struct Climate {
    pub crash_permille: u64,
    pub trouble_percent: u64,
    /// Requests and replies on the network that are lost, in hundred.
    pub loss_percent: u64,
    pub slow_disk: bool,
    pub sync_error_permille: u64,
    pub full: bool,
}

pub struct World {
    pub random: Random,
    pub trace: bool,
    pub mutant: Mutant,
    pub calm: bool,
    calm_since: u64,
    /// Milliseconds of a clock that nobody can set.
    pub now: u64,
    pub wall_offset_ms: i64,
    pub timers: BTreeMap<(u64, u64), Happening>,
    order: u64,
    pub climate: Climate,
    pub daemon: Daemon,
    pub slots: usize,
    pub store: Store,
    pub judge: Judge,
    /// Places in `judge.records` of each run's records.
    pub chapters: BTreeMap<u32, Vec<usize>>,
    pub jobs: BTreeMap<(u32, u32, u64), (JobState, u64)>,
    pub pristine: BTreeMap<u32, Run>,
    pub checkpoints: BTreeMap<u32, Vec<(u64, u64, Run)>>,
    /// Digest to the step and state that a worker may go on from.
    pub artefacts: BTreeMap<u64, (u32, u64)>,
    pub releases: BTreeSet<String>,
    pub link: Link,
    pub vendor: Vendor,
    pub processes: BTreeMap<u64, Process>,
    pub pids: u64,
    pub clients: Clients,
    pub report: Report,
}

/// Lives one seed to its end.
///
/// # Errors
/// The first broken promise, in words.
pub fn live(seed: u64) -> Result<Report, Broken> {
    live_with(seed, Mutant::None, false)
}

/// The same with a fault put in, or with every step printed.
///
/// # Errors
/// The first broken promise, in words.
pub fn live_with(seed: u64, mutant: Mutant, trace: bool) -> Result<Report, Broken> {
    let mut world = World::new(seed, mutant, trace);
    world.run_to_the_end().map_err(Broken)?;
    world.report.lived_ms = world.now;
    Ok(world.report)
}

impl World {
    fn new(seed: u64, mutant: Mutant, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let size = match random.below(100) {
            0..=79 => Size::Small,
            80..=96 => Size::Medium,
            _ => Size::Large,
        };
        let faults = StoreFaults {
            believes_a_failed_sync: mutant == Mutant::BelievesAFailedSync,
            skips_checksums: mutant == Mutant::SkipsChecksums,
            keeps_a_torn_tail: mutant == Mutant::KeepsATornTail,
            swallows_a_full_disk: mutant == Mutant::SwallowsAFullDisk,
        };
        let real_journal = seed % REAL_EVERY == REAL_EVERY - 1;
        let store = if real_journal {
            Store::Real(Box::new(Real::new(seed)))
        } else {
            Store::Memory(Box::new(Memory::new(faults)))
        };
        let room = Room {
            cpu_cores: random.between(2, 4) as u32,
            memory_mib: random.between(3, 8) * 100,
            worker_memory_mib: 100,
            jobs: random.between(1, 2) as u32,
        };
        let slots = random.between(1, 3) as usize;
        let climate = Climate {
            crash_permille: random.pick(&[0, 0, 8, 30]),
            trouble_percent: random.pick(&[0, 5, 25]),
            loss_percent: random.pick(&[0, 5, 20]),
            slow_disk: random.percent(15),
            sync_error_permille: random.pick(&[0, 0, 10]),
            full: random.percent(10),
        };
        let releases = seed % RELEASES_EVERY == 9;
        let clients = Clients::draw(&mut random, size, releases);
        let vendor = Vendor::draw(&mut random);
        Self {
            daemon: Daemon::new(&room, slots, 0),
            judge: Judge::new(room),
            trace,
            mutant,
            calm: false,
            calm_since: 0,
            now: 0,
            wall_offset_ms: EPOCH_MS,
            timers: BTreeMap::new(),
            order: 0,
            climate,
            slots,
            store,
            chapters: BTreeMap::new(),
            jobs: BTreeMap::new(),
            pristine: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            artefacts: BTreeMap::new(),
            releases: BTreeSet::new(),
            link: Link::default(),
            vendor,
            processes: BTreeMap::new(),
            pids: 0,
            clients,
            report: Report { real_journal, ..Report::default() },
            random,
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.report.counts.entry(what).or_default() += 1;
    }

    pub fn say(&self, words: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>8} {}", self.now, words());
        }
    }

    pub fn after(&mut self, ms: u64, happening: Happening) {
        self.order += 1;
        self.timers.insert((self.now + ms, self.order), happening);
    }

    /// A timer of the daemon's own: it dies with it.
    pub fn tick(&mut self, ms: u64, tick: Tick) {
        let incarnation = self.daemon.incarnation;
        self.after(ms, Happening::Tick { incarnation, tick });
    }

    /// Journal time: the last journaled time plus what a monotonic clock has counted since.
    pub fn clock(&self) -> u64 {
        self.daemon.base_ms + (self.now - self.daemon.since)
    }

    fn run_to_the_end(&mut self) -> Verdict {
        let chaos = match self.random.below(10) {
            0 => 0,
            1..=6 => self.random.between(30, 200),
            _ => self.random.between(200, 700),
        };
        for at in 0..self.clients.requests.len() {
            let after =
                if at < self.clients.submissions { self.random.below(50) } else { self.random.below(900) };
            self.after(after, Happening::Unanswered(at));
        }
        if self.climate.full {
            let after = self.random.below(600);
            self.after(after, Happening::Space(false));
        }
        self.after(20, Happening::Trouble);
        self.restart()?;
        let mut more = self.random.pick(&[0, 0, 1]);
        for step in 0..STEPS_MAX {
            self.report.steps += 1;
            if step >= chaos && !self.calm {
                self.say(|| "faults stop".to_owned());
                self.calm = true;
                self.calm_since = self.now;
                self.climate.full = false;
            }
            if self.calm && self.now > self.calm_since + PATIENCE_MS {
                return Err(format!(
                    "{} ms after the faults stopped it is not over",
                    self.now - self.calm_since
                ));
            }
            if !self.calm && self.daemon.up && self.random.below(1_000) < self.climate.crash_permille {
                self.crash()?;
            }
            if self.step()? {
                continue;
            }
            if !self.help(&mut more)? {
                return self.nothing_is_left();
            }
        }
        Err(format!("not over after {STEPS_MAX} steps"))
    }

    /// One actor's turn, or the next thing that happens; `false` if there is neither.
    fn step(&mut self) -> Result<bool, String> {
        let next = self.timers.first_key_value().map(|((at, _), _)| *at);
        if self.daemon.up {
            let ready = self.daemon.lanes.iter().filter(|lane| lane.is_ready()).count();
            let soon = next.is_some_and(|at| at <= self.now + 20);
            if ready > 0 && !(soon && self.random.percent(12)) {
                let chosen = self.random.below(ready as u64) as usize;
                let actor =
                    self.daemon.lanes.iter().enumerate().filter(|(_, lane)| lane.is_ready()).nth(chosen);
                if let Some((actor, _)) = actor {
                    self.turn(actor)?;
                }
                return Ok(true);
            }
        }
        let Some(((at, _), happening)) = self.timers.pop_first() else { return Ok(false) };
        self.now = self.now.max(at);
        self.happen(happening)?;
        Ok(true)
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::Tick { incarnation, tick } => {
                if self.daemon.up && incarnation == self.daemon.incarnation {
                    return self.ticked(tick);
                }
            }
            Happening::Process { pid } => return self.process(pid),
            Happening::FromWorker { slot, pid, word } => {
                if self.daemon.up {
                    self.mail(crate::shells::FIRST_SLOT + slot, Mail::FromWorker { pid, word });
                }
            }
            Happening::ToVendor(call) => return self.vendor_hears(call),
            Happening::FromVendor(reply) => {
                if self.daemon.up {
                    self.mail(PROXY, Mail::FromVendor(reply));
                }
            }
            Happening::Request(request) => {
                if self.daemon.up {
                    return self.request(request);
                }
            }
            Happening::Unanswered(at) => self.ask(at),
            Happening::Restart => return self.restart(),
            Happening::Space(there) => {
                if !self.calm {
                    self.climate.full = !there;
                    let after = self.random.between(50, 3_000);
                    self.say(|| format!("disk full: {}", !there));
                    if !there {
                        self.count("disk full");
                        self.after(after, Happening::Space(true));
                    }
                }
            }
            Happening::Trouble => {
                // Once everything has ended and nothing is on its way there is nothing left to disturb.
                let over = self.timers.is_empty() && self.judge.runs.values().all(|seen| seen.has_ended());
                if !self.calm && !over {
                    self.trouble()?;
                    let after = self.random.between(10, 120);
                    self.after(after, Happening::Trouble);
                }
            }
        }
        Ok(())
    }

    /// Forged answers, spurious wakes, an actor that breaks down.
    fn trouble(&mut self) -> Verdict {
        if self.climate.trouble_percent == 0 || !self.daemon.up {
            return Ok(());
        }
        let runs: Vec<u32> = self.daemon.runs.keys().copied().collect();
        if runs.is_empty() {
            return Ok(());
        }
        let run = self.random.pick(&runs);
        let stages = self.judge.runs.get(&run).map_or(1, |seen| seen.definition.stages.len() as u64);
        let stage = engine::definition::StageIndex(self.random.below(stages + 1) as u32);
        let fence = engine::run::Fence(self.random.below(self.judge.records.len() as u64 + 1));
        let error = crate::shells::error("EX-9000", "forged", engine::run::ErrorClass::Transient);
        match self.random.below(6) {
            0 | 1 => {
                let undo = self.random.percent(30);
                if self.judge.fence(run, stage.0, undo) == Some(fence.0) {
                    return Ok(());
                }
                self.count("forged reports");
                let input = match (undo, self.random.percent(60)) {
                    (false, true) => {
                        Input::Succeeded { stage, fence, outputs: vec![], facts: "{}".to_owned() }
                    }
                    (false, false) => Input::Failed { stage, fence, error },
                    (true, true) => Input::Compensated { stage, fence },
                    (true, false) => Input::CompensationFailed { stage, fence, error },
                };
                self.control(FIRST_RUN + run as usize, Mail::Drive { input, ticket: None });
            }
            2 => {
                self.count("forged words");
                let slot = self.random.below(self.slots as u64) as usize;
                let pid = self.random.below(self.pids + 2) | 1 << 40;
                self.after(0, Happening::FromWorker { slot, pid, word: Word::Garbage });
            }
            3 => self.control(FIRST_RUN + run as usize, Mail::Drive { input: Input::Woke, ticket: None }),
            4 if self.random.percent(30) => {
                self.count("actor panics");
                let slot = self.random.below(self.slots as u64) as usize;
                self.control(crate::shells::FIRST_SLOT + slot, Mail::Panic);
            }
            5 if self.random.percent(30) => {
                self.count("actor panics");
                self.control(FIRST_RUN + run as usize, Mail::Panic);
            }
            _ => self.control(SCHEDULER, Mail::Freed),
        }
        Ok(())
    }

    /// The writer's turn: what waits is written in one group, and synced a little later.
    pub fn write(&mut self) -> Verdict {
        if !self.daemon.writing.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.daemon.appends);
        if group.is_empty() {
            return Ok(());
        }
        self.store.write(group.iter().map(|append| append.batch.clone()).collect(), self.climate.full);
        self.daemon.writing = group;
        let wait = match (self.climate.slow_disk && !self.calm, self.random.below(4)) {
            (true, _) => self.random.between(1, 1_500),
            (false, 0) => 1,
            (false, _) => 0,
        };
        if wait > 100 {
            self.count("slow syncs");
        }
        self.tick(wait, Tick::Sync);
        Ok(())
    }

    pub fn synced(&mut self) -> Verdict {
        let weather = match self.calm {
            true => Weather::Fine,
            false if self.random.below(1_000) < self.climate.sync_error_permille => Weather::Error,
            false if self.random.below(1_000) < self.climate.crash_permille / 4 => Weather::Stop,
            false => Weather::Fine,
        };
        if weather == Weather::Error {
            self.count("sync errors");
        }
        let fates = self.store.sync(weather, &mut self.random);
        let group = std::mem::take(&mut self.daemon.writing);
        for (append, fate) in group.into_iter().zip(fates) {
            match fate {
                Fate::Durable(records) => {
                    let first = self.judge.records.len();
                    for record in records {
                        self.confirm(record)?;
                    }
                    let records = first..self.judge.records.len();
                    let lane = &mut self.daemon.lanes[append.actor];
                    lane.durable.push_back((append.then, Ok(records)));
                }
                Fate::Conflict => {
                    self.count("conflicts");
                    self.daemon.lanes[append.actor].durable.push_back((append.then, Err(())));
                }
                Fate::Full => self.wait_for_room(append),
                Fate::Poisoned => return self.give_up(),
                Fate::Killed => return self.crash(),
            }
        }
        if !self.daemon.appends.is_empty() {
            self.mail(WRITER, Mail::Write);
        }
        Ok(())
    }

    /// A full disk is waited out, for as long as it lasts.
    fn wait_for_room(&mut self, append: Append) {
        self.count("appends that waited for room");
        self.tick(1_000, Tick::Again(Box::new(append)));
    }

    /// A poisoned writer ends the daemon; only a start can tell what the disk holds.
    fn give_up(&mut self) -> Verdict {
        self.say(|| "poisoned: the daemon gives up".to_owned());
        self.count("poisoned");
        self.end(End::Kill)
    }

    fn confirm(&mut self, record: Record) -> Verdict {
        let name = record.fact.name();
        *self.report.events.entry(name).or_default() += 1;
        if self.trace {
            println!("{:>8}     {} {:?} {:?}", self.now, record.position, record.stream, record.fact);
        }
        self.judge.see(record)?;
        self.index(self.judge.records.len() - 1);
        Ok(())
    }

    fn index(&mut self, at: usize) {
        let record = &self.judge.records[at];
        match (record.stream, &record.fact) {
            (Stream::Run(run), _) => self.chapters.entry(run).or_default().push(at),
            (Stream::Job(run, stage, fence), Fact::Job(event)) => {
                let (state, records) = self.jobs.entry((run, stage, fence)).or_insert((JobState::Planned, 0));
                if let Some(next) = state.after(event) {
                    *state = next;
                }
                *records += 1;
            }
            _ => {}
        }
    }

    pub fn crash(&mut self) -> Verdict {
        self.count("crashes");
        let end = if self.random.percent(50) { End::Kill } else { End::PowerLoss };
        self.say(|| format!("crash: {end:?}"));
        self.end(end)
    }

    fn end(&mut self, end: End) -> Verdict {
        self.daemon.up = false;
        self.store.end(end, &mut self.random);
        if end == End::PowerLoss {
            self.processes.clear();
            self.link.lose(&mut self.random);
        }
        let down = match self.random.below(10) {
            0..=6 => self.random.between(0, 50),
            7 | 8 => self.random.between(50, 3_000),
            _ => self.random.between(3_000, 100_000),
        };
        if !self.calm {
            let step = match self.random.below(12) {
                0 => -HOUR_MS,
                1 => HOUR_MS,
                2 => -TEN_YEARS_MS,
                3 if self.random.percent(30) => TEN_YEARS_MS,
                _ => 0,
            };
            if step != 0 {
                self.count("clock steps");
            }
            self.wall_offset_ms += step;
        }
        // Checkpoints are a convenience: the newest may be lost, or all of them.
        let lost = self.random.below(6);
        for kept in self.checkpoints.values_mut() {
            match lost {
                0 => kept.clear(),
                1 => drop(kept.pop()),
                _ => {}
            }
        }
        self.after(START_MS + down, Happening::Restart);
        Ok(())
    }

    /// A start: what outlived the last one is killed, the store is opened and held against what was
    /// confirmed, the actors start in the order of the tree.
    fn restart(&mut self) -> Verdict {
        let first = self.judge.records.is_empty();
        self.processes.clear();
        if !first && !self.calm && self.random.percent(4) && self.store.damage(&mut self.random) {
            self.count("bits flipped");
            self.say(|| "a bit flips".to_owned());
            match self.store.open() {
                Err(damaged) => self.say(|| format!("refused: {}", damaged.0)),
                Ok(found) => {
                    // It was in what does not count; then what counts must be there unchanged.
                    self.same(&found)?;
                    self.store.end(End::Kill, &mut self.random);
                }
            }
            self.store.restore();
        }
        let found = self.store.open().map_err(|damaged| format!("the store is damaged: {}", damaged.0))?;
        let last_ms = found.last().map_or(0, |record| record.time_ms);
        let known = self.judge.records.len();
        self.judge.reopened(found)?;
        // After what was found, which the daemon before this one had written.
        self.judge.restarted();
        for at in known..self.judge.records.len() {
            self.say(|| {
                format!("    found {} {:?}", self.judge.records[at].position, self.judge.records[at].fact)
            });
            *self.report.events.entry(self.judge.records[at].fact.name()).or_default() += 1;
            self.index(at);
        }
        let wall = u64::try_from(self.now as i64 + self.wall_offset_ms).unwrap_or(0);
        let incarnation = self.daemon.incarnation + 1;
        self.daemon = Daemon::new(&self.judge.room, self.slots, incarnation);
        self.daemon.up = true;
        self.daemon.since = self.now;
        self.daemon.base_ms = match self.mutant {
            Mutant::FollowsTheWallClock => wall,
            _ => wall.max(last_ms),
        };
        self.say(|| format!("start {incarnation}"));
        self.start_actors()
    }

    fn same(&self, found: &[Record]) -> Verdict {
        let changed = self.judge.records.iter().zip(found).find(|(known, found)| known.fact != found.fact);
        match changed {
            Some((_, found)) => Err(format!("damage was served as if it were the truth: {:?}", found.fact)),
            None if found.len() < self.judge.records.len() => {
                Err(format!("damage was taken for an unfinished write: {} are left", found.len()))
            }
            None => Ok(()),
        }
    }

    /// Nothing will come by itself any more: rightly so? Then people do what they are waited for.
    fn help(&mut self, more: &mut u64) -> Result<bool, String> {
        if !self.calm {
            (self.calm, self.calm_since, self.climate.full) = (true, self.now, false);
        }
        if let Some((run, seen)) = self.judge.runs.iter().find(|(_, seen)| !seen.may_wait()) {
            let waits = self.daemon.runs.get(run).map(|shell| shell.run.waits(self.clock()));
            let held = self.daemon.ledger.leases();
            return Err(format!("run {run} is stuck: {:?} {waits:?} {held:?}", seen.going));
        }
        if self.daemon.emergency || self.judge.outside.is_frozen() {
            self.count("helped: clear");
            self.people(Request::clear())?;
            return Ok(true);
        }
        let by = || "operator".to_owned();
        let waiting: Vec<u32> =
            self.judge.runs.iter().filter(|(_, seen)| !seen.has_ended()).map(|(run, _)| *run).collect();
        for run in waiting.iter().copied() {
            let Some(seen) = self.judge.runs.get(&run) else { continue };
            let (gates, signals) = (seen.open_gates(), seen.open_signals());
            if seen.paused {
                self.people(Request::control(run, Input::Resume { by: by() }))?;
            } else if seen.in_doubt() {
                let again = self.random.percent(70);
                let input =
                    if again { Input::Retry { by: by(), from: None } } else { Input::Cancel { by: by() } };
                self.people(Request::control(run, input))?;
            } else {
                for (stage, by) in
                    gates.iter().flat_map(|gate| [(*gate, "approver-1"), (*gate, "approver-2")])
                {
                    let stage = engine::definition::StageIndex(stage);
                    let (by, role, reason) = (by.to_owned(), "approver".to_owned(), "seen".to_owned());
                    let input = Input::Decide { stage, by, role, approved: true, reason };
                    self.people(Request::control(run, input))?;
                }
                for stage in signals {
                    let (name, by) = (crate::define::SIGNAL.to_owned(), "twin".to_owned());
                    let (stage, data) = (engine::definition::StageIndex(stage), "{}".to_owned());
                    self.people(Request::control(run, Input::Signal { stage, name, data, key: None, by }))?;
                }
            }
        }
        if !waiting.is_empty() {
            return Ok(true);
        }
        if let Some(unanswered) = self.clients.unanswered() {
            return Err(format!("request {unanswered} was never answered"));
        }
        let over = |seen: &&crate::judge::RunSeen| seen.going == crate::judge::Going::Over;
        let again = self.judge.runs.iter().find(|(_, seen)| over(seen)).map(|(run, _)| *run);
        if let Some(run) = again.filter(|_| *more > 0) {
            *more -= 1;
            let to = engine::run::ResetTo::Stage(engine::definition::StageIndex(0));
            let reset = self.random.percent(40);
            let input =
                if reset { Input::Reset { by: by(), to } } else { Input::Retry { by: by(), from: None } };
            self.people(Request::control(run, input))?;
            return Ok(true);
        }
        Ok(false)
    }

    fn people(&mut self, request: Request) -> Verdict {
        self.request(request)
    }

    /// The end: no lease, process, request or job is left, the link says what the journal says, and a
    /// last start finds everything again.
    fn nothing_is_left(&mut self) -> Verdict {
        let daemon = &self.daemon;
        if !daemon.ledger.leases().is_empty() {
            return Err(format!("leases leaked: {:?}", daemon.ledger.leases()));
        }
        if !daemon.queue.is_empty() || !self.processes.is_empty() {
            return Err(format!("left over: {:?} {:?}", daemon.queue.keys(), self.processes));
        }
        if let Some((stream, (state, _))) = self.jobs.iter().find(|(_, (state, _))| !state.ended()) {
            return Err(format!("job {stream:?} is left in {state:?}"));
        }
        if let Some(job) = self.vendor.running(self.now) {
            return Err(format!("the vendor still works on a job nobody leads: {job}"));
        }
        if self.judge.outside.activation_is_open() {
            return Err("an activation is left half done".to_owned());
        }
        if self.link.now.as_deref() != self.judge.outside.active() {
            let said = self.judge.outside.active();
            return Err(format!("the link names {:?}, the journal {said:?}", self.link.now));
        }
        self.store.end(End::PowerLoss, &mut self.random);
        let found = self.store.open().map_err(|damaged| format!("the store is damaged: {}", damaged.0))?;
        self.judge.reopened(found)?;
        self.whole_replay()
    }

    /// A run rebuilt from its records is the run that lived.
    fn whole_replay(&mut self) -> Verdict {
        for (run, shell) in &self.daemon.runs {
            let rebuilt = self.rebuild(*run, true)?.0;
            if rebuilt != shell.run {
                return Err(format!("{} replayed differs from the one that lived", id(*run)));
            }
        }
        Ok(())
    }
}
