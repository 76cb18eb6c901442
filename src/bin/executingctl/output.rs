//! How data and errors are written.
//!
//! Rule: data to stdout, words to stderr; with `-o json` the data is one compact line, the last of
//! stdout. Absent: which data.

use crate::args::Format;
use crate::table as fitted;
use engine::protocol::ErrorReply;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};

/// Columns that stand first, in this order; further ones follow in alphabetical order.
const FIRST_COLUMNS: [&str; 22] = [
    "run",
    "name",
    "schedule",
    "verb",
    "workflow",
    "phase",
    "stage",
    "kind",
    "state",
    "cron",
    "timezone",
    "next",
    "user",
    "ok",
    "attempts",
    "seconds",
    "submitted",
    "bytes",
    "digest",
    "artifact",
    "message",
    "detail",
];

/// Where and how data is written.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
}

impl Output {
    /// Writes one answer.
    pub fn data(self, data: &Value) {
        match self.format {
            Format::Table => line(&table(data, fitted::width())),
            Format::Json => line(&data.to_string()),
            Format::Jsonl => match only_list(data) {
                Some(items) => items.iter().for_each(|item| line(&item.to_string())),
                None => line(&data.to_string()),
            },
            Format::Yaml => match serde_saphyr::to_string(data) {
                Ok(text) => line(text.trim_end()),
                // JSON is YAML too.
                Err(_) => line(&data.to_string()),
            },
        }
    }

    pub fn is_for_people(self) -> bool {
        self.format == Format::Table
    }
}

/// One line of data. A reader that has had enough, such as `head`, ends the program without a word.
pub fn line(text: &str) {
    let mut stdout = io::stdout().lock();
    if writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}

/// One line of words.
pub fn word(text: &str) {
    // Nobody is there to be told that nobody is there.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A refusal with its places and what to do.
pub fn error(reply: &ErrorReply) {
    word(&format!("{}: {}", paint(&format!("error[{}]", reply.code), "1;31"), reply.message));
    for problem in &reply.problems {
        if problem.message != reply.message {
            word(&format!("{}: {}", paint(&format!("problem[{}]", problem.code), "1"), problem.message));
        }
        word(&format!("  --> {}", place(problem)));
        if !problem.help.is_empty() {
            word(&format!("  help: {}", problem.help));
        }
    }
    if reply.problems.is_empty() {
        // The other rooms say in one paragraph what a code means and what to do.
        let known = engine::codes::lookup(&reply.code).map(|code| code.remedy.to_owned());
        let asked = || format!("`executingctl explain {}` says what it means.", reply.code);
        word(&format!("  help: {}", known.unwrap_or_else(asked)));
    }
}

/// Something that stops nothing.
pub fn warning(problem: &engine::definition::Problem) {
    word(&format!("{}: {}", paint(&format!("warning[{}]", problem.code), "1;33"), problem.message));
    word(&format!("  --> {}", place(problem)));
}

fn place(problem: &engine::definition::Problem) -> String {
    match (problem.line, problem.column) {
        (0, _) => problem.file.clone(),
        (line, 0) => format!("{}:{line}", problem.file),
        (line, column) => format!("{}:{line}:{column}", problem.file),
    }
}

fn paint(text: &str, style: &str) -> String {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if no_color || !io::stderr().is_terminal() {
        return text.into();
    }
    format!("\x1b[{style}m{text}\x1b[0m")
}

/// The only list in an object, which is what people came for.
fn only_list(data: &Value) -> Option<&Vec<Value>> {
    match data {
        Value::Array(items) => Some(items),
        Value::Object(fields) => {
            let mut lists = fields.values().filter_map(Value::as_array);
            lists.next().filter(|_| lists.next().is_none())
        }
        _ => None,
    }
}

/// Data as tables that fit `width`: single fields first, then each list of objects.
pub fn table(data: &Value, width: Option<usize>) -> String {
    match data {
        Value::Object(fields) => {
            let is_rows =
                |value: &&Value| matches!(value, Value::Array(items) if items.iter().any(Value::is_object));
            let mut parts = Vec::new();
            let single: Vec<_> = sorted(fields.keys())
                .into_iter()
                .filter(|key| !is_rows(&&fields[key.as_str()]))
                .filter(|key| !matches!(&fields[key.as_str()], Value::Array(items) if items.is_empty()))
                .collect();
            if !single.is_empty() {
                let pairs: Vec<(String, String)> =
                    single.into_iter().map(|key| (key.clone(), cell(&fields[key.as_str()]))).collect();
                parts.push(fitted::pairs(&pairs, width));
            }
            for (name, items) in fields.iter().filter(|(_, value)| is_rows(value)) {
                if fields.values().filter(is_rows).count() > 1 {
                    parts.push(format!("{name}:"));
                }
                parts.push(rows(items.as_array().map_or(&[], Vec::as_slice), width));
            }
            if parts.is_empty() {
                let names: Vec<_> = fields.keys().map(String::as_str).collect();
                return format!("no {}", names.join(", "));
            }
            parts.join("\n")
        }
        Value::Array(items) if items.iter().any(Value::is_object) => rows(items, width),
        other => cell(other),
    }
}

fn rows(items: &[Value], width: Option<usize>) -> String {
    let empty = Map::new();
    let objects: Vec<&Map<String, Value>> =
        items.iter().map(|item| item.as_object().unwrap_or(&empty)).collect();
    let columns = sorted(objects.iter().flat_map(|object| object.keys()));
    let row = |object: &&Map<String, Value>| {
        columns.iter().map(|column| object.get(column).map_or(String::new(), cell)).collect()
    };
    fitted::rows(&columns, &objects.iter().map(row).collect::<Vec<_>>(), width)
}

fn sorted<'k>(keys: impl Iterator<Item = &'k String>) -> Vec<String> {
    let rank = |key: &String| FIRST_COLUMNS.iter().position(|first| first == key).unwrap_or(usize::MAX);
    let mut keys: Vec<String> = keys.collect::<BTreeSet<_>>().into_iter().cloned().collect();
    keys.sort_by_key(rank);
    keys
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').into()
        }
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_shows_every_field_once_with_the_run_first() {
        let text = table(
            &json!({"runs": [
                {"zeal": 1, "phase": "running", "run": "r-1"},
                {"phase": "failed", "run": "r-2", "error": {"code": "EX-0501"}},
            ]}),
            None,
        );
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["RUN", "PHASE", "ERROR", "ZEAL"]);
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["r-1", "running", "1"]);
        assert!(lines[2].contains("code=EX-0501"), "{text}");
    }

    #[test]
    fn an_empty_list_says_what_there_is_none_of() {
        assert_eq!(table(&json!({"runs": []}), Some(80)), "no runs");
    }

    #[test]
    fn fields_beside_a_list_are_not_lost() {
        let text = table(&json!({"run": "r-1", "stages": [{"name": "a", "seconds": 1.25}]}), None);
        assert!(text.contains("run") && text.contains("r-1") && text.contains("1.25"), "{text}");
    }

    #[test]
    fn a_place_that_is_not_known_is_not_shown_as_zero() {
        let mut problem = engine::definition::Problem {
            code: "EX-0300".into(),
            file: "a.yaml".into(),
            line: 3,
            column: 5,
            message: String::new(),
            help: String::new(),
        };
        assert_eq!(place(&problem), "a.yaml:3:5");
        problem.line = 0;
        assert_eq!(place(&problem), "a.yaml");
    }
}
