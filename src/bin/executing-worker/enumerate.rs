//! `enumerate FILE`: the feasible set, listed, counted, ranked or sampled.
//!
//! Rule: a list that cannot be held or written is refused before it is made, with the exact count and the
//! bytes it would take; `--limit` says that a part is wanted. docs/feasible-set.md tells what is promised.

use crate::answer::{Answer, Failure};
use crate::enumerate_program;
use crate::input::{self, Input};
use crate::keeping::{self, Keeping};
use crate::progress::Watch;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use solvers::enumeration::{
    DIAGRAM_BYTES_MAX, DesignSet, EnumerationError, LIST_DESIGNS_MAX, Method, Mode, Options, Outcome,
    Packing, enumerate, estimate, feasible_set_digest,
};
use solvers::problem::Problem;
use solvers::space::{Decimal, DesignSpace};
use std::path::{Path, PathBuf};

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
    /// Designs far from each other, chosen greedily from a uniform sample.
    Diverse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    Auto,
    Search,
    Diagram,
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
    /// How it is done; the result does not depend on it.
    #[arg(long, value_enum, default_value = "auto")]
    method: MethodName,
    /// Count a second time by the other method; `confirmed_by` says which agreed.
    #[arg(long)]
    confirm: bool,
    /// Largest decision diagram, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = DIAGRAM_BYTES_MAX)]
    diagram_bytes_max: usize,
    /// Keep a checkpoint here while the search runs; written beside it and renamed.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Least seconds between two checkpoints; 0 makes one after every unit of work.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = not_negative)]
    pub checkpoint_seconds: f64,
    /// Go on from this checkpoint.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
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

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        _ => Err(format!("`{text}` is not a number of seconds")),
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
        ModeName::Diverse => Mode::Diverse { k, seed: arguments.seed },
    };
    if mode == Mode::Count && arguments.out.is_some() {
        return Err(Failure::Usage("--out needs designs, and --mode count finds none".to_string()));
    }
    let options = Options {
        limit: arguments.limit.filter(|_| mode == Mode::List),
        threads: arguments.threads as usize,
        resume: arguments.resume.as_deref().map(keeping::read).transpose()?,
        method: match arguments.method {
            MethodName::Auto => Method::Auto,
            MethodName::Search => Method::Search,
            MethodName::Diagram => Method::Diagram,
        },
        confirm: arguments.confirm,
        diagram_bytes_max: arguments.diagram_bytes_max,
        mode,
    };
    let watch = Watch::new(arguments.seconds_max);
    let mut keeping = Keeping::new(watch, arguments.checkpoint.clone(), arguments.checkpoint_seconds);
    if mode == Mode::List && options.limit.is_none() && options.resume.is_none() {
        may_be_listed(arguments, space, &options, &mut keeping)?;
    }
    let outcome = match enumerate(space, &options, &mut keeping) {
        // The guess was too low, and the list grew too long.
        Err(EnumerationError::TooManyDesigns { .. }) => {
            let counted = count(arguments, space, &options, &mut keeping)?;
            return Err(too_long(arguments, space, &counted, room(arguments)?));
        }
        other => other.map_err(|error| failure(arguments, error))?,
    };
    let seconds = keeping.watch.seconds();
    keeping.done()?;
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
    object.insert("confirmed_by".into(), json!(outcome.confirmed_by));
    object.insert("memory_bytes".into(), json!(outcome.memory_bytes));
    if !outcome.notes.is_empty() {
        object.insert("notes".into(), json!(outcome.notes));
    }
    if let Some(least) = outcome.least_distance {
        object.insert("least_distance".into(), json!(least));
    }
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
    let listed = matches!(mode, Mode::List | Mode::Sample { .. } | Mode::Diverse { .. });
    if listed && set.len() as u64 <= SHOWN_MAX {
        object.insert("designs".into(), designs(space, set));
    }
    if let Some(out) = &arguments.out {
        let bytes = if writes_json(out) {
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

fn failure(arguments: &Arguments, error: EnumerationError) -> Failure {
    match error {
        EnumerationError::ThreadLost => Failure::Failed(error.to_string()),
        EnumerationError::MethodsDiffer { .. } => Failure::Failed(format!("EX-0513: {error}")),
        _ => Failure::Refused(format!("{}: {error}", arguments.file.display())),
    }
}

/// A list may turn out this much longer than the guess before it is counted beforehand.
const GUESS_DOUBT: f64 = 4.0;

/// Refuses a list that cannot be held or written. Nothing is counted where a guess leaves no doubt; only
/// an exact count refuses.
fn may_be_listed(
    arguments: &Arguments,
    space: &DesignSpace,
    options: &Options,
    keeping: &mut Keeping,
) -> Result<(), Failure> {
    let guess = estimate(space).map_err(|error| failure(arguments, error))?.designs * GUESS_DOUBT;
    let room = room(arguments)?;
    if guess <= LIST_DESIGNS_MAX as f64
        && room.is_none_or(|room| guess * bytes_each(arguments, space) as f64 <= room as f64)
    {
        return Ok(());
    }
    eprintln!("executing-worker: the list may be too long; the designs are counted first");
    let counted = count(arguments, space, options, keeping)?;
    let bytes = u128::from(bytes_each(arguments, space)).saturating_mul(counted.count);
    let fits = counted.complete
        && counted.count <= u128::from(LIST_DESIGNS_MAX)
        && room.is_none_or(|room| bytes <= u128::from(room));
    if fits { Ok(()) } else { Err(too_long(arguments, space, &counted, room)) }
}

fn count(
    arguments: &Arguments,
    space: &DesignSpace,
    options: &Options,
    keeping: &mut Keeping,
) -> Result<Outcome, Failure> {
    let options = Options { mode: Mode::Count, limit: None, resume: None, confirm: false, ..options.clone() };
    let path = keeping.path.take();
    let counted = enumerate(space, &options, keeping).map_err(|error| failure(arguments, error));
    keeping.path = path;
    counted
}

/// EX-0523, with what the list would take.
fn too_long(arguments: &Arguments, space: &DesignSpace, counted: &Outcome, room: Option<u64>) -> Failure {
    let each = bytes_each(arguments, space);
    let bytes = counted.count.saturating_mul(u128::from(each));
    let count = counted.count;
    let many = if counted.complete {
        format!("there are {count} designs; a list of them takes {bytes} bytes")
    } else {
        format!(
            "there are at least {count} designs (the counting was cut short); a list of them takes at least {bytes} bytes"
        )
    };
    let limit = match room {
        Some(room) if count <= u128::from(LIST_DESIGNS_MAX) => {
            format!("{room} bytes are free where it would be written")
        }
        _ => format!("at most {LIST_DESIGNS_MAX} designs are listed"),
    };
    Failure::Invalid(vec![Problem {
        code: "EX-0523".to_string(),
        file: arguments.file.display().to_string(),
        line: 0,
        column: 0,
        message: format!("{many}, at {each} each; {limit}"),
        help: "take --mode count, best, sample or diverse, or the first K designs with --limit K".to_string(),
    }])
}

fn writes_json(out: &Path) -> bool {
    out.extension().is_some_and(|e| e == "json")
}

/// Bytes of one design in the file that is asked for, at most; in the compact form when none is.
fn bytes_each(arguments: &Arguments, space: &DesignSpace) -> u64 {
    if !arguments.out.as_deref().is_some_and(writes_json) {
        return Packing::new(space).stride() as u64;
    }
    let quoted = |text: &str| json!(text).to_string().len();
    let decision = |d: &solvers::space::Decision| {
        quoted(&d.name) + d.options.iter().map(|o| quoted(&o.id)).max().unwrap_or(0) + 2
    };
    (space.decisions.iter().map(decision).sum::<usize>() + 3) as u64
}

/// Free bytes where the file is to be written, if one is.
fn room(arguments: &Arguments) -> Result<Option<u64>, Failure> {
    let Some(out) = &arguments.out else { return Ok(None) };
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match nix::sys::statvfs::statvfs(folder) {
        Ok(disk) => Ok(Some(disk.blocks_available().saturating_mul(disk.fragment_size()))),
        Err(error) => Err(Failure::NotFound(format!("{} cannot be written to: {error}", folder.display()))),
    }
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
