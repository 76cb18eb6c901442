//! The AMPEL360 files against a brute force that knows nothing of the readers, rules and formulas.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use solvers::ampel360::{
    self, File, GeometryStatus, default_costs, default_scenarios, orchestrator_risk, read_configuration,
};
use solvers::risk::{CvarLevel, RiskWeight};
use solvers::selection::{Question, Selection, names, select};
use solvers::space::{Attribute, Design, DesignSpace, EachTest, Rule};
use solvers::{costs, scenarios};
use std::collections::BTreeMap;
use std::path::Path;

const CANDIDATES: &str = include_str!("../../examples/ampel360/programme/candidates.yaml");
const CONSTRAINTS: &str = include_str!("../../examples/ampel360/programme/hard_constraints.yaml");
const CONFIGURATION: &str = include_str!("../../examples/ampel360/programme/ampel360_config.json");
const ORCHESTRATOR: &str = include_str!("../../examples/ampel360/programme/orchestrator-config.yaml");
const SCENARIOS: &str = include_str!("../../examples/ampel360/scenarios.yaml");
const COSTS: &str = include_str!("../../examples/ampel360/costs.yaml");

fn file<'t>(name: &'t str, text: &'t str) -> File<'t> {
    File { name, text }
}

fn programme(capacity: bool) -> ampel360::Programme {
    ampel360::read(file("candidates.yaml", CANDIDATES), file("hard_constraints.yaml", CONSTRAINTS), capacity)
        .unwrap()
}

/// Every design of the space, feasible or not, in canonical order.
fn product(space: &DesignSpace) -> Vec<Design> {
    let mut designs: Vec<Design> = vec![vec![]];
    for decision in &space.decisions {
        designs = designs
            .iter()
            .flat_map(|design| {
                (0..decision.options.len() as u16).map(move |option| {
                    let mut longer = design.clone();
                    longer.push(option);
                    longer
                })
            })
            .collect();
    }
    designs
}

/// The rules of the programme, worked on the raw text as a tree of values.
fn feasible_by_hand(candidates: &str, constraints: &str) -> Vec<BTreeMap<String, String>> {
    let candidates: Value = serde_saphyr::from_str(candidates).unwrap();
    let constraints: Value = serde_saphyr::from_str(constraints).unwrap();
    let donors: Vec<i64> =
        candidates["candidates"].as_array().unwrap().iter().map(|c| c["id"].as_i64().unwrap()).collect();
    let part = |donor: i64, subsystem: &str| -> Option<&Value> {
        let at = donors.iter().position(|&d| d == donor)?;
        candidates["candidates"][at]["subsystems"].get(subsystem)
    };
    let subsystems = [
        "wing",
        "fuselage",
        "primary_structure",
        "propulsion",
        "energy",
        "flight_controls",
        "avionics",
        "landing_gear",
        "cabin",
    ];
    let pairs = |list: &Value| -> Vec<(i64, i64)> {
        list.as_array().unwrap().iter().map(|p| (p[0].as_i64().unwrap(), p[1].as_i64().unwrap())).collect()
    };
    let mut partial: Vec<BTreeMap<&str, i64>> = vec![BTreeMap::new()];
    for subsystem in subsystems {
        let mut longer = Vec::new();
        for design in &partial {
            for &donor in &donors {
                if part(donor, subsystem).is_some() {
                    let mut next = design.clone();
                    next.insert(subsystem, donor);
                    longer.push(next);
                }
            }
        }
        partial = longer;
    }
    let limits = &constraints["physics_constraints"];
    partial.retain(|design| {
        let each = design.iter().all(|(subsystem, &donor)| {
            let part = part(donor, subsystem).unwrap();
            let below = |attribute: &str, limit: &str| {
                part[attribute].as_f64().is_none_or(|x| x <= limits[limit].as_f64().unwrap())
            };
            part["trl"].as_i64().unwrap_or(0) >= constraints["trl_gates"][subsystem].as_i64().unwrap()
                && below("weight_normalized", "weight_max")
                && below("noise_normalized", "noise_max")
                && below("evacuation_time", "evacuation_time_max")
                && part["twr"].as_f64().is_none_or(|x| x >= limits["twr_min"].as_f64().unwrap())
        });
        let policy = BTreeMap::from([
            ("propulsion", &constraints["hydrogen_policy"]["propulsion_energy_type"]),
            ("energy", &constraints["hydrogen_policy"]["energy_storage_type"]),
        ]);
        let hydrogen = ["propulsion", "energy"]
            .iter()
            .all(|s| part(design[s], s).unwrap()["energy_type"] == *policy[*s]);
        let forbidden = pairs(&constraints["forbidden_pairs"]).iter().any(|&(a, b)| {
            design["wing"] == a && ["fuselage", "energy", "propulsion"].iter().any(|s| design[s] == b)
        });
        let most = donors.iter().map(|d| design.values().filter(|&v| v == d).count()).max().unwrap();
        let allowed = &constraints["allowed_pairs"];
        each && hydrogen
            && !forbidden
            && pairs(&allowed["wing_fuselage"]).contains(&(design["wing"], design["fuselage"]))
            && pairs(&allowed["energy_fuselage"]).contains(&(design["energy"], design["fuselage"]))
            && most as i64 <= constraints["diversity_limits"]["max_subsystems_per_donor"].as_i64().unwrap()
    });
    let mut all: Vec<BTreeMap<String, String>> =
        partial.iter().map(|d| d.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()).collect();
    all.sort();
    all
}

/// What the rules of the space allow, by plain interpretation of each rule.
fn feasible(space: &DesignSpace) -> Vec<Design> {
    product(space)
        .into_iter()
        .filter(|design| space.constraints.iter().all(|c| holds(space, &c.rule, design)))
        .collect()
}

fn holds(space: &DesignSpace, rule: &Rule, design: &[u16]) -> bool {
    let attribute = |decision: usize, name: &str| {
        space.decisions[decision].options[usize::from(design[decision])].attributes.get(name)
    };
    let chosen = |decisions: &[usize]| decisions.iter().map(|&d| design[d]).collect::<Vec<u16>>();
    match rule {
        Rule::Allowed { decisions, tuples } => tuples.contains(&chosen(decisions)),
        Rule::Forbidden { decisions, tuples } => !tuples.contains(&chosen(decisions)),
        Rule::Each { attribute: name, decisions, test, missing_ignored } => {
            decisions.iter().all(|&d| match (attribute(d, name), test) {
                (None, _) => *missing_ignored,
                (Some(Attribute::Number(x)), EachTest::Within(range)) => {
                    range.min.is_none_or(|m| x.to_f64() >= m.to_f64())
                        && range.max.is_none_or(|m| x.to_f64() <= m.to_f64())
                }
                (Some(x), EachTest::Equals(y)) => x == y,
                _ => false,
            })
        }
        Rule::Same { attribute: name, decisions, max } => {
            let values: Vec<&Attribute> = decisions.iter().filter_map(|&d| attribute(d, name)).collect();
            values.iter().all(|v| values.iter().filter(|w| w == &v).count() <= *max as usize)
        }
        other => panic!("no such rule is made from these files: {other:?}"),
    }
}

#[test]
fn exactly_six_architectures_are_feasible_and_they_are_the_ones_found_by_hand() {
    let space = programme(false).space;
    let mut found: Vec<BTreeMap<String, String>> =
        feasible(&space).iter().map(|d| names(&space, d)).collect();
    found.sort();
    assert_eq!(found.len(), 6);
    assert_eq!(found, feasible_by_hand(CANDIDATES, CONSTRAINTS));
}

#[test]
fn every_rule_acts_on_changed_files_as_it_does_by_hand() {
    let wing_5 = ["  wing: 6", "  wing: 5", "    - [34, 24]", "    - [34, 24]\n    - [5, 24]"];
    let open = [&wing_5[..], &["  - [5, 38]", "  - [5, 99]"]].concat();
    for (changes, count) in [
        (wing_5.to_vec(), 6),
        (open.clone(), 8),
        ([&open[..], &["  - [1, 37]", "  - [5, 37]"]].concat(), 6),
        ([&open[..], &["  - [1, 24]", "  - [5, 24]"]].concat(), 6),
        (vec!["max_subsystems_per_donor: 4", "max_subsystems_per_donor: 3"], 5),
        (vec!["twr_min: 0.55", "twr_min: 0.59"], 0),
        (vec!["noise_max: 0.65", "noise_max: 0.45"], 6),
        (vec!["noise_max: 0.65", "noise_max: 0.44"], 0),
        (vec!["weight_max: 0.65", "weight_max: 0.6"], 3),
        (vec!["evacuation_time_max: 90", "evacuation_time_max: 84"], 0),
        (vec!["energy_storage_type: \"Hydrogen\"", "energy_storage_type: \"Kerosene\""], 0),
        (vec!["propulsion_energy_type: \"Hydrogen\"", "propulsion_energy_type: \"Kerosene\""], 0),
        (vec!["    - [38, 34]", "    - [38, 12]"], 4),
        (vec!["  landing_gear: 8", "  landing_gear: 9"], 0),
    ] {
        let mut text = CONSTRAINTS.to_string();
        for change in changes.chunks(2) {
            assert!(text.contains(change[0]), "{}", change[0]);
            text = text.replacen(change[0], change[1], 1);
        }
        check_by_hand(CANDIDATES, &text, count);
    }
    // A part without a TRL does not pass its gate, one without a weight passes its limit.
    let no_trl = CANDIDATES.replacen(
        "        trl: 8\n        weight_normalized: 0.61",
        "        weight_normalized: 0.61",
        1,
    );
    check_by_hand(&no_trl, CONSTRAINTS, 3);
    let no_weight = CANDIDATES.replacen("        weight_normalized: 0.61", "        mass: unknown", 1);
    check_by_hand(&no_weight, CONSTRAINTS, 6);
}

fn check_by_hand(candidates: &str, constraints: &str, count: usize) {
    let space = ampel360::read(
        file("candidates.yaml", candidates),
        file("hard_constraints.yaml", constraints),
        false,
    )
    .unwrap_or_else(|problems| panic!("{problems:#?}"))
    .space;
    let mut found: Vec<BTreeMap<String, String>> =
        feasible(&space).iter().map(|d| names(&space, d)).collect();
    found.sort();
    let by_hand = feasible_by_hand(candidates, constraints);
    assert_eq!((found.len(), by_hand.len()), (count, count), "{constraints}");
    assert_eq!(found, by_hand);
}

#[test]
fn every_constraint_names_a_line_of_the_constraints_file() {
    let lines: Vec<&str> = CONSTRAINTS.lines().collect();
    for constraint in programme(false).space.constraints {
        let line = lines[constraint.line as usize - 1].trim();
        assert!(!line.is_empty() && !line.starts_with('#'), "{} at {line}", constraint.name);
        if let Some(subsystem) = constraint.name.strip_prefix("trl-") {
            assert!(line.starts_with(subsystem), "{line}");
        }
    }
}

#[test]
fn passenger_bins_multiply_the_architectures_by_four() {
    let programme = programme(true);
    let designs = feasible(&programme.space);
    assert_eq!(designs.len(), 24);
    assert_eq!(names(&programme.space, &designs[0])["capacity"], "150");
    let items = programme.geometry(&designs[0]);
    assert!(items.iter().any(|i| i.requirement == "passenger_binning"));
}

#[test]
fn geometry_without_figures_is_not_evaluated_and_never_met() {
    let programme = programme(false);
    for design in feasible(&programme.space) {
        let items = programme.geometry(&design);
        assert_eq!(items.len(), 5);
        for item in items {
            let expected = match item.requirement.as_str() {
                "evacuation_compliance.ninety_second_rule" => GeometryStatus::Met,
                _ => GeometryStatus::NotEvaluated,
            };
            assert_eq!(item.status, expected, "{item:?}");
            assert!(!item.reason.is_empty());
        }
    }
}

#[test]
fn risk_figures_come_from_the_old_words() {
    let configuration = read_configuration(file("c.json", CONFIGURATION)).unwrap();
    assert_eq!(configuration.risk.cvar_level.get(), 0.8);
    assert_eq!(configuration.risk.risk_weight.get(), 0.25);
    assert_eq!(configuration.architecture["energy"], "38");
    let risk = orchestrator_risk(file("o.yaml", ORCHESTRATOR)).unwrap().unwrap();
    assert_eq!((risk.cvar_level.get(), risk.risk_weight.get()), (0.95, 0.1));
    let bad = CONFIGURATION.replace("0.25", "\"x\"");
    let problems = read_configuration(file("c.json", &bad)).unwrap_err();
    assert!(problems.iter().any(|p| p.line > 30 && p.code == "EX-0411"), "{problems:?}");
    let bad = CONFIGURATION.replace("0.8,", "1.8,").replace("0.25", "-1");
    let problems = read_configuration(file("c.json", &bad)).unwrap_err();
    assert_eq!(problems.iter().filter(|p| p.code == "EX-0420").count(), 2);
}

fn ask(scenario_text: &str, cost_text: &str, level: f64, weight: f64) -> Selection {
    let space = programme(false).space;
    let designs = feasible(&space);
    let set = scenarios::read("scenarios.yaml", scenario_text, &|_| None).unwrap().set(None);
    let model = costs::read("costs.yaml", cost_text).unwrap();
    let question = Question::new(CvarLevel::new(level).unwrap(), RiskWeight::new(weight).unwrap());
    select(&space, &designs, &set, &model, &question).unwrap()
}

#[test]
fn the_programmes_own_data_give_a_six_way_tie_that_is_told() {
    let selection = ask(default_scenarios(), default_costs(), 0.8, 0.25);
    assert_eq!(selection.tie.size, 6);
    assert_eq!(selection.index, 0);
    assert_eq!(selection.scenarios, 100);
    assert!(selection.sensitivity.iter().all(|c| c.tie_size == 6 && c.index == 0));
    assert!(selection.words[0].contains("no choice"), "{:?}", selection.words);
}

#[test]
fn made_up_factors_make_the_choice_unique_and_dependent_on_the_risk_weight() {
    assert!(COSTS.contains("MADE UP"));
    let choice = |weight| {
        let selection = ask(SCENARIOS, COSTS, 0.8, weight);
        assert_eq!(selection.tie.size, 1);
        selection
    };
    let neutral = choice(0.0);
    let averse = choice(0.25);
    assert_ne!(neutral.design, averse.design);
    assert_eq!(choice(1.0).design, averse.design);
    assert_eq!(neutral.design["wing"], "24");
    assert_eq!(averse.design["wing"], "34");
    assert_eq!(averse.risk_neutral.design, neutral.design);
    assert_eq!(averse.comparisons[0].decisive_term.as_deref(), Some("fuel"));
    assert!(averse.comparisons[0].words.contains("`fuel` makes the difference"));
    assert!(averse.expected > neutral.expected && averse.cvar < neutral.cvar);
    assert_eq!(averse.frontier.first().unwrap().index, neutral.index);
    assert!(averse.frontier.iter().any(|p| p.index == averse.index));
}

/// The cost of a design in one scenario, written out by hand from the text of the cost file.
fn cost_by_hand(tree: &Value, design: &BTreeMap<String, String>, s: &BTreeMap<String, f64>) -> f64 {
    let figures = |attribute: &str| -> Vec<f64> {
        tree["factors"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|table| {
                let decision = table["decisions"][0].as_str().unwrap();
                table["rows"][&design[decision]].get(attribute)?.as_f64()
            })
            .collect()
    };
    let mean = |attribute: &str| {
        let f = figures(attribute);
        if f.is_empty() { 1.0 } else { f.iter().sum::<f64>() / f.len() as f64 }
    };
    let kg: f64 = figures("kg_per_hour").iter().sum();
    1e6 * mean("complexity") * s["rd_multiplier"]
        + 2e6 * mean("manufacturing") * s["mfg_multiplier"]
        + 0.5e6 * mean("certification_risk") * s["cert_multiplier"]
        + 3e6 * mean("infrastructure") * s["infra_multiplier"]
        + 0.2e6 * mean("training")
        + 0.1e6 * mean("maintenance") * s["fleet"] * s["lifetime"]
        + kg * s["annual_block_hours"] * s["fleet"] * s["lifetime"] * s["h2_price_per_kg"]
}

#[test]
fn a_brute_force_over_designs_and_scenarios_gives_the_same_choice_and_figures() {
    let tree: Value = serde_saphyr::from_str(COSTS).unwrap();
    let set = scenarios::read("scenarios.yaml", SCENARIOS, &|_| None).unwrap().set(None);
    for (level, weight) in [(0.8, 0.0), (0.8, 0.25), (0.95, 0.1), (0.5, 2.0), (0.0, 1.0)] {
        let mut best: Option<(f64, f64, f64, BTreeMap<String, String>)> = None;
        for design in feasible_by_hand(CANDIDATES, CONSTRAINTS) {
            let costs: Vec<f64> = (0..set.len())
                .map(|s| {
                    let scenario = set
                        .variables
                        .iter()
                        .enumerate()
                        .map(|(v, variable)| (variable.name.clone(), set.values[v * set.len() + s]))
                        .collect();
                    cost_by_hand(&tree, &design, &scenario)
                })
                .collect();
            let expected = costs.iter().sum::<f64>() / costs.len() as f64;
            // Rockafellar and Uryasev: the minimum over z is attained at one of the costs.
            let cvar = costs
                .iter()
                .map(|z| {
                    let over: f64 = costs.iter().map(|c| (c - z).max(0.0)).sum();
                    z + over / costs.len() as f64 / (1.0 - level)
                })
                .fold(f64::INFINITY, f64::min);
            let objective = expected + weight * cvar;
            if best.as_ref().is_none_or(|b| objective < b.0) {
                best = Some((objective, expected, cvar, design));
            }
        }
        let (objective, expected, cvar, design) = best.unwrap();
        let got = ask(SCENARIOS, COSTS, level, weight);
        assert_eq!(got.design, design, "level {level} weight {weight}");
        for (a, b) in [(got.objective, objective), (got.expected, expected), (got.cvar, cvar)] {
            assert!((a / b - 1.0).abs() < 1e-12, "level {level} weight {weight}: {a} {b}");
        }
    }
}

#[test]
fn passenger_bins_are_one_more_decision_whose_choice_a_brute_force_finds_too() {
    let space = programme(true).space;
    let designs = feasible(&space);
    assert_eq!(designs.len(), 24);
    let set = scenarios::read("scenarios.yaml", SCENARIOS, &|_| None).unwrap().set(None);
    // The bins' own figures, as the candidates file states them.
    let text = COSTS
        .replacen("\nattributes:\n", "\nattributes:\n  capacity: {decision: capacity}\n  doors: {decision: capacity}\n", 1)
        .replacen(
            "\nterms:\n",
            "\nterms:\n  exits: \"4e6 * doors * mfg_multiplier\"\n  unsold: \"30 * (250 - capacity) * annual_block_hours\"\n",
            1,
        );
    let model = costs::read("costs.yaml", &text).unwrap_or_else(|p| panic!("{p:#?}"));
    let tree: Value = serde_saphyr::from_str(COSTS).unwrap();
    let doors = BTreeMap::from([("150", 4.0), ("180", 6.0), ("200", 6.0), ("220", 8.0)]);
    let by_hand = feasible_by_hand(CANDIDATES, CONSTRAINTS);
    let mut chosen = std::collections::BTreeSet::new();
    for (level, weight) in [(0.8, 0.0), (0.8, 0.25), (0.95, 4.0)] {
        let mut best: Option<(f64, BTreeMap<String, String>)> = None;
        for architecture in &by_hand {
            for (seats, doors) in &doors {
                let mut costs: Vec<f64> = (0..set.len())
                    .map(|s| {
                        let scenario: BTreeMap<String, f64> = set
                            .variables
                            .iter()
                            .enumerate()
                            .map(|(v, variable)| (variable.name.clone(), set.column(v)[s]))
                            .collect();
                        cost_by_hand(&tree, architecture, &scenario)
                            + 4e6 * doors * scenario["mfg_multiplier"]
                            + 30.0 * (250.0 - seats.parse::<f64>().unwrap()) * scenario["annual_block_hours"]
                    })
                    .collect();
                costs.sort_by(f64::total_cmp);
                let tail = ((1.0 - level) * costs.len() as f64).round() as usize;
                let cvar = costs[costs.len() - tail..].iter().sum::<f64>() / tail as f64;
                let objective = costs.iter().sum::<f64>() / costs.len() as f64 + weight * cvar;
                if best.as_ref().is_none_or(|b| objective < b.0) {
                    let mut design = architecture.clone();
                    design.insert("capacity".into(), seats.to_string());
                    best = Some((objective, design));
                }
            }
        }
        let (objective, design) = best.unwrap();
        let question = Question::new(CvarLevel::new(level).unwrap(), RiskWeight::new(weight).unwrap());
        let got = select(&space, &designs, &set, &model, &question).unwrap();
        assert_eq!(got.design, design, "level {level} weight {weight}");
        assert!((got.objective / objective - 1.0).abs() < 1e-12);
        chosen.insert(got.design["wing"].clone());
    }
    assert_eq!(chosen.len(), 2, "the architecture still depends on the weight: {chosen:?}");
}

#[test]
fn ill_formed_passenger_bins_are_told_with_their_code() {
    let bins = CANDIDATES.find("  bins:\n").unwrap();
    let after = CANDIDATES[bins..].find("\n# Cost").unwrap() + bins;
    for (text, code) in [
        ("  bins: []\n", "EX-0421"),
        ("  bins:\n    - {capacity: 150}\n    - {capacity: 150}\n", "EX-0421"),
        ("  bins:\n    - {capacity: many}\n", "EX-0411"),
        ("  bins:\n    - {capacity: 0}\n", "EX-0411"),
        ("  bins:\n    - {capacity: -5}\n", "EX-0411"),
        ("  bins: 150\n", "EX-0411"),
        ("", "EX-0421"),
    ] {
        let broken = format!("{}{text}{}", &CANDIDATES[..bins], &CANDIDATES[after..]);
        let read = |capacity| {
            ampel360::read(
                file("candidates.yaml", &broken),
                file("hard_constraints.yaml", CONSTRAINTS),
                capacity,
            )
        };
        let problems = read(true).unwrap_err();
        assert!(
            problems.iter().any(|p| p.code == code && p.file == "candidates.yaml"),
            "{text}: {problems:#?}"
        );
        assert!(read(false).is_ok(), "{text}");
    }
}

#[test]
fn highs_finds_the_same_architecture_as_the_scan() {
    let space = programme(false).space;
    let few = SCENARIOS.replace("count: 1000", "count: 200");
    let set = scenarios::read("scenarios.yaml", &few, &|_| None).unwrap().set(None);
    let model = costs::read("costs.yaml", COSTS).unwrap();
    let mut wings = std::collections::BTreeSet::new();
    for (level, weight) in [(0.8, 0.0), (0.8, 0.25), (0.95, 1.0)] {
        let (level, weight) = (CvarLevel::new(level).unwrap(), RiskWeight::new(weight).unwrap());
        let found =
            solvers::selection::milp::least(&space, &set, &model, level, weight, Some(120.0)).unwrap();
        let scan = select(&space, &feasible(&space), &set, &model, &Question::new(level, weight)).unwrap();
        let highs = found.found.unwrap();
        assert_eq!(highs.design, scan.design);
        assert_eq!(highs.objective, scan.objective);
        assert!((found.bound.unwrap() / scan.objective - 1.0).abs() < 1e-8);
        wings.insert(scan.design["wing"].clone());
    }
    assert_eq!(wings.len(), 2);
}

#[test]
fn the_answer_keeps_the_keys_that_scripts_rely_on_and_its_bytes() {
    let text = |weight| serde_json::to_string(&ask(SCENARIOS, COSTS, 0.8, weight)).unwrap();
    assert_eq!(text(0.25), text(0.25));
    let value: Value = serde_json::from_str(&text(0.25)).unwrap();
    for key in ["design", "objective", "expected", "cvar", "runners_up", "cvar_level", "risk_weight"] {
        assert!(value.get(key).is_some(), "{key}");
    }
    assert_eq!(value["runners_up"].as_array().unwrap().len(), 5);
}

#[test]
fn broken_files_name_every_problem_with_its_line() {
    let candidates = CANDIDATES
        .replacen("trl: 6", "trl: NaN", 1)
        .replacen("- id: 34", "- id: 24", 1)
        .replacen("name: \"H2_Turbofan\"", "nome: \"H2_Turbofan\"", 1);
    let constraints = CONSTRAINTS
        .replacen("wing: 6", "wing: six", 1)
        .replacen("- [34, 24]", "- [34]", 1)
        .replacen("weight_max:", "weight_maximum:", 1)
        .replacen("  avionics: 8", "  avionics: 8\n  tail: 6", 1);
    let problems = ampel360::read(
        file("candidates.yaml", &candidates),
        file("hard_constraints.yaml", &constraints),
        false,
    )
    .unwrap_err();
    let codes: Vec<(&str, &str)> = problems.iter().map(|p| (p.file.as_str(), p.code.as_str())).collect();
    for expected in [
        ("candidates.yaml", "EX-0415"),
        ("candidates.yaml", "EX-0416"),
        ("candidates.yaml", "EX-0412"),
        ("hard_constraints.yaml", "EX-0411"),
        ("hard_constraints.yaml", "EX-0412"),
        ("hard_constraints.yaml", "EX-0417"),
    ] {
        assert!(codes.contains(&expected), "{expected:?} in {problems:#?}");
    }
    assert!(problems.iter().all(|p| p.line > 0 && p.column > 0));
    let torn = ampel360::read(
        file("candidates.yaml", "candidates: [1, 2"),
        file("hard_constraints.yaml", CONSTRAINTS),
        false,
    )
    .unwrap_err();
    assert_eq!(torn[0].code, "EX-0410");
}

#[test]
fn the_copies_are_the_programmes_bytes() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/ampel360");
    if !shared.exists() {
        println!("skipped: ../shared is absent");
        return;
    }
    for (name, copy) in [
        ("candidates.yaml", CANDIDATES),
        ("hard_constraints.yaml", CONSTRAINTS),
        ("ampel360_config.json", CONFIGURATION),
        ("orchestrator-config.yaml", ORCHESTRATOR),
    ] {
        assert_eq!(std::fs::read_to_string(shared.join(name)).unwrap(), copy, "{name}");
    }
}
