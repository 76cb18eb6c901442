//! Where every record lies, in memory, rebuilt at every opening.
//!
//! Rule: it holds durable records only, so whoever reads through it never sees what could still vanish.
//!
//! Size: 8 bytes per batch, 1 to 3 bytes per record (distances between a stream's positions as variable
//! length numbers), about 150 bytes and the name per stream: 10,000 runs of 40 events take about 6 MB.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::record::Position;

/// Every so many entries of a stream its position is also kept plainly, so that a seek stays short.
const SEEK_EVERY: u64 = 64;

/// Newest segments whose files stay open. A process may usually have 1,024 files open; sockets and workers
/// need most of them.
const OPEN_FILES_MAX: usize = 32;

#[derive(Default)]
pub(crate) struct Index {
    segments: Vec<SegmentIndex>,
    streams: BTreeMap<Box<str>, StreamIndex>,
}

struct SegmentIndex {
    name: String,
    /// Open for the newest segments only.
    file: Option<Arc<dyn DiskFile>>,
    first: Position,
    /// Per frame: its first position relative to the segment's, and its offset in the file.
    frames: Vec<(u32, u32)>,
}

#[derive(Default)]
struct StreamIndex {
    len: u64,
    last: Position,
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
}

impl Index {
    pub fn add_segment(&mut self, name: String, file: Option<Arc<dyn DiskFile>>, first: Position) {
        self.segments.push(SegmentIndex { name, file, first, frames: Vec::new() });
        if let Some(old) = self.segments.len().checked_sub(OPEN_FILES_MAX + 1) {
            self.segments[old].file = None;
        }
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Notes a frame of the newest segment.
    pub fn add_frame(&mut self, first: Position, offset: u64) {
        if let Some(segment) = self.segments.last_mut() {
            // Segments are at most 1 GiB and a record has at least 30 bytes, so both fit.
            segment.frames.push(((first - segment.first) as u32, offset as u32));
        }
    }

    /// Notes a record; returns its place in the stream.
    pub fn add_record(&mut self, stream: &str, position: Position) -> u64 {
        if let Some(entry) = self.streams.get_mut(stream) {
            return entry.push(position);
        }
        let mut entry = StreamIndex::default();
        let sequence = entry.push(position);
        self.streams.insert(stream.into(), entry);
        sequence
    }

    pub fn stream_len(&self, stream: &str) -> u64 {
        self.streams.get(stream).map_or(0, |entry| entry.len)
    }

    /// Streams whose name begins with `prefix` and their lengths, in order of name.
    pub fn streams(&self, prefix: &str) -> Vec<(String, u64)> {
        self.streams
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, entry)| (name.to_string(), entry.len))
            .collect()
    }

    /// Positions of up to `limit` records of a stream from its `from_seq`-th on.
    pub fn positions(&self, stream: &str, from_seq: u64, limit: usize) -> Vec<Position> {
        self.streams.get(stream).map_or_else(Vec::new, |entry| entry.positions(from_seq.max(1), limit))
    }

    /// The frame that holds `position`.
    pub fn place(&self, position: Position) -> Option<FramePlace> {
        // The last segment that begins at or before it; empty segments share their beginning with the next.
        let after = self.segments.partition_point(|segment| segment.first <= position);
        let segment = self.segments[..after].last()?;
        let relative = u32::try_from(position - segment.first).ok()?;
        let after = segment.frames.partition_point(|(first, _)| *first <= relative);
        let (_, offset) = segment.frames[..after].last()?;
        Some(FramePlace {
            segment: segment.name.clone(),
            file: segment.file.clone(),
            offset: u64::from(*offset),
        })
    }
}

impl StreamIndex {
    fn push(&mut self, position: Position) -> u64 {
        if self.len > 0 && self.len.is_multiple_of(SEEK_EVERY) {
            self.seeks.push((self.last, self.steps.len() as u32));
        }
        let mut step = position - self.last;
        while step >= 0x80 {
            self.steps.push(step as u8 | 0x80);
            step >>= 7;
        }
        self.steps.push(step as u8);
        self.last = position;
        self.len += 1;
        self.len
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
            assert_eq!(index.add_record("run/1", position), round + 1);
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
            index.add_record(name, position as u64 + 1);
        }
        let listed = index.streams("run/");
        assert_eq!(listed, [("run/1".to_owned(), 2), ("run/2".to_owned(), 1)]);
    }
}
