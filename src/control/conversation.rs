//! One control connection from its first byte to its last.
//!
//! Rule: what does not follow the protocol gets one error answer and the connection is closed; every
//! wait for the client has a limit. Absent: accepting (server.rs), meaning (the [`Service`]).

use super::frame::{FrameError, Kind};
use super::server::{Settings, peer, refusal};
use super::service::{Caller, Reply, Service, UploadSink};
use super::wire::{FrameStream, WireError, write_chunk, write_message};
use engine::limits::{CONTROL_FRAME_BYTES_MAX, UPLOAD_CHUNK_BYTES};
use engine::protocol::{Answer, CONTROL_PROTOCOL, ErrorReply, Hello, Request};
use futures::StreamExt;
use futures::stream::LocalBoxStream;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// Largest `Hello`: two short texts. A stranger cannot make the daemon hold more than this.
const HELLO_BYTES_MAX: u32 = 4 * 1024;

/// Longest name a client may choose for itself; the longest login name of Linux is 32.
const PRINCIPAL_BYTES_MAX: usize = 64;

/// Why a conversation ends.
enum End {
    /// The client left, or does not take what it asked for.
    Gone,
    /// It is told this, then left.
    Refused(ErrorReply),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Frame(FrameError::TooLong { .. }) => {
                Self::Refused(refusal("EX-0007", 8, error.to_string()))
            }
            WireError::Frame(_) => Self::Refused(garbage(error.to_string())),
            WireError::CutOff | WireError::Io(_) => Self::Gone,
        }
    }
}

fn garbage(message: impl Into<String>) -> ErrorReply {
    refusal("EX-0008", 2, message)
}

fn late(message: &str) -> End {
    End::Refused(refusal("EX-0010", 7, message))
}

/// Talks to one client until either leaves.
pub(super) async fn hold<S: Service>(stream: UnixStream, service: S, settings: &Settings) {
    let peer = match peer(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%error, "A client without credentials was turned away.");
            return;
        }
    };
    let (source, sink) = stream.into_split();
    let mut connection = Connection { reader: FrameStream::new(source, HELLO_BYTES_MAX), sink, settings };
    if let Err(End::Refused(error)) = connection.converse(peer, &service).await {
        tracing::debug!(code = %error.code, message = %error.message, "A control connection was refused.");
        // It may have left already; there is nobody else to tell.
        let _ = connection.send(&Answer::Error { error }).await;
    }
}

struct Connection<'s> {
    reader: FrameStream<OwnedReadHalf>,
    sink: OwnedWriteHalf,
    settings: &'s Settings,
}

impl Connection<'_> {
    async fn converse<S: Service>(&mut self, peer: Caller, service: &S) -> Result<(), End> {
        let who = self.shake_hands(peer).await?;
        self.reader.set_body_bytes_max(CONTROL_FRAME_BYTES_MAX);
        while let Some(request) = self.request().await? {
            self.answer(&who, request, service).await?;
        }
        Ok(())
    }

    async fn shake_hands(&mut self, peer: Caller) -> Result<Caller, End> {
        let first = timeout(self.settings.handshake, self.reader.read()).await;
        let frame = first.map_err(|_| late("no whole greeting came in time"))??.ok_or(End::Gone)?;
        let hello: Hello = frame.message().map_err(WireError::from)?;
        if hello.protocol != CONTROL_PROTOCOL {
            let message = format!(
                "the daemon ({}) speaks version {CONTROL_PROTOCOL} of the control protocol, the client ({}) version {}",
                self.settings.software, hello.software, hello.protocol
            );
            return Err(End::Refused(refusal("EX-0006", 2, message)));
        }
        let who = named(peer, hello.principal, self.settings.trust_client_names)?;
        let software = self.settings.software.clone();
        self.send(&Hello { protocol: CONTROL_PROTOCOL, software, principal: None }).await?;
        Ok(who)
    }

    /// The next request, `None` once the client is done.
    async fn request(&mut self) -> Result<Option<Request>, End> {
        let begun = timeout(self.settings.idle, self.reader.begin()).await;
        if !begun.map_err(|_| late("the connection was idle for too long"))?? {
            return Ok(None);
        }
        let whole = timeout(self.settings.request, self.reader.read()).await;
        let frame = whole.map_err(|_| late("no whole request came in time"))??.ok_or(End::Gone)?;
        Ok(Some(frame.message().map_err(WireError::from)?))
    }

    async fn answer<S: Service>(&mut self, who: &Caller, request: Request, service: &S) -> Result<(), End> {
        let announced = match request {
            Request::Upload { bytes, .. } => bytes,
            _ => 0,
        };
        let max = self.settings.upload_bytes_max;
        if announced > max {
            // The bytes are already on their way, and so many are not worth waiting for.
            let message = format!("an upload of {announced} bytes is larger than the {max} allowed");
            return Err(End::Refused(refusal("EX-0007", 8, message)));
        }
        let waits_for_a_run = matches!(request, Request::Wait { .. });
        let call = service.call(who.clone(), request);
        let reply = if waits_for_a_run {
            // For days, perhaps; a client that has left gives its place back. Never so for a change, which
            // must come to its end.
            tokio::select! {
                biased;
                () = self.reader.closed() => return Err(End::Gone),
                reply = call => reply,
            }
        } else {
            call.await
        };
        let answer = match reply {
            Ok(Reply::ReceiveUpload(sink)) => self.receive(announced, Some(sink)).await?,
            other => {
                // Announced bytes come whatever the answer is, and are not the next request.
                let _thrown_away = self.receive(announced, None).await?;
                match other {
                    Ok(Reply::Items(items)) => return self.stream(items).await,
                    Ok(Reply::File { path, bytes }) => return self.send_file(&path, bytes).await,
                    Ok(Reply::Data(data)) => Ok(data),
                    Ok(Reply::ReceiveUpload(_)) => Err(garbage("an upload was not announced")),
                    Err(error) => Err(error),
                }
            }
        };
        self.send(&match answer {
            Ok(data) => Answer::Data { data },
            Err(error) => Answer::Error { error },
        })
        .await
    }

    /// Takes `announced` bytes; after a refusal, or without a sink, throws the rest away.
    async fn receive(
        &mut self,
        announced: u64,
        mut sink: Option<Box<dyn UploadSink>>,
    ) -> Result<Result<Value, ErrorReply>, End> {
        let mut refused = Ok(Value::Null);
        let mut received = 0;
        while received < announced {
            let next = timeout(self.settings.request, self.reader.read()).await;
            let frame = next.map_err(|_| late("the upload stopped"))??.ok_or(End::Gone)?;
            received += frame.body.len() as u64;
            if frame.kind != Kind::Binary || frame.body.is_empty() || received > announced {
                let message = format!("expected {announced} bytes in binary frames, got something else");
                return Err(End::Refused(garbage(message)));
            }
            if let Some(Err(error)) = sink.as_mut().map(|sink| sink.write(&frame.body)) {
                refused = Err(error);
                sink = None;
            }
        }
        Ok(match sink {
            Some(sink) => sink.finish().await,
            None => refused,
        })
    }

    async fn stream(
        &mut self,
        mut items: LocalBoxStream<'static, Result<Value, ErrorReply>>,
    ) -> Result<(), End> {
        loop {
            let item = tokio::select! {
                biased;
                () = self.reader.closed() => return Err(End::Gone),
                item = items.next() => item,
            };
            match item {
                Some(Ok(data)) => self.send(&Answer::Item { data }).await?,
                Some(Err(error)) => return self.send(&Answer::Error { error }).await,
                None => return self.send(&Answer::End).await,
            }
        }
    }

    async fn send_file(&mut self, path: &Path, bytes: u64) -> Result<(), End> {
        let mut file = match tokio::fs::File::open(path).await {
            Ok(file) => file.take(bytes),
            Err(error) => return self.send(&Answer::Error { error: unreadable(&error.to_string()) }).await,
        };
        self.send(&Answer::Bytes { bytes }).await?;
        let mut chunk =
            Vec::with_capacity(UPLOAD_CHUNK_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX)));
        let mut left = bytes;
        while left > 0 {
            chunk.clear();
            let read = (&mut file).take(UPLOAD_CHUNK_BYTES as u64).read_to_end(&mut chunk).await;
            let error = match read {
                Ok(0) => unreadable(&format!("the file is {left} bytes shorter than recorded")),
                Err(error) => unreadable(&error.to_string()),
                Ok(_) => {
                    left -= chunk.len() as u64;
                    self.send_chunk(&chunk).await?;
                    continue;
                }
            };
            // In place of the missing bytes, so the client does not take the part for the whole.
            return self.send(&Answer::Error { error }).await;
        }
        Ok(())
    }

    async fn send<M: Serialize>(&mut self, message: &M) -> Result<(), End> {
        within(self.settings.write, write_message(&mut self.sink, message)).await
    }

    async fn send_chunk(&mut self, chunk: &[u8]) -> Result<(), End> {
        within(self.settings.write, write_chunk(&mut self.sink, chunk)).await
    }
}

fn unreadable(why: &str) -> ErrorReply {
    // The path is the daemon's own affair.
    refusal("EX-0017", 1, format!("the artefact cannot be read: {why}"))
}

/// A client that does not take its answer is left.
async fn within(limit: Duration, write: impl Future<Output = Result<(), WireError>>) -> Result<(), End> {
    match timeout(limit, write).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(End::Gone),
    }
}

fn named(peer: Caller, wanted: Option<String>, trusted: bool) -> Result<Caller, End> {
    let Some(name) = wanted.filter(|name| *name != peer.name) else {
        return Ok(peer);
    };
    if !trusted {
        let message = format!("this daemon lets nobody choose a name; you are `{}`", peer.name);
        return Err(End::Refused(refusal("EX-0004", 4, message)));
    }
    if name.is_empty() || name.len() > PRINCIPAL_BYTES_MAX || name.chars().any(char::is_control) {
        let message = format!("a name has 1 to {PRINCIPAL_BYTES_MAX} bytes and no control characters");
        return Err(End::Refused(refusal("EX-0004", 4, message)));
    }
    Ok(Caller { name, ..peer })
}
