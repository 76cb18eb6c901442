//! The feasible set: list it, count it, find its best, draw from it uniformly.
//!
//! An exact depth-first search: bit-set domains, pair tables by forward checking, wider tables as tries,
//! sums as slacks with one lookup per depth, `same` and `distinct` by counters. The engine chooses the
//! order of decisions itself; what comes out is in canonical order. Work is cut into units (prefixes of
//! the search) whose results are joined in their order, so the number of threads changes nothing, and a
//! [`Checkpoint`] at a unit boundary is enough to go on elsewhere. What is too much to walk is counted,
//! sampled and ranked by a layered decision diagram, which also confirms counts ([`Options::confirm`]).
//!
//! Rule: every design that comes out is feasible and, when `complete`, none is missing; all arithmetic
//! is on 64-bit integers that the reader has checked for overflow. Absent on purpose: clocks (the
//! [`Observer`] stops a search), files. Start at [`enumerate`].

mod automata;
mod bits;
mod checkpoint;
mod diagram;
mod diverse;
mod estimate;
mod methods;
mod order;
mod plan;
mod run;
mod search;
mod set;
mod sinks;

pub use checkpoint::Checkpoint;
pub use estimate::{Estimate, estimate};
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

/// Largest decision diagram while it is built, when [`Options`] do not say.
pub const DIAGRAM_BYTES_MAX: usize = 1 << 30;

/// Most designs of a diverse set: each next one is compared with the whole pool.
pub const DIVERSE_MAX: u64 = 1000;

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
    /// `k` designs far from each other, in canonical order: from a uniform pool of `max(1000, 50 k)`
    /// designs (all of F if it is no larger), first a uniform one, then always the one whose least
    /// distance to those taken is largest, of equal ones the first in canonical order. Distance is the
    /// number of decisions that differ. Greedy: the least distance reached is at least half of the best
    /// that the pool allows (Gonzalez, Theor. Comput. Sci. 38, 1985).
    Diverse { k: u64, seed: u64 },
}

/// By what means. The result does not depend on it, only time and memory do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The search where it is short, by an estimate; else a decision diagram where that is small; else
    /// the search. For [`Mode::List`] and [`Mode::Best`] always the search.
    #[default]
    Auto,
    Search,
    /// A decision diagram up to [`Options::diagram_bytes_max`], else the search, which the outcome says.
    /// Lists are always searched.
    Diagram,
}

/// How to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// For [`Mode::List`]: stop after this many.
    pub limit: Option<u64>,
    /// From 1; the result does not depend on it.
    pub threads: usize,
    /// Goes on from here; a checkpoint is always one of the search.
    pub resume: Option<Checkpoint>,
    pub method: Method,
    /// Counts a second time by the other method, whatever it costs up to `diagram_bytes_max`: a complete
    /// list or count of the search by the diagram, a count of the diagram by searching parts of it.
    pub confirm: bool,
    pub diagram_bytes_max: usize,
}

impl Options {
    /// `mode` on one thread from the beginning.
    pub fn new(mode: Mode) -> Self {
        Options {
            mode,
            limit: None,
            threads: 1,
            resume: None,
            method: Method::Auto,
            confirm: false,
            diagram_bytes_max: DIAGRAM_BYTES_MAX,
        }
    }
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub units_done: u64,
    pub units: u64,
    /// Designs found in the units done.
    pub found: u128,
    /// 1 for the search, 2 for the second pass of a sample, 3 for a decision diagram.
    pub pass: u8,
    /// How many designs there are, once that is known exactly.
    pub total: Option<u128>,
    /// A guess from random probes, made before longer searches; never a count.
    pub estimate: Option<Estimate>,
    /// Share of the estimated work in the units done.
    pub estimated_share: Option<f64>,
}

impl Progress {
    /// Share of the work that is done, from 0 to 1: by the estimate where there is one, else by search
    /// prefixes, which differ in work.
    pub fn fraction(&self) -> f64 {
        if let Some(share) = self.estimated_share {
            return share;
        }
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
    /// How many threads are to search from the next unit on, if that has changed; the result does not depend
    /// on it. Asked with each progress.
    fn threads(&mut self) -> Option<usize> {
        None
    }
    /// Asked after every unit; making a checkpoint copies what was found.
    fn wants_checkpoint(&mut self) -> bool {
        false
    }
    fn checkpoint(&mut self, _checkpoint: Checkpoint) {}
    /// The same of a program that is counted by components.
    fn count_checkpoint(&mut self, _checkpoint: crate::programs::CountCheckpoint) {}
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
    /// Other methods that counted the same, in words. Empty when none was asked or none was feasible.
    pub confirmed_by: Vec<String>,
    /// What a reader should know of the way: a method that was given up and why.
    pub notes: Vec<String>,
    /// Accounted for at most: plan, walks, units, designs kept with their sorting, diagram. The space
    /// itself and the program come on top.
    pub memory_bytes: u64,
    /// For [`Mode::Diverse`]: the least number of decisions in which two of the designs differ.
    pub least_distance: Option<u32>,
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
    #[error(
        "the search counts {search} designs and the decision diagram {diagram}; this is a defect of the program: use neither and report it"
    )]
    MethodsDiffer { search: u128, diagram: u128 },
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
