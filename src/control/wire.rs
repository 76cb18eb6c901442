//! Frames over any byte stream of tokio.
//!
//! Rule: reading can be abandoned at any await without losing bytes, so a caller may race it against
//! anything. Absent: time limits (the ends differ in theirs).

use super::frame::{self, Frame, FrameError, FrameReader, Kind};
use serde::Serialize;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most bytes taken from a stream in one read; room is made for what came, not for what was announced.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Room made before it is known what comes.
const READ_BYTES_MIN: usize = 1024;

/// Why no further frame came.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the other end hung up in the middle of a frame")]
    CutOff,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameStream<R> {
    source: R,
    frames: FrameReader,
}

impl<R: AsyncRead + Unpin> FrameStream<R> {
    pub fn new(source: R, body_bytes_max: u32) -> Self {
        Self { source, frames: FrameReader::new(body_bytes_max) }
    }

    pub fn set_body_bytes_max(&mut self, body_bytes_max: u32) {
        self.frames.set_body_bytes_max(body_bytes_max);
    }

    /// The next frame; `None` if the other end hung up between two frames.
    ///
    /// # Errors
    /// Any [`WireError`]; the stream is unusable from then on.
    pub async fn read(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(Some(frame));
            }
            if self.fill().await? == 0 {
                return if self.frames.is_empty() { Ok(None) } else { Err(WireError::CutOff) };
            }
        }
    }

    /// Waits for the first byte of a frame; false if the other end hung up instead.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub async fn begin(&mut self) -> Result<bool, WireError> {
        Ok(!self.frames.is_empty() || self.fill().await? > 0)
    }

    /// Returns once the other end hung up, and never if it says something instead.
    pub async fn closed(&mut self) {
        if self.frames.is_empty() && !matches!(self.fill().await, Ok(1..)) {
            return;
        }
        std::future::pending().await
    }

    async fn fill(&mut self) -> Result<usize, io::Error> {
        let room = self.frames.missing().clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        let buffer = self.frames.buffer_mut();
        buffer.reserve(room);
        self.source.read_buf(buffer).await
    }
}

/// Writes one message as a JSON frame.
///
/// # Errors
/// [`WireError::Frame`] if it is too long (nothing was written then), [`WireError::Io`].
pub async fn write_message<W, M>(sink: &mut W, message: &M) -> Result<(), WireError>
where
    W: AsyncWrite + Unpin,
    M: Serialize,
{
    sink.write_all(&frame::encode_message(message)?).await?;
    Ok(sink.flush().await?)
}

/// Writes one binary frame.
///
/// # Errors
/// As [`write_message`].
pub async fn write_chunk<W: AsyncWrite + Unpin>(sink: &mut W, chunk: &[u8]) -> Result<(), WireError> {
    sink.write_all(&frame::encode(Kind::Binary, chunk)?).await?;
    Ok(sink.flush().await?)
}
