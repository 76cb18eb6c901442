//! Stands for `actors/src/orchestrator.rs` and the daemon's service: submissions, control, emergency
//! stop; and the clients, who ask again until they are answered.

use super::{DEPLOYER, FIRST_RUN, FIRST_SLOT, Mail, Noted, ORCHESTRATOR, PROXY, RunShell, Then, Tick, id};
use crate::Mutant;
use crate::define::Size;
use crate::judge::Verdict;
use crate::random::Random;
use crate::store::{Batch, Fact, Record, Stream};
use crate::world::{Happening, World};
use engine::definition::{Definition, StageIndex};
use engine::run::{ArtefactRef, Event, Input, ResetTo, Run};
use std::collections::BTreeMap;

/// A client asks again after so long without an answer.
const PATIENCE_MS: u64 = 300;
/// An emergency stop waits so long for its records, and holds without them.
const STOP_RECORD_MS: u64 = 500;
pub const SUBMITTER: &str = "submitter";

/// Which of the clients' requests is answered.
#[derive(Debug, Clone, Copy)]
pub enum Ticket {
    /// The operator of the world's end, who looks at the journal.
    Operator,
    Client(usize),
    /// One run's part in an emergency stop.
    Stop(u64),
}

/// An emergency stop on its way.
#[derive(Debug, Default)]
pub struct Stop {
    told: bool,
    frozen: bool,
    /// Runs that have not noted it yet.
    open: usize,
    /// Its client was answered without the records.
    late: bool,
}

#[derive(Debug, Clone)]
pub enum What {
    Submit {
        key: String,
        definition: usize,
    },
    /// `None`: any run that is there when it is sent.
    Control {
        run: Option<u32>,
        input: Input,
    },
    Stop,
    Clear,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub what: What,
    pub ticket: Ticket,
}

impl Request {
    pub fn clear() -> Self {
        Self { what: What::Clear, ticket: Ticket::Operator }
    }

    pub fn control(run: u32, input: Input) -> Self {
        Self { what: What::Control { run: Some(run), input }, ticket: Ticket::Operator }
    }
}

#[derive(Debug)]
pub struct Planned {
    what: What,
    answered: bool,
}

/// What the clients will ask, submissions first.
#[derive(Debug)]
pub struct Clients {
    pub requests: Vec<Planned>,
    pub submissions: usize,
    pub definitions: Vec<(Definition, Vec<u8>, u64)>,
    stops: u64,
}

impl Clients {
    pub fn draw(random: &mut Random, size: Size, releases: bool) -> Self {
        let runs = match size {
            Size::Small => random.between(1, 2),
            Size::Medium => random.between(1, 3),
            Size::Large => random.between(2, 5),
        };
        let mut definitions = Vec::new();
        let mut requests = Vec::new();
        for at in 0..runs as usize {
            let definition = crate::define::definition(random, size, releases);
            let bytes = serde_json::to_vec(&definition).unwrap_or_default();
            definitions.push((definition, bytes, random.word()));
            let key = format!("key-{at}");
            requests.push(What::Submit { key, definition: at });
            if random.percent(25) {
                // A second client under the same key, now and then with other content.
                let definition = if random.percent(20) { 0 } else { at };
                requests.push(What::Submit { key: format!("key-{at}"), definition });
            }
        }
        let submissions = requests.len();
        let most = random.pick(&[0, 1, 4]);
        for _ in 0..random.between(0, most * runs) {
            let stops = releases && random.percent(80);
            let what = match stops {
                true if random.percent(50) => What::Stop,
                true => What::Clear,
                false => Self::interference(random),
            };
            requests.push(what);
        }
        let requests = requests.into_iter().map(|what| Planned { what, answered: false }).collect();
        Self { requests, submissions, definitions, stops: 0 }
    }

    fn interference(random: &mut Random) -> What {
        let by = random.pick(&[SUBMITTER, "approver-1", "approver-2", "operator"]).to_owned();
        let stage = StageIndex(random.below(4) as u32);
        let input = match random.below(27) {
            0..=2 => Input::Pause { by },
            3..=6 => Input::Resume { by },
            7 | 8 => Input::Cancel { by },
            9 => Input::Retry { by, from: random.percent(50).then_some(stage) },
            10 | 11 => {
                let value = random.pick(&["1", "2", "7"]).to_owned();
                let parameter = random.pick(&["p", "solve_seconds_max", "shots"]).to_owned();
                Input::Tune { stage, parameter, value, by }
            }
            18 => {
                let parameter = random.pick(&["start_to_close", "schedule_to_start"]).to_owned();
                Input::Tune { stage, parameter, value: "\"2000ms\"".to_owned(), by }
            }
            19 | 20 => Input::PauseNow { by },
            21 | 22 => {
                let position = ResetTo::Position(random.below(200));
                let to = if random.percent(50) { ResetTo::Stage(stage) } else { position };
                Input::Reset { by, to }
            }
            23 | 24 => {
                let data = format!(r#"{{"wind":{}}}"#, random.below(9));
                let key = random.percent(50).then(|| "k".to_owned());
                Input::Signal { stage, name: crate::define::SIGNAL.to_owned(), data, key, by }
            }
            12..=15 => {
                let approved = random.percent(85);
                let role = if by.starts_with("approver") { "approver" } else { "operator" }.to_owned();
                Input::Decide { stage, by, role, approved, reason: "seen".to_owned() }
            }
            16 | 17 => return What::Stop,
            _ => return What::Clear,
        };
        What::Control { run: None, input }
    }

    /// A submission that nobody answered.
    pub fn unanswered(&self) -> Option<usize> {
        self.requests.iter().take(self.submissions).position(|planned| !planned.answered)
    }
}

impl World {
    /// A client asks, or asks again.
    pub fn ask(&mut self, at: usize) {
        if self.clients.requests[at].answered {
            return;
        }
        let mut what = self.clients.requests[at].what.clone();
        if let What::Control { run, .. } = &mut what {
            let runs: Vec<u32> = self.judge.runs.keys().copied().collect();
            if runs.is_empty() {
                return;
            }
            *run = Some(self.random.pick(&runs));
        }
        let request = Request { what, ticket: Ticket::Client(at) };
        let submits = at < self.clients.submissions;
        let after = self.random.between(0, 10);
        if !self.calm && self.random.percent(8) {
            self.count("requests doubled");
            let later = after + self.random.below(300);
            self.after(later, Happening::Request(request.clone()));
        }
        if self.lost() {
            self.count("requests lost");
        } else {
            self.after(after, Happening::Request(request));
        }
        if submits {
            self.after(PATIENCE_MS, Happening::Unanswered(at));
        }
    }

    /// A request has arrived at the daemon.
    pub fn request(&mut self, request: Request) -> Verdict {
        let Request { what, ticket } = request;
        self.say(|| format!("request {what:?}"));
        match what {
            What::Submit { key, .. } => {
                if let Ticket::Client(at) = ticket {
                    self.mail(ORCHESTRATOR, Mail::Submit { key, at });
                }
            }
            What::Control { run, input } => {
                let again = matches!(input, Input::Resume { .. } | Input::Retry { .. });
                match run {
                    Some(run) if !(again && self.daemon.emergency) => {
                        self.mail(ORCHESTRATOR, Mail::Control { run, input, ticket });
                    }
                    _ => return self.answer(Some(ticket)),
                }
            }
            What::Stop => {
                self.count("emergency stops");
                self.daemon.emergency = true;
                for slot in 0..self.slots {
                    self.control(FIRST_SLOT + slot, Mail::AbandonAll);
                }
                self.control(PROXY, Mail::AbandonAll);
                self.clients.stops += 1;
                let stop = self.clients.stops;
                self.daemon.stops.insert(stop, Stop::default());
                self.control(ORCHESTRATOR, Mail::ToAll { stop });
                self.tick(STOP_RECORD_MS, Tick::StopRecord(stop));
            }
            // While a stop is on its way, its record would come after the clear's.
            What::Clear if !self.daemon.stops.is_empty() => return self.answer(Some(ticket)),
            What::Clear => {
                self.daemon.emergency = false;
                self.control(DEPLOYER, Mail::Freeze { frozen: false, stop: None });
            }
        }
        Ok(())
    }

    /// Somebody is answered; whether yes or no, the answer may be lost on its way.
    pub fn answer(&mut self, ticket: Option<Ticket>) -> Verdict {
        match ticket {
            Some(Ticket::Client(at)) => {
                if self.lost() {
                    self.count("answers lost");
                } else {
                    self.clients.requests[at].answered = true;
                }
                Ok(())
            }
            Some(Ticket::Stop(stop)) => {
                if let Some(stop) = self.daemon.stops.get_mut(&stop) {
                    stop.open = stop.open.saturating_sub(1);
                }
                self.look_at_stop(stop)
            }
            Some(Ticket::Operator) | None => Ok(()),
        }
    }

    pub fn orchestrator_starts(&mut self) {
        let runs: Vec<u32> = self.chapters.keys().copied().collect();
        for run in runs {
            self.daemon.newest = self.daemon.newest.max(run);
            let first = self.chapters[&run].first().map(|at| &self.judge.records[*at]);
            if let Some(Record { fact: Fact::Run(Event::RunSubmitted { key: Some(key), .. }), .. }) = first
                && self.mutant != Mutant::ForgetsKeys
            {
                self.daemon.keys.insert(key.clone(), run);
            }
            let Ok((rebuilt, sequence)) = self.rebuild(run, false) else { continue };
            let live = !rebuilt.phase().is_ended();
            let placed_on = BTreeMap::new();
            let shell = RunShell {
                run: rebuilt,
                sequence,
                checkpointed: sequence,
                live,
                placed_on,
                turn: 0,
                asked: BTreeMap::new(),
            };
            self.daemon.runs.insert(run, shell);
            if live {
                self.daemon.missing.insert(run);
                self.control(FIRST_RUN + run as usize, Mail::Resume);
            }
        }
    }

    pub fn orchestrator(&mut self, mail: Mail) -> Verdict {
        match mail {
            Mail::Submit { key, at } => self.submit(key, at),
            Mail::Control { run, input, ticket } => {
                let Some(shell) = self.daemon.runs.get_mut(&run) else {
                    return self.answer(Some(ticket));
                };
                let actor = FIRST_RUN + run as usize;
                if !shell.live {
                    shell.live = true;
                    let lane = self.lane(actor);
                    lane.control.clear();
                    lane.normal.clear();
                    self.control(actor, Mail::Resume);
                }
                self.mail(actor, Mail::Drive { input, ticket: Some(ticket) });
                Ok(())
            }
            Mail::ToAll { stop } => {
                let live: Vec<u32> =
                    self.daemon.runs.iter().filter(|(_, shell)| shell.live).map(|(run, _)| *run).collect();
                if let Some(on_its_way) = self.daemon.stops.get_mut(&stop) {
                    on_its_way.told = true;
                    let waits_for_runs = self.mutant != Mutant::ClaimsTheStopEarly;
                    on_its_way.open = if waits_for_runs { live.len() } else { 0 };
                    if !on_its_way.late {
                        self.control(DEPLOYER, Mail::Freeze { frozen: true, stop: Some(stop) });
                    }
                }
                for run in live {
                    self.control(FIRST_RUN + run as usize, Mail::Stop { stop });
                }
                Ok(())
            }
            other => Err(format!("the orchestrator cannot hear {other:?}")),
        }
    }

    /// The client of a stop is answered without its record; the record is made all the same.
    pub fn stop_without_record(&mut self, stop: u64) {
        if let Some(on_its_way) = self.daemon.stops.get_mut(&stop) {
            on_its_way.late = true;
            if !on_its_way.told {
                self.control(DEPLOYER, Mail::Freeze { frozen: true, stop: Some(stop) });
            }
        }
    }

    pub fn stop_is_recorded(&mut self, stop: u64) -> Verdict {
        if let Some(on_its_way) = self.daemon.stops.get_mut(&stop) {
            on_its_way.frozen = true;
        }
        self.look_at_stop(stop)
    }

    /// Once every run and the deployments have noted it, its client is told so.
    fn look_at_stop(&mut self, stop: u64) -> Verdict {
        let complete = |stop: &Stop| stop.told && stop.frozen && stop.open == 0;
        if !self.daemon.stops.get(&stop).is_some_and(complete) {
            return Ok(());
        }
        match self.daemon.stops.remove(&stop) {
            Some(Stop { late: false, .. }) => self.judge.outside.told_stopped(),
            _ => Ok(()),
        }
    }

    fn submit(&mut self, key: String, at: usize) -> Verdict {
        let What::Submit { definition, .. } = self.clients.requests[at].what else { return Ok(()) };
        if self.daemon.emergency {
            // Refused; the client comes back, and once nothing else goes on somebody clears the stop.
            return if self.calm { self.request(Request::clear()) } else { Ok(()) };
        }
        if let Some(run) = self.daemon.keys.get(&key).copied() {
            self.judge.told_submitted(&key, run)?;
            return self.answer(Some(Ticket::Client(at)));
        }
        self.daemon.newest += 1;
        let run = self.daemon.newest;
        let (definition, bytes, seed) = &self.clients.definitions[definition];
        let event = Event::RunSubmitted {
            run: id(run),
            workflow: definition.workflow.clone(),
            definition: bytes.clone(),
            inputs: vec![ArtefactRef { name: "space".to_owned(), digest: "b3:00".to_owned(), bytes: 1 }],
            key: Some(key.clone()),
            submitted_by: SUBMITTER.to_owned(),
            seed: *seed,
        };
        let batch = Batch {
            stream: Stream::Run(run),
            expected: 0,
            facts: vec![Fact::Run(event)],
            time_ms: self.clock(),
        };
        if self.mutant == Mutant::AnswersBeforeTheRecord {
            self.judge.told_submitted(&key, run)?;
            self.answer(Some(Ticket::Client(at)))?;
        }
        self.lane(ORCHESTRATOR).waits = true;
        self.append(ORCHESTRATOR, batch, Then::Submitted { run, key, at });
        Ok(())
    }

    pub fn submitted(&mut self, run: u32, key: String, at: usize, records: Noted) -> Verdict {
        self.lane(ORCHESTRATOR).waits = false;
        let record = records.ok().and_then(|records| self.judge.records[records].first());
        let Some(record @ Record { fact: Fact::Run(event), .. }) = record else {
            return Err(format!("run {run} was there before it was submitted"));
        };
        let machine =
            Run::submitted(record.position, record.time_ms, event).map_err(|error| error.to_string())?;
        self.pristine.insert(run, machine.clone());
        let placed_on = BTreeMap::new();
        let shell = RunShell {
            run: machine,
            sequence: 1,
            checkpointed: 1,
            live: true,
            placed_on,
            turn: 0,
            asked: BTreeMap::new(),
        };
        self.daemon.runs.insert(run, shell);
        self.daemon.keys.insert(key.clone(), run);
        self.control(FIRST_RUN + run as usize, Mail::Resume);
        self.judge.told_submitted(&key, run)?;
        self.answer(Some(Ticket::Client(at)))
    }
}
