//! Reads `.mps` and `.lp` files through HiGHS into an exact [`Program`].
//!
//! Rule: HiGHS only parses; every number is then checked and scaled by us, and a program with anything
//! but linear rows over bounded integers is refused with all its problems. This is the one place that
//! opens a file, because HiGHS reads programs by path only. Start at [`read`].

use super::{Column, Program, Row, exact};
use crate::problem::Problem;
use highs_sys as ffi;
use std::ffi::CString;
use std::os::raw::c_void;
use std::path::Path;

/// Most values of one column: the search walks them.
const VALUES_MAX: f64 = 1_000_000.0;

/// What HiGHS holds after reading.
struct Raw {
    names: Vec<String>,
    maximise: bool,
    offset: f64,
    costs: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    row_lower: Vec<f64>,
    row_upper: Vec<f64>,
    starts: Vec<i32>,
    indices: Vec<i32>,
    values: Vec<f64>,
    integrality: Vec<i32>,
    quadratic: bool,
}

fn problem(file: &str, code: &str, message: String, help: &str) -> Problem {
    Problem {
        code: code.to_string(),
        file: file.to_string(),
        line: 0,
        column: 0,
        message,
        help: help.to_string(),
    }
}

/// Reads the program in `path`; its ending says the form.
///
/// # Errors
/// All problems, with codes EX-0330 to EX-0334. HiGHS gives no lines, so the messages name the column or row.
pub fn read(path: &Path) -> Result<Program, Vec<Problem>> {
    let file = path.display().to_string();
    let owned = path.to_path_buf();
    // HiGHS keeps per-thread state; a thread of its own leaves nothing behind.
    let raw = std::thread::spawn(move || load(&owned)).join();
    let raw = match raw {
        Ok(Ok(raw)) => raw,
        Ok(Err(what)) => {
            return Err(vec![problem(&file, "EX-0330", what, "check the file's form and ending")]);
        }
        Err(_) => {
            let what = "the reader ended early".to_string();
            return Err(vec![problem(&file, "EX-0330", what, "check the file")]);
        }
    };
    exactly(raw, &file)
}

/// A HiGHS instance that is destroyed when dropped.
struct Instance(*mut c_void);

impl Drop for Instance {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the pointer came from Highs_create and is used nowhere after this.
        unsafe { ffi::Highs_destroy(self.0) }
    }
}

#[allow(unsafe_code)]
fn load(path: &Path) -> Result<Raw, String> {
    let name = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| "the path has a zero byte".to_string())?;
    // SAFETY: create has no preconditions; a null pointer is checked before use.
    let highs = Instance(unsafe { ffi::Highs_create() });
    if highs.0.is_null() {
        return Err("HiGHS could not start".to_string());
    }
    // SAFETY: the instance is alive, both strings end with zero; reading does not keep them.
    let status = unsafe {
        ffi::Highs_setBoolOptionValue(highs.0, c"output_flag".as_ptr(), 0);
        ffi::Highs_readModel(highs.0, name.as_ptr())
    };
    if status == ffi::STATUS_ERROR {
        return Err("HiGHS could not read the program".to_string());
    }
    // SAFETY: queries of a live instance.
    let (cols, rows, entries, hessian) = unsafe {
        (
            ffi::Highs_getNumCol(highs.0),
            ffi::Highs_getNumRow(highs.0),
            ffi::Highs_getNumNz(highs.0),
            ffi::Highs_getHessianNumNz(highs.0),
        )
    };
    let size = |n: i32| usize::try_from(n).map_err(|_| "HiGHS gave a negative size".to_string());
    let (n, m, z) = (size(cols)?, size(rows)?, size(entries)?);
    let mut raw = Raw {
        names: Vec::with_capacity(n),
        maximise: false,
        offset: 0.0,
        costs: vec![0.0; n],
        lower: vec![0.0; n],
        upper: vec![0.0; n],
        row_lower: vec![0.0; m],
        row_upper: vec![0.0; m],
        starts: vec![0; m + 1],
        indices: vec![0; z],
        values: vec![0.0; z],
        integrality: vec![0; n],
        quadratic: hessian > 0,
    };
    let (mut num_col, mut num_row, mut num_nz, mut sense) = (0, 0, 0, 0);
    // SAFETY: every array has the size that the queries above gave; format 2 is by rows, whose starts
    // are one per row (one more is allocated). HiGHS writes integrality only for integer programs.
    let status = unsafe {
        ffi::Highs_getLp(
            highs.0,
            ffi::MATRIX_FORMAT_ROW_WISE,
            &mut num_col,
            &mut num_row,
            &mut num_nz,
            &mut sense,
            &mut raw.offset,
            raw.costs.as_mut_ptr(),
            raw.lower.as_mut_ptr(),
            raw.upper.as_mut_ptr(),
            raw.row_lower.as_mut_ptr(),
            raw.row_upper.as_mut_ptr(),
            raw.starts.as_mut_ptr(),
            raw.indices.as_mut_ptr(),
            raw.values.as_mut_ptr(),
            raw.integrality.as_mut_ptr(),
        )
    };
    if status == ffi::STATUS_ERROR {
        return Err("HiGHS could not hand out the program".to_string());
    }
    raw.maximise = sense == ffi::OBJECTIVE_SENSE_MAXIMIZE;
    raw.starts[m] = entries;
    for column in 0..cols {
        // HiGHS writes at most kHighsMaximumStringLength (512) bytes with the closing zero.
        let mut buffer = vec![0u8; 1024];
        // SAFETY: the buffer is twice as long as the longest name HiGHS writes.
        let status = unsafe { ffi::Highs_getColName(highs.0, column, buffer.as_mut_ptr().cast()) };
        let end = buffer.iter().position(|b| *b == 0).unwrap_or(0);
        let name = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let unnamed = status == ffi::STATUS_ERROR || name.is_empty();
        raw.names.push(if unnamed { format!("column-{column}") } else { name });
    }
    Ok(raw)
}

fn exactly(raw: Raw, file: &str) -> Result<Program, Vec<Problem>> {
    let mut problems = Vec::new();
    if raw.quadratic {
        let message = "the objective is quadratic".to_string();
        problems.push(problem(file, "EX-0334", message, "only linear programs are read"));
    }
    let mut columns = Vec::with_capacity(raw.names.len());
    for (c, name) in raw.names.iter().enumerate() {
        match raw.integrality[c] {
            ffi::VAR_TYPE_INTEGER => {}
            ffi::VAR_TYPE_CONTINUOUS => {
                let message = format!("column `{name}` is continuous");
                problems.push(problem(file, "EX-0331", message, "declare it integer (MARKER lines, BV, UI)"));
            }
            _ => {
                let message = format!("column `{name}` is semi-continuous or semi-integer");
                problems.push(problem(file, "EX-0334", message, "split it into an integer and a switch"));
            }
        }
        let (low, high) = (raw.lower[c].ceil(), raw.upper[c].floor());
        if !(low.is_finite() && high.is_finite()) || high - low > VALUES_MAX || low.abs() > 1e15 {
            let message = format!("column `{name}` runs from {} to {}", raw.lower[c], raw.upper[c]);
            problems.push(problem(file, "EX-0332", message, "give it finite bounds at most 1,000,000 apart"));
            continue;
        }
        columns.push(Column { name: name.clone(), lower: low as i64, upper: high as i64 });
    }
    let not_exact = |row: &str, value: f64| {
        let message =
            format!("{row}: {value} is no decimal of at most {} places within 2^53", exact::PLACES_MAX);
        problem(file, "EX-0333", message, "write integers or short decimals")
    };
    let mut rows = Vec::with_capacity(raw.row_lower.len());
    for r in 0..raw.row_lower.len() {
        let (start, end) = (raw.starts[r] as usize, raw.starts[r + 1] as usize);
        let mut numbers: Vec<f64> = raw.values[start..end].to_vec();
        let bounds = [raw.row_lower[r], raw.row_upper[r]];
        numbers.extend(bounds.iter().filter(|b| b.is_finite()));
        match exact::common(&numbers) {
            Err(value) => problems.push(not_exact(&format!("row {r}"), value)),
            Ok((whole, _)) => {
                let terms = raw.indices[start..end].iter().map(|&c| c as usize).zip(whole.iter().copied());
                let mut rest = whole[end - start..].iter().copied();
                let lower = bounds[0].is_finite().then(|| rest.next()).flatten();
                let upper = bounds[1].is_finite().then(|| rest.next()).flatten();
                let terms = terms.filter(|(_, a)| *a != 0).collect();
                rows.push(Row { name: format!("r{r}"), terms, lower, upper });
            }
        }
    }
    let mut costs = raw.costs.clone();
    costs.push(raw.offset);
    let (mut costs, scale) = match exact::common(&costs) {
        Ok(found) => found,
        Err(value) => {
            problems.push(not_exact("objective", value));
            (Vec::new(), 0)
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let offset = costs.pop().unwrap_or(0);
    Ok(Program { name: file.to_string(), columns, rows, costs, offset, scale, maximise: raw.maximise })
}
