//! The vendor of quantum work: takes jobs, bills them, forgets replies, answers late or twice.
//!
//! Rule: it bills a job when it takes it. What it honours differs from world to world: a second submission
//! under the same key may be another job, and keys may not be looked up.

use crate::answers;
use crate::judge::Verdict;
use crate::random::Random;
use crate::world::{Happening, World};

/// What the proxy asks.
#[derive(Debug, Clone)]
pub enum Ask {
    Submit { key: String, begun: u64, stage: u32 },
    Find { key: String },
    Poll { job: String },
    Result { job: String },
    Cancel { job: String },
}

#[derive(Debug, Clone)]
pub struct Call {
    pub number: u64,
    pub ask: Ask,
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum Said {
    Id(String),
    None,
    /// Too many requests: nothing happened.
    Busy,
    /// This vendor cannot look up keys.
    CannotFind,
    Running,
    Ended,
    Failed,
    /// A word nobody has heard before.
    Strange,
    /// The result, and which work it is of.
    Result {
        begun: u64,
        value: u64,
    },
    Cancelled,
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub number: u64,
    pub said: Said,
}

#[derive(Debug)]
struct Job {
    key: String,
    begun: u64,
    stage: u32,
    ends_at: u64,
    cancelled: bool,
    fails: bool,
}

#[derive(Debug)]
pub struct Vendor {
    pub idempotent: bool,
    pub finds: bool,
    jobs: Vec<Job>,
}

impl Vendor {
    pub fn draw(random: &mut Random) -> Self {
        let (idempotent, finds) = random.pick(&[(true, true), (true, false), (false, true), (false, false)]);
        Self { idempotent, finds, jobs: Vec::new() }
    }

    /// A job that still costs and that nobody has cancelled.
    pub fn running(&self, now: u64) -> Option<&str> {
        let job = self.jobs.iter().find(|job| !job.cancelled && job.ends_at > now)?;
        Some(&job.key)
    }

    fn job(&self, id: &str) -> Option<usize> {
        let at: usize = id.strip_prefix("job-")?.parse().ok()?;
        (at < self.jobs.len()).then_some(at)
    }
}

impl World {
    pub fn vendor_hears(&mut self, call: Call) -> Verdict {
        let trouble = if self.calm { 0 } else { self.climate.trouble_percent };
        let said = if self.random.percent(trouble / 2) {
            self.count("vendor busy");
            Said::Busy
        } else {
            self.vendor_does(call.ask)?
        };
        if self.lost() {
            self.count("replies lost");
            return Ok(());
        }
        let after = self.random.between(1, 60);
        if !self.calm && self.random.percent(5) {
            self.count("replies doubled");
            let reply = Reply { number: call.number, said: said.clone() };
            self.after(after + 7, Happening::FromVendor(reply));
        }
        self.after(after, Happening::FromVendor(Reply { number: call.number, said }));
        Ok(())
    }

    pub fn lost(&mut self) -> bool {
        !self.calm && self.random.percent(self.climate.loss_percent)
    }

    fn vendor_does(&mut self, ask: Ask) -> Result<Said, String> {
        let trouble = if self.calm { 0 } else { self.climate.trouble_percent };
        let by_key = |key: &str, jobs: &[Job]| jobs.iter().position(|job| job.key == key);
        Ok(match ask {
            Ask::Submit { key, begun, stage } => {
                if let Some(at) = by_key(&key, &self.vendor.jobs).filter(|_| self.vendor.idempotent) {
                    return Ok(Said::Id(format!("job-{at}")));
                }
                self.judge.outside.charged(&key)?;
                let ends_at = self.now + self.random.between(10, 400);
                let fails = self.random.percent(trouble / 2);
                self.vendor.jobs.push(Job { key, begun, stage, ends_at, cancelled: false, fails });
                Said::Id(format!("job-{}", self.vendor.jobs.len() - 1))
            }
            Ask::Find { .. } if !self.vendor.finds => Said::CannotFind,
            Ask::Find { key } => match by_key(&key, &self.vendor.jobs) {
                Some(at) => Said::Id(format!("job-{at}")),
                None => Said::None,
            },
            Ask::Poll { job } => match self.vendor.job(&job).map(|at| &self.vendor.jobs[at]) {
                None => Said::Failed,
                Some(job) if job.cancelled => Said::Failed,
                Some(job) if job.ends_at > self.now => {
                    if self.random.percent(trouble / 3) {
                        Said::Strange
                    } else {
                        Said::Running
                    }
                }
                Some(job) if job.fails => Said::Failed,
                Some(_) => Said::Ended,
            },
            Ask::Result { job } => match self.vendor.job(&job).map(|at| &self.vendor.jobs[at]) {
                // Another customer's result under our id: it is of other work.
                Some(_) if self.random.percent(trouble / 4) => Said::Result { begun: 1, value: 2 },
                Some(job) => Said::Result { begun: job.begun, value: answers::whole(job.begun, job.stage) },
                None => Said::Failed,
            },
            Ask::Cancel { job } => {
                if let Some(at) = self.vendor.job(&job) {
                    self.vendor.jobs[at].cancelled = true;
                }
                Said::Cancelled
            }
        })
    }
}
