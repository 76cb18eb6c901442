//! `optimum FILE`: the best design or solution by HiGHS, checked exactly.

use crate::answer::{Answer, Failure};
use crate::enumerate::{number, positive};
use crate::input::{self, Input};
use serde_json::{Value, json};
use solvers::milp::{self, MilpError, SolveError, Status, conflict};
use solvers::programs::Program;
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
}

pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match input::read(&arguments.file)? {
        Input::Space(space) => of_space(arguments, &space),
        Input::Program(program) => of_program(arguments, &program),
    }
}

fn solver(error: &SolveError) -> Failure {
    match error {
        SolveError::TooLarge { .. } => Failure::Refused(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}

fn of_space(arguments: &Arguments, space: &DesignSpace) -> Result<Answer, Failure> {
    let started = Instant::now();
    let found =
        milp::optimum(space, space.objective.as_ref(), arguments.seconds_max).map_err(
            |error| match &error {
                MilpError::Solve(inner) => solver(inner),
                MilpError::Exact { .. } => Failure::Refused(error.to_string()),
                MilpError::NotConfirmed { .. } => Failure::Failed(error.to_string()),
            },
        )?;
    let seconds = started.elapsed().as_secs_f64();
    let mut object = json!({
        "status": found.status,
        "objective": found.objective.map(number),
        "design": found.design.as_ref().map(|d| space.design_json(d)),
        "bound": found.bound,
        "gap": found.gap,
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
    let found = milp::solve(program, arguments.seconds_max).map_err(|error| solver(&error))?;
    let seconds = started.elapsed().as_secs_f64();
    let objective = found.objective.map(|mantissa| number(Decimal { mantissa, scale: program.scale }));
    let design = found.values.as_ref().map(|values| {
        let pairs = program.columns.iter().zip(values).map(|(c, v)| (c.name.clone(), json!(v)));
        Value::Object(pairs.collect())
    });
    Ok(Answer::good(json!({
        "status": found.status,
        "objective": objective,
        "design": design,
        "bound": found.bound,
        "gap": found.gap,
        "complete": matches!(found.status, Status::Optimal | Status::Infeasible),
        "seconds": seconds,
        "highs": milp::highs_version(),
    })))
}
