//! A vendor as it is met in the wild: it loses requests and replies, answers late, forgets, speaks words
//! nobody knows, and keeps its own books of what it was asked and what it ran.

use super::Random;
use quantum::backends::{BackendError, Cancelled, JobId, JobResult, Poll};
use std::collections::BTreeMap;

/// How one vendor behaves.
#[derive(Debug, Clone)]
pub struct Manners {
    pub name: String,
    pub idempotent: bool,
    pub find: bool,
    /// Percent of calls that go wrong until `heals_ms`.
    pub faults: u64,
    pub heals_ms: u64,
    /// Also answers "never" at times, and forgets jobs.
    pub nasty: bool,
    /// Running jobs can be cancelled.
    pub cancels_running: bool,
    /// Its index of keys shows a job only so long after it was created.
    pub index_lag_ms: u64,
    pub shot_micro_usd: u64,
    pub job_micro_usd: u64,
    pub shots: u32,
}

/// How a job is going to end there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Succeeds,
    Fails,
    CancelledBySomebody,
    /// Until somebody cancels it.
    NeverEnds,
}

#[derive(Debug, Clone)]
pub struct Job {
    pub key: String,
    pub id: String,
    pub created_ms: u64,
    pub starts_ms: u64,
    pub ends_ms: u64,
    pub fate: Fate,
    pub cancelled_ms: Option<u64>,
    /// Fetches that give a wrong result before the right one comes.
    pub wrong_fetches: u32,
    pub forgotten: bool,
    /// When it says a word that nobody knows.
    pub odd_until_ms: u64,
}

impl Job {
    pub fn ended(&self, now: u64) -> bool {
        self.cancelled_ms.is_some() || self.forgotten || (self.fate != Fate::NeverEnds && now >= self.ends_ms)
    }

    /// What the vendor bills for it.
    pub fn bill(&self, manners: &Manners, now: u64) -> u64 {
        let until = self.cancelled_ms.unwrap_or(now);
        if until < self.starts_ms {
            return 0;
        }
        manners.job_micro_usd + manners.shot_micro_usd * u64::from(manners.shots)
    }
}

#[derive(Debug, Clone)]
pub struct Vendor {
    pub manners: Manners,
    pub jobs: Vec<Job>,
    pub by_key: BTreeMap<String, usize>,
}

/// What became of a call: when the answer comes, and whether it comes at all.
pub struct Served<T> {
    pub answer: Result<T, BackendError>,
    pub after_ms: u64,
}

const TIMEOUT_MS: u64 = 30_000;

impl Vendor {
    pub fn new(manners: Manners) -> Self {
        Self { manners, jobs: Vec::new(), by_key: BTreeMap::new() }
    }

    fn faulty(&self, now: u64, random: &mut Random) -> bool {
        now < self.manners.heals_ms && random.chance(self.manners.faults)
    }

    fn error<T>(&self, random: &mut Random, ambiguous: bool) -> Served<T> {
        let backend = self.manners.name.clone();
        let message = "fault".to_owned();
        let after_ms = random.between(10, 5_000);
        let error = match random.below(10) {
            0..=3 if ambiguous => {
                return Served {
                    answer: Err(BackendError::Ambiguous { backend, message }),
                    after_ms: TIMEOUT_MS,
                };
            }
            0 if self.manners.nasty => BackendError::Permanent { backend, message },
            1..=5 => {
                BackendError::Transient { backend, message, after_ms: Some(random.between(100, 90_000)) }
            }
            _ => BackendError::Transient { backend, message, after_ms: None },
        };
        Served { answer: Err(error), after_ms }
    }

    pub fn create(&mut self, now: u64, key: &str, random: &mut Random) -> JobId {
        if self.manners.idempotent
            && let Some(at) = self.by_key.get(key)
        {
            return JobId(self.jobs[*at].id.clone());
        }
        let id = format!("{}-{}", self.manners.name, self.jobs.len());
        let queue_ms = if random.chance(20) { 4_000_000 } else { 40_000 };
        let starts_ms = now + random.between(0, queue_ms);
        let fate = match random.below(20) {
            0 | 1 => Fate::Fails,
            2 => Fate::CancelledBySomebody,
            3 => Fate::NeverEnds,
            _ => Fate::Succeeds,
        };
        let wrong_fetches = match random.below(10) {
            0 => 1_000,
            1 => random.between(1, 2) as u32,
            _ => 0,
        };
        self.jobs.push(Job {
            key: key.to_owned(),
            id: id.clone(),
            created_ms: now,
            starts_ms,
            ends_ms: starts_ms + random.between(10, 100_000),
            fate,
            cancelled_ms: None,
            wrong_fetches,
            forgotten: self.manners.nasty && random.chance(5),
            odd_until_ms: if random.chance(15) { now + random.between(0, 200_000) } else { 0 },
        });
        self.by_key.insert(key.to_owned(), self.jobs.len() - 1);
        JobId(id)
    }

    /// Whether the request arrives, and when: `None` never, else so much later.
    pub fn submit(
        &mut self,
        now: u64,
        key: &str,
        random: &mut Random,
    ) -> (Option<u64>, Option<Served<JobId>>) {
        if self.faulty(now, random) {
            let backend = self.manners.name.clone();
            let timeout = Served {
                answer: Err(BackendError::Ambiguous { backend, message: "no reply".into() }),
                after_ms: TIMEOUT_MS,
            };
            return match random.below(4) {
                // The request is lost; the request is late; the reply is lost; an error that says so.
                0 => (None, Some(timeout)),
                1 => (Some(random.between(1_000, 55_000)), Some(timeout)),
                2 => {
                    self.create(now, key, random);
                    (None, Some(timeout))
                }
                _ => (None, Some(self.error(random, false))),
            };
        }
        let id = self.create(now, key, random);
        (None, Some(Served { answer: Ok(id), after_ms: random.between(5, 2_000) }))
    }

    pub fn find(&self, now: u64, key: &str, random: &mut Random) -> Served<Option<JobId>> {
        if self.faulty(now, random) {
            return self.error(random, true);
        }
        let backend = self.manners.name.clone();
        let answer = if !self.manners.find {
            Err(BackendError::Permanent { backend, message: "keys cannot be looked up".into() })
        } else {
            let job = self.by_key.get(key).map(|at| &self.jobs[*at]);
            let shown = job.filter(|job| now >= job.created_ms + self.manners.index_lag_ms);
            Ok(shown.map(|job| JobId(job.id.clone())))
        };
        Served { answer, after_ms: random.between(5, 2_000) }
    }

    fn job(&mut self, id: &JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == id.0)
    }

    pub fn poll(&mut self, now: u64, id: &JobId, random: &mut Random) -> Served<Poll> {
        if self.faulty(now, random) {
            return self.error(random, false);
        }
        let backend = self.manners.name.clone();
        let after_ms = random.between(5, 2_000);
        let odd = random.below(3);
        let Some(job) = self.job(id) else {
            return Served {
                answer: Err(BackendError::Permanent { backend, message: "no such job".into() }),
                after_ms,
            };
        };
        let poll = if job.forgotten && odd == 0 {
            return Served {
                answer: Err(BackendError::Permanent { backend, message: "no such job".into() }),
                after_ms,
            };
        } else if job.forgotten {
            Poll::Failed { message: "forgotten".into() }
        } else if job.cancelled_ms.is_some() {
            Poll::Cancelled
        } else if now < job.odd_until_ms {
            Poll::Unknown { word: "CONTEMPLATING".into() }
        } else if now < job.starts_ms {
            Poll::Queued { position: None, wait_ms: (odd == 0).then(|| job.starts_ms - now) }
        } else if now < job.ends_ms || job.fate == Fate::NeverEnds {
            Poll::Running
        } else {
            match job.fate {
                Fate::Fails => Poll::Failed { message: "broke".into() },
                Fate::CancelledBySomebody => Poll::Cancelled,
                _ => Poll::Succeeded,
            }
        };
        Served { answer: Ok(poll), after_ms }
    }

    /// The true counts of a job, known to the judge as well.
    pub fn truth(id: &str, shots: u32) -> Vec<(u64, u64)> {
        let one = (id.len() as u64 + id.bytes().map(u64::from).sum::<u64>()) % u64::from(shots - 1) + 1;
        vec![(1, one), (3, u64::from(shots) - one)]
    }

    pub fn fetch(&mut self, now: u64, id: &JobId, random: &mut Random) -> Served<JobResult> {
        if self.faulty(now, random) {
            return self.error(random, false);
        }
        let backend = self.manners.name.clone();
        let (shots, price) = (self.manners.shots, self.manners.clone());
        let bill = self.job(id).map(|job| job.bill(&price, now));
        let kind = random.below(4);
        let after_ms = random.between(5, 2_000);
        let Some(job) = self.job(id).filter(|job| !job.forgotten) else {
            return Served {
                answer: Err(BackendError::Permanent { backend, message: "expired".into() }),
                after_ms,
            };
        };
        let mut counts = Self::truth(&id.0, shots);
        if job.wrong_fetches > 0 {
            job.wrong_fetches -= 1;
            match kind {
                // Shots missing; a doubled list; an outcome that cannot be; a count of nothing.
                0 => counts[0].1 -= 1,
                1 => counts.extend(counts.clone()),
                2 => counts[1].0 = 9,
                _ => counts.push((3, 0)),
            }
        }
        let qpu_ms = (kind != 0).then_some(5);
        let cost_micro_usd = if kind == 1 { None } else { bill };
        Served { answer: Ok(JobResult { counts, qpu_ms, cost_micro_usd, calibration: None }), after_ms }
    }

    pub fn cancel(&mut self, now: u64, id: &JobId, random: &mut Random) -> Served<Cancelled> {
        if self.faulty(now, random) {
            if random.chance(50)
                && let Some(job) = self.job(id).filter(|job| !job.ended(now))
            {
                job.cancelled_ms = Some(now);
            }
            return self.error_of_cancel(random);
        }
        let backend = self.manners.name.clone();
        let running_too = self.manners.cancels_running;
        let after_ms = random.between(5, 2_000);
        let Some(job) = self.job(id).filter(|job| !job.forgotten) else {
            return Served {
                answer: Err(BackendError::Permanent { backend, message: "no such job".into() }),
                after_ms,
            };
        };
        let answer = if job.ended(now) {
            Cancelled::AlreadyEnded
        } else if now >= job.starts_ms && !running_too {
            Cancelled::NotPossible
        } else {
            job.cancelled_ms = Some(now);
            Cancelled::Yes
        };
        Served { answer: Ok(answer), after_ms }
    }

    fn error_of_cancel(&self, random: &mut Random) -> Served<Cancelled> {
        let backend = self.manners.name.clone();
        let answer = Err(BackendError::Ambiguous { backend, message: "no reply".into() });
        Served { answer, after_ms: random.between(10, TIMEOUT_MS) }
    }
}
