//! Tests of the crate from outside, in one program.
// A test ends by panicking; the helpers here are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod artefacts;
mod checkpoints;
mod collect;
mod damage;
mod golden;
mod journal;
mod kill;
mod transfer;

use ::journal::{NewRecord, Options};

/// Small segments and a fixed clock: the same calls give the same bytes.
fn options() -> Options {
    Options { segment_bytes: 4096, reserve_bytes: 256, clock: Box::new(|| 1_000), ..Options::default() }
}

fn record(stream: &str, payload: &[u8]) -> NewRecord {
    NewRecord {
        stream: stream.into(),
        expected_seq: None,
        kind: "Happened".into(),
        schema: 1,
        payload: payload.to_vec(),
        principal: "engineer".into(),
        role: "operator".into(),
        cause: 0,
    }
}
