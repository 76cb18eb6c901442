//! The programme's own files, unchanged: six architectures, a tie without costs, a choice with them,
//! and all five workflows of its definitions.

use crate::harness::{Daemon, example, small_problem, small_run};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const SUBSYSTEMS: [&str; 9] = [
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

type Architecture = BTreeMap<String, String>;

fn read(file: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(example(file)).unwrap()).unwrap()
}

fn programme() -> [String; 4] {
    let file = |name: &str| example(&format!("ampel360/programme/{name}.yaml"));
    [
        "--set".to_owned(),
        format!("candidates={}", file("candidates")),
        "--set".to_owned(),
        format!("constraints={}", file("hard_constraints")),
    ]
}

fn with_programme<'a>(files: &'a [String; 4], first: &[&'a str]) -> Vec<&'a str> {
    first.iter().copied().chain(files.iter().map(String::as_str)).collect()
}

/// The rules by hand, over every combination of offers.
fn brute_force() -> BTreeSet<Architecture> {
    let (candidates, rules) =
        (read("ampel360/programme/candidates.yaml"), read("ampel360/programme/hard_constraints.yaml"));
    let candidates = candidates["candidates"].as_array().unwrap();
    let offers = |subsystem: &str| -> Vec<(i64, &Value)> {
        let offering = candidates.iter().filter(|c| c["subsystems"].get(subsystem).is_some());
        offering.map(|c| (c["id"].as_i64().unwrap(), &c["subsystems"][subsystem])).collect()
    };
    let mut partial: Vec<BTreeMap<&str, (i64, &Value)>> = vec![BTreeMap::new()];
    for subsystem in SUBSYSTEMS {
        partial = partial
            .iter()
            .flat_map(|so_far| {
                offers(subsystem).into_iter().map(move |offer| {
                    let mut more = so_far.clone();
                    more.insert(subsystem, offer);
                    more
                })
            })
            .collect();
    }
    let has_pair = |list: &Value, a: i64, b: i64| {
        list.as_array().unwrap().iter().any(|pair| pair[0].as_i64() == Some(a) && pair[1].as_i64() == Some(b))
    };
    let physics = &rules["physics_constraints"];
    let bound = |name: &str| physics[name].as_f64().unwrap();
    let meets = |design: &BTreeMap<&str, (i64, &Value)>| -> bool {
        let donor = |subsystem: &str| design[subsystem].0;
        let parts = design.iter().all(|(subsystem, (_, part))| {
            let most = |key: &str, limit: f64| part[key].as_f64().is_none_or(|figure| figure <= limit);
            part["trl"].as_i64().unwrap() >= rules["trl_gates"][*subsystem].as_i64().unwrap()
                && most("weight_normalized", bound("weight_max"))
                && most("noise_normalized", bound("noise_max"))
                && most("evacuation_time", bound("evacuation_time_max"))
                && part["twr"].as_f64().is_none_or(|figure| figure >= bound("twr_min"))
        });
        let allowed = &rules["allowed_pairs"];
        let fits = has_pair(&allowed["wing_fuselage"], donor("wing"), donor("fuselage"))
            && has_pair(&allowed["energy_fuselage"], donor("energy"), donor("fuselage"));
        let clashes = ["fuselage", "energy", "propulsion"]
            .iter()
            .any(|other| has_pair(&rules["forbidden_pairs"], donor("wing"), donor(other)));
        let hydrogen = ["propulsion", "energy"].iter().all(|s| design[s].1["energy_type"] == "Hydrogen");
        let mut used = BTreeMap::new();
        design.values().for_each(|(donor, _)| *used.entry(donor).or_insert(0) += 1);
        let most = rules["diversity_limits"]["max_subsystems_per_donor"].as_i64().unwrap();
        parts && fits && !clashes && hydrogen && used.values().all(|count| *count <= most)
    };
    let feasible = partial.iter().filter(|design| meets(design));
    feasible
        .map(|design| design.iter().map(|(s, (donor, _))| ((*s).to_owned(), donor.to_string())).collect())
        .collect()
}

fn architecture(design: &Value) -> Architecture {
    let object = design.as_object().unwrap();
    object.iter().map(|(s, donor)| (s.clone(), donor.as_str().unwrap().to_owned())).collect()
}

#[test]
fn the_programmes_files_give_exactly_the_six_architectures_of_a_brute_force_and_a_reported_tie() {
    let daemon = Daemon::with(serde_json::json!({"example_inputs": false}));
    let files = programme();
    let run = daemon.succeed(&with_programme(&files, &["full-optimization"]));
    let set = daemon.artefact(&run, "feasible_set.json");
    assert_eq!((set["count"].as_u64(), set["complete"].as_bool()), (Some(6), Some(true)));
    let found: BTreeSet<_> = set["designs"].as_array().unwrap().iter().map(architecture).collect();
    assert_eq!(found.len(), 6);
    assert_eq!(found, brute_force());
    let analysis = daemon.artefact(&run, "risk_analysis.json");
    assert_eq!(analysis["tie"]["size"], 6, "{:#}", analysis["tie"]);
    let chosen = daemon.artefact(&run, "optimal_config.json");
    assert_eq!(chosen["design"], set["designs"][0], "of a tie the lowest canonical design is taken");
    assert_eq!(chosen["tie"]["size"], 6, "{chosen:#}");
    let words = analysis["words"].to_string();
    assert!(words.contains('6') || words.contains("six"), "the tie is not told in words: {words}");
    let report = daemon.artefact(&run, "validation_report.json").to_string();
    assert!(report.contains("not-evaluated") || report.contains("not_evaluated"), "geometry without figures");
}

/// Figures by hand: expectation and CVaR of every design over the example's scenarios.
struct Ledger {
    designs: Vec<Architecture>,
    costs: Vec<Vec<f64>>,
}

impl Ledger {
    /// The formulas of examples/ampel360/costs.yaml, written out here; only the sampled scenarios are read
    /// by the project's own reader.
    fn new(designs: Vec<Architecture>) -> Self {
        let text = fs::read_to_string(example("ampel360/scenarios.yaml")).unwrap();
        let model = solvers::scenarios::read("scenarios.yaml", &text, &|_| None).unwrap();
        let set = model.set(None);
        let at = |scenario: usize, name: &str| set.column(set.position(name).unwrap())[scenario];
        let factors = read("ampel360/costs.yaml");
        let factor = |design: &Architecture, decision: &str, name: &str| -> Option<f64> {
            let tables = factors["factors"].as_array().unwrap();
            let table = tables.iter().find(|t| t["decisions"][0] == decision)?;
            table["rows"].get(&design[decision])?.get(name)?.as_f64()
        };
        let gather = |design: &Architecture, name: &str| -> Vec<f64> {
            SUBSYSTEMS.iter().filter_map(|decision| factor(design, decision, name)).collect()
        };
        let mean = |design: &Architecture, name: &str| {
            let stated = gather(design, name);
            if stated.is_empty() { 1.0 } else { stated.iter().sum::<f64>() / stated.len() as f64 }
        };
        let costs = designs
            .iter()
            .map(|design| {
                let kg_per_hour: f64 = gather(design, "kg_per_hour").iter().sum();
                (0..set.len())
                    .map(|s| {
                        1e6 * mean(design, "complexity") * at(s, "rd_multiplier")
                            + 2e6 * mean(design, "manufacturing") * at(s, "mfg_multiplier")
                            + 0.5e6 * mean(design, "certification_risk") * at(s, "cert_multiplier")
                            + 3e6 * mean(design, "infrastructure") * at(s, "infra_multiplier")
                            + 0.2e6 * mean(design, "training")
                            + 0.1e6 * mean(design, "maintenance") * at(s, "fleet") * at(s, "lifetime")
                            + kg_per_hour
                                * at(s, "annual_block_hours")
                                * at(s, "fleet")
                                * at(s, "lifetime")
                                * at(s, "h2_price_per_kg")
                    })
                    .collect()
            })
            .collect();
        Self { designs, costs }
    }

    /// Expectation and mean of the worst `1 - level` of equally likely costs.
    fn figures(costs: &[f64], level: f64) -> (f64, f64) {
        let mut sorted = costs.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let tail = (1.0 - level) * costs.len() as f64;
        let whole = tail.floor() as usize;
        // 1,000 scenarios and a level of 0.8 cut the tail between two scenarios.
        let share = tail - whole as f64;
        let part = if share > 1e-9 { share * sorted[whole] } else { 0.0 };
        let cvar = (sorted[..whole].iter().sum::<f64>() + part) / tail;
        (costs.iter().sum::<f64>() / costs.len() as f64, cvar)
    }

    /// The designs of least expectation plus weighted CVaR, with that figure.
    fn best(&self, level: f64, weight: f64) -> (Vec<&Architecture>, f64) {
        let objective = |costs: &Vec<f64>| {
            let (expected, cvar) = Self::figures(costs, level);
            expected + weight * cvar
        };
        let all: Vec<f64> = self.costs.iter().map(objective).collect();
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let best = self.designs.iter().zip(&all).filter(|(_, o)| (**o - least) <= 1e-9 * least);
        (best.map(|(design, _)| design).collect(), least)
    }
}

#[test]
fn with_costs_the_choice_is_unique_equals_a_brute_force_and_changes_with_the_risk_weight() {
    let daemon = Daemon::start();
    let ledger = Ledger::new(brute_force().into_iter().collect());
    let files = small_problem();
    let mut chosen = Vec::new();
    for weight in [0.0, 0.25] {
        let set = format!("risk_weight={weight}");
        let run = daemon.succeed(&small_run(&files, &["--set", &set, "--set", "cvar_level=0.8"]));
        let found = daemon.artefact(&run, "optimal_config.json");
        let (best, least) = ledger.best(0.8, weight);
        assert_eq!(best.len(), 1, "the brute force finds no unique choice at weight {weight}");
        assert_eq!(&architecture(&found["design"]), best[0], "at weight {weight}");
        let objective = found["objective"].as_f64().unwrap();
        assert!((objective - least).abs() <= 1e-9 * least, "{objective} is not {least}");
        let analysis = daemon.artefact(&run, "risk_analysis.json");
        assert_eq!(analysis["tie"]["size"], 1, "{:#}", analysis["tie"]);
        chosen.push(best[0].clone());
    }
    assert_ne!(chosen[0], chosen[1]);
}

#[test]
fn level_and_weight_come_from_the_programmes_configuration_and_a_set_wins_over_it() {
    let daemon = Daemon::start();
    let files = programme();
    let config = format!("config={}", example("ampel360/programme/ampel360_config.json"));
    let run = daemon.succeed(&with_programme(&files, &["full-optimization", "--set", &config]));
    let chosen = daemon.artefact(&run, "optimal_config.json");
    assert_eq!((chosen["cvar_level"].as_f64(), chosen["risk_weight"].as_f64()), (Some(0.8), Some(0.25)));
    let run = daemon.succeed(&with_programme(
        &files,
        &["full-optimization", "--set", &config, "--set", "risk_weight=0.5"],
    ));
    let chosen = daemon.artefact(&run, "optimal_config.json");
    assert_eq!((chosen["cvar_level"].as_f64(), chosen["risk_weight"].as_f64()), (Some(0.8), Some(0.5)));
    let analysis = daemon.artefact(&run, "risk_analysis.json");
    assert_eq!(analysis["cvar_level_source"], "config");
    assert_eq!(analysis["risk_weight_source"], "params");
}

#[test]
fn all_five_workflows_of_the_programmes_definitions_run() {
    let daemon = Daemon::start();
    let files = programme();
    let definitions = example("ampel360/programme/workflow-definitions.yaml");
    let artefacts: [(&str, &[&str]); 5] = [
        (
            "full-optimization",
            &[
                "feasible_set.json",
                "optimal_config.json",
                "optimization_metrics.json",
                "validation_report.json",
                "compliance_certificates.json",
                "deployment_manifest.json",
                "audit_trail.json",
            ],
        ),
        ("feasible-enumeration", &["feasible_set.json", "enumeration_metrics.json"]),
        ("risk-aware-selection", &["optimal_config.json", "risk_analysis.json", "cvar_metrics.json"]),
        ("validation-only", &["validation_report.json", "certification_status.json"]),
        ("emergency-rollback", &["rollback_report.json", "emergency_audit.json"]),
    ];
    for (workflow, promised) in artefacts {
        let args = with_programme(&files, &[&definitions, "--workflow", workflow]);
        let run = daemon.succeed(&args);
        let shown = daemon.show(&run);
        assert_eq!(shown["workflow"], workflow);
        let stages = shown["stages"].as_array().unwrap();
        assert!(stages.iter().all(|stage| stage["phase"] == "succeeded"), "{workflow}: {shown:#}");
        for name in promised {
            assert!(daemon.artefact(&run, name).is_object(), "{workflow} promised {name}");
        }
    }
    let unnamed = with_programme(&files, &["submit", &definitions]);
    let refused = daemon.ctl(&unnamed).expect(8);
    assert!(
        refused.stderr.contains("EX-0107") && refused.stderr.contains("validation-only"),
        "{}",
        refused.stderr
    );
}
