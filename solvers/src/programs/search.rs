//! Counts the solutions of a program: depth first, with bounds propagated through every row.
//!
//! Rule: a solution is counted exactly once; when no row can break any more, the free columns are
//! multiplied out at once. Branching takes the equation with the fewest open columns, which for
//! exact-cover programs is the usual smallest-choice rule. Absent: clocks; `stop` is asked now and then.

use super::Program;
use std::collections::VecDeque;

/// What counting gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Solutions found; all of them when `complete`.
    pub count: u128,
    pub complete: bool,
    pub nodes: u64,
    /// The first `keep` solutions of the search, sorted; one value per column.
    pub solutions: Vec<Vec<i64>>,
}

/// Nodes between two questions whether to stop.
const ASK_EVERY: u64 = 1024;

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
    stop: &'a mut dyn FnMut() -> bool,
}

/// Counts the solutions of `program` and keeps the first `keep` of them; `stop` ends it early.
///
/// # Errors
/// A row whose sums do not fit 64 bits, in words.
pub fn count(program: &Program, keep: usize, stop: &mut dyn FnMut() -> bool) -> Result<Counted, String> {
    let n = program.columns.len();
    let lower: Vec<i64> = program.columns.iter().map(|c| c.lower).collect();
    let upper: Vec<i64> = program.columns.iter().map(|c| c.upper).collect();
    let mut out = Counted { count: 0, complete: true, nodes: 0, solutions: Vec::new() };
    if lower.iter().zip(&upper).any(|(l, u)| l > u) {
        return Ok(out);
    }
    let mut sides = Vec::new();
    for row in &program.rows {
        let equation = row.lower.is_some() && row.lower == row.upper;
        for (bound, sign) in [(row.upper, 1), (row.lower.map(i64::wrapping_neg), -1)] {
            let Some(bound) = bound else { continue };
            let terms: Vec<(usize, i64)> = row.terms.iter().map(|&(c, a)| (c, a * sign)).collect();
            let (mut least, mut most, mut size) = (0i128, 0i128, i128::from(bound).abs());
            for &(c, a) in &terms {
                let (x, y) = (i128::from(a) * i128::from(lower[c]), i128::from(a) * i128::from(upper[c]));
                least += x.min(y);
                most += x.max(y);
                size += x.abs().max(y.abs());
            }
            // A quarter of the range keeps every difference of the propagation exact.
            if size > i128::from(i64::MAX / 4) {
                return Err(format!("row `{}` does not fit exact 64-bit sums", row.name));
            }
            let open = terms.iter().filter(|(c, _)| lower[*c] < upper[*c]).count();
            let (least, most) = (least as i64, most as i64);
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
    let mut search =
        Search { sides, uses, lower, upper, trail: Vec::new(), queue, queued, undecided, out, keep, stop };
    if search.propagate() {
        search.out.complete = search.walk();
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

    /// False if it was stopped.
    fn walk(&mut self) -> bool {
        self.out.nodes += 1;
        if self.out.nodes.is_multiple_of(ASK_EVERY) && (self.stop)() {
            return false;
        }
        let keeping = self.out.solutions.len() < self.keep;
        if self.undecided == 0 && !keeping {
            let free = self.lower.iter().zip(&self.upper);
            self.out.count += free.map(|(l, u)| (u - l + 1) as u128).product::<u128>();
            return true;
        }
        let Some(column) = self.branch() else {
            self.out.count += 1;
            if keeping {
                self.out.solutions.push(self.lower.clone());
            }
            return true;
        };
        let (lower, upper) = (self.lower[column], self.upper[column]);
        for value in lower..=upper {
            let mark = self.trail.len();
            self.set(column, value, value);
            let go_on = !self.propagate() || self.walk();
            self.undo(mark);
            if !go_on {
                return false;
            }
        }
        true
    }
}
