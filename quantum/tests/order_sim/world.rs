//! The world: orders led by machines, their calls, crashes and the clock.

use super::judge::{Call, Judge};
use super::vendor::{Manners, Served, Vendor};
use super::{Machine, Random};
use quantum::backends::order::{Answer, Command, Decision, Input};
use quantum::backends::{
    Amount, Budget, BudgetEntry, Candidate, Ceiling, JobEvent, JobKey, JobResult, Ledger, Reason, Wanted,
};
use std::collections::BTreeMap;

/// More happenings than any order needs; what goes on longer never ends.
const HAPPENINGS_MAX: u64 = 60_000;
const SHOTS: u32 = 100;

#[derive(Debug, Clone)]
enum Happening {
    /// A command's pause is over and its call begins.
    Call {
        life: u64,
        order: usize,
        command: Command,
    },
    Reply {
        life: u64,
        order: usize,
        call: u64,
        answer: Answer,
    },
    /// A request that was under way for long reaches the vendor.
    Arrives {
        vendor: usize,
        key: String,
    },
    Cancel {
        order: usize,
    },
    Crash,
}

struct World<M> {
    random: Random,
    now: u64,
    count: u64,
    life: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    vendors: Vec<Vendor>,
    budgets: Vec<Budget>,
    ledgers: Vec<Ledger>,
    machines: Vec<M>,
    wanted: Vec<Wanted>,
    /// Durable: order, time, event.
    journal: Vec<(usize, u64, JobEvent)>,
    /// Newest command of each order in this life.
    newest: Vec<u64>,
    judge: Judge,
    crash_percent: u64,
    machine: M,
    /// Prints what happens: for one seed that a person looks at.
    shows: bool,
}

/// How a life ends in the middle of a step.
struct Crashed;

/// One seed from its first order to the end of all.
///
/// # Errors
/// The first promise broken, in words.
pub fn live<M: Machine>(seed: u64, machine: &M) -> Result<Tally, String> {
    let mut world = World::new(seed, machine.clone());
    world.run().map_err(|broken| {
        format!("{broken}\nreplay: SEED={seed} cargo test -p quantum --test order_simulation one_seed")
    })
}

/// What happened, so that a simulation in which nothing happens is noticed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub done: u64,
    pub exact: u64,
    pub cancelled: u64,
    pub lost: u64,
    pub crashes: u64,
    pub jobs: u64,
    pub fallbacks: u64,
    pub refusals: u64,
    pub over_budget: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.exact += other.exact;
        self.cancelled += other.cancelled;
        self.lost += other.lost;
        self.crashes += other.crashes;
        self.jobs += other.jobs;
        self.fallbacks += other.fallbacks;
        self.refusals += other.refusals;
        self.over_budget += other.over_budget;
    }
}

impl<M: Machine> World<M> {
    fn new(seed: u64, machine: M) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let backends = random.between(1, 3) as usize;
        let mut vendors = Vec::new();
        let mut budgets = Vec::new();
        for number in 0..backends {
            let manners = Manners {
                name: format!("v{number}"),
                idempotent: random.chance(50),
                find: random.chance(50),
                faults: [0, 10, 30, 70][random.below(4) as usize],
                heals_ms: random.between(0, 3_000_000),
                nasty: random.chance(30),
                cancels_running: random.chance(70),
                index_lag_ms: if random.chance(30) { random.between(0, 20_000) } else { 0 },
                shot_micro_usd: random.between(0, 500),
                job_micro_usd: random.between(0, 1_000_000),
                shots: SHOTS,
            };
            let price = manners.job_micro_usd + manners.shot_micro_usd * u64::from(SHOTS);
            let tight = random.chance(40);
            let most = |jobs: u64| Ceiling {
                shots: tight.then_some(jobs * u64::from(SHOTS)),
                qpu_ms: None,
                micro_usd: tight.then_some(price * jobs),
            };
            let job =
                if random.chance(5) { Ceiling { shots: Some(1), ..Ceiling::default() } } else { most(1) };
            budgets.push(Budget { job, run: most(random.between(1, 3)), day: most(random.between(1, 5)) });
            vendors.push(Vendor::new(manners));
        }
        let judge = Judge::new(vendors.iter().map(|v| v.manners.clone()).collect(), budgets.clone());
        let crash_percent = [0, 1, 5, 15][random.below(4) as usize];
        Self {
            random,
            now: 1_000_000,
            count: 0,
            life: 0,
            agenda: BTreeMap::new(),
            ledgers: vec![Ledger::default(); vendors.len()],
            vendors,
            budgets,
            machines: Vec::new(),
            wanted: Vec::new(),
            journal: Vec::new(),
            newest: Vec::new(),
            judge,
            crash_percent,
            machine,
            shows: std::env::var_os("SEED").is_some(),
        }
    }

    fn at(&mut self, after_ms: u64, happening: Happening) {
        self.count += 1;
        self.agenda.insert((self.now + after_ms, self.count), happening);
    }

    fn run(&mut self) -> Result<Tally, String> {
        let orders = self.random.between(1, 3);
        for number in 0..orders {
            self.begin(number as usize)?;
        }
        for _ in 0..self.random.below(4) {
            let after = self.random.between(0, 600_000);
            self.at(after, Happening::Crash);
        }
        let mut happened = 0;
        while let Some(((time, _), happening)) = self.agenda.pop_first() {
            happened += 1;
            if happened > HAPPENINGS_MAX {
                return Err("an order never ends: too much happened".to_owned());
            }
            self.now = self.now.max(time);
            if self.handle(happening)?.is_err() {
                self.crash()?;
            }
            if self.machines.iter().all(|machine| machine.end().is_some())
                && !self.agenda.values().any(|h| matches!(h, Happening::Arrives { .. }))
            {
                break;
            }
        }
        if let Some(order) = self.machines.iter().position(|machine| machine.end().is_none()) {
            return Err(format!("an order never ends: nothing more happens to order {order}"));
        }
        for (order, machine) in self.machines.iter().enumerate() {
            self.judge.ended(order, machine.end().expect("checked above"))?;
        }
        self.judge.finish(self.now, &self.vendors)?;
        Ok(self.judge.tally)
    }

    fn begin(&mut self, number: usize) -> Result<(), String> {
        let mut chain = Vec::new();
        for at in 0..self.vendors.len() {
            let queue_ms = self.random.between(30_000, 1_800_000);
            let unfit = self.random.chance(5).then(|| "too small".to_owned());
            let manners = &self.vendors[at].manners;
            let micro_usd = manners.job_micro_usd + manners.shot_micro_usd * u64::from(SHOTS);
            chain.push(Candidate {
                backend: manners.name.clone(),
                idempotent: manners.idempotent,
                find: manners.find,
                hold: Amount { shots: u64::from(SHOTS), qpu_ms: 10, micro_usd },
                queue_ms,
                unfit,
            });
        }
        let deadline_ms = self.now + self.random.between(60_000, 7_200_000);
        let wanted = Wanted {
            spec: format!("spec-{number}"),
            shots: SHOTS,
            outcomes: Some(8),
            key: format!("jobs/r{}/s{number}", number % 2),
            chain,
            deadline_ms,
        };
        self.journal.push((number, self.now, JobEvent::Wanted(Box::new(wanted.clone()))));
        self.judge.wanted(number, format!("r{}", number % 2), &wanted);
        self.machines.push(self.machine.wanted(self.now, wanted.clone()));
        self.wanted.push(wanted);
        self.newest.push(0);
        if self.random.chance(20) {
            let after = self.random.between(0, 900_000);
            self.at(after, Happening::Cancel { order: number });
        }
        let random = self.random.next();
        let decision = self.machines[number].recover(self.now, random);
        if self.take(number, decision)?.is_err() {
            self.crash()?;
        }
        Ok(())
    }

    fn handle(&mut self, happening: Happening) -> Result<Result<(), Crashed>, String> {
        match happening {
            Happening::Crash => return Ok(Err(Crashed)),
            Happening::Arrives { vendor, key } => {
                let now = self.now;
                let before = self.vendors[vendor].jobs.len();
                self.vendors[vendor].create(now, &key, &mut self.random);
                if self.vendors[vendor].jobs.len() == before {
                    return Ok(Ok(()));
                }
                self.judge.created(now, vendor, &key, &self.vendors)?;
            }
            Happening::Cancel { order } => return self.feed(order, Input::Cancel { why: "person".into() }),
            Happening::Call { life, order, command } => {
                if life == self.life && number_of(&command) == Some(self.newest[order]) {
                    return self.call(order, command);
                }
            }
            Happening::Reply { life, order, call, answer } => {
                if life == self.life {
                    return self.feed(order, Input::Answer { call, answer });
                }
            }
        }
        Ok(Ok(()))
    }

    fn feed(&mut self, order: usize, input: Input) -> Result<Result<(), Crashed>, String> {
        let random = self.random.next();
        match self.machines[order].decide(self.now, random, input) {
            Ok(decision) => self.take(order, decision),
            Err(_) => {
                self.judge.tally.refusals += 1;
                Ok(Ok(()))
            }
        }
    }

    /// Journals, applies, remembers and performs, and may die between any two of these.
    fn take(&mut self, order: usize, decision: Decision) -> Result<Result<(), Crashed>, String> {
        if self.random.chance(self.crash_percent) {
            return Ok(Err(Crashed));
        }
        for event in &decision.events {
            if self.shows {
                println!("{} life {} order {order} journals {event:?}", self.now, self.life);
            }
            self.judge.record(self.now, order, event, &self.vendors)?;
            self.journal.push((order, self.now, event.clone()));
            self.book(order, self.now, event);
        }
        if self.random.chance(self.crash_percent) {
            return Ok(Err(Crashed));
        }
        for event in &decision.events {
            self.machines[order].apply(self.now, event);
        }
        self.machines[order].remember(decision.memo);
        let Some(command) = decision.command else { return Ok(Ok(())) };
        let command = self.machines[order].performs(command);
        self.perform(order, command)
    }

    /// The ledger is a fold over the journal.
    fn book(&mut self, order: usize, time: u64, event: &JobEvent) {
        let run = format!("r{}", order % 2);
        let entry = match event {
            JobEvent::Held { key, hold } => BudgetEntry::Held { job: key.0.clone(), run, amount: *hold },
            JobEvent::Settled { key, spent } => BudgetEntry::Settled { job: key.0.clone(), spent: *spent },
            _ => return,
        };
        let vendor = self.judge.vendor_of(order);
        self.ledgers[vendor].apply(time, &entry);
    }

    fn perform(&mut self, order: usize, command: Command) -> Result<Result<(), Crashed>, String> {
        let life = self.life;
        if let Some(number) = number_of(&command) {
            self.newest[order] = number;
        }
        match command {
            Command::End(_) => {
                // Whatever was to be called is not called any more.
                self.newest[order] = u64::MAX;
                Ok(Ok(()))
            }
            Command::Hold { call, backend, key, hold } => {
                let vendor = self.vendor(&backend);
                let run = format!("r{}", order % 2);
                self.judge.asks(order, &key)?;
                let checked = self.ledgers[vendor].check(&self.budgets[vendor], &run, self.now, &hold);
                let answer = match checked {
                    _ if self.random.chance(5) => Answer::NotHeld(Reason::Resting("open".into())),
                    Ok(()) => Answer::Held,
                    Err(over) => {
                        self.judge.tally.over_budget += 1;
                        Answer::NotHeld(Reason::Budget(over.to_string()))
                    }
                };
                self.feed(order, Input::Answer { call, answer })
            }
            Command::Wait { call, after_ms } => {
                self.at(after_ms, Happening::Reply { life, order, call, answer: Answer::Waited });
                Ok(Ok(()))
            }
            Command::Submit { after_ms, .. }
            | Command::Find { after_ms, .. }
            | Command::Poll { after_ms, .. }
            | Command::Fetch { after_ms, .. }
            | Command::Cancel { after_ms, .. } => {
                self.at(after_ms, Happening::Call { life, order, command });
                Ok(Ok(()))
            }
        }
    }

    fn vendor(&self, backend: &str) -> usize {
        self.vendors.iter().position(|v| v.manners.name == backend).expect("known")
    }

    fn call(&mut self, order: usize, command: Command) -> Result<Result<(), Crashed>, String> {
        let now = self.now;
        let life = self.life;
        if self.shows {
            println!("{now} life {life} order {order} calls {command:?}");
        }
        let (call, answer, after) = match command {
            Command::Submit { call, backend, key, .. } => {
                let at = self.vendor(&backend);
                self.judge.call(now, life, order, &Call::Submit(key.clone()))?;
                let before = self.vendors[at].jobs.len();
                let (late, served) = self.vendors[at].submit(now, &key.0, &mut self.random);
                if self.vendors[at].jobs.len() > before {
                    self.judge.created(now, at, &key.0, &self.vendors)?;
                }
                if let Some(after) = late {
                    self.at(after, Happening::Arrives { vendor: at, key: key.0 });
                }
                let Some(Served { answer, after_ms }) = served else { return Ok(Ok(())) };
                (call, Answer::Submitted(answer), after_ms)
            }
            Command::Find { call, backend, key, .. } => {
                self.judge.call(now, life, order, &Call::Find(key.clone()))?;
                let at = self.vendor(&backend);
                let served = self.vendors[at].find(now, &key.0, &mut self.random);
                (call, Answer::Found(served.answer), served.after_ms)
            }
            Command::Poll { call, backend, id, .. } => {
                self.judge.call(now, life, order, &Call::Poll(id.clone()))?;
                let at = self.vendor(&backend);
                let served = self.vendors[at].poll(now, &id, &mut self.random);
                (call, Answer::Polled(served.answer), served.after_ms)
            }
            Command::Fetch { call, backend, id, .. } => {
                self.judge.call(now, life, order, &Call::Fetch(id.clone()))?;
                let at = self.vendor(&backend);
                let served = self.vendors[at].fetch(now, &id, &mut self.random);
                let stored = served.answer.map(|result| {
                    let digest = digest(&result);
                    (result, digest)
                });
                (call, Answer::Fetched(stored), served.after_ms)
            }
            Command::Cancel { call, backend, id, .. } => {
                self.judge.call(now, life, order, &Call::Cancel(id.clone()))?;
                let at = self.vendor(&backend);
                let served = self.vendors[at].cancel(now, &id, &mut self.random);
                (call, Answer::Cancelled(served.answer), served.after_ms)
            }
            Command::Hold { .. } | Command::Wait { .. } | Command::End(_) => return Ok(Ok(())),
        };
        if self.shows {
            println!("    after {after} ms: {answer:?}");
        }
        self.at(after, Happening::Reply { life, order, call, answer: answer.clone() });
        self.judge.answered(now + after, order, &answer);
        if self.random.chance(10) {
            // Doubled, and late.
            let later = after + self.random.between(0, 90_000);
            self.at(later, Happening::Reply { life, order, call, answer });
        }
        Ok(Ok(()))
    }

    /// Everything in memory is gone; the journal is read again.
    fn crash(&mut self) -> Result<(), String> {
        loop {
            self.judge.tally.crashes += 1;
            self.life += 1;
            self.now += self.random.between(1, 30_000);
            self.judge.restarted();
            self.ledgers = vec![Ledger::default(); self.vendors.len()];
            let mut machines: Vec<Option<M>> = vec![None; self.machines.len()];
            let mut places = vec![0; self.machines.len()];
            for (order, time, event) in self.journal.clone() {
                match (&mut machines[order], &event) {
                    (None, JobEvent::Wanted(wanted)) => {
                        machines[order] = Some(self.machine.wanted(time, (**wanted).clone()));
                    }
                    (Some(machine), event) => machine.apply(time, event),
                    _ => {}
                }
                let run = format!("r{}", order % 2);
                let place = places[order];
                match event {
                    JobEvent::Held { key, hold } => {
                        self.ledgers[place].apply(time, &BudgetEntry::Held { job: key.0, run, amount: hold })
                    }
                    JobEvent::Settled { key, spent } => {
                        self.ledgers[place].apply(time, &BudgetEntry::Settled { job: key.0, spent });
                    }
                    JobEvent::FellBack { .. } => places[order] = (place + 1).min(self.vendors.len() - 1),
                    _ => {}
                }
            }
            self.machines = machines.into_iter().flatten().collect();
            let mut again = false;
            for order in 0..self.machines.len() {
                if self.machines[order].end().is_some() {
                    continue;
                }
                let random = self.random.next();
                let decision = self.machines[order].recover(self.now, random);
                if self.take(order, decision)?.is_err() {
                    again = true;
                    break;
                }
            }
            if !again {
                return Ok(());
            }
        }
    }
}

fn number_of(command: &Command) -> Option<u64> {
    match command {
        Command::Hold { call, .. }
        | Command::Wait { call, .. }
        | Command::Submit { call, .. }
        | Command::Find { call, .. }
        | Command::Poll { call, .. }
        | Command::Fetch { call, .. }
        | Command::Cancel { call, .. } => Some(*call),
        Command::End(_) => None,
    }
}

/// Names a result by what is in it.
pub fn digest(result: &JobResult) -> String {
    format!("{:?}", result.counts)
}

/// Key of a record that has one.
pub fn key_of(event: &JobEvent) -> Option<&JobKey> {
    match event {
        JobEvent::Held { key, .. } | JobEvent::Submitting { key } | JobEvent::Settled { key, .. } => {
            Some(key)
        }
        _ => None,
    }
}
