//! The client's end of the control socket.
//!
//! Rule: every wait has a limit, and every failure says what to do, with an exit code. One client holds
//! one connection and one request at a time. Absent: words for people. Start at [`Client::connect`].

use super::frame::{FrameError, Kind};
use super::wire::{FrameStream, WireError, write_chunk, write_message};
use engine::limits::{CONTROL_FRAME_BYTES_MAX, INPUT_BYTES_MAX, UPLOAD_CHUNK_BYTES};
use engine::protocol::{Answer, CONTROL_PROTOCOL, ErrorReply, Hello, Request};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// How long an answer may take unless the caller says otherwise. Verbs answer in milliseconds; a disk
/// under load may hold a durable one for seconds.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Pause before another try when the daemon's queue of connections is full.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Names the socket when the command line does not.
pub const SOCKET_VARIABLE: &str = "EXECUTING_SOCKET";

/// The socket of a daemon run by systemd.
pub const SYSTEM_SOCKET: &str = "/run/executing-ctl/ctl.sock";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at {}: {source}", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("no {what} within {} s", limit.as_secs_f64())]
    Timeout { what: &'static str, limit: Duration },
    #[error("the daemon hung up before it answered; whether the request took effect is not known")]
    HungUp,
    #[error("what answers at the socket does not speak the control protocol: {0}")]
    Garbage(String),
    #[error(
        "the daemon speaks version {theirs} of the control protocol, this client version {CONTROL_PROTOCOL}"
    )]
    Version { theirs: u16 },
    #[error("the request does not fit a frame: {0}")]
    TooLarge(FrameError),
    #[error(transparent)]
    Refused(#[from] ErrorReply),
    #[error("the file {} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the file {} has {bytes} bytes; at most {INPUT_BYTES_MAX} may be uploaded", path.display())]
    FileTooLarge { path: PathBuf, bytes: u64 },
    #[error("the answer cannot be written: {0}")]
    Output(io::Error),
}

impl ClientError {
    /// The same as a refusal: code, exit code, problems.
    pub fn into_reply(self) -> ErrorReply {
        let (code, exit) = match &self {
            Self::Unreachable { .. } => ("EX-0001", 6),
            Self::Timeout { .. } => ("EX-0010", 7),
            Self::HungUp => ("EX-0001", 6),
            Self::Garbage(_) => ("EX-0008", 6),
            Self::Version { .. } => ("EX-0006", 6),
            Self::TooLarge(_) | Self::FileTooLarge { .. } => ("EX-0007", 8),
            Self::File { .. } => ("EX-0015", 8),
            Self::Output(_) => ("EX-0002", 1),
            Self::Refused(error) => return error.clone(),
        };
        ErrorReply { code: code.into(), message: self.to_string(), exit, problems: Vec::new() }
    }
}

impl From<ClientError> for ErrorReply {
    fn from(error: ClientError) -> Self {
        error.into_reply()
    }
}

impl From<WireError> for ClientError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Frame(error) => Self::Garbage(error.to_string()),
            WireError::CutOff | WireError::Io(_) => Self::HungUp,
        }
    }
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    pub socket: PathBuf,
    /// The name to act under, where the daemon allows one to be chosen.
    pub principal: Option<String>,
    /// Limit of each single answer.
    pub timeout: Duration,
}

impl Options {
    /// The socket named, or that of the environment, or the first of the usual places that exists.
    pub fn new(socket: Option<PathBuf>) -> Self {
        Self { socket: socket.unwrap_or_else(default_socket), principal: None, timeout: TIMEOUT_DEFAULT }
    }
}

fn default_socket() -> PathBuf {
    if let Some(named) = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()) {
        return named.into();
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR")
        .map(|directory| Path::new(&directory).join("executing/control.sock"));
    own.filter(|socket| socket.exists()).unwrap_or_else(|| SYSTEM_SOCKET.into())
}

/// A greeted connection.
#[derive(Debug)]
pub struct Client {
    reader: FrameStream<OwnedReadHalf>,
    sink: OwnedWriteHalf,
    timeout: Duration,
    software: String,
}

impl Client {
    /// Connects and greets.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::Version`], a refusal such as `busy`.
    pub async fn connect(options: &Options) -> Result<Self, ClientError> {
        let limit = options.timeout;
        let stream = timeout(limit, connect(&options.socket)).await;
        let stream = stream
            .map_err(|_| ClientError::Timeout { what: "connection", limit })?
            .map_err(|source| ClientError::Unreachable { socket: options.socket.clone(), source })?;
        let (source, sink) = stream.into_split();
        let reader = FrameStream::new(source, CONTROL_FRAME_BYTES_MAX);
        let mut client = Self { reader, sink, timeout: limit, software: String::new() };
        let hello = Hello {
            protocol: CONTROL_PROTOCOL,
            software: concat!("executingctl ", env!("CARGO_PKG_VERSION")).into(),
            principal: options.principal.clone(),
        };
        // A daemon that is busy may have answered and left before it was greeted; its answer says more
        // than the broken pipe.
        let sent = client.send(&hello).await;
        let greeting = match client.frame("greeting").await {
            Err(ClientError::HungUp) => return Err(sent.err().unwrap_or(ClientError::HungUp)),
            other => other?,
        };
        if let Ok(Answer::Error { error }) = greeting.message() {
            return Err(error.into());
        }
        let theirs: Hello = greeting.message().map_err(WireError::from)?;
        if theirs.protocol != CONTROL_PROTOCOL {
            return Err(ClientError::Version { theirs: theirs.protocol });
        }
        client.software = theirs.software;
        Ok(client)
    }

    /// Program and version of the daemon.
    pub fn software(&self) -> &str {
        &self.software
    }

    /// Limit of each single answer from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// One request with one answer. Items, if they come instead, are collected into a list.
    ///
    /// # Errors
    /// The daemon's refusal, a timeout, a broken connection.
    pub async fn request(&mut self, request: &Request) -> Result<Value, ClientError> {
        self.send(request).await?;
        let mut items = Vec::new();
        loop {
            match self.answer().await? {
                Answer::Data { data } => return Ok(data),
                Answer::Item { data } => items.push(data),
                Answer::End => return Ok(Value::Array(items)),
                Answer::Bytes { .. } => return Err(ClientError::Garbage("bytes nobody asked for".into())),
                Answer::Error { error } => return Err(error.into()),
            }
        }
    }

    /// A request with many answers. Dropping them ends the request with the connection.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn stream(mut self, request: &Request) -> Result<Items, ClientError> {
        self.send(request).await?;
        Ok(Items { client: self, ended: false })
    }

    /// Uploads a file unless the daemon has its content already; gives its digest, `b3:<hex>`.
    ///
    /// # Errors
    /// [`ClientError::File`], [`ClientError::FileTooLarge`], those of [`Self::request`].
    pub async fn upload(&mut self, path: &Path) -> Result<String, ClientError> {
        self.upload_with(path, &mut |_| {}).await
    }

    /// [`Self::upload`], and tells how many bytes have been sent.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub async fn upload_with(
        &mut self,
        path: &Path,
        sent: &mut dyn FnMut(u64),
    ) -> Result<String, ClientError> {
        let unreadable = |source| ClientError::File { path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        let (digest, bytes) = digest_of(&mut file).map_err(unreadable)?;
        if bytes > INPUT_BYTES_MAX {
            return Err(ClientError::FileTooLarge { path: path.to_owned(), bytes });
        }
        if self.has(&digest).await? {
            return Ok(digest);
        }
        let mut file = std::fs::File::open(path).map_err(unreadable)?.take(bytes);
        self.send_content(&digest, bytes, path, &mut file, sent).await?;
        Ok(digest)
    }

    /// [`Self::upload`] of content in memory.
    ///
    /// # Errors
    /// Those of [`Self::request`].
    pub async fn upload_bytes(&mut self, content: &[u8]) -> Result<String, ClientError> {
        let digest = format!("b3:{}", blake3::hash(content).to_hex());
        if !self.has(&digest).await? {
            self.send_content(&digest, content.len() as u64, Path::new("-"), &mut &content[..], &mut |_| {})
                .await?;
        }
        Ok(digest)
    }

    async fn has(&mut self, digest: &str) -> Result<bool, ClientError> {
        let answer = self.request(&Request::Have { digest: digest.into() }).await?;
        Ok(answer.get("have").and_then(Value::as_bool).unwrap_or(false))
    }

    async fn send_content(
        &mut self,
        digest: &str,
        bytes: u64,
        path: &Path,
        content: &mut dyn Read,
        told: &mut dyn FnMut(u64),
    ) -> Result<(), ClientError> {
        let unreadable = |source| ClientError::File { path: path.to_owned(), source };
        self.send(&Request::Upload { digest: digest.into(), bytes }).await?;
        let mut chunk = Vec::with_capacity(UPLOAD_CHUNK_BYTES);
        let mut left = bytes;
        while left > 0 {
            chunk.clear();
            let read = content.take(UPLOAD_CHUNK_BYTES as u64).read_to_end(&mut chunk).map_err(unreadable)?;
            if read == 0 {
                return Err(unreadable(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file became shorter while it was uploaded",
                )));
            }
            left -= read as u64;
            told(bytes - left);
            let sent = timeout(self.timeout, write_chunk(&mut self.sink, &chunk)).await;
            match sent {
                Ok(Ok(())) => {}
                // A refusal that came early says more than the broken pipe.
                Ok(Err(_)) => break,
                Err(_) => {
                    return Err(ClientError::Timeout { what: "room for the upload", limit: self.timeout });
                }
            }
        }
        match self.answer().await? {
            Answer::Data { .. } => Ok(()),
            Answer::Error { error } => Err(error.into()),
            other => Err(ClientError::Garbage(format!("an upload was answered by {other:?}"))),
        }
    }

    /// Writes the bytes that answer `request` to `target`; gives their number.
    ///
    /// # Errors
    /// The refusal, also one that comes in the middle; [`ClientError::Output`].
    pub async fn download(&mut self, request: &Request, target: &mut dyn Write) -> Result<u64, ClientError> {
        self.send(request).await?;
        let bytes = match self.answer().await? {
            Answer::Bytes { bytes } => bytes,
            Answer::Error { error } => return Err(error.into()),
            other => return Err(ClientError::Garbage(format!("expected bytes, got {other:?}"))),
        };
        let mut left = bytes;
        while left > 0 {
            let frame = self.frame("bytes").await?;
            if frame.kind == Kind::Json {
                return match frame.message().map_err(WireError::from)? {
                    Answer::Error { error } => Err(error.into()),
                    other => Err(ClientError::Garbage(format!("expected bytes, got {other:?}"))),
                };
            }
            left = left
                .checked_sub(frame.body.len() as u64)
                .ok_or_else(|| ClientError::Garbage("more bytes than announced".into()))?;
            target.write_all(&frame.body).map_err(ClientError::Output)?;
        }
        target.flush().map_err(ClientError::Output)?;
        Ok(bytes)
    }

    async fn send<M: Serialize>(&mut self, message: &M) -> Result<(), ClientError> {
        let limit = self.timeout;
        match timeout(limit, write_message(&mut self.sink, message)).await {
            Ok(Err(WireError::Frame(error))) => Err(ClientError::TooLarge(error)),
            Ok(sent) => Ok(sent?),
            Err(_) => Err(ClientError::Timeout { what: "room for the request", limit }),
        }
    }

    async fn answer(&mut self) -> Result<Answer, ClientError> {
        Ok(self.frame("answer").await?.message().map_err(WireError::from)?)
    }

    async fn frame(&mut self, what: &'static str) -> Result<super::frame::Frame, ClientError> {
        let limit = self.timeout;
        let frame = timeout(limit, self.reader.read()).await;
        frame.map_err(|_| ClientError::Timeout { what, limit })??.ok_or(ClientError::HungUp)
    }
}

/// Answers that come one by one.
#[derive(Debug)]
pub struct Items {
    client: Client,
    ended: bool,
}

impl Items {
    /// The next answer, `None` after the last. Waits without limit: a run may be quiet for hours.
    ///
    /// May be abandoned and called again; nothing is lost.
    ///
    /// # Errors
    /// The daemon's refusal, a broken connection.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let frame = self.client.reader.read().await?.ok_or(ClientError::HungUp)?;
        match frame.message().map_err(WireError::from)? {
            Answer::Item { data } | Answer::Data { data } => Ok(Some(data)),
            Answer::End => {
                self.ended = true;
                Ok(None)
            }
            Answer::Error { error } => Err(error.into()),
            Answer::Bytes { .. } => Err(ClientError::Garbage("bytes nobody asked for".into())),
        }
    }

    /// The connection, for further requests, once all answers have come; else `None`.
    pub fn into_client(self) -> Option<Client> {
        self.ended.then_some(self.client)
    }
}

/// Waits while the daemon's queue of connections is full; the caller limits how long.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Digest and length of what is left of `content`.
fn digest_of(content: &mut impl Read) -> io::Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(content, &mut hasher)?;
    Ok((format!("b3:{}", hasher.finalize().to_hex()), bytes))
}
