//! How a verb ends: one JSON line and an exit code.

use serde_json::Value;
use solvers::problem::Problem;
use std::io::Write;
use std::process::ExitCode;

/// What went wrong, sorted by what the caller can do about it. Exit codes: the table of the programs.
#[derive(Debug)]
pub enum Failure {
    /// 3: a file that is named is not there.
    NotFound(String),
    /// 8: the input is wrong; all its problems.
    Invalid(Vec<Problem>),
    /// 8: the input is wrong as a whole.
    Refused(String),
    /// 1: it should have worked.
    Failed(String),
    /// 2: the arguments do not go together.
    Usage(String),
}

/// What a verb gives: an object, and whether it is good news (0) or bad (1).
#[derive(Debug)]
pub struct Answer {
    pub object: Value,
    pub good: bool,
}

impl Answer {
    pub fn good(object: Value) -> Self {
        Answer { object, good: true }
    }
}

/// Prints and gives the exit code.
pub fn finish(result: Result<Answer, Failure>) -> ExitCode {
    match result {
        Ok(answer) => {
            let mut out = std::io::stdout().lock();
            if writeln!(out, "{}", answer.object).and_then(|()| out.flush()).is_err() {
                return ExitCode::from(1);
            }
            ExitCode::from(u8::from(!answer.good))
        }
        Err(failure) => {
            let (code, words) = match failure {
                Failure::NotFound(what) => (3, vec![what]),
                Failure::Invalid(problems) => (8, problems.iter().map(Problem::to_string).collect()),
                Failure::Refused(what) => (8, vec![what]),
                Failure::Failed(what) => (1, vec![what]),
                Failure::Usage(what) => (2, vec![what]),
            };
            for line in words {
                eprintln!("executing-worker: {line}");
            }
            ExitCode::from(code)
        }
    }
}
