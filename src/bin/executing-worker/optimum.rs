//! `optimum FILE`: the best design or solution by HiGHS, checked exactly.

use crate::answer::{Answer, Failure};
use crate::enumerate::{number, positive};
use crate::input::{self, Input};
use serde_json::{Value, json};
use solvers::enumeration::{Flow, Quiet};
use solvers::milp::{
    self, Incumbent, MilpError, SolveError, SolveObserver, SolveOptions, Solving, Status, conflict,
};
use solvers::programs::{self, CountOptions, Method, Program};
use solvers::space::{Decimal, DesignSpace};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A design space (YAML, JSON) or a program (.mps, .lp).
    file: PathBuf,
    /// End after this many seconds with what is known by then.
    #[arg(long, value_name = "S", value_parser = positive)]
    seconds_max: Option<f64>,
    /// Start from this design or solution: a JSON file, an object from decision to option id or from
    /// column to value.
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// Tell better designs as they come, one JSON object a line, before the answer.
    #[arg(long)]
    incumbents: bool,
}

/// Tells incumbents on stdout, bounds on a terminal nowhere: the answer has them.
struct Teller<'a> {
    told: bool,
    started: Instant,
    show: &'a dyn Fn(&Incumbent) -> Value,
}

impl SolveObserver for Teller<'_> {
    fn solving(&mut self, solving: &Solving) -> Flow {
        if let Some(incumbent) = solving.incumbent.as_ref().filter(|_| self.told) {
            let mut line = (self.show)(incumbent);
            line["bound"] = json!(solving.bound);
            line["gap"] = json!(solving.gap);
            line["seconds"] = json!(self.started.elapsed().as_secs_f64());
            println!("{line}");
        }
        Flow::Continue
    }
}

/// The object that `--start` names.
fn start(arguments: &Arguments) -> Result<Option<Value>, Failure> {
    let Some(path) = &arguments.start else { return Ok(None) };
    serde_json::from_slice(&input::bytes(path)?)
        .map(Some)
        .map_err(|error| Failure::Refused(format!("{}: not readable as JSON: {error}", path.display())))
}

pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match input::read(&arguments.file)? {
        Input::Space(space) => of_space(arguments, &space),
        Input::Program(program) => of_program(arguments, &program),
    }
}

fn solver(error: &SolveError) -> Failure {
    match error {
        SolveError::TooLarge { .. } | SolveError::Start { .. } => Failure::Refused(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}

fn of_space(arguments: &Arguments, space: &DesignSpace) -> Result<Answer, Failure> {
    let start = match start(arguments)? {
        None => None,
        Some(value) => {
            let wrong = |error| Failure::Refused(format!("--start: {error}"));
            Some(space.design_from_json(&value).map_err(wrong)?)
        }
    };
    let error = |error: MilpError| match &error {
        MilpError::Solve(inner) => solver(inner),
        MilpError::Exact { .. } => Failure::Refused(error.to_string()),
        MilpError::NotConfirmed { .. } => Failure::Failed(error.to_string()),
    };
    let model = milp::model(space, space.objective.as_ref()).map_err(error)?;
    let scale = model.program.scale;
    let show = |incumbent: &Incumbent| {
        let design = model.design(space, &incumbent.values).map(|d| space.design_json(&d));
        json!({"incumbent": design, "objective": number(Decimal { mantissa: incumbent.objective, scale })})
    };
    let started = Instant::now();
    let mut teller = Teller { told: arguments.incumbents, started, show: &show };
    let objective = space.objective.as_ref();
    let found = milp::optimum_with(space, objective, arguments.seconds_max, start.as_deref(), &mut teller)
        .map_err(error)?;
    let seconds = started.elapsed().as_secs_f64();
    let mut object = json!({
        "status": found.status,
        "objective": found.objective.map(number),
        "design": found.design.as_ref().map(|d| space.design_json(d)),
        "bound": found.bound,
        "gap": found.gap,
        "nodes": found.nodes,
        "started": found.started,
        "complete": matches!(found.status, Status::Optimal | Status::Infeasible),
        "seconds": seconds,
        "highs": milp::highs_version(),
    });
    if found.status == Status::Infeasible {
        let conflict = conflict::minimal(space).map_err(|error| Failure::Failed(error.to_string()))?;
        match conflict {
            Some(conflict) => {
                eprintln!("executing-worker: no design exists; these constraints contradict each other:");
                conflict.words.iter().for_each(|words| eprintln!("  {words}"));
                object["conflict"] = json!(conflict);
            }
            None => {
                let what = "HiGHS calls the space infeasible, the exact search does not; use `enumerate`"
                    .to_string();
                return Err(Failure::Failed(what));
            }
        }
    }
    Ok(Answer::good(object))
}

fn of_program(arguments: &Arguments, program: &Program) -> Result<Answer, Failure> {
    let started = Instant::now();
    let options = SolveOptions { seconds_max: arguments.seconds_max, start: columns(arguments, program)? };
    let objective = |mantissa: i64| number(Decimal { mantissa, scale: program.scale });
    let show = |incumbent: &Incumbent| json!({"incumbent": solution(program, &incumbent.values), "objective": objective(incumbent.objective)});
    let mut teller = Teller { told: arguments.incumbents, started, show: &show };
    let found = milp::solve_with(program, &options, &mut teller).map_err(|error| solver(&error))?;
    let seconds = started.elapsed().as_secs_f64();
    let mut confirmed = None;
    if found.status == Status::Infeasible {
        confirmed = confirmed_infeasible(program)?;
    }
    let objective = found.objective.map(objective);
    let design = found.values.as_ref().map(|values| solution(program, values));
    Ok(Answer::good(json!({
        "status": found.status,
        "objective": objective,
        "design": design,
        "bound": found.bound,
        "gap": found.gap,
        "nodes": found.nodes,
        "started": found.started,
        "complete": matches!(found.status, Status::Optimal | Status::Infeasible),
        "seconds": seconds,
        "confirmed_by": confirmed,
        "highs": milp::highs_version(),
    })))
}

fn solution(program: &Program, values: &[i64]) -> Value {
    let pairs = program.columns.iter().zip(values).map(|(c, v)| (c.name.clone(), json!(v)));
    Value::Object(pairs.collect())
}

/// The columns that `--start` names.
fn columns(arguments: &Arguments, program: &Program) -> Result<Option<Vec<(usize, i64)>>, Failure> {
    let Some(value) = start(arguments)? else { return Ok(None) };
    let wrong = |what: String| Failure::Refused(format!("--start: {what}"));
    let object = value.as_object().ok_or_else(|| wrong("expected an object from column to value".into()))?;
    let mut out = Vec::with_capacity(object.len());
    for (name, value) in object {
        let at = program.columns.iter().position(|c| c.name == *name);
        let at = at.ok_or_else(|| wrong(format!("there is no column `{name}`")))?;
        let value = value.as_i64().ok_or_else(|| wrong(format!("`{name}` is {value}, no whole number")))?;
        out.push((at, value));
    }
    Ok(Some(out))
}

/// The method that found no solution either, if it ended within its nodes.
///
/// # Errors
/// HiGHS is wrong: there is a solution.
fn confirmed_infeasible(program: &Program) -> Result<Option<&'static str>, Failure> {
    let options = CountOptions { only: Some(Method::Search), ..CountOptions::default() };
    let found = programs::within(program, &options, programs::CONFIRM_NODES, &mut Quiet)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    if found.count > 0 {
        let what = "HiGHS calls the program infeasible, the exact search does not; use `enumerate`";
        return Err(Failure::Failed(what.to_string()));
    }
    Ok(found.complete.then_some(programs::BY_SEARCH))
}
