//! Programs in bounded integer variables: read exactly, counted by three methods, optimised by HiGHS.
//!
//! Rule: a program holds integers only; a file whose numbers are not integers or short decimals is
//! refused or scaled exactly, never rounded. Start at [`read`] and [`solutions`].

mod choices;
mod count;
mod exact;
mod file;
mod memo;
mod resume;
mod search;
mod watch;

pub use choices::Choices;
pub(crate) use count::complete;
pub use count::{
    BY_CHOICES, BY_COMPONENTS, BY_SEARCH, CONFIRM_NODES, Chosen, CountOptions, KEEP_MAX, Method,
    ProgramError, RankedSolution, chosen, confirm, count, solutions, solutions_from, within,
};
pub use file::read;
pub use memo::{MEMO_BYTES_MAX, MEMO_COLUMNS_MAX};
pub use resume::{CountCheckpoint, Resume};
pub use search::Counted;

use std::fmt;

/// An integer variable with inclusive bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub lower: i64,
    pub upper: i64,
}

/// `lower <= sum of coefficient * column <= upper`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    /// Column and coefficient; no column twice, no coefficient zero.
    pub terms: Vec<(usize, i64)>,
    pub lower: Option<i64>,
    pub upper: Option<i64>,
}

impl Row {
    /// The row as whole numbers allow: divided by the common divisor of its coefficients, its bounds rounded
    /// inwards, so tighter and smaller. The same points are within it.
    pub(crate) fn tightened(&self) -> Row {
        let d = self.terms.iter().fold(0, |d, (_, a)| divisor(d, a.unsigned_abs())).max(1) as i64;
        Row {
            name: self.name.clone(),
            terms: self.terms.iter().map(|&(column, a)| (column, a / d)).collect(),
            lower: self.lower.map(|l| l.div_euclid(d) + i64::from(l.rem_euclid(d) != 0)),
            upper: self.upper.map(|u| u.div_euclid(d)),
        }
    }
}

/// The greatest common divisor; that of 0 and a number is the number.
pub(crate) fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// A linear program in integers: objective value = `(offset + costs * x) / 10^scale`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    pub name: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    /// One per column.
    pub costs: Vec<i64>,
    pub offset: i64,
    pub scale: u8,
    pub maximise: bool,
}

/// A row that an assignment breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Program {
    /// Whether `values` (one per column) satisfy everything, in 128-bit arithmetic.
    ///
    /// # Errors
    /// [`Broken`] names the first bound or row that does not hold.
    pub fn check(&self, values: &[i64]) -> Result<(), Broken> {
        if values.len() != self.columns.len() {
            let what = format!("{} values for {} columns", values.len(), self.columns.len());
            return Err(Broken { what });
        }
        for (column, &value) in self.columns.iter().zip(values) {
            if value < column.lower || value > column.upper {
                let what =
                    format!("`{}` is {value}, outside {} to {}", column.name, column.lower, column.upper);
                return Err(Broken { what });
            }
        }
        for row in &self.rows {
            let sum: i128 = row.terms.iter().map(|&(c, a)| i128::from(a) * i128::from(values[c])).sum();
            let low = row.lower.is_some_and(|l| sum < i128::from(l));
            if low || row.upper.is_some_and(|u| sum > i128::from(u)) {
                return Err(Broken { what: format!("row `{}` is {sum}", row.name) });
            }
        }
        Ok(())
    }

    /// The objective of `values` times `10^scale`; `None` if it does not fit 64 bits.
    pub fn objective(&self, values: &[i64]) -> Option<i64> {
        let sum: i128 = self.costs.iter().zip(values).map(|(&c, &v)| i128::from(c) * i128::from(v)).sum();
        i64::try_from(sum + i128::from(self.offset)).ok()
    }
}
