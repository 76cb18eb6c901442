//! Predicates over facts.

/// What a predicate says about the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    True,
    False,
    NotEvaluated(String),
}

/// Reads `true`, `false` or the name of one boolean fact.
pub fn evaluate(expression: &str, facts: &serde_json::Map<String, serde_json::Value>) -> Verdict {
    match (expression, facts.get(expression).and_then(serde_json::Value::as_bool)) {
        ("true", _) | (_, Some(true)) => Verdict::True,
        ("false", _) | (_, Some(false)) => Verdict::False,
        _ => Verdict::NotEvaluated(format!("no fact named {expression}")),
    }
}
