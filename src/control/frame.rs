//! Frames of the control protocol, as bytes: magic, kind, length, body.
//!
//! Rule: a length is checked before anything is allocated for it, and garbage is told from its first
//! byte. Absent: sockets and time (see [`super::wire`]). Start at [`FrameReader::next`].

use engine::limits::CONTROL_FRAME_BYTES_MAX;
use serde::{Serialize, de::DeserializeOwned};

/// First bytes of every frame. Anything else is not our protocol.
pub const MAGIC: [u8; 4] = *b"EXC1";

/// Magic, kind, length as little-endian `u32`.
pub const HEADER_BYTES: usize = 9;

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One message as JSON.
    Json,
    /// Raw content of an upload or an artefact.
    Binary,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Json => b'J',
            Self::Binary => b'B',
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            b'J' => Some(Self::Json),
            b'B' => Some(Self::Binary),
            _ => None,
        }
    }
}

/// One whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub body: Vec<u8>,
}

impl Frame {
    /// The message in a JSON frame.
    ///
    /// # Errors
    /// [`FrameError::Undecodable`] for a binary frame or JSON of another shape.
    pub fn message<M: DeserializeOwned>(&self) -> Result<M, FrameError> {
        if self.kind != Kind::Json {
            return Err(FrameError::Undecodable("expected a message, got a binary frame".into()));
        }
        serde_json::from_slice(&self.body).map_err(|error| FrameError::Undecodable(error.to_string()))
    }
}

/// What is wrong with bytes on the wire. The stream is unusable from then on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("expected a frame that begins with `EXC1`, got the bytes {0:02x?}")]
    Garbage(Vec<u8>),
    #[error("a frame says it is of kind {0:#04x}; there are only `J` and `B`")]
    UnknownKind(u8),
    #[error("a frame of {bytes} bytes is longer than the {max} allowed here")]
    TooLong { bytes: u64, max: u32 },
    #[error("the frame does not decode: {0}")]
    Undecodable(String),
}

/// Header and body of one frame in one buffer.
///
/// # Errors
/// [`FrameError::TooLong`] if the body exceeds [`CONTROL_FRAME_BYTES_MAX`].
pub fn encode(kind: Kind, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = match u32::try_from(body.len()) {
        Ok(length) if length <= CONTROL_FRAME_BYTES_MAX => length,
        _ => return Err(FrameError::TooLong { bytes: body.len() as u64, max: CONTROL_FRAME_BYTES_MAX }),
    };
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&MAGIC);
    frame.push(kind.byte());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// One message as a JSON frame.
///
/// # Errors
/// As [`encode`]; [`FrameError::Undecodable`] if the message is no JSON.
pub fn encode_message<M: Serialize>(message: &M) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(message).map_err(|error| FrameError::Undecodable(error.to_string()))?;
    encode(Kind::Json, &body)
}

/// Cuts a stream of bytes into frames. Feed with [`Self::push`], drain with [`Self::next`].
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    body_bytes_max: u32,
}

impl FrameReader {
    /// Bodies longer than `body_bytes_max` are refused by their header.
    pub fn new(body_bytes_max: u32) -> Self {
        Self { buffer: Vec::new(), body_bytes_max }
    }

    /// A stranger may send less than a guest.
    pub fn set_body_bytes_max(&mut self, body_bytes_max: u32) {
        self.body_bytes_max = body_bytes_max;
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Nothing of a further frame has come.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Where further bytes go; see [`Self::missing`] for how many make sense.
    pub(super) fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes that the frame under way still needs: of its header first, then of its body.
    pub fn missing(&self) -> usize {
        let whole = match self.buffer.first_chunk::<HEADER_BYTES>() {
            Some(&[.., l0, l1, l2, l3]) => HEADER_BYTES + u32::from_le_bytes([l0, l1, l2, l3]) as usize,
            None => HEADER_BYTES,
        };
        whole.saturating_sub(self.buffer.len())
    }

    /// The next whole frame, or `None` until more bytes come.
    ///
    /// # Errors
    /// Garbage, an unknown kind or a length beyond the limit, as soon as the bytes that show it are there.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not say that more may come")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            return Err(FrameError::Garbage(self.buffer[..known].to_vec()));
        }
        let kind = match self.buffer.get(MAGIC.len()) {
            Some(&byte) => Kind::of(byte).ok_or(FrameError::UnknownKind(byte))?,
            None => return Ok(None),
        };
        let Some(&[.., l0, l1, l2, l3]) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > self.body_bytes_max {
            return Err(FrameError::TooLong { bytes: u64::from(length), max: self.body_bytes_max });
        }
        let end = HEADER_BYTES + length as usize;
        let Some(body) = self.buffer.get(HEADER_BYTES..end) else {
            return Ok(None);
        };
        let frame = Frame { kind, body: body.to_vec() };
        self.buffer.drain(..end);
        if self.buffer.is_empty() {
            // A connection that once carried a large frame would otherwise keep its room while it idles.
            self.buffer = Vec::new();
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Vec<Frame> {
        vec![
            Frame { kind: Kind::Json, body: br#"{"verb":"tree"}"#.to_vec() },
            Frame { kind: Kind::Binary, body: Vec::new() },
            Frame { kind: Kind::Binary, body: b"EXC1J".to_vec() },
        ]
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let bytes: Vec<u8> = sent().iter().flat_map(|f| encode(f.kind, &f.body).unwrap()).collect();
        for cut in 0..=bytes.len() {
            let mut reader = FrameReader::new(1024);
            let mut got = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                reader.push(part);
                while let Some(frame) = reader.next().unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, sent(), "cut at {cut}");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn frames_fed_by_what_is_missing_are_read_to_the_byte() {
        let bytes: Vec<u8> = sent().iter().flat_map(|f| encode(f.kind, &f.body).unwrap()).collect();
        let (mut reader, mut at, mut got) = (FrameReader::new(1024), 0, Vec::new());
        while at < bytes.len() {
            let step = reader.missing();
            assert!(step > 0, "stuck at byte {at}");
            reader.push(&bytes[at..at + step]);
            at += step;
            got.extend(reader.next().unwrap());
        }
        assert_eq!(got, sent());
    }

    #[test]
    fn a_length_of_four_gibibytes_is_refused_before_it_is_allocated() {
        let mut reader = FrameReader::new(CONTROL_FRAME_BYTES_MAX);
        reader.push(b"EXC1J\xff\xff\xff\xff");
        let refused = FrameError::TooLong { bytes: u64::from(u32::MAX), max: CONTROL_FRAME_BYTES_MAX };
        assert_eq!(reader.next(), Err(refused));
        assert!(reader.buffer_mut().capacity() < 1024);
    }

    #[test]
    fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let whole = vec![7; CONTROL_FRAME_BYTES_MAX as usize];
        let mut reader = FrameReader::new(CONTROL_FRAME_BYTES_MAX);
        reader.push(&encode(Kind::Binary, &whole).unwrap());
        assert_eq!(reader.next().unwrap().map(|f| f.body.len()), Some(whole.len()));
        let longer = vec![7; whole.len() + 1];
        assert!(matches!(encode(Kind::Binary, &longer), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_smaller_limit_holds_for_a_stranger() {
        let mut reader = FrameReader::new(16);
        reader.push(&encode(Kind::Json, &[b' '; 17]).unwrap()[..HEADER_BYTES]);
        assert_eq!(reader.next(), Err(FrameError::TooLong { bytes: 17, max: 16 }));
    }

    #[test]
    fn garbage_is_told_from_its_first_byte() {
        for start in [&b"G"[..], b"GET / HTTP/1.1", b"EXW1", b"EXC2J"] {
            let mut reader = FrameReader::new(1024);
            reader.push(start);
            assert!(matches!(reader.next(), Err(FrameError::Garbage(_))), "{start:?}");
        }
        let mut reader = FrameReader::new(1024);
        reader.push(b"EXC1x");
        assert_eq!(reader.next(), Err(FrameError::UnknownKind(b'x')));
    }

    #[test]
    fn a_binary_frame_is_no_message() {
        let frame = Frame { kind: Kind::Binary, body: b"1".to_vec() };
        assert!(frame.message::<u32>().is_err());
        assert_eq!(Frame { kind: Kind::Json, ..frame }.message::<u32>(), Ok(1));
    }
}
