//! `result-analysis`: QAOA's pick against the exact choice, runners-up, sensitivity, plots.
//!
//! Outputs: `risk_analysis.json`, `optimization_metrics.json`, `frontier.svg`, `cost_distribution.svg`.
//! Without `qaoa_result.json` the comparison says so. Facts: `optimization_score` (exact optimum over the
//! chosen objective, 1 when they are equal), `gap_to_exact` (QAOA's excess over the exact optimum, as
//! a share of it), `tie_size`.

use super::json::{self, Facts};
use super::work::Work;
use super::{fail, feasible, money, subject};
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::plots::{self, Mark, MarkKind, Series};
use solvers::selection::{Question, TIE_TOLERANCE, choose};
use solvers::space::Design;

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let money = money::read(work, &subject)?;
    let risk = money::risk(work)?;
    let found = feasible::load(work, &subject)?;
    let question = Question::new(risk.level, risk.weight);
    let levels = question.levels();
    let evaluator = money.evaluator(&found.designs)?;
    let figures = money::figures(work, &evaluator, &levels, 0.0, 0.8)?;
    let selection = choose(&evaluator, &figures, &question).map_err(fail::selection)?;
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
    let frontier: Vec<usize> = selection.frontier.iter().map(|ranked| ranked.index).collect();
    let percent = 100.0 * risk.level.get();
    let plot =
        plots::e_cvar_cloud(&figures.expected, &cvar, &frontier, &marks, percent, &unit).map_err(drawn)?;
    work.write("frontier.svg", plot.as_bytes())?;
    let probability = &money.scenarios.probability;
    let chosen_costs = evaluator.costs(selection.index).map_err(fail::selection)?;
    let neutral_costs = evaluator.costs(neutral).map_err(fail::selection)?;
    let other = (neutral != selection.index).then_some(Series {
        label: "risk-neutral choice",
        costs: &neutral_costs,
        probability,
    });
    let series = Series { label: "chosen", costs: &chosen_costs, probability };
    let plot = plots::cost_distribution(series, other, risk.level, &unit).map_err(drawn)?;
    work.write("cost_distribution.svg", plot.as_bytes())?;

    let mut facts = json::facts(json!({
        "optimization_score": score,
        "tie_size": selection.tie.size,
    }));
    facts.insert("gap_to_exact".into(), gap.map_or_else(|| "not-evaluated".into(), Value::from));
    Ok(facts)
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
