//! Reads `.mps` and `.lp` files through HiGHS into an exact [`Program`].
//!
//! Rule: HiGHS only parses; before it the file is looked at for what HiGHS would let pass (a missing end,
//! another form), after it every number is checked and scaled by us, and a program with anything but linear
//! rows over bounded integers is refused with all its problems. A warning of HiGHS refuses the file too: it
//! means that something was left out or changed. This is the one place that opens a file, because HiGHS
//! reads programs by path only. Start at [`read`].

use super::{Column, Program, Row, exact};
use crate::milp::highs::{Instance, Linear};
use crate::problem::Problem;
use highs_sys as ffi;
use std::path::Path;

/// Most values of one column: the search walks them.
const VALUES_MAX: f64 = 1_000_000.0;

/// Largest file: as for design spaces.
const FILE_BYTES_MAX: u64 = crate::space::FILE_BYTES_MAX as u64;

/// Most digits of a number: with 16, two decimals may be the same double.
const DIGITS_MAX: usize = 15;

/// Most problems told; a file that is wrong everywhere says so in its first lines.
const PROBLEMS_MAX: usize = crate::space::PROBLEMS_MAX;

/// What HiGHS holds after reading.
struct Raw {
    names: Vec<String>,
    row_names: Vec<String>,
    linear: Linear,
    quadratic: bool,
    warnings: Vec<String>,
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
/// All problems, with codes EX-0330 to EX-0339. HiGHS gives no lines, so the messages name column or row.
pub fn read(path: &Path) -> Result<Program, Vec<Problem>> {
    let file = path.display().to_string();
    whole(path, &file).map_err(|problem| vec![problem])?;
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

/// Whether the file is what its name says, to its end.
fn whole(path: &Path, file: &str) -> Result<(), Problem> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    let (end, comment) = match ending.as_str() {
        "mps" => ("ENDATA", '*'),
        "lp" => ("end", '\\'),
        "gz" => {
            let message = "the file is packed".to_string();
            return Err(problem(file, "EX-0335", message, "unpack it first, with gunzip"));
        }
        _ => {
            let message = format!("a program's name ends in .mps or .lp, not in `.{ending}`");
            return Err(problem(file, "EX-0335", message, "rename it after its form"));
        }
    };
    let unread = |error: std::io::Error| {
        problem(file, "EX-0330", format!("it cannot be read: {error}"), "check the path and its rights")
    };
    let bytes = std::fs::metadata(path).map_err(unread)?.len();
    if bytes > FILE_BYTES_MAX {
        let message = format!("it has {bytes} bytes; at most {FILE_BYTES_MAX} are read");
        return Err(problem(file, "EX-0336", message, "split the program or write fewer digits"));
    }
    let bytes = std::fs::read(path).map_err(unread)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let message = "the file is packed".to_string();
        return Err(problem(file, "EX-0335", message, "unpack it first, with gunzip"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let message = format!("the file is not UTF-8 text: {error}");
        problem(file, "EX-0330", message, "save it as plain text")
    })?;
    let mut last = None;
    for (number, line) in (1u32..).zip(text.lines()) {
        let code = if ending == "lp" { line.split(comment).next().unwrap_or("") } else { line };
        if code.trim().is_empty() || (ending == "mps" && line.starts_with(comment)) {
            continue;
        }
        last = Some((number, code.trim().to_string()));
        // In MPS the first word of a line of numbers is a name.
        let from = usize::from(ending == "mps");
        for word in code.split_whitespace().skip(from) {
            if let Some(what) = doubtful(word, ending == "mps") {
                let help = "write an integer or a short decimal; no column or row may be called like that";
                return Err(Problem { line: number, ..problem(file, "EX-0333", what, help) });
            }
        }
    }
    match last {
        None => Err(problem(file, "EX-0337", "the file is empty".to_string(), "write a program into it")),
        Some((_, words)) if words.eq_ignore_ascii_case(end) => Ok(()),
        Some((line, words)) => {
            let words: String = words.chars().take(60).collect();
            let message = format!("the last line is `{words}`, not `{end}`: the file is cut off");
            let help = format!("fetch or write it again; if it is whole, close it with `{end}`");
            Err(Problem { line, ..problem(file, "EX-0337", message, &help) })
        }
    }
}

/// Numbers that a parser of doubles takes for another one, in words.
fn doubtful(word: &str, mps: bool) -> Option<String> {
    let plain = word.trim_start_matches(['+', '-']);
    if mps && plain.eq_ignore_ascii_case("nan") {
        return Some(format!("`{word}` is no number"));
    }
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') || word.parse::<f64>().is_err() {
        return None;
    }
    let digits: String =
        plain.chars().take_while(|c| !matches!(c, 'e' | 'E')).filter(|c| *c != '.').collect();
    let digits = digits.trim_matches('0').len();
    (digits > DIGITS_MAX).then(|| format!("`{word}` has {digits} digits; {DIGITS_MAX} are read exactly"))
}

fn load(path: &Path) -> Result<Raw, String> {
    let mut highs = Instance::new()?;
    let clean = highs.read(path).map_err(|what| {
        let words = highs_words(&highs);
        if words.is_empty() { format!("HiGHS: {what}") } else { format!("HiGHS: {}", words.join("; ")) }
    })?;
    let linear = highs.linear()?;
    let named = |row: bool, n: usize| -> Vec<String> {
        let other = |i| format!("{}-{i}", if row { "row" } else { "column" });
        (0..n).map(|i| highs.name(row, i).unwrap_or_else(|| other(i))).collect()
    };
    let mut warnings = highs_words(&highs);
    if !clean && warnings.is_empty() {
        warnings.push("HiGHS had a warning and gave no reason".to_string());
    }
    Ok(Raw {
        names: named(false, linear.costs.len()),
        row_names: named(true, linear.row_lower.len()),
        quadratic: highs.is_quadratic(),
        linear,
        warnings,
    })
}

fn highs_words(highs: &Instance) -> Vec<String> {
    highs.words().iter().map(|w| w.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn exactly(raw: Raw, file: &str) -> Result<Program, Vec<Problem>> {
    let mut problems = Vec::new();
    for words in &raw.warnings {
        let help = "mend what HiGHS warns of: it left something out or changed it";
        problems.push(problem(file, "EX-0338", words.clone(), help));
    }
    if raw.quadratic {
        let message = "the objective is quadratic".to_string();
        problems.push(problem(file, "EX-0334", message, "only linear programs are read"));
    }
    let Raw { names, row_names, linear: raw, .. } = raw;
    let mut columns = Vec::with_capacity(names.len());
    for (c, name) in names.iter().enumerate() {
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
        if low > high {
            let message =
                format!("column `{name}` has no whole number from {} to {}", raw.lower[c], raw.upper[c]);
            problems.push(problem(file, "EX-0332", message, "mend its bounds"));
            continue;
        }
        columns.push(Column { name: name.clone(), lower: low as i64, upper: high as i64 });
    }
    if columns.is_empty() && problems.is_empty() {
        let message = "HiGHS found no column in it".to_string();
        problems.push(problem(file, "EX-0330", message, "check the file's form; sections begin in column 1"));
    }
    let not_exact = |row: &str, value: f64| {
        let message =
            format!("{row}: {value} is no decimal of at most {} places within 2^53", exact::PLACES_MAX);
        problem(file, "EX-0333", message, "write integers or short decimals")
    };
    let mut rows = Vec::with_capacity(raw.row_lower.len());
    for (r, name) in row_names.into_iter().enumerate() {
        let (start, end) = (raw.starts[r] as usize, raw.starts[r + 1] as usize);
        let mut numbers: Vec<f64> = raw.values[start..end].to_vec();
        let bounds = [raw.row_lower[r], raw.row_upper[r]];
        numbers.extend(bounds.iter().filter(|b| b.is_finite()));
        match exact::common(&numbers) {
            Err(value) => problems.push(not_exact(&format!("row `{name}`"), value)),
            Ok((whole, _)) => {
                let terms = raw.indices[start..end].iter().map(|&c| c as usize).zip(whole.iter().copied());
                let mut rest = whole[end - start..].iter().copied();
                let lower = bounds[0].is_finite().then(|| rest.next()).flatten();
                let upper = bounds[1].is_finite().then(|| rest.next()).flatten();
                let terms = terms.filter(|(_, a)| *a != 0).collect();
                rows.push(Row { name, terms, lower, upper });
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
    if problems.is_empty()
        && let Some(row) = rows.iter().find(|r| !sums_fit(r, &columns))
    {
        let message = format!("row `{}` does not fit exact 64-bit sums", row.name);
        problems.push(problem(file, "EX-0339", message, "use fewer digits or another unit"));
    }
    if !problems.is_empty() {
        problems.truncate(PROBLEMS_MAX);
        return Err(problems);
    }
    let offset = costs.pop().unwrap_or(0);
    Ok(Program { name: file.to_string(), columns, rows, costs, offset, scale, maximise: raw.maximise })
}

fn sums_fit(row: &Row, columns: &[Column]) -> bool {
    let bounds = [row.lower, row.upper].iter().flatten().map(|b| i128::from(*b).abs()).max().unwrap_or(0);
    let terms = row.terms.iter().map(|&(c, a)| {
        i128::from(a).abs() * i128::from(columns[c].lower).abs().max(i128::from(columns[c].upper).abs())
    });
    bounds + terms.sum::<i128>() <= i128::from(i64::MAX / 4)
}
