//! How a job is left: without a trace, ended, or out of reach; and who is asked next.

use super::{Command, Step, TRIES_MAX};
use crate::backends::{Amount, JobEvent, JobState, Reason};

impl Step {
    /// The next number; the command that carries it is the one whose answer counts.
    pub(super) fn number(&mut self, after_ms: u64) -> u64 {
        self.memo.call += 1;
        self.memo.awaiting = true;
        self.memo.starts_ms = self.now_ms.saturating_add(after_ms);
        self.memo.call
    }

    /// Goes on from the state of the job, with nothing under way.
    pub(super) fn go_on(&mut self) {
        let stopping = self.next.cancel.is_some() || self.next.recalled.is_some();
        match self.next.state.clone() {
            _ if self.next.end.is_some() => {}
            JobState::Planned if self.next.cancel.is_some() => self.emit(JobEvent::Cancelled),
            JobState::Planned => self.ask_next(),
            JobState::Reserved if self.next.cancel.is_some() => self.end_cancelled(Amount::NONE),
            JobState::Reserved => self.submit(),
            JobState::Submitting { .. } => self.look(0),
            JobState::Submitted { .. } | JobState::Queued { .. } | JobState::Running { .. } if stopping => {
                self.recall(0);
            }
            JobState::Submitted { .. } | JobState::Queued { .. } | JobState::Running { .. } => self.poll(0),
            JobState::Fetching { .. } if self.next.cancel.is_some() => {
                let hold = self.hold();
                self.end_cancelled(hold);
            }
            JobState::Fetching { .. } => self.fetch(0),
            // These are journaled in one batch with what follows them.
            JobState::Verified { .. }
            | JobState::Done
            | JobState::Failed { .. }
            | JobState::Cancelled
            | JobState::Lost { .. } => {
                let reason = Reason::Failed("its record was cut short".to_owned());
                self.turn(reason);
            }
        }
    }

    /// A person wants it ended.
    pub(super) fn stop(&mut self) {
        if matches!(self.next.state, JobState::Submitting { .. }) {
            if self.memo.awaiting && self.now_ms >= self.memo.starts_ms {
                // The call may have arrived already: its answer says more than another question.
                return;
            }
            self.memo.failures = 0;
            return self.look(0);
        }
        self.memo.failures = 0;
        self.go_on();
    }

    /// What is held for the present job.
    pub(super) fn hold(&self) -> Amount {
        self.next.candidate().map_or(Amount::NONE, |one| one.hold)
    }

    fn settle(&mut self, spent: Amount) {
        if let Some(key) = self.next.key.clone() {
            self.emit(JobEvent::Settled { key, spent });
        }
    }

    /// Asks for the budget at the present backend, or at the first one after it that can take the job.
    pub(super) fn ask_next(&mut self) {
        loop {
            if self.next.end.is_some() {
                return;
            }
            if self.late() {
                return self.emit(JobEvent::FellBack { reason: Reason::Deadline });
            }
            let Some(candidate) = self.next.candidate().cloned() else {
                // An empty chain: nobody was ever to be asked.
                return self.emit(JobEvent::FellBack { reason: Reason::Unfit("no backend is named".into()) });
            };
            match candidate.unfit {
                Some(why) => self.emit(JobEvent::FellBack { reason: Reason::Unfit(why) }),
                None => {
                    let (call, key) = (self.number(0), self.next.next_key());
                    let hold = candidate.hold;
                    let backend = candidate.backend;
                    self.command = Some(Command::Hold { call, backend, key, hold });
                    return;
                }
            }
        }
    }

    /// The job came to nothing over there or here: once more under a new key, or the next backend.
    pub(super) fn turn(&mut self, reason: Reason) {
        let again = matches!(reason, Reason::Failed(_) | Reason::Wrong(_) | Reason::CancelledThere);
        if again && self.next.tries + 1 < TRIES_MAX && !self.late() {
            self.emit(JobEvent::Again { reason });
        } else {
            self.emit(JobEvent::FellBack { reason });
        }
        let fresh =
            super::Memo { call: self.memo.call, recovered_ms: self.memo.recovered_ms, ..Default::default() };
        self.memo = fresh;
        self.ask_next();
    }

    /// The job certainly does not exist over there.
    pub(super) fn leave_unsubmitted(&mut self, reason: Reason) {
        if matches!(self.next.state, JobState::Submitting { .. }) {
            self.emit(JobEvent::NotSubmitted);
        }
        if self.next.cancel.is_some() {
            return self.end_cancelled(Amount::NONE);
        }
        self.emit(JobEvent::Failed { message: reason.to_string() });
        self.settle(Amount::NONE);
        self.turn(reason);
    }

    /// The job has ended over there without a result. What it took is not known: all that was held counts.
    pub(super) fn leave_ended(&mut self, reason: Reason) {
        let hold = self.hold();
        if self.next.cancel.is_some() {
            return self.end_cancelled(hold);
        }
        self.emit(JobEvent::Failed { message: reason.to_string() });
        self.settle(hold);
        self.turn(reason);
    }

    /// The job may run and cost and cannot be reached.
    pub(super) fn leave_lost(&mut self, why: String) {
        self.emit(JobEvent::Lost);
        let hold = self.hold();
        self.settle(hold);
        if self.next.end.is_none() {
            self.turn(Reason::Lost(why));
        }
    }

    pub(super) fn end_cancelled(&mut self, spent: Amount) {
        self.settle(spent);
        self.emit(JobEvent::Cancelled);
    }
}
