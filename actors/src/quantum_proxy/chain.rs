//! Which backends a stage wants, in which order, and for how long it waits for them.
//!
//! Parameters: `backend` (else `resources.backend`, else the simulator), `fallback`, a list of further names,
//! `wait_seconds`. Whatever the list says, the simulator stands behind the last machine and the exact classical
//! answer behind the simulator; a list that ends with `classical-exact` and does not name the simulator leaves it
//! out. With `fallback_to_classical: false` nobody is asked who is not named. Rule: pure; the same words are read at submission and when the stage begins. Start at [`Chain::read`].

use super::in_worker::SIMULATOR;
use engine::definition::{Definition, StageSpec};
use serde_json::{Map, Value};

/// The last of every chain: no backend, the answer of the scan.
pub const EXACT: &str = "classical-exact";
/// The parameter by which the daemon tells a worker its part; nobody else sets it.
pub(super) const STEP: &str = "quantum_step";
/// The parameter by which a workflow allows or forbids that somebody stands in who is not named.
const CLASSICAL: &str = "fallback_to_classical";
/// How long a stage waits for machines when it does not say: a day, as queues are long.
const WAIT_SECONDS_DEFAULT: u64 = 86_400;
/// A month: longer, and whoever asked has forgotten.
const WAIT_SECONDS_MAX: u64 = 30 * 86_400;
/// More backends than this in one chain are a mistake of a generator.
const CHAIN_MAX: usize = 16;

/// Why a stage's wish is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("no quantum backend {name} is set up; there are {known}")]
    Unknown { name: String, known: String },
    #[error("parameter `{name}` is {given}; expected {expected}")]
    Parameter { name: &'static str, given: String, expected: &'static str },
}

impl ChainError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "EX-0487",
            Self::Parameter { .. } => "EX-0511",
        }
    }
}

/// What a stage asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Machines (and what simulates them gate by gate), in the order in which they are asked.
    pub gates: Vec<String>,
    /// Whether the simulator stands behind them.
    pub simulate: bool,
    /// Whether the exact classical answer stands in when all others gave nothing.
    pub exact: bool,
    pub wait_ms: u64,
}

/// The first backend a stage asks for; its proxy leads the stage. `params` is the stage's JSON object.
pub fn first(params: &str, demand: Option<&str>) -> String {
    let stated = serde_json::from_str::<Map<String, Value>>(params)
        .ok()
        .and_then(|params| params.get("backend").and_then(Value::as_str).map(str::to_owned));
    stated.or_else(|| demand.map(str::to_owned)).unwrap_or_else(|| SIMULATOR.to_owned())
}

impl Chain {
    /// The wish of a stage with these parameters, where the backends `known` are set up.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn read(params: &str, demand: Option<&str>, known: &[String]) -> Result<Self, ChainError> {
        let given: Map<String, Value> = serde_json::from_str(params).unwrap_or_default();
        let stated = |name: &str| given.get(name).filter(|value| !value.is_null());
        let wrong = |name, value: &Value, expected| {
            let given = value.to_string();
            Err(ChainError::Parameter { name, given, expected })
        };
        if let Some(value) = stated(STEP) {
            return wrong(STEP, value, "nothing: only the daemon sets it");
        }
        let first = match stated("backend") {
            None => demand.unwrap_or(SIMULATOR).to_owned(),
            Some(Value::String(name)) => name.clone(),
            Some(other) => return wrong("backend", other, "the name of a backend"),
        };
        let mut names = vec![first];
        match stated("fallback") {
            None => {}
            Some(Value::String(text)) => {
                names.extend(text.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()));
            }
            Some(value @ Value::Array(items)) => {
                for item in items {
                    match item.as_str() {
                        Some(name) => names.push(name.to_owned()),
                        None => return wrong("fallback", value, "a list of names of backends"),
                    }
                }
            }
            Some(other) => return wrong("fallback", other, "a list of names of backends"),
        }
        let order = "each backend once, then `simulator`, then `classical-exact`";
        let whole = || Value::from(names.clone());
        if names.len() > CHAIN_MAX {
            return wrong("fallback", &whole(), "at most 15 names");
        }
        let mut chain = Self { gates: Vec::new(), simulate: true, exact: true, wait_ms: 0 };
        let mut simulator = false;
        for (i, name) in names.iter().enumerate() {
            let last = i + 1 == names.len();
            match name.as_str() {
                EXACT if i > 0 && last => chain.simulate = simulator,
                EXACT if i > 0 => return wrong("fallback", &whole(), order),
                name if !known.iter().any(|known| known == name) => {
                    let known = known.join(", ");
                    return Err(ChainError::Unknown { name: name.to_owned(), known });
                }
                _ if simulator || chain.gates.contains(name) => return wrong("fallback", &whole(), order),
                SIMULATOR => simulator = true,
                name => chain.gates.push(name.to_owned()),
            }
        }
        match stated(CLASSICAL) {
            None | Some(Value::Bool(true)) => {}
            Some(Value::String(text)) if text == "true" => {}
            Some(value) if *value == Value::Bool(false) || value == "false" => {
                if names.last().is_some_and(|name| name == EXACT) {
                    let expected = "true where `fallback` ends with `classical-exact`";
                    return wrong(CLASSICAL, value, expected);
                }
                (chain.simulate, chain.exact) = (simulator, false);
            }
            Some(other) => return wrong(CLASSICAL, other, "true or false"),
        }
        let seconds = match stated("wait_seconds") {
            None => Some(WAIT_SECONDS_DEFAULT),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_u64(),
        };
        match seconds.filter(|seconds| (1..=WAIT_SECONDS_MAX).contains(seconds)) {
            Some(seconds) => chain.wait_ms = seconds * 1_000,
            None => {
                let value = stated("wait_seconds").cloned().unwrap_or_default();
                return wrong("wait_seconds", &value, "a whole number of seconds from 1 to 2592000");
            }
        }
        Ok(chain)
    }

    /// Everything behind the first, as a report names it.
    pub fn fallback(&self) -> Vec<String> {
        let simulator = (self.simulate && !self.gates.is_empty()).then(|| SIMULATOR.to_owned());
        let exact = self.exact.then(|| EXACT.to_owned());
        self.gates.iter().skip(1).cloned().chain(simulator).chain(exact).collect()
    }
}

/// Every quantum stage of a definition names backends that are set up.
///
/// # Errors
/// The first that does not, with the path of its stage.
pub fn check(definition: &Definition, known: &[String]) -> Result<(), (String, ChainError)> {
    let quantum =
        |stage: &&StageSpec| crate::stages::executor(stage.kind) == crate::stages::Executor::Quantum;
    for stage in definition.stages.iter().filter(quantum) {
        let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
        let mut params = read(&definition.params);
        params.extend(read(&stage.params));
        let params = Value::Object(params).to_string();
        Chain::read(&params, stage.demand.backend.as_deref(), known)
            .map_err(|error| (stage.path.clone(), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(params: &str, demand: Option<&str>) -> Result<Chain, ChainError> {
        Chain::read(params, demand, &["aer".into(), "braket".into(), SIMULATOR.into()])
    }

    #[test]
    fn the_simulator_and_the_exact_answer_stand_behind_every_machine() {
        let chain = read(r#"{"backend":"braket","fallback":["aer"]}"#, Some("aer")).unwrap();
        assert_eq!((chain.gates.clone(), chain.simulate), (vec!["braket".into(), "aer".into()], true));
        assert_eq!(chain.fallback(), ["aer", SIMULATOR, EXACT]);
        assert_eq!(read("{}", Some("aer")).unwrap().gates, ["aer"]);
        assert_eq!(read("{}", None).unwrap().fallback(), [EXACT]);
        let bare = read(r#"{"backend":"aer","fallback":"classical-exact"}"#, None).unwrap();
        assert_eq!((bare.simulate, bare.fallback()), (false, vec![EXACT.to_owned()]));
        assert!(read(r#"{"backend":"aer","fallback":"simulator, classical-exact"}"#, None).unwrap().simulate);
    }

    #[test]
    fn where_the_classical_answer_is_forbidden_nobody_is_asked_who_is_not_named() {
        let chain = |params: &str| {
            let chain = read(params, None).unwrap();
            (chain.simulate && !chain.gates.is_empty(), chain.exact, chain.fallback())
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(chain(r#"{"backend":"aer","fallback_to_classical":false}"#), (false, false, none.clone()));
        assert_eq!(
            chain(r#"{"backend":"aer","fallback":["simulator"],"fallback_to_classical":"false"}"#),
            (true, false, vec![SIMULATOR.to_owned()])
        );
        assert_eq!(chain(r#"{"fallback_to_classical":false}"#), (false, false, none));
        assert!(chain(r#"{"backend":"aer","fallback_to_classical":true}"#).1);
        let both = r#"{"backend":"aer","fallback":["classical-exact"],"fallback_to_classical":false}"#;
        assert!(read(both, None).unwrap_err().to_string().contains("where `fallback` ends with"));
        assert!(
            read(r#"{"fallback_to_classical":"no"}"#, None)
                .unwrap_err()
                .to_string()
                .contains("true or false")
        );
    }

    #[test]
    fn a_wish_that_cannot_be_met_is_refused_with_what_there_is() {
        for (params, code, words) in [
            (r#"{"backend":"ibm"}"#, "EX-0487", "aer, braket, simulator"),
            (r#"{"fallback":["ibm"]}"#, "EX-0487", "ibm"),
            (r#"{"backend":"classical-exact"}"#, "EX-0487", "classical-exact"),
            (r#"{"backend":7}"#, "EX-0511", "name of a backend"),
            (r#"{"backend":"aer","fallback":[1]}"#, "EX-0511", "list of names"),
            (r#"{"backend":"aer","fallback":["aer"]}"#, "EX-0511", "once"),
            (r#"{"backend":"aer","fallback":["simulator","braket"]}"#, "EX-0511", "once"),
            (r#"{"backend":"aer","fallback":["classical-exact","braket"]}"#, "EX-0511", "once"),
            (r#"{"wait_seconds":0}"#, "EX-0511", "from 1 to"),
            (r#"{"wait_seconds":1.5}"#, "EX-0511", "from 1 to"),
            (r#"{"quantum_step":{}}"#, "EX-0511", "only the daemon"),
        ] {
            let error = read(params, None).unwrap_err();
            assert_eq!(error.code(), code, "{params}: {error}");
            assert!(error.to_string().contains(words), "{params}: {error}");
        }
    }
}
