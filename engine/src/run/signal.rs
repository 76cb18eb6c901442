//! Signals from outside: a stage waits for one by name, and what it carries becomes facts.
//!
//! Rule: a signal is recorded once, whether it comes early or late; the same key again changes nothing.

use super::decide::Draft;
use super::{Event, Refusal, StageState, faults};
use crate::definition::{Awaited, StageIndex, StageKind, canonical_text};
use serde_json::Value;

/// Largest data of a signal: they become facts, and facts are small values for predicates.
pub const SIGNAL_BYTES_MAX: usize = 16 * 1024;

impl Draft<'_> {
    fn awaited(&self, stage: StageIndex) -> Awaited {
        let spec = self.spec(stage);
        let unnamed = || Awaited { name: spec.path.clone(), deadline_ms: None };
        spec.control.signal.clone().unwrap_or_else(unnamed)
    }

    /// For a stage that may run: ends it if its signal is there, else waits for it, up to its deadline.
    pub fn await_signal(&mut self, stage: StageIndex) {
        let awaited = self.awaited(stage);
        let progress = &self.next.stages[stage.0 as usize];
        let attempt = progress.next_attempt();
        match (&progress.signal, &progress.state) {
            (Some(signal), _) => {
                let facts = signal.data.clone();
                self.emit(Event::StageSucceeded { stage, attempt, outputs: Vec::new(), facts });
            }
            (None, StageState::AwaitingSignal { deadline_ms: Some(at_ms) }) if *at_ms <= self.now_ms => {
                let error = faults::signal_missing(&awaited.name, *at_ms);
                self.emit(Event::StageFailed { stage, attempt, error });
            }
            (None, StageState::AwaitingSignal { .. }) => {}
            (None, _) => {
                let deadline_ms = awaited.deadline_ms.map(|limit_ms| self.now_ms.saturating_add(limit_ms));
                self.emit(Event::SignalAwaited { stage, deadline_ms });
            }
        }
    }

    /// One that comes early is kept. The key makes a repetition harmless.
    pub fn signal(
        &mut self,
        stage: StageIndex,
        name: String,
        data: String,
        key: Option<String>,
        by: String,
    ) -> Result<(), Refusal> {
        self.expect_known(stage)?;
        let awaited = self.awaited(stage);
        if self.spec(stage).kind != StageKind::Signal || awaited.name != name {
            let expected = match self.spec(stage).kind {
                StageKind::Signal => format!("the signal `{}`", awaited.name),
                kind => format!(
                    "a stage of kind signal, and {} is of kind {}",
                    self.spec(stage).path,
                    kind.name()
                ),
            };
            return Err(Refusal::Malformed { expected, actual: format!("the signal `{name}`") });
        }
        if let Some(known) = &self.next.stages[stage.0 as usize].signal {
            return if key.is_some() && known.key == key {
                Ok(())
            } else {
                Err(self.not_now("a stage that has not had its signal"))
            };
        }
        if !self.next.phase.is_forward() || self.state(stage).is_done() {
            return Err(self.not_now("a run that goes forward"));
        }
        if let StageState::AwaitingSignal { deadline_ms: Some(at_ms) } = self.state(stage)
            && *at_ms <= self.now_ms
        {
            return Err(self.not_now("a signal before its deadline"));
        }
        let value: Value = serde_json::from_str(&data).unwrap_or(Value::Null);
        if !value.is_object() || data.len() > SIGNAL_BYTES_MAX {
            let expected = format!("data as a JSON object of at most {SIGNAL_BYTES_MAX} bytes");
            let actual = data.chars().take(80).collect();
            return Err(Refusal::Malformed { expected, actual });
        }
        self.emit(Event::SignalRecorded { stage, name, data: canonical_text(&value), key, by });
        Ok(())
    }
}
