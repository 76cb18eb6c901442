//! `enumerate` for programs (`.mps`, `.lp`): counted, listed, ranked or sampled.
//!
//! Rule: a count is confirmed by a second method where its nodes suffice (`confirmed_by`, null if not), and
//! two methods that disagree are an error. `seconds` is the first method's time, `confirm_seconds` the
//! second's.

use crate::answer::{Answer, Failure};
use crate::enumerate::{Arguments, ModeName, number};
use crate::progress::Watch;
use serde_json::{Map, Value, json};
use solvers::enumeration::Mode;
use solvers::programs::{self, CountOptions, Program, ProgramError};

/// Solutions printed when `--limit` does not say.
const SHOWN_MAX: u64 = 1000;

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

pub fn run(arguments: &Arguments, program: &Program) -> Result<Answer, Failure> {
    if arguments.out.is_some() {
        let what = "--out is for design spaces; solutions of programs are printed".to_string();
        return Err(Failure::Usage(what));
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
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let options = CountOptions { keep, threads: arguments.threads as usize, ..CountOptions::default() };
    let mut watch = Watch::new(arguments.seconds_max);
    let mut counted = programs::solutions(program, &options, &mut watch).map_err(|e| failed(&e))?;
    let seconds = watch.seconds();
    if !watch.over() {
        programs::confirm(program, &mut counted, &options, &mut watch).map_err(|e| failed(&e))?;
    }
    let confirm_seconds = watch.seconds() - seconds;
    watch.done();
    for values in &counted.solutions {
        program.check(values).map_err(|broken| failed(&ProgramError::Wrong(broken)))?;
    }
    let mut object = Map::new();
    object.insert("count".into(), whole(counted.count));
    object.insert("complete".into(), json!(counted.complete));
    object.insert("seconds".into(), json!(seconds));
    object.insert("digest".into(), Value::Null);
    object.insert("method".into(), json!(counted.method));
    object.insert("confirmed_by".into(), json!(counted.confirmed_by));
    object.insert("confirm_seconds".into(), json!(confirm_seconds));
    object.insert("nodes".into(), json!(counted.nodes));
    object.insert("stored_bytes".into(), json!(counted.stored_bytes));
    if keep > 0 {
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
