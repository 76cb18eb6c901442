//! The index that comes of reading a journal, and the sidecars of its sealed files.
//!
//! Rule: opening and verifying make both here, so what one writes the other expects to the byte. Absent: whether a
//! record may stand where it stands; opening asks the index for that, verifying follows the streams itself.

use crate::frame::{FrameFault, RecordView};
use crate::index::Index;
use crate::record::{Position, SNAPSHOTS_STREAM};
use crate::sidecar::{SidecarHead, encode, sidecar_name};

/// What has been read so far.
#[derive(Default)]
pub(crate) struct Indexing {
    pub index: Index,
    /// Offset of the frame that the last record stood in.
    frame: Option<u64>,
    /// Sidecars of the sealed files, by their names.
    pub sidecars: Vec<(String, Vec<u8>)>,
}

impl Indexing {
    pub fn segment(&mut self, number: u64, name: &str, first: Position) {
        self.frame = None;
        self.index.add_segment(number, name.to_owned(), None, first);
    }

    pub fn snapshot(&mut self, number: u64, name: &str) {
        self.frame = None;
        self.index.add_snapshot(number, name.to_owned());
    }

    /// A record in the frame at `offset` of the file that was named last.
    pub fn record(&mut self, offset: u64, view: &RecordView<'_>) {
        let opens = self.frame != Some(offset);
        if opens {
            self.index.add_frame(view.position, offset);
            self.frame = Some(offset);
        }
        self.index.add_record(view.stream, view.position, view.raw.len(), opens);
    }

    /// Makes the sidecar of the file that has just been read to its end.
    pub fn sealed(&mut self, name: &str, mut head: SidecarHead) {
        (head.last_frame, head.own_frame) = self.index.newest_frames(SNAPSHOTS_STREAM);
        let retired = if head.bytes > 0 { self.index.retired() } else { &[] };
        self.sidecars.push((sidecar_name(name), encode(&head, &self.index, retired)));
    }
}

/// A record that is not the next of its stream, which holds `length`.
pub(crate) fn out_of_turn(view: &RecordView<'_>, length: u64) -> FrameFault {
    FrameFault::StreamBroken(format!(
        "`{}` has {length} records, but this one says it is number {}",
        view.stream, view.stream_seq
    ))
}

/// A record of a stream that takes none any more.
pub(crate) fn retired_before(view: &RecordView<'_>) -> FrameFault {
    FrameFault::StreamBroken(format!("`{}` was retired before", view.stream))
}
