//! The daemon's actors, simulated: same messages, same order, same rules as the real shells, without actix.
//!
//! Rule: an actor handles one message per turn; a control message goes before the others; while an actor
//! waits for the journal it handles the journal's answer and nothing else. Each file names the shell of
//! the daemon that it stands for. Start at [`World::turn`].

mod deployer;
mod orchestrator;
mod proxy;
mod run;
mod scheduler;
mod slot;

pub use deployer::{DeployStep, DeployerShell, Link};
pub use orchestrator::{Clients, Request, Stop, Ticket};
pub use proxy::ProxyShell;
pub use run::{Next, RunShell};
pub use scheduler::Waiting;
pub use slot::{SlotShell, Work};

use crate::judge::{Room, Verdict};
use crate::store::Batch;
use crate::vendor::Reply;
use crate::workers::Word;
use crate::world::World;
use engine::definition::Attempt;
use engine::placement::{Ask, Capacity, Grant, LeaseKey, Ledger, SlotKind};
use engine::run::{Command, ErrorClass, Input, StageError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub const ORCHESTRATOR: usize = 0;
pub const SCHEDULER: usize = 1;
pub const RESOURCES: usize = 2;
pub const PROXY: usize = 3;
pub const DEPLOYER: usize = 4;
pub const WRITER: usize = 5;
pub const FIRST_SLOT: usize = 6;
/// Runs are numbered from 1; their actors follow the slots.
pub const FIRST_RUN: usize = 12;

/// Mailboxes of one actor.
#[derive(Debug, Default)]
pub struct Lanes {
    /// The actor waits for the journal and hears nothing else.
    pub waits: bool,
    pub durable: VecDeque<(Then, Noted)>,
    pub control: VecDeque<Mail>,
    pub normal: VecDeque<Mail>,
}

impl Lanes {
    pub fn is_ready(&self) -> bool {
        let something_waits = !self.control.is_empty() || !self.normal.is_empty();
        !self.durable.is_empty() || (!self.waits && something_waits)
    }
}

/// What actors tell each other.
#[derive(Debug)]
pub enum Mail {
    Resume,
    Drive {
        input: Input,
        ticket: Option<Ticket>,
    },
    /// The scheduler's answer, with the turn of the actor that asked.
    Placed {
        input: Input,
        turn: u64,
    },
    /// The stop is to be noted; the orchestrator hears when it is durable.
    Stop {
        stop: u64,
    },
    Enqueue {
        ask: Ask,
        attempt: Attempt,
        run: u32,
        turn: u64,
    },
    Withdraw(LeaseKey),
    WithdrawRun(String),
    /// A run has said after a start what its stages ask for.
    Answered(u32),
    Freed,
    Placement(Vec<Grant>),
    Place {
        asks: Vec<Ask>,
        now_ms: u64,
    },
    Release(LeaseKey),
    ReleaseRun(String),
    Execute {
        work: Work,
        undo: bool,
    },
    Abandon {
        run: u32,
        stage: u32,
        fence: u64,
    },
    AbandonAll,
    Panic,
    FromWorker {
        pid: u64,
        word: Word,
    },
    FromVendor(Reply),
    Freeze {
        frozen: bool,
        stop: Option<u64>,
    },
    Submit {
        key: String,
        at: usize,
    },
    Control {
        run: u32,
        input: Input,
        ticket: Ticket,
    },
    ToAll {
        stop: u64,
    },
    Write,
}

/// Places in `World::judge.records` of a batch that became durable; `Err` if another record had taken its
/// place in the stream.
pub type Noted = Result<std::ops::Range<usize>, ()>;

/// What is to be done when a batch is durable.
#[derive(Debug)]
pub enum Then {
    Run { run: u32, commands: Vec<Command>, ticket: Option<Ticket>, next: Next },
    Submitted { run: u32, key: String, at: usize },
    Job((u32, u32, u64)),
    Deploy(DeployStep),
    Freeze { frozen: bool, stop: Option<u64> },
}

/// A batch on its way to the writer.
#[derive(Debug)]
pub struct Append {
    pub batch: Batch,
    pub then: Then,
    pub actor: usize,
}

/// Timers of the daemon.
#[derive(Debug)]
pub enum Tick {
    Wake(u32),
    Sync,
    Again(Box<Append>),
    Call(u64),
    Poll((u32, u32, u64)),
    Orphans,
    Deployer(u64),
    StopRecord(u64),
    /// An attempt that was asked to stop had time enough.
    Stopped(Place),
}

/// Run, stage and fence of an attempt.
pub type Place = (u32, u32, u64);

/// All that dies with the daemon.
#[derive(Debug)]
pub struct Daemon {
    pub up: bool,
    pub incarnation: u64,
    pub base_ms: u64,
    pub since: u64,
    pub lanes: Vec<Lanes>,
    pub runs: BTreeMap<u32, RunShell>,
    pub keys: BTreeMap<String, u32>,
    pub newest: u32,
    pub queue: BTreeMap<LeaseKey, Waiting>,
    pub asking: bool,
    pub look_again: bool,
    pub ledger: Ledger,
    /// Runs that have not said yet what they ask for.
    pub missing: BTreeSet<u32>,
    /// The first leases of this start were granted.
    pub has_granted: bool,
    pub slots: Vec<SlotShell>,
    pub proxy: ProxyShell,
    pub deployer: DeployerShell,
    /// The board's word: refuse new work.
    pub emergency: bool,
    /// Emergency stops on their way.
    pub stops: BTreeMap<u64, Stop>,
    /// Attempts that were asked to stop before they began.
    pub to_stop: BTreeSet<Place>,
    pub appends: Vec<Append>,
    pub writing: Vec<Append>,
}

impl Daemon {
    pub fn new(room: &Room, slots: usize, incarnation: u64) -> Self {
        let capacity = Capacity {
            cpu_cores: room.cpu_cores,
            memory_mib: room.memory_mib,
            slots: (0..slots).map(|slot| (format!("worker-{slot}"), SlotKind::Worker)).collect(),
            backends: BTreeMap::from([(crate::define::BACKEND.to_owned(), room.jobs)]),
        };
        Self {
            up: false,
            incarnation,
            base_ms: 0,
            since: 0,
            lanes: (0..FIRST_RUN + 8).map(|_| Lanes::default()).collect(),
            runs: BTreeMap::new(),
            keys: BTreeMap::new(),
            newest: 0,
            queue: BTreeMap::new(),
            asking: false,
            look_again: false,
            ledger: Ledger::new(capacity),
            missing: BTreeSet::new(),
            has_granted: false,
            slots: (0..slots).map(|_| SlotShell::default()).collect(),
            proxy: ProxyShell::default(),
            deployer: DeployerShell::default(),
            emergency: false,
            stops: BTreeMap::new(),
            to_stop: BTreeSet::new(),
            appends: Vec::new(),
            writing: Vec::new(),
        }
    }
}

pub fn id(run: u32) -> String {
    format!("run-{run:06}")
}

pub fn error(code: &str, message: &str, class: ErrorClass) -> StageError {
    StageError { code: code.to_owned(), message: message.to_owned(), class }
}

impl World {
    pub fn lane(&mut self, actor: usize) -> &mut Lanes {
        while self.daemon.lanes.len() <= actor {
            self.daemon.lanes.push(Lanes::default());
        }
        &mut self.daemon.lanes[actor]
    }

    pub fn mail(&mut self, actor: usize, mail: Mail) {
        self.lane(actor).normal.push_back(mail);
    }

    pub fn control(&mut self, actor: usize, mail: Mail) {
        self.lane(actor).control.push_back(mail);
    }

    /// Hands a batch to the writer; `actor` hears of it when it is durable.
    pub fn append(&mut self, actor: usize, batch: Batch, then: Then) {
        self.daemon.appends.push(Append { batch, then, actor });
        if self.daemon.writing.is_empty() && self.daemon.lanes[WRITER].normal.is_empty() {
            self.mail(WRITER, Mail::Write);
        }
    }

    /// One actor handles one message.
    pub fn turn(&mut self, actor: usize) -> Verdict {
        let lanes = &mut self.daemon.lanes[actor];
        if let Some((then, records)) = lanes.durable.pop_front() {
            return self.durable(then, records);
        }
        let Some(mail) = lanes.control.pop_front().or_else(|| lanes.normal.pop_front()) else {
            return Ok(());
        };
        if self.trace && actor != WRITER {
            println!("{:>8}         {actor} hears {mail:?}", self.now);
        }
        match actor {
            ORCHESTRATOR => self.orchestrator(mail),
            SCHEDULER => self.scheduler(mail),
            RESOURCES => self.resources(mail),
            PROXY => self.proxy(mail),
            DEPLOYER => self.deployer(mail),
            WRITER => self.write(),
            slot if slot < FIRST_RUN => self.slot(slot - FIRST_SLOT, mail),
            run => self.run_actor((run - FIRST_RUN) as u32, mail),
        }
    }

    fn durable(&mut self, then: Then, records: Noted) -> Verdict {
        match then {
            Then::Run { run, commands, ticket, next } => {
                self.run_is_durable(run, records, commands, ticket, next)
            }
            Then::Submitted { run, key, at } => self.submitted(run, key, at, records),
            Then::Job(place) => self.job_noted(place, records),
            Then::Deploy(step) => self.deployment_noted(step, records),
            Then::Freeze { frozen, stop } => self.freeze_noted(frozen, stop, records),
        }
    }

    pub fn ticked(&mut self, tick: Tick) -> Verdict {
        match tick {
            Tick::Wake(run) => {
                self.mail(FIRST_RUN + run as usize, Mail::Drive { input: Input::Woke, ticket: None })
            }
            Tick::Sync => return self.synced(),
            Tick::Again(append) => {
                let Append { mut batch, then, actor } = *append;
                batch.time_ms = self.clock();
                self.append(actor, batch, then);
            }
            Tick::Call(call) => return self.call_timed_out(call),
            Tick::Poll(stream) => return self.poll(stream),
            Tick::Orphans => return self.settle_orphans(),
            Tick::Deployer(turn) => return self.deployer_turn(turn),
            Tick::StopRecord(stop) => self.stop_without_record(stop),
            Tick::Stopped(place) => return self.stop_patience_ends(place),
        }
        Ok(())
    }

    /// The tree's start order: deployer before runs, runs by the orchestrator.
    pub fn start_actors(&mut self) -> Verdict {
        self.deployer_starts();
        self.orchestrator_starts();
        self.tick(3_000, Tick::Orphans);
        Ok(())
    }
}
