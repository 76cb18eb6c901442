//! What stands behind the socket, as the server's shell sees it.
//!
//! Rule: a service answers every request with exactly one [`Reply`] or one refusal. Absent: the wire.

use engine::protocol::{ErrorReply, Request};
use futures::future::LocalBoxFuture;
use futures::stream::LocalBoxStream;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// User name, or `uid:N` where the machine knows none.
    pub name: String,
    /// `admin` or `operator`.
    pub role: String,
}

/// One answer to one request.
pub enum Reply {
    /// The whole answer at once; must fit a frame.
    Data(Value),
    /// One by one; dropped when the client hangs up, ended by its first error.
    Items(LocalBoxStream<'static, Result<Value, ErrorReply>>),
    /// The first `bytes` bytes of a file.
    File { path: PathBuf, bytes: u64 },
    /// Ready for what the request announced; only for `Upload`.
    ReceiveUpload(Box<dyn UploadSink>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(data) => f.debug_tuple("Data").field(data).finish(),
            Self::Items(_) => f.write_str("Items"),
            Self::File { path, bytes } => {
                f.debug_struct("File").field("path", path).field("bytes", bytes).finish()
            }
            Self::ReceiveUpload(_) => f.write_str("ReceiveUpload"),
        }
    }
}

/// Takes the bytes of an upload. Dropped unfinished if the client leaves early.
pub trait UploadSink {
    /// # Errors
    /// A refusal; the rest of the upload is thrown away and the client gets it as its answer.
    fn write(&mut self, chunk: &[u8]) -> Result<(), ErrorReply>;

    /// All announced bytes have come; answers the client once they are durable. Waiting for the disk must not
    /// hold up the server's thread, on which all other clients are answered.
    ///
    /// # Errors
    /// A refusal, for example if the digest is another one.
    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, Result<Value, ErrorReply>>;
}

/// The daemon behind the socket. Cloned per connection, called on the server's own thread.
pub trait Service: Clone + 'static {
    /// A call once made is not dropped when its client leaves: half an emergency stop is none.
    fn call(&self, who: Caller, request: Request) -> LocalBoxFuture<'static, Result<Reply, ErrorReply>>;
}
