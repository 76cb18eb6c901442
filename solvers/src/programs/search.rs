//! Counts the solutions of a program: depth first, with bounds propagated through every row.
//!
//! Rule: a solution is counted exactly once; when no row can break any more, the free columns are
//! multiplied out at once. Branching takes the equation with the fewest open columns, which for
//! exact-cover programs is the usual smallest-choice rule. Absent: clocks, threads.

use super::Program;
use super::count::{BY_SEARCH, ProgramError};
use super::watch::Signals;
use std::collections::VecDeque;

/// What counting gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Solutions found; all of them when `complete`.
    pub count: u128,
    pub complete: bool,
    pub nodes: u64,
    /// The first `keep` solutions that the search met, sorted; one value per column.
    pub solutions: Vec<Vec<i64>>,
    /// In words.
    pub method: String,
    /// The method that gave the same count, if one could within its budget.
    pub confirmed_by: Option<String>,
    /// Bytes of stored counts; 0 for methods that store none.
    pub stored_bytes: usize,
}

impl Counted {
    pub(super) fn none() -> Self {
        Counted {
            count: 0,
            complete: true,
            nodes: 0,
            solutions: Vec::new(),
            method: BY_SEARCH.to_string(),
            confirmed_by: None,
            stored_bytes: 0,
        }
    }
}

/// `sum of terms <= bound`, one side of a row.
struct Side {
    terms: Vec<(usize, i64)>,
    bound: i64,
    least: i64,
    most: i64,
    /// Columns not yet fixed.
    open: usize,
    /// Its row is an equation or asks for at least something.
    demands: bool,
}

struct Search<'a> {
    sides: Vec<Side>,
    /// Per column: side and coefficient.
    uses: Vec<Vec<(usize, i64)>>,
    lower: Vec<i64>,
    upper: Vec<i64>,
    trail: Vec<(usize, i64, i64)>,
    queue: VecDeque<usize>,
    queued: Vec<bool>,
    /// Sides that can still break.
    undecided: usize,
    out: Counted,
    keep: usize,
    nodes_max: u64,
    signals: &'a Signals,
}

/// Walks all of `program`; the caller has checked that its bounds do not cross and its sums fit.
pub(super) fn run(
    program: &Program,
    keep: usize,
    nodes_max: u64,
    signals: &Signals,
) -> Result<Counted, ProgramError> {
    let n = program.columns.len();
    let lower: Vec<i64> = program.columns.iter().map(|c| c.lower).collect();
    let upper: Vec<i64> = program.columns.iter().map(|c| c.upper).collect();
    let mut out = Counted::none();
    let mut sides = Vec::new();
    for row in &program.rows {
        let equation = row.lower.is_some() && row.lower == row.upper;
        for (bound, sign) in [(row.upper, 1), (row.lower.map(i64::wrapping_neg), -1)] {
            let Some(bound) = bound else { continue };
            let terms: Vec<(usize, i64)> = row.terms.iter().map(|&(c, a)| (c, a * sign)).collect();
            let (mut least, mut most) = (0, 0);
            for &(c, a) in &terms {
                least += (a * lower[c]).min(a * upper[c]);
                most += (a * lower[c]).max(a * upper[c]);
            }
            let open = terms.iter().filter(|(c, _)| lower[*c] < upper[*c]).count();
            sides.push(Side { terms, bound, least, most, open, demands: equation || sign < 0 });
        }
    }
    let mut uses = vec![Vec::new(); n];
    for (s, side) in sides.iter().enumerate() {
        side.terms.iter().for_each(|&(c, a)| uses[c].push((s, a)));
    }
    let undecided = sides.iter().filter(|s| s.most > s.bound).count();
    let queue = (0..sides.len()).collect();
    let queued = vec![true; sides.len()];
    out.solutions.reserve(keep.min(1024));
    let mut search = Search {
        sides,
        uses,
        lower,
        upper,
        trail: Vec::new(),
        queue,
        queued,
        undecided,
        out,
        keep,
        nodes_max,
        signals,
    };
    if search.propagate() {
        search.out.complete = search.walk(1.0)?;
    }
    search.out.solutions.sort();
    Ok(search.out)
}

impl Search<'_> {
    fn set(&mut self, column: usize, lower: i64, upper: i64) {
        let (old_lower, old_upper) = (self.lower[column], self.upper[column]);
        self.trail.push((column, old_lower, old_upper));
        self.shift(column, lower, upper, true);
    }

    /// Moves the bounds of a column and what the sides know about it.
    fn shift(&mut self, column: usize, lower: i64, upper: i64, forward: bool) {
        let (dl, du) = (lower - self.lower[column], upper - self.upper[column]);
        let was_open = self.lower[column] < self.upper[column];
        let is_open = lower < upper;
        self.lower[column] = lower;
        self.upper[column] = upper;
        for &(s, a) in &self.uses[column] {
            let side = &mut self.sides[s];
            let before = side.most > side.bound;
            let (least, most) = if a > 0 { (a * dl, a * du) } else { (a * du, a * dl) };
            side.least += least;
            side.most += most;
            match (was_open, is_open) {
                (true, false) => side.open -= 1,
                (false, true) => side.open += 1,
                _ => {}
            }
            let after = side.most > side.bound;
            match (before, after) {
                (true, false) => self.undecided -= 1,
                (false, true) => self.undecided += 1,
                _ => {}
            }
            if forward && least != 0 && after && !self.queued[s] {
                self.queued[s] = true;
                self.queue.push_back(s);
            }
        }
    }

    /// Narrows columns until nothing changes; false if a row cannot hold.
    fn propagate(&mut self) -> bool {
        while let Some(s) = self.queue.pop_front() {
            self.queued[s] = false;
            let slack = self.sides[s].bound - self.sides[s].least;
            if slack < 0 {
                self.queue.drain(..).for_each(|s| self.queued[s] = false);
                return false;
            }
            if self.sides[s].most <= self.sides[s].bound {
                continue;
            }
            for t in 0..self.sides[s].terms.len() {
                let (c, a) = self.sides[s].terms[t];
                let room = slack / a.abs();
                let (l, u) = (self.lower[c], self.upper[c]);
                if u - l > room {
                    if a > 0 { self.set(c, l, l + room) } else { self.set(c, u - room, u) }
                }
            }
        }
        true
    }

    fn undo(&mut self, to: usize) {
        while self.trail.len() > to {
            if let Some((column, lower, upper)) = self.trail.pop() {
                self.shift(column, lower, upper, false);
            }
        }
    }

    fn branch(&self) -> Option<usize> {
        let open = |c: usize| self.lower[c] < self.upper[c];
        let mut best: Option<(bool, usize, usize)> = None;
        for (s, side) in self.sides.iter().enumerate() {
            if side.most > side.bound && side.open > 0 {
                let key = (!side.demands, side.open, s);
                if best.is_none_or(|b| key < b) {
                    best = Some(key);
                }
            }
        }
        let Some((_, _, s)) = best else {
            return (0..self.lower.len()).find(|&c| open(c));
        };
        let terms = self.sides[s].terms.iter().filter(|(c, _)| open(*c));
        terms.max_by_key(|(c, a)| (a.abs(), self.uses[*c].len(), usize::MAX - c)).map(|(c, _)| *c)
    }

    /// False if it was stopped. `share` of the whole search lies below.
    fn walk(&mut self, share: f64) -> Result<bool, ProgramError> {
        self.out.nodes += 1;
        if self.signals.stopped() || self.out.nodes > self.nodes_max {
            return Ok(false);
        }
        let keeping = self.out.solutions.len() < self.keep;
        if self.undecided == 0 && !keeping {
            let mut widths = self.lower.iter().zip(&self.upper).map(|(l, u)| (u - l) as u128 + 1);
            let here = widths.try_fold(1u128, |n, width| n.checked_mul(width));
            let here = here.and_then(|n| n.checked_add(self.out.count));
            self.out.count = here.ok_or(ProgramError::TooMany)?;
            self.signals.advance(share, self.out.count);
            return Ok(true);
        }
        let Some(column) = self.branch() else {
            self.out.count += 1;
            if keeping {
                self.out.solutions.push(self.lower.clone());
            }
            self.signals.advance(share, self.out.count);
            return Ok(true);
        };
        let (lower, upper) = (self.lower[column], self.upper[column]);
        let share = share / ((upper - lower) as f64 + 1.0);
        for value in lower..=upper {
            let mark = self.trail.len();
            self.set(column, value, value);
            let go_on = if self.propagate() { self.walk(share) } else { Ok(true) };
            self.undo(mark);
            if !go_on? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
