//! JSON as artefacts and facts: sorted keys, so that equal contents are equal bytes.

use serde::Serialize;
use serde_json::{Map, Value};

/// What predicates may read about a finished stage.
pub type Facts = Map<String, Value>;

/// The same value with the keys of every object sorted, whatever the JSON library was built to do.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<(String, Value)> = object.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        leaf => leaf,
    }
}

/// One line, sorted.
pub fn compact(value: &Value) -> String {
    sorted(value.clone()).to_string()
}

/// For people: sorted, indented, with a line end.
pub fn pretty(value: &Value) -> Vec<u8> {
    let mut text = format!("{:#}", sorted(value.clone()));
    text.push('\n');
    text.into_bytes()
}

/// Any plain data as JSON; `null` where a library's type has no JSON form.
pub fn of<T: Serialize>(data: &T) -> Value {
    serde_json::to_value(data).unwrap_or(Value::Null)
}

/// A count: a number where JSON readers hold it exactly, else decimal digits in a string.
pub fn count(n: u128) -> Value {
    const EXACT_MAX: u128 = 1 << 53;
    match u64::try_from(n) {
        Ok(small) if n <= EXACT_MAX => small.into(),
        _ => n.to_string().into(),
    }
}

/// An object of facts from `json!`.
pub fn facts(value: Value) -> Facts {
    match value {
        Value::Object(object) => object,
        _ => Facts::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value = json!({"b": [{"d": 1, "c": 2}], "a": 3});
        assert_eq!(compact(&value), r#"{"a":3,"b":[{"c":2,"d":1}]}"#);
        assert!(String::from_utf8(pretty(&value)).unwrap().starts_with("{\n  \"a\": 3,"));
    }

    #[test]
    fn a_count_beyond_a_double_keeps_all_its_digits() {
        assert_eq!(count(9_007_199_254_740_993), json!("9007199254740993"));
        assert_eq!(count(42), json!(42));
    }
}
