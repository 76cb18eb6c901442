//! The reader of scenario files: text in, a checked model or every problem out.

use super::distribution::{Distribution, normal_cdf};
use super::document::{Entry, Kind, Node, Place, Reader};
use super::sampling::cholesky;
use super::table::{read_table, table};
use super::{Distributions, Sampling, ScenarioModel, Source, Variable, codes};
use super::{FIGURES_MAX, SCENARIOS_MAX, SOBOL_COUNT_MAX, VARIABLES_MAX};
use crate::problem::Problem;
use std::collections::BTreeMap;

const KINDS: [&str; 5] = ["uniform", "uniform_integer", "normal", "triangular", "lognormal"];

/// Reads a scenario file, version 1; a `file` ending in `.csv` is a table on its own.
///
/// `resolve` gives the text of the table that the file names, or `None` if there is none.
///
/// # Errors
/// Every problem of the text, with line and column; codes EX-0350 to EX-0379 ([`super::CODES`]).
pub fn read(
    file: &str,
    text: &str,
    resolve: &dyn Fn(&str) -> Option<String>,
) -> Result<ScenarioModel, Vec<Problem>> {
    if file.to_ascii_lowercase().ends_with(".csv") {
        return read_table(file, text);
    }
    let mut reader = Reader::new(file, codes::COMMON);
    let source = source(&mut reader, text, resolve);
    match source {
        Some(source) if reader.problems.is_empty() => Ok(ScenarioModel { source }),
        _ => {
            reader.problems.sort_by_key(|p| (p.file != file, p.line, p.column));
            Err(reader.problems)
        }
    }
}

fn source(reader: &mut Reader, text: &str, resolve: &dyn Fn(&str) -> Option<String>) -> Option<Source> {
    let root = reader.parse(text)?;
    reader.keys(
        &root,
        "the scenario file",
        &["scenarios", "variables", "correlations", "count", "sampling", "seed", "table", "units"],
        &["scenarios"],
    );
    if let Some(version) = root.get("scenarios")
        && let Some(number) = reader.whole(version, "`scenarios` (the version)", 0..=u64::MAX)
        && number != 1
    {
        reader.problem(
            codes::VERSION,
            version.at,
            format!("version {number} of scenario files is not known"),
            "this program reads version 1",
        );
    }
    match (table_node(&root), root.get("variables")) {
        (Some(named), variables) => {
            let mixed = ["correlations", "count", "sampling", "seed"]
                .iter()
                .find_map(|key| root.get(key).map(|node| (*key, node.at)))
                .or_else(|| {
                    variables
                        .filter(|v| v.get("table").is_none() || v.entries().len() > 1)
                        .map(|v| ("variables", v.at))
                });
            if let Some((key, at)) = mixed {
                reader.problem(
                    codes::TABLE_AND_DISTRIBUTIONS,
                    at,
                    format!("`{key}` has no meaning beside a table"),
                    "give either distributions or a table",
                );
            }
            from_table(reader, named, root.get("units"), resolve).map(Source::Table)
        }
        (None, Some(variables)) => {
            if let Some(units) = root.get("units") {
                reader.problem(
                    codes::TABLE_AND_DISTRIBUTIONS,
                    units.at,
                    "`units` belongs to a table",
                    "write `unit` at each variable",
                );
            }
            distributions(reader, &root, variables).map(Source::Distributions)
        }
        (None, None) => {
            reader.problem(
                codes::COMMON.missing_key,
                root.at,
                "the scenario file has neither `variables` nor `table`",
                "add one of them",
            );
            None
        }
    }
}

/// `table: name` at the top, or as the only thing under `variables`.
fn table_node(root: &Node) -> Option<&Node> {
    root.get("table").or_else(|| {
        root.get("variables")?.get("table").filter(|node| matches!(node.kind, Kind::Scalar { .. }))
    })
}

fn from_table(
    reader: &mut Reader,
    named: &Node,
    units: Option<&Node>,
    resolve: &dyn Fn(&str) -> Option<String>,
) -> Option<super::ScenarioSet> {
    let mut unit_of = BTreeMap::new();
    let mut unit_places: Vec<&Entry> = Vec::new();
    if let Some(units) = units
        && reader.keys(units, "`units`", &[], &[])
    {
        for entry in units.entries() {
            if let Some(unit) = reader.text(&entry.value, &format!("the unit of `{}`", entry.key)) {
                unit_of.insert(entry.key.clone(), unit);
                unit_places.push(entry);
            }
        }
    }
    let name = reader.text(named, "`table`")?;
    let Some(text) = resolve(&name) else {
        reader.problem(
            codes::NO_TABLE,
            named.at,
            format!("the table `{name}` is not there"),
            "names are relative to the scenario file",
        );
        return None;
    };
    let mut inner = Reader::new(&name, reader.codes);
    let set = table(&mut inner, &text, &unit_of);
    reader.problems.append(&mut inner.problems);
    let set = set?;
    for entry in unit_places {
        if set.position(&entry.key).is_none() {
            reader.problem(
                codes::COMMON.unknown_key,
                entry.at,
                format!("`units` names `{}`, which is no column of the table", entry.key),
                "",
            );
        }
    }
    Some(set)
}

fn distributions(reader: &mut Reader, root: &Node, variables: &Node) -> Option<Distributions> {
    let mut read: Vec<(Variable, Distribution)> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    if reader.keys(variables, "`variables`", &[], &[]) && variables.entries().is_empty() {
        reader.problem(
            codes::EMPTY,
            variables.at,
            "there is no variable",
            "a scenario needs at least one uncertain figure",
        );
    }
    for entry in variables.entries() {
        names.push(entry.key.clone());
        if let Some(variable) = variable(reader, entry) {
            read.push(variable);
        }
    }
    if names.len() > VARIABLES_MAX {
        reader.problem(
            codes::TOO_MANY,
            variables.at,
            format!("{} variables, the limit is {VARIABLES_MAX}", names.len()),
            "",
        );
        return None;
    }
    let sampling = match root.get("sampling") {
        None => Sampling::Random,
        Some(node) => match reader.text(node, "`sampling`").as_deref() {
            Some("random") => Sampling::Random,
            Some("latin-hypercube") => Sampling::LatinHypercube,
            Some("sobol") => Sampling::Sobol,
            Some(other) => {
                reader.problem(
                    codes::SAMPLING,
                    node.at,
                    format!("`{other}` is no sampling method"),
                    "known: random, latin-hypercube, sobol",
                );
                Sampling::Random
            }
            None => Sampling::Random,
        },
    };
    let count = count(reader, root, sampling, names.len());
    let seed = root.get("seed").and_then(|node| reader.whole(node, "`seed`", 0..=u64::MAX));
    let factor = correlations(reader, root.get("correlations"), &names);
    if read.len() != names.len() {
        return None;
    }
    Some(Distributions { variables: read, factor, count: count?, sampling, seed })
}

fn count(reader: &mut Reader, root: &Node, sampling: Sampling, variables: usize) -> Option<usize> {
    let Some(node) = root.get("count") else {
        reader.problem(
            codes::COMMON.missing_key,
            root.at,
            "the scenario file lacks `count`, the number of scenarios to draw",
            "add it, for example `count: 1000`",
        );
        return None;
    };
    let count = usize::try_from(reader.whole(node, "`count`", 0..=u64::MAX)?).unwrap_or(usize::MAX);
    let most = match sampling {
        Sampling::Sobol => SOBOL_COUNT_MAX,
        _ => SCENARIOS_MAX,
    }
    .min(FIGURES_MAX / variables.max(1));
    if count == 0 {
        reader.problem(
            codes::EMPTY,
            node.at,
            "a count of 0 gives an empty scenario list",
            "draw at least one scenario",
        );
        return None;
    }
    if count > most {
        reader.problem(
            codes::TOO_MANY,
            node.at,
            format!("{count} scenarios of {variables} variables, the limit is {most} here"),
            "",
        );
        return None;
    }
    Some(count)
}

fn variable(reader: &mut Reader, entry: &Entry) -> Option<(Variable, Distribution)> {
    let name = &entry.key;
    let what = format!("the variable `{name}`");
    if !codes::is_name(name) || name == "probability" {
        reader.problem(
            codes::NAME,
            entry.at,
            format!("`{name}` cannot name a variable"),
            "use letters, digits and underscores, a letter first; `probability` is taken",
        );
    }
    let node = &entry.value;
    let before = reader.problems.len();
    reader.keys(node, &what, &["unit", "min", "max", KINDS[0], KINDS[1], KINDS[2], KINDS[3], KINDS[4]], &[]);
    let unit = node.get("unit").and_then(|u| reader.text(u, &format!("the unit of `{name}`")));
    let given: Vec<&Entry> = node.entries().iter().filter(|e| KINDS.contains(&e.key.as_str())).collect();
    if given.len() != 1 {
        if matches!(node.kind, Kind::Map(_)) {
            reader.problem(
                codes::DISTRIBUTION,
                entry.at,
                format!("{what} has {} distributions; exactly one is needed", given.len()),
                format!("known: {}", KINDS.join(", ")),
            );
        }
        return None;
    }
    let (kind, value) = (given[0].key.as_str(), &given[0].value);
    for bound in ["min", "max"] {
        if let Some(node) = node.get(bound)
            && kind != "normal"
        {
            reader.problem(
                codes::COMMON.unknown_key,
                node.at,
                format!("`{bound}` has no meaning for the {kind} distribution of `{name}`"),
                "only normal is cut off this way",
            );
        }
    }
    let distribution = distribution(reader, node, kind, value, name);
    if reader.problems.len() > before {
        return None;
    }
    Some((Variable { name: name.clone(), unit }, distribution?))
}

fn distribution(
    reader: &mut Reader,
    node: &Node,
    kind: &str,
    value: &Node,
    name: &str,
) -> Option<Distribution> {
    let what = format!("`{kind}` of `{name}`");
    let wrong = |reader: &mut Reader, at: Place, message: String| {
        reader.problem(codes::PARAMETERS, at, message, "");
        None
    };
    match kind {
        "uniform" => {
            let items = reader.list(value, &what, Some(2))?;
            let (min, max) = (reader.number(&items[0], &what), reader.number(&items[1], &what));
            let (min, max) = (min?, max?);
            if min >= max || !(max - min).is_finite() {
                return wrong(
                    reader,
                    value.at,
                    format!("{what} needs a lower bound below the upper, not [{min}, {max}]"),
                );
            }
            Some(Distribution::Uniform { min, max })
        }
        "uniform_integer" => {
            let items = reader.list(value, &what, Some(2))?;
            let (min, max) = (integer(reader, &items[0], &what), integer(reader, &items[1], &what));
            let (min, max) = (min?, max?);
            if min > max {
                return wrong(
                    reader,
                    value.at,
                    format!("{what} needs a lower bound not above the upper, not [{min}, {max}]"),
                );
            }
            Some(Distribution::UniformInteger { min, max })
        }
        "normal" | "lognormal" => {
            if !reader.keys(value, &what, &["mean", "sd"], &["mean", "sd"]) {
                return None;
            }
            let mean = value.get("mean").and_then(|n| reader.number(n, &format!("the mean of `{name}`")));
            let sd = value.get("sd").and_then(|n| reader.number(n, &format!("the sd of `{name}`")));
            let min = node.get("min").map(|n| reader.number(n, &format!("the min of `{name}`")));
            let max = node.get("max").map(|n| reader.number(n, &format!("the max of `{name}`")));
            let (mean, sd) = (mean?, sd?);
            if sd <= 0.0 {
                return wrong(reader, value.at, format!("{what} needs an sd above 0, not {sd}"));
            }
            if kind == "lognormal" {
                // exp(709) is the largest finite power; no quantile reaches 40 standard deviations.
                if mean + 40.0 * sd > 700.0 {
                    return wrong(reader, value.at, format!("{what} reaches beyond what a number can hold"));
                }
                return Some(Distribution::Lognormal { mean, sd });
            }
            let (min, max) =
                (min.map_or(Some(None), |m| m.map(Some))?, max.map_or(Some(None), |m| m.map(Some))?);
            let from = min.map_or(0.0, |m| normal_cdf((m - mean) / sd));
            let to = max.map_or(1.0, |m| normal_cdf((m - mean) / sd));
            // With less than a millionth of the mass inside, the range is surely a mistake and the
            // quantiles would lose their digits.
            if to - from < 1e-6 {
                return wrong(
                    reader,
                    value.at,
                    format!("less than a millionth of {what} lies between its min and max"),
                );
            }
            Some(Distribution::Normal { mean, sd, min, max })
        }
        _ => {
            let items = reader.list(value, &what, Some(3))?;
            let figures: Vec<Option<f64>> = items.iter().map(|i| reader.number(i, &what)).collect();
            let (min, mode, max) = (figures[0]?, figures[1]?, figures[2]?);
            let area = (max - min) * (max - min);
            let ordered = min <= mode && mode <= max && min < max;
            if !ordered || !area.is_finite() {
                return wrong(
                    reader,
                    value.at,
                    format!(
                        "{what} needs [lowest, likeliest, highest] in this order, not [{min}, {mode}, {max}]"
                    ),
                );
            }
            Some(Distribution::Triangular { min, mode, max })
        }
    }
}

/// A whole number that a double holds exactly.
fn integer(reader: &mut Reader, node: &Node, what: &str) -> Option<i64> {
    let value = reader.number(node, what)?;
    if value.fract() == 0.0 && value.abs() <= 9e15 {
        return Some(value as i64);
    }
    reader.problem(
        codes::COMMON.wrong_type,
        node.at,
        format!("{what} must have whole bounds, not {}", node.describe()),
        "",
    );
    None
}

fn correlations(reader: &mut Reader, node: Option<&Node>, names: &[String]) -> Option<Vec<Vec<f64>>> {
    let node = node?;
    let items = reader.list(node, "`correlations`", None)?;
    let before = reader.problems.len();
    let mut matrix: Vec<Vec<f64>> = (0..names.len())
        .map(|i| (0..names.len()).map(|j| if i == j { 1.0 } else { 0.0 }).collect())
        .collect();
    let mut pairs: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    for item in items {
        let Some(parts) = reader.list(item, "a correlation", Some(3)) else {
            continue;
        };
        let mut positions = Vec::new();
        for part in &parts[..2] {
            let Some(name) = reader.text(part, "a correlation's variable") else {
                continue;
            };
            match names.iter().position(|n| *n == name) {
                Some(position) => positions.push(position),
                None => reader.problem(
                    codes::CORRELATION_NAMES,
                    part.at,
                    format!("a correlation names `{name}`, which is no variable"),
                    format!("variables: {}", names.join(", ")),
                ),
            }
        }
        let Some(value) = reader.number(&parts[2], "a correlation") else {
            continue;
        };
        if !(-1.0..=1.0).contains(&value) {
            reader.problem(
                codes::CORRELATION_RANGE,
                parts[2].at,
                format!("a correlation must lie between -1 and 1, not {value}"),
                "",
            );
        }
        let [a, b] = positions[..] else { continue };
        if a == b {
            reader.problem(
                codes::CORRELATION_NAMES,
                item.at,
                format!("`{}` cannot correlate with itself", names[a]),
                "",
            );
        } else if let Some(line) = pairs.insert((a.min(b), a.max(b)), item.at.line) {
            reader.problem(
                codes::CORRELATION_NAMES,
                item.at,
                format!("`{}` and `{}` correlate already in line {line}", names[a], names[b]),
                "keep one of the two",
            );
        }
        matrix[a][b] = value;
        matrix[b][a] = value;
    }
    if reader.problems.len() > before || pairs.is_empty() {
        return None;
    }
    let factor = cholesky(&matrix);
    if factor.is_none() {
        reader.problem(
            codes::NOT_POSITIVE_DEFINITE,
            node.at,
            "these correlations contradict each other: their matrix is not positive semidefinite",
            "no joint distribution has them all; bring some of them nearer to 0",
        );
    }
    factor
}
