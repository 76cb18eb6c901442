//! `explain FILE`: what each constraint removes, what contradicts, what to relax by how much.

use crate::answer::{Answer, Failure};
use crate::enumerate::positive;
use crate::input;
use crate::progress::Watch;
use serde_json::{Value, json};
use solvers::explain::{self, ExplainOptions, near_miss};
use solvers::problem::Problem;
use solvers::space::DesignSpace;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A design space (YAML, JSON).
    file: PathBuf,
    /// Explain this design instead: a JSON file, an object from decision to option id.
    #[arg(long, value_name = "FILE")]
    design: Option<PathBuf>,
    /// Give up a count beyond this many designs.
    #[arg(long, value_name = "N", default_value_t = explain::DESIGNS_MAX)]
    designs_max: u128,
    /// Search threads; the result does not depend on them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// End the searches after this many seconds; what is not computed by then is said.
    #[arg(long, value_name = "S", value_parser = positive, default_value = "60")]
    seconds_max: f64,
}

pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let ending = arguments.file.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    if matches!(ending.as_str(), "mps" | "lp") {
        let what = "constraints of design spaces are explained; a program has only rows: see `optimum`";
        return Err(Failure::Usage(what.to_string()));
    }
    let space = input::space(&arguments.file)?;
    if let Some(path) = &arguments.design {
        return one(&space, path);
    }
    let mut watch = Watch::new(Some(arguments.seconds_max));
    let options = ExplainOptions { designs_max: arguments.designs_max, threads: arguments.threads as usize };
    let found = explain::explain(&space, &options, &mut watch)
        .map_err(|error| Failure::Refused(format!("{}: {error}", arguments.file.display())))?;
    let seconds = watch.seconds();
    watch.done();
    eprint!("{}", explain::table(&found));
    let mut object = json!(found);
    object["complete"] = json!(found.not_computed.is_empty());
    object["seconds"] = json!(seconds);
    Ok(Answer::good(object))
}

fn one(space: &DesignSpace, path: &Path) -> Result<Answer, Failure> {
    let bytes = input::bytes(path)?;
    let bad = |code: &str, message: String| {
        Failure::Invalid(vec![Problem {
            code: code.to_string(),
            file: path.display().to_string(),
            line: 0,
            column: 0,
            message,
            help: "expected one design, an object from decision to option id".to_string(),
        }])
    };
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| bad("EX-0340", format!("not readable as JSON: {error}")))?;
    let design = space.design_from_json(&value).map_err(|error| bad("EX-0341", error.to_string()))?;
    let misses = near_miss(space, &design);
    match misses.len() {
        0 => eprintln!("the design meets all constraints"),
        1 => eprintln!("a near miss: one constraint keeps the design out"),
        n => eprintln!("{n} constraints keep the design out"),
    }
    for miss in &misses {
        eprintln!("  {}: {}", miss.constraint, miss.what);
        if let Some(change) = &miss.change {
            eprintln!("    {}", change.words);
        }
    }
    Ok(Answer::good(json!({
        "feasible": misses.is_empty(),
        "near_miss": misses.len() == 1,
        "misses": misses,
        "complete": true,
    })))
}
