//! Errors of the libraries as the daemon's [`StageError`]s: which code, and whether another try can help.

use engine::run::{ErrorClass, StageError};
use solvers::enumeration::{EnumerationError, Flow, Observer, Progress};
use solvers::explain;
use solvers::milp::conflict;
use solvers::problem::Problem;
use solvers::selection::SelectionError;
use solvers::space::DesignSpace;
use std::time::{Duration, Instant};

/// Problems told in one error. A frame has 256 KiB and a person mends a screenful at a time.
const PROBLEMS_TOLD_MAX: usize = 200;
/// Bytes of one error message; leaves room in the frame.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Longest search for changes that would give a design: the failure itself must not wait for them.
const WAYS_OUT_WAIT: Duration = Duration::from_secs(5);
/// Changes named in one message.
const WAYS_OUT_MAX: usize = 5;

pub fn transient(code: &str, message: String) -> StageError {
    StageError { code: code.to_owned(), message: cut(message), class: ErrorClass::Transient }
}

pub fn permanent(code: &str, message: String) -> StageError {
    StageError { code: code.to_owned(), message: cut(message), class: ErrorClass::Permanent }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
    }
    message
}

pub fn cancelled() -> StageError {
    permanent("EX-0590", "cancelled".to_owned())
}

/// All problems of the inputs in one error, a line each.
pub fn invalid(problems: &[Problem]) -> StageError {
    let mut lines: Vec<String> = problems.iter().take(PROBLEMS_TOLD_MAX).map(ToString::to_string).collect();
    if problems.len() > PROBLEMS_TOLD_MAX {
        lines.push(format!("{} more problems are not listed", problems.len() - PROBLEMS_TOLD_MAX));
    }
    permanent("EX-0511", lines.join("\n"))
}

/// A problem of a whole input, without a place in it.
pub fn whole(file: &str, message: String) -> Problem {
    Problem {
        code: "EX-0511".to_owned(),
        file: file.to_owned(),
        line: 0,
        column: 0,
        message,
        help: String::new(),
    }
}

pub fn search(error: EnumerationError) -> StageError {
    match error {
        EnumerationError::ThreadLost => transient("EX-0501", error.to_string()),
        _ => permanent("EX-0511", error.to_string()),
    }
}

pub fn selection(error: SelectionError) -> StageError {
    match error {
        SelectionError::Stopped { .. } => cancelled(),
        SelectionError::Model(problems) => invalid(&problems),
        SelectionError::NoDesigns => permanent("EX-0512", error.to_string()),
        other => permanent("EX-0511", other.to_string()),
    }
}

/// No design exists: the error names a minimal set of constraints that contradict each other.
pub fn infeasible(space: &DesignSpace) -> StageError {
    permanent("EX-0512", format!("{}{}", infeasible_words(space), ways_out(space)))
}

/// Ends looking for ways out; the conflict has been found by then and is what must be said.
struct Patience(Instant);

impl Observer for Patience {
    fn progress(&mut self, _: &Progress) -> Flow {
        if self.0.elapsed() < WAYS_OUT_WAIT { Flow::Continue } else { Flow::Stop }
    }
}

/// Which single changes would be enough, as the end of a message; empty if none was found.
fn ways_out(space: &DesignSpace) -> String {
    let Ok((found, unfinished)) = explain::ways_out(space, &mut Patience(Instant::now())) else {
        return String::new();
    };
    let mut words = String::new();
    if !found.is_empty() {
        let shown: Vec<&str> = found.iter().take(WAYS_OUT_MAX).map(|way| way.words.as_str()).collect();
        words = format!(". Each of these changes alone is enough: {}", shown.join("; "));
        if found.len() > shown.len() {
            words += &format!("; and {} more, see `executing-worker explain`", found.len() - shown.len());
        }
    } else if unfinished.is_empty() {
        words = ". No single change of one constraint is enough".to_owned();
    }
    words
}

/// The sentence of [`infeasible`], for other exits.
pub fn infeasible_words(space: &DesignSpace) -> String {
    match conflict::minimal(space) {
        Ok(Some(found)) if found.constraints.is_empty() => {
            "no design is feasible: a decision has no option at all".to_owned()
        }
        Ok(Some(found)) => format!(
            "no design meets all constraints; {} contradict each other{}: {}",
            found.constraints.join(", "),
            if found.proven { ", and none of them can be spared" } else { " (perhaps not all are needed)" },
            found.words.join("; ")
        ),
        Ok(None) => "no design meets all constraints; no smaller conflicting set was found".to_owned(),
        Err(error) => format!("no design meets all constraints; the conflict could not be narrowed: {error}"),
    }
}
