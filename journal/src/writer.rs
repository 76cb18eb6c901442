//! The one thread that writes: drain the queue, one write, one fdatasync, answer all.
//!
//! Rule: nobody is answered `Ok` and nothing enters the index before fdatasync has returned. After any
//! failed write or sync the writer is poisoned: it acknowledges nothing until `recover` has cut back to
//! the last acknowledged frame and gone on in a new segment, because the page cache may show what the
//! disk does not hold. "No space" alone poisons nothing: the unfinished bytes are taken back and the
//! callers are told.
//!
//! Invariant: `chain` and `segment.tail` always describe the durable end.

mod commit;
mod compacting;
mod group;
mod room;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::{Disk, DiskFile};
use crate::frame::ChainState;
use crate::journal::{Options, Shared};
use crate::mark::MarkFile;
use crate::queue::Request;
use crate::record::{ChainHash, Position};
use group::Group;
pub(crate) use room::set_aside;

/// Part of the last commit's time that the writer spends at most on waiting for the callers of that commit.
const GATHER_SHARE: u32 = 4;

/// And never longer than this, however slow the disk is.
const GATHER_MAX: Duration = Duration::from_millis(1);

pub(crate) struct Writer {
    pub disk: Arc<dyn Disk>,
    pub options: Options,
    pub shared: Arc<Shared>,
    pub segment: Segment,
    pub chain: ChainState,
    pub mark: MarkFile,
    pub poisoned: Option<String>,
    /// Number of the next segment.
    pub next_number: u64,
    /// Format of segments from here on.
    pub format: u16,
}

/// The segment that is written to.
pub(crate) struct Segment {
    pub number: u64,
    /// Position of its first record, and the chain hash before it.
    pub first: Position,
    pub before: ChainHash,
    /// Of the writer that made it.
    pub incarnation: u64,
    pub file: Arc<dyn DiskFile>,
    /// End of the last durable frame.
    pub tail: u64,
    /// End of the space that is reserved on disk.
    pub allocated: u64,
    /// Length that this segment should have.
    pub target: u64,
}

impl Writer {
    pub fn run(mut self) {
        let (mut together, mut patience) = (0, Duration::ZERO);
        while self.shared.queue.wait() {
            // A short wait for one more is repaid by the sync that it saves; what is there is made ready
            // meanwhile.
            let deadline = Instant::now() + patience;
            let mut group = Group::default();
            let mut taken = 0;
            loop {
                let requests = self.shared.queue.drain();
                taken += requests.len();
                self.work(requests, &mut group);
                if taken >= together || !self.shared.queue.more(deadline) {
                    break;
                }
            }
            let begun = Instant::now();
            self.commit(&mut group);
            // Whoever was answered just now may come again, beside those who came meanwhile. Without them two
            // halves of the callers would take turns for ever.
            together = taken + self.shared.queue.waiting();
            patience = (begun.elapsed() / GATHER_SHARE).min(GATHER_MAX);
        }
        if self.poisoned.is_none()
            && let Err(error) = self.mark.sync()
        {
            tracing::warn!(%error, "The head mark could not be synced at closing.");
        }
    }

    /// Works off what waits now; a simulation's turn of the thread.
    #[cfg(test)]
    pub fn step(&mut self) {
        let requests = self.shared.queue.drain();
        let mut group = Group::default();
        self.work(requests, &mut group);
        self.commit(&mut group);
    }

    /// Puts appends into the group; everything else is done at once, after what stands before it.
    fn work(&mut self, requests: VecDeque<Request>, group: &mut Group) {
        for request in requests {
            match request {
                Request::Append(append) => self.take(append, false, group),
                Request::Recover(reply) => {
                    self.commit(group);
                    let _ = reply.send(self.recover());
                }
                Request::BeginCompaction { streams, reply } => {
                    self.commit(group);
                    let _ = reply.send(self.begin_compaction(streams));
                }
                Request::FinishCompaction(finish) => {
                    self.commit(group);
                    self.finish_compaction(finish);
                }
                Request::GiveUpCompaction => self.shared.view_mut().index.stop_retiring(),
            }
        }
    }
}
