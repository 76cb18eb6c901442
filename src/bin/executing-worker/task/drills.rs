//! Faults on purpose, asked for by a stage's parameters, to see that the daemon survives them.
//!
//! `drill: {crash|hang|garbage|exit-without-result|allocate: ATTEMPTS}` or the flat form `drill_crash`,
//! `drill_exit_without_result` and so on: on these attempts (a number or a list) the worker really
//! aborts, goes silent for ever, writes bytes that are no frame, leaves without a result, or allocates
//! until its limit. `drill_sleep_ms: N` waits before the result, to give a kill a window.
//! `drill_stage: NAME` limits all of them to stages of that kind or path. `drill_hold: PARAMETER`: the work does
//! not begin before that parameter is tuned.

use super::fail;
use super::params::wrong;
use super::work::Work;
use engine::run::StageError;
use serde_json::Value;
use std::time::{Duration, Instant};

const FAULTS: [&str; 5] = ["crash", "hang", "garbage", "exit-without-result", "allocate"];
/// How much one step of the allocation drill takes.
const ALLOCATE_STEP_BYTES: usize = 64 * 1024 * 1024;
const NAP: Duration = Duration::from_millis(10);

fn applies(work: &Work) -> Result<bool, StageError> {
    let Some(stage) = work.params.text("drill_stage")? else { return Ok(true) };
    let request = &work.request;
    Ok(stage == request.kind.name()
        || stage == request.stage
        || request.stage.rsplit('/').next() == Some(stage))
}

/// Whether the drill `fault` is asked for on this attempt.
fn asked(work: &Work, fault: &str) -> Result<bool, StageError> {
    let flat = format!("drill_{}", fault.replace('-', "_"));
    let nested = work.params.get("drill").and_then(|drill| drill.get(fault));
    let Some(attempts) = work.params.get(&flat).or(nested) else { return Ok(false) };
    let attempt = u64::from(work.request.attempt);
    let is = |value: &Value| match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let listed = match attempts {
        Value::Array(items) => items.iter().map(is).collect::<Option<Vec<u64>>>(),
        one => is(one).map(|one| vec![one]),
    };
    listed
        .map(|listed| listed.contains(&attempt))
        .ok_or_else(|| wrong(&flat, &attempts.to_string(), "an attempt number or a list of them"))
}

/// Faults before the work begins.
pub fn before(work: &Work) -> Result<(), StageError> {
    if let Some(drill) = work.params.get("drill") {
        let known =
            drill.as_object().is_some_and(|faults| faults.keys().all(|k| FAULTS.contains(&k.as_str())));
        if !known {
            return Err(wrong("drill", &drill.to_string(), &format!("an object with some of {FAULTS:?}")));
        }
    }
    if !applies(work)? {
        return Ok(());
    }
    if let Some(parameter) = work.params.text("drill_hold")? {
        while !work.pipe().is_offered(parameter) {
            work.check()?;
            std::thread::sleep(NAP);
        }
    }
    if asked(work, "crash")? {
        eprintln!("executing-worker: a drill aborts this process");
        std::process::abort();
    }
    if asked(work, "hang")? {
        work.pipe().play_dead();
        loop {
            std::thread::sleep(Duration::from_secs(3_600));
        }
    }
    if asked(work, "garbage")? {
        work.pipe().write(b"this is no frame of the protocol\n");
        std::thread::sleep(Duration::from_secs(60));
        std::process::exit(0);
    }
    if asked(work, "exit-without-result")? {
        std::process::exit(0);
    }
    if asked(work, "allocate")? {
        let mut held: Vec<Vec<u8>> = Vec::new();
        loop {
            // The limit is on address space, so untouched pages count.
            held.push(Vec::with_capacity(std::hint::black_box(ALLOCATE_STEP_BYTES)));
            std::hint::black_box(&held);
        }
    }
    Ok(())
}

/// The pause before the result.
pub fn after(work: &Work) -> Result<(), StageError> {
    let pause = work.params.whole("drill_sleep_ms", 0, 0, 3_600_000)?;
    if pause == 0 || !applies(work)? {
        return Ok(());
    }
    let until = Instant::now() + Duration::from_millis(pause);
    while Instant::now() < until {
        if work.is_cancelled() {
            return Err(fail::cancelled());
        }
        std::thread::sleep(NAP);
    }
    Ok(())
}
