//! How long to wait before the next call, and how long at all.

use super::Step;
use crate::backends::BackendError;

/// Shortest and longest pause between two polls of one job.
pub const POLL_MS_MIN: u64 = 1_000;
pub const POLL_MS_MAX: u64 = 60_000;
/// A request that a backend has not seen by then has not arrived: twice the longest wait for a reply.
pub const ARRIVAL_MS: u64 = 60_000;
/// How long a submission is looked for beyond its queue deadline before it counts as lost.
pub const RESOLVE_MS_MAX: u64 = 600_000;
/// How long the end of a recalled job is waited for before it counts as lost.
pub const RECALL_MS_MAX: u64 = 600_000;
/// A backend that wants to be left alone longer than this is asked again all the same.
const ASKED_MS_MAX: u64 = 600_000;
/// The first pause after a failed call; it doubles with each.
const BACKOFF_MS: u64 = 1_000;

impl Step {
    /// Pause before the next poll: half of what the vendor says it takes, else growing by half each time.
    pub(super) fn poll_pause(&self, wait_ms: Option<u64>) -> u64 {
        let grown = (0..self.memo.polls.min(16)).fold(POLL_MS_MIN, |pause, _| pause + pause / 2);
        let pause = wait_ms.map_or(grown, |wait| wait / 2).clamp(POLL_MS_MIN, POLL_MS_MAX);
        // Four fifths to six fifths of it, so that jobs begun together are not polled together.
        let spread = pause * 4 / 5 + self.random % (pause * 2 / 5 + 1);
        self.until_deadline(spread).clamp(POLL_MS_MIN, POLL_MS_MAX)
    }

    /// Pause after a failed call, at least what the backend asks for.
    pub(super) fn backoff(&self, error: Option<&BackendError>) -> u64 {
        let full = (BACKOFF_MS << self.memo.failures.min(6)).min(POLL_MS_MAX);
        let spread = full / 2 + self.random % (full / 2 + 1);
        let asked = match error {
            Some(BackendError::Transient { after_ms: Some(after_ms), .. }) => (*after_ms).min(ASKED_MS_MAX),
            _ => 0,
        };
        // What the backend asks for is kept even beyond a deadline: a call before it would only fail again.
        self.until_deadline(spread).max(POLL_MS_MIN).max(asked)
    }

    fn until_deadline(&self, pause: u64) -> u64 {
        let order = &self.next;
        let left = order.wanted.deadline_ms.saturating_sub(self.now_ms);
        let queue = order.queue_deadline_ms().saturating_sub(self.now_ms);
        [left, queue].into_iter().filter(|left| *left > 0).fold(pause, u64::min)
    }

    /// Whether the order's time is over.
    pub(super) fn late(&self) -> bool {
        self.now_ms >= self.next.wanted.deadline_ms
    }

    /// Whether a submission has been looked for long enough.
    pub(super) fn looked_long_enough(&self) -> bool {
        let from = self.next.queue_deadline_ms().max(self.memo.recovered_ms);
        self.now_ms >= from.saturating_add(RESOLVE_MS_MAX)
    }

    /// Whether the end of a recalled job, or the result of an ended one, was waited for long enough.
    pub(super) fn waited_long_enough(&self) -> bool {
        let from = self.next.since_ms.max(self.memo.recovered_ms);
        self.now_ms >= from.saturating_add(RECALL_MS_MAX)
    }
}

impl super::Order {
    /// When the present job has waited too long in the queue.
    pub(super) fn queue_deadline_ms(&self) -> u64 {
        self.submitted_ms.saturating_add(self.candidate().map_or(0, |one| one.queue_ms))
    }
}
