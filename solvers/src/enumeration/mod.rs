//! The feasible set: list it, count it, find its best, draw from it uniformly.
//!
//! An exact depth-first search: bit-set domains, pair tables by forward checking, wider tables as tries,
//! sums as slacks with one lookup per depth, `same` and `distinct` by counters. The engine chooses the
//! order of decisions itself; what comes out is in canonical order. Work is cut into units (prefixes of
//! the search) whose results are joined in their order, so the number of threads changes nothing, and a
//! [`Checkpoint`] at a unit boundary is enough to go on elsewhere.
//!
//! Rule: every design that comes out is feasible and, when `complete`, none is missing; all arithmetic
//! is on 64-bit integers that the reader has checked for overflow. Absent on purpose: clocks (the
//! [`Observer`] stops a search), files. Start at [`enumerate`].

mod bits;
mod checkpoint;
mod order;
mod plan;
mod run;
mod search;
mod set;
mod sinks;

pub use checkpoint::Checkpoint;
pub use run::{Any, any, enumerate};
pub use set::{DesignSet, Packing, SetError, feasible_set_digest};

use crate::space::{Decimal, Design, ExactError};
use serde::{Deserialize, Serialize};

/// Most designs kept in memory by a list: 100 million at 8 bytes and their sorting stay below 2 GiB.
pub const LIST_DESIGNS_MAX: u64 = 100_000_000;

/// Largest sample or number of best designs; they are kept as vectors with their objectives.
pub const KEEP_MAX: u64 = 10_000_000;

/// Largest compiled plan. The largest known space compiles to 0.3 MB.
pub const PLAN_BYTES_MAX: usize = 1 << 30;

/// Most threads: more than any machine this runs on has cores.
pub const THREADS_MAX: usize = 1024;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// All designs in canonical order, or the first `limit` of them.
    List,
    /// Only how many there are.
    Count,
    /// The `k` best by the space's objective; equal ones in canonical order.
    Best { k: u64 },
    /// `k` different designs, every set of `k` equally likely; in canonical order.
    Sample { k: u64, seed: u64 },
}

/// How to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// For [`Mode::List`]: stop after this many.
    pub limit: Option<u64>,
    /// From 1; the result does not depend on it.
    pub threads: usize,
    pub resume: Option<Checkpoint>,
}

impl Options {
    /// `mode` on one thread from the beginning.
    pub fn new(mode: Mode) -> Self {
        Options { mode, limit: None, threads: 1, resume: None }
    }
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub units_done: u64,
    pub units: u64,
    /// Designs found in the units done.
    pub found: u128,
    /// 1 for the search, 2 for the second pass of a sample.
    pub pass: u8,
}

impl Progress {
    /// Share of the search prefixes that are done, from 0 to 1. Prefixes differ in work.
    pub fn fraction(&self) -> f64 {
        if self.units == 0 { 1.0 } else { self.units_done as f64 / self.units as f64 }
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// End soon; the outcome is then not complete.
    Stop,
}

/// Watches a search from the thread that called [`enumerate`], at least every 20 ms.
pub trait Observer {
    fn progress(&mut self, progress: &Progress) -> Flow;
    /// Asked after every unit; making a checkpoint copies what was found.
    fn wants_checkpoint(&mut self) -> bool {
        false
    }
    fn checkpoint(&mut self, _checkpoint: Checkpoint) {}
}

/// Never stops, wants nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Observer for Quiet {
    fn progress(&mut self, _: &Progress) -> Flow {
        Flow::Continue
    }
}

/// One of the best designs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    pub objective: Decimal,
    pub design: Design,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// List, count, sample: feasible designs found (all of F when `complete`). Best: designs ranked.
    pub count: u128,
    /// List: all; sample: the drawn ones; else empty. Canonical order.
    pub designs: DesignSet,
    /// Nothing that was asked for is missing: F was searched to its end and no limit cut it.
    pub complete: bool,
    /// For [`Mode::Best`]: best first.
    pub best: Vec<Ranked>,
    /// In words, for reports.
    pub method: String,
    /// Inner nodes of the search. Depends on threads for [`Mode::Best`] only.
    pub nodes: u64,
}

/// Why a search cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnumerationError {
    #[error("constraint `{constraint}`: {error}")]
    Exact { constraint: String, error: ExactError },
    #[error("the space has no objective, so none is best; add `objective` to the space or list its designs")]
    NoObjective,
    #[error("decision `{decision}` has {options} options; the search takes 1 to 1024")]
    OptionCount { decision: String, options: usize },
    #[error("the space has no decisions")]
    NoDecisions,
    #[error("there are more than {limit} designs; count them, take the best or a sample, or set a limit")]
    TooManyDesigns { limit: u64 },
    #[error("{asked} designs are asked for; at most {limit} are kept")]
    TooManyAsked { asked: u64, limit: u64 },
    #[error(
        "the compiled space would take {bytes} bytes; at most {limit} are used; use fewer options or tuples"
    )]
    TooLarge { bytes: usize, limit: usize },
    #[error("the checkpoint does not fit: {what}; start the search anew")]
    WrongCheckpoint { what: String },
    #[error("a search thread ended early; this is a defect of the program")]
    ThreadLost,
    #[error("the integers of the objective do not fit a decimal")]
    ObjectiveOverflow,
}
