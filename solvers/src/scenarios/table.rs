//! Scenario tables: CSV with a column per variable and an optional column `probability`.

use super::document::{CommonCodes, DOCUMENT_BYTES_MAX, Place, Reader, to_f64};
use super::{FIGURES_MAX, SCENARIOS_MAX, VARIABLES_MAX, codes};
use super::{ScenarioModel, ScenarioSet, Source, Variable};
use crate::problem::Problem;
use crate::risk::{PROBABILITY_SUM_TOLERANCE, sum};
use std::collections::BTreeMap;

/// Reads a table on its own, without a YAML file round it. `file` only names it in problems.
///
/// # Errors
/// Every problem of the text, codes EX-0350 to EX-0379.
pub fn read_table(file: &str, text: &str) -> Result<ScenarioModel, Vec<Problem>> {
    let mut reader = Reader::new(file, codes::COMMON);
    match table(&mut reader, text, &BTreeMap::new()) {
        Some(set) if reader.problems.is_empty() => Ok(ScenarioModel { source: Source::Table(set) }),
        _ => Err(reader.problems),
    }
}

/// Reads the table into a set; complaints go to `reader`.
pub(super) fn table(
    reader: &mut Reader,
    text: &str,
    units: &BTreeMap<String, String>,
) -> Option<ScenarioSet> {
    let CommonCodes { syntax, wrong_type, duplicate_key, not_finite, .. } = reader.codes;
    let top = Place { line: 1, column: 1 };
    if text.len() > DOCUMENT_BYTES_MAX {
        reader.problem(
            syntax,
            top,
            format!("the table has {} bytes, the limit is {DOCUMENT_BYTES_MAX}", text.len()),
            "",
        );
        return None;
    }
    let mut csv = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let head: Vec<String> = match csv.headers() {
        Ok(head) => head.iter().map(str::to_string).collect(),
        Err(error) => {
            reader.problem(syntax, top, format!("not readable as CSV: {error}"), "");
            return None;
        }
    };
    let probability_column = head.iter().position(|name| name == "probability");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (column, name) in head.iter().enumerate() {
        let at = Place { line: 1, column: column as u32 + 1 };
        if !codes::is_name(name) {
            reader.problem(
                codes::NAME,
                at,
                format!("column {} has the name `{name}`, which no formula can use", column + 1),
                "use letters, digits and underscores, a letter first",
            );
        } else if seen.insert(name, column).is_some() {
            reader.problem(duplicate_key, at, format!("column `{name}` is there twice"), "");
        }
    }
    let variables = head.len() - usize::from(probability_column.is_some());
    if variables == 0 {
        reader.problem(
            codes::EMPTY,
            top,
            "the table has no column for a variable",
            "write a head line with a column per variable",
        );
        return None;
    }
    if variables > VARIABLES_MAX {
        reader.problem(
            codes::TOO_MANY,
            top,
            format!("{variables} variables, the limit is {VARIABLES_MAX}"),
            "",
        );
        return None;
    }
    let rows_max = SCENARIOS_MAX.min(FIGURES_MAX / variables);
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); head.len()];
    let mut rows = 0usize;
    for record in csv.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line) as u32;
                reader.problem(
                    syntax,
                    Place { line, column: 0 },
                    format!("not readable as CSV: {error}"),
                    "",
                );
                return None;
            }
        };
        rows += 1;
        let line = record.position().map_or(0, csv::Position::line) as u32;
        if rows > rows_max {
            reader.problem(
                codes::TOO_MANY,
                Place { line, column: 1 },
                format!("more than {rows_max} scenarios of {variables} variables"),
                "",
            );
            return None;
        }
        if record.len() != head.len() {
            reader.problem(
                codes::ROW_LENGTH,
                Place { line, column: 1 },
                format!("{} fields, the head line has {}", record.len(), head.len()),
                "",
            );
            continue;
        }
        for (column, field) in record.iter().enumerate() {
            let at = Place { line, column: column as u32 + 1 };
            let name = &head[column];
            let value = match to_f64(field) {
                Some(value) if value.is_finite() => value,
                Some(_) => {
                    reader.problem(
                        not_finite,
                        at,
                        format!("`{name}` must be finite, not `{field}`"),
                        "NaN and infinity have no place in a figure",
                    );
                    continue;
                }
                None => {
                    reader.problem(wrong_type, at, format!("`{name}` must be a number, not `{field}`"), "");
                    continue;
                }
            };
            if Some(column) == probability_column && !(0.0..=1.0).contains(&value) {
                reader.problem(
                    codes::PROBABILITY,
                    at,
                    format!("a probability must lie in [0, 1], not {value}"),
                    "",
                );
            }
            columns[column].push(value);
        }
    }
    if rows == 0 {
        reader.problem(
            codes::EMPTY,
            top,
            "the scenario list is empty",
            "write at least one row below the head line",
        );
    }
    if !reader.problems.is_empty() {
        return None;
    }
    let probability = match probability_column {
        Some(column) => columns.remove(column),
        None => vec![1.0 / rows as f64; rows],
    };
    let total = sum(probability.iter().copied());
    if (total - 1.0).abs() > PROBABILITY_SUM_TOLERANCE {
        reader.problem(
            codes::PROBABILITY_SUM,
            top,
            format!("the probabilities sum to {total}, not to 1 within {PROBABILITY_SUM_TOLERANCE:e}"),
            "correct them; nothing is rescaled silently",
        );
        return None;
    }
    Some(ScenarioSet {
        variables: head
            .iter()
            .enumerate()
            .filter(|(column, _)| Some(*column) != probability_column)
            .map(|(_, name)| Variable { name: name.clone(), unit: units.get(name).cloned() })
            .collect(),
        values: columns.concat(),
        probability,
    })
}
