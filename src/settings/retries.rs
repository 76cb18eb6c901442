//! Settings `retries` and `error_classes`: how attempts of a kind are repeated, and what a code counts as.
//!
//! ```yaml
//! retries:
//!   qaoa-optimization: {attempts: 5, backoff: 10s, backoff_max: 5m, factor: 3, retry_on: [transient]}
//! error_classes:
//!   EX-0514: permanent
//!   resource_unavailable: transient
//! ```
//!
//! Rule: a workflow's own `retry` wins, and a run keeps what held when it was submitted. No class makes a program
//! that must not be repeated be repeated. Every fault is named with its key, line and range.

use engine::definition::{
    ATTEMPTS_MAX, BACKOFF_MS_MAX, FACTOR_PERMILLE, RetryDefaults, RetryOn, StageKind, units,
};
use engine::run::ErrorClass;
use engine::taxonomy;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

/// As written; judged by [`Retries::faults`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Retries(BTreeMap<String, Spanned<Row>>);

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Row {
    /// Attempts in all.
    attempts: Option<Spanned<Value>>,
    /// Wait before the first repeat, and the longest.
    backoff: Option<Spanned<Value>>,
    backoff_max: Option<Spanned<Value>>,
    /// By this the wait grows from one repeat to the next.
    factor: Option<Spanned<Value>>,
    /// Classes of errors that are repeated.
    retry_on: Option<Spanned<Value>>,
}

/// Codes and kinds of errors to the class that they count as.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Classes(BTreeMap<String, Spanned<Value>>);

/// Codes of attempts that may have had their effect. Where that may be repeated they are repeated as they are.
const MAY_HAVE_TAKEN_EFFECT: [&str; 3] = ["EX-0505", "EX-0530", "EX-0531"];
/// How an attempt ends that was asked to; no error.
const STOPPED: &str = "EX-0590";

fn fault(faults: &mut Vec<String>, key: &str, line: u64, expected: &str, got: &dyn std::fmt::Display) {
    faults.push(format!("{key}, line {line}: expected {expected}, got {got}"));
}

/// Whether an error of an attempt may have this code.
fn is_code(name: &str) -> bool {
    let rooms = [quantum::CODES, quantum::backends::CODES].into_iter().flatten();
    engine::codes::lookup(name).is_some() || rooms.into_iter().any(|(code, _)| *code == name)
}

fn milliseconds(value: &Value) -> Option<u64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    units::duration_ms(&text).ok().filter(|ms| (1..=BACKOFF_MS_MAX).contains(ms))
}

impl Row {
    fn read(&self, key: &str, faults: &mut Vec<String>) -> RetryDefaults {
        let mut one = |field: &str,
                       value: &Option<Spanned<Value>>,
                       expected: &str,
                       fits: &mut dyn FnMut(&Value) -> bool| {
            if let Some(given) = value
                && !fits(&given.value)
            {
                fault(faults, &format!("{key}.{field}"), given.referenced.line(), expected, &given.value);
            }
        };
        let mut all = RetryDefaults::default();
        let attempts_max = u64::from(ATTEMPTS_MAX);
        one("attempts", &self.attempts, &format!("1 to {ATTEMPTS_MAX} attempts in all"), &mut |value| {
            let given = value.as_u64().filter(|n| (1..=attempts_max).contains(n));
            all.attempts = given.and_then(|n| u32::try_from(n).ok());
            all.attempts.is_some()
        });
        let wait = "a duration from 1ms to 1d, such as 500ms, 30s, 5m, or seconds";
        one("backoff", &self.backoff, wait, &mut |value| {
            all.backoff_ms = milliseconds(value);
            all.backoff_ms.is_some()
        });
        one("backoff_max", &self.backoff_max, wait, &mut |value| {
            all.backoff_ms_max = milliseconds(value);
            all.backoff_ms_max.is_some()
        });
        let least = all.backoff_ms.unwrap_or(0);
        one("backoff_max", &self.backoff_max, &format!("at least the first wait, {least} ms"), &mut |_| {
            all.backoff_ms_max.is_none_or(|most| most >= least)
        });
        let (low, high) = (FACTOR_PERMILLE.start() / 1_000, FACTOR_PERMILLE.end() / 1_000);
        one("factor", &self.factor, &format!("a number from {low} to {high}"), &mut |value| {
            let permille =
                value.as_f64().filter(|f| (1.0..=10.0).contains(f)).map(|f| (f * 1_000.0).round() as u32);
            all.factor_permille = permille;
            permille.is_some()
        });
        if let Some(given) = &self.retry_on {
            let words: Option<Vec<&str>> =
                given.value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
            match words.map_or(Err("a list of transient, ambiguous".to_owned()), RetryOn::read) {
                Ok(on) => all.retry_on = Some(on),
                Err(expected) => {
                    fault(
                        faults,
                        &format!("{key}.retry_on"),
                        given.referenced.line(),
                        &expected,
                        &given.value,
                    );
                }
            }
        }
        all
    }
}

impl Retries {
    fn read(&self, faults: &mut Vec<String>) -> BTreeMap<StageKind, RetryDefaults> {
        let mut all = BTreeMap::new();
        for (name, row) in &self.0 {
            let key = format!("retries.{name}");
            let of_kind = row.value.read(&key, faults);
            match StageKind::from_name(name) {
                Some(kind) => drop(all.insert(kind, of_kind)),
                None => {
                    let known = StageKind::ALL.map(StageKind::name).join(", ");
                    let expected = format!("a stage kind ({known})");
                    fault(faults, &key, row.referenced.line(), &expected, name);
                }
            }
        }
        all
    }

    /// Every fault, each with key, line and range; empty if there is none.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.read(&mut faults);
        faults
    }

    /// By kind, of settings without faults.
    pub fn by_kind(&self) -> BTreeMap<StageKind, RetryDefaults> {
        self.read(&mut Vec::new())
    }
}

impl Classes {
    fn read(&self, faults: &mut Vec<String>) -> BTreeMap<String, ErrorClass> {
        let (mut by_kind, mut by_code) = (BTreeMap::new(), BTreeMap::new());
        for (name, given) in &self.0 {
            let (key, line) = (format!("error_classes.{name}"), given.referenced.line());
            let class = given.value.as_str().and_then(taxonomy::from_word);
            let Some(class) = class else {
                fault(faults, &key, line, "transient, permanent or ambiguous", &given.value);
                continue;
            };
            let kind = taxonomy::KINDS.iter().find(|kind| kind.name == name);
            let codes: Vec<&str> = match kind {
                Some(kind) => kind.codes.to_vec(),
                None if is_code(name) && name != STOPPED => vec![name],
                None => {
                    let kinds = taxonomy::KINDS.map(|kind| kind.name).join(", ");
                    fault(faults, &key, line, &format!("a code such as EX-0514, or one of {kinds}"), name);
                    continue;
                }
            };
            if class == ErrorClass::Transient
                && let Some(code) = codes.iter().find(|code| MAY_HAVE_TAKEN_EFFECT.contains(code))
            {
                let expected = format!(
                    "permanent or ambiguous: {code} is how a program ends that may have had its effect, and one that \
                     must not be repeated would be; say `idempotent: true` in the workflow where it may be"
                );
                fault(faults, &key, line, &expected, &given.value);
                continue;
            }
            let into = if kind.is_some() { &mut by_kind } else { &mut by_code };
            into.extend(codes.into_iter().map(|code| (code.to_owned(), class)));
        }
        // What is said of a code is nearer to it than what is said of its kind.
        by_kind.extend(by_code);
        by_kind
    }

    /// Every fault, each with key, line and what was expected; empty if there is none.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.read(&mut faults);
        faults
    }

    /// By code, of settings without faults.
    pub fn by_code(&self) -> BTreeMap<String, ErrorClass> {
        self.read(&mut Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let settings = Settings::read(&format!("state: x\n{text}\n"), "s.yaml").unwrap();
        settings.retries.faults().into_iter().chain(settings.error_classes.faults()).collect()
    }

    #[test]
    fn every_fault_has_its_key_line_and_range() {
        let text = "retries:\n  qaoa-optimisation: {}\n  exec:\n    attempts: 0\n  milp-solving: {attempts: 101, backoff: 25h, factor: 0.5}\n  check:\n    retry_on: [often]\n    backoff: 10s\n    backoff_max: 9s\n  signal: {retry_on: [permanent]}\nerror_classes:\n  EX-0514: sometimes\n  EX-9999: transient\n  sunspots: transient\n  EX-0531: transient\n  EX-0505: transient";
        let found = faults(text);
        for expected in [
            "retries.qaoa-optimisation, line 3: expected a stage kind (initialization,",
            "retries.exec.attempts, line 5: expected 1 to 100 attempts in all, got 0",
            "retries.milp-solving.attempts, line 6: expected 1 to 100 attempts in all, got 101",
            "retries.milp-solving.backoff, line 6: expected a duration from 1ms to 1d",
            "retries.milp-solving.factor, line 6: expected a number from 1 to 10, got 0.5",
            "retries.check.retry_on, line 8: expected a list of transient, ambiguous",
            "retries.check.backoff_max, line 10: expected at least the first wait, 10000 ms, got \"9s\"",
            "retries.signal.retry_on, line 11: expected transient, ambiguous; a permanent error is never repeated",
            "error_classes.EX-0514, line 13: expected transient, permanent or ambiguous, got \"sometimes\"",
            "error_classes.EX-9999, line 14: expected a code such as EX-0514, or one of network_timeout",
            "error_classes.sunspots, line 15: expected a code",
            "error_classes.EX-0531, line 16: expected permanent or ambiguous: EX-0531 is how a program ends",
            "error_classes.EX-0505, line 17: expected permanent or ambiguous",
        ] {
            assert!(
                found.iter().any(|fault| fault.starts_with(expected)),
                "no {expected} in\n{}",
                found.join("\n")
            );
        }
        assert_eq!(found.len(), 13, "{found:#?}");
    }

    #[test]
    fn what_is_right_is_read_and_a_code_wins_over_its_kind() {
        let text = "retries:\n  exec: {attempts: 7, backoff: 2, backoff_max: 1m, factor: 1.5, retry_on: [ambiguous]}\nerror_classes: {resource_unavailable: permanent, EX-0508: transient, EX-0531: permanent}";
        assert_eq!(faults(text), Vec::<String>::new());
        let settings = Settings::read(&format!("state: x\n{text}\n"), "s.yaml").unwrap();
        let expected = RetryDefaults {
            attempts: Some(7),
            backoff_ms: Some(2_000),
            backoff_ms_max: Some(60_000),
            factor_permille: Some(1_500),
            retry_on: Some(RetryOn { transient: false, ambiguous: true }),
        };
        assert_eq!(settings.retries.by_kind(), BTreeMap::from([(StageKind::Exec, expected)]));
        let classes = settings.error_classes.by_code();
        let of = |code: &str| classes.get(code).copied();
        assert_eq!(of("EX-0501"), Some(ErrorClass::Permanent));
        assert_eq!(of("EX-0508"), Some(ErrorClass::Transient));
        assert_eq!(of("EX-0531"), Some(ErrorClass::Permanent));
        assert_eq!(of("EX-0514"), None);
    }
}
