//! `examples/h2-bwb` against a brute force that reads the raw files: its own rules, formulas, sums, sorting.
//! Only the drawn scenarios are the library's. `PLOTS=FOLDER` writes the plots of the choice there.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use solvers::plots::{Frontier, Mark, MarkKind, Series, cost_distribution, e_cvar_frontier};
use solvers::risk::{CvarLevel, RiskWeight};
use solvers::scenarios::ScenarioSet;
use solvers::selection::milp::{ChoiceError, least};
use solvers::selection::{Evaluator, Question, choose};
use solvers::{costs, scenarios, space};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::OnceLock;

const SPACE: &str = include_str!("../../examples/h2-bwb/space.yaml");
const SCENARIOS: &str = include_str!("../../examples/h2-bwb/scenarios.yaml");
const COSTS: &str = include_str!("../../examples/h2-bwb/costs.yaml");
const EXPECTED: &str = include_str!("../../examples/h2-bwb/expected.json");

/// Four decimal places are exact as whole numbers.
fn exact(value: &Value) -> i64 {
    let scaled = value.as_f64().unwrap() * 1e4;
    assert!((scaled - scaled.round()).abs() < 1e-3, "{value}");
    scaled.round() as i64
}

/// The space as the file says it: names, ids, attributes, constraints.
struct Raw {
    decisions: Vec<String>,
    ids: Vec<Vec<String>>,
    attributes: Vec<Vec<Value>>,
    constraints: Vec<Value>,
}

impl Raw {
    fn read() -> Raw {
        let tree: Value = serde_saphyr::from_str(SPACE).unwrap();
        let of = |value: &Value, key: &str| value[key].as_array().unwrap().clone();
        let decisions = of(&tree, "decisions");
        let text = |value: &Value| value.as_str().unwrap().to_string();
        Raw {
            decisions: decisions.iter().map(|d| text(&d["name"])).collect(),
            ids: decisions
                .iter()
                .map(|d| of(d, "options").iter().map(|o| text(&o["id"])).collect())
                .collect(),
            attributes: decisions
                .iter()
                .map(|d| of(d, "options").iter().map(|o| o["attributes"].clone()).collect())
                .collect(),
            constraints: of(&tree, "constraints"),
        }
    }

    fn positions(&self, rule: &Value) -> Vec<usize> {
        match rule.get("decisions") {
            None => (0..self.decisions.len()).collect(),
            Some(names) => names
                .as_array()
                .unwrap()
                .iter()
                .map(|n| self.decisions.iter().position(|d| d == n.as_str().unwrap()).unwrap())
                .collect(),
        }
    }

    /// Whether `constraint` holds for the whole design `d`.
    fn holds(&self, constraint: &Value, d: &[usize]) -> bool {
        let figure = |at: usize, name: &str| self.attributes[at][d[at]].get(name);
        let sum = |name: &str, positions: &[usize]| -> i64 {
            positions.iter().filter_map(|&at| figure(at, name)).map(exact).sum()
        };
        let within = |x: i128, scale: i128| {
            let bound = |key: &str| constraint.get(key).map(|b| i128::from(exact(b)) * scale);
            bound("min").is_none_or(|b| x >= b) && bound("max").is_none_or(|b| x <= b)
        };
        if let Some(rule) = constraint.get("each") {
            return self.positions(rule).iter().all(|&at| {
                let Some(value) = figure(at, rule["attribute"].as_str().unwrap()) else { return false };
                match constraint.get("equals") {
                    Some(wanted) => value == wanted,
                    None => within(i128::from(exact(value)), 1),
                }
            });
        }
        for (key, wanted) in [("allowed", true), ("forbidden", false)] {
            if let Some(rule) = constraint.get(key) {
                let chosen: Vec<&str> =
                    self.positions(rule).iter().map(|&at| self.ids[at][d[at]].as_str()).collect();
                let listed = rule["tuples"].as_array().unwrap().iter().any(|tuple| {
                    tuple.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).eq(chosen.iter().copied())
                });
                return listed == wanted;
            }
        }
        if let Some(rule) = constraint.get("sum") {
            return within(i128::from(sum(rule["attribute"].as_str().unwrap(), &self.positions(rule))), 1);
        }
        if let Some(terms) = constraint.get("linear") {
            let all: Vec<usize> = (0..d.len()).collect();
            let total: i128 = terms
                .as_array()
                .unwrap()
                .iter()
                .map(|t| {
                    i128::from(sum(t["attribute"].as_str().unwrap(), &all)) * i128::from(exact(&t["times"]))
                })
                .sum();
            return within(total, 10_000);
        }
        if let Some(rule) = constraint.get("ratio") {
            let all: Vec<usize> = (0..d.len()).collect();
            let (of, over) =
                (sum(rule["of"].as_str().unwrap(), &all), sum(rule["over"].as_str().unwrap(), &all));
            return i128::from(of) * 10_000 >= i128::from(exact(&constraint["min"])) * i128::from(over);
        }
        if let Some(rule) = constraint.get("same").or(constraint.get("distinct")) {
            let mut times: BTreeMap<String, i64> = BTreeMap::new();
            for at in 0..d.len() {
                if let Some(value) = figure(at, rule["attribute"].as_str().unwrap()) {
                    *times.entry(value.to_string()).or_insert(0) += 1;
                }
            }
            let counted = if constraint.get("same").is_some() {
                times.values().copied().max().unwrap_or(0)
            } else {
                times.len() as i64
            };
            return counted <= constraint["max"].as_i64().unwrap();
        }
        let (condition, then) = (&constraint["if"], &constraint["then"]);
        let among = |part: &Value| {
            let at = self.decisions.iter().position(|name| part["decision"] == name.as_str()).unwrap();
            part["in"].as_array().unwrap().iter().any(|id| id == self.ids[at][d[at]].as_str())
        };
        !among(condition) || among(then)
    }

    /// Decisions that a constraint looks at.
    fn looked_at(&self, constraint: &Value) -> Vec<usize> {
        let named =
            |part: &Value| self.decisions.iter().position(|name| part["decision"] == name.as_str()).unwrap();
        match ["each", "allowed", "forbidden", "sum"].iter().find_map(|key| constraint.get(*key)) {
            Some(rule) => self.positions(rule),
            None if constraint.get("if").is_some() => {
                vec![named(&constraint["if"]), named(&constraint["then"])]
            }
            None => (0..self.decisions.len()).collect(),
        }
    }

    /// All feasible designs, by trying every prefix against the rules that it completes.
    fn feasible(&self) -> Vec<Vec<usize>> {
        let mut due: Vec<Vec<&Value>> = vec![Vec::new(); self.decisions.len()];
        for constraint in &self.constraints {
            due[*self.looked_at(constraint).iter().max().unwrap()].push(constraint);
        }
        let mut found = Vec::new();
        let mut design = vec![0; self.decisions.len()];
        self.walk(0, &mut design, &due, &mut found);
        found
    }

    fn walk(&self, depth: usize, design: &mut Vec<usize>, due: &[Vec<&Value>], found: &mut Vec<Vec<usize>>) {
        if depth == design.len() {
            found.push(design.clone());
            return;
        }
        for option in 0..self.ids[depth].len() {
            design[depth] = option;
            if due[depth].iter().all(|constraint| self.holds(constraint, design)) {
                self.walk(depth + 1, design, due, found);
            }
        }
    }
}

/// Found once for all tests.
fn feasible() -> &'static [Vec<usize>] {
    static FOUND: OnceLock<Vec<Vec<usize>>> = OnceLock::new();
    FOUND.get_or_init(|| Raw::read().feasible())
}

/// Figures of a design that the cost formulas use, gathered by hand.
struct Aircraft {
    mass: f64,
    dev: f64,
    unit: f64,
    maint: f64,
    novelty: f64,
    infra: f64,
    training: f64,
    lift: f64,
    efficiency: f64,
    index: f64,
    at_risk: f64,
    tank: f64,
    seats: f64,
}

impl Aircraft {
    fn new(raw: &Raw, d: &[usize]) -> Aircraft {
        let sum = |name: &str| -> f64 {
            (0..d.len()).filter_map(|at| raw.attributes[at][d[at]].get(name)?.as_f64()).sum()
        };
        let one = |decision: &str, name: &str| {
            let at = raw.decisions.iter().position(|x| x == decision).unwrap();
            raw.attributes[at][d[at]].get(name).and_then(Value::as_f64)
        };
        Aircraft {
            mass: sum("mass_kg"),
            dev: sum("dev_musd"),
            unit: sum("unit_kusd"),
            maint: sum("maint_usd_h"),
            novelty: sum("novelty"),
            infra: sum("infra_musd"),
            training: sum("training_kusd"),
            lift: one("wing", "lift_to_drag").unwrap(),
            efficiency: one("propulsion", "efficiency").unwrap(),
            index: one("energy", "gravimetric_index").unwrap_or(1.0),
            at_risk: one("energy", "index_at_risk").unwrap(),
            tank: one("energy", "tank_m3").unwrap(),
            seats: one("cabin", "seats").unwrap(),
        }
    }

    fn cost(&self, s: &Future) -> f64 {
        let aircraft = s.fleet * 200.0 / self.seats;
        let novelty = self.novelty / 100.0;
        let late = novelty * s.delay;
        let mass = self.mass
            + 100.0 * self.seats
            + 71.0 * self.tank / self.index * (1.0 / (1.0 - self.at_risk * s.shortfall) - 1.0);
        1e6 * self.dev * s.dev
            + 1e3 * self.unit * aircraft.powf(0.85) * s.mfg
            + 9e5 * s.fleet * late * (1.0 + (late / 19.0).powi(3))
            + 1e6 * self.infra * s.infra
            + 1e3 * self.training * aircraft
            + self.maint * s.hours * aircraft * s.lifetime * s.maint
            + mass * ((0.4667 / (self.lift * self.efficiency)).exp() - 1.0) / 7.22
                * s.hours
                * aircraft
                * s.lifetime
                * s.price
    }
}

struct Future {
    price: f64,
    fleet: f64,
    lifetime: f64,
    hours: f64,
    shortfall: f64,
    delay: f64,
    dev: f64,
    mfg: f64,
    infra: f64,
    maint: f64,
}

fn futures(set: &ScenarioSet) -> Vec<Future> {
    let column = |name: &str| set.column(set.position(name).unwrap());
    (0..set.len())
        .map(|s| Future {
            price: column("h2_price")[s],
            fleet: column("fleet")[s],
            lifetime: column("lifetime")[s],
            hours: column("hours")[s],
            shortfall: column("index_shortfall")[s],
            delay: column("cert_delay")[s],
            dev: column("dev_multiplier")[s],
            mfg: column("mfg_multiplier")[s],
            infra: column("infra_multiplier")[s],
            maint: column("maint_multiplier")[s],
        })
        .collect()
}

#[test]
fn the_choice_is_the_exact_argmin_of_a_brute_force_that_shares_nothing() {
    let raw = Raw::read();
    let by_hand = feasible();
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    assert_eq!(by_hand.len() as u64, expected["feasible"].as_u64().unwrap());
    // A fifth of the scenarios keeps the test short; every fifth of the tail is still twenty of them.
    let few = SCENARIOS.replace("count: 1000", "count: 200");
    assert_ne!(few, SCENARIOS);
    let set = scenarios::read("scenarios.yaml", &few, &|_| None).unwrap().set(None);
    let futures = futures(&set);
    let levels = [0.5, 0.9, 0.95];
    // Expectation, and CVaR by level: the mean of the worst 100, 20 and 10 of 200.
    let figures: Vec<(f64, [f64; 3])> = by_hand
        .iter()
        .map(|d| {
            let aircraft = Aircraft::new(&raw, d);
            let mut costs: Vec<f64> = futures.iter().map(|s| aircraft.cost(s)).collect();
            costs.sort_by(f64::total_cmp);
            let worst = |n: usize| costs[200 - n..].iter().sum::<f64>() / n as f64;
            (costs.iter().sum::<f64>() / 200.0, [worst(100), worst(20), worst(10)])
        })
        .collect();

    let space = space::read(SPACE, "space.yaml").unwrap();
    let model = costs::read("costs.yaml", COSTS).unwrap();
    let designs: Vec<Vec<u16>> = by_hand.iter().map(|d| d.iter().map(|&o| o as u16).collect()).collect();
    let evaluator = Evaluator::new(&space, &designs, &set, &model).unwrap();
    let go = |_: usize, _: usize| ControlFlow::Continue(());
    let asked: Vec<CvarLevel> = levels.iter().map(|&a| CvarLevel::new(a).unwrap()).collect();
    let got = evaluator.evaluate_threads(0..designs.len(), &asked, 2, &go).unwrap();
    for (i, (mean, cvar)) in figures.iter().enumerate() {
        assert!((got.expected[i] / mean - 1.0).abs() < 1e-11, "design {i}");
        for (l, cvar) in cvar.iter().enumerate() {
            assert!((got.cvar[3 * i + l] / cvar - 1.0).abs() < 1e-11, "design {i} at {}", levels[l]);
        }
    }
    let mut choices = std::collections::BTreeSet::new();
    for (l, &level) in asked.iter().enumerate() {
        for weight in [0.0, 0.1, 0.25, 1.0, 4.0] {
            let question = Question {
                grid_levels: asked.clone(),
                grid_weights: vec![],
                ..Question::new(level, RiskWeight::new(weight).unwrap())
            };
            let selection = choose(&evaluator, &got, &question).unwrap();
            let objective = |i: usize| figures[i].0 + weight * figures[i].1[l];
            let best = (0..figures.len()).min_by(|&a, &b| objective(a).total_cmp(&objective(b))).unwrap();
            assert_eq!(selection.index, best, "level {} weight {weight}", levels[l]);
            assert_eq!(selection.tie.size, 1);
            choices.insert(best);
            if levels[l] == 0.9 && (weight == 0.0 || weight == 1.0) {
                let known = if weight == 0.0 { "risk_neutral" } else { "risk_averse" };
                assert_eq!(serde_json::to_value(&selection.design).unwrap(), expected[known]);
            }
        }
    }
    assert!(choices.len() >= 3, "{choices:?}");
    plots(&evaluator, &asked);
}

fn plots(evaluator: &Evaluator, asked: &[CvarLevel]) {
    let Some(folder) = std::env::var_os("PLOTS") else { return };
    let go = |_: usize, _: usize| ControlFlow::Continue(());
    let question =
        Question { grid_levels: vec![asked[1]], ..Question::new(asked[1], RiskWeight::new(1.0).unwrap()) };
    let figures = evaluator.evaluate_threads(0..evaluator.designs().len(), &[asked[1]], 2, &go).unwrap();
    let got = choose(evaluator, &figures, &question).unwrap();
    let all: Vec<usize> = got.frontier.iter().map(|p| p.index).collect();
    let corners: Vec<usize> = got.hull.iter().map(|p| p.index).collect();
    let marks = [
        Mark { kind: MarkKind::Chosen, index: got.index },
        Mark { kind: MarkKind::RiskNeutral, index: got.risk_neutral.index },
        Mark { kind: MarkKind::Qaoa, index: got.runners_up[4].index },
    ];
    let frontier = Frontier { all: &all, corners: &corners };
    let svg = e_cvar_frontier(&figures.expected, &figures.cvar, frontier, &marks, 90.0, "USD").unwrap();
    std::fs::write(std::path::Path::new(&folder).join("h2-frontier.svg"), svg).unwrap();
    let probability = &evaluator.scenarios().probability;
    let of = |index: usize| evaluator.costs(index).unwrap();
    let (chosen, next, neutral) = (of(got.index), of(got.runners_up[0].index), of(got.risk_neutral.index));
    let others = [
        Series { label: "runner-up", costs: &next, probability },
        Series { label: "risk-neutral choice", costs: &neutral, probability },
    ];
    let series = Series { label: "chosen", costs: &chosen, probability };
    let svg = cost_distribution(series, &others, asked[1], "USD").unwrap();
    std::fs::write(std::path::Path::new(&folder).join("h2-distribution.svg"), svg).unwrap();
}

#[test]
fn costs_that_tie_decisions_together_are_refused_and_their_spread_part_is_solved() {
    let space = space::read(SPACE, "space.yaml").unwrap();
    let set =
        scenarios::read("scenarios.yaml", &SCENARIOS.replace("count: 1000", "count: 50"), &|_| None).unwrap();
    let (set, level, weight) = (set.set(None), CvarLevel::new(0.9).unwrap(), RiskWeight::new(1.0).unwrap());
    let whole = costs::read("costs.yaml", COSTS).unwrap();
    let error = least(&space, &set, &whole, level, weight, None).unwrap_err();
    assert!(matches!(&error, ChoiceError::NotLinear(_)), "{error}");
    assert!(error.to_string().starts_with("EX-0402: the term `manufacturing`"), "{error}");
    // A model whose terms are sums: the fleet counted in aircraft, certification in proportion to novelty.
    let spread = "costs: 1\nattributes:\n  dev_musd: {aggregate: sum}\n  unit_kusd: {aggregate: sum}\n  \
                  maint_usd_h: {aggregate: sum}\n  novelty: {aggregate: sum}\n  infra_musd: {aggregate: sum}\n  \
                  index_at_risk: {decision: energy}\n  tank_m3: {decision: energy}\nterms:\n  \
                  development: \"1000000 * dev_musd * dev_multiplier\"\n  \
                  manufacturing: \"1000 * unit_kusd * fleet ^ 0.85 * mfg_multiplier\"\n  \
                  certification: \"900000 * fleet * novelty / 100 * cert_delay\"\n  \
                  infrastructure: \"1000000 * infra_musd * infra_multiplier\"\n  \
                  maintenance: \"maint_usd_h * hours * fleet * lifetime * maint_multiplier\"\n  \
                  boil_off: \"tank_m3 / (1 - index_at_risk * index_shortfall) * hours * h2_price\"\n";
    let model = costs::read("spread.yaml", spread).unwrap();
    let found = least(&space, &set, &model, level, weight, Some(300.0)).unwrap();
    let designs: Vec<Vec<u16>> = feasible().iter().map(|d| d.iter().map(|&o| o as u16).collect()).collect();
    let question = Question { grid_levels: vec![level], ..Question::new(level, weight) };
    let scan = solvers::selection::select(&space, &designs, &set, &model, &question).unwrap();
    let highs = found.found.unwrap();
    assert_eq!(highs.design, scan.design);
    assert_eq!((highs.objective, highs.expected, highs.cvar), (scan.objective, scan.expected, scan.cvar));
    assert!((found.bound.unwrap() / scan.objective - 1.0).abs() < 1e-8);
}
