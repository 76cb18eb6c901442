//! The protocol between the daemon and one worker process, as types and bytes.
//!
//! One request goes in; heartbeats, progress and checkpoints come out, then exactly one result or
//! error. Files travel by path and digest, never through the pipe. A task is self-contained, so that
//! other transports can carry it later. Rule: a length is checked before anything is allocated.
//! Absent: pipes and processes (they live in actors and in the worker program).

use crate::definition::StageKind;
use crate::limits::WORKER_FRAME_BYTES_MAX;
use crate::run::StageError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Spoken by both ends; a worker refuses a task of another version.
pub const WORKER_PROTOCOL: u16 = 3;

/// First bytes of every frame. Anything else on the pipe is garbage and ends the attempt.
const MAGIC: [u8; 4] = *b"EXW1";
const HEADER_BYTES: usize = 8;

/// A file handed to a worker, or by a worker to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFile {
    pub name: String,
    /// `b3:<hex>`; the reader checks it.
    pub digest: String,
    pub path: String,
    pub bytes: u64,
}

/// Everything a worker needs for one attempt at one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRequest {
    pub protocol: u16,
    pub run: String,
    pub stage: String,
    pub attempt: u32,
    pub fence: u64,
    pub kind: StageKind,
    pub tasks: Vec<String>,
    /// Canonical JSON object: workflow parameters overlaid by the stage's.
    pub params: String,
    pub seed: u64,
    pub inputs: Vec<TaskFile>,
    /// The newest checkpoint of an earlier, interrupted attempt.
    pub resume_from: Option<TaskFile>,
    /// Directory for outputs and checkpoints; exists, empty, private to the attempt.
    pub output_dir: String,
    pub memory_bytes_max: u64,
    pub threads: u32,
    pub heartbeat_ms: u64,
}

/// From the daemon to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    Task(Box<TaskRequest>),
    /// Leave a checkpoint, if the kind makes any, and stop at the next safe point; answered by an error with code `EX-0590`.
    Cancel,
    /// A parameter has a new value (JSON). Answered by one [`FromWorker::Tuned`], or by the end of the work.
    Tune {
        parameter: String,
        value: String,
    },
}

/// From a worker to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    Hello {
        protocol: u16,
        version: String,
        highs: String,
    },
    Heartbeat,
    /// `done` in 0..=1, and what is being done, for people.
    Progress {
        done: f64,
        message: String,
    },
    Checkpoint(TaskFile),
    /// `facts` is a canonical JSON object.
    Result {
        outputs: Vec<TaskFile>,
        facts: String,
    },
    Error(StageError),
    /// The work has taken this value: its whole result will be one of it. Or it has not, and `why`.
    Tuned {
        parameter: String,
        value: String,
        taken: bool,
        why: String,
    },
}

/// What is wrong with bytes on the pipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("expected a worker frame, got other bytes: {0:02x?}")]
    Garbage([u8; 4]),
    #[error("a frame of {bytes} bytes is longer than the {WORKER_FRAME_BYTES_MAX} allowed")]
    TooLong { bytes: u32 },
    #[error("the frame does not decode: {0}")]
    Undecodable(String),
}

/// One message as bytes: magic, length, bincode.
///
/// # Errors
/// [`FrameError::TooLong`] if the message exceeds the limit of a frame.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, FrameError> {
    let body = bincode::serialize(message).map_err(|e| FrameError::Undecodable(e.to_string()))?;
    let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if bytes > WORKER_FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes });
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&bytes.to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Cuts a stream of bytes into messages. Feed with [`Self::push`], drain with [`Self::take`].
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes come.
    ///
    /// # Errors
    /// Any [`FrameError`]; the stream is unusable from then on.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Option<M>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return self.check_start();
        };
        let [m0, m1, m2, m3, l0, l1, l2, l3] = *header;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::Garbage([m0, m1, m2, m3]));
        }
        let bytes = u32::from_le_bytes([l0, l1, l2, l3]);
        if bytes > WORKER_FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { bytes });
        }
        let end = HEADER_BYTES + bytes as usize;
        let Some(body) = self.buffer.get(HEADER_BYTES..end) else {
            return Ok(None);
        };
        let message = bincode::deserialize(body).map_err(|e| FrameError::Undecodable(e.to_string()))?;
        self.buffer.drain(..end);
        Ok(Some(message))
    }

    /// Garbage shorter than a header is told apart from a frame still arriving.
    fn check_start<M>(&self) -> Result<Option<M>, FrameError> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] == MAGIC[..known] {
            return Ok(None);
        }
        let mut start = [0; 4];
        start[..known].copy_from_slice(&self.buffer[..known]);
        Err(FrameError::Garbage(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let sent = [FromWorker::Heartbeat, FromWorker::Progress { done: 0.5, message: "half".into() }];
        let bytes: Vec<u8> = sent.iter().flat_map(|m| encode(m).unwrap()).collect();
        for cut in 0..bytes.len() {
            let mut reader = FrameReader::default();
            let mut got = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                reader.push(part);
                while let Some(message) = reader.take::<FromWorker>().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, sent, "cut at {cut}");
        }
    }

    #[test]
    fn a_length_of_four_gibibytes_is_refused_before_it_is_allocated() {
        let mut reader = FrameReader::default();
        reader.push(b"EXW1\xff\xff\xff\xff");
        assert_eq!(reader.take::<FromWorker>(), Err(FrameError::TooLong { bytes: u32::MAX }));
    }

    #[test]
    fn garbage_is_told_from_its_first_byte() {
        let mut reader = FrameReader::default();
        reader.push(b"h");
        assert!(matches!(reader.take::<FromWorker>(), Err(FrameError::Garbage(_))));
    }
}
