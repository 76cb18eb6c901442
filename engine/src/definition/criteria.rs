//! Predicates as people write them in workflow files, to CEL.
//!
//! Rule: `key: ">= 1"` reads as `key >= 1`, `key: true` as `key == true`; anything else is CEL already.

use super::spec::Criterion;
use super::walk::Problems;
use super::yaml::{Node, Scalar, Value};
use crate::predicate;

/// `success_criteria`: a list of maps or CEL texts, or one map.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Vec<Criterion> {
    if let Value::Map(_) = node.value {
        return pairs(node, problems);
    }
    let mut criteria = vec![];
    for item in problems.list(node, "success_criteria").unwrap_or_default() {
        match item.value {
            Value::Map(_) => criteria.extend(pairs(item, problems)),
            _ => criteria.extend(expression(item, "success_criteria", problems)),
        }
    }
    criteria
}

/// One CEL expression; `true` and `false` count.
pub(super) fn expression(node: &Node, what: &str, problems: &mut Problems) -> Option<Criterion> {
    let text = problems.text(node, what)?;
    checked(Criterion { written: text.clone(), expression: text }, node, problems)
}

fn pairs(node: &Node, problems: &mut Problems) -> Vec<Criterion> {
    let mut criteria = vec![];
    for entry in problems.map(node, "success_criteria").unwrap_or_default() {
        let Some(text) = problems.text(&entry.node, &entry.key) else { continue };
        let is_text = matches!(entry.node.scalar(), Some(Scalar::Text(_)));
        let expression = match text.trim() {
            compared if is_text && compared.starts_with(['<', '>', '=', '!']) => {
                format!("{} {compared}", entry.key)
            }
            plain if is_text => format!("{} == {}", entry.key, serde_json::Value::from(plain)),
            plain => format!("{} == {plain}", entry.key),
        };
        let written = match is_text {
            true => format!("{}: \"{text}\"", entry.key),
            false => format!("{}: {text}", entry.key),
        };
        criteria.extend(checked(Criterion { written, expression }, &entry.node, problems));
    }
    criteria
}

fn checked(criterion: Criterion, node: &Node, problems: &mut Problems) -> Option<Criterion> {
    match predicate::compile_check(&criterion.expression) {
        Ok(()) => Some(criterion),
        Err(why) => {
            let message = format!("`{}` is not a CEL predicate: {why}", criterion.expression);
            problems.add(node.at, "EX-0124", message, "for example `feasible_configurations_found >= 1`");
            None
        }
    }
}
