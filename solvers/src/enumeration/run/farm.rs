//! Units to threads, and their reports back in the order of the units.
//!
//! Rule: what a thread finds is handed out only when everything before it has been; once stopped, the rest comes out
//! marked as early. Threads join and leave between two units, as many as [`Run::threads`] says at the time.

use super::{Report, Run};
use crate::enumeration::search::Search;
use crate::enumeration::{EnumerationError, Flow, THREADS_MAX};
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// How often the observer is asked when nothing finishes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) enum FarmEvent {
    Look,
    /// A report, and whether it comes out of order because the search is ending.
    Done(Report, bool),
}

impl<'a, const W: usize> Run<'a, W> {
    /// Gives `jobs` to threads and hands their reports out in the order of the jobs. Once stopped, the
    /// rest of what was finished is handed out marked as early. True if it was stopped.
    pub(super) fn farm(
        &self,
        jobs: &[usize],
        work: &(dyn Fn(&mut Search<'_, W>, usize, &mut BinaryHeap<i64>) -> Report + Sync),
        each: &mut dyn FnMut(FarmEvent) -> Flow,
    ) -> Result<bool, EnumerationError> {
        let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (sender, receiver) = mpsc::channel::<(usize, Report)>();
        let wanted = || self.threads.load(Ordering::Relaxed).clamp(1, THREADS_MAX);
        let one = |place: usize, sender: mpsc::Sender<(usize, Report)>| {
            let mut search = Search::new(&self.plan, &stop);
            let mut seen = BinaryHeap::new();
            while !stop.load(Ordering::Relaxed) && place < wanted() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&unit) = jobs.get(at) else { break };
                let report = work(&mut search, unit, &mut seen);
                if sender.send((at, report)).is_err() {
                    break;
                }
            }
        };
        let one = &one;
        let mut stopped = false;
        let mut handed = 0;
        std::thread::scope(|scope| {
            let mut farmers: Vec<ScopedJoinHandle<'_, ()>> = Vec::new();
            // Kept for further threads; without it the channel ends with the last thread.
            let mut sender = Some(sender);
            let mut waiting: BTreeMap<usize, Report> = BTreeMap::new();
            loop {
                let open = jobs.len().saturating_sub(next.load(Ordering::Relaxed));
                match &sender {
                    Some(more) if open > 0 && !stopped => {
                        for place in 0..wanted().min(open.max(farmers.len())) {
                            match farmers.get_mut(place) {
                                // It left when fewer were wanted.
                                Some(farmer) if farmer.is_finished() => {
                                    let more = more.clone();
                                    *farmer = scope.spawn(move || one(place, more));
                                }
                                Some(_) => {}
                                None => {
                                    let more = more.clone();
                                    farmers.push(scope.spawn(move || one(place, more)));
                                }
                            }
                        }
                    }
                    _ => sender = None,
                }
                match receiver.recv_timeout(LOOK_EVERY) {
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        if !stopped && each(FarmEvent::Look) == Flow::Stop {
                            stopped = true;
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    Ok((at, report)) => {
                        waiting.insert(at, report);
                        while !stopped {
                            let Some(report) = waiting.remove(&handed) else { break };
                            if !report.whole {
                                waiting.insert(handed, report);
                                break;
                            }
                            handed += 1;
                            if each(FarmEvent::Done(report, false)) == Flow::Stop {
                                stopped = true;
                                stop.store(true, Ordering::Relaxed);
                            }
                        }
                    }
                }
            }
            if stopped {
                for report in std::mem::take(&mut waiting).into_values() {
                    each(FarmEvent::Done(report, true));
                }
            }
        });
        if !stopped && handed != jobs.len() {
            return Err(EnumerationError::ThreadLost);
        }
        Ok(stopped)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::enumeration::plan::Plan;
    use crate::enumeration::run::{UNITS_WANTED, UnitResult};
    use crate::enumeration::search::{Threshold, units};
    use crate::enumeration::set::Packing;
    use crate::enumeration::sinks::Keys;
    use crate::enumeration::{Mode, Options, order};
    use crate::space::{Decision, DesignOption, DesignSpace};
    use std::collections::BTreeSet;
    use std::sync::{Condvar, Mutex};

    /// Three decisions of ten options, no rules.
    fn space() -> DesignSpace {
        let option = |o: usize| DesignOption { id: format!("o{o}"), attributes: BTreeMap::new() };
        let decision = |d: usize| Decision { name: format!("d{d}"), options: (0..10).map(option).collect() };
        let decisions = (0..3).map(decision).collect();
        DesignSpace { name: "open".into(), decisions, constraints: Vec::new(), objective: None }
    }

    fn with_run(threads: usize, test: impl FnOnce(&Run<'_, 1>)) {
        let space = space();
        let options = Options { threads, ..Options::new(Mode::Count) };
        let plan: Plan<1> = Plan::new(&space, order::order(&space), false).unwrap();
        let packing = Packing::new(&space);
        test(&Run {
            probes: None,
            space: &space,
            options: &options,
            keys: Keys::new(&plan, &packing),
            packing,
            units: units(&plan, UNITS_WANTED),
            plan,
            digest: String::new(),
            threshold: Threshold::new(),
            threads: AtomicUsize::new(threads),
        });
    }

    const NOTHING: Report = Report { result: UnitResult::Count(0), nodes: 0, whole: true };

    #[test]
    fn a_thread_that_is_added_works_beside_those_there_are() {
        with_run(1, |run| {
            let (met, news) = (Mutex::new(0), Condvar::new());
            let together = AtomicBool::new(false);
            // Jobs 1 and 2 wait for each other, which takes two threads.
            let work = |_: &mut Search<'_, 1>, unit: usize, _: &mut BinaryHeap<i64>| {
                if unit == 1 || unit == 2 {
                    let mut met = met.lock().unwrap();
                    *met += 1;
                    news.notify_all();
                    let long = Duration::from_secs(60);
                    let (met, _) = news.wait_timeout_while(met, long, |met| *met < 2).unwrap();
                    together.store(*met == 2, Ordering::Relaxed);
                }
                NOTHING
            };
            let jobs: Vec<usize> = (0..50).collect();
            let mut done = 0;
            let stopped = run.farm(&jobs, &work, &mut |event| {
                done += usize::from(matches!(event, FarmEvent::Done(..)));
                run.threads.store(2, Ordering::Relaxed);
                Flow::Continue
            });
            assert_eq!((stopped, done), (Ok(false), 50));
            assert!(together.into_inner(), "jobs 1 and 2 were never at work at the same time");
        });
    }

    #[test]
    fn threads_that_are_no_longer_wanted_leave_after_the_unit_they_are_at() {
        with_run(4, |run| {
            let lowered = AtomicBool::new(false);
            let after = Mutex::new(Vec::new());
            let work = |_: &mut Search<'_, 1>, _: usize, _: &mut BinaryHeap<i64>| {
                let late = lowered.load(Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(100));
                if late {
                    after.lock().unwrap().push(std::thread::current().id());
                }
                NOTHING
            };
            let jobs: Vec<usize> = (0..2_000).collect();
            let stopped = run.farm(&jobs, &work, &mut |_| {
                run.threads.store(1, Ordering::SeqCst);
                lowered.store(true, Ordering::SeqCst);
                Flow::Continue
            });
            assert_eq!(stopped, Ok(false));
            let after = after.into_inner().unwrap();
            let who: BTreeSet<String> = after.iter().map(|id| format!("{id:?}")).collect();
            let most =
                who.iter().map(|id| after.iter().filter(|one| format!("{one:?}") == *id).count()).max();
            // Each of the others may have been about to begin a unit.
            assert!(
                after.len() - most.unwrap() <= 3,
                "{} of {} by others",
                after.len() - most.unwrap(),
                after.len()
            );
        });
    }
}
