//! `enumerate` for programs (`.mps`, `.lp`): counted, listed, ranked or sampled.
//!
//! Rule: a count is confirmed by a second method where its nodes suffice (`confirmed_by`, null if not), and
//! two methods that disagree are an error. `seconds` is the first method's time, `confirm_seconds` the
//! second's.

use crate::answer::{Answer, Failure};
use crate::enumerate::{Arguments, ModeName, number};
use crate::keeping::{self, Keeping};
use crate::progress::Watch;
use serde_json::{Map, Value, json};
use solvers::enumeration::Mode;
use solvers::programs::{self, CountOptions, Program, ProgramError};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Solutions printed when `--limit` does not say.
const SHOWN_MAX: u64 = 1000;

/// Solutions written to a file when `--limit` does not say; they are kept in memory until then.
const WRITTEN_MAX: u64 = 1_000_000;

/// Best or sampled solutions when `--limit` does not say.
const KEPT: u64 = 100;

fn failed(error: &ProgramError) -> Failure {
    match error {
        ProgramError::Disagree { .. } | ProgramError::Wrong(_) | ProgramError::ThreadLost => {
            Failure::Failed(error.to_string())
        }
        ProgramError::NoChoices | ProgramError::TooManyAsked { .. } => Failure::Usage(error.to_string()),
        _ => Failure::Refused(error.to_string()),
    }
}

/// A count as a JSON number where it fits 64 bits, else as text.
fn whole(count: u128) -> Value {
    u64::try_from(count).map_or_else(|_| json!(count.to_string()), |n| json!(n))
}

fn solution(program: &Program, values: &[i64]) -> Value {
    let pairs = program.columns.iter().zip(values).map(|(c, v)| (c.name.clone(), json!(v)));
    Value::Object(pairs.collect())
}

/// BLAKE3 over a fixed line, the names of the columns and the values in order: equal digests mean
/// equal sets of solutions of equally named columns.
fn digest(program: &Program, solutions: &[Vec<i64>]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"executing solutions 1\n");
    for column in &program.columns {
        hasher.update(&(column.name.len() as u64).to_le_bytes());
        hasher.update(column.name.as_bytes());
    }
    for value in solutions.iter().flatten() {
        hasher.update(&value.to_le_bytes());
    }
    format!("b3:{}", hasher.finalize().to_hex())
}

/// One JSON object per line, written beside the file and renamed, so that a cut leaves no half of it.
fn write(out: &Path, lines: impl Iterator<Item = Value>) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("{} cannot be written: {error}", out.display()));
    let mut beside = out.as_os_str().to_owned();
    beside.push(".next");
    let mut file = BufWriter::new(File::create(&beside).map_err(failed)?);
    for line in lines {
        writeln!(file, "{line}").map_err(failed)?;
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_data().map_err(failed)?;
    std::fs::rename(&beside, out).map_err(failed)
}

pub fn run(arguments: &Arguments, program: &Program) -> Result<Answer, Failure> {
    if arguments.mode == ModeName::Count && arguments.out.is_some() {
        return Err(Failure::Usage("--out needs solutions, and --mode count finds none".to_string()));
    }
    if arguments.mode != ModeName::Count && (arguments.checkpoint.is_some() || arguments.resume.is_some()) {
        let words =
            "of a program only counts have checkpoints: --mode count, or no --checkpoint and no --resume";
        return Err(Failure::Usage(words.to_string()));
    }
    let threads = arguments.threads as usize;
    let k = arguments.limit.unwrap_or(KEPT);
    match arguments.mode {
        ModeName::Count => counted(arguments, program, 0),
        ModeName::List => counted(arguments, program, arguments.limit.unwrap_or(SHOWN_MAX)),
        ModeName::Best => chosen(arguments, program, Mode::Best { k }, threads),
        ModeName::Sample => chosen(arguments, program, Mode::Sample { k, seed: arguments.seed }, threads),
        ModeName::Diverse => {
            Err(Failure::Usage("programs are counted, listed, ranked and sampled uniformly".to_string()))
        }
    }
}

fn counted(arguments: &Arguments, program: &Program, keep: u64) -> Result<Answer, Failure> {
    let keep =
        if keep > 0 && arguments.out.is_some() && arguments.limit.is_none() { WRITTEN_MAX } else { keep };
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let options = CountOptions { keep, threads: arguments.threads as usize, ..CountOptions::default() };
    let resume = arguments.resume.as_deref().map(keeping::read_count).transpose()?;
    let watch = Watch::new(arguments.seconds_max);
    let mut keeping = Keeping::new(watch, arguments.checkpoint.clone(), arguments.checkpoint_seconds);
    let mut counted =
        programs::solutions_from(program, &options, resume, &mut keeping).map_err(|e| failed(&e))?;
    let seconds = keeping.watch.seconds();
    if !keeping.watch.over() {
        programs::confirm(program, &mut counted, &options, &mut keeping.watch).map_err(|e| failed(&e))?;
    }
    let confirm_seconds = keeping.watch.seconds() - seconds;
    keeping.done()?;
    for values in &counted.solutions {
        program.check(values).map_err(|broken| failed(&ProgramError::Wrong(broken)))?;
    }
    let mut object = Map::new();
    object.insert("count".into(), whole(counted.count));
    object.insert("complete".into(), json!(counted.complete));
    object.insert("seconds".into(), json!(seconds));
    // Of all solutions or of none: a digest of the first so many would depend on who met them first.
    let whole_list = counted.complete && counted.solutions.len() as u128 == counted.count;
    let digest = (keep > 0 && whole_list).then(|| digest(program, &counted.solutions));
    object.insert("digest".into(), json!(digest));
    object.insert("method".into(), json!(counted.method));
    object.insert("confirmed_by".into(), json!(counted.confirmed_by));
    object.insert("confirm_seconds".into(), json!(confirm_seconds));
    object.insert("nodes".into(), json!(counted.nodes));
    object.insert("stored_bytes".into(), json!(counted.stored_bytes));
    if let Some(out) = &arguments.out {
        write(out, counted.solutions.iter().map(|values| solution(program, values)))?;
        object.insert("out".into(), json!(out.display().to_string()));
        object.insert("written".into(), json!(counted.solutions.len()));
    } else if keep > 0 {
        let all = counted.solutions.iter().map(|v| solution(program, v)).collect();
        object.insert("solutions".into(), Value::Array(all));
    }
    Ok(Answer::good(Value::Object(object)))
}

fn chosen(arguments: &Arguments, program: &Program, mode: Mode, threads: usize) -> Result<Answer, Failure> {
    let mut watch = Watch::new(arguments.seconds_max);
    let found = programs::chosen(program, mode, threads, &mut watch).map_err(|e| failed(&e))?;
    let seconds = watch.seconds();
    watch.done();
    let all: Vec<Value> = found
        .solutions
        .iter()
        .map(|s| json!({"objective": number(s.objective), "design": solution(program, &s.values)}))
        .collect();
    let name = if matches!(mode, Mode::Best { .. }) { "best" } else { "solutions" };
    if let Some(out) = &arguments.out {
        write(out, all.iter().cloned())?;
    }
    Ok(Answer::good(json!({
        "count": whole(found.count),
        "complete": found.complete,
        "seconds": seconds,
        "digest": Value::Null,
        "method": found.method,
        "nodes": found.nodes,
        (name): all,
    })))
}
