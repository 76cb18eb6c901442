//! The reader of cost models: text in, a checked model or every problem out.

use super::formula::Formula;
use super::{AttributeRule, Constant, CostModel, FactorTable, Gather, TERMS_MAX, Term, codes};
use crate::problem::Problem;
use crate::scenarios::document::{Entry, Kind, Node, Reader};
use std::collections::BTreeMap;

/// Reads a cost model, version 1. `file` only names it in problems.
///
/// # Errors
/// Every problem of the text, with line and column; codes EX-0380 to EX-0409 ([`super::CODES`]).
pub fn read(file: &str, text: &str) -> Result<CostModel, Vec<Problem>> {
    let mut reader = Reader::new(file, codes::COMMON);
    let model = model(&mut reader, text);
    match model {
        Some(model) if reader.problems.is_empty() => Ok(model),
        _ => {
            reader.problems.sort_by_key(|p| (p.line, p.column));
            Err(reader.problems)
        }
    }
}

fn model(reader: &mut Reader, text: &str) -> Option<CostModel> {
    let root = reader.parse(text)?;
    reader.keys(
        &root,
        "the cost model",
        &["costs", "unit", "negative", "constants", "factors", "attributes", "terms"],
        &["costs", "terms"],
    );
    if let Some(version) = root.get("costs")
        && let Some(number) = reader.whole(version, "`costs` (the version)", 0..=u64::MAX)
        && number != 1
    {
        reader.problem(
            codes::VERSION,
            version.at,
            format!("version {number} of cost models is not known"),
            "this program reads version 1",
        );
    }
    let unit = root.get("unit").and_then(|n| reader.text(n, "`unit`"));
    let negative_forbidden = match root.get("negative") {
        None => false,
        Some(node) => match reader.text(node, "`negative`").as_deref() {
            Some("forbidden") => true,
            Some("allowed") | None => false,
            Some(other) => {
                reader.problem(
                    codes::TERM_NEGATIVE,
                    node.at,
                    format!("`negative` is `{other}`"),
                    "known: allowed, forbidden",
                );
                false
            }
        },
    };
    let constants = section(reader, &root, "constants", constant);
    let attributes = section(reader, &root, "attributes", attribute);
    for rule in &attributes {
        if constants.iter().any(|c| c.name == rule.name) {
            reader.problem(
                codes::AMBIGUOUS_NAME,
                rule.at,
                format!("`{}` is an attribute and a constant", rule.name),
                "rename one of them",
            );
        }
    }
    let factors = factors(reader, root.get("factors"));
    let terms = section(reader, &root, "terms", term);
    if let Some(node) = root.get("terms") {
        let count = node.entries().len();
        if matches!(node.kind, Kind::Map(_)) && (count == 0 || count > TERMS_MAX) {
            reader.problem(
                codes::TERMS,
                node.at,
                format!("{count} terms; 1 to {TERMS_MAX} are possible"),
                "",
            );
        }
    }
    Some(CostModel {
        unit,
        file: reader.file.clone(),
        negative_forbidden,
        constants,
        factors,
        attributes,
        terms,
    })
}

/// Every entry of an optional mapping, each name checked.
fn section<T>(
    reader: &mut Reader,
    root: &Node,
    key: &str,
    each: fn(&mut Reader, &Entry) -> Option<T>,
) -> Vec<T> {
    let Some(node) = root.get(key) else {
        return Vec::new();
    };
    reader.keys(node, &format!("`{key}`"), &[], &[]);
    node.entries()
        .iter()
        .filter_map(|entry| {
            if key != "terms" {
                name(reader, entry);
            }
            each(reader, entry)
        })
        .collect()
}

fn name(reader: &mut Reader, entry: &Entry) {
    if !crate::scenarios::is_name(&entry.key) {
        reader.problem(
            codes::NAME,
            entry.at,
            format!("no formula can use the name `{}`", entry.key),
            "use letters, digits and underscores, a letter first",
        );
    }
}

fn constant(reader: &mut Reader, entry: &Entry) -> Option<Constant> {
    let what = format!("the constant `{}`", entry.key);
    let (value, unit) = match &entry.value.kind {
        Kind::Map(_) => {
            reader.keys(&entry.value, &what, &["value", "unit"], &["value"]);
            (
                entry.value.get("value")?,
                entry.value.get("unit").and_then(|n| reader.text(n, &format!("the unit of {what}"))),
            )
        }
        _ => (&entry.value, None),
    };
    Some(Constant { name: entry.key.clone(), value: reader.number(value, &what)?, unit })
}

fn attribute(reader: &mut Reader, entry: &Entry) -> Option<AttributeRule> {
    let node = &entry.value;
    let what = format!("the attribute `{}`", entry.key);
    reader.keys(node, &what, &["aggregate", "decision", "missing", "unit"], &[]);
    if !matches!(node.kind, Kind::Map(_)) {
        return None;
    }
    let missing = node.get("missing").and_then(|n| reader.number(n, &format!("`missing` of {what}")));
    let unit = node.get("unit").and_then(|n| reader.text(n, &format!("the unit of {what}")));
    let gather = match (node.get("aggregate"), node.get("decision")) {
        (Some(way), None) => match reader.text(way, &format!("`aggregate` of {what}"))?.as_str() {
            "sum" => Gather::Sum,
            "mean" => Gather::Mean,
            "product" => Gather::Product,
            "max" => Gather::Max,
            "min" => Gather::Min,
            other => {
                reader.problem(
                    codes::GATHER,
                    way.at,
                    format!("`{other}` is no way to aggregate {what}"),
                    "known: sum, mean, product, max, min",
                );
                return None;
            }
        },
        (None, Some(decision)) => Gather::Decision(reader.text(decision, &format!("`decision` of {what}"))?),
        _ => {
            reader.problem(
                codes::GATHER,
                entry.at,
                format!("{what} needs either `aggregate` or `decision`"),
                "for example {aggregate: mean} or {decision: wing}",
            );
            return None;
        }
    };
    Some(AttributeRule { name: entry.key.clone(), gather, missing, unit, at: entry.at })
}

fn term(reader: &mut Reader, entry: &Entry) -> Option<Term> {
    let text = reader.text(&entry.value, &format!("the term `{}`", entry.key))?;
    match Formula::parse(&text) {
        Ok(formula) => Some(Term { name: entry.key.clone(), formula, at: entry.value.at }),
        Err(message) => {
            reader.problem(
                codes::FORMULA,
                entry.value.at,
                format!("the formula of the term `{}` cannot be read: {message}", entry.key),
                "known: + - * / ^ ( ) min max abs sqrt exp ln log10 floor ceil",
            );
            None
        }
    }
}

fn factors(reader: &mut Reader, node: Option<&Node>) -> Vec<FactorTable> {
    let tables: Vec<&Node> = match node {
        None => Vec::new(),
        Some(node) => match &node.kind {
            Kind::List(items) => items.iter().collect(),
            _ => vec![node],
        },
    };
    tables.into_iter().filter_map(|table| factor_table(reader, table)).collect()
}

fn factor_table(reader: &mut Reader, node: &Node) -> Option<FactorTable> {
    let what = "a factor table";
    reader.keys(node, what, &["key", "decisions", "rows"], &["key", "rows"]);
    let key = node.get("key").and_then(|n| reader.text(n, "`key` of a factor table"));
    let decisions = node.get("decisions").map(|n| {
        reader
            .list(n, "`decisions` of a factor table", None)
            .unwrap_or_default()
            .iter()
            .filter_map(|d| Some((reader.text(d, "a decision")?, d.at)))
            .collect()
    });
    let mut rows: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    if let Some(node) = node.get("rows") {
        reader.keys(node, "`rows` of a factor table", &[], &[]);
        for row in node.entries() {
            let what = format!("the row `{}`", row.key);
            reader.keys(&row.value, &what, &[], &[]);
            let mut figures = BTreeMap::new();
            for entry in row.value.entries() {
                if let Some(value) = reader.number(&entry.value, &format!("`{}` of {what}", entry.key)) {
                    figures.insert(entry.key.clone(), value);
                }
            }
            rows.insert(row.key.clone(), figures);
        }
    }
    Some(FactorTable { key: key?, decisions, rows, at: node.at })
}
