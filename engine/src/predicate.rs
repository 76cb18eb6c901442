//! Predicates over a run's facts, in CEL: success criteria, gates, `when`.
//!
//! Rule: three answers. A predicate that reads a fact which is missing or `"not-evaluated"` is itself
//! not evaluated, even where the rest would decide it, and only [`Verdict::True`] passes.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Program, Value};
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// Longest predicate, in bytes. Real ones have under 200; the parser's time grows with the length.
pub const EXPRESSION_BYTES_MAX: usize = 4096;

/// What a fact says that nobody could determine.
pub const NOT_EVALUATED: &str = "not-evaluated";

/// Answer of a predicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    True,
    False,
    /// Does not pass; `why` names the missing fact or the mistake, as a sentence's end.
    NotEvaluated {
        why: String,
    },
}

impl Verdict {
    /// Only [`Verdict::True`] passes.
    pub fn passes(&self) -> bool {
        *self == Self::True
    }
}

/// Whether `expression` is CEL.
///
/// # Errors
/// The parser's first complaint, in one line.
pub fn compile_check(expression: &str) -> Result<(), String> {
    let program = compile(expression)?;
    // What the facts will hold is not known yet; what the text alone costs is.
    too_costly(program.expression(), 1).map_or(Ok(()), Err)
}

/// Answers `expression` with `facts` as its variables; whole and decimal numbers compare by value.
pub fn evaluate(expression: &str, facts: &Map<String, Json>) -> Verdict {
    let no = |why: String| Verdict::NotEvaluated { why };
    let program = match compile(expression) {
        Ok(program) => program,
        Err(why) => return no(why),
    };
    let items_max = facts.values().map(items).max().unwrap_or(0);
    if let Some(why) = too_costly(program.expression(), items_max) {
        return no(why);
    }
    let mut free = BTreeSet::new();
    free_names(program.expression(), &mut vec![], &mut free);
    let mut context = Context::default();
    for name in free {
        match facts.get(name) {
            None | Some(Json::Null) => return no(format!("the fact `{name}` is missing")),
            Some(fact) => match to_cel(fact) {
                Some(value) => context.add_variable_from_value(name, value),
                None => return no(format!("the fact `{name}` is not evaluated")),
            },
        }
    }
    match program.execute(&context) {
        Ok(Value::Bool(true)) => Verdict::True,
        Ok(Value::Bool(false)) => Verdict::False,
        Ok(other) => no(format!("the answer is {}, neither true nor false", other.type_of())),
        Err(error) => no(error.to_string()),
    }
}

/// The facts that `expression` reads; empty if it is not CEL.
pub fn facts_read(expression: &str) -> BTreeSet<String> {
    let Ok(program) = compile(expression) else { return BTreeSet::new() };
    let mut free = BTreeSet::new();
    free_names(program.expression(), &mut vec![], &mut free);
    free.into_iter().map(str::to_owned).collect()
}

fn compile(expression: &str) -> Result<Program, String> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("{} bytes, more than the {EXPRESSION_BYTES_MAX} allowed", expression.len()));
    }
    Program::compile(expression).map_err(|errors| match errors.errors.first() {
        Some(error) => format!("at character {}: {}", error.pos.1.max(1), first_line(&error.msg)),
        None => "not a CEL expression".into(),
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Steps of one predicate: a predicate is answered on the thread of all actors, and CEL itself has no
/// budget. A step takes under a microsecond; predicates in use take less than a hundred.
pub const STEPS_MAX: u64 = 1_000_000;

fn too_costly(node: &IdedExpr, items_max: u64) -> Option<String> {
    let steps = steps(node, items_max);
    (steps > STEPS_MAX).then(|| {
        format!("it may take {steps} steps, more than the {STEPS_MAX} allowed: nest fewer loops or shorten the lists")
    })
}

/// Steps at most, if no list or map among the facts has more than `items_max` items. Saturates.
fn steps(node: &IdedExpr, items_max: u64) -> u64 {
    let all = |parts: &mut dyn Iterator<Item = &IdedExpr>| {
        parts.fold(1_u64, |sum, part| sum.saturating_add(steps(part, items_max)))
    };
    match &node.expr {
        Expr::Call(call) => all(&mut call.target.iter().map(AsRef::as_ref).chain(&call.args)),
        Expr::Select(select) => steps(&select.operand, items_max).saturating_add(1),
        Expr::List(list) => all(&mut list.elements.iter()),
        Expr::Map(map) => map
            .entries
            .iter()
            .fold(1, |sum: u64, entry| sum.saturating_add(entry_steps(&entry.expr, items_max))),
        Expr::Struct(fields) => fields
            .entries
            .iter()
            .fold(1, |sum: u64, entry| sum.saturating_add(entry_steps(&entry.expr, items_max))),
        Expr::Comprehension(loops) => {
            let each = steps(&loops.loop_cond, items_max).saturating_add(steps(&loops.loop_step, items_max));
            length(&loops.iter_range, items_max)
                .saturating_mul(each)
                .saturating_add(steps(&loops.iter_range, items_max))
                .saturating_add(steps(&loops.accu_init, items_max))
                .saturating_add(steps(&loops.result, items_max))
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => 1,
    }
}

fn entry_steps(entry: &EntryExpr, items_max: u64) -> u64 {
    match entry {
        EntryExpr::StructField(field) => steps(&field.value, items_max),
        EntryExpr::MapEntry(entry) => {
            steps(&entry.key, items_max).saturating_add(steps(&entry.value, items_max))
        }
    }
}

/// Items at most of what a loop runs over.
fn length(range: &IdedExpr, items_max: u64) -> u64 {
    match &range.expr {
        Expr::List(list) => {
            // A list of lists may be walked item by item; its longest item counts as well.
            let inner = list.elements.iter().map(|item| length(item, items_max)).max().unwrap_or(0);
            (list.elements.len() as u64).max(inner)
        }
        Expr::Map(map) => map.entries.len() as u64,
        Expr::Call(call) => call
            .target
            .iter()
            .map(AsRef::as_ref)
            .chain(&call.args)
            .fold(items_max, |sum, part| sum.saturating_add(length(part, items_max))),
        Expr::Comprehension(loops) => length(&loops.iter_range, items_max),
        // A name: a fact, or the variable of a loop outside of this one, whose items are bounded alike
        // by the text's own length.
        _ => items_max.max(EXPRESSION_BYTES_MAX as u64 / 64),
    }
}

/// Items of a fact's largest list, map or text.
fn items(fact: &Json) -> u64 {
    match fact {
        Json::Array(items_in) => items_in.iter().map(items).max().unwrap_or(0).max(items_in.len() as u64),
        Json::Object(fields) => fields.values().map(items).max().unwrap_or(0).max(fields.len() as u64),
        _ => 1,
    }
}

/// Names that stand for facts: not the variables that `all`, `exists`, `map` and their like bring along.
fn free_names<'e>(node: &'e IdedExpr, bound: &mut Vec<&'e str>, free: &mut BTreeSet<&'e str>) {
    match &node.expr {
        Expr::Ident(name) => {
            if !name.starts_with('@') && !bound.contains(&name.as_str()) {
                free.insert(name);
            }
        }
        Expr::Call(call) => {
            for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                free_names(part, bound, free);
            }
        }
        Expr::Select(select) => free_names(&select.operand, bound, free),
        Expr::List(list) => list.elements.iter().for_each(|element| free_names(element, bound, free)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| entry_names(&entry.expr, bound, free)),
        Expr::Struct(fields) => fields.entries.iter().for_each(|entry| entry_names(&entry.expr, bound, free)),
        Expr::Comprehension(loops) => {
            free_names(&loops.iter_range, bound, free);
            free_names(&loops.accu_init, bound, free);
            let outer = bound.len();
            bound.push(&loops.iter_var);
            bound.extend(loops.iter_var2.as_deref());
            bound.push(&loops.accu_var);
            for part in [&loops.loop_cond, &loops.loop_step, &loops.result] {
                free_names(part, bound, free);
            }
            bound.truncate(outer);
        }
        Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn entry_names<'e>(entry: &'e EntryExpr, bound: &mut Vec<&'e str>, free: &mut BTreeSet<&'e str>) {
    match entry {
        EntryExpr::StructField(field) => free_names(&field.value, bound, free),
        EntryExpr::MapEntry(entry) => {
            free_names(&entry.key, bound, free);
            free_names(&entry.value, bound, free);
        }
    }
}

/// A fact as a CEL value; `None` if it, or an item of it, is not evaluated.
fn to_cel(fact: &Json) -> Option<Value> {
    Some(match fact {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(whole)) => Value::UInt(whole),
            (None, None) => Value::Float(number.as_f64()?),
        },
        Json::String(text) if text == NOT_EVALUATED => return None,
        Json::String(text) => Value::String(std::sync::Arc::new(text.clone())),
        Json::Array(items) => {
            Value::List(std::sync::Arc::new(items.iter().map(to_cel).collect::<Option<Vec<_>>>()?))
        }
        Json::Object(fields) => {
            // A field that nobody evaluated is left out: to read it is an error, hence not evaluated.
            let known = fields.iter().filter_map(|(key, field)| Some((key.clone(), to_cel(field)?)));
            Value::Map(known.collect::<std::collections::HashMap<_, _>>().into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_that_would_stop_the_daemon_are_refused_before_they_run() {
        let list = format!("[{}]", vec!["0"; 20].join(","));
        let mut text = "true".to_owned();
        for depth in 0..8 {
            text = format!("{list}.all(v{depth}, {text})");
        }
        assert!(compile_check(&text).is_err_and(|why| why.contains("steps")), "{:?}", compile_check(&text));
        let facts = serde_json::from_str(r#"{"ok": true}"#).unwrap_or_default();
        assert!(matches!(evaluate(&text, &facts), Verdict::NotEvaluated { .. }));
        let long: Vec<u32> = (0..3_000).collect();
        let mut facts = Map::new();
        facts.insert("xs".into(), Json::from(long));
        assert_eq!(evaluate("xs.all(x, x >= 0)", &facts), Verdict::True);
        assert!(matches!(evaluate("xs.all(x, xs.exists(y, y == x))", &facts), Verdict::NotEvaluated { .. }));
    }
}
