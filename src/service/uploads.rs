//! Inputs on their way in: bytes by digest, into the artefact store.

use super::Inner;
use super::replies::{error, exit};
use crate::control::{Reply, UploadSink};
use engine::limits::INPUT_BYTES_MAX;
use engine::protocol::ErrorReply;
use journal::{Digest, Upload};
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

    fn finish(self: Box<Self>) -> Result<Value, ErrorReply> {
        let digest =
            self.upload.finish(self.expected).map_err(|e| error("EX-0017", exit::INVALID, e.to_string()))?;
        Ok(json!({ "digest": digest.to_string() }))
    }
}
