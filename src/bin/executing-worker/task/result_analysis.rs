//! `result-analysis`: QAOA's pick against the exact choice, runners-up, sensitivity, stability, plots.
//!
//! Outputs: `risk_analysis.json`, `optimization_metrics.json`, `frontier.svg`, `cost_distribution.svg`.
//! Without `qaoa_result.json` the comparison says so. Facts: `optimization_score` (exact optimum over the
//! chosen objective, 1 when they are equal), `gap_to_exact` (QAOA's excess over the exact optimum, as
//! a share of it), `tie_size`, `stability` (share of the bootstrap's replicates with the same choice).
//!
//! Parameters: `bootstrap`, how often the scenarios are drawn again (0 to 100,000; 100 unless there are too
//! many scenarios for that), `bootstrap_candidates`, how many of the best designs take part (at least 2;
//! 10,000 or what takes about a second), `bootstrap_seed` (the run's seed unless stated).

use super::json::{self, Facts};
use super::work::Work;
use super::{fail, feasible, money, subject};
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::plots::{self, Frontier, Mark, MarkKind, Series};
use solvers::selection::{
    Evaluator, Figures, Question, REPLICATES_MAX, Resampling, Stability, TIE_TOLERANCE, choose, stability,
};
use solvers::space::Design;

/// Most candidates of the bootstrap: more than any feasible set that is listed.
const CANDIDATES_MAX: u64 = 1_000_000_000;

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let money = money::read(work, &subject)?;
    let risk = money::risk(work)?;
    let found = feasible::load(work, &subject)?;
    let question = Question::new(risk.level, risk.weight);
    let levels = question.levels();
    let evaluator = money.evaluator(&found.designs)?;
    let figures = money::figures(work, &evaluator, &levels, 0.0, 0.6)?;
    let selection = choose(&evaluator, &figures, &question).map_err(fail::selection)?;
    work.check()?;
    let stability = bootstrap(work, &evaluator, &figures, &question)?;
    work.check()?;
    work.progress(0.85, || "comparing".to_owned());

    let at_level = levels.iter().position(|level| *level == risk.level).unwrap_or(0);
    let cvar: Vec<f64> = figures.cvar.iter().skip(at_level).step_by(levels.len()).copied().collect();
    let objective = |index: usize| figures.expected[index] + risk.weight.get() * cvar[index];
    let index_of = |design: &Value| -> Option<usize> {
        let design: Design = subject.space.design_from_json(design).ok()?;
        found.designs.binary_search(&design).ok()
    };

    let exact = selection.objective;
    let chosen = chosen(work, &index_of)?.unwrap_or(selection.index);
    let chosen_objective = objective(chosen);
    let score = score(exact, chosen_objective);
    let qaoa_result = work.inputs.json("qaoa_result.json")?;
    let pick = qaoa_result.as_ref().and_then(|result| index_of(result.get("best")?.get("design")?));
    let gap = pick.map(|index| gap(exact, objective(index)));
    let qaoa = match (&qaoa_result, pick) {
        (None, _) => json!({"reason": "no qaoa_result.json was given, so nothing is compared"}),
        (Some(_), None) => json!({"reason": "the design of qaoa_result.json is not in the feasible set"}),
        (Some(result), Some(index)) => json!({
            "design": subject.space.design_json(&found.designs[index]),
            "index": index,
            "objective": objective(index),
            "expected": figures.expected[index],
            "cvar": cvar[index],
            "gap_to_exact": gap,
            "gap_to_exact_cost": objective(index) - exact,
            "is_exact_choice": index == selection.index,
            "source": result.get("source"),
            "shots": result.get("shots"),
            "random_hit_probability": result.get("random_hit_probability"),
        }),
    };
    let analysis = json!({
        "chosen": {
            "design": selection.design,
            "index": selection.index,
            "objective": selection.objective,
            "expected": selection.expected,
            "value_at_risk": selection.value_at_risk,
            "cvar": selection.cvar,
        },
        "cvar_level": risk.level,
        "cvar_level_source": risk.level_source,
        "risk_weight": risk.weight,
        "risk_weight_source": risk.weight_source,
        "unit": selection.unit,
        "risk_neutral": selection.risk_neutral,
        "runners_up": selection.runners_up,
        "qaoa": qaoa,
        "gap_to_exact": gap,
        "sensitivity": selection.sensitivity,
        "frontier": selection.frontier,
        "frontier_size": selection.frontier_size,
        "hull": selection.hull,
        "stability": match &stability {
            Some(stability) => json::of(stability),
            None => json!({"reason": "`bootstrap` is 0, so the scenarios were not drawn again"}),
        },
        "comparisons": selection.comparisons,
        "tie": selection.tie,
        "words": selection.words,
        "designs": selection.designs,
        "complete": found.complete,
        "feasible_set_source": found.source,
        "figures": money.sources(),
        "tasks": work.request.tasks,
    });
    work.write_json("risk_analysis.json", &analysis)?;
    let metrics = json!({
        "optimization_score": score,
        "exact_objective": exact,
        "chosen_objective": chosen_objective,
        "chosen_is_exact": chosen == selection.index,
        "gap_to_exact": gap,
        "tie_size": selection.tie.size,
        "complete": found.complete,
        "designs": selection.designs,
        "scenarios": selection.scenarios,
        "qaoa_iterations": qaoa_result.as_ref().and_then(|r| r.get("iterations")),
        "qaoa_optimum_probability": qaoa_result.as_ref().and_then(|r| r.get("optimum_probability")),
    });
    work.write_json("optimization_metrics.json", &metrics)?;

    let unit = selection.unit.clone().unwrap_or_default();
    let neutral = selection.risk_neutral.index;
    let mut marks = vec![
        Mark { kind: MarkKind::Chosen, index: selection.index },
        Mark { kind: MarkKind::RiskNeutral, index: neutral },
    ];
    marks.extend(pick.map(|index| Mark { kind: MarkKind::Qaoa, index }));
    let all: Vec<usize> = selection.frontier.iter().map(|ranked| ranked.index).collect();
    let corners: Vec<usize> = selection.hull.iter().map(|corner| corner.index).collect();
    let frontier = Frontier { all: &all, corners: &corners };
    let percent = 100.0 * risk.level.get();
    let plot =
        plots::e_cvar_frontier(&figures.expected, &cvar, frontier, &marks, percent, &unit).map_err(drawn)?;
    work.write("frontier.svg", plot.as_bytes())?;
    let probability = &money.scenarios.probability;
    let chosen_costs = evaluator.costs(selection.index).map_err(fail::selection)?;
    let mut others = Vec::new();
    if let Some(next) = selection.runners_up.first() {
        let both = if next.index == neutral { "runner-up and risk-neutral choice" } else { "runner-up" };
        others.push((both, evaluator.costs(next.index).map_err(fail::selection)?));
    }
    if neutral != selection.index && selection.runners_up.first().is_none_or(|next| next.index != neutral) {
        others.push(("risk-neutral choice", evaluator.costs(neutral).map_err(fail::selection)?));
    }
    let others: Vec<Series> =
        others.iter().map(|(label, costs)| Series { label, costs, probability }).collect();
    let series = Series { label: "chosen", costs: &chosen_costs, probability };
    let plot = plots::cost_distribution(series, &others, risk.level, &unit).map_err(drawn)?;
    work.write("cost_distribution.svg", plot.as_bytes())?;

    let mut facts = json::facts(json!({
        "optimization_score": score,
        "tie_size": selection.tie.size,
    }));
    if let Some(stability) = &stability {
        facts.insert("stability".into(), stability.share_same_choice.into());
    }
    facts.insert("gap_to_exact".into(), gap.map_or_else(|| "not-evaluated".into(), Value::from));
    Ok(facts)
}

/// The choice with the scenarios drawn again, unless the parameters say not to.
fn bootstrap(
    work: &mut Work,
    evaluator: &Evaluator,
    figures: &Figures,
    question: &Question,
) -> Result<Option<Stability>, StageError> {
    let seed = work.params.whole("bootstrap_seed", work.request.seed, 0, u64::MAX)?;
    let usual = Resampling::usual(seed, evaluator.scenarios().len());
    let most = REPLICATES_MAX as u64;
    let replicates = work.params.whole("bootstrap", usual.replicates as u64, 0, most)? as usize;
    let candidates = work.params.whole("bootstrap_candidates", usual.candidates as u64, 2, CANDIDATES_MAX)?;
    if replicates == 0 {
        return Ok(None);
    }
    let resampling =
        Resampling { replicates, candidates: candidates as usize, threads: work.threads(), seed };
    money::watched(work, (0.6, 0.85), "designs chosen from again", |observer| {
        stability(evaluator, figures, question, &resampling, observer)
    })
    .map(Some)
}

fn drawn(error: plots::PlotError) -> StageError {
    fail::permanent("EX-0511", error.to_string())
}

/// The design that the run chose, if a stage before this one did.
fn chosen(work: &Work, index_of: &dyn Fn(&Value) -> Option<usize>) -> Result<Option<usize>, StageError> {
    let Some(config) = work.inputs.json("optimal_config.json")? else { return Ok(None) };
    match config.get("design").and_then(index_of) {
        Some(index) => Ok(Some(index)),
        None => Err(fail::permanent(
            "EX-0511",
            "optimal_config.json: its design is not in the feasible set".to_owned(),
        )),
    }
}

/// Exact optimum over chosen objective: 1 is as good as possible, less is worse. For objectives below 0
/// the quotient is turned over, so that it still falls with a worse choice; across 0 it is 0.
fn score(exact: f64, chosen: f64) -> f64 {
    if (chosen - exact).abs() <= TIE_TOLERANCE * exact.abs() {
        1.0
    } else if exact > 0.0 {
        exact / chosen
    } else if chosen < 0.0 {
        chosen / exact
    } else {
        0.0
    }
}

/// Excess of `objective` over the exact optimum, as a share of the optimum; in cost where that is 0.
fn gap(exact: f64, objective: f64) -> f64 {
    let excess = objective - exact;
    if exact == 0.0 { excess } else { excess / exact.abs() }
}

#[cfg(test)]
mod tests {
    use super::{gap, score};

    #[test]
    fn a_worse_choice_scores_lower_on_both_sides_of_zero() {
        for exact in [10.0, -10.0] {
            assert_eq!(score(exact, exact), 1.0);
            assert!(score(exact, exact + 1.0) < 1.0);
            assert!(score(exact, exact + 2.0) < score(exact, exact + 1.0));
        }
        assert_eq!(score(0.0, 0.0), 1.0);
        assert_eq!(score(0.0, 3.0), 0.0);
        assert_eq!(score(-1.0, 1.0), 0.0);
    }

    #[test]
    fn the_gap_is_a_share_of_the_optimum() {
        assert_eq!(gap(10.0, 11.0), 0.1);
        assert_eq!(gap(-10.0, -9.0), 0.1);
        assert_eq!(gap(0.0, 2.0), 2.0);
    }
}
