//! What each answer leads to, and the calls it asks for.

use super::waits::ARRIVAL_MS;
use super::{Answer, Command, FETCHES_MAX, Refusal, SUBMITS_MAX, Step};
use crate::backends::{
    Amount, BackendError, Cancelled, JobEvent, JobId, JobKey, JobResult, JobState, Poll, Reason,
};

impl Step {
    pub(super) fn answered(&mut self, answer: Answer) -> Result<(), Refusal> {
        let state = self.next.state.clone();
        match (state, answer) {
            (JobState::Planned, Answer::Held) => self.held(),
            (JobState::Planned, Answer::NotHeld(reason)) => {
                self.emit(JobEvent::FellBack { reason });
                self.ask_next();
            }
            (JobState::Reserved, Answer::Waited) => self.submit(),
            (JobState::Submitting { .. }, Answer::Submitted(answer)) => self.submitted(answer),
            (JobState::Submitting { .. }, Answer::Found(answer)) => self.found(answer),
            (JobState::Fetching { .. }, Answer::Fetched(answer)) => self.fetched(answer),
            (state, Answer::Polled(answer)) if waits_there(&state) => self.polled(answer),
            (state, Answer::Cancelled(answer)) if waits_there(&state) => self.recall_answered(answer),
            _ => return Err(Refusal::Unexpected),
        }
        Ok(())
    }

    fn held(&mut self) {
        let (key, hold) = (self.next.next_key(), self.hold());
        self.emit(JobEvent::Held { key, hold });
        self.submit();
    }

    /// Hands the job over: the key is written down first.
    pub(super) fn submit(&mut self) {
        let Some(key) = self.next.key.clone() else { return };
        if self.late() {
            return self.leave_unsubmitted(Reason::Deadline);
        }
        self.emit(JobEvent::Submitting { key: key.clone() });
        self.call_submit(key, 0);
    }

    fn call_submit(&mut self, key: JobKey, after_ms: u64) {
        let Some(backend) = self.backend() else { return };
        let call = self.number(after_ms);
        self.memo.quiet_from_ms = self.memo.starts_ms;
        self.command = Some(Command::Submit { call, after_ms, backend, key });
    }

    fn submitted(&mut self, answer: Result<JobId, BackendError>) {
        self.memo.quiet_from_ms = self.now_ms;
        match answer {
            Ok(id) => self.known(id),
            // Said of this call; an earlier one under the same key may have arrived all the same.
            Err(error) if self.memo.may_arrive => self.look_again(&error),
            Err(BackendError::Permanent { message, .. }) => self.leave_unsubmitted(Reason::Refused(message)),
            Err(error @ BackendError::Transient { .. }) => {
                self.memo.failures += 1;
                self.not_taken(&error.to_string(), Some(&error));
            }
            Err(error @ BackendError::Ambiguous { .. }) => {
                self.memo.may_arrive = true;
                self.look_again(&error);
            }
        }
    }

    /// Nothing arrived: another call later under the same key, or somebody else.
    fn not_taken(&mut self, last: &str, error: Option<&BackendError>) {
        let calls = self.memo.failures;
        let waited = self.now_ms >= self.next.queue_deadline_ms();
        if self.late() {
            return self.leave_unsubmitted(Reason::Deadline);
        }
        if self.next.cancel.is_some() || calls >= SUBMITS_MAX || waited {
            return self.leave_unsubmitted(Reason::Unavailable { calls, last: last.to_owned() });
        }
        self.emit(JobEvent::NotSubmitted);
        let after_ms = self.backoff(error);
        let call = self.number(after_ms);
        self.command = Some(Command::Wait { call, after_ms });
    }

    fn look_again(&mut self, error: &BackendError) {
        if self.looked_long_enough() {
            return self.leave_lost(error.to_string());
        }
        let after_ms = self.backoff(Some(error));
        self.memo.failures += 1;
        self.look(after_ms);
    }

    /// Finds out whether the submission arrived: by the key, else by handing it over again where that is
    /// harmless, else not at all.
    pub(super) fn look(&mut self, after_ms: u64) {
        let (Some(key), Some(candidate)) = (self.next.key.clone(), self.next.candidate().cloned()) else {
            return;
        };
        self.memo.may_arrive = true;
        if candidate.find {
            let call = self.number(after_ms);
            let backend = candidate.backend;
            self.command = Some(Command::Find { call, after_ms, backend, key });
        } else if candidate.idempotent {
            self.call_submit(key, after_ms);
        } else {
            self.leave_lost(
                "no answer came, and this backend can neither look up a key nor repeat one".into(),
            );
        }
    }

    fn found(&mut self, answer: Result<Option<JobId>, BackendError>) {
        match answer {
            Ok(Some(id)) => self.known(id),
            Ok(None) => self.not_found(),
            Err(BackendError::Permanent { message, .. }) => {
                let key = self.next.key.clone();
                match (self.next.candidate().is_some_and(|one| one.idempotent), key) {
                    (true, Some(key)) if !self.looked_long_enough() => {
                        let after_ms = self.backoff(None);
                        self.memo.failures += 1;
                        self.call_submit(key, after_ms);
                    }
                    _ => self.leave_lost(message),
                }
            }
            Err(error) => self.look_again(&error),
        }
    }

    fn not_found(&mut self) {
        let sure_at = self.memo.quiet_from_ms.saturating_add(ARRIVAL_MS);
        let sure = self.now_ms >= sure_at;
        let idempotent = self.next.candidate().is_some_and(|one| one.idempotent);
        let over = self.next.cancel.is_some() || self.late() || self.memo.failures >= SUBMITS_MAX;
        if sure {
            // No request is on its way any more, and none arrived.
            self.memo.may_arrive = false;
            self.memo.failures += 1;
            return self.not_taken("no answer came and no job was found", None);
        }
        match (idempotent && !over, self.next.key.clone()) {
            (true, Some(key)) => {
                let after_ms = self.backoff(None);
                self.memo.failures += 1;
                self.call_submit(key, after_ms);
            }
            _ => self.look(sure_at.saturating_sub(self.now_ms)),
        }
    }

    fn known(&mut self, id: JobId) {
        self.emit(JobEvent::Submitted { id });
        (self.memo.failures, self.memo.polls, self.memo.may_arrive) = (0, 0, false);
        if self.next.cancel.is_some() {
            return self.recall(0);
        }
        let after_ms = self.poll_pause(None);
        self.poll(after_ms);
    }

    pub(super) fn poll(&mut self, after_ms: u64) {
        let (Some(backend), Some(id)) = (self.backend(), self.next.state.id().cloned()) else { return };
        let call = self.number(after_ms);
        self.command = Some(Command::Poll { call, after_ms, backend, id });
    }

    fn polled(&mut self, answer: Result<Poll, BackendError>) {
        let poll = match answer {
            Ok(poll) => poll,
            Err(BackendError::Permanent { message, .. }) => return self.leave_lost(message),
            Err(error) => return self.unanswered(&error),
        };
        self.memo.polls += 1;
        let stopping = self.next.cancel.is_some() || self.next.recalled.is_some();
        let wait_ms = match poll {
            Poll::Succeeded if self.next.cancel.is_some() => return self.leave_ended(Reason::CancelledThere),
            Poll::Succeeded => {
                self.emit(JobEvent::Fetching);
                self.memo.failures = 0;
                return self.fetch(0);
            }
            Poll::Failed { message } => return self.leave_ended(Reason::Failed(message)),
            Poll::Cancelled => {
                let reason = self.next.recalled.clone().unwrap_or(Reason::CancelledThere);
                return self.leave_ended(reason);
            }
            // Its new state does not matter any more, only its end.
            _ if stopping => return self.recall_again(None),
            Poll::Queued { wait_ms, .. } => {
                if !matches!(self.next.state, JobState::Queued { .. }) {
                    self.emit(JobEvent::Queued);
                }
                wait_ms
            }
            Poll::Running => {
                if !matches!(self.next.state, JobState::Running { .. }) {
                    self.emit(JobEvent::Running);
                }
                None
            }
            Poll::Unknown { .. } => None,
        };
        self.memo.failures = 0;
        if self.overdue(0) {
            return;
        }
        let after_ms = self.poll_pause(wait_ms);
        self.poll(after_ms);
    }

    fn unanswered(&mut self, error: &BackendError) {
        if self.next.cancel.is_some() || self.next.recalled.is_some() {
            return self.recall_again(Some(error));
        }
        let after_ms = self.backoff(Some(error));
        if self.overdue(after_ms) {
            return;
        }
        self.memo.failures += 1;
        self.poll(after_ms);
    }

    /// Recalls a job that waits or runs too long.
    fn overdue(&mut self, after_ms: u64) -> bool {
        let queue_ms = self.next.candidate().map_or(0, |one| one.queue_ms);
        let waiting = !matches!(self.next.state, JobState::Running { .. });
        let reason = if self.late() {
            Reason::Deadline
        } else if waiting && self.now_ms >= self.next.queue_deadline_ms() {
            Reason::Queue { queue_ms }
        } else {
            return false;
        };
        self.emit(JobEvent::Recalled { reason });
        self.memo.failures = 0;
        self.recall(after_ms);
        true
    }

    pub(super) fn recall(&mut self, after_ms: u64) {
        let (Some(backend), Some(id)) = (self.backend(), self.next.state.id().cloned()) else { return };
        let call = self.number(after_ms);
        self.command = Some(Command::Cancel { call, after_ms, backend, id });
    }

    fn recall_again(&mut self, error: Option<&BackendError>) {
        if self.waited_long_enough() {
            return self.leave_lost("its end was asked for and never confirmed".to_owned());
        }
        let after_ms = self.backoff(error);
        self.memo.failures += 1;
        self.recall(after_ms);
    }

    fn recall_answered(&mut self, answer: Result<Cancelled, BackendError>) {
        match answer {
            Ok(Cancelled::Yes) => {
                let reason = self.next.recalled.clone().unwrap_or(Reason::CancelledThere);
                self.leave_ended(reason);
            }
            Ok(Cancelled::AlreadyEnded) => {
                if self.waited_long_enough() {
                    return self.leave_lost("it is said to have ended and never shows it".to_owned());
                }
                let after_ms = self.poll_pause(None);
                self.poll(after_ms);
            }
            Ok(Cancelled::NotPossible) => self.leave_lost("it cannot be cancelled any more".to_owned()),
            Err(BackendError::Permanent { message, .. }) => self.leave_lost(message),
            // It may have been cancelled: a poll says so.
            Err(error) => {
                if self.waited_long_enough() {
                    return self.leave_lost(error.to_string());
                }
                let after_ms = self.backoff(Some(&error));
                self.memo.failures += 1;
                self.poll(after_ms);
            }
        }
    }

    pub(super) fn fetch(&mut self, after_ms: u64) {
        let (Some(backend), Some(id)) = (self.backend(), self.next.state.id().cloned()) else { return };
        let call = self.number(after_ms);
        self.command = Some(Command::Fetch { call, after_ms, backend, id });
    }

    fn fetched(&mut self, answer: Result<(JobResult, String), BackendError>) {
        let (result, digest) = match answer {
            Ok(fetched) => fetched,
            Err(BackendError::Permanent { message, .. }) => {
                return self.leave_ended(Reason::Wrong(format!("it cannot be fetched: {message}")));
            }
            Err(error) if self.waited_long_enough() => {
                let (calls, last) = (self.memo.failures, format!("its result could not be fetched: {error}"));
                return self.leave_ended(Reason::Unavailable { calls, last });
            }
            Err(error) => {
                let after_ms = self.backoff(Some(&error));
                self.memo.failures += 1;
                return self.fetch(after_ms);
            }
        };
        if let Err(error) = result.verify_for(self.next.wanted.shots, self.next.wanted.outcomes) {
            self.memo.fetches += 1;
            if self.memo.fetches >= FETCHES_MAX {
                return self.leave_ended(Reason::Wrong(error.to_string()));
            }
            let after_ms = self.backoff(None);
            self.memo.failures += 1;
            return self.fetch(after_ms);
        }
        let hold = self.hold();
        let spent = Amount {
            shots: u64::from(self.next.wanted.shots),
            qpu_ms: result.qpu_ms.unwrap_or(hold.qpu_ms),
            micro_usd: result.cost_micro_usd.unwrap_or(hold.micro_usd),
        };
        self.emit(JobEvent::Verified);
        self.emit(JobEvent::Kept { digest });
        if let Some(key) = self.next.key.clone() {
            self.emit(JobEvent::Settled { key, spent });
        }
        self.emit(JobEvent::Done);
    }

    fn backend(&self) -> Option<String> {
        self.next.candidate().map(|one| one.backend.clone())
    }
}

const fn waits_there(state: &JobState) -> bool {
    matches!(state, JobState::Submitted { .. } | JobState::Queued { .. } | JobState::Running { .. })
}
