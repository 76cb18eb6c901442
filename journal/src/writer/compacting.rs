//! The writer's part in a compaction: the line up to which a snapshot speaks, and its confirmation in the chain.
//!
//! Rule: the snapshot is the truth only when the record that confirms it is durable.

use std::io;

use tokio::sync::oneshot;

use super::Writer;
use super::group::Group;
use crate::compaction::{Begun, CompactError};
use crate::disk::is_full;
use crate::index::Weighed;
use crate::journal::AppendError;
use crate::queue::{Append, Finish};
use crate::segment::FORMAT_SNAPSHOT;

impl Writer {
    /// Draws the line up to which a snapshot will speak, and lets nothing more into the streams that it
    /// will leave out.
    pub(super) fn begin_compaction(&mut self, streams: Vec<Weighed>) -> Result<Begun, CompactError> {
        if let Some(why) = &self.poisoned {
            return Err(CompactError::Poisoned { why: why.clone() });
        }
        // Programs that know nothing of snapshots must refuse what follows one.
        // What stands in the snapshot must not be newer than the header of the segment behind it.
        let fresh = self.segment.first == self.chain.position + 1
            && self.segment.incarnation == self.chain.incarnation
            && self.format == FORMAT_SNAPSHOT;
        if !fresh {
            let rotated = self.rotate(self.options.reserve_bytes, self.chain.incarnation, FORMAT_SNAPSHOT);
            if let Err(error) = rotated {
                if is_full(&error) {
                    return Err(CompactError::DiskFull { free_bytes: self.disk.free_bytes().unwrap_or(0) });
                }
                let AppendError::Poisoned { why } = self.poison("making a new segment", &error) else {
                    return Err(CompactError::Io { doing: "making a new segment".into(), source: error });
                };
                return Err(CompactError::Poisoned { why });
            }
        }
        let mut view = self.shared.view_mut();
        let streams = view.index.begin_retiring(streams);
        Ok(Begun { number: self.segment.number, state: self.chain, streams })
    }

    /// Puts the snapshot into the chain; from then on it is the truth.
    pub(super) fn finish_compaction(&mut self, finish: Finish) {
        let Finish { confirmation, number, files, time_ms, reply } = finish;
        let (sender, mut appended) = oneshot::channel();
        let append = Append {
            batch: vec![confirmation],
            time_ms,
            incarnation: self.chain.incarnation,
            // Compacting is how a full disk gets room, so it may use the reserve.
            urgent: true,
            reply: sender,
        };
        let mut group = Group::default();
        self.take(append, true, &mut group);
        self.commit(&mut group);
        let answer = appended.try_recv().unwrap_or(Err(AppendError::Closed));
        let mut view = self.shared.view_mut();
        let answer = match answer {
            Ok(appended) => {
                view.index.replace_older(number, files);
                Ok(appended.positions.first().copied().unwrap_or(0))
            }
            Err(error) => {
                view.index.stop_retiring();
                Err(match error {
                    AppendError::Poisoned { why } => CompactError::Poisoned { why },
                    AppendError::DiskFull { free_bytes, .. } => CompactError::DiskFull { free_bytes },
                    other => CompactError::Io {
                        doing: "recording the snapshot".into(),
                        source: io::Error::other(other.to_string()),
                    },
                })
            }
        };
        drop(view);
        let _ = reply.send(answer);
    }
}
