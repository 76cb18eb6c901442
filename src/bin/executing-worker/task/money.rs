//! What designs cost and how risk counts: scenarios, cost model, level and weight.
//!
//! Inputs `scenarios` (and the tables it names) and `costs`. Without them the programme's files get the
//! programme's own models; a plain space with an objective gets cost = objective in one certain
//! scenario, and every report says so. Parameters: `cvar_level`, `risk_weight`, `scenario_seed` (wins
//! over the seed of the scenario file; without both the run's seed counts).

use super::fail;
use super::subject::{self, Subject};
use super::work::Work;
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::ampel360;
use solvers::costs::{self, CostModel};
use solvers::problem::Problem;
use solvers::risk::{CvarLevel, RiskWeight};
use solvers::scenarios::{self, ScenarioSet, Variable};
use solvers::selection::{Evaluator, Figures, SelectionError};
use solvers::space::{Attribute, Decimal, Design, DesignSpace};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The orchestrator's defaults of the programme.
const CVAR_LEVEL_DEFAULT: f64 = 0.95;
const RISK_WEIGHT_DEFAULT: f64 = 0.1;
/// Attribute that carries a design's objective where the objective is the cost.
const OBJECTIVE_COST: &str = "objective_cost";
/// How often a long evaluation is looked at for progress; a small one must not wait long for its end.
const LOOK_EVERY: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub struct Money {
    pub scenarios: ScenarioSet,
    pub model: CostModel,
    /// The space whose attributes the model reads.
    pub space: DesignSpace,
    pub scenarios_source: &'static str,
    pub costs_source: &'static str,
}

impl Money {
    pub fn evaluator<'a>(&'a self, designs: &'a [Design]) -> Result<Evaluator<'a>, StageError> {
        Evaluator::new(&self.space, designs, &self.scenarios, &self.model).map_err(fail::selection)
    }

    /// Where the figures come from, for reports.
    pub fn sources(&self) -> Value {
        json!({
            "scenarios": self.scenarios_source,
            "scenario_count": self.scenarios.len(),
            "scenarios_digest": format!("b3:{}", self.scenarios.digest()),
            "costs": self.costs_source,
        })
    }
}

/// Level and weight, and which source won.
#[derive(Debug, Clone)]
pub struct Risk {
    pub level: CvarLevel,
    pub weight: RiskWeight,
    pub level_source: &'static str,
    pub weight_source: &'static str,
}

/// Parameters win over the configuration file, that over what the daemon's settings say, that over what is
/// built in.
pub fn risk(work: &Work) -> Result<Risk, StageError> {
    let config = subject::sound_configuration(work)?.map(|config| config.risk);
    let pick = |name: &str, file: Option<f64>, default: f64| -> Result<(f64, &'static str), StageError> {
        Ok(match (work.params.number(name)?, file) {
            (Some(stated), _) => (stated, "params"),
            (None, Some(file)) => (file, "config"),
            (None, None) => match work.params.number(&format!("{name}_default"))? {
                Some(settings) => (settings, "settings"),
                None => (default, "default"),
            },
        })
    };
    let (level, level_source) =
        pick("cvar_level", config.map(|risk| risk.cvar_level.get()), CVAR_LEVEL_DEFAULT)?;
    let (weight, weight_source) =
        pick("risk_weight", config.map(|risk| risk.risk_weight.get()), RISK_WEIGHT_DEFAULT)?;
    let wrong = |error: solvers::risk::RiskError| fail::permanent("EX-0511", error.to_string());
    Ok(Risk {
        level: CvarLevel::new(level).map_err(wrong)?,
        weight: RiskWeight::new(weight).map_err(wrong)?,
        level_source,
        weight_source,
    })
}

/// Scenarios and costs, or every problem of their files.
pub fn read(work: &Work, subject: &Subject) -> Result<Money, StageError> {
    let mut problems = Vec::new();
    match collect(work, Some(subject), &mut problems)? {
        Some(money) if problems.is_empty() => Ok(money),
        _ if !problems.is_empty() => Err(fail::invalid(&problems)),
        _ => Err(fail::permanent(
            "EX-0510",
            "there is no input `costs` and the space states no objective, so no design is better than another: \
             give `costs` and `scenarios`, or an `objective` in the space"
                .to_owned(),
        )),
    }
}

/// Reads what is there; what is wrong goes into `problems`. `None` if that leaves no cost of a design.
pub fn collect(
    work: &Work,
    subject: Option<&Subject>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Money>, StageError> {
    let mut keep = |found: Vec<Problem>| problems.extend(found);
    let programme = subject.is_some_and(|subject| subject.programme.is_some());
    let seed = match work.params.get("scenario_seed") {
        Some(_) => Some(work.params.whole("scenario_seed", 0, 0, u64::MAX)?),
        None => None,
    };
    let sample = |model: scenarios::ScenarioModel| {
        model.set(seed.or(if model.seed().is_none() { Some(work.request.seed) } else { None }))
    };
    let resolve = |name: &str| work.inputs.table(name);
    let scenarios = match work.inputs.text("scenarios")? {
        Some(text) => {
            let file = if is_table(&text) { "scenarios.csv" } else { "scenarios" };
            scenarios::read(file, &text, &resolve)
                .map_err(&mut keep)
                .ok()
                .map(|model| (sample(model), "input"))
        }
        None if programme => {
            scenarios::read("default-scenarios.yaml", ampel360::default_scenarios(), &resolve)
                .map_err(&mut keep)
                .ok()
                .map(|model| (sample(model), "the programme's default"))
        }
        None => None,
    };
    let costs = match work.inputs.text("costs")? {
        Some(text) => costs::read("costs", &text).map_err(&mut keep).ok().map(|model| (model, "input")),
        None if programme => costs::read("default-costs.yaml", ampel360::default_costs())
            .map_err(&mut keep)
            .ok()
            .map(|model| (model, "the programme's default")),
        None => None,
    };
    let Some(subject) = subject else { return Ok(None) };
    if !problems.is_empty() {
        return Ok(None);
    }
    match (scenarios, costs) {
        (Some((scenarios, scenarios_source)), Some((model, costs_source))) => {
            Ok(Some(Money { scenarios, model, space: subject.space.clone(), scenarios_source, costs_source }))
        }
        (None, Some(_)) => Err(fail::permanent(
            "EX-0510",
            "the input `costs` needs the input `scenarios` beside it".to_owned(),
        )),
        (_, None) => objective_as_cost(subject),
    }
}

/// A table starts with a line of column names, a scenario file with a mapping.
fn is_table(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    first.contains(',') && !first.contains(':') && !first.contains('{')
}

fn objective_as_cost(subject: &Subject) -> Result<Option<Money>, StageError> {
    let Some(objective) = &subject.space.objective else { return Ok(None) };
    let mut space = subject.space.clone();
    for decision in &mut space.decisions {
        for option in &mut decision.options {
            let stated = option.attributes.get(&objective.attribute).cloned();
            let missing = objective.missing.map(Attribute::Number);
            let figure = stated.or(missing).unwrap_or(Attribute::Number(Decimal { mantissa: 0, scale: 0 }));
            option.attributes.insert(OBJECTIVE_COST.to_owned(), figure);
        }
    }
    let sign = if objective.maximise { "0 - " } else { "" };
    let text = format!(
        "costs: 1\nattributes:\n  {OBJECTIVE_COST}: {{aggregate: sum}}\nterms:\n  objective: \"{sign}{OBJECTIVE_COST}\"\n"
    );
    let model = costs::read("objective", &text).map_err(|problems| fail::invalid(&problems))?;
    Ok(Some(Money {
        scenarios: ScenarioSet {
            variables: vec![Variable { name: "certain".to_owned(), unit: None }],
            values: vec![1.0],
            probability: vec![1.0],
        },
        model,
        space,
        scenarios_source: "one certain scenario, as no costs were given",
        costs_source: if objective.maximise {
            "minus the objective of the space, as no costs were given"
        } else {
            "the objective of the space, as no costs were given"
        },
    }))
}

/// Figures of all designs at `levels`, telling progress from `from` to `to`.
///
/// A share of the designs per thread, joined in their order: the number of threads changes nothing.
pub fn figures(
    work: &mut Work,
    evaluator: &Evaluator,
    levels: &[CvarLevel],
    from: f64,
    to: f64,
) -> Result<Figures, StageError> {
    let total = evaluator.designs().len();
    let threads = work.threads();
    watched(work, (from, to), "designs evaluated", |observer| {
        evaluator.evaluate_threads(0..total, levels, threads, observer)
    })
}

/// Runs `compute` on a thread of its own, telling the daemon how far it is and ending it on a cancel.
pub fn watched<T: Send>(
    work: &mut Work,
    (from, to): (f64, f64),
    what: &str,
    compute: impl FnOnce(&(dyn Fn(usize, usize) -> ControlFlow<()> + Sync)) -> Result<T, SelectionError> + Send,
) -> Result<T, StageError> {
    let (done, total) = (AtomicUsize::new(0), AtomicUsize::new(1));
    let pipe = work.shared_pipe();
    let watch = |now: usize, of: usize| {
        done.fetch_max(now, Ordering::Relaxed);
        total.store(of.max(1), Ordering::Relaxed);
        if pipe.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| compute(&watch));
        while !running.is_finished() {
            std::thread::sleep(LOOK_EVERY);
            let (done, total) = (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
            work.progress(from + (to - from) * done as f64 / total as f64, || {
                format!("{done} of {total} {what}")
            });
        }
        running.join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(fail::selection)
}

/// Expectation plus weighted CVaR of every design, for figures of one level.
pub fn objectives(figures: &Figures, weight: RiskWeight) -> Vec<f64> {
    figures.expected.iter().zip(&figures.cvar).map(|(e, c)| e + weight.get() * c).collect()
}
