//! What a stage of kind `check` finds: pure, so the daemon does it where it stands.

use super::{Run, StageError, faults};
use crate::definition::StageIndex;
use crate::predicate::{self, Verdict};
use serde_json::{Map, Value};

impl Run {
    /// The facts that a check states (canonical JSON object), if all it expects holds over them and
    /// the facts so far.
    ///
    /// # Errors
    /// Permanent, naming the first expectation that does not hold or could not be evaluated.
    pub fn check(&self, stage: StageIndex) -> Result<String, StageError> {
        let params: Map<String, Value> = serde_json::from_str(&self.params_of(stage)).unwrap_or_default();
        let stated = match params.get("facts") {
            None => Map::new(),
            Some(Value::Object(facts)) => facts.clone(),
            Some(other) => return Err(faults::check_malformed(&format!("`facts` is {other}"))),
        };
        let expected = match params.get("expect") {
            None => &[][..],
            Some(Value::Array(expected)) => expected,
            Some(other) => return Err(faults::check_malformed(&format!("`expect` is {other}"))),
        };
        if !expected.is_empty() {
            let mut facts = self.facts();
            facts.extend(stated.clone());
            for expectation in expected {
                let Value::String(expression) = expectation else {
                    return Err(faults::check_malformed(&format!("`expect` holds {expectation}")));
                };
                match predicate::evaluate(expression, &facts) {
                    Verdict::True => {}
                    Verdict::False => return Err(faults::expectation_false(expression)),
                    Verdict::NotEvaluated { why } => {
                        return Err(faults::expectation_not_evaluated(expression, &why));
                    }
                }
            }
        }
        Ok(Value::Object(stated).to_string())
    }
}
