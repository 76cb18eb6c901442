//! The judge: what must hold of journal, calls and books, whatever the machine thinks.

use super::vendor::{Manners, Vendor};
use super::world::Tally;
use quantum::backends::order::{Answer, End};
use quantum::backends::{BackendError, Budget, Ceiling, JobEvent, JobId, JobKey, Poll, Reason, Wanted};
use std::collections::BTreeMap;

/// A call that reaches a vendor, or should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Submit(JobKey),
    Find(JobKey),
    Poll(JobId),
    Fetch(JobId),
    Cancel(JobId),
}

#[derive(Debug, Default)]
struct Seen {
    run: String,
    place: usize,
    wanted: Option<Wanted>,
    /// Newest arrow of the present job.
    arrow: Option<JobEvent>,
    key: Option<JobKey>,
    id: Option<JobId>,
    fallbacks: usize,
    again: usize,
    deadline: bool,
    cancelled_ms: Option<u64>,
    verified: bool,
    digest: Option<String>,
    ended: Option<&'static str>,
    /// Time and kind of the last answer, to hold pauses against; forgotten at restart.
    polled: Option<(u64, JobId)>,
    asked_to_wait: Option<(u64, u64)>,
    in_doubt: bool,
}

#[derive(Debug)]
struct Line {
    vendor: usize,
    order: usize,
    run: String,
    day: u64,
    amount: u64,
    shots: u64,
    settled: bool,
    lost: bool,
    over: bool,
}

pub struct Judge {
    manners: Vec<Manners>,
    budgets: Vec<Budget>,
    orders: Vec<Seen>,
    lines: BTreeMap<String, Line>,
    pub tally: Tally,
}

/// When faults have healed for so long, nothing may be lost any more that can be found.
const SETTLING_MS: u64 = 180_000;
/// Longest that an order may live beyond its deadline: looking for a job, recalling it, fetching a result.
const END_MS: u64 = 3_600_000;

impl Judge {
    pub fn new(manners: Vec<Manners>, budgets: Vec<Budget>) -> Self {
        Self { manners, budgets, orders: Vec::new(), lines: BTreeMap::new(), tally: Tally::default() }
    }

    pub fn wanted(&mut self, _order: usize, run: String, wanted: &Wanted) {
        self.orders.push(Seen { run, wanted: Some(wanted.clone()), ..Seen::default() });
    }

    pub fn vendor_of(&self, order: usize) -> usize {
        self.orders[order].place.min(self.manners.len() - 1)
    }

    /// Budget is asked for under a key that was never used.
    pub fn asks(&mut self, order: usize, key: &JobKey) -> Result<(), String> {
        if self.lines.contains_key(&key.0) {
            return Err(format!("order {order} asks for a job under {key:?}, which was used before"));
        }
        Ok(())
    }

    pub fn restarted(&mut self) {
        for seen in &mut self.orders {
            (seen.polled, seen.asked_to_wait) = (None, None);
            seen.in_doubt = matches!(seen.arrow, Some(JobEvent::Submitting { .. }));
        }
    }

    /// A record became durable.
    pub fn record(
        &mut self,
        now: u64,
        order: usize,
        event: &JobEvent,
        vendors: &[Vendor],
    ) -> Result<(), String> {
        let at = self.vendor_of(order);
        let seen = &mut self.orders[order];
        let wrong = |text: &str| Err(format!("order {order} at {now}: {text}: {event:?}"));
        if let Some(end) = seen.ended
            && !matches!(event, JobEvent::Settled { .. })
        {
            return wrong(&format!("something happens after it was {end}"));
        }
        if now > seen.wanted.as_ref().map_or(0, |w| w.deadline_ms) + END_MS + 3_600_000 {
            return wrong("it lives long after its deadline");
        }
        match event {
            JobEvent::Held { key, hold } => {
                if seen.cancelled_ms.is_some() {
                    return wrong("a job is begun after its end was wanted");
                }
                if seen.key.is_some() {
                    return wrong("a job is begun while another is open");
                }
                if seen.wanted.as_ref().is_some_and(|w| w.chain[at].unfit.is_some()) {
                    return wrong("a job is bought where it does not fit");
                }
                seen.key = Some(key.clone());
                let line = Line {
                    vendor: at,
                    order,
                    run: seen.run.clone(),
                    day: now / 86_400_000,
                    amount: hold.micro_usd,
                    shots: hold.shots,
                    settled: false,
                    lost: false,
                    over: false,
                };
                if self.lines.insert(key.0.clone(), line).is_some() {
                    return wrong("a key is used twice");
                }
                self.tally.jobs += 1;
                self.budget(at, now)?;
            }
            JobEvent::Submitting { key } => {
                if seen.key.as_ref() != Some(key) {
                    return wrong("a job is submitted whose budget is not held");
                }
                if seen.cancelled_ms.is_some() {
                    return wrong("a job is submitted after its end was wanted");
                }
                if !matches!(seen.arrow, None | Some(JobEvent::NotSubmitted)) {
                    return wrong("a job is submitted twice");
                }
                (seen.arrow, seen.in_doubt) = (Some(event.clone()), false);
            }
            JobEvent::NotSubmitted => {
                // A person looking at the books would know: no job may be there now. One that is on its
                // way is found when it arrives.
                let key = seen.key.clone().unwrap_or_else(|| JobKey(String::new()));
                if vendors[at].by_key.contains_key(&key.0) {
                    return wrong("a job that exists is written off as never submitted");
                }
                seen.arrow = Some(event.clone());
            }
            JobEvent::Submitted { id } => {
                let key = seen.key.clone().unwrap_or_else(|| JobKey(String::new()));
                let known = vendors[at].jobs.iter().any(|job| job.id == id.0 && job.key == key.0);
                if !known {
                    return wrong("the id is not of the job of this key");
                }
                (seen.id, seen.arrow) = (Some(id.clone()), Some(event.clone()));
            }
            JobEvent::Verified => {
                if !matches!(seen.arrow, Some(JobEvent::Fetching)) {
                    return wrong("a result is believed that was not fetched");
                }
                seen.verified = true;
                seen.arrow = Some(event.clone());
            }
            JobEvent::Kept { digest } => seen.digest = Some(digest.clone()),
            JobEvent::Done => {
                let (true, Some(digest), Some(id)) = (seen.verified, &seen.digest, &seen.id) else {
                    return wrong("done without a verified result");
                };
                if *digest != format!("{:?}", Vendor::truth(&id.0, self.manners[at].shots)) {
                    return wrong("a wrong result is believed");
                }
                if seen.cancelled_ms.is_some() {
                    return wrong("done after its end was wanted");
                }
                seen.ended = Some("done");
            }
            JobEvent::CancelWanted { .. } => seen.cancelled_ms = Some(now),
            JobEvent::Cancelled => {
                seen.ended = Some("cancelled");
                seen.arrow = Some(event.clone());
            }
            JobEvent::Lost => {
                let key = seen.key.clone().unwrap_or_else(|| JobKey(String::new()));
                let manners = &self.manners[at];
                let findable = manners.find || manners.idempotent || seen.id.is_some();
                let refused = manners.nasty || !manners.cancels_running;
                if findable && !refused && now > manners.heals_ms + SETTLING_MS {
                    return wrong("a job is given up as lost that could be found");
                }
                if !findable && !seen.in_doubt {
                    return wrong("a job is given up as lost without any doubt");
                }
                if let Some(line) = self.lines.get_mut(&key.0) {
                    line.lost = true;
                }
                if seen.cancelled_ms.is_some() {
                    seen.ended = Some("cancelled");
                }
                self.tally.lost += 1;
                seen.arrow = Some(event.clone());
            }
            JobEvent::Settled { key, spent } => {
                let Some(line) = self.lines.get_mut(&key.0) else {
                    return wrong("what was never held is settled");
                };
                if line.settled {
                    return wrong("a job is settled twice");
                }
                (line.amount, line.shots, line.settled) = (spent.micro_usd, spent.shots, true);
                self.budget(at, now)?;
            }
            JobEvent::Again { .. } | JobEvent::FellBack { .. } => {
                let open = seen.key.as_ref().and_then(|key| self.lines.get(&key.0));
                if open.is_some_and(|line| !line.settled) {
                    return wrong("a backend is left with its budget still held");
                }
                let bought = seen.key.take().map(|key| key.0);
                (seen.id, seen.arrow, seen.verified, seen.digest) = (None, None, false, None);
                seen.in_doubt = false;
                if let Some(job) = bought.and_then(|key| vendors[at].by_key.get(&key)) {
                    let job = &vendors[at].jobs[*job];
                    let lost = self.lines.get(&job.key).is_some_and(|line| line.lost);
                    if !lost && !job.ended(now) {
                        return wrong("a backend is left while its job goes on");
                    }
                }
                if let JobEvent::FellBack { reason } = event {
                    seen.fallbacks += 1;
                    // Somebody else is asked from here on.
                    seen.asked_to_wait = None;
                    seen.again = 0;
                    seen.deadline |= *reason == Reason::Deadline;
                    seen.place += 1;
                    self.tally.fallbacks += 1;
                    if *reason == Reason::Deadline || seen.place >= self.manners.len() {
                        seen.ended = Some("answered exactly");
                    }
                } else {
                    seen.again += 1;
                    if seen.again > 1 {
                        return wrong("a third job is bought of one backend");
                    }
                }
            }
            _ => seen.arrow = Some(event.clone()),
        }
        Ok(())
    }

    /// Held and spent together keep within the limits.
    fn budget(&self, vendor: usize, now: u64) -> Result<(), String> {
        let over = |ceiling: &Ceiling, shots: u64, amount: u64| {
            ceiling.shots.is_some_and(|most| shots > most)
                || ceiling.micro_usd.is_some_and(|most| amount > most)
        };
        let mut runs: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut days: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (key, line) in self.lines.iter().filter(|(_, line)| line.vendor == vendor) {
            if over(&self.budgets[vendor].job, line.shots, line.amount) {
                return Err(format!("at {now} the budget of one job is exceeded by {key}"));
            }
            for total in [runs.entry(&line.run).or_default(), days.entry(line.day).or_default()] {
                *total = (total.0 + line.shots, total.1 + line.amount);
            }
        }
        let budget = &self.budgets[vendor];
        if runs.values().any(|(shots, amount)| over(&budget.run, *shots, *amount)) {
            return Err(format!("at {now} the budget of a run is exceeded at vendor {vendor}"));
        }
        if days.values().any(|(shots, amount)| over(&budget.day, *shots, *amount)) {
            return Err(format!("at {now} the budget of a day is exceeded at vendor {vendor}"));
        }
        Ok(())
    }

    /// A call begins.
    pub fn call(&mut self, now: u64, _life: u64, order: usize, call: &Call) -> Result<(), String> {
        let at = self.vendor_of(order);
        let seen = &mut self.orders[order];
        let wrong = |text: &str| Err(format!("order {order} at {now}: {text}: {call:?}"));
        if seen.ended.is_some() {
            return wrong("a call is made for an order that has ended");
        }
        if let Some((from, wait)) = seen.asked_to_wait.take()
            && now < from + wait
            && seen.cancelled_ms.is_none()
        {
            return wrong("the backend asked to be left alone longer");
        }
        match call {
            Call::Submit(key) | Call::Find(key) => {
                if !matches!(&seen.arrow, Some(JobEvent::Submitting { key: noted }) if noted == key) {
                    return wrong("a key is used that is not written down as being submitted");
                }
                if matches!(call, Call::Submit(_)) {
                    let twice = seen.in_doubt && !self.manners[at].idempotent;
                    if twice {
                        return wrong("a submission is repeated blindly");
                    }
                    seen.in_doubt = true;
                }
            }
            Call::Poll(id) => {
                if seen.id.as_ref() != Some(id) {
                    return wrong("a job is polled that is not its own");
                }
                if let Some((from, last)) = seen.polled.take()
                    && last == *id
                    && seen.cancelled_ms.is_none()
                    && !(1_000..=60_000).contains(&(now - from))
                {
                    return wrong("polls are not 1 s to 60 s apart");
                }
            }
            Call::Fetch(id) => {
                if seen.id.as_ref() != Some(id) || !matches!(seen.arrow, Some(JobEvent::Fetching)) {
                    return wrong("a result is fetched before that is written down");
                }
            }
            Call::Cancel(id) => {
                seen.polled = None;
                let wanted = matches!(seen.arrow, Some(JobEvent::Recalled { .. }));
                if seen.id.as_ref() != Some(id) || !(wanted || seen.cancelled_ms.is_some()) {
                    return wrong("a job is cancelled before that is written down");
                }
            }
        }
        Ok(())
    }

    /// An answer will be given at `at_ms`.
    pub fn answered(&mut self, at_ms: u64, order: usize, answer: &Answer) {
        let seen = &mut self.orders[order];
        let error = match answer {
            Answer::Submitted(Err(error))
            | Answer::Found(Err(error))
            | Answer::Polled(Err(error))
            | Answer::Fetched(Err(error))
            | Answer::Cancelled(Err(error)) => Some(error),
            _ => None,
        };
        if let Some(BackendError::Transient { after_ms: Some(wait), .. }) = error {
            seen.asked_to_wait = Some((at_ms, *wait));
        }
        match answer {
            // Known not to have arrived, unless an earlier call under this key is still open; this judge
            // then only asks for a look in between, which clears the doubt as well.
            Answer::Submitted(Err(BackendError::Transient { .. })) | Answer::Found(Ok(None)) => {
                seen.in_doubt = false;
            }
            Answer::Polled(Ok(Poll::Queued { .. } | Poll::Running | Poll::Unknown { .. })) => {
                if let Some(id) = seen.id.clone() {
                    seen.polled = Some((at_ms, id));
                }
            }
            _ => {}
        }
    }

    /// The vendor has made a job.
    pub fn created(&mut self, now: u64, vendor: usize, key: &str, vendors: &[Vendor]) -> Result<(), String> {
        let made = vendors[vendor].jobs.iter().filter(|job| job.key == key).count();
        if made > 1 {
            return Err(format!("at {now} vendor {vendor} was made to run {key} twice"));
        }
        let Some(line) = self.lines.get(key) else {
            return Err(format!("at {now} vendor {vendor} runs {key}, which no record names"));
        };
        if line.lost {
            // Its late arrival is what it was given up for.
            return Ok(());
        }
        if line.settled {
            return Err(format!("at {now} vendor {vendor} runs {key}, which was settled before"));
        }
        let others = vendors.iter().enumerate().flat_map(|(at, v)| v.jobs.iter().map(move |job| (at, job)));
        for (_, other) in others.filter(|(_, job)| job.key != key && !job.ended(now)) {
            let same = self.lines.get(&other.key).filter(|known| known.order == line.order && !known.lost);
            if same.is_some() {
                return Err(format!("at {now} two jobs of one order run: {} and {key}", other.key));
            }
        }
        Ok(())
    }

    /// The machine says that an order ended so.
    pub fn ended(&mut self, order: usize, end: End) -> Result<(), String> {
        let seen = &self.orders[order];
        let noted = match end {
            End::Done { .. } => "done",
            End::Exact => "answered exactly",
            End::Cancelled => "cancelled",
        };
        if seen.ended != Some(noted) {
            return Err(format!("order {order} is {noted}, and the journal says {:?}", seen.ended));
        }
        if noted == "cancelled" && seen.cancelled_ms.is_none() {
            return Err(format!("order {order} was cancelled by nobody"));
        }
        if noted == "answered exactly" && !seen.deadline && seen.fallbacks != self.manners.len() {
            return Err(format!("order {order} is answered exactly and not every backend said why"));
        }
        match noted {
            "done" => self.tally.done += 1,
            "cancelled" => self.tally.cancelled += 1,
            _ => self.tally.exact += 1,
        }
        Ok(())
    }

    /// The books, when everything is over.
    pub fn finish(&self, now: u64, vendors: &[Vendor]) -> Result<(), String> {
        for (key, line) in &self.lines {
            if !line.settled {
                return Err(format!("the budget of {key} is held for ever"));
            }
        }
        for vendor in vendors {
            for job in &vendor.jobs {
                let Some(line) = self.lines.get(&job.key) else {
                    return Err(format!("{} was bought and nobody knows", job.key));
                };
                // A lost one may still begin: it counts with all that it can cost.
                let bill = if job.forgotten { 0 } else { job.bill(&vendor.manners, now) };
                if bill > line.amount {
                    return Err(format!("{} cost {bill} and is settled with {}", job.key, line.amount));
                }
                if !line.lost && !job.ended(now) {
                    return Err(format!("{} goes on and nobody waits for it", job.key));
                }
            }
        }
        Ok(())
    }
}
