//! The errors that the run machine itself finds. Those of workers come from workers.

use super::{ErrorClass, StageError};

fn permanent(code: &str, message: String) -> StageError {
    StageError { code: code.to_owned(), message, class: ErrorClass::Permanent }
}

fn transient(code: &str, message: String) -> StageError {
    StageError { code: code.to_owned(), message, class: ErrorClass::Transient }
}

/// Stopped in the middle: whether it had its effect, nobody knows.
pub(super) fn took_too_long(limit_ms: u64) -> StageError {
    StageError {
        code: "EX-0505".to_owned(),
        message: format!("no result within start_to_close = {limit_ms} ms; the attempt was stopped"),
        class: ErrorClass::Ambiguous,
    }
}

pub(super) fn not_placed_in_time(limit_ms: u64) -> StageError {
    transient("EX-0508", format!("no room within schedule_to_start = {limit_ms} ms"))
}

pub(super) fn broken_off(why: &str) -> StageError {
    StageError {
        code: "EX-0531".to_owned(),
        message: format!(
            "{why} while the attempt ran, and the stage is not idempotent: retry it or cancel the run"
        ),
        class: ErrorClass::Ambiguous,
    }
}

pub(super) fn criterion_false(written: &str) -> StageError {
    permanent("EX-0516", format!("success criterion does not hold: {written}"))
}

pub(super) fn criterion_not_evaluated(written: &str, reason: &str) -> StageError {
    permanent(
        "EX-0517",
        format!("success criterion could not be evaluated and is not waived: {written} ({reason})"),
    )
}

pub(super) fn expectation_false(written: &str) -> StageError {
    permanent("EX-0519", format!("expected `{written}`, and it does not hold"))
}

pub(super) fn expectation_not_evaluated(written: &str, reason: &str) -> StageError {
    permanent("EX-0519", format!("expected `{written}`, and it could not be evaluated ({reason})"))
}

pub(super) fn check_malformed(what: &str) -> StageError {
    permanent(
        "EX-0519",
        format!("a check has `expect` (a list of CEL predicates) and `facts` (an object); {what}"),
    )
}

pub(super) fn condition_not_evaluated(written: &str, reason: &str) -> StageError {
    permanent("EX-0518", format!("the stage's `when` could not be evaluated: {written} ({reason})"))
}

pub(super) fn facts_malformed(reason: &str) -> StageError {
    transient("EX-0503", format!("expected the result's facts as a JSON object: {reason}"))
}

pub(super) fn run_too_late(limit_ms: u64) -> StageError {
    permanent("EX-0050", format!("the run did not end within its deadline of {limit_ms} ms; it is cancelled"))
}

pub(super) fn signal_missing(name: &str, deadline_ms: u64) -> StageError {
    permanent(
        "EX-0053",
        format!("the signal `{name}` did not come by its deadline (journal time {deadline_ms} ms)"),
    )
}

pub(super) fn rejected(by: &str, reason: &str) -> StageError {
    permanent("EX-0540", format!("{by} rejected: {reason}"))
}

pub(super) fn gate_unanswered(deadline_ms: u64) -> StageError {
    permanent("EX-0541", format!("the gate was not answered by its deadline (journal time {deadline_ms} ms)"))
}
