//! What the stage is asked: the designs, what they cost, and the parameters of the search.
//!
//! Rule: every part of the stage reads its question here, and names its answer by [`Question::best`], so that the
//! simulator, a machine and the scan cannot differ in what they were asked or in how they write the design they found.

use super::qaoa;
use crate::task::feasible::{self, Feasible};
use crate::task::money::{self, Money, Risk};
use crate::task::params;
use crate::task::subject::{self, Subject};
use crate::task::work::Work;
use engine::run::StageError;
use quantum::noise::Noise;
use quantum::qaoa::{Method, Settings, WarmStart};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use solvers::selection::Figures;
use solvers::space::Design;

/// The designs and what they cost.
pub(super) struct Question {
    pub subject: Subject,
    pub money: Money,
    pub risk: Risk,
    pub settings: Settings,
    pub mixer: Mixer,
    pub found: Feasible,
    pub figures: Figures,
    /// Objective of each design.
    pub costs: Vec<f64>,
    pub unit: String,
}

impl Question {
    /// The object `best` of the result: the design at `index` of the feasible set with its objective and figures.
    pub(super) fn best(&self, index: usize, design: &Design) -> Value {
        json!({
            "design": self.subject.space.design_json(design),
            "index": index,
            "objective": self.costs[index],
            "expected": self.figures.expected[index],
            "cvar": self.figures.cvar[index],
        })
    }
}

/// Reads the stage's inputs and parameters, and takes or makes the feasible set.
///
/// # Errors
/// What the inputs or parameters are refused for, with the code of whoever refuses.
pub(super) fn question(work: &mut Work) -> Result<Question, StageError> {
    let subject = subject::read(work)?;
    let money = money::read(work, &subject)?;
    let risk = money::risk(work)?;
    let settings = settings(work)?;
    let mixer: Mixer = word(work, "mixer", "grover or one-hot", Mixer::Grover)?;
    let found = feasible::load(work, &subject)?;
    let (figures, unit) = {
        let evaluator = money.evaluator(&found.designs)?;
        let figures = money::figures(work, &evaluator, &[risk.level], 0.0, 0.4)?;
        (figures, evaluator.model().unit.clone().unwrap_or_default())
    };
    // The weight first counts here; what comes later is for the next attempt.
    work.take_last("risk_weight");
    let risk = money::risk(work)?;
    let costs = money::objectives(&figures, risk.weight);
    Ok(Question { subject, money, risk, settings, mixer, found, figures, costs, unit })
}

/// The settings of the search, as tuned.
///
/// # Errors
/// EX-0511 for what is out of its range.
pub(super) fn settings(work: &Work) -> Result<Settings, StageError> {
    let settings = Settings {
        layers: work.params.whole("layers", 3, 1, 64)? as u32,
        iterations: work.params.whole("iterations", 60, 1, 10_000_000)? as u32,
        seed: work.request.seed,
        elite_fraction: work.params.number("elite_fraction")?.unwrap_or(1.0),
        shots: work.params.whole("shots", 1_024, 1, 10_000_000)? as u32,
        method: word(work, "optimiser", "lbfgs, nelder-mead or spsa", Method::default())?,
        warm_start: word(
            work,
            "warm_start",
            "none, ramp, sherrington-kirkpatrick or cubic-max-cut",
            WarmStart::default(),
        )?,
        noise: noise(work)?,
    };
    settings.check().map_err(|error| qaoa(&error))?;
    Ok(settings)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mixer {
    Grover,
    OneHot,
}

/// A parameter that is one of some words.
fn word<T: DeserializeOwned>(work: &Work, name: &str, expected: &str, default: T) -> Result<T, StageError> {
    let Some(text) = work.params.text(name)? else { return Ok(default) };
    serde_json::from_value(Value::String(text.to_owned())).map_err(|_| params::wrong(name, text, expected))
}

/// `noise`, an object of probabilities; [`Settings::check`] knows their range.
fn noise(work: &Work) -> Result<Noise, StageError> {
    let Some(value) = work.params.get("noise") else { return Ok(Noise::NONE) };
    serde_json::from_value(value.clone()).map_err(|error| {
        let expected = "an object with `depolarising` and `readout`, each a probability from 0 to 1";
        params::wrong("noise", &value.to_string(), &format!("{expected} ({error})"))
    })
}
