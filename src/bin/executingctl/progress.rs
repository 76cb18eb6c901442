//! Progress of a run on stderr: bars on a terminal, a line per event elsewhere.

use crate::output;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// A bar's length: finer than a terminal is wide.
const STEPS: u64 = 1000;

/// How often a bar without news moves.
const TICK: Duration = Duration::from_millis(200);

/// One bar per stage, in the order in which the daemon lists them.
#[derive(Debug)]
pub struct Progress {
    bars: MultiProgress,
    stages: BTreeMap<String, ProgressBar>,
    is_terminal: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { bars: MultiProgress::new(), stages: BTreeMap::new(), is_terminal: io::stderr().is_terminal() }
    }

    /// One item of the followed stream.
    pub fn show(&mut self, item: &Value) {
        match (item.get("type").and_then(Value::as_str), self.is_terminal) {
            (Some("progress"), true) => self.draw(item),
            (Some("event"), false) => {
                if let Some(text) = sentence(item) {
                    output::word(&text);
                }
            }
            _ => {}
        }
    }

    fn draw(&mut self, item: &Value) {
        let stages = item.get("stages").and_then(Value::as_array).into_iter().flatten();
        let width = stages.clone().filter_map(name).map(str::len).max().unwrap_or(0);
        for stage in stages {
            let Some(name) = name(stage) else { continue };
            if !self.stages.contains_key(name) {
                self.stages.insert(name.into(), self.bars.add(bar(name, width)));
            }
            let Some(bar) = self.stages.get(name) else { continue };
            let phase = text(stage, "phase");
            let done = match (phase, stage.get("done").and_then(Value::as_f64)) {
                ("succeeded" | "skipped", _) => 1.0,
                (_, done) => done.unwrap_or(0.0).clamp(0.0, 1.0),
            };
            bar.set_position((done * STEPS as f64) as u64);
            bar.set_message(message(stage, phase));
            match phase {
                "running" | "compensating" => bar.enable_steady_tick(TICK),
                _ => bar.disable_steady_tick(),
            }
        }
    }

    /// Leaves the bars as they are and the cursor below them.
    pub fn finish(&mut self) {
        self.stages.values().for_each(ProgressBar::abandon);
    }
}

fn bar(name: &str, width: usize) -> ProgressBar {
    let template = format!("{{spinner}} {{prefix:{width}}} {{bar:24}} {{percent:>3}}%  {{wide_msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(STEPS).with_style(style).with_prefix(name.to_owned())
}

fn message(stage: &Value, phase: &str) -> String {
    let attempts = stage.get("attempts").and_then(Value::as_u64).filter(|attempts| *attempts > 1);
    let attempts = attempts.map_or_else(String::new, |attempts| format!(" (attempt {attempts})"));
    let seconds = stage.get("seconds").and_then(Value::as_f64).filter(|seconds| *seconds > 0.0);
    let seconds = seconds.map_or_else(String::new, |seconds| format!(" {seconds:.1} s"));
    let words = text(stage, "message");
    let colon = if words.is_empty() { "" } else { ": " };
    format!("{phase}{attempts}{seconds}{colon}{words}")
}

/// An event in words, for a log. Events without a word for people give `None`.
fn sentence(event: &Value) -> Option<String> {
    let stage = event.get("stage").and_then(Value::as_str);
    let attempt = event.get("attempt").and_then(Value::as_u64).filter(|attempt| *attempt > 1);
    let attempt = attempt.map_or_else(String::new, |attempt| format!(" (attempt {attempt})"));
    let error = event.get("error").filter(|error| !error.is_null());
    let error = error.map_or_else(String::new, |error| match (text(error, "code"), text(error, "message")) {
        ("", "") => format!(": {}", error.as_str().unwrap_or_default()),
        (code, message) => format!(": {code}: {message}"),
    });
    let what = event.get("event").and_then(Value::as_str)?;
    let is_told = what.starts_with("Run")
        || matches!(
            what,
            "StageStarted"
                | "StageSucceeded"
                | "StageFailed"
                | "StageRetryPlanned"
                | "CompensationStarted"
                | "GateOpened"
                | "CompensationFailed"
        );
    is_told.then(|| match stage {
        Some(stage) => format!("{stage}: {what}{attempt}{error}"),
        None => format!("{what}{error}"),
    })
}

fn name(stage: &Value) -> Option<&str> {
    stage.get("name").and_then(Value::as_str)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failure_is_told_with_its_stage_its_attempt_and_its_cause() {
        let event = json!({"type": "event", "event": "StageFailed", "stage": "a/b", "attempt": 2,
            "error": {"code": "EX-0501", "message": "signal 9"}});
        assert_eq!(sentence(&event).as_deref(), Some("a/b: StageFailed (attempt 2): EX-0501: signal 9"));
    }

    #[test]
    fn a_stage_says_phase_attempt_time_and_message() {
        let stage =
            json!({"name": "s", "phase": "running", "attempts": 3, "seconds": 2.04, "message": "half"});
        assert_eq!(message(&stage, "running"), "running (attempt 3) 2.0 s: half");
        assert_eq!(message(&json!({"attempts": 1, "seconds": 0.0}), "waiting"), "waiting");
    }
}
