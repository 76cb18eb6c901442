//! Where every record lies, in memory, rebuilt at every opening.
//!
//! Rule: it holds durable records only, so whoever reads through it never sees what could still vanish.
//!
//! Size: 8 bytes per batch, 1 to 3 bytes per record (distances between a stream's positions as variable
//! length numbers), about 200 bytes and the name per stream, 8 bytes per retired stream: 10,000 runs of 40
//! events take about 7 MB.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::frame::{ALIGNMENT, HEADER_BYTES};
use crate::record::Position;
use crate::sidecar::push_number;
use crate::snapshot::fingerprint;

/// Every so many entries of a stream its position is also kept plainly, so that a seek stays short.
const SEEK_EVERY: u64 = 64;

/// Newest segments whose files stay open. A process may usually have 1,024 files open; sockets and workers
/// need most of them.
const OPEN_FILES_MAX: usize = 32;

/// What is known of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It holds so many records; 0 for one that nobody has begun.
    Holds(u64),
    /// It has been dropped, or is being dropped: nothing may be appended to it any more.
    Retired,
}

#[derive(Default)]
pub(crate) struct Index {
    files: Vec<FileIndex>,
    streams: BTreeMap<Box<str>, StreamIndex>,
    /// Fingerprints of streams whose records are gone, sorted.
    retired: Vec<u64>,
    /// Streams that a compaction is about to drop.
    retiring: BTreeSet<Box<str>>,
    /// Counts the files, so that a stream knows what it had before the newest one.
    turn: u32,
}

/// A segment, a snapshot, or a later part of a snapshot that is too long for 32-bit offsets.
pub(crate) struct FileIndex {
    name: String,
    /// Of a segment its own; of a snapshot that of the first segment behind it.
    number: u64,
    snapshot: bool,
    /// Open for the newest files only.
    file: Option<Arc<dyn DiskFile>>,
    first: Position,
    base: u64,
    /// Per frame: its first position relative to `first`, and its offset relative to `base`.
    frames: Vec<(u32, u32)>,
}

#[derive(Default)]
struct StreamIndex {
    len: u64,
    last: Position,
    /// What it would take in a snapshot.
    bytes: u64,
    /// The newest file that holds records of it, and what it had before that one.
    turn: u32,
    before_len: u64,
    before_bytes: u64,
    /// Distance of each position from the one before.
    steps: Vec<u8>,
    /// For entries 64, 128, ..: the position before it and where its step begins.
    seeks: Vec<(Position, u32)>,
}

/// Where a frame lies.
#[derive(Clone)]
pub(crate) struct FramePlace {
    pub segment: String,
    pub file: Option<Arc<dyn DiskFile>>,
    pub offset: u64,
    /// Its first position.
    pub first: Position,
}

/// A stream and what it takes.
#[derive(Debug, Clone)]
pub(crate) struct Weighed {
    pub stream: Box<str>,
    pub len: u64,
    pub bytes: u64,
}

impl FileIndex {
    fn place(&self, at: usize) -> Option<FramePlace> {
        let (relative, offset) = self.frames.get(at)?;
        Some(FramePlace {
            segment: self.name.clone(),
            file: self.file.clone(),
            offset: self.base + u64::from(*offset),
            first: self.first + u64::from(*relative),
        })
    }

    /// Frames that begin at or before `position`.
    fn until(&self, position: Position) -> usize {
        self.frames.partition_point(|(relative, _)| self.first + u64::from(*relative) <= position)
    }
}

impl Index {
    pub fn add_segment(
        &mut self,
        number: u64,
        name: String,
        file: Option<Arc<dyn DiskFile>>,
        first: Position,
    ) {
        self.add_file(FileIndex { name, number, snapshot: false, file, first, base: 0, frames: Vec::new() });
    }

    pub fn add_snapshot(&mut self, number: u64, name: String) {
        self.add_file(FileIndex {
            name,
            number,
            snapshot: true,
            file: None,
            first: 1,
            base: 0,
            frames: Vec::new(),
        });
    }

    fn add_file(&mut self, file: FileIndex) {
        self.files.push(file);
        self.turn += 1;
        if let Some(old) = self.files.len().checked_sub(OPEN_FILES_MAX + 1) {
            self.files[old].file = None;
        }
    }

    /// Keeps the file of segment `number` open.
    pub fn hold_open(&mut self, number: u64, file: Arc<dyn DiskFile>) {
        if let Some(newest) = self.files.last_mut().filter(|newest| newest.number == number) {
            newest.file = Some(file);
        }
    }

    /// Where the newest file begins.
    pub fn newest_first(&self) -> Position {
        self.files.last().map_or(1, |file| file.first)
    }

    /// How many segment files there are.
    pub fn segments(&self) -> usize {
        self.files.iter().filter(|file| !file.snapshot).count()
    }

    /// Names of the files that hold records, in order, each once.
    pub fn file_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.files.iter().map(|file| file.name.clone()).collect();
        names.dedup();
        names
    }

    /// Notes a frame of the newest file.
    pub fn add_frame(&mut self, first: Position, offset: u64) {
        let Some(file) = self.files.last_mut() else { return };
        if let (Ok(relative), Ok(at)) = (u32::try_from(first - file.first), u32::try_from(offset - file.base))
        {
            file.frames.push((relative, at));
            return;
        }
        // Segments are at most 1 GiB and a record has at least 30 bytes, so only a snapshot comes here.
        let part = FileIndex {
            name: file.name.clone(),
            number: file.number,
            snapshot: file.snapshot,
            file: file.file.clone(),
            first,
            base: offset,
            frames: vec![(0, 0)],
        };
        self.files.push(part);
    }

    /// Notes a record of `bytes` bytes; `opens` says that it is the first of its frame.
    pub fn add_record(&mut self, stream: &str, position: Position, bytes: usize, opens: bool) {
        let turn = self.turn;
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.begin_turn(turn);
            entry.count(position, bytes, opens);
            entry.push(position);
            return;
        }
        let mut entry = StreamIndex { turn, ..StreamIndex::default() };
        entry.count(position, bytes, true);
        entry.push(position);
        self.streams.insert(stream.into(), entry);
    }

    /// Notes what a sidecar says; false if the stream did not hold `before` records until now.
    pub fn add_records(
        &mut self,
        stream: &str,
        before: u64,
        bytes: u64,
        count: u64,
        mut next: impl FnMut() -> Position,
    ) -> bool {
        if self.stream_len(stream) != before {
            return false;
        }
        let turn = self.turn;
        let entry = match self.streams.get_mut(stream) {
            Some(entry) => entry,
            None => self.streams.entry(stream.into()).or_default(),
        };
        entry.begin_turn(turn);
        entry.bytes += bytes;
        for _ in 0..count {
            let position = next();
            if position <= entry.last {
                return false;
            }
            entry.push(position);
        }
        true
    }

    /// Writes what a sidecar keeps of the newest file.
    pub fn write_newest(&self, first: Position, out: &mut Vec<u8>) {
        // A snapshot may have several parts.
        let name = self.files.last().map_or("", |file| file.name.as_str());
        let parts = || self.files.iter().filter(|file| file.name == name);
        push_number(out, parts().map(|file| file.frames.len() as u64).sum());
        let (mut position, mut offset) = (first, 0);
        for place in parts().flat_map(|file| (0..file.frames.len()).filter_map(|at| file.place(at))) {
            push_number(out, place.first - position);
            push_number(out, place.offset - offset);
            (position, offset) = (place.first, place.offset);
        }
        let newest = || self.streams.iter().filter(|(_, entry)| entry.turn == self.turn);
        push_number(out, newest().count() as u64);
        for (name, entry) in newest() {
            push_number(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            push_number(out, entry.before_len);
            push_number(out, entry.bytes - entry.before_bytes);
            push_number(out, entry.len - entry.before_len);
            let mut position = first;
            for next in entry.positions(entry.before_len + 1, usize::MAX) {
                push_number(out, next - position);
                position = next;
            }
        }
    }

    /// Where the newest file's last frame with records begins, and the last one that holds a record of `own`.
    pub fn newest_frames(&self, own: &str) -> (u64, u64) {
        let Some(newest) = self.files.last() else { return (0, 0) };
        let last = newest.frames.len().checked_sub(1).and_then(|at| newest.place(at));
        let own = self
            .streams
            .get(own)
            .filter(|entry| entry.turn == self.turn)
            .and_then(|entry| self.place(entry.last));
        (last.map_or(0, |place| place.offset), own.map_or(0, |place| place.offset))
    }

    pub fn stream_len(&self, stream: &str) -> u64 {
        self.streams.get(stream).map_or(0, |entry| entry.len)
    }

    /// What is known of a stream whose records a caller wants to read.
    pub fn known(&self, stream: &str) -> Known {
        match self.streams.get(stream) {
            Some(entry) => Known::Holds(entry.len),
            None if !self.retired.is_empty() && self.retired.binary_search(&fingerprint(stream)).is_ok() => {
                Known::Retired
            }
            None => Known::Holds(0),
        }
    }

    /// What is known of a stream that a caller wants to append to.
    pub fn known_to_append(&self, stream: &str) -> Known {
        if !self.retiring.is_empty() && self.retiring.contains(stream) {
            return Known::Retired;
        }
        self.known(stream)
    }

    pub fn retired(&self) -> &[u64] {
        &self.retired
    }

    /// Adds fingerprints of retired streams.
    pub fn add_retired(&mut self, fingerprints: &[u64]) {
        self.retired.extend_from_slice(fingerprints);
        self.retired.sort_unstable();
        self.retired.dedup();
    }

    /// Marks streams so that nothing more is appended to them; leaves out those that have grown since they
    /// were weighed.
    pub fn begin_retiring(&mut self, streams: Vec<Weighed>) -> Vec<Weighed> {
        let streams: Vec<_> =
            streams.into_iter().filter(|weighed| self.stream_len(&weighed.stream) == weighed.len).collect();
        self.retiring = streams.iter().map(|weighed| weighed.stream.clone()).collect();
        streams
    }

    pub fn stop_retiring(&mut self) {
        self.retiring.clear();
    }

    /// Puts a snapshot's files in the place of everything before segment `number` and forgets the streams
    /// that were being retired.
    pub fn replace_older(&mut self, number: u64, snapshot: Vec<FileIndex>) {
        let newer = std::mem::take(&mut self.files)
            .into_iter()
            .filter(|file| file.number >= number && !file.snapshot);
        self.files = snapshot.into_iter().chain(newer).collect();
        let dropped = std::mem::take(&mut self.retiring);
        for stream in &dropped {
            self.streams.remove(stream);
        }
        self.add_retired(&dropped.iter().map(|stream| fingerprint(stream)).collect::<Vec<_>>());
    }

    /// The files of an index that was made for a snapshot alone.
    pub fn into_files(self) -> Vec<FileIndex> {
        self.files
    }

    /// Streams whose name begins with `prefix` and their lengths, in order of name.
    pub fn streams(&self, prefix: &str) -> Vec<(String, u64)> {
        self.streams
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, entry)| (name.to_string(), entry.len))
            .collect()
    }

    /// All streams and what they would take in a snapshot, in order of name.
    pub fn weigh(&self) -> Vec<Weighed> {
        let weighed = |(name, entry): (&Box<str>, &StreamIndex)| Weighed {
            stream: name.clone(),
            len: entry.len,
            bytes: entry.bytes,
        };
        self.streams.iter().map(weighed).collect()
    }

    /// Positions of up to `limit` records of a stream from its `from_seq`-th on.
    pub fn positions(&self, stream: &str, from_seq: u64, limit: usize) -> Vec<Position> {
        self.streams.get(stream).map_or_else(Vec::new, |entry| entry.positions(from_seq.max(1), limit))
    }

    /// The frame that holds `position`, if any does: the last one that begins at or before it.
    pub fn place(&self, position: Position) -> Option<FramePlace> {
        // The last file that begins at or before it; empty segments share their beginning with the next.
        let after = self.files.partition_point(|file| file.first <= position);
        self.files[..after].iter().rev().find_map(|file| file.place(file.until(position).checked_sub(1)?))
    }

    /// The first frame that begins behind `position`.
    pub fn place_after(&self, position: Position) -> Option<FramePlace> {
        let from = self.files.partition_point(|file| file.first <= position).saturating_sub(1);
        self.files[from..].iter().find_map(|file| file.place(file.until(position)))
    }
}

impl StreamIndex {
    fn begin_turn(&mut self, turn: u32) {
        if self.turn != turn {
            (self.turn, self.before_len, self.before_bytes) = (turn, self.len, self.bytes);
        }
    }

    /// A snapshot needs a frame for every run of records that follow each other.
    fn count(&mut self, position: Position, bytes: usize, opens: bool) {
        self.bytes += bytes as u64;
        if opens || self.last + 1 != position {
            self.bytes += (HEADER_BYTES + ALIGNMENT) as u64;
        }
    }

    fn push(&mut self, position: Position) {
        if self.len > 0 && self.len.is_multiple_of(SEEK_EVERY) {
            self.seeks.push((self.last, self.steps.len() as u32));
        }
        push_number(&mut self.steps, position - self.last);
        self.last = position;
        self.len += 1;
    }

    fn positions(&self, from_seq: u64, limit: usize) -> Vec<Position> {
        let skip = from_seq - 1;
        if skip >= self.len {
            return Vec::new();
        }
        let block = skip / SEEK_EVERY;
        let (mut position, mut at) = match block.checked_sub(1) {
            None => (0, 0),
            Some(seek) => {
                let (position, at) = self.seeks[seek as usize];
                (position, at as usize)
            }
        };
        let wanted = limit.min((self.len - skip) as usize);
        let mut positions = Vec::with_capacity(wanted);
        let mut sequence = block * SEEK_EVERY;
        while positions.len() < wanted {
            let mut step = 0u64;
            let mut shift = 0;
            while self.steps[at] & 0x80 != 0 {
                step |= u64::from(self.steps[at] & 0x7f) << shift;
                shift += 7;
                at += 1;
            }
            step |= u64::from(self.steps[at]) << shift;
            at += 1;
            position += step;
            if sequence >= skip {
                positions.push(position);
            }
            sequence += 1;
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_gives_back_its_positions_from_any_place() {
        let mut index = Index::default();
        let mut all = Vec::new();
        let mut position = 0;
        for round in 0..500u64 {
            position += 1 + (round * round * 31) % 70_000;
            index.add_record("run/1", position, 50, true);
            assert_eq!(index.stream_len("run/1"), round + 1);
            all.push(position);
        }
        for from in 1..=501u64 {
            let wanted: Vec<_> = all.iter().skip(from as usize - 1).take(70).copied().collect();
            assert_eq!(index.positions("run/1", from, 70), wanted, "from {from}");
        }
        assert!(index.positions("run/2", 1, 70).is_empty());
    }

    #[test]
    fn streams_are_listed_by_prefix_in_order() {
        let mut index = Index::default();
        for (position, name) in ["run/2", "run/1", "lease/1", "run/1", "runs"].iter().enumerate() {
            index.add_record(name, position as u64 + 1, 50, true);
        }
        let listed = index.streams("run/");
        assert_eq!(listed, [("run/1".to_owned(), 2), ("run/2".to_owned(), 1)]);
    }
}
