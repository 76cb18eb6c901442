//! The only place that changes an order.

use super::{End, Fallback, Order};
use crate::backends::{JobEvent, JobState, Reason};

impl Order {
    /// Takes over a journaled event of `time_ms`. One that does not fit changes nothing: it was refused when
    /// it was made, so it can only come from a journal that is not of this order.
    pub fn apply(&mut self, time_ms: u64, event: &JobEvent) {
        use JobEvent as E;
        match event {
            E::Kept { digest } => self.kept = Some(digest.clone()),
            E::CancelWanted { why } => {
                self.cancel = Some(why.clone());
                self.since_ms = time_ms;
            }
            E::Recalled { reason } => {
                self.recalled = Some(reason.clone());
                self.since_ms = time_ms;
            }
            E::Settled { .. } | E::Wanted(_) | E::Told(_) => {}
            E::Again { reason } => {
                self.tries += 1;
                self.turn(time_ms, reason);
            }
            E::FellBack { reason } => {
                self.turn(time_ms, reason);
                self.tries = 0;
                // With the time gone no other backend is asked.
                let last = *reason == Reason::Deadline;
                self.place = if last { self.wanted.chain.len() } else { self.place + 1 };
                if self.place >= self.wanted.chain.len() {
                    self.end = Some(End::Exact);
                }
            }
            _ => self.arrow(time_ms, event),
        }
    }

    fn arrow(&mut self, time_ms: u64, event: &JobEvent) {
        let lost = matches!(event, JobEvent::Lost);
        let next = match (&self.key, self.state.id()) {
            // Once its id is known a job can still get out of reach.
            (Some(key), Some(_)) if lost => Some(JobState::Lost { key: key.clone() }),
            _ => self.state.after(event),
        };
        let Some(next) = next else { return };
        match event {
            JobEvent::Held { key, .. } => {
                self.key = Some(key.clone());
                self.jobs += 1;
                self.submitted_ms = time_ms;
            }
            JobEvent::Lost => self.lost.extend(self.key.clone()),
            JobEvent::Done => {
                let backend = self.candidate().map(|one| one.backend.clone()).unwrap_or_default();
                let digest = self.kept.clone().unwrap_or_default();
                self.end = Some(End::Done { backend, digest });
            }
            JobEvent::Cancelled => self.end = Some(End::Cancelled),
            _ => {}
        }
        if lost && self.cancel.is_some() {
            self.end = Some(End::Cancelled);
        }
        self.state = next;
        self.since_ms = time_ms;
    }

    fn turn(&mut self, time_ms: u64, reason: &Reason) {
        let backend = self.candidate().map(|one| one.backend.clone()).unwrap_or_default();
        self.fallbacks.push(Fallback { backend, reason: reason.clone() });
        (self.state, self.key, self.recalled) = (JobState::Planned, None, None);
        self.since_ms = time_ms;
    }
}
