//! Inputs on their way in: bytes by digest, into the artefact store.

use super::Inner;
use super::replies::{error, exit};
use crate::control::{Reply, UploadSink};
use engine::limits::INPUT_BYTES_MAX;
use engine::protocol::ErrorReply;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use journal::{ArtefactError, Digest, Upload};
use serde_json::{Value, json};

fn parse(digest: &str) -> Result<Digest, ErrorReply> {
    digest.parse().map_err(|e| error("EX-0017", exit::INVALID, format!("{digest}: {e}")))
}

pub(super) fn have(inner: &Inner, digest: &str) -> Result<Value, ErrorReply> {
    Ok(json!({ "have": inner.shared.artefacts.exists(&parse(digest)?) }))
}

pub(super) fn begin(inner: &Inner, digest: &str, bytes: u64) -> Result<Reply, ErrorReply> {
    if bytes > INPUT_BYTES_MAX {
        return Err(error(
            "EX-0007",
            exit::INVALID,
            format!("an input of {bytes} bytes is larger than the {INPUT_BYTES_MAX} allowed"),
        ));
    }
    if let Some(why) = inner.shared.board.no_room() {
        let message = format!("there is too little room on disk for an upload: {why}");
        return Err(error("EX-0013", exit::TRY_LATER, message));
    }
    let expected = parse(digest)?;
    journal::failpoint!("upload.begin");
    let upload =
        inner.shared.artefacts.begin().map_err(|e| error("EX-0013", exit::TRY_LATER, e.to_string()))?;
    Ok(Reply::ReceiveUpload(Box::new(Sink { upload, expected })))
}

struct Sink {
    upload: Upload,
    expected: Digest,
}

impl UploadSink for Sink {
    fn write(&mut self, chunk: &[u8]) -> Result<(), ErrorReply> {
        self.upload.write(chunk).map_err(|e| error("EX-0013", exit::TRY_LATER, e.to_string()))
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, Result<Value, ErrorReply>> {
        let Self { upload, expected } = *self;
        async move {
            journal::failpoint!("upload.before-finish");
            let stored = tokio::task::spawn_blocking(move || upload.finish(expected)).await;
            let stored = stored.map_err(|lost| error("EX-0013", exit::TRY_LATER, lost.to_string()))?;
            let digest = stored.map_err(|e| match e {
                ArtefactError::DiskFull | ArtefactError::Io { .. } => {
                    error("EX-0013", exit::TRY_LATER, e.to_string())
                }
                _ => error("EX-0017", exit::INVALID, e.to_string()),
            })?;
            journal::failpoint!("upload.finished");
            Ok(json!({ "digest": digest.to_string() }))
        }
        .boxed_local()
    }
}
