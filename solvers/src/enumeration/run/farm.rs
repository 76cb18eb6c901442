//! Units to threads, and their reports back in the order of the units.
//!
//! Rule: what a thread finds is handed out only when everything before it has been; once stopped, the rest comes out
//! marked as early.

use super::{Report, Run};
use crate::enumeration::search::Search;
use crate::enumeration::{EnumerationError, Flow, THREADS_MAX};
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
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
        let threads = self.options.threads.clamp(1, THREADS_MAX).min(jobs.len().max(1));
        let stop = AtomicBool::new(false);
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel::<(usize, Report)>();
        let mut stopped = false;
        let mut handed = 0;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let sender = sender.clone();
                let (stop, next) = (&stop, &next);
                scope.spawn(move || {
                    let mut search = Search::new(&self.plan, stop);
                    let mut seen = BinaryHeap::new();
                    while !stop.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(&unit) = jobs.get(at) else { break };
                        let report = work(&mut search, unit, &mut seen);
                        if sender.send((at, report)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut waiting: BTreeMap<usize, Report> = BTreeMap::new();
            loop {
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
