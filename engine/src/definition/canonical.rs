//! A definition as bytes that are equal exactly when the definitions are, and its digest.
//!
//! Rule: maps are sorted here, not by whatever a JSON library was built to do, since the digest is
//! stored for ever.

use super::problem::Problem;
use super::spec::Definition;
use serde_json::Value as Json;

/// JSON with sorted keys and no spaces.
pub fn canonical_text(value: &Json) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Json, text: &mut String) {
    let separate = |index: usize, text: &mut String| {
        if index > 0 {
            text.push(',');
        }
    };
    match value {
        Json::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                separate(index, text);
                write(&Json::from(key.as_str()), text);
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Json::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(index, text);
                write(item, text);
            }
            text.push(']');
        }
        leaf => text.push_str(&leaf.to_string()),
    }
}

/// The stored form of a definition.
pub fn canonical_json(definition: &Definition) -> Vec<u8> {
    // A definition holds numbers, texts, lists and maps with text keys: all of that has a JSON form.
    serde_json::to_value(definition).map(|value| canonical_text(&value).into_bytes()).unwrap_or_default()
}

/// `b3:<hex>` over [`canonical_json`].
pub fn digest(definition: &Definition) -> String {
    format!("b3:{}", blake3::hash(&canonical_json(definition)).to_hex())
}

/// Reads back what [`canonical_json`] wrote.
///
/// # Errors
/// `EX-0134` if the bytes are not a definition, or one whose dependencies make no order.
pub fn from_canonical(bytes: &[u8]) -> Result<Definition, Problem> {
    let damaged = |message: String| Problem {
        code: "EX-0134".into(),
        file: "stored definition".into(),
        line: 0,
        column: 0,
        message,
        help: "verify the journal; the record may be damaged or of another version".into(),
    };
    let definition: Definition = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    match super::topological_order(&definition) {
        Some(_) => Ok(definition),
        None => {
            Err(damaged("its stages need each other in a circle or need a stage that is not there".into()))
        }
    }
}
