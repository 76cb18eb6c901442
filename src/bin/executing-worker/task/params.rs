//! A stage's parameters, typed. Numbers may come as text, as a command line hands them over.

use super::fail;
use engine::run::StageError;
use serde_json::{Map, Value};

#[derive(Debug, Clone)]
pub struct Params(Map<String, Value>);

impl Params {
    /// # Errors
    /// EX-0511 if `text` is no JSON object.
    pub fn read(text: &str) -> Result<Self, StageError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(wrong("params", text, "a JSON object")),
            Err(error) => {
                Err(fail::permanent("EX-0511", format!("the stage's parameters are not JSON: {error}")))
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Puts a tuned value (JSON, judged by the daemon) in the place of the one before.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Ok(value) = serde_json::from_str(value) {
            self.0.insert(name.to_owned(), value);
        }
    }

    pub fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A finite number, if stated.
    pub fn number(&self, name: &str) -> Result<Option<f64>, StageError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, &value.to_string(), "a finite number")),
        }
    }

    /// A whole number in `least..=most`, or `default` if it is not stated.
    pub fn whole(&self, name: &str, default: u64, least: u64, most: u64) -> Result<u64, StageError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(number),
            None => Err(wrong(name, &value.to_string(), &format!("a whole number from {least} to {most}"))),
        }
    }

    /// True or false; false if it is not stated.
    pub fn flag(&self, name: &str) -> Result<bool, StageError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(wrong(name, &other.to_string(), "true or false")),
        }
    }

    /// A text, if stated.
    pub fn text(&self, name: &str) -> Result<Option<&str>, StageError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, &other.to_string(), "a text")),
        }
    }

    /// A list of texts (or one text); empty if it is not stated.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, StageError> {
        let no = |value: &Value| wrong(name, &value.to_string(), "a list of texts");
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(text.split(',').map(|part| part.trim().to_owned()).collect()),
            Some(value @ Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| no(value))).collect()
            }
            Some(other) => Err(no(other)),
        }
    }
}

/// The error for a parameter that is not what was expected.
pub fn wrong(name: &str, given: &str, expected: &str) -> StageError {
    fail::permanent("EX-0511", format!("parameter `{name}` is {given}; expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_as_text_counts_and_one_out_of_range_is_named() {
        let params = Params::read(r#"{"shots": "2048", "layers": 0, "level": "high"}"#).unwrap();
        assert_eq!(params.whole("shots", 1, 1, 5000).unwrap(), 2048);
        let error = params.whole("layers", 3, 1, 64).unwrap_err();
        assert_eq!(error.message, "parameter `layers` is 0; expected a whole number from 1 to 64");
        assert!(params.number("level").is_err());
        assert_eq!(params.number("absent").unwrap(), None);
    }
}
