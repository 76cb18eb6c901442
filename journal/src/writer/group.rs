//! Batches that become durable together: what each must satisfy to come in, and how all of them are answered.
//!
//! Rule: a batch is judged against the durable journal and what stands before it in its group, so nobody in a group
//! that did not become durable is told of a conflict with it.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::Writer;
use super::room::Room;
use crate::frame::{self, ChainState, FrameKind};
use crate::index::Known;
use crate::journal::{AppendError, Appended};
use crate::mutants::{Mutant, on};
use crate::queue::Append;
use crate::record::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, NAME_BYTES_MAX, NewRecord, Position, SNAPSHOTS_STREAM,
};

/// One write takes at most about this much; a larger group is split. Keeps an fdatasync near 10 ms.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

type StreamAndBytes = (String, usize);

type Answer = (oneshot::Sender<Result<Appended, AppendError>>, Result<Appended, AppendError>);

/// Batches that become durable together.
#[derive(Default)]
pub(super) struct Group {
    pub bytes: Vec<u8>,
    /// What enters the index: per batch its first position, its place in `bytes`, and per record its stream
    /// and size.
    pub frames: Vec<(Position, usize, Vec<StreamAndBytes>)>,
    pub chain: Option<ChainState>,
    /// Stream lengths with what is in the group.
    pub lengths: BTreeMap<String, u64>,
    pub answers: Vec<Answer>,
    pub records: u64,
}

impl Writer {
    /// Puts a batch into the group, or notes why not.
    pub(super) fn take(&mut self, append: Append, own: bool, group: &mut Group) {
        let Append { batch, time_ms, incarnation, urgent, reply } = append;
        if let Err(error) = self.check(&batch, incarnation, own) {
            group.answers.push((reply, Err(error)));
            return;
        }
        let bytes = frame::HEADER_BYTES + frame::padded(batch.iter().map(frame::record_bytes).sum());
        if group.bytes.len() + bytes > GROUP_BYTES_MAX {
            self.commit(group);
        }
        if let Room::No(error) = self.make_room(bytes as u64, urgent, group) {
            group.answers.push((reply, Err(error)));
            return;
        }
        let sequences = match self.sequences(&batch, group) {
            Ok(sequences) => sequences,
            Err(error) => {
                group.answers.push((reply, Err(error)));
                return;
            }
        };
        let before = group.chain.unwrap_or(self.chain);
        let first = before.position + 1;
        let positions = (first..first + batch.len() as u64).collect();
        if !batch.is_empty() {
            let at = group.bytes.len();
            let before = ChainState {
                time_ms: before.time_ms.max(time_ms),
                incarnation: self.chain.incarnation,
                ..before
            };
            let after = frame::build(
                &mut group.bytes,
                FrameKind::Records,
                &batch,
                &sequences,
                self.chain.position,
                &before,
            );
            group.chain = Some(after);
            group.records += batch.len() as u64;
            for (record, sequence) in batch.iter().zip(&sequences) {
                group.lengths.insert(record.stream.clone(), *sequence);
            }
            let streams = batch
                .into_iter()
                .map(|record| (frame::record_bytes(&record), record))
                .map(|(bytes, record)| (record.stream, bytes))
                .collect();
            group.frames.push((first, at, streams));
        }
        let time_ms = before.time_ms.max(time_ms);
        group.answers.push((reply, Ok(Appended { positions, time_ms })));
    }

    fn check(&self, batch: &[NewRecord], incarnation: u64, own: bool) -> Result<(), AppendError> {
        if let Some(why) = &self.poisoned {
            return Err(AppendError::Poisoned { why: why.clone() });
        }
        let current = self.chain.incarnation;
        if incarnation != current && !on(Mutant::StaleWriterAccepted) {
            return Err(AppendError::StaleWriter { given: incarnation, current });
        }
        too_large("records in one batch", batch.len(), BATCH_RECORDS_MAX)?;
        let mut total = 0;
        for record in batch {
            if record.stream == SNAPSHOTS_STREAM && !own {
                return Err(AppendError::ReservedStream { stream: record.stream.clone() });
            }
            for name in [&record.stream, &record.kind, &record.principal, &record.role] {
                too_large("bytes of a name", name.len(), NAME_BYTES_MAX)?;
            }
            let payload_max = self.options.record_bytes_max;
            too_large("bytes of a payload", record.payload.len(), payload_max)?;
            total += frame::record_bytes(record);
        }
        too_large("bytes of a batch", total, BATCH_BYTES_MAX)
    }

    /// Places of the batch's records in their streams, if they are where the caller believes them to be.
    fn sequences(&self, batch: &[NewRecord], group: &Group) -> Result<Vec<u64>, AppendError> {
        let view = self.shared.view();
        let mut own: BTreeMap<&str, u64> = BTreeMap::new();
        let mut sequences = Vec::with_capacity(batch.len());
        for record in batch {
            let stream = record.stream.as_str();
            let actual = match own.get(stream).or_else(|| group.lengths.get(stream)) {
                Some(length) => *length,
                None => match view.index.known_to_append(stream) {
                    Known::Holds(length) => length,
                    Known::Retired if on(Mutant::RetiredStreamReopened) => 0,
                    Known::Retired => return Err(AppendError::Retired { stream: record.stream.clone() }),
                },
            };
            if let Some(expected) = record.expected_seq
                && expected != actual
                && !on(Mutant::ConflictIgnored)
            {
                return Err(AppendError::Conflict { stream: record.stream.clone(), expected, actual });
            }
            own.insert(stream, actual + 1);
            sequences.push(actual + 1);
        }
        Ok(sequences)
    }
}

fn too_large(what: &'static str, given: usize, max: usize) -> Result<(), AppendError> {
    if given > max {
        return Err(AppendError::TooLarge { what, given, max });
    }
    Ok(())
}

pub(super) fn answer(answers: Vec<Answer>) {
    for (reply, answer) in answers {
        // Whoever no longer waits has given up the answer, not the batch.
        let _ = reply.send(answer);
    }
}

/// Answers a group that did not become durable. Conflicts in it were judged against records that do not
/// exist now, so they get the same answer.
pub(super) fn refuse(answers: Vec<Answer>, error: &AppendError) {
    for (reply, answer) in answers {
        let _ = reply.send(match answer {
            Ok(_) | Err(AppendError::Conflict { .. }) => Err(error.clone()),
            Err(other) => Err(other),
        });
    }
}
