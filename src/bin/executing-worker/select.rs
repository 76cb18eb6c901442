//! `executing-worker select`: the design of least expected cost plus weighted CVaR, by hand.
//!
//! Rule: the same scan as the stage `cvar-calculation`. With `--seconds-max` the search or the scan may
//! end early; then `complete` is false and the answer is the best of what was seen. `--method milp` asks
//! HiGHS about the whole space instead and lists nothing; then `complete` means proven.

use serde_json::{Value, json};
use solvers::enumeration::{Flow, Mode, Observer, Options, Progress, enumerate};
use solvers::milp::Status;
use solvers::problem::Problem;
use solvers::risk::{CvarLevel, RiskError, RiskWeight};
use solvers::selection::{
    Evaluator, Figures, Question, Resampling, SelectionError, choose, milp, replicates_max, stability,
};
use solvers::space::DesignSpace;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Designs per thread between two looks at the clock: some hundredths of a second at 1,000 scenarios.
const DESIGNS_PER_RANGE: usize = 4_096;
const EXIT_NOT_FOUND: u8 = 3;
const EXIT_INVALID: u8 = 8;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Design space (YAML or JSON).
    #[arg(long)]
    pub space: PathBuf,
    /// Scenarios (YAML or JSON), or a table (CSV).
    #[arg(long)]
    pub scenarios: PathBuf,
    /// Cost model (YAML or JSON).
    #[arg(long)]
    pub costs: PathBuf,
    /// Where the bad tail begins, in [0, 1): 0.95 averages the worst 5 %.
    #[arg(long, allow_negative_numbers = true)]
    pub cvar_level: f64,
    /// How much one unit of CVaR counts against one unit of expectation; at least 0.
    #[arg(long, allow_negative_numbers = true)]
    pub risk_weight: f64,
    /// End after so many seconds with the best so far.
    #[arg(long, allow_negative_numbers = true)]
    pub seconds_max: Option<f64>,
    /// How to choose: list every design and scan, or ask HiGHS for the best and a bound.
    #[arg(long, value_enum, default_value_t = Method::Scan)]
    pub method: Method,
    /// Draw the scenarios again so many times and count how often the choice stays (0: not at all).
    #[arg(long, default_value_t = 0)]
    pub bootstrap: usize,
    /// How many of the best designs take part in that; what takes about a second unless stated.
    #[arg(long)]
    pub bootstrap_candidates: Option<usize>,
    /// Seed of that.
    #[arg(long, default_value_t = 0)]
    pub bootstrap_seed: u64,
    /// Threads; as many as the machine has cores unless stated. The answer does not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
}

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    Scan,
    Milp,
}

struct Failure {
    exit: u8,
    lines: Vec<String>,
}

fn invalid(code: &str, words: String) -> Failure {
    Failure { exit: EXIT_INVALID, lines: vec![format!("error[{code}]: {words}")] }
}

fn told(problems: &[Problem]) -> Vec<String> {
    let line = |p: &Problem| {
        let help = if p.help.is_empty() { String::new() } else { format!(" ({})", p.help) };
        format!("error[{}]: {}:{}:{}: {}{help}", p.code, p.file, p.line, p.column, p.message)
    };
    problems.iter().map(line).collect()
}

/// Prints one JSON object. Exit codes: 3 a file is not there, 8 the inputs are wrong, 2 usage.
pub fn run(arguments: &Arguments) -> ExitCode {
    match answer(arguments) {
        Ok(object) => {
            let mut out = std::io::stdout().lock();
            match writeln!(out, "{object}").and_then(|()| out.flush()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(1),
            }
        }
        Err(failure) => {
            for line in failure.lines {
                eprintln!("{line}");
            }
            ExitCode::from(failure.exit)
        }
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure {
            exit: EXIT_NOT_FOUND,
            lines: vec![format!("error[EX-0510]: {} is not there", path.display())],
        },
        _ => invalid("EX-0511", format!("{}: {error}", path.display())),
    })
}

/// Ends a search at a deadline.
struct Clock {
    deadline: Option<Instant>,
}

impl Clock {
    fn over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Observer for Clock {
    fn progress(&mut self, _: &Progress) -> Flow {
        if self.over() { Flow::Stop } else { Flow::Continue }
    }
}

fn answer(arguments: &Arguments) -> Result<Value, Failure> {
    let deadline = match arguments.seconds_max {
        None => None,
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(wait) if seconds > 0.0 => Instant::now().checked_add(wait),
            _ => {
                let words = format!("--seconds-max is {seconds}; expected a positive number of seconds");
                return Err(Failure { exit: 2, lines: vec![format!("error[EX-0511]: {words}")] });
            }
        },
    };
    let mut clock = Clock { deadline };
    let of_risk = |option: &str, e: RiskError| invalid(e.code(), format!("{option}: {e}"));
    let level = CvarLevel::new(arguments.cvar_level).map_err(|e| of_risk("--cvar-level", e))?;
    let weight = RiskWeight::new(arguments.risk_weight).map_err(|e| of_risk("--risk-weight", e))?;

    let texts = [text(&arguments.space), text(&arguments.scenarios), text(&arguments.costs)];
    let [space, scenarios, costs] = texts;
    let (space_text, scenarios_text, costs_text) = (space?, scenarios?, costs?);
    let name = |path: &Path| path.display().to_string();
    let folder = arguments.scenarios.parent().unwrap_or(Path::new("")).to_path_buf();
    let resolve = |table: &str| std::fs::read_to_string(folder.join(table)).ok();
    let space = solvers::space::read(&space_text, &name(&arguments.space));
    let scenarios = solvers::scenarios::read(&name(&arguments.scenarios), &scenarios_text, &resolve);
    let costs = solvers::costs::read(&name(&arguments.costs), &costs_text);
    let (space, scenarios, model) = match (space, scenarios, costs) {
        (Ok(space), Ok(scenarios), Ok(model)) => (space, scenarios.set(None), model),
        (space, scenarios, costs) => {
            let all = [space.err(), scenarios.err(), costs.err()];
            let lines = all.iter().flatten().flat_map(|problems| told(problems)).collect();
            return Err(Failure { exit: EXIT_INVALID, lines });
        }
    };
    model
        .bind(&space, &scenarios)
        .map_err(|problems| Failure { exit: EXIT_INVALID, lines: told(&problems) })?;
    let replicates = arguments.bootstrap;
    let most = replicates_max(scenarios.len());
    if replicates > most {
        let words =
            format!("--bootstrap is {replicates}; expected 0 to {most} with {} scenarios", scenarios.len());
        return Err(invalid("EX-0441", words));
    }
    if arguments.method == Method::Milp {
        if replicates > 0 {
            let words = "--bootstrap needs --method scan: HiGHS gives no second design to compare with";
            return Err(Failure { exit: 2, lines: vec![format!("error[EX-0511]: {words}")] });
        }
        let found = milp::least(&space, &scenarios, &model, level, weight, arguments.seconds_max);
        return by_highs(&space, found, level, weight);
    }

    let threads = match arguments.threads {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map(usize::from).unwrap_or(1),
    };
    let options = Options { threads, ..Options::new(Mode::List) };
    let found = enumerate(&space, &options, &mut clock).map_err(|e| invalid("EX-0511", e.to_string()))?;
    let designs: Vec<_> = found.designs.iter().collect();
    if designs.is_empty() && found.complete {
        return Err(invalid("EX-0512", crate::task::infeasible_words(&space)));
    }
    if designs.is_empty() {
        return Ok(json!({
            "design": null, "objective": null, "expected": null, "cvar": null,
            "runners_up": [], "complete": false,
        }));
    }
    let question =
        Question { grid_levels: vec![level], grid_weights: Vec::new(), ..Question::new(level, weight) };
    let evaluator = Evaluator::new(&space, &designs, &scenarios, &model).map_err(failed)?;
    let mut figures: Option<Figures> = None;
    let mut done = 0;
    // Without a deadline in one go: what a thread has computed for one design it reuses for the next.
    let range = if deadline.is_some() { DESIGNS_PER_RANGE * threads } else { designs.len() };
    while done < designs.len() && (done == 0 || !clock.over()) {
        let end = (done + range).min(designs.len());
        let part = evaluator.evaluate_threads(done..end, &[level], threads, &go).map_err(failed)?;
        match &mut figures {
            None => figures = Some(part),
            Some(all) => {
                all.append(part);
            }
        }
        done = end;
    }
    let figures = figures.ok_or_else(|| invalid("EX-0512", "there is no feasible design".to_owned()))?;
    let seen = Evaluator::new(&space, &designs[..done], &scenarios, &model).map_err(failed)?;
    let selection = choose(&seen, &figures, &question).map_err(failed)?;
    let stable = match replicates {
        0 => None,
        replicates => {
            let usual = Resampling::usual(arguments.bootstrap_seed, scenarios.len());
            let candidates = arguments.bootstrap_candidates.unwrap_or(usual.candidates);
            let resampling = Resampling { replicates, candidates, threads, ..usual };
            Some(stability(&seen, &figures, &question, &resampling, &go).map_err(failed)?)
        }
    };
    let runners_up: Vec<Value> = selection
        .runners_up
        .iter()
        .map(
            |r| json!({"design": r.design, "objective": r.objective, "expected": r.expected, "cvar": r.cvar}),
        )
        .collect();
    let mut object = json!({
        "design": selection.design,
        "objective": selection.objective,
        "expected": selection.expected,
        "value_at_risk": selection.value_at_risk,
        "cvar": selection.cvar,
        "cvar_level": level,
        "risk_weight": weight,
        "unit": selection.unit,
        "method": "scan",
        "designs": done,
        "runners_up": runners_up,
        "frontier": selection.frontier,
        "frontier_size": selection.frontier_size,
        "hull": selection.hull,
        "complete": found.complete && done == designs.len(),
    });
    if selection.tie.size > 1 {
        object["tie"] = json!({"size": selection.tie.size});
    }
    if let Some(stable) = &stable {
        object["stability"] = json!(stable);
    }
    Ok(object)
}

fn go(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn failed(error: SelectionError) -> Failure {
    match error {
        SelectionError::Model(problems) => Failure { exit: EXIT_INVALID, lines: told(&problems) },
        other => coded(other.code(), &other),
    }
}

/// The words of an error that may name its code itself.
fn coded(code: &str, error: &dyn std::fmt::Display) -> Failure {
    let words = error.to_string();
    let words = words.strip_prefix(code).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&words);
    invalid(code, words.to_owned())
}

/// What HiGHS found, as the same object.
fn by_highs(
    space: &DesignSpace,
    found: Result<milp::Least, milp::ChoiceError>,
    level: CvarLevel,
    weight: RiskWeight,
) -> Result<Value, Failure> {
    let least = match found {
        Ok(least) => least,
        Err(milp::ChoiceError::Selection(error)) => return Err(failed(error)),
        Err(error) => return Err(coded(error.code(), &error)),
    };
    if least.status == Status::Infeasible {
        return Err(invalid("EX-0512", crate::task::infeasible_words(space)));
    }
    let found = least.found.as_ref();
    Ok(json!({
        "design": found.map(|f| &f.design),
        "objective": found.map(|f| f.objective),
        "expected": found.map(|f| f.expected),
        "value_at_risk": found.map(|f| f.value_at_risk),
        "cvar": found.map(|f| f.cvar),
        "cvar_level": level,
        "risk_weight": weight,
        "method": "milp",
        "status": least.status,
        "bound": least.bound,
        "gap": least.gap,
        "columns": least.columns,
        "rows": least.rows,
        "runners_up": [],
        "complete": least.status == Status::Optimal,
    }))
}
