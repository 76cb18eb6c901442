//! The cases of OTP's `supervisor_SUITE`, under its names, each asserting what the original does.
//! docs/supervision-cases.md lists them with those that have no counterpart here.

#![allow(clippy::unwrap_used)]

mod admin;
mod misc;
mod ours;
mod scale;
mod significant;
mod simple;
mod starting;
mod stopping;
mod strategies;
// Shared with the other tests; nobody uses all of it.
#[allow(dead_code)]
#[path = "../it/support.rs"]
mod support;
mod termination;
mod watchdog;

use std::time::Duration;

use supervisors::{ChildError, ChildSpec, Exit, Refusal, Strategy, SupervisorRef, SupervisorSpec, launch};
use tokio::task::JoinHandle;

/// Up and running.
async fn up(spec: SupervisorSpec) -> (SupervisorRef, JoinHandle<Exit>) {
    launch(spec).await.unwrap()
}

/// Up, with an intensity that no test uses up by accident.
async fn patient(strategy: Strategy, children: Vec<ChildSpec>) -> (SupervisorRef, JoinHandle<Exit>) {
    up(support::supervisor(strategy, 100, children)).await
}

/// As OTP's count_children: specs, active, supervisors, workers.
async fn counts(top: &SupervisorRef) -> [usize; 4] {
    let counts = top.count_children().await.unwrap();
    [counts.specs, counts.active, counts.supervisors, counts.workers]
}

fn refused<T>(refusal: Refusal) -> Result<T, ChildError> {
    Err(ChildError::Refused(refusal))
}

fn told_to_fail(id: &str) -> Result<(), ChildError> {
    Err(ChildError::StartFailed { id: id.to_owned(), exit: error("told to fail") })
}

fn error(text: &str) -> Exit {
    Exit::Error(text.to_owned())
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
