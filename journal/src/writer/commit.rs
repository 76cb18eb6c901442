//! One write, one fdatasync, and then the answers; or the poison that keeps everybody from one.
//!
//! Rule: the order is write, sync, head mark, index, answer. "No space" takes the bytes back, any other failure
//! poisons. Start at [`Writer::commit`].

use std::io;
use std::sync::atomic::Ordering;

use super::Writer;
use super::group::{Group, answer, refuse};
use crate::disk::is_full;
use crate::journal::AppendError;
use crate::mutants::{Mutant, on};
use crate::record::Head;
use crate::segment::segment_name;

impl Writer {
    /// Writes and syncs the group and answers everyone in it.
    pub(super) fn commit(&mut self, group: &mut Group) {
        let group = std::mem::take(group);
        let Some(chain) = group.chain else {
            answer(group.answers);
            return;
        };
        let mut group = group;
        if on(Mutant::AnsweredBeforeSync) {
            answer(std::mem::take(&mut group.answers));
        }
        let tail = self.segment.tail;
        let permitted = crate::failpoint_io!("journal.before-write");
        if let Err(error) = permitted.and_then(|()| self.segment.file.write_at(tail, &group.bytes)) {
            let error = if is_full(&error) {
                self.take_back(group.bytes.len() as u64)
            } else {
                self.poison("writing", &error)
            };
            refuse(group.answers, &error);
            return;
        }
        crate::failpoint!("journal.after-write");
        let sync =
            || crate::failpoint_io!("journal.before-sync").and_then(|()| self.segment.file.sync_data());
        let mut synced = if on(Mutant::SyncSkipped) { Ok(()) } else { sync() };
        if synced.is_err() && on(Mutant::SyncRetried) {
            synced = self.segment.file.sync_data();
        }
        if let Err(error) = synced {
            let error = self.poison("fdatasync", &error);
            refuse(group.answers, &error);
            return;
        }
        crate::failpoint!("journal.after-sync");
        self.chain = chain;
        self.segment.tail = tail + group.bytes.len() as u64;
        let head = Head { position: chain.position, hash: chain.hash };
        // Before the answers: what was acknowledged must never look like an unfinished write.
        crate::failpoint!("journal.before-mark");
        if let Err(error) = self.mark.write(head, chain.incarnation, 0) {
            tracing::warn!(%error, "The head mark could not be written; it stays older than the journal.");
        }
        crate::failpoint!("journal.after-mark");
        self.shared.count(group.frames.len() as u64, group.records, group.bytes.len() as u64);
        self.shared.full.store(false, Ordering::Relaxed);
        {
            let mut view = self.shared.view_mut();
            for (first, at, streams) in &group.frames {
                view.index.add_frame(*first, tail + *at as u64);
                for (position, (stream, bytes)) in (*first..).zip(streams) {
                    view.index.add_record(stream, position, *bytes, position == *first);
                }
            }
            view.segment_end = self.segment.tail;
            view.head = head;
            view.time_ms = chain.time_ms;
        }
        crate::failpoint!("journal.before-answer");
        answer(group.answers);
        crate::failpoint!("journal.after-answer");
        self.shared.changed.send_replace(head.position);
    }

    /// Removes a half-written group after "no space".
    fn take_back(&mut self, wanted_bytes: u64) -> AppendError {
        self.shared.full.store(true, Ordering::Relaxed);
        if let Err(error) = self.segment.file.set_len(self.segment.tail) {
            return self.poison("taking back a half-written batch", &error);
        }
        self.segment.allocated = self.segment.tail;
        if self.segment.file.preallocate(self.segment.target).is_ok() {
            self.segment.allocated = self.segment.target;
        }
        AppendError::DiskFull { wanted_bytes, free_bytes: self.disk.free_bytes().unwrap_or(0) }
    }

    pub(super) fn poison(&mut self, doing: &str, error: &io::Error) -> AppendError {
        let why = format!(
            "{doing} in {} failed: {error}; nothing is acknowledged until the journal is recovered",
            segment_name(self.segment.number)
        );
        tracing::error!(why, "The journal is poisoned.");
        let head = Head { position: self.chain.position, hash: self.chain.hash };
        // A restart must know too, as long as the page cache lives; after a power loss there is nothing to know.
        if let Err(error) = self.mark.write(head, self.chain.incarnation, self.segment.number) {
            tracing::error!(%error, "The head mark could not note the failure.");
        }
        crate::failpoint!("journal.poisoned");
        self.shared.set_poisoned(Some(why.clone()));
        self.poisoned = Some(why.clone());
        AppendError::Poisoned { why }
    }
}
