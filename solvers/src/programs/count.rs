//! Counting and listing a program: which method, within which memory, confirmed by which other.
//!
//! Rule: three methods that share no code beyond the [`Program`]: counting by components
//! ([`super::memo`]), the engine of design spaces on the program's choices ([`super::choices`]), and the
//! plain search ([`super::search`]). Budgets count nodes, never seconds, so the same program is always
//! counted the same way. A count that two methods disagree on is an error, not an answer.
//! Start at [`solutions`].

use super::choices::Choices;
use super::memo::{Ended, MEMO_BYTES_MAX, MEMO_COLUMNS_MAX, Memo};
use super::resume::{self, CountCheckpoint, Resume};
use super::search::{self, Counted};
use super::watch::{Signals, watched};
use super::{Broken, Program};
use crate::enumeration::{self, Checkpoint, EnumerationError, Flow, Mode, Observer, Options, Progress};
use crate::space::Decimal;

/// Nodes that counting by components is granted before choices are tried: some 10 ms.
const MEMO_NODES_FIRST: u64 = 2_000;

/// Of so many of these nodes one must have been spared by a stored count for the parts to be worth storing: on
/// boards of dominoes every second is, on queens, magic squares and design spaces at most one of 600.
const SPARED_OF: u64 = 20;

/// Nodes of the second method: seconds of plain search.
pub const CONFIRM_NODES: u64 = 400_000;

/// Most solutions kept: as vectors of columns they are for looking at.
pub const KEEP_MAX: usize = 1_000_000;

/// One way to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Components,
    Choices,
    Search,
}

/// How to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountOptions {
    /// This method alone, without a node budget; `None` lets the program decide.
    pub only: Option<Method>,
    /// The plain search keeps this many solutions, the first it meets; above 0 no other method is used.
    pub keep: usize,
    /// For the engine of choices only; the other methods use one thread. The result does not depend on it.
    pub threads: usize,
    /// Bytes of stored counts.
    pub memory_bytes_max: usize,
    /// Nodes for the second method; 0 asks for none.
    pub confirm_nodes: u64,
}

impl Default for CountOptions {
    fn default() -> Self {
        CountOptions {
            only: None,
            keep: 0,
            threads: 1,
            memory_bytes_max: MEMO_BYTES_MAX,
            confirm_nodes: CONFIRM_NODES,
        }
    }
}

/// Why a program has no count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    #[error("row `{row}` does not fit exact 64-bit sums; use fewer digits or another unit")]
    Overflow { row: String },
    #[error("there are more than 2^128 solutions; fix or bound some columns")]
    TooMany,
    #[error("{asked} solutions are asked for; at most {KEEP_MAX} are kept; ask for fewer")]
    TooManyAsked { asked: u64 },
    #[error(
        "the program has more than {} decisions or a column of more than {} values; it is counted and listed, not ranked or sampled",
        super::choices::DECISIONS_MAX,
        crate::space::OPTIONS_MAX
    )]
    NoChoices,
    #[error(transparent)]
    Engine(#[from] EnumerationError),
    #[error("{first} gives {count}, {second} gives {other}; this is a defect of the program, report it")]
    Disagree { first: String, count: u128, second: String, other: u128 },
    #[error("a solution does not hold: {0}; this is a defect of the program, report it")]
    Wrong(Broken),
    #[error("the thread of the count ended early; this is a defect of the program, report it")]
    ThreadLost,
}

/// The name of counting by components.
pub const BY_COMPONENTS: &str = "components, each counted once";
/// The name of counting by the engine of design spaces.
pub const BY_CHOICES: &str = "exactly-one equations as decisions";
/// The name of the plain search.
pub const BY_SEARCH: &str = "exact depth-first search with bounds propagation";

fn fits(program: &Program) -> Result<bool, ProgramError> {
    if program.columns.iter().any(|c| c.lower > c.upper) {
        return Ok(false);
    }
    for row in &program.rows {
        let mut size =
            [row.lower, row.upper].iter().flatten().map(|b| i128::from(*b).abs()).max().unwrap_or(0);
        for &(c, a) in &row.terms {
            let column = &program.columns[c];
            let most = i128::from(column.lower).abs().max(i128::from(column.upper).abs());
            size =
                i128::from(a).abs().checked_mul(most).and_then(|n| n.checked_add(size)).unwrap_or(i128::MAX);
        }
        // A quarter of the range keeps every difference of the propagation exact.
        if size > i128::from(i64::MAX / 4) {
            return Err(ProgramError::Overflow { row: row.name.clone() });
        }
    }
    Ok(true)
}

/// Whether the engine of choices is the better tool: it thinks in decisions, so most columns must be some
/// decision's options, and every row between many decisions costs it at every step.
fn mostly_choices(program: &Program, choices: &Choices) -> bool {
    2 * choices.grouped >= program.columns.len() && choices.space.constraints.len() <= 256
}

/// Solutions of `program`: how many, and the first `keep` that the search meets, sorted.
///
/// `complete` is false when the observer ended it; the count is then what was found by then.
///
/// # Errors
/// [`ProgramError`]: sums that do not fit, more than 2^128 solutions, or two methods that disagree.
pub fn solutions(
    program: &Program,
    options: &CountOptions,
    observer: &mut dyn Observer,
) -> Result<Counted, ProgramError> {
    solutions_from(program, options, None, observer)
}

/// As [`solutions`], going on from what an earlier count of the same program gave to its observer
/// ([`Observer::count_checkpoint`], or [`Observer::checkpoint`] where choices count). Counts by components and
/// by choices are kept; lists and plain searches are not.
///
/// # Errors
/// Besides those of [`solutions`] [`EnumerationError::WrongCheckpoint`]: it is one of another program.
pub fn solutions_from(
    program: &Program,
    options: &CountOptions,
    resume: Option<Resume>,
    observer: &mut dyn Observer,
) -> Result<Counted, ProgramError> {
    if options.keep > KEEP_MAX {
        return Err(ProgramError::TooManyAsked { asked: options.keep as u64 });
    }
    if !fits(program)? {
        return Ok(Counted::none());
    }
    let choices = || Choices::new(program).ok_or(ProgramError::NoChoices);
    let unfit = |what: &str| EnumerationError::WrongCheckpoint { what: what.to_owned() };
    match (options.only, resume) {
        (_, Some(_)) if options.keep > 0 => Err(unfit("solutions that are kept are met anew").into()),
        (None | Some(Method::Components), Some(Resume::Components(from))) => {
            by_components(program, options, Grant::Whole(Some(from)), observer)
        }
        (None | Some(Method::Choices), Some(Resume::Choices(from))) => {
            by_choices(&choices()?, options, Some(*from), observer)
        }
        (_, Some(_)) => Err(unfit("it is one of another method").into()),
        _ if options.keep > 0 => plain(program, options.keep, u64::MAX, 1, observer),
        (None, None) => first(program, options, observer),
        (Some(Method::Search), None) => plain(program, 0, u64::MAX, 1, observer),
        (Some(Method::Components), None) => by_components(program, options, Grant::Whole(None), observer),
        (Some(Method::Choices), None) => by_choices(&choices()?, options, None, observer),
    }
}

/// Counts once more by another method within `options.confirm_nodes` and writes its name into
/// `counted.confirmed_by`, or leaves that absent if the nodes did not suffice.
///
/// # Errors
/// [`ProgramError::Disagree`] if the other method gives another count.
pub fn confirm(
    program: &Program,
    counted: &mut Counted,
    options: &CountOptions,
    observer: &mut dyn Observer,
) -> Result<(), ProgramError> {
    if counted.complete && options.confirm_nodes > 0 && counted.method != BY_SEARCH && fits(program)? {
        let second = plain(program, 0, options.confirm_nodes, 2, observer)?;
        if second.complete {
            agree(counted, BY_SEARCH, second.count)?;
            counted.confirmed_by = Some(BY_SEARCH.to_string());
        } else if counted.method == BY_CHOICES {
            let granted = Grant::Nodes(options.confirm_nodes / 10);
            let (result, memo) = components(program, options, granted, 2, observer)?;
            if let Ok(count) = result {
                agree(counted, BY_COMPONENTS, count)?;
                counted.confirmed_by = Some(BY_COMPONENTS.to_string());
            }
            counted.stored_bytes = counted.stored_bytes.max(memo.bytes);
        }
    }
    Ok(())
}

fn agree(counted: &Counted, second: &str, other: u128) -> Result<(), ProgramError> {
    if counted.count == other {
        return Ok(());
    }
    let (first, second) = (counted.method.clone(), second.to_string());
    Err(ProgramError::Disagree { first, count: counted.count, second, other })
}

/// What a count by components leaves behind.
struct Left {
    nodes: u64,
    hits: u64,
    bytes: usize,
    full: bool,
    found: u128,
}

/// How far a count by components may go.
enum Grant {
    /// So many nodes; no checkpoints, since another method may follow.
    Nodes(u64),
    /// To the end, from the beginning or from a checkpoint.
    Whole(Option<CountCheckpoint>),
}

fn components(
    program: &Program,
    options: &CountOptions,
    grant: Grant,
    pass: u8,
    observer: &mut dyn Observer,
) -> Result<(Result<u128, Ended>, Left), ProgramError> {
    let (nodes_max, digest, from) = match grant {
        Grant::Nodes(nodes) => (nodes, None, None),
        Grant::Whole(from) => (u64::MAX, Some(resume::digest(program)), from),
    };
    if let (Some(from), Some(digest)) = (&from, &digest) {
        from.of(digest)?;
    }
    watched(program.columns.len(), pass, digest.as_deref(), observer, |signals: &Signals| {
        let mut memo = Memo::new(program, options.memory_bytes_max, nodes_max, signals);
        if let Some(from) = from {
            memo.resume(from.place);
        }
        let result = memo.run();
        (
            result,
            Left {
                nodes: memo.nodes,
                hits: memo.hits,
                bytes: memo.bytes(),
                full: memo.full,
                found: memo.found,
            },
        )
    })
    .ok_or(ProgramError::ThreadLost)
}

fn first(
    program: &Program,
    options: &CountOptions,
    observer: &mut dyn Observer,
) -> Result<Counted, ProgramError> {
    if program.columns.len() > MEMO_COLUMNS_MAX {
        return plain(program, 0, u64::MAX, 1, observer);
    }
    let choices = Choices::new(program).filter(|c| mostly_choices(program, c));
    let Some(choices) = choices else {
        return by_components(program, options, Grant::Whole(None), observer);
    };
    let (tried, left) = components(program, options, Grant::Nodes(MEMO_NODES_FIRST), 1, observer)?;
    match tried {
        Err(Ended::Spent) if left.hits * SPARED_OF < left.nodes => {
            by_choices(&choices, options, None, observer)
        }
        Err(Ended::Spent) => by_components(program, options, Grant::Whole(None), observer),
        tried => by_components_ended(tried, left),
    }
}

fn by_components(
    program: &Program,
    options: &CountOptions,
    grant: Grant,
    observer: &mut dyn Observer,
) -> Result<Counted, ProgramError> {
    let (result, left) = components(program, options, grant, 1, observer)?;
    by_components_ended(result, left)
}

fn by_components_ended(result: Result<u128, Ended>, left: Left) -> Result<Counted, ProgramError> {
    let (count, complete) = match result {
        Ok(count) => (count, true),
        Err(Ended::Stopped | Ended::Spent) => (left.found, false),
        Err(Ended::Overflow) => return Err(ProgramError::TooMany),
        Err(Ended::Astray) => {
            let what = "its place is none of this search".to_owned();
            return Err(EnumerationError::WrongCheckpoint { what }.into());
        }
    };
    let method = match left.full {
        false => BY_COMPONENTS.to_string(),
        true => format!("{BY_COMPONENTS} until the memory was full, searched again from there on"),
    };
    Ok(Counted { count, complete, nodes: left.nodes, method, stored_bytes: left.bytes, ..Counted::none() })
}

fn by_choices(
    choices: &Choices,
    options: &CountOptions,
    resume: Option<Checkpoint>,
    observer: &mut dyn Observer,
) -> Result<Counted, ProgramError> {
    let asked = Options { threads: options.threads.max(1), resume, ..Options::new(Mode::Count) };
    let outcome = enumeration::enumerate(&choices.space, &asked, observer)?;
    let method = BY_CHOICES.to_string();
    let (count, complete, nodes) = (outcome.count, outcome.complete, outcome.nodes);
    Ok(Counted { count, complete, nodes, method, ..Counted::none() })
}

fn plain(
    program: &Program,
    keep: usize,
    nodes_max: u64,
    pass: u8,
    observer: &mut dyn Observer,
) -> Result<Counted, ProgramError> {
    watched(program.columns.len(), pass, None, observer, |signals| {
        search::run(program, keep, nodes_max, signals)
    })
    .ok_or(ProgramError::ThreadLost)?
}

/// A solution and its objective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedSolution {
    /// In the unit of the file.
    pub objective: Decimal,
    /// One value per column.
    pub values: Vec<i64>,
}

/// What [`chosen`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Best: ranked. Sample: drawn. As [`enumeration::Outcome::count`].
    pub count: u128,
    pub complete: bool,
    /// Best first, or the sample in canonical order of the choices.
    pub solutions: Vec<RankedSolution>,
    pub nodes: u64,
    pub method: String,
}

/// The best or a uniform sample of the solutions of `program`, by the engine of design spaces; every one of
/// them is checked against the rows.
///
/// # Errors
/// [`ProgramError::NoChoices`] if the program cannot be written as choices; the engine's own errors.
pub fn chosen(
    program: &Program,
    mode: Mode,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Chosen, ProgramError> {
    if let Mode::Best { k } | Mode::Sample { k, .. } = mode
        && k > KEEP_MAX as u64
    {
        return Err(ProgramError::TooManyAsked { asked: k });
    }
    if !fits(program)? {
        let (method, solutions) = (BY_CHOICES.to_string(), Vec::new());
        return Ok(Chosen { count: 0, complete: true, solutions, nodes: 0, method });
    }
    let choices = Choices::new(program).ok_or(ProgramError::NoChoices)?;
    let options = Options { threads: threads.max(1), ..Options::new(mode) };
    let outcome = enumeration::enumerate(&choices.space, &options, observer)?;
    let designs: Vec<_> = match mode {
        Mode::Best { .. } => outcome.best.iter().map(|r| r.design.clone()).collect(),
        _ => outcome.designs.iter().collect(),
    };
    let mut solutions = Vec::with_capacity(designs.len());
    for design in &designs {
        let values = choices.values(design);
        program.check(&values).map_err(ProgramError::Wrong)?;
        let mantissa = program.objective(&values).ok_or(EnumerationError::ObjectiveOverflow)?;
        solutions.push(RankedSolution { objective: Decimal { mantissa, scale: program.scale }, values });
    }
    let method = format!("{BY_CHOICES}; {}", outcome.method);
    Ok(Chosen { count: outcome.count, complete: outcome.complete, solutions, nodes: outcome.nodes, method })
}

/// An observer that only asks a question.
struct Asking<'a>(&'a mut dyn FnMut() -> bool);

impl Observer for Asking<'_> {
    fn progress(&mut self, _: &Progress) -> Flow {
        if (self.0)() { Flow::Stop } else { Flow::Continue }
    }
}

/// Counts the solutions of `program`, or keeps the first `keep` of them; `stop` ends it early.
///
/// # Errors
/// As [`solutions`], in words.
pub fn count(program: &Program, keep: usize, stop: &mut dyn FnMut() -> bool) -> Result<Counted, String> {
    let options = CountOptions { keep: keep.min(KEEP_MAX), ..CountOptions::default() };
    solutions(program, &options, &mut Asking(stop)).map_err(|error| error.to_string())
}

/// As the plain search of [`solutions`], ended after `nodes_max` nodes; then not complete.
///
/// # Errors
/// As [`solutions`].
pub fn within(
    program: &Program,
    options: &CountOptions,
    nodes_max: u64,
    observer: &mut dyn Observer,
) -> Result<Counted, ProgramError> {
    if !fits(program)? {
        return Ok(Counted::none());
    }
    plain(program, options.keep.min(KEEP_MAX), nodes_max, 1, observer)
}

/// One solution of `program`, if the plain search meets one within `nodes_max`.
pub(crate) fn complete(program: &Program, nodes_max: u64) -> Option<Vec<i64>> {
    if !fits(program).ok()? {
        return None;
    }
    let found = search::run(program, 1, nodes_max, &Signals::default()).ok()?;
    found.solutions.into_iter().next()
}
