//! Why a space has the designs it has: what each constraint removes, which contradict each other, and
//! which single one to relax by how much.
//!
//! Rule: a number is exact or it is absent, and absent is said in words; a conflict and a relaxation are
//! proven by finished searches or marked as not. Absent: choosing for the reader which constraint to give
//! up; what that costs is not in the space. Start at [`explain`]; [`near_miss`] explains one design.

mod relax;
mod words;

pub use relax::{Relaxation, Side};
pub use words::table;

use crate::enumeration::{EnumerationError, Flow, Mode, Observer, Options, Progress, enumerate};
use crate::milp::conflict::{self, Conflict, ConflictError};
use crate::milp::describe::describe;
use crate::milp::removal::satisfying;
use crate::recheck;
use crate::space::DesignSpace;
use serde::Serialize;

/// Designs per count unless asked otherwise: some seconds of search.
pub const DESIGNS_MAX: u128 = 20_000_000;

/// How much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainOptions {
    /// A count that passes this is given up and absent.
    pub designs_max: u128,
    /// Search threads; the explanation does not depend on them.
    pub threads: usize,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        ExplainOptions { designs_max: DESIGNS_MAX, threads: 1 }
    }
}

/// What one constraint does. Counts are absent where they were not computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    pub constraint: String,
    /// Line of the file; 0 if there is none.
    pub line: u32,
    pub words: String,
    /// Combinations that satisfy this constraint, all others left out.
    #[serde(serialize_with = "count")]
    pub satisfied_alone: Option<u128>,
    /// Combinations that it excludes by itself.
    #[serde(serialize_with = "count")]
    pub removed_alone: Option<u128>,
    /// Designs that the space would have besides its own if only this constraint were dropped.
    #[serde(serialize_with = "count")]
    pub removed_given_others: Option<u128>,
}

/// What there is to say about a space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Without any constraint; absent above 128 bits.
    #[serde(serialize_with = "count")]
    pub combinations: Option<u128>,
    /// Absent if counting was given up.
    #[serde(serialize_with = "count")]
    pub designs: Option<u128>,
    /// In the order of the file.
    pub constraints: Vec<Effect>,
    /// For a space without designs.
    pub conflict: Option<Conflict>,
    /// For a space without designs: every single change that gives it one, in the order of the file.
    pub relaxations: Vec<Relaxation>,
    /// What was not computed and why, in words.
    pub not_computed: Vec<String>,
}

/// A count as a number where it fits 64 bits, else as digits.
fn count<S: serde::Serializer>(value: &Option<u128>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        None => to.serialize_none(),
        Some(n) => match u64::try_from(*n) {
            Ok(n) => to.serialize_u64(n),
            Err(_) => to.serialize_str(&n.to_string()),
        },
    }
}

/// Why there is no explanation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    #[error(transparent)]
    Search(#[from] EnumerationError),
    #[error(transparent)]
    Conflict(#[from] ConflictError),
}

/// Ends a search at a number of designs, or when the one behind it says so.
struct Budget<'a> {
    behind: &'a mut dyn Observer,
    designs_max: u128,
    stopped: bool,
}

impl Observer for Budget<'_> {
    fn progress(&mut self, progress: &Progress) -> Flow {
        self.stopped |= self.behind.progress(progress) == Flow::Stop;
        if self.stopped || progress.found > self.designs_max { Flow::Stop } else { Flow::Continue }
    }
}

/// Explains `space`; `observer` watches every search and may end it, and what is unfinished is absent.
///
/// Cost: two counts more than there are constraints; for a space without designs one feasibility test per
/// constraint and one best design per bound.
///
/// # Errors
/// [`ExplainError`] if the space cannot be searched.
pub fn explain(
    space: &DesignSpace,
    options: &ExplainOptions,
    observer: &mut dyn Observer,
) -> Result<Explanation, ExplainError> {
    let mut budget = Budget { behind: observer, designs_max: options.designs_max, stopped: false };
    let combinations = space.combinations();
    let designs = counted(space, options, &mut budget)?;
    let mut out = Explanation {
        combinations,
        designs,
        constraints: Vec::with_capacity(space.constraints.len()),
        conflict: None,
        relaxations: Vec::new(),
        not_computed: Vec::new(),
    };
    let beyond = |what: &str, stopped: bool| match stopped {
        true => format!("{what}: the time was up"),
        false => format!("{what}: there are more than {}", options.designs_max),
    };
    if designs.is_none() {
        out.not_computed.push(beyond("the number of designs", budget.stopped));
    }
    for (at, constraint) in space.constraints.iter().enumerate() {
        let satisfied = satisfying(space, &constraint.rule);
        if satisfied.is_none() {
            out.not_computed
                .push(format!("what `{}` removes alone: it has too many states", constraint.name));
        }
        let mut removed_given_others = None;
        if let Some(designs) = designs {
            let mut without = space.clone();
            without.constraints.remove(at);
            removed_given_others =
                counted(&without, options, &mut budget)?.and_then(|more| more.checked_sub(designs));
            if removed_given_others.is_none() {
                let what = format!("the designs without `{}`", constraint.name);
                out.not_computed.push(beyond(&what, budget.stopped));
            }
        }
        out.constraints.push(Effect {
            constraint: constraint.name.clone(),
            line: constraint.line,
            words: describe(space, constraint),
            satisfied_alone: satisfied,
            removed_alone: combinations.zip(satisfied).and_then(|(all, holds)| all.checked_sub(holds)),
            removed_given_others,
        });
    }
    if designs == Some(0) {
        if budget.stopped {
            out.not_computed.push("the conflict and the relaxations: the time was up".to_string());
            return Ok(out);
        }
        out.conflict = conflict::minimal(space)?;
        out.relaxations = relax::relaxations(space, &mut budget, &mut out.not_computed)?;
    }
    Ok(out)
}

/// The single changes each of which gives a space without designs one, in the order of the file, and what was
/// not computed because `observer` ended the search.
///
/// Cost: one best design per bound and one feasibility test per constraint without a bound.
///
/// # Errors
/// [`ExplainError`] if the space cannot be searched.
pub fn ways_out(
    space: &DesignSpace,
    observer: &mut dyn Observer,
) -> Result<(Vec<Relaxation>, Vec<String>), ExplainError> {
    let mut budget = Budget { behind: observer, designs_max: u128::MAX, stopped: false };
    let mut not_computed = Vec::new();
    let found = relax::relaxations(space, &mut budget, &mut not_computed)?;
    Ok((found, not_computed))
}

fn counted(
    space: &DesignSpace,
    options: &ExplainOptions,
    budget: &mut Budget,
) -> Result<Option<u128>, ExplainError> {
    if budget.stopped {
        return Ok(None);
    }
    let asked = Options { threads: options.threads.max(1), ..Options::new(Mode::Count) };
    let outcome = enumerate(space, &asked, budget)?;
    // Above the limit whether a count finishes depends on the clock; absent it is the same every time.
    Ok(Some(outcome.count).filter(|n| outcome.complete && *n <= options.designs_max))
}

/// One constraint that a design breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Miss {
    pub constraint: String,
    pub line: u32,
    /// What was asked and what the design has.
    pub what: String,
    /// The change that this constraint needs to let the design pass; absent if it has no bound to move.
    pub change: Option<Relaxation>,
}

/// What keeps `design` out of the feasible set: empty if nothing does. One entry means a near miss: with
/// its change alone the design is feasible.
pub fn near_miss(space: &DesignSpace, design: &[u16]) -> Vec<Miss> {
    let violations = recheck::violations(space, design);
    let named = violations.into_iter().map(|(name, what)| {
        let at = space.constraints.iter().position(|c| c.name == name);
        Miss {
            line: at.map_or(0, |at| space.constraints[at].line),
            change: at.and_then(|at| relax::for_design(space, at, design)),
            constraint: name,
            what,
        }
    });
    named.collect()
}
