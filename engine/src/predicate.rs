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
    compile(expression).map(|_| ())
}

/// Answers `expression` with `facts` as its variables; whole and decimal numbers compare by value.
pub fn evaluate(expression: &str, facts: &Map<String, Json>) -> Verdict {
    let no = |why: String| Verdict::NotEvaluated { why };
    let program = match compile(expression) {
        Ok(program) => program,
        Err(why) => return no(why),
    };
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
