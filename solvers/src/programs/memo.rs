//! Counts the solutions of a program by parts: what is left after a choice falls into independent
//! components, and a component that was counted before is not counted again.
//!
//! Rule: a component's key names every open column with its bounds and every row that can still break
//! with what it has left, so equal keys have equal counts; keys are stored whole, never as a hash alone.
//! The propagation here is two-sided and shares no line with [`super::search`], which confirms it.
//! Memory is bounded by [`MEMO_BYTES_MAX`]: a full table is read but no longer written. One thread.
//! Absent: listing (a product of components is never spelled out). Start at [`Memo::run`].

use super::Program;
use super::resume::{Place, Step};
use super::watch::Signals;
use std::collections::{HashMap, VecDeque};

/// Most bytes of stored keys and counts; half of what a small machine has to spare.
pub const MEMO_BYTES_MAX: usize = 512 << 20;

/// Most columns counted this way: every level of the search holds the columns of its component, which is
/// at most 64 MiB for this many.
pub const MEMO_COLUMNS_MAX: usize = 4000;

/// Bytes of one entry besides its key: count, length and pointer of the key, hash table overhead.
const ENTRY_BYTES: usize = 64;

/// Below this many open columns a component is counted faster than it is looked up.
const MEMO_FROM: usize = 3;

struct Row {
    terms: Vec<(u32, i64)>,
    /// `i64::MIN` and `i64::MAX` stand for no bound; sums stay within a quarter of the range.
    lower: i64,
    upper: i64,
    least: i64,
    most: i64,
    open: u32,
}

impl Row {
    fn settled(&self) -> bool {
        self.least >= self.lower && self.most <= self.upper
    }
}

#[derive(Debug)]
struct Component {
    columns: Vec<u32>,
    rows: Vec<u32>,
}

/// Why no count came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Stopped,
    /// The nodes that were granted are spent.
    Spent,
    /// The count passes 2^128.
    Overflow,
    /// The place to go on from is none of this search.
    Astray,
}

/// One count in progress.
pub(super) struct Memo<'a> {
    rows: Vec<Row>,
    /// Per column: row and coefficient.
    uses: Vec<Vec<(u32, i64)>>,
    lower: Vec<i64>,
    upper: Vec<i64>,
    trail: Vec<(u32, i64, i64)>,
    queue: Vec<u32>,
    queued: Vec<bool>,
    column_seen: Vec<u32>,
    row_seen: Vec<u32>,
    stamp: u32,
    table: HashMap<Box<[u8]>, u128>,
    bytes: usize,
    bytes_max: usize,
    nodes_max: u64,
    signals: &'a Signals,
    /// Where the search is.
    path: Vec<Step>,
    /// What is left of the way back to where an earlier search was.
    way_back: VecDeque<Step>,
    pub nodes: u64,
    pub hits: u64,
    pub full: bool,
    /// Solutions in the parts of the search that are done; what stands when it is stopped.
    pub found: u128,
}

impl<'a> Memo<'a> {
    /// Prepares the count; the caller has checked that every row's sums fit a quarter of 64 bits and that
    /// no column's bounds cross.
    pub fn new(program: &Program, bytes_max: usize, nodes_max: u64, signals: &'a Signals) -> Self {
        let lower: Vec<i64> = program.columns.iter().map(|c| c.lower).collect();
        let upper: Vec<i64> = program.columns.iter().map(|c| c.upper).collect();
        let mut uses = vec![Vec::new(); lower.len()];
        let mut rows = Vec::with_capacity(program.rows.len());
        for (r, row) in program.rows.iter().enumerate() {
            let terms: Vec<(u32, i64)> = row.terms.iter().map(|&(c, a)| (c as u32, a)).collect();
            let (mut least, mut most, mut open) = (0, 0, 0);
            for &(c, a) in &row.terms {
                uses[c].push((r as u32, a));
                least += if a > 0 { a * lower[c] } else { a * upper[c] };
                most += if a > 0 { a * upper[c] } else { a * lower[c] };
                open += u32::from(lower[c] < upper[c]);
            }
            let (low, high) = (row.lower.unwrap_or(i64::MIN), row.upper.unwrap_or(i64::MAX));
            rows.push(Row { terms, lower: low, upper: high, least, most, open });
        }
        Memo {
            column_seen: vec![0; lower.len()],
            row_seen: vec![0; rows.len()],
            queue: (0..rows.len() as u32).collect(),
            queued: vec![true; rows.len()],
            rows,
            uses,
            lower,
            upper,
            trail: Vec::new(),
            stamp: 0,
            table: HashMap::new(),
            bytes: 0,
            bytes_max,
            nodes_max,
            signals,
            path: Vec::new(),
            way_back: VecDeque::new(),
            nodes: 0,
            hits: 0,
            full: false,
            found: 0,
        }
    }

    /// Bytes that the stored counts take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Goes on from `place` when it runs.
    pub fn resume(&mut self, place: Place) {
        self.signals.resume(&place);
        (self.found, self.nodes) = (place.found, place.nodes);
        self.way_back = place.path.into();
    }

    /// The number of solutions.
    pub fn run(&mut self) -> Result<u128, Ended> {
        if !self.propagate() {
            return Ok(0);
        }
        let all: Vec<u32> = (0..self.lower.len() as u32).collect();
        self.product(&all, 1.0, Some(1))
    }

    fn set(&mut self, column: u32, lower: i64, upper: i64) {
        let c = column as usize;
        self.trail.push((column, self.lower[c], self.upper[c]));
        self.shift(c, lower, upper, true);
    }

    fn shift(&mut self, c: usize, lower: i64, upper: i64, forward: bool) {
        let (dl, du) = (lower - self.lower[c], upper - self.upper[c]);
        let (was_open, is_open) = (self.lower[c] < self.upper[c], lower < upper);
        self.lower[c] = lower;
        self.upper[c] = upper;
        for &(r, a) in &self.uses[c] {
            let row = &mut self.rows[r as usize];
            row.least += if a > 0 { a * dl } else { a * du };
            row.most += if a > 0 { a * du } else { a * dl };
            if was_open != is_open {
                if is_open { row.open += 1 } else { row.open -= 1 }
            }
            if forward && !self.queued[r as usize] {
                self.queued[r as usize] = true;
                self.queue.push(r);
            }
        }
    }

    fn undo(&mut self, to: usize) {
        while self.trail.len() > to {
            if let Some((column, lower, upper)) = self.trail.pop() {
                self.shift(column as usize, lower, upper, false);
            }
        }
    }

    /// Narrows bounds until nothing changes; false if some row cannot hold.
    fn propagate(&mut self) -> bool {
        while let Some(r) = self.queue.pop() {
            let r = r as usize;
            self.queued[r] = false;
            let row = &self.rows[r];
            if row.least > row.upper || row.most < row.lower {
                for r in self.queue.drain(..) {
                    self.queued[r as usize] = false;
                }
                return false;
            }
            if row.settled() || row.open == 0 {
                continue;
            }
            for t in 0..self.rows[r].terms.len() {
                let (column, a) = self.rows[r].terms[t];
                let c = column as usize;
                if self.lower[c] == self.upper[c] {
                    continue;
                }
                let row = &self.rows[r];
                let size = a.abs();
                let (mut low, mut high) = (self.lower[c], self.upper[c]);
                if row.upper != i64::MAX {
                    // A contradiction may arise within the row itself; the next look at it reports it.
                    let room = (row.upper - row.least).max(0) / size;
                    if high - low > room {
                        if a > 0 { high = low + room } else { low = high - room }
                    }
                }
                if row.lower != i64::MIN {
                    let room = (row.most - row.lower).max(0) / size;
                    if self.upper[c] - self.lower[c] > room {
                        if a > 0 {
                            low = low.max(self.upper[c] - room);
                        } else {
                            high = high.min(self.lower[c] + room);
                        }
                    }
                }
                if low > high {
                    for r in self.queue.drain(..) {
                        self.queued[r as usize] = false;
                    }
                    return false;
                }
                if (low, high) != (self.lower[c], self.upper[c]) {
                    self.set(column, low, high);
                }
            }
        }
        true
    }

    /// The open ones of `columns` in independent components, and how often the free ones multiply.
    fn split(&mut self, columns: &[u32]) -> Result<(u128, Vec<Component>), Ended> {
        self.stamp += 1;
        let stamp = self.stamp;
        let (mut free, mut all) = (1u128, Vec::new());
        for &start in columns {
            let s = start as usize;
            if self.lower[s] == self.upper[s] || self.column_seen[s] == stamp {
                continue;
            }
            self.column_seen[s] = stamp;
            let mut part = Component { columns: vec![start], rows: Vec::new() };
            let mut next = 0;
            while next < part.columns.len() {
                let c = part.columns[next] as usize;
                next += 1;
                for &(r, _) in &self.uses[c] {
                    if self.row_seen[r as usize] == stamp || self.rows[r as usize].settled() {
                        continue;
                    }
                    self.row_seen[r as usize] = stamp;
                    part.rows.push(r);
                    for &(other, _) in &self.rows[r as usize].terms {
                        let o = other as usize;
                        if self.column_seen[o] != stamp && self.lower[o] < self.upper[o] {
                            self.column_seen[o] = stamp;
                            part.columns.push(other);
                        }
                    }
                }
            }
            if part.rows.is_empty() {
                let width = (self.upper[s] - self.lower[s]) as u128 + 1;
                free = free.checked_mul(width).ok_or(Ended::Overflow)?;
            } else {
                part.columns.sort_unstable();
                part.rows.sort_unstable();
                all.push(part);
            }
        }
        Ok((free, all))
    }

    /// Solutions in `columns` under the present bounds. `share` of the whole search is done by it; what it
    /// finds counts `times` in the whole, if that is known.
    fn product(&mut self, columns: &[u32], share: f64, times: Option<u128>) -> Result<u128, Ended> {
        let goes_back = !self.way_back.is_empty();
        if !goes_back {
            if self.signals.is_wanted() {
                let (path, found, nodes) = (self.path.clone(), self.found, self.nodes);
                self.signals.keep(Place { path, found, nodes, share: 0 });
            }
            self.nodes += 1;
            if self.nodes > self.nodes_max {
                return Err(Ended::Spent);
            }
        }
        if self.signals.stopped() {
            return Err(Ended::Stopped);
        }
        let (mut count, mut parts) = self.split(columns)?;
        if parts.is_empty() {
            self.done(share, times, count);
            return Ok(count);
        }
        let alone = parts.len() == 1;
        let inner = times.filter(|_| alone).and_then(|t| t.checked_mul(count));
        // The small ones first: an empty one spares the others.
        parts.sort_by_key(|p| (p.columns.len(), p.columns[0]));
        let each = share / parts.len() as f64;
        let begin = match self.way_back.pop_front() {
            None => 0,
            Some(Step::Product { part, count: before }) if part < parts.len() => {
                count = before;
                part
            }
            Some(_) => return Err(Ended::Astray),
        };
        for (at, part) in parts.iter().enumerate().skip(begin) {
            self.path.push(Step::Product { part: at, count });
            let here = self.component(part, each, inner)?;
            self.path.pop();
            count = count.checked_mul(here).ok_or(Ended::Overflow)?;
            if count == 0 {
                self.signals.advance(each * (parts.len() - at - 1) as f64, self.found);
                return Ok(0);
            }
        }
        if !alone {
            self.done(0.0, times, count);
        }
        Ok(count)
    }

    fn done(&mut self, share: f64, times: Option<u128>, count: u128) {
        if let Some(times) = times {
            self.found = self.found.saturating_add(times.saturating_mul(count));
        }
        self.signals.advance(share, self.found);
    }

    fn component(&mut self, part: &Component, share: f64, times: Option<u128>) -> Result<u128, Ended> {
        if part.columns.len() < MEMO_FROM {
            return self.branch(part, share, times);
        }
        let key = self.key(part);
        if let Some(&count) = self.table.get(&key[..]) {
            self.hits += 1;
            self.done(share, times, count);
            return Ok(count);
        }
        let count = self.branch(part, share, times)?;
        let bytes = key.len() + ENTRY_BYTES;
        if self.bytes + bytes <= self.bytes_max {
            self.bytes += bytes;
            self.table.insert(key.into_boxed_slice(), count);
        } else {
            self.full = true;
        }
        Ok(count)
    }

    fn branch(&mut self, part: &Component, share: f64, times: Option<u128>) -> Result<u128, Ended> {
        let column = self.choose(part);
        let c = column as usize;
        let (lower, upper) = (self.lower[c], self.upper[c]);
        // Bounds rather than values: wide columns are halved, switches take their two values.
        let middle = lower + (upper - lower) / 2;
        let (begin, mut total) = match self.way_back.pop_front() {
            None => (0, 0u128),
            Some(Step::Branch { second, total }) => (usize::from(second), total),
            Some(Step::Product { .. }) => return Err(Ended::Astray),
        };
        for (half, (low, high)) in [(lower, middle), (middle + 1, upper)].into_iter().enumerate().skip(begin)
        {
            self.path.push(Step::Branch { second: half == 1, total });
            let mark = self.trail.len();
            self.set(column, low, high);
            let count = if self.propagate() {
                self.product(&part.columns, share / 2.0, times)
            } else {
                self.signals.advance(share / 2.0, self.found);
                Ok(0)
            };
            self.undo(mark);
            total = total.checked_add(count?).ok_or(Ended::Overflow)?;
            self.path.pop();
        }
        Ok(total)
    }

    /// The column to branch on: from the row with the fewest open columns, equations first.
    fn choose(&self, part: &Component) -> u32 {
        let mut best = (true, u32::MAX, u32::MAX);
        for &r in &part.rows {
            let row = &self.rows[r as usize];
            best = best.min((row.lower == i64::MIN, row.open, r));
        }
        let open = |c: u32| self.lower[c as usize] < self.upper[c as usize];
        let terms = self.rows[best.2 as usize].terms.iter().filter(|(c, _)| open(*c));
        let heavy = |&&(c, a): &&(u32, i64)| (a.abs(), self.uses[c as usize].len(), u32::MAX - c);
        terms.max_by_key(heavy).map_or(part.columns[0], |t| t.0)
    }

    /// Everything that the count of `part` depends on.
    fn key(&self, part: &Component) -> Vec<u8> {
        let mut key = Vec::with_capacity(2 * part.columns.len() + 4 * part.rows.len());
        let mut before = 0;
        for &column in &part.columns {
            let c = column as usize;
            number(&mut key, u64::from(column - before) + 1);
            before = column;
            number(&mut key, zigzag(self.lower[c]));
            number(&mut key, (self.upper[c] - self.lower[c]) as u64);
        }
        number(&mut key, 0);
        before = 0;
        for &r in &part.rows {
            let row = &self.rows[r as usize];
            number(&mut key, u64::from(r - before) + 1);
            before = r;
            let (mut step, mut width) = (0u64, 0);
            for &(c, a) in &row.terms {
                let c = c as usize;
                if self.lower[c] < self.upper[c] {
                    step = divisor(step, a.unsigned_abs());
                    width = row.most - row.least;
                }
            }
            let step = step.max(1) as i64;
            // What is left above the least sum, in steps; a side that can no longer break says so.
            let above = if row.upper == i64::MAX || row.upper - row.least >= width {
                0
            } else {
                1 + ((row.upper - row.least) / step) as u64
            };
            let below = if row.lower == i64::MIN || row.lower <= row.least {
                0
            } else {
                1 + ((row.lower - row.least + step - 1) / step) as u64
            };
            number(&mut key, above);
            number(&mut key, below);
        }
        key
    }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// Seven bits a byte, so that keys of small numbers are short and no two sequences look alike.
fn number(key: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        key.push((n as u8) | 0x80);
        n >>= 7;
    }
    key.push(n as u8);
}

#[cfg(test)]
mod tests;
