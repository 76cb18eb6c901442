//! Why a space has no design: a set of constraints that contradict each other, none to spare.
//!
//! Rule: the set is infeasible, and without any one of its members it is feasible; `proven` says that
//! every one of these verdicts came from a finished search or solver run. Deletion filter: one
//! feasibility test per constraint (Chinneck and Dravnieks, ORSA J. Comput. 3, 1991).

use super::describe::describe;
use super::{MilpError, Status, optimum};
use crate::enumeration::{Any, EnumerationError, any};
use crate::space::{Constraint, DesignSpace};
use serde::Serialize;

/// Nodes of the exact search per test before HiGHS is asked: about a second.
pub const TEST_NODES_MAX: u64 = 20_000_000;

/// Seconds HiGHS may take per test that the search did not finish.
pub const TEST_SECONDS_MAX: f64 = 60.0;

/// Constraints that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Names, in the order of the file.
    pub constraints: Vec<String>,
    /// The same in words.
    pub words: Vec<String>,
    /// False if a test ended without a verdict; the set may then be larger than it need be.
    pub proven: bool,
}

/// Why no conflict could be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConflictError {
    #[error(transparent)]
    Search(#[from] EnumerationError),
    #[error(transparent)]
    Milp(#[from] MilpError),
}

/// `Some(true)` if a design exists, `Some(false)` if none does, `None` if neither was found out.
fn feasible(space: &DesignSpace) -> Result<Option<bool>, ConflictError> {
    match any(space, TEST_NODES_MAX)? {
        Any::Design(_) => Ok(Some(true)),
        Any::None => Ok(Some(false)),
        Any::Unknown => match optimum(space, None, Some(TEST_SECONDS_MAX))?.status {
            Status::Infeasible => Ok(Some(false)),
            Status::Optimal | Status::Feasible => Ok(Some(true)),
            Status::Unknown => Ok(None),
        },
    }
}

/// A minimal set of contradicting constraints; `None` if the space has a design (or no verdict came).
///
/// # Errors
/// [`ConflictError`] if a test could not be made.
pub fn minimal(space: &DesignSpace) -> Result<Option<Conflict>, ConflictError> {
    if feasible(space)? != Some(false) {
        return Ok(None);
    }
    let mut kept: Vec<Constraint> = space.constraints.clone();
    let mut proven = true;
    let mut at = 0;
    while at < kept.len() {
        let mut fewer = space.clone();
        fewer.constraints = kept.clone();
        fewer.constraints.remove(at);
        match feasible(&fewer)? {
            Some(false) => kept = fewer.constraints,
            Some(true) => at += 1,
            None => {
                proven = false;
                at += 1;
            }
        }
    }
    Ok(Some(Conflict {
        constraints: kept.iter().map(|c| c.name.clone()).collect(),
        words: kept.iter().map(|c| describe(space, c)).collect(),
        proven,
    }))
}
