//! `enumerate FILE`: the feasible set, listed, counted, ranked or sampled.

use crate::answer::{Answer, Failure};
use crate::enumerate_program;
use crate::input::{self, Input};
use crate::progress::Watch;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use solvers::enumeration::{
    DesignSet, EnumerationError, Mode, Options, Outcome, Packing, enumerate, feasible_set_digest,
};
use solvers::space::{Decimal, DesignSpace};
use std::path::PathBuf;

/// Designs written into the JSON answer; larger sets go to a file with `--out`.
const SHOWN_MAX: u64 = 1000;

/// Best or sampled designs when `--limit` does not say.
const KEPT: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    List,
    Count,
    Best,
    Sample,
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A design space (YAML, JSON) or a program (.mps, .lp).
    file: PathBuf,
    #[arg(long, value_enum, default_value = "list")]
    pub mode: ModeName,
    /// List: the first K designs; best and sample: how many (100).
    #[arg(long, value_name = "K")]
    pub limit: Option<u64>,
    /// Search threads; the result does not depend on them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Seed of the sample.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// End after this many seconds; the answer then says that it is not complete.
    #[arg(long, value_name = "S", value_parser = positive)]
    pub seconds_max: Option<f64>,
    /// Write the designs here: JSON if it ends in .json, else the compact form.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// A positive, finite number of seconds.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds > 0.0 => Ok(seconds),
        _ => Err(format!("`{text}` is not a positive number of seconds")),
    }
}

/// An exact decimal as a JSON number where a double says the same, else as text.
pub fn number(decimal: Decimal) -> Value {
    let decimal = decimal.normalised();
    if decimal.scale == 0 {
        return json!(decimal.mantissa);
    }
    let near = decimal.to_f64();
    if near.to_string() == decimal.to_string() { json!(near) } else { json!(decimal.to_string()) }
}

/// A count as a JSON number where it fits 64 bits, else as text.
fn whole(count: u128) -> Value {
    u64::try_from(count).map_or_else(|_| json!(count.to_string()), |n| json!(n))
}

fn sum(all: impl Iterator<Item = Decimal>) -> Option<Decimal> {
    let all: Vec<Decimal> = all.collect();
    let scale = all.iter().map(|d| d.normalised().scale).max().unwrap_or(0);
    let mantissa = all.iter().try_fold(0i64, |n, d| n.checked_add(d.scaled(scale)?))?;
    Some(Decimal { mantissa, scale }.normalised())
}

pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match input::read(&arguments.file)? {
        Input::Space(space) => of_space(arguments, &space),
        Input::Program(program) => enumerate_program::run(arguments, &program),
    }
}

fn of_space(arguments: &Arguments, space: &DesignSpace) -> Result<Answer, Failure> {
    let k = arguments.limit.unwrap_or(KEPT);
    let mode = match arguments.mode {
        ModeName::List => Mode::List,
        ModeName::Count => Mode::Count,
        ModeName::Best => Mode::Best { k },
        ModeName::Sample => Mode::Sample { k, seed: arguments.seed },
    };
    let limit = arguments.limit.filter(|_| mode == Mode::List);
    let options = Options { mode, limit, threads: arguments.threads as usize, resume: None };
    let mut watch = Watch::new(arguments.seconds_max);
    let outcome = enumerate(space, &options, &mut watch).map_err(|error| match error {
        EnumerationError::ThreadLost => Failure::Failed(error.to_string()),
        _ => Failure::Refused(format!("{}: {error}", arguments.file.display())),
    })?;
    let seconds = watch.seconds();
    watch.done();
    let ranked = ranked_set(space, &outcome);
    let set = if outcome.best.is_empty() { &outcome.designs } else { &ranked };
    let digest = match mode {
        Mode::Count => Value::Null,
        _ => json!(feasible_set_digest(space, set).to_hex().to_string()),
    };
    let mut object = Map::new();
    object.insert("count".into(), whole(outcome.count));
    object.insert("complete".into(), json!(outcome.complete));
    object.insert("seconds".into(), json!(seconds));
    object.insert("digest".into(), digest.clone());
    object.insert("method".into(), json!(outcome.method));
    object.insert("nodes".into(), json!(outcome.nodes));
    if matches!(mode, Mode::Best { .. }) {
        let best: Vec<Value> = outcome
            .best
            .iter()
            .map(|r| json!({"objective": number(r.objective), "design": space.design_json(&r.design)}))
            .collect();
        object.insert("best".into(), json!(best));
        let total = sum(outcome.best.iter().map(|r| r.objective));
        object.insert("objective_sum".into(), total.map_or(Value::Null, number));
    }
    let listed = matches!(mode, Mode::List | Mode::Sample { .. });
    if listed && set.len() as u64 <= SHOWN_MAX {
        object.insert("designs".into(), designs(space, set));
    }
    if let Some(out) = &arguments.out {
        if mode == Mode::Count {
            return Err(Failure::Usage("--out needs designs, and --mode count finds none".to_string()));
        }
        let bytes = if out.extension().is_some_and(|e| e == "json") {
            let method = &outcome.method;
            let file = json!({"designs": designs(space, set), "count": whole(outcome.count),
                "complete": outcome.complete, "method": method, "digest": digest});
            format!("{file}\n").into_bytes()
        } else {
            set.to_file(space)
        };
        std::fs::write(out, bytes)
            .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", out.display())))?;
        object.insert("out".into(), json!(out.display().to_string()));
    }
    Ok(Answer::good(Value::Object(object)))
}

fn designs(space: &DesignSpace, set: &DesignSet) -> Value {
    Value::Array(set.iter().map(|d| space.design_json(&d)).collect())
}

/// The best designs as a set in canonical order.
fn ranked_set(space: &DesignSpace, outcome: &Outcome) -> DesignSet {
    let mut all: Vec<&Vec<u16>> = outcome.best.iter().map(|r| &r.design).collect();
    all.sort();
    let mut set = DesignSet::new(Packing::new(space));
    all.iter().for_each(|d| set.push(d));
    set
}
