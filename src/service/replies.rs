//! Refusals as the client sees them: a code, words, an exit code.

use actors::admission::NotAdmitted;
use actors::orchestrator::SubmitError;
use actors::run_actor::DriveError;
use engine::protocol::ErrorReply;
use engine::run::{Refusal, StageError};
use supervisors::AskError;

/// Exit codes of the contract (docs/specification.md).
pub(super) mod exit {
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const NOT_FOUND: u8 = 3;
    pub const DENIED: u8 = 4;
    pub const CONFLICT: u8 = 5;
    pub const TIMEOUT: u8 = 7;
    pub const INVALID: u8 = 8;
    pub const TRY_LATER: u8 = 75;
}

pub(super) fn error(code: &str, exit: u8, message: impl Into<String>) -> ErrorReply {
    ErrorReply { code: code.to_owned(), message: message.into(), exit, problems: Vec::new() }
}

pub(super) fn unknown_run(run: &str) -> ErrorReply {
    error(
        "EX-0003",
        exit::NOT_FOUND,
        format!("there is no run {run}; `executingctl list` shows those there are"),
    )
}

pub(super) fn busy(what: &str) -> ErrorReply {
    error("EX-0009", exit::TRY_LATER, format!("{what} is busy; try again in a moment"))
}

pub(super) fn from_ask(what: &str, asked: AskError) -> ErrorReply {
    match asked {
        AskError::Busy => busy(what),
        AskError::Timeout => error("EX-0010", exit::TIMEOUT, format!("{what} did not answer in time")),
        AskError::Down | AskError::Lost => {
            error("EX-0009", exit::TRY_LATER, format!("{what} is being restarted; try again in a moment"))
        }
    }
}

pub(super) fn from_stage(failed: StageError) -> ErrorReply {
    let code = match failed.code.as_str() {
        "EX-0522" => exit::NOT_FOUND,
        _ => exit::FAILED,
    };
    error(&failed.code, code, failed.message)
}

pub(super) fn from_submit(refused: SubmitError) -> ErrorReply {
    let message = refused.to_string();
    match refused {
        SubmitError::Invalid(problems) => {
            let code = problems.first().map_or("EX-0100", |p| p.code.as_str()).to_owned();
            ErrorReply { code, message, exit: exit::INVALID, problems }
        }
        SubmitError::InputMissing { .. } | SubmitError::NotUploaded { .. } | SubmitError::InputName(_) => {
            error("EX-0015", exit::INVALID, message)
        }
        SubmitError::KeyReused { .. } => error("EX-0023", exit::CONFLICT, message),
        SubmitError::UnknownRun(run) => unknown_run(&run),
        SubmitError::UnknownStage { .. } => error("EX-0019", exit::NOT_FOUND, message),
        SubmitError::NotDone { .. } => error("EX-0020", exit::CONFLICT, message),
        SubmitError::Deadline(_) => error("EX-0122", exit::INVALID, message),
        SubmitError::NothingComputes(_) => error("EX-0024", exit::INVALID, message),
        SubmitError::Backend { ref error, .. } => self::error(error.code(), exit::INVALID, message),
        SubmitError::NotAdmitted(why) => match why {
            NotAdmitted::Never(_) => error("EX-0025", exit::INVALID, message),
            NotAdmitted::Full { .. } => error("EX-0026", exit::TRY_LATER, message),
            NotAdmitted::AboveCeiling(_) => error("EX-0027", exit::INVALID, message),
        },
        SubmitError::Stopped(_) => error("EX-0018", exit::TRY_LATER, message),
        SubmitError::NotDurable(_) | SubmitError::NoRoom(_) => error("EX-0013", exit::TRY_LATER, message),
    }
}

pub(super) fn from_drive(run: &str, refused: DriveError) -> ErrorReply {
    match refused {
        DriveError::Unknown => unknown_run(run),
        DriveError::NotDurable(why) => error("EX-0013", exit::TRY_LATER, why),
        DriveError::Refused(refusal) => {
            let message = refusal.to_string();
            match refusal {
                Refusal::UnknownStage(_) => error("EX-0019", exit::NOT_FOUND, message),
                Refusal::NotAllowed { .. } => error("EX-0021", exit::DENIED, message),
                Refusal::NotInRole { .. } => error("EX-0004", exit::DENIED, message),
                Refusal::UnknownParameter(_) => error("EX-0052", exit::INVALID, message),
                Refusal::ParameterOutOfRange(_) => error("EX-0054", exit::INVALID, message),
                Refusal::NotTunable(_) => error("EX-0055", exit::INVALID, message),
                Refusal::Malformed { .. } => error("EX-0056", exit::INVALID, message),
                _ => error("EX-0020", exit::CONFLICT, message),
            }
        }
    }
}
