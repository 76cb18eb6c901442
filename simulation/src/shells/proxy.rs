//! Stands for `actors/src/quantum_proxy.rs` with a vendor behind it, by the rules of
//! `quantum::backends::JobState`: the key is durable before the call; what may have arrived is looked up
//! before anything is sent again; what nobody wants any more is cancelled.

use super::{Mail, Noted, PROXY, Place, Then, Tick, Work, error};
use crate::Mutant;
use crate::judge::Verdict;
use crate::store::{Batch, Fact, Stream};
use crate::vendor::{Ask, Call, Reply, Said};
use crate::world::{Happening, World};
use engine::definition::StageKind;
use engine::run::ErrorClass;
use quantum::backends::{JobEvent, JobId, JobKey, JobState};
use std::collections::BTreeMap;

/// A request arrives within this, or never.
const CALL_MS: u64 = 200;
const POLL_MS: u64 = 50;
/// Submissions under one key, and results fetched, before the attempt is given up.
const TRIES_MAX: u32 = 4;

/// A job that the proxy leads.
#[derive(Debug)]
pub struct Lead {
    state: JobState,
    records: u64,
    wanted: Option<Work>,
    begun: u64,
    /// The call under way.
    call: Option<Call>,
    /// The submission was made, perhaps by an earlier daemon: look before anything else.
    called: bool,
    noting: bool,
    tries: u32,
    value: Option<u64>,
}

#[derive(Debug, Default)]
pub struct ProxyShell {
    leads: BTreeMap<Place, Lead>,
    calls: BTreeMap<u64, Place>,
    number: u64,
    /// Newest fence of each stage that was abandoned: a word to stop overtakes the word to begin.
    abandoned: BTreeMap<(u32, u32), u64>,
}

fn key(place: Place, begun: u64) -> String {
    let (run, stage, fence) = place;
    format!("jobs/{run}/{stage}@{fence}#{begun:x}")
}

fn begun_of(key: &str) -> u64 {
    key.rsplit_once('#').and_then(|(_, hex)| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
}

impl World {
    pub fn proxy(&mut self, mail: Mail) -> Verdict {
        match mail {
            Mail::Execute { work, undo: true } => {
                self.report(&work, true, Ok(0));
                Ok(())
            }
            Mail::Execute { work, undo: false } => {
                if self.daemon.to_stop.remove(&(work.run, work.stage, work.fence)) {
                    self.say_stopped(&work);
                    return Ok(());
                }
                let abandoned = self.daemon.proxy.abandoned.get(&(work.run, work.stage));
                let over = abandoned.is_some_and(|fence| work.fence <= *fence);
                if over && self.mutant != Mutant::BeginsWhatWasAbandoned { Ok(()) } else { self.lead(work) }
            }
            Mail::Abandon { run, stage, fence } => {
                self.daemon.proxy.abandoned.insert((run, stage), fence);
                let of = |work: &Work| (work.run, work.stage, work.fence) == (run, stage, fence);
                self.unwant(of)
            }
            Mail::AbandonAll => self.unwant(|_| true),
            Mail::FromVendor(reply) => self.vendor_says(reply),
            other => Err(format!("the proxy cannot hear {other:?}")),
        }
    }

    fn unwant(&mut self, of: impl Fn(&Work) -> bool) -> Verdict {
        let mut changed = Vec::new();
        for (place, lead) in &mut self.daemon.proxy.leads {
            if lead.wanted.take_if(|work| of(work)).is_some() {
                changed.push(*place);
            }
        }
        changed.into_iter().try_for_each(|place| self.advance_job(place))
    }

    /// A job that is to stop is cancelled like one that nobody wants; true if it is led here.
    pub fn stop_job(&mut self, place: Place) -> Result<bool, String> {
        let of = |work: &Work| (work.run, work.stage, work.fence) == place;
        let leads = self.daemon.proxy.leads.values();
        let Some(work) = leads.filter_map(|lead| lead.wanted.clone()).find(|work| of(work)) else {
            return Ok(false);
        };
        self.say_stopped(&work);
        self.unwant(of)?;
        Ok(true)
    }

    /// What the journal says of a job that nobody leads.
    fn found(&self, place: Place) -> Lead {
        let (state, records) = self.jobs.get(&place).cloned().unwrap_or((JobState::Planned, 0));
        let (run, stage, fence) = place;
        let begun = self.judge.records.iter().rev().find_map(|record| match &record.fact {
            Fact::Job(JobEvent::Submitting { key }) if record.stream == Stream::Job(run, stage, fence) => {
                Some(begun_of(&key.0))
            }
            _ => None,
        });
        Lead {
            state,
            records,
            wanted: None,
            begun: begun.unwrap_or(0),
            call: None,
            called: true,
            noting: false,
            tries: 0,
            value: None,
        }
    }

    fn lead(&mut self, work: Work) -> Verdict {
        debug_assert!(work.kind == StageKind::QaoaOptimization);
        let old: Vec<Place> = self
            .jobs
            .iter()
            .filter(|((run, stage, _), (state, _))| {
                (*run, *stage) == (work.run, work.stage) && !state.ended()
            })
            .map(|(place, _)| *place)
            .filter(|place| !self.daemon.proxy.leads.contains_key(place))
            .collect();
        let mut wanted = Some(work);
        for place in old {
            let mut lead = self.found(place);
            if let Some(work) = wanted.take_if(|work| work.begun == lead.begun) {
                self.count("jobs adopted");
                lead.wanted = Some(work);
            }
            self.daemon.proxy.leads.insert(place, lead);
            self.advance_job(place)?;
        }
        if let Some(work) = wanted {
            let place = (work.run, work.stage, work.fence);
            let lead = Lead { begun: work.begun, called: false, wanted: Some(work), ..self.found(place) };
            self.daemon.proxy.leads.insert(place, lead);
            self.advance_job(place)?;
        }
        Ok(())
    }

    /// Jobs of earlier daemons that no stage came back for.
    pub fn settle_orphans(&mut self) -> Verdict {
        let open: Vec<Place> =
            self.jobs.iter().filter(|(_, (state, _))| !state.ended()).map(|(place, _)| *place).collect();
        for place in open {
            if !self.daemon.proxy.leads.contains_key(&place) {
                let lead = self.found(place);
                self.daemon.proxy.leads.insert(place, lead);
                self.count("jobs settled");
                self.advance_job(place)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, place: Place, events: Vec<JobEvent>) {
        let time_ms = self.clock();
        let Some(lead) = self.daemon.proxy.leads.get_mut(&place) else { return };
        lead.noting = true;
        let (run, stage, fence) = place;
        let batch = Batch {
            stream: Stream::Job(run, stage, fence),
            expected: lead.records,
            facts: events.into_iter().map(Fact::Job).collect(),
            time_ms,
        };
        self.append(PROXY, batch, Then::Job(place));
    }

    pub fn job_noted(&mut self, place: Place, records: Noted) -> Verdict {
        let Ok(records) = records else { return Err(format!("two writers wrote of job {place:?}")) };
        let Some(lead) = self.daemon.proxy.leads.get_mut(&place) else { return Ok(()) };
        lead.noting = false;
        for record in &self.judge.records[records] {
            if let Fact::Job(event) = &record.fact {
                let Some(next) = lead.state.after(event) else {
                    return Err(format!("{event:?} cannot follow {:?}", lead.state));
                };
                lead.state = next;
                lead.records += 1;
            }
        }
        self.advance_job(place)
    }

    fn call(&mut self, place: Place, ask: Ask) {
        self.daemon.proxy.number += 1;
        let number = self.daemon.proxy.number | self.daemon.incarnation << 32;
        let call = Call { number, ask };
        let Some(lead) = self.daemon.proxy.leads.get_mut(&place) else { return };
        lead.call = Some(call.clone());
        self.daemon.proxy.calls.insert(number, place);
        self.tick(CALL_MS, Tick::Call(number));
        if self.lost() {
            self.count("calls lost");
            return;
        }
        let after = self.random.between(1, 60);
        self.after(after, Happening::ToVendor(call));
    }

    /// Whatever the job's state asks for next.
    fn advance_job(&mut self, place: Place) -> Verdict {
        let Some(lead) = self.daemon.proxy.leads.get_mut(&place) else { return Ok(()) };
        if lead.noting || lead.call.is_some() {
            return Ok(());
        }
        let wanted = lead.wanted.is_some();
        let name = key(place, lead.begun);
        let submit = Ask::Submit { key: name.clone(), begun: lead.begun, stage: place.1 };
        match lead.state.clone() {
            JobState::Planned if !wanted => drop(self.daemon.proxy.leads.remove(&place)),
            JobState::Planned => {
                let first = vec![JobEvent::Reserved, JobEvent::Submitting { key: JobKey(name) }];
                if self.mutant == Mutant::SubmitsBeforeTheKey {
                    lead.called = true;
                    self.call(place, submit);
                }
                self.note(place, first);
            }
            JobState::Reserved if !wanted => self.note(place, vec![JobEvent::Cancelled]),
            JobState::Reserved if lead.tries > TRIES_MAX => {
                self.note(place, vec![JobEvent::Failed { message: "too many tries".to_owned() }]);
            }
            JobState::Reserved => {
                lead.called = false;
                self.note(place, vec![JobEvent::Submitting { key: JobKey(name) }]);
            }
            JobState::Submitting { .. } if lead.called => self.call(place, Ask::Find { key: name }),
            JobState::Submitting { .. } => {
                lead.called = true;
                self.call(place, submit);
            }
            JobState::Submitted { .. } | JobState::Queued { .. } | JobState::Running { .. } if wanted => {
                self.tick(POLL_MS, Tick::Poll(place));
            }
            JobState::Submitted { id } | JobState::Queued { id } | JobState::Running { id } => {
                self.call(place, Ask::Cancel { job: id.0 });
            }
            JobState::Fetching { .. } if !wanted => self.note(place, vec![JobEvent::Cancelled]),
            JobState::Fetching { id } => self.call(place, Ask::Result { job: id.0 }),
            JobState::Verified { .. } if lead.value.is_some() || !wanted => {
                self.note(place, vec![JobEvent::Done]);
            }
            JobState::Verified { id } => self.call(place, Ask::Result { job: id.0 }),
            JobState::Done => self.finish_job(place, None),
            JobState::Failed { message } => self.finish_job(place, Some((message, ErrorClass::Transient))),
            JobState::Cancelled => {
                self.finish_job(place, Some(("cancelled".to_owned(), ErrorClass::Transient)))
            }
            JobState::Lost { .. } => self.finish_job(place, Some(("lost".to_owned(), ErrorClass::Ambiguous))),
        }
        Ok(())
    }

    fn finish_job(&mut self, place: Place, failed: Option<(String, ErrorClass)>) {
        let Some(lead) = self.daemon.proxy.leads.remove(&place) else { return };
        let Some(work) = lead.wanted else { return };
        let result = match (failed, lead.value) {
            (None, Some(value)) => Ok(value),
            (Some((message, class)), _) => Err(error("EX-0514", &message, class)),
            (None, None) => Err(error("EX-0514", "no result", ErrorClass::Transient)),
        };
        self.report(&work, false, result);
    }

    pub fn poll(&mut self, place: Place) -> Verdict {
        let Some(lead) = self.daemon.proxy.leads.get(&place) else { return Ok(()) };
        let at_work = matches!(
            lead.state,
            JobState::Submitted { .. } | JobState::Queued { .. } | JobState::Running { .. }
        );
        if lead.call.is_some() || lead.noting || !at_work || lead.wanted.is_none() {
            return Ok(());
        }
        if let Some(id) = lead.state.id() {
            let job = id.0.clone();
            self.call(place, Ask::Poll { job });
        }
        Ok(())
    }

    /// No reply came: it may have happened.
    pub fn call_timed_out(&mut self, number: u64) -> Verdict {
        let Some(place) = self.daemon.proxy.calls.remove(&number) else { return Ok(()) };
        let Some(lead) = self.daemon.proxy.leads.get_mut(&place) else { return Ok(()) };
        let Some(call) = lead.call.take() else { return Ok(()) };
        if let (Ask::Submit { .. }, Mutant::SubmitsAgainBlindly) = (&call.ask, self.mutant) {
            lead.called = false;
        }
        self.advance_job(place)
    }

    fn vendor_says(&mut self, reply: Reply) -> Verdict {
        let Some(place) = self.daemon.proxy.calls.remove(&reply.number) else { return Ok(()) };
        let Some(lead) = self.daemon.proxy.leads.get_mut(&place) else { return Ok(()) };
        let Some(call) = lead.call.take() else { return Ok(()) };
        if lead.noting {
            // Only who calls before its record is durable can be here.
            return Err(format!("job {place:?} was called for before its record"));
        }
        let failed = |message: &str| JobEvent::Failed { message: message.to_owned() };
        let idempotent = self.vendor.idempotent;
        match (call.ask, reply.said) {
            (Ask::Submit { .. } | Ask::Find { .. }, Said::Id(id)) => {
                self.note(place, vec![JobEvent::Submitted { id: JobId(id) }]);
            }
            (Ask::Submit { .. }, _) | (Ask::Find { .. }, Said::None) => {
                lead.tries += 1;
                self.note(place, vec![JobEvent::NotSubmitted]);
            }
            (Ask::Find { key }, Said::CannotFind) if idempotent => {
                let submit = Ask::Submit { key, begun: lead.begun, stage: place.1 };
                self.call(place, submit);
            }
            (Ask::Find { .. }, Said::CannotFind) => self.note(place, vec![JobEvent::Lost]),
            (Ask::Poll { .. }, Said::Ended) => self.note(place, vec![JobEvent::Fetching]),
            (Ask::Poll { .. }, Said::Failed) => self.note(place, vec![failed("the vendor says so")]),
            (Ask::Poll { .. }, Said::Running) if matches!(lead.state, JobState::Submitted { .. }) => {
                self.note(place, vec![JobEvent::Running]);
            }
            (Ask::Result { .. }, Said::Result { begun, value }) if begun == lead.begun => {
                lead.value = Some(value);
                let fetched = matches!(lead.state, JobState::Fetching { .. });
                let noted =
                    if fetched { vec![JobEvent::Verified, JobEvent::Done] } else { vec![JobEvent::Done] };
                self.note(place, noted);
            }
            (Ask::Result { .. }, Said::Result { .. } | Said::Failed) => {
                lead.tries += 1;
                if lead.tries > TRIES_MAX && matches!(lead.state, JobState::Fetching { .. }) {
                    self.note(place, vec![failed("its result is of other work")]);
                } else {
                    return self.advance_job(place);
                }
            }
            (Ask::Cancel { .. }, Said::Cancelled) => self.note(place, vec![JobEvent::Cancelled]),
            // Busy, or a word nobody knows: ask again.
            _ => return self.advance_job(place),
        }
        Ok(())
    }
}
