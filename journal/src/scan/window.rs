//! A sliding view of a file, and the frames in it.
//!
//! Rule: a file may become shorter while it is read; what is not there is answered by fewer bytes, never by an error.
//! Absent: what a frame is good for.

use std::io;

use crate::disk::DiskFile;
use crate::frame::{self, FrameFault, FrameHeader, HEADER_BYTES};

/// How much of a file is held in memory at once, unless one frame is larger.
pub(super) const WINDOW_BYTES: usize = 1024 * 1024;

/// A sliding view of a file.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    pub fn new(file: &'a dyn DiskFile, len: u64) -> Window<'a> {
        Window { file, len, buffer: Vec::new(), start: 0 }
    }

    /// Drops what was read, so that it is read again.
    pub(super) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// `wanted` bytes from `offset`; fewer only at the end of the file.
    pub fn get(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let held = self.start..self.start + self.buffer.len() as u64;
        let to = (offset + wanted as u64).min(self.len);
        if offset >= to {
            return Ok(&[]);
        }
        if offset < held.start || to > held.end {
            let size = (self.len - offset).min(wanted.max(WINDOW_BYTES) as u64) as usize;
            self.buffer.resize(size, 0);
            self.start = offset;
            let read = self.file.read_at(offset, &mut self.buffer)?;
            // A file that became shorter meanwhile (a sealed segment gives back its spare space).
            self.buffer.truncate(read);
        }
        let from = (offset - self.start) as usize;
        let until = ((to - self.start) as usize).min(self.buffer.len());
        Ok(&self.buffer[from.min(until)..until])
    }

    /// The frame that begins at `offset`: its header and its body, of which nothing is checked yet.
    pub fn frame(&mut self, offset: u64) -> io::Result<Result<(FrameHeader, &[u8]), FrameFault>> {
        let header = match frame::parse_header(self.get(offset, HEADER_BYTES)?) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        let length = header.frame_bytes();
        let bytes = self.get(offset, length)?;
        Ok(if bytes.len() < length { Err(FrameFault::CutOff) } else { Ok((header, &bytes[HEADER_BYTES..])) })
    }

    /// Offset of the last byte at or behind `from` that is not zero.
    pub(super) fn last_nonzero(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        let mut last = None;
        loop {
            let part = self.get(from, WINDOW_BYTES)?;
            if part.is_empty() {
                return Ok(last);
            }
            if let Some(at) = part.iter().rposition(|byte| *byte != 0) {
                last = Some(from + at as u64);
            }
            from += part.len() as u64;
        }
    }
}
